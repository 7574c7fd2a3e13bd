//! What a policy costs second by second, and when it was late.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::live::demand::{Facts, Loads, link_name, links_usd_per_h, recompute};
use crate::live::record::more;
use crate::live::routes::Routes;
use crate::placement::Problem;

/// Seconds of work that may wait at a node or link; what comes beyond that is dropped.
const WAITS_S: f64 = 2.0;

/// Numbers that differ by no more are equal.
const EQUAL: f64 = 1e-6;

/// Points of a curve, at most.
const POINTS_MAX: usize = 720;

/// What a policy came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// What it is called.
    pub policy: String,
    /// Dollars of nodes and traffic over the whole trace.
    pub usd: f64,
    /// Dollars per hour, on average.
    pub usd_per_h: f64,
    /// Its cost over that of planning anew every second with perfect knowledge.
    pub over_perfect: Option<f64>,
    /// Changes of plan after the first.
    pub changes: u64,
    /// Stages that were started on nodes for them.
    pub starts: u64,
    /// Seconds in which a node or link had more to do than it could, or work waited from before, or was cut.
    pub missed_s: u64,
    /// The part of all work that was dropped or cut.
    pub dropped: f64,
    /// Problems that were solved.
    pub solves: u64,
    /// Items per second that were offered, over the time, for a plot.
    #[serde(skip)]
    pub rates: Vec<f64>,
    /// Dollars per hour over the time, for a plot.
    #[serde(skip)]
    pub costs: Vec<f64>,
    /// The part of the seconds that were late over the time, for a plot.
    #[serde(skip)]
    pub late: Vec<f64>,
}

/// The meter of a policy.
pub(super) struct Meter {
    pub(super) outcome: Outcome,
    routes: Routes,
    facts: Option<Facts>,
    /// By node and link: what waits, in slots' seconds and megabits.
    waiting: BTreeMap<String, f64>,
    work: f64,
    lost: f64,
    seconds: u64,
    /// Seconds of one point.
    every: usize,
}

impl Meter {
    pub(super) fn new(policy: &str, seconds: usize, routes: &Routes) -> Self {
        let outcome = Outcome { policy: policy.to_owned(), ..Outcome::default() };
        Self {
            outcome,
            routes: routes.clone(),
            facts: None,
            waiting: BTreeMap::new(),
            work: 0.0,
            lost: 0.0,
            seconds: 0,
            every: seconds.div_ceil(POINTS_MAX).max(1),
        }
    }

    /// Another plan takes effect.
    pub(super) fn change(&mut self, routes: &Routes) {
        if self.routes.is_like(routes, EQUAL) && self.routes.flows == routes.flows {
            return;
        }
        self.outcome.changes += 1;
        self.outcome.starts += more(&self.routes, routes).len() as u64;
        self.routes = routes.clone();
        self.facts = None;
    }

    /// A second at what is offered, of which `cut` is not let in; `also` is paid besides.
    pub(super) fn second(&mut self, offered: &Problem, cut: &BTreeMap<String, f64>, also: Option<&Routes>) {
        let facts = self.facts.get_or_insert_with(|| Facts::of(offered, &self.routes));
        let mut lost = 0.0;
        let mut all = 0.0;
        for source in &offered.rates.sources {
            let most = cut.get(&source.name).copied().unwrap_or(f64::INFINITY);
            let rate = source.rate_per_s.min(most);
            lost += source.rate_per_s - rate;
            all += source.rate_per_s;
            facts.set_rate(&source.name, rate);
        }
        let loads = recompute(facts);
        let usd_per_h = self.nodes_usd(offered, also) + links_usd_per_h(offered, &loads);
        let dropped = self.wait(offered, &loads);
        let waits = self.waiting.values().any(|waiting| *waiting > EQUAL);
        let part = if all > 0.0 { lost / all } else { 0.0 };
        let is_late = waits || lost > EQUAL;
        // What is cut would have been as much work as what is not.
        self.lost += (part + (1.0 - part) * dropped) * all;
        self.work += all;
        self.outcome.usd += usd_per_h / 3600.0;
        self.outcome.missed_s += u64::from(is_late);
        self.point(all, usd_per_h, is_late);
    }

    fn point(&mut self, rate: f64, usd_per_h: f64, is_late: bool) {
        if (self.seconds as usize).is_multiple_of(self.every) {
            self.outcome.rates.push(0.0);
            self.outcome.costs.push(0.0);
            self.outcome.late.push(0.0);
        }
        self.seconds += 1;
        let part = 1.0 / self.every as f64;
        let add = |values: &mut Vec<f64>, value: f64| {
            if let Some(last) = values.last_mut() {
                *last += value * part;
            }
        };
        add(&mut self.outcome.rates, rate);
        add(&mut self.outcome.costs, usd_per_h);
        add(&mut self.outcome.late, f64::from(u8::from(is_late)));
    }

    fn nodes_usd(&self, problem: &Problem, also: Option<&Routes>) -> f64 {
        let routes = [Some(&self.routes), also].into_iter().flatten();
        let used: BTreeSet<&String> =
            routes.flat_map(|r| r.shares.values().flat_map(BTreeMap::keys)).collect();
        problem
            .machines
            .nodes
            .iter()
            .filter(|node| used.contains(&node.name))
            .map(|node| node.usd_per_h)
            .sum()
    }

    /// Work waits, and what is too much is dropped: says which part of this second's, at the worst place.
    fn wait(&mut self, problem: &Problem, loads: &Loads) -> f64 {
        let mut dropped: f64 = 0.0;
        let nodes = problem.machines.nodes.iter().map(|node| {
            let load = loads.busy_slots.get(&node.name).copied().unwrap_or_default();
            (node.name.clone(), load, f64::from(node.slots))
        });
        let links = problem.machines.links.iter().map(|link| {
            let name = link_name(&link.from, &link.to);
            let load = loads.mbit_per_s.get(&name).copied().unwrap_or_default();
            (name, load, link.mbit_per_s.unwrap_or(f64::INFINITY))
        });
        for (name, load, capacity) in nodes.chain(links) {
            let before = self.waiting.get(&name).copied().unwrap_or_default();
            if load == 0.0 && before == 0.0 {
                continue;
            }
            let left = (before + load - capacity).max(0.0);
            let waits = left.min(capacity * WAITS_S);
            if left > waits && load > 0.0 {
                dropped = dropped.max(((left - waits) / load).min(1.0));
            }
            self.waiting.insert(name, waits);
        }
        dropped
    }

    pub(super) fn end(mut self) -> Outcome {
        let hours = self.seconds as f64 / 3600.0;
        self.outcome.usd_per_h = if hours > 0.0 { self.outcome.usd / hours } else { 0.0 };
        self.outcome.dropped = if self.work > 0.0 { self.lost / self.work } else { 0.0 };
        self.outcome
    }
}
