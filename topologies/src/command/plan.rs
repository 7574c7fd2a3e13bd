//! `plan`: the cheapest way to run something on the machines there are.
//!
//! That there is no plan is an answer as well, and no failure, unless one was to be written.

mod difference;
mod explained;
mod files;
mod picture;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressFinish;
use jellybean_engine::pilot::Course;
use jellybean_engine::placement::explain::smallest_change;
use jellybean_engine::placement::problem::Objectives;
use jellybean_engine::placement::{Answer, Budget, Mode, Status, import};
use jellybean_engine::plan::Plan as Written;
use jellybean_engine::planning::{Explanation, Report, Wanted, explain, plan, solve};
use jellybean_engine::{Clock, Graph};

use self::told::Told;
use super::nodes;
use super::progress::line;
use super::read_toml;
use super::run::read_plan;

/// Of a topology's plan: slots are not planned to be busier, so that queues stay short.
const UTILISATION_MAX: f64 = 0.8;

/// How long to look for what would make a plan possible, in seconds.
const CHANGES_S: f64 = 3.0;

/// Linear programs for each alternative of an explanation, at most.
const PROGRAMS_MAX: u64 = 2_000;

/// `plan`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Plan {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Subcommand)]
enum What {
    /// Say what changes from one plan to another.
    Diff(difference::Diff),
}

/// What is to be planned, and how it is told.
#[derive(Args)]
struct Asked {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    wishes: Wishes,
    /// Write the plan (TOML), for `run --plan`, `deploy --plan` and `apply`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paper_input", "instance"])]
    out: Option<PathBuf>,
    /// Draw the plan over the tiers (SVG).
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Say what binds, and what other plans would cost.
    #[arg(long)]
    explain: bool,
    /// The plan that runs (TOML), to be compared with.
    #[arg(long, value_name = "FILE", requires = "explain", conflicts_with_all = ["paper_input", "instance"])]
    running: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Where what is asked stands.
#[derive(Args)]
struct Input {
    /// A ready-made topology, with options of its own: `junction`, "people --frames jpeg:80".
    #[arg(long, value_name = "NAME", requires = "infrastructure", group = "what_to_plan")]
    topology: Option<String>,
    /// The nodes there are, and the links between their sites (TOML).
    #[arg(long, value_name = "FILE", requires_all = ["profile", "rates"])]
    infrastructure: Option<PathBuf>,
    /// What was measured, by `jellybean profile` (TOML); more than one for more kinds of nodes.
    #[arg(long, value_name = "FILE", requires = "infrastructure")]
    profile: Vec<PathBuf>,
    /// Where sources stand and how much they send (TOML).
    #[arg(long, value_name = "FILE", requires = "infrastructure")]
    rates: Option<PathBuf>,
    /// Instead of a topology, a folder of input of the paper's prototype (CSV and JSON).
    #[arg(long, value_name = "FOLDER", group = "what_to_plan", conflicts_with = "infrastructure")]
    paper_input: Option<PathBuf>,
    /// Instead of a topology, an instance file (JSON).
    #[arg(long, value_name = "FILE", group = "what_to_plan", conflicts_with = "infrastructure")]
    instance: Option<PathBuf>,
    /// Items per second of every source, instead of what the input says.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
}

/// What a plan must meet, and how it is looked for.
#[derive(Args)]
struct Wishes {
    /// Whose rules it follows.
    #[arg(long, value_enum, default_value_t = Rules::Shared)]
    mode: Rules,
    /// The end-to-end accuracy, at least.
    #[arg(long, value_name = "ACCURACY")]
    accuracy_min: Option<f64>,
    /// What 95 of 100 items may take along every path, in milliseconds.
    #[arg(long, value_name = "MS")]
    p95_ms_max: Option<f64>,
    /// How busy a slot may be, above 0 and up to 1; 0.8 for a topology, 1 otherwise.
    #[arg(long, value_name = "SHARE")]
    utilisation_max: Option<f64>,
    /// How long to look for a cheaper plan, and for the proof that there is none.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    time_limit: f64,
}

/// Whose rules a plan follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rules {
    /// One stage per node, and traffic towards higher tiers only; of a topology, the models alone.
    Paper,
    /// One stage per node; traffic goes where it is cheapest; of a topology, the models alone.
    Exclusive,
    /// A node runs any stages, as long as their load fits.
    Shared,
}

impl From<Rules> for Mode {
    fn from(rules: Rules) -> Self {
        match rules {
            Rules::Paper => Self::Paper,
            Rules::Exclusive => Self::Exclusive,
            Rules::Shared => Self::Shared,
        }
    }
}

