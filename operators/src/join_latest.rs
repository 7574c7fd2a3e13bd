//! Records with the latest of another stream.

use std::sync::Arc;

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic, Side};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure};

/// Looks records up in another stream.
pub trait JoinLatest<K, L> {
    /// Joins each record with the latest one of `other` that has the same key and is not later; of the
    /// same epoch, the order of the run decides. The state is one record of `other` per key.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("latest");
    /// let (sink, joined) = sink::collect();
    /// let numbers = t.source("numbers", source::iterate(0..5_u64));
    /// let even = numbers.filter("even", |n| n % 2 == 0).keyed(|_| 0);
    /// numbers.keyed(|_| 0).join_latest("join", &even, |n, even| (n, even.copied())).sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// let joined: Vec<_> = joined.take().into_iter().map(|(_, pair)| pair).collect();
    /// // A number comes before its own echo among the even ones.
    /// assert_eq!(joined, [(0, None), (1, Some(0)), (2, Some(0)), (3, Some(2)), (4, Some(2))]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn join_latest<R: Data, U: Data>(
        &self,
        name: &str,
        other: &Keyed<K, R>,
        join: impl Fn(L, Option<&R>) -> U + Send + Sync + 'static,
    ) -> Stream<U>;
}

impl<K: Key, L: Data> JoinLatest<K, L> for Keyed<K, L> {
    fn join_latest<R: Data, U: Data>(
        &self,
        name: &str,
        other: &Keyed<K, R>,
        join: impl Fn(L, Option<&R>) -> U + Send + Sync + 'static,
    ) -> Stream<U> {
        self.together(name, other).logic(name, Latest(Arc::new(join)))
    }
}

type Join<L, R, U> = Arc<dyn Fn(L, Option<&R>) -> U + Send + Sync>;

struct Latest<L, R, U>(Join<L, R, U>);

impl<K: Key, L: Data, R: Data, U: Data> Logic<K, Side<L, R>> for Latest<L, R, U> {
    type State = Option<R>;
    type Out = U;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &K,
        latest: &mut Self::State,
        _epoch: Epoch,
        record: Side<L, R>,
        emit: &mut Emit<U>,
    ) -> Result<(), Failure> {
        match record {
            Side::Left(record) => emit.push((self.0)(record, latest.as_ref())),
            Side::Right(record) => *latest = Some(record),
        }
        Ok(())
    }
}
