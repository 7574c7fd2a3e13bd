//! What `top` shows, as data: rates made of counters, by stage, node and link.
//!
//! A rate is the difference of two reports of a node over the time between them. Counters that went back, or that were
//! not there before, belong to a node that was started again: it has no rates until its next report.

use std::collections::BTreeMap;

use jellybean_engine::client::Overview;
use jellybean_engine::infrastructure::Infrastructure;
use jellybean_engine::telemetry::{LinkReading, SourceReading, StageReading, Telemetry};
use jellybean_engine::{Moving, SourceAccount};
use serde::Serialize;

/// Bytes of a gigabyte, as prices have it.
const GB: f64 = (1_u64 << 30) as f64;

/// A run at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct View {
    pub(super) topology: String,
    pub(super) term: u32,
    pub(super) generation: Option<String>,
    /// Seconds since the run began.
    pub(super) seconds: Option<f64>,
    /// The change of plan on its way.
    pub(super) moving: Option<Moving>,
    pub(super) nodes: Vec<NodeView>,
    pub(super) stages: Vec<StageView>,
    pub(super) links: Vec<LinkView>,
    pub(super) sources: Vec<SourceView>,
    /// All sources together.
    pub(super) ledger: SourceAccount,
    /// Of the nodes in use and what they send; where the prices are known.
    pub(super) usd_per_h: Option<f64>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct NodeView {
    pub(super) node: String,
    pub(super) site: Option<String>,
    pub(super) in_reach: bool,
    /// How old its last report is, in seconds; `None` if there is none.
    pub(super) age_s: Option<f64>,
    /// Slots of its stages' pools.
    pub(super) slots: u32,
    /// Of these, how many worked on average; `None` where there is no rate.
    pub(super) busy: Option<f64>,
    /// What it sends to other nodes.
    pub(super) mbit_per_s: Option<f64>,
    /// Its own price with that of what it sends; 0 while the plan does not use it.
    pub(super) usd_per_h: Option<f64>,
}

/// A stage on a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct StageView {
    pub(super) stage: String,
    pub(super) node: String,
    pub(super) variant: Option<String>,
    pub(super) in_per_s: Option<f64>,
    pub(super) out_per_s: Option<f64>,
    /// Useful time per record; `None` where nothing was done or that is not measured.
    pub(super) service_ms: Option<f64>,
    /// The part of the time that its slots worked, or its logic on the worker.
    pub(super) load: Option<f64>,
    pub(super) waiting: u64,
    pub(super) slots: u32,
    pub(super) latency_ms: Option<[f64; 3]>,
}

/// What goes from node to node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct LinkView {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) from_stage: String,
    pub(super) to_stage: String,
    pub(super) items_per_s: Option<f64>,
    pub(super) mbit_per_s: Option<f64>,
    pub(super) resent: u64,
    pub(super) round_trip_ms: Option<f64>,
}

/// A lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct SourceView {
    pub(super) source: String,
    pub(super) lane: String,
    pub(super) node: String,
    pub(super) offered_per_s: Option<f64>,
    pub(super) admitted_per_s: Option<f64>,
    pub(super) dropped_per_s: Option<f64>,
}

/// The last two reports of each node.
#[derive(Default)]
pub(super) struct History(BTreeMap<String, (Option<Telemetry>, Telemetry)>);

impl History {
    /// Takes in what is known now.
    pub(super) fn hear(&mut self, overview: &Overview) {
        self.0.retain(|node, _| overview.readings.contains_key(node));
        for (node, readings) in &overview.readings {
            let now = &readings.telemetry;
            let known = self.0.remove(node);
            let pair = match known {
                None => (None, now.clone()),
                Some((before, last)) if last.at_us == now.at_us => (before, last),
                Some((_, last)) if has_restarted(&last, now) => (None, now.clone()),
                Some((_, last)) => (Some(last), now.clone()),
            };
            self.0.insert(node.clone(), pair);
        }
    }

