//! I420 to RGB: BT.601, limited range, in integers.
//!
//! The factors are those of the standard, `1.164383 (Y - 16) + 1.596027 (V - 128)` and so on, in
//! 1/65536: what comes out is the exact value, rounded. Chroma is not interpolated.

use crate::picture::Picture;

/// The chroma of two rows of pixels as it is added to luma, in 1/65536 of a level; one entry per pixel.
#[derive(Default)]
pub(super) struct Chroma {
    red: Vec<i32>,
    green: Vec<i32>,
    blue: Vec<i32>,
}

/// Converts a picture whose size was checked; `rgb` becomes `3 * width * height` bytes.
pub(super) fn to_rgb(picture: &Picture, chroma: &mut Chroma, rgb: &mut Vec<u8>) {
    let (width, height) = (picture.width as usize, picture.height as usize);
    rgb.resize(3 * width * height, 0);
    for row in [&mut chroma.red, &mut chroma.green, &mut chroma.blue] {
        row.resize(2 * width.div_ceil(2), 0);
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { convert_avx2(&picture.data, (width, height), chroma, rgb) };
        return;
    }
    convert(&picture.data, (width, height), chroma, rgb);
}

/// The same code again, compiled for processors with AVX2, where it takes a third of the time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn convert_avx2(data: &[u8], size: (usize, usize), chroma: &mut Chroma, rgb: &mut [u8]) {
    convert(data, size, chroma, rgb);
}

#[inline(always)]
fn convert(data: &[u8], (width, height): (usize, usize), chroma: &mut Chroma, rgb: &mut [u8]) {
    let (luma, rest) = data.split_at(width * height);
    let (us, vs) = rest.split_at(rest.len() / 2);
    let columns = width.div_ceil(2);
    let two_rows = rgb.chunks_mut(2 * 3 * width).zip(luma.chunks(2 * width));
    for ((rgb, luma), (u, v)) in two_rows.zip(us.chunks_exact(columns).zip(vs.chunks_exact(columns))) {
        spread(u, v, chroma);
        for (rgb, luma) in rgb.chunks_exact_mut(3 * width).zip(luma.chunks_exact(width)) {
            combine(luma, chroma, rgb);
        }
    }
}

/// Works out what a row of chroma adds to each channel, for both pixels under each sample.
#[inline(always)]
fn spread(u: &[u8], v: &[u8], chroma: &mut Chroma) {
    let red = chroma.red.chunks_exact_mut(2);
    let green = chroma.green.chunks_exact_mut(2);
    let blue = chroma.blue.chunks_exact_mut(2);
    for ((((&u, &v), red), green), blue) in u.iter().zip(v).zip(red).zip(green).zip(blue) {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        red.fill(104_597 * v); // 1.596027
        green.fill(-25_675 * u - 53_279 * v); // 0.391762 and 0.812968
        blue.fill(132_201 * u); // 2.017232
    }
}

#[inline(always)]
fn combine(luma: &[u8], chroma: &Chroma, rgb: &mut [u8]) {
    let chroma = chroma.red.iter().zip(&chroma.green).zip(&chroma.blue);
    for ((pixel, &y), ((&red, &green), &blue)) in rgb.chunks_exact_mut(3).zip(luma).zip(chroma) {
        let y = 76_309 * (i32::from(y) - 16) + 32_768; // 1.164383, and a half that rounds
        pixel[0] = level(y + red);
        pixel[1] = level(y + green);
        pixel[2] = level(y + blue);
    }
}

#[inline(always)]
fn level(value: i32) -> u8 {
    (value >> 16).clamp(0, 255) as u8
}
