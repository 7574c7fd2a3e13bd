//! Short runs that are watched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::figures::{Times, tidy};
use super::{Load, Settings};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::StageId;
use crate::ledger::Accounts;
use crate::plan::{Assignment, Plan};
use crate::profile::{DEFAULT_VARIANT, MeasuredEdge, MeasuredService};
use crate::run::Run;
use crate::stage::Kind;
use crate::survey::Survey;
use crate::topology::Graph;

/// How often a run is looked at: a slice.
const LOOK: Duration = Duration::from_millis(100);
/// A run goes on for as long, however little time there is, or until its footage ends.
const SECONDS_MIN: f64 = 0.5;
/// Bytes of a kilobyte.
const KB: f64 = 1024.0;

/// A run that is over.
pub(super) struct Watched {
    pub(super) survey: Arc<Survey>,
    accounts: Accounts,
    /// By stage: milliseconds per item, of each slice in which it took some in.
    slices: BTreeMap<StageId, Vec<f64>>,
    foreign_cores: f64,
}

/// Runs a topology for so many seconds, with one stage in another variant or none.
pub(super) fn run(
    graph: &Arc<Graph>,
    settings: &Settings<'_>,
    other: Option<(&str, &str)>,
    seconds: f64,
) -> Result<Watched> {
    let mut plan = Plan::single(&settings.node);
    let mut what = "a run".to_owned();
    if let Some((stage, variant)) = other {
        plan = plan.with(stage, Assignment::on(&settings.node).variant(variant));
        what = format!("a run with {stage} {variant}");
    }
    settings.check_on(&what, 0.0)?;
    let survey = Survey::new(graph.stages().count());
    // Epochs count from its own beginning.
    let run = Run::start_watched(graph.clone(), plan, &settings.node, Clock::real(), &survey)?;
    let (load, mut slices, mut before) = (Load::from_now(settings), BTreeMap::new(), BTreeMap::new());
    while !run.wait(LOOK) {
        slice(graph, &survey, &run.accounts(), &mut before, &mut slices);
        let done = load.seconds(settings) / seconds.max(SECONDS_MIN);
        settings.check_on(&what, done)?;
        if done >= 1.0 {
            run.stop();
        }
    }
    let foreign_cores = load.foreign_cores(settings);
    let report = run.finish();
    if let Some(fault) = report.ledger.faults.first() {
        return Err(Error::new(ErrorKind::Failed, format!("{what}: {fault}")));
    }
    // A run that was too short to be looked at is a slice of its own.
    slice(graph, &survey, &report.ledger, &mut before, &mut slices);
    Ok(Watched { survey, accounts: report.ledger, slices, foreign_cores })
}

/// Takes down what each stage has done since the slice before.
fn slice(
    graph: &Graph,
    survey: &Survey,
    accounts: &Accounts,
    before: &mut BTreeMap<StageId, (u64, u64)>,
    slices: &mut BTreeMap<StageId, Vec<f64>>,
) {
    for stage in graph.ids() {
        let now = (survey.busy_ns(stage), done(graph, accounts, stage));
        let last = before.insert(stage, now).unwrap_or_default();
        let (busy_ns, items) = (now.0.saturating_sub(last.0), now.1.saturating_sub(last.1));
        if items > 0 {
            slices.entry(stage).or_default().push(busy_ns as f64 / 1e6 / items as f64);
        }
    }
}

/// The accounts of the edges into a stage.
fn inputs<'a>(
    graph: &'a Graph,
    accounts: &'a Accounts,
    stage: StageId,
) -> impl Iterator<Item = (StageId, u64, u64)> + 'a {
    let edges = graph.edge_names().filter(move |((to, _), _)| *to == stage);
    edges.map(move |((to, input), name)| {
        let from = graph.stage(to).inputs[input];
        let account = accounts.edges.get(&name).cloned().unwrap_or_default();
        (from, account.sent, account.received + account.dropped.values().sum::<u64>())
    })
}

