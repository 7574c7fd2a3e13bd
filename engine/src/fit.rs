//! Whether a plan fits a graph and the nodes there are.
//!
//! A plan is data and knows no graph; this is where the two meet, before anything starts.

use std::collections::BTreeSet;

use crate::checks;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Assignment, Plan};
use crate::stage::Kind;
use crate::topology::{Graph, Stage};

/// Bounds that no sensible plan exceeds; they keep a typing error from taking the machine down.
const SLOTS_MAX: usize = 1024;
const BATCH_MAX: usize = 4096;
const WEIGHT_MAX: u32 = 1_000;
const SHARES_MAX: usize = 64;

impl Plan {
    /// Checks the plan against a graph and the nodes there are.
    ///
    /// # Errors
    /// Names the first stage or node that does not fit, and what would.
    pub fn check(&self, graph: &Graph, nodes: &BTreeSet<String>) -> Result<()> {
        let invalid = |message: String, way_out: String| {
            Err(Error::new(ErrorKind::Invalid, format!("plan: {message}")).way_out(way_out))
        };
        if self.version != 1 {
            return invalid(format!("version {} is unknown", self.version), "write version = 1".into());
        }
        let known: Vec<&str> = graph.stages().map(|s| s.name.as_str()).collect();
        if let Some(name) = self.stages.keys().find(|name| !known.contains(&name.as_str())) {
            return invalid(
                format!("no stage is called \"{name}\""),
                format!("stages: {}", known.join(", ")),
            );
        }
        for stage in graph.stages() {
            let assignment = self.assignment(&stage.name);
            let what = format!("stage \"{}\"", stage.name);
            if assignment.nodes().eq([""]) {
                return invalid(format!("{what} is on no node"), "write its `node`, or its `shares`".into());
            }
            if let Some(node) = assignment.nodes().find(|node| !nodes.contains(*node)) {
                let there = nodes.iter().cloned().collect::<Vec<_>>().join(", ");
                return invalid(format!("{what} is on unknown node \"{node}\""), format!("nodes: {there}"));
            }
            let slots = assignment.slots_on.values().chain([&assignment.slots]);
            if let Some(other) = assignment.slots_on.keys().find(|node| !assignment.is_on(node)) {
                return invalid(
                    format!("{what} has slots on node \"{other}\", which does not run it"),
                    "give the node a share, or leave its slots out".into(),
                );
            }
            if let Some(slots) = slots.copied().find(|slots| !(1..=SLOTS_MAX).contains(slots)) {
                return invalid(format!("{what} has {slots} slots"), format!("slots 1 to {SLOTS_MAX}"));
            }
            if !(1..=BATCH_MAX).contains(&assignment.batch_max) {
                return invalid(
                    format!("{what} has batches of {}", assignment.batch_max),
                    format!("batches 1 to {BATCH_MAX}"),
                );
            }
            check_shares(stage, assignment)?;
            check_rate(stage, assignment)?;
            self.check_place(graph, stage)?;
        }
        Ok(())
    }

    /// Checks that every source stays where it is: its cameras are open there, and a lane read anew
    /// elsewhere would begin again.
    ///
    /// # Errors
    /// Names the first source that would move.
    pub(crate) fn check_sources(&self, graph: &Graph, running: &Self) -> Result<()> {
        for stage in graph.stages().filter(|stage| stage.kind == Kind::Source) {
            let node_of = |plan: &Self| plan.assignment(&stage.name).nodes().collect::<Vec<_>>().join(", ");
            let (from, to) = (node_of(running), node_of(self));
            if from != to {
                let message =
                    format!("plan: source \"{}\" is open on node \"{from}\", not on \"{to}\"", stage.name);
                return Err(Error::new(ErrorKind::Invalid, message).way_out(format!(
                    "leave it on \"{from}\", or stop the run and start it with this plan"
                )));
            }
        }
        Ok(())
    }

