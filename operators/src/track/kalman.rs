//! Where a box is and how it moves: a Kalman filter of constant velocity.
//!
//! The state is SORT's and DeepSORT's (centre, size, and their velocities), with width and height instead of
//! aspect and height. Noise is independent per measure and scales with the box, as in DeepSORT, so that the
//! filter of eight dimensions falls into four of two: one [`Axis`] per measure. Time is real: a step may be of
//! any length, and two half steps are one whole step.
//!
//! Invariant: nothing is random, and only + - * / are used, so that every machine gives the same numbers.

use serde::{Deserialize, Serialize};

use crate::picture::Rect;

/// How exact a detector's boxes are: the standard deviation of a side, in sizes of the box.
const MEASURED: f32 = 0.1;
/// How much velocity changes: the standard deviation after a second, in sizes of the box per second.
const SWERVE: f32 = 0.3;
/// The same for how width and height change, which they do evenly. Tuned, as the two above, for MOTA and IDF1 on
/// synthetic roads (seeds 0 to 9), with what the detector sees there and with the truth made worse.
const STRETCH: f32 = 0.1;
/// What is thinkable of a box seen for the first time: the standard deviation, in sizes per second.
const SPEED: f32 = 2.0;
/// The longest step in seconds, so that no number grows beyond bounds.
const STEP_S_MAX: f32 = 60.0;
/// The least width and height of a predicted box, in pixels.
const SIDE_MIN: f32 = 1.0;

/// A box in motion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Motion {
    x: Axis,
    y: Axis,
    width: Axis,
    height: Axis,
}

/// One measure of a box, in pixels, and how fast it changes, in pixels per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Axis {
    value: f32,
    rate: f32,
    value_variance: f32,
    covariance: f32,
    rate_variance: f32,
}

impl Motion {
    /// Of a box seen for the first time.
    pub(super) fn begin(rect: &Rect) -> Self {
        let [x, y, width, height] = measures(rect);
        let size = f32::midpoint(width, height).max(SIDE_MIN);
        let axis = |value| Axis::begin(value, MEASURED * size, SPEED * size);
        Self { x: axis(x), y: axis(y), width: axis(width), height: axis(height) }
    }

    /// Moves on by a time in seconds.
    pub(super) fn predict(&mut self, step_s: f32) {
        let (step_s, size) = (step_s.clamp(0.0, STEP_S_MAX), self.size());
        self.x.predict(step_s, SWERVE * size);
        self.y.predict(step_s, SWERVE * size);
        self.width.predict(step_s, STRETCH * size);
        self.height.predict(step_s, STRETCH * size);
    }

    /// Takes in where the box was seen at the time that was predicted.
    pub(super) fn correct(&mut self, rect: &Rect) {
        let deviation = MEASURED * self.size();
        let [x, y, width, height] = measures(rect);
        self.x.correct(x, deviation);
        self.y.correct(y, deviation);
        self.width.correct(width, deviation);
        self.height.correct(height, deviation);
    }

    /// Where the box is expected.
    pub(super) fn rect(&self) -> Rect {
        let (x, y) = self.centre();
        let [w, h] = [&self.width, &self.height].map(|axis| axis.value.max(SIDE_MIN) / 2.0);
        Rect { x0: x - w, y0: y - h, x1: x + w, y1: y + h }
    }

    pub(super) fn centre(&self) -> (f32, f32) {
        (self.x.value, self.y.value)
    }

    /// The mean of width and height, in pixels.
    pub(super) fn size(&self) -> f32 {
        f32::midpoint(self.width.value, self.height.value).max(SIDE_MIN)
    }
}

impl Axis {
    fn begin(value: f32, deviation: f32, rate_deviation: f32) -> Self {
        let (value_variance, rate_variance) = (deviation * deviation, rate_deviation * rate_deviation);
        Self { value, rate: 0.0, value_variance, covariance: 0.0, rate_variance }
    }

    /// White noise as acceleration, of this standard deviation of the rate after a second.
    fn predict(&mut self, step_s: f32, swerve: f32) {
        let (t, q) = (step_s, swerve * swerve);
        self.value += t * self.rate;
        self.value_variance += t * (2.0 * self.covariance + t * self.rate_variance) + q * t * t * t / 3.0;
        self.covariance += t * self.rate_variance + q * t * t / 2.0;
        self.rate_variance += q * t;
    }

    fn correct(&mut self, measured: f32, deviation: f32) {
        let all = self.value_variance + deviation * deviation;
        let (gain, rate_gain) = (self.value_variance / all, self.covariance / all);
        let surprise = measured - self.value;
        self.value += gain * surprise;
        self.rate += rate_gain * surprise;
        self.rate_variance = (self.rate_variance - rate_gain * self.covariance).max(0.0);
        self.value_variance *= 1.0 - gain;
        self.covariance *= 1.0 - gain;
    }
}

