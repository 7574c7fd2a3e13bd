//! What was measured of a topology, as a file (TOML), and what placement makes of it.
//!
//! A profile holds what calls took on a node by stage, variant and batch, what goes over every edge, and how accurate
//! which variants are. Everything is named; units stand in the names. [`Profile::check`] holds what the types cannot.

mod reading;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The variant of a stage that has no choice.
pub const DEFAULT_VARIANT: &str = "default";

/// A profile of a topology, on one node or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The format's version; 1.
    pub version: u32,
    /// The topology's name.
    pub topology: String,
    /// Its graph's hash, as 16 hexadecimal digits.
    pub topology_hash: String,
    /// Where it was measured.
    #[serde(default, rename = "node")]
    pub nodes: Vec<MeasuredNode>,
    /// Its stages and sinks; sources are known by the edges that come from them.
    #[serde(default, rename = "stage")]
    pub stages: Vec<MeasuredStage>,
    /// What goes from where to where.
    #[serde(default, rename = "edge")]
    pub edges: Vec<MeasuredEdge>,
    /// How long what takes where.
    #[serde(default, rename = "service")]
    pub services: Vec<MeasuredService>,
    /// How accurate which variants are, if that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<MeasuredAccuracy>,
}

/// A node that was measured on; it stands for all of its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredNode {
    /// Unique.
    pub name: String,
    /// What its processor calls itself; empty if it does not say.
    #[serde(default)]
    pub processor: String,
    /// Its cores.
    pub cores: u32,
    /// How many of them others kept busy meanwhile, on average.
    pub foreign_cores: f64,
    /// How long measuring took, in seconds.
    pub seconds: f64,
}

/// A stage, or a sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredStage {
    /// Unique.
    pub name: String,
    /// The model family that it runs, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Its interchangeable models; `default` where there is no choice.
    pub variants: Vec<String>,
    /// Its input may not leave the site it comes from.
    #[serde(default)]
    pub stays_at_site: bool,
    /// How long an item waits for its batch to fill, in milliseconds, where batches are larger than one.
    #[serde(default)]
    pub batch_deadline_ms: f64,
}

/// What goes from a source or stage to a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredEdge {
    /// A source or stage.
    pub from: String,
    /// A stage or sink.
    pub to: String,
    /// Items over it while it was measured, with the default variants.
    pub items: u64,
    /// Items out per item that `from` takes in, by all of its inputs together; of a source, per item of its own. One
    /// number, or one per variant of `from`.
    pub items_per_item: Vec<f64>,
    /// Kilobytes (2^10 bytes) of an item as it crosses links: one number, or one per variant of `from`.
    pub kb_per_item: Vec<f64>,
}

/// A stage with a variant, on a node, in batches of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredService {
    /// The stage.
    pub stage: String,
    /// Its variant.
    pub variant: String,
    /// The node.
    pub node: String,
    /// Items per call.
    pub batch: u32,
    /// The median time of a call, in milliseconds.
    pub p50_ms: f64,
    /// What 95 of 100 calls stay below, in milliseconds.
    pub p95_ms: f64,
    /// What one slot gets done that never waits, by the median call.
    pub items_per_s: f64,
    /// What a slot's sessions hold once they have run such a batch, in megabytes (10^6 bytes); 0 where there is no
    /// model.
    pub memory_mb: f64,
    /// From the file to a session that can be called, in milliseconds; 0 where there is no model.
    pub load_ms: f64,
    /// What the first call took, in milliseconds; 0 where there is no model.
    pub warm_up_ms: f64,
    /// How far calls differ: the distance of their quartiles over their median.
    pub spread: f64,
    /// How many cores others kept busy meanwhile, on average.
    pub foreign_cores: f64,
    /// Calls that were timed.
    pub samples: u64,
}

/// How accurate variants are, end to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MeasuredAccuracy {
    /// By combination; one that is not listed was not measured.
    Table {
        /// What it was held against, and how.
        against: String,
        /// The stages that matter.
        stages: Vec<String>,
        /// One for each combination.
        rows: Vec<MeasuredRow>,
    },
    /// `base` less the losses of the chosen variants.
    Linear {
        /// What it was held against, and how.
        against: String,
        /// With variants that lose nothing.
        base: f64,
        /// What is not listed loses nothing.
        losses: Vec<MeasuredLoss>,
    },
}

