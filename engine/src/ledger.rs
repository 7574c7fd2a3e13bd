//! The ledger: nothing is lost in silence.
//!
//! Two accounts close at every moment. Per edge: sent = received + dropped (by reason) + in flight,
//! counted at both ends. Per source: admitted = completed + dropped (by reason) + in flight, where a
//! frame is completed when the frontier of every sink has passed its epoch, and counted degraded as
//! well if some of what came of it failed.
//!
//! Every node keeps its own books: of the edges, what it sent and received; of the sources, those that are on
//! it. What a sink or a failure elsewhere means for a source here is told over; [`Books`] add up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Reason};
use crate::id::{Epoch, GenerationId, StageId};
use crate::recent::{Recent, Seen, Windows};
use crate::record::Place;

/// Distinct reasons per account; what comes after is counted as `other`.
const REASONS_MAX: usize = 32;
/// Sinks of a run whose faults are told one by one.
const FAULTS_MAX: usize = 32;
/// Frames of a lane that are remembered as degraded, so that none is counted twice.
pub(crate) const DEGRADED_MAX: usize = 4_096;

/// Counts by reason, with one example each.
#[derive(Default)]
struct Dropped(BTreeMap<Reason, (u64, String)>);

impl Dropped {
    fn add(&mut self, failure: &Failure, n: u64) {
        let known = self.0.contains_key(&failure.reason) || self.0.len() < REASONS_MAX;
        let reason = if known { failure.reason.clone() } else { Reason::OTHER };
        self.0.entry(reason).or_insert_with(|| (0, failure.message.clone())).0 += n;
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(reason, (n, _))| (reason.to_string(), *n)).collect()
    }

    fn total(&self) -> u64 {
        self.0.values().map(|(n, _)| n).sum()
    }

    fn examples(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().map(|(reason, (_, message))| (reason.to_string(), message.clone()))
    }
}

/// The counters of one edge, over all generations.
pub(crate) struct Edge {
    name: String,
    sent: AtomicU64,
    received: AtomicU64,
    dropped: Mutex<Dropped>,
}

