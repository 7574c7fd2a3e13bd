//! The pilot: keeps the plan of a run in step with what its nodes measure.
//!
//! The thin loop around the [`Decider`]: every second it hears what was measured, has questions answered, applies
//! plans and says how that went. It is one thread that does one thing at a time; the data flows on whatever it does,
//! and if it ends, the run goes on with the plan it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Serialize;

use crate::clock::micros;
use crate::error::{Error, ErrorKind, Result};
use crate::live::{Action, Decider, Event, Failed, Observer, Record, Settings, Setup, Smoothing, answer};
use crate::placement::{Budget, Decision, Mode};
use crate::plan::Plan;
use crate::planning::{self, Wanted};
use crate::run::Handle;
use crate::telemetry::{Board, Telemetry};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long one question may take; answers are used as far as they have come.
const SOLVE_MAX: Duration = Duration::from_secs(1);
/// From when to when after a change its load is measured.
const SETTLED: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(10);
/// Decisions that are remembered.
const PILOTED_MAX: usize = 1_024;
/// Orders that wait, at most.
const ORDERS_MAX: usize = 64;

/// A decision, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Piloted {
    /// The decision.
    #[serde(flatten)]
    pub record: Record,
    /// By node: busy slots over slots from three to ten seconds after the change, or until the next one.
    pub measured_utilisation: BTreeMap<String, f64>,
}

/// What a pilot is told from outside.
#[derive(Clone, Debug)]
pub enum Order {
    /// Look for the cheapest plan now.
    Rebalance,
    /// Decide nothing until told otherwise.
    Pause,
    /// Decide again.
    Resume,
    /// Somebody has applied a plan.
    Applied(Plan),
}

/// A pilot at work.
pub struct Pilot {
    orders: Sender<Order>,
    piloted: Arc<Mutex<Vec<Piloted>>>,
    thread: Option<JoinHandle<()>>,
}

