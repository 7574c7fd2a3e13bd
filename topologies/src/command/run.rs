//! `run`: a topology on this machine, with a live line, a report, and a clean end on Ctrl-C.

mod blur;
mod footage;
mod people;
mod text;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jellybean_engine::live::{Record, Trigger, Verdict};
use jellybean_engine::metrics::{Server, page};
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::telemetry::Board;
use jellybean_engine::{ChangeReport, Clock, Gaps, Graph, Report, Run};

use super::nodes::{Processes, lead, read_infrastructure};
use super::plan::Following;
use super::progress::line;
use super::{Tools, read_toml};
use crate::tally::{Counts, Tally};

/// How often the live line is drawn, and Ctrl-C looked for.
const LOOK: Duration = Duration::from_millis(100);
/// The name of the one node, where there is no plan.
const HERE: &str = "here";

/// The ready-made topologies.
#[derive(Subcommand)]
pub(super) enum Ready {
    /// Count people: how many there are, and who stands in which zone.
    People(people::People),
    /// Make faces unrecognisable.
    Blur(blur::Blur),
    /// Read what is written in pictures.
    Text(text::Text),
}

/// How a topology is run.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct How {
    /// A plan (TOML): which node runs which stage. Without an infrastructure its nodes run as threads of this process.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// The nodes there are (TOML); all are started on this machine.
    #[arg(long, value_name = "FILE")]
    infrastructure: Option<PathBuf>,
    /// What the nodes of the infrastructure are.
    #[arg(long, value_enum, default_value_t = Nodes::Threads, requires = "infrastructure")]
    nodes: Nodes,
    /// Serve what is measured at this address, as Prometheus reads it: /metrics. Loopback alone.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    following: Following,
    /// Make the last line of the output one JSON object: the report.
    #[arg(long)]
    json: bool,
}

/// What nodes are that run on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Nodes {
    /// Threads of this process.
    #[default]
    Threads,
    /// Processes, joined by zenoh.
    Processes,
}

/// A topology that was made of a command line, and what is to be told of it.
pub(super) struct Made {
    pub(super) graph: Arc<Graph>,
    pub(super) plan: Option<Plan>,
    newest: Box<dyn Fn() -> String>,
    told: Box<dyn Fn() -> String>,
    /// What its accuracy can be told by, if it can.
    pub(super) judged: Option<Judged>,
}

/// What the accuracy of a topology is told by.
pub(super) struct Judged {
    /// Where its counts end up.
    pub(super) tally: Tally,
    /// What they should be, if that is known.
    pub(super) truth: Option<Box<dyn Fn() -> anyhow::Result<Counts>>>,
}

impl Made {
    pub(super) fn new(graph: Arc<Graph>, plan: Option<Plan>) -> Self {
        Self { graph, plan, newest: Box::new(String::new), told: Box::new(String::new), judged: None }
    }

    /// With what is newest while it runs, and a summary at its end.
    pub(super) fn telling(
        self,
        newest: impl Fn() -> String + 'static,
        told: impl Fn() -> String + 'static,
    ) -> Self {
        Self { newest: Box::new(newest), told: Box::new(told), ..self }
    }

    /// Whose accuracy is how near these counts come to what they should be.
    pub(super) fn counting(self, tally: &Tally) -> Self {
        Self { judged: Some(Judged { tally: tally.clone(), truth: None }), ..self }
    }

    /// The same where it is known what they should be.
    pub(super) fn counting_truly(
        self,
        tally: &Tally,
        truth: impl Fn() -> anyhow::Result<Counts> + 'static,
    ) -> Self {
        Self { judged: Some(Judged { tally: tally.clone(), truth: Some(Box::new(truth)) }), ..self }
    }
}

impl Ready {
    pub(super) fn how(&self) -> How {
        match self {
            Self::People(people) => &people.how,
            Self::Blur(blur) => &blur.how,
            Self::Text(text) => &text.how,
        }
        .clone()
    }

    /// The topology alone, with nothing fetched or opened.
    pub(super) fn graph(&self) -> anyhow::Result<Arc<Graph>> {
        match self {
            Self::People(people) => people.graph(),
            Self::Blur(blur) => blur.graph(),
            Self::Text(text) => text.graph(),
        }
    }

    pub(super) fn make(self, tools: &Tools) -> anyhow::Result<Made> {
        match self {
            Self::People(people) => people.make(tools),
            Self::Blur(blur) => blur.make(tools),
            Self::Text(text) => text.make(tools),
        }
    }
}

