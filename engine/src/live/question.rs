//! What is asked of placement, and the answer: with stages that stay where they are, and with what can be served
//! where not everything can.

use std::collections::{BTreeMap, BTreeSet};

use super::known::without;
use super::routes::Routes;
use crate::error::Result;
use crate::placement::problem::Service;
use crate::placement::{Answer, Mode, Problem, Running, Status};

/// Halvings of the part of the sources that is served: to a thousandth.
const HALVINGS: u32 = 10;

/// Ranks of sources that are served one after the other, at most; those beyond share the last.
const RANKS_MAX: usize = 8;

/// A problem to be solved.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Which one it is.
    pub id: u64,
    /// What is to be planned for.
    pub problem: Problem,
    /// Whose rules the plan follows.
    pub mode: Mode,
    /// What runs now.
    pub running: Running,
    /// Stages that are to keep their nodes and variants.
    pub pinned: BTreeSet<String>,
    /// Where there is no plan otherwise, they may move after all.
    pub may_preempt: bool,
    /// By source: the higher, the later it is cut where not everything can be served; 0 if absent.
    pub priorities: BTreeMap<String, i64>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Solution {
    /// The answer, to what is served.
    pub answer: Answer,
    /// Stages were moved that were to stay.
    pub preempted: bool,
    /// By source of which not everything can be served: items per second that are.
    pub admitted: BTreeMap<String, f64>,
}

/// Solves problems; may be stopped, and then answers what it has.
pub type Solve<'a> = dyn FnMut(&Problem, &Running) -> Result<Answer> + 'a;

/// Answers a question: first with everything that is to stay in place, then, if need be, without; and where there is no
/// plan for all that the sources send, for as much of it as there is, the sources of low priority cut first.
///
/// Problems that are solved: at most two, and 11 for each of 8 ranks.
///
/// # Errors
/// If the problem is not right.
pub fn answer(question: &Question, solve: &mut Solve<'_>) -> Result<Solution> {
    let pinned = pinned(question);
    let is_free = pinned == question.problem;
    let found = solve(&pinned, &question.running)?;
    if found.status != Status::Infeasible || (!question.may_preempt && !is_free) {
        return Ok(Solution { answer: found, ..Solution::default() });
    }
    let found = if is_free { found } else { solve(&question.problem, &question.running)? };
    if found.status != Status::Infeasible {
        return Ok(Solution { answer: found, preempted: !is_free, admitted: BTreeMap::new() });
    }
    Ok(Solution { preempted: !is_free, ..serve(question, found, solve)? })
}

/// The problem with stages bound to the nodes and variants that they have.
fn pinned(question: &Question) -> Problem {
    let (mut problem, routes) = (question.problem.clone(), Routes::of(&question.running.decision));
    let known: BTreeSet<String> = problem.machines.nodes.iter().map(|node| node.name.clone()).collect();
    for stage in problem.profile.stages.iter_mut().filter(|stage| question.pinned.contains(&stage.name)) {
        let Some(shares) = routes.shares.get(&stage.name) else { continue };
        let nodes: Vec<String> = shares.keys().filter(|node| known.contains(*node)).cloned().collect();
        if nodes.is_empty() {
            // All of them are gone: it has to move.
            continue;
        }
        stage.nodes = Some(nodes);
        if let Some(variant) = routes.variants.get(&stage.name) {
            let other = |s: &Service| s.stage == stage.name && s.variant != *variant;
            problem.profile.services.retain(|service| !other(service));
        }
    }
    problem
}

/// As much as can be served, in order of priority.
fn serve(question: &Question, infeasible: Answer, solve: &mut Solve<'_>) -> Result<Solution> {
    let priority = |source: &String| {
        let named = question.priorities.get(source);
        let named = named.or_else(|| question.priorities.get(source.strip_suffix(" feed")?));
        named.copied().unwrap_or_default()
    };
    let mut ranks: Vec<i64> = question.problem.rates.sources.iter().map(|s| priority(&s.name)).collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks.truncate(RANKS_MAX);
    let last = ranks.last().copied().unwrap_or_default();
    let scaled = |rank: i64, part: f64| {
        let mut problem = question.problem.clone();
        for source in &mut problem.rates.sources {
            source.rate_per_s *= match priority(&source.name).min(last).cmp(&rank) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => part,
                std::cmp::Ordering::Greater => 1.0,
            };
        }
        problem
    };
    for rank in ranks {
        let none = scaled(rank, 0.0);
        let mut best = (none.clone(), solve(&none, &question.running)?);
        if best.1.decision.is_none() {
            continue;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..HALVINGS {
            let part = f64::midpoint(low, high);
            let problem = scaled(rank, part);
            let found = solve(&problem, &question.running)?;
            if found.decision.is_some() {
                (low, best) = (part, (problem, found));
            } else {
                high = part;
            }
        }
        let (problem, answer) = best;
        let pairs = problem.rates.sources.into_iter().zip(&question.problem.rates.sources);
        let cut = pairs.filter(|(served, offered)| served.rate_per_s < offered.rate_per_s);
        let admitted = cut.map(|(served, _)| (served.name, served.rate_per_s)).collect();
        return Ok(Solution { answer, preempted: false, admitted });
    }
    Ok(Solution { answer: infeasible, ..Solution::default() })
}

/// What is not to be tried again for a while: a stage's variant on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Avoided {
    pub(super) stage: String,
    pub(super) variant: String,
    pub(super) node: String,
}

/// Takes out of a problem what is to be avoided; a node gets a class of its own for it.
pub(super) fn avoid(problem: &mut Problem, avoided: &BTreeSet<Avoided>) {
    for node in &mut problem.machines.nodes {
        let bad: Vec<&Avoided> = avoided.iter().filter(|avoided| avoided.node == node.name).collect();
        if bad.is_empty() {
            continue;
        }
        let class = format!("{} in part", node.name);
        let services = problem.profile.services.iter().filter(|s| s.class == node.class());
        let good = services.filter(|s| !bad.iter().any(|b| b.stage == s.stage && b.variant == s.variant));
        let own: Vec<_> = good.map(|s| Service { class: class.clone(), ..s.clone() }).collect();
        problem.profile.services.extend(own);
        node.class = Some(class);
    }
    without(problem, &BTreeSet::new());
}
