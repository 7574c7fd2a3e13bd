//! `demo`: the junction on synthetic cameras.

use std::path::PathBuf;

use clap::Args;
use jellybean_engine::source::{Pacing, Policy};
use jellybean_operators::source::RoadCameras;

use super::Tools;
use super::progress::bars;
use super::run::{How, make_folder};
use crate::junction::junction;
use crate::tally::Tally;

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
    /// Where pictures and counts go.
    #[arg(long, value_name = "FOLDER", default_value = "out/junction")]
    out: PathBuf,
    #[command(flatten)]
    how: How,
}

impl Demo {
    pub(super) fn run(&self, tools: &Tools) -> anyhow::Result<()> {
        tools.load_runtime(&bars())?;
        make_folder(&self.out)?;
        let mut cameras =
            RoadCameras::new(self.seed).cameras(usize::try_from(self.cameras)?).frames(self.seconds * FPS);
        if self.realtime {
            cameras = cameras.policy(Policy::Latest).pacing(Pacing::Realtime);
        }
        let tally = Tally::default();
        let topology = junction(cameras, self.window * 1_000, &self.out, &tally);
        let told = || {
            format!(
                "What crossed the junction:\n{tally}\n\nPictures and counts are in {}",
                self.out.display()
            )
        };
        self.how.run(&topology, None, &|| tally.newest(), &told)
    }
}
