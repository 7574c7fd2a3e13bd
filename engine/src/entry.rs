//! Where records enter a node: the lanes of its sources.
//!
//! An entry belongs to the node and outlives generations: each generation's source operator takes from
//! it what is below its cut, the next one takes what is not. A lane's thread reads its feed and stamps
//! what it reads; nothing is stamped below what was already closed.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::bounded;
use timely::scheduling::SyncActivator;

use crate::clock::Clock;
use crate::credit::{Credit, Limits};
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Failure, Reason};
use crate::id::{Epoch, GenerationId, StageId};
use crate::ledger::Ledger;
use crate::source::{Arrival, Feed, Lane as LaneSpec, Pacing, Policy, Source, Stamp, Stopper};

/// Records that wait in a lossless lane: one being taken, one behind it, and slack for uneven feeds.
const BLOCK_RECORDS_MAX: usize = 4;
/// Records that wait in a camera's lane: older ones are not worth their latency.
const LATEST_RECORDS_MAX: usize = 2;
/// What may be in flight of one source.
const LIMITS: Limits = Limits { records_min: 8, records_max: 4096, bytes_max: 512 << 20 };
/// How long a lane's thread waits before it looks whether it was stopped.
const LOOK: Duration = Duration::from_millis(100);

/// A record that waits to enter.
pub(crate) struct Waiting<T> {
    pub(crate) epoch: Epoch,
    pub(crate) number: u64,
    pub(crate) bytes: usize,
    pub(crate) record: T,
}

/// The lanes of one source on one node.
pub(crate) struct Entry<T> {
    pub(crate) lanes: Vec<Arc<Lane<T>>>,
    pub(crate) credit: Credit,
    shared: Arc<Doors>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stoppers: Vec<Stopper>,
}

/// What the control path sees and sets of an entry, and who is to be woken.
#[derive(Default)]
pub(crate) struct Doors {
    started: AtomicBool,
    stopping: AtomicBool,
    reached: AtomicU64,
    promise: Mutex<Option<Epoch>>,
    wake: Mutex<Vec<(GenerationId, SyncActivator)>>,
    hungry: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Doors {
    /// The first epoch that this entry has neither closed nor sent a record of.
    pub(crate) fn reached(&self) -> Epoch {
        self.reached.load(Ordering::SeqCst)
    }

    pub(crate) fn reach(&self, epoch: Epoch) {
        self.reached.fetch_max(epoch, Ordering::SeqCst);
    }

    /// The epoch that must not be passed before a cut is decided.
    pub(crate) fn promise(&self) -> Option<Epoch> {
        *lock(&self.promise)
    }

    /// Registers the source operator of a generation.
    pub(crate) fn wake_with(&self, generation: GenerationId, activator: SyncActivator) {
        lock(&self.wake).push((generation, activator));
    }

    /// Forgets the source operator of a generation that is through.
    pub(crate) fn forget(&self, generation: GenerationId) {
        lock(&self.wake).retain(|(g, _)| *g != generation);
    }

    /// The source operator found nothing and wants to be woken.
    pub(crate) fn hunger(&self) {
        self.hungry.store(true, Ordering::SeqCst);
    }

    fn feed(&self) {
        if self.hungry.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        // An activation fails only once its worker is gone, and then nobody waits.
        lock(&self.wake).iter().for_each(|(_, activator)| _ = activator.activate());
    }
}

/// An entry as the control path sees it.
pub(crate) trait Gate: Send + Sync {
    /// Starts the feeds; media time counts from here.
    fn start(&self);

    /// Where the entry stands: the first epoch it has neither closed nor sent a record of.
    fn reached(&self) -> Epoch;

    /// Promises not to pass `cut` before it is decided, unless that is too late: then says where the
    /// entry stands, and stays there for the next proposal.
    fn promise(&self, cut: Epoch) -> std::result::Result<(), Epoch>;

    /// Takes a promise back.
    fn release(&self);

    /// Forgets a generation that will not come to be.
    fn forget(&self, generation: GenerationId);

    /// Stops the feeds and drops what has not entered and is not below `cut`.
    fn stop(&self, cut: Epoch);
}

impl<T: Send + 'static> Gate for Entry<T> {
    fn start(&self) {
        self.shared.started.store(true, Ordering::SeqCst);
        self.lanes.iter().for_each(|lane| lane.changed.notify_all());
    }

    fn reached(&self) -> Epoch {
        self.shared.reached()
    }

