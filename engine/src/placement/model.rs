//! A checked problem by number instead of by name, with identical nodes merged into classes.
//!
//! Merging is exact: nodes of a class stand at one site, cost the same, have as many slots and as much memory, take as
//! long for everything and run the same now, so that only how many of them are used matters. Where it also matters
//! what each of them hosts (its memory may not hold all, or a start has a price), they are kept apart if they are few.

use std::collections::BTreeMap;

use super::decision::{Mode, Running};
use super::problem::{Accuracy, Machine, Problem, Service};
use crate::error::Result;

/// Bytes of a kilobyte and seconds of an hour, in gigabytes of 2^30 bytes: (items/s x KB) to GB/h.
pub(super) const GB_PER_H: f64 = 3600.0 / (1024.0 * 1024.0);

/// (items/s x KB) to Mbit/s.
pub(super) const MBIT_PER_S: f64 = 1024.0 * 8.0 / 1e6;

/// Nodes that are kept apart in one problem, at most.
const APART_MAX: usize = 24;

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
    /// The bound of latency, if some plan could break it.
    pub(super) p95_ms_max: Option<f64>,
    /// Dollars per hour.
    pub(super) usd_per_start: f64,
}

/// The network from one site to another.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) usd_per_gb: f64,
    pub(super) mbit_per_s: Option<f64>,
    pub(super) round_trip_ms: f64,
}

/// Identical nodes.
pub(super) struct Class {
    pub(super) site: usize,
    pub(super) usd_per_h: f64,
    /// Their places in the problem.
    pub(super) nodes: Vec<usize>,
    /// Megabytes of each, where they may not hold all that could run there.
    pub(super) memory_mb: Option<f64>,
    /// By stage: the variant that each of them runs now.
    pub(super) runs: Vec<Option<usize>>,
    /// A single node, of which is told what it hosts.
    pub(super) is_apart: bool,
    /// The class of another such node that is the same in everything.
    pub(super) twin: Option<usize>,
}

/// A stage.
pub(super) struct Stage {
    /// Its place in the problem.
    pub(super) place: usize,
    /// Items per second.
    pub(super) rate_per_s: f64,
    /// By variant and class: how many nodes the whole of its demand takes, at the ceiling of utilisation.
    pub(super) work: Vec<Vec<Option<f64>>>,
    /// By variant and class: how long an item is in it, at most in 95 of 100 cases.
    pub(super) latency_ms: Vec<Vec<f64>>,
    /// By variant and class: megabytes that a node holds for it.
    pub(super) memory_mb: Vec<Vec<f64>>,
    pub(super) stays_at_site: bool,
}

impl Stage {
    /// Whether a variant can run somewhere.
    pub(super) fn can(&self, variant: usize) -> bool {
        self.work[variant].iter().any(Option::is_some)
    }

    /// The variants that can.
    pub(super) fn able_variants(&self) -> impl Iterator<Item = usize> {
        (0..self.work.len()).filter(|variant| self.can(*variant))
    }
}

/// Where a stream comes from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    /// A site that a source stands at.
    Source(usize),
    Stage(usize),
}

/// A stream into a stage.
#[derive(Clone)]
pub(super) struct Flow {
    /// Its place in the problem.
    pub(super) place: usize,
    pub(super) from: End,
    pub(super) to: usize,
    /// Items of `to` per second times kilobytes, by the variant of `from`.
    pub(super) kb_per_s: Vec<f64>,
}

