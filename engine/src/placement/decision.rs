//! What a placement answers: variants, rates by node, flows between sites, and what is proved about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whose rules a plan follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The paper's: one stage per node, forward traffic only, and proportional routing: every node of a stage takes
    /// its share of what every node of an input sends, so each pair of their tiers must lead forward.
    Paper,
    /// One stage per node; traffic goes where it is cheapest, in any direction at its price.
    Exclusive,
    /// A node runs any stages, as long as their load fits.
    #[default]
    Shared,
}

/// What runs where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// By stage.
    pub variants: BTreeMap<String, String>,
    /// By stage and node: items per second, above 0.
    pub rates_per_s: BTreeMap<String, BTreeMap<String, f64>>,
    /// What each stage takes in between sites, sites that keep to themselves included.
    pub flows: Vec<SiteFlow>,
}

/// The plan that runs now, and what it costs to leave it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// The plan. What it names and the problem does not is as good as not there.
    pub decision: Decision,
    /// Dollars per hour that each start counts as: a stage on a node that does not run it now, or runs another variant
    /// of it. What one start costs once, over the hours until the next change.
    pub usd_per_start: f64,
}

impl Running {
    /// Whether it runs a variant of a stage on a node.
    #[must_use]
    pub fn has(&self, stage: &str, variant: &str, node: &str) -> bool {
        let hosts = self.decision.rates_per_s.get(stage).is_some_and(|rates| rates.contains_key(node));
        hosts && self.decision.variants.get(stage).is_some_and(|known| known == variant)
    }
}

/// Part of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteFlow {
    /// The source or stage that sends.
    pub from: String,
    /// The stage that receives.
    pub to: String,
    /// The site it leaves.
    pub from_site: String,
    /// The site it reaches.
    pub to_site: String,
    /// Items of `to` per second.
    pub rate_per_s: f64,
}

/// What is known of the cheapest plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Whether there is a plan, and what is proved of it.
    pub status: Status,
    /// The cheapest plan that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What its nodes and its traffic cost, in dollars per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd_per_h: Option<f64>,
    /// Stages on nodes that the running plan does not have; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<usize>,
    /// What they count as, in dollars per hour.
    #[serde(default)]
    pub starts_usd_per_h: f64,
    /// By node: busy slots over slots.
    #[serde(default)]
    pub utilisation: BTreeMap<String, f64>,
    /// By source: the bound of [`Evaluation::p95_ms`](super::Evaluation::p95_ms).
    #[serde(default)]
    pub p95_ms: BTreeMap<String, f64>,
    /// No plan costs less together with its starts, in dollars per hour; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_usd_per_h: Option<f64>,
    /// Linear programs that were solved for it.
    pub programs: u64,
}

/// What is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// No plan is cheaper, within [`GAP_PROVED`](super::GAP_PROVED).
    Optimal,
    /// There is a plan; a cheaper one may exist, though none below the bound.
    Feasible,
    /// There is none.
    Infeasible,
    /// The search was stopped before it found one.
    #[default]
    Unknown,
}

impl Answer {
    /// How much cheaper the cheapest plan may be, as a part of this one's cost; starts included.
    #[must_use]
    pub fn gap(&self) -> Option<f64> {
        let (cost, bound) = (self.cost_usd_per_h? + self.starts_usd_per_h, self.bound_usd_per_h?);
        Some(if cost <= bound { 0.0 } else { (cost - bound) / cost })
    }
}
