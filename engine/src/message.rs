//! What the controller and the nodes tell each other, by direction.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam::channel::Sender;

use crate::error::Result;
use crate::id::{Epoch, GenerationId, StageId};
use crate::plan::Plan;
use crate::stage::Opened;

/// To a node.
pub(crate) enum ToNode {
    /// Build your part of a plan, and say so.
    Prepare { generation: GenerationId, previous: Option<GenerationId>, plan: Arc<Plan> },
    /// What `Prepare` needs is open, or not: from the node's own helper thread.
    Opened { generation: GenerationId, opened: Result<HashMap<StageId, Opened>> },
    /// May the next generation begin at this epoch?
    Propose { round: u32, cut: Epoch },
    /// A generation begins at this epoch; the one before it ends there.
    Decide { generation: GenerationId, cut: Epoch },
    /// A generation will not come to be.
    Abort { generation: GenerationId },
    /// The run ends at this epoch: flush, report.
    Stop { cut: Epoch },
    /// A piece of a stage's state from another node; `None` after the last.
    State { generation: GenerationId, stage: StageId, piece: Option<Vec<u8>> },
    /// The run is over.
    Quit,
}

/// From a node.
#[derive(Debug)]
pub(crate) struct FromNode {
    pub(crate) node: String,
    pub(crate) word: Word,
}

/// What a node says.
#[derive(Debug)]
pub(crate) enum Word {
    /// Built; the node's sources stand at `reached`.
    Ready { generation: GenerationId, reached: Epoch },
    /// Not built, and why.
    Refused { generation: GenerationId, error: crate::error::Error },
    /// The node's sources will not pass the proposed epoch.
    Accepted { round: u32 },
    /// The node's sources are past it; they stay at `reached` for the next proposal.
    Late { round: u32, reached: Epoch },
    /// Nothing of the generation is left here.
    Drained { generation: GenerationId },
}

/// Where a node's commands go; it wakes the node.
#[derive(Clone)]
pub(crate) struct Mailbox {
    commands: Sender<ToNode>,
    thread: Arc<OnceLock<Thread>>,
}

impl Mailbox {
    pub(crate) fn new(commands: Sender<ToNode>) -> Self {
        Self { commands, thread: Arc::default() }
    }

    /// Tells the mailbox which thread reads it.
    pub(crate) fn read_here(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    pub(crate) fn send(&self, command: ToNode) {
        // A node that is gone needs no commands.
        if self.commands.send(command).is_ok()
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}
