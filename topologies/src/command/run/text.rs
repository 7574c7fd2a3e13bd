//! `run text`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use jellybean_engine::Graph;
use jellybean_operators::fetch::{fetch_family, pictures};
use jellybean_operators::source::RoadCameras;

use super::super::Tools;
use super::super::progress::bars;
use super::footage::Footage;
use super::{How, Made, make_folder, plan_here};
use crate::text::text;

/// Lines that are shown at the end; all are in the file.
const SHOWN: usize = 20;

/// `run text`: by default a scanned page, which is fetched.
#[derive(Args)]
pub(crate) struct Text {
    #[command(flatten)]
    footage: Footage,
    /// The variant of the detector.
    #[arg(long)]
    variant: Option<String>,
    /// Slots of the detector: frames that are looked at side by side.
    #[arg(long, default_value_t = 1)]
    slots: usize,
    /// Where pictures and lines go.
    #[arg(long, value_name = "FOLDER", default_value = "out/text")]
    out: PathBuf,
    #[command(flatten)]
    pub(super) how: How,
}

impl Text {
    /// The topology alone, with nothing fetched or opened.
    pub(super) fn graph(&self) -> anyhow::Result<Arc<Graph>> {
        Ok(text(RoadCameras::new(0), &self.out, |_| ()).build()?)
    }

    pub(super) fn make(self, tools: &Tools) -> anyhow::Result<Made> {
        let (progress, cache) = (bars(), Tools::cache()?);
        tools.load_runtime(&progress)?;
        fetch_family(&cache, "text-detect", &progress)?;
        fetch_family(&cache, "text-read", &progress)?;
        let ffmpeg = tools.ffmpeg(&progress)?;
        let cameras = self.footage.cameras(&ffmpeg, || Ok(vec![pictures(&cache, &progress)?.page]))?;
        make_folder(&self.out)?;
        let shown = Shown::default();
        let (first, newest) = (shown.clone(), shown.clone());
        let graph = text(cameras, &self.out, move |line| first.add(&line.text)).build()?;
        let plan = plan_here(self.slots, self.variant.as_ref());
        let told = move || format!("{}\n\nLines and pictures are in {}", shown.all(), self.out.display());
        Ok(Made::new(graph, Some(plan)).telling(move || newest.last(), told))
    }
}

/// The first lines that were read; clones share them.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<String>>>);

impl Shown {
    fn add(&self, text: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < SHOWN {
            lines.push(text.to_owned());
        }
    }

    fn last(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last().cloned().unwrap_or_default()
    }

    fn all(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() { "Nothing was read.".to_owned() } else { lines.join("\n") }
    }
}
