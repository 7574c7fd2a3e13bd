//! What the parts of a run call each other by: epochs, generations, stages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a name can stand in plans, files and on the network: letters, digits, `-`, `_` and `.`.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Logical time: milliseconds since the run began.
pub type Epoch = u64;

/// The name of a generation; a later controller's term is higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GenerationId {
    /// The controller's term.
    pub term: u32,
    /// Counts the controller's plans from 1.
    pub n: u32,
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.n)
    }
}

/// The index of a stage in its graph, in topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct StageId(pub(crate) u32);
