//! Any aggregate of what a relation holds of a key, kept up to date.

use jellybean_engine::Data;
use jellybean_engine::primitive::relational::{Change, Relation, Row};
use jellybean_engine::topology::Stream;

/// Reduces a relation by key.
pub trait ReduceBy<T> {
    /// What `reduce` makes of the values of each key, as a stream of changes. It sees every different
    /// value with how often it is there, in rising order, and is called again whenever one of them changes;
    /// a key without values has no row.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("largest");
    /// let (sink, largest) = sink::collect();
    /// t.source("numbers", source::iterate([3_u64, 5, 4]))
    ///     .relation(Keep::Millis(2))
    ///     .reduce_by("largest", |n| ((), *n), |_key, values| values.last().map(|(n, _)| **n))
    ///     .map("plain", |c| (c.diff, c.record))
    ///     .sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// let changes = [(0, (1, 3)), (1, (-1, 3)), (1, (1, 5)), (3, (-1, 5)), (3, (1, 4)), (4, (-1, 4))];
    /// assert_eq!(largest.take(), changes);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn reduce_by<K: Row, V: Row, R: Row>(
        &self,
        name: &str,
        pair: impl Fn(&T) -> (K, V) + Send + Sync + 'static,
        reduce: impl Fn(&K, &[(&V, i64)]) -> Option<R> + Send + Sync + 'static,
    ) -> Stream<Change<R>>;
}

impl<T: Data> ReduceBy<T> for Relation<T> {
    fn reduce_by<K: Row, V: Row, R: Row>(
        &self,
        name: &str,
        pair: impl Fn(&T) -> (K, V) + Send + Sync + 'static,
        reduce: impl Fn(&K, &[(&V, i64)]) -> Option<R> + Send + Sync + 'static,
    ) -> Stream<Change<R>> {
        self.reduce_values(name, pair, move |key, values| reduce(key, values).into_iter().collect())
    }
}
