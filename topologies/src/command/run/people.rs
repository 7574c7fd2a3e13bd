//! `run people`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jellybean_engine::Graph;
use jellybean_operators::fetch::{fetch_family, vtest};
use jellybean_operators::source::RoadCameras;
use jellybean_operators::zone::Zone;

use super::super::Tools;
use super::super::progress::bars;
use super::footage::Footage;
use super::{How, Made, make_folder, plan_here};
use crate::frames::Frames;
use crate::people::{Settings, people};
use crate::tally::Tally;

/// `run people`: by default `vtest.avi`, people crossing a yard, which is fetched.
#[derive(Args)]
pub(crate) struct People {
    #[command(flatten)]
    footage: Footage,
    /// The length of a counting window in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// A part of the view in which people are counted by identity, in shares of its width and height, such as
    /// "door=0.1,0.2 0.5,0.2 0.5,0.9"; the left and the right half unless set.
    #[arg(long = "zone", value_name = "NAME=X,Y X,Y X,Y …")]
    zones: Vec<Zone>,
    /// The variant of the detector: 416, 320, 256 or 416-int8.
    #[arg(long)]
    variant: Option<String>,
    /// Slots of the detector: frames that are looked at side by side.
    #[arg(long, default_value_t = 1)]
    slots: usize,
    /// Write an annotated video of each camera too.
    #[arg(long)]
    record: bool,
    /// How frames cross links: `raw`, or `jpeg:` with a quality from 1 to 100.
    #[arg(long, default_value = "raw", value_name = "FORM")]
    frames: Frames,
    /// Where pictures and counts go.
    #[arg(long, value_name = "FOLDER", default_value = "out/people")]
    out: PathBuf,
    #[command(flatten)]
    pub(super) how: How,
}

impl People {
    /// The topology alone, with nothing fetched or opened.
    pub(super) fn graph(&self) -> anyhow::Result<Arc<Graph>> {
        let settings = Settings {
            window_ms: self.window * 1_000,
            zones: &self.zones,
            frames: self.frames,
            out: &self.out,
            record: self.record.then_some(Path::new("ffmpeg")),
        };
        Ok(people(RoadCameras::new(0), settings, &Tally::default()).build()?)
    }

    pub(super) fn make(self, tools: &Tools) -> anyhow::Result<Made> {
        let (progress, cache) = (bars(), Tools::cache()?);
        tools.load_runtime(&progress)?;
        fetch_family(&cache, "nanodet", &progress)?;
        fetch_family(&cache, "appearance", &progress)?;
        let ffmpeg = tools.ffmpeg(&progress)?;
        let cameras = self.footage.cameras(&ffmpeg, || Ok(vec![vtest(&cache, &progress)?]))?;
        make_folder(&self.out)?;
        let zones = if self.zones.is_empty() { halves()? } else { self.zones };
        let tally = Tally::default();
        let settings = Settings {
            window_ms: self.window * 1_000,
            zones: &zones,
            frames: self.frames,
            out: &self.out,
            record: self.record.then_some(&*ffmpeg),
        };
        let graph = people(cameras, settings, &tally).build()?;
        let plan = plan_here(self.slots, self.variant.as_ref());
        let newest = tally.clone();
        let told = move || {
            format!(
                "Persons per frame, and different ones in each zone:\n{tally}\n\nPictures and counts are in {}",
                self.out.display()
            )
        };
        Ok(Made::new(graph, Some(plan)).counting(&newest).telling(move || newest.newest(), told))
    }
}

fn halves() -> anyhow::Result<Vec<Zone>> {
    Ok(vec!["left=0,0 0.5,0 0.5,1 0,1".parse()?, "right=0.5,0 1,0 1,1 0.5,1".parse()?])
}
