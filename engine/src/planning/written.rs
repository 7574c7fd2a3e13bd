//! A decision as a plan that the engine takes, and a plan as the decision that it comes to.
//!
//! The engine divides a split stage by whole weights, and sends its items by turns or by keys: what a plan costs is
//! what [`read`] makes of it, not what the solver wished.

use std::collections::BTreeMap;

use super::measured::feed;
use super::wanted::Wanted;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::problem::{Edge, Machine, StageProfile};
use crate::placement::{Decision, SiteFlow};
use crate::plan::{Assignment, Plan};
use crate::stage::Kind;

/// Weights add up to this at most: what an assignment takes.
const WEIGHT_MAX: u32 = 1_000;

/// Sums of weights that are tried, the smallest first: the fewer turns, the more even they are.
const SUMS: [u32; 12] = [2, 3, 4, 5, 6, 8, 10, 16, 20, 50, 200, WEIGHT_MAX];

/// A share may be off by so much of the whole where a smaller sum of weights is chosen.
const SHARE_ERROR_MAX: f64 = 0.002;

/// The plan of a decision.
#[must_use]
pub fn write(wanted: &Wanted, decision: &Decision) -> Plan {
    let order = wanted.in_order();
    let first = order.iter().find_map(|stage| decision.rates_per_s.get(&stage.name)?.keys().next());
    let somewhere = wanted.problem.machines.nodes.first().map_or("", |node| node.name.as_str());
    let mut plan = Plan::single(first.map_or(somewhere, String::as_str));
    for stage in order {
        let rates = decision.rates_per_s.get(&stage.name).filter(|rates| !rates.is_empty());
        let mut assignment = match rates {
            Some(rates) if rates.len() > 1 => Assignment::shared(weights(rates)),
            Some(rates) => Assignment::on(rates.keys().next().map_or("", String::as_str)),
            // Nothing to do: where its input is, so that nothing crosses.
            None => idle(wanted, stage, &plan),
        };
        if stage.variants.len() > 1 {
            assignment.variant = decision.variants.get(&stage.name).cloned();
        }
        let slots = slots(wanted, decision, stage);
        assignment.slots = slots.values().copied().max().unwrap_or(1);
        assignment.slots_on = slots.into_iter().filter(|(_, slots)| *slots != assignment.slots).collect();
        if let Some((items, deadline_ms)) = batches(wanted, decision, stage) {
            assignment = assignment.batches(items.max(1), deadline_ms);
        }
        plan = plan.with(&stage.name, assignment);
    }
    plan
}

/// The same plan, in which sources let in so many items per second, by the names of their feeds.
pub(crate) fn admitting(wanted: &Wanted, mut plan: Plan, admitted: &BTreeMap<String, f64>) -> Plan {
    for (stage, _) in wanted.kinds.iter().filter(|(_, kind)| **kind == Kind::Source) {
        if let Some(rate_per_s) = admitted.get(&feed(stage)) {
            let assignment = plan.assignment(stage).clone();
            plan = plan.with(stage, assignment.admitting(*rate_per_s));
        }
    }
    plan
}

fn idle(wanted: &Wanted, stage: &StageProfile, plan: &Plan) -> Assignment {
    let pinned = stage.nodes.as_ref().and_then(|nodes| nodes.first());
    let input = wanted.problem.profile.edges.iter().find(|edge| edge.to == stage.name);
    let input = input.and_then(|edge| plan.assignment(&edge.from).nodes().next());
    let node = pinned.map(String::as_str).or(input).unwrap_or(&plan.default.node);
    Assignment::on(node)
}

