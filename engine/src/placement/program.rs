//! The linear program of a model: the relaxation whose optimum is a bound, and whose whole solutions are plans.
//!
//! Shares are parts of a stage's demand, so all of its numbers are near 1. What must be whole in a plan (which
//! variant, how many nodes, which tiers) is relaxed here; the search makes it whole.

use std::collections::BTreeMap;

use microlp::{ComparisonOp, LinearExpr, OptimizationDirection, Problem, Solution, SolveOutcome, Variable};

use super::decision::Mode;
use super::model::{Allowed, End, Flow, GB_PER_H, MBIT_PER_S, Model};

/// A linear program, and what its columns mean.
pub(super) struct Program {
    problem: Problem,
    /// By stage and variant; nothing where the variant is given.
    pub(super) choices: Vec<Vec<Option<Variable>>>,
    /// By stage, variant and class: parts of the demand.
    pub(super) shares: Vec<Vec<Vec<Option<Variable>>>>,
    pub(super) counts: Vec<Count>,
    /// Whether a stage uses a tier or one above it; in the paper's mode.
    pub(super) heights: Vec<Variable>,
    pub(super) routes: Vec<Route>,
    pub(super) hosts: Vec<Host>,
    /// By stage and by edge: the worst that it takes, in parts of the bound of latency; where that may bind.
    pub(super) worst: Vec<Option<Variable>>,
    pub(super) longest: Vec<Option<Variable>>,
}

/// How many nodes of a class are used.
#[derive(Clone, Copy)]
pub(super) struct Count {
    pub(super) class: usize,
    /// Whose nodes; of all stages where they are shared.
    pub(super) line: usize,
    /// By which variant, if it is of one.
    pub(super) variant: Option<usize>,
    pub(super) column: Variable,
}

/// Whether a node that is kept apart hosts a variant of a stage.
#[derive(Clone, Copy)]
pub(super) struct Host {
    pub(super) share: Variable,
    pub(super) column: Variable,
}

/// A part of a stream between two sites.
pub(super) struct Route {
    pub(super) edge: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) column: Variable,
}

/// Rows about whole nodes for each stage, at most.
const COVERS: usize = 6;

/// How far a number of parts is from saying more than holds.
const COVER_MARGIN: f64 = 1e-7;

/// Columns with their factors.
type Terms = Vec<(Variable, f64)>;

/// By stage and class: how many nodes it keeps, where that is held. Where nodes are shared, the first line is of all
/// stages together.
pub(super) type Held = Vec<Vec<Option<f64>>>;

/// The variant of each stage, where it is given.
pub(super) type Given = Vec<Option<usize>>;

impl Program {
    /// The program of a model in which some variants are given, and some numbers of nodes held.
    pub(super) fn new(model: &Model, given: &Given, held: Option<&Held>) -> Self {
        let mut program = Self {
            problem: Problem::new(OptimizationDirection::Minimize),
            choices: Vec::new(),
            shares: Vec::new(),
            counts: Vec::new(),
            heights: Vec::new(),
            routes: Vec::new(),
            hosts: Vec::new(),
            worst: Vec::new(),
            longest: Vec::new(),
        };
        program.add_shares(model, given);
        program.add_counts(model, held);
        if model.mode != Mode::Shared {
            program.add_covers(model, given);
        }
        if model.mode == Mode::Paper {
            program.add_heights(model);
        }
        program.add_routes(model);
        program.add_accuracy(model, given);
        if let Some(most) = model.p95_ms_max {
            program.add_latency(model, most);
        }
        program
    }

    /// The optimum of the relaxation.
    pub(super) fn solve(&self) -> Relaxed {
        read(self.problem.solve())
    }

    /// How many numbers a solution of it holds.
    pub(super) fn columns(&self) -> usize {
        let shares = self.shares.iter().flatten().flatten().flatten().count();
        shares + self.counts.len() + self.routes.len() + self.hosts.len()
    }