impl Edge {
    pub(crate) fn sent(&self, n: usize) {
        self.sent.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, n: usize) {
        self.received.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// The account of one lane of a source.
struct Lane {
    name: String,
    admitted: u64,
    completed: u64,
    degraded: u64,
    dropped: Dropped,
    fault: Option<String>,
    open: VecDeque<Open>,
    /// The latest frames that were degraded.
    marked: BTreeSet<u64>,
    /// Of live lanes only.
    watch: Option<Watch>,
}

/// How far sinks of generations have come.
type Sinks = BTreeMap<(GenerationId, StageId), Epoch>;

/// A sink has come so far: never back, whatever of it is heard in which order.
fn raise(sinks: &mut Sinks, sink: (GenerationId, StageId), epoch: Epoch) {
    let known = sinks.entry(sink).or_insert(epoch);
    *known = epoch.max(*known);
}

/// When a live lane was without records.
#[derive(Default)]
struct Watch {
    heard_us: u64,
    /// Seconds of the gaps that are over.
    past_seconds: f64,
    gaps: Gaps,
}

impl Watch {
    fn heard(&mut self, now_us: u64) {
        if self.gaps.open {
            self.measure(now_us);
            self.past_seconds = self.gaps.seconds;
            self.gaps.open = false;
            self.gaps.reconnects += 1;
        }
        self.heard_us = now_us;
    }

    fn down(&mut self, reason: String, now_us: u64) {
        self.gaps.count += u64::from(!self.gaps.open);
        self.gaps.open = true;
        self.gaps.last_reason = reason;
        self.measure(now_us);
    }

    fn measure(&mut self, now_us: u64) {
        if self.gaps.open {
            self.gaps.seconds = self.past_seconds + now_us.saturating_sub(self.heard_us) as f64 / 1e6;
        }
    }
}

/// A frame on its way, in the order of its lane.
struct Open {
    epoch: Epoch,
    number: u64,
    admitted_us: u64,
    degraded: bool,
}

/// The books of one run; shared by its nodes within a process.
pub(crate) struct Ledger {
    edges: BTreeMap<(StageId, usize), Arc<Edge>>,
    /// By their number in the run.
    lanes: Mutex<BTreeMap<u32, Lane>>,
    /// Frames of other nodes' lanes that are degraded, and not told of yet.
    degraded_elsewhere: Mutex<Vec<(u32, u64)>>,
    sinks: Mutex<Sinks>,
    faults_of_sinks: Mutex<Vec<String>>,
    latency_us: Mutex<Histogram<u64>>,
    recent: Mutex<Recent>,
    /// How far each sink has written, and how many records came to sinks after later ones.
    written: Mutex<BTreeMap<StageId, Epoch>>,
    reordered: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The books are plain counters: a panic elsewhere cannot leave them half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Books for edges with these names, by the input that each leads into.
    pub(crate) fn new(edges: impl Iterator<Item = ((StageId, usize), String)>) -> Arc<Self> {
        let edge = |(input, name)| {
            let (sent, received) = Default::default();
            (input, Arc::new(Edge { name, sent, received, dropped: Mutex::default() }))
        };
        Arc::new(Self {
            edges: edges.map(edge).collect(),
            lanes: Mutex::default(),
            degraded_elsewhere: Mutex::default(),
            sinks: Mutex::default(),
            faults_of_sinks: Mutex::default(),
            latency_us: Mutex::new(histogram()),
            recent: Mutex::default(),
            written: Mutex::default(),
            reordered: AtomicU64::new(0),
        })
    }

    /// The counters of the edge into input number `input` of a stage.
    pub(crate) fn edge(&self, to: StageId, input: usize) -> Arc<Edge> {
        self.edges[&(to, input)].clone()
    }

    /// Opens the account of a lane by its number.
    pub(crate) fn open_lane(&self, number: u32, name: String, live: bool) {
        let lane = Lane {
            name,
            admitted: 0,
            completed: 0,
            degraded: 0,
            dropped: Dropped::default(),
            fault: None,
            open: VecDeque::new(),
            marked: BTreeSet::new(),
            watch: live.then(Watch::default),
        };
        lock(&self.lanes).insert(number, lane);
    }

    /// Does something with the account of a lane that is open here.
    fn with_lane(&self, lane: u32, f: impl FnOnce(&mut Lane)) {
        if let Some(lane) = lock(&self.lanes).get_mut(&lane) {
            f(lane);
        }
    }

    /// A frame came in.
    pub(crate) fn admitted(&self, lane: u32, epoch: Epoch, number: u64, now_us: u64) {
        self.with_lane(lane, |lane| {
            lane.admitted += 1;
            if let Some(watch) = &mut lane.watch {
                watch.heard(now_us);
            }
            lane.open.push_back(Open { epoch, number, admitted_us: now_us, degraded: false });
        });
    }

    /// A frame that came in was dropped before anything was spent on it.
    pub(crate) fn dropped_at_entry(&self, lane: u32, number: u64, failure: &Failure) {
        self.with_lane(lane, |lane| {
            if let Ok(i) = lane.open.binary_search_by_key(&number, |o| o.number) {
                lane.open.remove(i);
                lane.dropped.add(failure, 1);
            }
        });
    }

    /// A lane's feed is being read from now on.
    pub(crate) fn began(&self, lane: u32, now_us: u64) {
        self.with_lane(lane, |lane| {
            if let Some(watch) = &mut lane.watch {
                watch.heard_us = now_us;
            }
        });
    }

    /// A live lane has no records for now; its next one ends the gap.
    pub(crate) fn down(&self, lane: u32, reason: String, now_us: u64) {
        self.with_lane(lane, |lane| {
            if let Some(watch) = &mut lane.watch {
                watch.down(reason, now_us);
            }
        });
    }

    /// A lane is over: a gap that is open grows no longer.
    pub(crate) fn ended(&self, lane: u32, now_us: u64) {
        self.with_lane(lane, |lane| {
            if let Some(watch) = &mut lane.watch {
                watch.measure(now_us);
            }
        });
    }

    /// A lane ended with an error.
    pub(crate) fn fault(&self, lane: u32, message: String) {
        self.with_lane(lane, |lane| lane.fault = Some(message));
    }

    /// A sink could not end what it wrote. Later ones than the first [`FAULTS_MAX`] are logged alone.
    pub(crate) fn fault_of_sink(&self, message: String) {
        tracing::error!(message, "a sink could not be closed");
        let mut faults = lock(&self.faults_of_sinks);
        if faults.len() < FAULTS_MAX {
            faults.push(message);
        }
    }

    /// A record was dropped by the stage at the end of an edge; its frame is degraded.
    pub(crate) fn dropped(&self, edge: &Edge, at: &Place, failure: &Failure) {
        tracing::debug!(edge = edge.name, reason = %failure.reason, message = failure.message, "dropped");
        lock(&edge.dropped).add(failure, 1);
        if at.lane != Place::DERIVED && !self.degrade(at.lane, at.number) {
            lock(&self.degraded_elsewhere).push((at.lane, at.number));
        }
    }

    /// Some part of a frame failed. False if its lane is not here.
    pub(crate) fn degrade(&self, lane: u32, number: u64) -> bool {
        let mut lanes = lock(&self.lanes);
        let Some(lane) = lanes.get_mut(&lane) else { return false };
        if lane.marked.insert(number) {
            match lane.open.binary_search_by_key(&number, |o| o.number) {
                Ok(i) => lane.open[i].degraded = true,
                // Told of after it was completed.
                Err(_) => lane.degraded += 1,
            }
            if lane.marked.len() > DEGRADED_MAX {
                lane.marked.pop_first();
            }
        }
        true
    }

    /// The frames of other nodes that are degraded, as (lane, number), since the last time.
    pub(crate) fn take_degraded_elsewhere(&self) -> Vec<(u32, u64)> {
        std::mem::take(&mut lock(&self.degraded_elsewhere))
    }

    /// Frames that nothing can complete any more are dropped.
    pub(crate) fn give_up(&self, failure: &Failure) {
        for lane in lock(&self.lanes).values_mut() {
            let open = std::mem::take(&mut lane.open);
            lane.dropped.add(failure, open.len() as u64);
        }
    }

    /// Puts a sink of a generation on the books: frames are complete when it, too, has passed them. Those before `from`
    /// are none of its generation's, and do not wait for it.
    pub(crate) fn open_sink(&self, generation: GenerationId, sink: StageId, from: Epoch) {
        raise(&mut lock(&self.sinks), (generation, sink), from);
    }

    /// A sink's frontier moved; `None` once it is through.
    pub(crate) fn sink_passed(
        &self,
        generation: GenerationId,
        sink: StageId,
        frontier: Option<Epoch>,
        now_us: u64,
    ) {
        let completed_below = {
            let mut sinks = lock(&self.sinks);
            match frontier {
                Some(epoch) => raise(&mut sinks, (generation, sink), epoch),
                None => _ = sinks.remove(&(generation, sink)),
            }
            sinks.values().copied().min().unwrap_or(Epoch::MAX)
        };
        self.complete(completed_below, now_us);
    }

    /// A sink begins to write the records of an epoch: all of them, and never again. Over all generations.
    pub(crate) fn sink_writes(&self, sink: StageId, epoch: Epoch, records: usize) {
        let before = lock(&self.written).insert(sink, epoch);
        if before.is_some_and(|before| epoch <= before) {
            self.reordered.fetch_add(records as u64, Ordering::Relaxed);
        }
    }

    /// Nothing is left of a generation anywhere, nor of those before it: their sinks have passed everything, whether
    /// that was told here or not.
    pub(crate) fn close_sinks(&self, generation: GenerationId, now_us: u64) {
        let completed_below = {
            let mut sinks = lock(&self.sinks);
            sinks.retain(|(id, _), _| *id > generation);
            sinks.values().copied().min().unwrap_or(Epoch::MAX)
        };
        self.complete(completed_below, now_us);
    }

    fn complete(&self, below: Epoch, now_us: u64) {
        let (mut latency_us, mut recent) = (lock(&self.latency_us), lock(&self.recent));
        for (number, lane) in lock(&self.lanes).iter_mut() {
            while lane.open.front().is_some_and(|frame| frame.epoch < below) {
                let Some(frame) = lane.open.pop_front() else { break };
                lane.completed += 1;
                lane.degraded += u64::from(frame.degraded);
                let taken_us = now_us.saturating_sub(frame.admitted_us).max(1);
                latency_us.saturating_record(taken_us);
                recent.completed(*number, now_us, taken_us);
            }
        }
    }

    /// What each lane has done, by its number; what is recent is so since the last time.
    pub(crate) fn read_lanes(&self) -> Vec<LaneCounts> {
        let mut recent_us = lock(&self.recent).read();
        let read = |(number, lane): (&u32, &Lane)| LaneCounts {
            number: *number,
            name: lane.name.clone(),
            admitted: lane.admitted,
            dropped: lane.dropped.total(),
            recent_us: recent_us.remove(number).unwrap_or_default(),
        };
        lock(&self.lanes).iter().map(read).collect()
    }

    /// The books as they stand.
    pub(crate) fn accounts(&self) -> Accounts {
        let edges = self.edges.values().map(|e| (e.name.clone(), EdgeAccount::of(e))).collect();
        let lanes = lock(&self.lanes);
        let sources: BTreeMap<_, _> =
            lanes.values().map(|l| (l.name.clone(), SourceAccount::of(l))).collect();
        let mut examples = BTreeMap::new();
        for edge in self.edges.values() {
            examples.extend(lock(&edge.dropped).examples().map(|(r, m)| (format!("{} {r}", edge.name), m)));
        }
        for lane in lanes.values() {
            examples.extend(lane.dropped.examples().map(|(r, m)| (format!("{} {r}", lane.name), m)));
        }
        let of_lanes = lanes.values().filter_map(|l| l.fault.clone());
        let faults = of_lanes.chain(lock(&self.faults_of_sinks).iter().cloned()).collect();
        Accounts { edges, sources, examples, faults }
    }

    /// The books as they stand, for adding up; with how it went in some windows, if that is asked.
    pub(crate) fn books(&self, digest: u64, windows: Option<&Windows>) -> Books {
        let seen = windows.map_or_else(Seen::default, |windows| self.seen(windows));
        let latency_us = lock(&self.latency_us);
        let latency_us = latency_us.iter_recorded();
        let latency_us = latency_us.map(|v| (v.value_iterated_to(), v.count_at_value())).collect();
        let accounts = self.accounts();
        let (examples, faults) = (accounts.examples.clone(), accounts.faults.clone());
        let reordered = self.reordered.load(Ordering::Relaxed);
        Books { accounts, examples, faults, latency_us, digest, reordered, seen }
    }

    fn seen(&self, windows: &Windows) -> Seen {
        let seen = lock(&self.recent).seen(windows);
        let admitted = windows.admitted.0..windows.admitted.1;
        let of_lanes = |lane: &Lane| lane.open.iter().filter(|o| admitted.contains(&o.admitted_us)).count();
        let open = lock(&self.lanes).values().map(of_lanes).sum::<usize>() as u64;
        Seen { open, ..seen }
    }
}

/// What a lane has done.
pub(crate) struct LaneCounts {
    pub(crate) number: u32,
    /// `source/lane`.
    pub(crate) name: String,
    pub(crate) admitted: u64,
    pub(crate) dropped: u64,
    /// How long frames took that were completed lately.
    pub(crate) recent_us: Vec<u64>,
}

/// The books of some nodes, as they are sent and added up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Books {
    pub(crate) accounts: Accounts,
    examples: BTreeMap<String, String>,
    faults: Vec<String>,
    /// How often each latency was seen, in microseconds.
    latency_us: Vec<(u64, u64)>,
    pub(crate) digest: u64,
    /// Records that came to a sink after later ones.
    reordered: u64,
    /// How it went in the windows that were asked about.
    pub(crate) seen: Seen,
}

impl Books {
    /// Adds another node's.
    pub(crate) fn add(&mut self, other: Self) {
        for (name, theirs) in other.accounts.edges {
            self.accounts.edges.entry(name).or_default().add(theirs);
        }
        self.accounts.sources.extend(other.accounts.sources);
        self.examples.extend(other.examples);
        self.faults.extend(other.faults);
        self.latency_us.extend(other.latency_us);
        self.digest = self.digest.wrapping_add(other.digest);
        self.reordered += other.reordered;
        self.seen.add(other.seen);
    }

