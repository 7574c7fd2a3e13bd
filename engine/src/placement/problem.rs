//! What a placement is asked for, as serde data: the machines, the profile, the rates and the objectives.
//!
//! Everything is named; units stand in the names. [`Problem::check`] holds what the types cannot.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::checks;
use crate::error::{Error, ErrorKind, Result};
use crate::infrastructure::Infrastructure;

/// Nodes, variants and edges, at most.
const COUNT_MAX: usize = 10_000;

/// Stages, sources and sites, at most.
const NAMES_MAX: usize = 256;

/// Entries of a profile, of links and of an accuracy table, at most.
const ENTRIES_MAX: usize = 1_000_000;

/// All that a plan depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// Sites, links and nodes.
    pub machines: Machines,
    /// What was measured.
    pub profile: Profile,
    /// What the sources send.
    pub rates: Rates,
    /// What a plan must meet.
    #[serde(default)]
    pub objectives: Objectives,
}

/// The machines that may be used, and the network between their sites.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machines {
    /// The places.
    #[serde(rename = "site")]
    pub sites: Vec<Site>,
    /// By direction; what is not listed cannot be used. Within a site traffic is free.
    #[serde(default, rename = "link")]
    pub links: Vec<Link>,
    /// Each is paid in full if it is used at all.
    #[serde(rename = "node")]
    pub nodes: Vec<Machine>,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Unique.
    pub name: String,
    /// Its level: 0 is beside the sources. Traffic goes forward where the tier does not fall.
    pub tier: u32,
}

/// The network from one site to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The site that sends.
    pub from: String,
    /// The site that receives.
    pub to: String,
    /// Dollars per gigabyte (2^30 bytes).
    pub usd_per_gb: f64,
    /// Megabits per second (10^6 bits), if it is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mbit_per_s: Option<f64>,
    /// Milliseconds there and back.
    #[serde(default)]
    pub round_trip_ms: f64,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Unique.
    pub name: String,
    /// Where it stands.
    pub site: String,
    /// Dollars per hour.
    pub usd_per_h: f64,
    /// Batches it runs at once.
    #[serde(default = "one")]
    pub slots: u32,
    /// Whose services it has in the profile; its own name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Megabytes for the models of all stages it hosts, if they are bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<f64>,
}

fn one() -> u32 {
    1
}

impl Machine {
    /// Whose services it has in the profile.
    #[must_use]
    pub fn class(&self) -> &str {
        self.class.as_ref().unwrap_or(&self.name)
    }
}

/// What was measured of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The stages.
    #[serde(rename = "stage")]
    pub stages: Vec<StageProfile>,
    /// The streams into stages, from sources and stages; no circle.
    #[serde(rename = "edge")]
    pub edges: Vec<Edge>,
    /// How long what takes where; what is not listed cannot run there.
    #[serde(rename = "service")]
    pub services: Vec<Service>,
    /// How accurate which combination of variants is end to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageProfile {
    /// Unique among stages and sources.
    pub name: String,
    /// Its interchangeable models; one that is called `default` where there is no choice.
    pub variants: Vec<String>,
    /// The nodes that may run it; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,
    /// Its input may not leave the site it comes from.
    #[serde(default)]
    pub stays_at_site: bool,
    /// Milliseconds that an item waits for others of its batch, at most.
    #[serde(default)]
    pub batch_deadline_ms: f64,
}

/// A stream into a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// A source or stage.
    pub from: String,
    /// A stage.
    pub to: String,
    /// Items into `to` per item of `from`. A stage with several inputs has the demand of the least of them.
    pub items_per_item: f64,
    /// Kilobytes (2^10 bytes) per item of `to`: one number, or one per variant of `from`.
    pub kb_per_item: Vec<f64>,
}

/// How long an item takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The stage.
    pub stage: String,
    /// Its variant.
    pub variant: String,
    /// The class of nodes.
    pub class: String,
    /// Milliseconds of a slot per item.
    pub ms_per_item: f64,
    /// Milliseconds that one call takes with its whole batch, in 95 of 100 cases; `ms_per_item` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// Megabytes that a node holds while it hosts this.
    #[serde(default)]
    pub memory_mb: f64,
}

/// How accurate a combination of variants is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Accuracy {
    /// As measured; a combination that is not listed is not allowed.
    Table {
        /// The stages that matter.
        stages: Vec<String>,
        /// One for each measured combination.
        rows: Vec<AccuracyRow>,
    },
    /// `base` less the losses of the chosen variants.
    Linear {
        /// With variants that lose nothing.
        base: f64,
        /// What is not listed loses nothing.
        losses: Vec<Loss>,
    },
}