/// Items that a stage has done with.
fn done(graph: &Graph, accounts: &Accounts, stage: StageId) -> u64 {
    inputs(graph, accounts, stage).map(|(_, _, done)| done).sum()
}

impl Watched {
    /// Items that came into a stage; of a source, that went out.
    fn items_in(&self, graph: &Graph, stage: StageId) -> u64 {
        inputs(graph, &self.accounts, stage).map(|(_, sent, _)| sent).sum()
    }

    /// Items out of a stage over one of its edges, for each that it took in.
    fn items_per_item(&self, graph: &Graph, from: StageId, sent: u64) -> f64 {
        if graph.stage(from).kind == Kind::Source {
            return 1.0;
        }
        sent as f64 / self.items_in(graph, from).max(1) as f64
    }

    fn kb_per_item(&self, from: StageId) -> f64 {
        self.survey.out(from).bytes_per_item() / KB
    }

    /// What went over every edge.
    pub(super) fn edges(&self, graph: &Graph) -> Vec<MeasuredEdge> {
        let mut edges: Vec<MeasuredEdge> = Vec::new();
        for to in graph.ids() {
            for (from, sent, _) in inputs(graph, &self.accounts, to) {
                let edge = MeasuredEdge {
                    from: graph.stage(from).name.clone(),
                    to: graph.stage(to).name.clone(),
                    items: sent,
                    items_per_item: vec![tidy(self.items_per_item(graph, from, sent))],
                    kb_per_item: vec![tidy(self.kb_per_item(from))],
                };
                // A stage that takes the same stream twice has one edge from it.
                if !edges.iter().any(|known| (&known.from, &known.to) == (&edge.from, &edge.to)) {
                    edges.push(edge);
                }
            }
        }
        edges
    }

    /// Adds what went over the edges from a stage, run in variant number `number`.
    pub(super) fn add_variant(&self, edges: &mut [MeasuredEdge], stage: &str, number: usize, graph: &Graph) {
        for edge in edges.iter_mut().filter(|edge| edge.from == stage) {
            let Some(to) = graph.ids().find(|id| graph.stage(*id).name == edge.to) else { continue };
            let from = inputs(graph, &self.accounts, to).find(|(from, ..)| graph.stage(*from).name == stage);
            let Some((from, sent, _)) = from else { continue };
            debug_assert_eq!(edge.items_per_item.len(), number, "variants are measured in order");
            edge.items_per_item.push(tidy(self.items_per_item(graph, from, sent)));
            edge.kb_per_item.push(tidy(self.kb_per_item(from)));
        }
    }

    /// How long stages without a model take, by slices of the run.
    pub(super) fn services(&self, graph: &Graph, settings: &Settings<'_>) -> Vec<MeasuredService> {
        let without_model = |id: &StageId| {
            let stage = graph.stage(*id);
            stage.kind != Kind::Source && stage.trial.is_none()
        };
        let mut rows = Vec::new();
        for (id, slices) in
            graph.ids().filter(without_model).filter_map(|id| Some((id, self.slices.get(&id)?)))
        {
            let times = Times::of(slices.clone());
            let items = done(graph, &self.accounts, id).max(1) as f64;
            // What comes all at once, as when a window closes, is in the mean and not in the median.
            let mean_ms = (self.survey.busy_ns(id).max(1) as f64 / 1e6 / items).max(1e-6);
            rows.push(MeasuredService {
                stage: graph.stage(id).name.clone(),
                variant: DEFAULT_VARIANT.to_owned(),
                node: settings.node.clone(),
                batch: 1,
                p50_ms: tidy(times.quantile(0.5)),
                p95_ms: tidy(times.quantile(0.95)),
                items_per_s: tidy(1e3 / mean_ms),
                memory_mb: 0.0,
                load_ms: 0.0,
                warm_up_ms: 0.0,
                spread: tidy(times.spread()),
                foreign_cores: tidy(self.foreign_cores),
                samples: times.count(),
            });
        }
        rows
    }
}
