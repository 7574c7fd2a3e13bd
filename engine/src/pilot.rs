//! The pilot: keeps the plan of a run in step with what its nodes measure.
//!
//! The thin loop around the [`Decider`], as a part of the controller: every second it hears what was measured; it has
//! questions answered elsewhere, wishes for plans, and is told how that went. It holds no truth of its own either: a
//! controller that takes over begins with a pilot that knows what runs. The data flows on whatever it does.

mod measuring;
mod missing;
pub(crate) mod solver;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::measuring::Measuring;
use self::missing::Missing;
use self::solver::{Asked, Solver};
use crate::error::{Error, Result};
use crate::live::{Action, Decider, Event, Failed, Observer, Record, Settings, Setup};
use crate::plan::Plan;
use crate::planning::{self, Wanted};
use crate::telemetry::{Board, Telemetry};

/// How often it looks.
const LOOK_US: u64 = 1_000_000;
/// Decisions that are remembered; of more, the oldest are forgotten.
const PILOTED_MAX: usize = 1_024;

/// What the plan of a run is kept in step with.
#[derive(Clone, Debug)]
pub struct Course {
    /// What is to be planned: the topology, the machines, what was measured, the objectives.
    pub wanted: Wanted,
    /// How eagerly.
    pub settings: Settings,
}

/// A decision, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piloted {
    /// The decision.
    #[serde(flatten)]
    pub record: Record,
    /// By node: busy slots over slots from three to ten seconds after the change, or until the next one.
    pub measured_utilisation: BTreeMap<String, f64>,
}

/// What a pilot is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Look for the cheapest plan now.
    Rebalance,
    /// Decide nothing until told otherwise.
    Pause,
    /// Decide again.
    Resume,
}

/// See the module's page.
pub(crate) struct Pilot {
    wanted: Arc<Wanted>,
    decider: Decider,
    observer: Observer,
    missing: Missing,
    solver: Box<dyn Solver>,
    settings: Settings,
    look_us: u64,
    /// The latest readings of nodes that are there.
    heard: BTreeMap<String, Telemetry>,
    /// A plan that is wished for, and the number of its decision.
    wish: Option<(u64, Plan)>,
    measuring: Measuring,
    piloted: Vec<Piloted>,
}

impl Pilot {
    /// Pilots a run that goes by `plan`.
    ///
    /// # Errors
    /// `Invalid` if the plan, the problem or the settings are not right.
    pub(crate) fn new(course: Course, plan: &Plan, solver: Box<dyn Solver>) -> Result<Self> {
        let Course { wanted, settings } = course;
        let running = planning::read(&wanted, plan)?;
        let machines = &wanted.problem.machines.nodes;
        let sites = machines.iter().map(|node| (node.name.clone(), node.site.clone())).collect();
        let slots = machines.iter().map(|node| (node.name.clone(), node.slots)).collect();
        let stateful: BTreeSet<String> = wanted.stateful().map(str::to_owned).collect();
        let setup = Setup { priorities: wanted.priorities.clone(), stateful, running: Some(running) };
        Ok(Self {
            decider: Decider::new(wanted.problem.clone(), setup, settings.clone())?,
            observer: Observer::new(settings.smoothing(), sites),
            missing: Missing::new(wanted.problem.objectives.p95_ms_max, &settings),
            wanted: Arc::new(wanted),
            solver,
            settings,
            look_us: 0,
            heard: BTreeMap::new(),
            wish: None,
            measuring: Measuring::new(slots),
            piloted: Vec::new(),
        })
    }

    /// Does what is due; returns the plan that it wishes for, if it does, and the number of the decision.
    pub(crate) fn turn(&mut self, now_us: u64, board: &Board) -> Option<(u64, Plan)> {
        while let Some((id, solution)) = self.solver.answer(now_us) {
            self.tell(Event::Solved { id, solution }, now_us);
        }
        if now_us >= self.look_us {
            self.look_us = now_us + LOOK_US;
            self.look(now_us, board);
        }
        self.wish.take()
    }

    /// When something is due next.
    pub(crate) fn due_us(&self) -> u64 {
        self.solver.due_us().map_or(self.look_us, |at_us| at_us.min(self.look_us))
    }

