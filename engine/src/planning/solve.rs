//! The cheapest plan for a topology.
//!
//! Placement may split any stage; the engine does not split all. So the problem is solved as it is, which bounds what
//! any plan costs; and where a set of stages that belongs on one node is on several, once more for each node that it
//! can be bound to. What is answered is judged as the plan that was written, whole weights and all.

use std::collections::{BTreeMap, BTreeSet};

use super::wanted::Wanted;
use super::written::{flows, read, write};
use crate::error::Result;
use crate::placement::{
    self, Answer, Budget, Decision, GAP_PROVED, Mode, Problem, Running, Status, evaluate,
};
use crate::plan::Plan;

/// Problems that are solved for one plan, at most.
const SOLVES_MAX: usize = 200;

/// Nodes that a set of stages is bound to in turn, at most.
const NODES_MAX: usize = 16;

/// How much of the utilisation is left unused where whole weights need it.
const SLACK: f64 = 0.995;

/// The cheapest plan, and what is known of it: the answer is that of the plan as it is written.
///
/// # Errors
/// `Invalid` if the problem is not right.
pub fn plan(wanted: &Wanted, budget: &Budget<'_>) -> Result<(Answer, Option<Plan>)> {
    let answer = solve(wanted, Mode::Shared, budget)?;
    let Some(decision) = &answer.decision else { return Ok((answer, None)) };
    let plan = write(wanted, &settled(wanted, decision.clone()));
    let written = read(wanted, &plan)?;
    if evaluate(&wanted.problem, Mode::Shared, &written).is_feasible() {
        return Ok((judged(wanted, answer, written), Some(plan)));
    }
    // Whole weights, or the turns that items take, need a little more than the solver left.
    let mut narrower = wanted.clone();
    narrower.problem.objectives.utilisation_max *= SLACK;
    let again = solve(&narrower, Mode::Shared, budget)?;
    let Some(decision) = again.decision else { return Ok((stuck(answer), None)) };
    let plan = write(wanted, &settled(&narrower, decision));
    let written = read(wanted, &plan)?;
    match evaluate(&wanted.problem, Mode::Shared, &written).is_feasible() {
        true => Ok((judged(wanted, answer, written), Some(plan))),
        false => Ok((stuck(answer), None)),
    }
}

/// An answer whose decision cannot be written as a plan.
fn stuck(answer: Answer) -> Answer {
    Answer { status: Status::Unknown, decision: None, cost_usd_per_h: None, ..answer }
}

/// An answer with another decision, at its own cost.
fn judged(wanted: &Wanted, answer: Answer, decision: Decision) -> Answer {
    let cost = evaluate(&wanted.problem, Mode::Shared, &decision).cost_usd_per_h();
    let proved = answer.bound_usd_per_h.is_some_and(|bound| cost <= bound * (1.0 + GAP_PROVED) + GAP_PROVED);
    let status = if proved { Status::Optimal } else { Status::Feasible };
    Answer { status, decision: Some(decision), cost_usd_per_h: Some(cost), ..answer }
}

/// The cheapest decision that keeps together what belongs together.
///
/// # Errors
/// `Invalid` if the problem is not right.
pub fn solve(wanted: &Wanted, mode: Mode, budget: &Budget<'_>) -> Result<Answer> {
    solve_any(wanted, mode, budget, None)
}

/// The same from a plan that runs, which it costs something to leave.
///
/// # Errors
/// `Invalid` if the problem or the running plan is not right.
pub fn solve_from(wanted: &Wanted, mode: Mode, budget: &Budget<'_>, running: &Running) -> Result<Answer> {
    solve_any(wanted, mode, budget, Some(running))
}

