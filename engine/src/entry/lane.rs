//! One lane of a source: what its feed has read and nobody has taken yet, and the reading itself.
//!
//! What is read is stamped; nothing is stamped below what was already closed.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Doors, lock};
use crate::error::Result;
use crate::failure::{Failure, Reason};
use crate::id::Epoch;
use crate::ledger::Ledger;
use crate::source::{Arrival, Feed, Lane as LaneSpec, Pacing, Policy, Source, Stamp, Stopper};

/// Records that wait in a lossless lane: one being taken, one behind it, and slack for uneven feeds.
const BLOCK_RECORDS_MAX: usize = 4;
/// Records that wait in a camera's lane: older ones are not worth their latency.
const LATEST_RECORDS_MAX: usize = 2;
/// How long a lane's thread waits before it looks whether it was stopped.
const LOOK: Duration = Duration::from_millis(100);
/// How long a lane under `latest` may be silent before its time moves on without it.
const STALL_MAX_MS: u64 = 2_000;
/// The pause after the first error of an outage; it doubles with each.
const PAUSE_MIN_MS: u64 = 250;
/// The longest pause: a picture should be back soon after its camera is.
const PAUSE_MAX_MS: u64 = 1_000;
/// Steps of a lane per turn by hand: a few records, so that the operators get their turn.
const STEPS_MAX: usize = 16;

/// A record that waits to enter.
pub(crate) struct Waiting<T> {
    pub(crate) epoch: Epoch,
    pub(crate) number: u64,
    pub(crate) bytes: usize,
    pub(crate) record: T,
}

/// One lane: what its feed has read and nobody has taken yet.
pub(crate) struct Lane<T> {
    pub(crate) number: u32,
    spec: LaneSpec,
    ledger: Arc<Ledger>,
    doors: Arc<Doors>,
    state: Mutex<LaneState<T>>,
    changed: Condvar,
}

struct LaneState<T> {
    queue: VecDeque<Waiting<T>>,
    /// Nothing below this will come.
    floor: Epoch,
    /// The epoch of the latest record, and how long after the one before it that came.
    latest: Option<Epoch>,
    gap_ms: u64,
    /// Whether the floor moves with the clock.
    live: bool,
    /// When something came last, as an epoch by the clock.
    heard: Epoch,
    /// The epoch of a record whose time has not come yet.
    early: Option<Epoch>,
    next_number: u64,
    finished: bool,
}

/// How far a lane has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Low {
    /// Nothing below this will come; `None` once the lane is through.
    pub(crate) epoch: Option<Epoch>,
    /// Whether the clock can move it, so that it wants to be looked at.
    pub(crate) clocked: bool,
    /// Whether a record waits to be taken.
    pub(crate) waiting: bool,
}