/// Reads a time limit.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds, from 0 to 86400".to_owned()),
    }
}

impl Plan {
    /// For a program of many topologies, or around the one that is given.
    pub(super) fn run(self, one: Option<&Arc<Graph>>) -> anyhow::Result<()> {
        match self.what {
            Some(What::Diff(diff)) => diff.run(),
            None => self.asked.run(one),
        }
    }
}

impl Asked {
    fn run(&self, one: Option<&Arc<Graph>>) -> anyhow::Result<()> {
        let (title, wanted) = self.wanted(one)?;
        let mode = self.wishes.mode.into();
        let (answer, plan, solve_seconds) = self.wishes.solve(&wanted, mode)?;
        let mut report = Report::new(&wanted.problem, mode, &answer);
        if answer.status == Status::Infeasible {
            let (passed, _) = self.wishes.patience();
            let go_on = || passed() < self.wishes.time_limit.min(CHANGES_S);
            let budget = Budget { programs_max: u64::MAX, go_on: &go_on };
            report.changes = smallest_change(&wanted.problem, mode, &budget)?;
        }
        report.explanation = self.explanation(&wanted, mode, &answer)?;
        let told = Told { report, solve_seconds };
        if let Some(file) = &self.svg {
            let frame = picture::Frame::new(&title, &wanted, &told.report);
            files::write("picture", file, &picture::picture(&frame, &told.report))?;
        }
        told.print(&wanted.problem, self.json)?;
        match (&self.out, plan) {
            (None, _) => Ok(()),
            (Some(file), Some(plan)) => files::write("plan", file, &toml::to_string(&plan)?),
            (Some(file), None) => bail!("there is no plan, so {} is not written", file.display()),
        }
    }

    /// What is asked, and how it is called.
    fn wanted(&self, one: Option<&Arc<Graph>>) -> anyhow::Result<(String, Wanted)> {
        let Input { topology, paper_input, instance, rate, .. } = &self.input;
        let (path, mut problem) = match (paper_input, instance) {
            (Some(folder), _) => (folder, import::prototype(folder)?),
            (None, Some(file)) => (file, import::instance(file)?),
            (None, None) => {
                let graph = match (topology, one) {
                    (Some(words), _) => nodes::graph(words)?,
                    (None, Some(graph)) => graph.clone(),
                    (None, None) => {
                        bail!("what is to be planned? pass --topology, --paper-input or --instance")
                    }
                };
                let wanted = self.of_topology(&graph)?;
                return Ok((graph.name().to_owned(), wanted));
            }
        };
        self.wishes.set(&mut problem.objectives);
        if let Some(rate) = rate {
            problem.rates.sources.iter_mut().for_each(|source| source.rate_per_s = *rate);
        }
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok((name, Wanted::from(problem)))
    }

    fn of_topology(&self, graph: &Graph) -> anyhow::Result<Wanted> {
        let Input { infrastructure, profile, rates, rate, .. } = &self.input;
        let missing = "a topology is planned over --infrastructure, with --profile and --rates";
        let (infrastructure, rates) =
            (infrastructure.as_deref().context(missing)?, rates.as_deref().context(missing)?);
        let mut objectives = Objectives { utilisation_max: UTILISATION_MAX, ..Objectives::default() };
        self.wishes.set(&mut objectives);
        let wanted = of_files(graph, infrastructure, profile, (rates, *rate), objectives)?;
        match self.wishes.mode {
            Rules::Shared => Ok(wanted),
            Rules::Paper | Rules::Exclusive if self.out.is_some() => {
                bail!(
                    "by these rules a node runs one stage, and no plan is written (leave out --out, or --mode)"
                )
            }
            Rules::Paper | Rules::Exclusive => Ok(Wanted::from(wanted.models())),
        }
    }

    fn explanation(
        &self,
        wanted: &Wanted,
        mode: Mode,
        answer: &Answer,
    ) -> anyhow::Result<Option<Explanation>> {
        if !self.explain {
            return Ok(None);
        }
        let running = self.running.as_deref().map(read_plan).transpose()?;
        let (_, go_on) = self.wishes.patience();
        let budget = Budget { programs_max: PROGRAMS_MAX, go_on: &go_on };
        Ok(Some(explain(wanted, mode, answer, running.as_ref(), &budget)?))
    }
}