    fn promise(&self, cut: Epoch) -> std::result::Result<(), Epoch> {
        let mut promise = lock(&self.shared.promise);
        let reached = self.shared.reached();
        *promise = Some(cut.max(reached));
        if reached <= cut { Ok(()) } else { Err(reached) }
    }

    fn release(&self) {
        *lock(&self.shared.promise) = None;
        self.shared.wake();
    }

    fn forget(&self, generation: GenerationId) {
        self.shared.forget(generation);
        self.credit.forget(generation);
    }

    fn stop(&self, cut: Epoch) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.stoppers.iter().for_each(|stop| stop());
        self.lanes.iter().for_each(|lane| lane.stop(cut));
        self.release();
    }
}

impl<T> Entry<T> {
    pub(crate) fn doors(&self) -> &Arc<Doors> {
        &self.shared
    }
}

impl<T: Send + 'static> Entry<T> {
    /// Opens every lane, each on its own thread: what a feed starts there lives as long as the lane.
    fn open<S: Source<Record = T>>(
        name: &str,
        source: &Arc<S>,
        clock: &Clock,
        ledger: &Arc<Ledger>,
    ) -> Result<Arc<Self>> {
        let shared = Arc::new(Doors::default());
        let mut entry = Self {
            lanes: Vec::new(),
            credit: Credit::new(LIMITS),
            shared,
            threads: Mutex::default(),
            stoppers: Vec::new(),
        };
        let (report, opened) = bounded(source.lanes().len());
        for (i, spec) in source.lanes().into_iter().enumerate() {
            let place = format!("source \"{name}\", lane \"{}\"", spec.name);
            let lane = Arc::new(Lane {
                number: ledger.open_lane(format!("{name}/{}", spec.name)),
                spec,
                clock: clock.clone(),
                ledger: ledger.clone(),
                doors: entry.shared.clone(),
                state: Mutex::default(),
                changed: Condvar::new(),
            });
            let (reading, source, report) = (lane.clone(), source.clone(), report.clone());
            let thread = std::thread::Builder::new().name(format!("lane-{i}")).spawn(move || {
                let feed = source.open(i, &reading.clock).map_err(|e| e.at(&place));
                // The opener waits for every lane's report.
                _ = report.send(feed.as_ref().map(|feed| feed.stopper()).map_err(Error::again));
                if let Ok(feed) = feed {
                    reading.read(feed, &place);
                }
            });
            let thread =
                thread.map_err(|e| Error::new(ErrorKind::Unavailable, "no thread for a lane").because(e))?;
            lock(&entry.threads).push(thread);
            entry.lanes.push(lane);
        }
        for _ in 0..entry.lanes.len() {
            let stopper =
                opened.recv().map_err(|e| Error::new(ErrorKind::Failed, "a feed panicked").because(e))??;
            entry.stoppers.extend(stopper);
        }
        Ok(Arc::new(entry))
    }
}

impl<T> Drop for Entry<T> {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.stoppers.iter().for_each(|stop| stop());
        self.lanes.iter().for_each(|lane| lane.changed.notify_all());
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a lane's thread panicked");
            }
        }
    }
}

/// One lane: what its feed has read and nobody has taken yet.
pub(crate) struct Lane<T> {
    pub(crate) number: u32,
    spec: LaneSpec,
    clock: Clock,
    ledger: Arc<Ledger>,
    doors: Arc<Doors>,
    state: Mutex<LaneState<T>>,
    changed: Condvar,
}

struct LaneState<T> {
    queue: VecDeque<Waiting<T>>,
    /// Nothing below this will come.
    floor: Epoch,
    /// Whether the floor moves with the clock.
    live: bool,
    next_number: u64,
    finished: bool,
}

impl<T> Default for LaneState<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), floor: 0, live: false, next_number: 0, finished: false }
    }
}

/// How far a lane has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Low {
    /// Nothing below this will come; `None` once the lane is through.
    pub(crate) epoch: Option<Epoch>,
    /// Whether it moves with the clock.
    pub(crate) live: bool,
}

