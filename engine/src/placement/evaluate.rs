//! An independent judge of plans: recomputes cost, loads, accuracy and feasibility from the problem and the plan
//! alone. It shares no code with the solver, and is slow and plain on purpose.

use std::collections::BTreeMap;

use serde::Serialize;

use super::decision::{Decision, Mode, Running};
use super::problem::{Accuracy, Edge, Link, Machine, Problem, Service, StageProfile};

/// How far a number may be beyond its bound, relatively, and still count as at it.
const TOLERANCE: f64 = 1e-6;

/// What a plan costs and does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Of the nodes that are used, in dollars per hour.
    pub nodes_usd_per_h: f64,
    /// By links, in dollars per hour.
    pub links_usd_per_h: BTreeMap<String, f64>,
    /// By links, in megabits per second.
    pub links_mbit_per_s: BTreeMap<String, f64>,
    /// By node: busy slots over slots.
    pub utilisation: BTreeMap<String, f64>,
    /// By node: megabytes that the stages it hosts hold.
    pub memory_mb: BTreeMap<String, f64>,
    /// By source: a bound of the milliseconds that 95 of 100 items take along the slowest path from it. A stage counts
    /// as on the worst of its nodes: its call, the deadline of its batch and three times the mean wait in a queue
    /// before slots that are as busy as they may be, 3 x service x rho / (2 x (1 - rho) x slots); an edge counts the
    /// longest round trip it takes. Nothing is bounded where slots may be busy all the time: then it is empty.
    pub p95_ms: BTreeMap<String, f64>,
    /// Stages on nodes that the running plan does not have; absent without one.
    pub starts: Option<usize>,
    /// What they count as, in dollars per hour.
    pub starts_usd_per_h: f64,
    /// End to end, if the profile tells it.
    pub accuracy: Option<f64>,
    /// What is wrong with it, in words; a plan with none of them is feasible.
    pub violations: Vec<String>,
}

impl Evaluation {
    /// Of nodes and traffic, in dollars per hour.
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
    evaluate_from(problem, mode, decision, None)
}

/// Judges a plan by the rules of a mode, and counts what it starts that the running plan does not have.
#[must_use]
pub fn evaluate_from(
    problem: &Problem,
    mode: Mode,
    decision: &Decision,
    running: Option<&Running>,
) -> Evaluation {
    Judge::new(problem, mode).judge(decision, running)
}

/// What judging needs of a problem, looked up once.
pub(super) struct Judge<'a> {
    problem: &'a Problem,
    mode: Mode,
    /// By source and stage: items per second.
    demand: BTreeMap<&'a str, f64>,
    /// By stage, variant and class.
    services: BTreeMap<(&'a str, &'a str, &'a str), &'a Service>,
    stages: BTreeMap<&'a str, &'a StageProfile>,
    nodes: BTreeMap<&'a str, &'a Machine>,
    links: BTreeMap<(&'a str, &'a str), &'a Link>,
    tiers: BTreeMap<&'a str, u32>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(problem: &'a Problem, mode: Mode) -> Self {
        let Problem { machines, profile, .. } = problem;
        let service = |s: &'a Service| ((s.stage.as_str(), s.variant.as_str(), s.class.as_str()), s);
        Self {
            problem,
            mode,
            demand: demand(problem),
            services: profile.services.iter().map(service).collect(),
            stages: profile.stages.iter().map(|stage| (stage.name.as_str(), stage)).collect(),
            nodes: machines.nodes.iter().map(|node| (node.name.as_str(), node)).collect(),
            links: machines.links.iter().map(|l| ((l.from.as_str(), l.to.as_str()), l)).collect(),
            tiers: machines.sites.iter().map(|site| (site.name.as_str(), site.tier)).collect(),
        }
    }

    pub(super) fn judge(&self, decision: &Decision, running: Option<&Running>) -> Evaluation {
        let mut trial = Trial {
            judge: self,
            decision,
            found: Evaluation::default(),
            stage_ms: BTreeMap::new(),
            edge_ms: BTreeMap::new(),
        };
        trial.rates();
        trial.nodes();
        trial.traffic();
        trial.latency();
        trial.accuracy();
        if let Some(running) = running {
            trial.starts(running);
        }
        trial.found
    }
}