    fn row(&mut self, terms: Terms, op: ComparisonOp, bound: f64) {
        self.problem.add_constraint(terms, op, bound);
    }

    fn add_shares(&mut self, model: &Model, given: &Given) {
        for (v, (stage, given)) in model.stages.iter().zip(given).enumerate() {
            // Who is not told what each node hosts pays for starts by what is hosted at least.
            let usd = |k: usize, class: usize, work: f64| {
                let here =
                    model.mode == Mode::Shared && !model.classes[class].is_apart && stage.rate_per_s > 0.0;
                if here { model.start_usd(v, k, class) * work.max(1.0) } else { 0.0 }
            };
            let can = |k: usize| given.is_none_or(|variant| variant == k) && stage.can(k);
            let choices: Vec<Option<Variable>> = (0..stage.work.len())
                .map(|k| (given.is_none() && can(k)).then(|| self.problem.add_var(0.0, (0.0, 1.0))))
                .collect();
            let shares: Vec<Vec<Option<Variable>>> = (0..stage.work.len())
                .map(|k| {
                    let works = stage.work[k].iter().map(|work| work.filter(|_| can(k))).enumerate();
                    let mut add = |class, work| self.problem.add_var(usd(k, class, work), (0.0, 1.0));
                    works.map(|(class, work)| work.map(|work| add(class, work))).collect()
                })
                .collect();
            if given.is_none() {
                self.row(terms(choices.iter().copied(), 1.0), ComparisonOp::Eq, 1.0);
            }
            for (k, by_class) in shares.iter().enumerate() {
                let mut row = terms(by_class.iter().copied(), 1.0);
                let whole = if *given == Some(k) { 1.0 } else { 0.0 };
                row.extend(choices[k].map(|choice| (choice, -1.0)));
                if !row.is_empty() || whole > 0.0 {
                    self.row(row, ComparisonOp::Eq, whole);
                }
            }
            self.choices.push(choices);
            self.shares.push(shares);
        }
    }

    /// The nodes there must be for what they are to do.
    fn add_counts(&mut self, model: &Model, held: Option<&Held>) {
        let mut columns: Vec<Option<Variable>> = vec![None; model.classes.len()];
        for (class, entry) in model.classes.iter().enumerate() {
            let most = entry.nodes.len() as f64;
            let mut whole = Vec::new();
            for Group { line, usd_per_h, users } in self.groups(model, class) {
                let held = held.and_then(|held| held[line][class]);
                let range = held.map_or((0.0, most), |count| (count, count));
                let column = self.problem.add_var(usd_per_h, range);
                if model.mode == Mode::Shared {
                    let mut load = vec![(column, -1.0)];
                    load.extend(self.loads(model, class, &users));
                    self.row(load, ComparisonOp::Le, 0.0);
                    self.add_hosts(model, class, &users, column);
                }
                for of_stage in users.chunk_by(|a, b| a.0 == b.0) {
                    let load = self.loads(model, class, of_stage);
                    if model.mode != Mode::Shared || load.iter().any(|(_, work)| *work < 1.0) {
                        self.pay_whole(load, column);
                    }
                }
                if let Some(twin) = entry.twin.and_then(|twin| columns[twin]) {
                    // Of nodes that are the same, the first are used first.
                    self.row(vec![(column, 1.0), (twin, -1.0)], ComparisonOp::Le, 0.0);
                }
                columns[class] = Some(column);
                let variant = users.iter().all(|user| *user == users[0]).then_some(users[0].1);
                self.counts.push(Count { class, line, variant, column });
                whole.push((column, 1.0));
            }
            if whole.len() > 1 {
                self.row(whole, ComparisonOp::Le, most);
            }
        }
    }