/// Centre, width and height.
fn measures(rect: &Rect) -> [f32; 4] {
    let Rect { x0, y0, x1, y1 } = *rect;
    [f32::midpoint(x0, x1), f32::midpoint(y0, y1), x1 - x0, y1 - y0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dull twin: a filter of eight dimensions in matrices, as the papers write it.
    struct Matrices {
        state: [f64; 8],
        covariance: [[f64; 8]; 8],
    }

    type Square = [[f64; 8]; 8];

    fn product(a: &Square, b: &Square) -> Square {
        std::array::from_fn(|i| std::array::from_fn(|j| (0..8).map(|k| a[i][k] * b[k][j]).sum()))
    }

    fn transposed(a: &Square) -> Square {
        std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
    }

    impl Matrices {
        fn begin(rect: &Rect) -> Self {
            let measures = measures(rect).map(f64::from);
            let size = f64::midpoint(measures[2], measures[3]).max(1.0);
            let sd = |i: usize| if i < 4 { f64::from(MEASURED) * size } else { f64::from(SPEED) * size };
            let state = std::array::from_fn(|i| if i < 4 { measures[i] } else { 0.0 });
            let covariance =
                std::array::from_fn(|i| std::array::from_fn(|j| if i == j { sd(i) * sd(i) } else { 0.0 }));
            Self { state, covariance }
        }

        fn size(&self) -> f64 {
            f64::midpoint(self.state[2], self.state[3]).max(1.0)
        }

        fn predict(&mut self, t: f64) {
            let size = self.size();
            let mut f = [[0.0; 8]; 8];
            let mut q = [[0.0; 8]; 8];
            for i in 0..4 {
                (f[i][i], f[i + 4][i + 4], f[i][i + 4]) = (1.0, 1.0, t);
                let swerve = f64::from(if i < 2 { SWERVE } else { STRETCH }) * size;
                let q2 = swerve * swerve;
                (q[i][i], q[i + 4][i + 4]) = (q2 * t * t * t / 3.0, q2 * t);
                (q[i][i + 4], q[i + 4][i]) = (q2 * t * t / 2.0, q2 * t * t / 2.0);
            }
            self.state = std::array::from_fn(|i| (0..8).map(|k| f[i][k] * self.state[k]).sum());
            let moved = product(&product(&f, &self.covariance), &transposed(&f));
            self.covariance = std::array::from_fn(|i| std::array::from_fn(|j| moved[i][j] + q[i][j]));
        }

        /// One measure after the other, which is the same as all at once where their noise is independent.
        fn correct(&mut self, rect: &Rect) {
            let deviation = f64::from(MEASURED) * self.size();
            for (m, measured) in measures(rect).map(f64::from).into_iter().enumerate() {
                let all = self.covariance[m][m] + deviation * deviation;
                let gain: [f64; 8] = std::array::from_fn(|i| self.covariance[i][m] / all);
                let surprise = measured - self.state[m];
                let row = self.covariance[m];
                self.state = std::array::from_fn(|i| self.state[i] + gain[i] * surprise);
                self.covariance = std::array::from_fn(|i| {
                    std::array::from_fn(|j| self.covariance[i][j] - gain[i] * row[j])
                });
            }
        }
    }

    #[test]
    fn four_small_filters_are_the_one_of_the_papers() {
        let mut state = 11_u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % n) as f32
        };
        for _ in 0..50 {
            let mut rect = Rect { x0: below(600), y0: below(300), x1: 0.0, y1: 0.0 };
            (rect.x1, rect.y1) = (rect.x0 + 8.0 + below(80), rect.y0 + 8.0 + below(80));
            let (mut clever, mut dull) = (Motion::begin(&rect), Matrices::begin(&rect));
            for _ in 0..40 {
                let step = 0.01 * (1.0 + below(20));
                clever.predict(step);
                dull.predict(step.into());
                if below(4) > 0.0 {
                    let (dx, dy) = (below(9) - 3.0, below(9) - 5.0);
                    rect = Rect {
                        x0: rect.x0 + dx,
                        y0: rect.y0 + dy,
                        x1: rect.x1 + dx + below(3) - 1.0,
                        y1: rect.y1 + dy,
                    };
                    clever.correct(&rect);
                    dull.correct(&rect);
                }
                let axes = [&clever.x, &clever.y, &clever.width, &clever.height];
                for (i, axis) in axes.into_iter().enumerate() {
                    let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-3 * (1.0 + b.abs());
                    let pairs = [
                        (axis.value, dull.state[i]),
                        (axis.rate, dull.state[i + 4]),
                        (axis.value_variance, dull.covariance[i][i]),
                        (axis.covariance, dull.covariance[i][i + 4]),
                        (axis.rate_variance, dull.covariance[i + 4][i + 4]),
                    ];
                    assert!(pairs.iter().all(|(a, b)| near(*a, *b)), "{axis:?} {pairs:?}");
                }
            }
        }
    }

    #[test]
    fn what_moves_evenly_is_expected_where_it_will_be_at_any_step() {
        let at = |ms: f32| Rect { x0: 0.1 * ms, y0: 50.0, x1: 0.1 * ms + 40.0, y1: 80.0 };
        let (mut motion, mut last) = (Motion::begin(&at(0.0)), 0.0);
        // Frames of 25 per second of which two of three get lost now and then.
        for ms in [40.0, 80.0, 200.0, 240.0, 360.0, 400.0, 520.0, 560.0, 680.0, 720.0_f32] {
            motion.predict((ms - last) / 1_000.0);
            motion.correct(&at(ms));
            last = ms;
        }
        let mut whole = motion.clone();
        motion.predict(0.2);
        assert!(motion.rect().iou(&at(920.0)) > 0.95, "{:?}", motion.rect());
        whole.predict(0.08);
        whole.predict(0.12);
        assert!((whole.x.value - motion.x.value).abs() < 1e-3);
        assert!((whole.x.value_variance / motion.x.value_variance - 1.0).abs() < 1e-2);
    }

    #[test]
    fn no_box_becomes_nothing_or_endless() {
        let mut motion = Motion::begin(&Rect { x0: 0.0, y0: 0.0, x1: 1e6, y1: 1e6 });
        for _ in 0..50 {
            motion.predict(1e9);
            motion.correct(&Rect { x0: 5.0, y0: 5.0, x1: 5.0, y1: 5.0 });
            assert!(motion.rect().area() >= 1.0 && motion.rect().area().is_finite(), "{motion:?}");
        }
    }
}
