//! Counts by key, kept up to date.

use jellybean_engine::primitive::relational::{Change, Relation, Row};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Keep};
use serde::{Deserialize, Serialize};

/// How many records of a key there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Count<K> {
    /// The key.
    pub key: K,
    /// How many.
    pub count: i64,
}

/// Counts a stream or a relation by key.
pub trait CountBy<T> {
    /// The counts by `key` as a stream of changes: whenever one changes, `-1` of the old and `+1` of
    /// the new. A stream counts everything that has ever come; a relation what is in it.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("counts");
    /// let (sink, counts) = sink::collect();
    /// t.source("words", source::iterate(["a", "b", "a"].map(String::from)))
    ///     .count_by("count", |word| word.clone())
    ///     .map("plain", |c| (c.diff, c.record.key, c.record.count))
    ///     .sink("counts", sink);
    /// jellybean_operators::run_here(&t)?;
    /// let a = || "a".to_owned();
    /// assert_eq!(counts.take(), [
    ///     (0, (1, a(), 1)),
    ///     (1, (1, "b".to_owned(), 1)),
    ///     (2, (-1, a(), 1)), (2, (1, a(), 2)),
    /// ]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn count_by<K: Row>(
        &self,
        name: &str,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Stream<Change<Count<K>>>;
}

impl<T: Data> CountBy<T> for Relation<T> {
    fn count_by<K: Row>(
        &self,
        name: &str,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Stream<Change<Count<K>>> {
        self.count(name, key, |key, count| Count { key, count })
    }
}

impl<T: Data> CountBy<T> for Stream<T> {
    fn count_by<K: Row>(
        &self,
        name: &str,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Stream<Change<Count<K>>> {
        self.relation(Keep::Forever).count_by(name, key)
    }
}
