//! Why there is no plan: the single changes that would make one, each as small as it can be.
//!
//! Every change that is named was tried: the problem with that change has a plan. What is looked for is any plan, so
//! prices are left out, and the first that is found ends a search.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::decision::{Decision, Mode, Status};
use super::evaluate::evaluate;
use super::problem::{Machine, Problem};
use super::{Budget, solve};
use crate::error::Result;

/// Linear programs for one attempt, at most.
const PROGRAMS_MAX: u64 = 400;

/// Halvings of what is not known, at most: a thousandth of a percent.
const HALVINGS_MAX: usize = 17;

/// Nodes and links that are tried, at most.
const TRIED_MAX: usize = 12;

/// Slots or nodes that are added, at most.
const MORE_MAX: u32 = 64;

/// One change after which there is a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change", deny_unknown_fields)]
pub enum Change {
    /// The floor of accuracy is lowered to this.
    AccuracyMin {
        /// End to end.
        to: f64,
    },
    /// The ceiling of utilisation is raised to this.
    UtilisationMax {
        /// Busy slots over slots.
        to: f64,
    },
    /// The bound of latency is raised to this.
    P95Ms {
        /// Milliseconds.
        to: f64,
    },
    /// All sources send this part of their rates.
    Rates {
        /// Above 0, below 1.
        factor: f64,
    },
    /// One node has more slots.
    Slots {
        /// The node.
        node: String,
        /// Where it stands.
        site: String,
        /// How many more.
        more: u32,
    },
    /// There are more nodes like one.
    Nodes {
        /// The node they are like.
        like: String,
        /// Where it stands.
        site: String,
        /// How many more.
        more: u32,
    },
    /// One node has more memory.
    Memory {
        /// The node.
        node: String,
        /// Megabytes.
        to_mb: f64,
    },
    /// One link carries more.
    Link {
        /// The site that sends.
        from: String,
        /// The site that receives.
        to: String,
        /// Megabits per second.
        mbit_per_s: f64,
    },
}

impl Change {
    /// Makes the change.
    pub fn apply(&self, problem: &mut Problem) {
        let place =
            |problem: &Problem, name: &str| problem.machines.nodes.iter().position(|n| n.name == name);
        match self {
            Self::AccuracyMin { to } => problem.objectives.accuracy_min = Some(*to),
            Self::UtilisationMax { to } => problem.objectives.utilisation_max = *to,
            Self::P95Ms { to } => problem.objectives.p95_ms_max = Some(*to),
            Self::Rates { factor } => {
                problem.rates.sources.iter_mut().for_each(|source| source.rate_per_s *= factor);
            }
            Self::Slots { node, more, .. } => {
                let nodes = problem.machines.nodes.iter_mut().filter(|known| known.name == *node);
                nodes.for_each(|node| node.slots += more);
            }
            Self::Nodes { like, more, .. } => {
                if let Some(place) = place(problem, like) {
                    add_like(problem, place, *more);
                }
            }
            Self::Memory { node, to_mb } => {
                let nodes = problem.machines.nodes.iter_mut().filter(|known| known.name == *node);
                nodes.for_each(|node| node.memory_mb = Some(*to_mb));
            }
            Self::Link { from, to, mbit_per_s } => {
                let links = problem.machines.links.iter_mut();
                let links = links.filter(|link| link.from == *from && link.to == *to);
                links.for_each(|link| link.mbit_per_s = Some(*mbit_per_s));
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccuracyMin { to } => write!(f, "lower the floor of accuracy to {to:.4}"),
            Self::UtilisationMax { to } => write!(f, "let slots be busy up to {to:.3}"),
            Self::P95Ms { to } => write!(f, "allow a latency of {to:.0} ms"),
            Self::Rates { factor } => write!(f, "send {:.1} % of the rates", factor * 100.0),
            Self::Slots { node, site, more } => write!(f, "{more} more slots on {node} at {site}"),
            Self::Nodes { like, site, more } => write!(f, "{more} more nodes like {like} at {site}"),
            Self::Memory { node, to_mb } => write!(f, "{to_mb:.0} MB of memory on {node}"),
            Self::Link { from, to, mbit_per_s } => {
                write!(f, "{mbit_per_s:.2} Mbit/s from {from} to {to}")
            }
        }
    }
}

/// The single changes that would do where there is no plan, each as small as it can be; none if there is a plan, or
/// if no single change is known to do. What a search could not settle within the budget counts as having no plan.
///
/// # Errors
/// `Invalid` if the problem is not right.
pub fn smallest_change(problem: &Problem, mode: Mode, budget: &Budget<'_>) -> Result<Vec<Change>> {
    problem.check()?;
    let mut free = problem.clone();
    free.machines.nodes.iter_mut().for_each(|node| node.usd_per_h = 0.0);
    free.machines.links.iter_mut().for_each(|link| link.usd_per_gb = 0.0);
    let search = Search { problem: free, mode, budget };
    if search.plan(|_| ()).is_some() {
        return Ok(Vec::new());
    }
    let mut changes: Vec<Change> = Vec::new();
    changes.extend(search.accuracy());
    changes.extend(search.utilisation());
    changes.extend(search.latency());
    changes.extend(search.rates());
    changes.extend(search.slots());
    changes.extend(search.nodes());
    changes.extend(search.memory());
    changes.extend(search.links());
    Ok(changes)
}

struct Search<'a> {
    /// Without prices.
    problem: Problem,
    mode: Mode,
    budget: &'a Budget<'a>,
}

