//! One record into one.

use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Failure, Reason};

/// Turns each record into another.
pub trait Map<T> {
    /// Applies `f` to each record.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("lengths");
    /// let (sink, lengths) = sink::collect();
    /// t.source("words", source::iterate(["a", "bc"].map(String::from)))
    ///     .map("length", |word| word.len())
    ///     .sink("lengths", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(lengths.take(), [(0, 1), (1, 2)]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn map<U: Data>(&self, name: &str, f: impl Fn(T) -> U + Send + Sync + 'static) -> Stream<U>;

    /// Applies `f` to each record; one that fails is dropped, and counted as `rejected`.
    fn try_map<U: Data, E: std::fmt::Display>(
        &self,
        name: &str,
        f: impl Fn(T) -> Result<U, E> + Send + Sync + 'static,
    ) -> Stream<U>;
}

impl<T: Data> Map<T> for Stream<T> {
    fn map<U: Data>(&self, name: &str, f: impl Fn(T) -> U + Send + Sync + 'static) -> Stream<U> {
        self.each(name, FanOut::One, move |record, out| {
            out.push(f(record));
            Ok(())
        })
    }

    fn try_map<U: Data, E: std::fmt::Display>(
        &self,
        name: &str,
        f: impl Fn(T) -> Result<U, E> + Send + Sync + 'static,
    ) -> Stream<U> {
        self.each(name, FanOut::One, move |record, out| {
            let made = f(record).map_err(|e| Failure::new(Reason::REJECTED, e.to_string()))?;
            out.push(made);
            Ok(())
        })
    }
}
