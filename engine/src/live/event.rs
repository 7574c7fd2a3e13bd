//! What the decider learns, and what it wants done.

use std::collections::BTreeMap;

use super::observe::Observed;
use super::question::{Question, Solution};
use super::record::Record;
use crate::placement::Decision;

/// Something that the decider learns.
#[derive(Clone, Debug)]
pub enum Event {
    /// What was measured.
    Observed(Observed),
    /// Time has passed.
    Tick,
    /// A node can be used.
    NodeCame(String),
    /// A node cannot be used any more.
    NodeGone(String),
    /// A camera came or went: so much does its source send now, in items per second.
    Camera {
        /// The source.
        source: String,
        /// All its cameras together.
        rate_per_s: f64,
    },
    /// Items take longer than they may.
    ObjectiveMissed {
        /// Of which source.
        what: String,
        /// Milliseconds they take.
        p95_ms: f64,
        /// Milliseconds they may take.
        p95_ms_max: f64,
    },
    /// A question was answered.
    Solved {
        /// Which one.
        id: u64,
        /// The answer, or why there is none.
        solution: std::result::Result<Box<Solution>, String>,
    },
    /// A change has taken effect, or has failed.
    Changed {
        /// The record that it belongs to.
        id: u64,
        /// Why it failed, and on which node if that is known.
        outcome: std::result::Result<(), Failed>,
    },
    /// Somebody applied a plan. It stays unless something urgent happens, or somebody says [`Event::Resume`].
    AppliedByHand(Decision),
    /// Somebody asks for the cheapest plan now.
    Rebalance,
    /// Decide nothing until told otherwise.
    Pause,
    /// Decide again.
    Resume,
}

/// Why a change failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// In words.
    pub why: String,
    /// Where, if it is known.
    pub node: Option<String>,
}

/// Something that is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Answer a question, in a while, elsewhere; say [`Event::Solved`].
    Solve(Box<Question>),
    /// Change to a plan; say [`Event::Changed`].
    Apply {
        /// The record of it.
        id: u64,
        /// The plan.
        decision: Box<Decision>,
        /// By source: items per second to let in; empty for all.
        admitted: BTreeMap<String, f64>,
    },
    /// Tell people what was decided.
    Tell(Box<Record>),
}
