//! Links: frames from one member to another, in order, each once, over a network that loses them.
//!
//! Both ends belong to their member's thread: the network's threads only put messages down and wake it, and
//! [`Links::turn`] does what is due. Nothing blocks: what is sent is kept until it was received, and what may be
//! in flight is bounded by the receiver's window.

mod garbage;
mod protocol;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Line, Listening, Member, Network, Wake};
pub use garbage::garbage;
use protocol::{Receiving, Sending, WINDOW_BYTES};
pub use wire::Draft;
use wire::{Back, forward};

/// Messages that wait for a member's turn, per end: a window of the smallest messages and their repetitions.
/// What comes beyond is lost, as it may be on a network.
const WAITING_MAX: usize = 16_384;
/// How soon a line without room is tried again, should it forget to say when it has some.
const ROOM_US: u64 = 10_000;

/// The links of one member.
#[derive(Clone)]
pub struct Links(Arc<Inner>);

struct Inner {
    network: Arc<dyn Network>,
    /// What links go by, which nobody sets.
    clock: Clock,
    /// What their member goes by.
    member_clock: Clock,
    wake: Wake,
    /// Whether a message has come, or room on a line, since the last turn.
    stirred: Arc<AtomicBool>,
    /// When the next thing is due on any end; it may be earlier than it is.
    next_us: Arc<AtomicU64>,
    ends: Mutex<Vec<Named>>,
}

/// An end with its peer and its channel.
type Named = (Member, String, Arc<dyn End>);

/// One end of a link, as its member's turn sees it.
trait End: Send + Sync {
    /// Does what is due; returns when more will be.
    fn turn(&self, now_us: u64) -> Option<u64>;

    fn counts(&self) -> Counts;
}

/// What the links of a member have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages and bytes handed to the network, frames and what came back.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Frames sent more than once.
    pub resent: u64,
    /// Frames that came more than once, too early or beyond their credit.
    pub refused: u64,
    /// Messages that were not of this protocol, or too many.
    pub malformed: u64,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages that have come and wait for a turn.
struct Inbox {
    waiting: Mutex<VecDeque<Bytes>>,
    stirred: Arc<AtomicBool>,
    next_us: Arc<AtomicU64>,
    wake: Wake,
    lost: AtomicU64,
}

impl Inbox {
    fn put(&self, message: Bytes) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITING_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push_back(message);
        drop(waiting);
        self.stir();
    }

    fn stir(&self) {
        self.stirred.store(true, Ordering::SeqCst);
        (self.wake)();
    }

    fn take(&self) -> VecDeque<Bytes> {
        std::mem::take(&mut lock(&self.waiting))
    }
}

