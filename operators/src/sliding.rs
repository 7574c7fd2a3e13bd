//! Sliding windows: one value per key and span of time, with spans that overlap.

use std::collections::BTreeMap;

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure};

use crate::window::Windowed;

/// The most windows that one record lies in.
const OVERLAP_MAX: u64 = 1024;

/// Divides time into windows that overlap.
pub trait Sliding<K, T> {
    /// Accumulates the records of each key over windows of `size_ms` milliseconds, one of which begins
    /// every `step_ms`, from epoch 0 on. A window is emitted once, at its last millisecond, when no more
    /// records for it can come; keys without a record in a window emit nothing.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("windows");
    /// let (sink, windows) = sink::collect();
    /// t.source("numbers", source::iterate(0..5_u64))
    ///     .keyed(|_| 0)
    ///     .sliding("sum", 4, 2, |sum: &mut u64, n| *sum += n)
    ///     .map("value", |w| (w.start_ms, w.value))
    ///     .sink("windows", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(windows.take(), [(3, (0, 6)), (5, (2, 9)), (7, (4, 4))]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `step_ms` is 0 or does not divide `size_ms`, or if more than 1,024 windows overlap.
    fn sliding<A: Data + Default>(
        &self,
        name: &str,
        size_ms: u64,
        step_ms: u64,
        add: impl Fn(&mut A, &T) + Send + Sync + 'static,
    ) -> Stream<Windowed<K, A>>;
}

impl<K: Key, T: Data> Sliding<K, T> for Keyed<K, T> {
    fn sliding<A: Data + Default>(
        &self,
        name: &str,
        size_ms: u64,
        step_ms: u64,
        add: impl Fn(&mut A, &T) + Send + Sync + 'static,
    ) -> Stream<Windowed<K, A>> {
        let divides = step_ms > 0 && size_ms > 0 && size_ms.is_multiple_of(step_ms);
        assert!(
            divides && size_ms / step_ms <= OVERLAP_MAX,
            "window \"{name}\": steps of {step_ms} ms have to divide {size_ms} ms, {OVERLAP_MAX} times at most"
        );
        self.logic(name, Overlapping { size_ms, step_ms, add: Box::new(add) })
    }
}

/// Adds a record to the value of a window.
type Add<A, T> = Box<dyn Fn(&mut A, &T) + Send + Sync>;

struct Overlapping<A, T> {
    size_ms: u64,
    step_ms: u64,
    add: Add<A, T>,
}

impl<K: Key, T: Data, A: Data + Default> Logic<K, T> for Overlapping<A, T> {
    /// Open windows by their start.
    type State = BTreeMap<Epoch, A>;
    type Out = Windowed<K, A>;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &K,
        open: &mut Self::State,
        epoch: Epoch,
        record: T,
        _emit: &mut Emit<Self::Out>,
    ) -> Result<(), Failure> {
        let last_ms = epoch - epoch % self.step_ms;
        let first_ms = (last_ms + self.step_ms).saturating_sub(self.size_ms);
        for start_ms in (first_ms..=last_ms).step_by(self.step_ms as usize) {
            (self.add)(open.entry(start_ms).or_default(), &record);
        }
        Ok(())
    }

    fn due(&self, open: &Self::State) -> Option<Epoch> {
        open.first_key_value().map(|(start_ms, _)| start_ms + self.size_ms)
    }

    fn close(&self, key: &K, open: &mut Self::State, upto: Epoch, emit: &mut Emit<Self::Out>) -> bool {
        if let Some((start_ms, value)) = open.pop_first() {
            emit.push(Windowed { key: key.clone(), start_ms, end_ms: upto, value });
        }
        !open.is_empty()
    }
}
