//! The injected clock: the only place that reads real time or sleeps.
//!
//! Invariant: nothing else in the house calls `Instant::now`, `SystemTime::now` or `thread::sleep`
//! (clippy refuses it), so that a simulator can drive everything by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How a real clock follows another one.
#[derive(Debug, Default)]
struct Steering {
    /// Microseconds ahead of the machine's clock; 0 as long as it follows nobody.
    ahead_us: AtomicI64,
    /// The latest time given out: a clock that is set back stands still.
    latest_us: AtomicU64,
    followed_us: AtomicU64,
}

/// By how much of the time that has passed a clock that follows another one is moved, at most.
const SLEW: u64 = 50;

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

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
    Real { origin: Instant, steering: Arc<Steering> },
    Simulated { origin: Instant, now_us: Arc<AtomicU64> },
}

impl Clock {
    /// The machine's monotonic clock, counted from now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads real time")]
    pub fn real() -> Self {
        Self(Kind::Real { origin: Instant::now(), steering: Arc::default() })
    }

    /// The same as if it had been counting for this long: that of a process that was there before.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads real time")]
    pub fn begun(ago: Duration) -> Self {
        let now = Instant::now();
        Self(Kind::Real { origin: now.checked_sub(ago).unwrap_or(now), steering: Arc::default() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "what it counts from does not matter")]
    pub fn simulated() -> Self {
        Self(Kind::Simulated { origin: Instant::now(), now_us: Arc::default() })
    }

    /// Microseconds since the origin.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        match &self.0 {
            Kind::Real { origin, steering } => {
                let own_us = micros(origin.elapsed());
                match steering.ahead_us.load(Ordering::Relaxed) {
                    0 => own_us,
                    ahead_us => {
                        let now_us = own_us.saturating_add_signed(ahead_us);
                        steering.latest_us.fetch_max(now_us, Ordering::Relaxed).max(now_us)
                    }
                }
            }
            Kind::Simulated { now_us, .. } => now_us.load(Ordering::Acquire),
        }
    }

    /// Nobody goes by it any more: the clock that it follows next sets it, and back as well.
    pub(crate) fn let_go(&self) {
        if let Kind::Real { steering, .. } = &self.0 {
            // By itself again, where nobody remembers the latest time: else the next one could not set it back.
            steering.ahead_us.store(0, Ordering::Relaxed);
            steering.followed_us.store(0, Ordering::Relaxed);
            steering.latest_us.store(0, Ordering::Relaxed);
        }
    }

    /// The same clock as it is by itself, whomever this one follows: for what is timed and must not be hurried, or held
    /// up, when that one is set.
    pub(crate) fn by_itself(&self) -> Self {
        match &self.0 {
            Kind::Real { origin, .. } => Self(Kind::Real { origin: *origin, steering: Arc::default() }),
            Kind::Simulated { .. } => self.clone(),
        }
    }

    /// Follows another clock, of which is known that it is `ahead_us` ahead of this one now. At first it is set; later
    /// it goes a little faster or slower, and never back.
    pub fn follow(&self, ahead_us: i64) {
        let Kind::Real { origin, steering } = &self.0 else { return };
        let own_us = micros(origin.elapsed());
        let before_us = steering.followed_us.swap(own_us.max(1), Ordering::Relaxed);
        let most_us = match before_us {
            0 => i64::MAX,
            before_us => i64::try_from(own_us.saturating_sub(before_us) / SLEW).unwrap_or(i64::MAX),
        };
        steering.ahead_us.fetch_add(ahead_us.clamp(-most_us, most_us), Ordering::Relaxed);
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

    /// The origin on the machine's clock, for a timely worker: without one it never parks, and never says that
    /// it is idle.
    pub(crate) fn origin(&self) -> Instant {
        match &self.0 {
            Kind::Real { origin, .. } | Kind::Simulated { origin, .. } => *origin,
        }
    }

    /// Moves a simulated clock; a real one moves by itself, and ignores this.
    pub fn advance(&self, by: Duration) {
        if let Kind::Simulated { now_us, .. } = &self.0 {
            now_us.fetch_add(micros(by), Ordering::AcqRel);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_follows_is_set_once_and_then_slewed() {
        let clock = Clock::real();
        let hour_us = 3_600_000_000;
        clock.follow(hour_us);
        let before_us = clock.now_us();
        assert!(before_us >= hour_us as u64);
        clock.follow(-hour_us);
        let after_us = clock.now_us();
        assert!(after_us >= before_us, "{after_us} follows {before_us}");
        clock.let_go();
        assert!(clock.now_us() < before_us);
        clock.follow(2 * hour_us);
        clock.let_go();
        clock.follow(hour_us);
        assert!(clock.now_us() < 2 * hour_us as u64, "the next one may set it back");
    }
}
