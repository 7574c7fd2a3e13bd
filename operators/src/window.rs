//! Tumbling windows: one value per key and span of time.

use std::collections::BTreeMap;

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure};
use serde::{Deserialize, Serialize};

/// What a window has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Windowed<K, A> {
    /// Whose window.
    pub key: K,
    /// Its first millisecond.
    pub start_ms: Epoch,
    /// The millisecond after its last.
    pub end_ms: Epoch,
    /// What was accumulated.
    pub value: A,
}

/// Divides time into windows.
pub trait Window<K, T> {
    /// Accumulates the records of each key over windows of `size_ms` milliseconds, aligned to epoch 0.
    /// A window is emitted once, at its last millisecond, when no more records for it can come; keys
    /// without a record in a window emit nothing.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("windows");
    /// let (sink, windows) = sink::collect();
    /// t.source("numbers", source::iterate(0..5_u64))
    ///     .keyed(|n| n % 2)
    ///     .tumbling("count", 4, |count: &mut u32, _n| *count += 1)
    ///     .map("value", |w| (w.key, w.value))
    ///     .sink("windows", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(windows.take(), [(3, (0, 2)), (3, (1, 2)), (7, (0, 1))]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `size_ms` is 0.
    fn tumbling<A: Data + Default>(
        &self,
        name: &str,
        size_ms: u64,
        add: impl Fn(&mut A, T) + Send + Sync + 'static,
    ) -> Stream<Windowed<K, A>>;
}

impl<K: Key, T: Data> Window<K, T> for Keyed<K, T> {
    fn tumbling<A: Data + Default>(
        &self,
        name: &str,
        size_ms: u64,
        add: impl Fn(&mut A, T) + Send + Sync + 'static,
    ) -> Stream<Windowed<K, A>> {
        assert!(size_ms > 0, "window \"{name}\" must span at least a millisecond");
        self.logic(name, Tumbling { size_ms, add: Box::new(add) })
    }
}

struct Tumbling<A, T> {
    size_ms: u64,
    add: Add<A, T>,
}

/// Adds a record to the value of its window.
type Add<A, T> = Box<dyn Fn(&mut A, T) + Send + Sync>;

impl<K: Key, T: Data, A: Data + Default> Logic<K, T> for Tumbling<A, T> {
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
        let start_ms = epoch - epoch % self.size_ms;
        (self.add)(open.entry(start_ms).or_default(), record);
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