    /// Whole nodes that take a demand together do so in whole parts as well: for any number of parts, those that a node
    /// can take, rounded up, are at least all of them. Of the numbers that make one class whole, those that say most.
    fn add_covers(&mut self, model: &Model, given: &Given) {
        for (v, stage) in model.stages.iter().enumerate().filter(|(_, stage)| stage.rate_per_s > 0.0) {
            let able = |count: &Count| {
                let may =
                    |k: &usize| count.variant.is_none_or(|of| of == *k) && given[v].is_none_or(|of| of == *k);
                let works = (0..stage.work.len()).filter(may).filter_map(|k| stage.work[k][count.class]);
                works.map(|work| (1.0 / work.max(1e-9)).min(1.0)).fold(0.0, f64::max)
            };
            let counts = self.counts.iter().filter(|count| count.line == v);
            let known: Vec<(Variable, f64, f64)> = counts
                .map(|count| (count.column, able(count), model.classes[count.class].usd_per_h))
                .filter(|(_, able, _)| *able > 0.0)
                .collect();
            let mut covers: Vec<(f64, Terms, f64)> = Vec::new();
            for (_, able, _) in &known {
                let parts = (1.0 - COVER_MARGIN) / able;
                let all = (parts - COVER_MARGIN).ceil();
                let taken = |able: f64| (parts * able).ceil();
                let usd = known.iter().map(|(_, able, usd)| usd * all / taken(*able));
                let terms = known.iter().map(|(column, able, _)| (*column, taken(*able))).collect();
                covers.push((usd.fold(f64::INFINITY, f64::min), terms, all));
            }
            covers.sort_by(|a, b| b.0.total_cmp(&a.0));
            covers.dedup_by(|a, b| a.1 == b.1);
            for (_, terms, all) in covers.into_iter().take(COVERS) {
                self.row(terms, ComparisonOp::Ge, all);
            }
        }
    }

    /// Who has nodes of a class counted together.
    fn groups(&self, model: &Model, class: usize) -> Vec<Group> {
        let usd_per_h = model.classes[class].usd_per_h;
        let stages = (0..model.stages.len()).filter(|v| model.stages[*v].rate_per_s > 0.0);
        let pairs = stages.flat_map(|v| (0..self.shares[v].len()).map(move |k| (v, k)));
        let users: Vec<(usize, usize)> =
            pairs.filter(|(v, k)| self.shares[*v][*k][class].is_some()).collect();
        if model.mode == Mode::Shared {
            let line = 0;
            return if users.is_empty() { Vec::new() } else { vec![Group { line, usd_per_h, users }] };
        }
        // A start has its price by variant.
        let is_same = |a: &(usize, usize), b: &(usize, usize)| a.0 == b.0 && model.usd_per_start == 0.0;
        let group = |users: &[(usize, usize)]| Group {
            line: users[0].0,
            usd_per_h: usd_per_h + model.start_usd(users[0].0, users[0].1, class),
            users: users.to_vec(),
        };
        users.chunk_by(is_same).map(group).collect()
    }

    /// What stages and variants ask of the nodes of a class.
    fn loads(&self, model: &Model, class: usize, users: &[(usize, usize)]) -> Terms {
        let load =
            |(v, k): &(usize, usize)| Some((self.shares[*v][*k][class]?, model.stages[*v].work[*k][class]?));
        users.iter().filter_map(load).collect()
    }

    /// Where memory may bind or a start has a price: what each node hosts, and that it can hold it.
    fn add_hosts(&mut self, model: &Model, class: usize, users: &[(usize, usize)], count: Variable) {
        let entry = &model.classes[class];
        let mut memory = Vec::new();
        for (&(v, k), (share, work)) in users.iter().zip(self.loads(model, class, users)) {
            let memory_mb =
                entry.memory_mb.map_or(0.0, |most| model.stages[v].memory_mb[k][class] / most.max(1e-6));
            let usd = model.start_usd(v, k, class);
            if entry.is_apart && (memory_mb > 0.0 || usd > 0.0) {
                let column = self.problem.add_var(usd, (0.0, 1.0));
                self.row(vec![(share, work.max(1.0)), (column, -1.0)], ComparisonOp::Le, 0.0);
                self.row(vec![(column, 1.0), (count, -1.0)], ComparisonOp::Le, 0.0);
                self.hosts.push(Host { share, column });
                memory.push((column, memory_mb));
            } else {
                memory.push((share, memory_mb * work.max(1.0)));
            }
        }
        if entry.memory_mb.is_some() {
            memory.push((count, -1.0));
            self.row(memory, ComparisonOp::Le, 0.0);
        }
    }

