//! The derived demand: rates, selectivity and a plan come to the load of every stage, node and link.
//!
//! It is a small differential dataflow, so that a changed rate costs only what it touches. Everything in it is a whole
//! number, millionths and billionths, so that what is taken away is exactly what was added, and the loads after any
//! number of changes are those that [`recompute`] finds from nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use differential_dataflow::VecCollection;
use differential_dataflow::input::InputSession;
use differential_dataflow::operators::Iterate;
use timely::communication::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::dataflow::operators::probe;
use timely::{WorkerConfig, worker::Worker};

use super::observe::RATE_MAX;
use super::routes::Routes;
use crate::placement::problem::{Edge, Link, Machine, Problem};

/// Rates and ratios are in millionths.
const MILLION: f64 = 1e6;

/// Times and busy slots are in billionths.
const BILLION: f64 = 1e9;

/// No demand is higher, in millionths of items per second.
const DEMAND_MAX: i128 = 1_000_000_000_000_000;

/// No ratio, time or size of an item is larger, in its unit.
const FACTOR_MAX: f64 = 1e15;

/// What loads follow from, in whole numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// By source: millionths of items per second.
    pub(super) sources: BTreeMap<String, i64>,
    /// By edge: millionths of items into it per item.
    pub(super) edges: BTreeMap<(String, String), i64>,
    /// By stage and node: billionths of a slot's second per item of the stage, whichever node it goes to.
    pub(super) hosts: BTreeMap<(String, String), i64>,
    /// By edge and sites: thousandths of a bit per item of the edge, whichever way it goes.
    pub(super) ways: BTreeMap<(String, String, String, String), i64>,
}

/// The load of everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loads {
    /// By source and stage: items per second.
    pub items_per_s: BTreeMap<String, f64>,
    /// By node: slots that are busy.
    pub busy_slots: BTreeMap<String, f64>,
    /// By link, as `FROM -> TO`: megabits per second.
    pub mbit_per_s: BTreeMap<String, f64>,
}

impl Facts {
    /// The facts of a checked problem under routes. What the routes do not name has no load.
    #[must_use]
    pub fn of(problem: &Problem, routes: &Routes) -> Self {
        let mut facts = Self::default();
        for source in &problem.rates.sources {
            facts.sources.insert(source.name.clone(), micro_rate(source.rate_per_s));
        }
        for edge in &problem.profile.edges {
            let key = (edge.from.clone(), edge.to.clone());
            facts.edges.insert(key.clone(), whole(edge.items_per_item * MILLION));
            for ((from, to), share) in
                routes.flows.get(&key).into_iter().flatten().filter(|(w, _)| w.0 != w.1)
            {
                let bits = share * kb(problem, routes, edge) * 1024.0 * 8.0;
                let way = (edge.from.clone(), edge.to.clone(), from.clone(), to.clone());
                facts.ways.insert(way, whole(bits * 1e3));
            }
        }
        let nodes: BTreeMap<&str, &Machine> =
            problem.machines.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let services: BTreeMap<_, f64> = problem
            .profile
            .services
            .iter()
            .map(|s| ((&*s.stage, &*s.variant, &*s.class), s.ms_per_item))
            .collect();
        for (stage, shares) in &routes.shares {
            let Some(variant) = routes.variants.get(stage) else { continue };
            for (node, share) in shares {
                let class = nodes.get(&**node).map_or("", |machine| machine.class());
                let Some(ms) = services.get(&(&**stage, &**variant, class)) else { continue };
                facts.hosts.insert((stage.clone(), node.clone()), whole(share * ms / 1e3 * BILLION));
            }
        }
        facts
    }
}

impl Facts {
    /// Takes another rate of a source.
    pub(super) fn set_rate(&mut self, source: &str, rate_per_s: f64) {
        match self.sources.get_mut(source) {
            Some(rate) => *rate = micro_rate(rate_per_s),
            None => _ = self.sources.insert(source.to_owned(), micro_rate(rate_per_s)),
        }
    }
}

