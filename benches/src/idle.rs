//! What an open source that yields nothing costs, on one node or on several that are processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use jellybean::Result;
use jellybean_benches::{machine_seconds, processor_seconds, processor_seconds_of};
use jellybean_engine::node::Blueprint;
use jellybean_engine::plan::Assignment;
use jellybean_engine::source::{Arrival, Feed, Lane, Source, Stopper};
use jellybean_engine::{Clock, Graph, Run, Topology};
use jellybean_operators::prelude::*;

use crate::cluster::Cluster;

/// A live camera that shows nothing.
struct Silent;

#[derive(Default)]
struct SilentFeed {
    stopped: Arc<(AtomicBool, Mutex<()>, Condvar)>,
}

impl Source for Silent {
    type Record = u64;

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane::live("silent")]
    }

    fn open(&self, _lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = u64>>> {
        Ok(Box::new(SilentFeed::default()))
    }
}

impl Feed for SilentFeed {
    type Record = u64;

    fn next(&mut self) -> Result<Option<Arrival<u64>>> {
        let (stopped, lock, changed) = &*self.stopped;
        let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !stopped.load(Ordering::SeqCst) {
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(None)
    }

    fn stopper(&self) -> Option<Stopper> {
        let stopped = self.stopped.clone();
        Some(Arc::new(move || {
            stopped.0.store(true, Ordering::SeqCst);
            stopped.2.notify_all();
        }))
    }
}

/// Makes the topology, whatever its description.
pub(crate) fn blueprint() -> Blueprint {
    Arc::new(|_| topology())
}

fn topology() -> Result<Arc<Graph>> {
    let t = Topology::new("idle");
    t.source("camera", Silent)
        .map("one", |n| n)
        .keyed(|n| *n)
        .tumbling("window", 1_000, |n: &mut u64, _| *n += 1)
        .map("other", |w| w)
        .sink("out", Null::new());
    t.build()
}

pub(crate) fn run(seconds: u64, nodes: u64) -> Result<()> {
    if nodes > 1 {
        return run_cluster(seconds, nodes);
    }
    let run = Run::start(topology()?, Plan::single("here"), &["here"], Clock::real())?;
    let (own, all, clock) = (processor_seconds(), machine_seconds(), Clock::real());
    assert!(!run.wait(Duration::from_secs(seconds)), "the camera stays open");
    let elapsed = clock.now_us() as f64 / 1e6;
    let own = processor_seconds() - own;
    tell(run, elapsed, &[own], (machine_seconds() - all - own) / elapsed);
    Ok(())
}

/// Stages spread over nodes, each a process.
fn run_cluster(seconds: u64, nodes: u64) -> Result<()> {
    let names: Vec<String> = (0..nodes).map(|i| format!("n{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = Cluster::start("idle", &names)?;
    let stages = ["camera", "one", "window", "other", "out"];
    let plan = stages.iter().zip(names.iter().cycle());
    let plan =
        plan.fold(Plan::single(names[0]), |plan, (stage, node)| plan.with(*stage, Assignment::on(*node)));
    let run = Run::deploy(cluster.network()?, topology()?, "", plan, &names, Clock::real())?;
    // Until everybody has met everybody.
    assert!(!run.wait(Duration::from_secs(5)), "the camera stays open");
    let own = || {
        std::iter::once(processor_seconds())
            .chain(cluster.processes().map(|id| processor_seconds_of(&id.to_string())))
    };
    let (before, all, clock) = (own().collect::<Vec<_>>(), machine_seconds(), Clock::real());
    assert!(!run.wait(Duration::from_secs(seconds)), "the camera stays open");
    let elapsed = clock.now_us() as f64 / 1e6;
    let own: Vec<f64> = own().zip(before).map(|(after, before)| after - before).collect();
    let foreign = (machine_seconds() - all - own.iter().sum::<f64>()) / elapsed;
    tell(run, elapsed, &own, foreign);
    Ok(())
}

/// The processor time of each process; of a cluster the controller's is the first.
fn tell(run: Run, elapsed: f64, own: &[f64], foreign: f64) {
    run.stop();
    let closed = run.finish().ledger.is_closed();
    let percent: Vec<f64> = own.iter().map(|own| own / elapsed * 100.0).collect();
    let outcome = serde_json::json!({
        "bench": "idle", "seconds": elapsed, "core_percent": percent, "foreign_cores": foreign, "ledger_closed": closed,
    });
    println!("{outcome:#}");
}
