//! Where records enter a node: the lanes of its sources.
//!
//! An entry belongs to the node and outlives generations: each generation's source operator takes from
//! it what is below its cut, the next one takes what is not. Lanes are read on threads of their own; under
//! a simulated clock there are none, and whoever steps the node gives each lane its turn.

mod lane;
mod limit;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crossbeam::channel::bounded;
use timely::scheduling::SyncActivator;

use self::lane::Reader;
pub(crate) use self::lane::{Lane, Low, Waiting};
use self::limit::Limit;
use crate::clock::Clock;
use crate::credit::{Credit, Limits};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Epoch, GenerationId, StageId};
use crate::ledger::Ledger;
use crate::source::{Source, Stopper};

/// What may be in flight of one source.
const LIMITS: Limits = Limits { records_min: 8, records_max: 4096, bytes_max: 512 << 20 };

/// A lane's number in the run: the same on every node, and in the order of sources and lanes.
fn lane_number(stage: StageId, lane: usize) -> u32 {
    (stage.0 << 16) | (lane as u32 & 0xffff)
}

/// The source that a lane of this number belongs to.
pub(crate) fn stage_of_lane(number: u32) -> StageId {
    StageId(number >> 16)
}

/// The lanes of one source on one node.
pub(crate) struct Entry<T> {
    pub(crate) lanes: Vec<Arc<Lane<T>>>,
    pub(crate) credit: Credit,
    shared: Arc<Doors>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// What the threads would run, under a simulated clock.
    by_hand: Mutex<Vec<Reader<T>>>,
    stoppers: Vec<Stopper>,
}

/// What the control path sees and sets of an entry, and who is to be woken.
pub(crate) struct Doors {
    clock: Clock,
    /// When the run began, by its clock: epochs count from here.
    started_ms: OnceLock<u64>,
    stopping: AtomicBool,
    reached: AtomicU64,
    promise: Mutex<Option<Epoch>>,
    limit: Mutex<Option<Limit>>,
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
            limit: Mutex::default(),
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

    /// Whether another frame may enter.
    fn admits(&self) -> bool {
        lock(&self.limit).as_mut().is_none_or(|limit| limit.admits(self.clock.now_us()))
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
    /// Starts the feeds; epochs count from this time of the run clock.
    fn start(&self, began_ms: u64);

    /// Where the entry stands: the first epoch it has neither closed nor sent a record of.
    fn reached(&self) -> Epoch;

    /// Promises not to pass `cut` before it is decided, unless that is too late: then says where the
    /// entry stands, and stays there for the next proposal.
    fn promise(&self, cut: Epoch) -> std::result::Result<(), Epoch>;

    /// Takes a promise back.
    fn release(&self);

    /// From now on at most so many frames per second enter; all of them if it is `None`.
    fn limit(&self, rate_max_per_s: Option<f64>);

    /// Forgets a generation that will not come to be.
    fn forget(&self, generation: GenerationId);

    /// Stops the feeds and drops what has not entered and is not below `cut`.
    fn stop(&self, cut: Epoch);

    /// By the number of the lane, how many records should be in by now and are not: there was no room for them.
    fn behind(&self) -> Vec<(u32, u64)>;

    /// See [`Entries::turn`].
    fn turn(&self) -> Option<u64>;
}

impl<T: Send + 'static> Gate for Entry<T> {
    fn start(&self, began_ms: u64) {
        self.shared.started_ms.get_or_init(|| began_ms);
        self.lanes.iter().for_each(|lane| lane.look());
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

    fn limit(&self, rate_max_per_s: Option<f64>) {
        let now_us = self.shared.clock.now_us();
        let limit = rate_max_per_s.map(|rate| Limit::new(rate, self.lanes.len(), now_us));
        *lock(&self.shared.limit) = limit;
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

    fn behind(&self) -> Vec<(u32, u64)> {
        self.lanes.iter().map(|lane| (lane.number, lane.behind())).collect()
    }

    fn turn(&self) -> Option<u64> {
        lock(&self.by_hand).iter_mut().filter_map(Reader::turn).min()
    }
}

impl<T> Entry<T> {
    pub(crate) fn doors(&self) -> &Arc<Doors> {
        &self.shared
    }
}

impl<T: Send + 'static> Entry<T> {
    /// Opens every lane.
    fn open<S: Source<Record = T>>(
        stage: StageId,
        name: &str,
        source: &Arc<S>,
        clock: &Clock,
        ledger: &Arc<Ledger>,
    ) -> Result<Arc<Self>> {
        let mut entry = Self {
            lanes: Vec::new(),
            credit: Credit::new(LIMITS),
            shared: Arc::new(Doors::new(clock.clone())),
            threads: Mutex::default(),
            by_hand: Mutex::default(),
            stoppers: Vec::new(),
        };
        for (i, spec) in source.lanes().into_iter().enumerate() {
            let number = lane_number(stage, i);
            ledger.open_lane(number, format!("{name}/{}", spec.name), spec.live);
            entry.lanes.push(Arc::new(Lane::new(number, spec, entry.shared.clone(), ledger.clone())));
        }
        if clock.is_simulated() {
            entry.open_here(name, source)?;
        } else {
            entry.open_on_threads(name, source)?;
        }
        Ok(Arc::new(entry))
    }

    /// Opens every lane on its own thread: what a feed starts there lives as long as the lane.
    fn open_on_threads<S: Source<Record = T>>(&mut self, name: &str, source: &Arc<S>) -> Result<()> {
        let (report, opened) = bounded(self.lanes.len());
        for (i, lane) in self.lanes.iter().enumerate() {
            let (lane, source, report, name) =
                (lane.clone(), source.clone(), report.clone(), name.to_owned());
            let thread = std::thread::Builder::new().name(format!("lane-{i}")).spawn(move || {
                let reader = Reader::open(&lane, i, &name, &*source);
                // The opener waits for every lane's report.
                _ = report.send(reader.as_ref().map(Reader::stopper).map_err(Error::again));
                if let Ok(reader) = reader {
                    reader.run();
                }
            });
            let thread =
                thread.map_err(|e| Error::new(ErrorKind::Unavailable, "no thread for a lane").because(e))?;
            lock(&self.threads).push(thread);
        }
        for _ in 0..self.lanes.len() {
            let stopper =
                opened.recv().map_err(|e| Error::new(ErrorKind::Failed, "a feed panicked").because(e))??;
            self.stoppers.extend(stopper);
        }
        Ok(())
    }

    /// Opens every lane here, to be stepped by hand.
    fn open_here<S: Source<Record = T>>(&mut self, name: &str, source: &Arc<S>) -> Result<()> {
        for (i, lane) in self.lanes.iter().enumerate() {
            let reader = Reader::open(lane, i, name, &**source)?;
            self.stoppers.extend(reader.stopper());
            lock(&self.by_hand).push(reader);
        }
        Ok(())
    }
}

impl<T> Drop for Entry<T> {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.stoppers.iter().for_each(|stop| stop());
        self.lanes.iter().for_each(|lane| lane.look());
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a lane's thread panicked");
            }
        }
    }
}

