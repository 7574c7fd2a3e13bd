//! Whether a plan fits a graph and the nodes there are.
//!
//! A plan is data and knows no graph; this is where the two meet, before anything starts.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::stage::Kind;
use crate::topology::{Graph, Stage};

/// Bounds that no sensible plan exceeds; they keep a typing error from taking the machine down.
const SLOTS_MAX: usize = 1024;
const BATCH_MAX: usize = 4096;

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
            if !nodes.contains(&assignment.node) {
                let there = nodes.iter().cloned().collect::<Vec<_>>().join(", ");
                return invalid(
                    format!("{what} is on unknown node \"{}\"", assignment.node),
                    format!("nodes: {there}"),
                );
            }
            if !(1..=SLOTS_MAX).contains(&assignment.slots)
                || !(1..=BATCH_MAX).contains(&assignment.batch_max)
            {
                return invalid(
                    format!("{what} has {} slots and batches of {}", assignment.slots, assignment.batch_max),
                    format!("slots 1 to {SLOTS_MAX}, batches 1 to {BATCH_MAX}"),
                );
            }
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
            let (from, to) = (&running.assignment(&stage.name).node, &self.assignment(&stage.name).node);
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
        let node = &self.assignment(&stage.name).node;
        if let Some(pin) = stage.pinned.as_ref().filter(|pin| *pin != node) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("plan: stage \"{}\" is pinned to node \"{pin}\", not \"{node}\"", stage.name),
            )
            .way_out("move it back, or drop the pin"));
        }
        for input in stage.inputs.iter().filter(|_| stage.stay_at_site) {
            let from = &graph.stage(*input).name;
            if self.assignment(from).node != *node {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "plan: the input of stage \"{}\" may not leave its site, but comes from another node",
                        stage.name
                    ),
                )
                .way_out(format!("put it where \"{from}\" is")));
            }
        }
        Ok(())
    }
}
