//! From a solution of the linear program, whole in what must be whole, to a plan by name.

use std::collections::BTreeMap;

use microlp::Solution;

use super::decision::{Decision, Mode, SiteFlow};
use super::model::Model;
use super::problem::Problem;
use super::program::{Given, Program};

/// Shares below this are what the arithmetic left over.
const NOTHING: f64 = 1e-7;

/// The plan of a solution. Nodes that have nothing to do are not in it.
pub(super) fn decision(problem: &Problem, model: &Model, program: &Program, solution: &Solution) -> Decision {
    let mut decision = Decision::default();
    // By class: how many of its nodes are taken.
    let mut taken = vec![0; model.classes.len()];
    let mut shares: Vec<Vec<f64>> = Vec::new();
    let mut work = vec![0.0; model.classes.len()];
    for (v, stage) in model.stages.iter().enumerate() {
        let (variant, by_class) = chosen(program, solution, v);
        for (class, share) in by_class.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            work[class] += share * stage.work[variant][class].unwrap_or(f64::INFINITY);
        }
        shares.push(by_class);
        let profile = &problem.profile.stages[stage.place];
        decision.variants.insert(profile.name.clone(), profile.variants[variant].clone());
    }
    for (v, stage) in model.stages.iter().enumerate() {
        let profile = &problem.profile.stages[stage.place];
        let variant = &decision.variants[&profile.name];
        let variant = profile.variants.iter().position(|known| known == variant).unwrap_or_default();
        let mut rates = BTreeMap::new();
        if stage.rate_per_s == 0.0 {
            continue;
        }
        for (class, &share) in shares[v].iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let nodes = &model.classes[class].nodes;
            let load = match model.mode {
                Mode::Shared => work[class],
                Mode::Exclusive | Mode::Paper => share * stage.work[variant][class].unwrap_or(f64::INFINITY),
            };
            let count = ((load - NOTHING).ceil().max(1.0) as usize).min(nodes.len());
            let first = if model.mode == Mode::Shared { 0 } else { taken[class] };
            taken[class] += count;
            for &place in nodes.iter().skip(first).take(count) {
                let rate = share * stage.rate_per_s / count as f64;
                rates.insert(problem.machines.nodes[place].name.clone(), rate);
            }
        }
        decision.rates_per_s.insert(profile.name.clone(), rates);
    }
    decision.flows = match model.mode {
        Mode::Paper => proportional(problem, model, &shares),
        Mode::Exclusive | Mode::Shared => routed(problem, model, program, solution),
    };
    decision
}

/// The variant of each stage in a solution that has chosen all.
pub(super) fn choice(program: &Program, solution: &Solution) -> Given {
    (0..program.shares.len()).map(|stage| Some(chosen(program, solution, stage).0)).collect()
}

/// By stage and class: how many nodes it needs to itself. Where nodes are shared, the first line is of all stages
/// together.
pub(super) fn counts(model: &Model, program: &Program, solution: &Solution) -> Vec<Vec<f64>> {
    let mut loads = vec![vec![0.0; model.classes.len()]; model.stages.len()];
    for (v, stage) in model.stages.iter().enumerate().filter(|(_, stage)| stage.rate_per_s > 0.0) {
        let line = if model.mode == Mode::Shared { 0 } else { v };
        let (variant, by_class) = chosen(program, solution, v);
        for (class, share) in by_class.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            // What is used is paid for, however little that is.
            let load = share * stage.work[variant][class].unwrap_or(f64::INFINITY);
            loads[line][class] += load.max(2.0 * NOTHING);
        }
    }
    loads.iter().map(|line| line.iter().map(|load| (load - NOTHING).ceil().max(0.0)).collect()).collect()
}

/// The variant of a stage, and what its classes take.
fn chosen(program: &Program, solution: &Solution, stage: usize) -> (usize, Vec<f64>) {
    let value = |share: &Option<microlp::Variable>| share.map_or(0.0, |share| solution.var_value(share));
    let sum = |k: usize| program.shares[stage][k].iter().map(value).sum::<f64>();
    let variant = (0..program.shares[stage].len()).max_by(|a, b| sum(*a).total_cmp(&sum(*b))).unwrap_or(0);
    let raw = program.shares[stage][variant].iter().map(value);
    let kept: Vec<f64> = raw.map(|share| if share < NOTHING { 0.0 } else { share }).collect();
    let all: f64 = kept.iter().sum();
    (variant, kept.iter().map(|share| share / all).collect())
}

fn flow(problem: &Problem, model: &Model, edge: usize, sites: (usize, usize), share: f64) -> SiteFlow {
    let site = |site: usize| problem.machines.sites[site].name.clone();
    let entry = &problem.profile.edges[model.edges[edge].place];
    let rate = model.stages[model.edges[edge].to].rate_per_s;
    SiteFlow {
        from: entry.from.clone(),
        to: entry.to.clone(),
        from_site: site(sites.0),
        to_site: site(sites.1),
        rate_per_s: share * rate,
    }
}

fn routed(problem: &Problem, model: &Model, program: &Program, solution: &Solution) -> Vec<SiteFlow> {
    let mut shares: BTreeMap<(usize, usize, usize), f64> = BTreeMap::new();
    for route in &program.routes {
        *shares.entry((route.edge, route.from, route.to)).or_default() += solution.var_value(route.column);
    }
    let shares = shares.into_iter().filter(|(_, share)| *share >= NOTHING);
    shares.map(|((edge, from, to), share)| flow(problem, model, edge, (from, to), share)).collect()
}

fn proportional(problem: &Problem, model: &Model, shares: &[Vec<f64>]) -> Vec<SiteFlow> {
    let at = |stage: usize, site: usize| -> f64 {
        let classes = shares[stage].iter().zip(&model.classes);
        classes.filter(|(_, class)| class.site == site).map(|(share, _)| share).sum()
    };
    let mut flows = Vec::new();
    for (number, edge) in model.edges.iter().enumerate() {
        for from in 0..model.tiers.len() {
            let out = match edge.from {
                super::model::End::Source(site) => f64::from(site == from),
                super::model::End::Stage(u) => at(u, from),
            };
            let pairs = (0..model.tiers.len()).map(|to| (to, out * at(edge.to, to)));
            let pairs = pairs.filter(|(_, share)| *share > 0.0);
            flows.extend(pairs.map(|(to, share)| flow(problem, model, number, (from, to), share)));
        }
    }
    flows
}
