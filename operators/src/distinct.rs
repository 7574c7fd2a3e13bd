//! What is there, once.

use jellybean_engine::Data;
use jellybean_engine::primitive::relational::{Change, Relation, Row};
use jellybean_engine::topology::Stream;

/// The different values in a relation.
pub trait Distinct<T> {
    /// Each value that `value` takes in the relation, once, as a stream of changes: `+1` when the first
    /// record of it comes, `-1` when the last one goes.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("distinct");
    /// let (sink, there) = sink::collect();
    /// t.source("words", source::iterate(["a", "b", "a"].map(String::from)))
    ///     .relation(Keep::Millis(2))
    ///     .distinct("there", |word| word.clone())
    ///     .map("plain", |c| (c.diff, c.record))
    ///     .sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// let [a, b] = ["a", "b"].map(String::from);
    /// assert_eq!(there.take(), [(0, (1, a.clone())), (1, (1, b.clone())), (3, (-1, b)), (4, (-1, a))]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn distinct<R: Row>(
        &self,
        name: &str,
        value: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> Stream<Change<R>>;
}

impl<T: Data> Distinct<T> for Relation<T> {
    fn distinct<R: Row>(
        &self,
        name: &str,
        value: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> Stream<Change<R>> {
        self.distinct_values(name, value)
    }
}
