//! `simulate`: what following recorded rates would have cost, beside what others would have done.

mod plot;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use jellybean_engine::live::Settings;
use jellybean_engine::live::simulate::{Comparison, Scene, Trace, simulate};
use jellybean_engine::placement::{Problem, import};

use super::progress::line;
use super::{read_text, read_toml};

/// Slots are not planned to be busier, so that noise finds room.
const UTILISATION_MAX: f64 = 0.8;

/// `simulate`.
#[derive(Args)]
pub(super) struct Simulate {
    /// What sources offered (CSV): `second,rate` for all of them alike, or `second,source,rate`.
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Rates are multiplied by this.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// Only the first so many seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<usize>,
    /// What a link carried (JSON): `{"bandwidth_limits": [{"time": S, "mbps": M}, …]}`.
    #[arg(long, value_name = "FILE", requires = "link")]
    bandwidth: Option<PathBuf>,
    /// The link that this is of.
    #[arg(long, value_name = "FROM:TO", requires = "bandwidth")]
    link: Option<String>,
    /// Machines and profile: a folder of input of the paper's prototype (CSV and JSON).
    #[arg(long, value_name = "FOLDER", group = "what")]
    paper_input: Option<PathBuf>,
    /// Machines and profile: an instance file (JSON).
    #[arg(long, value_name = "FILE", group = "what")]
    instance: Option<PathBuf>,
    /// Machines and profile: a placement problem (TOML).
    #[arg(long, value_name = "FILE", group = "what")]
    problem: Option<PathBuf>,
    /// The end-to-end accuracy, at least.
    #[arg(long, value_name = "ACCURACY")]
    accuracy_min: Option<f64>,
    /// How busy a slot may be planned to be, above 0 and up to 1.
    #[arg(long, value_name = "SHARE", default_value_t = UTILISATION_MAX)]
    utilisation_max: f64,
    /// How eager the controller is: bands, prices, waits (TOML).
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Other settings that it is to be compared with (TOML); may be given several times.
    #[arg(long, value_name = "FILE")]
    beside: Vec<PathBuf>,
    /// Linear programs for one plan, at most.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    programs_max: u64,
    /// How long a change takes, in seconds; the nodes of both plans are paid meanwhile.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=3600))]
    change_s: u64,
    /// Draw rates, costs and misses over the time (SVG).
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object, every decision in it.
    #[arg(long)]
    json: bool,
}

impl Simulate {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let scene = self.scene()?;
        let bar = line();
        bar.set_message(format!("playing {} seconds by every policy", scene.trace.seconds()));
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        let comparison = simulate(&scene)?;
        bar.finish_and_clear();
        if let Some(file) = &self.svg {
            let picture = plot::plot(&stem(&self.trace), &comparison);
            std::fs::write(file, picture)
                .with_context(|| format!("the plot {} cannot be written", file.display()))?;
        }
        if self.json {
            println!("{}", serde_json::to_string(&comparison)?);
        } else {
            println!("{}", in_words(&comparison));
        }
        Ok(())
    }

    fn scene(&self) -> anyhow::Result<Scene> {
        let located = |file: &Path| file.display().to_string();
        if !(self.scale > 0.0 && self.scale <= 1e6) {
            bail!("--scale is {}: give a factor above 0", self.scale);
        }
        let mut trace = Trace::read(&read_text("trace", &self.trace)?, self.scale)
            .with_context(|| located(&self.trace))?;
        if let Some(file) = &self.bandwidth {
            trace = trace.with_bandwidth(&read_text("bandwidth", file)?).with_context(|| located(file))?;
        }
        if let Some(seconds) = self.seconds {
            trace.cut(seconds);
        }
        let link = self.link.as_ref().map(|link| {
            let ends = link.split_once(':').map(|(from, to)| (from.to_owned(), to.to_owned()));
            ends.with_context(|| format!("--link is {link}: give FROM:TO, names of sites"))
        });
        let settings = self.settings.as_deref().map(|file| read_toml::<Settings>("settings", file));
        let mut problem = self.problem()?;
        problem.objectives.accuracy_min = self.accuracy_min.or(problem.objectives.accuracy_min);
        problem.objectives.utilisation_max = self.utilisation_max;
        let (programs_max, change_s) = (self.programs_max, self.change_s);
        let (link, settings) = (link.transpose()?, settings.transpose()?.unwrap_or_default());
        let others = self.beside.iter().map(|file| Ok((stem(file), read_toml("settings", file)?)));
        let others = others.collect::<anyhow::Result<_>>()?;
        Ok(Scene { problem, trace, link, settings, others, programs_max, change_s })
    }

    fn problem(&self) -> anyhow::Result<Problem> {
        match (&self.paper_input, &self.instance, &self.problem) {
            (Some(folder), ..) => Ok(import::prototype(folder)?),
            (_, Some(file), _) => Ok(import::instance(file)?),
            (.., Some(file)) => read_toml("problem", file),
            _ => bail!("what is to be run? pass --paper-input, --instance or --problem"),
        }
    }
}

/// A file's name without its end.
fn stem(file: &Path) -> String {
    file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn in_words(comparison: &Comparison) -> String {
    let Comparison { seconds, mean_per_s, most_per_s, over_perfect, .. } = comparison;
    let mut text = format!("{seconds} s; {mean_per_s:.1} items/s on average, {most_per_s:.1} at most\n\n");
    text +=
        "policy                       $     $/h  of perfect  changes  starts  missed s  dropped  solves\n";
    for o in &comparison.outcomes {
        let dropped = format!("{:.2} %", o.dropped * 100.0);
        let ratio = o.over_perfect.map_or_else(String::new, |ratio| format!("{:.1} %", ratio * 100.0));
        text += &format!(
            "{:22} {:8.3} {:7.3} {ratio:>11} {:8} {:7} {:9} {dropped:>8} {:7}\n",
            o.policy, o.usd, o.usd_per_h, o.changes, o.starts, o.missed_s, o.solves
        );
    }
    if let Some(ratio) = over_perfect {
        let (percent, side) = ((ratio - 1.0).abs() * 100.0, if *ratio < 1.0 { "below" } else { "above" });
        text += &format!("\nours costs {percent:.2} % {side} perfect knowledge of every second\n");
    }
    text.trim_end().to_owned()
}
