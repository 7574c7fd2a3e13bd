//! An independent judge of plans: recomputes cost, loads, accuracy and feasibility from the problem and the plan
//! alone. It shares no code with the solver, and is slow and plain on purpose.

use std::collections::BTreeMap;

use serde::Serialize;

use super::decision::{Decision, Mode};
use super::problem::{Accuracy, Edge, Machine, Problem, Service};

/// How far a number may be beyond its bound, relatively, and still count as at it.
const TOLERANCE: f64 = 1e-6;

/// What a plan costs and does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Of the nodes that are used, in dollars per hour.
    pub nodes_usd_per_h: f64,
    /// By links, in dollars per hour.
    pub links_usd_per_h: BTreeMap<String, f64>,
    /// By node: busy slots over slots.
    pub utilisation: BTreeMap<String, f64>,
    /// End to end, if the profile tells it.
    pub accuracy: Option<f64>,
    /// What is wrong with it, in words; a plan with none of them is feasible.
    pub violations: Vec<String>,
}

impl Evaluation {
    /// In dollars per hour.
    #[must_use]
    pub fn cost_usd_per_h(&self) -> f64 {
        self.nodes_usd_per_h + self.links_usd_per_h.values().sum::<f64>()
    }

    /// Whether it breaks no rule and meets every objective.
    #[must_use]
    pub fn is_feasible(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Judges a plan by the rules of a mode. In the paper's the flows are not the plan's: they are proportional.
#[must_use]
pub fn evaluate(problem: &Problem, mode: Mode, decision: &Decision) -> Evaluation {
    let chosen = |s: &&Service| decision.variants.get(&s.stage) == Some(&s.variant);
    let mut judge = Judge {
        problem,
        mode,
        decision,
        found: Evaluation::default(),
        demand: BTreeMap::new(),
        ms: problem.profile.services.iter().filter(chosen).map(|s| ((&*s.stage, &*s.class), s.ms_per_item)).collect(),
        sites: problem.machines.nodes.iter().map(|node| (node.name.as_str(), node.site.as_str())).collect(),
    };
    judge.demands();
    judge.nodes();
    judge.rates();
    judge.traffic();
    judge.accuracy();
    judge.found
}

struct Judge<'a> {
    problem: &'a Problem,
    mode: Mode,
    decision: &'a Decision,
    found: Evaluation,
    /// By source and stage: items per second.
    demand: BTreeMap<&'a str, f64>,
    /// By stage and class: milliseconds per item of the chosen variant.
    ms: BTreeMap<(&'a str, &'a str), f64>,
    /// By node.
    sites: BTreeMap<&'a str, &'a str>,
}

impl<'a> Judge<'a> {
    fn wrong(&mut self, what: String) {
        self.found.violations.push(what);
    }

    fn demands(&mut self) {
        self.demand = self.problem.rates.sources.iter().map(|s| (s.name.as_str(), s.rate_per_s)).collect();
        // As many rounds as there are stages: a round settles one at least.
        for _ in &self.problem.profile.stages {
            for stage in &self.problem.profile.stages {
                let inputs = self.problem.profile.edges.iter().filter(|edge| edge.to == stage.name);
                let rates: Option<Vec<f64>> =
                    inputs.map(|edge| Some(self.demand.get(&*edge.from)? * edge.items_per_item)).collect();
                if let Some(rates) = rates {
                    self.demand.insert(&stage.name, rates.into_iter().fold(f64::INFINITY, f64::min));
                }
            }
        }
    }

    /// What stages run on which node, how busy it is, and what it costs.
    fn nodes(&mut self) {
        for node in &self.problem.machines.nodes {
            let mut stages = 0;
            let mut busy = 0.0;
            for (stage, rates) in &self.decision.rates_per_s {
                let Some(rate) = rates.get(&node.name) else { continue };
                stages += 1;
                match self.ms(stage, node) {
                    Some(ms) => busy += rate * ms / 1000.0,
                    None => self.wrong(format!("stage \"{stage}\" cannot run on node \"{}\"", node.name)),
                }
            }
            if stages == 0 {
                continue;
            }
            self.found.nodes_usd_per_h += node.usd_per_h;
            let utilisation = busy / f64::from(node.slots);
            self.found.utilisation.insert(node.name.clone(), utilisation);
            let most = self.problem.objectives.utilisation_max;
            if utilisation > most * (1.0 + TOLERANCE) {
                self.wrong(format!("node \"{}\" is busy {utilisation}, and {most} is the most", node.name));
            }
            if stages > 1 && self.mode != Mode::Shared {
                self.wrong(format!("node \"{}\" runs {stages} stages", node.name));
            }
        }
    }

