//! Resizing like Pillow's `BILINEAR`: a triangle that widens with the reduction, so nothing aliases.
//!
//! Rows are resized before columns, as Pillow does, and rounded in between: models are trained and
//! compared with Pillow, and the other order differs from it by a level in every seventh value.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use jellybean_engine::Failure;

use super::bad_picture;

/// A resizer with its memory.
#[derive(Default)]
pub(super) struct Bilinear {
    resizer: Resizer,
    narrowed: Vec<u8>,
    resized: Vec<u8>,
}

impl Bilinear {
    /// Resizes interleaved RGB of (width, height) `from` to `to`; what stays the same is not copied.
    pub(super) fn resize<'a>(
        &'a mut self,
        mut pixels: &'a [u8],
        from: (u32, u32),
        to: (u32, u32),
    ) -> Result<&'a [u8], Failure> {
        let Self { resizer, narrowed, resized } = self;
        let between = (to.0, from.1);
        if from != between {
            pixels = convolve(resizer, pixels, from, between, narrowed)?;
        }
        if between != to {
            pixels = convolve(resizer, pixels, between, to, resized)?;
        }
        Ok(pixels)
    }
}

fn convolve<'a>(
    resizer: &mut Resizer,
    pixels: &[u8],
    from: (u32, u32),
    to: (u32, u32),
    out: &'a mut Vec<u8>,
) -> Result<&'a [u8], Failure> {
    out.resize(3 * to.0 as usize * to.1 as usize, 0);
    let unfit = |e: &dyn std::fmt::Display| bad_picture(format!("cannot resize {from:?} to {to:?}: {e}"));
    let source = ImageRef::new(from.0, from.1, pixels, PixelType::U8x3).map_err(|e| unfit(&e))?;
    let mut target = Image::from_slice_u8(to.0, to.1, out, PixelType::U8x3).map_err(|e| unfit(&e))?;
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
    resizer.resize(&source, &mut target, &options).map_err(|e| unfit(&e))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red of `(7 x + 13 y) * (x + 3) mod 256`, as Pillow 12 resizes it with `BILINEAR`.
    #[test]
    fn equals_pillow() {
        for (from, to, red) in [
            (
                (12, 10),
                (5, 4),
                vec![
                    77, 122, 144, 165, 143, 133, 113, 147, 127, 119, 128, 118, 139, 133, 118, 125, 146, 145,
                    153, 149,
                ],
            ),
            (
                (5, 3),
                (9, 4),
                vec![
                    0, 9, 25, 47, 70, 101, 134, 173, 196, 24, 37, 56, 83, 111, 146, 166, 121, 93, 54, 69, 94,
                    126, 159, 147, 130, 89, 65, 78, 96, 126, 162, 200, 103, 37, 90, 122,
                ],
            ),
            (
                (9, 6),
                (4, 6),
                vec![
                    26, 117, 106, 163, 76, 137, 137, 186, 126, 107, 168, 172, 124, 108, 149, 99, 174, 128,
                    130, 180, 114, 73, 105, 108,
                ],
            ),
        ] {
            let pattern = |x: u32, y: u32| (((7 * x + 13 * y) * (x + 3)) % 256) as u8;
            let pixels: Vec<u8> = (0..from.0 * from.1)
                .map(|i| pattern(i % from.0, i / from.0))
                .flat_map(|red| [red, 255 - red, red / 2])
                .collect();
            let mut bilinear = Bilinear::default();
            let resized = bilinear.resize(&pixels, from, to).unwrap();
            let ours: Vec<u8> = resized.chunks_exact(3).map(|pixel| pixel[0]).collect();
            assert_eq!(ours, red, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn the_same_size_is_the_same_memory() {
        let pixels = [7; 3 * 4 * 2];
        assert_eq!(Bilinear::default().resize(&pixels, (4, 2), (4, 2)).unwrap().as_ptr(), pixels.as_ptr());
    }
}
