//! A placement without its rates: what part of every stream goes where, whatever it carries.

use std::collections::BTreeMap;

use crate::placement::problem::Problem;
use crate::placement::{Decision, SiteFlow};

/// By sites, from and to: a part.
pub type Parts = BTreeMap<(String, String), f64>;

/// Where the parts of every stream go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// By stage.
    pub variants: BTreeMap<String, String>,
    /// By stage and node: its part of the stage's items; the parts of a stage add up to 1.
    pub shares: BTreeMap<String, BTreeMap<String, f64>>,
    /// By edge, and by the sites it leaves and reaches: its part of the edge's items.
    pub flows: BTreeMap<(String, String), Parts>,
}

impl Routes {
    /// The routes of a decision.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        let mut flows: BTreeMap<(String, String), Parts> = BTreeMap::new();
        for flow in decision.flows.iter().filter(|flow| flow.rate_per_s > 0.0) {
            let edge = flows.entry((flow.from.clone(), flow.to.clone())).or_default();
            *edge.entry((flow.from_site.clone(), flow.to_site.clone())).or_default() += flow.rate_per_s;
        }
        flows.values_mut().for_each(make_parts);
        let mut shares = decision.rates_per_s.clone();
        shares.values_mut().for_each(make_parts);
        Self { variants: decision.variants.clone(), shares, flows }
    }

    /// The decision that they come to at the rates of a problem.
    #[must_use]
    pub fn at(&self, problem: &Problem) -> Decision {
        let demands = demands(problem);
        let demand = |name: &str| demands.get(name).copied().unwrap_or_default();
        let scaled = |(stage, shares): (&String, &BTreeMap<String, f64>)| {
            let rate = demand(stage);
            let rates = shares.iter().map(|(node, share)| (node.clone(), share * rate));
            (stage.clone(), rates.filter(|(_, rate)| *rate > 0.0).collect::<BTreeMap<_, _>>())
        };
        let flow = |((from, to), ways): (&(String, String), &Parts)| {
            let rate = demand(to);
            let flows = ways.iter().map(|((from_site, to_site), share)| SiteFlow {
                from: from.clone(),
                to: to.clone(),
                from_site: from_site.clone(),
                to_site: to_site.clone(),
                rate_per_s: share * rate,
            });
            flows.filter(|flow| flow.rate_per_s > 0.0).collect::<Vec<_>>()
        };
        Decision {
            variants: self.variants.clone(),
            rates_per_s: self.shares.iter().map(scaled).filter(|(_, rates)| !rates.is_empty()).collect(),
            flows: self.flows.iter().flat_map(flow).collect(),
        }
    }

    /// Whether a stage runs on a node.
    #[must_use]
    pub fn has(&self, stage: &str, node: &str) -> bool {
        self.shares.get(stage).is_some_and(|shares| shares.contains_key(node))
    }

    /// The stages that run on a node.
    pub fn on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a str> {
        self.shares.iter().filter(move |(_, shares)| shares.contains_key(node)).map(|(stage, _)| &**stage)
    }

    /// Whether a stage has the same variant on the same nodes, in whatever shares.
    #[must_use]
    pub fn keeps(&self, other: &Self, stage: &str) -> bool {
        let nodes = |routes: &Self| routes.shares.get(stage).map(|s| s.keys().cloned().collect::<Vec<_>>());
        self.variants.get(stage) == other.variants.get(stage) && nodes(self) == nodes(other)
    }

    /// The stages that do not keep their variant and nodes.
    #[must_use]
    pub fn moved(&self, other: &Self) -> Vec<String> {
        let stages = self.shares.keys().chain(other.shares.keys());
        let mut moved: Vec<String> = stages.filter(|stage| !self.keeps(other, stage)).cloned().collect();
        moved.sort();
        moved.dedup();
        moved
    }

    /// Whether everything goes where it went, and no share differs by more than `most`.
    #[must_use]
    pub fn is_like(&self, other: &Self, most: f64) -> bool {
        let near = |stage: &String, node: &String, share: &f64| {
            other
                .shares
                .get(stage)
                .and_then(|shares| shares.get(node))
                .is_some_and(|s| (s - share).abs() <= most)
        };
        self.moved(other).is_empty()
            && self.shares.iter().all(|(stage, shares)| shares.iter().all(|(n, share)| near(stage, n, share)))
    }
}

fn make_parts<K: Ord>(rates: &mut BTreeMap<K, f64>) {
    rates.retain(|_, rate| *rate > 0.0 && rate.is_finite());
    let sum: f64 = rates.values().sum();
    rates.values_mut().for_each(|rate| *rate /= sum);
}

/// By source and stage of a checked problem: items per second.
#[must_use]
pub fn demands(problem: &Problem) -> BTreeMap<&str, f64> {
    let mut demands: BTreeMap<&str, f64> =
        problem.rates.sources.iter().map(|source| (source.name.as_str(), source.rate_per_s)).collect();
    let mut left: Vec<&str> = problem.profile.stages.iter().map(|stage| stage.name.as_str()).collect();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|stage| {
            let inputs = problem.profile.edges.iter().filter(|edge| edge.to == *stage);
            let rates = inputs.map(|edge| Some(demands.get(&*edge.from)? * edge.items_per_item));
            match rates.collect::<Option<Vec<f64>>>() {
                Some(rates) => {
                    demands.insert(stage, rates.into_iter().reduce(f64::min).unwrap_or_default());
                    false
                }
                None => true,
            }
        });
        if left.len() == before {
            break;
        }
    }
    demands
}