impl Links {
    /// The links of a network's member; `wake` is called from other threads when there is something to do.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, clock: Clock, wake: Wake) -> Self {
        Self(Arc::new(Inner {
            network,
            clock: clock.by_itself(),
            member_clock: clock,
            wake,
            stirred: Arc::default(),
            next_us: Arc::default(),
            ends: Mutex::default(),
        }))
    }

    /// Who this is.
    #[must_use]
    pub fn me(&self) -> &Member {
        self.0.network.me()
    }

    /// The network they go over.
    #[must_use]
    pub fn network(&self) -> &Arc<dyn Network> {
        &self.0.network
    }

    /// The sending end of a link.
    ///
    /// # Errors
    /// If the network cannot open it.
    pub fn sender(&self, to: &Member, channel: &str) -> Result<Sender> {
        let wires = self.open(to, channel, "f", "b")?;
        let end = Arc::new(SendingEnd {
            state: Mutex::default(),
            settled: Mutex::default(),
            on_settled: Mutex::default(),
            clock: self.0.clock.clone(),
            wires,
        });
        self.keep(to, channel, end.clone());
        Ok(Sender(end))
    }

    /// The receiving end of a link.
    ///
    /// # Errors
    /// If the network cannot open it.
    pub fn receiver(&self, from: &Member, channel: &str) -> Result<Receiver> {
        let wires = self.open(from, channel, "b", "f")?;
        let end = Arc::new(ReceivingEnd {
            state: Mutex::default(),
            on_arrival: Mutex::default(),
            clock: self.0.clock.clone(),
            wires,
        });
        self.keep(from, channel, end.clone());
        Ok(Receiver(end))
    }

    fn open(&self, peer: &Member, channel: &str, mine: &str, theirs: &str) -> Result<Wires> {
        let inner = &self.0;
        let inbox = Arc::new(Inbox {
            waiting: Mutex::default(),
            stirred: inner.stirred.clone(),
            next_us: inner.next_us.clone(),
            wake: inner.wake.clone(),
            lost: AtomicU64::new(0),
        });
        let (room, into) = (inbox.clone(), inbox.clone());
        let line = inner.network.line(peer, &format!("{channel}/{mine}"), Arc::new(move || room.stir()))?;
        let take = Arc::new(move |message| into.put(message));
        let listening = inner.network.listen(peer, &format!("{channel}/{theirs}"), take)?;
        Ok(Wires { inbox, line, _listening: listening, counts: Mutex::default() })
    }

    fn keep(&self, peer: &Member, channel: &str, end: Arc<dyn End>) {
        lock(&self.0.ends).push((peer.clone(), channel.to_owned(), end));
        self.0.stirred.store(true, Ordering::SeqCst);
    }

    /// Does what is due on every link; returns when more will be, by the clock in microseconds.
    pub fn turn(&self) -> Option<u64> {
        let inner = &self.0;
        let next_us = self.turn_by_itself()?;
        Some(next_us.saturating_sub(inner.clock.now_us()) + inner.member_clock.now_us())
    }

    fn turn_by_itself(&self) -> Option<u64> {
        let inner = &self.0;
        let now_us = inner.clock.now_us();
        if !inner.stirred.swap(false, Ordering::SeqCst) && now_us < inner.next_us.load(Ordering::Relaxed) {
            return Some(inner.next_us.load(Ordering::Relaxed)).filter(|next_us| *next_us < u64::MAX);
        }
        let ends: Vec<_> = lock(&inner.ends).iter().map(|(.., end)| end.clone()).collect();
        // What becomes due meanwhile, on other threads, is kept.
        inner.next_us.store(u64::MAX, Ordering::SeqCst);
        let due_us = ends.iter().filter_map(|end| end.turn(now_us)).min().unwrap_or(u64::MAX);
        let next_us = due_us.min(inner.next_us.fetch_min(due_us, Ordering::SeqCst));
        Some(next_us).filter(|next_us| *next_us < u64::MAX)
    }

    /// Closes both ends of all links whose channel begins so. Ends stay until then, to answer the other side.
    pub fn close(&self, prefix: &str) {
        lock(&self.0.ends).retain(|(_, channel, _)| !channel.starts_with(prefix));
    }

    /// Closes the links with one member whose channel begins so.
    pub(crate) fn close_with(&self, peer: &Member, prefix: &str) {
        lock(&self.0.ends).retain(|(with, channel, _)| with != peer || !channel.starts_with(prefix));
    }

    /// What they have done so far; of those that are not closed.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut total = Counts::default();
        for (.., end) in lock(&self.0.ends).iter() {
            let counts = end.counts();
            total.messages += counts.messages;
            total.bytes += counts.bytes;
            total.resent += counts.resent;
            total.refused += counts.refused;
            total.malformed += counts.malformed;
        }
        total
    }
}

/// What both ends have: a line out, an inbox.
struct Wires {
    inbox: Arc<Inbox>,
    line: Box<dyn Line>,
    _listening: Box<dyn Listening>,
    counts: Mutex<Counts>,
}

impl Wires {
    fn send(&self, message: Bytes) -> std::result::Result<(), Bytes> {
        let bytes = message.len() as u64;
        self.line.send(message)?;
        let mut counts = lock(&self.counts);
        counts.messages += 1;
        counts.bytes += bytes;
        Ok(())
    }

    /// Has the member's turn come by then: what is done between turns would not be followed up else. Returns
    /// whether that is earlier than it would have come.
    fn due(&self, at_us: Option<u64>) -> bool {
        at_us.is_some_and(|at_us| at_us < self.inbox.next_us.fetch_min(at_us, Ordering::SeqCst))
    }

    fn malformed(&self) {
        lock(&self.counts).malformed += 1;
    }

    fn counts(&self, resent: u64, refused: u64) -> Counts {
        let counts = *lock(&self.counts);
        let malformed = counts.malformed + self.inbox.lost.load(Ordering::Relaxed);
        Counts { resent, refused, malformed, ..counts }
    }
}

/// The sending end of a link; clones are the same.
#[derive(Clone)]
pub struct Sender(Arc<SendingEnd>);

struct SendingEnd {
    state: Mutex<Sending>,
    settled: Mutex<Vec<u64>>,
    on_settled: Mutex<Option<Wake>>,
    clock: Clock,
    wires: Wires,
}

