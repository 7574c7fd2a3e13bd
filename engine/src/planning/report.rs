//! What a plan does and costs, for programs to read and for people to be shown.
//!
//! All of it is recomputed from the problem and the decision: it repeats nothing that the solver said of itself but
//! the status and the bound.

use std::collections::BTreeMap;

use serde::Serialize;

use super::explain::Explanation;
use super::measured::fed;
use crate::placement::explain::Change;
use crate::placement::problem::{Edge, Machine, Problem};
use crate::placement::{Answer, Decision, Mode, Status, evaluate};

/// Kilobytes (2^10 bytes) in a gigabyte (2^30 bytes).
const KB_PER_GB: f64 = 1024.0 * 1024.0;

/// Megabits (10^6 bits) in a kilobyte (2^10 bytes).
const MBIT_PER_KB: f64 = 1024.0 * 8.0 / 1e6;

/// An answer of placement, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Whose rules the plan follows.
    pub mode: Mode,
    /// Whether there is a plan, and what is proved of it.
    pub status: Status,
    /// Dollars per hour of nodes and links.
    pub cost_usd_per_h: Option<f64>,
    /// No plan costs less, in dollars per hour.
    pub bound_usd_per_h: Option<f64>,
    /// How much cheaper the cheapest plan may be, as a part of the cost.
    pub gap: Option<f64>,
    /// End to end, if the profile tells it.
    pub accuracy: Option<f64>,
    /// By source: what 95 of 100 of its items take along the slowest path, at most; empty where slots may always be
    /// busy.
    pub p95_ms: BTreeMap<String, f64>,
    /// By stage.
    pub variants: BTreeMap<String, String>,
    /// By name.
    pub stages: BTreeMap<String, StageReport>,
    /// By name: those that are paid.
    pub nodes: BTreeMap<String, NodeReport>,
    /// Between sites: those that carry anything.
    pub links: Vec<LinkReport>,
    /// Where there is no plan: what alone would make one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Why it is so, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// A stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageReport {
    /// Its variant.
    pub variant: String,
    /// Items per second, on all its nodes.
    pub rate_per_s: f64,
    /// By node: items per second.
    pub nodes: BTreeMap<String, f64>,
}

/// A node that is paid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeReport {
    /// Where it stands.
    pub site: String,
    /// Dollars per hour.
    pub usd_per_h: f64,
    /// Batches it runs at once.
    pub slots: u32,
    /// Busy slots over slots.
    pub utilisation: f64,
    /// By stage: its part of the utilisation.
    pub stages: BTreeMap<String, f64>,
}

/// The network from one site to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkReport {
    /// The site that sends.
    pub from: String,
    /// The site that receives.
    pub to: String,
    /// Kilobytes (2^10 bytes) per second.
    pub kb_per_s: f64,
    /// Megabits (10^6 bits) per second.
    pub mbit_per_s: f64,
    /// What it can carry, if that is bounded, in megabits per second.
    pub mbit_per_s_max: Option<f64>,
    /// Dollars per hour.
    pub usd_per_h: f64,
    /// By stream, `from->to`: kilobytes per second.
    pub streams: BTreeMap<String, f64>,
}

impl Report {
    /// What an answer to a problem means.
    #[must_use]
    pub fn new(problem: &Problem, mode: Mode, answer: &Answer) -> Self {
        let mut report = Self {
            mode,
            status: answer.status,
            cost_usd_per_h: answer.cost_usd_per_h,
            bound_usd_per_h: answer.bound_usd_per_h,
            gap: answer.gap(),
            accuracy: None,
            p95_ms: BTreeMap::new(),
            variants: BTreeMap::new(),
            stages: BTreeMap::new(),
            nodes: BTreeMap::new(),
            links: Vec::new(),
            changes: Vec::new(),
            explanation: None,
        };
        if let Some(decision) = &answer.decision {
            let judged = evaluate(problem, mode, decision);
            report.accuracy = judged.accuracy;
            report.p95_ms = judged.p95_ms.into_iter().map(|(name, ms)| (fed(&name).to_owned(), ms)).collect();
            report.variants = decision.variants.clone();
            report.stages = stages(problem, decision);
            report.nodes = nodes(problem, decision);
            report.links = links(problem, decision);
        }
        report
    }

    /// Dollars per hour of the nodes.
    #[must_use]
    pub fn nodes_usd_per_h(&self) -> f64 {
        self.nodes.values().fold(0.0, |all, node| all + node.usd_per_h)
    }

    /// Dollars per hour of the links.
    #[must_use]
    pub fn links_usd_per_h(&self) -> f64 {
        // Not `sum`, whose nothing is -0.
        self.links.iter().fold(0.0, |all, link| all + link.usd_per_h)
    }
}

