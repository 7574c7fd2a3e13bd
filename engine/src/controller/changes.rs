//! What became of every change of plan: when each phase ended, how latency went around it, and whether anything was
//! lost, doubled or out of order.

use super::Controller;
use super::books::Reader;
use crate::change::{Around, ChangeIds, ChangeReport, Phases};
use crate::cutover::Cut;
use crate::error::Result;
use crate::ledger::{Books, Ids, Latency};
use crate::recent::Windows;

/// Reports that are kept; of more, the oldest are forgotten.
const CHANGES_MAX: usize = 1_024;
/// Changes that are measured at once.
const OPEN_MAX: usize = 16;
const SECOND_US: u64 = 1_000_000;
/// How long after its end frames of a change may still be on their way, before they are looked for a last time.
const SETTLED_US: u64 = 10 * SECOND_US;

/// Changes that are under way, that are measured, and that are over.
#[derive(Default)]
pub(super) struct Changes {
    open: Vec<Open>,
    reports: Vec<ChangeReport>,
    so_far: Ids,
}

/// A change that is under way, or not measured yet; times by the run clock.
struct Open {
    wish: u64,
    asked_us: u64,
    prepared_us: Option<u64>,
    decided_us: Option<u64>,
    is_retune: bool,
    ended: Option<(u64, Result<Cut>)>,
    /// When the books are to be asked for it; nothing while they are.
    measure_us: Option<u64>,
}

impl Open {
    fn windows(&self) -> Windows {
        let ended_us = self.ended.as_ref().map_or(self.asked_us, |(at_us, _)| *at_us);
        let decided_us = self.decided_us.unwrap_or(ended_us);
        let before = (self.asked_us.saturating_sub(SECOND_US), self.asked_us);
        let around = (decided_us.saturating_sub(SECOND_US / 2), ended_us.max(decided_us + SECOND_US / 2));
        let after = (ended_us, ended_us + SECOND_US);
        Windows { completed: vec![before, around, after], admitted: (before.0, after.1) }
    }

    fn report(&self, books: &Books, so_far: Ids, began_us: u64) -> ChangeReport {
        let ms = |from: Option<u64>, to: Option<u64>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_sub(from) as f64 / 1e3,
            _ => 0.0,
        };
        let (ended_us, outcome) = match &self.ended {
            Some((at_us, outcome)) => (Some(*at_us), outcome.as_ref().map_err(ToString::to_string)),
            None => (None, Err("the run ended before".to_owned())),
        };
        let latency =
            |i: usize| books.seen.latency_us.get(i).map_or_else(Latency::default, |l| Latency::of(l));
        let (seen, ids) = (&books.seen, books.ids());
        ChangeReport {
            at_seconds: self.asked_us.saturating_sub(began_us) as f64 / 1e6,
            generation: outcome.as_ref().ok().map(|cut| cut.generation),
            cut: outcome.as_ref().ok().map(|cut| cut.epoch),
            is_retune: self.is_retune,
            error: outcome.err(),
            phases_ms: Phases {
                prepare: ms(Some(self.asked_us), self.prepared_us),
                propose: ms(self.prepared_us, self.decided_us),
                drain: ms(self.decided_us, ended_us),
            },
            latency_ms: Around { before: latency(0), around: latency(1), after: latency(2) },
            ids: ChangeIds {
                into: seen.completed + seen.open,
                out: seen.completed,
                lost: seen.open,
                doubled: ids.doubled.saturating_sub(so_far.doubled),
                reordered: ids.reordered.saturating_sub(so_far.reordered),
            },
        }
    }
}

impl Changes {
    pub(super) fn asked(&mut self, wish: u64, now_us: u64) {
        if self.open.len() < OPEN_MAX {
            self.open.push(Open {
                wish,
                asked_us: now_us,
                prepared_us: None,
                decided_us: None,
                is_retune: false,
                ended: None,
                measure_us: None,
            });
        }
    }

    /// The change under way: the oldest that has not ended.
    fn current(&mut self) -> Option<&mut Open> {
        self.open.iter_mut().find(|change| change.ended.is_none())
    }

    pub(super) fn proposed(&mut self, now_us: u64) {
        if let Some(change) = self.current() {
            change.prepared_us.get_or_insert(now_us);
        }
    }

    pub(super) fn decided(&mut self, is_retune: bool, now_us: u64) {
        if let Some(change) = self.current() {
            change.is_retune = is_retune;
            change.decided_us.get_or_insert(now_us);
        }
    }

    pub(super) fn ended(&mut self, wish: u64, outcome: &Result<Cut>, now_us: u64) {
        if let Some(change) =
            self.open.iter_mut().find(|change| change.wish == wish && change.ended.is_none())
        {
            change.ended = Some((now_us, outcome.as_ref().copied().map_err(|error| error.again())));
            change.measure_us = Some(now_us + SECOND_US);
        }
    }

    /// When the next one is to be measured.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.open.iter().filter_map(|change| change.measure_us).min()
    }

    /// The reports so far, oldest first.
    pub(super) fn reports(&self) -> &[ChangeReport] {
        &self.reports
    }

    fn take_due(&mut self, now_us: u64) -> Vec<(u64, Windows)> {
        let due = self.open.iter_mut().filter(|c| c.measure_us.is_some_and(|at_us| at_us <= now_us));
        due.map(|change| {
            change.measure_us = None;
            (change.wish, change.windows())
        })
        .collect()
    }

    /// What the books say of a change; `is_last` if there will be no other chance to ask.
    fn measured(&mut self, wish: u64, books: &Books, began_us: u64, is_last: bool, now_us: u64) {
        let Some(i) = self.open.iter().position(|change| change.wish == wish) else { return };
        let ended_us = self.open[i].ended.as_ref().map_or(now_us, |(at_us, _)| *at_us);
        if books.seen.open > 0 && now_us < ended_us + SETTLED_US && !is_last {
            self.open[i].measure_us = Some(now_us + SECOND_US);
            return;
        }
        let change = self.open.remove(i);
        if self.reports.len() >= CHANGES_MAX {
            self.reports.remove(0);
        }
        self.reports.push(change.report(books, self.so_far, began_us));
        // Records on their way count as lost in there; what was doubled or out of order stays so.
        self.so_far = books.ids();
    }

    fn unmeasured(&self) -> Vec<(u64, Windows)> {
        self.open.iter().map(|change| (change.wish, change.windows())).collect()
    }
}

impl Controller {
    /// Asks for the books of the changes that are due to be measured.
    pub(super) fn measure_changes(&mut self) {
        if self.is_ending() {
            return;
        }
        for (wish, windows) in self.changes.take_due(self.now_us()) {
            self.collect(Reader::Change { wish, is_last: false }, Some(windows));
        }
    }

    /// The run is over: whatever was not measured is now.
    pub(super) fn measure_the_rest(&mut self) {
        for (wish, windows) in self.changes.unmeasured() {
            self.collect(Reader::Change { wish, is_last: true }, Some(windows));
        }
    }

    pub(super) fn change_measured(&mut self, wish: u64, books: &Books, is_last: bool) {
        let (now_us, began_us) = (self.now_us(), self.began_us.unwrap_or(0));
        self.changes.measured(wish, books, began_us, is_last, now_us);
    }
}
