//! The hand-over of state from a generation to the next.
//!
//! A stage of the old generation *offers* its state when its frontier is through, frozen at the cut.
//! The same stage of the new generation waits for it before it touches a record. State that stays on
//! its node passes by pointer; state that moves goes in bounded chunks. Offers are made on every end,
//! also by stages that flushed and have nothing left, so that a successor never waits in vain.
//!
//! Invariant: a stage begins when all of the old homes of that stage have delivered what is its part, never before.

use std::any::Any;
use std::collections::BTreeMap;

use crate::error::Result;
use crate::id::{GenerationId, StageId};
use crate::shares::Division;

/// The largest piece of state that goes over a link at once, unless a single key is larger.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// State that can be handed over.
pub(crate) trait State: Any {
    /// The state in pieces of about [`CHUNK_BYTES`].
    ///
    /// # Errors
    /// If a user's state cannot be encoded.
    fn chunks(&self) -> Result<Vec<Vec<u8>>>;

    /// The state by new homes.
    fn split(self: Box<Self>, division: &Division<'_>) -> Vec<Box<dyn State>>;

    /// The state as what it is, for a successor on the same node.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A stage's state as its successor receives it.
pub(crate) enum Arrival {
    /// From this node.
    Pointer(Box<dyn Any>),
    /// From another node.
    Chunks(Vec<Vec<u8>>),
}

/// What is being handed over on one node.
#[derive(Default)]
pub(crate) struct Handover {
    offers: BTreeMap<(GenerationId, StageId), Box<dyn State>>,
    /// From how many nodes a stage gets state, where it is more than one.
    expected: BTreeMap<(GenerationId, StageId), usize>,
    pieces: BTreeMap<(GenerationId, StageId, String), Vec<Vec<u8>>>,
    /// By the node that it came from.
    arrived: BTreeMap<(GenerationId, StageId), BTreeMap<String, Arrival>>,
}

impl Handover {
    /// A stage of a generation is through.
    pub(crate) fn offer(&mut self, from: GenerationId, stage: StageId, state: Box<dyn State>) {
        self.offers.insert((from, stage), state);
    }

    /// The offers of a generation, to be delivered to its successor.
    pub(crate) fn take_offers(&mut self, from: GenerationId) -> Vec<(StageId, Box<dyn State>)> {
        let ready: Vec<_> = self.offers.keys().filter(|(g, _)| *g == from).copied().collect();
        ready.into_iter().filter_map(|key| Some((key.1, self.offers.remove(&key)?))).collect()
    }

    /// A stage of the new generation gets state from so many nodes.
    pub(crate) fn expect(&mut self, to: GenerationId, stage: StageId, nodes: usize) {
        self.expected.insert((to, stage), nodes);
    }

    /// State from this node, for a stage of the new generation.
    pub(crate) fn arrive_here(&mut self, to: GenerationId, stage: StageId, from: &str, state: Box<dyn Any>) {
        self.arrive(to, stage, from, Arrival::Pointer(state));
    }

    /// A piece of state from another node.
    pub(crate) fn arrive_piece(&mut self, to: GenerationId, stage: StageId, from: &str, piece: Vec<u8>) {
        self.pieces.entry((to, stage, from.to_owned())).or_default().push(piece);
    }

    /// The last piece of state from another node was there.
    pub(crate) fn arrive_end(&mut self, to: GenerationId, stage: StageId, from: &str) {
        let pieces = self.pieces.remove(&(to, stage, from.to_owned())).unwrap_or_default();
        self.arrive(to, stage, from, Arrival::Chunks(pieces));
    }

    fn arrive(&mut self, to: GenerationId, stage: StageId, from: &str, arrival: Arrival) {
        self.arrived.entry((to, stage)).or_default().insert(from.to_owned(), arrival);
    }

    /// Takes a stage's state, in parts, if all of it is there.
    pub(crate) fn take(&mut self, to: GenerationId, stage: StageId) -> Option<Vec<Arrival>> {
        let key = (to, stage);
        let expected = self.expected.get(&key).copied().unwrap_or(1);
        self.arrived.get(&key).filter(|arrived| arrived.len() >= expected)?;
        self.expected.remove(&key);
        self.arrived.remove(&key).map(|arrived| arrived.into_values().collect())
    }

    /// Forgets a generation that never came to be, or is over.
    pub(crate) fn forget(&mut self, generation: GenerationId) {
        self.expected.retain(|(g, _), _| *g != generation);
        self.pieces.retain(|(g, ..), _| *g != generation);
        self.arrived.retain(|(g, _), _| *g != generation);
    }
}