/// A combination of variants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredRow {
    /// In the order of the table's stages.
    pub variants: Vec<String>,
    /// End to end, in 0..=1.
    pub accuracy: f64,
    /// The lower end of its 95 % confidence interval.
    pub accuracy_low: f64,
    /// The upper end.
    pub accuracy_high: f64,
    /// What it is the mean of.
    pub samples: u64,
}

/// What a variant takes off the accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredLoss {
    /// The stage.
    pub stage: String,
    /// Its variant.
    pub variant: String,
    /// How much.
    pub loss: f64,
    /// The lower end of its 95 % confidence interval.
    pub loss_low: f64,
    /// The upper end.
    pub loss_high: f64,
    /// What it is the mean of.
    pub samples: u64,
}

impl MeasuredAccuracy {
    /// What it was held against, and how.
    #[must_use]
    pub fn against(&self) -> &str {
        match self {
            Self::Table { against, .. } | Self::Linear { against, .. } => against,
        }
    }
}

impl Profile {
    /// The batch to run a stage in: the one of most throughput, or the smallest that comes within 5 % of it. `None` if
    /// nothing of it was measured there.
    ///
    /// ```
    /// # use jellybean_engine::profile::Profile;
    /// # let row = |batch: u32, items_per_s: f64| serde_json::json!({
    /// #     "stage": "detect", "variant": "w4", "node": "box", "batch": batch, "p50_ms": 1.0, "p95_ms": 2.0,
    /// #     "items_per_s": items_per_s, "memory_mb": 1.0, "load_ms": 1.0, "warm_up_ms": 1.0, "spread": 0.0,
    /// #     "foreign_cores": 0.0, "samples": 9,
    /// # });
    /// let profile: Profile = serde_json::from_value(serde_json::json!({
    ///     "version": 1, "topology": "doorway", "topology_hash": "0123456789abcdef",
    ///     "service": [row(1, 70.0), row(2, 97.0), row(4, 100.0)],
    /// })).unwrap();
    /// assert_eq!(profile.best("detect", "w4", "box").unwrap().batch, 2);
    /// ```
    #[must_use]
    pub fn best(&self, stage: &str, variant: &str, node: &str) -> Option<&MeasuredService> {
        let rows =
            || self.services.iter().filter(|s| s.stage == stage && s.variant == variant && s.node == node);
        let most = rows().map(|row| row.items_per_s).fold(0.0, f64::max);
        rows().filter(|row| row.items_per_s >= most * NEARLY).min_by_key(|row| row.batch)
    }

    /// What was measured here and on other nodes, of the same topology. Edges are this one's, and so is the accuracy
    /// if it has one.
    ///
    /// # Errors
    /// `Incompatible` if the topologies or their variants differ, `Invalid` if a node is in both.
    pub fn merge(mut self, other: Self) -> Result<Self> {
        let names = |profile: &Self| -> Vec<(String, Vec<String>)> {
            profile.stages.iter().map(|s| (s.name.clone(), s.variants.clone())).collect()
        };
        if self.topology_hash != other.topology_hash || names(&self) != names(&other) {
            let message = format!(
                "profiles are of different topologies: \"{}\" ({}) and \"{}\" ({})",
                self.topology, self.topology_hash, other.topology, other.topology_hash
            );
            return Err(Error::new(ErrorKind::Incompatible, message).way_out("measure both with one program"));
        }
        if let Some(twice) = other.nodes.iter().find(|node| self.nodes.iter().any(|n| n.name == node.name)) {
            let message = format!("node \"{}\" is in both profiles", twice.name);
            return Err(Error::new(ErrorKind::Invalid, message).way_out("leave one out, or rename a node"));
        }
        self.nodes.extend(other.nodes);
        self.services.extend(other.services);
        self.accuracy = self.accuracy.or(other.accuracy);
        Ok(self)
    }
}

/// Of the most throughput, how much is good enough for a smaller batch.
const NEARLY: f64 = 0.95;
