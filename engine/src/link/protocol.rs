//! The protocol of a link, as two state machines: no clock, no thread, no network.
//!
//! The sender numbers frames, keeps each until it has been received, sends within its credit, and goes back
//! to the first missing one when told so. The receiver takes the next number only, and says how it stands:
//! what it has received, how far the credit goes, and which frames are *settled*: nothing that came of them
//! is left on its node, so that the records' own credit returns to where they entered.
//!
//! **Invariants.** Frames are delivered in order, each once. `base <= cursor <= next`; what is kept is
//! `[base, next)`; what may be in flight is bounded by the receiver's window. Credit, receipts and
//! settlements only grow. Whatever is lost, doubled or reordered between the two, each state is reachable
//! again by a probe and its answer; so while messages get through at all, everything is delivered and settled.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use super::wire::{Back, Draft, Forward, HEAD, probe};

/// Frames that a receiver takes ahead of what its node has taken from it.
pub(crate) const WINDOW_FRAMES: u64 = 8_192;
/// Bytes that a receiver takes ahead; one frame more may overshoot it.
pub(crate) const WINDOW_BYTES: u64 = 32 << 20;
/// Small frames are packed into messages of about this many bytes.
const PACK_BYTES: usize = 48 << 10;
/// How long a sender waits for an answer before it probes; twice as long each time.
const PROBE_MIN_US: u64 = 100_000;
const PROBE_MAX_US: u64 = 500_000;
/// How long after it went back to a frame a sender ignores that the same one is missing: the answer to what it sent
/// again is still on its way.
const AGAIN_US: u64 = 20_000;
/// How long a receiver gathers settlements before it tells of them: credit waits for them.
pub(crate) const TELL_US: u64 = 5_000;
/// Round trips that are remembered: a second's worth of a camera's frames.
const ROUND_TRIPS: usize = 32;
/// How long it gathers receipts: nothing waits for them but memory, so they mostly go with a settlement. Sooner than
/// a sender's patience ends.
const RECEIPT_US: u64 = 25_000;

/// The sending end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sending {
    kept: VecDeque<Kept>,
    base: u64,
    cursor: u64,
    /// Where the next frame begins, in bytes from the start of the link.
    end: u64,
    until_frame: u64,
    until_byte: u64,
    settled_below: u64,
    settled: BTreeSet<u64>,
    went_back: Option<(u64, u64)>,
    probe_at_us: Option<u64>,
    patience_us: u64,
    resent: u64,
    sent_to: u64,
    /// The latest that were measured, newest first.
    round_trips_us: VecDeque<u64>,
}

/// A frame that has not been received yet, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kept {
    frame: Bytes,
    begins: u64,
    /// When it was handed over, if that was once.
    sent_us: Option<u64>,
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            base: 0,
            cursor: 0,
            end: 0,
            until_frame: 0,
            until_byte: 0,
            settled_below: 0,
            settled: BTreeSet::new(),
            went_back: None,
            probe_at_us: Some(0),
            patience_us: PROBE_MIN_US,
            resent: 0,
            sent_to: 0,
            round_trips_us: VecDeque::new(),
        }
    }
}

