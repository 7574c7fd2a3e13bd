//! Live: what the nodes tell becomes a demand, and the demand a decision about the plan.
//!
//! Everything here is pure: it reads no clock, and times stand in what it is given. [`observe`] turns reports into
//! rates and service times, [`demand`] them into the load of every stage, node and link, and [`decide`] says what is
//! to be done about it. [`simulate`] plays all that over recorded rates.
//!
//! [`observe`]: Observer
//! [`demand`]: Demand
//! [`decide`]: Decider

mod bands;
mod decide;
mod demand;
mod event;
mod known;
mod observe;
mod question;
mod record;
mod routes;
mod settings;
pub mod simulate;

pub use decide::{Decider, Setup};
pub use demand::{Demand, Facts, Loads, link_name, recompute};
pub use event::{Action, Event, Failed};
pub use observe::{LinkObserved, Observed, Observer, RATE_MAX, Reading, Smoothing};
pub use question::{Question, Solution, Solve, answer};
pub use record::{Cause, Host, Record, Trigger, Verdict};
pub use routes::{Parts, Routes, demands};
pub(crate) use settings::us;
pub use settings::{Bands, Settings};

pub use crate::telemetry;
