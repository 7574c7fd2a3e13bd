//! Where streams end: lines of JSON, rows of CSV, annotated pictures, a function, nothing.
//!
//! Invariant: a record that cannot be written is a failure of that record, never of the run, and nothing
//! half-written stays behind.

mod call;
mod csv;
mod jpeg;
mod jsonl;
mod lines;
mod null;

pub use call::Call;
pub use csv::Csv;
pub use jpeg::{Annotated, Jpegs, Mark};
pub use jsonl::Jsonl;
pub use null::Null;
