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
use crate::live::routes::Routes;
use crate::live::settings::Settings;
use crate::live::telemetry::{SourceReading, Telemetry};
use crate::placement::{Budget, Decision, Mode, Problem, Running, solve, solve_from};

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// Reports of sources come under this name of a node and of its lane.
const ENTRY: &str = "entry";

/// Solves, and counts how often.
pub(super) struct Solver<'a> {
    scene: &'a Scene,
    pub(super) solves: u64,
}

impl<'a> Solver<'a> {
    pub(super) fn new(scene: &'a Scene) -> Self {
        Self { scene, solves: 0 }
    }

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
    pub(super) fn fresh(&mut self, problem: Problem, mode: Mode) -> Result<Solution> {
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
pub(super) fn floored(scene: &Scene, at: &(Vec<f64>, Option<f64>)) -> Problem {
    let mut problem = scene.with(at);
    for source in &mut problem.rates.sources {
        source.rate_per_s = source.rate_per_s.max(scene.settings.rate_floor_per_s);
    }
    problem
}

pub(super) fn planned(solution: &Solution) -> Result<&Decision> {
    solution.answer.decision.as_ref().ok_or_else(|| {
        let message = "there is no plan, not even for a part of the rates";
        Error::new(ErrorKind::Invalid, message).way_out("`jellybean plan` says what is missing")
    })
}

/// What is solved for and changed by the decider, as it would be in a run.
pub(super) fn ours(scene: &Scene, name: &str, settings: &Settings) -> Result<(Outcome, Vec<Record>)> {
    let mut solver = Solver::new(scene);
    let first = solver.fresh(floored(scene, &scene.at(0)), settings.mode)?;
    let running = planned(&first)?.clone();
    let routes = Routes::of(&running);
    let setup = Setup { running: Some(running), ..Setup::default() };
    let mut player = Player {
        scene,
        solver,
        observer: Observer::new(settings.smoothing(), BTreeMap::new()),
        decider: Decider::new(scene.with(&scene.at(0)), setup, settings.clone())?,
        offered: vec![0.0; scene.problem.rates.sources.len()],
        meter: Meter::new(name, scene.trace.seconds(), &routes),
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
    let mut solver = Solver::new(scene);
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
    let mut solver = Solver::new(scene);
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
