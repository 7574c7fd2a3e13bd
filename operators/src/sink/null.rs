//! A sink that forgets.

use std::marker::PhantomData;

use jellybean_engine::sink::{Sink, Writer};
use jellybean_engine::{Data, Epoch, Failure, Result};

/// Takes everything and keeps nothing, for measuring what stands before it.
#[derive(Clone, Copy, Debug)]
pub struct Null<T>(PhantomData<fn(T)>);

impl<T> Null<T> {
    /// The sink.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Null<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Data> Sink for Null<T> {
    type Record = T;

    fn open(&self) -> Result<Box<dyn Writer<Record = T>>> {
        Ok(Box::new(Self::new()))
    }
}

impl<T> Writer for Null<T> {
    type Record = T;

    fn write(&mut self, _: Epoch, _: T) -> Result<(), Failure> {
        Ok(())
    }
}
