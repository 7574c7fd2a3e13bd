//! One stream as two.

use std::sync::Arc;

use jellybean_engine::Data;
use jellybean_engine::topology::Stream;

use crate::filter::Filter;

/// Divides a stream by a predicate.
pub trait Branch<T> {
    /// The records for which `first` holds (stage `name`), and the others (stage `name-else`).
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("parity");
    /// let ((even_sink, even), (odd_sink, odd)) = (sink::collect(), sink::collect());
    /// let (a, b) = t.source("numbers", source::iterate(0..4_u8)).branch("even", |n| n % 2 == 0);
    /// a.sink("a", even_sink);
    /// b.sink("b", odd_sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(even.take(), [(0, 0), (2, 2)]);
    /// assert_eq!(odd.take(), [(1, 1), (3, 3)]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn branch(
        &self,
        name: &str,
        first: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> (Stream<T>, Stream<T>);
}

impl<T: Data> Branch<T> for Stream<T> {
    fn branch(
        &self,
        name: &str,
        first: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> (Stream<T>, Stream<T>) {
        let first = Arc::new(first);
        let rest = first.clone();
        (self.filter(name, move |r| first(r)), self.filter(&format!("{name}-else"), move |r| !rest(r)))
    }
}
