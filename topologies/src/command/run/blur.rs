//! `run blur`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jellybean_engine::Graph;
use jellybean_operators::fetch::{fetch_family, pictures};
use jellybean_operators::source::RoadCameras;

use super::super::Tools;
use super::super::progress::bars;
use super::footage::Footage;
use super::{How, Made, make_folder, plan_here};
use crate::blur::blur;
use crate::tally::Tally;

/// `run blur`: by default a portrait, which is fetched.
#[derive(Args)]
pub(crate) struct Blur {
    #[command(flatten)]
    footage: Footage,
    /// The length of a counting window in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// The variant of the detector: 320 or 640.
    #[arg(long)]
    variant: Option<String>,
    /// Slots of the detector: frames that are looked at side by side.
    #[arg(long, default_value_t = 1)]
    slots: usize,
    /// Where pictures and counts go.
    #[arg(long, value_name = "FOLDER", default_value = "out/blur")]
    out: PathBuf,
    #[command(flatten)]
    pub(super) how: How,
}

impl Blur {
    /// The topology alone, with nothing fetched or opened.
    pub(super) fn graph(&self) -> anyhow::Result<Arc<Graph>> {
        let (cameras, tally) = (RoadCameras::new(0), Tally::default());
        Ok(blur(cameras, self.window * 1_000, &self.out, Path::new("ffmpeg"), &tally).build()?)
    }

    pub(super) fn make(self, tools: &Tools) -> anyhow::Result<Made> {
        let (progress, cache) = (bars(), Tools::cache()?);
        tools.load_runtime(&progress)?;
        fetch_family(&cache, "face", &progress)?;
        let ffmpeg = tools.ffmpeg(&progress)?;
        let cameras = self.footage.cameras(&ffmpeg, || Ok(vec![pictures(&cache, &progress)?.portrait]))?;
        make_folder(&self.out)?;
        let tally = Tally::default();
        let graph = blur(cameras, self.window * 1_000, &self.out, &ffmpeg, &tally).build()?;
        let plan = plan_here(self.slots, self.variant.as_ref());
        let newest = tally.clone();
        let told = move || {
            format!("Faces hidden per frame, on average:\n{tally}\n\nPictures are in {}", self.out.display())
        };
        Ok(Made::new(graph, Some(plan)).counting(&newest).telling(move || newest.newest(), told))
    }
}
