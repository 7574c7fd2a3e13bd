//! The decision: whether the running plan still fits what is measured, and what is to run instead.
//!
//! A state and a pure `step(event, now) -> actions`, without clock, thread or channel: somebody else measures, solves
//! and changes, and says how it went. Invariants: one change at a time; nothing changes while numbers stay in their
//! bands; no stage moves twice within its cool-down unless the cause is [urgent](Cause::is_urgent); a plan stays unless
//! it no longer fits or another is cheaper by more than what it takes to get there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::bands::{Mark, Watch, marks};
use super::demand::{Demand, Facts, Loads, link_name, recompute, usd_per_h};
use super::event::{Action, Event, Failed};
use super::known::Known;
use super::question::{Avoided, Question, Solution, avoid};
use super::record::{Cause, Record, Trigger, Verdict, more};
use super::routes::Routes;
use super::settings::{Settings, us};
use crate::error::Result;
use crate::placement::{Decision, Evaluation, Problem, Running, Status, evaluate};

/// How often the ceiling of utilisation is lowered because an objective is missed.
const CAUTION_MAX: u32 = 3;

/// The ceiling is lowered to this part of it each time.
const CAUTION: f64 = 0.9;

/// Plans that ran lately and may do again, at most.
const FORMER_MAX: usize = 4;

/// Shares that differ by no more are the same.
const SHARE: f64 = 0.02;

/// How long somebody's word on a source counts before it has to show, in smoothing times.
const DECLARED: f64 = 2.0;

enum Phase {
    Idle,
    Solving { trigger: Trigger, question: Box<Question>, is_stale: bool },
    Changing { id: u64, routes: Routes, basis: Box<Problem>, admitted: BTreeMap<String, f64> },
}

/// What a decider is made of.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// By source; 0 if absent. Where not everything can be served, the lowest is cut first.
    pub priorities: BTreeMap<String, i64>,
    /// Stages whose state moves when their shares change.
    pub stateful: BTreeSet<String>,
    /// What runs already.
    pub running: Option<Decision>,
}

/// The decider.
pub struct Decider {
    settings: Settings,
    priorities: BTreeMap<String, i64>,
    stateful: BTreeSet<String>,
    known: Known,
    problem: Problem,
    demand: Demand,
    routes: Option<Routes>,
    /// What the running plan was last held against.
    basis: BTreeMap<Mark, f64>,
    admitted: BTreeMap<String, f64>,
    watch: Watch,
    phase: Phase,
    /// Something that needs no band to be looked at.
    pending: Option<Trigger>,
    is_paused: bool,
    is_by_hand: bool,
    caution: u32,
    missed_us: u64,
    moved_us: BTreeMap<String, u64>,
    avoided: BTreeMap<Avoided, u64>,
    failures: u32,
    wait_until_us: u64,
    review_at_us: Option<u64>,
    changed_us: Option<u64>,
    /// Plans that ran lately, the latest last.
    former: VecDeque<Routes>,
    /// Since when one of them would do again, for less.
    cheaper_since_us: Option<u64>,
    hold_s: f64,
    history: VecDeque<Record>,
    next_id: u64,
}

impl Decider {
    /// A decider that watches over a problem: machines, profile, objectives, and the rates that are assumed at first.
    ///
    /// # Errors
    /// `Invalid` if the problem or the settings are not right.
    pub fn new(problem: Problem, setup: Setup, settings: Settings) -> Result<Self> {
        settings.check()?;
        problem.check()?;
        let routes = setup.running.as_ref().map(Routes::of);
        let known = Known::new(problem.clone());
        let mut decider = Self {
            hold_s: settings.hold_s,
            priorities: setup.priorities,
            stateful: setup.stateful,
            known,
            problem,
            demand: Demand::new(),
            routes,
            basis: BTreeMap::new(),
            admitted: BTreeMap::new(),
            watch: Watch::default(),
            phase: Phase::Idle,
            pending: None,
            is_paused: false,
            is_by_hand: false,
            caution: 0,
            missed_us: 0,
            moved_us: BTreeMap::new(),
            avoided: BTreeMap::new(),
            failures: 0,
            wait_until_us: 0,
            review_at_us: None,
            changed_us: None,
            former: VecDeque::new(),
            cheaper_since_us: None,
            history: VecDeque::new(),
            next_id: 0,
            settings,
        };
        decider.settle(&decider.problem.clone());
        Ok(decider)
    }

