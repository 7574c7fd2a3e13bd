//! What some times come to.

/// Times of calls, in any unit, sorted.
pub(super) struct Times(Vec<f64>);

impl Times {
    /// Of at least one.
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// What this share of them does not exceed.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = (share * last as f64).ceil() as usize;
        self.0.get(at.min(last)).copied().unwrap_or(0.0)
    }

    /// The distance of the quartiles over the median; 0 where that is 0.
    pub(super) fn spread(&self) -> f64 {
        let median = self.quantile(0.5);
        if median > 0.0 { (self.quantile(0.75) - self.quantile(0.25)) / median } else { 0.0 }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

/// A figure to four digits: more say nothing.
pub(super) fn tidy(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    // By division, so that what should be a short decimal is one.
    let scale = 10_f64.powi(digits.abs());
    if digits >= 0 { (value * scale).round() / scale } else { (value / scale).round() * scale }
}

#[cfg(test)]
mod tests {
    use super::{Times, tidy};

    #[test]
    fn quantiles_are_times_that_were_taken() {
        let times = Times::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((times.quantile(0.0), times.quantile(0.5), times.quantile(1.0)), (1.0, 51.0, 100.0));
        assert_eq!(times.quantile(0.95), 96.0);
        assert!((times.spread() - 50.0 / 51.0).abs() < 1e-9);
        assert_eq!((Times::of(vec![3.0]).quantile(0.95), Times::of(vec![3.0]).spread()), (3.0, 0.0));
    }

    #[test]
    fn figures_have_four_digits() {
        let check = |value: f64, tidied: f64| assert_eq!(tidy(value), tidied);
        check(0.0, 0.0);
        check(1.23456, 1.235);
        check(123_456.0, 123_500.0);
        check(0.000_123_456, 0.000_123_5);
        check(0.999_96, 1.0);
    }
}
