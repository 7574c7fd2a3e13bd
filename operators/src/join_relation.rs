//! Two relations by key, kept up to date.

use jellybean_engine::Data;
use jellybean_engine::primitive::relational::{Change, Relation, Row};
use jellybean_engine::topology::Stream;

/// Joins relations.
pub trait JoinRelation<T> {
    /// What `row` makes of every two rows of the same key, one of this relation and one of `other`, as a
    /// stream of changes: it comes with the second of the two, and goes with the first that goes.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("join");
    /// let (sink, pairs) = sink::collect();
    /// let numbers = t.source("numbers", source::iterate(0..4_u64));
    /// let odd = numbers.filter("odd", |n| n % 2 == 1).relation(Keep::Forever);
    /// let even = numbers.filter("even", |n| n % 2 == 0).relation(Keep::Millis(2));
    /// odd.join("pairs", &even, |n| ((), *n), |n| ((), *n), |_key, odd, even| (*odd, *even))
    ///     .map("plain", |c| (c.diff, c.record))
    ///     .sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(pairs.take(), [
    ///     (1, (1, (1, 0))),
    ///     (2, (-1, (1, 0))), (2, (1, (1, 2))),
    ///     (3, (1, (3, 2))),
    ///     (4, (-1, (1, 2))), (4, (-1, (3, 2))),
    /// ]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn join<U: Data, K: Row, V: Row, W: Row, R: Row>(
        &self,
        name: &str,
        other: &Relation<U>,
        left: impl Fn(&T) -> (K, V) + Send + Sync + 'static,
        right: impl Fn(&U) -> (K, W) + Send + Sync + 'static,
        row: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
    ) -> Stream<Change<R>>;
}

impl<T: Data> JoinRelation<T> for Relation<T> {
    fn join<U: Data, K: Row, V: Row, W: Row, R: Row>(
        &self,
        name: &str,
        other: &Relation<U>,
        left: impl Fn(&T) -> (K, V) + Send + Sync + 'static,
        right: impl Fn(&U) -> (K, W) + Send + Sync + 'static,
        row: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
    ) -> Stream<Change<R>> {
        self.join_values(name, other, left, right, row)
    }
}
