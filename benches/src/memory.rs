//! Memory over many frames: flat, or it leaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jellybean::Result;
use jellybean_benches::resident_mb;
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::{Clock, Run, Topology};
use jellybean_operators::model::{Detect, family};
use jellybean_operators::prelude::*;

/// How many times memory is read.
const MARKS: u64 = 20;

pub(crate) fn run(frames: u64) -> Result<()> {
    let done = Arc::new(AtomicU64::new(0));
    let counting = done.clone();
    let t = Topology::new("memory");
    let tracks = t
        .source("cameras", RoadCameras::new(7).cameras(2).frames(frames / 2).prerendered(50))
        .infer("detect", family::<Detect>("road"))
        .keyed(|d| d.frame.camera.clone())
        .stateful("track", Tracker::step);
    let classes = tracks.flat_map("classes", |t| t.tracks.into_iter().map(|t| t.class).collect::<Vec<_>>());
    classes.relation(Keep::Millis(10_000)).count_by("lately", Clone::clone).sink("lately-out", Null::new());
    classes
        .keyed(Clone::clone)
        .tumbling("window", 1_000, |n: &mut u64, _| *n += 1)
        .sink("window-out", Null::new());
    tracks
        .map("number", |t| t.frame.number)
        .sink("count", Call::new(move |_epoch, _number| _ = counting.fetch_add(1, Ordering::Relaxed)));
    let plan = Plan::single("here").with("detect", Assignment::on("here").variant("w4"));
    let run = Run::start(t.build()?, plan, &["here"], Clock::real())?;
    let mut marks = Vec::new();
    while !run.wait(std::time::Duration::from_millis(20)) {
        let n = done.load(Ordering::Relaxed);
        if n >= marks.len() as u64 * frames / MARKS {
            marks.push((n, resident_mb()));
        }
    }
    let report = run.finish();
    let outcome = serde_json::json!({
        "bench": "memory", "frames": report.frames, "fps": report.fps, "ledger_closed": report.ledger.is_closed(),
        "resident_mb_at_frame": marks,
    });
    println!("{outcome:#}");
    Ok(())
}
