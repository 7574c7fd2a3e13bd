//! What lens, light and sensor do to a whole picture. Each pass is a plain loop over bytes, which compilers
//! vectorise: together they cost less than painting the traffic.

use super::random::Random;

/// Longer than a row of the widest picture, and odd against it, so that the pattern does not show.
const GRAIN_BYTES: usize = 1 << 15;

/// Sixteen pixels: as many as make whole vectors of bytes.
const STRIP_BYTES: usize = 48;

/// Dims red, green and blue to `gain` / 256 each.
pub(super) fn dim(pixels: &mut [u8], gain: [u16; 3]) {
    let gains: [u16; STRIP_BYTES] = std::array::from_fn(|i| gain[i % 3]);
    let dim_strip = |strip: &mut [u8]| {
        for (value, gain) in strip.iter_mut().zip(gains) {
            *value = ((u16::from(*value) * gain) >> 8) as u8;
        }
    };
    let (strips, rest) = pixels.as_chunks_mut::<STRIP_BYTES>();
    strips.iter_mut().for_each(|strip| dim_strip(strip));
    dim_strip(rest);
}

/// Softens by a 3 x 3 kernel of weights 1 2 1 in both directions; the border keeps its values.
pub(super) fn soften(pixels: &mut [u8], width: usize) {
    let stride = width * 3;
    let (mut above, mut here) = (vec![0; stride], vec![0; stride]);
    above.copy_from_slice(&pixels[..stride]);
    for start in (stride..pixels.len() - stride).step_by(stride) {
        let (now, below) = pixels[start..].split_at_mut(stride);
        here.copy_from_slice(now);
        for (((value, &a), &h), &b) in now.iter_mut().zip(&above).zip(&here).zip(&below[..stride]) {
            *value = weigh(a, h, b);
        }
        std::mem::swap(&mut above, &mut here);
    }
    for row in pixels.chunks_exact_mut(stride) {
        here.copy_from_slice(row);
        let inner = &mut row[3..stride - 3];
        for (((value, &l), &h), &r) in inner.iter_mut().zip(&here).zip(&here[3..]).zip(&here[6..]) {
            *value = weigh(l, h, r);
        }
    }
}

/// Sensor noise, drawn once per scene.
pub(super) struct Grain(Vec<i8>);

impl Grain {
    /// Noise of about this standard deviation, in grey levels.
    pub(super) fn new(random: &mut Random, deviation: f32) -> Self {
        Self((0..GRAIN_BYTES).map(|_| bell(random, deviation)).collect())
    }

    /// Adds the noise of one frame: every row starts elsewhere in the pattern.
    pub(super) fn sprinkle(&self, pixels: &mut [u8], width: usize, random: &mut Random) {
        let stride = width * 3;
        for row in pixels.chunks_exact_mut(stride) {
            let start = random.below((self.0.len() - stride) as u64) as usize;
            for (value, &grain) in row.iter_mut().zip(&self.0[start..]) {
                *value = (i16::from(*value) + i16::from(grain)).clamp(0, 255) as u8;
            }
        }
    }
}

fn weigh(a: u8, b: u8, c: u8) -> u8 {
    ((u16::from(a) + 2 * u16::from(b) + u16::from(c) + 2) >> 2) as u8
}

/// The sum of eight uniform bytes is a bell of deviation 209.
fn bell(random: &mut Random, deviation: f32) -> i8 {
    let sum: u16 = random.bits().to_le_bytes().into_iter().map(u16::from).sum();
    ((f32::from(sum) - 1020.0) / 209.0 * deviation) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softening_equals_the_dull_kernel_inside_of_the_border() {
        let (width, height) = (9, 6);
        let mut random = Random::new(1, 2);
        let before: Vec<u8> = (0..width * height * 3).map(|_| random.bits() as u8).collect();
        let mut after = before.clone();
        soften(&mut after, width);
        let at = |x: usize, y: usize, c: usize| before[(y * width + x) * 3 + c];
        for (y, x, c) in (1..height - 1).flat_map(|y| (1..width - 1).map(move |x| (y, x, (x + y) % 3))) {
            let column = |x: usize| weigh(at(x, y - 1, c), at(x, y, c), at(x, y + 1, c));
            let expected = weigh(column(x - 1), column(x), column(x + 1));
            assert_eq!(after[(y * width + x) * 3 + c], expected, "at {x},{y} channel {c}");
        }
    }

    #[test]
    fn noise_has_no_bias_and_the_deviation_asked_for() {
        let grain = Grain::new(&mut Random::new(3, 4), 6.0).0;
        let mean = grain.iter().map(|&g| f32::from(g)).sum::<f32>() / grain.len() as f32;
        let variance = grain.iter().map(|&g| f32::from(g) * f32::from(g)).sum::<f32>() / grain.len() as f32;
        assert!(mean.abs() < 0.1 && (5.0..6.5).contains(&variance.sqrt()), "{mean} {variance}");
    }
}
