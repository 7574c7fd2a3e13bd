//! What a plan was made for, and how far what is measured now is from it, for how long.

use std::collections::BTreeMap;

use super::record::{Cause, Trigger};
use super::routes::Routes;
use super::settings::{Settings, us};
use crate::placement::Problem;

/// Round trips that differ by no more milliseconds are as good as equal.
const ROUND_TRIP_MS: f64 = 5.0;

/// A link that is not bounded carries so many megabits per second.
const UNBOUNDED_MBIT: f64 = 1e9;

/// A number that a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) cause: Cause,
    pub(super) what: String,
}

/// The numbers of a problem that a plan depends on.
pub(super) fn marks(problem: &Problem, routes: &Routes, settings: &Settings) -> BTreeMap<Mark, f64> {
    let mut marks = BTreeMap::new();
    let mut put = |cause, what: String, value: f64| _ = marks.insert(Mark { cause, what }, value);
    for source in &problem.rates.sources {
        put(Cause::Rate, source.name.clone(), source.rate_per_s.max(settings.rate_floor_per_s));
    }
    for edge in &problem.profile.edges {
        put(Cause::Selectivity, format!("{} -> {}", edge.from, edge.to), edge.items_per_item);
        let kb = edge.kb_per_item.iter().sum::<f64>() / edge.kb_per_item.len().max(1) as f64;
        put(Cause::Selectivity, format!("KB of {} -> {}", edge.from, edge.to), kb);
    }
    for service in &problem.profile.services {
        let Some(shares) = routes.shares.get(&service.stage) else { continue };
        if routes.variants.get(&service.stage) != Some(&service.variant) {
            continue;
        }
        let nodes = problem.machines.nodes.iter().filter(|node| node.class() == service.class);
        for node in nodes.filter(|node| shares.contains_key(&node.name)) {
            put(Cause::Service, format!("{} on {}", service.stage, node.name), service.ms_per_item);
        }
    }
    for link in &problem.machines.links {
        let what = format!("{} -> {}", link.from, link.to);
        put(Cause::Bandwidth, what.clone(), link.mbit_per_s.unwrap_or(UNBOUNDED_MBIT));
        if problem.objectives.p95_ms_max.is_some() {
            put(Cause::RoundTrip, what, link.round_trip_ms);
        }
    }
    marks
}

/// Since when numbers are out of their bands.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    out_since_us: BTreeMap<Mark, u64>,
    /// When numbers were looked at last.
    looked_us: Option<u64>,
    overloaded_since_us: BTreeMap<String, u64>,
}

impl Watch {
    pub(super) fn clear(&mut self) {
        self.out_since_us.clear();
        self.overloaded_since_us.clear();
    }

    /// Compares what is known now with what the plan was made for.
    pub(super) fn look(
        &mut self,
        (basis, now): (&BTreeMap<Mark, f64>, &BTreeMap<Mark, f64>),
        settings: &Settings,
        now_us: u64,
    ) {
        // Whatever is out now left its band since the last look.
        let before_us = self.looked_us.replace(now_us).unwrap_or(now_us).min(now_us);
        for (mark, value) in now {
            let Some(basis) = basis.get(mark) else { continue };
            let band = band(settings, mark.cause);
            if is_within(mark.cause, *basis, *value, band * settings.inner) {
                self.out_since_us.remove(mark);
            } else if !is_within(mark.cause, *basis, *value, band) {
                self.out_since_us.entry(mark.clone()).or_insert(before_us);
            }
        }
        self.out_since_us.retain(|mark, _| now.contains_key(mark));
    }

