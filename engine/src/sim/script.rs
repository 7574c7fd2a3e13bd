//! What befalls a run, by seed: plans, faults of the network, and the ends of nodes and controllers.

use std::collections::BTreeMap;

use super::draw::{Drawn, MISSING, Tempo};
use super::world::{Happening, Script, name};
use crate::net::memory::Faults;
use crate::node::CONTROLLER;
use crate::plan::{Assignment, Plan};
use crate::random::Random;
use crate::stage::Kind;

/// When and how often things happen.
struct Pace {
    /// At the latest: about as long as runs are.
    span_us: u64,
    /// How long members do not reach each other, at most.
    parted_us: u64,
    /// Changes of plan that somebody wishes for.
    changes: u64,
}

impl Pace {
    fn of(tempo: Tempo) -> Self {
        match tempo {
            Tempo::Brisk => Self { span_us: 500_000, parted_us: 2_000_000, changes: 7 },
            Tempo::Steps => Self { span_us: 20_000_000, parted_us: 6_000_000, changes: 2 },
        }
    }
}

/// A run, before it is run.
pub(super) struct Drama {
    pub(super) nodes: u64,
    pub(super) first: Plan,
    pub(super) faults: Faults,
    pub(super) script: Script,
}

impl Drama {
    /// Draws what befalls the run of a topology.
    pub(super) fn draw(drawn: &Drawn, seed: u64, tempo: Tempo) -> Self {
        let (mut random, pace) = (Random::new(!seed), Pace::of(tempo));
        let nodes = random.within(1..5);
        let faults = Faults {
            loss: if random.percent(70) { random.below(20) as f64 / 100.0 } else { 0.0 },
            doubling: if random.percent(50) { random.below(20) as f64 / 100.0 } else { 0.0 },
            delay_max_us: *random.pick(&[1, 200, 2_000, 10_000, 30_000]),
        };
        let first = plan(&mut random, drawn, nodes, None);
        let mut script = Script::default();
        changes(&mut random, &pace, (drawn, nodes), &first, &mut script);
        if random.percent(40) {
            partition(&mut random, &pace, nodes, &mut script);
        }
        if random.percent(30) {
            let node = name(random.below(nodes));
            script.add(random.below(pace.span_us), Happening::Crash(node));
        }
        if random.percent(35) {
            let at_us = random.below(pace.span_us);
            script.add(at_us, Happening::Kill);
            script.add(at_us + random.below(pace.span_us), Happening::TakeOver);
        }
        if random.percent(10) {
            script.add(random.below(pace.span_us), Happening::Stop);
        }
        Self { nodes, first, faults, script }
    }
}

impl Script {
    fn add(&mut self, at_us: u64, happening: Happening) {
        self.0.entry(at_us).or_default().push(happening);
    }
}

/// Some changes of plan: some of them close to each other, some that will be refused.
fn changes(
    random: &mut Random,
    pace: &Pace,
    (drawn, nodes): (&Drawn, u64),
    first: &Plan,
    script: &mut Script,
) {
    let mut at_us = random.below(pace.span_us / 4);
    let mut before = first.clone();
    for _ in 0..random.below(pace.changes) {
        let mut next = match random.percent(40) {
            true => retuned(random, drawn, &before),
            false => plan(random, drawn, nodes, Some(first)),
        };
        before = next.clone();
        if random.percent(30) {
            let stage = random.pick(&drawn.pooled);
            let assignment = next.assignment(stage).clone().variant(MISSING);
            next = next.with(stage, assignment);
        }
        script.add(at_us, Happening::Apply(next));
        at_us += if random.percent(50) { random.below(5_000) } else { random.below(pace.span_us / 3) };
    }
}

/// Two members that do not reach each other for a while.
fn partition(random: &mut Random, pace: &Pace, nodes: u64, script: &mut Script) {
    let one = name(random.below(nodes));
    let others: Vec<String> =
        (0..nodes).map(name).chain([CONTROLLER.to_owned()]).filter(|other| *other != one).collect();
    let other = random.pick(&others).clone();
    let at_us = random.below(pace.span_us);
    script.add(at_us, Happening::Part(one.clone(), other.clone()));
    script.add(at_us + random.below(pace.parted_us), Happening::Heal(one, other));
}

/// A plan; sources stay where the first one put them.
fn plan(random: &mut Random, drawn: &Drawn, nodes: u64, first: Option<&Plan>) -> Plan {
    let mut stages = BTreeMap::new();
    for stage in drawn.graph.stages() {
        let can_be_split = matches!(stage.kind, Kind::Stateless | Kind::Pooled | Kind::Keyed);
        let mut assignment = match shares(random, nodes) {
            Some(split) if can_be_split && random.percent(30) => split,
            _ => Assignment::on(name(random.below(nodes))),
        };
        if let (Kind::Source, Some(first)) = (stage.kind, first) {
            assignment.node = first.assignment(&stage.name).node.clone();
        }
        if stage.kind == Kind::Pooled {
            assignment = assignment
                .slots(random.within(1..4) as usize)
                .batches(random.within(1..5) as usize, random.below(4));
        }
        stages.insert(stage.name.clone(), assignment);
    }
    Plan { stages, ..Plan::single(name(0)) }
}

/// The same plan with other shares and batches, which a running generation can take in.
fn retuned(random: &mut Random, drawn: &Drawn, before: &Plan) -> Plan {
    let mut next = before.clone();
    for stage in drawn.graph.stages() {
        let Some(assignment) = next.stages.get_mut(&stage.name) else { continue };
        if matches!(stage.kind, Kind::Stateless | Kind::Pooled) {
            assignment.shares.values_mut().for_each(|weight| *weight = random.within(1..5) as u32);
            (assignment.batch_max, assignment.batch_deadline_ms) =
                (random.within(1..5) as usize, random.below(4));
        }
    }
    next
}

/// Shares of some nodes, if there are several and one of them gets anything.
fn shares(random: &mut Random, nodes: u64) -> Option<Assignment> {
    let mut weights = Vec::new();
    for node in 0..nodes {
        if random.percent(60) {
            weights.push((name(node), random.below(4) as u32));
        }
    }
    let is_split = weights.len() > 1 && weights.iter().any(|(_, weight)| *weight > 0);
    is_split.then(|| Assignment::shared(weights))
}
