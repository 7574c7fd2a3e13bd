//! What placement is asked on behalf of a topology: its graph, the machines, a profile and the rates as one problem,
//! and what a problem cannot say, the stages that the engine runs on one node together.

use std::collections::{BTreeMap, BTreeSet};

use super::measured;
use super::rates::Rates;
use crate::error::{Error, ErrorKind, Result};
use crate::infrastructure::{Infrastructure, Tier};
use crate::placement::Problem;
use crate::placement::problem::{self, Accuracy, Machines, Objectives, Source, StageProfile};
use crate::profile::Profile;
use crate::stage::Kind;
use crate::topology::Graph;

/// What is to be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The problem.
    pub problem: Problem,
    /// Stages that have to be on one node, each set together. Those that a problem can say, since their node is
    /// known, are not listed.
    pub wholes: Vec<BTreeSet<String>>,
    /// By source: the higher, the later it is cut where not everything can be served; 0 if absent.
    pub(crate) priorities: BTreeMap<String, i64>,
    /// How stages of a topology treat records.
    pub(super) kinds: BTreeMap<String, Kind>,
    /// By node.
    pub(super) tiers: BTreeMap<String, Tier>,
    /// By stage, variant and class of nodes: items of a batch, at most, and milliseconds that one waits for others.
    pub(super) batches: BTreeMap<(String, String, String), (usize, u64)>,
}

impl From<Problem> for Wanted {
    /// A problem of which nothing is known beyond it.
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            wholes: Vec::new(),
            priorities: BTreeMap::new(),
            kinds: BTreeMap::new(),
            tiers: BTreeMap::new(),
            batches: BTreeMap::new(),
        }
    }
}

impl Wanted {
    /// What a topology asks. The rates must have been [checked](Rates::check), and the machines be those of the
    /// infrastructure.
    ///
    /// # Errors
    /// `Invalid` if the profile is not right, not one of this topology, or lacks an entry, or if stages that belong on
    /// one node have to be on different ones.
    pub fn new(
        graph: &Graph,
        (infrastructure, machines): (&Infrastructure, Machines),
        profile: &Profile,
        rates: &Rates,
        objectives: Objectives,
    ) -> Result<Self> {
        measured::check(graph, profile, &objectives)?;
        let mut pins = pins(graph, infrastructure, rates);
        let wholes = wholes(graph);
        wholes.iter().try_for_each(|whole| spread(whole, &mut pins))?;
        let stages: Vec<StageProfile> =
            graph.stages().map(|stage| measured::stage(stage, profile, &pins)).collect::<Result<_>>()?;
        let (services, batches) = measured::services(graph, &stages, profile, &machines)?;
        let source = |source: &super::rates::SourceRate| Source {
            name: measured::feed(&source.name),
            site: source.site.clone(),
            rate_per_s: source.rate_per_s,
        };
        let edges = measured::edges(graph, profile, rates)?;
        let accuracy = profile.accuracy.as_ref().map(Accuracy::from);
        let problem = Problem {
            machines,
            profile: problem::Profile { stages, edges, services, accuracy },
            rates: problem::Rates { sources: rates.sources.iter().map(source).collect() },
            objectives,
        };
        problem.check()?;
        let is_open =
            |whole: &&BTreeSet<String>| whole.iter().any(|stage| !pins.contains_key(stage.as_str()));
        Ok(Self {
            problem,
            wholes: wholes.iter().filter(is_open).cloned().collect(),
            priorities: rates.sources.iter().map(|s| (s.name.clone(), s.priority)).collect(),
            kinds: graph.stages().map(|stage| (stage.name.clone(), stage.kind)).collect(),
            tiers: infrastructure.nodes.iter().map(|node| (node.name.clone(), node.tier)).collect(),
            batches,
        })
    }
}

impl Wanted {
    /// The same of another problem, with other rates or services.
    pub(crate) fn of(&self, problem: Problem) -> Self {
        let Self { wholes, priorities, kinds, tiers, batches, .. } = self;
        Self {
            problem,
            wholes: wholes.clone(),
            priorities: priorities.clone(),
            kinds: kinds.clone(),
            tiers: tiers.clone(),
            batches: batches.clone(),
        }
    }

    /// The stages that have state to be moved.
    pub(crate) fn stateful(&self) -> impl Iterator<Item = &str> {
        let has_state = |kind: &Kind| matches!(kind, Kind::Keyed | Kind::Relational | Kind::Sink);
        self.kinds.iter().filter(move |(_, kind)| has_state(kind)).map(|(stage, _)| stage.as_str())
    }