/// A measured combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccuracyRow {
    /// In the order of the table's stages.
    pub variants: Vec<String>,
    /// End to end.
    pub accuracy: f64,
}

/// What a variant takes off the accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// The stage.
    pub stage: String,
    /// Its variant.
    pub variant: String,
    /// How much.
    pub loss: f64,
}

/// What the sources send.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// The sources.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Unique among stages and sources.
    pub name: String,
    /// Where its items come from.
    pub site: String,
    /// Items per second.
    pub rate_per_s: f64,
}

/// What a plan must meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// The floor of the end-to-end accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_min: Option<f64>,
    /// How busy a slot may be, above 0 and up to 1.
    #[serde(default = "whole")]
    pub utilisation_max: f64,
    /// Milliseconds from a source to where its items end, along every path, in 95 of 100 cases. It is held against
    /// the bound of [`Evaluation::p95_ms`](super::Evaluation::p95_ms), which needs a `utilisation_max` below 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms_max: Option<f64>,
}

fn whole() -> f64 {
    1.0
}

impl Default for Objectives {
    fn default() -> Self {
        Self { accuracy_min: None, utilisation_max: whole(), p95_ms_max: None }
    }
}

impl From<&Infrastructure> for Machines {
    /// The same machines. Between sites without a link of their own, data takes no way: list one.
    fn from(infrastructure: &Infrastructure) -> Self {
        let tiers: BTreeMap<&str, u32> =
            infrastructure.nodes.iter().map(|node| (node.site.as_str(), node.tier as u32)).collect();
        let sites = tiers.iter().map(|(name, tier)| Site { name: (*name).to_owned(), tier: *tier }).collect();
        let links = infrastructure.links.iter().map(|link| Link {
            from: link.from.clone(),
            to: link.to.clone(),
            usd_per_gb: link.usd_per_gb,
            mbit_per_s: Some(link.mbit_per_s),
            round_trip_ms: link.round_trip_ms,
        });
        let nodes = infrastructure.nodes.iter().map(|node| Machine {
            name: node.name.clone(),
            site: node.site.clone(),
            usd_per_h: node.usd_per_h,
            slots: u32::try_from(node.slots).unwrap_or(u32::MAX),
            class: None,
            memory_mb: None,
        });
        Self { sites, links: links.collect(), nodes: nodes.collect() }
    }
}

impl Problem {
    /// Checks what the types cannot: names, numbers, sizes, circles.
    ///
    /// # Errors
    /// `Invalid`, with the first entry that is not right, and the way out.
    pub fn check(&self) -> Result<()> {
        self.check_sizes()?;
        self.check_machines()?;
        self.check_profile()?;
        self.check_accuracy()?;
        self.check_objectives()
    }