/// Whole weights for rates: of the smallest sum that comes near enough.
fn weights(rates: &BTreeMap<String, f64>) -> Vec<(&str, u32)> {
    let all: f64 = rates.values().sum();
    let mut found = Vec::new();
    for sum in SUMS {
        let exact = |rate: &f64| rate / all * f64::from(sum);
        found = rates.iter().map(|(node, rate)| (node.as_str(), exact(rate).round() as u32)).collect();
        let total: u32 = found.iter().map(|(_, weight)| weight).sum();
        let near = |((_, weight), rate): (&(&str, u32), &f64)| {
            *weight > 0
                && (f64::from(*weight) / f64::from(total.max(1)) - rate / all).abs() <= SHARE_ERROR_MAX
        };
        if found.iter().zip(rates.values()).all(near) {
            break;
        }
    }
    // A share that vanishes in all of these still is one.
    found.into_iter().map(|(node, weight)| (node, weight.clamp(1, WEIGHT_MAX))).collect()
}

/// The largest of the batches that suit the nodes of a stage.
fn batches(wanted: &Wanted, decision: &Decision, stage: &StageProfile) -> Option<(usize, u64)> {
    let variant = decision.variants.get(&stage.name)?;
    let nodes = wanted.problem.machines.nodes.iter();
    let nodes = nodes
        .filter(|node| decision.rates_per_s.get(&stage.name).is_some_and(|r| r.contains_key(&node.name)));
    let of = |node: &Machine| {
        let key = (stage.name.clone(), variant.clone(), node.class().to_owned());
        wanted.batches.get(&key).copied()
    };
    nodes.filter_map(of).max()
}

/// How many batches a stage runs at once, by node: its part of their slots.
fn slots(wanted: &Wanted, decision: &Decision, stage: &StageProfile) -> BTreeMap<String, usize> {
    if wanted.kinds.get(&stage.name) != Some(&Kind::Pooled) {
        return BTreeMap::new();
    }
    let nodes = decision.rates_per_s.get(&stage.name).into_iter().flat_map(BTreeMap::keys);
    let nodes = nodes.filter_map(|name| wanted.problem.machines.nodes.iter().find(|n| n.name == *name));
    let part = |node: &Machine| {
        let own = load(wanted, decision, &stage.name, node);
        let pooled = |name: &&String| wanted.kinds.get(*name) == Some(&Kind::Pooled);
        let all: f64 =
            decision.rates_per_s.keys().filter(pooled).map(|s| load(wanted, decision, s, node)).sum();
        let slots = f64::from(node.slots);
        let part = if all > 0.0 { slots * own / all } else { slots };
        // Never fewer than it keeps busy.
        (part.floor().max(own.ceil()).max(1.0) as usize).min(node.slots.max(1) as usize)
    };
    nodes.map(|node| (node.name.clone(), part(node))).collect()
}

/// Busy slots of a stage on a node.
fn load(wanted: &Wanted, decision: &Decision, stage: &str, node: &Machine) -> f64 {
    let rate = decision.rates_per_s.get(stage).and_then(|rates| rates.get(&node.name)).copied();
    let variant = decision.variants.get(stage);
    let service = wanted
        .problem
        .profile
        .services
        .iter()
        .find(|s| s.stage == stage && Some(&s.variant) == variant && s.class == node.class());
    rate.unwrap_or_default() * service.map_or(0.0, |service| service.ms_per_item / 1000.0)
}

