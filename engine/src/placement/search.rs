//! Branch and bound: first over variants, then over tiers and counts of nodes, the most promising part first.
//!
//! The bound holds at every moment: it is the least of what is open, of what was given up and of the best plan. A
//! run is determined by its input; only whoever says when to stop may read a clock.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use microlp::{Solution, Variable};

use super::decision::{Answer, Decision, Mode, Status};
use super::evaluate::evaluate;
use super::model::{End, Model};
use super::problem::Problem;
use super::program::{Count, Cut, Given, Held, Program, Relaxed};
use super::reading;
use super::swaps::swaps;
use super::{Budget, GAP_PROVED};
use crate::random::mix;

/// Columns of all open parts together, at most: a few hundred bytes each. What is beyond is given up, and its bound
/// kept.
const OPEN_COLUMNS_MAX: usize = 2_000_000;

/// How far from a whole number is whole.
const WHOLE: f64 = 1e-6;

/// After how many parts another plan is sought by rounding.
const ROUND_EVERY: u64 = 24;

/// After how many linear programs the best plan is improved by itself; what takes fewer is proved sooner.
const IMPROVE_AFTER: u64 = 150;

/// Exchanges of nodes that are tried on one plan, at most.
const SWAPS_MAX: usize = 100;

/// Linear programs for a window, at most.
const WINDOW_PROGRAMS_MAX: u64 = 40;

/// After how many of them another plan is sought by rounding.
const WINDOW_ROUND_EVERY: u64 = 20;

/// A part of the search: a narrowed program and its optimum.
struct Part {
    bound: f64,
    number: u64,
    program: Rc<Program>,
    given: bool,
    solution: Solution,
}

impl Ord for Part {
    /// The greatest is the one with the lowest bound, and of equals the newest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.bound.total_cmp(&self.bound).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Part {}

pub(super) struct Search<'a> {
    problem: &'a Problem,
    model: &'a Model,
    budget: &'a Budget<'a>,
    best: Option<Best>,
    /// Nothing that was given up is cheaper.
    floor: f64,
    open: BinaryHeap<Part>,
    columns: usize,
    solved: u64,
    rounds: u64,
    /// The next window to improve, whether none helps any more, and when it was tried last.
    window: usize,
    settled: bool,
    improved: u64,
    /// The cost down to which nodes were exchanged.
    polished: f64,
}

/// The best plan so far.
struct Best {
    cost: f64,
    decision: Decision,
    choice: Given,
    /// By stage and class: how many nodes, where a stage has nodes of its own.
    counts: Vec<Vec<f64>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(problem: &'a Problem, model: &'a Model, budget: &'a Budget<'a>) -> Self {
        let (open, floor) = (BinaryHeap::new(), f64::INFINITY);
        Self {
            problem,
            model,
            budget,
            best: None,
            floor,
            open,
            columns: 0,
            solved: 0,
            rounds: 0,
            window: 0,
            settled: false,
            improved: 0,
            polished: f64::INFINITY,
        }
    }

    /// Searches until the best plan is proved or the budget is spent.
    pub(super) fn run(mut self) -> Answer {
        let given: Given = vec![None; self.model.stages.len()];
        let program = Rc::new(Program::new(self.model, &given, None));
        let root = program.solve();
        self.open_part(&program, false, root, 0.0);
        while let Some(part) = self.open.pop() {
            self.columns -= part.program.columns();
            if self.is_done(part.bound) {
                self.floor = self.floor.min(part.bound);
                // The others are no better.
                break;
            }
            if !self.may_go_on() {
                self.floor = self.floor.min(part.bound);
                break;
            }
            self.branch(part);
            if self.solved >= IMPROVE_AFTER.max(self.improved * 2) && !self.settled {
                self.improve();
                self.improved = self.solved;
            }
        }
        self.answer()
    }

    fn answer(self) -> Answer {
        let proved = self.floor;
        let (status, bound) = match &self.best {
            None if proved == f64::INFINITY => (Status::Infeasible, None),
            None => (Status::Unknown, Some(proved)),
            Some(best) if proved >= best.cost * (1.0 - GAP_PROVED) => {
                (Status::Optimal, Some(proved.min(best.cost)))
            }
            Some(_) => (Status::Feasible, Some(proved)),
        };
        let cost_usd_per_h = self.best.as_ref().map(|best| best.cost);
        let decision = self.best.map(|best| best.decision);
        Answer { status, decision, cost_usd_per_h, bound_usd_per_h: bound, programs: self.solved }
    }

    fn may_go_on(&self) -> bool {
        self.solved < self.budget.programs_max && (self.budget.go_on)()
    }

    fn is_done(&self, bound: f64) -> bool {
        self.best.as_ref().is_some_and(|best| bound >= best.cost * (1.0 - GAP_PROVED))
    }

