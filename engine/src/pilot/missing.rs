//! Whether frames take longer than they may, for longer than a moment.

use std::collections::BTreeMap;

use crate::live::{Event, Reading, Settings, us};

/// Watches the p95 of every source.
pub(super) struct Missing {
    p95_ms_max: Option<f64>,
    /// How long it may be missed, and how old what is heard may be.
    for_us: u64,
    age_us_max: u64,
    /// By source: since when.
    since_us: BTreeMap<String, u64>,
}

impl Missing {
    pub(super) fn new(p95_ms_max: Option<f64>, settings: &Settings) -> Self {
        Self {
            p95_ms_max,
            for_us: us(settings.out_for_s),
            age_us_max: us(settings.report_age_s_max),
            since_us: BTreeMap::new(),
        }
    }

    /// What is to be told of what was heard last: of a source that goes on to miss it, again after as long.
    pub(super) fn look(&mut self, p95_ms: &BTreeMap<String, Reading>, now_us: u64) -> Vec<Event> {
        let Some(most) = self.p95_ms_max else { return Vec::new() };
        let late = |reading: &Reading| reading.value > most && reading.age_us <= self.age_us_max;
        self.since_us.retain(|source, _| p95_ms.get(source).is_some_and(late));
        let mut events = Vec::new();
        for (source, reading) in p95_ms.iter().filter(|(_, reading)| late(reading)) {
            let since_us = self.since_us.entry(source.clone()).or_insert(now_us);
            if now_us.saturating_sub(*since_us) >= self.for_us {
                *since_us = now_us;
                let (p95_ms, p95_ms_max) = (reading.value, most);
                events.push(Event::ObjectiveMissed { what: source.clone(), p95_ms, p95_ms_max });
            }
        }
        events
    }
}
