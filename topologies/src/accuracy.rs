//! How near counts come to what they should be, and how sure that is.
//!
//! Of each camera, window and class that anybody counted, the score is the smaller count over the larger one. The
//! accuracy is their mean. It is uncertain because there were only so many windows: the interval is what the mean of
//! as many windows, drawn at random of those there were, lies in 95 times of 100 (the bootstrap's percentiles). Whole
//! windows are drawn, as what one camera overlooks in one of them is not independent.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tally::Counts;

/// How often as many windows are drawn.
const DRAWS: usize = 2_000;
/// Of fewer windows nothing can be drawn that tells how sure their mean is: the interval is then all there can be.
const WINDOWS_MIN: usize = 5;

/// The scores of some windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores(Vec<Window>);

/// What the classes of one camera and window add up to, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Window {
    sum: f64,
    classes: u64,
}

/// A mean, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The lower end of its 95 % confidence interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Counts that were compared.
    pub samples: u64,
}

impl Scores {
    /// Of what was counted, held against what is right.
    #[must_use]
    pub fn of(found: &Counts, right: &Counts) -> Self {
        let mut windows: BTreeMap<(&Arc<str>, u64), Window> = BTreeMap::new();
        let unseen = found.iter().filter(|(key, _)| !right.contains_key(*key));
        for ((camera, start_ms, class), counted) in right.iter().chain(unseen) {
            let key = (camera.clone(), *start_ms, class.clone());
            let other = if right.contains_key(&key) { found.get(&key).copied().unwrap_or(0.0) } else { 0.0 };
            let (less, more) = (counted.min(other), counted.max(other));
            let window = windows.entry((camera, *start_ms)).or_default();
            window.sum += if more > 0.0 { less / more } else { 1.0 };
            window.classes += 1;
        }
        Self(windows.into_values().collect())
    }

    /// Their mean, with its interval drawn by a seed; `None` if there are none.
    #[must_use]
    pub fn estimate(&self, seed: u64) -> Option<Estimate> {
        if self.0.is_empty() {
            return None;
        }
        let mut random = Random(seed);
        let drawn = |random: &mut Random| mean((0..self.0.len()).map(|_| self.0[random.below(self.0.len())]));
        let mut means: Vec<f64> = (0..DRAWS).map(|_| drawn(&mut random)).collect();
        means.sort_by(f64::total_cmp);
        let mean = mean(self.0.iter().copied());
        let (low, high) = match self.0.len() {
            ..WINDOWS_MIN => (0.0, 1.0),
            // An interval holds its own mean.
            _ => (means[DRAWS / 40].min(mean), means[DRAWS - 1 - DRAWS / 40].max(mean)),
        };
        Some(Estimate { mean, low, high, samples: self.0.iter().map(|window| window.classes).sum() })
    }
}

fn mean(windows: impl Iterator<Item = Window>) -> f64 {
    let add = |a: Window, b: Window| Window { sum: a.sum + b.sum, classes: a.classes + b.classes };
    let all = windows.fold(Window::default(), add);
    all.sum / all.classes.max(1) as f64
}

/// Numbers by seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, Scores};
    use crate::tally::Counts;

    fn counts(rows: &[(&str, u64, &str, f64)]) -> Counts {
        rows.iter()
            .map(|(camera, start, class, n)| (((*camera).into(), *start, (*class).into()), *n))
            .collect()
    }

    #[test]
    fn scores_are_the_smaller_over_the_larger() {
        let right = counts(&[("a", 0, "car", 4.0), ("a", 0, "bus", 1.0), ("a", 5, "car", 0.0)]);
        let found = counts(&[("a", 0, "car", 5.0), ("b", 0, "car", 2.0)]);
        // 4/5 for too many, 0 for none, 1 for rightly none, 0 for what is not there.
        let estimate = Scores::of(&found, &right).estimate(1).unwrap();
        assert!((estimate.mean - 1.8 / 4.0).abs() < 1e-12, "{estimate:?}");
        assert_eq!(estimate.samples, 4);
        assert_eq!((estimate.low, estimate.high), (0.0, 1.0), "of three windows");
        let many: Vec<_> = (0..9).map(|start| ("a", start, "car", 1.0)).collect();
        assert_eq!(Scores::of(&counts(&many), &counts(&many)).estimate(1).unwrap().low, 1.0);
        assert_eq!(Scores::of(&counts(&[]), &counts(&[])).estimate(1), None);
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        let mut random = Random(3);
        let mut held = 0;
        for seed in 0..200 {
            // Windows whose one score is 0 or 1, with 0.7 in the long run.
            let found: Vec<_> = (0..60).map(|i| ("a", i, "car", f64::from(random.below(10) < 7))).collect();
            let right: Vec<_> = (0..60).map(|i| ("a", i, "car", 1.0)).collect();
            let estimate = Scores::of(&counts(&found), &counts(&right)).estimate(seed).unwrap();
            held += usize::from(estimate.low <= 0.7 && 0.7 <= estimate.high);
        }
        assert!((180..200).contains(&held), "{held} of 200");
    }
}