    /// Whether there are rates of every node that has told anything.
    pub(super) fn is_whole(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|(before, _)| before.is_some())
    }

    /// What is shown of it.
    pub(super) fn view(&self, overview: &Overview, infrastructure: Option<&Infrastructure>) -> View {
        let mut view = View {
            topology: overview.topology.clone(),
            term: overview.term,
            generation: overview.generation.map(|id| id.to_string()),
            seconds: overview.began_us.map(|began_us| overview.now_us.saturating_sub(began_us) as f64 / 1e6),
            moving: overview.moving.clone(),
            ledger: total(overview),
            ..View::default()
        };
        for (node, (before, now)) in &self.0 {
            let span = Span::new(before.as_ref(), now);
            view.stages.extend(now.stages.iter().map(|stage| span.stage(node, stage)));
            view.links.extend(now.links.iter().map(|link| span.link(node, link)));
            view.sources.extend(now.sources.iter().map(|lane| span.source(node, lane)));
        }
        view.nodes = overview.nodes.iter().map(|(node, here)| view.node(node, *here, overview)).collect();
        if let Some(infrastructure) = infrastructure {
            view.price(overview, infrastructure);
        }
        view
    }
}

fn total(overview: &Overview) -> SourceAccount {
    let mut total = SourceAccount::default();
    for account in overview.readings.values().map(|readings| readings.ledger.total()) {
        total.admitted += account.admitted;
        total.completed += account.completed;
        total.degraded += account.degraded;
        total.in_flight += account.in_flight;
        for (reason, n) in account.dropped {
            *total.dropped.entry(reason).or_default() += n;
        }
    }
    total
}

/// Whether counters went back, or time did.
fn has_restarted(before: &Telemetry, now: &Telemetry) -> bool {
    let fewer = |before: Option<u64>, now: u64| before.is_some_and(|before| now < before);
    now.at_us < before.at_us
        || before.stages.len() > now.stages.len()
        || now.stages.iter().any(|stage| {
            let was = before_of(&before.stages, |was| same_stage(was, stage));
            fewer(was.map(|was| was.items_in), stage.items_in)
                || fewer(was.map(|was| was.items_out), stage.items_out)
                || fewer(was.map(|was| was.busy_us), stage.busy_us)
        })
        || now.sources.iter().any(|lane| {
            let was = before_of(&before.sources, |was| same_lane(was, lane));
            fewer(was.map(|was| was.admitted), lane.admitted)
        })
}

fn before_of<T>(rows: &[T], is_it: impl Fn(&T) -> bool) -> Option<&T> {
    rows.iter().find(|row| is_it(row))
}

fn same_stage(a: &StageReading, b: &StageReading) -> bool {
    (&a.stage, &a.variant) == (&b.stage, &b.variant)
}

fn same_link(a: &LinkReading, b: &LinkReading) -> bool {
    (&a.to, &a.from_stage, &a.to_stage) == (&b.to, &b.from_stage, &b.to_stage)
}

fn same_lane(a: &SourceReading, b: &SourceReading) -> bool {
    (&a.source, &a.lane) == (&b.source, &b.lane)
}

/// The time between two reports of a node.
struct Span<'a> {
    before: Option<&'a Telemetry>,
    seconds: f64,
}

impl<'a> Span<'a> {
    fn new(before: Option<&'a Telemetry>, now: &Telemetry) -> Self {
        let us = before.map_or(0, |before| now.at_us.saturating_sub(before.at_us));
        Self { before: before.filter(|_| us > 0), seconds: us as f64 / 1e6 }
    }

    /// By how much a counter grew per second; a row that was not there before began at 0.
    fn rate(&self, was: Option<u64>, now: u64) -> Option<f64> {
        self.before?;
        Some(now.saturating_sub(was.unwrap_or(0)) as f64 / self.seconds)
    }