    /// What should never be, as far as is known; frames on their way count as lost, so at the end of a run.
    pub(crate) fn ids(&self) -> Ids {
        let edges = self.accounts.edges.values().map(|edge| edge.in_flight);
        let doubled = edges.clone().filter(|n| *n < 0).map(i64::unsigned_abs).sum();
        let missing: u64 = edges.filter(|n| *n > 0).map(i64::unsigned_abs).sum();
        let lost = self.accounts.total().in_flight.max(missing);
        Ids { lost, doubled, reordered: self.reordered }
    }

    /// The accounts, with what is only for people.
    pub(crate) fn accounts(&self) -> Accounts {
        let (examples, faults) = (self.examples.clone(), self.faults.clone());
        Accounts { examples, faults, ..self.accounts.clone() }
    }

    /// Latency from admission to completion.
    pub(crate) fn latency(&self) -> Latency {
        Latency::of(&self.latency_us)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("1 us to 1 h at 3 digits is a valid range")
}

/// Frames and records that should not be; all zero of a clean run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Neither completed nor dropped.
    pub lost: u64,
    /// Received more often than they were sent.
    pub doubled: u64,
    /// Came to a sink after later ones.
    pub reordered: u64,
}

/// Latency from admission to completion, in milliseconds; 0 of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Latency {
    /// Of how often each was seen, in microseconds.
    pub(crate) fn of(seen_us: &[(u64, u64)]) -> Self {
        let mut histogram = histogram();
        for (value_us, count) in seen_us {
            histogram.saturating_record_n(*value_us, *count);
        }
        let ms = |q| histogram.value_at_quantile(q) as f64 / 1e3;
        Self { p50: ms(0.50), p95: ms(0.95), p99: ms(0.99) }
    }
}