    fn ms(&self, stage: &str, node: &Machine) -> Option<f64> {
        let profile = self.problem.profile.stages.iter().find(|profile| profile.name == stage)?;
        let pinned = profile.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node.name));
        self.ms.get(&(stage, node.class())).copied().filter(|_| pinned)
    }

    /// Whether the demand of every stage is met.
    fn rates(&mut self) {
        for stage in &self.problem.profile.stages {
            let rates = self.decision.rates_per_s.get(&stage.name);
            for (node, rate) in rates.into_iter().flatten() {
                if !self.sites.contains_key(&**node) {
                    self.wrong(format!("stage \"{}\" runs on \"{node}\", which is not there", stage.name));
                }
                if !(*rate > 0.0 && rate.is_finite()) {
                    self.wrong(format!("stage \"{}\" has rate {rate} on \"{node}\"", stage.name));
                }
            }
            let sum: f64 = rates.into_iter().flat_map(BTreeMap::values).sum();
            let demand = self.demand[&*stage.name];
            if (sum - demand).abs() > TOLERANCE * demand {
                self.wrong(format!("stage \"{}\" has rate {sum}, and {demand} is asked", stage.name));
            }
        }
    }

    /// By site: what a source or stage sends or a stage takes, as a part of all.
    fn shares(&self, name: &str) -> BTreeMap<&'a str, f64> {
        let source = self.problem.rates.sources.iter().find(|source| source.name == name);
        if let Some(source) = source {
            return BTreeMap::from([(source.site.as_str(), 1.0)]);
        }
        let mut shares = BTreeMap::new();
        let rates = self.decision.rates_per_s.get(name);
        let all: f64 = rates.into_iter().flat_map(BTreeMap::values).sum();
        for (node, rate) in rates.into_iter().flatten() {
            if let Some(site) = self.sites.get(&**node) {
                *shares.entry(*site).or_insert(0.0) += rate / all;
            }
        }
        shares
    }

    fn traffic(&mut self) {
        let mut mbit: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for edge in &self.problem.profile.edges {
            let rate = self.demand[&*edge.to];
            if rate == 0.0 {
                continue;
            }
            let (made, used) = (self.shares(&edge.from), self.shares(&edge.to));
            let flows = self.flows(edge, &made, &used);
            let kb = self.kb(edge);
            for ((from, to), share) in flows {
                let tier =
                    |site: &str| self.problem.machines.sites.iter().find(|s| s.name == site).map(|s| s.tier);
                if self.mode == Mode::Paper && tier(from) > tier(to) {
                    self.wrong(format!("\"{}\" sends back from \"{from}\" to \"{to}\"", edge.from));
                }
                if from == to {
                    continue;
                }
                let stage = self.problem.profile.stages.iter().find(|stage| stage.name == edge.to);
                if stage.is_some_and(|stage| stage.stays_at_site) {
                    self.wrong(format!("the input of \"{}\" leaves \"{from}\"", edge.to));
                }
                let link = self.problem.machines.links.iter().find(|link| link.from == from && link.to == to);
                let Some(link) = link else {
                    self.wrong(format!("no link leads from \"{from}\" to \"{to}\""));
                    continue;
                };
                let name = format!("{from} -> {to}");
                let usd = rate * share * kb / 1024.0 / 1024.0 * 3600.0 * link.usd_per_gb;
                *self.found.links_usd_per_h.entry(name).or_default() += usd;
                *mbit.entry((&link.from, &link.to)).or_default() += rate * share * kb * 1024.0 * 8.0 / 1e6;
            }
        }
        for link in &self.problem.machines.links {
            let used = mbit.get(&(&*link.from, &*link.to)).copied().unwrap_or_default();
            let most = link.mbit_per_s.unwrap_or(f64::INFINITY);
            if used > most * (1.0 + TOLERANCE) {
                let (from, to) = (&link.from, &link.to);
                self.wrong(format!("\"{from}\" sends {used} Mbit/s to \"{to}\", and {most} is the most"));
            }
        }
    }

    /// Between sites, as parts of the whole stream; checked against what its ends make and use.
    fn flows(
        &mut self,
        edge: &Edge,
        made: &BTreeMap<&'a str, f64>,
        used: &BTreeMap<&'a str, f64>,
    ) -> BTreeMap<(&'a str, &'a str), f64> {
        if self.mode == Mode::Paper {
            let pairs = made.iter().flat_map(|from| used.iter().map(move |to| (from, to)));
            return pairs.map(|((from, out), (to, taken))| ((*from, *to), out * taken)).collect();
        }
        let rate = self.demand[&*edge.to];
        let mut flows = BTreeMap::new();
        let (mut out, mut taken): (BTreeMap<&str, f64>, BTreeMap<&str, f64>) = Default::default();
        for flow in self.decision.flows.iter().filter(|f| f.from == edge.from && f.to == edge.to) {
            let share = flow.rate_per_s / rate;
            if share < 0.0 || share.is_nan() {
                self.wrong(format!("the flow from \"{}\" to \"{}\" is {share}", edge.from, edge.to));
            }
            *flows.entry((&*flow.from_site, &*flow.to_site)).or_insert(0.0) += share;
            *out.entry(&flow.from_site).or_default() += share;
            *taken.entry(&flow.to_site).or_default() += share;
        }
        for (found, is) in [(&out, made), (&taken, used)].into_iter().filter(|_| rate > 0.0) {
            for site in found.keys().chain(is.keys()) {
                let (a, b) = (found.get(site).unwrap_or(&0.0), is.get(site).unwrap_or(&0.0));
                if (a - b).abs() > TOLERANCE {
                    let (from, to) = (&edge.from, &edge.to);
                    self.wrong(format!("\"{from}\" to \"{to}\": {a} of it flows at \"{site}\", and not {b}"));
                }
            }
        }
        flows
    }

    fn kb(&self, edge: &Edge) -> f64 {
        let profile = self.problem.profile.stages.iter().find(|profile| profile.name == edge.from);
        let variant = self.decision.variants.get(&edge.from);
        let place = profile.and_then(|p| p.variants.iter().position(|known| Some(known) == variant));
        edge.kb_per_item.get(place.unwrap_or_default()).copied().unwrap_or(edge.kb_per_item[0])
    }

    fn accuracy(&mut self) {
        for stage in &self.problem.profile.stages {
            if !self.decision.variants.get(&stage.name).is_some_and(|v| stage.variants.contains(v)) {
                self.wrong(format!("stage \"{}\" has no variant", stage.name));
            }
        }
        let chosen = |stage: &String| self.decision.variants.get(stage);
        self.found.accuracy = match &self.problem.profile.accuracy {
            None => None,
            Some(Accuracy::Linear { base, losses }) => {
                let lost = losses.iter().filter(|loss| chosen(&loss.stage) == Some(&loss.variant));
                Some(base - lost.map(|loss| loss.loss).sum::<f64>())
            }
            Some(Accuracy::Table { stages, rows }) => {
                let fits = |row: &&super::problem::AccuracyRow| {
                    stages.iter().zip(&row.variants).all(|(stage, variant)| chosen(stage) == Some(variant))
                };
                rows.iter().find(fits).map(|row| row.accuracy)
            }
        };
        let accuracy = self.found.accuracy;
        let meets = |floor: f64| accuracy.is_some_and(|accuracy| accuracy >= floor - TOLERANCE);
        if let Some(floor) = self.problem.objectives.accuracy_min.filter(|floor| !meets(*floor)) {
            self.wrong(format!("the accuracy is {accuracy:?}, and {floor} is asked"));
        }
    }
}
