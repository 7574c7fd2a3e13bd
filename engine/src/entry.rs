//! Where records enter a node: the lanes of its sources.
//!
//! An entry belongs to the node and outlives generations: each generation's source operator takes from
//! it what is below its cut, the next one takes what is not. A lane's thread reads its feed and stamps
//! what it reads; nothing is stamped below what was already closed.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
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
/// How long a lane under `latest` may be silent before its time moves on without it.
const STALL_MAX_MS: u64 = 2_000;
/// The pause after the first error of an outage; it doubles with each.
const PAUSE_MIN_MS: u64 = 250;
/// The longest pause: a picture should be back soon after its camera is.
const PAUSE_MAX_MS: u64 = 1_000;

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
pub(crate) struct Doors {
    clock: Clock,
    /// When the feeds were started, by the clock: epochs count from here.
    started_ms: OnceLock<u64>,
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
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            started_ms: OnceLock::new(),
            stopping: AtomicBool::new(false),
            reached: AtomicU64::new(0),
            promise: Mutex::default(),
            wake: Mutex::default(),
            hungry: AtomicBool::new(false),
        }
    }

    /// The epoch that it is now; 0 before the start.
    fn now(&self) -> Epoch {
        self.started_ms.get().map_or(0, |start_ms| self.clock.now_ms().saturating_sub(*start_ms))
    }

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
    /// Starts the feeds; epochs count from here.
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
        self.shared.started_ms.get_or_init(|| self.shared.clock.now_ms());
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
        let shared = Arc::new(Doors::new(clock.clone()));
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
            let number = ledger.open_lane(format!("{name}/{}", spec.name), spec.live);
            let lane = Arc::new(Lane::new(number, spec, entry.shared.clone(), ledger.clone()));
            let (reading, source, report) = (lane.clone(), source.clone(), report.clone());
            let thread = std::thread::Builder::new().name(format!("lane-{i}")).spawn(move || {
                let feed = source.open(i, &reading.doors.clock).map_err(|e| e.at(&place));
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
    fn new(number: u32, spec: LaneSpec, doors: Arc<Doors>, ledger: Arc<Ledger>) -> Self {
        let state = LaneState {
            queue: VecDeque::new(),
            floor: 0,
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
        let mut pause_ms = PAUSE_MIN_MS;
        while !self.is_stopping() {
            match feed.next() {
                Ok(Some(arrival)) => {
                    pause_ms = PAUSE_MIN_MS;
                    self.pace(&arrival);
                    self.offer(arrival);
                }
                Ok(None) => break,
                Err(_) if self.is_stopping() => break,
                Err(outage) if self.spec.live => {
                    tracing::warn!("{place}: no picture: {outage}");
                    self.ledger.down(self.number, outage.to_string(), self.doors.clock.now_us());
                    self.sleep_until(self.doors.now() + pause_ms);
                    pause_ms = (2 * pause_ms).min(PAUSE_MAX_MS);
                }
                Err(error) => {
                    self.ledger.fault(self.number, error.at(place).to_string());
                    break;
                }
            }
        }
        self.ledger.ended(self.number, self.doors.clock.now_us());
        lock(&self.state).finished = true;
        self.doors.wake();
    }

    fn wait_for_start(&self) {
        let mut state = lock(&self.state);
        while self.doors.started_ms.get().is_none() && !self.is_stopping() {
            state = self.wait(state, LOOK);
        }
        drop(state);
        self.ledger.began(self.number, self.doors.clock.now_us());
    }

    /// Waits until media time has come.
    fn pace(&self, arrival: &Arrival<T>) {
        let (Stamp::Media(epoch), Pacing::Realtime) = (arrival.stamp, self.spec.pacing) else { return };
        lock(&self.state).early = Some(epoch);
        self.sleep_until(epoch);
        lock(&self.state).early = None;
    }

    /// Waits until the clock has reached an epoch.
    fn sleep_until(&self, epoch: Epoch) {
        let mut state = lock(&self.state);
        loop {
            let ahead_ms = epoch.saturating_sub(self.doors.now());
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
            Stamp::Live => self.doors.now(),
            Stamp::Media(epoch) => epoch,
        };
        let epoch = epoch.max(state.floor);
        state.next_number += 1;
        state.live = self.spec.live || stamp == Stamp::Live;
        state.heard = self.doors.now();
        state.floor = epoch + if state.live { 1 } else { self.spec.step_ms.max(1) };
        self.ledger.admitted(self.number, epoch, number, self.doors.clock.now_us());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::SourceAccount;

    /// A lane on a clock of its own, started.
    fn lane(spec: LaneSpec) -> (Lane<u64>, Clock) {
        let clock = Clock::simulated();
        // A run does not begin with its clock.
        clock.advance(Duration::from_secs(7));
        let ledger = Ledger::new(std::iter::empty());
        let number = ledger.open_lane(spec.name.clone(), spec.live);
        let lane = Lane::new(number, spec, Arc::new(Doors::new(clock.clone())), ledger);
        assert_eq!(lane.low().epoch, Some(0), "nothing is closed before the start");
        lane.doors.started_ms.get_or_init(|| clock.now_ms());
        (lane, clock)
    }

    fn offer(lane: &Lane<u64>, stamp: Stamp) {
        lane.offer(Arrival { record: 0, stamp, bytes: 8 });
    }

    fn low_after(lane: &Lane<u64>, clock: &Clock, ms: u64) -> Epoch {
        clock.advance(Duration::from_millis(ms));
        lane.low().epoch.expect("the lane goes on")
    }

    fn take(lane: &Lane<u64>) -> Epoch {
        lane.take(|_| Some(())).expect("a record waits").1.epoch
    }

    #[test]
    fn a_live_lane_closes_its_time_from_the_start_whatever_its_policy() {
        for policy in [Policy::Latest, Policy::Block] {
            let (lane, clock) = lane(LaneSpec { policy, ..LaneSpec::live("yard") });
            assert!(lane.low().clocked);
            assert_eq!(low_after(&lane, &clock, 500), 500);
            offer(&lane, Stamp::Live);
            assert_eq!(low_after(&lane, &clock, 100), 500, "never past the oldest record that it holds");
            assert_eq!(take(&lane), 500);
            assert_eq!(low_after(&lane, &clock, 0), 600);
        }
    }

    #[test]
    fn a_camera_of_media_time_holds_the_others_up_for_two_seconds_at_most() {
        let camera = LaneSpec {
            policy: Policy::Latest,
            pacing: Pacing::Realtime,
            step_ms: 40,
            ..LaneSpec::new("yard")
        };
        let (lane, clock) = lane(camera);
        clock.advance(Duration::from_millis(1_000));
        offer(&lane, Stamp::Media(1_000));
        assert_eq!(take(&lane), 1_000);
        assert_eq!(low_after(&lane, &clock, 1_999), 1_040, "until then its own records move it");
        assert_eq!(low_after(&lane, &clock, 1), 3_000);
        assert_eq!(low_after(&lane, &clock, 500), 3_500);
        offer(&lane, Stamp::Media(1_040));
        assert_eq!(take(&lane), 3_500, "what comes too late is stamped later");
        assert_eq!(low_after(&lane, &clock, 100), 3_540, "it has been heard of");
    }

    #[test]
    fn a_record_that_waits_for_its_time_is_not_overtaken_by_it() {
        let (lane, clock) = lane(LaneSpec {
            policy: Policy::Latest,
            pacing: Pacing::Realtime,
            ..LaneSpec::new("a picture an hour")
        });
        lock(&lane.state).early = Some(5_000);
        assert_eq!(low_after(&lane, &clock, 4_000), 4_000);
        assert_eq!(low_after(&lane, &clock, 4_000), 5_000);
        offer(&lane, Stamp::Media(5_000));
        assert_eq!(take(&lane), 5_000);
    }

    #[test]
    fn other_lanes_of_media_time_hold_up_for_ever() {
        for (policy, pacing) in
            [(Policy::Block, Pacing::Realtime), (Policy::Block, Pacing::Max), (Policy::Latest, Pacing::Max)]
        {
            let (lane, clock) = lane(LaneSpec { policy, pacing, ..LaneSpec::new("film") });
            assert!(!lane.low().clocked);
            assert_eq!(low_after(&lane, &clock, 3_600_000), 0);
        }
    }

    /// Yields what it is told to.
    struct Script(VecDeque<Result<u64, &'static str>>);

    impl Feed for Script {
        type Record = u64;

        fn next(&mut self) -> Result<Option<Arrival<u64>>> {
            match self.0.pop_front() {
                Some(Ok(record)) => Ok(Some(Arrival { record, stamp: Stamp::Live, bytes: 8 })),
                Some(Err(why)) => Err(Error::new(ErrorKind::Unavailable, why)),
                None => Ok(None),
            }
        }
    }

    /// Reads a script to its end, while somebody else moves the clock; returns the lane's account.
    fn read(lane: &Lane<u64>, clock: &Clock, script: &[Result<u64, &'static str>]) -> SourceAccount {
        let feed = Script(script.iter().copied().collect());
        let reading = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while reading.load(Ordering::SeqCst) {
                    clock.advance(Duration::from_millis(1));
                    lane.changed.notify_all();
                    std::thread::yield_now();
                }
            });
            lane.read(Box::new(feed), "lane");
            reading.store(false, Ordering::SeqCst);
        });
        lane.ledger.accounts().sources[&lane.spec.name].clone()
    }

    #[test]
    fn an_outage_of_a_live_lane_is_a_gap_and_not_the_end() {
        let (lane, clock) = lane(LaneSpec { policy: Policy::Block, ..LaneSpec::live("yard") });
        let script = [Err("not there yet"), Ok(0), Err("gone"), Err("still gone"), Ok(1), Err("gone again")];
        let account = read(&lane, &clock, &script);
        assert_eq!(account.admitted, 2);
        let gaps = account.gaps.expect("a live lane has them");
        assert_eq!((gaps.count, gaps.reconnects, gaps.open), (3, 2, true));
        assert_eq!(gaps.last_reason, "gone again");
        // A pause before each of four further tries: 250 ms, 250 + 500 ms, 250 ms.
        assert!(gaps.seconds >= 1.25, "{gaps:?}");
        assert!(lane.ledger.accounts().faults.is_empty());
        assert!(lane.low().epoch.is_some(), "two records wait");
    }

    #[test]
    fn an_error_ends_a_lane_that_is_not_live() {
        let (lane, clock) = lane(LaneSpec::new("film"));
        let account = read(&lane, &clock, &[Ok(0), Err("damaged"), Ok(1)]);
        assert_eq!((account.admitted, account.gaps), (1, None));
        assert_eq!(lane.ledger.accounts().faults, ["lane: damaged"]);
    }
}
