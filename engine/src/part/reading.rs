//! What a node's part of a run has measured, gathered into one report.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Part;
use crate::entry::stage_of_lane;
use crate::id::StageId;
use crate::ledger::{Accounts, LaneCounts};
use crate::meter::{EdgeKey, LinkMeter, StageKey, StageMeter};
use crate::telemetry::{LinkReading, ROWS_MAX, Readings, SourceReading, StageReading, Telemetry};

impl Part {
    /// What has been measured up to now.
    pub(crate) fn readings(&mut self) -> Readings {
        let mut lanes = self.shared.ledger.read_lanes();
        let telemetry = Telemetry {
            node: self.shared.node.clone(),
            at_us: self.shared.clock.now_us(),
            stages: self.read_stages(&mut lanes),
            links: self.read_links(),
            sources: self.read_sources(&lanes),
        };
        Readings { telemetry, ledger: cut_off(self.shared.ledger.accounts()) }
    }

    fn read_stages(&self, lanes: &mut [LaneCounts]) -> Vec<StageReading> {
        let mut recent_us: BTreeMap<StageId, Vec<u64>> = BTreeMap::new();
        for lane in lanes {
            recent_us.entry(stage_of_lane(lane.number)).or_default().append(&mut lane.recent_us);
        }
        let running = self.running();
        let read = |(key, meter): (StageKey, Rc<StageMeter>)| {
            let counts = meter.read();
            let slots = if running.contains(&key) { counts.slots } else { 0 };
            let (id, variant) = key;
            StageReading {
                stage: self.graph.stage(id).name.clone(),
                variant,
                items_in: counts.items_in,
                items_out: counts.items_out,
                busy_us: counts.busy_us,
                calls: counts.calls,
                waiting: counts.waiting,
                slots,
                latency_ms: recent_us.remove(&id).and_then(quantiles_ms),
            }
        };
        self.local.meters.stages().into_iter().take(ROWS_MAX).map(read).collect()
    }

    /// The stages of the generations that are not drained.
    fn running(&self) -> BTreeSet<StageKey> {
        let mut running = BTreeSet::new();
        for live in self.generations.values().filter(|live| !live.drained) {
            let plan = live.generation.plan();
            for id in self.graph.ids() {
                let stage = self.graph.stage(id);
                let assignment = plan.assignment(&stage.name);
                if assignment.is_on(&self.shared.node) {
                    let variant = stage.family.as_ref().and_then(|_| assignment.variant.clone());
                    running.insert((id, variant));
                }
            }
        }
        running
    }

    fn read_links(&self) -> Vec<LinkReading> {
        self.generations.values().flat_map(|live| &live.taps).for_each(|tap| tap.read());
        let read = |((from, first, to), meter): (EdgeKey, Rc<LinkMeter>)| {
            let name = |id: StageId| self.graph.stage(id).name.clone();
            LinkReading {
                to,
                from_stage: name(from),
                to_stage: name(first),
                items: meter.items.get(),
                bytes: meter.bytes.get(),
                resent: meter.resent.get(),
                round_trip_us: meter.round_trip_us.get(),
            }
        };
        self.local.meters.links().into_iter().take(ROWS_MAX).map(read).collect()
    }

    fn read_sources(&mut self, lanes: &[LaneCounts]) -> Vec<SourceReading> {
        let behind: BTreeMap<u32, u64> = self.gates().iter().flat_map(|gate| gate.behind()).collect();
        let mut read = Vec::new();
        for lane in lanes.iter().take(ROWS_MAX) {
            let now = lane.admitted + behind.get(&lane.number).copied().unwrap_or(0);
            // What was offered stays so, whatever the two counts did between their readings.
            let offered = self.offered.entry(lane.number).or_default();
            *offered = now.max(*offered);
            let source = self.graph.stage(stage_of_lane(lane.number)).name.clone();
            let name = lane.name.strip_prefix(&format!("{source}/")).unwrap_or(&lane.name).to_owned();
            let (admitted, dropped, offered) = (lane.admitted, lane.dropped, *offered);
            read.push(SourceReading { source, lane: name, admitted, dropped, offered });
        }
        read
    }
}

/// p50, p95 and p99, by nearest rank.
fn quantiles_ms(mut sample_us: Vec<u64>) -> Option<[f64; 3]> {
    sample_us.sort_unstable();
    let last = sample_us.len().checked_sub(1)?;
    Some(
        [50, 95, 99]
            .map(|q| sample_us[(sample_us.len() * q).div_ceil(100).saturating_sub(1).min(last)] as f64 / 1e3),
    )
}

/// The accounts of no more lanes than are told of.
fn cut_off(mut accounts: Accounts) -> Accounts {
    while accounts.sources.len() > ROWS_MAX {
        accounts.sources.pop_last();
    }
    accounts
}

#[cfg(test)]
mod tests {
    use super::quantiles_ms;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        assert_eq!(quantiles_ms(Vec::new()), None);
        assert_eq!(quantiles_ms(vec![7_000]), Some([7.0; 3]));
        let hundred = (1..=100).rev().map(|ms| ms * 1_000).collect();
        assert_eq!(quantiles_ms(hundred), Some([50.0, 95.0, 99.0]));
    }
}
