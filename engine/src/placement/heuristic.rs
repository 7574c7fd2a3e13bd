//! The heuristic of the paper ("Serving and Optimizing Machine Learning Workflows on Heterogeneous
//! Infrastructures"), as a baseline: a beam search over variants, then a greedy assignment of nodes that may span
//! tiers, never below a tier that an input uses.
//!
//! It follows the description alone, and makes every choice that the description leaves open in the order of the
//! problem, so that an input has one answer.

use std::collections::BTreeMap;

use super::decision::{Decision, Mode, SiteFlow};
use super::evaluate::Judge;
use super::model::{Allowed, End, GB_PER_H, Model};
use super::problem::Problem;
use crate::error::Result;

/// Combinations of variants, and assignments of nodes, that are kept from step to step.
const BEAM: usize = 10;

/// Orders of the stages that are tried, at most.
const ORDERS_MAX: usize = 10;

/// The plan that the paper's heuristic finds, by its rules, and its cost in dollars per hour.
///
/// # Errors
/// `Invalid` if the problem is not right.
pub fn heuristic(problem: &Problem) -> Result<Option<(f64, Decision)>> {
    let model = Model::new(problem, Mode::Paper, None)?;
    let judge = Judge::new(problem, Mode::Paper);
    let orders = orders(&model);
    let mut best: Option<(f64, Decision)> = None;
    for variants in combinations(&model) {
        for order in &orders {
            for assignment in assign(&model, &variants, order) {
                let decision = assignment.decision(problem, &model, &variants);
                let judged = judge.judge(&decision, None);
                let cost = judged.cost_usd_per_h();
                if judged.is_feasible() && best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, decision));
                }
            }
        }
    }
    Ok(best)
}

/// The beam over variants: those that cost least if every stage had the nodes that suit it best, of those that may
/// still meet the floor.
fn combinations(model: &Model) -> Vec<Vec<usize>> {
    let mut beam: Vec<(f64, Vec<usize>)> = vec![(0.0, Vec::new())];
    for stage in &model.stages {
        let price = |work: &Vec<Option<f64>>| {
            let nodes = work.iter().zip(&model.classes);
            nodes.filter_map(|(work, class)| Some((*work)? * class.usd_per_h)).min_by(f64::total_cmp)
        };
        let mut next: Vec<(f64, Vec<usize>)> = Vec::new();
        for (cost, chosen) in &beam {
            for (variant, work) in stage.work.iter().enumerate() {
                let longer = [chosen.as_slice(), &[variant]].concat();
                if let Some(price) = price(work).filter(|_| may_meet(model, &longer)) {
                    next.push((cost + price, longer));
                }
            }
        }
        next.sort_by(|a, b| a.0.total_cmp(&b.0));
        next.truncate(BEAM);
        beam = next;
    }
    beam.into_iter().map(|(_, chosen)| chosen).collect()
}

/// Whether some choice for the stages that are left meets the floor.
fn may_meet(model: &Model, chosen: &[usize]) -> bool {
    match &model.accuracy {
        Allowed::All => true,
        Allowed::Loss { losses, most } => {
            let lost = losses.iter().enumerate().map(|(stage, by_variant)| match chosen.get(stage) {
                Some(variant) => by_variant[*variant],
                None => by_variant.iter().copied().fold(f64::INFINITY, f64::min),
            });
            lost.sum::<f64>() <= most + 1e-9
        }
        Allowed::Rows { stages, rows } => rows.iter().any(|row| {
            stages.iter().zip(row).all(|(stage, variant)| chosen.get(*stage).is_none_or(|k| k == variant))
        }),
    }
}

/// Orders in which inputs come first.
fn orders(model: &Model) -> Vec<Vec<usize>> {
    fn longer(model: &Model, order: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
        if order.len() == model.stages.len() {
            found.push(order.clone());
        }
        for stage in 0..model.stages.len() {
            let is_ready = |edge: &super::model::Flow| match edge.from {
                End::Stage(from) if edge.to == stage => order.contains(&from),
                _ => true,
            };
            if found.len() < ORDERS_MAX && !order.contains(&stage) && model.edges.iter().all(is_ready) {
                order.push(stage);
                longer(model, order, found);
                order.pop();
            }
        }
    }
    let mut found = Vec::new();
    longer(model, &mut Vec::new(), &mut found);
    found
}

/// Nodes given to stages so far.
#[derive(Clone)]
struct Assignment {
    cost: f64,
    /// By class: nodes that are left.
    left: Vec<usize>,
    /// By stage and class: nodes, and the part of the demand they take together.
    nodes: Vec<BTreeMap<usize, (usize, f64)>>,
}

/// The beam over assignments: stage by stage, beginning at each tier that is allowed.
fn assign(model: &Model, variants: &[usize], order: &[usize]) -> Vec<Assignment> {
    let empty = Assignment {
        cost: 0.0,
        left: model.classes.iter().map(|class| class.nodes.len()).collect(),
        nodes: vec![BTreeMap::new(); model.stages.len()],
    };
    let mut tiers: Vec<u32> = model.tiers.clone();
    tiers.sort_unstable();
    tiers.dedup();
    let mut beam = vec![empty];
    for &stage in order.iter().filter(|stage| model.stages[**stage].rate_per_s > 0.0) {
        let mut next: Vec<Assignment> = Vec::new();
        for known in &beam {
            let lowest = known.lowest(model, stage);
            for at in (0..tiers.len()).filter(|at| tiers[*at] >= lowest) {
                // From a tier upwards: the next tier helps out where one has too few nodes.
                next.extend(known.fill(model, stage, variants, &tiers[at..]));
            }
        }
        next.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        next.dedup_by(|a, b| a.nodes == b.nodes);
        next.truncate(BEAM);
        beam = next;
    }
    beam
}