impl Flow {
    /// What it carries if stages run these variants.
    pub(super) fn kb_per_s(&self, variants: &[usize]) -> f64 {
        self.kb_per_s[if let End::Stage(from) = self.from { variants[from] } else { 0 }]
    }
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
    pub(super) fn new(problem: &Problem, mode: Mode, running: Option<&Running>) -> Result<Self> {
        problem.check()?;
        let sites: BTreeMap<&str, usize> =
            problem.machines.sites.iter().enumerate().map(|(i, site)| (site.name.as_str(), i)).collect();
        let mut links = vec![vec![None; sites.len()]; sites.len()];
        for link in &problem.machines.links {
            let (usd_per_gb, mbit_per_s) = (link.usd_per_gb, link.mbit_per_s);
            let way = Way { usd_per_gb, mbit_per_s, round_trip_ms: link.round_trip_ms };
            links[sites[&*link.from]][sites[&*link.to]] = Some(way);
        }
        let (order, rates) = demand(problem);
        let numbers: BTreeMap<&str, usize> =
            order.iter().enumerate().map(|(i, &place)| (&*problem.profile.stages[place].name, i)).collect();
        let plan = Grouping { problem, mode, order: &order, rates: &rates, running };
        let (classes, stages) = plan.classes(&sites);
        let edges = flows(problem, &stages, &sites, &numbers);
        let tiers = problem.machines.sites.iter().map(|site| site.tier).collect();
        let accuracy = allowed(problem, &order, &numbers);
        let usd_per_start = running.map_or(0.0, |running| running.usd_per_start);
        let p95_ms_max = problem.objectives.p95_ms_max;
        let mut model =
            Self { mode, tiers, links, classes, stages, edges, accuracy, p95_ms_max, usd_per_start };
        model.leave_out_what_is_late();
        Ok(model)
    }

    /// Leaves out what is too slow even if all else is as fast as it can be, and the bound if nothing can break it.
    fn leave_out_what_is_late(&mut self) {
        let Some(most) = self.p95_ms_max else { return };
        let of = |stage: &Stage, from: f64, choose: fn(f64, f64) -> f64| {
            let all = stage.work.iter().zip(&stage.latency_ms);
            let all = all.flat_map(|(work, ms)| work.iter().zip(ms)).filter(|(work, _)| work.is_some());
            if stage.rate_per_s > 0.0 { all.map(|(_, ms)| *ms).fold(from, choose) } else { 0.0 }
        };
        let fastest: Vec<f64> = self.stages.iter().map(|stage| of(stage, f64::INFINITY, f64::min)).collect();
        let slowest: Vec<f64> = self.stages.iter().map(|stage| of(stage, 0.0, f64::max)).collect();
        let ways = self.links.iter().flatten().flatten().map(|way| way.round_trip_ms).fold(0.0, f64::max);
        // Until each stage, without it, and after it.
        let paths = |by_stage: &[f64], way: f64| {
            let (mut until, mut after) = (vec![0.0; by_stage.len()], vec![0.0; by_stage.len()]);
            for edge in &self.edges {
                if let End::Stage(from) = edge.from {
                    until[edge.to] = f64::max(until[edge.to], until[from] + by_stage[from] + way);
                } else {
                    until[edge.to] = f64::max(until[edge.to], way);
                }
            }
            for edge in self.edges.iter().rev() {
                if let End::Stage(from) = edge.from {
                    after[from] = f64::max(after[from], after[edge.to] + by_stage[edge.to] + way);
                }
            }
            (until, after)
        };
        let (until, after) = paths(&slowest, ways);
        if (0..slowest.len()).all(|v| until[v] + slowest[v] + after[v] <= most) {
            self.p95_ms_max = None;
            return;
        }
        let (until, after) = paths(&fastest, 0.0);
        for (v, stage) in self.stages.iter_mut().enumerate().filter(|(_, stage)| stage.rate_per_s > 0.0) {
            for (work, ms) in stage.work.iter_mut().flatten().zip(stage.latency_ms.iter().flatten()) {
                if until[v] + ms + after[v] > most * (1.0 + 1e-9) {
                    *work = None;
                }
            }
        }
    }

    /// What it counts as to host a variant of a stage on a node of a class, in dollars per hour.
    pub(super) fn start_usd(&self, stage: usize, variant: usize, class: usize) -> f64 {
        if self.classes[class].runs[stage] == Some(variant) { 0.0 } else { self.usd_per_start }
    }

