//! Who decides: ours, and those that it is compared with.

use std::collections::BTreeMap;

use super::Scene;
use super::meter::{Meter, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::live::decide::{Decider, Setup};
use crate::live::event::{Action, Event};
use crate::live::observe::{LinkObserved, Observer, Reading};
use crate::live::question::{Question, Solution, answer};
use crate::live::record::Record;
use crate::live::routes::{Routes, demands};
use crate::live::telemetry::{SourceReading, Telemetry};
use crate::placement::{Budget, Decision, Mode, Problem, Running, solve, solve_from};

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// Threshold autoscaling looks so often, adds a replica of a stage above and takes one away below such a utilisation,
/// the latter not sooner than so many seconds after the last change of that stage: what is usual.
const LOOKS_EVERY_S: usize = 15;
const ADD_ABOVE: f64 = 0.8;
const REMOVE_BELOW: f64 = 0.5;
const REMOVE_AFTER_S: usize = 300;

/// Reports of sources come under this name of a node and of its lane.
const ENTRY: &str = "entry";

/// Solves, and counts how often.
struct Solver<'a> {
    scene: &'a Scene,
    solves: u64,
}

impl Solver<'_> {
    fn answer(&mut self, question: &Question) -> Result<Solution> {
        let budget = Budget::programs(self.scene.programs_max);
        answer(question, &mut |problem, running| {
            self.solves += 1;
            match running.decision.variants.is_empty() {
                true => solve(problem, question.mode, &budget),
                false => solve_from(problem, question.mode, &budget, running),
            }
        })
    }

    /// The cheapest plan for a moment, whatever runs.
    fn fresh(&mut self, problem: Problem, mode: Mode) -> Result<Solution> {
        self.answer(&Question {
            id: 0,
            problem,
            mode,
            running: Running::default(),
            pinned: Default::default(),
            may_preempt: true,
            priorities: BTreeMap::new(),
        })
    }
}

/// No source is planned for at less, so that everything has a place.
fn floored(scene: &Scene, at: &(Vec<f64>, Option<f64>)) -> Problem {
    let mut problem = scene.with(at);
    for source in &mut problem.rates.sources {
        source.rate_per_s = source.rate_per_s.max(scene.settings.rate_floor_per_s);
    }
    problem
}

fn planned(solution: &Solution) -> Result<&Decision> {
    solution.answer.decision.as_ref().ok_or_else(|| {
        let message = "there is no plan, not even for a part of the rates";
        Error::new(ErrorKind::Invalid, message).way_out("`jellybean plan` says what is missing")
    })
}

/// What is solved for and changed by the decider, as it would be in a run.
pub(super) fn ours(scene: &Scene) -> Result<(Outcome, Vec<Record>)> {
    let mut solver = Solver { scene, solves: 0 };
    let first = solver.fresh(floored(scene, &scene.at(0)), scene.settings.mode)?;
    let running = planned(&first)?.clone();
    let routes = Routes::of(&running);
    let setup = Setup { running: Some(running), ..Setup::default() };
    let mut player = Player {
        scene,
        solver,
        observer: Observer::new(scene.settings.smoothing(), BTreeMap::new()),
        decider: Decider::new(scene.with(&scene.at(0)), setup, scene.settings.clone())?,
        offered: vec![0.0; scene.problem.rates.sources.len()],
        meter: Meter::new("ours", scene.trace.seconds(), &routes),
        admitted: first.admitted,
        coming: None,
        history: BTreeMap::new(),
    };
    let mut problem = scene.problem.clone();
    for second in 0..scene.trace.seconds() {
        player.second(second, &mut problem);
    }
    let mut outcome = player.meter.end();
    outcome.solves = player.solver.solves;
    Ok((outcome, player.history.into_values().collect()))
}

struct Player<'a> {
    scene: &'a Scene,
    solver: Solver<'a>,
    observer: Observer,
    decider: Decider,
    /// By source: items so far.
    offered: Vec<f64>,
    meter: Meter,
    admitted: BTreeMap<String, f64>,
    /// A change that is under way: its record, when it takes effect, and what it is.
    coming: Option<(u64, usize, Routes, BTreeMap<String, f64>)>,
    history: BTreeMap<u64, Record>,
}

