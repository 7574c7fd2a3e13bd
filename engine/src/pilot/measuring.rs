//! The load of nodes under a plan that was changed to: what slots have worked from some seconds after it on.

use std::collections::BTreeMap;

use crate::telemetry::Telemetry;

/// From when to when after a change its load is measured.
const SETTLED_US: u64 = 3_000_000;
const MEASURED_US: u64 = 10_000_000;

/// Measures one change at a time.
pub(super) struct Measuring {
    /// By node.
    slots: BTreeMap<String, u32>,
    change: Option<Change>,
}

struct Change {
    id: u64,
    since_us: u64,
    /// The readings it began with.
    began: BTreeMap<String, Telemetry>,
}

impl Measuring {
    pub(super) fn new(slots: BTreeMap<String, u32>) -> Self {
        Self { slots, change: None }
    }

    /// A change has taken effect.
    pub(super) fn begin(&mut self, id: u64, now_us: u64) {
        self.change = Some(Change { id, since_us: now_us, began: BTreeMap::new() });
    }

    /// Looks at what was heard; returns whether that is enough.
    pub(super) fn look(&mut self, heard: &BTreeMap<String, Telemetry>, now_us: u64) -> bool {
        let Some(change) = &mut self.change else { return false };
        let past_us = now_us.saturating_sub(change.since_us);
        if change.began.is_empty() && past_us >= SETTLED_US {
            change.began.clone_from(heard);
        }
        past_us >= MEASURED_US
    }

    /// The change that was measured, and by node its busy slots over its slots.
    pub(super) fn end(
        &mut self,
        heard: &BTreeMap<String, Telemetry>,
    ) -> Option<(u64, BTreeMap<String, f64>)> {
        let Change { id, began, .. } = self.change.take()?;
        let used = began.iter().filter_map(|(node, before)| {
            let (after, slots) = (heard.get(node)?, self.slots.get(node)?);
            let spent_us = after.at_us.checked_sub(before.at_us).filter(|us| *us > 0)?;
            let busy_us = busy_us(after).checked_sub(busy_us(before))?;
            Some((node.clone(), busy_us as f64 / spent_us as f64 / f64::from(*slots)))
        });
        Some((id, used.collect()))
    }
}

fn busy_us(telemetry: &Telemetry) -> u64 {
    telemetry.stages.iter().map(|stage| stage.busy_us).sum()
}
