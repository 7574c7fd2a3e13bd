//! The engine against a bare loop over the same frames, pre-processing, session and post-processing.
//!
//! Interleaved pairs; processor time per frame, so that the rest of the machine matters little.

use jellybean::Result;
use jellybean_benches::{Spread, machine_seconds, processor_seconds};
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::source::Source;
use jellybean_engine::{Clock, Run, Topology};
use jellybean_operators::model::{Detect, family};
use jellybean_operators::prelude::*;
use serde::Serialize;

/// Frames per measurement.
const FRAMES: u64 = 5_000;
/// Frames rendered beforehand and shown in turn, so that the camera costs nothing.
const RENDERED: usize = 50;

/// One run of one side.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    seconds: f64,
    fps: f64,
    processor_us_per_frame: f64,
    foreign_cores: f64,
}

#[derive(Serialize)]
struct Outcome {
    bench: &'static str,
    variant: String,
    frames: u64,
    bare: Vec<Measured>,
    engine: Vec<Measured>,
    overhead_us_per_frame: Spread,
    fps_ratio: Spread,
}

pub(crate) fn run(variant: &str, pairs: u64) -> Result<()> {
    let (mut bare, mut engine) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        bare.push(measure(|| bare_loop(variant))?);
        engine.push(measure(|| through_engine(variant))?);
    }
    let both = || bare.iter().zip(&engine);
    let overhead = both().map(|(b, e)| e.processor_us_per_frame - b.processor_us_per_frame);
    let outcome = Outcome {
        bench: "bare-loop",
        variant: variant.to_owned(),
        frames: FRAMES,
        overhead_us_per_frame: Spread::of(overhead),
        fps_ratio: Spread::of(both().map(|(b, e)| e.fps / b.fps)),
        bare: bare.clone(),
        engine: engine.clone(),
    };
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap_or_default());
    Ok(())
}

fn measure(work: impl FnOnce() -> Result<()>) -> Result<Measured> {
    let clock = Clock::real();
    let (own, all) = (processor_seconds(), machine_seconds());
    work()?;
    let seconds = clock.now_us() as f64 / 1e6;
    let own = processor_seconds() - own;
    Ok(Measured {
        seconds,
        fps: FRAMES as f64 / seconds,
        processor_us_per_frame: own * 1e6 / FRAMES as f64,
        foreign_cores: (machine_seconds() - all - own) / seconds,
    })
}

fn cameras() -> RoadCameras {
    RoadCameras::new(7).frames(FRAMES).prerendered(RENDERED)
}

fn bare_loop(variant: &str) -> Result<()> {
    let mut feed = cameras().open(0, &Clock::real())?;
    let mut runner = family::<Detect>("road").model(Some(variant))?.runner(1)?;
    let mut seen = 0;
    while let Some(arrival) = feed.next()? {
        seen += runner.run(vec![arrival.record]).into_iter().flatten().map(|d| d.seen.len()).sum::<usize>();
    }
    assert!(seen > 0, "the road is not empty");
    Ok(())
}

fn through_engine(variant: &str) -> Result<()> {
    let t = Topology::new("bare");
    t.source("cameras", cameras())
        .infer("detect", family::<Detect>("road"))
        .map("boxes", |d| d.seen.len() as u64)
        .sink("out", Null::new());
    let plan = Plan::single("here").with("detect", Assignment::on("here").variant(variant));
    let report = Run::start(t.build()?, plan, &["here"], Clock::real())?.finish();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    Ok(())
}
