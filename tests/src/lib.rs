//! What the tests share: sources that can be told when to end, a workflow to be moved, real clips, and model families
//! to spoil.

pub mod clips;
pub mod families;
pub mod moves;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jellybean_engine::source::{Arrival, Feed, Lane, Policy, Source, Stamp, Stopper};
use jellybean_engine::{Clock, Result};
use serde::{Deserialize, Serialize};

/// A small integer generator (splitmix64): the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A numbered record of a lane, with a value that follows from both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The lane.
    pub lane: u32,
    /// Counts from 0 in the lane.
    pub number: u64,
    /// Pseudo-random.
    pub value: u64,
}

/// Lanes of samples, one per epoch step, that go on until they are told how many there are.
#[derive(Clone)]
pub struct Samples {
    lanes: u32,
    step_ms: u64,
    length: Arc<AtomicU64>,
    policy: Policy,
}

impl Samples {
    /// Lanes that go on until [`Samples::end`].
    #[must_use]
    pub fn endless(lanes: u32, step_ms: u64) -> Self {
        Self::of_length(lanes, step_ms, u64::MAX)
    }

    /// Lanes of so many samples.
    #[must_use]
    pub fn of_length(lanes: u32, step_ms: u64, length: u64) -> Self {
        Self { lanes, step_ms, length: Arc::new(AtomicU64::new(length)), policy: Policy::Block }
    }

    /// What happens when samples come faster than they are taken; unless set, they wait.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Ends every lane at number `length`, which must lie ahead of all of them.
    pub fn end(&self, length: u64) {
        self.length.store(length, Ordering::SeqCst);
    }
}

impl Source for Samples {
    type Record = Sample;

    fn lanes(&self) -> Vec<Lane> {
        let lane = |i| Lane { policy: self.policy, ..Lane::new(format!("lane-{i}")) };
        (0..self.lanes).map(lane).collect()
    }

    fn open(&self, lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = Sample>>> {
        let lane = u32::try_from(lane).expect("few lanes");
        Ok(Box::new(SampleFeed { of: self.clone(), lane, number: 0, random: Random::new(u64::from(lane)) }))
    }
}

struct SampleFeed {
    of: Samples,
    lane: u32,
    number: u64,
    random: Random,
}

impl Feed for SampleFeed {
    type Record = Sample;

    fn next(&mut self) -> Result<Option<Arrival<Sample>>> {
        if self.number >= self.of.length.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let record = Sample { lane: self.lane, number: self.number, value: self.random.below(1 << 32) };
        let stamp = Stamp::Media(self.number * self.of.step_ms);
        self.number += 1;
        Ok(Some(Arrival { record, stamp, bytes: 64 }))
    }
}

/// Any source, whose lanes go on until they are told how many records they have.
#[derive(Clone)]
pub struct Until<S> {
    source: S,
    length: Arc<AtomicU64>,
}

impl<S> Until<S> {
    /// The source as it is, until [`Until::end`].
    #[must_use]
    pub fn told(source: S) -> Self {
        Self { source, length: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Ends every lane at number `length`, which must lie ahead of all of them.
    pub fn end(&self, length: u64) {
        self.length.store(length, Ordering::SeqCst);
    }
}

impl<S: Source> Source for Until<S> {
    type Record = S::Record;

    fn lanes(&self) -> Vec<Lane> {
        self.source.lanes()
    }

    fn open(&self, lane: usize, clock: &Clock) -> Result<Box<dyn Feed<Record = S::Record>>> {
        let feed = self.source.open(lane, clock)?;
        Ok(Box::new(UntilFeed { feed, length: self.length.clone(), number: 0 }))
    }
}

struct UntilFeed<T> {
    feed: Box<dyn Feed<Record = T>>,
    length: Arc<AtomicU64>,
    number: u64,
}

impl<T> Feed for UntilFeed<T> {
    type Record = T;

    fn next(&mut self) -> Result<Option<Arrival<T>>> {
        if self.number >= self.length.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.number += 1;
        self.feed.next()
    }

    fn stopper(&self) -> Option<Stopper> {
        self.feed.stopper()
    }
}