impl Pilot {
    /// Pilots a run that goes by `plan`.
    ///
    /// # Errors
    /// `Invalid` if the plan, the problem or the settings are not right.
    pub fn start(run: Handle, wanted: Wanted, plan: &Plan, settings: Settings) -> Result<Self> {
        let (orders, ordered) = bounded(ORDERS_MAX);
        let piloted: Arc<Mutex<Vec<Piloted>>> = Arc::default();
        let (begun, beginning) = bounded(1);
        let (plan, notes) = (plan.clone(), piloted.clone());
        // The decider stays on the thread that made it.
        let fly = move || match Helm::new(run, wanted, &plan, settings, notes) {
            Ok(mut helm) => {
                _ = begun.send(Ok(()));
                helm.steer(&ordered);
            }
            Err(error) => _ = begun.send(Err(error)),
        };
        let thread = std::thread::Builder::new().name("pilot".into()).spawn(fly);
        let thread =
            thread.map_err(|e| Error::new(ErrorKind::Unavailable, "no thread for the pilot").because(e))?;
        let gone = || Error::new(ErrorKind::Failed, "the pilot panicked as it began");
        beginning.recv().unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { orders, piloted, thread: Some(thread) })
    }

    /// Tells it something; what comes while too many orders wait is refused.
    ///
    /// # Errors
    /// `Unavailable` if it is at work on too much, or at its end.
    pub fn order(&self, order: Order) -> Result<()> {
        let refused =
            |_| Error::new(ErrorKind::Unavailable, "the pilot takes no orders now").way_out("try again");
        self.orders.try_send(order).map_err(refused)
    }

    /// The decisions so far, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Piloted> {
        lock(&self.piloted).clone()
    }

    /// Ends it; the run goes on. Returns the decisions.
    #[must_use]
    pub fn end(mut self) -> Vec<Piloted> {
        self.close();
        self.history()
    }

    fn close(&mut self) {
        // The thread ends once nobody can order anything any more.
        let (closed, _) = bounded(0);
        self.orders = closed;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the pilot panicked");
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is put there whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the pilot's thread has at hand.
struct Helm {
    run: Handle,
    board: Board,
    wanted: Wanted,
    decider: Decider,
    observer: Observer,
    mode: Mode,
    /// The latest readings of nodes that are there.
    heard: BTreeMap<String, Telemetry>,
    /// Whose change is being measured, since when, and the readings it began with.
    measuring: Option<(u64, u64, BTreeMap<String, Telemetry>)>,
    piloted: Arc<Mutex<Vec<Piloted>>>,
}

impl Helm {
    fn new(
        run: Handle,
        wanted: Wanted,
        plan: &Plan,
        settings: Settings,
        piloted: Arc<Mutex<Vec<Piloted>>>,
    ) -> Result<Self> {
        let running = planning::read(&wanted, plan)?;
        let machines = &wanted.problem.machines.nodes;
        let sites = machines.iter().map(|node| (node.name.clone(), node.site.clone())).collect();
        let smoothing = Smoothing { rates_s: settings.rates_s, services_s: settings.services_s };
        let stateful: BTreeSet<String> = wanted.stateful().map(str::to_owned).collect();
        let setup = Setup { priorities: BTreeMap::new(), stateful, running: Some(running) };
        let mode = settings.mode;
        Ok(Self {
            board: run.board(),
            run,
            decider: Decider::new(wanted.problem.clone(), setup, settings)?,
            observer: Observer::new(smoothing, sites),
            wanted,
            mode,
            heard: BTreeMap::new(),
            measuring: None,
            piloted,
        })
    }

    fn steer(&mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(LOOK) {
                Ok(order) => self.ordered(order),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return self.measured(),
            }
        }
    }

    fn ordered(&mut self, order: Order) {
        match order {
            Order::Rebalance => self.tell(Event::Rebalance),
            Order::Pause => self.tell(Event::Pause),
            Order::Resume => self.tell(Event::Resume),
            Order::Applied(plan) => match planning::read(&self.wanted, &plan) {
                Ok(decision) => self.tell(Event::AppliedByHand(decision)),
                Err(error) => tracing::warn!(%error, "the plan that was applied is not understood"),
            },
        }
    }

    /// Hears what was measured, and has it looked at.
    fn look(&mut self) {
        let readings: BTreeMap<String, Telemetry> =
            self.board.read().into_iter().map(|(node, readings)| (node, readings.telemetry)).collect();
        let now_us = self.run.now_us();
        for node in
            self.heard.keys().filter(|node| !readings.contains_key(*node)).cloned().collect::<Vec<_>>()
        {
            self.observer.forget(&node);
            self.tell(Event::NodeGone(node));
        }
        for node in
            readings.keys().filter(|node| !self.heard.contains_key(*node)).cloned().collect::<Vec<_>>()
        {
            self.tell(Event::NodeCame(node));
        }
        readings.values().for_each(|telemetry| self.observer.hear(telemetry.clone(), now_us));
        self.heard = readings;
        self.measure(now_us);
        let mut observed = self.observer.observed(now_us);
        observed.sources =
            observed.sources.into_iter().map(|(source, rate)| (planning::feed(&source), rate)).collect();
        self.tell(Event::Observed(observed));
    }

    /// Takes an event to the decider, and does what it wants, until it wants nothing more.
    fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.decider.step(event, self.run.now_us()) {
                events.extend(self.act(action));
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Solve(question) => {
                let until_us = self.run.now_us() + micros(SOLVE_MAX);
                let go_on = || self.run.now_us() < until_us;
                let budget = Budget { programs_max: u64::MAX, go_on: &go_on };
                let (wanted, mode) = (&self.wanted, self.mode);
                let solution = answer(&question, &mut |problem, running| {
                    let wanted = wanted.of(problem.clone());
                    planning::solve_from(&wanted, mode, &budget, running)
                });
                let solution = solution.map(Box::new).map_err(|error| error.to_string());
                Some(Event::Solved { id: question.id, solution })
            }
            Action::Apply { id, decision, .. } => {
                let outcome = self.apply(&decision);
                self.measured();
                if outcome.is_ok() {
                    self.measuring = Some((id, self.run.now_us(), BTreeMap::new()));
                }
                Some(Event::Changed { id, outcome })
            }
            Action::Tell(record) => {
                self.note(*record);
                None
            }
        }
    }

    fn apply(&self, decision: &Decision) -> std::result::Result<(), Failed> {
        let plan = planning::write(&self.wanted, decision);
        let failed = |error: Error| Failed { node: self.culprit(&error), why: error.to_string() };
        self.run.apply(plan).map(|_| ()).map_err(failed)
    }

    /// The node that an error is about, if it names one.
    fn culprit(&self, error: &Error) -> Option<String> {
        let text = error.to_string();
        self.heard.keys().find(|node| text.contains(&format!("node \"{node}\""))).cloned()
    }

    fn note(&self, record: Record) {
        tracing::info!(id = record.id, cause = ?record.trigger.cause, verdict = ?record.verdict, "decided");
        let mut piloted = lock(&self.piloted);
        if let Some(known) = piloted.iter_mut().find(|known| known.record.id == record.id) {
            known.record = record;
        } else if piloted.len() < PILOTED_MAX {
            piloted.push(Piloted { record, measured_utilisation: BTreeMap::new() });
        }
    }

    /// Measures the load under a change: what slots have worked from some seconds after it on.
    fn measure(&mut self, now_us: u64) {
        let Some((_, since_us, began)) = &mut self.measuring else { return };
        let past = Duration::from_micros(now_us.saturating_sub(*since_us));
        if began.is_empty() && past >= SETTLED {
            began.clone_from(&self.heard);
        } else if past >= MEASURED {
            self.measured();
        }
    }

    /// Writes down what was measured under the latest change.
    fn measured(&mut self) {
        let Some((id, _, began)) = self.measuring.take() else { return };
        let slots: BTreeMap<&str, f64> = self
            .wanted
            .problem
            .machines
            .nodes
            .iter()
            .map(|node| (node.name.as_str(), f64::from(node.slots)))
            .collect();
        let used = began.iter().filter_map(|(node, before)| {
            let (after, slots) = (self.heard.get(node)?, slots.get(node.as_str())?);
            let spent_us = after.at_us.checked_sub(before.at_us).filter(|us| *us > 0)?;
            let busy_us = busy_us(after).checked_sub(busy_us(before))?;
            Some((node.clone(), busy_us as f64 / spent_us as f64 / slots))
        });
        let used: BTreeMap<String, f64> = used.collect();
        if let Some(known) = lock(&self.piloted).iter_mut().find(|known| known.record.id == id) {
            known.measured_utilisation = used;
        }
    }
}

fn busy_us(telemetry: &Telemetry) -> u64 {
    telemetry.stages.iter().map(|stage| stage.busy_us).sum()
}
