//! Trying the runners of a pooled stage outside of a run: one, on records that came to the stage.

use std::sync::Arc;

use super::guarded;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::plan::Assignment;
use crate::record::{Batch, Data};
use crate::runner::{AnyRunner, Runners};
use crate::stage::{Trial, Tried};

/// Takes a model's input out of a record.
type Input<T, I> = Arc<dyn Fn(&T) -> I + Send + Sync>;

/// What a pooled stage is tried with.
pub(super) struct Trying<T, R: Runners> {
    pub(super) runners: Arc<R>,
    pub(super) input: Input<T, R::In>,
}

struct Opened<T, I, O> {
    records: Vec<T>,
    input: Input<T, I>,
    runner: AnyRunner<I, O>,
}

impl<T: Data, R: Runners> Trial for Trying<T, R> {
    fn variants(&self) -> Result<Vec<String>> {
        self.runners.variants()
    }

    fn open(&self, assignment: &Assignment, records: Vec<Batch>) -> Result<Box<dyn Tried>> {
        let records: Vec<T> = records.into_iter().flat_map(Batch::get::<T>).map(|e| e.record).collect();
        if records.is_empty() {
            let message = "no record came to the stage that it could be tried on";
            return Err(Error::new(ErrorKind::NotFound, message)
                .way_out("take footage in which something comes that far, or more of it"));
        }
        let runner = (self.runners.resolve(assignment)?.open)()?;
        Ok(Box::new(Opened { records, input: self.input.clone(), runner }))
    }
}

impl<T, I: Send + 'static, O: Send + 'static> Tried for Opened<T, I, O> {
    fn call(&mut self, from: usize, items: usize, clock: &Clock) -> Result<u64, Failure> {
        let records = (from..from + items).map(|i| &self.records[i % self.records.len()]);
        let batch = guarded(|| Ok(records.map(|record| (self.input)(record)).collect()))?;
        let from_us = clock.now_us();
        let outcomes = guarded(|| Ok(self.runner.run(batch)))?;
        let us = clock.now_us().saturating_sub(from_us);
        outcomes.into_iter().try_for_each(|outcome| outcome.map(|_| ()))?;
        Ok(us)
    }
}