    /// A whole node is paid for any share: of a node that could take more than all of the demand, the load alone
    /// would ask for less.
    fn pay_whole(&mut self, load: Terms, column: Variable) {
        let mut row: Vec<_> = load.into_iter().map(|(share, work)| (share, work.max(1.0))).collect();
        row.push((column, -1.0));
        self.row(row, ComparisonOp::Le, 0.0);
    }

    /// A stage that uses a tier keeps those it feeds at or above that tier.
    fn add_heights(&mut self, model: &Model) {
        let mut tiers: Vec<u32> = model.tiers.clone();
        tiers.sort_unstable();
        tiers.dedup();
        for tier in tiers.into_iter().skip(1) {
            let is_high = |class: usize| model.tiers[model.classes[class].site] >= tier;
            for u in 0..model.stages.len() {
                let fed: Vec<usize> = model
                    .edges
                    .iter()
                    .filter(|edge| edge.from == End::Stage(u))
                    .map(|edge| edge.to)
                    .collect();
                if fed.is_empty() {
                    continue;
                }
                let height = self.problem.add_var(0.0, (0.0, 1.0));
                let mut row = terms(self.shares_where(u, is_high), 1.0);
                row.push((height, -1.0));
                self.row(row, ComparisonOp::Le, 0.0);
                for v in fed {
                    let mut row = terms(self.shares_where(v, |class| !is_high(class)), 1.0);
                    row.push((height, 1.0));
                    self.row(row, ComparisonOp::Le, 1.0);
                }
                self.heights.push(height);
            }
        }
    }

    fn shares_where(&self, stage: usize, wanted: impl Fn(usize) -> bool) -> Vec<Option<Variable>> {
        let shares = self.shares[stage].iter().flat_map(|by_class| by_class.iter().enumerate());
        shares.filter(|(class, _)| wanted(*class)).map(|(_, share)| *share).collect()
    }

    /// What leaves a site is what is made there; what reaches it is what is used there.
    fn add_routes(&mut self, model: &Model) {
        let mut loads: BTreeMap<(usize, usize), Terms> = BTreeMap::new();
        for (number, edge) in model.edges.iter().enumerate() {
            let targets = model.sites_of(edge.to);
            let mut arrivals: BTreeMap<usize, Terms> = BTreeMap::new();
            for (kb_per_s, variants) in sizes(self, edge) {
                for (from, mut leaving, made) in self.departures(model, edge, &variants) {
                    for &to in &targets {
                        let Some(way) = model.way(edge.to, from, to) else { continue };
                        let usd_per_h = kb_per_s * GB_PER_H * way.usd_per_gb;
                        let column = self.problem.add_var(usd_per_h, (0.0, 1.0));
                        leaving.push((column, 1.0));
                        arrivals.entry(to).or_default().push((column, 1.0));
                        if way.mbit_per_s.is_some() && kb_per_s > 0.0 {
                            loads.entry((from, to)).or_default().push((column, kb_per_s * MBIT_PER_S));
                        }
                        self.routes.push(Route { edge: number, from, to, column });
                    }
                    self.row(leaving, ComparisonOp::Eq, made);
                }
            }
            for site in targets {
                let mut row = arrivals.remove(&site).unwrap_or_default();
                let here = self.shares_where(edge.to, |class| model.classes[class].site == site);
                row.extend(terms(here, -1.0));
                self.row(row, ComparisonOp::Eq, 0.0);
            }
        }
        for ((from, to), load) in loads {
            let most = model.links[from][to].and_then(|way| way.mbit_per_s).unwrap_or(f64::INFINITY);
            let load = load.into_iter().map(|(column, mbit)| (column, mbit / most.max(1e-6))).collect();
            self.row(load, ComparisonOp::Le, 1.0);
        }
    }

