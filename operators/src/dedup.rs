//! One record of many alike.

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Logic};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure};

/// Drops records that have come before.
pub trait Dedup<T> {
    /// Keeps the first record of each `id`, and none other of it for `keep_ms` milliseconds. Memory holds
    /// the ids of that time.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("dedup");
    /// let (sink, first) = sink::collect();
    /// t.source("numbers", source::iterate(0..10_u64)).dedup("first", 6, |n| n % 3).sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// let first: Vec<u64> = first.take().into_iter().map(|(_, n)| n).collect();
    /// assert_eq!(first, [0, 1, 2, 6, 7, 8]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `keep_ms` is 0.
    fn dedup<I: Key>(
        &self,
        name: &str,
        keep_ms: u64,
        id: impl Fn(&T) -> I + Send + Sync + 'static,
    ) -> Stream<T>;
}

impl<T: Data> Dedup<T> for Stream<T> {
    fn dedup<I: Key>(
        &self,
        name: &str,
        keep_ms: u64,
        id: impl Fn(&T) -> I + Send + Sync + 'static,
    ) -> Stream<T> {
        assert!(keep_ms > 0, "dedup \"{name}\" must remember for at least a millisecond");
        self.keyed(id).logic(name, FirstOf { keep_ms })
    }
}

struct FirstOf {
    keep_ms: u64,
}

impl<I: Key, T: Data> Logic<I, T> for FirstOf {
    /// When the id came first.
    type State = Option<Epoch>;
    type Out = T;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _id: &I,
        first: &mut Self::State,
        epoch: Epoch,
        record: T,
        emit: &mut Emit<T>,
    ) -> Result<(), Failure> {
        if first.is_none() {
            *first = Some(epoch);
            emit.push(record);
        }
        Ok(())
    }

    fn due(&self, first: &Self::State) -> Option<Epoch> {
        first.map(|epoch| epoch + self.keep_ms)
    }

    fn close(&self, _id: &I, _first: &mut Self::State, _upto: Epoch, _emit: &mut Emit<T>) -> bool {
        false
    }
}