impl How {
    /// Runs a topology to its end. `description` is what other processes make the same of.
    pub(super) fn run(&self, made: &Made, description: &str) -> anyhow::Result<()> {
        let infrastructure = self.infrastructure.as_deref().map(read_infrastructure).transpose()?;
        let mut plan = match &self.plan {
            Some(file) => read_plan(file)?,
            None => made.plan.clone().unwrap_or_else(|| Plan::single(HERE)),
        };
        let stop = Stop::on_signals()?;
        let (graph, clock) = (made.graph.clone(), Clock::real());
        let Some(infrastructure) = infrastructure else {
            let nodes: Vec<&str> = plan.nodes().into_iter().collect();
            let run = Run::start(graph, plan.clone(), &nodes, clock)?;
            return self.watch(run, made, &stop);
        };
        let file = self.infrastructure.as_deref().context("an infrastructure was read")?;
        let course = self.following.course(&graph, file)?;
        plan = match (&self.plan, &course) {
            (Some(_), _) => plan,
            (None, Some(course)) => Following::first(&course.wanted)?,
            (None, None) => {
                moved_to(plan, infrastructure.names().first().context("the infrastructure has no node")?)
            }
        };
        let processes = match self.nodes {
            Nodes::Threads => None,
            Nodes::Processes => Some(Processes::start(file, &infrastructure)?),
        };
        let run = match self.nodes {
            Nodes::Threads => Run::start_imitating(graph, plan, &infrastructure, clock)?,
            Nodes::Processes => {
                let (network, nodes) = (lead(&infrastructure)?, infrastructure.names());
                Run::deploy(network, graph, description, plan, &nodes, clock)?
            }
        };
        course.map_or(Ok(()), |course| run.follow(course))?;
        let outcome = self.watch(run, made, &stop);
        drop(processes);
        outcome
    }

    /// The same with metrics at an address, if one is given.
    pub(super) fn serving(&self, metrics: Option<SocketAddr>) -> Self {
        Self { metrics: metrics.or(self.metrics), ..self.clone() }
    }

    /// Shows how a run goes until it ends, and tells how it went.
    pub(super) fn watch(&self, run: Run, made: &Made, stop: &Stop) -> anyhow::Result<()> {
        let _metrics = serve_metrics(self.metrics, run.board())?;
        let bar = line();
        while !run.wait(LOOK) {
            bar.set_message(live(&run, &(made.newest)()));
            if stop.is_asked() {
                // Asked again and again it stops once.
                run.stop();
            }
        }
        bar.finish_and_clear();
        let report = run.finish();
        self.tell(&report, &(made.told)())?;
        fail_on_fault(&report)
    }

    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "the command is where results are told")]
    fn tell(&self, report: &Report, summary: &str) -> anyhow::Result<()> {
        let text = format!("{summary}\n\n{}", in_words(report));
        if self.json {
            eprintln!("{text}");
            println!("{}", serde_json::to_string(report)?);
        } else {
            println!("{text}");
        }
        Ok(())
    }
}

/// Serves what comes on a board, if an address is given, until what is returned is dropped.
#[allow(clippy::print_stderr, reason = "the command is where things are told")]
pub(super) fn serve_metrics(at: Option<SocketAddr>, board: Board) -> anyhow::Result<Option<Server>> {
    let Some(at) = at else { return Ok(None) };
    let server = Server::start(at, Arc::new(move || page(&board.read())), &Clock::real())?;
    eprintln!("metrics at http://{}/metrics", server.address());
    Ok(Some(server))
}

fn live(run: &Run, newest: &str) -> String {
    let total = run.accounts().total();
    let seconds = run.seconds();
    let dropped: u64 = total.dropped.values().sum();
    let fps = total.completed as f64 / seconds.max(1e-3);
    let mut line = format!("{seconds:5.1} s  {} frames  {fps:.0}/s", total.completed);
    for (n, what) in [(total.in_flight, "in flight"), (dropped, "dropped"), (total.degraded, "degraded")] {
        if n > 0 {
            line += &format!("  {n} {what}");
        }
    }
    if newest.is_empty() { line } else { format!("{line}  |  {newest}") }
}

