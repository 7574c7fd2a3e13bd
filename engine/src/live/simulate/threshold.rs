//! Threshold autoscaling: what users would otherwise have, each stage by itself.
//!
//! Variants are fixed and every stage has machines of its own: those of the cheapest such plan for the most that is
//! ever offered, or for as much of it as there are machines for, the cheapest per item first. Every 15 seconds it looks
//! how busy the machines of a stage were meanwhile. Above 80 % one more is started; below 40 % the last one is stopped,
//! but not within five minutes of that stage's last change, as autoscalers have it by default. A change takes as long as
//! one of ours, and what it starts is paid from the beginning of it.

use std::collections::BTreeMap;

use super::Scene;
use super::meter::{Meter, Outcome};
use super::policy::{Solver, floored, planned};
use crate::error::Result;
use crate::live::routes::{Routes, demands};
use crate::placement::problem::Service;
use crate::placement::{Decision, Mode, Problem};

/// Seconds between looks.
const LOOKS_EVERY_S: usize = 15;

/// A machine is added above this part of what a stage's machines can do, and one is taken away below that.
const ADD_ABOVE: f64 = 0.8;
const REMOVE_BELOW: f64 = 0.4;

/// Nothing is taken away from a stage within so many seconds of its last change.
const REMOVE_AFTER_S: usize = 300;

/// A machine that a stage may have.
struct Machine {
    name: String,
    site: String,
    /// Items per second that it can do.
    rate: f64,
}

/// The machines of a stage.
struct Replicas {
    stage: String,
    /// The cheapest per item first.
    machines: Vec<Machine>,
    /// So many of them run.
    count: usize,
    /// When that last changed, in seconds.
    changed: usize,
    /// Items since the last look.
    seen: f64,
}

/// Adds and takes away machines by how busy they are.
pub(super) fn threshold(scene: &Scene) -> Result<Outcome> {
    let mut solver = Solver::new(scene);
    let most = floored(scene, &scene.most());
    let found = solver.fresh(most.clone(), Mode::Exclusive)?;
    let decision = planned(&found)?;
    let mut all = replicas(&most, decision);
    let mut problem = floored(scene, &scene.at(0));
    let first = demands(&problem);
    for replicas in &mut all {
        let demand = first.get(&*replicas.stage).copied().unwrap_or_default();
        while replicas.may_grow() && demand > replicas.capacity() * ADD_ABOVE {
            replicas.count += 1;
        }
    }
    let name = "threshold autoscaling";
    let mut meter = Meter::new(name, scene.trace.seconds(), &routes(&problem, decision, &all));
    let mut coming: Option<(usize, Routes)> = None;
    for second in 0..scene.trace.seconds() {
        let (rates, mbit) = scene.at(second);
        scene.put(&mut problem, &rates, mbit);
        if let Some((_, routes)) = coming.take_if(|(at, _)| *at <= second) {
            meter.change(&routes);
        }
        meter.second(&problem, &BTreeMap::new(), coming.as_ref().map(|(_, routes)| routes));
        let demands = demands(&problem);
        for replicas in &mut all {
            replicas.seen += demands.get(&*replicas.stage).copied().unwrap_or_default();
        }
        if (second + 1).is_multiple_of(LOOKS_EVERY_S) {
            let is_free = coming.is_none();
            let changes = all.iter_mut().filter_map(|replicas| replicas.look(second, is_free)).count();
            if changes > 0 {
                coming = Some((second + 1 + scene.change_s as usize, routes(&problem, decision, &all)));
            }
        }
    }
    let mut outcome = meter.end();
    outcome.solves = solver.solves;
    Ok(outcome)
}

impl Replicas {
    /// Items per second of those that run.
    fn capacity(&self) -> f64 {
        self.machines[..self.count].iter().map(|machine| machine.rate).sum()
    }

    fn may_grow(&self) -> bool {
        self.count < self.machines.len()
    }

    /// Takes another machine or gives one away, if it may.
    fn look(&mut self, second: usize, is_free: bool) -> Option<()> {
        let busy = self.seen / LOOKS_EVERY_S as f64 / self.capacity();
        self.seen = 0.0;
        let count = if !is_free {
            return None;
        } else if busy > ADD_ABOVE && self.may_grow() {
            self.count + 1
        } else if busy < REMOVE_BELOW && self.count > 1 && second >= self.changed + REMOVE_AFTER_S {
            self.count - 1
        } else {
            return None;
        };
        (self.count, self.changed) = (count, second);
        Some(())
    }
}

fn replicas(problem: &Problem, decision: &Decision) -> Vec<Replicas> {
    let of = |(stage, rates): (&String, &BTreeMap<String, f64>)| {
        let mut machines: Vec<(f64, Machine)> = Vec::new();
        for node in problem.machines.nodes.iter().filter(|node| rates.contains_key(&node.name)) {
            let fits = |s: &&Service| {
                s.stage == *stage
                    && decision.variants.get(stage) == Some(&s.variant)
                    && s.class == node.class()
            };
            let Some(service) = problem.profile.services.iter().find(fits) else { continue };
            let rate = f64::from(node.slots) * 1000.0 / service.ms_per_item.max(1e-9);
            let machine = Machine { name: node.name.clone(), site: node.site.clone(), rate };
            machines.push((node.usd_per_h / rate, machine));
        }
        machines.sort_by(|a, b| a.0.total_cmp(&b.0));
        let machines = machines.into_iter().map(|(_, machine)| machine).collect();
        Replicas { stage: stage.clone(), machines, count: 1, changed: 0, seen: 0.0 }
    };
    decision.rates_per_s.iter().map(of).filter(|replicas| !replicas.machines.is_empty()).collect()
}

/// Every machine has its part by what it can do, of what each machine before it sends.
fn routes(problem: &Problem, decision: &Decision, all: &[Replicas]) -> Routes {
    let mut routes = Routes { variants: decision.variants.clone(), ..Routes::default() };
    let mut sites: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    for source in &problem.rates.sources {
        sites.insert(&source.name, BTreeMap::from([(&*source.site, 1.0)]));
    }
    for replicas in all {
        let capacity = replicas.capacity();
        for machine in &replicas.machines[..replicas.count] {
            let part = machine.rate / capacity;
            routes.shares.entry(replicas.stage.clone()).or_default().insert(machine.name.clone(), part);
            *sites.entry(&replicas.stage).or_default().entry(&machine.site).or_default() += part;
        }
    }
    for edge in &problem.profile.edges {
        let (Some(from), Some(to)) = (sites.get(&*edge.from), sites.get(&*edge.to)) else { continue };
        let ways = routes.flows.entry((edge.from.clone(), edge.to.clone())).or_default();
        for (a, made) in from {
            for (b, used) in to {
                *ways.entry(((*a).to_owned(), (*b).to_owned())).or_default() += made * used;
            }
        }
    }
    routes
}
