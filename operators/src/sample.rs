//! Fewer records: one in a while.

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure};

/// Thins a stream out.
pub trait Sample<T> {
    /// Keeps a record of each key, then none for `every_ms` milliseconds of the stream's time.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("sample");
    /// let (sink, kept) = sink::collect();
    /// t.source("numbers", source::iterate(0..10_u64)).keyed(|_| 0).sample("slower", 4).sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(kept.take(), [(0, 0), (4, 4), (8, 8)]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn sample(&self, name: &str, every_ms: u64) -> Stream<T>;
}

impl<K: Key, T: Data> Sample<T> for Keyed<K, T> {
    fn sample(&self, name: &str, every_ms: u64) -> Stream<T> {
        self.logic(name, OneEvery { every_ms })
    }
}

struct OneEvery {
    every_ms: u64,
}

impl<K: Key, T: Data> Logic<K, T> for OneEvery {
    /// When the last record was kept.
    type State = Option<Epoch>;
    type Out = T;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &K,
        kept: &mut Self::State,
        epoch: Epoch,
        record: T,
        emit: &mut Emit<T>,
    ) -> Result<(), Failure> {
        if kept.is_none_or(|kept| epoch >= kept + self.every_ms) {
            *kept = Some(epoch);
            emit.push(record);
        }
        Ok(())
    }
}
