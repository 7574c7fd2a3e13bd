//! What successive readings of nodes come to: rates of sources, service times, selectivity, sizes, links.
//!
//! Everything is a difference of counters over the time between two reports of one node, so reports may be late,
//! lost, doubled or out of order, and a node may start again from 0: what cannot be told is left out, never made up.
//! Rates are those that sources offer, not those that the plan lets through (the true rates of Kalavri et al.,
//! "Three steps is all you need", OSDI 2018), and a service time counts the time slots work, not the time items wait.

use std::collections::BTreeMap;

use crate::telemetry::{LinkReading, StageReading, Telemetry};

/// The variant of a stage without a choice.
const DEFAULT_VARIANT: &str = "default";

/// No rate is believed to be higher, in items per second.
pub const RATE_MAX: f64 = 1e9;

/// Entries of one kind in a report that are looked at.
const ENTRIES_MAX: usize = 4096;

/// A link whose round trip is so many times its shortest, and [`SATURATED_MS`] longer, is full.
const SATURATED: f64 = 4.0;

/// Milliseconds by which the round trip of a full link is longer.
const SATURATED_MS: f64 = 50.0;

/// How long measurements count, in seconds: after so long a change shows to 63 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothing {
    /// For rates of sources.
    pub rates_s: f64,
    /// For what changes slowly: service times, selectivity, sizes.
    pub services_s: f64,
}

/// A smoothed number, and how old it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Smoothed.
    pub value: f64,
    /// The middle one of the last three, or the smoothed one where there is no such thing.
    pub latest: f64,
    /// Microseconds since it was heard.
    pub age_us: u64,
}

/// The network between two sites.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkObserved {
    /// Megabits per second that are used.
    pub mbit_per_s: Reading,
    /// Milliseconds there and back.
    pub round_trip_ms: Option<Reading>,
    /// Megabits per second that it carries; known only while it is full.
    pub capacity_mbit_per_s: Option<Reading>,
}

/// What is known of a run from its nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// By source: items per second that it offers.
    pub sources: BTreeMap<String, Reading>,
    /// By stage, variant and node: milliseconds of a slot per item.
    pub services: BTreeMap<(String, String, String), Reading>,
    /// By stage: items out per item that was worked on.
    pub selectivity: BTreeMap<String, Reading>,
    /// By edge: kilobytes (2^10 bytes) per item; known only of edges between nodes.
    pub kb_per_item: BTreeMap<(String, String), Reading>,
    /// By sites, from and to.
    pub links: BTreeMap<(String, String), LinkObserved>,
    /// By source: milliseconds to the last sink in 95 of 100 cases, from its slowest node.
    pub p95_ms: BTreeMap<String, Reading>,
    /// By stage: items that wait.
    pub waiting: BTreeMap<String, u64>,
}

/// Hears reports and keeps what they come to.
#[derive(Clone, Debug)]
pub struct Observer {
    smoothing: Smoothing,
    /// By node.
    sites: BTreeMap<String, String>,
    heard: BTreeMap<String, Heard>,
}

/// What is kept of a node.
#[derive(Clone, Debug, Default)]
struct Heard {
    last: Telemetry,
    /// A report from before the last one; if it was no straggler, the node's clock began again.
    straggler: Option<Telemetry>,
    heard_us: u64,
    rates: BTreeMap<String, Flow>,
    stages: BTreeMap<(String, String), Work>,
    links: BTreeMap<(String, String, String), Traffic>,
}

/// A rate.
#[derive(Clone, Debug, Default)]
struct Flow {
    recent: Vec<f64>,
    mean: Mean,
}

/// What a stage does.
#[derive(Clone, Debug, Default)]
struct Work {
    service_ms: Mean,
    selectivity: Mean,
    /// When it was last heard to have worked: of what is idle nothing new is known.
    worked_us: u64,
}

/// What a link carries.
#[derive(Clone, Debug, Default)]
struct Traffic {
    kb_per_item: Mean,
    mbit_per_s: Mean,
    round_trip_ms: Mean,
    round_trip_least_ms: Option<f64>,
}

/// A ratio of two sums in which what is old counts less and less.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    above: f64,
    below: f64,
}

impl Mean {
    fn take(&mut self, above: f64, below: f64, keep: f64) {
        self.above = self.above * keep + above;
        self.below = self.below * keep + below;
    }

    fn value(self) -> Option<f64> {
        (self.below > 0.0).then(|| self.above / self.below)
    }
}

impl Flow {
    fn take(&mut self, rate: f64, seconds: f64, keep: f64) {
        if self.recent.len() == 3 {
            self.recent.remove(0);
        }
        self.recent.push(rate.clamp(0.0, RATE_MAX));
        self.mean.take(self.latest() * seconds, seconds, keep);
    }