    /// The plan that it wished for has taken effect, or has not.
    pub(crate) fn changed(&mut self, id: u64, outcome: std::result::Result<(), &Error>, now_us: u64) {
        self.measured();
        if outcome.is_ok() {
            self.measuring.begin(id, now_us);
        }
        let failed = |error: &Error| Failed { node: self.culprit(error), why: error.to_string() };
        let outcome = outcome.map_err(failed);
        self.tell(Event::Changed { id, outcome }, now_us);
    }

    /// Somebody else has applied a plan.
    pub(crate) fn applied(&mut self, plan: &Plan, now_us: u64) {
        match planning::read(&self.wanted, plan) {
            Ok(decision) => self.tell(Event::AppliedByHand(decision), now_us),
            Err(error) => tracing::warn!(%error, "the plan that was applied is not understood"),
        }
    }

    pub(crate) fn order(&mut self, order: Order, now_us: u64) {
        let event = match order {
            Order::Rebalance => Event::Rebalance,
            Order::Pause => Event::Pause,
            Order::Resume => Event::Resume,
        };
        self.tell(event, now_us);
    }

    /// The decisions so far, oldest first.
    pub(crate) fn history(&self) -> &[Piloted] {
        &self.piloted
    }

    /// The same at the end of the run.
    pub(crate) fn end(mut self) -> Vec<Piloted> {
        self.measured();
        self.piloted
    }

    /// Hears what was measured, and has it looked at.
    fn look(&mut self, now_us: u64, board: &Board) {
        let readings: BTreeMap<String, Telemetry> =
            board.read().into_iter().map(|(node, readings)| (node, readings.telemetry)).collect();
        let before: BTreeSet<String> = self.heard.keys().cloned().collect();
        let now: BTreeSet<String> = readings.keys().cloned().collect();
        for node in &before - &now {
            self.observer.forget(&node);
            self.tell(Event::NodeGone(node), now_us);
        }
        (&now - &before).into_iter().for_each(|node| self.tell(Event::NodeCame(node), now_us));
        readings.values().for_each(|telemetry| self.observer.hear(telemetry.clone(), now_us));
        self.heard = readings;
        if self.measuring.look(&self.heard, now_us) {
            self.measured();
        }
        let mut observed = self.observer.observed(now_us);
        self.missing.look(&observed.p95_ms, now_us).into_iter().for_each(|event| self.tell(event, now_us));
        observed.sources =
            observed.sources.into_iter().map(|(source, rate)| (planning::feed(&source), rate)).collect();
        self.tell(Event::Observed(observed), now_us);
    }

    /// Takes an event to the decider, and does what it wants.
    fn tell(&mut self, event: Event, now_us: u64) {
        for action in self.decider.step(event, now_us) {
            match action {
                Action::Solve(question) => {
                    let asked = Asked { question, wanted: self.wanted.clone(), mode: self.settings.mode };
                    self.solver.ask(asked, now_us);
                }
                Action::Apply { id, decision, admitted } => {
                    let plan = planning::write(&self.wanted, &decision);
                    self.wish = Some((id, planning::admitting(&self.wanted, plan, &admitted)));
                }
                Action::Tell(record) => self.note(*record),
            }
        }
        // What became of a change is in the decider's own record of it alone.
        let last = self.decider.history().next_back().cloned();
        last.into_iter().for_each(|record| self.remember(record));
    }

    /// The node that an error is about, if it names one.
    fn culprit(&self, error: &Error) -> Option<String> {
        let text = error.to_string();
        self.heard.keys().find(|node| text.contains(&format!("node \"{node}\""))).cloned()
    }

    fn note(&mut self, record: Record) {
        tracing::info!(id = record.id, cause = ?record.trigger.cause, verdict = ?record.verdict, "decided");
        self.remember(record);
    }

    fn remember(&mut self, record: Record) {
        if let Some(known) = self.piloted.iter_mut().rfind(|known| known.record.id == record.id) {
            known.record = record;
            return;
        }
        if self.piloted.len() >= PILOTED_MAX {
            self.piloted.remove(0);
        }
        self.piloted.push(Piloted { record, measured_utilisation: BTreeMap::new() });
    }

    /// Writes down what was measured under the latest change.
    fn measured(&mut self) {
        let Some((id, used)) = self.measuring.end(&self.heard) else { return };
        if let Some(known) = self.piloted.iter_mut().rfind(|known| known.record.id == id) {
            known.measured_utilisation = used;
        }
    }
}