    /// The sites that variants of an input send from: what they send less of it, and what a source sends.
    fn departures(&self, model: &Model, edge: &Flow, variants: &[usize]) -> Vec<(usize, Terms, f64)> {
        match edge.from {
            End::Source(site) => vec![(site, Vec::new(), 1.0)],
            End::Stage(u) => {
                let here = |site: usize| {
                    let shares = variants.iter().flat_map(|k| self.shares[u][*k].iter().enumerate());
                    let shares = shares.filter(|(class, _)| model.classes[*class].site == site);
                    terms(shares.map(|(_, share)| *share), -1.0)
                };
                let sites = model.sites_of(u).into_iter().map(|site| (site, here(site), 0.0));
                sites.filter(|(_, leaving, _)| !leaving.is_empty()).collect()
            }
        }
    }

    /// A stage takes at least the mean of its nodes, an edge that of its ways, and a path what they take together.
    fn add_latency(&mut self, model: &Model, most: f64) {
        let scale = most.max(1e-6);
        self.worst = vec![None; model.stages.len()];
        self.longest = vec![None; model.edges.len()];
        let until: Vec<Variable> =
            model.stages.iter().map(|_| self.problem.add_var(0.0, (0.0, most / scale))).collect();
        for (v, stage) in model.stages.iter().enumerate().filter(|(_, stage)| stage.rate_per_s > 0.0) {
            let shares = self.shares[v].iter().zip(&stage.latency_ms);
            let shares = shares.flat_map(|(by_class, ms)| by_class.iter().zip(ms));
            let row = shares.filter_map(|(share, ms)| Some(((*share)?, ms / scale))).collect();
            self.worst[v] = Some(self.at_least(row));
        }
        for (number, edge) in model.edges.iter().enumerate() {
            let round_trip = |route: &Route| {
                let way = model.way(edge.to, route.from, route.to);
                (route.column, way.map_or(0.0, |way| way.round_trip_ms) / scale)
            };
            let row: Terms =
                self.routes.iter().filter(|route| route.edge == number).map(round_trip).collect();
            if row.iter().any(|(_, ms)| *ms > 0.0) {
                self.longest[number] = Some(self.at_least(row));
            }
            let mut row = vec![(until[edge.to], -1.0)];
            row.extend(
                self.worst[edge.to].into_iter().chain(self.longest[number]).map(|column| (column, 1.0)),
            );
            if let End::Stage(from) = edge.from {
                row.push((until[from], 1.0));
            }
            self.row(row, ComparisonOp::Le, 0.0);
        }
    }

    /// A column that is no less than a sum.
    fn at_least(&mut self, mut row: Terms) -> Variable {
        let column = self.problem.add_var(0.0, (0.0, 1.0));
        row.push((column, -1.0));
        self.row(row, ComparisonOp::Le, 0.0);
        column
    }

