//! What is told of a change of plan once it is over.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, GenerationId};
use crate::ledger::Latency;

/// The report of a change of plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeReport {
    /// When it was asked for, in seconds since the run began.
    pub at_seconds: f64,
    /// The first generation or the running one that goes by the new plan; none if it failed.
    pub generation: Option<GenerationId>,
    /// The first epoch that goes by it.
    pub cut: Option<Epoch>,
    /// Whether the running generation took it in.
    pub is_retune: bool,
    /// Why it came to nothing.
    pub error: Option<String>,
    /// How long each phase took.
    pub phases_ms: Phases,
    /// Latency of the frames completed in the second before it was asked for, in the second around the decision
    /// (and until its end, if that took longer), and in the second after its end.
    pub latency_ms: Around,
    /// Frames admitted from a second before it was asked for to a second after its end.
    pub ids: ChangeIds,
}

/// The phases of a change, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Phases {
    /// Until every node was ready.
    pub prepare: f64,
    /// Until the cut was decided.
    pub propose: f64,
    /// Until nothing of the old plan was left.
    pub drain: f64,
}

/// Before, around and after.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Around {
    /// The second before.
    pub before: Latency,
    /// The second around.
    pub around: Latency,
    /// The second after.
    pub after: Latency,
}

/// What went in and came out around a change.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ChangeIds {
    /// Frames admitted, but for those dropped at the entry.
    #[serde(rename = "in")]
    pub into: u64,
    /// Of those, the frames that every sink has passed.
    pub out: u64,
    /// Of those, the frames that were still missing ten seconds later, or at the end of the run.
    pub lost: u64,
    /// Since the report before this one.
    pub doubled: u64,
    /// Since the report before this one.
    pub reordered: u64,
}
