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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Whether there is a plan, and what is proved of it.
    pub status: Status,
    /// The cheapest plan that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What it costs, in dollars per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd_per_h: Option<f64>,
    /// No plan costs less, in dollars per hour; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_usd_per_h: Option<f64>,
    /// Linear programs that were solved for it.
    pub programs: u64,
}

/// What is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// No plan is cheaper, within [`GAP_PROVED`](super::GAP_PROVED).
    Optimal,
    /// There is a plan; a cheaper one may exist, though none below the bound.
    Feasible,
    /// There is none.
    Infeasible,
    /// The search was stopped before it found one.
    Unknown,
}

impl Answer {
    /// How much cheaper the cheapest plan may be, as a part of this one's cost.
    #[must_use]
    pub fn gap(&self) -> Option<f64> {
        let (cost, bound) = (self.cost_usd_per_h?, self.bound_usd_per_h?);
        Some(if cost <= bound { 0.0 } else { (cost - bound) / cost })
    }
}