fn solve_any(wanted: &Wanted, mode: Mode, budget: &Budget<'_>, running: Option<&Running>) -> Result<Answer> {
    let root = solve_one(&wanted.problem, mode, budget, running)?;
    if root.decision.is_none() || broken(wanted, &root).is_none() {
        return Ok(root);
    }
    let mut search = Search { wanted, mode, budget, running, solves: 1, best: None, bound: f64::INFINITY };
    let mut open = vec![(Pins::new(), root.clone())];
    while let Some((pins, answer)) = take_least(&mut open) {
        if search.best.as_ref().is_some_and(|best| cost(best) <= bound(&answer)) {
            // No other that is open is lower.
            search.bound = search.bound.min(bound(&answer));
            break;
        }
        let Some(whole) = broken(wanted, &answer) else {
            search.take(answer);
            continue;
        };
        search.branch(&pins, whole, &answer, &mut open)?;
    }
    Ok(search.answer(root))
}

fn solve_one(
    problem: &Problem,
    mode: Mode,
    budget: &Budget<'_>,
    running: Option<&Running>,
) -> Result<Answer> {
    match running {
        Some(running) => placement::solve_from(problem, mode, budget, running),
        None => placement::solve(problem, mode, budget),
    }
}

/// By stage: the node that it is bound to.
type Pins = BTreeMap<String, String>;

struct Search<'a> {
    wanted: &'a Wanted,
    mode: Mode,
    budget: &'a Budget<'a>,
    running: Option<&'a Running>,
    solves: usize,
    /// The cheapest answer that breaks nothing.
    best: Option<Answer>,
    /// No plan of those that were put aside costs less.
    bound: f64,
}

impl Search<'_> {
    fn take(&mut self, answer: Answer) {
        self.bound = self.bound.min(bound(&answer));
        if self.best.as_ref().is_none_or(|best| cost(&answer) < cost(best)) {
            self.best = Some(answer);
        }
    }

    /// Binds a whole to each node in turn.
    fn branch(
        &mut self,
        pins: &Pins,
        whole: &BTreeSet<String>,
        answer: &Answer,
        open: &mut Vec<(Pins, Answer)>,
    ) -> Result<()> {
        let nodes = candidates(self.wanted, whole, answer);
        if nodes.len() > NODES_MAX {
            // The others are not looked at: of them only what is known already is known.
            self.bound = self.bound.min(bound(answer));
        }
        for node in nodes.into_iter().take(NODES_MAX) {
            if self.solves >= SOLVES_MAX || !(self.budget.go_on)() {
                self.bound = self.bound.min(bound(answer));
                return Ok(());
            }
            let mut pins = pins.clone();
            pins.extend(whole.iter().map(|stage| (stage.clone(), node.clone())));
            let bound_to = bound_to(self.wanted, &pins);
            self.solves += 1;
            let child = solve_one(&bound_to.problem, self.mode, self.budget, self.running)?;
            match (&child.status, &child.decision) {
                (_, Some(_)) => open.push((pins, child)),
                (Status::Infeasible, None) => {}
                (_, None) => self.bound = self.bound.min(bound(answer)),
            }
        }
        Ok(())
    }

    fn answer(self, root: Answer) -> Answer {
        let Some(best) = self.best else {
            // Every way to keep things together was tried and is infeasible, or not all were.
            let status = if self.bound.is_finite() { Status::Unknown } else { Status::Infeasible };
            let bound_usd_per_h = root.bound_usd_per_h.filter(|_| status == Status::Unknown);
            return Answer { status, decision: None, cost_usd_per_h: None, bound_usd_per_h, ..root };
        };
        let bound = self.bound.max(bound(&root)).min(cost(&best));
        let proved = cost(&best) <= bound * (1.0 + GAP_PROVED) + GAP_PROVED;
        let status = if proved { Status::Optimal } else { Status::Feasible };
        Answer { status, bound_usd_per_h: Some(bound), ..best }
    }
}

fn cost(answer: &Answer) -> f64 {
    answer.cost_usd_per_h.unwrap_or(f64::INFINITY)
}

fn bound(answer: &Answer) -> f64 {
    answer.bound_usd_per_h.unwrap_or(0.0)
}