    /// Pins, and data that may not leave its site.
    fn check_place(&self, graph: &Graph, stage: &Stage) -> Result<()> {
        let assignment = self.assignment(&stage.name);
        let elsewhere = |pin: &str| assignment.nodes().find(|node| *node != pin).map(str::to_owned);
        if let Some((pin, node)) = stage.pinned.as_ref().and_then(|pin| Some((pin, elsewhere(pin)?))) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("plan: stage \"{}\" is pinned to node \"{pin}\", not \"{node}\"", stage.name),
            )
            .way_out("move it back, or drop the pin"));
        }
        for input in stage.inputs.iter().filter(|_| stage.stay_at_site) {
            let from = graph.stage(*input);
            if !keeps_at_home((from, self.assignment(&from.name)), (stage, assignment)) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "plan: the input of stage \"{}\" may not leave its site, but comes from another node",
                        stage.name
                    ),
                )
                .way_out(format!("put it where \"{}\" is", from.name)));
            }
        }
        Ok(())
    }
}

/// Whether every record of one stage stays on its node for the next one: of split stages, if both take the same
/// turns.
fn keeps_at_home(from: (&Stage, &Assignment), to: (&Stage, &Assignment)) -> bool {
    let by_turns = |stage: &Stage| matches!(stage.kind, Kind::Stateless | Kind::Pooled);
    match (from.1.is_split(), to.1.is_split()) {
        (false, false) => from.1.nodes().eq(to.1.nodes()),
        (true, true) => by_turns(from.0) && by_turns(to.0) && from.1.shares == to.1.shares,
        _ => false,
    }
}

/// Checks that it is a source that is held, and to what.
fn check_rate(stage: &Stage, assignment: &Assignment) -> Result<()> {
    let Some(rate) = assignment.rate_max_per_s else { return Ok(()) };
    let what = format!("plan: stage \"{}\"", stage.name);
    if stage.kind != Kind::Source {
        let message = format!("{what} is no source, and has a rate_max_per_s");
        return Err(Error::new(ErrorKind::Invalid, message).way_out("leave it out"));
    }
    checks::number(&what, "rate_max_per_s", rate)
}

/// Checks that a stage can be split, and by these weights.
fn check_shares(stage: &Stage, assignment: &Assignment) -> Result<()> {
    let invalid = |message: String, way_out: String| {
        let message = format!("plan: stage \"{}\" {message}", stage.name);
        Err(Error::new(ErrorKind::Invalid, message).way_out(way_out))
    };
    if let Some((node, weight)) = assignment.shares.iter().find(|(_, weight)| **weight > WEIGHT_MAX) {
        return invalid(
            format!("has a share of {weight} on node \"{node}\""),
            format!("shares are whole numbers up to {WEIGHT_MAX}, of which only the ratios count"),
        );
    }
    if !assignment.shares.is_empty() && assignment.shares.values().all(|weight| *weight == 0) {
        return invalid("has shares of 0 alone".into(), "give one node a share above 0".into());
    }
    if assignment.shares.len() > SHARES_MAX {
        return invalid(
            format!("is split over {} nodes", assignment.shares.len()),
            format!("split it over {SHARES_MAX} at most"),
        );
    }
    if !assignment.node.is_empty() && !assignment.is_on(&assignment.node) {
        return invalid(
            format!("is on node \"{}\", but has no share there", assignment.node),
            "give it a share there, or write either `node` or `shares`".into(),
        );
    }
    let why = match stage.kind {
        Kind::Stateless | Kind::Pooled | Kind::Keyed => return Ok(()),
        _ if !assignment.is_split() => return Ok(()),
        Kind::Source => "is a source, whose lanes are open on one node",
        Kind::Relational => "is a relation, whose rows are arranged on one node",
        Kind::Sink => "is a sink, which writes in one order on one node",
    };
    invalid(
        format!("cannot be split: it {why}"),
        format!("put it on one node, such as `node = \"{}\"`", assignment.nodes().next().unwrap_or("")),
    )
}