impl<T> Lane<T> {
    /// How far the lane has come; a live one closes the past by looking.
    pub(crate) fn low(&self) -> Low {
        let mut state = lock(&self.state);
        let live = state.live;
        if live && state.queue.is_empty() && !state.finished {
            state.floor = state.floor.max(self.clock.now_ms());
        }
        let epoch = match state.queue.front() {
            Some(head) => Some(head.epoch),
            None => Some(state.floor).filter(|_| !state.finished),
        };
        Low { epoch, live }
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

    /// The lane's thread.
    fn read(&self, mut feed: Box<dyn Feed<Record = T>>, place: &str) {
        self.wait_for_start();
        let start_ms = self.clock.now_ms();
        while !self.is_stopping() {
            match feed.next() {
                Ok(Some(arrival)) => {
                    self.pace(&arrival, start_ms);
                    self.offer(arrival);
                }
                Ok(None) => break,
                Err(error) => {
                    if !self.is_stopping() {
                        self.ledger.fault(self.number, error.at(place).to_string());
                    }
                    break;
                }
            }
        }
        lock(&self.state).finished = true;
        self.doors.wake();
    }

    fn wait_for_start(&self) {
        let mut state = lock(&self.state);
        while !self.doors.started.load(Ordering::SeqCst) && !self.is_stopping() {
            state = self.wait(state, LOOK);
        }
    }

    /// Waits until media time has come.
    fn pace(&self, arrival: &Arrival<T>, start_ms: u64) {
        let (Stamp::Media(epoch), Pacing::Realtime) = (arrival.stamp, self.spec.pacing) else { return };
        let mut state = lock(&self.state);
        loop {
            let ahead_ms = (start_ms + epoch).saturating_sub(self.clock.now_ms());
            if ahead_ms == 0 || self.is_stopping() {
                return;
            }
            state = self.wait(state, LOOK.min(Duration::from_millis(ahead_ms)));
        }
    }

    fn offer(&self, arrival: Arrival<T>) {
        let mut state = lock(&self.state);
        while state.queue.len() >= BLOCK_RECORDS_MAX && self.spec.policy == Policy::Block {
            if self.is_stopping() {
                return;
            }
            state = self.wait(state, LOOK);
        }
        if self.is_stopping() {
            return;
        }
        let Arrival { record, stamp, bytes } = arrival;
        let number = state.next_number;
        let epoch = match stamp {
            Stamp::Live => self.clock.now_ms(),
            Stamp::Media(epoch) => epoch,
        };
        let epoch = epoch.max(state.floor);
        state.next_number += 1;
        state.live = stamp == Stamp::Live;
        state.floor = epoch + if state.live { 1 } else { self.spec.step_ms.max(1) };
        self.ledger.admitted(self.number, epoch, number, self.clock.now_us());
        if state.queue.len() >= LATEST_RECORDS_MAX && self.spec.policy == Policy::Latest {
            self.drop_oldest(&mut state);
        }
        state.queue.push_back(Waiting { epoch, number, bytes, record });
        drop(state);
        self.doors.feed();
    }

    fn drop_oldest(&self, state: &mut LaneState<T>) {
        if let Some(oldest) = state.queue.pop_front() {
            let failure = Failure::new(Reason::OVERFLOW, "frames come faster than they are taken");
            self.ledger.dropped_at_entry(self.number, oldest.number, &failure);
        }
    }

    fn stop(&self, cut: Epoch) {
        let mut state = lock(&self.state);
        let failure = Failure::new(Reason::STOPPED, "the run was stopped before the frame entered");
        for waiting in state.queue.iter().filter(|w| w.epoch >= cut) {
            self.ledger.dropped_at_entry(self.number, waiting.number, &failure);
        }
        state.queue.retain(|w| w.epoch < cut);
        state.finished = true;
        self.changed.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.doors.stopping.load(Ordering::SeqCst)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, LaneState<T>>,
        at_most: Duration,
    ) -> MutexGuard<'a, LaneState<T>> {
        self.changed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The entries of a node by source stage.
#[derive(Default)]
pub(crate) struct Entries(Mutex<HashMap<StageId, Sides>>);

/// One entry, as the control path and as its operators see it.
struct Sides {
    gate: Arc<dyn Gate>,
    entry: Arc<dyn Any + Send + Sync>,
}

impl Entries {
    /// The entry of a source, opened on first use.
    pub(crate) fn get_or_open<S: Source>(
        &self,
        stage: StageId,
        name: &str,
        source: &Arc<S>,
        clock: &Clock,
        ledger: &Arc<Ledger>,
    ) -> Result<Arc<dyn Any + Send + Sync>> {
        let mut entries = lock(&self.0);
        if let Some(sides) = entries.get(&stage) {
            return Ok(sides.entry.clone());
        }
        let entry = Entry::open(name, source, clock, ledger)?;
        entries.insert(stage, Sides { gate: entry.clone(), entry: entry.clone() });
        Ok(entry)
    }

    /// Every entry of the node.
    pub(crate) fn gates(&self) -> Vec<Arc<dyn Gate>> {
        lock(&self.0).values().map(|sides| sides.gate.clone()).collect()
    }
}
