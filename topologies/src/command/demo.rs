//! `demo`: the junction on synthetic cameras.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;
use jellybean_engine::Graph;
use jellybean_engine::source::{Pacing, Policy, Trace, Traced};
use jellybean_operators::source::RoadCameras;

use super::progress::bars;
use super::run::{How, Made, make_folder};
use super::{Tools, read_text};
use crate::frames::Frames;
use crate::junction::junction;
use crate::tally::{Counts, Tally};

/// Frames per second of the synthetic cameras.
const FPS: u64 = 25;

/// `demo`.
#[derive(Args)]
pub(super) struct Demo {
    /// How many cameras.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    cameras: u64,
    /// How many seconds of media time.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The seed of what happens on the road.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// The length of a counting window in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// Play as fast as it was filmed, and drop frames that are too late, as from live cameras.
    #[arg(long)]
    realtime: bool,
    /// How many frames a second the cameras send together over time (CSV: `seconds,source,rate`; the source is
    /// `cameras`), until the last row of it; no frame is dropped.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["realtime", "seconds"])]
    trace: Option<PathBuf>,
    /// How frames cross links: `raw`, or `jpeg:` with a quality from 1 to 100.
    #[arg(long, default_value = "raw", value_name = "FORM")]
    frames: Frames,
    /// Where pictures and counts go.
    #[arg(long, value_name = "FOLDER", default_value = "out/junction")]
    out: PathBuf,
    #[command(flatten)]
    pub(super) how: How,
}

impl Demo {
    /// The topology alone, with nothing opened.
    pub(super) fn graph(&self) -> anyhow::Result<Arc<Graph>> {
        let (cameras, tally) = (RoadCameras::new(self.seed), Tally::default());
        Ok(junction(cameras, self.frames, self.window * 1_000, &self.out, &tally).build()?)
    }

    pub(super) fn make(self, tools: &Tools) -> anyhow::Result<Made> {
        tools.load_runtime(&bars())?;
        make_folder(&self.out)?;
        let trace = self.trace.as_deref().map(|file| read_trace(file, "cameras")).transpose()?;
        let records = trace.as_ref().and_then(|trace| trace.rates("cameras")).map(|rates| rates.records());
        let frames = records.map_or(self.seconds * FPS, |records| records.ceil() as u64);
        let mut cameras = RoadCameras::new(self.seed).cameras(usize::try_from(self.cameras)?).frames(frames);
        if self.realtime {
            cameras = cameras.policy(Policy::Latest).pacing(Pacing::Realtime);
        }
        let tally = Tally::default();
        let (window_ms, filmed) = (self.window * 1_000, cameras.clone());
        let cameras = Traced::new(cameras, "cameras", trace.as_ref());
        let graph = junction(cameras, self.frames, window_ms, &self.out, &tally).build()?;
        let (lanes, frames) = (usize::try_from(self.cameras)?, self.seconds * FPS);
        let truth = move || truth(&filmed, lanes, frames, window_ms);
        let newest = tally.clone();
        let told = move || {
            format!(
                "What crossed the junction:\n{tally}\n\nPictures and counts are in {}",
                self.out.display()
            )
        };
        Ok(Made::new(graph, None).counting_truly(&newest, truth).telling(move || newest.newest(), told))
    }
}

/// How many of each class can truly be seen by each camera in each window.
fn truth(cameras: &RoadCameras, lanes: usize, frames: u64, window_ms: u64) -> anyhow::Result<Counts> {
    let mut seen: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
    for lane in 0..lanes {
        let (scene, camera) = (cameras.scene(lane)?, Arc::<str>::from(format!("road-{lane}")));
        for frame in 0..frames {
            let start_ms = frame * 1_000 / FPS / window_ms * window_ms;
            for truth in scene.render(frame).1 {
                let key = (camera.clone(), start_ms, Arc::from(truth.class.name()));
                seen.entry(key).or_default().insert(truth.id);
            }
        }
    }
    Ok(seen.into_iter().map(|(key, ids)| (key, ids.len() as f64)).collect())
}

/// Reads the rates of one source over time.
fn read_trace(file: &Path, source: &str) -> anyhow::Result<Trace> {
    let trace = Trace::read(&read_text("trace", file)?).with_context(|| file.display().to_string())?;
    let unknown = trace.sources().find(|name| *name != source);
    ensure!(
        unknown.is_none() && trace.rates(source).is_some(),
        "{}: the only source of this topology is `{source}`",
        file.display()
    );
    Ok(trace)
}