    /// Whether a stage may take its input over the way from one site to another.
    pub(super) fn way(&self, stage: usize, from: usize, to: usize) -> Option<Way> {
        if from == to {
            return Some(Way { usd_per_gb: 0.0, mbit_per_s: None, round_trip_ms: 0.0 });
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

/// The streams that carry something, those into earlier stages first.
fn flows(
    problem: &Problem,
    stages: &[Stage],
    sites: &BTreeMap<&str, usize>,
    numbers: &BTreeMap<&str, usize>,
) -> Vec<Flow> {
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
    let mut edges: Vec<Flow> = edges.collect();
    edges.sort_by_key(|edge| edge.to);
    edges
}

/// What the merging of nodes looks at.
struct Grouping<'a> {
    problem: &'a Problem,
    mode: Mode,
    order: &'a [usize],
    /// By place of the stage.
    rates: &'a [f64],
    running: Option<&'a Running>,
}

/// By stage in order, variant and node: what it takes, where it may run.
type Services<'a> = Vec<Vec<Vec<Option<&'a Service>>>>;

impl<'a> Grouping<'a> {
    /// The classes, and the stages with their work by class.
    fn classes(&self, sites: &BTreeMap<&str, usize>) -> (Vec<Class>, Vec<Stage>) {
        let services = self.services();
        let runs = self.runs();
        let mut groups: BTreeMap<Vec<u64>, usize> = BTreeMap::new();
        let mut places: Vec<Vec<usize>> = Vec::new();
        for (place, node) in self.problem.machines.nodes.iter().enumerate() {
            let site = sites[&*node.site] as u64;
            let memory = node.memory_mb.unwrap_or(f64::INFINITY);
            let mut key = vec![site, node.usd_per_h.to_bits(), u64::from(node.slots), memory.to_bits()];
            key.extend(runs[place].iter().map(|runs| runs.map_or(u64::MAX, |variant| variant as u64)));
            for service in services.iter().flatten().map(|by_node| by_node[place]) {
                let Some(service) = service else {
                    key.push(u64::MAX);
                    continue;
                };
                let numbers = [service.ms_per_item, p95_ms(service), service.memory_mb];
                key.extend(numbers.map(f64::to_bits));
            }
            let group = *groups.entry(key).or_insert(places.len());
            if group == places.len() {
                places.push(Vec::new());
            }
            places[group].push(place);
        }
        let mut classes: Vec<Class> = Vec::new();
        let mut apart = 0;
        for nodes in places {
            let node = &self.problem.machines.nodes[nodes[0]];
            let memory_mb = node.memory_mb.filter(|most| self.may_overflow(&services, nodes[0], *most));
            let class = |nodes: Vec<usize>, is_apart: bool, twin: Option<usize>| Class {
                site: sites[&*node.site],
                usd_per_h: node.usd_per_h,
                runs: runs[nodes[0]].clone(),
                nodes,
                memory_mb,
                is_apart,
                twin,
            };
            let has_price = self.running.is_some_and(|running| running.usd_per_start > 0.0);
            let matters = self.mode == Mode::Shared && (memory_mb.is_some() || has_price);
            if !matters || apart + nodes.len() > APART_MAX {
                let is_apart = matters && nodes.len() == 1;
                classes.push(class(nodes, is_apart, None));
                continue;
            }
            apart += nodes.len();
            for (i, node) in nodes.into_iter().enumerate() {
                let twin = (i > 0).then(|| classes.len() - 1);
                classes.push(class(vec![node], true, twin));
            }
        }
        let stages = self.stages(&classes, &services);
        (classes, stages)
    }

    fn services(&self) -> Services<'a> {
        let known: BTreeMap<(&str, &str, &str), &Service> = self
            .problem
            .profile
            .services
            .iter()
            .map(|s| ((s.stage.as_str(), s.variant.as_str(), s.class.as_str()), s))
            .collect();
        let stage = |&place: &usize| {
            let stage = &self.problem.profile.stages[place];
            let variant = |variant: &String| {
                let node = |node: &Machine| {
                    let pinned = stage.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node.name));
                    let service = known.get(&(&*stage.name, &**variant, node.class())).copied();
                    let fits = |s: &&Service| node.memory_mb.is_none_or(|most| s.memory_mb <= most);
                    service.filter(|_| pinned).filter(fits)
                };
                self.problem.machines.nodes.iter().map(node).collect()
            };
            stage.variants.iter().map(variant).collect()
        };
        self.order.iter().map(stage).collect()
    }

    /// By node and stage in order: the variant that runs there now.
    fn runs(&self) -> Vec<Vec<Option<usize>>> {
        let node = |node: &Machine| {
            let stage = |&place: &usize| {
                let stage = &self.problem.profile.stages[place];
                let has = |variant: &String| {
                    self.running.is_some_and(|running| running.has(&stage.name, variant, &node.name))
                };
                stage.variants.iter().position(has)
            };
            self.order.iter().map(stage).collect()
        };
        self.problem.machines.nodes.iter().map(node).collect()
    }

    /// Whether a node could be given more than it holds.
    fn may_overflow(&self, services: &Services<'_>, node: usize, most: f64) -> bool {
        let most_of_stage = |by_variant: &Vec<Vec<Option<&Service>>>| {
            let all = by_variant.iter().filter_map(|by_node| Some(by_node[node]?.memory_mb));
            all.fold(0.0, f64::max)
        };
        services.iter().map(most_of_stage).sum::<f64>() > most
    }

    fn stages(&self, classes: &[Class], services: &Services<'_>) -> Vec<Stage> {
        let ceiling = self.problem.objectives.utilisation_max;
        let slots = |class: &Class| f64::from(self.problem.machines.nodes[class.nodes[0]].slots);
        let stages = self.order.iter().zip(services).map(|(&place, by_variant)| {
            let rate_per_s = self.rates[place];
            let profile = &self.problem.profile.stages[place];
            let of = |what: &dyn Fn(&Class, &Service) -> f64| {
                let class = |class: &Class, by_node: &Vec<Option<&Service>>| {
                    by_node[class.nodes[0]].map(|service| what(class, service))
                };
                let variant = |by_node: &Vec<Option<&Service>>| -> Vec<Option<f64>> {
                    classes.iter().map(|entry| class(entry, by_node)).collect()
                };
                by_variant.iter().map(variant).collect::<Vec<_>>()
            };
            let mut work =
                of(&|class, service| rate_per_s * service.ms_per_item / 1000.0 / (slots(class) * ceiling));
            if rate_per_s == 0.0 {
                // What has nothing to do runs anywhere.
                work.iter_mut().flatten().for_each(|work| *work = Some(0.0));
            }
            let latency_ms = of(&|class, service| {
                let wait = 1.5 * service.ms_per_item * ceiling / ((1.0 - ceiling) * slots(class));
                p95_ms(service) + profile.batch_deadline_ms + if wait.is_finite() { wait } else { 0.0 }
            });
            let whole = |table: Vec<Vec<Option<f64>>>| -> Vec<Vec<f64>> {
                let line = |line: Vec<Option<f64>>| line.into_iter().map(Option::unwrap_or_default).collect();
                table.into_iter().map(line).collect()
            };
            Stage {
                place,
                rate_per_s,
                work,
                latency_ms: whole(latency_ms),
                memory_mb: whole(of(&|_, service| service.memory_mb)),
                stays_at_site: profile.stays_at_site,
            }
        });
        stages.collect()
    }
}

/// Of one call, in 95 of 100 cases.
fn p95_ms(service: &Service) -> f64 {
    service.p95_ms.unwrap_or(service.ms_per_item)
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