/// The entries of a node by source stage.
#[derive(Default)]
pub(crate) struct Entries(Mutex<BTreeMap<StageId, Sides>>);

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
        let entry = Entry::open(stage, name, source, clock, ledger)?;
        entries.insert(stage, Sides { gate: entry.clone(), entry: entry.clone() });
        Ok(entry)
    }

    /// Sets what the sources let in, by their stages.
    pub(crate) fn limit(&self, rate_max_per_s: impl Fn(StageId) -> Option<f64>) {
        lock(&self.0).iter().for_each(|(stage, sides)| sides.gate.limit(rate_max_per_s(*stage)));
    }

    /// Every entry of the node.
    pub(crate) fn gates(&self) -> Vec<Arc<dyn Gate>> {
        lock(&self.0).values().map(|sides| sides.gate.clone()).collect()
    }

    /// Under a simulated clock: every lane reads its feed while it has room, for a few records. Says when
    /// it wants the next turn, by the clock in microseconds. That is now if it went on, so that the source
    /// operators get their turn in between; `None` until somebody takes a record. On threads there is
    /// nothing to do.
    pub(crate) fn turn(&self) -> Option<u64> {
        self.gates().iter().filter_map(|gate| gate.turn()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Arrival, Feed, Lane as LaneSpec, Stamp};

    /// Lanes of some length each; a negative one cannot be opened.
    struct Films([i64; 3]);

    struct Film(u64, u64);

    impl Source for Films {
        type Record = u64;

        fn lanes(&self) -> Vec<LaneSpec> {
            (0..self.0.len()).map(|i| LaneSpec::new(format!("film {i}"))).collect()
        }

        fn open(&self, lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = u64>>> {
            let length = u64::try_from(self.0[lane]).map_err(|_| Error::new(ErrorKind::Invalid, "torn"))?;
            Ok(Box::new(Film(0, length)))
        }
    }

    impl Feed for Film {
        type Record = u64;

        fn next(&mut self) -> Result<Option<Arrival<u64>>> {
            self.0 += 1;
            let arrival = Arrival { record: self.0, stamp: Stamp::Media(40 * self.0), bytes: 8 };
            Ok((self.0 <= self.1).then_some(arrival))
        }
    }

    fn open(clock: &Clock, lengths: [i64; 3]) -> (Entries, Result<Arc<Entry<u64>>>) {
        let (entries, ledger) = (Entries::default(), Ledger::new(std::iter::empty()));
        let entry = entries.get_or_open(StageId(0), "films", &Arc::new(Films(lengths)), clock, &ledger);
        let entry = entry.map(|entry| entry.downcast().expect("an entry of numbers"));
        (entries, entry)
    }

    #[test]
    fn lanes_yield_the_same_on_threads_and_by_hand() {
        for clock in [Clock::real(), Clock::simulated()] {
            let (entries, entry) = open(&clock, [30, 0, 7]);
            let entry = entry.expect("it opens");
            assert_eq!(entries.turn(), None, "nothing is read before the start");
            entries.gates().iter().for_each(|gate| gate.start(0));
            let mut taken = vec![Vec::new(); 3];
            while entry.lanes.iter().any(|lane| lane.low().epoch.is_some()) {
                _ = entries.turn();
                for (lane, taken) in entry.lanes.iter().zip(&mut taken) {
                    taken.extend(lane.take(|_| Some(())).map(|(_, waiting)| (waiting.epoch, waiting.record)));
                }
            }
            let film = |length| (1..=length).map(|n| (40 * n, n)).collect::<Vec<_>>();
            assert_eq!(taken, [film(30), film(0), film(7)]);
        }
    }

    #[test]
    fn a_lane_that_cannot_be_opened_is_named() {
        for clock in [Clock::real(), Clock::simulated()] {
            let error = open(&clock, [1, -1, 1]).1.err().expect("a torn film");
            assert!(error.to_string().contains("source \"films\", lane \"film 1\""), "{error}");
        }
    }
}
