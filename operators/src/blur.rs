//! Makes what was seen in a frame unrecognisable, for pictures that must not show who was there.
//!
//! Each box is laid out in a few coarse cells of one colour each, five across its longer side: too few to
//! know a face by. Invariant: a frame leaves this step with every box hidden, or not at all.

use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::topology::Stream;
use jellybean_engine::{Failure, Reason};

use crate::picture::{Detections, Format, Frame, Picture, Rect};
use crate::pixels::RgbBuffer;

/// Cells across the longer side of a box.
const CELLS: f32 = 5.0;
/// The least side of a cell, in pixels; even, so that it covers whole samples of chroma.
const CELL_MIN: usize = 8;
/// Boxes per frame, at most: further ones would cost more than the model did.
const BOXES_MAX: usize = 4_096;

/// Hides what was seen.
pub trait Blur {
    /// Pixelates every box, grown by `margin` times its size on each side, and lets the frame go on. A frame
    /// that cannot be read, or has more than 4096 boxes, is dropped and counted.
    ///
    /// ```
    /// use jellybean_operators::picture::{Detection, Detections, Format, Frame, Picture, Rect};
    /// use jellybean_operators::prelude::*;
    /// let picture = Picture { width: 16, height: 8, format: Format::Rgb, data: (0..=255).cycle().take(384).collect() };
    /// let frame = Frame { camera: "door".into(), number: 0, time_ms: 0, picture };
    /// let rect = Rect { x0: 0.0, y0: 0.0, x1: 8.0, y1: 8.0 };
    /// let seen = vec![Detection { class: "face".into(), score: 0.9, rect }];
    ///
    /// let t = Topology::new("blur");
    /// let (sink, blurred) = sink::collect();
    /// t.source("faces", source::iterate([Detections { frame, seen }])).blur("blur", 0.0).sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// let data = &blurred.take()[0].1.picture.data;
    /// assert_eq!(data[..3], data[21..24], "one colour within the box");
    /// assert_eq!(data[24..27], [24, 25, 26], "as it was beside it");
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn blur(&self, name: &str, margin: f32) -> Stream<Frame>;
}

impl Blur for Stream<Detections> {
    fn blur(&self, name: &str, margin: f32) -> Stream<Frame> {
        self.each(name, FanOut::One, move |Detections { frame, seen }: Detections, out| {
            if seen.len() > BOXES_MAX {
                let message = format!("{} boxes to hide, more than {BOXES_MAX}", seen.len());
                return Err(Failure::new(Reason::REJECTED, message));
            }
            let boxes = seen.iter().map(|detection| grown(&detection.rect, margin));
            let picture = pixelate(&frame.picture, boxes)?;
            out.push(Frame { picture, ..frame });
            Ok(())
        })
    }
}

/// The picture with every box laid out in coarse cells; boxes are cut off at its edges. A JPEG becomes RGB,
/// other formats stay as they are.
///
/// # Errors
/// `bad_picture` where size and bytes do not fit together, or where a JPEG cannot be read; `rejected` for
/// a box that is not made of numbers.
pub fn pixelate(picture: &Picture, boxes: impl Iterator<Item = Rect>) -> Result<Picture, Failure> {
    let mut rgb = RgbBuffer::default();
    // Reading checks the size as well.
    let decoded = rgb.read(picture)?;
    let (mut data, format) = match picture.format {
        Format::I420 => (picture.data.to_vec(), Format::I420),
        Format::Rgb | Format::Jpeg => (decoded.to_vec(), Format::Rgb),
    };
    let (width, height) = (picture.width as usize, picture.height as usize);
    for rect in boxes {
        let Some(area) = Area::of(&rect, width, height)? else { continue };
        match format {
            Format::I420 => {
                let (luma, chroma) = data.split_at_mut(width * height);
                let (u, v) = chroma.split_at_mut(chroma.len() / 2);
                area.fill_cells::<1>(luma, width);
                for plane in [u, v] {
                    area.halved().fill_cells::<1>(plane, width.div_ceil(2));
                }
            }
            Format::Rgb | Format::Jpeg => area.fill_cells::<3>(&mut data, width),
        }
    }
    Ok(Picture { format, data: data.into(), ..picture.clone() })
}

fn grown(rect: &Rect, margin: f32) -> Rect {
    let (x, y) = (margin * (rect.x1 - rect.x0), margin * (rect.y1 - rect.y0));
    Rect { x0: rect.x0 - x, y0: rect.y0 - y, x1: rect.x1 + x, y1: rect.y1 + y }
}

/// A box in whole pixels, right and bottom exclusive, and the side of its cells.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
    cell: usize,
}

