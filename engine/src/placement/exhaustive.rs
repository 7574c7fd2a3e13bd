//! The dull twin of the solver, for tests and small problems: every combination of variants, every way to give nodes
//! to stages, and a dense simplex for the rates.
//!
//! It shares neither the solver's model nor its linear programs: it works on names, one node at a time. Where memory,
//! latency or starts count, it also tries every set of stages that a node may host, and every set of links by their
//! round trips.

mod simplex;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::decision::{Decision, Mode, Running, SiteFlow};
use super::evaluate::evaluate_from;
use super::problem::{Edge, Machine, Problem, Service, StageProfile};
use crate::error::{Error, ErrorKind, Result};
use simplex::{Row, minimum};

/// Ways to try, at most.
const WAYS_MAX: u128 = 10_000_000;

/// The cheapest plan and its cost in dollars per hour, by trying all; nothing if there is none.
///
/// In the paper's mode it knows at most two tiers with one site each, where proportional and free routing cost the
/// same.
///
/// # Errors
/// `Invalid` if the problem is not right, or too large for this.
pub fn cheapest(problem: &Problem, mode: Mode) -> Result<Option<(f64, Decision)>> {
    cheapest_from(problem, mode, None)
}

/// The plan that is cheapest together with its starts, and what both cost in dollars per hour.
///
/// # Errors
/// As [`cheapest`].
pub fn cheapest_from(
    problem: &Problem,
    mode: Mode,
    running: Option<&Running>,
) -> Result<Option<(f64, Decision)>> {
    problem.check()?;
    let nodes = problem.machines.nodes.len() as u32;
    let hosts = hosts(problem, mode, running);
    let combinations = problem.profile.stages.iter().map(|stage| stage.variants.len() as u128).product();
    let ways = (hosts.len() as u128).checked_pow(nodes).and_then(|ways| ways.checked_mul(combinations));
    if ways.is_none_or(|ways| ways > WAYS_MAX) || mode == Mode::Paper && !is_plain(problem) {
        return Err(Error::new(ErrorKind::Invalid, "placement: too large to try all").way_out("solve it"));
    }
    // By node: the set of stages that it may host.
    let mut uses: Vec<Vec<u32>> = vec![Vec::new()];
    for _ in 0..nodes {
        let longer = |used: &Vec<u32>| {
            hosts.iter().map(|next| [used.as_slice(), &[*next]].concat()).collect::<Vec<_>>()
        };
        uses = uses.iter().flat_map(longer).collect();
    }
    let price = |used: &Vec<u32>| -> f64 {
        let nodes = problem.machines.nodes.iter().zip(used);
        nodes.filter(|(_, stages)| **stages > 0).map(|(node, _)| node.usd_per_h).sum()
    };
    uses.sort_by(|a, b| price(a).total_cmp(&price(b)));
    let mut best: Option<(f64, Decision)> = None;
    for variants in choices(problem) {
        let decision = Decision { variants: variants.clone(), ..Decision::default() };
        let accuracy = evaluate_from(problem, mode, &decision, None).accuracy;
        if problem.objectives.accuracy_min.is_some_and(|floor| accuracy.is_none_or(|a| a < floor - 1e-9)) {
            continue;
        }
        for used in &uses {
            if best.as_ref().is_some_and(|(cost, _)| price(used) >= *cost) {
                break;
            }
            for decision in (Try { problem, mode, variants: &variants, used }).cheapest() {
                let judged = evaluate_from(problem, mode, &decision, running);
                let cost = judged.cost_usd_per_h() + judged.starts_usd_per_h;
                if judged.is_feasible() && best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, decision));
                }
            }
        }
    }
    Ok(best)
}

/// The sets of stages that one node may host, as bits.
fn hosts(problem: &Problem, mode: Mode, running: Option<&Running>) -> Vec<u32> {
    let all = (1_u32 << problem.profile.stages.len().min(31)) - 1;
    let holds = problem.machines.nodes.iter().any(|node| node.memory_mb.is_some());
    let matters = holds || problem.objectives.p95_ms_max.is_some() || running.is_some();
    match mode {
        Mode::Shared if matters => (0..=all).collect(),
        Mode::Shared => vec![0, all],
        Mode::Paper | Mode::Exclusive => {
            std::iter::once(0).chain((0..problem.profile.stages.len().min(31)).map(|v| 1 << v)).collect()
        }
    }
}

