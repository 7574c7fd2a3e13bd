//! `profile`: what a topology takes on this machine, as a file for placement and a table for people.

mod accuracy;
mod machine;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use jellybean_engine::Clock;
use jellybean_engine::profile::Profile;
use jellybean_engine::profiling::{self, Settings};

use super::progress::line;
use super::run::{Made, Stop};
use super::{Tools, nodes, read_toml};
use machine::ThisMachine;

/// `profile` of a ready-made topology.
#[derive(Args)]
pub(super) struct ProfileReady {
    /// The topology: `junction`, `people`, `blur` or `text`.
    topology: String,
    #[command(flatten)]
    profiling: Profiling,
    /// The topology's own options, as `run` takes them: `-- --video street.mp4`.
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

/// How a topology is measured.
#[derive(Args)]
pub(super) struct Profiling {
    /// The node that this machine is, or that it stands for: all nodes of a kind can share what one was measured by.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Where the profile goes (TOML).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// About how long to measure, in seconds, besides loading: a quarter of it runs of the topology, a quarter runs
    /// with other variants, the rest calls of its models.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Items per call of a model.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8", value_name = "ITEMS,…",
          value_parser = clap::value_parser!(u32).range(1..=256))]
    batches: Vec<u32>,
    /// How long plans let an item wait for its batch to fill, in milliseconds.
    #[arg(long, default_value_t = 20, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=60_000))]
    batch_deadline: u32,
    /// A profile of the same topology on other nodes; what it tells is put into this one. Can be given several times.
    #[arg(long, value_name = "FILE")]
    merge: Vec<PathBuf>,
    /// Measure how accurate each combination of variants is too, on the whole of the footage.
    #[arg(long)]
    accuracy: bool,
    /// Make the last line of the output one JSON object: the profile.
    #[arg(long)]
    json: bool,
}

impl ProfileReady {
    pub(super) fn run(self, tools: &Tools) -> anyhow::Result<()> {
        let mut words = vec![self.topology];
        let results = Scratch::new()?;
        // What it finds is nobody's concern, unless somebody asks for it.
        if !self.options.iter().any(|word| word == "--out" || word.starts_with("--out=")) {
            words.extend(["--out".to_owned(), results.0.display().to_string()]);
        }
        words.extend(self.options);
        self.profiling.run(&nodes::made_of(&words, tools)?)
    }
}

impl Profiling {
    pub(super) fn run(&self, made: &Made) -> anyhow::Result<()> {
        jellybean_engine::node::check_name(&self.node)?;
        // What can be wrong with them is told before anything is measured.
        let others = self.merge.iter().map(|file| read_profile(file)).collect::<anyhow::Result<Vec<_>>>()?;
        if self.accuracy && made.judged.is_none() {
            bail!("how accurate this topology is cannot be told: it counts nothing (leave --accuracy out)");
        }
        let (stop, bar) = (Stop::on_signals()?, line());
        let mut batches = self.batches.clone();
        batches.sort_unstable();
        batches.dedup();
        let settings = Settings {
            node: self.node.clone(),
            seconds: f64::from(self.seconds),
            batches,
            batch_deadline_ms: f64::from(self.batch_deadline),
            machine: &ThisMachine,
            tell: &|step| bar.set_message(format!("{}  {:.0} %", step.what, 100.0 * step.done)),
            go_on: &|| !stop.is_asked(),
            clock: Clock::real(),
        };
        let mut profile = profiling::profile(&made.graph, &settings)?;
        if let (true, Some(judged)) = (self.accuracy, &made.judged) {
            let tell = |what: &str| bar.set_message(what.to_owned());
            profile.accuracy = Some(accuracy::measure(made, judged, &profile, &tell, &|| stop.is_asked())?);
        }
        bar.finish_and_clear();
        let profile = others.into_iter().try_fold(profile, Profile::merge)?;
        self.tell(&profile)
    }

    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "the command is where results are told")]
    fn tell(&self, profile: &Profile) -> anyhow::Result<()> {
        let mut text = table::of(profile);
        if let Some(file) = &self.out {
            let toml = toml::to_string(profile)?;
            std::fs::write(file, toml)
                .with_context(|| format!("the profile {} cannot be written", file.display()))?;
            text += &format!("\nThe profile is in {}", file.display());
        }
        if self.json {
            eprintln!("{text}");
            println!("{}", serde_json::to_string(profile)?);
        } else {
            println!("{text}");
        }
        Ok(())
    }
}

/// The profile in a file, checked.
pub(super) fn read_profile(file: &Path) -> anyhow::Result<Profile> {
    let profile: Profile = read_toml("profile", file)?;
    profile.check().with_context(|| format!("the profile {} is not right", file.display()))?;
    Ok(profile)
}

/// A folder that goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("jellybean-profile-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left lies where such things are cleared away.
        _ = std::fs::remove_dir_all(&self.0);
    }
}
