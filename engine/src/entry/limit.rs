//! How many frames per second a source lets in, where not everything can be served.

/// Frames that may come at once: evenly paced cameras of one source come in step.
const BURST_MAX: f64 = 8.0;

/// A bucket that fills at a rate; whoever takes from it may enter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    rate_per_s: f64,
    burst: f64,
    full: f64,
    at_us: u64,
}

impl Limit {
    /// For a source of so many lanes.
    pub(super) fn new(rate_per_s: f64, lanes: usize, now_us: u64) -> Self {
        // One more than comes at once, or what is left over between two frames would be lost.
        let burst = (lanes as f64 + 1.0).min(BURST_MAX);
        Self { rate_per_s: rate_per_s.max(0.0), burst, full: 1.0, at_us: now_us }
    }

    /// Whether another frame may enter; then it counts.
    pub(super) fn admits(&mut self, now_us: u64) -> bool {
        let passed_s = now_us.saturating_sub(self.at_us) as f64 / 1e6;
        self.at_us = self.at_us.max(now_us);
        self.full = (self.full + passed_s * self.rate_per_s).min(self.burst);
        let admits = self.full >= 1.0;
        self.full -= f64::from(u8::from(admits));
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::Limit;

    #[test]
    fn as_many_enter_as_the_rate_says() {
        for (rate, lanes) in [(0.0, 1), (7.5, 1), (20.0, 4), (30.0, 100), (1000.0, 2)] {
            let mut limit = Limit::new(rate, lanes, 5_000_000);
            let times = (0..100 * 100).map(|i| 5_000_000 + i * 10_000);
            let admitted = times.filter(|now_us| limit.admits(*now_us)).count() as f64;
            let expected = (100.0 * rate).min(10_000.0);
            assert!((admitted - expected).abs() <= 10.0, "{admitted} at {rate}/s");
        }
    }

    #[test]
    fn time_that_stands_still_or_runs_back_fills_nothing() {
        let mut limit = Limit::new(10.0, 1, 1_000_000);
        assert!(limit.admits(1_000_000));
        assert!((0..100).all(|_| !limit.admits(500_000) && !limit.admits(1_000_000)));
        assert!(limit.admits(1_100_000));
    }
}
