//! The handful of primitives that every operator is made of.
//!
//! [`each`] (stateless), [`mod@merge`], [`pooled`] (on runners), [`keyed`] (state by key), [`relational`]
//! (differential views), [`sink`] and [`source`]. A primitive is a driver: it owns frontiers,
//! capabilities, tokens and the ledger. What is done with a record is a closure or a small trait.

pub mod each;
pub mod keyed;
pub mod merge;
pub mod pooled;
pub mod relational;
pub mod sink;
pub mod source;

mod copied;
mod feeding;
mod frozen;
mod reorder;
mod trial;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::failure::{Failure, Reason};
use crate::pool::panic_message;

/// Where a closure puts what it makes of a record.
pub struct Emit<U>(pub(crate) Vec<U>);

impl<U> Emit<U> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Emits a record.
    pub fn push(&mut self, record: U) {
        self.0.push(record);
    }
}

/// Runs user code; a panic in it costs the item, not the run.
pub(crate) fn guarded<R>(f: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|panic| Err(Failure::new(Reason::PANIC, panic_message(&*panic))))
}