impl Sending {
    /// The state without what only counts or times.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> Self {
        let untimed = |kept: &Kept| Kept { sent_us: None, ..kept.clone() };
        Self {
            kept: self.kept.iter().map(untimed).collect(),
            went_back: None,
            probe_at_us: Some(0),
            patience_us: 0,
            resent: 0,
            round_trips_us: VecDeque::new(),
            ..self.clone()
        }
    }

    /// The number of the next frame.
    pub(crate) fn next(&self) -> u64 {
        self.base + self.kept.len() as u64
    }

    /// Takes a frame in; returns its number, or nothing if it is too large for one.
    pub(crate) fn queue(&mut self, draft: Draft) -> Option<u64> {
        let seq = self.next();
        let frame = draft.numbered(seq)?;
        let begins = self.end;
        self.end += frame.len() as u64;
        self.kept.push_back(Kept { frame, begins, sent_us: None });
        Some(seq)
    }

    /// Bytes kept.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.end - self.kept.front().map_or(self.end, |kept| kept.begins)
    }

    /// Frames that were sent more than once.
    pub(crate) fn resent(&self) -> u64 {
        self.resent
    }

    /// There and back without what the receiver waited: the least of the latest, since what delays some of them is
    /// not the network.
    pub(crate) fn round_trip_us(&self) -> Option<u64> {
        self.round_trips_us.iter().copied().min()
    }

    /// Whether everything was received and settled.
    pub(crate) fn is_idle(&self) -> bool {
        self.kept.is_empty() && self.settled_below == self.next()
    }

    /// The next message, within the credit: one large frame, or small ones together.
    pub(crate) fn message(&mut self, now_us: u64) -> Option<Bytes> {
        let first = self.sendable(self.cursor)?.clone();
        let from = self.cursor;
        self.cursor += 1;
        let mut packed = BytesMut::new();
        if first.len() < PACK_BYTES {
            while let Some(frame) = self.sendable(self.cursor) {
                let so_far = if packed.is_empty() { first.len() } else { packed.len() };
                if so_far + frame.len() > PACK_BYTES {
                    break;
                }
                if packed.is_empty() {
                    packed.extend_from_slice(&first);
                }
                packed.extend_from_slice(frame);
                self.cursor += 1;
            }
        }
        for seq in from..self.cursor {
            // Of one that is sent again nobody knows which time the receipt is for.
            let sent_us = (seq >= self.sent_to).then_some(now_us);
            if let Some(kept) = self.kept.get_mut((seq - self.base) as usize) {
                kept.sent_us = sent_us;
            }
        }
        self.resent += self.sent_to.min(self.cursor) - self.sent_to.min(from);
        self.sent_to = self.sent_to.max(self.cursor);
        self.probe_at_us.get_or_insert(now_us + self.patience_us);
        Some(if packed.is_empty() { first } else { packed.freeze() })
    }

    fn sendable(&self, seq: u64) -> Option<&Bytes> {
        let kept = self.kept.get(usize::try_from(seq - self.base).ok()?)?;
        (seq < self.until_frame && kept.begins < self.until_byte).then_some(&kept.frame)
    }

    /// The message from `cursor` could not be handed over.
    pub(crate) fn take_back(&mut self, message: &Bytes) {
        let first = message.get(..8).and_then(|seq| seq.try_into().ok()).map(u64::from_le_bytes);
        self.cursor = first.unwrap_or(self.cursor).clamp(self.base, self.cursor);
    }

    /// When a probe is due, if ever.
    pub(crate) fn probe_at_us(&self) -> Option<u64> {
        self.probe_at_us
    }

    /// The probe that is due.
    pub(crate) fn probe(&mut self, now_us: u64) -> Option<Bytes> {
        self.probe_at_us.filter(|at_us| *at_us <= now_us)?;
        self.patience_us = (2 * self.patience_us).min(PROBE_MAX_US);
        self.probe_at_us = Some(now_us + self.patience_us);
        Some(probe(self.cursor))
    }

    /// Hears how the receiver stands; returns the frames that have been settled since.
    pub(crate) fn heard(&mut self, back: &Back, now_us: u64) -> Vec<u64> {
        if back.received > self.sent_to {
            // It speaks of what was never sent: not this link's receiver.
            return Vec::new();
        }
        let moved = back.received > self.base || back.settled_below > self.settled_below;
        let mut newest = None;
        while self.base < back.received {
            newest = self.kept.pop_front();
            self.base += 1;
        }
        let sent_us = newest.and_then(|kept| kept.sent_us);
        let there_and_back = sent_us.and_then(|at_us| now_us.checked_sub(at_us)?.checked_sub(back.waited_us));
        if let Some(round_trip_us) = there_and_back {
            self.round_trips_us.truncate(ROUND_TRIPS - 1);
            self.round_trips_us.push_front(round_trip_us);
        }
        self.cursor = self.cursor.max(self.base);
        self.until_frame = self.until_frame.max(back.until_frame);
        self.until_byte = self.until_byte.max(back.until_byte);
        let lately =
            self.went_back.is_some_and(|(seq, at_us)| seq == back.received && now_us < at_us + AGAIN_US);
        if back.is_missing && back.received == self.base && self.cursor > self.base && !lately {
            self.cursor = self.base;
            self.went_back = Some((self.base, now_us));
        }
        let settled = self.settle(back);
        if moved || !settled.is_empty() {
            self.patience_us = PROBE_MIN_US;
        }
        let waits = !self.is_idle();
        self.probe_at_us = waits.then_some(now_us + self.patience_us);
        settled
    }

    fn settle(&mut self, back: &Back) -> Vec<u64> {
        let mut new = Vec::new();
        let below = self.settled_below..back.settled_below.max(self.settled_below);
        for seq in below {
            if !self.settled.remove(&seq) {
                new.push(seq);
            }
        }
        self.settled_below = self.settled_below.max(back.settled_below);
        for (from, to) in &back.settled {
            let to = (*to).min(back.received);
            for seq in (*from).max(self.settled_below)..to {
                if self.settled.insert(seq) {
                    new.push(seq);
                }
            }
        }
        new
    }
}

