//! `run blur`.

use std::path::PathBuf;

use clap::Args;
use jellybean_operators::fetch::{fetch_family, pictures};

use super::super::Tools;
use super::super::progress::bars;
use super::footage::Footage;
use super::{How, make_folder, plan_here};
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
    how: How,
}

impl Blur {
    pub(crate) fn run(self, tools: &Tools) -> anyhow::Result<()> {
        let (progress, cache) = (bars(), Tools::cache()?);
        tools.load_runtime(&progress)?;
        fetch_family(&cache, "face", &progress)?;
        let ffmpeg = tools.ffmpeg(&progress)?;
        let cameras = self.footage.cameras(&ffmpeg, || Ok(vec![pictures(&cache, &progress)?.portrait]))?;
        make_folder(&self.out)?;
        let tally = Tally::default();
        let topology = blur(cameras, self.window * 1_000, &self.out, &ffmpeg, &tally);
        let plan = plan_here(self.slots, self.variant.as_ref());
        let told = || {
            format!("Faces hidden per frame, on average:\n{tally}\n\nPictures are in {}", self.out.display())
        };
        self.how.run(&topology, Some(plan), &|| tally.newest(), &told)
    }
}
