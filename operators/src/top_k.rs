//! The largest of each key, kept up to date.

use jellybean_engine::Data;
use jellybean_engine::primitive::relational::{Change, Relation, Row};
use jellybean_engine::topology::Stream;
use serde::{Deserialize, Serialize};

/// A place among the largest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ranked<K, V> {
    /// Whose.
    pub key: K,
    /// From 0 for the largest.
    pub rank: usize,
    /// The value.
    pub value: V,
}

/// The largest values in a relation.
pub trait TopK<T> {
    /// The `k` largest values of each key, as a stream of changes. A value that is there several times
    /// takes as many places.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("top");
    /// let (sink, top) = sink::collect();
    /// t.source("numbers", source::iterate([3_u64, 5, 5]))
    ///     .relation(Keep::Forever)
    ///     .top_k("top", 2, |n| ((), *n))
    ///     .map("plain", |c| (c.diff, c.record.rank, c.record.value))
    ///     .sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(top.take(), [
    ///     (0, (1, 0, 3)),
    ///     (1, (-1, 0, 3)), (1, (1, 0, 5)), (1, (1, 1, 3)),
    ///     (2, (-1, 1, 3)), (2, (1, 1, 5)),
    /// ]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn top_k<K: Row, V: Row>(
        &self,
        name: &str,
        k: usize,
        pair: impl Fn(&T) -> (K, V) + Send + Sync + 'static,
    ) -> Stream<Change<Ranked<K, V>>>;
}

impl<T: Data> TopK<T> for Relation<T> {
    fn top_k<K: Row, V: Row>(
        &self,
        name: &str,
        k: usize,
        pair: impl Fn(&T) -> (K, V) + Send + Sync + 'static,
    ) -> Stream<Change<Ranked<K, V>>> {
        self.reduce_values(name, pair, move |key: &K, values: &[(&V, i64)]| {
            let largest = values.iter().rev();
            let places = largest.flat_map(|(value, n)| (0..*n).map(move |_| *value));
            let ranked = |(rank, value): (usize, &V)| Ranked { key: key.clone(), rank, value: value.clone() };
            places.take(k).enumerate().map(ranked).collect()
        })
    }
}