    /// The middle one of three: what shows in one report alone does not count.
    fn latest(&self) -> f64 {
        let mut sorted = self.recent.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted[..] {
            [] => 0.0,
            [one] => one,
            [low, high] => f64::midpoint(low, high),
            [_, middle, ..] => middle,
        }
    }
}

impl Observer {
    /// An observer of nodes, each with its site.
    #[must_use]
    pub fn new(smoothing: Smoothing, sites: BTreeMap<String, String>) -> Self {
        Self { smoothing, sites, heard: BTreeMap::new() }
    }

    /// Takes a report that came at `now_us` by the listener's clock.
    pub fn hear(&mut self, report: Telemetry, now_us: u64) {
        let smoothing = self.smoothing;
        let Some(heard) = self.heard.get_mut(&report.node) else {
            let heard = Heard { last: report, heard_us: now_us, ..Heard::default() };
            self.heard.insert(heard.last.node.clone(), heard);
            return;
        };
        if report.at_us > heard.last.at_us {
            heard.take(report, now_us, smoothing);
        } else if heard.straggler.as_ref().is_some_and(|before| report.at_us > before.at_us) {
            // Two in a row from before the last, and in order: the node began again.
            heard.last = heard.straggler.take().expect("it is there");
            heard.take(report, now_us, smoothing);
        } else if report.at_us < heard.last.at_us {
            heard.straggler = Some(report);
        }
    }

    /// Forgets a node that is gone.
    pub fn forget(&mut self, node: &str) {
        self.heard.remove(node);
    }

    /// What is known.
    #[must_use]
    pub fn observed(&self, now_us: u64) -> Observed {
        let mut observed = Observed::default();
        let mut selectivity: BTreeMap<&String, (Mean, u64)> = BTreeMap::new();
        let mut sizes: BTreeMap<(&String, &String), (Mean, u64)> = BTreeMap::new();
        for (node, heard) in &self.heard {
            let age_us = now_us.saturating_sub(heard.heard_us);
            for (source, flow) in &heard.rates {
                let Some(value) = flow.mean.value() else { continue };
                add(observed.sources.entry(source.clone()).or_default(), value, flow.latest(), age_us);
            }
            for ((stage, variant), work) in &heard.stages {
                let age_us = now_us.saturating_sub(work.worked_us);
                if let Some(ms) = work.service_ms.value() {
                    let key = (stage.clone(), variant.clone(), node.clone());
                    observed.services.insert(key, Reading { value: ms, latest: ms, age_us });
                }
                join(selectivity.entry(stage).or_default(), work.selectivity, age_us);
            }
            for ((from, to, _), traffic) in &heard.links {
                join(sizes.entry((from, to)).or_default(), traffic.kb_per_item, age_us);
            }
            self.links(node, heard, age_us, &mut observed);
            for reading in heard.last.stages.iter().take(ENTRIES_MAX) {
                *observed.waiting.entry(reading.stage.clone()).or_default() += reading.waiting;
                let Some([_, p95, _]) = reading.latency_ms.filter(|ms| ms[1].is_finite()) else { continue };
                let slowest = observed.p95_ms.entry(reading.stage.clone()).or_default();
                if p95 >= slowest.value {
                    *slowest = Reading { value: p95, latest: p95, age_us };
                }
            }
        }
        let read =
            |(mean, age_us): (Mean, u64)| mean.value().map(|value| Reading { value, latest: value, age_us });
        observed.selectivity =
            selectivity.into_iter().filter_map(|(stage, held)| Some((stage.clone(), read(held)?))).collect();
        observed.kb_per_item = sizes
            .into_iter()
            .filter_map(|((from, to), held)| Some(((from.clone(), to.clone()), read(held)?)))
            .collect();
        observed
    }

    fn links(&self, node: &str, heard: &Heard, age_us: u64, observed: &mut Observed) {
        let Some(from) = self.sites.get(node) else { return };
        let mut is_full = BTreeMap::new();
        for ((.., to), traffic) in &heard.links {
            let Some(to) = self.sites.get(to).filter(|to| *to != from) else { continue };
            let key = (from.clone(), to.clone());
            let link = observed.links.entry(key.clone()).or_default();
            let used = traffic.mbit_per_s.value().unwrap_or_default();
            add(&mut link.mbit_per_s, used, used, age_us);
            let Some(ms) = traffic.round_trip_ms.value() else { continue };
            let longest = link.round_trip_ms.get_or_insert(Reading { value: ms, latest: ms, age_us });
            longest.value = longest.value.max(ms);
            longest.latest = longest.value;
            let least = traffic.round_trip_least_ms.unwrap_or(ms);
            if ms > least * SATURATED && ms > least + SATURATED_MS {
                is_full.insert(key, true);
            }
        }
        for key in is_full.into_keys() {
            if let Some(link) = observed.links.get_mut(&key) {
                link.capacity_mbit_per_s = Some(link.mbit_per_s);
            }
        }
    }
}

fn add(reading: &mut Reading, value: f64, latest: f64, age_us: u64) {
    reading.value += value;
    reading.latest += latest;
    reading.age_us = reading.age_us.max(age_us);
}