    /// Keeps a part for later, if it may hold something better.
    fn open_part(&mut self, program: &Rc<Program>, given: bool, relaxed: Relaxed, parent: f64) {
        self.solved += 1;
        match relaxed {
            Relaxed::Infeasible => {}
            Relaxed::Unknown => self.floor = self.floor.min(parent),
            Relaxed::Solved(solution) => {
                let bound = solution.objective().max(parent);
                let columns = program.columns();
                if self.is_done(bound) || self.columns + columns > OPEN_COLUMNS_MAX {
                    self.floor = self.floor.min(bound);
                    return;
                }
                self.columns += columns;
                let (program, number) = (Rc::clone(program), self.solved);
                self.open.push(Part { bound, number, program, given, solution });
            }
        }
    }

    fn branch(&mut self, part: Part) {
        let Part { bound, program, given, solution, number } = part;
        if number % ROUND_EVERY == 1 {
            // At the root each in turn: a good plan at once spares most of the search.
            for _ in 0..if number == 1 { 3 } else { 1 } {
                self.round(&program, given, solution.clone());
            }
            if self.is_done(bound) {
                self.floor = self.floor.min(bound);
                return;
            }
        }
        let Some(next) = undecided(self.model, &program, &solution) else {
            if self.keep(&program, &solution) > bound * (1.0 + GAP_PROVED) {
                // Proportional traffic costs more than the free routing of the program.
                self.floor = self.floor.min(bound);
            }
            return;
        };
        for cut in next.cuts() {
            self.open_part(&program, given, cut.apply(solution.clone()), bound);
        }
    }

    /// Follows the optimum down by making whole what is nearest to it, to a plan or to nothing.
    fn round(&mut self, program: &Rc<Program>, mut given: bool, mut solution: Solution) {
        let mut program = Rc::clone(program);
        let taste = Taste::turn(self.rounds);
        self.rounds += 1;
        while !self.is_done(solution.objective()) && self.may_go_on() {
            let next = nearest(self.model, &program, &solution, taste);
            if !given && !matches!(next, Some(Undecided::Choice(_))) {
                // Every variant is chosen: go on in the smaller program of that choice.
                given = true;
                program = Rc::new(Program::new(self.model, &variants(&program, &solution), None));
                let Relaxed::Solved(smaller) = program.solve() else { return };
                solution = smaller;
                continue;
            }
            let Some(next) = next else {
                self.keep(&program, &solution);
                return self.polish();
            };
            let [near, far] = next.values(taste);
            self.solved += 1;
            let narrowed = match near.apply(solution.clone()) {
                Relaxed::Solved(narrowed) => narrowed,
                _ => match far.apply(solution) {
                    Relaxed::Solved(narrowed) => narrowed,
                    _ => return,
                },
            };
            solution = narrowed;
        }
    }

    /// Takes a whole solution as a plan, if the judge agrees and it is the best so far. Returns its cost.
    fn keep(&mut self, program: &Program, solution: &Solution) -> f64 {
        let decision = reading::decision(self.problem, self.model, program, solution);
        let judged = evaluate(self.problem, self.model.mode, &decision);
        if !judged.is_feasible() {
            return f64::INFINITY;
        }
        let cost = judged.cost_usd_per_h();
        if self.best.as_ref().is_none_or(|best| cost < best.cost) {
            let choice = reading::choice(program, solution);
            let counts = reading::counts(self.model, program, solution);
            self.best = Some(Best { cost, decision, choice, counts });
            self.settled = false;
        }
        cost
    }

    /// Exchanges nodes of single stages while that pays.
    fn polish(&mut self) {
        if self.model.mode == Mode::Shared {
            return;
        }
        let mut tries = SWAPS_MAX;
        while let Some(best) = self.best.as_ref().filter(|best| best.cost < self.polished) {
            let cost = best.cost;
            let (choice, counts) = (best.choice.clone(), best.counts.clone());
            self.polished = cost;
            for swap in swaps(self.model, &choice, &counts, tries) {
                if !self.may_go_on() {
                    return;
                }
                let lines = counts.iter().enumerate();
                let lines = lines.map(|(v, own)| if v == swap.stage { &swap.counts } else { own });
                let held = lines.map(|line| line.iter().copied().map(Some).collect()).collect();
                let program = Program::new(self.model, &choice, Some(&held));
                self.solved += 1;
                tries -= 1;
                if let Relaxed::Solved(solution) = program.solve()
                    && self.keep(&program, &solution) < cost
                {
                    break;
                }
            }
        }
    }

