//! More frames than can be taken: a `latest` lane drops the oldest ones and says so, a `block` lane waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam::channel::{Receiver, Sender, bounded};
use jellybean_engine::source::{Arrival, Feed, Lane, Policy, Source};
use jellybean_engine::{Report, Result};
use jellybean_operators::prelude::*;
use jellybean_operators::run_here;
use jellybean_tests::{Sample, Samples};

const LENGTH: u64 = 2_000;

/// Samples, and word of when the last one was read.
struct Told(Samples, Sender<()>);

struct ToldFeed(Box<dyn Feed<Record = Sample>>, Sender<()>);

impl Source for Told {
    type Record = Sample;

    fn lanes(&self) -> Vec<Lane> {
        self.0.lanes()
    }

    fn open(&self, lane: usize, clock: &Clock) -> Result<Box<dyn Feed<Record = Sample>>> {
        Ok(Box::new(ToldFeed(self.0.open(lane, clock)?, self.1.clone())))
    }
}

impl Feed for ToldFeed {
    type Record = Sample;

    fn next(&mut self) -> Result<Option<Arrival<Sample>>> {
        let next = self.0.next()?;
        if next.is_none() {
            // There is room for one word, and one is enough.
            _ = self.1.try_send(());
        }
        Ok(next)
    }
}

/// Runs samples into a sink that waits for `go_on` before it takes its first one.
fn run(policy: Policy, ended: Sender<()>, go_on: Receiver<()>) -> (Vec<u64>, Report) {
    let t = Topology::new("overload");
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let (kept, at_first) = (numbers.clone(), Mutex::new(Some(go_on)));
    let source = Told(Samples::of_length(1, 1, LENGTH).policy(policy), ended);
    t.source("samples", source).sink(
        "slow",
        Call::new(move |_, s: &Sample| {
            if let Some(go_on) = at_first.lock().unwrap().take() {
                go_on.recv().unwrap();
            }
            kept.lock().unwrap().push(s.number);
        }),
    );
    let report = run_here(&t).unwrap();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    let numbers = std::mem::take(&mut *numbers.lock().unwrap());
    assert!(numbers.is_sorted_by(|a, b| a < b), "out of order or doubled: {numbers:?}");
    (numbers, report)
}

#[test]
fn latest_drops_what_nobody_can_take_and_counts_it() {
    // The sink stands still until the lane is read to its end.
    let (ended, has_ended) = bounded(1);
    let (numbers, report) = run(Policy::Latest, ended, has_ended);
    let total = &report.ledger_total;
    assert_eq!((total.admitted, total.degraded), (LENGTH, 0));
    assert_eq!(total.completed, numbers.len() as u64);
    assert_eq!(total.dropped, [("overflow".to_owned(), LENGTH - total.completed)].into());
    assert!(total.completed < LENGTH / 2, "{} of {LENGTH} fit in", total.completed);
    assert_eq!(numbers.last(), Some(&(LENGTH - 1)), "the newest is never dropped");
}

#[test]
fn block_waits_and_drops_nothing() {
    // The sink takes its first sample only once others wait behind it: `go_on` has word from the start,
    // and the lane ends long after it is full.
    let (ended, _has_ended) = bounded(1);
    let (go, go_on) = bounded(1);
    go.send(()).unwrap();
    let (numbers, report) = run(Policy::Block, ended, go_on);
    let total = &report.ledger_total;
    assert_eq!((total.admitted, total.completed, total.dropped.len()), (LENGTH, LENGTH, 0));
    assert_eq!(numbers, (0..LENGTH).collect::<Vec<_>>());
}

/// Samples of two cameras, and how many of them were read.
struct Counted(Samples, Arc<AtomicU64>);

struct CountedFeed(Box<dyn Feed<Record = Sample>>, Arc<AtomicU64>);

impl Source for Counted {
    type Record = Sample;

    fn lanes(&self) -> Vec<Lane> {
        self.0.lanes()
    }

    fn open(&self, lane: usize, clock: &Clock) -> Result<Box<dyn Feed<Record = Sample>>> {
        Ok(Box::new(CountedFeed(self.0.open(lane, clock)?, self.1.clone())))
    }
}

impl Feed for CountedFeed {
    type Record = Sample;

    fn next(&mut self) -> Result<Option<Arrival<Sample>>> {
        let next = self.0.next()?;
        self.1.fetch_add(u64::from(next.is_some()), Ordering::SeqCst);
        Ok(next)
    }
}

#[test]
fn a_slow_sink_holds_its_source_within_its_credit() {
    const LANES: u64 = 2;
    /// What a source may have in flight, and per lane what waits to enter, and one in the feed's hand.
    const HELD_MAX: u64 = 4_096 + LANES * (4 + 1);
    let (read, written, most) = (Arc::default(), AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let source = Counted(Samples::of_length(2, 1, 10 * LENGTH).policy(Policy::Block), Arc::clone(&read));
    let (t, seen) = (Topology::new("slow"), most.clone());
    let slow = move |_, _: &Sample| {
        let held = read.load(Ordering::SeqCst) - written.fetch_add(1, Ordering::SeqCst);
        seen.fetch_max(held, Ordering::SeqCst);
    };
    t.source("samples", source).sink("slow", Call::new(slow));
    let report = run_here(&t).unwrap();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert_eq!(report.ledger_total.completed, LANES * 10 * LENGTH);
    let most = most.load(Ordering::SeqCst);
    assert!(most <= HELD_MAX, "{most} samples were held");
}

#[test]
fn what_a_slow_sink_costs_is_counted_by_camera() {
    let (ended, has_ended) = bounded(2);
    let (t, at_first) = (Topology::new("by-camera"), Mutex::new(Some(has_ended)));
    let source = Told(Samples::of_length(2, 1, LENGTH).policy(Policy::Latest), ended);
    let slow = move |_, _: &Sample| {
        if let Some(ends) = at_first.lock().unwrap().take() {
            // The sink stands still until both cameras are read to their ends.
            (0..2).for_each(|_| ends.recv().unwrap());
        }
    };
    t.source("samples", source).sink("slow", Call::new(slow));
    let report = run_here(&t).unwrap();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    for lane in ["samples/lane-0", "samples/lane-1"] {
        let account = &report.ledger.sources[lane];
        assert_eq!((account.admitted, account.in_flight), (LENGTH, 0));
        assert_eq!(account.dropped, [("overflow".to_owned(), LENGTH - account.completed)].into());
        assert!(account.completed < LENGTH / 2, "{lane}: {account:?}");
    }
}