/// Adds what another node knows of the same ratio; as young as the youngest.
fn join(held: &mut (Mean, u64), mean: Mean, age_us: u64) {
    let is_first = held.0.below == 0.0;
    if mean.below > 0.0 {
        held.0.take(mean.above, mean.below, 1.0);
        held.1 = if is_first { age_us } else { held.1.min(age_us) };
    }
}

impl Heard {
    /// Takes a report that is newer than the last.
    fn take(&mut self, report: Telemetry, now_us: u64, smoothing: Smoothing) {
        let seconds = report.at_us.saturating_sub(self.last.at_us) as f64 / 1e6;
        let keep = |constant_s: f64| (-seconds / constant_s.max(1e-3)).exp();
        let (fast, slow) = (keep(smoothing.rates_s), keep(smoothing.services_s));
        self.straggler = None;
        self.sources(&report, seconds, fast);
        self.stages(&report, now_us, seconds, slow);
        self.links(&report, seconds, slow);
        self.last = report;
        self.heard_us = now_us;
    }

    fn sources(&mut self, report: &Telemetry, seconds: f64, keep: f64) {
        let before: BTreeMap<_, u64> =
            self.last.sources.iter().map(|r| ((&r.source, &r.lane), r.offered)).collect();
        // By source: items, or nothing to say since a lane began again.
        let mut offered: BTreeMap<&String, Option<f64>> = BTreeMap::new();
        for reading in report.sources.iter().take(ENTRIES_MAX) {
            let known = before.get(&(&reading.source, &reading.lane)).copied().unwrap_or_default();
            let more = reading.offered.checked_sub(known).map(|more| more as f64);
            let sum = offered.entry(&reading.source).or_insert(Some(0.0));
            *sum = sum.zip(more).map(|(sum, more)| sum + more);
        }
        for (source, items) in offered {
            if let Some(items) = items {
                self.rates.entry(source.clone()).or_default().take(items / seconds, seconds, keep);
            }
        }
        // Without lanes a source offers nothing.
        self.rates.retain(|source, _| report.sources.iter().any(|reading| reading.source == *source));
    }

    fn stages(&mut self, report: &Telemetry, now_us: u64, seconds: f64, keep: f64) {
        let before: BTreeMap<_, &StageReading> =
            self.last.stages.iter().map(|r| ((&r.stage, &r.variant), r)).collect();
        for reading in report.stages.iter().take(ENTRIES_MAX) {
            let none = StageReading::default();
            let known = before.get(&(&reading.stage, &reading.variant)).copied().unwrap_or(&none);
            let (Some(done), Some(out), Some(busy_us)) = (
                reading.items_in.checked_sub(known.items_in),
                reading.items_out.checked_sub(known.items_out),
                reading.busy_us.checked_sub(known.busy_us),
            ) else {
                continue;
            };
            // Slots cannot have worked longer than there was time; a batch that ended may have begun before.
            let most_us = f64::from(reading.slots.max(1)) * (2.0 * seconds + 60.0) * 1e6;
            if done == 0 || busy_us as f64 > most_us {
                continue;
            }
            let variant = reading.variant.clone().unwrap_or_else(|| DEFAULT_VARIANT.to_owned());
            let work = self.stages.entry((reading.stage.clone(), variant)).or_default();
            if busy_us > 0 {
                work.service_ms.take(busy_us as f64 / 1e3, done as f64, keep);
            }
            work.selectivity.take(out as f64, done as f64, keep);
            work.worked_us = now_us;
        }
    }

    fn links(&mut self, report: &Telemetry, seconds: f64, keep: f64) {
        let key = |r: &LinkReading| (r.from_stage.clone(), r.to_stage.clone(), r.to.clone());
        let before: BTreeMap<_, &LinkReading> = self.last.links.iter().map(|r| (key(r), r)).collect();
        for reading in report.links.iter().take(ENTRIES_MAX) {
            let none = LinkReading::default();
            let known = before.get(&key(reading)).copied().unwrap_or(&none);
            let traffic = self.links.entry(key(reading)).or_default();
            if let (Some(items), Some(bytes)) =
                (reading.items.checked_sub(known.items), reading.bytes.checked_sub(known.bytes))
            {
                traffic.kb_per_item.take(bytes as f64 / 1024.0, items as f64, keep);
                traffic.mbit_per_s.take(bytes as f64 * 8.0 / 1e6, seconds, keep);
            }
            if let Some(us) = reading.round_trip_us {
                let ms = us as f64 / 1e3;
                traffic.round_trip_ms.take(ms, 1.0, keep);
                let least = traffic.round_trip_least_ms.get_or_insert(ms);
                *least = least.min(ms);
            }
        }
        self.links.retain(|known, _| report.links.iter().any(|reading| key(reading) == *known));
    }
}

#[cfg(test)]
mod tests;
