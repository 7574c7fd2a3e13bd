//! Placement: the cheapest plan that meets the objectives, with a proof of how cheap it is.
//!
//! A pure function of a [`Problem`]: it reads no clock and draws from fixed seeds only, so that an input has one answer
//! unless the caller's own [`Budget`] stops it early. What it answers holds at every moment: the plan is feasible by
//! the judge of [`evaluate`], and no plan costs less than the bound.
//!
//! Identical nodes are merged into classes; variants, tiers and counts of nodes are decided by branch and bound over
//! linear programs, with plans from rounding and local search on the way. Where the nodes all differ and are so many
//! that one program would take seconds, local search finds the plans, and prices of shares bound them.
//! [`exhaustive`] is the dull twin of all that.
//!
//! ```
//! use jellybean_engine::placement::{Budget, Mode, Problem, Status, solve};
//! let problem: Problem = toml::from_str(r#"
//!     [[machines.site]]
//!     name = "yard"
//!     tier = 0
//!     [[machines.node]]
//!     name = "box"
//!     site = "yard"
//!     usd_per_h = 0.1
//!     [[machines.node]]
//!     name = "server"
//!     site = "yard"
//!     usd_per_h = 0.3
//!     [[profile.stage]]
//!     name = "detect"
//!     variants = ["small", "large"]
//!     [[profile.edge]]
//!     from = "cameras"
//!     to = "detect"
//!     items_per_item = 1.0
//!     kb_per_item = [100.0]
//!     [[profile.service]]
//!     stage = "detect"
//!     variant = "small"
//!     class = "box"
//!     ms_per_item = 40.0
//!     [[profile.service]]
//!     stage = "detect"
//!     variant = "large"
//!     class = "server"
//!     ms_per_item = 20.0
//!     [[rates.source]]
//!     name = "cameras"
//!     site = "yard"
//!     rate_per_s = 20.0
//! "#).unwrap();
//! let answer = solve(&problem, Mode::Shared, &Budget::unlimited())?;
//! assert_eq!((answer.status, answer.cost_usd_per_h), (Status::Optimal, Some(0.1)));
//! assert_eq!(answer.decision.unwrap().variants["detect"], "small");
//! # Ok::<(), jellybean_engine::Error>(())
//! ```

mod branching;
mod cover;
mod decision;
mod descent;
mod evaluate;
pub mod exhaustive;
pub mod explain;
mod heuristic;
pub mod import;
mod model;
mod offers;
mod prices;
pub mod problem;
mod program;
mod proportional;
mod reading;
mod search;
mod sharing;
mod tableau;
#[cfg(test)]
mod tests;
mod traffic;

pub use decision::{Answer, Decision, Mode, Running, SiteFlow, Status};
pub use evaluate::{Evaluation, evaluate, evaluate_from};
pub use heuristic::heuristic;
pub use problem::Problem;

use crate::error::Result;

/// A gap that counts as none: the arithmetic is good to about 1e-9.
pub const GAP_PROVED: f64 = 1e-7;

/// How long a search may go on. What it has found by then is its answer.
pub struct Budget<'a> {
    /// Linear programs, at most; so many steps of local search count as one.
    pub programs_max: u64,
    /// Asked before each of them; may read a clock. None takes long: problems that are too large for that are solved
    /// without. An answer that it cut short depends on when it did.
    pub go_on: &'a dyn Fn() -> bool,
}

impl Budget<'_> {
    /// Until it is proved.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::programs(u64::MAX)
    }

    /// So many linear programs, at most: the same answer on every machine.
    #[must_use]
    pub fn programs(programs_max: u64) -> Self {
        Self { programs_max, go_on: &|| true }
    }
}

/// The cheapest plan, by the rules of a mode.
///
/// # Errors
/// `Invalid` if the problem is not right. That there is no plan is an answer, not an error.
pub fn solve(problem: &Problem, mode: Mode, budget: &Budget<'_>) -> Result<Answer> {
    let model = model::Model::new(problem, mode, None)?;
    Ok(search::Search::new(problem, model, budget, None).run())
}

/// The plan that is cheapest together with the starts that it takes from the running one.
///
/// # Errors
/// `Invalid` if the problem or the price of a start is not right. That there is no plan is an answer, not an error.
pub fn solve_from(problem: &Problem, mode: Mode, budget: &Budget<'_>, running: &Running) -> Result<Answer> {
    let model = model::Model::new(problem, mode, Some(running))?;
    problem::number("the running plan", "usd_per_start", running.usd_per_start)?;
    Ok(search::Search::new(problem, model, budget, Some(running)).run())
}
