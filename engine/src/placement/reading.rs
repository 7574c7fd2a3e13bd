//! From a solution of the linear program, whole in what must be whole, to a plan by name.

use std::collections::BTreeMap;

use microlp::Solution;

use super::decision::{Decision, Mode, SiteFlow};
use super::model::Model;
use super::problem::Problem;
use super::program::{Given, Program};

/// Shares below this are what the arithmetic left over.
pub(super) const NOTHING: f64 = 1e-7;

/// The plan of a solution. Nodes that have nothing to do are not in it.
pub(super) fn decision(problem: &Problem, model: &Model, program: &Program, solution: &Solution) -> Decision {
    let mut decision = Decision::default();
    let mut shares: Vec<Vec<f64>> = Vec::new();
    let mut tasks: Vec<Vec<Task>> = vec![Vec::new(); model.classes.len()];
    for (stage, entry) in model.stages.iter().enumerate() {
        let (variant, by_class) = chosen(program, solution, stage);
        for (class, &share) in by_class.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let load = share * entry.work[variant][class].unwrap_or(f64::INFINITY);
            tasks[class].push(Task { stage, variant, share, load });
        }
        shares.push(by_class);
        let profile = &problem.profile.stages[entry.place];
        decision.variants.insert(profile.name.clone(), profile.variants[variant].clone());
        if entry.rate_per_s > 0.0 {
            decision.rates_per_s.insert(profile.name.clone(), BTreeMap::new());
        }
    }
    for (class, tasks) in tasks.iter_mut().enumerate() {
        tasks.retain(|task| model.stages[task.stage].rate_per_s > 0.0);
        let counts = program.counts.iter().filter(|count| count.class == class);
        let counted = counts.map(|count| solution.var_value(count.column)).sum();
        for (node, stage, share) in hosted(model, class, tasks, counted) {
            let entry = &model.stages[stage];
            let rates = decision.rates_per_s.get_mut(&problem.profile.stages[entry.place].name);
            let node = &problem.machines.nodes[model.classes[class].nodes[node]].name;
            rates.expect("it has a rate").insert(node.clone(), share * entry.rate_per_s);
        }
    }
    decision.flows = match model.mode {
        Mode::Paper => proportional(problem, model, &shares),
        Mode::Exclusive | Mode::Shared => routed(problem, model, program, solution),
    };
    decision
}

/// What a class does for a stage.
#[derive(Clone, Copy)]
struct Task {
    stage: usize,
    variant: usize,
    /// Of the stage's demand.
    share: f64,
    /// In nodes.
    load: f64,
}

fn whole(load: f64, most: usize) -> usize {
    ((load - NOTHING).ceil().max(1.0) as usize).min(most)
}

/// Which node of a class, by its place in the class, does what part of the demand of which stage.
fn hosted(model: &Model, class: usize, tasks: &[Task], counted: f64) -> Vec<(usize, usize, f64)> {
    let entry = &model.classes[class];
    let even = |task: &Task, first: usize, count: usize| {
        let (stage, share) = (task.stage, task.share / count as f64);
        (first..first + count).map(move |node| (node, stage, share))
    };
    if model.mode != Mode::Shared {
        let mut first = 0;
        let mut own = |task: &Task| {
            let count = whole(task.load, entry.nodes.len().saturating_sub(first).max(1));
            first += count;
            even(task, first - count, count)
        };
        // More than there are is what a relaxation asks; the judge refuses it.
        return tasks.iter().flat_map(&mut own).filter(|(node, ..)| *node < entry.nodes.len()).collect();
    }
    let count = whole(tasks.iter().map(|task| task.load).sum(), entry.nodes.len());
    if count == 1 || entry.memory_mb.is_none() && model.usd_per_start == 0.0 {
        return tasks.iter().flat_map(|task| even(task, 0, count)).collect();
    }
    // Memory may ask for more nodes than the load does.
    pack(model, class, tasks, count.max(whole(counted, entry.nodes.len())))
}

/// Gives tasks to nodes so that few nodes start anything: first what would start, the largest first, each to the node
/// that it fills best, then what runs there already.
fn pack(model: &Model, class: usize, tasks: &[Task], count: usize) -> Vec<(usize, usize, f64)> {
    let entry = &model.classes[class];
    let starts = |task: &Task| model.start_usd(task.stage, task.variant, class) > 0.0;
    let mut tasks = tasks.to_vec();
    tasks.sort_by(|a, b| starts(b).cmp(&starts(a)).then(b.load.total_cmp(&a.load)));
    let mut free = vec![1.0; count];
    let mut memory = vec![entry.memory_mb.unwrap_or(f64::INFINITY); count];
    let mut hosted = Vec::new();
    for task in tasks {
        let memory_mb = model.stages[task.stage].memory_mb[task.variant][class];
        let mut left = task.load;
        let mut nodes: Vec<usize> = (0..count).collect();
        loop {
            let fits = |node: &usize| memory[*node] >= memory_mb * (1.0 - NOTHING);
            let can: Vec<usize> = nodes.iter().copied().filter(fits).collect();
            // The tightest of those that can take all that is left, else the one that takes most.
            let tightest = can.iter().filter(|node| free[**node] + NOTHING >= left);
            let tightest = tightest.min_by(|a, b| free[**a].total_cmp(&free[**b]));
            let widest = || can.iter().max_by(|a, b| free[**a].total_cmp(&free[**b]));
            // Where none is left the judge refuses what becomes of it.
            let all = if can.is_empty() { 0 } else { nodes[0] };
            let node = *tightest.or_else(widest).unwrap_or(&all);
            let last = nodes.len() == 1 || can.len() <= 1;
            let load = if last || free[node] + NOTHING >= left { left } else { free[node].max(0.0) };
            let part = if task.load > 0.0 { load / task.load } else { 1.0 };
            if part > 0.0 {
                hosted.push((node, task.stage, task.share * part));
                memory[node] -= memory_mb;
            }
            free[node] -= load;
            left -= load;
            nodes.retain(|other| *other != node);
            if left <= 0.0 {
                break;
            }
        }
    }
    hosted
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
