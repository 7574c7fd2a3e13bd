//! Reads problems that others wrote: a folder of the paper's prototype, and an instance file.
//!
//! What it reads is bounded, and refused in words with file and line; the problem is checked before it is returned.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::{
    Accuracy, AccuracyRow, Edge, Link, Loss, Machine, Machines, Objectives, Problem, Profile, Rates, Service,
    Site, Source, StageProfile,
};
use crate::error::{Error, ErrorKind, Result};

/// A file is no larger.
const BYTES_MAX: u64 = 64 << 20;

/// The prototype's communication costs are scaled by this in its published configuration.
const LINK_PRICE_FACTOR: f64 = 0.1;

/// What the prototype calls a model where there is no choice, and a message size that does not depend on one.
const DEFAULT: &str = "default";

fn read(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Corrupt,
        };
        Error::new(kind, format!("cannot read {}", path.display())).because(error)
    };
    if fs::metadata(path).map_err(failed)?.len() > BYTES_MAX {
        let message = format!("{} is too large", path.display());
        return Err(Error::new(ErrorKind::Invalid, message).way_out(format!("at most {BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(failed)
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    // The error below tells line and column.
    serde_json::from_str(&read(path)?)
        .map_err(|error| Error::new(ErrorKind::Invalid, path.display().to_string()).because(error))
}

/// A line of a CSV file without a header, and where it stands.
struct Line {
    place: String,
    fields: Vec<String>,
}

impl Line {
    fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorKind::Invalid, format!("{}: {what}", self.place))
    }

    fn number(&self, at: usize) -> Result<f64> {
        let field = &self.fields[at];
        field.parse().map_err(|_| self.wrong(&format!("\"{field}\" is no number")))
    }

    fn text(&self, at: usize) -> String {
        self.fields[at].clone()
    }
}

fn csv(path: &Path, columns: usize) -> Result<Vec<Line>> {
    let text = read(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let lines = lines.map(|(i, line)| Line {
        place: format!("{}:{}", path.display(), i + 1),
        fields: line.split(',').map(|field| field.trim().to_owned()).collect(),
    });
    lines
        .map(|line| match line.fields.len() {
            count if count == columns => Ok(line),
            count => Err(line.wrong(&format!("{count} fields instead of {columns}"))),
        })
        .collect()
}

/// Reads a folder of input of the paper's prototype. Each of its tiers becomes one site, and the link prices of its
/// pairs of workers must agree within a pair of tiers.
///
/// # Errors
/// `NotFound` or `Corrupt` if a file cannot be read, `Invalid` with file and line if it is not right.
pub fn prototype(folder: &Path) -> Result<Problem> {
    let tiers: Vec<Vec<String>> = json(&folder.join("workers_partition.json"))?;
    let sites: Vec<Site> =
        (0..tiers.len()).map(|tier| Site { name: format!("tier-{tier}"), tier: tier as u32 }).collect();
    let tier_of: BTreeMap<&String, usize> = tiers
        .iter()
        .enumerate()
        .flat_map(|(tier, names)| names.iter().map(move |name| (name, tier)))
        .collect();
    let mut nodes = Vec::new();
    for line in csv(&folder.join("workers_specs.csv"), 2)? {
        let Some(tier) = tier_of.get(&line.fields[0]) else {
            return Err(line.wrong("this worker is in no tier").way_out("list it in workers_partition.json"));
        };
        let (name, site) = (line.text(0), sites[*tier].name.clone());
        let usd_per_h = line.number(1)?;
        nodes.push(Machine { name, site, usd_per_h, slots: 1, class: None, memory_mb: None });
    }
    let links = prototype_links(folder, &sites, &tier_of)?;
    let rates = csv(&folder.join("input_injection_rates.csv"), 2)?;
    let sources: Vec<Source> = rates
        .iter()
        .map(|line| {
            let site = sites.first().ok_or_else(|| line.wrong("there is no tier for it"))?.name.clone();
            Ok(Source { name: line.text(0), site, rate_per_s: line.number(1)? })
        })
        .collect::<Result<_>>()?;
    let services: Vec<Service> = csv(&folder.join("execution_profile.csv"), 4)?
        .iter()
        .map(|line| {
            let (stage, class, variant) = (line.text(0), line.text(1), line.text(2));
            let ms_per_item = line.number(3)?;
            Ok(Service { stage, variant, class, ms_per_item, p95_ms: None, memory_mb: 0.0 })
        })
        .collect::<Result<_>>()?;
    let mut stages: Vec<StageProfile> = Vec::new();
    for Service { stage, variant, .. } in &services {
        let known = stages.iter().position(|known| known.name == *stage).unwrap_or_else(|| {
            let (name, variants) = (stage.clone(), Vec::new());
            stages.push(plain_stage(name, variants));
            stages.len() - 1
        });
        if !stages[known].variants.contains(variant) {
            stages[known].variants.push(variant.clone());
        }
    }
    let edges = prototype_edges(folder, &stages)?;
    let accuracy = json::<Accuracies>(&folder.join("nodes_accuracy_profiles.json"))?.end_to_end_profile;
    let Requirement { threshold } = json(&folder.join("accuracy_requirement.json"))?;
    let problem = Problem {
        machines: Machines { sites, links, nodes },
        profile: Profile { stages, edges, services, accuracy: Some(accuracy.into()) },
        rates: Rates { sources },
        objectives: Objectives { accuracy_min: Some(threshold), ..Objectives::default() },
    };
    problem.check().map_err(|error| error.at(folder.display()))?;
    Ok(problem)
}

/// A stage that may run anywhere and waits for no batch.
fn plain_stage(name: String, variants: Vec<String>) -> StageProfile {
    StageProfile { name, variants, nodes: None, stays_at_site: false, batch_deadline_ms: 0.0 }
}

fn prototype_links(folder: &Path, sites: &[Site], tier_of: &BTreeMap<&String, usize>) -> Result<Vec<Link>> {
    let mut prices: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for line in csv(&folder.join("workers_workers_link.csv"), 3)? {
        let tier =
            |at: usize| tier_of.get(&line.fields[at]).ok_or_else(|| line.wrong("this worker is in no tier"));
        let (pair, price) = ((*tier(0)?, *tier(1)?), line.number(2)?);
        if pair.0 != pair.1 && prices.insert(pair, price).is_some_and(|known| known != price) {
            return Err(line.wrong("another pair of workers of these tiers has another price"));
        }
    }
    let pairs = (0..sites.len()).flat_map(|a| (0..sites.len()).map(move |b| (a, b)));
    let links = pairs.filter(|(a, b)| a != b).map(|pair| Link {
        from: sites[pair.0].name.clone(),
        to: sites[pair.1].name.clone(),
        // What the prototype does not list is free.
        usd_per_gb: prices.get(&pair).unwrap_or(&0.0) * LINK_PRICE_FACTOR,
        mbit_per_s: None,
        round_trip_ms: 0.0,
    });
    Ok(links.collect())
}

fn prototype_edges(folder: &Path, stages: &[StageProfile]) -> Result<Vec<Edge>> {
    let mut ratios: BTreeMap<(String, String), f64> = BTreeMap::new();
    for line in csv(&folder.join("throughput_normalization_ratios.csv"), 3)? {
        ratios.insert((line.text(0), line.text(1)), line.number(2)?);
    }
    let mut sizes: BTreeMap<(String, String), BTreeMap<String, f64>> = BTreeMap::new();
    for line in csv(&folder.join("message_sizes.csv"), 5)? {
        if line.fields[3] != DEFAULT {
            return Err(line.wrong("a size that depends on the receiver's variant is not known here"));
        }
        let pair = (line.text(0), line.text(1));
        sizes.entry(pair).or_default().insert(line.text(2), line.number(4)?);
    }
    let edge = |line: &Line| {
        let pair = (line.text(0), line.text(1));
        let sizes = sizes.get(&pair).ok_or_else(|| line.wrong("message_sizes.csv has no size for it"))?;
        let none = Vec::new();
        let variants = stages.iter().find(|s| s.name == pair.0).map_or(&none, |s| &s.variants);
        let kb_per_item = match sizes.get(DEFAULT) {
            Some(kb) if sizes.len() == 1 => vec![*kb],
            default => variants
                .iter()
                .map(|variant| sizes.get(variant).or(default).copied())
                .collect::<Option<_>>()
                .ok_or_else(|| line.wrong("message_sizes.csv lacks a variant of it"))?,
        };
        let items_per_item = ratios.get(&pair).copied().unwrap_or(1.0);
        Ok(Edge { from: pair.0, to: pair.1, items_per_item, kb_per_item })
    };
    csv(&folder.join("logical_graph.csv"), 2)?.iter().map(edge).collect()
}

#[derive(Deserialize)]
struct Requirement {
    threshold: f64,
}

#[derive(Deserialize)]
struct Accuracies {
    end_to_end_profile: EndToEnd,
}

#[derive(Deserialize)]
struct EndToEnd {
    operators: Vec<String>,
    acc_profile: Vec<AccuracyRow>,
}

impl From<EndToEnd> for Accuracy {
    fn from(table: EndToEnd) -> Self {
        Self::Table { stages: table.operators, rows: table.acc_profile }
    }
}

/// Reads an instance file (JSON).
///
/// # Errors
/// `NotFound` or `Corrupt` if it cannot be read, `Invalid` with line or entry if it is not right.
pub fn instance(file: &Path) -> Result<Problem> {
    let instance: Instance = json(file)?;
    let problem = instance.problem().map_err(|error| error.at(file.display()))?;
    problem.check().map_err(|error| error.at(file.display()))?;
    Ok(problem)
}

#[derive(Deserialize)]
struct Instance {
    sites: Vec<InstanceSite>,
    links: Vec<InstanceLink>,
    workers: Vec<InstanceWorker>,
    sources: Vec<InstanceSource>,
    ops: Vec<InstanceStage>,
    edges: Vec<InstanceEdge>,
    latency_ms: Vec<Vec<Vec<Option<f64>>>>,
    accuracy: InstanceAccuracy,
    #[serde(default)]
    slo_ms: Option<f64>,
}

#[derive(Deserialize)]
struct InstanceSite {
    id: u64,
    name: String,
    tier: u32,
}

#[derive(Deserialize)]
struct InstanceLink {
    src: u64,
    dst: u64,
    usd_per_gb: f64,
    cap_mbps: Option<f64>,
    #[serde(default)]
    rtt_ms: Option<f64>,
}

#[derive(Deserialize)]
struct InstanceWorker {
    name: String,
    site: u64,
    usd_per_h: f64,
}

#[derive(Deserialize)]
struct InstanceSource {
    name: String,
    site: u64,
    rate: f64,
}

#[derive(Deserialize)]
struct InstanceStage {
    name: String,
    variants: Vec<InstanceVariant>,
}

#[derive(Deserialize)]
struct InstanceVariant {
    name: String,
    #[serde(default)]
    penalty: f64,
}

#[derive(Deserialize)]
struct InstanceEdge {
    u: String,
    v: String,
    ratio: f64,
    kb: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum InstanceAccuracy {
    Table { ops: Vec<String>, rows: Vec<InstanceRow>, threshold: f64 },
    Linear { base: f64, weights: BTreeMap<String, f64>, threshold: f64 },
}

#[derive(Deserialize)]
struct InstanceRow {
    variants: Vec<String>,
    acc: f64,
}

impl Instance {
    fn problem(self) -> Result<Problem> {
        let wrong = |what: String| Error::new(ErrorKind::Invalid, what);
        if self.slo_ms.is_some() {
            let message =
                "slo_ms is given, but no ceiling of utilisation, and without one a queue has no bound";
            return Err(wrong(message.into()).way_out("make it null, and give both as objectives"));
        }
        let names: BTreeMap<u64, &String> = self.sites.iter().map(|site| (site.id, &site.name)).collect();
        let site = |id: u64| {
            names.get(&id).map(|name| (*name).clone()).ok_or_else(|| wrong(format!("there is no site {id}")))
        };
        let link = |link: &InstanceLink| {
            let (from, to, round_trip_ms) =
                (site(link.src)?, site(link.dst)?, link.rtt_ms.unwrap_or_default());
            Ok(Link { from, to, usd_per_gb: link.usd_per_gb, mbit_per_s: link.cap_mbps, round_trip_ms })
        };
        let worker = |worker: &InstanceWorker| {
            let (name, site, usd_per_h) = (worker.name.clone(), site(worker.site)?, worker.usd_per_h);
            Ok(Machine { name, site, usd_per_h, slots: 1, class: None, memory_mb: None })
        };
        let source = |source: &InstanceSource| {
            let (name, site, rate_per_s) = (source.name.clone(), site(source.site)?, source.rate);
            Ok(Source { name, site, rate_per_s })
        };
        let edge = |edge: &InstanceEdge| {
            let (from, to, kb_per_item) = (edge.u.clone(), edge.v.clone(), edge.kb.clone());
            Edge { from, to, items_per_item: edge.ratio, kb_per_item }
        };
        let stage = |stage: &InstanceStage| {
            plain_stage(
                stage.name.clone(),
                stage.variants.iter().map(|variant| variant.name.clone()).collect(),
            )
        };
        let services = self.services()?;
        let (accuracy, floor) = self.accuracy()?;
        Ok(Problem {
            machines: Machines {
                sites: self.sites.iter().map(|s| Site { name: s.name.clone(), tier: s.tier }).collect(),
                links: self.links.iter().map(link).collect::<Result<_>>()?,
                nodes: self.workers.iter().map(worker).collect::<Result<_>>()?,
            },
            profile: Profile {
                stages: self.ops.iter().map(stage).collect(),
                edges: self.edges.iter().map(edge).collect(),
                services,
                accuracy: Some(accuracy),
            },
            rates: Rates { sources: self.sources.iter().map(source).collect::<Result<_>>()? },
            objectives: Objectives { accuracy_min: Some(floor), ..Objectives::default() },
        })
    }

    fn services(&self) -> Result<Vec<Service>> {
        let wrong = |what: String| Error::new(ErrorKind::Invalid, format!("latency_ms: {what}"));
        let mut services = Vec::new();
        if self.latency_ms.len() != self.ops.len() {
            return Err(wrong(format!("{} stages instead of {}", self.latency_ms.len(), self.ops.len())));
        }
        for (stage, by_variant) in self.ops.iter().zip(&self.latency_ms) {
            if by_variant.len() != stage.variants.len() {
                return Err(wrong(format!("\"{}\" has {} variants", stage.name, by_variant.len())));
            }
            for (variant, by_worker) in stage.variants.iter().zip(by_variant) {
                if by_worker.len() != self.workers.len() {
                    let (stage, variant) = (&stage.name, &variant.name);
                    return Err(wrong(format!("\"{stage}\" \"{variant}\" has {} workers", by_worker.len())));
                }
                let known = self.workers.iter().zip(by_worker).filter_map(|(w, ms)| Some((w, (*ms)?)));
                services.extend(known.map(|(worker, ms_per_item)| Service {
                    stage: stage.name.clone(),
                    variant: variant.name.clone(),
                    class: worker.name.clone(),
                    ms_per_item,
                    p95_ms: None,
                    memory_mb: 0.0,
                }));
            }
        }
        Ok(services)
    }

    fn accuracy(&self) -> Result<(Accuracy, f64)> {
        match &self.accuracy {
            InstanceAccuracy::Table { ops, rows, threshold } => {
                let row =
                    |row: &InstanceRow| AccuracyRow { variants: row.variants.clone(), accuracy: row.acc };
                let (stages, rows) = (ops.clone(), rows.iter().map(row).collect());
                Ok((Accuracy::Table { stages, rows }, *threshold))
            }
            InstanceAccuracy::Linear { base, weights, threshold } => {
                let known: BTreeSet<&String> = self.ops.iter().map(|stage| &stage.name).collect();
                if let Some(name) = weights.keys().find(|name| !known.contains(name)) {
                    let message = format!("accuracy: there is no stage \"{name}\"");
                    return Err(Error::new(ErrorKind::Invalid, message).way_out("name one of ops"));
                }
                let mut losses = Vec::new();
                for stage in &self.ops {
                    let weight = weights.get(&stage.name).copied().unwrap_or_default();
                    losses.extend(stage.variants.iter().map(|variant| Loss {
                        stage: stage.name.clone(),
                        variant: variant.name.clone(),
                        loss: weight * variant.penalty,
                    }));
                }
                Ok((Accuracy::Linear { base: *base, losses }, *threshold))
            }
        }
    }
}
