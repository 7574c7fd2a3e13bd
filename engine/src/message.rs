//! What the controller and the nodes tell each other, by direction.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::id::{Epoch, GenerationId, StageId};
use crate::ledger::Books;
use crate::net::Member;
use crate::plan::Plan;
use crate::recent::Windows;
use crate::telemetry::Readings;

/// The version of everything that members tell each other; it is told first.
pub(crate) const PROTOCOL: u32 = 2;

/// The term of a controller that only asks so far: it has not led, and deposes nobody.
pub(crate) const ASKING: u32 = 0;

/// What a controller tells a node, and in which term.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// A node takes no orders of a term that is over.
    pub(crate) term: u32,
    pub(crate) order: ToNode,
}

/// To a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToNode {
    /// How do things stand with you? The answer is a [`Standing`]. Asked in a term, it is also an order to obey
    /// nobody of an earlier one: so what is answered cannot be changed any more by orders on their way.
    Enquire,
    /// Make this topology ready to be run: no stage of it is opened yet.
    Load(Load),
    /// Build your part of a plan, and say so.
    Prepare(Prepare),
    /// May the next generation begin at this epoch, or, if none is to follow, the run end there?
    Propose { round: u32, cut: Epoch, is_end: bool },
    /// A generation begins at this epoch; the one before it ends there.
    Decide(Decide),
    /// This plan will hold from its epoch on, if all sources can keep to that: the proposal follows.
    Retune(Retune),
    /// The plan holds from its epoch on.
    Retuned(Retune),
    /// A generation will not come to be.
    Abort { generation: GenerationId },
    /// Nothing is left of a generation anywhere: its links can be closed.
    Close { generation: GenerationId },
    /// The run ends at this epoch: flush, report.
    Stop { cut: Epoch },
    /// Sinks elsewhere have come so far.
    Passed(Vec<Passed>),
    /// Some parts of these frames of yours, as (lane, number), failed elsewhere.
    Degraded(Vec<(u32, u64)>),
    /// Another node is lost: what is open can never be completed.
    Lost { node: String },
    /// What do your books say?
    Books { request: u64, windows: Option<Windows> },
    /// The run clock read `now_us` when your question of `sent_us` came.
    Clock { sent_us: u64, now_us: u64 },
    /// The run is over: forget it.
    Unload,
}

/// A topology, and how to know that it is the same here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// What the node's program makes its topology of.
    pub(crate) description: String,
    /// The hash of the graph that must come of it.
    pub(crate) hash: u64,
}

/// A plan to be prepared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Prepare {
    pub(crate) generation: GenerationId,
    /// What runs now, whose state is taken over.
    pub(crate) previous: Option<(GenerationId, Arc<Plan>)>,
    pub(crate) plan: Arc<Plan>,
    /// The lives of the nodes by name: what links lead to.
    pub(crate) members: BTreeMap<String, Member>,
}

impl Prepare {
    /// The member that is the node of this name.
    ///
    /// # Errors
    /// `Unavailable` if it is not there.
    pub(crate) fn member(&self, node: &str) -> Result<&Member, Error> {
        let lost = || Error::new(ErrorKind::Unavailable, format!("node \"{node}\" is not there"));
        self.members.get(node).ok_or_else(lost)
    }
}

/// A generation that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decide {
    pub(crate) generation: GenerationId,
    pub(crate) cut: Epoch,
    /// When the run began, by its clock: where epochs count from.
    pub(crate) began_us: u64,
}

/// Another plan for a running generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Retune {
    pub(crate) generation: GenerationId,
    /// The first epoch that goes by it.
    pub(crate) cut: Epoch,
    pub(crate) plan: Arc<Plan>,
}

/// How far a sink has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(crate) generation: GenerationId,
    pub(crate) sink: StageId,
    /// `None` once it is through.
    pub(crate) frontier: Option<Epoch>,
    /// When, by the run clock.
    pub(crate) at_us: u64,
}

/// From a node.
#[derive(Debug)]
pub(crate) struct FromNode {
    pub(crate) node: String,
    pub(crate) word: Word,
}

/// What a node says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// How things stand.
    Standing(Box<Standing>),
    /// The topology is ready, or not.
    Loaded(Result<(), Error>),
    /// Built; the node's sources stand at `reached`.
    Ready { generation: GenerationId, reached: Epoch },
    /// Not built, and why.
    Refused { generation: GenerationId, error: Error },
    /// The node's sources will not pass the proposed epoch.
    Accepted { round: u32 },
    /// The node's sources are past it; they stay at `reached` for the next proposal.
    Late { round: u32, reached: Epoch },
    /// Nothing of the generation is left here.
    Drained { generation: GenerationId },
    /// Sinks here have come so far.
    Passed(Vec<Passed>),
    /// Some parts of these frames of other nodes failed here.
    Degraded(Vec<(u32, u64)>),
    /// What the books say.
    Books { request: u64, books: Box<Books> },
    /// What has been measured so far. Some of these may be left out: the next one says as much.
    Telemetry(Box<Readings>),
    /// What is the time? Sent at `sent_us` of the node's own clock.
    AskClock { sent_us: u64 },
    /// That term is over; the one that counts is given.
    Deposed { term: u32 },
}

impl Word {
    /// Whether a controller that takes over must not miss it.
    pub(crate) fn is_of_the_run(&self) -> bool {
        matches!(self, Self::Drained { .. } | Self::Passed(_) | Self::Degraded(_))
    }
}

/// What a node knows of a run: all that a new controller needs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// The highest term that it has had orders of.
    pub(crate) term: u32,
    /// What its clock says.
    pub(crate) now_us: u64,
    pub(crate) began_us: Option<u64>,
    /// Its generations, oldest first.
    pub(crate) generations: Vec<GenerationStanding>,
    /// How far its sinks have come.
    pub(crate) passed: Vec<Passed>,
    /// The latest frames of other nodes, as (lane, number), that it has said are degraded.
    pub(crate) degraded: Vec<(u32, u64)>,
    /// Whether it has heard that the run is to end.
    pub(crate) is_stopping: bool,
}

/// One generation on one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GenerationStanding {
    pub(crate) id: GenerationId,
    /// The newest one.
    pub(crate) plan: Arc<Plan>,
    /// The one that it follows.
    pub(crate) previous: Option<GenerationId>,
    /// The first epoch that goes by that plan, if there was another one before; else 0.
    pub(crate) retuned: Epoch,
    /// Its first epoch, if that is decided.
    pub(crate) from: Option<Epoch>,
    pub(crate) is_drained: bool,
}