fn kb(problem: &Problem, routes: &Routes, edge: &Edge) -> f64 {
    let sender = problem.profile.stages.iter().find(|stage| stage.name == edge.from);
    let chosen = routes.variants.get(&edge.from);
    let at = sender.and_then(|stage| stage.variants.iter().position(|variant| Some(variant) == chosen));
    edge.kb_per_item.get(at.unwrap_or_default()).or(edge.kb_per_item.first()).copied().unwrap_or_default()
}

/// A rate in millionths; what is no rate is none.
fn micro_rate(rate: f64) -> i64 {
    whole(if rate.is_finite() { rate.clamp(0.0, RATE_MAX) * MILLION } else { 0.0 })
}

fn whole(number: f64) -> i64 {
    // What is no number becomes 0.
    number.clamp(0.0, FACTOR_MAX).round() as i64
}

/// What flows on, in millionths.
fn scaled(rate: i64, ratio: i64) -> i64 {
    (i128::from(rate) * i128::from(ratio) / 1_000_000).min(DEMAND_MAX) as i64
}

/// What an item's cost comes to at a rate.
fn cost(rate: i64, per_item: i64) -> i128 {
    i128::from(rate) * i128::from(per_item)
}

/// Names as numbers, so that the dataflow copies no text.
#[derive(Default)]
struct Names {
    numbers: BTreeMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("names are far fewer");
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }

    fn name(&self, number: u32) -> String {
        self.names[number as usize].clone()
    }
}

/// How often something is there; of loads, how much of it.
type Diff = i128;
/// A demand: source or stage, and millionths of items per second.
type Rate = (u32, i64);
/// An edge: from, and to with its ratio.
type EdgeRow = (u32, (u32, i64));
/// A stage, and a node with what an item costs it.
type HostRow = (u32, (u32, i64));
/// The stage an edge leads to, and sites from and to with the bits of an item, and which edge it is.
type WayRow = (u32, (u32, u32, u32, i64));

/// Its results so far, kept up to date by the dataflow.
#[derive(Default)]
struct Held {
    demands: BTreeMap<u32, i64>,
    busy: BTreeMap<u32, i128>,
    bits: BTreeMap<(u32, u32), i128>,
    /// Loads that the last step gave or took away.
    touched: usize,
}

/// The demand, kept up to date.
pub struct Demand {
    worker: Worker,
    facts: Facts,
    names: Names,
    step: u64,
    sources: InputSession<u64, Rate, Diff>,
    edges: InputSession<u64, EdgeRow, Diff>,
    hosts: InputSession<u64, HostRow, Diff>,
    ways: InputSession<u64, WayRow, Diff>,
    probe: probe::Handle<u64>,
    held: Rc<RefCell<Held>>,
}

impl Default for Demand {
    fn default() -> Self {
        Self::new()
    }
}

