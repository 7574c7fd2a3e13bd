//! What an open source that yields nothing costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use jellybean::Result;
use jellybean_benches::{machine_seconds, processor_seconds};
use jellybean_engine::source::{Arrival, Feed, Lane, Source, Stopper};
use jellybean_engine::{Clock, Run, Topology};
use jellybean_operators::prelude::*;

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

pub(crate) fn run(seconds: u64) -> Result<()> {
    let t = Topology::new("idle");
    t.source("camera", Silent)
        .keyed(|n| *n)
        .tumbling("window", 1_000, |n: &mut u64, _| *n += 1)
        .sink("out", Null::new());
    let run = Run::start(t.build()?, Plan::single("here"), &["here"], Clock::real())?;
    let (own, all, clock) = (processor_seconds(), machine_seconds(), Clock::real());
    assert!(!run.wait(Duration::from_secs(seconds)), "the camera stays open");
    let elapsed = clock.now_us() as f64 / 1e6;
    let own = processor_seconds() - own;
    let foreign = (machine_seconds() - all - own) / elapsed;
    run.stop();
    let closed = run.finish().ledger.is_closed();
    let outcome = serde_json::json!({
        "bench": "idle", "seconds": elapsed, "core_percent": own / elapsed * 100.0,
        "foreign_cores": foreign, "ledger_closed": closed,
    });
    println!("{outcome:#}");
    Ok(())
}
