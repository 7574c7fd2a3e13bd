//! What a sink is: a writer on a thread of its own, fed in epoch order.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::failure::Failure;
use crate::id::Epoch;
use crate::record::Data;

/// Where a stream ends. It moves on from generation to generation, and from node to node where a plan
/// moves it.
pub trait Sink: Send + Sync + 'static {
    /// What it takes.
    type Record: Data;

    /// Opens the place it writes to.
    ///
    /// # Errors
    /// Says what could not be opened and what to do.
    fn open(&self) -> Result<Box<dyn Writer<Record = Self::Record>>>;

    /// Opens it for a run that has written to it before, perhaps from another node: what was written must
    /// stay. The writer before may still be open; nothing comes to this one until that one is done, and
    /// nothing ever if the change of plan is aborted.
    ///
    /// # Errors
    /// As [`Sink::open`].
    fn reopen(&self) -> Result<Box<dyn Writer<Record = Self::Record>>> {
        self.open()
    }
}

/// An open sink. Called with records in the order of (epoch, source, number), on one thread.
pub trait Writer: Send {
    /// What it takes.
    type Record;

    /// Writes one record.
    ///
    /// # Errors
    /// The record is dropped with the failure's reason; the run goes on.
    fn write(&mut self, epoch: Epoch, record: Self::Record) -> Result<(), Failure>;

    /// Makes everything written so far visible to others; called when a batch is through and at the end.
    ///
    /// # Errors
    /// Reported with the run.
    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Ends what is written, for formats that have an end. Called once, when nothing more will come: at the end of
    /// the run, and before that where a change of plan has opened another writer.
    ///
    /// # Errors
    /// A fault of the run: no record is left that could be dropped.
    fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A sink that keeps what it gets in memory, and a handle to read it.
///
/// For tests and examples.
#[must_use]
pub fn collect<T: Data>() -> (Collect<T>, Collected<T>) {
    let kept = Collected(Arc::default());
    (Collect(kept.clone()), kept)
}

/// See [`collect`].
pub struct Collect<T>(Collected<T>);

/// What a [`Collect`] sink has got so far, in order.
pub struct Collected<T>(Arc<Mutex<Vec<(Epoch, T)>>>);

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Collected<T> {
    /// Takes out what has come since the last time, with its epochs.
    #[must_use]
    pub fn take(&self) -> Vec<(Epoch, T)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Data> Sink for Collect<T> {
    type Record = T;

    fn open(&self) -> Result<Box<dyn Writer<Record = T>>> {
        Ok(Box::new(self.0.clone()))
    }
}

impl<T: Data> Writer for Collected<T> {
    type Record = T;

    fn write(&mut self, epoch: Epoch, record: T) -> Result<(), Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((epoch, record));
        Ok(())
    }
}
