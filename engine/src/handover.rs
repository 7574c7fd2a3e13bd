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

/// A piece of state is full from here on; it is longer by a part of its last key's at most. Records wait while one is
/// made.
pub(crate) const PIECE_BYTES: usize = 1 << 18;

/// State that can be handed over.
pub(crate) trait State: Any {
    /// The state in pieces of about [`PIECE_BYTES`], less what was copied before.
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

/// A stage's state on its way before the cut.
struct Copy {
    /// The generation that it is for.
    to: GenerationId,
    /// What is to be sent, before more is asked for.
    piece: Option<Result<Vec<u8>>>,
    is_through: bool,
}

/// What is being handed over on one node.
pub(crate) struct Handover {
    /// How long pieces are that are copied before a cut, about.
    pub(crate) piece_bytes: usize,
    offers: BTreeMap<(GenerationId, StageId), Box<dyn State>>,
    copies: BTreeMap<(GenerationId, StageId), Copy>,
    /// From how many nodes a stage gets state, where it is more than one.
    expected: BTreeMap<(GenerationId, StageId), usize>,
    pieces: BTreeMap<(GenerationId, StageId, String), Vec<Vec<u8>>>,
    /// By the node that it came from.
    arrived: BTreeMap<(GenerationId, StageId), BTreeMap<String, Arrival>>,
}

impl Handover {
    pub(crate) fn new(piece_bytes: usize) -> Self {
        let (offers, copies, expected, pieces, arrived) = Default::default();
        Self { piece_bytes, offers, copies, expected, pieces, arrived }
    }

    /// A stage of a generation is through.
    pub(crate) fn offer(&mut self, from: GenerationId, stage: StageId, state: Box<dyn State>) {
        self.offers.insert((from, stage), state);
        if let Some(copy) = self.copies.get_mut(&(from, stage)) {
            copy.is_through = true;
        }
    }

    /// Asks a stage of a generation, if it has not ended, to copy its state for the next one, before the cut.
    pub(crate) fn ask_copy(&mut self, from: GenerationId, stage: StageId, to: GenerationId) {
        if !self.offers.contains_key(&(from, stage)) {
            self.copies.insert((from, stage), Copy { to, piece: None, is_through: false });
        }
    }

    /// For which generation a stage copies its state, if for any.
    pub(crate) fn copies_for(&self, from: GenerationId, stage: StageId) -> Option<GenerationId> {
        self.copies.get(&(from, stage)).map(|copy| copy.to)
    }

    /// Whether the next piece of a stage's state is wanted now.
    pub(crate) fn wants_copy(&self, from: GenerationId, stage: StageId) -> bool {
        self.copies.get(&(from, stage)).is_some_and(|copy| copy.piece.is_none() && !copy.is_through)
    }

    /// The next piece of a stage's state, and whether it is the last, as an error always is.
    pub(crate) fn copy(&mut self, from: GenerationId, stage: StageId, made: Result<(Vec<u8>, bool)>) {
        if let Some(copy) = self.copies.get_mut(&(from, stage)) {
            copy.is_through = made.as_ref().map_or(true, |(_, is_last)| *is_last);
            copy.piece = Some(made.map(|(piece, _)| piece));
        }
    }

    /// The stages of a generation that have a piece to be sent.
    pub(crate) fn copied(&self, from: GenerationId) -> Vec<StageId> {
        let copies = self.copies.iter().filter(|((of, _), copy)| *of == from && copy.piece.is_some());
        copies.map(|((_, stage), _)| *stage).collect()
    }

    /// Takes a piece to send it.
    pub(crate) fn take_copy(&mut self, from: GenerationId, stage: StageId) -> Option<Result<Vec<u8>>> {
        self.copies.get_mut(&(from, stage))?.piece.take()
    }

    /// Whether nothing more is copied for a generation before its cut.
    pub(crate) fn has_copied(&self, to: GenerationId) -> bool {
        self.copies.values().filter(|copy| copy.to == to).all(|copy| copy.is_through && copy.piece.is_none())
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

    /// Takes the pieces that have come from other nodes for a stage so far, in their order.
    pub(crate) fn take_pieces(&mut self, to: GenerationId, stage: StageId) -> Vec<Vec<u8>> {
        let of_stage = self.pieces.iter_mut().filter(|((g, s, _), _)| (*g, *s) == (to, stage));
        of_stage.flat_map(|(_, pieces)| std::mem::take(pieces)).collect()
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
        self.copies.retain(|(g, _), copy| *g != generation && copy.to != generation);
        self.expected.retain(|(g, _), _| *g != generation);
        self.pieces.retain(|(g, ..), _| *g != generation);
        self.arrived.retain(|(g, _), _| *g != generation);
    }
}