impl Area {
    /// Outwards to even pixels, then cut off at the picture's edges; `None` where nothing is left.
    fn of(rect: &Rect, width: usize, height: usize) -> Result<Option<Self>, Failure> {
        if [rect.x0, rect.y0, rect.x1, rect.y1].iter().any(|side| side.is_nan()) {
            return Err(Failure::new(Reason::REJECTED, "a box that is not made of numbers cannot be hidden"));
        }
        // Rounding outwards must not bring in what lies beside the picture.
        if rect.x0 >= width as f32 || rect.y0 >= height as f32 || rect.x1 <= 0.0 || rect.y1 <= 0.0 {
            return Ok(None);
        }
        let even = |side: f32, most: usize| (side.clamp(0.0, most as f32) / 2.0, most);
        let down = |(half, most): (f32, usize)| (2 * half.floor() as usize).min(most);
        let up = |(half, most): (f32, usize)| (2 * half.ceil() as usize).min(most);
        let (left, right) = (down(even(rect.x0, width)), up(even(rect.x1, width)));
        let (top, bottom) = (down(even(rect.y0, height)), up(even(rect.y1, height)));
        if left >= right || top >= bottom {
            return Ok(None);
        }
        let longer = (right - left).max(bottom - top) as f32;
        let cell = (2 * (longer / CELLS / 2.0).ceil() as usize).max(CELL_MIN);
        Ok(Some(Self { left, top, right, bottom, cell }))
    }

    /// The same on a plane of half the sides.
    fn halved(self) -> Self {
        let Self { left, top, right, bottom, cell } = self;
        let (right, bottom) = (right.div_ceil(2), bottom.div_ceil(2));
        Self { left: left / 2, top: top / 2, right, bottom, cell: cell / 2 }
    }

    /// Gives each cell its mean; `N` interleaved channels, rows of `width` pixels.
    fn fill_cells<const N: usize>(self, plane: &mut [u8], width: usize) {
        for top in (self.top..self.bottom).step_by(self.cell) {
            for left in (self.left..self.right).step_by(self.cell) {
                let (bottom, right) = (self.bottom.min(top + self.cell), self.right.min(left + self.cell));
                let row = |y: usize| N * (y * width + left)..N * (y * width + right);
                let mut sums = [0_u64; N];
                for pixel in (top..bottom).flat_map(|y| plane[row(y)].as_chunks::<N>().0) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u64::from(*value));
                }
                let pixels = ((bottom - top) * (right - left)) as u64;
                let mean = sums.map(|sum| ((sum + pixels / 2) / pixels) as u8);
                for y in top..bottom {
                    plane[row(y)].as_chunks_mut::<N>().0.fill(mean);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    fn picture(format: Format, width: u32, height: u32, noise: &mut Noise) -> Picture {
        let bytes = format.bytes(width, height).unwrap();
        Picture { width, height, format, data: (0..bytes).map(|_| noise.below(256) as u8).collect() }
    }

    fn rect(noise: &mut Noise, side: f32) -> Rect {
        let mut at = || noise.unit() * 1.5 * side - 0.25 * side;
        let (x0, y0) = (at(), at());
        Rect { x0, y0, x1: x0 + at().abs(), y1: y0 + at().abs() }
    }

    /// Whether pixel (x, y) lies in the box, or beside it in the same pair of pixels.
    fn is_inside(rect: &Rect, x: u32, y: u32) -> bool {
        let pair = |at: u32| ((at & !1) as f32, (at & !1) as f32 + 2.0);
        let ((left, right), (top, bottom)) = (pair(x), pair(y));
        left < rect.x1 && right > rect.x0 && top < rect.y1 && bottom > rect.y0
    }

    #[test]
    fn what_lies_outside_stays_and_inside_few_colours_are_left() {
        let mut noise = Noise(11);
        for round in 0..200 {
            let (width, height) = (1 + noise.below(90) as u32, 1 + noise.below(70) as u32);
            let before = picture(Format::Rgb, width, height, &mut noise);
            let rect = rect(&mut noise, 90.0);
            let after = pixelate(&before, std::iter::once(rect)).unwrap();
            let mut inside = std::collections::BTreeSet::new();
            let pixels = before.data.chunks(3).zip(after.data.chunks(3));
            for (i, (old, new)) in pixels.enumerate() {
                if is_inside(&rect, i as u32 % width, i as u32 / width) {
                    inside.insert(new.to_vec());
                } else {
                    assert_eq!(old, new, "round {round}: pixel {i} of {width}x{height}, {rect:?}");
                }
            }
            // Six where the box does not fit in five even cells.
            assert!(inside.len() <= 36, "round {round}: {} colours in {rect:?}", inside.len());
        }
    }

    #[test]
    fn planes_are_hidden_like_pixels() {
        let mut noise = Noise(12);
        for (width, height) in [(64, 48), (33, 17), (1, 1), (2, 1)] {
            let before = picture(Format::I420, width, height, &mut noise);
            let everything = Rect { x0: -1.0, y0: -1.0, x1: 1e9, y1: f32::INFINITY };
            let after = pixelate(&before, std::iter::once(everything)).unwrap();
            assert_eq!(after.format, Format::I420);
            let luma: std::collections::BTreeSet<u8> =
                after.data[..(width * height) as usize].iter().copied().collect();
            assert!(luma.len() <= 25, "{} greys are left of {width}x{height}", luma.len());
            let chroma: std::collections::BTreeSet<u8> =
                after.data[(width * height) as usize..].iter().copied().collect();
            assert!(chroma.len() <= 50, "{} of chroma are left of {width}x{height}", chroma.len());
        }
    }

    #[test]
    fn a_box_of_no_numbers_is_no_way_past() {
        let picture = picture(Format::Rgb, 8, 8, &mut Noise(1));
        let nan = Rect { x0: f32::NAN, y0: 0.0, x1: 4.0, y1: 4.0 };
        assert!(pixelate(&picture, std::iter::once(nan)).is_err());
    }
}