    fn check_objectives(&self) -> Result<()> {
        let Objectives { accuracy_min, utilisation_max, p95_ms_max } = self.objectives;
        if !(utilisation_max > 0.0 && utilisation_max <= 1.0) {
            let message = format!("objectives: utilisation_max is {utilisation_max}");
            return Err(invalid(message, "give a number above 0, up to 1"));
        }
        if let Some(most) = p95_ms_max {
            number("objectives", "p95_ms_max", most)?;
            if utilisation_max == 1.0 {
                let message = "objectives: p95_ms_max is given, but a queue before slots that are always busy has no bound";
                return Err(invalid(message, "give a utilisation_max below 1, such as 0.7"));
            }
        }
        match accuracy_min {
            Some(floor) if !floor.is_finite() => {
                Err(invalid(format!("objectives: accuracy_min is {floor}"), "give a number"))
            }
            Some(floor) if self.profile.accuracy.is_none() => Err(invalid(
                format!("objectives: accuracy_min is {floor}, but the profile tells no accuracy"),
                "measure it, or leave accuracy_min out",
            )),
            _ => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<()> {
        let Machines { sites, links, nodes } = &self.machines;
        let Profile { stages, edges, services, accuracy } = &self.profile;
        let rows = match accuracy {
            Some(Accuracy::Table { rows, .. }) => rows.len(),
            Some(Accuracy::Linear { losses, .. }) => losses.len(),
            None => 0,
        };
        let variants: usize = stages.iter().map(|stage| stage.variants.len()).sum();
        let sizes = [
            ("sites", sites.len(), NAMES_MAX),
            ("nodes", nodes.len(), COUNT_MAX),
            ("stages", stages.len(), NAMES_MAX),
            ("variants", variants, COUNT_MAX),
            ("edges", edges.len(), COUNT_MAX),
            ("sources", self.rates.sources.len(), NAMES_MAX),
            ("pairs of variant and node", variants.saturating_mul(nodes.len()), ENTRIES_MAX),
            ("links", links.len(), ENTRIES_MAX),
            ("services", services.len(), ENTRIES_MAX),
            ("entries of accuracy", rows, ENTRIES_MAX),
        ];
        match sizes.iter().find(|(_, count, most)| count > most) {
            Some((what, count, most)) => {
                Err(invalid(format!("{count} {what}"), &format!("{most} are the most")))
            }
            None => Ok(()),
        }
    }

    fn check_machines(&self) -> Result<()> {
        let Machines { sites, links, nodes } = &self.machines;
        unique("site", sites.iter().map(|site| &site.name))?;
        unique("node", nodes.iter().map(|node| &node.name))?;
        let names: BTreeSet<&String> = sites.iter().map(|site| &site.name).collect();
        let known = |what: String, site: &String| match names.contains(site) {
            true => Ok(()),
            false => Err(invalid(format!("{what} names site \"{site}\", which is not there"), "name a site")),
        };
        let mut pairs = BTreeSet::new();
        for Link { from, to, usd_per_gb, mbit_per_s, round_trip_ms } in links {
            let what = format!("the link from \"{from}\" to \"{to}\"");
            known(what.clone(), from)?;
            known(what.clone(), to)?;
            number(&what, "usd_per_gb", *usd_per_gb)?;
            number(&what, "mbit_per_s", mbit_per_s.unwrap_or_default())?;
            number(&what, "round_trip_ms", *round_trip_ms)?;
            if !pairs.insert((from, to)) {
                return Err(invalid(format!("{what} is there twice"), "leave one out"));
            }
        }
        for node in nodes {
            let what = format!("node \"{}\"", node.name);
            known(what.clone(), &node.site)?;
            number(&what, "usd_per_h", node.usd_per_h)?;
            number(&what, "memory_mb", node.memory_mb.unwrap_or_default())?;
            if node.slots == 0 {
                return Err(invalid(format!("{what} has no slots"), "give it one, or leave it out"));
            }
        }
        for source in &self.rates.sources {
            let what = format!("source \"{}\"", source.name);
            known(what.clone(), &source.site)?;
            number(&what, "rate_per_s", source.rate_per_s)?;
        }
        Ok(())
    }

    fn check_profile(&self) -> Result<()> {
        let Profile { stages, edges, services, .. } = &self.profile;
        let sources = self.rates.sources.iter().map(|source| &source.name);
        unique("stage or source", sources.chain(stages.iter().map(|stage| &stage.name)))?;
        let nodes: BTreeSet<&String> = self.machines.nodes.iter().map(|node| &node.name).collect();
        for stage in stages {
            let what = format!("stage \"{}\"", stage.name);
            unique(&format!("{what}: variant"), stage.variants.iter())?;
            number(&what, "batch_deadline_ms", stage.batch_deadline_ms)?;
            if stage.variants.is_empty() {
                return Err(invalid(format!("{what} has no variant"), "list one"));
            }
            if let Some(node) = stage.nodes.iter().flatten().find(|node| !nodes.contains(node)) {
                return Err(invalid(
                    format!("{what} names node \"{node}\", which is not there"),
                    "name a node",
                ));
            }
            if !edges.iter().any(|edge| edge.to == stage.name) {
                return Err(invalid(format!("{what} has no input"), "add an edge to it"));
            }
        }
        edges.iter().try_for_each(|edge| self.check_edge(edge))?;
        unique("edge", edges.iter().map(|edge| (&edge.from, &edge.to)))?;
        self.check_order()?;
        let classes: BTreeSet<&str> = self.machines.nodes.iter().map(Machine::class).collect();
        for service in services {
            let what = format!("the service of \"{}\" on \"{}\"", service.stage, service.class);
            self.variant(&what, &service.stage, &service.variant)?;
            number(&what, "ms_per_item", service.ms_per_item)?;
            number(&what, "p95_ms", service.p95_ms.unwrap_or_default())?;
            number(&what, "memory_mb", service.memory_mb)?;
            if !classes.contains(&*service.class) {
                return Err(invalid(format!("{what}: no node is of that class"), "name a class or node"));
            }
        }
        unique("service", services.iter().map(|s| (&s.stage, &s.variant, &s.class)))
    }

    fn check_edge(&self, edge: &Edge) -> Result<()> {
        let what = format!("the edge from \"{}\" to \"{}\"", edge.from, edge.to);
        let stage = |name: &String| self.profile.stages.iter().find(|stage| stage.name == *name);
        if stage(&edge.to).is_none() {
            return Err(invalid(format!("{what} leads to no stage"), "name a stage"));
        }
        let variants = match stage(&edge.from) {
            Some(from) => from.variants.len(),
            None if self.rates.sources.iter().any(|source| source.name == edge.from) => 1,
            None => return Err(invalid(format!("{what} comes from nowhere"), "name a source or stage")),
        };
        number(&what, "items_per_item", edge.items_per_item)?;
        edge.kb_per_item.iter().try_for_each(|kb| number(&what, "kb_per_item", *kb))?;
        match edge.kb_per_item.len() {
            1 => Ok(()),
            sizes if sizes == variants => Ok(()),
            sizes => Err(invalid(
                format!("{what} gives {sizes} sizes"),
                &format!("give one, or {variants}: one per variant of \"{}\"", edge.from),
            )),
        }
    }

    /// Refuses circles.
    fn check_order(&self) -> Result<()> {
        let mut left: BTreeSet<&String> = self.profile.stages.iter().map(|stage| &stage.name).collect();
        loop {
            let waits = |name: &&String| {
                self.profile.edges.iter().any(|edge| edge.to == **name && left.contains(&edge.from))
            };
            let ready: Vec<&String> = left.iter().copied().filter(|name| !waits(name)).collect();
            if ready.is_empty() {
                break;
            }
            ready.iter().for_each(|name| _ = left.remove(name));
        }
        match left.first() {
            Some(stage) => Err(invalid(
                format!("stage \"{stage}\" waits for itself: the edges go in a circle"),
                "cut one of them",
            )),
            None => Ok(()),
        }
    }

    fn check_accuracy(&self) -> Result<()> {
        let finite = |what: &str, value: f64| match value.is_finite() {
            true => Ok(()),
            false => Err(invalid(format!("accuracy: {what} is {value}"), "give a number")),
        };
        match &self.profile.accuracy {
            None => Ok(()),
            Some(Accuracy::Linear { base, losses }) => {
                finite("base", *base)?;
                unique("accuracy: loss", losses.iter().map(|loss| (&loss.stage, &loss.variant)))?;
                losses.iter().try_for_each(|loss| {
                    self.variant("accuracy", &loss.stage, &loss.variant)?;
                    finite("loss", loss.loss)
                })
            }
            Some(Accuracy::Table { stages, rows }) => {
                unique("accuracy: stage", stages.iter())?;
                unique("accuracy: row", rows.iter().map(|row| &row.variants))?;
                for row in rows {
                    finite("accuracy", row.accuracy)?;
                    if row.variants.len() != stages.len() {
                        let message =
                            format!("accuracy: row {:?} has no variant for each stage", row.variants);
                        return Err(invalid(message, &format!("list one for each of {stages:?}")));
                    }
                    for (stage, variant) in stages.iter().zip(&row.variants) {
                        self.variant("accuracy", stage, variant)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn variant(&self, what: &str, stage: &str, variant: &str) -> Result<()> {
        let Some(profile) = self.profile.stages.iter().find(|profile| profile.name == stage) else {
            return Err(invalid(format!("{what}: there is no stage \"{stage}\""), "name a stage"));
        };
        match profile.variants.iter().any(|known| known == variant) {
            true => Ok(()),
            false => Err(invalid(
                format!("{what}: stage \"{stage}\" has no variant \"{variant}\""),
                &format!("name one of {}", profile.variants.join(", ")),
            )),
        }
    }
}

/// What is wrong with a problem.
pub(super) fn invalid(message: impl Into<String>, way_out: &str) -> Error {
    Error::new(ErrorKind::Invalid, message).at("placement").way_out(way_out)
}

/// Refuses what is no number from 0 to the largest.
pub(super) fn number(what: &str, key: &str, value: f64) -> Result<()> {
    checks::number(what, key, value).map_err(|error| error.at("placement"))
}

fn unique<T: Ord + std::fmt::Debug>(what: &str, names: impl Iterator<Item = T>) -> Result<()> {
    checks::unique(what, names).map_err(|error| error.at("placement"))
}