impl Demand {
    /// Nothing is known, so there is no load.
    #[must_use]
    pub fn new() -> Self {
        // Without a clock: no operator of it waits for a time.
        let mut worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Thread::default()), None);
        let (mut sources, mut edges) = (InputSession::new(), InputSession::new());
        let (mut hosts, mut ways) = (InputSession::new(), InputSession::new());
        let (held, probe) = (Rc::new(RefCell::new(Held::default())), probe::Handle::new());
        worker.dataflow(|scope| {
            let demands = demands(sources.to_collection(scope), edges.to_collection(scope));
            loads(demands, hosts.to_collection(scope), ways.to_collection(scope), &held, &probe);
        });
        let (facts, names) = (Facts::default(), Names::default());
        Self { worker, facts, names, step: 0, sources, edges, hosts, ways, probe, held }
    }

    /// Takes facts in the place of those before; says how many loads changed.
    pub fn set(&mut self, facts: Facts) -> usize {
        let before = std::mem::take(&mut self.facts);
        let names = &mut self.names;
        differences(&before.sources, &facts.sources, |source, rate, diff| {
            self.sources.update((names.number(source), rate), diff);
        });
        differences(&before.edges, &facts.edges, |(from, to), ratio, diff| {
            let row = (names.number(from), (names.number(to), ratio));
            self.edges.update(row, diff);
        });
        differences(&before.hosts, &facts.hosts, |(stage, node), per_item, diff| {
            let row = (names.number(stage), (names.number(node), per_item));
            self.hosts.update(row, diff);
        });
        differences(&before.ways, &facts.ways, |(from, to, from_site, to_site), bits, diff| {
            let sites = (names.number(from_site), names.number(to_site));
            let row = (names.number(to), (names.number(from), sites.0, sites.1, bits));
            self.ways.update(row, diff);
        });
        self.facts = facts;
        self.run()
    }

    /// Takes another rate of a source; says how many loads changed.
    pub fn set_rate(&mut self, source: &str, rate_per_s: f64) -> usize {
        let rate = micro_rate(rate_per_s);
        let before = self.facts.sources.insert(source.to_owned(), rate);
        if before == Some(rate) {
            return 0;
        }
        let number = self.names.number(source);
        if let Some(before) = before {
            self.sources.update((number, before), -1);
        }
        self.sources.update((number, rate), 1);
        self.run()
    }

    /// The facts that it follows from.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The loads.
    #[must_use]
    pub fn loads(&self) -> Loads {
        let held = self.held.borrow();
        let name = |number: &u32| self.names.name(*number);
        Loads {
            items_per_s: held.demands.iter().map(|(n, rate)| (name(n), *rate as f64 / MILLION)).collect(),
            busy_slots: held.busy.iter().map(|(n, busy)| (name(n), busy_slots(*busy))).collect(),
            mbit_per_s: held
                .bits
                .iter()
                .map(|((a, b), bits)| (link_name(&name(a), &name(b)), mbit(*bits)))
                .collect(),
        }
    }

    fn run(&mut self) -> usize {
        self.held.borrow_mut().touched = 0;
        self.step += 1;
        let step = self.step;
        self.sources.advance_to(step);
        self.edges.advance_to(step);
        self.hosts.advance_to(step);
        self.ways.advance_to(step);
        self.sources.flush();
        self.edges.flush();
        self.hosts.flush();
        self.ways.flush();
        let probe = &self.probe;
        self.worker.step_while(|| probe.less_than(&step));
        self.held.borrow().touched
    }
}

fn busy_slots(busy: i128) -> f64 {
    busy as f64 / (MILLION * BILLION)
}

fn mbit(bits: i128) -> f64 {
    bits as f64 / (MILLION * 1e3 * 1e6)
}

/// What nodes and traffic cost under loads, in dollars per hour.
pub(super) fn usd_per_h(problem: &Problem, routes: &Routes, loads: &Loads) -> f64 {
    let used: BTreeSet<&String> = routes.shares.values().flat_map(BTreeMap::keys).collect();
    let nodes = problem.machines.nodes.iter().filter(|node| used.contains(&node.name));
    nodes.map(|node| node.usd_per_h).sum::<f64>() + links_usd_per_h(problem, loads)
}

/// What traffic costs under loads, in dollars per hour.
pub(super) fn links_usd_per_h(problem: &Problem, loads: &Loads) -> f64 {
    let usd = |link: &Link| {
        let mbit = loads.mbit_per_s.get(&link_name(&link.from, &link.to)).copied().unwrap_or_default();
        mbit * 1e6 / 8.0 / f64::from(1 << 30) * 3600.0 * link.usd_per_gb
    };
    problem.machines.links.iter().map(usd).sum()
}

/// How a link is called.
#[must_use]
pub fn link_name(from: &str, to: &str) -> String {
    format!("{from} -> {to}")
}

/// What two maps differ by: what is taken away, and what is added.
fn differences<K: Ord>(
    before: &BTreeMap<K, i64>,
    after: &BTreeMap<K, i64>,
    mut tell: impl FnMut(&K, i64, Diff),
) {
    before.iter().filter(|(key, old)| after.get(key) != Some(old)).for_each(|(key, old)| tell(key, *old, -1));
    after.iter().filter(|(key, new)| before.get(key) != Some(new)).for_each(|(key, new)| tell(key, *new, 1));
}

/// The demand of every source and stage: a stage with several inputs has that of the least of them.
fn demands<'s>(
    sources: VecCollection<'s, u64, Rate, Diff>,
    edges: VecCollection<'s, u64, EdgeRow, Diff>,
) -> VecCollection<'s, u64, Rate, Diff> {
    sources.clone().iterate(|scope, demands| {
        let (sources, edges) = (sources.enter(scope), edges.enter(scope));
        demands
            .join_map(edges, |_, rate, (to, ratio)| (*to, scaled(*rate, *ratio)))
            .reduce(|_, rates, out| out.extend(rates.first().map(|(rate, _)| (**rate, 1))))
            .concat(sources)
            .consolidate()
    })
}

