//! A state per key.

use std::sync::Arc;

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure};

/// Folds records into a state per key.
pub trait Stateful<K, T> {
    /// Takes each record through the state of its key, in order; emits what `step` returns. The state
    /// moves with the stage when a plan moves it.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("sums");
    /// let (sink, sums) = sink::collect();
    /// t.source("numbers", source::iterate(0..5_u64))
    ///     .keyed(|n| n % 2)
    ///     .stateful("sum", |sum: &mut u64, n| { *sum += n; *sum })
    ///     .sink("sums", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(sums.take(), [(0, 0), (1, 1), (2, 2), (3, 4), (4, 6)]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn stateful<S: Data + Default, U: Data>(
        &self,
        name: &str,
        step: impl Fn(&mut S, T) -> U + Send + Sync + 'static,
    ) -> Stream<U>;
}

impl<K: Key, T: Data> Stateful<K, T> for Keyed<K, T> {
    fn stateful<S: Data + Default, U: Data>(
        &self,
        name: &str,
        step: impl Fn(&mut S, T) -> U + Send + Sync + 'static,
    ) -> Stream<U> {
        self.logic(name, Stepping(Arc::new(step)))
    }
}

type Step<S, T, U> = Arc<dyn Fn(&mut S, T) -> U + Send + Sync>;

struct Stepping<S, T, U>(Step<S, T, U>);

impl<K: Key, T: Data, S: Data + Default, U: Data> Logic<K, T> for Stepping<S, T, U> {
    type State = S;
    type Out = U;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &K,
        state: &mut S,
        _epoch: Epoch,
        record: T,
        emit: &mut Emit<U>,
    ) -> Result<(), Failure> {
        emit.push((self.0)(state, record));
        Ok(())
    }
}