fn stages(problem: &Problem, decision: &Decision) -> BTreeMap<String, StageReport> {
    let of = |name: &String| {
        let nodes = decision.rates_per_s.get(name).cloned().unwrap_or_default();
        let variant = decision.variants.get(name).cloned().unwrap_or_default();
        StageReport { variant, rate_per_s: nodes.values().sum(), nodes }
    };
    problem.profile.stages.iter().map(|stage| (stage.name.clone(), of(&stage.name))).collect()
}

fn nodes(problem: &Problem, decision: &Decision) -> BTreeMap<String, NodeReport> {
    // By stage, variant and class: seconds of a slot per item.
    let services = problem.profile.services.iter();
    let services: BTreeMap<(&str, &str, &str), f64> =
        services.map(|s| ((&*s.stage, &*s.variant, &*s.class), s.ms_per_item / 1000.0)).collect();
    let mut nodes = BTreeMap::new();
    for node in &problem.machines.nodes {
        let part = |stage: &String, rate: f64| {
            let variant = decision.variants.get(stage)?;
            let seconds = services.get(&(stage, variant, node.class()))?;
            Some(rate * seconds / f64::from(node.slots))
        };
        let stages: BTreeMap<String, f64> = decision
            .rates_per_s
            .iter()
            .filter_map(|(stage, rates)| Some((stage, *rates.get(&node.name)?)))
            .map(|(stage, rate)| (stage.clone(), part(stage, rate).unwrap_or(f64::INFINITY)))
            .collect();
        if !stages.is_empty() {
            nodes.insert(node.name.clone(), node_report(node, stages));
        }
    }
    nodes
}

fn node_report(node: &Machine, stages: BTreeMap<String, f64>) -> NodeReport {
    let Machine { site, usd_per_h, slots, .. } = node;
    let utilisation = stages.values().sum();
    NodeReport { site: site.clone(), usd_per_h: *usd_per_h, slots: *slots, utilisation, stages }
}

fn links(problem: &Problem, decision: &Decision) -> Vec<LinkReport> {
    // By sites and stream: kilobytes per second.
    let mut streams: BTreeMap<(&str, &str), BTreeMap<String, f64>> = BTreeMap::new();
    for flow in decision.flows.iter().filter(|flow| flow.from_site != flow.to_site) {
        let edge = problem.profile.edges.iter().find(|edge| edge.from == flow.from && edge.to == flow.to);
        let Some(edge) = edge else { continue };
        let sites = streams.entry((&flow.from_site, &flow.to_site)).or_default();
        let stream = format!("{}->{}", flow.from, flow.to);
        *sites.entry(stream).or_default() += flow.rate_per_s * kb_per_item(problem, decision, edge);
    }
    let report = |((from, to), streams): ((&str, &str), BTreeMap<String, f64>)| {
        let link = problem.machines.links.iter().find(|link| link.from == from && link.to == to);
        let kb_per_s: f64 = streams.values().sum();
        LinkReport {
            from: from.to_owned(),
            to: to.to_owned(),
            kb_per_s,
            mbit_per_s: kb_per_s * MBIT_PER_KB,
            mbit_per_s_max: link.and_then(|link| link.mbit_per_s),
            usd_per_h: kb_per_s / KB_PER_GB * 3600.0 * link.map_or(0.0, |link| link.usd_per_gb),
            streams,
        }
    };
    streams.into_iter().map(report).collect()
}

/// Kilobytes of a stream per item of the stage that takes it in, with the variant that was chosen for its sender.
fn kb_per_item(problem: &Problem, decision: &Decision, edge: &Edge) -> f64 {
    let sender = problem.profile.stages.iter().find(|stage| stage.name == edge.from);
    let chosen = decision.variants.get(&edge.from);
    let place = sender.and_then(|stage| stage.variants.iter().position(|known| Some(known) == chosen));
    let first = edge.kb_per_item.first().copied().unwrap_or_default();
    edge.kb_per_item.get(place.unwrap_or_default()).copied().unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::placement::{Budget, import, solve};

    #[test]
    fn its_dollars_are_those_of_the_judge() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/placement/published-vqa");
        let problem = import::prototype(&folder).expect("the published input is right");
        for mode in [Mode::Paper, Mode::Exclusive, Mode::Shared] {
            let answer = solve(&problem, mode, &Budget::unlimited()).expect("it is right");
            let report = Report::new(&problem, mode, &answer);
            let judged = evaluate(&problem, mode, answer.decision.as_ref().expect("there is a plan"));
            let links: f64 = judged.links_usd_per_h.values().sum();
            assert!((report.nodes_usd_per_h() - judged.nodes_usd_per_h).abs() < 1e-9);
            assert!((report.links_usd_per_h() - links).abs() < 1e-9);
            let busy = report.nodes.iter().map(|(name, node)| (name.clone(), node.utilisation));
            for (name, utilisation) in busy {
                assert!((utilisation - judged.utilisation[&name]).abs() < 1e-9, "{name}");
            }
            assert_eq!(report.accuracy, judged.accuracy);
        }
    }
}
