//! Why the plan changed, or did not: every decision as data.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::routes::Routes;

/// What made the controller look for another plan; the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Somebody asked for it.
    Rebalance,
    /// A node that the plan uses is gone.
    NodeGone,
    /// A node or link has more to do than the plan foresaw, and no room for it.
    Overload,
    /// Items take longer than they may.
    ObjectiveMissed,
    /// Nothing runs yet.
    Start,
    /// A camera came or went.
    Camera,
    /// A node came.
    NodeCame,
    /// The rate of a source left its band.
    Rate,
    /// A service time left its band.
    Service,
    /// Items out per item in, or their size, left its band.
    Selectivity,
    /// What a link carries left its band.
    Bandwidth,
    /// The round trip of a link left its band.
    RoundTrip,
    /// A plan that ran before would do again, for less; in dollars per hour.
    Cheaper,
    /// The last change was made in a hurry, and what it could not look at can be looked at now.
    Review,
}

impl Cause {
    /// Whether it may move a stage that moved just now.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        matches!(
            self,
            Self::NodeGone | Self::Overload | Self::ObjectiveMissed | Self::Rebalance | Self::Start
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebalance => "somebody asked",
            Self::NodeGone => "node lost",
            Self::Overload => "overload",
            Self::ObjectiveMissed => "too slow",
            Self::Start => "start",
            Self::Camera => "cameras",
            Self::NodeCame => "node came",
            Self::Rate => "rate",
            Self::Service => "service time",
            Self::Selectivity => "items or sizes",
            Self::Bandwidth => "bandwidth",
            Self::RoundTrip => "round trip",
            Self::Cheaper => "a cheaper plan",
            Self::Review => "review",
        })
    }
}

/// The cause, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// What kind of thing it was.
    pub cause: Cause,
    /// Which one: a node, source, stage, edge or link.
    pub what: String,
    /// What it came to.
    pub value: f64,
    /// What it may come to at least.
    pub low: f64,
    /// What it may come to at most.
    pub high: f64,
    /// Since when it is out of that, in microseconds of the controller's clock.
    pub since_us: u64,
}

impl Trigger {
    /// Something that is not a matter of numbers.
    pub(super) fn of(cause: Cause, what: impl Into<String>, now_us: u64) -> Self {
        Self { cause, what: what.into(), value: 0.0, low: 0.0, high: 0.0, since_us: now_us }
    }
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Verdict {
    /// The running plan stays: no other is so much cheaper that it would be worth it.
    Kept,
    /// It would have been changed, but nothing is to be.
    Told,
    /// The change is under way.
    Changing,
    /// The change was made.
    Changed,
    /// The change did not come about.
    Failed {
        /// Why.
        why: String,
    },
    /// There is no plan, not even for a part of what the sources send.
    Infeasible,
    /// No plan was found in time.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A stage on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The stage.
    pub stage: String,
    /// Its variant.
    pub variant: String,
    /// The node.
    pub node: String,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its number; they count up.
    pub id: u64,
    /// When another plan was looked for, in microseconds of the controller's clock.
    pub at_us: u64,
    /// Why.
    pub trigger: Trigger,
    /// What became of it.
    pub verdict: Verdict,
    /// When that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_us: Option<u64>,
    /// Whether the running plan could have gone on.
    pub could_stay: bool,
    /// Dollars per hour of the running plan, at what is asked now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_h_before: Option<f64>,
    /// Dollars per hour of the plan that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_h_after: Option<f64>,
    /// No plan costs less, starts included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_h_bound: Option<f64>,
    /// What each start counted as, in dollars per hour.
    pub usd_per_h_start: f64,
    /// What starts where.
    pub starts: Vec<Host>,
    /// What ends where.
    pub stops: Vec<Host>,
    /// Stages that change their nodes or variant; of those with state, also those that change their shares.
    pub moved: Vec<String>,
    /// Those of them that had moved just before.
    pub preempted: Vec<String>,
    /// By node: busy slots over slots, as the plan that was found foresees them.
    pub utilisation: BTreeMap<String, f64>,
    /// By source: items per second that are served, where not all can be.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub admitted: BTreeMap<String, f64>,
}

/// What runs under `after` and not under `before`.
pub(super) fn more(before: &Routes, after: &Routes) -> Vec<Host> {
    let mut more = Vec::new();
    for (stage, shares) in &after.shares {
        let variant = after.variants.get(stage).cloned().unwrap_or_default();
        let same = before.variants.get(stage) == Some(&variant);
        let new = shares.keys().filter(|node| !same || !before.has(stage, node));
        more.extend(new.map(|node| Host {
            stage: stage.clone(),
            variant: variant.clone(),
            node: node.clone(),
        }));
    }
    more
}
