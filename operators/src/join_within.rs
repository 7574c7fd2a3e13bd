//! Records of two streams that lie close in time.

use std::collections::VecDeque;
use std::sync::Arc;

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic, Side};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure, Reason};

/// The most records of one key and side that wait for their like.
const RECORDS_MAX: usize = 4096;

/// Joins two streams by key and nearness in time (an interval join).
pub trait JoinWithin<K, L> {
    /// Joins every two records of the same key whose epochs lie at most `within_ms` apart, at the epoch of
    /// the later one. The state is what has come in that time; more than 4,096 records of a key and side
    /// are dropped as `join_full`.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("within");
    /// let (sink, joined) = sink::collect();
    /// let numbers = t.source("numbers", source::iterate(0..8_u64));
    /// let fives = numbers.filter("five", |n| *n == 5).keyed(|_| 0);
    /// numbers.keyed(|_| 0).join_within("join", 1, &fives, |n, five| (*n, *five)).sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(joined.take(), [(5, (4, 5)), (5, (5, 5)), (6, (6, 5))]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn join_within<R: Data, U: Data>(
        &self,
        name: &str,
        within_ms: u64,
        other: &Keyed<K, R>,
        join: impl Fn(&L, &R) -> U + Send + Sync + 'static,
    ) -> Stream<U>;
}

impl<K: Key, L: Data> JoinWithin<K, L> for Keyed<K, L> {
    fn join_within<R: Data, U: Data>(
        &self,
        name: &str,
        within_ms: u64,
        other: &Keyed<K, R>,
        join: impl Fn(&L, &R) -> U + Send + Sync + 'static,
    ) -> Stream<U> {
        self.together(name, other).logic(name, Near { within_ms, join: Arc::new(join) })
    }
}

struct Near<L, R, U> {
    within_ms: u64,
    join: Join<L, R, U>,
}

type Join<L, R, U> = Arc<dyn Fn(&L, &R) -> U + Send + Sync>;

/// Records of one side that may still meet some of the other, by rising epoch.
type Recent<T> = VecDeque<(Epoch, T)>;

impl<K: Key, L: Data, R: Data, U: Data> Logic<K, Side<L, R>> for Near<L, R, U> {
    type State = (Recent<L>, Recent<R>);
    type Out = U;
    const FAN_OUT: FanOut = FanOut::Many;

    fn record(
        &self,
        _key: &K,
        (lefts, rights): &mut Self::State,
        epoch: Epoch,
        record: Side<L, R>,
        emit: &mut Emit<U>,
    ) -> Result<(), Failure> {
        let oldest = epoch.saturating_sub(self.within_ms);
        forget(lefts, oldest);
        forget(rights, oldest);
        match record {
            Side::Left(left) => {
                rights.iter().for_each(|(_, right)| emit.push((self.join)(&left, right)));
                remember(lefts, epoch, left)
            }
            Side::Right(right) => {
                lefts.iter().for_each(|(_, left)| emit.push((self.join)(left, &right)));
                remember(rights, epoch, right)
            }
        }
    }

    fn due(&self, (lefts, rights): &Self::State) -> Option<Epoch> {
        let last = lefts.back().map(|(epoch, _)| *epoch).max(rights.back().map(|(epoch, _)| *epoch));
        last.map(|epoch| epoch + self.within_ms + 1)
    }

    fn close(&self, _key: &K, _state: &mut Self::State, _upto: Epoch, _emit: &mut Emit<U>) -> bool {
        false
    }
}

fn forget<T>(recent: &mut Recent<T>, oldest: Epoch) {
    while recent.front().is_some_and(|(epoch, _)| *epoch < oldest) {
        recent.pop_front();
    }
}

fn remember<T>(recent: &mut Recent<T>, epoch: Epoch, record: T) -> Result<(), Failure> {
    if recent.len() >= RECORDS_MAX {
        let message = format!("more than {RECORDS_MAX} records of a key wait for their like");
        return Err(Failure::new(Reason::new("join_full"), message));
    }
    recent.push_back((epoch, record));
    Ok(())
}
