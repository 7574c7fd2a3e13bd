//! No more records than so many at a time.

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure, Reason};

/// Limits the rate of a stream.
pub trait RateLimit<T> {
    /// Lets at most `records` of each key through in each `per_ms` milliseconds, counted from epoch 0; the
    /// rest is dropped, and counted as `rate_limit`.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("limit");
    /// let (sink, kept) = sink::collect();
    /// t.source("numbers", source::iterate(0..8_u64)).keyed(|_| 0).rate_limit("calm", 2, 5).sink("out", sink);
    /// let report = jellybean_operators::run_here(&t)?;
    /// assert_eq!(kept.take(), [(0, 0), (1, 1), (5, 5), (6, 6)]);
    /// assert_eq!(report.ledger.edges["numbers->calm"].dropped["rate_limit"], 4);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `per_ms` is 0.
    fn rate_limit(&self, name: &str, records: u64, per_ms: u64) -> Stream<T>;
}

impl<K: Key, T: Data> RateLimit<T> for Keyed<K, T> {
    fn rate_limit(&self, name: &str, records: u64, per_ms: u64) -> Stream<T> {
        assert!(per_ms > 0, "rate limit \"{name}\" must count over at least a millisecond");
        self.logic(name, AtMost { records, per_ms })
    }
}

struct AtMost {
    records: u64,
    per_ms: u64,
}

impl<K: Key, T: Data> Logic<K, T> for AtMost {
    /// The span of the last record, and how many of it were let through.
    type State = (Epoch, u64);
    type Out = T;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &K,
        (span, passed): &mut Self::State,
        epoch: Epoch,
        record: T,
        emit: &mut Emit<T>,
    ) -> Result<(), Failure> {
        let now = epoch / self.per_ms;
        if *span != now {
            (*span, *passed) = (now, 0);
        }
        if *passed >= self.records {
            let message = format!("more than {} records in {} ms", self.records, self.per_ms);
            return Err(Failure::new(Reason::new("rate_limit"), message));
        }
        *passed += 1;
        emit.push(record);
        Ok(())
    }
}