/// The ledger of a run, as reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accounts {
    /// By edge, `from->to`.
    pub edges: BTreeMap<String, EdgeAccount>,
    /// By lane, `source/lane`.
    pub sources: BTreeMap<String, SourceAccount>,
    /// One message per place and reason, for people.
    #[serde(skip)]
    pub examples: BTreeMap<String, String>,
    /// Lanes that ended with an error, and sinks that could not end what they wrote: what happened and the way out.
    #[serde(skip)]
    pub faults: Vec<String>,
}

/// One edge: `sent = received + dropped + in_flight`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EdgeAccount {
    /// Records the upstream stage emitted.
    pub sent: u64,
    /// Records the downstream stage has done with.
    pub received: u64,
    /// Records the downstream stage dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The rest; negative only if something was doubled.
    pub in_flight: i64,
}

impl EdgeAccount {
    fn of(edge: &Edge) -> Self {
        // Received first: what is counted at this end was counted at the other before.
        let received = edge.received.load(Ordering::Acquire);
        let dropped = lock(&edge.dropped).counts();
        let sent = edge.sent.load(Ordering::Acquire);
        Self { sent, received, dropped, in_flight: 0 }.weighed()
    }

    fn weighed(self) -> Self {
        let gone = self.received + self.dropped.values().sum::<u64>();
        Self { in_flight: self.sent as i64 - gone as i64, ..self }
    }

