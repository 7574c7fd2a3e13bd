//! Links between the nodes of one process: an edge that crosses nodes, in memory.
//!
//! A link belongs to one (generation, stage, from, to). Frames are numbered and in order; frontiers
//! are absolute and come after the data they close. `Cut` is a change of plan (freeze), `End` the end
//! of the stream (flush): confused, they would emit open windows in halves.

use crate::id::{Epoch, GenerationId, StageId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use timely::scheduling::SyncActivator;

/// Frames that a link holds before the sender has to keep them.
const FRAMES_MAX: usize = 1024;

/// What one link carries, and between whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinkKey {
    pub(crate) generation: GenerationId,
    /// The stage whose output it is.
    pub(crate) stage: StageId,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    pub(crate) body: Body,
}

/// What a frame says.
#[derive(Debug)]
pub(crate) enum Body {
    /// Records of an epoch, as [`crate::record::Batch::encode`] writes them.
    Data { epoch: Epoch, records: Vec<u8> },
    /// No record below this epoch will come.
    Frontier(Epoch),
    /// The generation ends here: freeze what is open, the next generation goes on at this epoch.
    Cut(Epoch),
    /// The stream ends: flush what is open.
    End,
}

/// The links of the nodes in one process.
#[derive(Default)]
pub(crate) struct Network(Mutex<HashMap<LinkKey, Arc<Link>>>);

/// One link; both ends hold it.
#[derive(Default)]
pub(crate) struct Link {
    forward: Mutex<Lane<Frame>>,
    back: Mutex<Lane<u64>>,
}

struct Lane<T> {
    queue: VecDeque<T>,
    wake: Option<SyncActivator>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), wake: None }
    }
}

impl<T> Lane<T> {
    fn push(&mut self, item: T) {
        self.queue.push_back(item);
        if let Some(wake) = &self.wake {
            // An activation fails only once its worker is gone, and then nobody waits.
            _ = wake.activate();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// One end of a link; whoever comes first makes it.
    pub(crate) fn open(&self, key: &LinkKey) -> Arc<Link> {
        lock(&self.0).entry(key.clone()).or_default().clone()
    }

    /// Forgets the links of a generation that is through.
    pub(crate) fn close(&self, generation: GenerationId) {
        lock(&self.0).retain(|key, _| key.generation != generation);
    }
}

impl Link {
    /// Sends a frame, or gives it back while the link is full.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), Frame> {
        let mut forward = lock(&self.forward);
        if forward.queue.len() >= FRAMES_MAX {
            return Err(frame);
        }
        forward.push(frame);
        Ok(())
    }

    /// The next frame. A sender that found the link full is woken: acknowledgements alone would not do
    /// it, since what is to be acknowledged may wait for a frontier that the sender still keeps.
    pub(crate) fn receive(&self) -> Option<Frame> {
        let mut forward = lock(&self.forward);
        let was_full = forward.queue.len() >= FRAMES_MAX;
        let frame = forward.queue.pop_front();
        drop(forward);
        if was_full && let Some(wake) = &lock(&self.back).wake {
            _ = wake.activate();
        }
        frame
    }

    /// Tells the sender that everything which came of frame `seq` has left the receiving node.
    pub(crate) fn acknowledge(&self, seq: u64) {
        lock(&self.back).push(seq);
    }

    pub(crate) fn acknowledged(&self) -> Option<u64> {
        lock(&self.back).queue.pop_front()
    }

    /// Whom to wake when a frame has come.
    pub(crate) fn wake_receiver(&self, activator: SyncActivator) {
        lock(&self.forward).wake = Some(activator);
    }

    /// Whom to wake when an acknowledgement has come.
    pub(crate) fn wake_sender(&self, activator: SyncActivator) {
        lock(&self.back).wake = Some(activator);
    }
}
