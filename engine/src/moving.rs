//! State on its way from the nodes of one generation to those of the next: a link for each pair of nodes between
//! which some stage moves, or a part of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Result};
use crate::handover::{PIECE_BYTES, State};
use crate::id::StageId;
use crate::link::{Draft, Links, Receiver, Sender};
use crate::message::Prepare;
use crate::stage::Kind;
use crate::topology::Graph;

/// How much of a state is under way at once before the cut.
const UNDER_WAY_BYTES: u64 = 4 * PIECE_BYTES as u64;

const PIECE: u8 = 0;
const LAST: u8 = 1;

/// The state links of one generation on one node.
#[derive(Default)]
pub(crate) struct Movers {
    to: BTreeMap<String, Sender>,
    from: BTreeMap<String, Receiver>,
}

impl Movers {
    /// Opens the links that the change to a plan needs here.
    pub(crate) fn open(graph: &Graph, prepare: &Prepare, me: &str, links: &Links) -> Result<Self> {
        let mut movers = Self::default();
        let channel = format!("{}/state", prepare.generation);
        for (from, to) in moves(graph, prepare) {
            if from == me {
                movers.to.insert(to.to_owned(), links.sender(prepare.member(to)?, &channel)?);
            } else if to == me {
                movers.from.insert(from.to_owned(), links.receiver(prepare.member(from)?, &channel)?);
            }
        }
        Ok(movers)
    }

    /// Sends a stage's state to its new home.
    pub(crate) fn send(&self, home: &str, stage: StageId, state: &dyn State) -> Result<()> {
        let sender = self.to(home)?;
        let chunks = state.chunks();
        for chunk in chunks.iter().flatten() {
            sender.send(frame(stage, PIECE, chunk))?;
        }
        // Also where there was nothing to send: a successor must not wait in vain.
        sender.send(frame(stage, LAST, &[]))?;
        sender.flush();
        chunks.map(|_| ())
    }

    /// Sends a piece of a stage's state before the rest.
    pub(crate) fn send_piece(&self, home: &str, stage: StageId, piece: &[u8]) -> Result<()> {
        let sender = self.to(home)?;
        sender.send(frame(stage, PIECE, piece))?;
        sender.flush();
        Ok(())
    }

    /// Whether few enough pieces are on their way to a node that the records beside them do not wait long.
    pub(crate) fn has_room(&self, home: &str) -> bool {
        self.to.get(home).is_some_and(|sender| sender.kept_bytes() < UNDER_WAY_BYTES)
    }

    /// Whether everything that was sent is there.
    pub(crate) fn is_idle(&self) -> bool {
        self.to.values().all(|sender| sender.kept_bytes() == 0)
    }

    fn to(&self, home: &str) -> Result<&Sender> {
        let none = || Error::new(ErrorKind::Failed, format!("no link for state to node \"{home}\""));
        self.to.get(home).ok_or_else(none)
    }

    /// What has come from other nodes, by name: pieces of a stage's state; `None` after the last.
    pub(crate) fn arrived(&self) -> Vec<(&str, StageId, Option<Vec<u8>>)> {
        let mut arrived = Vec::new();
        for (from, receiver) in &self.from {
            while let Some((seq, payload)) = receiver.receive() {
                receiver.settle(seq);
                let stage = payload.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
                match (stage, payload.get(4)) {
                    (Some(stage), Some(&PIECE)) => {
                        arrived.push((&**from, StageId(stage), Some(payload[5..].to_vec())))
                    }
                    (Some(stage), Some(&LAST)) => arrived.push((&**from, StageId(stage), None)),
                    _ => tracing::error!("a frame of state makes no sense"),
                }
            }
        }
        arrived
    }
}

fn frame(stage: StageId, tag: u8, bytes: &[u8]) -> Draft {
    let mut draft = Draft::with_capacity(5 + bytes.len());
    draft.payload().extend_from_slice(&stage.0.to_le_bytes());
    draft.payload().push(tag);
    draft.payload().extend_from_slice(bytes);
    draft
}

/// From where to where stages move that hand something over: from every old home to every new one, as any of
/// an old one's keys may have any of the new ones as its home.
fn moves<'a>(graph: &'a Graph, prepare: &'a Prepare) -> BTreeSet<(&'a str, &'a str)> {
    let Some((_, before)) = &prepare.previous else { return BTreeSet::new() };
    let hands_over = |kind| matches!(kind, Kind::Keyed | Kind::Relational | Kind::Sink);
    let stages = graph.stages().filter(|stage| hands_over(stage.kind)).map(|stage| &stage.name);
    let pairs = stages.flat_map(|name| {
        let (old, new) = (before.assignment(name), prepare.plan.assignment(name));
        old.nodes().flat_map(|from| new.nodes().map(move |to| (from, to)))
    });
    pairs.filter(|(from, to)| from != to).collect()
}