    fn stage(&self, node: &str, now: &StageReading) -> StageView {
        let was = self.before.and_then(|t| before_of(&t.stages, |was| same_stage(was, now)));
        // A source takes nothing in.
        let in_per_s = self.rate(was.map(|was| was.items_in), now.items_in).filter(|_| now.items_in > 0);
        let busy_s_per_s = self.rate(was.map(|was| was.busy_us), now.busy_us).map(|us| us / 1e6);
        let per_item = |busy: f64| in_per_s.filter(|n| *n > 0.0 && busy > 0.0).map(|n| 1e3 * busy / n);
        StageView {
            stage: now.stage.clone(),
            node: node.to_owned(),
            variant: now.variant.clone(),
            in_per_s,
            out_per_s: self.rate(was.map(|was| was.items_out), now.items_out),
            service_ms: busy_s_per_s.and_then(per_item),
            load: busy_s_per_s.map(|busy| busy / f64::from(now.slots.max(1))),
            waiting: now.waiting,
            slots: now.slots,
            latency_ms: now.latency_ms,
        }
    }

    fn link(&self, node: &str, now: &LinkReading) -> LinkView {
        let was = self.before.and_then(|t| before_of(&t.links, |was| same_link(was, now)));
        LinkView {
            from: node.to_owned(),
            to: now.to.clone(),
            from_stage: now.from_stage.clone(),
            to_stage: now.to_stage.clone(),
            items_per_s: self.rate(was.map(|was| was.items), now.items),
            mbit_per_s: self.rate(was.map(|was| was.bytes), now.bytes).map(|bytes| bytes * 8.0 / 1e6),
            resent: now.resent,
            round_trip_ms: now.round_trip_us.map(|us| us as f64 / 1e3),
        }
    }

    fn source(&self, node: &str, now: &SourceReading) -> SourceView {
        let was = self.before.and_then(|t| before_of(&t.sources, |was| same_lane(was, now)));
        SourceView {
            source: now.source.clone(),
            lane: now.lane.clone(),
            node: node.to_owned(),
            offered_per_s: self.rate(was.map(|was| was.offered), now.offered),
            admitted_per_s: self.rate(was.map(|was| was.admitted), now.admitted),
            dropped_per_s: self.rate(was.map(|was| was.dropped), now.dropped),
        }
    }
}

/// All of them together, if each is known; of none 0, where `sum` would say -0.
fn all(parts: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    parts.sum::<Option<f64>>().map(|sum| sum + 0.0)
}

impl View {
    fn node(&self, node: &str, in_reach: bool, overview: &Overview) -> NodeView {
        let readings = overview.readings.get(node);
        let at_us = readings.map(|readings| readings.telemetry.at_us);
        let pooled = || self.stages.iter().filter(|stage| stage.node == node && stage.slots > 0);
        let busy = all(pooled().map(|stage| Some(stage.load? * f64::from(stage.slots))));
        let sent = || self.links.iter().filter(|link| link.from == node);
        NodeView {
            node: node.to_owned(),
            site: None,
            in_reach,
            age_s: at_us.map(|at_us| overview.now_us.saturating_sub(at_us) as f64 / 1e6),
            slots: pooled().map(|stage| stage.slots).sum(),
            busy: busy.filter(|_| readings.is_some()),
            mbit_per_s: all(sent().map(|link| link.mbit_per_s)).filter(|_| readings.is_some()),
            usd_per_h: None,
        }
    }

    /// Adds what an infrastructure says of the nodes.
    fn price(&mut self, overview: &Overview, infrastructure: &Infrastructure) {
        let used = |node: &str| overview.plan.as_ref().is_some_and(|plan| plan.nodes().contains(node));
        for node in &mut self.nodes {
            let Some(entry) = infrastructure.nodes.iter().find(|entry| entry.name == node.node) else {
                continue;
            };
            let traffic = self.links.iter().filter(|link| link.from == node.node).map(|link| {
                let gb_per_h = link.mbit_per_s.unwrap_or(0.0) * 1e6 / 8.0 * 3600.0 / GB;
                gb_per_h * infrastructure.usd_per_gb(&link.from, &link.to)
            });
            let own = if used(&node.node) { entry.usd_per_h } else { 0.0 };
            node.site = Some(entry.site.clone());
            node.usd_per_h = Some(own + traffic.sum::<f64>());
        }
        self.usd_per_h = Some(self.nodes.iter().filter_map(|node| node.usd_per_h).sum());
    }
}
