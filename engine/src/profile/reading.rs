//! What a profile has to be, and what placement makes of its edges and accuracies.

use super::{MeasuredAccuracy, MeasuredEdge, MeasuredService, MeasuredStage, Profile};
use crate::checks;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::problem::{Accuracy, AccuracyRow, Edge, Loss};

/// Entries of a kind, at most.
const ENTRIES_MAX: usize = 1_000_000;
/// Items per call, at most.
const BATCH_MAX: u32 = 4_096;

impl Profile {
    /// Checks what the types cannot: names, numbers, sizes.
    ///
    /// # Errors
    /// `Invalid`, with the first entry that is not right, and the way out; `Incompatible` for another version.
    pub fn check(&self) -> Result<()> {
        if self.version != 1 {
            let message = format!("profile: version {} is unknown", self.version);
            return Err(Error::new(ErrorKind::Incompatible, message).way_out("write version = 1"));
        }
        let is_hash = self.topology_hash.len() == 16
            && self.topology_hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hash {
            let message = format!("topology_hash is \"{}\"", self.topology_hash);
            return Err(invalid(message, "it has 16 digits of lower-case hexadecimal"));
        }
        let counts = [
            ("node", self.nodes.len()),
            ("stage", self.stages.len()),
            ("edge", self.edges.len()),
            ("service", self.services.len()),
        ];
        if let Some((what, n)) = counts.iter().find(|(_, n)| *n > ENTRIES_MAX) {
            return Err(invalid(format!("{n} entries [[{what}]]"), &format!("{ENTRIES_MAX} are the most")));
        }
        unique("node", self.nodes.iter().map(|node| &node.name))?;
        for node in &self.nodes {
            let what = format!("node \"{}\"", node.name);
            number(&what, "foreign_cores", node.foreign_cores)?;
            number(&what, "seconds", node.seconds)?;
        }
        self.check_stages()?;
        self.edges.iter().try_for_each(|edge| self.check_edge(edge))?;
        unique("edge", self.edges.iter().map(|edge| (&edge.from, &edge.to)))?;
        self.services.iter().try_for_each(|service| self.check_service(service))?;
        unique("service", self.services.iter().map(|s| (&s.stage, &s.variant, &s.node, s.batch)))?;
        self.accuracy.iter().try_for_each(|accuracy| self.check_accuracy(accuracy))
    }

    fn check_stages(&self) -> Result<()> {
        unique("stage", self.stages.iter().map(|stage| &stage.name))?;
        for stage in &self.stages {
            let what = format!("stage \"{}\"", stage.name);
            number(&what, "batch_deadline_ms", stage.batch_deadline_ms)?;
            unique(&format!("{what}: variant"), stage.variants.iter())?;
            if stage.variants.is_empty() {
                return Err(invalid(format!("{what} has no variant"), "list one"));
            }
        }
        Ok(())
    }

    fn check_edge(&self, edge: &MeasuredEdge) -> Result<()> {
        let what = format!("the edge from \"{}\" to \"{}\"", edge.from, edge.to);
        self.stage(&what, &edge.to)?;
        let from = self.stages.iter().find(|stage| stage.name == edge.from);
        let variants = from.map_or(1, |stage| stage.variants.len());
        for (key, values) in [("items_per_item", &edge.items_per_item), ("kb_per_item", &edge.kb_per_item)] {
            values.iter().try_for_each(|value| number(&what, key, *value))?;
            if values.len() != 1 && values.len() != variants {
                let message = format!("{what} gives {} numbers as {key}", values.len());
                let way_out = format!("give one, or {variants}: one per variant of \"{}\"", edge.from);
                return Err(invalid(message, &way_out));
            }
        }
        Ok(())
    }

    fn check_service(&self, row: &MeasuredService) -> Result<()> {
        let MeasuredService { stage, variant, node, batch, .. } = row;
        let what = format!("the service of \"{stage}\" ({variant}, batch {batch}) on \"{node}\"");
        self.variant(&what, stage, variant)?;
        if !self.nodes.iter().any(|known| known.name == *node) {
            return Err(invalid(format!("{what}: there is no node \"{node}\""), "add it as a [[node]]"));
        }
        if !(1..=BATCH_MAX).contains(batch) {
            return Err(invalid(format!("{what}: batch is {batch}"), &format!("give 1 to {BATCH_MAX}")));
        }
        let numbers = [
            ("p50_ms", row.p50_ms),
            ("p95_ms", row.p95_ms),
            ("items_per_s", row.items_per_s),
            ("memory_mb", row.memory_mb),
            ("load_ms", row.load_ms),
            ("warm_up_ms", row.warm_up_ms),
            ("spread", row.spread),
            ("foreign_cores", row.foreign_cores),
        ];
        numbers.iter().try_for_each(|(key, value)| number(&what, key, *value))?;
        if row.items_per_s == 0.0 || row.p95_ms < row.p50_ms {
            let message = format!("{what}: items_per_s is 0, or p95_ms is below p50_ms");
            return Err(invalid(message, "measure it again"));
        }
        Ok(())
    }

