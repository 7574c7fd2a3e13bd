//! Interleaved bytes to a model's floats: `(pixel - mean) / std` as one multiply and one add.

use super::{Channels, Layout, Placed, Shape};

/// What each of red, green and blue is multiplied with, what is added, and its channel in the tensor.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    gain: [f32; 3],
    offset: [f32; 3],
    channel: [usize; 3],
}

impl Scale {
    /// `mean` and `std` are in the order of the tensor's channels; the scale is in that of RGB.
    pub(super) fn new(mean: [f32; 3], std: [f32; 3], channels: Channels) -> Self {
        let channel = match channels {
            Channels::Rgb => [0, 1, 2],
            Channels::Bgr => [2, 1, 0],
        };
        Self { gain: channel.map(|c| 1.0 / std[c]), offset: channel.map(|c| -mean[c] / std[c]), channel }
    }

    fn of(&self, colour: usize, value: u8) -> f32 {
        f32::from(value) * self.gain[colour] + self.offset[colour]
    }
}

/// Packs resized pixels and fills what they leave free; `item` is one item of the tensor.
pub(super) fn pack(pixels: &[u8], placed: &Placed, shape: &Shape, scale: &Scale, item: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { pack_avx2(pixels, placed, shape, scale, item) };
        return;
    }
    pack_any(pixels, placed, shape, scale, item);
}

/// The same code again, compiled for processors with AVX2; the results are the same bit for bit,
/// since multiply and add stay two roundings there too.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_avx2(pixels: &[u8], placed: &Placed, shape: &Shape, scale: &Scale, item: &mut [f32]) {
    pack_any(pixels, placed, shape, scale, item);
}

#[inline(always)]
fn pack_any(pixels: &[u8], placed: &Placed, shape: &Shape, scale: &Scale, item: &mut [f32]) {
    let columns = placed.resized().0 as usize;
    match shape.layout {
        Layout::Nchw => pack_planes(pixels, columns, shape, scale, item),
        Layout::Nhwc => pack_pixels(pixels, columns, shape, scale, item),
    }
}

#[inline(always)]
fn pack_planes(pixels: &[u8], columns: usize, shape: &Shape, scale: &Scale, item: &mut [f32]) {
    let (width, height) = (shape.width as usize, shape.height as usize);
    let mut planes = item.chunks_exact_mut(width * height);
    let mut planes: [&mut [f32]; 3] =
        std::array::from_fn(|_| planes.next().expect("an item has three planes"));
    if scale.channel[0] == 2 {
        planes.reverse();
    }
    let [red, green, blue] = planes;
    let rows = pixels.len() / (3 * columns);
    for (row, pixels) in pixels.chunks_exact(3 * columns).enumerate() {
        let here = row * width..row * width + columns;
        split(pixels, scale, &mut red[here.clone()], &mut green[here.clone()], &mut blue[here]);
    }
    for (colour, plane) in [red, green, blue].into_iter().enumerate() {
        let free = scale.of(colour, shape.fill);
        if columns < width {
            plane[..rows * width].chunks_exact_mut(width).for_each(|row| row[columns..].fill(free));
        }
        plane[rows * width..].fill(free);
    }
}

#[inline(always)]
fn split(pixels: &[u8], scale: &Scale, red: &mut [f32], green: &mut [f32], blue: &mut [f32]) {
    let Scale { gain, offset, .. } = *scale;
    for (((pixel, red), green), blue) in pixels.chunks_exact(3).zip(red).zip(green).zip(blue) {
        *red = f32::from(pixel[0]) * gain[0] + offset[0];
        *green = f32::from(pixel[1]) * gain[1] + offset[1];
        *blue = f32::from(pixel[2]) * gain[2] + offset[2];
    }
}

#[inline(always)]
fn pack_pixels(pixels: &[u8], columns: usize, shape: &Shape, scale: &Scale, item: &mut [f32]) {
    let Scale { gain, offset, channel } = *scale;
    let mut free = [0.0; 3];
    for colour in 0..3 {
        free[channel[colour]] = scale.of(colour, shape.fill);
    }
    let mut rows = pixels.chunks_exact(3 * columns);
    for row in item.chunks_exact_mut(3 * shape.width as usize) {
        let pixels = rows.next().unwrap_or_default();
        let (taken, rest) = row.split_at_mut(pixels.len());
        for (pixel, out) in pixels.chunks_exact(3).zip(taken.chunks_exact_mut(3)) {
            for colour in 0..3 {
                out[channel[colour]] = f32::from(pixel[colour]) * gain[colour] + offset[colour];
            }
        }
        rest.chunks_exact_mut(3).for_each(|out| out.copy_from_slice(&free));
    }
}
