//! Where streams end: lines of JSON, annotated pictures, a function, nothing.
//!
//! Invariant: a record that cannot be written is a failure of that record, never of the run, and nothing
//! half-written stays behind.

mod call;
mod jpeg;
mod jsonl;
mod null;

pub use call::Call;
pub use jpeg::{Annotated, Jpegs, Mark};
pub use jsonl::Jsonl;
pub use null::Null;
