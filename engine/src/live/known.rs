//! What is known now: the problem as it was given, with what was measured in the place of what was assumed.

use std::collections::{BTreeMap, BTreeSet};

use super::observe::{Observed, RATE_MAX, Reading};
use super::settings::{Settings, us};
use crate::placement::Problem;
use crate::placement::problem::Service;

/// Profiles are off by no more than this factor, whatever was measured.
const FACTOR_MAX: f64 = 50.0;

/// What is called `NAME` in a run feeds the source stage `NAME` in a problem under this name.
fn feed(source: &str) -> String {
    format!("{source} feed")
}

/// A measured number, and when.
type At = (f64, u64);

/// The problem as it was given, and what was measured since.
#[derive(Clone, Debug)]
pub(super) struct Known {
    base: Problem,
    rates: BTreeMap<String, f64>,
    /// By source: what it was said to send, and until when that is believed.
    declared: BTreeMap<String, At>,
    /// By stage, variant and node: milliseconds.
    services: BTreeMap<(String, String, String), At>,
    /// By stage.
    selectivity: BTreeMap<String, At>,
    /// By edge.
    kb: BTreeMap<(String, String), At>,
    /// By sites: milliseconds.
    round_trips: BTreeMap<(String, String), At>,
    /// By sites: megabits per second.
    capacities: BTreeMap<(String, String), At>,
    /// Nodes that are not there.
    pub(super) away: BTreeSet<String>,
}

impl Known {
    pub(super) fn new(base: Problem) -> Self {
        Self {
            base,
            rates: BTreeMap::new(),
            declared: BTreeMap::new(),
            services: BTreeMap::new(),
            selectivity: BTreeMap::new(),
            kb: BTreeMap::new(),
            round_trips: BTreeMap::new(),
            capacities: BTreeMap::new(),
            away: BTreeSet::new(),
        }
    }

    /// Whether there is such a node, here or away.
    pub(super) fn has_node(&self, node: &str) -> bool {
        self.base.machines.nodes.iter().any(|known| known.name == node)
    }

    /// Takes what was measured; what is no number, or too old, is left out.
    pub(super) fn take(&mut self, observed: &Observed, settings: &Settings, now_us: u64) {
        let oldest_us = us(settings.report_age_s_max);
        let fresh = |reading: &Reading| {
            let is_number = |value: f64| value.is_finite() && value >= 0.0;
            reading.age_us <= oldest_us && is_number(reading.value) && is_number(reading.latest)
        };
        let at = |value: f64| (value.min(RATE_MAX), now_us);
        for (source, reading) in observed.sources.iter().filter(|(_, reading)| fresh(reading)) {
            // The mean lags behind a step.
            let stepped = reading.latest > reading.value * (1.0 + 2.0 * settings.bands.rate);
            let rate = if stepped { reading.latest } else { reading.value };
            self.rates.insert(source.clone(), rate.min(RATE_MAX));
        }
        let services = observed.services.iter().filter(|(_, r)| fresh(r) && r.value > 0.0);
        self.services.extend(services.map(|(key, reading)| (key.clone(), at(reading.value))));
        let ratios = observed.selectivity.iter().filter(|(_, r)| fresh(r));
        self.selectivity.extend(ratios.map(|(key, reading)| (key.clone(), at(reading.value))));
        let sizes = observed.kb_per_item.iter().filter(|(_, r)| fresh(r) && r.value > 0.0);
        self.kb.extend(sizes.map(|(key, reading)| (key.clone(), at(reading.value))));
        for (sites, link) in &observed.links {
            if let Some(reading) = link.round_trip_ms.filter(fresh) {
                self.round_trips.insert(sites.clone(), at(reading.value));
            }
            if let Some(reading) = link.capacity_mbit_per_s.filter(fresh) {
                self.capacities.insert(sites.clone(), at(reading.value));
            }
        }
        self.forget(us(settings.believe_s), now_us);
    }

    fn forget(&mut self, believe_us: u64, now_us: u64) {
        let lives = |at: &At| now_us.saturating_sub(at.1) <= believe_us;
        self.services.retain(|_, at| lives(at));
        self.selectivity.retain(|_, at| lives(at));
        self.kb.retain(|_, at| lives(at));
        self.round_trips.retain(|_, at| lives(at));
        self.capacities.retain(|_, at| lives(at));
    }