    fn add_accuracy(&mut self, model: &Model, given: &Given) {
        match &model.accuracy {
            Allowed::All => {}
            Allowed::Loss { losses, most } => {
                let mut row = Vec::new();
                let mut left = *most;
                for (v, by_variant) in losses.iter().enumerate() {
                    left -= given[v].map_or(0.0, |k| by_variant[k]);
                    let choices = self.choices[v].iter().zip(by_variant);
                    row.extend(choices.filter_map(|(choice, loss)| choice.map(|choice| (choice, *loss))));
                }
                // A floor that is met exactly is met.
                self.row(row, ComparisonOp::Le, left + 1e-9);
            }
            Allowed::Rows { stages, rows } => {
                let fits = |row: &&Vec<usize>| {
                    stages.iter().zip(row.iter()).all(|(v, k)| given[*v].is_none_or(|variant| variant == *k))
                };
                let rows: Vec<&Vec<usize>> = rows.iter().filter(fits).collect();
                let columns: Vec<Variable> =
                    rows.iter().map(|_| self.problem.add_var(0.0, (0.0, 1.0))).collect();
                self.row(columns.iter().map(|column| (*column, 1.0)).collect(), ComparisonOp::Eq, 1.0);
                for (at, v) in stages.iter().enumerate().filter(|(_, v)| given[**v].is_none()) {
                    for k in 0..self.choices[*v].len() {
                        let chosen = rows.iter().zip(&columns).filter(|(row, _)| row[at] == k);
                        let mut terms: Vec<_> = chosen.map(|(_, column)| (*column, 1.0)).collect();
                        terms.extend(self.choices[*v][k].map(|choice| (choice, -1.0)));
                        self.row(terms, ComparisonOp::Eq, 0.0);
                    }
                }
            }
        }
    }
}

/// Stages and variants that have nodes of a class counted together.
struct Group {
    /// Of what is held.
    line: usize,
    usd_per_h: f64,
    /// Those of a stage after each other.
    users: Vec<(usize, usize)>,
}

/// The different sizes of a stream's items, and the variants that send them.
fn sizes(program: &Program, edge: &Flow) -> Vec<(f64, Vec<usize>)> {
    let End::Stage(u) = edge.from else { return vec![(edge.kb_per_s[0], vec![0])] };
    let mut sizes: Vec<(f64, Vec<usize>)> = Vec::new();
    for (k, kb_per_s) in edge.kb_per_s.iter().enumerate() {
        if program.shares[u][k].iter().all(Option::is_none) {
            continue;
        }
        match sizes.iter_mut().find(|(size, _)| size == kb_per_s) {
            Some((_, variants)) => variants.push(k),
            None => sizes.push((*kb_per_s, vec![k])),
        }
    }
    sizes
}

fn terms(columns: impl IntoIterator<Item = Option<Variable>>, factor: f64) -> Terms {
    columns.into_iter().flatten().map(|column| (column, factor)).collect()
}

/// What became of a relaxation.
pub(super) enum Relaxed {
    /// Its optimum.
    Solved(Solution),
    /// It has no solution, proved.
    Infeasible,
    /// The arithmetic failed: nothing is known.
    Unknown,
}

/// A change of a relaxation that narrows it.
#[derive(Clone, Debug)]
pub(super) enum Cut {
    Fix(Variable, f64),
    AtMost(Variable, f64),
    AtLeast(Variable, f64),
    /// None of these.
    Without(Vec<Variable>),
}

impl Cut {
    /// The optimum of the narrowed relaxation.
    pub(super) fn apply(self, solution: Solution) -> Relaxed {
        let single = |column: Variable| -> LinearExpr { [(column, 1.0)].as_slice().into() };
        read(match self {
            Self::Fix(column, value) => solution.fix_var(column, value),
            Self::AtMost(column, bound) => solution.add_constraint(single(column), ComparisonOp::Le, bound),
            Self::AtLeast(column, bound) => solution.add_constraint(single(column), ComparisonOp::Ge, bound),
            Self::Without(columns) => {
                let sum: Terms = columns.into_iter().map(|column| (column, 1.0)).collect();
                solution.add_constraint(sum.as_slice(), ComparisonOp::Le, 0.0)
            }
        })
    }
}

fn read(outcome: Result<SolveOutcome, microlp::Error>) -> Relaxed {
    match outcome {
        Ok(SolveOutcome::Solution(solution)) => Relaxed::Solved(solution),
        Err(microlp::Error::Infeasible) => Relaxed::Infeasible,
        _ => Relaxed::Unknown,
    }
}