    fn check_accuracy(&self, accuracy: &MeasuredAccuracy) -> Result<()> {
        match accuracy {
            MeasuredAccuracy::Table { stages, rows, .. } => {
                unique("accuracy: stage", stages.iter())?;
                unique("accuracy: row", rows.iter().map(|row| &row.variants))?;
                for row in rows {
                    let what = format!("accuracy: row {:?}", row.variants);
                    between(&what, row.accuracy_low, row.accuracy, row.accuracy_high)?;
                    between(&what, 0.0, row.accuracy, 1.0)?;
                    if row.variants.len() != stages.len() {
                        let message = format!("{what} has no variant for each stage");
                        return Err(invalid(message, &format!("list one for each of {stages:?}")));
                    }
                    for (stage, variant) in stages.iter().zip(&row.variants) {
                        self.variant(&what, stage, variant)?;
                    }
                }
                Ok(())
            }
            MeasuredAccuracy::Linear { base, losses, .. } => {
                between("accuracy: base", 0.0, *base, 1.0)?;
                unique("accuracy: loss", losses.iter().map(|loss| (&loss.stage, &loss.variant)))?;
                losses.iter().try_for_each(|loss| {
                    let what = format!("accuracy: the loss of \"{}\" ({})", loss.stage, loss.variant);
                    self.variant(&what, &loss.stage, &loss.variant)?;
                    between(&what, loss.loss_low, loss.loss, loss.loss_high)?;
                    between(&what, -1.0, loss.loss, 1.0)
                })
            }
        }
    }

    fn stage(&self, what: &str, name: &str) -> Result<&MeasuredStage> {
        let known = self.stages.iter().find(|stage| stage.name == name);
        known.ok_or_else(|| invalid(format!("{what}: there is no stage \"{name}\""), "name a stage"))
    }

    fn variant(&self, what: &str, stage: &str, variant: &str) -> Result<()> {
        let known = &self.stage(what, stage)?.variants;
        match known.iter().any(|other| other == variant) {
            true => Ok(()),
            false => Err(invalid(
                format!("{what}: stage \"{stage}\" has no variant \"{variant}\""),
                &format!("name one of {}", known.join(", ")),
            )),
        }
    }
}

impl MeasuredEdge {
    /// Items per item and kilobytes per item for variant number `k` of the stage that sends.
    #[must_use]
    pub fn of_variant(&self, k: usize) -> (f64, f64) {
        let at = |values: &[f64]| values.get(k).or(values.first()).copied().unwrap_or(0.0);
        (at(&self.items_per_item), at(&self.kb_per_item))
    }

    /// Variants of which it tells something else, at least one.
    #[must_use]
    pub fn variants(&self) -> usize {
        self.items_per_item.len().max(self.kb_per_item.len())
    }

    /// Planned for the variant of the sender that sends most items, with as many bytes for each variant as it makes.
    pub(crate) fn for_the_most(&self) -> Edge {
        let most = self.items_per_item.iter().copied().fold(0.0, f64::max);
        let kb = |k| {
            let (items, kb) = self.of_variant(k);
            if most > 0.0 { kb * (items / most) } else { kb }
        };
        Edge {
            from: self.from.clone(),
            to: self.to.clone(),
            items_per_item: most,
            kb_per_item: (0..self.variants()).map(kb).collect(),
        }
    }
}

impl From<&MeasuredAccuracy> for Accuracy {
    fn from(accuracy: &MeasuredAccuracy) -> Self {
        match accuracy {
            MeasuredAccuracy::Table { stages, rows, .. } => Self::Table {
                stages: stages.clone(),
                rows: rows
                    .iter()
                    .map(|row| AccuracyRow { variants: row.variants.clone(), accuracy: row.accuracy })
                    .collect(),
            },
            MeasuredAccuracy::Linear { base, losses, .. } => Self::Linear {
                base: *base,
                losses: losses
                    .iter()
                    .map(|l| Loss { stage: l.stage.clone(), variant: l.variant.clone(), loss: l.loss })
                    .collect(),
            },
        }
    }
}

fn invalid(message: impl Into<String>, way_out: &str) -> Error {
    Error::new(ErrorKind::Invalid, message).at("profile").way_out(way_out)
}

fn between(what: &str, low: f64, value: f64, high: f64) -> Result<()> {
    match low <= value && value <= high {
        true => Ok(()),
        false => Err(invalid(
            format!("{what} is {value}, and not from {low} to {high}"),
            "give numbers of which the middle one is between the others",
        )),
    }
}

fn number(what: &str, key: &str, value: f64) -> Result<()> {
    checks::number(what, key, value).map_err(|error| error.at("profile"))
}

fn unique<T: Ord + std::fmt::Debug>(what: &str, names: impl Iterator<Item = T>) -> Result<()> {
    checks::unique(what, names).map_err(|error| error.at("profile"))
}