    /// Takes somebody's word for a source until it is measured.
    pub(super) fn declare(&mut self, source: &str, rate_per_s: f64, until_us: u64) {
        if (0.0..=RATE_MAX).contains(&rate_per_s) {
            self.declared.insert(source.to_owned(), (rate_per_s, until_us));
        }
    }

    /// The problem as it is now.
    pub(super) fn problem(&self, settings: &Settings, now_us: u64) -> Problem {
        let mut problem = self.base.clone();
        for source in &mut problem.rates.sources {
            let of = |rates: &BTreeMap<String, f64>| {
                rates
                    .iter()
                    .find(|(name, _)| **name == source.name || feed(name) == source.name)
                    .map(|(_, r)| *r)
            };
            let declared = self.declared.iter().filter(|(_, (_, until_us))| now_us < *until_us);
            let declared = declared.map(|(name, (rate, _))| (name.clone(), *rate)).collect();
            source.rate_per_s = of(&declared).or_else(|| of(&self.rates)).unwrap_or(source.rate_per_s);
        }
        for edge in &mut problem.profile.edges {
            if let Some((ratio, _)) = self.selectivity.get(&edge.from) {
                edge.items_per_item = *ratio;
            }
            if let Some((kb, _)) = self.kb.get(&(edge.from.clone(), edge.to.clone())) {
                // What one variant sends is known; where there are several, the others are taken to be off as much.
                let mean = edge.kb_per_item.iter().sum::<f64>() / edge.kb_per_item.len().max(1) as f64;
                match edge.kb_per_item.len() {
                    1 => edge.kb_per_item = vec![*kb],
                    _ if mean > 0.0 => edge.kb_per_item.iter_mut().for_each(|size| *size *= kb / mean),
                    _ => {}
                }
            }
        }
        for link in &mut problem.machines.links {
            let sites = (link.from.clone(), link.to.clone());
            if let Some((ms, _)) = self.round_trips.get(&sites) {
                link.round_trip_ms = *ms;
            }
            if let Some((mbit, _)) = self.capacities.get(&sites) {
                link.mbit_per_s = Some(*mbit);
            }
        }
        self.slow_down(&mut problem, settings);
        without(&mut problem, &self.away);
        problem
    }

    /// Gives nodes whose service times are not those of their class a class of their own. What slows a variant down
    /// on a node is taken to slow the stage's others there as well.
    fn slow_down(&self, problem: &mut Problem, settings: &Settings) {
        let services: BTreeMap<_, f64> = problem
            .profile
            .services
            .iter()
            .map(|s| ((s.stage.clone(), s.variant.clone(), s.class.clone()), s.ms_per_item))
            .collect();
        let tolerated = settings.bands.service * settings.inner;
        let mut own = Vec::new();
        for node in &mut problem.machines.nodes {
            let mut factors: BTreeMap<&String, f64> = BTreeMap::new();
            for ((stage, variant, _), (ms, _)) in self.services.iter().filter(|(key, _)| key.2 == node.name) {
                let key = (stage.clone(), variant.clone(), node.class().to_owned());
                let Some(assumed) = services.get(&key).filter(|ms| **ms > 0.0) else { continue };
                let factor = (ms / assumed).clamp(1.0 / FACTOR_MAX, FACTOR_MAX);
                if (factor - 1.0).abs() > tolerated {
                    factors.insert(stage, factor);
                }
            }
            if factors.is_empty() {
                continue;
            }
            let class = format!("{} as measured", node.name);
            for service in problem.profile.services.iter().filter(|s| s.class == node.class()) {
                let factor = factors.get(&service.stage).copied().unwrap_or(1.0);
                own.push(Service {
                    class: class.clone(),
                    ms_per_item: service.ms_per_item * factor,
                    p95_ms: service.p95_ms.map(|ms| ms * factor),
                    ..service.clone()
                });
            }
            node.class = Some(class);
        }
        problem.profile.services.extend(own);
    }
}

/// Takes nodes out of a problem, and everything that is about them alone.
pub(super) fn without(problem: &mut Problem, away: &BTreeSet<String>) {
    problem.machines.nodes.retain(|node| !away.contains(&node.name));
    for stage in &mut problem.profile.stages {
        if let Some(nodes) = &mut stage.nodes {
            nodes.retain(|node| !away.contains(node));
        }
    }
    let classes: BTreeSet<&str> = problem.machines.nodes.iter().map(|node| node.class()).collect();
    problem.profile.services.retain(|service| classes.contains(&*service.class));
}
