//! Between topologies and placement: what is asked on behalf of a graph, what the answer means, and how it becomes a
//! plan that the engine runs.
//!
//! Pure: what goes in are values, what comes out are values.

pub mod diff;
pub mod explain;
mod fault;
mod machines;
mod measured;
mod paper;
pub mod rates;
pub mod report;
mod solve;
#[cfg(test)]
mod tests;
mod wanted;
mod written;

pub use diff::diff;
pub use explain::{Explanation, explain};
pub use fault::{Entry, Fault};
pub use machines::machines;
pub(crate) use measured::feed;
pub use rates::Rates;
pub use report::Report;
pub use solve::{plan, solve, solve_from};
pub use wanted::Wanted;
pub(crate) use written::admitting;
pub use written::{read, write};
