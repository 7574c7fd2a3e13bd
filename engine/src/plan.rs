//! A plan is data: which node runs every stage, or which nodes in which shares, with which variant, batch and slots.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Which node runs each stage, and how.
///
/// ```
/// use jellybean_engine::plan::{Assignment, Plan};
/// let plan = Plan::single("laptop").with("detect", Assignment::on("server").variant("w16"));
/// assert_eq!(plan.assignment("detect").node, "server");
/// assert_eq!(plan.assignment("anything else").node, "laptop");
///
/// // Of four frames, the server takes three.
/// let plan = plan.with("detect", Assignment::shared([("laptop", 1), ("server", 3)]));
/// assert!(plan.assignment("detect").nodes().eq(["laptop", "server"]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format's version; 1.
    pub version: u32,
    /// How stages without an entry of their own run.
    pub default: Assignment,
    /// By stage name.
    #[serde(default)]
    pub stages: BTreeMap<String, Assignment>,
}

/// How one stage runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The node that runs it; may be left out where there are shares.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The variant of its model family; its default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Slots of its pool on this node: how many batches run at once.
    #[serde(default = "one")]
    pub slots: usize,
    /// Items per batch, at most.
    #[serde(default = "one")]
    pub batch_max: usize,
    /// How long an item waits for its batch to fill while every slot is busy, in milliseconds.
    #[serde(default)]
    pub batch_deadline_ms: u64,
    /// How long a batch may run before it is ended and counted as `timeout`, in milliseconds.
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u64,
    /// The nodes that run it together, each with its weight: whole numbers of which only the ratios count, and not
    /// all of them 0; a node of weight 0 is ready and gets nothing. A stage without state is split by frames, one
    /// with state by groups of keys. They come before `node`, which must be one of them if it is there as well.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, u32>,
    /// Slots on single nodes of those that run it together, where they are other than `slots`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots_on: BTreeMap<String, usize>,
    /// Of a source: how many frames per second it lets in at most, all its lanes together. What cameras send beyond
    /// that is dropped before anything is spent on it, and counted as `shed`; a lossless lane is not held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_max_per_s: Option<f64>,
}

fn one() -> usize {
    1
}

fn ten_seconds() -> u64 {
    10_000
}

impl Assignment {
    /// One slot, batches of one, on a node.
    #[must_use]
    pub fn on(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            variant: None,
            slots: one(),
            batch_max: one(),
            batch_deadline_ms: 0,
            timeout_ms: ten_seconds(),
            shares: BTreeMap::new(),
            slots_on: BTreeMap::new(),
            rate_max_per_s: None,
        }
    }

    /// The same on several nodes together, by weight.
    #[must_use]
    pub fn shared<N: Into<String>>(shares: impl IntoIterator<Item = (N, u32)>) -> Self {
        let shares = shares.into_iter().map(|(node, weight)| (node.into(), weight)).collect();
        Self { shares, ..Self::on(String::new()) }
    }

    /// The nodes that run it, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        let whole = self.shares.is_empty().then_some(self.node.as_str());
        whole.into_iter().chain(self.shares.keys().map(String::as_str))
    }

    /// Slots of its pool on a node.
    #[must_use]
    pub fn slots_at(&self, node: &str) -> usize {
        self.slots_on.get(node).copied().unwrap_or(self.slots)
    }

    /// Whether this node runs it, or a share of it.
    #[must_use]
    pub fn is_on(&self, node: &str) -> bool {
        self.nodes().any(|other| other == node)
    }

    /// Whether several nodes run it together.
    #[must_use]
    pub fn is_split(&self) -> bool {
        self.shares.len() > 1
    }

    /// The same with another variant.
    #[must_use]
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// The same with this many slots.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// The same with other slots on one of its nodes.
    #[must_use]
    pub fn slots_on(mut self, node: impl Into<String>, slots: usize) -> Self {
        self.slots_on.insert(node.into(), slots);
        self
    }

    /// The same for a source that lets in so many frames per second.
    #[must_use]
    pub fn admitting(mut self, rate_max_per_s: f64) -> Self {
        self.rate_max_per_s = Some(rate_max_per_s);
        self
    }

    /// The same with batches of up to `items`, none of which waits longer than `deadline_ms`.
    #[must_use]
    pub fn batches(mut self, items: usize, deadline_ms: u64) -> Self {
        (self.batch_max, self.batch_deadline_ms) = (items, deadline_ms);
        self
    }
}

impl Plan {
    /// Everything on one node.
    #[must_use]
    pub fn single(node: impl Into<String>) -> Self {
        Self { version: 1, default: Assignment::on(node), stages: BTreeMap::new() }
    }

    /// The same with one stage assigned otherwise.
    #[must_use]
    pub fn with(mut self, stage: impl Into<String>, assignment: Assignment) -> Self {
        self.stages.insert(stage.into(), assignment);
        self
    }

    /// The nodes that it names.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<&str> {
        std::iter::once(&self.default).chain(self.stages.values()).flat_map(Assignment::nodes).collect()
    }

    /// How a stage runs.
    #[must_use]
    pub fn assignment(&self, stage: &str) -> &Assignment {
        self.stages.get(stage).unwrap_or(&self.default)
    }
}
