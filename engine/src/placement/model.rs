//! A checked problem by number instead of by name, with identical nodes merged into classes.
//!
//! Merging is exact: nodes of a class stand at one site, cost the same, have as many slots and take as long for
//! everything, so that only how many of them are used matters.

use std::collections::BTreeMap;

use super::decision::Mode;
use super::problem::{Accuracy, Problem};
use crate::error::Result;

/// Bytes of a kilobyte and seconds of an hour, in gigabytes of 2^30 bytes: (items/s x KB) to GB/h.
pub(super) const GB_PER_H: f64 = 3600.0 / (1024.0 * 1024.0);

/// (items/s x KB) to Mbit/s.
pub(super) const MBIT_PER_S: f64 = 1024.0 * 8.0 / 1e6;

/// The problem, by number.
pub(super) struct Model {
    pub(super) mode: Mode,
    /// By site.
    pub(super) tiers: Vec<u32>,
    /// From site, to site.
    pub(super) links: Vec<Vec<Option<Way>>>,
    pub(super) classes: Vec<Class>,
    /// In an order in which inputs come first.
    pub(super) stages: Vec<Stage>,
    pub(super) edges: Vec<Flow>,
    pub(super) accuracy: Allowed,
}

/// The network from one site to another.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) usd_per_gb: f64,
    pub(super) mbit_per_s: Option<f64>,
}

/// Identical nodes.
pub(super) struct Class {
    pub(super) site: usize,
    pub(super) usd_per_h: f64,
    /// Their places in the problem.
    pub(super) nodes: Vec<usize>,
}

/// A stage.
pub(super) struct Stage {
    /// Its place in the problem.
    pub(super) place: usize,
    /// Items per second.
    pub(super) rate_per_s: f64,
    /// By variant and class: how many nodes the whole of its demand takes, at the ceiling of utilisation.
    pub(super) work: Vec<Vec<Option<f64>>>,
    pub(super) stays_at_site: bool,
}

/// Where a stream comes from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    /// A site that a source stands at.
    Source(usize),
    Stage(usize),
}

/// A stream into a stage.
pub(super) struct Flow {
    /// Its place in the problem.
    pub(super) place: usize,
    pub(super) from: End,
    pub(super) to: usize,
    /// Items of `to` per second times kilobytes, by the variant of `from`.
    pub(super) kb_per_s: Vec<f64>,
}

/// Which combinations of variants meet the floor.
pub(super) enum Allowed {
    All,
    /// By stage and variant, and how much they may sum up to.
    Loss {
        losses: Vec<Vec<f64>>,
        most: f64,
    },
    /// The stages, and the combinations of their variants.
    Rows {
        stages: Vec<usize>,
        rows: Vec<Vec<usize>>,
    },
}

impl Model {
    /// Checks a problem, and numbers it.
    pub(super) fn new(problem: &Problem, mode: Mode) -> Result<Self> {
        problem.check()?;
        let sites: BTreeMap<&str, usize> =
            problem.machines.sites.iter().enumerate().map(|(i, site)| (site.name.as_str(), i)).collect();
        let mut links = vec![vec![None; sites.len()]; sites.len()];
        for link in &problem.machines.links {
            let way = Way { usd_per_gb: link.usd_per_gb, mbit_per_s: link.mbit_per_s };
            links[sites[&*link.from]][sites[&*link.to]] = Some(way);
        }
        let (order, rates) = demand(problem);
        let numbers: BTreeMap<&str, usize> =
            order.iter().enumerate().map(|(i, &place)| (&*problem.profile.stages[place].name, i)).collect();
        let times = times(problem, &order);
        let (classes, stages) = classes(problem, &sites, &order, &rates, times);
        let origin = |name: &str| match numbers.get(name) {
            Some(stage) => End::Stage(*stage),
            None => {
                let source = problem.rates.sources.iter().find(|source| source.name == name);
                End::Source(sites[&*source.expect("edges were checked").site])
            }
        };
        let edges = problem.profile.edges.iter().enumerate().filter_map(|(place, edge)| {
            let (from, to) = (origin(&edge.from), numbers[&*edge.to]);
            if stages[to].rate_per_s == 0.0 {
                return None;
            }
            let variants = if let End::Stage(stage) = from { stages[stage].work.len() } else { 1 };
            let kb = |k: usize| *edge.kb_per_item.get(k).unwrap_or(&edge.kb_per_item[0]);
            let kb_per_s = (0..variants).map(|k| stages[to].rate_per_s * kb(k)).collect();
            Some(Flow { place, from, to, kb_per_s })
        });
        let edges = edges.collect();
        let tiers = problem.machines.sites.iter().map(|site| site.tier).collect();
        let accuracy = allowed(problem, &order, &numbers);
        Ok(Self { mode, tiers, links, classes, stages, edges, accuracy })
    }

    /// Whether a stage may take its input over the way from one site to another.
    pub(super) fn way(&self, stage: usize, from: usize, to: usize) -> Option<Way> {
        if from == to {
            return Some(Way { usd_per_gb: 0.0, mbit_per_s: None });
        }
        let forward = self.mode != Mode::Paper || self.tiers[from] <= self.tiers[to];
        self.links[from][to].filter(|_| forward && !self.stages[stage].stays_at_site)
    }

