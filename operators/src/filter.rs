//! Keeping some records.

use jellybean_engine::Data;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::topology::Stream;

/// Keeps the records that a predicate accepts.
pub trait Filter<T> {
    /// Keeps the records for which `keep` holds.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("even");
    /// let (sink, even) = sink::collect();
    /// t.source("numbers", source::iterate(0..4_u8)).filter("even", |n| n % 2 == 0).sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(even.take(), [(0, 0), (2, 2)]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn filter(&self, name: &str, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Stream<T>;
}

impl<T: Data> Filter<T> for Stream<T> {
    fn filter(&self, name: &str, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Stream<T> {
        self.each(name, FanOut::One, move |record, out| {
            if keep(&record) {
                out.push(record);
            }
            Ok(())
        })
    }
}
