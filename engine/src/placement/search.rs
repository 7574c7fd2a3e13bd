//! Branch and bound: first over variants, then over tiers and counts of nodes, the most promising part first.
//!
//! The bound holds at every moment: it is the least of what is open, of what was given up and of the best plan. A
//! run is determined by its input; only whoever says when to stop may read a clock.

mod large;
mod walks;
mod windows;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use microlp::{Solution, Variable};

use super::branching::{Taste, Undecided, WHOLE, nearest, open_choice, undecided};
use super::decision::{Answer, Decision, Mode, Running, Status};
use super::evaluate::{Evaluation, Judge};
use super::model::{Model, Stage};
use super::problem::Problem;
use super::program::{Count, Cut, Given, Program, Relaxed};
use super::reading;
use super::{Budget, GAP_PROVED};

/// Columns of all open parts together, at most: a few hundred bytes each. What is beyond is given up, and its bound
/// kept.
const OPEN_COLUMNS_MAX: usize = 2_000_000;

/// Choices of all variants that are rounded as soon as they are found.
const CHOICES_ROUNDED: u64 = 6;

/// After how many linear programs it is first looked for what no better plan has; then after four times as many.
const PROBE_AFTER: u64 = 800;

/// Numbers of nodes that are looked at one by one, at most.
const PROBED_COUNTS_MAX: usize = 200;

/// Columns of a program, at most, that is mostly solved before other searches pay.
const SMALL_COLUMNS: u64 = 300;

/// After how many parts another plan is sought by rounding.
const ROUND_EVERY: u64 = 24;

/// After how many linear programs the best plan is improved by itself; what takes fewer is proved sooner.
const IMPROVE_AFTER: u64 = 600;

/// Programs' worth of it before the first program.
const FIRST_WALK: u64 = 10;

/// A part of the search: a narrowed program and its optimum.
struct Part {
    bound: f64,
    number: u64,
    program: Rc<Program>,
    given: Given,
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
    model: Model,
    budget: &'a Budget<'a>,
    judge: Judge<'a>,
    running: Option<&'a Running>,
    best: Option<Best>,
    /// Nothing that was given up is cheaper.
    floor: f64,
    /// No plan is cheaper, where only a part of the problem is searched.
    outer: Option<f64>,
    open: BinaryHeap<Part>,
    columns: usize,
    solved: u64,
    parts: u64,
    rounds: u64,
    /// Choices of all variants that were rounded.
    choices: u64,
    /// When what cannot be in a better plan was looked for last, and the cost that it was to be better than.
    probed: (u64, f64),
    /// The next window to improve, whether none helps any more, and when it was tried last.
    window: usize,
    settled: bool,
    improved: u64,
    improve_after: u64,
    /// Walks of the local search so far.
    walks: u64,
    /// Choices of all variants that were found, for walks to begin with.
    leads: Vec<Given>,
}