/// Whether its sites are two at most, of different tiers.
fn is_plain(problem: &Problem) -> bool {
    match &*problem.machines.sites {
        [a, b] => a.tier != b.tier,
        sites => sites.len() < 2,
    }
}

/// Every combination of variants.
fn choices(problem: &Problem) -> Vec<BTreeMap<String, String>> {
    let mut all = vec![BTreeMap::new()];
    for stage in &problem.profile.stages {
        let with = |known: &BTreeMap<String, String>| {
            let with = |variant: &String| {
                let mut more = known.clone();
                more.insert(stage.name.clone(), variant.clone());
                more
            };
            stage.variants.iter().map(with).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

/// One way: which variants, and which nodes for whom.
struct Try<'a> {
    problem: &'a Problem,
    mode: Mode,
    variants: &'a BTreeMap<String, String>,
    used: &'a [u32],
}

impl<'a> Try<'a> {
    /// The cheapest rates and flows of this way, for every set of links that each edge may take.
    fn cheapest(&self) -> Vec<Decision> {
        let most = self.problem.objectives.p95_ms_max;
        let mut bounds = vec![0.0];
        if most.is_some() {
            bounds.extend(self.problem.machines.links.iter().map(|link| link.round_trip_ms));
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
        } else {
            bounds = vec![f64::INFINITY];
        }
        let mut ways: Vec<Vec<f64>> = vec![Vec::new()];
        for _ in &self.problem.profile.edges {
            let longer = |way: &Vec<f64>| {
                bounds.iter().map(|next| [way.as_slice(), &[*next]].concat()).collect::<Vec<_>>()
            };
            ways = ways.iter().flat_map(longer).collect();
        }
        ways.retain(|way| most.is_none_or(|most| self.slowest_ms(way) <= most * (1.0 + 1e-9)));
        ways.iter().filter_map(|way| self.cheapest_by(way)).collect()
    }

    /// What the slowest path takes if every stage runs on all the nodes it may, and every edge takes as long as given.
    fn slowest_ms(&self, way: &[f64]) -> f64 {
        let (demand, runs) = (self.demand(), self.runs());
        let busy = self.problem.objectives.utilisation_max;
        let stage_ms = |name: &str| {
            let here = runs.iter().filter(|(stage, ..)| stage.name == name && demand[name] > 0.0);
            let ms = here.map(|(stage, node, service)| {
                let queue = 3.0 * service.ms_per_item * busy / (2.0 * (1.0 - busy) * f64::from(node.slots));
                service.p95_ms.unwrap_or(service.ms_per_item) + stage.batch_deadline_ms + queue
            });
            ms.fold(0.0, f64::max)
        };
        let mut until: BTreeMap<&str, f64> = BTreeMap::new();
        for _ in &self.problem.profile.stages {
            for (edge, ms) in self.problem.profile.edges.iter().zip(way) {
                let taken = if demand[&*edge.to] > 0.0 { *ms } else { 0.0 };
                let then = until.get(&*edge.from).unwrap_or(&0.0) + taken + stage_ms(&edge.to);
                let entry = until.entry(&edge.to).or_default();
                *entry = entry.max(then);
            }
        }
        until.values().copied().fold(0.0, f64::max)
    }

    /// The cheapest rates and flows, by a linear program over (stage, node) and (edge, site, site), where every edge
    /// takes only links of that round trip at most.
    fn cheapest_by(&self, way: &[f64]) -> Option<Decision> {
        let demand = self.demand();
        let runs = self.runs();
        if !self.may_serve(&runs, &demand) {
            return None;
        }
        let mut rows: Vec<Row> = Vec::new();
        for stage in &self.problem.profile.stages {
            let here = runs.iter().enumerate().filter(|(_, (of, _, _))| of.name == stage.name);
            rows.push(Row::equal(here.map(|(i, _)| (i, 1.0)).collect(), demand[&*stage.name]));
        }
        for node in &self.problem.machines.nodes {
            let here = runs.iter().enumerate().filter(|(_, (_, on, _))| on.name == node.name);
            let most = f64::from(node.slots) * self.problem.objectives.utilisation_max;
            let load = here.map(|(i, (_, _, service))| (i, service.ms_per_item / 1000.0)).collect();
            rows.push(Row::most(load, most));
        }
        let sites: Vec<&str> = self.problem.machines.sites.iter().map(|site| site.name.as_str()).collect();
        let mut costs = vec![0.0; runs.len()];
        let mut routes: Vec<(&Edge, &str, &str)> = Vec::new();
        let mut mbit: BTreeMap<(&str, &str), Vec<(usize, f64)>> = BTreeMap::new();
        let edges = self.problem.profile.edges.iter().zip(way);
        for (edge, most_ms) in edges.filter(|(edge, _)| demand[&*edge.to] > 0.0) {
            let first = costs.len();
            let kb = self.kb(edge);
            for (from, to) in sites.iter().flat_map(|from| sites.iter().map(move |to| (*from, *to))) {
                if let Some(usd_per_gb) = self.price(edge, from, to, *most_ms) {
                    mbit.entry((from, to)).or_default().push((costs.len(), kb * 1024.0 * 8.0 / 1e6));
                    costs.push(kb / 1024.0 / 1024.0 * 3600.0 * usd_per_gb);
                    routes.push((edge, from, to));
                }
            }
            let new = || {
                routes.iter().enumerate().map(|(i, route)| (i + runs.len(), route)).skip(first - runs.len())
            };
            for site in &sites {
                let leaving = new().filter(|(_, (_, from, _))| from == site).map(|(i, _)| (i, 1.0));
                let (made, constant) = self.made(edge, site, &runs, &demand);
                rows.push(Row::equal(leaving.chain(made).collect(), constant));
                let arriving = new().filter(|(_, (_, _, to))| to == site).map(|(i, _)| (i, 1.0));
                let at =
                    |(_, (stage, node, _)): &(usize, &Run<'_>)| stage.name == edge.to && node.site == *site;
                let taken = runs.iter().enumerate().filter(at).map(|(i, _)| (i, -1.0));
                rows.push(Row::equal(arriving.chain(taken).collect(), 0.0));
            }
        }
        for link in &self.problem.machines.links {
            if let (Some(most), Some(row)) = (link.mbit_per_s, mbit.remove(&(&*link.from, &*link.to))) {
                rows.push(Row::most(row, most));
            }
        }
        let values = minimum(&costs, &rows)?;
        Some(self.decision(&runs, &routes, &values))
    }

    /// Whether each stage alone has nodes enough; it spares most of the linear programs.
    fn may_serve(&self, runs: &[Run<'_>], demand: &BTreeMap<&str, f64>) -> bool {
        let most = self.problem.objectives.utilisation_max;
        self.problem.profile.stages.iter().all(|stage| {
            let here = runs.iter().filter(|(of, _, _)| of.name == stage.name);
            let able = here.map(|(_, node, s)| f64::from(node.slots) * most * 1000.0 / s.ms_per_item);
            demand[&*stage.name] == 0.0 || able.sum::<f64>() >= demand[&*stage.name]
        })
    }

    fn demand(&self) -> BTreeMap<&'a str, f64> {
        let sources = &self.problem.rates.sources;
        let mut demand: BTreeMap<&str, f64> =
            sources.iter().map(|s| (s.name.as_str(), s.rate_per_s)).collect();
        for _ in &self.problem.profile.stages {
            for stage in &self.problem.profile.stages {
                let inputs = self.problem.profile.edges.iter().filter(|edge| edge.to == stage.name);
                let known: Vec<Option<f64>> =
                    inputs.map(|edge| Some(demand.get(&*edge.from)? * edge.items_per_item)).collect();
                if let Some(least) = known.into_iter().collect::<Option<Vec<f64>>>() {
                    demand.insert(&stage.name, least.into_iter().fold(f64::MAX, f64::min));
                }
            }
        }
        demand
    }

    /// Who may run where in this way, and for how many milliseconds per item.
    fn runs(&self) -> Vec<Run<'a>> {
        let mut runs = Vec::new();
        for (number, stage) in self.problem.profile.stages.iter().enumerate() {
            for (node, used) in self.problem.machines.nodes.iter().zip(self.used) {
                let given = used & (1 << number) != 0;
                let pinned = stage.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node.name));
                let service = self.problem.profile.services.iter().find(|service| {
                    let variant = service.variant == self.variants[&stage.name];
                    service.stage == stage.name && variant && service.class == node.class()
                });
                runs.extend(service.filter(|_| given && pinned).map(|service| (stage, node, service)));
            }
        }
        runs
    }

    /// What a site makes of a stream: columns, negative, and what a source sends.
    fn made(
        &self,
        edge: &Edge,
        site: &str,
        runs: &[Run<'_>],
        demand: &BTreeMap<&str, f64>,
    ) -> (Vec<(usize, f64)>, f64) {
        let to = demand[&*edge.to];
        if let Some(source) = self.problem.rates.sources.iter().find(|source| source.name == edge.from) {
            return (Vec::new(), if source.site == site { to } else { 0.0 });
        }
        // A faster input drops what its slower peer does not match.
        let kept = if demand[&*edge.from] > 0.0 { to / demand[&*edge.from] } else { 0.0 };
        let here = |(_, (stage, node, _)): &(usize, &Run<'_>)| stage.name == edge.from && node.site == site;
        (runs.iter().enumerate().filter(here).map(|(i, _)| (i, -kept)).collect(), 0.0)
    }

    fn kb(&self, edge: &Edge) -> f64 {
        let stage = self.problem.profile.stages.iter().find(|stage| stage.name == edge.from);
        let place =
            stage.and_then(|stage| stage.variants.iter().position(|v| *v == self.variants[&stage.name]));
        edge.kb_per_item.get(place.unwrap_or(0)).copied().unwrap_or(edge.kb_per_item[0])
    }

    /// Dollars per gigabyte, if a stream may take this way.
    fn price(&self, edge: &Edge, from: &str, to: &str, most_ms: f64) -> Option<f64> {
        if from == to {
            return Some(0.0);
        }
        let tier =
            |name: &str| self.problem.machines.sites.iter().find(|site| site.name == name).map(|s| s.tier);
        if self.mode == Mode::Paper {
            // Every pair of nodes exchanges something, so one that sends back rules the whole way out.
            let uses = |name: &str, site: &str| {
                let runs = self.runs();
                let source = self.problem.rates.sources.iter().any(|s| s.name == name && s.site == site);
                source || runs.iter().any(|(stage, node, _)| stage.name == name && node.site == site)
            };
            let back = uses(&edge.from, to) && uses(&edge.to, from) && tier(to) > tier(from);
            if back || tier(from) > tier(to) {
                return None;
            }
        }
        let stage = self.problem.profile.stages.iter().find(|stage| stage.name == edge.to)?;
        let link = self.problem.machines.links.iter().find(|link| link.from == from && link.to == to)?;
        (!stage.stays_at_site && link.round_trip_ms <= most_ms).then_some(link.usd_per_gb)
    }

    fn decision(&self, runs: &[Run<'_>], routes: &[(&Edge, &str, &str)], values: &[f64]) -> Decision {
        let mut decision = Decision { variants: self.variants.clone(), ..Decision::default() };
        let positive = |value: &&f64| **value > 1e-9;
        for ((stage, node, _), value) in runs.iter().zip(values).filter(|(_, value)| positive(value)) {
            let rates = decision.rates_per_s.entry(stage.name.clone()).or_default();
            rates.insert(node.name.clone(), *value);
        }
        let flows = routes.iter().zip(&values[runs.len()..]).filter(|(_, value)| positive(value));
        decision.flows = flows
            .map(|((edge, from, to), rate_per_s)| SiteFlow {
                from: edge.from.clone(),
                to: edge.to.clone(),
                from_site: (*from).to_owned(),
                to_site: (*to).to_owned(),
                rate_per_s: *rate_per_s,
            })
            .collect();
        decision
    }
}

/// A stage on a node, and what it takes there.
type Run<'a> = (&'a StageProfile, &'a Machine, &'a Service);