fn in_words(report: &Report) -> String {
    let (total, latency) = (&report.ledger_total, &report.latency_ms);
    let mut text = format!(
        "{} frames in {:.1} s ({:.0}/s), latency p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms\n\
         admitted {} = completed {} + dropped {} + in flight {}; degraded {}; output digest {}",
        report.frames,
        report.seconds,
        report.fps,
        latency.p50,
        latency.p95,
        latency.p99,
        total.admitted,
        total.completed,
        total.dropped.values().sum::<u64>(),
        total.in_flight,
        total.degraded,
        report.output_digest,
    );
    for (what, n) in &total.dropped {
        text += &format!("\n  {n} dropped: {what}");
    }
    report.changes.iter().for_each(|change| text += &format!("\n  {}", change_in_words(change)));
    let decisions =
        report.decisions.iter().flatten().filter_map(|piloted| decision_in_words(&piloted.record));
    decisions.for_each(|line| text += &format!("\n  {line}"));
    for (place, message) in &report.ledger.examples {
        text += &format!("\n  {place}, for example: {message}");
    }
    for (lane, account) in &report.ledger.sources {
        if let Some(gaps) = account.gaps.as_ref().filter(|gaps| gaps.count > 0) {
            let Gaps { count, seconds, last_reason, .. } = gaps;
            let still = if gaps.open { ", still without a picture" } else { "" };
            text +=
                &format!("\n  {lane}: {count} gaps, {seconds:.1} s in all{still}; the last: {last_reason}");
        }
    }
    text
}

fn change_in_words(change: &ChangeReport) -> String {
    let ChangeReport { at_seconds, phases_ms, latency_ms, ids, .. } = change;
    if let Some(error) = &change.error {
        return format!("at {at_seconds:.1} s a change of plan failed: {error}");
    }
    let what = if change.is_retune { "shares or batches changed" } else { "the plan changed" };
    format!(
        "at {at_seconds:.1} s {what}: prepared in {:.0} ms, decided in {:.0} ms, drained in {:.0} ms; p99 {:.0} ms \
         before, {:.0} ms around, {:.0} ms after; {} frames in, {} out, {} lost, {} doubled, {} out of order",
        phases_ms.prepare,
        phases_ms.propose,
        phases_ms.drain,
        latency_ms.before.p99,
        latency_ms.around.p99,
        latency_ms.after.p99,
        ids.into,
        ids.out,
        ids.lost,
        ids.doubled,
        ids.reordered,
    )
}

/// A decision that was more than to keep the plan.
fn decision_in_words(record: &Record) -> Option<String> {
    let what = match &record.verdict {
        Verdict::Kept => return None,
        Verdict::Changed | Verdict::Changing => "another plan".to_owned(),
        Verdict::Told => "another plan, and nothing is to be changed".to_owned(),
        Verdict::Failed { why } => format!("another plan, which failed: {why}"),
        Verdict::Infeasible => "no plan serves anything of it".to_owned(),
        Verdict::Unknown { why } => format!("none was found: {why}"),
    };
    let Trigger { cause, what: of, .. } = &record.trigger;
    let mut text = format!("{cause} {of}: {what}");
    if let (Some(before), Some(after)) = (record.usd_per_h_before, record.usd_per_h_after) {
        text += &format!("; {after:.3} $/h in place of {before:.3}");
    }
    let admitted =
        record.admitted.iter().map(|(source, rate)| format!("; of {source} only {rate:.1}/s can be served"));
    admitted.for_each(|cut| text += &cut);
    Some(text)
}

/// A lane that ended with an error, or books that do not close, make the run a failure.
fn fail_on_fault(report: &Report) -> anyhow::Result<()> {
    if let Some(fault) = report.ledger.faults.first() {
        bail!("{fault}");
    }
    if !report.ledger.is_closed() {
        bail!("the ledger does not close: see the edges in the report (--json)");
    }
    Ok(())
}

/// A plan for this machine alone, with so many slots for the detector, and its variant.
fn plan_here(slots: usize, variant: Option<&String>) -> Plan {
    let mut detect = Assignment::on(HERE).slots(slots);
    detect.variant = variant.cloned();
    Plan::single(HERE).with("detect", detect)
}

/// The same plan with everything on another node.
fn moved_to(mut plan: Plan, node: &str) -> Plan {
    for assignment in std::iter::once(&mut plan.default).chain(plan.stages.values_mut()) {
        assignment.node = node.to_owned();
        assignment.shares.clear();
    }
    plan
}

pub(super) fn read_plan(file: &Path) -> anyhow::Result<Plan> {
    read_toml("plan", file)
}

pub(super) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))
}

/// Ctrl-C: the first asks the run to stop, a second ends the program at once.
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn on_signals() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())?;
            signal_hook::flag::register(signal, flag.clone())?;
        }
        Ok(Self(flag))
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
