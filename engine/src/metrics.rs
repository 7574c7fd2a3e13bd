//! What is measured as Prometheus reads it: text, version 0.0.4 of its exposition format.
//!
//! The names are an enum, and so are their labels: what an operator looks for is here or nowhere. Rows are bounded by
//! what nodes tell, labels in length.

mod server;

use std::collections::BTreeMap;
use std::fmt::{self, Write};

pub use self::server::{Page, Server};
use crate::telemetry::{LinkReading, Readings, SourceReading, StageReading};

/// Characters of a label's value, at most: names are far shorter.
const LABEL_MAX: usize = 128;

/// Everything that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// When a node was read last.
    NodeReadAt,
    /// Records that a stage has done with.
    StageItemsIn,
    /// Records that a stage has emitted.
    StageItemsOut,
    /// How long a stage's slots have worked.
    StageBusy,
    /// Batches that a stage has run.
    StageCalls,
    /// Items that wait at a stage.
    StageWaiting,
    /// A stage's slots.
    StageSlots,
    /// Latency from a source to the last sink.
    SourceLatency,
    /// Frames that would have come in.
    SourceOffered,
    /// Frames that came in.
    SourceAdmitted,
    /// Frames that every sink has passed.
    SourceCompleted,
    /// Completed frames of which some part failed.
    SourceDegraded,
    /// Frames that were dropped.
    SourceDropped,
    /// Frames on their way.
    SourceInFlight,
    /// Records that were dropped at a stage.
    EdgeDropped,
    /// Records sent to another node.
    LinkItems,
    /// Bytes sent to another node.
    LinkBytes,
    /// Frames sent again.
    LinkResent,
    /// There and back.
    LinkRoundTrip,
}

impl Metric {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 19] = [
        Self::NodeReadAt,
        Self::StageItemsIn,
        Self::StageItemsOut,
        Self::StageBusy,
        Self::StageCalls,
        Self::StageWaiting,
        Self::StageSlots,
        Self::SourceLatency,
        Self::SourceOffered,
        Self::SourceAdmitted,
        Self::SourceCompleted,
        Self::SourceDegraded,
        Self::SourceDropped,
        Self::SourceInFlight,
        Self::EdgeDropped,
        Self::LinkItems,
        Self::LinkBytes,
        Self::LinkResent,
        Self::LinkRoundTrip,
    ];

    /// Its name: units last, and `_total` on what only grows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeReadAt => "jellybean_node_read_at_seconds",
            Self::StageItemsIn => "jellybean_stage_items_in_total",
            Self::StageItemsOut => "jellybean_stage_items_out_total",
            Self::StageBusy => "jellybean_stage_busy_seconds_total",
            Self::StageCalls => "jellybean_stage_calls_total",
            Self::StageWaiting => "jellybean_stage_waiting",
            Self::StageSlots => "jellybean_stage_slots",
            Self::SourceLatency => "jellybean_source_latency_seconds",
            Self::SourceOffered => "jellybean_source_offered_total",
            Self::SourceAdmitted => "jellybean_source_admitted_total",
            Self::SourceCompleted => "jellybean_source_completed_total",
            Self::SourceDegraded => "jellybean_source_degraded_total",
            Self::SourceDropped => "jellybean_source_dropped_total",
            Self::SourceInFlight => "jellybean_source_in_flight",
            Self::EdgeDropped => "jellybean_edge_dropped_total",
            Self::LinkItems => "jellybean_link_items_total",
            Self::LinkBytes => "jellybean_link_bytes_total",
            Self::LinkResent => "jellybean_link_resent_total",
            Self::LinkRoundTrip => "jellybean_link_round_trip_seconds",
        }
    }

    /// What it means, in one line.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::NodeReadAt => "When the node was read last, in seconds of the run clock.",
            Self::StageItemsIn => "Records that the stage has done with, dropped ones included.",
            Self::StageItemsOut => "Records that the stage has emitted.",
            Self::StageBusy => "How long the stage's slots, or its own logic, have worked, without waiting.",
            Self::StageCalls => "Batches that the stage has run.",
            Self::StageWaiting => "Items that wait for a slot of the stage.",
            Self::StageSlots => "Slots of the stage's pool; 0 if it has none.",
            Self::SourceLatency => "From admission to the last sink, of frames completed lately.",
            Self::SourceOffered => "Frames that would have come in if nothing had held them up.",
            Self::SourceAdmitted => "Frames that came in.",
            Self::SourceCompleted => "Frames that every sink has passed.",
            Self::SourceDegraded => "Completed frames of which some part failed.",
            Self::SourceDropped => "Frames that came in and were dropped, by reason.",
            Self::SourceInFlight => "Frames on their way.",
            Self::EdgeDropped => "Records that the stage at the edge's end dropped, by reason.",
            Self::LinkItems => "Records sent to the other node.",
            Self::LinkBytes => "Bytes handed to the network for the other node, repetitions included.",
            Self::LinkResent => "Frames of the link that were sent again.",
            Self::LinkRoundTrip => "There and back, without what the other node waited.",
        }
    }

    /// Whether it only grows, until its node is started again.
    #[must_use]
    pub fn is_counter(self) -> bool {
        self.name().ends_with("_total")
    }
}