impl Search<'_> {
    /// Some plan of the changed problem.
    fn plan(&self, change: impl FnOnce(&mut Problem)) -> Option<(Problem, Decision)> {
        let mut changed = self.problem.clone();
        change(&mut changed);
        let programs_max = PROGRAMS_MAX.min(self.budget.programs_max);
        let answer = solve(&changed, self.mode, &Budget { programs_max, go_on: self.budget.go_on }).ok()?;
        match answer.status {
            Status::Optimal | Status::Feasible => Some((changed, answer.decision?)),
            Status::Infeasible | Status::Unknown => None,
        }
    }

    /// The number nearest to `no`, which has no plan, that has one; `yes` is tried first. What a plan tells of how near
    /// it comes spares halvings.
    fn nearest(
        &self,
        no: f64,
        yes: f64,
        change: impl Fn(&mut Problem, f64),
        reached: impl Fn(&Problem, &Decision, f64) -> f64,
    ) -> Option<f64> {
        let (problem, decision) = self.plan(|problem| change(problem, yes))?;
        let (mut no, mut yes) = (no, reached(&problem, &decision, yes));
        for _ in 0..HALVINGS_MAX {
            let between = (no + yes) / 2.0;
            if (yes - no).abs() <= 1e-4 * yes.abs().max(1e-6) {
                break;
            }
            match self.plan(|problem| change(problem, between)) {
                Some((problem, decision)) => yes = reached(&problem, &decision, between),
                None => no = between,
            }
        }
        Some(yes)
    }

    fn accuracy(&self) -> Option<Change> {
        let floor = self.problem.objectives.accuracy_min?;
        let (changed, decision) = self.plan(|problem| problem.objectives.accuracy_min = None)?;
        let reached = |problem: &Problem, decision: &Decision, tried: f64| {
            evaluate(problem, self.mode, decision).accuracy.map_or(tried, |accuracy| accuracy.max(tried))
        };
        let any = evaluate(&changed, self.mode, &decision).accuracy?;
        let set = |problem: &mut Problem, to: f64| problem.objectives.accuracy_min = Some(to);
        self.nearest(floor, any, set, reached).map(|to| Change::AccuracyMin { to })
    }

    fn utilisation(&self) -> Option<Change> {
        let objectives = &self.problem.objectives;
        // With a bound of latency there must be some air.
        let most = if objectives.p95_ms_max.is_some() { 0.99 } else { 1.0 };
        let set = |problem: &mut Problem, to: f64| problem.objectives.utilisation_max = to;
        let at = objectives.utilisation_max;
        let to = (at < most).then(|| self.nearest(at, most, set, |_, _, tried| tried))??;
        Some(Change::UtilisationMax { to })
    }

    fn latency(&self) -> Option<Change> {
        let most = self.problem.objectives.p95_ms_max?;
        let slowest = |problem: &Problem, decision: &Decision| {
            let found = evaluate(problem, self.mode, decision).p95_ms;
            found.values().copied().fold(0.0, f64::max)
        };
        let (changed, decision) = self.plan(|problem| problem.objectives.p95_ms_max = None)?;
        let set = |problem: &mut Problem, to: f64| problem.objectives.p95_ms_max = Some(to);
        let reached = |problem: &Problem, decision: &Decision, _: f64| slowest(problem, decision);
        self.nearest(most, slowest(&changed, &decision), set, reached).map(|to| Change::P95Ms { to })
    }

    fn rates(&self) -> Option<Change> {
        let set = |problem: &mut Problem, factor: f64| {
            problem.rates.sources.iter_mut().for_each(|source| source.rate_per_s *= factor);
        };
        // Hardly anything is asked.
        let factor = self.nearest(1.0, 1e-3, set, |_, _, tried| tried)?;
        Some(Change::Rates { factor })
    }

    /// Nodes that differ in more than their names, those with most slots first.
    fn kinds(&self) -> Vec<usize> {
        let nodes = &self.problem.machines.nodes;
        let pins = |node: &Machine| -> Vec<bool> {
            let stages = self.problem.profile.stages.iter();
            stages.map(|s| s.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node.name))).collect()
        };
        let is_like = |a: &Machine, b: &Machine| {
            (&a.site, a.class(), a.slots, a.memory_mb) == (&b.site, b.class(), b.slots, b.memory_mb)
                && pins(a) == pins(b)
        };
        let mut kinds: Vec<usize> = Vec::new();
        for place in 0..nodes.len() {
            if kinds.len() < TRIED_MAX && !kinds.iter().any(|kind| is_like(&nodes[*kind], &nodes[place])) {
                kinds.push(place);
            }
        }
        kinds.sort_by_key(|kind| std::cmp::Reverse(nodes[*kind].slots));
        kinds
    }

    /// The least number of what is added, by doubling and halving.
    fn least(&self, change: impl Fn(&mut Problem, u32)) -> Option<u32> {
        let mut yes = 1;
        while self.plan(|problem| change(problem, yes)).is_none() {
            yes *= 2;
            if yes > MORE_MAX {
                return None;
            }
        }
        let mut no = yes / 2;
        while yes - no > 1 {
            let between = (no + yes) / 2;
            match self.plan(|problem| change(problem, between)) {
                Some(_) => yes = between,
                None => no = between,
            }
        }
        Some(yes)
    }

    fn slots(&self) -> Vec<Change> {
        let slots = |place: usize| {
            let node = &self.problem.machines.nodes[place];
            let more = self.least(|problem, more| problem.machines.nodes[place].slots += more)?;
            Some(Change::Slots { node: node.name.clone(), site: node.site.clone(), more })
        };
        self.kinds().into_iter().filter_map(slots).collect()
    }

    fn nodes(&self) -> Vec<Change> {
        let nodes = |place: usize| {
            let node = &self.problem.machines.nodes[place];
            let more = self.least(|problem, more| add_like(problem, place, more))?;
            Some(Change::Nodes { like: node.name.clone(), site: node.site.clone(), more })
        };
        self.kinds().into_iter().filter_map(nodes).collect()
    }

    fn memory(&self) -> Vec<Change> {
        let bounded = self.kinds().into_iter().filter_map(|place| {
            let node = &self.problem.machines.nodes[place];
            Some((place, node.memory_mb?))
        });
        let memory = |(place, has): (usize, f64)| {
            let all: f64 = self.problem.profile.services.iter().map(|service| service.memory_mb).sum();
            let set = |problem: &mut Problem, to: f64| problem.machines.nodes[place].memory_mb = Some(to);
            let reached = |problem: &Problem, decision: &Decision, tried: f64| {
                let held = evaluate(problem, self.mode, decision).memory_mb;
                held.get(&problem.machines.nodes[place].name).copied().unwrap_or(tried).clamp(has, tried)
            };
            let to_mb = self.nearest(has, all.max(has), set, reached)?;
            Some(Change::Memory { node: self.problem.machines.nodes[place].name.clone(), to_mb })
        };
        bounded.filter_map(memory).collect()
    }

    fn links(&self) -> Vec<Change> {
        let links = self.problem.machines.links.iter().enumerate();
        let bounded = links.filter_map(|(place, link)| Some((place, link, link.mbit_per_s?)));
        let wider = |(place, link, has): (usize, &super::problem::Link, f64)| {
            let sent = |problem: &Problem, decision: &Decision, tried: f64| {
                let found = evaluate(problem, self.mode, decision).links_mbit_per_s;
                found.get(&format!("{} -> {}", link.from, link.to)).copied().unwrap_or(tried).max(has)
            };
            let (changed, decision) = self.plan(|problem| problem.machines.links[place].mbit_per_s = None)?;
            let set = |problem: &mut Problem, to: f64| problem.machines.links[place].mbit_per_s = Some(to);
            let mbit_per_s =
                self.nearest(has, sent(&changed, &decision, has), set, |problem, decision, tried| {
                    sent(problem, decision, tried).min(tried)
                })?;
            Some(Change::Link { from: link.from.clone(), to: link.to.clone(), mbit_per_s })
        };
        bounded.take(TRIED_MAX).filter_map(wider).collect()
    }
}

/// Adds nodes that may do what one may.
fn add_like(problem: &mut Problem, place: usize, more: u32) {
    let node = problem.machines.nodes[place].clone();
    for number in 0..more {
        let name = format!("{} +{number}", node.name);
        for stage in &mut problem.profile.stages {
            if let Some(nodes) = stage.nodes.as_mut().filter(|nodes| nodes.contains(&node.name)) {
                nodes.push(name.clone());
            }
        }
        let class = Some(node.class().to_owned());
        problem.machines.nodes.push(Machine { name, class, ..node.clone() });
    }
}