fn demand(problem: &Problem) -> BTreeMap<&str, f64> {
    let mut demand: BTreeMap<&str, f64> =
        problem.rates.sources.iter().map(|s| (s.name.as_str(), s.rate_per_s)).collect();
    // As many rounds as there are stages: a round settles one at least.
    for _ in &problem.profile.stages {
        for stage in &problem.profile.stages {
            let inputs = problem.profile.edges.iter().filter(|edge| edge.to == stage.name);
            let rates: Option<Vec<f64>> =
                inputs.map(|edge| Some(demand.get(&*edge.from)? * edge.items_per_item)).collect();
            if let Some(rates) = rates {
                demand.insert(&stage.name, rates.into_iter().fold(f64::INFINITY, f64::min));
            }
        }
    }
    demand
}

/// A plan before the judge.
struct Trial<'t, 'a> {
    judge: &'t Judge<'a>,
    decision: &'t Decision,
    found: Evaluation,
    /// By stage: what its worst node takes.
    stage_ms: BTreeMap<&'t str, f64>,
    /// By input and stage: the longest round trip between their sites.
    edge_ms: BTreeMap<(&'t str, &'t str), f64>,
}

impl<'t, 'a: 't> Trial<'t, 'a> {
    fn wrong(&mut self, what: String) {
        self.found.violations.push(what);
    }

    /// Whether the demand of every stage is met, by nodes that are there and may run it.
    fn rates(&mut self) {
        for stage in &self.judge.problem.profile.stages {
            let rates = self.decision.rates_per_s.get(&stage.name);
            for (node, rate) in rates.into_iter().flatten() {
                if !self.judge.nodes.contains_key(&**node) {
                    self.wrong(format!("stage \"{}\" runs on \"{node}\", which is not there", stage.name));
                } else if self.service(stage, node).is_none() {
                    self.wrong(format!("stage \"{}\" cannot run on node \"{node}\"", stage.name));
                }
                if !(*rate > 0.0 && rate.is_finite()) {
                    self.wrong(format!("stage \"{}\" has rate {rate} on \"{node}\"", stage.name));
                }
            }
            let sum: f64 = rates.into_iter().flat_map(BTreeMap::values).sum();
            let demand = self.judge.demand[&*stage.name];
            if (sum - demand).abs() > TOLERANCE * demand {
                self.wrong(format!("stage \"{}\" has rate {sum}, and {demand} is asked", stage.name));
            }
        }
    }

    /// What the chosen variant of a stage takes on a node, if it may run there.
    fn service(&self, stage: &StageProfile, node: &str) -> Option<&'a Service> {
        let is_pinned_elsewhere = stage.nodes.as_ref().is_some_and(|nodes| !nodes.iter().any(|n| n == node));
        let variant = self.decision.variants.get(&stage.name)?;
        let class = self.judge.nodes.get(node)?.class();
        let service = self.judge.services.get(&(&*stage.name, &**variant, class)).copied();
        service.filter(|_| !is_pinned_elsewhere)
    }

    /// What each node hosts, how busy it is and what it holds.
    fn nodes(&mut self) {
        // By node: stages, busy slots and megabytes.
        let mut hosts: BTreeMap<&str, (usize, f64, f64)> = BTreeMap::new();
        for (name, rates) in &self.decision.rates_per_s {
            let Some(stage) = self.judge.stages.get(&**name).copied() else {
                self.wrong(format!("there is no stage \"{name}\""));
                continue;
            };
            for (node, rate) in rates {
                let (host, service) = (hosts.entry(node).or_default(), self.service(stage, node));
                host.0 += 1;
                let Some(service) = service else { continue };
                host.1 += rate * service.ms_per_item / 1000.0;
                host.2 += service.memory_mb;
                let ms = self.ms(stage, service, self.judge.nodes[&**node]);
                let worst = self.stage_ms.entry(name).or_insert(0.0);
                *worst = worst.max(ms);
            }
        }
        for (name, (stages, busy, memory_mb)) in hosts {
            let Some(node) = self.judge.nodes.get(name) else { continue };
            self.found.nodes_usd_per_h += node.usd_per_h;
            let utilisation = busy / f64::from(node.slots);
            self.found.utilisation.insert(name.to_owned(), utilisation);
            self.found.memory_mb.insert(name.to_owned(), memory_mb);
            let most = self.judge.problem.objectives.utilisation_max;
            if utilisation > most * (1.0 + TOLERANCE) {
                self.wrong(format!("node \"{name}\" is busy {utilisation}, and {most} is the most"));
            }
            if let Some(most) = node.memory_mb.filter(|most| memory_mb > most * (1.0 + TOLERANCE)) {
                self.wrong(format!("node \"{name}\" holds {memory_mb} MB, and {most} is the most"));
            }
            if stages > 1 && self.judge.mode != Mode::Shared {
                self.wrong(format!("node \"{name}\" runs {stages} stages"));
            }
        }
    }

    /// How long an item is in a stage on a node.
    fn ms(&self, stage: &StageProfile, service: &Service, node: &Machine) -> f64 {
        let busy = self.judge.problem.objectives.utilisation_max;
        let wait = match service.ms_per_item {
            // Nothing waits for what takes no time.
            0.0 => 0.0,
            ms => 3.0 * ms * busy / (2.0 * (1.0 - busy) * f64::from(node.slots)),
        };
        service.p95_ms.unwrap_or(service.ms_per_item) + stage.batch_deadline_ms + wait
    }

    /// By site: what a source or stage sends or a stage takes, as a part of all.
    fn shares(&self, name: &str) -> BTreeMap<&'a str, f64> {
        let source = self.judge.problem.rates.sources.iter().find(|source| source.name == name);
        if let Some(source) = source {
            return BTreeMap::from([(source.site.as_str(), 1.0)]);
        }
        let mut shares = BTreeMap::new();
        let rates = self.decision.rates_per_s.get(name);
        let all: f64 = rates.into_iter().flat_map(BTreeMap::values).sum();
        for (node, rate) in rates.into_iter().flatten() {
            if let Some(node) = self.judge.nodes.get(&**node) {
                *shares.entry(&*node.site).or_insert(0.0) += rate / all;
            }
        }
        shares
    }

    fn traffic(&mut self) {
        for edge in &self.judge.problem.profile.edges {
            let rate = self.judge.demand[&*edge.to];
            if rate == 0.0 {
                continue;
            }
            let (made, used) = (self.shares(&edge.from), self.shares(&edge.to));
            let kb = self.kb(edge);
            for ((from, to), share) in self.flows(edge, &made, &used) {
                if let Some(link) = self.link(edge, from, to) {
                    let name = format!("{from} -> {to}");
                    let usd = rate * share * kb / 1024.0 / 1024.0 * 3600.0 * link.usd_per_gb;
                    let mbit_per_s = rate * share * kb * 1024.0 * 8.0 / 1e6;
                    *self.found.links_usd_per_h.entry(name.clone()).or_default() += usd;
                    *self.found.links_mbit_per_s.entry(name).or_default() += mbit_per_s;
                    let longest = self.edge_ms.entry((&edge.from, &edge.to)).or_insert(0.0);
                    *longest = longest.max(link.round_trip_ms);
                }
            }
        }
        for link in &self.judge.problem.machines.links {
            let name = format!("{} -> {}", link.from, link.to);
            let used = self.found.links_mbit_per_s.get(&name).copied().unwrap_or_default();
            let most = link.mbit_per_s.unwrap_or(f64::INFINITY);
            if used > most * (1.0 + TOLERANCE) {
                let (from, to) = (&link.from, &link.to);
                self.wrong(format!("\"{from}\" sends {used} Mbit/s to \"{to}\", and {most} is the most"));
            }
        }
    }

    /// The link that a part of a stream takes; none within a site.
    fn link(&mut self, edge: &Edge, from: &str, to: &str) -> Option<&'a Link> {
        let tier = |site: &str| self.judge.tiers.get(site);
        if self.judge.mode == Mode::Paper && tier(from) > tier(to) {
            self.wrong(format!("\"{}\" sends back from \"{from}\" to \"{to}\"", edge.from));
        }
        if from == to {
            return None;
        }
        if self.judge.stages.get(&*edge.to).is_some_and(|stage| stage.stays_at_site) {
            self.wrong(format!("the input of \"{}\" leaves \"{from}\"", edge.to));
        }
        let link = self.judge.links.get(&(from, to)).copied();
        if link.is_none() {
            self.wrong(format!("no link leads from \"{from}\" to \"{to}\""));
        }
        link
    }

    /// Between sites, as parts of the whole stream; checked against what its ends make and use.
    fn flows(
        &mut self,
        edge: &Edge,
        made: &BTreeMap<&'a str, f64>,
        used: &BTreeMap<&'a str, f64>,
    ) -> BTreeMap<(&'t str, &'t str), f64> {
        if self.judge.mode == Mode::Paper {
            let pairs = made.iter().flat_map(|from| used.iter().map(move |to| (from, to)));
            return pairs.map(|((from, out), (to, taken))| ((*from, *to), out * taken)).collect();
        }
        let rate = self.judge.demand[&*edge.to];
        let mut flows = BTreeMap::new();
        let (mut out, mut taken): (BTreeMap<&str, f64>, BTreeMap<&str, f64>) = Default::default();
        let decision = self.decision;
        for flow in decision.flows.iter().filter(|f| f.from == edge.from && f.to == edge.to) {
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
        let profile = self.judge.stages.get(&*edge.from);
        let variant = self.decision.variants.get(&edge.from);
        let place = profile.and_then(|p| p.variants.iter().position(|known| Some(known) == variant));
        edge.kb_per_item.get(place.unwrap_or_default()).copied().unwrap_or(edge.kb_per_item[0])
    }

    /// The slowest path from each source.
    fn latency(&mut self) {
        let Problem { profile, rates, objectives, .. } = self.judge.problem;
        if objectives.utilisation_max >= 1.0 {
            return;
        }
        for source in &rates.sources {
            let mut until: BTreeMap<&str, f64> = BTreeMap::from([(source.name.as_str(), 0.0)]);
            for _ in &profile.stages {
                for edge in &profile.edges {
                    let Some(before) = until.get(&*edge.from).copied() else { continue };
                    let way = self.edge_ms.get(&(&*edge.from, &*edge.to)).copied().unwrap_or_default();
                    let stage = self.stage_ms.get(&*edge.to).copied().unwrap_or_default();
                    let entry = until.entry(&edge.to).or_insert(0.0);
                    *entry = entry.max(before + way + stage);
                }
            }
            let slowest = until.values().copied().fold(0.0, f64::max);
            self.found.p95_ms.insert(source.name.clone(), slowest);
            if let Some(most) = objectives.p95_ms_max.filter(|most| slowest > most * (1.0 + TOLERANCE)) {
                let name = &source.name;
                self.wrong(format!("what \"{name}\" sends takes {slowest} ms, and {most} is the most"));
            }
        }
    }

    fn accuracy(&mut self) {
        for stage in &self.judge.problem.profile.stages {
            if !self.decision.variants.get(&stage.name).is_some_and(|v| stage.variants.contains(v)) {
                self.wrong(format!("stage \"{}\" has no variant", stage.name));
            }
        }
        let chosen = |stage: &String| self.decision.variants.get(stage);
        self.found.accuracy = match &self.judge.problem.profile.accuracy {
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
        let floor = self.judge.problem.objectives.accuracy_min;
        if let Some(floor) = floor.filter(|floor| !meets(*floor)) {
            self.wrong(format!("the accuracy is {accuracy:?}, and {floor} is asked"));
        }
    }

    fn starts(&mut self, running: &Running) {
        let mut starts = 0;
        for (stage, rates) in &self.decision.rates_per_s {
            let Some(variant) = self.decision.variants.get(stage) else { continue };
            starts += rates.keys().filter(|node| !running.has(stage, variant, node)).count();
        }
        self.found.starts = Some(starts);
        self.found.starts_usd_per_h = starts as f64 * running.usd_per_start;
    }
}