    /// Whether it comes from a topology, so that what is decided can be written as a plan.
    #[must_use]
    pub fn is_of_topology(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// The tier of a node, and how it is called.
    #[must_use]
    pub fn tier(&self, node: &str) -> (u32, String) {
        if let Some(tier) = self.tiers.get(node) {
            return (*tier as u32, format!("{tier:?}").to_lowercase());
        }
        let machines = &self.problem.machines;
        let site = machines.nodes.iter().find(|known| known.name == node).map(|node| &node.site);
        let tier = machines.sites.iter().find(|known| Some(&known.name) == site).map_or(0, |site| site.tier);
        (tier, format!("tier {tier}"))
    }

    /// By source and stage: items per second.
    pub(super) fn demands(&self) -> BTreeMap<&str, f64> {
        let Problem { profile, rates, .. } = &self.problem;
        let mut demands: BTreeMap<&str, f64> =
            rates.sources.iter().map(|s| (s.name.as_str(), s.rate_per_s)).collect();
        // As many rounds as there are stages: a round settles one at least.
        for _ in &profile.stages {
            let left = profile.stages.iter().filter(|stage| !demands.contains_key(&*stage.name));
            let settled: Vec<(&str, f64)> = left
                .filter_map(|stage| {
                    let inputs = profile.edges.iter().filter(|edge| edge.to == stage.name);
                    let rates = inputs.map(|edge| Some(demands.get(&*edge.from)? * edge.items_per_item));
                    let least =
                        rates.collect::<Option<Vec<f64>>>()?.into_iter().fold(f64::INFINITY, f64::min);
                    Some((stage.name.as_str(), least))
                })
                .collect();
            if settled.is_empty() {
                break;
            }
            demands.extend(settled);
        }
        demands
    }

    /// Whether the items of a stage take turns: two such stages with equal shares keep an item on its node.
    pub(super) fn takes_turns(&self, stage: &str) -> bool {
        matches!(self.kinds.get(stage), Some(Kind::Stateless | Kind::Pooled))
    }

    /// The stages in an order in which inputs come first.
    pub(super) fn in_order(&self) -> Vec<&StageProfile> {
        let problem::Profile { stages, edges, .. } = &self.problem.profile;
        let mut left: Vec<&StageProfile> = stages.iter().collect();
        let mut order: Vec<&StageProfile> = Vec::new();
        while !left.is_empty() {
            let waits = |stage: &&StageProfile| {
                edges.iter().any(|e| e.to == stage.name && left.iter().any(|other| other.name == e.from))
            };
            let (later, ready): (Vec<_>, Vec<_>) = left.iter().copied().partition(waits);
            if ready.is_empty() {
                // A circle; a problem that was checked has none.
                order.extend(later);
                break;
            }
            order.extend(ready);
            left = later;
        }
        order
    }
}

/// The stages whose node is known.
fn pins<'a>(
    graph: &'a Graph,
    infrastructure: &'a Infrastructure,
    rates: &'a Rates,
) -> BTreeMap<&'a str, &'a str> {
    let pinned = graph.stages().filter_map(|stage| Some((stage.name.as_str(), stage.pinned.as_deref()?)));
    let homes = rates.sources.iter().filter_map(|s| Some((s.name.as_str(), rates.home(s, infrastructure)?)));
    let places = rates.places.iter().map(|place| (place.stage.as_str(), place.node.as_str()));
    // A pin of the topology comes before a place in a file.
    homes.chain(places).chain(pinned).collect()
}

/// The stages that the engine runs on one node: sinks, relations that are connected, and what may not leave its
/// site with what it comes from.
fn wholes(graph: &Graph) -> Vec<BTreeSet<String>> {
    let mut wholes: Vec<BTreeSet<String>> = Vec::new();
    let mut join = |stages: BTreeSet<String>| {
        let (touched, mut apart): (Vec<_>, Vec<_>) =
            wholes.drain(..).partition(|whole: &BTreeSet<String>| !whole.is_disjoint(&stages));
        apart.push(touched.into_iter().fold(stages, |all, whole| &all | &whole));
        wholes = apart;
    };
    for stage in graph.stages() {
        if matches!(stage.kind, Kind::Sink | Kind::Source | Kind::Relational) {
            join(BTreeSet::from([stage.name.clone()]));
        }
        for input in stage.inputs.iter().map(|input| graph.stage(*input)) {
            let relations = stage.kind == Kind::Relational && input.kind == Kind::Relational;
            if relations || stage.stay_at_site {
                join(BTreeSet::from([stage.name.clone(), input.name.clone()]));
            }
        }
    }
    wholes
}

/// Pins all of a whole to where one of it is pinned.
fn spread<'a>(whole: &'a BTreeSet<String>, pins: &mut BTreeMap<&'a str, &'a str>) -> Result<()> {
    let known = whole.iter().filter_map(|stage| Some((stage.as_str(), *pins.get(stage.as_str())?)));
    let known: Vec<(&str, &str)> = known.collect();
    let Some((first, node)) = known.first() else { return Ok(()) };
    if let Some((other, elsewhere)) = known.iter().find(|(_, other)| other != node) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("stage \"{first}\" is bound to node \"{node}\" and \"{other}\" to \"{elsewhere}\", but they run on one node"),
        )
        .way_out("change a pin or a [[place]]; what stays at its site runs where its input does"));
    }
    pins.extend(whole.iter().map(|stage| (stage.as_str(), *node)));
    Ok(())
}