/// What a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Node,
    Stage,
    Variant,
    Source,
    Lane,
    Edge,
    Reason,
    Quantile,
    To,
    FromStage,
    ToStage,
}

impl Label {
    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Stage => "stage",
            Self::Variant => "variant",
            Self::Source => "source",
            Self::Lane => "lane",
            Self::Edge => "edge",
            Self::Reason => "reason",
            Self::Quantile => "quantile",
            Self::To => "to",
            Self::FromStage => "from_stage",
            Self::ToStage => "to_stage",
        }
    }
}

/// A label's value as it stands between quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(LABEL_MAX) {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                // Others may not stand in a line of text.
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Samples by metric: those of one metric must stand together.
#[derive(Default)]
struct Exposition(BTreeMap<Metric, String>);

impl Exposition {
    fn add(&mut self, metric: Metric, labels: &[(Label, &str)], value: f64) {
        let text = self.0.entry(metric).or_default();
        text.push_str(metric.name());
        for (i, (label, value)) in labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            // Writing to a string cannot fail.
            _ = write!(text, "{before}{}=\"{}\"", label.name(), Escaped(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        _ = writeln!(text, "{after} {value}");
    }

    fn stage(&mut self, node: &str, reading: &StageReading) {
        let variant = reading.variant.as_deref().unwrap_or_default();
        let labels = [(Label::Node, node), (Label::Stage, &reading.stage), (Label::Variant, variant)];
        for (metric, value) in [
            (Metric::StageItemsIn, reading.items_in as f64),
            (Metric::StageItemsOut, reading.items_out as f64),
            (Metric::StageBusy, reading.busy_us as f64 / 1e6),
            (Metric::StageCalls, reading.calls as f64),
            (Metric::StageWaiting, reading.waiting as f64),
            (Metric::StageSlots, f64::from(reading.slots)),
        ] {
            self.add(metric, &labels, value);
        }
        for (quantile, ms) in
            ["0.5", "0.95", "0.99"].into_iter().zip(reading.latency_ms.into_iter().flatten())
        {
            let labels = [(Label::Node, node), (Label::Source, &*reading.stage), (Label::Quantile, quantile)];
            self.add(Metric::SourceLatency, &labels, ms / 1e3);
        }
    }

    fn link(&mut self, node: &str, reading: &LinkReading) {
        let labels = [
            (Label::Node, node),
            (Label::To, &*reading.to),
            (Label::FromStage, &*reading.from_stage),
            (Label::ToStage, &*reading.to_stage),
        ];
        self.add(Metric::LinkItems, &labels, reading.items as f64);
        self.add(Metric::LinkBytes, &labels, reading.bytes as f64);
        self.add(Metric::LinkResent, &labels, reading.resent as f64);
        if let Some(us) = reading.round_trip_us {
            self.add(Metric::LinkRoundTrip, &labels, us as f64 / 1e6);
        }
    }

    fn source(&mut self, node: &str, reading: &SourceReading) {
        let labels = [(Label::Node, node), (Label::Source, &*reading.source), (Label::Lane, &*reading.lane)];
        self.add(Metric::SourceOffered, &labels, reading.offered as f64);
        self.add(Metric::SourceAdmitted, &labels, reading.admitted as f64);
    }

    fn ledger(&mut self, node: &str, readings: &Readings) {
        for (name, account) in &readings.ledger.sources {
            let (source, lane) = name.split_once('/').unwrap_or((name, ""));
            let labels = [(Label::Node, node), (Label::Source, source), (Label::Lane, lane)];
            self.add(Metric::SourceCompleted, &labels, account.completed as f64);
            self.add(Metric::SourceDegraded, &labels, account.degraded as f64);
            self.add(Metric::SourceInFlight, &labels, account.in_flight as f64);
            for (reason, n) in &account.dropped {
                let labels = [labels[0], labels[1], labels[2], (Label::Reason, reason)];
                self.add(Metric::SourceDropped, &labels, *n as f64);
            }
        }
        for (edge, account) in &readings.ledger.edges {
            for (reason, n) in &account.dropped {
                let labels = [(Label::Node, node), (Label::Edge, edge), (Label::Reason, reason)];
                self.add(Metric::EdgeDropped, &labels, *n as f64);
            }
        }
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (metric, samples) in self.0 {
            let kind = if metric.is_counter() { "counter" } else { "gauge" };
            let name = metric.name();
            _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{samples}", metric.help());
        }
        text
    }
}

/// The page of what these nodes have measured.
#[must_use]
pub fn page(readings: &BTreeMap<String, Readings>) -> String {
    let mut exposition = Exposition::default();
    for (node, readings) in readings {
        let telemetry = &readings.telemetry;
        exposition.add(Metric::NodeReadAt, &[(Label::Node, node)], telemetry.at_us as f64 / 1e6);
        telemetry.stages.iter().for_each(|reading| exposition.stage(node, reading));
        telemetry.links.iter().for_each(|reading| exposition.link(node, reading));
        telemetry.sources.iter().for_each(|reading| exposition.source(node, reading));
        exposition.ledger(node, readings);
    }
    exposition.text()
}

#[cfg(test)]
mod tests;
