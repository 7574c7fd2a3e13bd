//! Branch and bound: first over variants, then over tiers and counts of nodes, the most promising part first.
//!
//! The bound holds at every moment: it is the least of what is open, of what was given up and of the best plan. A
//! run is determined by its input; only whoever says when to stop may read a clock.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use microlp::{Solution, Variable};

use super::decision::{Answer, Decision, Status};
use super::evaluate::evaluate;
use super::model::Model;
use super::problem::Problem;
use super::program::{Cut, Given, Program, Relaxed};
use super::reading;
use super::{Budget, GAP_PROVED};

/// Columns of all open parts together, at most: a few hundred bytes each. What is beyond is given up, and its bound
/// kept.
const OPEN_COLUMNS_MAX: usize = 2_000_000;

/// How far from a whole number is whole.
const WHOLE: f64 = 1e-6;

/// After how many parts another plan is sought by rounding.
const ROUND_EVERY: u64 = 24;

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
    best: Option<(f64, Decision)>,
    /// Nothing that was given up is cheaper.
    floor: f64,
    open: BinaryHeap<Part>,
    columns: usize,
    solved: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(problem: &'a Problem, model: &'a Model, budget: &'a Budget<'a>) -> Self {
        let (open, floor) = (BinaryHeap::new(), f64::INFINITY);
        Self { problem, model, budget, best: None, floor, open, columns: 0, solved: 0 }
    }

    /// Searches until the best plan is proved or the budget is spent.
    pub(super) fn run(mut self) -> Answer {
        let given: Given = vec![None; self.model.stages.len()];
        let program = Rc::new(Program::new(self.model, &given));
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
        }
        self.answer()
    }

    fn answer(self) -> Answer {
        let proved = self.floor;
        let (status, bound) = match &self.best {
            None if proved == f64::INFINITY => (Status::Infeasible, None),
            None => (Status::Unknown, Some(proved)),
            Some((cost, _)) if proved >= cost * (1.0 - GAP_PROVED) => {
                (Status::Optimal, Some(proved.min(*cost)))
            }
            Some(_) => (Status::Feasible, Some(proved)),
        };
        let cost_usd_per_h = self.best.as_ref().map(|(cost, _)| *cost);
        let decision = self.best.map(|(_, decision)| decision);
        Answer { status, decision, cost_usd_per_h, bound_usd_per_h: bound, programs: self.solved }
    }

    fn may_go_on(&self) -> bool {
        self.solved < self.budget.programs_max && (self.budget.go_on)()
    }

    fn is_done(&self, bound: f64) -> bool {
        self.best.as_ref().is_some_and(|(cost, _)| bound >= cost * (1.0 - GAP_PROVED))
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
            self.round(&program, given, solution.clone());
            if self.is_done(bound) {
                self.floor = self.floor.min(bound);
                return;
            }
        }
        match undecided(self.model, &program, &solution) {
            Some(Undecided::Choice(column) | Undecided::Height(column, _)) => {
                for value in [1.0, 0.0] {
                    let relaxed = Cut::Fix(column, value).apply(solution.clone());
                    self.open_part(&program, given, relaxed, bound);
                }
            }
            Some(Undecided::Count(column, value)) => {
                for cut in [Cut::AtMost(column, value.floor()), Cut::AtLeast(column, value.ceil())] {
                    self.open_part(&program, given, cut.apply(solution.clone()), bound);
                }
            }
            None => self.keep(&program, &solution),
        }
    }

    /// Follows the optimum down by making whole what is nearest to it, to a plan or to nothing.
    fn round(&mut self, program: &Rc<Program>, mut given: bool, mut solution: Solution) {
        let mut program = Rc::clone(program);
        while !self.is_done(solution.objective()) && self.may_go_on() {
            let next = undecided(self.model, &program, &solution);
            if !given && !matches!(next, Some(Undecided::Choice(..))) {
                // Every variant is chosen: go on in the smaller program of that choice.
                given = true;
                program = Rc::new(Program::new(self.model, &variants(&program, &solution)));
                let Relaxed::Solved(smaller) = program.solve() else { return };
                solution = smaller;
                continue;
            }
            let (column, near, far) = match next {
                None => return self.keep(&program, &solution),
                Some(Undecided::Choice(column)) => (column, 1.0, 0.0),
                Some(Undecided::Height(column, value)) => (column, value.round(), 1.0 - value.round()),
                Some(Undecided::Count(column, value)) => (column, value.ceil(), value.floor()),
            };
            self.solved += 1;
            let Relaxed::Solved(narrowed) = Cut::Fix(column, near).apply(solution.clone()) else {
                let Relaxed::Solved(narrowed) = Cut::Fix(column, far).apply(solution) else { return };
                solution = narrowed;
                continue;
            };
            solution = narrowed;
        }
    }

    /// Takes a whole solution as a plan, if the judge agrees and it is the best so far.
    fn keep(&mut self, program: &Program, solution: &Solution) {
        let decision = reading::decision(self.problem, self.model, program, solution);
        let judged = evaluate(self.problem, self.model.mode, &decision);
        let cost = judged.cost_usd_per_h();
        if !judged.is_feasible() || cost > solution.objective() * (1.0 + GAP_PROVED) {
            // Proportional traffic costs more than the free routing of the program.
            self.floor = self.floor.min(solution.objective());
        }
        if judged.is_feasible() && self.best.as_ref().is_none_or(|(best, _)| cost < *best) {
            self.best = Some((cost, decision));
        }
    }
}

/// What must be whole and is not.
enum Undecided {
    Choice(Variable),
    Height(Variable, f64),
    Count(Variable, f64),
}

/// What to make whole next: a variant, else a tier, else a number of nodes.
fn undecided(model: &Model, program: &Program, solution: &Solution) -> Option<Undecided> {
    let value = |column: Variable| solution.var_value(column);
    let fraction = |value: f64| (value - value.round()).abs();
    let stages = program.choices.iter().filter_map(|choices| {
        let values = choices.iter().flatten().map(|column| (*column, value(*column)));
        let most = values.max_by(|a, b| a.1.total_cmp(&b.1))?;
        (fraction(most.1) > WHOLE).then_some(most)
    });
    if let Some((column, _)) = stages.max_by(|a, b| a.1.total_cmp(&b.1)) {
        return Some(Undecided::Choice(column));
    }
    let mut heights = program.heights.iter().map(|column| (*column, value(*column)));
    if let Some((column, value)) = heights.find(|(_, value)| fraction(*value) > WHOLE) {
        return Some(Undecided::Height(column, value));
    }
    let counts = program.counts.iter().map(|count| {
        let value = value(count.column);
        (count.column, value, fraction(value) * model.classes[count.class].usd_per_h)
    });
    let counts = counts.filter(|(_, value, _)| fraction(*value) > WHOLE);
    let worst = counts.max_by(|a, b| a.2.total_cmp(&b.2));
    worst.map(|(column, value, _)| Undecided::Count(column, value))
}

/// The variant of each stage in a solution that has chosen all.
fn variants(program: &Program, solution: &Solution) -> Given {
    let value = |column: &Option<Variable>| column.map_or(0.0, |column| solution.var_value(column));
    let most = |choices: &Vec<Option<Variable>>| {
        (0..choices.len()).max_by(|a, b| value(&choices[*a]).total_cmp(&value(&choices[*b])))
    };
    program.choices.iter().map(most).collect()
}
