//! What placement is told of what was measured: stages, streams and services of a topology as parts of a problem.

use std::collections::{BTreeMap, BTreeSet};

use super::rates::Rates;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::problem::{Edge, Machine, Machines, Objectives, Service, StageProfile};
use crate::profile::{DEFAULT_VARIANT, MeasuredAccuracy, Profile};
use crate::stage::Kind;
use crate::topology::{Graph, Stage};

/// Combinations of variants of which an accuracy table is asked whether it has them, at most.
const COMBINATIONS_MAX: usize = 100_000;

/// Services by stage, variant and class.
type Services = BTreeMap<(String, String, String), Service>;

/// Batches by stage, variant and class: items at most, and milliseconds that one waits for others.
type Batches = BTreeMap<(String, String, String), (usize, u64)>;

fn invalid(message: String, way_out: &str) -> Error {
    Error::new(ErrorKind::Invalid, message).at("profile").way_out(way_out)
}

/// What a source stage is fed by; no stage has a name with a space.
pub(crate) fn feed(source: &str) -> String {
    format!("{source} feed")
}

/// What is fed by this: the source, or what is no source of a topology by its own name.
pub(super) fn fed(feed: &str) -> &str {
    feed.strip_suffix(" feed").unwrap_or(feed)
}

/// Whether the profile is right, and of this topology.
pub(super) fn check(graph: &Graph, profile: &Profile, objectives: &Objectives) -> Result<()> {
    profile.check()?;
    let hash = format!("{:016x}", graph.hash());
    if profile.topology_hash != hash {
        let message = format!(
            "it is of \"{}\" ({}), and this is \"{}\" ({hash})",
            profile.topology,
            profile.topology_hash,
            graph.name()
        );
        return Err(invalid(message, "measure this topology with `jellybean profile`"));
    }
    match &profile.accuracy {
        Some(MeasuredAccuracy::Table { stages, rows, .. }) if objectives.accuracy_min.is_some() => {
            let known: BTreeSet<&Vec<String>> = rows.iter().map(|row| &row.variants).collect();
            match missing(profile, stages, &known)? {
                Some(missing) => {
                    let message =
                        format!("accuracy: the table of {} lacks {}", stages.join(", "), missing.join(", "));
                    Err(invalid(message, "measure it with `jellybean profile --accuracy`"))
                }
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// A combination of variants that is not known.
fn missing(
    profile: &Profile,
    stages: &[String],
    known: &BTreeSet<&Vec<String>>,
) -> Result<Option<Vec<String>>> {
    let variants = |name: &String| {
        let stage = profile.stages.iter().find(|stage| stage.name == *name);
        stage.map_or(Vec::new(), |stage| stage.variants.clone())
    };
    let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
    for stage in stages {
        let variants = variants(stage);
        if combinations.len().saturating_mul(variants.len()) > COMBINATIONS_MAX {
            let message = format!("accuracy: more than {COMBINATIONS_MAX} combinations of variants");
            return Err(invalid(message, "give `linear` losses by variant instead"));
        }
        let longer = |start: &Vec<String>| {
            variants.iter().map(|v| [start.as_slice(), std::slice::from_ref(v)].concat()).collect::<Vec<_>>()
        };
        combinations = combinations.iter().flat_map(longer).collect();
    }
    Ok(combinations.into_iter().find(|combination| !known.contains(combination)))
}

/// A stage; of sources and sinks nothing need be measured.
pub(super) fn stage(stage: &Stage, profile: &Profile, pins: &BTreeMap<&str, &str>) -> Result<StageProfile> {
    let measured = profile.stages.iter().find(|measured| measured.name == stage.name);
    if measured.is_none() && !matches!(stage.kind, Kind::Source | Kind::Sink) {
        let message = format!("there is no stage \"{}\"", stage.name);
        return Err(invalid(message, "measure this topology with `jellybean profile`"));
    }
    let batched = profile.services.iter().any(|row| row.stage == stage.name && row.batch > 1);
    Ok(StageProfile {
        name: stage.name.clone(),
        variants: measured.map_or_else(|| vec![DEFAULT_VARIANT.to_owned()], |m| m.variants.clone()),
        nodes: pins.get(stage.name.as_str()).map(|node| vec![(*node).to_owned()]),
        stays_at_site: stage.stay_at_site,
        batch_deadline_ms: measured.filter(|_| batched).map_or(0.0, |m| m.batch_deadline_ms),
    })
}

/// How long what takes where it may be, each in its best batch; no time for sources and sinks that were not measured.
pub(super) fn services(
    graph: &Graph,
    stages: &[StageProfile],
    profile: &Profile,
    machines: &Machines,
) -> Result<(Vec<Service>, Batches)> {
    let is_measured: BTreeSet<&str> = profile.services.iter().map(|row| row.stage.as_str()).collect();
    let ends = graph.stages().filter(|stage| matches!(stage.kind, Kind::Source | Kind::Sink));
    let is_end: BTreeSet<&str> = ends.map(|stage| stage.name.as_str()).collect();
    let (mut found, mut batches) = (Services::new(), Batches::new());
    for stage in stages {
        let may = |node: &&Machine| stage.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node.name));
        for node in machines.nodes.iter().filter(may) {
            for variant in &stage.variants {
                let key = (stage.name.clone(), variant.clone(), node.class().to_owned());
                let best = profile.best(&stage.name, variant, node.class());
                let may_be_free = is_end.contains(&*stage.name) && !is_measured.contains(&*stage.name);
                if best.is_none() && !may_be_free {
                    return Err(not_measured(&key, node));
                }
                // Each slot holds the sessions of its own.
                let memory_mb = best.map_or(0.0, |best| best.memory_mb) * f64::from(node.slots);
                let before = found.get(&key).map_or(0.0, |known| known.memory_mb);
                let service = Service {
                    stage: key.0.clone(),
                    variant: key.1.clone(),
                    class: key.2.clone(),
                    ms_per_item: best.map_or(0.0, |best| 1e3 / best.items_per_s),
                    p95_ms: best.map(|best| best.p95_ms),
                    memory_mb: memory_mb.max(before),
                };
                if let Some(best) = best {
                    let deadline_ms = if best.batch > 1 { stage.batch_deadline_ms.ceil() as u64 } else { 0 };
                    batches.insert(key.clone(), (best.batch as usize, deadline_ms));
                }
                found.insert(key, service);
            }
        }
    }
    Ok((found.into_values().collect(), batches))
}

fn not_measured((stage, variant, class): &(String, String, String), node: &Machine) -> Error {
    let message =
        format!("stage \"{stage}\" with variant \"{variant}\" was not measured on node \"{}\"", node.name);
    let message = if *class == node.name { message } else { format!("{message} (class \"{class}\")") };
    invalid(message, &format!("run `jellybean profile` with --node {class}, and give that file too"))
}

/// The streams of the graph as they were measured, and one into each source.
///
/// A stage of several inputs takes in all of them, where a problem's takes the least: the figures are set so that
/// each input alone tells the whole demand, and the bytes that are its own. Where the variant of a stage decides how
/// much goes on from it, what follows is planned for the most.
pub(super) fn edges(graph: &Graph, profile: &Profile, rates: &Rates) -> Result<Vec<Edge>> {
    let mut demand: BTreeMap<&str, f64> =
        rates.sources.iter().map(|source| (source.name.as_str(), source.rate_per_s)).collect();
    let of_source = |stage: &Stage| Edge {
        from: feed(&stage.name),
        to: stage.name.clone(),
        items_per_item: 1.0,
        kb_per_item: vec![0.0],
    };
    let mut found: Vec<Edge> =
        graph.stages().filter(|stage| stage.kind == Kind::Source).map(of_source).collect();
    for stage in graph.stages().filter(|stage| stage.kind != Kind::Source) {
        let mut inputs: Vec<Edge> = Vec::new();
        for input in &stage.inputs {
            let from = &graph.stage(*input).name;
            let measured = profile.edges.iter().find(|edge| edge.from == *from && edge.to == stage.name);
            let Some(measured) = measured else {
                let message = format!("there is no edge from \"{from}\" to \"{}\"", stage.name);
                return Err(invalid(message, "measure this topology with `jellybean profile`"));
            };
            let edge = measured.for_the_most();
            match inputs.iter_mut().find(|known| known.from == *from) {
                // The same stream twice.
                Some(known) => known.items_per_item += edge.items_per_item,
                None => inputs.push(edge),
            }
        }
        let sent = |edge: &Edge| demand.get(&*edge.from).copied().unwrap_or_default() * edge.items_per_item;
        let total: f64 = inputs.iter().map(sent).sum();
        if inputs.len() > 1 && total > 0.0 {
            inputs.retain(|edge| sent(edge) > 0.0);
            inputs = inputs.into_iter().map(|edge| alone(edge, &sent, total)).collect();
        }
        demand.insert(&stage.name, total);
        found.append(&mut inputs);
    }
    Ok(found)
}

/// An input of several, as though it were the only one.
fn alone(edge: Edge, sent: &impl Fn(&Edge) -> f64, total: f64) -> Edge {
    let times = total / sent(&edge);
    Edge {
        items_per_item: edge.items_per_item * times,
        kb_per_item: edge.kb_per_item.iter().map(|kb| kb / times).collect(),
        ..edge
    }
}
