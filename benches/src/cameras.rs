//! Many cameras at once: within capacity nothing is lost and every camera's order is kept; beyond it,
//! `latest` bounds latency and says what it dropped, `block` drops nothing and bounds memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jellybean::Result;
use jellybean_benches::{machine_seconds, processor_seconds, resident_mb};
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::source::{Pacing, Policy};
use jellybean_engine::{Clock, Report, Run, Topology};
use jellybean_operators::model::{Detect, family};
use jellybean_operators::prelude::*;

/// Pictures per camera, rendered beforehand and shown in turn.
const RENDERED: usize = 20;
/// How often memory is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// What the cameras do.
struct Scenario {
    name: &'static str,
    cameras: usize,
    fps: u32,
    policy: Policy,
    pacing: Pacing,
    variant: &'static str,
}

/// Runs each scenario for so many seconds of media time.
pub(crate) fn run(seconds: u64) -> Result<()> {
    let capacity_fps = capacity()?;
    // Four times what a slot of the largest variant takes, in cameras of 25 frames per second.
    let crowd = (4.0 * capacity_fps / 25.0).ceil().max(1.0) as usize;
    let within = |name, cameras, fps| Scenario {
        name,
        cameras,
        fps,
        policy: Policy::Block,
        pacing: Pacing::Realtime,
        variant: "w8",
    };
    let beyond =
        |name, policy, pacing| Scenario { name, cameras: crowd, fps: 25, policy, pacing, variant: "w16" };
    let scenarios = [
        within("100 cameras at 1 frame/s", 100, 1),
        within("4 cameras at 25 frames/s", 4, 25),
        beyond("4 x overload, latest", Policy::Latest, Pacing::Realtime),
        beyond("4 x overload, block", Policy::Block, Pacing::Max),
    ];
    let outcomes = scenarios.iter().map(|s| measure(s, seconds)).collect::<Result<Vec<_>>>()?;
    let outcome = serde_json::json!({
        "bench": "cameras", "seconds": seconds, "capacity_fps_of_w16_on_one_slot": capacity_fps,
        "scenarios": outcomes,
    });
    println!("{outcome:#}");
    Ok(())
}

/// Frames per second of the largest variant on one slot.
fn capacity() -> Result<f64> {
    let cameras = RoadCameras::new(7).frames(400).prerendered(RENDERED);
    let t = Topology::new("capacity");
    t.source("cameras", cameras).infer("detect", family::<Detect>("road")).sink("out", Null::new());
    let plan = Plan::single("here").with("detect", Assignment::on("here").variant("w16"));
    Ok(Run::start(t.build()?, plan, &["here"], Clock::real())?.finish().fps)
}

/// How many frames of each camera came, and whether each came after the one before.
#[derive(Clone, Debug, Default)]
struct Arrived {
    frames: u64,
    next: u64,
    out_of_order: u64,
}

fn measure(scenario: &Scenario, seconds: u64) -> Result<serde_json::Value> {
    let arrived: Arc<Mutex<BTreeMap<Arc<str>, Arrived>>> = Arc::default();
    let (own, all, clock) = (processor_seconds(), machine_seconds(), Clock::real());
    let mut resident = (resident_mb(), 0.0_f64);
    let run = start(scenario, seconds, arrived.clone())?;
    while !run.wait(LOOK) {
        resident.1 = resident.1.max(resident_mb());
    }
    let report = run.finish();
    let elapsed = clock.now_us() as f64 / 1e6;
    let own = processor_seconds() - own;
    let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert_eq!(arrived.values().map(|a| a.frames).sum::<u64>(), report.ledger_total.completed);
    Ok(serde_json::json!({
        "scenario": scenario.name, "cameras": scenario.cameras, "fps": scenario.fps, "variant": scenario.variant,
        "total": report.ledger_total, "latency_ms": report.latency_ms, "fps_done": report.fps,
        "out_of_order": arrived.values().map(|a| a.out_of_order).sum::<u64>(),
        "dropped_by_camera": dropped_by_camera(&report),
        "resident_mb_before_and_most": [resident.0, resident.1],
        "cores": own / elapsed, "foreign_cores": (machine_seconds() - all - own) / elapsed,
    }))
}

fn start(scenario: &Scenario, seconds: u64, arrived: Arc<Mutex<BTreeMap<Arc<str>, Arrived>>>) -> Result<Run> {
    let cameras = RoadCameras::new(7)
        .cameras(scenario.cameras)
        .fps(scenario.fps)
        .frames(seconds * u64::from(scenario.fps))
        .policy(scenario.policy)
        .pacing(scenario.pacing)
        .prerendered(RENDERED);
    let t = Topology::new("cameras");
    t.source("cameras", cameras)
        .infer("detect", family::<Detect>("road"))
        .map("number", |d| (d.frame.camera, d.frame.number))
        .sink(
            "order",
            Call::new(move |_, (camera, number): &(Arc<str>, u64)| {
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                let seen = arrived.entry(camera.clone()).or_default();
                seen.frames += 1;
                seen.out_of_order += u64::from(*number < seen.next);
                seen.next = number + 1;
            }),
        );
    let plan = Plan::single("here").with("detect", Assignment::on("here").variant(scenario.variant));
    Run::start(t.build()?, plan, &["here"], Clock::real())
}

/// Least, and most, dropped of a camera, and how many cameras there are, by reason.
fn dropped_by_camera(report: &Report) -> BTreeMap<String, (u64, u64, usize)> {
    let mut by_reason: BTreeMap<String, (u64, u64, usize)> = BTreeMap::new();
    for (reason, n) in report.ledger.sources.values().flat_map(|lane| &lane.dropped) {
        let entry = by_reason.entry(reason.clone()).or_insert((u64::MAX, 0, 0));
        *entry = (entry.0.min(*n), entry.1.max(*n), entry.2 + 1);
    }
    by_reason
}