    /// Looks for a better plan among those that differ from the best in little: every window in turn, until none of
    /// them helps or a share of the budget is spent.
    fn improve(&mut self) {
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
            let window =
                if turn % 2 == 0 { Window::Stages(pairs[turn / 2 % pairs.len()]) } else { Window::Classes(turn) };
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
        let program = Rc::new(Program::new(self.model, &given, Some(&held)));
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
                    open.push(Part { bound, number, program, given: true, solution });
                }
            }
            let Some(part) = open.pop() else { return };
            if self.is_done(part.bound) || left == 0 || !self.may_go_on() {
                return;
            }
            if left % WINDOW_ROUND_EVERY == WINDOW_ROUND_EVERY - 1 {
                self.round(&program, true, part.solution.clone());
            }
            match undecided(self.model, &program, &part.solution) {
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

/// What must be whole and is not.
#[derive(Clone, Copy)]
enum Undecided {
    Choice(Variable),
    Height(Variable, f64),
    Count(Variable, f64),
}

impl Undecided {
    /// Two parts that hold every plan between them.
    fn cuts(self) -> [Cut; 2] {
        match self {
            Self::Choice(column) | Self::Height(column, _) => [Cut::Fix(column, 1.0), Cut::Fix(column, 0.0)],
            Self::Count(column, value) => {
                [Cut::AtMost(column, value.floor()), Cut::AtLeast(column, value.ceil())]
            }
        }
    }

    /// The value to try, and the one to try if that leads nowhere.
    fn values(self, taste: Taste) -> [Cut; 2] {
        match self {
            Self::Choice(column) => [1.0, 0.0].map(|value| Cut::Fix(column, value)),
            Self::Height(column, value) => [value.round(), 1.0 - value.round()].map(|v| Cut::Fix(column, v)),
            Self::Count(column, value) => {
                let up = match taste {
                    Taste::Up => true,
                    Taste::Near => value.fract() >= 0.5,
                    Taste::Frugal => false,
                };
                let values = if up { [value.ceil(), value.floor()] } else { [value.floor(), value.ceil()] };
                values.map(|value| Cut::Fix(column, value))
            }
        }
    }
}

/// How to round numbers of nodes. None is best everywhere, so they take turns.
#[derive(Clone, Copy)]
enum Taste {
    /// Up, those first that lack least.
    Up,
    /// To the nearest, those first that are nearest.
    Near,
    /// Down, the dearest nodes first.
    Frugal,
}

impl Taste {
    fn turn(turn: u64) -> Self {
        [Self::Up, Self::Frugal, Self::Near][turn as usize % 3]
    }
}

fn fraction(value: f64) -> f64 {
    (value - value.round()).abs()
}

/// What to branch on next: a variant, else a tier, else the number of nodes with most money in doubt.
fn undecided(model: &Model, program: &Program, solution: &Solution) -> Option<Undecided> {
    choice_or_height(program, solution).or_else(|| {
        let doubt =
            |count: &Count| fraction(solution.var_value(count.column)) * model.classes[count.class].usd_per_h;
        let open = open_counts(program, solution);
        let worst = open.max_by(|a, b| doubt(a).total_cmp(&doubt(b)))?;
        Some(Undecided::Count(worst.column, solution.var_value(worst.column)))
    })
}

/// What to round next: a variant, else a tier, else a number of nodes by taste.
fn nearest(model: &Model, program: &Program, solution: &Solution, taste: Taste) -> Option<Undecided> {
    choice_or_height(program, solution).or_else(|| {
        let distance = |count: &Count| {
            let value = solution.var_value(count.column);
            match taste {
                Taste::Up => value.ceil() - value,
                Taste::Near => fraction(value),
                Taste::Frugal => -model.classes[count.class].usd_per_h,
            }
        };
        let open = open_counts(program, solution);
        let nearest = open.min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        Some(Undecided::Count(nearest.column, solution.var_value(nearest.column)))
    })
}

fn open_counts<'a>(program: &'a Program, solution: &'a Solution) -> impl Iterator<Item = &'a Count> {
    program.counts.iter().filter(|count| fraction(solution.var_value(count.column)) > WHOLE)
}

fn choice_or_height(program: &Program, solution: &Solution) -> Option<Undecided> {
    let value = |column: &Variable| solution.var_value(*column);
    let stages = program.choices.iter().filter_map(|choices| {
        let most = choices.iter().flatten().max_by(|a, b| value(a).total_cmp(&value(b)))?;
        (fraction(value(most)) > WHOLE).then_some(most)
    });
    if let Some(column) = stages.max_by(|a, b| value(a).total_cmp(&value(b))) {
        return Some(Undecided::Choice(*column));
    }
    let height = program.heights.iter().find(|column| fraction(value(column)) > WHOLE)?;
    Some(Undecided::Height(*height, value(height)))
}

/// The variant of each stage in a solution that has chosen all.
fn variants(program: &Program, solution: &Solution) -> Given {
    reading::choice(program, solution)
}
