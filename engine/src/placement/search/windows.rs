//! Better plans among those that differ from the best in little.

use std::collections::BinaryHeap;
use std::rc::Rc;

use super::{Part, Search};
use crate::placement::branching::undecided;
use crate::placement::decision::Mode;
use crate::placement::model::End;
use crate::placement::program::{Held, Program, Relaxed};
use crate::random::mix;

/// Linear programs for a window, at most.
const WINDOW_PROGRAMS_MAX: u64 = 40;

/// After how many of them another plan is sought by rounding.
const WINDOW_ROUND_EVERY: u64 = 20;

impl Search<'_> {
    /// Looks for a better plan among those that differ from the best in little: every window in turn, until none of
    /// them helps or a share of the budget is spent.
    pub(super) fn improve(&mut self) {
        let count = self.model.stages.len();
        let pairs = (0..count).flat_map(|u| (u..count).map(move |v| [u, v]));
        let mut pairs: Vec<[usize; 2]> = pairs.collect();
        // Neighbours first: what one saves on nodes, the other may pay for in traffic.
        let fed = |[u, v]: &[usize; 2]| {
            self.model.edges.iter().any(|edge| edge.from == End::Stage(*u) && edge.to == *v)
        };
        pairs.sort_by_key(|pair| (pair[0] != pair[1], !fed(pair)));
        let most = self.solved * 4;
        let mut failed = 0;
        while failed < 2 * pairs.len() && self.solved < most && self.may_go_on() {
            let before = self.best.as_ref().map(|best| best.cost);
            let turn = self.window;
            let window = if turn.is_multiple_of(2) {
                Window::Stages(pairs[turn / 2 % pairs.len()])
            } else {
                Window::Classes(turn)
            };
            self.search_window(window);
            failed = if self.best.as_ref().map(|best| best.cost) < before { 0 } else { failed + 1 };
            self.window += 1;
        }
        self.settled = failed >= 2 * pairs.len();
    }

    /// Searches a little where only what is in a window may differ from the best plan.
    fn search_window(&mut self, window: Window) {
        let Some(best) = &self.best else { return };
        let is_shared = self.model.mode == Mode::Shared;
        let is_free = |stage: usize| matches!(window, Window::Stages(pair) if pair.contains(&stage));
        let given = best.choice.iter().enumerate().map(|(v, k)| k.filter(|_| !is_free(v))).collect();
        let line = |(stage, counts): (usize, &Vec<f64>)| {
            let hold = |(class, count): (usize, &f64)| {
                let free = match window {
                    Window::Stages(_) => is_shared || is_free(stage),
                    Window::Classes(turn) => is_drawn(turn, class),
                };
                (!free).then_some(*count)
            };
            counts.iter().enumerate().map(hold).collect()
        };
        let held: Held = best.counts.iter().enumerate().map(line).collect();
        let program = Rc::new(Program::new(&self.model, &given, Some(&held)));
        let mut open = BinaryHeap::new();
        let mut left = WINDOW_PROGRAMS_MAX;
        let mut cuts = vec![program.solve()];
        loop {
            for relaxed in cuts.drain(..) {
                self.solved += 1;
                left = left.saturating_sub(1);
                if let Relaxed::Solved(solution) = relaxed {
                    let bound = solution.objective();
                    let (program, number) = (Rc::clone(&program), self.solved);
                    open.push(Part { bound, number, program, given: given.clone(), solution });
                }
            }
            let Some(part) = open.pop() else { return };
            if self.is_done(part.bound) || left == 0 || !self.may_go_on() {
                return;
            }
            if left % WINDOW_ROUND_EVERY == WINDOW_ROUND_EVERY - 1 {
                self.round(&program, true, part.solution.clone());
            }
            match undecided(&self.model, &program, &part.solution) {
                Some(next) => cuts.extend(next.cuts().map(|cut| cut.apply(part.solution.clone()))),
                None => _ = self.keep(&program, &part.solution),
            }
        }
    }
}

/// What may differ from the best plan.
#[derive(Clone, Copy)]
enum Window {
    /// The variants and nodes of two stages; where nodes are shared, those of all stages.
    Stages([usize; 2]),
    /// How many nodes of some classes there are for whom.
    Classes(usize),
}

/// Whether a class is among those of a turn: about three of eight, and others each time.
fn is_drawn(turn: usize, class: usize) -> bool {
    mix(((turn as u64) << 32) ^ class as u64) % 8 < 3
}
