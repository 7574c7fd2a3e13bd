//! A receiving node that is twenty times too slow: what the sending one keeps, and what the source's policy drops.
//!
//! Records of 10 KB come at 1000 a second to one process, under the policy `latest`; their stage, on another process,
//! takes 20 ms of each. What is sent ahead is bounded by credit, so the memory of both must not grow with the time.

use std::sync::Arc;
use std::time::Duration;

use jellybean::Result;
use jellybean_benches::{Spread, resident_mb_of};
use jellybean_engine::node::Blueprint;
use jellybean_engine::plan::Assignment;
use jellybean_engine::runner::{AnyRunner, Recipe, Runner, Runners};
use jellybean_engine::source::{Arrival, Feed, Lane, Policy, Source, Stamp};
use jellybean_engine::{Clock, Failure, Graph, Run, Topology};
use jellybean_operators::prelude::*;

use crate::cluster::Cluster;
use crate::workload::{now_s, wait_until};

const LANES: u64 = 4;
/// Records a second, of all lanes together.
const RATE: u64 = 1_000;
const RECORD_BYTES: usize = 10_000;
/// What the stage takes of a record, in seconds: twenty times what there is.
const SLOW_S: f64 = 0.02;
const NODES: [&str; 2] = ["n0", "n1"];
const GLANCE: Duration = Duration::from_millis(100);

pub(crate) fn run(seconds: u64) -> Result<()> {
    let cluster = Cluster::start("behind", &NODES)?;
    let plan = Plan::single(NODES[0]).with("slow", Assignment::on(NODES[1]));
    let description = seconds.to_string();
    let run = Run::deploy(cluster.network()?, topology(seconds)?, &description, plan, &NODES, Clock::real())?;
    let (mut sender_mb, mut receiver_mb) = (Vec::new(), Vec::new());
    while !run.wait(GLANCE) {
        let ids: Vec<u32> = cluster.processes().collect();
        sender_mb.push(resident_mb_of(&ids[0].to_string()));
        receiver_mb.push(resident_mb_of(&ids[1].to_string()));
    }
    let report = run.finish();
    let after_a_while = |mb: &[f64]| Spread::of(mb.iter().skip(mb.len() / 10).copied());
    let outcome = serde_json::json!({
        "bench": "behind", "seconds": seconds, "rate": RATE, "record_bytes": RECORD_BYTES,
        "sender_resident_mb": after_a_while(&sender_mb), "receiver_resident_mb": after_a_while(&receiver_mb),
        "ledger_closed": report.ledger.is_closed(), "ledger_total": report.ledger_total, "latency_ms": report.latency_ms,
    });
    println!("{outcome:#}");
    Ok(())
}

/// Makes the topology of its seconds.
pub(crate) fn blueprint() -> Blueprint {
    Arc::new(|description| topology(description.parse().unwrap_or(0)))
}

fn topology(seconds: u64) -> Result<Arc<Graph>> {
    let t = Topology::new("behind");
    t.source("records", Records { each: seconds * RATE / LANES })
        .pooled("slow", Slow, |record: &Vec<u8>| record.len() as u64, |_, bytes| bytes)
        .sink("out", Null::new());
    t.build()
}

struct Records {
    each: u64,
}

struct RecordFeed {
    left: u64,
    next: u64,
    begun_s: Option<f64>,
}

impl Source for Records {
    type Record = Vec<u8>;

    fn lanes(&self) -> Vec<Lane> {
        (0..LANES).map(|i| Lane { policy: Policy::Latest, ..Lane::live(format!("lane-{i}")) }).collect()
    }

    fn open(&self, _lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = Vec<u8>>>> {
        Ok(Box::new(RecordFeed { left: self.each, next: 0, begun_s: None }))
    }
}

impl Feed for RecordFeed {
    type Record = Vec<u8>;

    fn next(&mut self) -> Result<Option<Arrival<Vec<u8>>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let at_s = self.next as f64 * LANES as f64 / RATE as f64;
        wait_until(*self.begun_s.get_or_insert_with(now_s) + at_s);
        (self.left, self.next) = (self.left - 1, self.next + 1);
        Ok(Some(Arrival { record: vec![7; RECORD_BYTES], stamp: Stamp::Live, bytes: RECORD_BYTES }))
    }
}

/// Stands in for a model that is too large for its node.
struct Slow;

impl Runners for Slow {
    type In = u64;
    type Out = u64;

    fn resolve(&self, _assignment: &Assignment) -> Result<Recipe<u64, u64>> {
        Ok(Recipe { key: "slow".into(), open: Arc::new(|| Ok(Box::new(Slow) as AnyRunner<u64, u64>)) })
    }
}

impl Runner for Slow {
    type In = u64;
    type Out = u64;

    fn run(&mut self, batch: Vec<u64>) -> Vec<std::result::Result<u64, Failure>> {
        wait_until(now_s() + SLOW_S * batch.len() as f64);
        batch.into_iter().map(Ok).collect()
    }
}