    /// The decisions so far, the oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.history.iter()
    }

    /// What runs.
    #[must_use]
    pub fn routes(&self) -> Option<&Routes> {
        self.routes.as_ref()
    }

    /// The load of everything under what runs, as measured last.
    #[must_use]
    pub fn loads(&self) -> Loads {
        self.demand.loads()
    }

    /// Takes an event; says what is to be done.
    pub fn step(&mut self, event: Event, now_us: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Observed(observed) => {
                self.known.take(&observed, &self.settings, now_us);
            }
            Event::Tick => {}
            Event::NodeCame(node) => self.came(&node, now_us),
            Event::NodeGone(node) => self.gone(node, now_us),
            Event::Camera { source, rate_per_s } => {
                let until_us = now_us + us(DECLARED * self.settings.rates_s);
                self.known.declare(&source, rate_per_s, until_us);
                self.ask_for(Trigger::of(Cause::Camera, source, now_us));
            }
            Event::ObjectiveMissed { what, p95_ms, p95_ms_max } => {
                let trigger = Trigger::of(Cause::ObjectiveMissed, what, now_us);
                self.ask_for(Trigger { value: p95_ms, high: p95_ms_max, ..trigger });
            }
            Event::Solved { id, solution } => actions.extend(self.solved(id, solution, now_us)),
            Event::Changed { id, outcome } => self.changed(id, outcome, now_us),
            Event::AppliedByHand(decision) => self.applied_by_hand(&decision, now_us),
            Event::Rebalance => self.ask_for(Trigger::of(Cause::Rebalance, "", now_us)),
            Event::Pause => self.is_paused = true,
            Event::Resume => (self.is_paused, self.is_by_hand) = (false, false),
        }
        actions.extend(self.consider(now_us));
        actions
    }

    fn came(&mut self, node: &str, now_us: u64) {
        if self.known.away.remove(node) {
            self.avoided.retain(|avoided, _| avoided.node != node);
            self.ask_for(Trigger::of(Cause::NodeCame, node, now_us));
        }
    }

    fn gone(&mut self, node: String, now_us: u64) {
        if !self.known.has_node(&node) {
            return;
        }
        if let Phase::Solving { is_stale, .. } = &mut self.phase {
            *is_stale = true;
        }
        // A plan that was waited with may be what is needed now.
        self.wait_until_us = now_us;
        self.known.away.insert(node);
    }

    /// Keeps the most urgent of what needs no band.
    fn ask_for(&mut self, trigger: Trigger) {
        if self.pending.as_ref().is_none_or(|pending| trigger.cause < pending.cause) {
            self.pending = Some(trigger);
        }
    }

    fn applied_by_hand(&mut self, decision: &Decision, now_us: u64) {
        let routes = Routes::of(decision);
        let moved = self.routes.as_ref().map_or_else(Vec::new, |before| self.moved(before, &routes));
        self.moved_us.extend(moved.into_iter().map(|stage| (stage, now_us)));
        self.routes = Some(routes);
        self.is_by_hand = true;
        self.admitted.clear();
        self.settle(&self.problem.clone());
    }

    /// Holds the running plan against a problem from now on.
    fn settle(&mut self, basis: &Problem) {
        self.watch.clear();
        self.basis =
            self.routes.as_ref().map_or_else(BTreeMap::new, |routes| marks(basis, routes, &self.settings));
    }

    /// Looks at what is known now, and asks for another plan if there is a cause.
    fn consider(&mut self, now_us: u64) -> Option<Action> {
        self.problem = self.known.problem(&self.settings, now_us);
        self.avoided.retain(|_, until_us| now_us < *until_us);
        let trigger = self.trigger(now_us)?;
        let is_asked = trigger.cause == Cause::Rebalance;
        if !matches!(self.phase, Phase::Idle)
            || self.is_paused && !is_asked
            || self.is_by_hand && !trigger.cause.is_urgent()
            || now_us < self.wait_until_us && !is_asked
        {
            return None;
        }
        self.pending = None;
        Some(self.ask(trigger, now_us))
    }

    /// The most urgent cause there is to look for another plan.
    fn trigger(&mut self, now_us: u64) -> Option<Trigger> {
        let Some(routes) = &self.routes else {
            return Some(Trigger::of(Cause::Start, "", now_us));
        };
        let now = marks(&self.problem, routes, &self.settings);
        self.watch.look((&self.basis, &now), &self.settings, now_us);
        self.demand.set(Facts::of(&self.served(&self.problem), routes));
        let used = used(&self.problem, &self.demand.loads());
        let overloaded = self.watch.overloaded(&used, &self.settings, now_us);
        let out = self.watch.out((&self.basis, &now), &self.settings, now_us);
        let review = self.review_at_us.filter(|at_us| now_us >= *at_us);
        let review = review.map(|_| Trigger::of(Cause::Review, "", now_us));
        let gone = self.known.away.iter().find(|node| routes.on(node).next().is_some());
        let gone = gone.map(|node| Trigger::of(Cause::NodeGone, &**node, now_us));
        let cheaper = self.cheaper(now_us);
        let all = [gone, self.pending.clone(), overloaded, out, cheaper, review];
        all.into_iter().flatten().min_by_key(|trigger| trigger.cause)
    }

    /// Whether a plan that ran before would do again, for so much less that it may be worth it. It is looked at once
    /// everything has cooled down.
    fn cheaper(&mut self, now_us: u64) -> Option<Trigger> {
        let cool_us = us(self.settings.cool_down_s);
        let is_hot = self.moved_us.values().any(|moved_us| now_us.saturating_sub(*moved_us) < cool_us);
        let routes = self.routes.as_ref().filter(|_| !is_hot && self.admitted.is_empty());
        let Some(routes) = routes else {
            self.cheaper_since_us = None;
            return None;
        };
        let usd = usd_per_h(&self.problem, routes, &self.demand.loads());
        let most = usd / (1.0 + self.settings.keep);
        let costs = self.former.iter().filter_map(|former| {
            let loads = recompute(&Facts::of(&self.problem, former));
            let used = used(&self.problem, &loads);
            let has_nodes =
                former.shares.values().flat_map(BTreeMap::keys).all(|n| !self.known.away.contains(n));
            let fits = has_nodes && used.values().all(|(part, ceiling)| part <= ceiling);
            fits.then(|| usd_per_h(&self.problem, former, &loads)).filter(|usd| *usd < most)
        });
        let Some(cost) = costs.min_by(f64::total_cmp) else {
            self.cheaper_since_us = None;
            return None;
        };
        let since_us = *self.cheaper_since_us.get_or_insert(now_us);
        let is_long = now_us.saturating_sub(since_us) >= us(self.settings.out_for_s);
        let trigger =
            Trigger { value: cost, low: most, high: usd, ..Trigger::of(Cause::Cheaper, "", since_us) };
        is_long.then_some(trigger)
    }

    /// A problem with the rates that are let in.
    fn served(&self, problem: &Problem) -> Problem {
        let mut problem = problem.clone();
        for source in &mut problem.rates.sources {
            let most = self.admitted.get(&source.name).copied().unwrap_or(f64::INFINITY);
            source.rate_per_s = source.rate_per_s.min(most);
        }
        problem
    }

    fn ask(&mut self, trigger: Trigger, now_us: u64) -> Action {
        if trigger.cause == Cause::ObjectiveMissed {
            (self.caution, self.missed_us) = ((self.caution + 1).min(CAUTION_MAX), now_us);
        } else if now_us.saturating_sub(self.missed_us) > us(self.settings.believe_s) {
            (self.caution, self.missed_us) = (self.caution.saturating_sub(1), now_us);
        }
        self.review_at_us = None;
        let problem = self.wanted(trigger.cause);
        let hot = |moved_us: &u64| now_us.saturating_sub(*moved_us) < us(self.settings.cool_down_s);
        let pinned =
            self.moved_us.iter().filter(|(_, moved_us)| hot(moved_us)).map(|(stage, _)| stage.clone());
        let routes = self.routes.clone().unwrap_or_default();
        let id = self.next_id;
        self.next_id += 1;
        let question = Box::new(Question {
            id,
            running: Running {
                decision: routes.at(&problem),
                usd_per_start: self.settings.usd_per_start * 3600.0 / self.hold_s.max(1.0),
            },
            mode: self.settings.mode,
            pinned: pinned.collect(),
            may_preempt: trigger.cause.is_urgent(),
            priorities: self.priorities.clone(),
            problem,
        });
        self.phase = Phase::Solving { trigger, question: question.clone(), is_stale: false };
        Action::Solve(question)
    }

    /// The problem as placement is to see it.
    fn wanted(&self, cause: Cause) -> Problem {
        let mut problem = self.problem.clone();
        problem.objectives.utilisation_max *= CAUTION.powi(self.caution as i32);
        for source in &mut problem.rates.sources {
            let rate = source.rate_per_s.max(self.settings.rate_floor_per_s);
            let mark = Mark { cause: Cause::Rate, what: source.name.clone() };
            let grows = self.basis.get(&mark).is_some_and(|basis| rate > *basis);
            let is_hurried = cause == Cause::Overload && grows;
            source.rate_per_s = if is_hurried { rate * (1.0 + self.settings.headroom) } else { rate };
        }
        avoid(&mut problem, &self.avoided.keys().cloned().collect());
        problem
    }

    fn solved(
        &mut self,
        id: u64,
        solution: std::result::Result<Box<Solution>, String>,
        now_us: u64,
    ) -> Vec<Action> {
        let Phase::Solving { question, .. } = &self.phase else { return Vec::new() };
        if question.id != id {
            return Vec::new();
        }
        let Phase::Solving { trigger, question, is_stale } = std::mem::replace(&mut self.phase, Phase::Idle)
        else {
            return Vec::new();
        };
        if is_stale {
            // The cause stands, unless there is a more urgent one by now.
            self.ask_for(trigger);
            return Vec::new();
        }
        let mut record = self.record(&question, trigger, now_us);
        let solution = match solution {
            Ok(solution) => *solution,
            Err(why) => return self.give_up(record, Verdict::Unknown { why }, now_us),
        };
        let Some(decision) = &solution.answer.decision else {
            return self.none(record, &question, solution.answer.status, now_us);
        };
        let before = self.routes.clone().unwrap_or_default();
        let after = Routes::of(decision);
        record.usd_per_h_after = solution.answer.cost_usd_per_h;
        record.usd_per_h_bound = solution.answer.bound_usd_per_h;
        record.starts = more(&before, &after);
        record.stops = more(&after, &before);
        record.moved = self.moved(&before, &after);
        record.preempted =
            record.moved.iter().filter(|stage| question.pinned.contains(*stage)).cloned().collect();
        record.utilisation = solution.answer.utilisation.clone();
        record.admitted = solution.admitted.clone();
        let found = Found { after, decision: decision.clone(), admitted: solution.admitted };
        self.choose(record, &question, found, now_us)
    }

    /// There is no plan.
    fn none(&mut self, record: Record, question: &Question, status: Status, now_us: u64) -> Vec<Action> {
        match status {
            Status::Infeasible if question.pinned.is_empty() || question.may_preempt => {
                self.give_up(record, Verdict::Infeasible, now_us)
            }
            // With what moved just now in its place; it is looked at again when that has cooled down.
            Status::Infeasible => {
                self.settle(&question.problem);
                self.review_later(now_us);
                self.close(record, Verdict::Kept, now_us)
            }
            _ => {
                let why = "no plan was found in time".to_owned();
                self.give_up(record, Verdict::Unknown { why }, now_us)
            }
        }
    }

    /// A record of what runs, at what is asked.
    fn record(&self, question: &Question, trigger: Trigger, now_us: u64) -> Record {
        let (judged, fits) = self.judge(&self.served(&question.problem));
        Record {
            id: question.id,
            at_us: now_us,
            trigger,
            verdict: Verdict::Kept,
            ended_us: Some(now_us),
            could_stay: fits,
            usd_per_h_before: self.routes.is_some().then(|| judged.cost_usd_per_h()),
            usd_per_h_after: None,
            usd_per_h_bound: None,
            usd_per_h_start: question.running.usd_per_start,
            starts: Vec::new(),
            stops: Vec::new(),
            moved: Vec::new(),
            preempted: Vec::new(),
            utilisation: BTreeMap::new(),
            admitted: BTreeMap::new(),
        }
    }

    /// What the running plan comes to, and whether it may go on: its nodes may be somewhat above their ceiling.
    fn judge(&self, problem: &Problem) -> (Evaluation, bool) {
        let Some(routes) = &self.routes else { return (Evaluation::default(), false) };
        let mode = self.settings.mode;
        let decision = routes.at(problem);
        let strict = evaluate(problem, mode, &decision);
        let mut tolerant = problem.clone();
        let ceiling = problem.objectives.utilisation_max * (1.0 + self.settings.overload);
        tolerant.objectives.utilisation_max = ceiling.min(1.0);
        tolerant.objectives.p95_ms_max = None;
        let in_time = problem
            .objectives
            .p95_ms_max
            .is_none_or(|most| strict.p95_ms.values().all(|ms| *ms <= most * (1.0 + 1e-6)));
        let fits = evaluate(&tolerant, mode, &decision).is_feasible() && in_time;
        (strict, fits)
    }

    /// Keeps what runs, or changes to what was found.
    fn choose(&mut self, mut record: Record, question: &Question, found: Found, now_us: u64) -> Vec<Action> {
        let is_same = self.routes.as_ref().is_some_and(|routes| routes.is_like(&found.after, SHARE))
            && found.admitted.keys().eq(self.admitted.keys());
        let may_move = record.preempted.is_empty() || question.may_preempt;
        let is_missed = record.trigger.cause == Cause::ObjectiveMissed;
        let stays = record.could_stay && !is_missed && !self.is_worth_it(&record, question, &found);
        if is_same || !may_move || stays {
            self.failures = 0;
            if record.trigger.cause == Cause::Cheaper {
                // It would not earn its starts; what comes later may.
                self.former.clear();
            }
            self.settle(&question.problem);
            if !may_move {
                self.review_later(now_us);
            }
            return self.close(record, Verdict::Kept, now_us);
        }
        if self.settings.dry_run {
            self.settle(&question.problem);
            self.wait_until_us = now_us + us(self.settings.cool_down_s);
            return self.close(record, Verdict::Told, now_us);
        }
        record.verdict = Verdict::Changing;
        record.ended_us = None;
        let id = record.id;
        self.phase = Phase::Changing {
            id,
            routes: found.after,
            basis: Box::new(question.problem.clone()),
            admitted: found.admitted.clone(),
        };
        let tell = Action::Tell(Box::new(record.clone()));
        self.remember(record);
        vec![tell, Action::Apply { id, decision: Box::new(found.decision), admitted: found.admitted }]
    }

    /// Whether a plan is so much cheaper than what runs, or serves so much more, that it earns its starts.
    fn is_worth_it(&self, record: &Record, question: &Question, found: &Found) -> bool {
        let more = 1.0 + self.settings.keep;
        if !self.admitted.is_empty() || !found.admitted.is_empty() {
            if found.admitted.is_empty() != self.admitted.is_empty() {
                return true;
            }
            // While not everything is served, what is served counts, not what it costs.
            let served = |admitted: &BTreeMap<String, f64>| -> f64 {
                let sources = question.problem.rates.sources.iter();
                let most = |name| admitted.get(name).copied().unwrap_or(f64::INFINITY);
                sources.map(|source| source.rate_per_s.min(most(&source.name))).sum()
            };
            return served(&found.admitted) > served(&self.admitted) * more;
        }
        let starts = record.starts.len() as f64 * question.running.usd_per_start;
        let total = record.usd_per_h_after.unwrap_or_default() + starts;
        record.usd_per_h_before.is_none_or(|before| before > total * more)
    }

    /// Nothing came of it: waits, longer each time.
    fn give_up(&mut self, record: Record, verdict: Verdict, now_us: u64) -> Vec<Action> {
        self.back_off(now_us);
        self.close(record, verdict, now_us)
    }

    fn back_off(&mut self, now_us: u64) {
        self.failures = (self.failures + 1).min(30);
        let wait_s = self.settings.back_off_s * 2_f64.powi(self.failures as i32 - 1);
        self.wait_until_us = now_us + us(wait_s.min(self.settings.back_off_s_max));
    }

    fn review_later(&mut self, now_us: u64) {
        self.review_at_us = Some(now_us + us(self.settings.cool_down_s));
    }

    /// Remembers a decision of which nothing more is to come, and tells it.
    fn close(&mut self, mut record: Record, verdict: Verdict, now_us: u64) -> Vec<Action> {
        (record.verdict, record.ended_us) = (verdict, Some(now_us));
        self.remember(record.clone());
        vec![Action::Tell(Box::new(record))]
    }

    fn remember(&mut self, record: Record) {
        self.history.push_back(record);
        while self.history.len() > self.settings.history_max.max(1) {
            self.history.pop_front();
        }
    }

    fn changed(&mut self, id: u64, outcome: std::result::Result<(), Failed>, now_us: u64) {
        if !matches!(&self.phase, Phase::Changing { id: known, .. } if *known == id) {
            return;
        }
        let Phase::Changing { routes, basis, admitted, .. } = std::mem::replace(&mut self.phase, Phase::Idle)
        else {
            return;
        };
        let verdict = match outcome {
            Ok(()) => {
                let before = self.routes.replace(routes).unwrap_or_default();
                self.former.push_back(before.clone());
                if self.former.len() > FORMER_MAX {
                    self.former.pop_front();
                }
                self.cheaper_since_us = None;
                let moved = self.moved(&before, self.routes.as_ref().expect("it was just put there"));
                self.moved_us.extend(moved.into_iter().map(|stage| (stage, now_us)));
                self.held(now_us);
                (self.failures, self.is_by_hand, self.admitted) = (0, false, admitted);
                self.settle(&basis);
                self.review_later(now_us);
                Verdict::Changed
            }
            Err(failed) => {
                self.back_off(now_us);
                self.avoid(&routes, failed.node.as_deref(), now_us);
                Verdict::Failed { why: failed.why }
            }
        };
        if let Some(record) = self.history.iter_mut().rfind(|record| record.id == id) {
            (record.verdict, record.ended_us) = (verdict, Some(now_us));
        }
    }

    /// Learns how long plans last.
    fn held(&mut self, now_us: u64) {
        if let Some(before_us) = self.changed_us.replace(now_us) {
            let lasted_s = now_us.saturating_sub(before_us) as f64 / 1e6;
            let usual_s = self.settings.hold_s;
            self.hold_s = (0.75 * self.hold_s + 0.25 * lasted_s).clamp(usual_s / 5.0, usual_s * 5.0);
        }
    }

    /// What a failed change would have started is left out for a while: on the node where it failed, if that is known.
    fn avoid(&mut self, routes: &Routes, node: Option<&str>, now_us: u64) {
        let until_us = now_us + us(self.settings.avoid_s);
        let before = self.routes.clone().unwrap_or_default();
        let starts = more(&before, routes).into_iter();
        for start in starts.filter(|start| node.is_none_or(|node| node == start.node)) {
            let avoided = Avoided { stage: start.stage, variant: start.variant, node: start.node };
            self.avoided.insert(avoided, until_us);
        }
    }

    /// The stages that move from one plan to another.
    fn moved(&self, before: &Routes, after: &Routes) -> Vec<String> {
        let mut moved = before.moved(after);
        let shares =
            self.stateful.iter().filter(|stage| before.shares.get(*stage) != after.shares.get(*stage));
        moved.extend(shares.filter(|stage| !moved.contains(stage)).cloned().collect::<Vec<_>>());
        moved
    }
}

/// By node and link: which part of it is used, and which may be.
fn used(problem: &Problem, loads: &Loads) -> BTreeMap<String, (f64, f64)> {
    let ceiling = problem.objectives.utilisation_max;
    let nodes = problem.machines.nodes.iter().filter_map(|node| {
        let busy = loads.busy_slots.get(&node.name)?;
        Some((node.name.clone(), (busy / f64::from(node.slots), ceiling)))
    });
    let links = problem.machines.links.iter().filter_map(|link| {
        let name = link_name(&link.from, &link.to);
        let part = loads.mbit_per_s.get(&name)? / link.mbit_per_s?;
        Some((name, (part, 1.0)))
    });
    nodes.chain(links).collect()
}

/// A plan that was found.
struct Found {
    after: Routes,
    decision: Decision,
    admitted: BTreeMap<String, f64>,
}

#[cfg(test)]
mod tests;
