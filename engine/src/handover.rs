//! The hand-over of state from a generation to the next.
//!
//! A stage of the old generation *offers* its state when its frontier is through, frozen at the cut.
//! The same stage of the new generation waits for it before it touches a record. State that stays on
//! its node passes by pointer; state that moves goes in bounded chunks. Offers are made on every end,
//! also by stages that flushed and have nothing left, so that a successor never waits in vain.

use std::any::Any;
use std::collections::BTreeMap;

use crate::error::Result;
use crate::id::{GenerationId, StageId};

/// The largest piece of state that goes over a link at once, unless a single key is larger.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// State that can be handed over.
pub(crate) trait State: Any {
    /// The state in pieces of about [`CHUNK_BYTES`].
    ///
    /// # Errors
    /// If a user's state cannot be encoded.
    fn chunks(&self) -> Result<Vec<Vec<u8>>>;

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
    pieces: BTreeMap<(GenerationId, StageId), Vec<Vec<u8>>>,
    arrived: BTreeMap<(GenerationId, StageId), Arrival>,
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

    /// State from this node, for a stage of the new generation.
    pub(crate) fn arrive_here(&mut self, to: GenerationId, stage: StageId, state: Box<dyn Any>) {
        self.arrived.insert((to, stage), Arrival::Pointer(state));
    }

    /// A piece of state from another node.
    pub(crate) fn arrive_piece(&mut self, to: GenerationId, stage: StageId, piece: Vec<u8>) {
        self.pieces.entry((to, stage)).or_default().push(piece);
    }

    /// The last piece of state from another node was there.
    pub(crate) fn arrive_end(&mut self, to: GenerationId, stage: StageId) {
        let pieces = self.pieces.remove(&(to, stage)).unwrap_or_default();
        self.arrived.insert((to, stage), Arrival::Chunks(pieces));
    }

    /// Takes a stage's state, if it is there.
    pub(crate) fn take(&mut self, to: GenerationId, stage: StageId) -> Option<Arrival> {
        self.arrived.remove(&(to, stage))
    }

    /// Forgets a generation that never came to be.
    pub(crate) fn forget(&mut self, generation: GenerationId) {
        self.pieces.retain(|(g, _), _| *g != generation);
        self.arrived.retain(|(g, _), _| *g != generation);
    }
}