/// Takes the answer with the lowest bound; of equal ones the latest, which is bound the furthest.
fn take_least(open: &mut Vec<(Pins, Answer)>) -> Option<(Pins, Answer)> {
    let least =
        (0..open.len()).min_by(|a, b| bound(&open[*a].1).total_cmp(&bound(&open[*b].1)).then(b.cmp(a)))?;
    Some(open.remove(least))
}

/// A whole that is on several nodes.
fn broken<'a>(wanted: &'a Wanted, answer: &Answer) -> Option<&'a BTreeSet<String>> {
    let decision = answer.decision.as_ref()?;
    wanted.wholes.iter().find(|whole| is_apart(whole, decision))
}

fn is_apart(whole: &BTreeSet<String>, decision: &Decision) -> bool {
    let rates = whole.iter().filter_map(|stage| decision.rates_per_s.get(stage));
    rates.flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().len() > 1
}

/// The nodes that all of a whole may be on: those first where most of it is.
fn candidates(wanted: &Wanted, whole: &BTreeSet<String>, answer: &Answer) -> Vec<String> {
    let stages = wanted.problem.profile.stages.iter().filter(|stage| whole.contains(&stage.name));
    let stages: Vec<_> = stages.collect();
    let may = |node: &&String| {
        stages.iter().all(|stage| stage.nodes.as_ref().is_none_or(|nodes| nodes.contains(node)))
    };
    let nodes = wanted.problem.machines.nodes.iter().map(|node| &node.name);
    let mut nodes: Vec<String> = nodes.filter(may).cloned().collect();
    let rates = answer.decision.as_ref().map(|decision| &decision.rates_per_s);
    let has = |node: &String| -> f64 {
        let rates = whole.iter().filter_map(|stage| rates?.get(stage)?.get(node));
        rates.sum()
    };
    nodes.sort_by(|a, b| has(b).total_cmp(&has(a)));
    nodes
}

/// The same with stages bound to nodes.
fn bound_to(wanted: &Wanted, pins: &Pins) -> Wanted {
    let mut bound = wanted.clone();
    for stage in &mut bound.problem.profile.stages {
        if let Some(node) = pins.get(&stage.name) {
            stage.nodes = Some(vec![node.clone()]);
        }
    }
    bound
}

/// The same decision with fewer splits: each stage where its input is, or on one node, if that costs no more when
/// it is run.
fn settled(wanted: &Wanted, mut decision: Decision) -> Decision {
    let mut least = as_run(wanted, &mut decision);
    for stage in wanted.in_order() {
        let Some(own) = decision.rates_per_s.get(&stage.name).cloned() else { continue };
        let total: f64 = own.values().sum();
        let input = wanted.problem.profile.edges.iter().find(|edge| edge.to == stage.name);
        let like_input = input.and_then(|edge| decision.rates_per_s.get(&edge.from)).map(|rates| {
            let all: f64 = rates.values().sum();
            rates.iter().map(|(node, rate)| (node.clone(), rate / all * total)).collect()
        });
        let alone = own.keys().filter(|_| own.len() > 1).map(|node| BTreeMap::from([(node.clone(), total)]));
        for tried in like_input.into_iter().chain(alone) {
            if own == tried {
                continue;
            }
            let mut changed = decision.clone();
            changed.rates_per_s.insert(stage.name.clone(), tried);
            let cost = as_run(wanted, &mut changed);
            let together = wanted.wholes.iter().all(|whole| !is_apart(whole, &changed));
            if cost.is_finite() && cost <= least && together {
                (decision, least) = (changed, cost);
                break;
            }
        }
    }
    decision
}

/// What a decision costs when it is run, infinitely much if it breaks anything; sets its flows.
fn as_run(wanted: &Wanted, decision: &mut Decision) -> f64 {
    decision.flows = flows(wanted, &decision.rates_per_s);
    let judged = evaluate(&wanted.problem, Mode::Shared, decision);
    if judged.is_feasible() { judged.cost_usd_per_h() } else { f64::INFINITY }
}
