//! Many lanes at once: each keeps its order, and each has its own account of what was dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use jellybean_engine::runner::{Recipe, Runner, Runners};
use jellybean_engine::source::Policy;
use jellybean_engine::{Failure, Report, Result};
use jellybean_operators::prelude::*;
use jellybean_tests::{Sample, Samples};

/// Runs many lanes through a pool of two slots; what came of each lane, in order, and the report.
fn many_lanes(lanes: u32, length: u64, policy: Policy) -> (BTreeMap<u32, Vec<u64>>, Report) {
    let t = Topology::new("many-lanes");
    let (sink, kept) = sink::collect();
    t.source("samples", Samples::of_length(lanes, 40, length).policy(policy))
        .pooled("model", Passing, Sample::clone, |_, sample| sample)
        .sink("out", sink);
    let plan = Plan::single("here").with("model", Assignment::on("here").slots(2).batches(8, 5));
    let report = Run::start(t.build().unwrap(), plan, &["here"], Clock::real()).unwrap().finish();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    let mut by_lane: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (_, sample) in kept.take() {
        by_lane.entry(sample.lane).or_default().push(sample.number);
    }
    (by_lane, report)
}

/// A runner that gives back what it gets.
struct Passing;

impl Runners for Passing {
    type In = Sample;
    type Out = Sample;

    fn resolve(&self, _assignment: &Assignment) -> Result<Recipe<Sample, Sample>> {
        Ok(Recipe { key: "passing".into(), open: Arc::new(|| Ok(Box::new(Passing) as _)) })
    }
}

impl Runner for Passing {
    type In = Sample;
    type Out = Sample;

    fn run(&mut self, batch: Vec<Sample>) -> Vec<std::result::Result<Sample, Failure>> {
        batch.into_iter().map(Ok).collect()
    }
}

#[test]
fn a_hundred_cameras_lose_nothing_and_keep_their_order() {
    let (by_lane, report) = many_lanes(100, 50, Policy::Block);
    assert_eq!(by_lane.len(), 100);
    assert!(by_lane.values().all(|numbers| numbers.iter().copied().eq(0..50)), "{by_lane:?}");
    assert_eq!(report.ledger_total.completed, 5_000);
}

#[test]
fn what_is_dropped_is_counted_for_each_camera() {
    let (by_lane, report) = many_lanes(20, 2_000, Policy::Latest);
    for (lane, numbers) in by_lane {
        let account = &report.ledger.sources[&format!("samples/lane-{lane}")];
        assert!(numbers.is_sorted_by(|a, b| a < b), "lane {lane}: {numbers:?}");
        assert_eq!(account.admitted, 2_000, "lane {lane}");
        assert_eq!(account.completed, numbers.len() as u64, "lane {lane}");
        assert_eq!(account.completed + account.dropped.values().sum::<u64>(), 2_000, "lane {lane}");
        assert!(account.dropped.keys().all(|reason| reason == "overflow"), "lane {lane}: {account:?}");
    }
}
