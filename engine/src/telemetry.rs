//! What nodes measure of themselves, as it is told, kept and shown.
//!
//! Counters are cumulative from when the node began to run a topology: a report that is late or missing loses
//! nothing, and whoever wants a rate takes the difference of two. A node that was started again begins at 0. Nothing
//! grows without bound: a report has at most [`ROWS_MAX`] rows of a kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ledger::Accounts;

/// Stages, links or lanes of one report, at most; what would come after these is not told.
pub const ROWS_MAX: usize = 4_096;

/// What one node has measured up to a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// The node.
    pub node: String,
    /// When it was read, by the run clock.
    pub at_us: u64,
    /// Its stages, and those that it has run before.
    pub stages: Vec<StageReading>,
    /// What it sends to other nodes, and has sent.
    pub links: Vec<LinkReading>,
    /// The lanes that are on it.
    pub sources: Vec<SourceReading>,
}

/// One stage with one variant on one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageReading {
    /// The stage.
    pub stage: String,
    /// The variant that its plan names; `None` is the default of its family, or that it has none.
    pub variant: Option<String>,
    /// Records that it has done with, those that it dropped included; a source's count in its lanes.
    pub items_in: u64,
    /// Records that it has emitted.
    pub items_out: u64,
    /// How long its slots, or where it has none its own logic on the worker, have worked: without waiting. 0 for
    /// relations, merges and sources, where it is not taken.
    pub busy_us: u64,
    /// Batches that its slots have run, or how often its logic was called.
    pub calls: u64,
    /// Items that wait for a slot now.
    pub waiting: u64,
    /// Slots of its pool; 0 where it has none, as a sink, whose writer is no slot of the node's, and where it runs no
    /// more.
    pub slots: u32,
    /// p50, p95 and p99 of how long the frames took, from admission to the last sink, that were completed since the
    /// report before; of sources alone, in milliseconds. `None` if there was none.
    pub latency_ms: Option<[f64; 3]>,
}

/// What one node sends another of a stage's output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkReading {
    /// The other node.
    pub to: String,
    /// The stage whose output it is.
    pub from_stage: String,
    /// The stage that it is for; the first one of the graph's where several on that node share the link.
    pub to_stage: String,
    /// Records sent.
    pub items: u64,
    /// Bytes handed to the network; what was sent again counts again.
    pub bytes: u64,
    /// Frames that were sent again.
    pub resent: u64,
    /// There and back, without what the other node waited: the least of the latest that were measured.
    pub round_trip_us: Option<u64>,
}

/// One lane of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceReading {
    /// The source.
    pub source: String,
    /// The lane: a camera.
    pub lane: String,
    /// Frames that came in, as the ledger counts them: dropped ones included.
    pub admitted: u64,
    /// Of these, the dropped ones.
    pub dropped: u64,
    /// Frames that would have come in if nothing had held them up: with those of a lane as filmed whose time has come
    /// while there was no room.
    pub offered: u64,
}

/// What is known of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    /// What it has measured.
    pub telemetry: Telemetry,
    /// Its part of the ledger, at the same time.
    pub ledger: Accounts,
}

/// The latest readings by node; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, Readings>>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Readings>> {
        // What is on it is put there whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, node: &str, readings: Readings) {
        self.lock().insert(node.to_owned(), readings);
    }

    pub(crate) fn remove(&self, node: &str) {
        self.lock().remove(node);
    }

    /// What is on it now.
    #[must_use]
    pub fn read(&self) -> BTreeMap<String, Readings> {
        self.lock().clone()
    }
}
