//! Many cut-overs in one run, under load: what is lost, doubled or reordered, and how long they take.
//!
//! The junction's own stages: a detector, a tracker per camera, windows, a differential count, on two
//! nodes; every cut puts every stage but the cameras on a node by chance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jellybean::Result;
use jellybean_benches::Spread;
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::{Clock, Graph, Report, Run, Topology};
use jellybean_operators::model::{Detect, family};
use jellybean_operators::prelude::*;

/// The cameras, and how long they show; enough for a run to outlast its cuts.
const CAMERAS: usize = 2;
const NODES: [&str; 2] = ["edge", "cloud"];

/// Frame numbers in the order in which they reached the sink, by camera.
type Arrived = Arc<Mutex<BTreeMap<Arc<str>, Vec<u64>>>>;

pub(crate) fn run(cuts: u64, seed: u64) -> Result<()> {
    // A run is as long as its cuts need: frames per camera, found by doubling.
    let mut frames = 40 * cuts;
    loop {
        let (moved, arrived, taken_ms) = with_cuts(frames, cuts, seed)?;
        if (taken_ms.len() as u64) < cuts {
            frames *= 2;
            continue;
        }
        let (graph, _) = topology(frames)?;
        let never = Run::start(graph, plan(NODES[0]), &NODES[..1], Clock::real())?.finish();
        let (lost, doubled, reordered) = compare(&arrived, frames);
        let outcome = serde_json::json!({
            "bench": "cuts", "cuts": taken_ms.len(), "seed": seed, "frames": moved.frames,
            "lost": lost, "doubled": doubled, "reordered": reordered,
            "ledger_closed": moved.ledger.is_closed(),
            "digest_moved": moved.output_digest, "digest_never_moved": never.output_digest,
            "results_equal": moved.output_digest == never.output_digest,
            "cut_ms": Spread::of(taken_ms), "fps_moved": moved.fps, "fps_never_moved": never.fps,
        });
        println!("{outcome:#}");
        return Ok(());
    }
}

fn with_cuts(frames: u64, cuts: u64, seed: u64) -> Result<(Report, Arrived, Vec<f64>)> {
    let (graph, arrived) = topology(frames)?;
    let run = Run::start(graph.clone(), plan(NODES[0]), &NODES, Clock::real())?;
    let (mut random, mut taken_ms) = (seed, Vec::new());
    while (taken_ms.len() as u64) < cuts && !run.wait(Duration::from_micros(next(&mut random) % 20_000)) {
        let before = run.seconds();
        if run.apply(random_plan(&graph, &mut random)).is_err() {
            break;
        }
        taken_ms.push((run.seconds() - before) * 1e3);
    }
    Ok((run.finish(), arrived, taken_ms))
}

fn topology(frames: u64) -> Result<(Arc<Graph>, Arrived)> {
    let arrived = Arrived::default();
    let t = Topology::new("cuts");
    let tracks = t
        .source("cameras", RoadCameras::new(7).cameras(CAMERAS).frames(frames).prerendered(100))
        .infer("detect", family::<Detect>("road"))
        .keyed(|d| d.frame.camera.clone())
        .stateful("track", Tracker::step);
    let classes = tracks.flat_map("classes", |t| t.tracks.into_iter().map(|t| t.class).collect::<Vec<_>>());
    classes.relation(Keep::Millis(2_000)).count_by("lately", Clone::clone).sink("lately-out", Null::new());
    classes
        .keyed(Clone::clone)
        .tumbling("window", 1_000, |n: &mut u64, _| *n += 1)
        .sink("window-out", Null::new());
    let noting = arrived.clone();
    tracks.map("seen", |t| (t.frame.camera, t.frame.number, t.tracks)).sink(
        "seen-out",
        Call::new(move |_epoch, (camera, number, _): &(Arc<str>, u64, Vec<Track>)| {
            let mut arrived = noting.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.entry(camera.clone()).or_default().push(*number);
        }),
    );
    Ok((t.build()?, arrived))
}

fn plan(node: &str) -> Plan {
    Plan::single(node).with("detect", Assignment::on(node).variant("w4"))
}

fn random_plan(graph: &Graph, random: &mut u64) -> Plan {
    let movable = graph.stages().filter(|s| s.name != "cameras");
    movable.fold(plan(NODES[0]), |plan, stage| {
        let assignment = Assignment {
            node: NODES[(next(random) % 2) as usize].into(),
            ..plan.assignment(&stage.name).clone()
        };
        plan.with(&stage.name, assignment)
    })
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn compare(arrived: &Arrived, frames: u64) -> (u64, u64, u64) {
    let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut lost, mut doubled, mut reordered) = (0, 0, 0);
    for numbers in arrived.values() {
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        lost += frames - sorted.len() as u64;
        doubled += (numbers.len() - sorted.len()) as u64;
        reordered += numbers.windows(2).filter(|w| w[0] > w[1]).count() as u64;
    }
    (lost + (CAMERAS - arrived.len()) as u64 * frames, doubled, reordered)
}
