//! Records of two streams that fall into the same window.

use std::collections::BTreeMap;

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic, Side};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure, Reason};

use crate::window::Windowed;

/// The most records of one key and side that a window holds.
const RECORDS_MAX: usize = 4096;

/// What came of a key in a window, on both sides.
pub type Both<K, L, R> = Windowed<K, (Vec<L>, Vec<R>)>;

/// Joins two streams by key and window.
pub trait JoinWindow<K, L> {
    /// Brings together what comes of each key in windows of `size_ms` milliseconds, aligned to epoch 0: the
    /// records of this stream and those of `other`, each in order. A window in which either has none is
    /// not emitted. More than 4,096 records of a key and side in a window are dropped as `join_full`.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("windows");
    /// let (sink, joined) = sink::collect();
    /// let numbers = t.source("numbers", source::iterate(0..6_u64));
    /// let fours = numbers.filter("fours", |n| n % 4 == 0).keyed(|_| 0);
    /// numbers
    ///     .keyed(|_| 0)
    ///     .join_window("join", 2, &fours)
    ///     .map("value", |w| w.value)
    ///     .sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(joined.take(), [(1, (vec![0, 1], vec![0])), (5, (vec![4, 5], vec![4]))]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `size_ms` is 0.
    fn join_window<R: Data>(&self, name: &str, size_ms: u64, other: &Keyed<K, R>) -> Stream<Both<K, L, R>>;
}

impl<K: Key, L: Data> JoinWindow<K, L> for Keyed<K, L> {
    fn join_window<R: Data>(&self, name: &str, size_ms: u64, other: &Keyed<K, R>) -> Stream<Both<K, L, R>> {
        assert!(size_ms > 0, "window \"{name}\" must span at least a millisecond");
        self.together(name, other).logic(name, InWindow { size_ms })
    }
}

struct InWindow {
    size_ms: u64,
}

impl<K: Key, L: Data, R: Data> Logic<K, Side<L, R>> for InWindow {
    /// Both sides of the open windows, by their start.
    type State = BTreeMap<Epoch, (Vec<L>, Vec<R>)>;
    type Out = Both<K, L, R>;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &K,
        open: &mut Self::State,
        epoch: Epoch,
        record: Side<L, R>,
        _emit: &mut Emit<Self::Out>,
    ) -> Result<(), Failure> {
        let (lefts, rights) = open.entry(epoch - epoch % self.size_ms).or_default();
        match record {
            Side::Left(record) => push(lefts, record),
            Side::Right(record) => push(rights, record),
        }
    }

    fn due(&self, open: &Self::State) -> Option<Epoch> {
        open.first_key_value().map(|(start_ms, _)| start_ms + self.size_ms)
    }

    fn close(&self, key: &K, open: &mut Self::State, upto: Epoch, emit: &mut Emit<Self::Out>) -> bool {
        if let Some((start_ms, value)) = open.pop_first()
            && !value.0.is_empty()
            && !value.1.is_empty()
        {
            emit.push(Windowed { key: key.clone(), start_ms, end_ms: upto, value });
        }
        !open.is_empty()
    }
}

fn push<T>(records: &mut Vec<T>, record: T) -> Result<(), Failure> {
    if records.len() >= RECORDS_MAX {
        let message = format!("more than {RECORDS_MAX} records of a key in a window");
        return Err(Failure::new(Reason::new("join_full"), message));
    }
    records.push(record);
    Ok(())
}