impl Assignment {
    /// The highest tier that an input of a stage uses.
    fn lowest(&self, model: &Model, stage: usize) -> u32 {
        let inputs = model.edges.iter().filter(|edge| edge.to == stage);
        let tiers = inputs.flat_map(|edge| match edge.from {
            End::Source(site) => vec![model.tiers[site]],
            End::Stage(from) => {
                self.nodes[from].keys().map(|c| model.tiers[model.classes[*c].site]).collect()
            }
        });
        tiers.max().unwrap_or(0)
    }

    /// The same with nodes for a stage, taken tier by tier, in each those first that cost least for what they do.
    fn fill(&self, model: &Model, stage: usize, variants: &[usize], tiers: &[u32]) -> Option<Self> {
        let mut filled = self.clone();
        let mut asked = 1.0;
        for tier in tiers {
            let work = &model.stages[stage].work[variants[stage]];
            let here = |class: &usize| model.tiers[model.classes[*class].site] == *tier;
            let mut able: Vec<(usize, f64)> =
                (0..work.len()).filter(here).filter_map(|class| Some((class, work[class]?))).collect();
            let price = |(class, work): &(usize, f64)| work * model.classes[*class].usd_per_h;
            able.sort_by(|a, b| price(a).total_cmp(&price(b)));
            while asked > 1e-9 {
                let is_left = |(class, _): &&(usize, f64)| filled.left[*class] > 0;
                // One that can take all of the rest, if it is cheaper than the next in turn.
                let next = able.iter().find(is_left);
                let whole = able.iter().filter(is_left).filter(|(_, work)| asked * work <= 1.0);
                let whole = whole
                    .min_by(|a, b| model.classes[a.0].usd_per_h.total_cmp(&model.classes[b.0].usd_per_h));
                let Some(&(class, work)) = whole.or(next) else { break };
                let share = asked.min(1.0 / work.max(1e-9));
                asked -= share;
                filled.left[class] -= 1;
                filled.cost += model.classes[class].usd_per_h;
                let entry = filled.nodes[stage].entry(class).or_default();
                *entry = (entry.0 + 1, entry.1 + share);
            }
        }
        if asked > 1e-9 {
            return None;
        }
        filled.cost += filled.traffic_usd_per_h(model, stage, variants)?;
        Some(filled)
    }

    /// What the input of a stage costs on links, if there are links for it.
    fn traffic_usd_per_h(&self, model: &Model, stage: usize, variants: &[usize]) -> Option<f64> {
        let mut sum = 0.0;
        for edge in model.edges.iter().filter(|edge| edge.to == stage) {
            let (made, kb_per_s) = match edge.from {
                End::Source(site) => (BTreeMap::from([(site, 1.0)]), edge.kb_per_s[0]),
                End::Stage(from) => (self.shares(model, from), edge.kb_per_s[variants[from]]),
            };
            for (from, out) in &made {
                for (to, taken) in self.shares(model, stage) {
                    sum += out * taken * kb_per_s * GB_PER_H * model.way(stage, *from, to)?.usd_per_gb;
                }
            }
        }
        Some(sum)
    }

    /// By site: the part of a stage's demand.
    fn shares(&self, model: &Model, stage: usize) -> BTreeMap<usize, f64> {
        let mut shares = BTreeMap::new();
        for (class, (_, share)) in &self.nodes[stage] {
            *shares.entry(model.classes[*class].site).or_default() += share;
        }
        shares
    }

    fn decision(&self, problem: &Problem, model: &Model, variants: &[usize]) -> Decision {
        let mut decision = Decision::default();
        let mut taken = vec![0; model.classes.len()];
        for (stage, entry) in model.stages.iter().enumerate() {
            let profile = &problem.profile.stages[entry.place];
            decision.variants.insert(profile.name.clone(), profile.variants[variants[stage]].clone());
            let rates = decision.rates_per_s.entry(profile.name.clone()).or_default();
            for (class, (count, share)) in &self.nodes[stage] {
                for place in model.classes[*class].nodes.iter().skip(taken[*class]).take(*count) {
                    let rate = share * entry.rate_per_s / *count as f64;
                    rates.insert(problem.machines.nodes[*place].name.clone(), rate);
                }
                taken[*class] += count;
            }
        }
        for edge in &model.edges {
            let made = match edge.from {
                End::Source(site) => BTreeMap::from([(site, 1.0)]),
                End::Stage(from) => self.shares(model, from),
            };
            let entry = &problem.profile.edges[edge.place];
            let site = |site: usize| problem.machines.sites[site].name.clone();
            for (from, out) in made {
                for (to, share) in self.shares(model, edge.to) {
                    decision.flows.push(SiteFlow {
                        from: entry.from.clone(),
                        to: entry.to.clone(),
                        from_site: site(from),
                        to_site: site(to),
                        rate_per_s: out * share * model.stages[edge.to].rate_per_s,
                    });
                }
            }
        }
        decision
    }
}
