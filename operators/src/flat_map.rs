//! One record into several.

use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Failure, Reason};

/// Turns each record into any number of others, in order.
pub trait FlatMap<T> {
    /// Emits what `f` makes of each record: up to 65,536 records, at the place of the one.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("letters");
    /// let (sink, letters) = sink::collect();
    /// t.source("words", source::iterate(["ab", "c"].map(String::from)))
    ///     .flat_map("letter", |word| word.chars().collect::<Vec<_>>())
    ///     .sink("letters", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(letters.take(), [(0, 'a'), (0, 'b'), (1, 'c')]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn flat_map<I: IntoIterator<Item: Data>>(
        &self,
        name: &str,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Stream<I::Item>;

    /// Emits what `f` makes of each record; one that fails is dropped, and counted as `rejected`.
    fn try_flat_map<I: IntoIterator<Item: Data>, E: std::fmt::Display>(
        &self,
        name: &str,
        f: impl Fn(T) -> Result<I, E> + Send + Sync + 'static,
    ) -> Stream<I::Item>;
}

impl<T: Data> FlatMap<T> for Stream<T> {
    fn flat_map<I: IntoIterator<Item: Data>>(
        &self,
        name: &str,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Stream<I::Item> {
        self.each(name, FanOut::Many, move |record, out| {
            f(record).into_iter().for_each(|made| out.push(made));
            Ok(())
        })
    }

    fn try_flat_map<I: IntoIterator<Item: Data>, E: std::fmt::Display>(
        &self,
        name: &str,
        f: impl Fn(T) -> Result<I, E> + Send + Sync + 'static,
    ) -> Stream<I::Item> {
        self.each(name, FanOut::Many, move |record, out| {
            let made = f(record).map_err(|e| Failure::new(Reason::REJECTED, e.to_string()))?;
            made.into_iter().for_each(|made| out.push(made));
            Ok(())
        })
    }
}