impl<T> Lane<T> {
    pub(super) fn new(number: u32, spec: LaneSpec, doors: Arc<Doors>, ledger: Arc<Ledger>) -> Self {
        let state = LaneState {
            queue: VecDeque::new(),
            floor: 0,
            latest: None,
            gap_ms: 0,
            live: spec.live,
            heard: 0,
            early: None,
            next_number: 0,
            finished: false,
        };
        Self { number, spec, ledger, doors, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// How far the lane has come; the clock closes the past of some by looking.
    pub(crate) fn low(&self) -> Low {
        let mut state = lock(&self.state);
        let clocked = !state.finished && (state.live || self.may_stall());
        if clocked && state.queue.is_empty() {
            state.floor = state.floor.max(self.past(&state));
        }
        let epoch = match state.queue.front() {
            Some(head) => Some(head.epoch),
            None => Some(state.floor).filter(|_| !state.finished),
        };
        Low { epoch, clocked, waiting: !state.queue.is_empty() }
    }

    /// Whether it stands in for a camera: others must not wait for it for ever.
    fn may_stall(&self) -> bool {
        (self.spec.policy, self.spec.pacing) == (Policy::Latest, Pacing::Realtime)
    }

    /// The epoch below which the clock lets nothing in any more.
    fn past(&self, state: &LaneState<T>) -> Epoch {
        let now = self.doors.now();
        if state.live {
            return now;
        }
        let stalled = now.saturating_sub(state.heard) >= STALL_MAX_MS;
        if stalled { now.min(state.early.unwrap_or(Epoch::MAX)) } else { 0 }
    }

    /// Records of media time as filmed whose time has come, and which are not in yet: as many as if they went on to
    /// come as the latest two.
    pub(super) fn behind(&self) -> u64 {
        let state = lock(&self.state);
        let waits_for_time = state.early.is_some();
        if self.spec.pacing != Pacing::Realtime || state.live || state.finished || waits_for_time {
            return 0;
        }
        let gap_ms = state.gap_ms.max(self.spec.step_ms).max(1);
        let late_ms = state.latest.and_then(|latest| self.doors.now().checked_sub(latest)).unwrap_or(0);
        // The clock says nothing of a run that has not begun.
        let is_running = self.doors.started_ms.get().is_some() && !self.is_stopping();
        if is_running { late_ms / gap_ms } else { 0 }
    }

    /// Takes the oldest record, if `admit` lets it in.
    pub(crate) fn take<R>(&self, admit: impl FnOnce(&Waiting<T>) -> Option<R>) -> Option<(R, Waiting<T>)> {
        let mut state = lock(&self.state);
        let admitted = admit(state.queue.front()?)?;
        let taken = state.queue.pop_front()?;
        drop(state);
        self.changed.notify_one();
        Some((admitted, taken))
    }

    /// Whether it is too early for something; nothing is, once the run is stopping.
    fn waits(&self, state: &LaneState<T>, what: Wait) -> bool {
        let waits = match what {
            Wait::Start => self.doors.started_ms.get().is_none(),
            Wait::Time(epoch) => self.doors.now() < epoch,
            Wait::Room => !self.has_room(state),
            Wait::Nothing => false,
        };
        waits && !self.is_stopping()
    }

    fn has_room(&self, state: &LaneState<T>) -> bool {
        self.spec.policy == Policy::Latest || state.queue.len() < BLOCK_RECORDS_MAX
    }

    /// Waits for something on the lane's own thread.
    fn wait_for(&self, what: Wait) {
        if what == Wait::Nothing {
            return;
        }
        let mut state = lock(&self.state);
        while self.waits(&state, what) {
            let ahead = match what {
                Wait::Time(epoch) => Duration::from_millis(epoch.saturating_sub(self.doors.now())),
                _ => LOOK,
            };
            let waited = self.changed.wait_timeout(state, ahead.min(LOOK));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is waited for may have come.
    pub(super) fn look(&self) {
        self.changed.notify_all();
    }

    /// The next record is known, and its time has not come; or nothing is known. What lies before it is closed: other
    /// lanes need not wait for it.
    fn expect(&self, early: Option<Epoch>) {
        let mut state = lock(&self.state);
        state.early = early;
        state.floor = state.floor.max(early.unwrap_or(0));
        drop(state);
        self.doors.feed();
    }

    /// Queues a record, or gives it back while there is no room for it.
    fn offer(&self, arrival: Arrival<T>) -> std::result::Result<(), Arrival<T>> {
        let mut state = lock(&self.state);
        if self.is_stopping() {
            return Ok(());
        }
        if !self.has_room(&state) {
            return Err(arrival);
        }
        let Arrival { record, stamp, bytes } = arrival;
        let number = state.next_number;
        let epoch = match stamp {
            Stamp::Live => self.doors.now(),
            Stamp::Media(epoch) => epoch,
        };
        let epoch = epoch.max(state.floor);
        state.next_number += 1;
        state.live = self.spec.live || stamp == Stamp::Live;
        state.heard = self.doors.now();
        state.gap_ms = state.latest.map_or(0, |before| epoch.saturating_sub(before));
        state.latest = Some(epoch);
        state.floor = epoch + if state.live { 1 } else { self.spec.step_ms.max(1) };
        self.ledger.admitted(self.number, epoch, number, self.doors.clock.now_us());
        let is_shed = self.spec.policy == Policy::Latest && !self.doors.admits();
        if is_shed {
            let failure = Failure::new(Reason::SHED, "the plan cannot serve all that its cameras send");
            self.ledger.dropped_at_entry(self.number, number, &failure);
        } else {
            self.queue(&mut state, Waiting { epoch, number, bytes, record });
        }
        drop(state);
        self.doors.feed();
        Ok(())
    }

    fn queue(&self, state: &mut LaneState<T>, waiting: Waiting<T>) {
        let is_full = state.queue.len() >= LATEST_RECORDS_MAX && self.spec.policy == Policy::Latest;
        if let Some(oldest) = is_full.then(|| state.queue.pop_front()).flatten() {
            let failure = Failure::new(Reason::OVERFLOW, "frames come faster than they are taken");
            self.ledger.dropped_at_entry(self.number, oldest.number, &failure);
        }
        state.queue.push_back(waiting);
    }

    pub(super) fn stop(&self, cut: Epoch) {
        let mut state = lock(&self.state);
        let failure = Failure::new(Reason::STOPPED, "the run was stopped before the frame entered");
        for waiting in state.queue.iter().filter(|w| w.epoch >= cut) {
            self.ledger.dropped_at_entry(self.number, waiting.number, &failure);
        }
        state.queue.retain(|w| w.epoch < cut);
        state.finished = true;
        self.changed.notify_all();
    }

    /// Nothing more is read.
    fn end(&self) {
        self.ledger.ended(self.number, self.doors.clock.now_us());
        lock(&self.state).finished = true;
        self.doors.wake();
    }

    fn is_stopping(&self) -> bool {
        self.doors.stopping.load(Ordering::SeqCst)
    }
}

/// What a lane waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The start of the run.
    Start,
    /// An epoch, by the clock.
    Time(Epoch),
    /// Room in the queue.
    Room,
    Nothing,
}

/// What a lane does once it need not wait.
enum Next<T> {
    Begin,
    Read,
    /// The time of a record has come.
    Meet(Arrival<T>),
    Offer(Arrival<T>),
    End,
}

/// Reads a lane's feed, step by step: on a thread of its own, or by hand.
pub(super) struct Reader<T> {
    lane: Arc<Lane<T>>,
    feed: Box<dyn Feed<Record = T>>,
    /// Which lane of which source, for messages.
    place: String,
    pause_ms: u64,
    wait: Wait,
    next: Next<T>,
}

impl<T> Reader<T> {
    pub(super) fn open<S: Source<Record = T>>(
        lane: &Arc<Lane<T>>,
        index: usize,
        source_name: &str,
        source: &S,
    ) -> Result<Self> {
        let place = format!("source \"{source_name}\", lane \"{}\"", lane.spec.name);
        let feed = source.open(index, &lane.doors.clock).map_err(|e| e.at(&place))?;
        Ok(Self::new(lane, feed, place))
    }

    fn new(lane: &Arc<Lane<T>>, feed: Box<dyn Feed<Record = T>>, place: String) -> Self {
        let lane = lane.clone();
        Self { lane, feed, place, pause_ms: PAUSE_MIN_MS, wait: Wait::Start, next: Next::Begin }
    }

    pub(super) fn stopper(&self) -> Option<Stopper> {
        self.feed.stopper()
    }

    /// The lane's thread.
    pub(super) fn run(mut self) {
        loop {
            self.lane.wait_for(self.wait);
            if !self.step() {
                return;
            }
        }
    }

    /// By hand: goes on for a few steps, as far as it can. Says when it wants its next turn, in microseconds
    /// by the clock: now, if it went on.
    pub(super) fn turn(&mut self) -> Option<u64> {
        let mut went_on = None;
        for _ in 0..STEPS_MAX {
            if self.lane.waits(&lock(&self.lane.state), self.wait) {
                return went_on.or(self.due_us());
            }
            if !self.step() {
                break;
            }
            went_on = Some(self.lane.doors.clock.now_us());
        }
        went_on
    }

    fn due_us(&self) -> Option<u64> {
        let Wait::Time(epoch) = self.wait else { return None };
        Some((self.lane.doors.started_ms.get()? + epoch) * 1_000)
    }

    /// Does what is next, which need not wait any more; false once the lane is through.
    fn step(&mut self) -> bool {
        if self.lane.is_stopping() && !matches!(self.next, Next::End) {
            self.end();
            return true;
        }
        self.wait = Wait::Nothing;
        match std::mem::replace(&mut self.next, Next::Read) {
            Next::Begin => self.lane.ledger.began(self.lane.number, self.lane.doors.clock.now_us()),
            Next::Read => self.read(),
            Next::Meet(arrival) => {
                self.lane.expect(None);
                self.next = Next::Offer(arrival);
            }
            Next::Offer(arrival) => {
                if let Err(arrival) = self.lane.offer(arrival) {
                    (self.wait, self.next) = (Wait::Room, Next::Offer(arrival));
                }
            }
            Next::End => {
                self.next = Next::End;
                return false;
            }
        }
        true
    }

    fn read(&mut self) {
        let lane = &self.lane;
        match self.feed.next() {
            Ok(Some(arrival)) => {
                self.pause_ms = PAUSE_MIN_MS;
                self.pace(arrival);
            }
            Ok(None) => self.end(),
            Err(_) if lane.is_stopping() => self.end(),
            Err(outage) if lane.spec.live => {
                tracing::warn!("{}: no picture: {outage}", self.place);
                lane.ledger.down(lane.number, outage.to_string(), lane.doors.clock.now_us());
                self.wait = Wait::Time(lane.doors.now() + self.pause_ms);
                self.pause_ms = (2 * self.pause_ms).min(PAUSE_MAX_MS);
            }
            Err(error) => {
                lane.ledger.fault(lane.number, error.at(&self.place).to_string());
                self.end();
            }
        }
    }

    /// Lets media time come before the record, if that is waited for.
    fn pace(&mut self, arrival: Arrival<T>) {
        let (Stamp::Media(epoch), Pacing::Realtime) = (arrival.stamp, self.lane.spec.pacing) else {
            self.next = Next::Offer(arrival);
            return;
        };
        self.lane.expect(Some(epoch));
        (self.wait, self.next) = (Wait::Time(epoch), Next::Meet(arrival));
    }

    fn end(&mut self) {
        self.next = Next::End;
        self.lane.end();
    }
}

#[cfg(test)]
mod tests;