impl Player<'_> {
    fn second(&mut self, second: usize, problem: &mut Problem) {
        let (rates, mbit) = self.scene.at(second);
        self.scene.put(problem, &rates, mbit);
        let also = self.coming.as_ref().map(|(.., routes, _)| routes);
        self.meter.second(problem, &self.admitted, also);
        self.offered.iter_mut().zip(&rates).for_each(|(offered, rate)| *offered += rate);
        let now_us = (second as u64 + 1) * SECOND_US;
        let sources =
            problem.rates.sources.iter().zip(&self.offered).map(|(source, offered)| SourceReading {
                source: source.name.clone(),
                lane: ENTRY.to_owned(),
                offered: offered.round() as u64,
                ..SourceReading::default()
            });
        let sources = sources.collect();
        let report = Telemetry { node: ENTRY.to_owned(), at_us: now_us, sources, ..Telemetry::default() };
        self.observer.hear(report, now_us);
        let mut observed = self.observer.observed(now_us);
        if let (Some(link), Some(mbit)) = (&self.scene.link, mbit) {
            let capacity_mbit_per_s = Some(Reading { value: mbit, latest: mbit, age_us: 0 });
            observed
                .links
                .insert(link.clone(), LinkObserved { capacity_mbit_per_s, ..LinkObserved::default() });
        }
        self.tell(Event::Observed(observed), second);
        if let Some((id, _, routes, admitted)) = self.coming.take_if(|(_, at, ..)| *at <= second) {
            self.meter.change(&routes);
            self.admitted = admitted;
            self.tell(Event::Changed { id, outcome: Ok(()) }, second);
        }
    }

    fn tell(&mut self, event: Event, second: usize) {
        let now_us = (second as u64 + 1) * SECOND_US;
        let mut actions = self.decider.step(event, now_us);
        while let Some(action) = actions.pop() {
            match action {
                Action::Tell(record) => _ = self.history.insert(record.id, *record),
                Action::Apply { id, decision, admitted } => {
                    let at = second + self.scene.change_s as usize;
                    self.coming = Some((id, at, Routes::of(&decision), admitted));
                }
                Action::Solve(question) => {
                    let solution = self.solver.answer(&question).map(Box::new);
                    let solution = solution.map_err(|error| error.to_string());
                    let solved = Event::Solved { id: question.id, solution };
                    actions.extend(self.decider.step(solved, now_us));
                }
            }
        }
    }
}

/// Plans anew every second for what that second offers, and changes at once.
pub(super) fn perfect(scene: &Scene) -> Result<Outcome> {
    let mut solver = Solver { scene, solves: 0 };
    // Equal seconds have equal plans.
    let mut known: BTreeMap<Vec<u64>, (Routes, BTreeMap<String, f64>)> = BTreeMap::new();
    let mut meter: Option<Meter> = None;
    let mut problem = scene.problem.clone();
    for second in 0..scene.trace.seconds() {
        let (rates, mbit) = scene.at(second);
        let key: Vec<u64> = rates.iter().copied().chain(mbit).map(f64::to_bits).collect();
        if !known.contains_key(&key) {
            let found = solver.fresh(floored(scene, &(rates.clone(), mbit)), scene.settings.mode)?;
            known.insert(key.clone(), (Routes::of(planned(&found)?), found.admitted));
        }
        let (routes, admitted) = &known[&key];
        let meter =
            meter.get_or_insert_with(|| Meter::new("perfect knowledge", scene.trace.seconds(), routes));
        meter.change(routes);
        scene.put(&mut problem, &rates, mbit);
        meter.second(&problem, admitted, None);
    }
    let mut outcome = meter.map(Meter::end).unwrap_or_default();
    outcome.solves = solver.solves;
    Ok(outcome)
}

/// One plan for all the time.
pub(super) fn fixed(scene: &Scene, name: &str, at: (Vec<f64>, Option<f64>)) -> Result<Outcome> {
    let mut solver = Solver { scene, solves: 0 };
    let found = solver.fresh(floored(scene, &at), scene.settings.mode)?;
    let routes = Routes::of(planned(&found)?);
    let mut meter = Meter::new(name, scene.trace.seconds(), &routes);
    let mut problem = scene.problem.clone();
    for second in 0..scene.trace.seconds() {
        let (rates, mbit) = scene.at(second);
        scene.put(&mut problem, &rates, mbit);
        meter.second(&problem, &found.admitted, None);
    }
    let mut outcome = meter.end();
    outcome.solves = solver.solves;
    Ok(outcome)
}

/// The nodes that a stage may have: those of the cheapest plan for the most there is, one stage per node.
struct Replicas {
    stage: String,
    /// Node, site and items per second, the cheapest per item first.
    nodes: Vec<(String, String, f64)>,
    count: usize,
    changed: usize,
    /// Items per second since the last look.
    seen: f64,
}