    /// The sites that some variant of a stage can run at, in order.
    pub(super) fn sites_of(&self, stage: usize) -> Vec<usize> {
        let can = |c: &usize| self.stages[stage].work.iter().any(|by_class| by_class[*c].is_some());
        let mut sites: Vec<usize> =
            (0..self.classes.len()).filter(can).map(|c| self.classes[c].site).collect();
        sites.sort_unstable();
        sites.dedup();
        sites
    }
}

/// The places of the stages, inputs first, and the demand of each place.
fn demand(problem: &Problem) -> (Vec<usize>, Vec<f64>) {
    let stages = &problem.profile.stages;
    let mut rates: BTreeMap<&str, f64> =
        problem.rates.sources.iter().map(|source| (source.name.as_str(), source.rate_per_s)).collect();
    let mut order = Vec::new();
    while order.len() < stages.len() {
        for (place, stage) in
            stages.iter().enumerate().filter(|(place, _)| !order.contains(place)).collect::<Vec<_>>()
        {
            let inputs = || problem.profile.edges.iter().filter(|edge| edge.to == stage.name);
            if inputs().all(|edge| rates.contains_key(&*edge.from)) {
                let rate = inputs().map(|edge| rates[&*edge.from] * edge.items_per_item);
                rates.insert(&stage.name, rate.fold(f64::INFINITY, f64::min));
                order.push(place);
            }
        }
    }
    let by_place = stages.iter().map(|stage| rates[&*stage.name]).collect();
    (order, by_place)
}

/// By stage in order, variant and node: milliseconds per item.
fn times(problem: &Problem, order: &[usize]) -> Vec<Vec<Vec<Option<f64>>>> {
    let services: BTreeMap<(&str, &str, &str), f64> = problem
        .profile
        .services
        .iter()
        .map(|s| ((s.stage.as_str(), s.variant.as_str(), s.class.as_str()), s.ms_per_item))
        .collect();
    let stage = |&place: &usize| {
        let stage = &problem.profile.stages[place];
        let variant = |variant: &String| {
            let node = |node: &super::problem::Machine| {
                let pinned = stage.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node.name));
                services.get(&(&*stage.name, &**variant, node.class())).copied().filter(|_| pinned)
            };
            problem.machines.nodes.iter().map(node).collect()
        };
        stage.variants.iter().map(variant).collect()
    };
    order.iter().map(stage).collect()
}

/// The classes, and the stages with their work by class.
fn classes(
    problem: &Problem,
    sites: &BTreeMap<&str, usize>,
    order: &[usize],
    rates: &[f64],
    times: Vec<Vec<Vec<Option<f64>>>>,
) -> (Vec<Class>, Vec<Stage>) {
    let mut numbers: BTreeMap<Vec<u64>, usize> = BTreeMap::new();
    let mut classes: Vec<Class> = Vec::new();
    for (place, node) in problem.machines.nodes.iter().enumerate() {
        let site = sites[&*node.site];
        let mut key = vec![site as u64, node.usd_per_h.to_bits(), u64::from(node.slots)];
        let column = times.iter().flatten().map(|by_node| by_node[place]);
        key.extend(column.map(|ms| ms.map_or(u64::MAX, f64::to_bits)));
        let class = *numbers.entry(key).or_insert(classes.len());
        if class == classes.len() {
            classes.push(Class { site, usd_per_h: node.usd_per_h, nodes: Vec::new() });
        }
        classes[class].nodes.push(place);
    }
    let ceiling = problem.objectives.utilisation_max;
    let stages = order.iter().zip(times).map(|(&place, times)| {
        let work = |by_node: &Vec<Option<f64>>| {
            let class = |class: &Class| {
                let node = class.nodes[0];
                let slots = f64::from(problem.machines.nodes[node].slots);
                // What has nothing to do runs anywhere.
                let by_node = by_node[node].or((rates[place] == 0.0).then_some(0.0));
                by_node.map(|ms| rates[place] * ms / 1000.0 / (slots * ceiling))
            };
            classes.iter().map(class).collect()
        };
        Stage {
            place,
            rate_per_s: rates[place],
            work: times.iter().map(work).collect(),
            stays_at_site: problem.profile.stages[place].stays_at_site,
        }
    });
    let stages = stages.collect();
    (classes, stages)
}

fn allowed(problem: &Problem, order: &[usize], numbers: &BTreeMap<&str, usize>) -> Allowed {
    let Some(floor) = problem.objectives.accuracy_min else { return Allowed::All };
    let variants = |stage: usize| &problem.profile.stages[order[stage]].variants;
    match problem.profile.accuracy.as_ref().expect("a floor was checked to have a profile") {
        Accuracy::Linear { base, losses } => {
            let mut table: Vec<Vec<f64>> = (0..order.len()).map(|v| vec![0.0; variants(v).len()]).collect();
            for loss in losses {
                let stage = numbers[&*loss.stage];
                let variant = variants(stage).iter().position(|name| *name == loss.variant);
                table[stage][variant.expect("losses were checked")] = loss.loss;
            }
            Allowed::Loss { losses: table, most: base - floor }
        }
        Accuracy::Table { stages, rows } => {
            let stages: Vec<usize> = stages.iter().map(|name| numbers[&**name]).collect();
            let number = |(stage, variant): (&usize, &String)| {
                variants(*stage).iter().position(|name| name == variant).expect("rows were checked")
            };
            let good = rows.iter().filter(|row| row.accuracy >= floor);
            let rows = good.map(|row| stages.iter().zip(&row.variants).map(number).collect()).collect();
            Allowed::Rows { stages, rows }
        }
    }
}