/// The receiving end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Receiving {
    /// The next number.
    expected: u64,
    arrived: VecDeque<(u64, Bytes)>,
    received_bytes: u64,
    taken_bytes: u64,
    taken: u64,
    settled_below: u64,
    settled: BTreeSet<u64>,
    is_missing: bool,
    told: Back,
    tell_at_us: Option<u64>,
    refused: u64,
    /// When the newest frame came.
    came_us: u64,
}

impl Default for Receiving {
    /// It tells of its window as soon as it can.
    fn default() -> Self {
        Self {
            expected: 0,
            arrived: VecDeque::new(),
            received_bytes: 0,
            taken_bytes: 0,
            taken: 0,
            settled_below: 0,
            settled: BTreeSet::new(),
            is_missing: false,
            told: Back::default(),
            tell_at_us: Some(0),
            refused: 0,
            came_us: 0,
        }
    }
}

impl Receiving {
    /// The state without what only counts or times.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> Self {
        Self { told: Back::default(), tell_at_us: None, refused: 0, came_us: 0, ..self.clone() }
    }

    /// Takes a frame or a probe in; returns whether there is something new to be taken.
    pub(crate) fn come(&mut self, forward: Forward, now_us: u64) -> bool {
        match forward {
            Forward::Frame { seq, payload } if seq == self.expected && self.has_room() => {
                self.expected += 1;
                self.came_us = now_us;
                self.received_bytes += (HEAD + payload.len()) as u64;
                self.arrived.push_back((seq, payload));
                self.is_missing = false;
                self.tell_by(now_us + RECEIPT_US);
                true
            }
            Forward::Frame { seq, .. } => {
                self.refused += 1;
                self.is_missing |= seq > self.expected;
                self.tell_by(now_us);
                false
            }
            Forward::Probe { next } => {
                self.is_missing |= next > self.expected;
                self.tell_by(now_us);
                false
            }
        }
    }

    /// Whether the sender was allowed to send more; one that sends beyond its credit is not listened to.
    fn has_room(&self) -> bool {
        self.expected < self.taken + WINDOW_FRAMES && self.received_bytes < self.taken_bytes + WINDOW_BYTES
    }

    fn tell_by(&mut self, at_us: u64) {
        self.tell_at_us = Some(self.tell_at_us.map_or(at_us, |at| at.min(at_us)));
    }

    /// The next frame, in order.
    pub(crate) fn take(&mut self, now_us: u64) -> Option<(u64, Bytes)> {
        let (seq, payload) = self.arrived.pop_front()?;
        self.taken = seq + 1;
        self.taken_bytes += (HEAD + payload.len()) as u64;
        let low = self.taken + WINDOW_FRAMES - self.told.until_frame.max(WINDOW_FRAMES) > WINDOW_FRAMES / 4
            || self.taken_bytes + WINDOW_BYTES - self.told.until_byte.max(WINDOW_BYTES) > WINDOW_BYTES / 4;
        if low {
            self.tell_by(now_us);
        }
        Some((seq, payload))
    }

    /// Nothing is left of a frame that was taken.
    pub(crate) fn settle(&mut self, seq: u64, now_us: u64) {
        if seq >= self.settled_below {
            self.settled.insert(seq);
        }
        while self.settled.remove(&self.settled_below) {
            self.settled_below += 1;
        }
        self.tell_by(now_us + TELL_US);
    }

    /// Frames that came at the wrong time: resent, doubled, or out of order.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// When there is something to be told, if there is.
    pub(crate) fn tell_at_us(&self) -> Option<u64> {
        self.tell_at_us
    }

    /// What is due to be told.
    pub(crate) fn back(&mut self, now_us: u64) -> Option<Back> {
        self.tell_at_us.filter(|at_us| *at_us <= now_us)?;
        self.tell_at_us = None;
        let back = Back { waited_us: now_us.saturating_sub(self.came_us), ..self.standing() };
        self.is_missing = false;
        self.told = back.clone();
        Some(back)
    }

    /// How it stands, at no time.
    pub(crate) fn standing(&self) -> Back {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for seq in &self.settled {
            match ranges.last_mut() {
                Some((_, to)) if to == seq => *to += 1,
                _ => ranges.push((*seq, seq + 1)),
            }
        }
        Back {
            received: self.expected,
            until_frame: self.taken + WINDOW_FRAMES,
            until_byte: self.taken_bytes + WINDOW_BYTES,
            is_missing: self.is_missing,
            settled_below: self.settled_below,
            settled: ranges,
            waited_us: 0,
        }
    }
}
