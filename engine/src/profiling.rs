//! Measuring a topology on this machine: short runs of it, then its models by themselves.
//!
//! A first run, with the default variants, tells how long stages without a model take, what goes over every edge, and
//! keeps some of what reached each model. One more for each other variant tells what that changes. Then the models
//! are called on what was kept, outside of any run: every variant in batches of several sizes, in rounds, so that
//! whatever else the machine does falls on all of them alike.

mod figures;
mod running;
#[cfg(test)]
mod tests;
mod trying;

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::profile::{DEFAULT_VARIANT, MeasuredNode, MeasuredStage, Profile};
use crate::stage::Kind;
use crate::topology::Graph;

/// Of all seconds, what the first run gets.
const FIRST_SHARE: f64 = 0.25;
/// What the runs with other variants share.
const OTHERS_SHARE: f64 = 0.25;

/// How a topology is measured.
pub struct Settings<'a> {
    /// The name of the node that this machine stands for.
    pub node: String,
    /// About how long to measure, without the loading of models, in seconds.
    pub seconds: f64,
    /// Items per call, by size.
    pub batches: Vec<u32>,
    /// How long plans let an item wait for its batch, in milliseconds.
    pub batch_deadline_ms: f64,
    /// What this machine is and does.
    pub machine: &'a dyn Machine,
    /// Told how far it is.
    pub tell: &'a dyn Fn(Step),
    /// Asked now and then; measuring ends with an error when it says no.
    pub go_on: &'a dyn Fn() -> bool,
    /// What time is taken by.
    pub clock: Clock,
}

/// How far measuring is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What is done now.
    pub what: String,
    /// Of it, in 0..=1.
    pub done: f64,
}

/// What a machine is, and how busy.
pub trait Machine {
    /// What its processor calls itself.
    fn processor(&self) -> String;
    /// Its cores.
    fn cores(&self) -> u32;
    /// Processor seconds that it has spent on anything, and on this process.
    fn spent_seconds(&self) -> (f64, f64);
    /// Megabytes (10^6 bytes) of memory that this process holds.
    fn resident_mb(&self) -> f64;
}

/// Measures a topology.
///
/// # Errors
/// What is wrong with it, what could not be opened, a model that fails on what reached it, or that nothing did.
pub fn profile(graph: &Arc<Graph>, settings: &Settings<'_>) -> Result<Profile> {
    let (all, seconds) = (Load::from_now(settings), settings.seconds);
    let mut stages = stages(graph, settings)?;
    let others = stages.iter().map(|stage| stage.variants.len() - 1).sum::<usize>();
    let first = running::run(graph, settings, None, seconds * FIRST_SHARE)?;
    let mut edges = first.edges(graph);
    for stage in stages.iter().filter(|stage| stage.variants.len() > 1) {
        for (number, variant) in stage.variants.iter().enumerate().skip(1) {
            let seconds = seconds * OTHERS_SHARE / others as f64;
            let run = running::run(graph, settings, Some((&stage.name, variant)), seconds)?;
            run.add_variant(&mut edges, &stage.name, number, graph);
        }
    }
    let mut services = first.services(graph, settings);
    services.extend(trying::services(graph, &stages, &first, settings, seconds - all.seconds(settings))?);
    stages.retain(|stage| edges.iter().any(|edge| edge.to == stage.name));
    let profile = Profile {
        version: 1,
        topology: graph.name().to_owned(),
        topology_hash: format!("{:016x}", graph.hash()),
        nodes: vec![MeasuredNode {
            name: settings.node.clone(),
            processor: settings.machine.processor(),
            cores: settings.machine.cores(),
            foreign_cores: figures::tidy(all.foreign_cores(settings)),
            seconds: figures::tidy(all.seconds(settings)),
        }],
        stages,
        edges,
        services,
        accuracy: None,
    };
    profile.check()?;
    Ok(profile)
}

/// What there is to be measured.
fn stages(graph: &Graph, settings: &Settings<'_>) -> Result<Vec<MeasuredStage>> {
    let measured = |stage: &crate::topology::Stage| -> Result<MeasuredStage> {
        let mut variants =
            stage.trial.as_ref().map(|trial| trial.variants()).transpose()?.unwrap_or_default();
        let has_choice = !variants.is_empty();
        if !has_choice {
            variants.push(DEFAULT_VARIANT.to_owned());
        }
        Ok(MeasuredStage {
            name: stage.name.clone(),
            family: stage.family.clone(),
            variants,
            stays_at_site: stage.stay_at_site,
            batch_deadline_ms: if stage.trial.is_some() { settings.batch_deadline_ms } else { 0.0 },
        })
    };
    graph.stages().filter(|stage| stage.kind != Kind::Source).map(measured).collect()
}

/// How busy others have kept the machine since a moment.
struct Load {
    from_us: u64,
    spent: (f64, f64),
}

impl Load {
    fn from_now(settings: &Settings<'_>) -> Self {
        Self { from_us: settings.clock.now_us(), spent: settings.machine.spent_seconds() }
    }

    fn seconds(&self, settings: &Settings<'_>) -> f64 {
        settings.clock.now_us().saturating_sub(self.from_us) as f64 / 1e6
    }

    fn foreign_cores(&self, settings: &Settings<'_>) -> f64 {
        let (all, own) = settings.machine.spent_seconds();
        let foreign = (all - self.spent.0) - (own - self.spent.1);
        // The machine counts in ticks, so that ours may seem more than everybody's.
        (foreign / self.seconds(settings).max(1e-3)).max(0.0)
    }
}

impl Settings<'_> {
    fn check_on(&self, what: &str, done: f64) -> Result<()> {
        (self.tell)(Step { what: what.to_owned(), done: done.clamp(0.0, 1.0) });
        match (self.go_on)() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Failed, format!("measuring was ended while: {what}"))),
        }
    }
}