/// The best plan so far.
struct Best {
    /// Starts included.
    cost: f64,
    decision: Decision,
    judged: Evaluation,
    choice: Given,
    /// By stage and class: how many nodes, where a stage has nodes of its own.
    counts: Vec<Vec<f64>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        problem: &'a Problem,
        model: Model,
        budget: &'a Budget<'a>,
        running: Option<&'a Running>,
    ) -> Self {
        let (open, floor) = (BinaryHeap::new(), f64::INFINITY);
        Self {
            problem,
            judge: Judge::new(problem, model.mode),
            model,
            budget,
            running,
            best: None,
            floor,
            outer: None,
            open,
            columns: 0,
            solved: 0,
            parts: 0,
            rounds: 0,
            choices: 0,
            probed: (PROBE_AFTER / 4, f64::INFINITY),
            window: 0,
            settled: false,
            improved: 0,
            improve_after: IMPROVE_AFTER,
            walks: 0,
            leads: Vec::new(),
        }
    }

    /// Searches until the best plan is proved or the budget is spent.
    pub(super) fn run(mut self) -> Answer {
        if self.is_large() {
            self.search_large();
            return self.answer();
        }
        let given = vec![None; self.model.stages.len()];
        let columns = Program::new(&self.model, &given, None).columns() as u64;
        if self.may_walk() {
            // What each program takes longer, a walk may take as well.
            self.improve_after = IMPROVE_AFTER.min(IMPROVE_AFTER * 200 / columns.max(1)).max(50);
            self.walk(FIRST_WALK.max(columns / 40), None);
        } else if columns > SMALL_COLUMNS {
            self.improve_after = IMPROVE_AFTER / 4;
            self.probed.0 = PROBE_AFTER / 16;
        }
        self.open_root(0.0);
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
            let bound = part.bound;
            self.branch(part);
            if self.solved >= self.improve_after.max(self.improved * 2) && !self.settled {
                if self.may_walk() {
                    let until = self.solved * 3 / 2;
                    while self.solved < until && self.may_go_on() && !self.is_done(bound) {
                        self.walk(until - self.solved, None);
                    }
                } else {
                    self.improve();
                }
                self.improved = self.solved;
            }
            let cost = self.best.as_ref().map_or(f64::INFINITY, |best| best.cost);
            if self.solved >= self.probed.0 * 4 && cost < self.probed.1 {
                self.probe(bound);
                self.probed = (self.solved, cost);
            }
        }
        self.answer()
    }

    /// Begins the search. No plan costs less than `parent`.
    fn open_root(&mut self, parent: f64) {
        let only = |stage: &Stage| {
            let mut can = stage.able_variants();
            can.next().filter(|_| can.next().is_none())
        };
        let given: Given = self.model.stages.iter().map(only).collect();
        let program = Rc::new(Program::new(&self.model, &given, None));
        let root = program.solve();
        self.open_part(&program, &given, root, parent);
    }

    /// Leaves out variants and nodes that no better plan has, and begins again with what is left, if that is less.
    fn probe(&mut self, bound: f64) {
        let given: Given = vec![None; self.model.stages.len()];
        let program = Program::new(&self.model, &given, None);
        let Relaxed::Solved(root) = program.solve() else { return };
        let mut lost = Vec::new();
        for (v, choices) in program.choices.iter().enumerate() {
            for (k, choice) in choices.iter().enumerate() {
                let Some(column) = choice.filter(|column| root.var_value(*column) < 0.5) else { continue };
                if !self.may_go_on() {
                    return;
                }
                if self.is_lost(Cut::Fix(column, 1.0).apply(root.clone())) {
                    lost.push((v, k));
                }
            }
        }
        let mut useless = Vec::new();
        if program.counts.len() <= PROBED_COUNTS_MAX {
            for count in program.counts.iter().filter(|count| root.var_value(count.column) < WHOLE) {
                if !self.may_go_on() {
                    return;
                }
                if self.is_lost(Cut::AtLeast(count.column, 1.0).apply(root.clone())) {
                    useless.push(*count);
                }
            }
        }
        if lost.is_empty() && useless.is_empty() {
            return;
        }
        for (v, k) in lost {
            self.model.stages[v].work[k].fill(None);
        }
        let is_shared = self.model.mode == Mode::Shared;
        for Count { line, variant, class, .. } in useless {
            let busy = self.model.stages.iter_mut().enumerate().filter(|(_, stage)| stage.rate_per_s > 0.0);
            for (_, stage) in busy.filter(|(v, _)| is_shared || *v == line) {
                let works = stage.work.iter_mut().enumerate();
                let works = works.filter(|(k, _)| is_shared || variant.is_none_or(|of| of == *k));
                works.for_each(|(_, by_class)| by_class[class] = None);
            }
        }
        self.open.clear();
        self.columns = 0;
        self.open_root(bound);
    }

    /// Whether a narrowed program holds no better plan.
    fn is_lost(&mut self, relaxed: Relaxed) -> bool {
        self.solved += 1;
        match relaxed {
            Relaxed::Infeasible => true,
            Relaxed::Unknown => false,
            Relaxed::Solved(solution) => {
                let bound = solution.objective();
                let is_done = self.is_done(bound);
                if is_done {
                    self.floor = self.floor.min(bound);
                }
                is_done
            }
        }
    }

    fn answer(self) -> Answer {
        let proved = self.outer.unwrap_or(self.floor);
        let (status, bound) = match &self.best {
            None if proved == f64::INFINITY => (Status::Infeasible, None),
            None => (Status::Unknown, Some(proved)),
            Some(best) if proved >= best.cost * (1.0 - GAP_PROVED) => {
                (Status::Optimal, Some(proved.min(best.cost)))
            }
            Some(_) => (Status::Feasible, Some(proved)),
        };
        let mut answer =
            Answer { status, bound_usd_per_h: bound, programs: self.solved, ..Answer::default() };
        if let Some(Best { decision, judged, .. }) = self.best {
            answer.cost_usd_per_h = Some(judged.cost_usd_per_h());
            answer.decision = Some(decision);
            (answer.starts, answer.starts_usd_per_h) = (judged.starts, judged.starts_usd_per_h);
            (answer.utilisation, answer.p95_ms) = (judged.utilisation, judged.p95_ms);
        }
        answer
    }

    fn may_go_on(&self) -> bool {
        self.solved < self.budget.programs_max && (self.budget.go_on)()
    }

    fn is_done(&self, bound: f64) -> bool {
        self.best.as_ref().is_some_and(|best| bound >= best.cost * (1.0 - GAP_PROVED))
    }

    /// Keeps a part for later, if it may hold something better.
    fn open_part(&mut self, program: &Rc<Program>, given: &Given, relaxed: Relaxed, parent: f64) {
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
                self.parts += 1;
                let (program, number) = (Rc::clone(program), self.parts);
                self.open.push(Part { bound, number, program, given: given.clone(), solution });
            }
        }
    }

    fn branch(&mut self, part: Part) {
        let Part { bound, program, given, solution, number } = part;
        let is_given = given.iter().all(Option::is_some);
        if number % ROUND_EVERY == 1 && (self.best.is_none() || !self.may_walk()) {
            // At the root each in turn: a good plan at once spares most of the search.
            for _ in 0..if number == 1 { 3 } else { 1 } {
                self.round(&program, is_given, solution.clone());
            }
            if self.is_done(bound) {
                self.floor = self.floor.min(bound);
                return;
            }
        }
        if let Some((column, stage, variant)) = open_choice(&program, &given, &solution) {
            return self.choose(&program, &given, solution, bound, (column, stage, variant));
        }
        let Some(next) = undecided(&self.model, &program, &solution) else {
            if self.keep(&program, &solution) > bound * (1.0 + GAP_PROVED) {
                // Proportional traffic costs more than the free routing of the program.
                self.floor = self.floor.min(bound);
            }
            return;
        };
        let [first, second] = next.cuts();
        self.open_part(&program, &given, first.apply(solution.clone()), bound);
        self.open_part(&program, &given, second.apply(solution), bound);
    }

    /// Opens a variant of a stage, and all others. When all are chosen, the rest goes on in the smaller program of that
    /// choice.
    fn choose(
        &mut self,
        program: &Rc<Program>,
        given: &Given,
        solution: Solution,
        bound: f64,
        (column, stage, variant): (Variable, usize, usize),
    ) {
        let mut chosen = given.clone();
        chosen[stage] = Some(variant);
        self.open_part(program, given, Cut::Fix(column, 0.0).apply(solution.clone()), bound);
        if chosen.iter().any(Option::is_none) {
            return self.open_part(program, &chosen, Cut::Fix(column, 1.0).apply(solution), bound);
        }
        if self.may_walk() && self.choices < CHOICES_ROUNDED && !self.leads.contains(&chosen) {
            self.choices += 1;
            self.leads.push(chosen.clone());
        }
        let smaller = Rc::new(Program::new(&self.model, &chosen, None));
        let relaxed = smaller.solve();
        if let Relaxed::Solved(solution) = &relaxed
            && self.choices < CHOICES_ROUNDED
            && (self.best.is_none() || !self.may_walk())
        {
            self.choices += 1;
            let solution = solution.clone();
            (0..3).for_each(|_| self.round(&smaller, true, solution.clone()));
        }
        self.open_part(&smaller, &chosen, relaxed, bound);
    }

    /// Follows the optimum down by making whole what is nearest to it, to a plan or to nothing.
    fn round(&mut self, program: &Rc<Program>, mut given: bool, mut solution: Solution) {
        let mut program = Rc::clone(program);
        let taste = Taste::turn(self.rounds);
        self.rounds += 1;
        while !self.is_done(solution.objective()) && self.may_go_on() {
            let next = nearest(&self.model, &program, &solution, taste);
            if !given && !matches!(next, Some(Undecided::Choice(_))) {
                // Every variant is chosen: go on in the smaller program of that choice.
                given = true;
                program = Rc::new(Program::new(&self.model, &reading::choice(&program, &solution), None));
                let Relaxed::Solved(smaller) = program.solve() else { return };
                solution = smaller;
                continue;
            }
            let Some(next) = next else {
                self.keep(&program, &solution);
                return;
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
        let decision = reading::decision(self.problem, &self.model, program, solution);
        let choice = reading::choice(program, solution);
        let counts = reading::counts(&self.model, program, solution);
        self.take(decision, choice, counts)
    }

    /// Takes a plan, if the judge agrees and it is the best so far. Returns its cost.
    fn take(&mut self, decision: Decision, choice: Given, counts: Vec<Vec<f64>>) -> f64 {
        let judged = self.judge.judge(&decision, self.running);
        if !judged.is_feasible() {
            return f64::INFINITY;
        }
        let cost = judged.cost_usd_per_h() + judged.starts_usd_per_h;
        if self.best.as_ref().is_none_or(|best| cost < best.cost) {
            self.best = Some(Best { cost, decision, judged, choice, counts });
            self.settled = false;
        }
        cost
    }
}
