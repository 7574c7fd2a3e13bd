//! The plan follows the rates: what nodes measure, and what becomes of it.

pub use crate::telemetry;