    fn add(&mut self, other: Self) {
        let mut sum = std::mem::take(self);
        sum.sent += other.sent;
        sum.received += other.received;
        for (reason, n) in other.dropped {
            *sum.dropped.entry(reason).or_default() += n;
        }
        *self = sum.weighed();
    }
}

/// One lane of a source, or all together: `admitted = completed + dropped + in_flight`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceAccount {
    /// Frames that came in.
    pub admitted: u64,
    /// Frames that every sink has passed.
    pub completed: u64,
    /// Of the completed, those of which some part failed.
    pub degraded: u64,
    /// Frames dropped at the entry, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Frames on their way.
    pub in_flight: u64,
    /// When there were no pictures; of live lanes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaps: Option<Gaps>,
}

/// The outages of a live lane. A gap lasts from the last record before it to the first one after it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// All together, in seconds; of one that goes on, as of when it was last tried to end it.
    pub seconds: f64,
    /// How many of them ended with a record.
    pub reconnects: u64,
    /// Whether one goes on.
    pub open: bool,
    /// What was said of the last one; empty where there was none.
    pub last_reason: String,
}

impl SourceAccount {
    fn of(lane: &Lane) -> Self {
        Self {
            admitted: lane.admitted,
            completed: lane.completed,
            degraded: lane.degraded,
            dropped: lane.dropped.counts(),
            in_flight: lane.open.len() as u64,
            gaps: lane.watch.as_ref().map(|watch| watch.gaps.clone()),
        }
    }
}

impl Accounts {
    /// All sources together; whose gaps they were is only in their own accounts.
    #[must_use]
    pub fn total(&self) -> SourceAccount {
        let mut total = SourceAccount::default();
        for account in self.sources.values() {
            total.admitted += account.admitted;
            total.completed += account.completed;
            total.degraded += account.degraded;
            total.in_flight += account.in_flight;
            for (reason, n) in &account.dropped {
                *total.dropped.entry(reason.clone()).or_default() += n;
            }
        }
        total
    }

    /// Whether both accounts close with nothing left on its way: true at the end of every clean run.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.edges.values().all(|e| e.in_flight == 0)
            && self
                .sources
                .values()
                .all(|s| s.in_flight == 0 && s.admitted == s.completed + s.dropped.values().sum::<u64>())
    }
}

#[cfg(test)]
mod tests;
