//! Branch and bound: first over variants, then over tiers and counts of nodes, the most promising part first.
//!
//! The bound holds at every moment: it is the least of what is open, of what was given up and of the best plan. A
//! run is determined by its input; only whoever says when to stop may read a clock.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use microlp::{Solution, Variable};

use super::branching::{Taste, Undecided, WHOLE, nearest, open_choice, undecided};
use super::decision::{Answer, Decision, Mode, Running, Status};
use super::descent::Descent;
use super::evaluate::{Evaluation, Judge};
use super::model::{End, Model, Stage};
use super::problem::Problem;
use super::program::{Count, Cut, Given, Held, Program, Relaxed};
use super::reading;
use super::{Budget, GAP_PROVED};
use crate::random::mix;

/// Columns of all open parts together, at most: a few hundred bytes each. What is beyond is given up, and its bound
/// kept.
const OPEN_COLUMNS_MAX: usize = 2_000_000;

/// Choices of all variants that are rounded as soon as they are found.
const CHOICES_ROUNDED: u64 = 6;

/// After how many linear programs it is first looked for what no better plan has; then after four times as many.
const PROBE_AFTER: u64 = 800;

/// Numbers of nodes that are looked at one by one, at most.
const PROBED_COUNTS_MAX: usize = 200;

/// After how many parts another plan is sought by rounding.
const ROUND_EVERY: u64 = 24;

/// After how many linear programs the best plan is improved by itself; what takes fewer is proved sooner.
const IMPROVE_AFTER: u64 = 600;

/// Steps of the local search that count as one linear program.
const STEPS_PER_PROGRAM: u64 = 40;

/// Programs' worth of it before the first program.
const FIRST_WALK: u64 = 10;

/// After how many programs' worth without a better plan a walk is given up.
const WALK_PATIENCE: u64 = 50;

/// Linear programs for a window, at most.
const WINDOW_PROGRAMS_MAX: u64 = 40;

/// After how many of them another plan is sought by rounding.
const WINDOW_ROUND_EVERY: u64 = 20;

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
            walks: 0,
            leads: Vec::new(),
        }
    }

    /// Searches until the best plan is proved or the budget is spent.
    pub(super) fn run(mut self) -> Answer {
        if self.may_walk() {
            self.walk(FIRST_WALK);
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
            if std::env::var("JBDBG").is_ok() { eprintln!("lps {} open {} bound {:.5} best {:?} given {:?} cols {} next {:?}", self.solved, self.open.len(), bound, self.best.as_ref().map(|b| b.cost), part.given, part.program.columns(), undecided(&self.model, &part.program, &part.solution).map(|u| match u { Undecided::Choice(_) => "choice".to_string(), Undecided::Host(_) => "host".into(), Undecided::Height(..) => "height".into(), Undecided::Count(_, v) => format!("count {v:.3}"), Undecided::Late(..) => "late".into() })); }
            self.branch(part);
            if self.solved >= IMPROVE_AFTER.max(self.improved * 2) && !self.settled {
                if self.may_walk() {
                    let until = self.solved * 3 / 2;
                    while self.solved < until && self.may_go_on() && !self.is_done(bound) {
                        self.walk(until - self.solved);
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
            let mut can = (0..stage.work.len()).filter(|k| stage.work[*k].iter().any(Option::is_some));
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
        let proved = self.floor;
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
                program = Rc::new(Program::new(&self.model, &variants(&program, &solution), None));
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

    /// Whether nodes can be counted by stage, and nothing matters that the local search does not see.
    fn may_walk(&self) -> bool {
        self.model.mode != Mode::Shared && self.model.p95_ms_max.is_none()
    }

    /// A walk of the local search: from the best plan and from new beginnings in turn.
    fn walk(&mut self, programs: u64) {
        self.walks += 1;
        let best = self.best.as_ref().filter(|_| self.walks % 2 == 0);
        let post = |(variant, counts): (&Option<usize>, &Vec<f64>)| {
            let nodes = counts.iter().enumerate().filter(|(_, count)| **count > 0.5);
            Some(((*variant)?, nodes.map(|(class, count)| (class, *count as u32)).collect()))
        };
        let posts = best.and_then(|best| best.choice.iter().zip(&best.counts).map(post).collect());
        let begun = match posts {
            Some(posts) => Descent::from(&self.model, self.walks, posts),
            None => {
                let lead = (self.walks / 2) as usize % self.leads.len().max(1);
                let lead = self.leads.get(lead).and_then(|lead| lead.iter().copied().collect());
                Descent::new(&self.model, self.walks, lead, None)
            }
        };
        let (mut patience, mut left) = (WALK_PATIENCE, programs);
        self.solved += 1;
        let Some(mut descent) = begun else { return };
        while patience > 0 && left > 0 && self.may_go_on() {
            patience = if descent.go_on(STEPS_PER_PROGRAM) { WALK_PATIENCE } else { patience - 1 };
            left -= 1;
            self.solved += 1;
        }
        let cost = descent.best_usd_per_h();
        if self.best.as_ref().is_some_and(|best| cost >= best.cost * (1.0 - GAP_PROVED)) {
            return;
        }
        let Some(decision) = descent.decision(self.problem) else { return };
        let choice = descent.best().iter().map(|post| Some(post.variant)).collect();
        let counts = descent.best().iter().map(|post| {
            let mut counts = vec![0.0; self.model.classes.len()];
            post.nodes.iter().for_each(|(class, count)| counts[*class] = f64::from(*count));
            counts
        });
        let counts = counts.collect();
        self.take(decision, choice, counts);
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

/// The variant of each stage in a solution that has chosen all.
fn variants(program: &Program, solution: &Solution) -> Given {
    reading::choice(program, solution)
}