/// Adds and takes away replicas by how busy they are. `None` if no plan of one stage per node carries the most there is.
pub(super) fn threshold(scene: &Scene) -> Result<Option<Outcome>> {
    let mut solver = Solver { scene, solves: 0 };
    let most = floored(scene, &scene.most());
    let found = solver.fresh(most.clone(), Mode::Exclusive)?;
    let Some(decision) = found.answer.decision.as_ref().filter(|_| found.admitted.is_empty()) else {
        return Ok(None);
    };
    let mut all = replicas(&most, decision);
    let mut problem = floored(scene, &scene.at(0));
    for replicas in &mut all {
        let demand = demands(&problem).get(&*replicas.stage).copied().unwrap_or_default();
        while replicas.count < replicas.nodes.len() && demand > replicas.capacity() * ADD_ABOVE {
            replicas.count += 1;
        }
    }
    let mut meter =
        Meter::new("threshold autoscaling", scene.trace.seconds(), &routes(&problem, decision, &all));
    for second in 0..scene.trace.seconds() {
        let (rates, mbit) = scene.at(second);
        scene.put(&mut problem, &rates, mbit);
        meter.second(&problem, &BTreeMap::new(), None);
        let demands = demands(&problem);
        for replicas in &mut all {
            replicas.seen += demands.get(&*replicas.stage).copied().unwrap_or_default();
        }
        if (second + 1).is_multiple_of(LOOKS_EVERY_S) {
            all.iter_mut().for_each(|replicas| replicas.look(second));
            meter.change(&routes(&problem, decision, &all));
        }
    }
    let mut outcome = meter.end();
    outcome.solves = solver.solves;
    Ok(Some(outcome))
}

impl Replicas {
    fn capacity(&self) -> f64 {
        self.nodes[..self.count].iter().map(|(.., rate)| rate).sum()
    }

    fn look(&mut self, second: usize) {
        let busy = self.seen / LOOKS_EVERY_S as f64 / self.capacity();
        self.seen = 0.0;
        if busy > ADD_ABOVE && self.count < self.nodes.len() {
            (self.count, self.changed) = (self.count + 1, second);
        } else if busy < REMOVE_BELOW && self.count > 1 && second >= self.changed + REMOVE_AFTER_S {
            (self.count, self.changed) = (self.count - 1, second);
        }
    }
}

fn replicas(problem: &Problem, decision: &Decision) -> Vec<Replicas> {
    let of = |(stage, rates): (&String, &BTreeMap<String, f64>)| {
        let mut nodes: Vec<(f64, (String, String, f64))> = Vec::new();
        for node in problem.machines.nodes.iter().filter(|node| rates.contains_key(&node.name)) {
            let fits = |s: &&crate::placement::problem::Service| {
                s.stage == *stage
                    && decision.variants.get(stage) == Some(&s.variant)
                    && s.class == node.class()
            };
            let Some(service) = problem.profile.services.iter().find(fits) else { continue };
            let rate = f64::from(node.slots) * 1000.0 / service.ms_per_item.max(1e-9);
            nodes.push((node.usd_per_h / rate, (node.name.clone(), node.site.clone(), rate)));
        }
        nodes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let nodes = nodes.into_iter().map(|(_, node)| node).collect();
        Replicas { stage: stage.clone(), nodes, count: 1, changed: 0, seen: 0.0 }
    };
    decision.rates_per_s.iter().map(of).filter(|replicas| !replicas.nodes.is_empty()).collect()
}

/// Every replica has its part by what it can do, of what each replica before it sends.
fn routes(problem: &Problem, decision: &Decision, all: &[Replicas]) -> Routes {
    let mut routes = Routes { variants: decision.variants.clone(), ..Routes::default() };
    let mut sites: BTreeMap<&str, BTreeMap<String, f64>> = BTreeMap::new();
    for source in &problem.rates.sources {
        sites.insert(&source.name, BTreeMap::from([(source.site.clone(), 1.0)]));
    }
    for replicas in all {
        let capacity = replicas.capacity();
        for (node, site, rate) in &replicas.nodes[..replicas.count] {
            let part = rate / capacity;
            routes.shares.entry(replicas.stage.clone()).or_default().insert(node.clone(), part);
            *sites.entry(&replicas.stage).or_default().entry(site.clone()).or_default() += part;
        }
    }
    for edge in &problem.profile.edges {
        let (Some(from), Some(to)) = (sites.get(&*edge.from), sites.get(&*edge.to)) else { continue };
        let ways = routes.flows.entry((edge.from.clone(), edge.to.clone())).or_default();
        for (a, made) in from {
            for (b, used) in to {
                *ways.entry((a.clone(), b.clone())).or_default() += made * used;
            }
        }
    }
    routes
}
