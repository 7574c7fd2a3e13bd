//! Problems whose linear program would take too long: a bound by prices, and plans from local search alone.
//!
//! That search does not see how late a plan is: where a bound of latency binds, the judge may refuse all that it finds,
//! and the answer is then that nothing is known.

use super::Search;
use crate::placement::decision::Mode;
use crate::placement::prices::Prices;
use crate::placement::sharing::Sharing;

/// Shares of a problem, at most, whose program is solved as it is: more take longer than a second.
const SHARES_MAX: usize = 6_000;

/// Steps of the search for shared nodes that count as one linear program, and how many programs' worth it goes on
/// without a better plan.
const STEPS_PER_PROGRAM: u64 = 5;
const SHARING_PATIENCE: u64 = 400;

/// Moves of the prices that count as one linear program, and how many there are at most.
const MOVES_PER_PROGRAM: u64 = 10;
const MOVES_MAX: u64 = 600;

/// Choices of a variant that are told apart for the bound, at most; each counts as a linear program.
const PARTS_MAX: u64 = 100;

/// Programs' worth of local search before the prices, and after which walks without a better plan it ends.
const FIRST_WALK: u64 = 5;
const WALK: u64 = 500;
const FAILED_MAX: u64 = 6;

impl Search<'_> {
    pub(super) fn is_large(&self) -> bool {
        let shares = self.model.stages.iter().flat_map(|stage| stage.work.iter().flatten());
        shares.filter(|work| work.is_some()).count() > SHARES_MAX
    }

    /// Bounds what any plan costs, and looks for plans.
    pub(super) fn search_large(&mut self) {
        self.outer = Some(0.0);
        self.walk(FIRST_WALK, None);
        let mut prices = Prices::new(&self.model);
        let cost = self.best.as_ref().map_or(f64::INFINITY, |best| best.cost);
        let mut moves = 0;
        while moves < MOVES_MAX && self.may_go_on() && prices.step(cost) {
            moves += 1;
            self.solved += u64::from(moves % MOVES_PER_PROGRAM == 0);
        }
        let most = PARTS_MAX.min(self.budget.programs_max.saturating_sub(self.solved));
        let (go_on, mut parts) = (self.budget.go_on, 0);
        prices.divide(cost, &mut || {
            parts += 1;
            parts < most && go_on()
        });
        self.solved += parts;
        let outer = prices.bound().max(0.0);
        self.outer = Some(outer);
        if self.model.mode != Mode::Shared {
            let worths = prices.worths();
            let mut failed = 0;
            while failed < FAILED_MAX && self.may_go_on() && !self.is_done(outer) {
                let before = self.best.as_ref().map(|best| best.cost);
                self.walk(WALK, Some(worths.clone()));
                failed = if self.best.as_ref().map(|best| best.cost) < before { 0 } else { failed + 1 };
            }
            return;
        }
        let begun = Sharing::new(&self.model, 1, prices.lead(), prices.worths());
        let Some(mut sharing) = begun else { return };
        let mut patience = SHARING_PATIENCE;
        while patience > 0 && self.may_go_on() {
            patience = if sharing.go_on(STEPS_PER_PROGRAM) { SHARING_PATIENCE } else { patience - 1 };
            self.solved += 1;
        }
        if let Some(decision) = sharing.decision(self.problem) {
            self.take(decision, Vec::new(), Vec::new());
        }
    }
}