/// What a topology asks by these files, with one rate for every source if it is given.
fn of_files(
    graph: &Graph,
    infrastructure: &Path,
    profile: &[PathBuf],
    (rates, rate): (&Path, Option<f64>),
    objectives: Objectives,
) -> anyhow::Result<Wanted> {
    let (infrastructure, machines) = files::machines(infrastructure)?;
    let mut rates = files::rates(rates, graph, &infrastructure)?;
    if let Some(rate) = rate {
        rates.sources.iter_mut().for_each(|source| source.rate_per_s = rate);
    }
    let names: Vec<String> = profile.iter().map(|file| file.display().to_string()).collect();
    Wanted::new(graph, (&infrastructure, machines), &files::profile(profile)?, &rates, objectives)
        .with_context(|| names.join(", "))
}

/// How a run follows its rates.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Following {
    /// Follow the rates: change to the cheapest plan that fits what is measured, while it runs.
    #[arg(long, requires_all = ["infrastructure", "profile", "rates"])]
    live: bool,
    /// What was measured, by `jellybean profile` (TOML); more than one for more kinds of nodes.
    #[arg(long, value_name = "FILE", requires = "live")]
    profile: Vec<PathBuf>,
    /// Where sources stand and how much they send at first (TOML).
    #[arg(long, value_name = "FILE", requires = "live")]
    rates: Option<PathBuf>,
    /// How eager it is (TOML): bands, prices and waits.
    #[arg(long, value_name = "FILE", requires = "live")]
    live_settings: Option<PathBuf>,
    /// The end-to-end accuracy, at least.
    #[arg(long, value_name = "ACCURACY", requires = "live")]
    accuracy_min: Option<f64>,
    /// What 95 of 100 items may take along every path, in milliseconds.
    #[arg(long, value_name = "MS", requires = "live")]
    p95_ms_max: Option<f64>,
}

impl Following {
    /// What is followed and how eagerly, if the rates are followed at all.
    pub(super) fn course(&self, graph: &Graph, infrastructure: &Path) -> anyhow::Result<Option<Course>> {
        let Some(rates) = self.rates.as_deref().filter(|_| self.live) else { return Ok(None) };
        let Self { accuracy_min, p95_ms_max, .. } = *self;
        let objectives = Objectives { utilisation_max: UTILISATION_MAX, accuracy_min, p95_ms_max };
        let wanted = of_files(graph, infrastructure, &self.profile, (rates, None), objectives)?;
        let settings = self.live_settings.as_deref().map(|file| read_toml("settings", file)).transpose()?;
        Ok(Some(Course { wanted, settings: settings.unwrap_or_default() }))
    }

    /// The plan to begin with.
    pub(super) fn first(wanted: &Wanted) -> anyhow::Result<Written> {
        let (answer, written) = plan(wanted, &Budget::programs(PROGRAMS_MAX))?;
        written.with_context(|| format!("there is no plan to begin with: {:?}", answer.status))
    }
}

impl Wishes {
    /// Puts what was given in the place of what the input says.
    fn set(&self, objectives: &mut Objectives) {
        objectives.accuracy_min = self.accuracy_min.or(objectives.accuracy_min);
        objectives.p95_ms_max = self.p95_ms_max.or(objectives.p95_ms_max);
        objectives.utilisation_max = self.utilisation_max.unwrap_or(objectives.utilisation_max);
    }

    /// How many seconds have passed since now, and whether the time limit is not over yet; shows that it goes on.
    fn patience(&self) -> (impl Fn() -> f64 + use<>, impl Fn() -> bool + use<>) {
        let (clock, bar, limit) =
            (Clock::real(), line().with_finish(ProgressFinish::AndClear), self.time_limit);
        let begin_us = clock.now_us();
        let passed = move || (clock.now_us() - begin_us) as f64 / 1e6;
        let seconds = passed.clone();
        let go_on = move || {
            bar.set_message(format!("looking for a cheaper plan, {:.0} s", seconds()));
            seconds() < limit
        };
        (passed, go_on)
    }

    /// The answer, the plan if it is one of a topology, and how many seconds it took.
    fn solve(&self, wanted: &Wanted, mode: Mode) -> anyhow::Result<(Answer, Option<Written>, f64)> {
        let (passed, go_on) = self.patience();
        let budget = Budget { programs_max: u64::MAX, go_on: &go_on };
        let (answer, plan) = match wanted.is_of_topology() {
            true => plan(wanted, &budget)?,
            false => (solve(wanted, mode, &budget)?, None),
        };
        Ok((answer, plan, passed()))
    }
}