impl Sender {
    /// Takes in a frame to be sent, by [`Sender::flush`] or at the member's next turn. Returns its number, from 0.
    ///
    /// # Errors
    /// `Invalid` if it is too large for a frame.
    pub fn send(&self, draft: Draft) -> Result<u64> {
        let mut state = lock(&self.0.state);
        let seq = state.queue(draft).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "a record is larger than 256 MiB; send it in parts")
        })?;
        self.0.wires.due(Some(self.0.clock.now_us()));
        Ok(seq)
    }

    /// Hands over what credit allows. What was sent goes out at the member's next turn at the latest.
    pub fn flush(&self) {
        let (mut state, now_us) = (lock(&self.0.state), self.0.clock.now_us());
        let is_clear = self.0.flush(&mut state, now_us);
        self.0.wires.due(state.probe_at_us());
        self.0.wires.due((!is_clear).then_some(now_us + ROOM_US));
    }

    /// Whether less than a window is kept: a sender with a choice sends no more than that.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.kept_bytes() < WINDOW_BYTES
    }

    /// What is kept until the other end has it.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        lock(&self.0.state).kept_bytes()
    }

    /// The frames that have been settled since the last time: nothing of them is left at the other end.
    #[must_use]
    pub fn settled(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.0.settled))
    }

    /// Whether everything that was sent has been received and settled.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        lock(&self.0.state).is_idle()
    }

    /// What this end has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// There and back, in microseconds, without what the other end waited before it answered: the least of the latest
    /// that were measured on the link's own frames and receipts. `None` before there was one.
    #[must_use]
    pub fn round_trip_us(&self) -> Option<u64> {
        lock(&self.0.state).round_trip_us()
    }

    /// Whom to tell when frames have been settled, or when there is room again.
    pub fn on_settled(&self, wake: Wake) {
        *lock(&self.0.on_settled) = Some(wake);
    }
}

impl SendingEnd {
    fn flush(&self, state: &mut Sending, now_us: u64) -> bool {
        while let Some(message) = state.message(now_us) {
            if let Err(message) = self.wires.send(message) {
                state.take_back(&message);
                return false;
            }
        }
        true
    }
}

impl End for SendingEnd {
    fn turn(&self, now_us: u64) -> Option<u64> {
        let mut state = lock(&self.state);
        let mut settled = Vec::new();
        for message in self.wires.inbox.take() {
            match Back::decode(&message) {
                Ok(back) => settled.extend(state.heard(&back, now_us)),
                Err(_) => self.wires.malformed(),
            }
        }
        let is_clear = self.flush(&mut state, now_us);
        if let Some(probe) = state.probe(now_us) {
            // One that finds no room is sent the next time.
            _ = self.wires.send(probe);
        }
        let next_us = state.probe_at_us();
        drop(state);
        if !settled.is_empty() {
            lock(&self.settled).extend(settled);
            if let Some(wake) = &*lock(&self.on_settled) {
                wake();
            }
        }
        let again_us = (!is_clear).then_some(now_us + ROOM_US);
        next_us.into_iter().chain(again_us).min()
    }

    fn counts(&self) -> Counts {
        self.wires.counts(lock(&self.state).resent(), 0)
    }
}

/// The receiving end of a link; clones are the same.
#[derive(Clone)]
pub struct Receiver(Arc<ReceivingEnd>);

struct ReceivingEnd {
    state: Mutex<Receiving>,
    on_arrival: Mutex<Option<Wake>>,
    clock: Clock,
    wires: Wires,
}

impl Receiver {
    /// The next frame: its number and its payload.
    #[must_use]
    pub fn receive(&self) -> Option<(u64, Bytes)> {
        let mut state = lock(&self.0.state);
        let taken = state.take(self.0.clock.now_us());
        self.0.wires.due(state.tell_at_us());
        taken
    }

    /// Tells the sender, soon, that nothing of a frame is left here. Every frame that was received must be settled.
    pub fn settle(&self, seq: u64) {
        let mut state = lock(&self.0.state);
        state.settle(seq, self.0.clock.now_us());
        // A member that sleeps for longer must learn of it.
        if self.0.wires.due(state.tell_at_us()) {
            (self.0.wires.inbox.wake)();
        }
    }

    /// Whom to tell when a frame has come.
    pub fn on_arrival(&self, wake: Wake) {
        *lock(&self.0.on_arrival) = Some(wake);
    }
}

impl End for ReceivingEnd {
    fn turn(&self, now_us: u64) -> Option<u64> {
        let mut state = lock(&self.state);
        let mut has_new = false;
        for message in self.wires.inbox.take() {
            for come in forward(message) {
                match come {
                    Ok(come) => has_new |= state.come(come, now_us),
                    Err(_) => self.wires.malformed(),
                }
            }
        }
        if let Some(back) = state.back(now_us) {
            // One that finds no room is asked for again by a probe.
            _ = self.wires.send(back.encode());
        }
        let next_us = state.tell_at_us();
        drop(state);
        if has_new && let Some(wake) = &*lock(&self.on_arrival) {
            wake();
        }
        next_us
    }

    fn counts(&self) -> Counts {
        self.wires.counts(0, lock(&self.state).refused())
    }
}
