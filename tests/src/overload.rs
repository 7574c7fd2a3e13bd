//! More frames than can be taken: a `latest` lane drops the oldest ones and says so, a `block` lane waits.

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
