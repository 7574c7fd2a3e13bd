//! The injected clock: the only place that reads real time or sleeps.
//!
//! Invariant: nothing else in the house calls `Instant::now`, `SystemTime::now` or `thread::sleep`
//! (clippy refuses it), so that a simulator can drive everything by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A handle on time since its origin; clones share it.
///
/// ```
/// use jellybean_engine::Clock;
/// use std::time::Duration;
/// let clock = Clock::simulated();
/// clock.advance(Duration::from_millis(5));
/// assert_eq!(clock.now_us(), 5_000);
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real { origin: Instant },
    Simulated { now_us: Arc<AtomicU64> },
}

impl Clock {
    /// The machine's monotonic clock, counted from now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads real time")]
    pub fn real() -> Self {
        Self(Kind::Real { origin: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    pub fn simulated() -> Self {
        Self(Kind::Simulated { now_us: Arc::default() })
    }

    /// Microseconds since the origin.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        match &self.0 {
            Kind::Real { origin } => u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX),
            Kind::Simulated { now_us } => now_us.load(Ordering::Acquire),
        }
    }

    /// Milliseconds since the origin: the unit of epochs.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Whether time moves only when [`Clock::advance`] moves it. Then nothing runs on a thread of its own:
    /// pools and lanes are stepped by hand.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Kind::Simulated { .. })
    }

    /// The origin on the machine's clock, for a timely worker: without one it never parks. A simulated
    /// clock has none; what it drives is stepped by hand.
    pub(crate) fn origin(&self) -> Option<Instant> {
        match &self.0 {
            Kind::Real { origin } => Some(*origin),
            Kind::Simulated { .. } => None,
        }
    }

    /// Moves a simulated clock; a real one moves by itself, and ignores this.
    pub fn advance(&self, by: Duration) {
        if let Kind::Simulated { now_us } = &self.0 {
            now_us.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }

    /// Waits this long on a real clock; moves a simulated one by as much.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
    pub fn sleep(&self, duration: Duration) {
        match &self.0 {
            Kind::Real { .. } => std::thread::sleep(duration),
            Kind::Simulated { .. } => self.advance(duration),
        }
    }
}
