//! The rates file: where the sources of a topology stand and how much they send, and where what it writes is wanted.
//!
//! It holds names of a topology and of an infrastructure; [`Rates::check`] is where the three meet.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::fault::{Entry, Fault};
use crate::infrastructure::Infrastructure;
use crate::stage::Kind;
use crate::topology::Graph;

/// No source sends more items per second.
const RATE_MAX: f64 = 1e9;

/// What sources send, and what has a place.
///
/// ```
/// let rates: jellybean_engine::planning::Rates = toml::from_str(r#"
///     version = 1
///     [[source]]
///     name = "cameras"
///     site = "junction"
///     rate_per_s = 50.0
///     [[place]]
///     stage = "tally"
///     node = "cloud"
/// "#).unwrap();
/// assert_eq!(rates.sources[0].rate_per_s, 50.0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// The format's version; 1.
    pub version: u32,
    /// One for each source of the topology.
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceRate>,
    /// Stages that stand on a node whatever it costs, such as sinks whose files are wanted there.
    #[serde(default, rename = "place")]
    pub places: Vec<Place>,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRate {
    /// The source in the topology.
    pub name: String,
    /// Where its cameras stand.
    pub site: String,
    /// The node that opens them; the first of the site if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Items per second, of all its lanes.
    pub rate_per_s: f64,
    /// The higher, the later it is cut where not everything can be served; 0 if absent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i64,
}

fn is_zero(priority: &i64) -> bool {
    *priority == 0
}

/// A stage with a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The stage.
    pub stage: String,
    /// Its node.
    pub node: String,
}

impl Rates {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first entry that does not fit the topology or the infrastructure, and the way out.
    pub fn check(&self, graph: &Graph, infrastructure: &Infrastructure) -> Result<(), Fault> {
        if self.version != 1 {
            let message = format!("version {} is unknown", self.version);
            return Err(Fault::new(Entry::key("version"), message, "write version = 1"));
        }
        let mut seen = BTreeSet::new();
        for (index, source) in self.sources.iter().enumerate() {
            let fault = |key, message, way_out: &str| {
                Err(Fault::new(Entry { table: "source", index, key }, message, way_out))
            };
            let SourceRate { name, site, rate_per_s, .. } = source;
            let known = sources(graph);
            if !known.contains(&name.as_str()) {
                let way_out = format!("sources: {}", known.join(", "));
                return fault("name", format!("the topology has no source \"{name}\""), &way_out);
            }
            if !seen.insert(name) {
                return fault("name", format!("source \"{name}\" is there twice"), "leave one out");
            }
            if !(0.0..=RATE_MAX).contains(rate_per_s) {
                let way_out = format!("give a number from 0 to {RATE_MAX:e}");
                return fault("rate_per_s", format!("source \"{name}\" sends {rate_per_s}"), &way_out);
            }
            if self.home(source, infrastructure).is_none() {
                let (key, what) = match &source.node {
                    Some(node) => ("node", format!("node \"{node}\" is not at site \"{site}\"")),
                    None => ("site", format!("no node is at site \"{site}\"")),
                };
                return fault(key, format!("source \"{name}\": {what}"), &there_are(infrastructure));
            }
        }
        if let Some(missing) =
            sources(graph).into_iter().find(|name| !self.sources.iter().any(|s| s.name == *name))
        {
            let message = format!("source \"{missing}\" has no rate");
            return Err(Fault::new(Entry::key("source"), message, "add a [[source]] for it"));
        }
        self.check_places(graph, infrastructure)
    }

    fn check_places(&self, graph: &Graph, infrastructure: &Infrastructure) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        for (index, Place { stage, node }) in self.places.iter().enumerate() {
            let fault = |key, message, way_out: &str| {
                Err(Fault::new(Entry { table: "place", index, key }, message, way_out))
            };
            let Some(known) = graph.stages().find(|known| known.name == *stage) else {
                let names: Vec<&str> = graph.stages().map(|s| s.name.as_str()).collect();
                let way_out = format!("stages: {}", names.join(", "));
                return fault("stage", format!("the topology has no stage \"{stage}\""), &way_out);
            };
            if known.kind == Kind::Source {
                return fault("stage", format!("\"{stage}\" is a source"), "give its [[source]] a `node`");
            }
            if !seen.insert(stage) {
                return fault("stage", format!("stage \"{stage}\" has two places"), "leave one out");
            }
            if !infrastructure.nodes.iter().any(|known| known.name == *node) {
                let message = format!("stage \"{stage}\": there is no node \"{node}\"");
                return fault("node", message, &there_are(infrastructure));
            }
        }
        Ok(())
    }

    /// The node that opens a source.
    pub(super) fn home<'a>(
        &self,
        source: &SourceRate,
        infrastructure: &'a Infrastructure,
    ) -> Option<&'a str> {
        let mut there = infrastructure.nodes.iter().filter(|node| node.site == source.site);
        there.find(|node| source.node.as_ref().is_none_or(|name| *name == node.name)).map(|node| &*node.name)
    }
}

fn sources(graph: &Graph) -> Vec<&str> {
    graph.stages().filter(|stage| stage.kind == Kind::Source).map(|stage| stage.name.as_str()).collect()
}

fn there_are(infrastructure: &Infrastructure) -> String {
    let nodes = infrastructure.nodes.iter().map(|node| format!("{} at {}", node.name, node.site));
    format!("nodes: {}", nodes.collect::<Vec<_>>().join(", "))
}