/// Loads of nodes and links; their changes are written to `held`.
fn loads<'s>(
    demands: VecCollection<'s, u64, Rate, Diff>,
    hosts: VecCollection<'s, u64, HostRow, Diff>,
    ways: VecCollection<'s, u64, WayRow, Diff>,
    held: &Rc<RefCell<Held>>,
    probe: &probe::Handle<u64>,
) {
    let keep = |held: &Rc<RefCell<Held>>| held.clone();
    let all = keep(held);
    demands
        .clone()
        .consolidate()
        .inspect(move |((name, rate), _, diff)| all.borrow_mut().demand(*name, *rate, *diff))
        .probe_with(probe);
    let all = keep(held);
    demands
        .clone()
        .join_map(hosts, |_, rate, (node, per_item)| (*node, cost(*rate, *per_item)))
        .explode(|(node, busy)| Some((node, busy)))
        .consolidate()
        .inspect(move |(node, _, busy)| all.borrow_mut().busy(*node, *busy))
        .probe_with(probe);
    let all = keep(held);
    demands
        .join_map(ways, |_, rate, (_, from, to, bits)| ((*from, *to), cost(*rate, *bits)))
        .explode(|(link, bits)| Some((link, bits)))
        .consolidate()
        .inspect(move |(link, _, bits)| all.borrow_mut().bits(*link, *bits))
        .probe_with(probe);
}

impl Held {
    fn demand(&mut self, name: u32, rate: i64, diff: Diff) {
        self.touched += 1;
        if diff > 0 {
            self.demands.insert(name, rate);
        } else if self.demands.get(&name) == Some(&rate) {
            // Its new rate comes after, if it has one.
            self.demands.remove(&name);
        }
    }

    fn busy(&mut self, node: u32, more: i128) {
        self.touched += 1;
        let busy = self.busy.entry(node).or_default();
        *busy += more;
        if *busy == 0 {
            self.busy.remove(&node);
        }
    }

    fn bits(&mut self, link: (u32, u32), more: i128) {
        self.touched += 1;
        let bits = self.bits.entry(link).or_default();
        *bits += more;
        if *bits == 0 {
            self.bits.remove(&link);
        }
    }
}

/// The dull twin: the loads of facts, from nothing.
#[must_use]
pub fn recompute(facts: &Facts) -> Loads {
    let mut demands: BTreeMap<&str, i64> =
        facts.sources.iter().map(|(name, rate)| (&**name, *rate)).collect();
    // As many rounds as there are edges: a round settles one stage at least.
    for _ in &facts.edges {
        let mut least: BTreeMap<&str, i64> = BTreeMap::new();
        for ((from, to), ratio) in &facts.edges {
            let Some(rate) = demands.get(&**from) else { continue };
            let rate = scaled(*rate, *ratio);
            least.entry(to).and_modify(|known| *known = rate.min(*known)).or_insert(rate);
        }
        demands.extend(least);
    }
    let demand = |name: &str| demands.get(name).copied().unwrap_or_default();
    let (mut busy, mut bits): (BTreeMap<&str, i128>, BTreeMap<String, i128>) = Default::default();
    for ((stage, node), per_item) in &facts.hosts {
        *busy.entry(node).or_default() += cost(demand(stage), *per_item);
    }
    for ((_, stage, from, to), per_item) in &facts.ways {
        *bits.entry(link_name(from, to)).or_default() += cost(demand(stage), *per_item);
    }
    Loads {
        items_per_s: demands
            .iter()
            .map(|(name, rate)| ((*name).to_owned(), *rate as f64 / MILLION))
            .collect(),
        busy_slots: busy
            .into_iter()
            .filter(|(_, busy)| *busy != 0)
            .map(|(node, busy)| (node.to_owned(), busy_slots(busy)))
            .collect(),
        mbit_per_s: bits
            .into_iter()
            .filter(|(_, b)| *b != 0)
            .map(|(link, bits)| (link, mbit(bits)))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
