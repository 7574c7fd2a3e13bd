//! What a source is: lanes of records, each read by a blocking feed on a thread of its own.

mod traced;

use std::sync::Arc;

pub use traced::{Rates, Trace, Traced};

use crate::clock::Clock;
use crate::error::Result;
use crate::id::Epoch;
use crate::record::Data;

/// Where records come from: one lane per camera, file or device.
///
/// The engine opens every lane before the run starts (so that a missing file is an error, not an
/// empty run), reads it on a thread of its own, and carries lanes over from generation to
/// generation.
pub trait Source: Send + Sync + 'static {
    /// What the lanes yield.
    type Record: Data;

    /// The lanes, in a fixed order.
    fn lanes(&self) -> Vec<Lane>;

    /// Opens lane number `lane`.
    ///
    /// # Errors
    /// Says which lane, what is wrong with it and what to do.
    fn open(&self, lane: usize, clock: &Clock) -> Result<Box<dyn Feed<Record = Self::Record>>>;
}

/// One lane, being read.
pub trait Feed: Send {
    /// What it yields.
    type Record;

    /// Blocks until the next record, or returns `None` at the end.
    ///
    /// # Errors
    /// Ends the lane: what was read before stays, the run drains, and reports the error. Unless the lane is
    /// live: then it is an outage, which the ledger shows as a gap until the next record, and the feed is
    /// asked again after a pause of a quarter of a second, twice as long each time, up to a second.
    fn next(&mut self) -> Result<Option<Arrival<Self::Record>>>;

    /// A handle that makes a blocked [`Feed::next`] return soon, for feeds that wait for something.
    fn stopper(&self) -> Option<Stopper> {
        None
    }
}

/// Makes a blocked [`Feed::next`] return soon; callable from any thread, more than once.
pub type Stopper = Arc<dyn Fn() + Send + Sync>;

/// A record as it leaves its feed.
#[derive(Clone, Debug)]
pub struct Arrival<T> {
    /// The record.
    pub record: T,
    /// When it is.
    pub stamp: Stamp,
    /// Its approximate size in memory, in bytes: what it takes from the entry's credit.
    pub bytes: usize,
}

/// A record's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// It happened now: the engine stamps it with the run clock.
    Live,
    /// Media time in milliseconds: two runs are comparable epoch by epoch. It rises within a lane by the
    /// lane's `step_ms` at least; a record that comes sooner is put there.
    Media(Epoch),
}

/// A lane's name and how it behaves under load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The camera's name; unique within the source.
    pub name: String,
    /// What happens when records come faster than they are taken.
    pub policy: Policy,
    /// Whether media time is waited for.
    pub pacing: Pacing,
    /// Milliseconds of media time between two records, at least. A record of a lane with a known rate
    /// closes the time up to the next one, so that other lanes and windows need not wait for that.
    pub step_ms: u64,
    /// Whether records happen when they come ([`Stamp::Live`]). The clock then closes the lane's time from
    /// the start of the run, frames or not, and an error is an outage instead of the end (see [`Feed::next`]).
    pub live: bool,
}

impl Lane {
    /// A lossless lane that is read as fast as it is taken.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), policy: Policy::Block, pacing: Pacing::Max, step_ms: 1, live: false }
    }

    /// A live camera: its newest record counts, and its outages are waited out.
    #[must_use]
    pub fn live(name: impl Into<String>) -> Self {
        Self { policy: Policy::Latest, live: true, ..Self::new(name) }
    }
}

/// What a lane does with a record that nobody can take yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Lossless: the feed waits.
    Block,
    /// A camera: the oldest waiting record is dropped, and counted as `overflow`. Where media time is waited
    /// for as well, a lane that has been silent for 2 s no longer holds the others up: its time moves on
    /// with the clock, and what comes too late is stamped later.
    Latest,
}

/// How fast media time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// One media second per second of the run clock.
    Realtime,
    /// As fast as records are taken.
    Max,
}

/// A source of one lossless lane over an iterator; record number `i` is at epoch `i`.
///
/// For tests and examples: the iterator is cloned for the run.
pub fn iterate<I>(items: I) -> Iterate<I::IntoIter>
where
    I: IntoIterator,
    I::IntoIter: Clone,
{
    Iterate(items.into_iter())
}

/// See [`iterate`].
pub struct Iterate<I>(I);

impl<I> Source for Iterate<I>
where
    I: Iterator<Item: Data> + Clone + Send + Sync + 'static,
{
    type Record = I::Item;

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::new("items")]
    }

    fn open(&self, _lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = I::Item>>> {
        Ok(Box::new(Items { items: self.0.clone(), next: 0 }))
    }
}

struct Items<I> {
    items: I,
    next: Epoch,
}

impl<I: Iterator + Send> Feed for Items<I> {
    type Record = I::Item;

    fn next(&mut self) -> Result<Option<Arrival<I::Item>>> {
        let stamp = Stamp::Media(self.next);
        self.next += 1;
        Ok(self.items.next().map(|record| Arrival { record, stamp, bytes: size_of::<I::Item>() }))
    }
}
