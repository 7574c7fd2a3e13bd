//! What was completed lately, and how long it had taken: for asking how it went around a moment.
//!
//! Bounded: of more than [`RECENT_MAX`] completions the oldest are forgotten.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Completions that are remembered.
const RECENT_MAX: usize = 65_536;
/// Of one lane, those that a reading is told of: of more, the latest.
const READ_MAX: usize = 1_024;

/// The latest completions.
#[derive(Default)]
pub(crate) struct Recent {
    completions: VecDeque<Completion>,
    /// How many have come since the last reading.
    unread: usize,
}

/// A frame that was completed.
struct Completion {
    lane: u32,
    at_us: u64,
    latency_us: u64,
}

/// Spans of the run clock that are asked about, in microseconds: each from its first until before its second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Windows {
    /// Latencies are told of what was completed in each of these.
    pub(crate) completed: Vec<(u64, u64)>,
    /// Frames are counted that were admitted in this one.
    pub(crate) admitted: (u64, u64),
}

/// What is told of [`Windows`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// By window, how often each latency was seen, in microseconds.
    pub(crate) latency_us: Vec<Vec<(u64, u64)>>,
    /// Frames admitted then that are completed.
    pub(crate) completed: u64,
    /// Frames admitted then that are on their way.
    pub(crate) open: u64,
}

impl Recent {
    pub(crate) fn completed(&mut self, lane: u32, at_us: u64, latency_us: u64) {
        if self.completions.len() >= RECENT_MAX {
            self.completions.pop_front();
        }
        self.completions.push_back(Completion { lane, at_us, latency_us });
        self.unread += 1;
    }

    /// By lane, how long the frames took that were completed since the last reading, the latest first.
    pub(crate) fn read(&mut self) -> BTreeMap<u32, Vec<u64>> {
        let mut by_lane: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for Completion { lane, latency_us, .. } in self.completions.iter().rev().take(self.unread) {
            let of_lane = by_lane.entry(*lane).or_default();
            if of_lane.len() < READ_MAX {
                of_lane.push(*latency_us);
            }
        }
        self.unread = 0;
        by_lane
    }

    /// How it went in these windows; of what is open the caller knows.
    pub(crate) fn seen(&self, windows: &Windows) -> Seen {
        let within = |at_us: u64, (from, to): (u64, u64)| (from..to).contains(&at_us);
        let latencies = |window: &(u64, u64)| {
            let of_window = self.completions.iter().filter(|done| within(done.at_us, *window));
            of_window.map(|done| (done.latency_us, 1)).collect()
        };
        let admitted_us = |done: &Completion| done.at_us.saturating_sub(done.latency_us);
        let completed =
            self.completions.iter().filter(|done| within(admitted_us(done), windows.admitted)).count();
        Seen {
            latency_us: windows.completed.iter().map(latencies).collect(),
            completed: completed as u64,
            open: 0,
        }
    }
}

impl Seen {
    /// Adds another node's.
    pub(crate) fn add(&mut self, other: Self) {
        self.latency_us.resize(self.latency_us.len().max(other.latency_us.len()), Vec::new());
        for (mine, theirs) in self.latency_us.iter_mut().zip(other.latency_us) {
            mine.extend(theirs);
        }
        self.completed += other.completed;
        self.open += other.open;
    }
}

#[cfg(test)]
mod tests {
    use super::{READ_MAX, RECENT_MAX, Recent, Seen, Windows};

    #[test]
    fn what_was_completed_in_a_window_is_told() {
        let mut recent = Recent::default();
        for (at_us, latency_us) in [(100, 10), (200, 150), (300, 20), (400, 30)] {
            recent.completed(0, at_us, latency_us);
        }
        let windows = Windows { completed: vec![(100, 300), (300, 301), (500, 600)], admitted: (50, 281) };
        let latency_us = vec![vec![(10, 1), (150, 1)], vec![(20, 1)], vec![]];
        assert_eq!(recent.seen(&windows), Seen { latency_us, completed: 3, open: 0 });
    }

    #[test]
    fn a_reading_tells_what_came_since_the_one_before() {
        let mut recent = Recent::default();
        recent.completed(1, 10, 7);
        recent.completed(2, 20, 8);
        recent.completed(1, 30, 9);
        assert_eq!(recent.read(), [(1, vec![9, 7]), (2, vec![8])].into());
        assert_eq!(recent.read(), [].into());
        (0..READ_MAX as u64 + 3).for_each(|latency_us| recent.completed(1, 40, latency_us));
        let expected: Vec<u64> = (3..READ_MAX as u64 + 3).rev().collect();
        assert_eq!(recent.read(), [(1, expected)].into());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = Recent::default();
        (0..RECENT_MAX as u64 + 5).for_each(|at_us| recent.completed(0, at_us, 0));
        let windows = Windows { completed: vec![], admitted: (0, u64::MAX) };
        assert_eq!(recent.seen(&windows).completed, RECENT_MAX as u64);
    }
}
