//! The engine against a bare loop over the same frames, pre-processing, session and post-processing, on as
//! many threads as the engine has slots.
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

/// Frames per measurement and slot: a few seconds' worth.
const FRAMES: u64 = 5_000;
const FRAMES_OF_A_LARGE_MODEL: u64 = 200;
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
    model: String,
    slots: usize,
    frames: u64,
    bare: Vec<Measured>,
    engine: Vec<Measured>,
    overhead_us_per_frame: Spread,
    fps_ratio: Spread,
}

/// One model on one number of slots.
#[derive(Clone, Copy)]
struct Job<'a> {
    family: &'a str,
    variant: &'a str,
    slots: usize,
    frames_per_slot: u64,
}

/// `model` is a variant of the road detector, or `family/variant`.
pub(crate) fn run(model: &str, pairs: u64, slots: usize) -> Result<()> {
    let (family, variant) = model.split_once('/').unwrap_or(("road", model));
    let frames_per_slot = if family == "road" { FRAMES } else { FRAMES_OF_A_LARGE_MODEL };
    let job = Job { family, variant, slots, frames_per_slot };
    let (mut bare, mut engine) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        bare.push(job.measure(|| job.bare_loop())?);
        engine.push(job.measure(|| job.through_engine())?);
    }
    let both = || bare.iter().zip(&engine);
    let overhead = both().map(|(b, e)| e.processor_us_per_frame - b.processor_us_per_frame);
    let outcome = Outcome {
        bench: "bare-loop",
        model: format!("{family}/{variant}"),
        slots,
        frames: job.frames(),
        overhead_us_per_frame: Spread::of(overhead),
        fps_ratio: Spread::of(both().map(|(b, e)| e.fps / b.fps)),
        bare: bare.clone(),
        engine: engine.clone(),
    };
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap_or_default());
    Ok(())
}

impl Job<'_> {
    fn frames(&self) -> u64 {
        self.frames_per_slot * self.slots as u64
    }

    fn measure(&self, work: impl FnOnce() -> Result<()>) -> Result<Measured> {
        let clock = Clock::real();
        let (own, all) = (processor_seconds(), machine_seconds());
        work()?;
        let seconds = clock.now_us() as f64 / 1e6;
        let own = processor_seconds() - own;
        Ok(Measured {
            seconds,
            fps: self.frames() as f64 / seconds,
            processor_us_per_frame: own * 1e6 / self.frames() as f64,
            foreign_cores: (machine_seconds() - all - own) / seconds,
        })
    }

    /// A camera per slot.
    fn cameras(&self) -> RoadCameras {
        RoadCameras::new(7).cameras(self.slots).frames(self.frames_per_slot).prerendered(RENDERED)
    }

    fn bare_loop(&self) -> Result<()> {
        std::thread::scope(|threads| {
            let loops: Vec<_> =
                (0..self.slots).map(|lane| threads.spawn(move || self.one_thread(lane))).collect();
            loops.into_iter().try_for_each(|thread| thread.join().expect("a bare loop does not panic"))
        })
    }

    fn one_thread(&self, lane: usize) -> Result<()> {
        let mut feed = self.cameras().open(lane, &Clock::real())?;
        let mut runner = family::<Detect>(self.family).model(Some(self.variant))?.runner(1)?;
        while let Some(arrival) = feed.next()? {
            let outcomes = runner.run(vec![arrival.record]);
            assert!(outcomes.iter().all(Result::is_ok), "every frame can be looked at");
        }
        Ok(())
    }

    fn through_engine(&self) -> Result<()> {
        let t = Topology::new("bare");
        t.source("cameras", self.cameras())
            .infer("detect", family::<Detect>(self.family))
            .map("boxes", |d| d.seen.len() as u64)
            .sink("out", Null::new());
        let detect = Assignment::on("here").variant(self.variant).slots(self.slots);
        let plan = Plan::single("here").with("detect", detect);
        let report = Run::start(t.build()?, plan, &["here"], Clock::real())?.finish();
        assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
        Ok(())
    }
}