    /// What is out of its band for long enough, the first that was: what is twice as far out as its band is wide needs half
    /// as long, since noise does not get there. (As a cumulative sum decides: Page, "Continuous inspection schemes", 1954.)
    pub(super) fn out(
        &self,
        (basis, now): (&BTreeMap<Mark, f64>, &BTreeMap<Mark, f64>),
        settings: &Settings,
        now_us: u64,
    ) -> Option<Trigger> {
        let long = |(mark, since_us): &(&Mark, &u64)| {
            let (Some(basis), Some(value)) = (basis.get(mark), now.get(mark)) else { return false };
            let part = (band(settings, mark.cause) / strays(*basis, *value)).min(1.0);
            now_us.saturating_sub(**since_us) >= us(settings.out_for_s * part)
        };
        let out = self.out_since_us.iter().filter(long);
        let (mark, since_us) = out.min_by_key(|(_, since_us)| **since_us)?;
        let (basis, value) = (basis.get(mark)?, now.get(mark)?);
        let band = band(settings, mark.cause);
        Some(Trigger {
            cause: mark.cause,
            what: mark.what.clone(),
            value: *value,
            low: basis / (1.0 + band),
            high: basis * (1.0 + band),
            since_us: *since_us,
        })
    }

    /// Nodes and links by which part of them is used, and which may be; says which is overloaded, and may not wait.
    pub(super) fn overloaded(
        &mut self,
        used: &BTreeMap<String, (f64, f64)>,
        settings: &Settings,
        now_us: u64,
    ) -> Option<Trigger> {
        let most = |ceiling: f64| ceiling * (1.0 + settings.overload);
        let is_above = |what: &String| used.get(what).is_some_and(|(part, ceiling)| part > ceiling);
        self.overloaded_since_us.retain(|what, _| is_above(what));
        for (what, _) in used.iter().filter(|(_, (part, ceiling))| *part > most(*ceiling)) {
            self.overloaded_since_us.entry(what.clone()).or_insert(now_us);
        }
        let due = |(what, since_us): &(&String, &u64)| {
            let waited = now_us.saturating_sub(**since_us) >= us(settings.overload_for_s);
            waited || used.get(*what).is_some_and(|(part, ceiling)| *part >= 1.0 && *part > most(*ceiling))
        };
        let (what, since_us) = self.overloaded_since_us.iter().find(due)?;
        let (value, ceiling) = used[what];
        let (cause, what, high) = (Cause::Overload, what.clone(), most(ceiling));
        Some(Trigger { cause, what, value, low: 0.0, high, since_us: *since_us })
    }
}

fn band(settings: &Settings, cause: Cause) -> f64 {
    let bands = &settings.bands;
    match cause {
        Cause::Service => bands.service,
        Cause::Selectivity => bands.selectivity,
        Cause::Bandwidth => bands.bandwidth,
        Cause::RoundTrip => bands.round_trip,
        _ => bands.rate,
    }
}

/// How far a number is from another, as a part of the smaller one.
fn strays(basis: f64, value: f64) -> f64 {
    let (low, high) = (basis.min(value), basis.max(value));
    if low > 0.0 { high / low - 1.0 } else { f64::INFINITY }
}

/// Whether a number is near another: up to a part above it, or down by the same factor.
fn is_within(cause: Cause, basis: f64, value: f64, part: f64) -> bool {
    let is_small = cause == Cause::RoundTrip && (basis - value).abs() <= ROUND_TRIP_MS;
    is_small || value <= basis * (1.0 + part) && value * (1.0 + part) >= basis
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a rate that was 100, and is looked at every second, is out for long enough.
    fn out_after(rate: f64) -> Option<u64> {
        let (mut watch, settings) = (Watch::default(), Settings::default());
        let of = |rate| BTreeMap::from([(Mark { cause: Cause::Rate, what: "cameras".to_owned() }, rate)]);
        let basis = of(100.0);
        watch.look((&basis, &basis), &settings, 1_000_000);
        (1..60).find(|second| {
            let (now, now_us) = (of(rate), (second + 1) * 1_000_000);
            watch.look((&basis, &now), &settings, now_us);
            watch.out((&basis, &now), &settings, now_us).is_some()
        })
    }

    #[test]
    fn the_further_out_the_sooner_it_counts() {
        assert_eq!(out_after(100.0), None);
        assert_eq!(out_after(119.0), None);
        assert_eq!(out_after(121.0), Some(10));
        assert_eq!(out_after(140.0), Some(5));
        assert_eq!(out_after(400.0), Some(1));
        assert_eq!(out_after(25.0), Some(1));
        assert_eq!(out_after(0.0), Some(1));
    }
}