/// The decision that a plan comes to at the rates of the problem.
///
/// # Errors
/// `Invalid` if it names a node or variant that the problem does not know.
pub fn read(wanted: &Wanted, plan: &Plan) -> Result<Decision> {
    let demands = wanted.demands();
    let nodes = &wanted.problem.machines.nodes;
    let mut decision = Decision::default();
    for stage in &wanted.problem.profile.stages {
        let assignment = plan.assignment(&stage.name);
        let variant = assignment.variant.as_ref().filter(|_| stage.variants.len() > 1);
        let variant = variant.or(stage.variants.first()).cloned().unwrap_or_default();
        if !stage.variants.contains(&variant) {
            let message = format!("plan: stage \"{}\" has variant \"{variant}\"", stage.name);
            return Err(Error::new(ErrorKind::Invalid, message)
                .way_out(format!("the profile knows {}", stage.variants.join(", "))));
        }
        if let Some(unknown) = assignment.nodes().find(|name| !nodes.iter().any(|node| node.name == *name)) {
            let message = format!("plan: stage \"{}\" is on node \"{unknown}\"", stage.name);
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            return Err(
                Error::new(ErrorKind::Invalid, message).way_out(format!("nodes: {}", names.join(", ")))
            );
        }
        decision.variants.insert(stage.name.clone(), variant);
        let rate = demands.get(&*stage.name).copied().unwrap_or_default();
        let rates = divided(assignment, rate);
        if !rates.is_empty() {
            decision.rates_per_s.insert(stage.name.clone(), rates);
        }
    }
    decision.flows = flows(wanted, &decision.rates_per_s);
    Ok(decision)
}

/// By node: the part of a rate.
fn divided(assignment: &Assignment, rate: f64) -> BTreeMap<String, f64> {
    let total: f64 = assignment.shares.values().map(|weight| f64::from(*weight)).sum();
    let shares: BTreeMap<String, f64> = match total > 0.0 {
        true => assignment.shares.iter().map(|(n, weight)| (n.clone(), f64::from(*weight) / total)).collect(),
        false => assignment.nodes().take(1).map(|node| (node.to_owned(), 1.0)).collect(),
    };
    let rates = shares.into_iter().map(|(node, share)| (node, share * rate));
    rates.filter(|(_, rate)| *rate > 0.0).collect()
}

/// Between sites: what the engine sends where stages run at these rates.
///
/// Stages that take turns by equal shares keep an item on its node. Otherwise every node of a stage is taken to get
/// its share of what each node sends.
pub(super) fn flows(wanted: &Wanted, rates: &BTreeMap<String, BTreeMap<String, f64>>) -> Vec<SiteFlow> {
    let mut flows = Vec::new();
    for edge in &wanted.problem.profile.edges {
        let Some(used) = rates.get(&edge.to).map(shares) else { continue };
        let total: f64 = rates[&edge.to].values().sum();
        let source = wanted.problem.rates.sources.iter().find(|source| source.name == edge.from);
        let mut by_sites: BTreeMap<(String, String), f64> = BTreeMap::new();
        let made = rates.get(&edge.from).map(shares).unwrap_or_default();
        for (node, share) in &used {
            let to = site(wanted, node);
            if let Some(source) = source {
                *by_sites.entry((source.site.clone(), to)).or_default() += share;
            } else if keeps(wanted, edge, &made, &used) {
                *by_sites.entry((to.clone(), to)).or_default() += share;
            } else {
                for (sender, part) in &made {
                    *by_sites.entry((site(wanted, sender), to.clone())).or_default() += share * part;
                }
            }
        }
        let flow = |((from_site, to_site), share): ((String, String), f64)| SiteFlow {
            from: edge.from.clone(),
            to: edge.to.clone(),
            from_site,
            to_site,
            rate_per_s: share * total,
        };
        flows.extend(by_sites.into_iter().map(flow));
    }
    flows
}

fn shares(rates: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let all: f64 = rates.values().sum();
    rates.iter().map(|(node, rate)| (node.clone(), rate / all)).collect()
}

fn keeps(wanted: &Wanted, edge: &Edge, made: &BTreeMap<String, f64>, used: &BTreeMap<String, f64>) -> bool {
    let same = made.len() == used.len()
        && made.iter().zip(used).all(|((a, x), (b, y))| a == b && (x - y).abs() < 1e-9);
    same && wanted.takes_turns(&edge.from) && wanted.takes_turns(&edge.to)
}

fn site(wanted: &Wanted, node: &str) -> String {
    let found = wanted.problem.machines.nodes.iter().find(|known| known.name == node);
    found.map_or_else(String::new, |node| node.site.clone())
}
