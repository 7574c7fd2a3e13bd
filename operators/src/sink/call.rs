//! Records to a function.

use std::marker::PhantomData;
use std::sync::Arc;

use jellybean_engine::sink::{Sink, Writer};
use jellybean_engine::{Data, Epoch, Failure, Result};

/// Calls a function with every record, in order, on the sink's own thread.
///
/// ```
/// use jellybean_operators::prelude::*;
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// let sum = Arc::new(AtomicU64::new(0));
/// let adding = sum.clone();
/// let t = Topology::new("sum");
/// t.source("numbers", source::iterate(1..=4_u64))
///     .sink("sum", Call::new(move |_epoch, n| _ = adding.fetch_add(*n, Ordering::Relaxed)));
/// jellybean_operators::run_here(&t)?;
/// assert_eq!(sum.load(Ordering::Relaxed), 10);
/// # Ok::<(), jellybean_engine::Error>(())
/// ```
pub struct Call<T, F> {
    f: Arc<F>,
    record: PhantomData<fn(T)>,
}

impl<T, F: Fn(Epoch, &T) + Send + Sync + 'static> Call<T, F> {
    /// The sink.
    #[must_use]
    pub fn new(f: F) -> Self {
        Self { f: Arc::new(f), record: PhantomData }
    }
}

impl<T: Data, F: Fn(Epoch, &T) + Send + Sync + 'static> Sink for Call<T, F> {
    type Record = T;

    fn open(&self) -> Result<Box<dyn Writer<Record = T>>> {
        Ok(Box::new(Calling { f: self.f.clone(), record: PhantomData }))
    }
}

struct Calling<T, F> {
    f: Arc<F>,
    record: PhantomData<fn(T)>,
}

impl<T: Data, F: Fn(Epoch, &T) + Send + Sync + 'static> Writer for Calling<T, F> {
    type Record = T;

    fn write(&mut self, epoch: Epoch, record: T) -> Result<(), Failure> {
        (self.f)(epoch, &record);
        Ok(())
    }
}
