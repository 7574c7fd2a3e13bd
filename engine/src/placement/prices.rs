//! A bound for problems too large for a linear program of all nodes: what shares of stages are worth, by site.
//!
//! At given prices every node earns what its best stage pays, less its own price, or stands still; and the stages
//! choose variants and sites as if all of that were on offer. What both come to no plan can be below, whatever the
//! prices are; they are moved to where that bound is highest, against what is asked and not offered (a subgradient).

use super::model::{Allowed, End, GB_PER_H, Model};
use super::program::Given;
use super::tableau::{Line, Tableau};

/// How far a step goes at first, as a part of the way that would close the gap if the bound were straight.
const REACH: f64 = 0.5;

/// After how many steps without a better bound steps get shorter.
const PATIENCE: u32 = 12;

/// How much of the last direction is kept.
const MEMORY: f64 = 0.6;

/// Moves for a part of the choices, from the prices of the whole.
const MOVES_OF_PART: u32 = 40;

/// How much of the choices before is kept in their mean.
const INERTIA: f64 = 0.9;

/// Columns by stage, variant and site.
type Shares = Vec<Vec<Vec<Option<usize>>>>;

/// Prices, and the best bound so far.
pub(super) struct Prices<'a> {
    model: &'a Model,
    tableau: Tableau,
    shares: Shares,
    /// By column of a share: dollars per hour of all of a stage's demand.
    usd_per_h: Vec<f64>,
    direction: Vec<f64>,
    best: f64,
    best_usd_per_h: Vec<f64>,
    reach: f64,
    failed: u32,
    /// By stage and variant: its column, and how much it was chosen of late.
    choices: Vec<Vec<usize>>,
    chosen: Vec<Vec<f64>>,
    /// The variants of the part where the bound is lowest.
    lead: Given,
}

/// A part of all plans: those with some variants.
#[derive(Clone)]
struct Part {
    bound: f64,
    given: Given,
    usd_per_h: Vec<f64>,
    chosen: Vec<Vec<f64>>,
}

impl<'a> Prices<'a> {
    /// Begins with what the cheapest node for it takes, for each stage and variant at each site.
    pub(super) fn new(model: &'a Model) -> Self {
        let (tableau, shares, count, choices) = program(model);
        let mut usd_per_h = vec![0.0; count];
        for (v, by_variant) in shares.iter().enumerate() {
            for (k, by_site) in by_variant.iter().enumerate() {
                for (site, column) in by_site.iter().enumerate() {
                    let Some(column) = *column else { continue };
                    let classes = model.classes.iter().zip(&model.stages[v].work[k]);
                    let usd = classes
                        .filter(|(class, _)| class.site == site)
                        .filter_map(|(class, work)| Some((*work)? * class.usd_per_h));
                    usd_per_h[column] = usd.fold(f64::INFINITY, f64::min);
                }
            }
        }
        let best_usd_per_h = usd_per_h.clone();
        let direction = vec![0.0; count];
        let best = f64::NEG_INFINITY;
        Self {
            model,
            tableau,
            shares,
            usd_per_h,
            direction,
            best,
            best_usd_per_h,
            reach: REACH,
            failed: 0,
            chosen: choices.iter().map(|of| vec![0.0; of.len()]).collect(),
            lead: vec![None; choices.len()],
            choices,
        }
    }

    /// No plan costs less, in dollars per hour.
    pub(super) fn bound(&self) -> f64 {
        self.best
    }

    /// Tells variants apart: the bound becomes that of the part of all plans where it is lowest. Goes on while that may
    /// be cheaper than a known plan, and it is allowed to.
    pub(super) fn divide(&mut self, cost_usd_per_h: f64, go_on: &mut dyn FnMut() -> bool) {
        let given = vec![None; self.choices.len()];
        let usd_per_h = self.best_usd_per_h.clone();
        let mut open = vec![Part { bound: self.best, given, usd_per_h, chosen: self.chosen.clone() }];
        let mut closed = f64::INFINITY;
        let root = self.best;
        loop {
            let least = (0..open.len()).min_by(|a, b| open[*a].bound.total_cmp(&open[*b].bound));
            let Some(least) = least else { break };
            let doubt = |v: &usize| open[least].chosen[*v].iter().map(|z| z * (1.0 - z)).sum::<f64>();
            let free = (0..self.choices.len()).filter(|v| open[least].given[*v].is_none());
            let stage = free.max_by(|a, b| doubt(a).total_cmp(&doubt(b)));
            if open[least].bound >= cost_usd_per_h || !go_on() {
                break;
            }
            let part = open.swap_remove(least);
            let Some(stage) = stage else {
                closed = closed.min(part.bound);
                continue;
            };
            for variant in 0..self.choices[stage].len() {
                let mut given = part.given.clone();
                given[stage] = Some(variant);
                open.extend(self.part(&part, given, cost_usd_per_h));
            }
        }
        let bound = open.iter().map(|part| part.bound).fold(closed, f64::min);
        if let Some(lead) = open.into_iter().min_by(|a, b| a.bound.total_cmp(&b.bound)) {
            (self.lead, self.best_usd_per_h, self.chosen) = (lead.given, lead.usd_per_h, lead.chosen);
        }
        self.best = root.max(bound.min(cost_usd_per_h));
        self.narrow(&vec![None; self.choices.len()]);
    }

    fn narrow(&mut self, given: &Given) {
        for (columns, given) in self.choices.iter().zip(given) {
            for (k, column) in columns.iter().enumerate() {
                let may = given.is_none_or(|variant| variant == k);
                self.tableau.set_upper(*column, f64::from(u8::from(may)));
            }
        }
    }

    /// A part of another, with the best bound that some moves find; nothing if it holds no plan.
    fn part(&mut self, of: &Part, given: Given, cost_usd_per_h: f64) -> Option<Part> {
        self.narrow(&given);
        self.usd_per_h.clone_from(&of.usd_per_h);
        self.best_usd_per_h.clone_from(&of.usd_per_h);
        self.chosen.clone_from(&of.chosen);
        self.direction.fill(0.0);
        (self.best, self.reach, self.failed) = (f64::NEG_INFINITY, REACH, 0);
        if self.tableau.solve().is_none() {
            // It may be the arithmetic that failed: then the bound of the whole holds.
            return self.is_possible(&given).then(|| Part { given, ..of.clone() });
        }
        for _ in 0..MOVES_OF_PART {
            if self.best >= cost_usd_per_h || !self.step(cost_usd_per_h) {
                break;
            }
        }
        let (usd_per_h, chosen) = (self.best_usd_per_h.clone(), self.chosen.clone());
        Some(Part { bound: self.best.max(of.bound), given, usd_per_h, chosen })
    }

    /// Whether some variants that can run somewhere meet the floor beside those that are given.
    fn is_possible(&self, given: &Given) -> bool {
        let may =
            |v: usize, k: usize| given[v].is_none_or(|variant| variant == k) && self.model.stages[v].can(k);
        let variants = |v: usize| (0..self.choices[v].len()).filter(move |k| may(v, *k));
        let all = (0..given.len()).all(|v| variants(v).next().is_some());
        all && match &self.model.accuracy {
            Allowed::All => true,
            Allowed::Loss { losses, most } => {
                let least = |v: usize| variants(v).map(|k| losses[v][k]).fold(f64::INFINITY, f64::min);
                (0..given.len()).map(least).sum::<f64>() <= most + 1e-9
            }
            Allowed::Rows { stages, rows } => {
                rows.iter().any(|row| stages.iter().zip(row).all(|(v, k)| may(*v, *k)))
            }
        }
    }

    /// By class: what a node of it is worth at the best prices, if more than it costs.
    pub(super) fn worths(&self) -> Vec<f64> {
        let worth = |class: usize| self.answer(class, &self.best_usd_per_h).map_or(0.0, |(worth, _)| worth);
        (0..self.model.classes.len()).map(|c| worth(c).max(self.model.classes[c].usd_per_h)).collect()
    }

    /// The variants of the part where the bound is lowest.
    pub(super) fn lead(&self) -> &Given {
        &self.lead
    }

    /// What a node of a class earns at most, by which column, and what part of the demand it takes there.
    fn answer(&self, class: usize, usd_per_h: &[f64]) -> Option<(f64, (usize, f64))> {
        let site = self.model.classes[class].site;
        let mut best: Option<(f64, (usize, f64))> = None;
        for (v, stage) in self.model.stages.iter().enumerate() {
            for (k, by_class) in stage.work.iter().enumerate() {
                let (Some(work), Some(column)) = (by_class[class], self.shares[v][k][site]) else { continue };
                let able = 1.0 / work.max(1e-9);
                let earns = usd_per_h[column] * able;
                if best.is_none_or(|(known, _)| earns > known) {
                    best = Some((earns, (column, able)));
                }
            }
        }
        best
    }

    /// Moves the prices once, towards a bound that a known plan's cost is the aim for. Whether the bound holds
    /// something that could be better yet; nothing meets all rows if there is no plan at all.
    pub(super) fn step(&mut self, cost_usd_per_h: f64) -> bool {
        for (column, usd) in self.usd_per_h.iter().enumerate() {
            self.tableau.set_usd(column, *usd);
        }
        if self.tableau.solve().is_none() {
            return false;
        }
        for (known, columns) in self.chosen.iter_mut().zip(&self.choices) {
            for (known, column) in known.iter_mut().zip(columns) {
                *known = INERTIA * *known + (1.0 - INERTIA) * self.tableau.value(*column);
            }
        }
        let mut sum = self.tableau.bound();
        let mut asked: Vec<f64> =
            (0..self.usd_per_h.len()).map(|column| self.tableau.value(column)).collect();
        for (c, class) in self.model.classes.iter().enumerate() {
            let Some((earns, (column, able))) = self.answer(c, &self.usd_per_h) else { continue };
            let count = class.nodes.len() as f64;
            if earns > class.usd_per_h {
                sum -= (earns - class.usd_per_h) * count;
                asked[column] -= able * count;
            }
        }
        if sum > self.best {
            self.failed = if sum > self.best + 1e-4 * sum.abs() { 0 } else { self.failed + 1 };
            self.best = sum;
            self.best_usd_per_h.clone_from(&self.usd_per_h);
        } else {
            self.failed += 1;
        }
        if self.failed >= PATIENCE {
            self.failed = 0;
            self.reach *= 0.7;
            self.usd_per_h.clone_from(&self.best_usd_per_h);
            self.direction.fill(0.0);
            return self.reach > 1e-3;
        }
        for (direction, asked) in self.direction.iter_mut().zip(&asked) {
            *direction = *direction * MEMORY + asked;
        }
        let square: f64 = self.direction.iter().map(|by| by * by).sum();
        let aim = if cost_usd_per_h.is_finite() { cost_usd_per_h } else { self.best.abs() * 1.1 };
        let length = self.reach * (aim - sum).max(0.0) / square.max(1e-12);
        for (usd, direction) in self.usd_per_h.iter_mut().zip(&self.direction) {
            *usd = (*usd + length * direction).max(0.0);
        }
        square > 1e-12
    }
}

/// The program of what stages ask at which site, in which variant: columns of shares first. How many of those, and
/// the columns of the variants.
fn program(model: &Model) -> (Tableau, Shares, usize, Vec<Vec<usize>>) {
    let mut count = 0;
    let mut lines = Vec::new();
    let mut column = || {
        count += 1;
        count - 1
    };
    let busy = |v: usize| model.stages[v].rate_per_s > 0.0;
    let can = |v: usize, k: usize, site: usize| {
        let work = model.stages[v].work[k].iter().zip(&model.classes);
        work.into_iter().any(|(work, class)| work.is_some() && class.site == site)
    };
    let sites = model.tiers.len();
    let shares: Shares = (0..model.stages.len())
        .map(|v| {
            let variants = 0..model.stages[v].work.len();
            let by_site =
                |k: usize| (0..sites).map(|s| (busy(v) && can(v, k, s)).then(&mut column)).collect();
            variants.map(by_site).collect()
        })
        .collect();
    let of_shares = shares.iter().flatten().flatten().flatten().count();
    let choices: Vec<Vec<usize>> =
        model.stages.iter().map(|stage| stage.work.iter().map(|_| column()).collect()).collect();
    for (v, by_variant) in choices.iter().enumerate() {
        let all =
            by_variant.iter().enumerate().filter(|(k, _)| model.stages[v].can(*k)).map(|(_, c)| (*c, 1.0));
        lines.push(exact(all.collect(), 1.0));
        for (k, choice) in by_variant.iter().enumerate().filter(|_| busy(v)) {
            let mut terms: Vec<(usize, f64)> =
                shares[v][k].iter().flatten().map(|share| (*share, 1.0)).collect();
            terms.push((*choice, -1.0));
            lines.push(exact(terms, 0.0));
        }
    }
    let mut usd = Vec::new();
    for edge in 0..model.edges.len() {
        add_edge(model, edge, &shares, &mut column, &mut lines, &mut usd);
    }
    add_accuracy(model, &choices, &mut column, &mut lines);
    let mut tableau = Tableau::new(&vec![1.0; count], &lines);
    usd.into_iter().for_each(|(column, usd)| tableau.set_usd(column, usd));
    (tableau, shares, of_shares, choices)
}

fn exact(terms: Vec<(usize, f64)>, bound: f64) -> Line {
    Line { terms, bound, is_exact: true }
}

/// What crosses between sites of a stream, by the size of its items; what it costs.
fn add_edge(
    model: &Model,
    number: usize,
    shares: &Shares,
    column: &mut impl FnMut() -> usize,
    lines: &mut Vec<Line>,
    usd: &mut Vec<(usize, f64)>,
) {
    let edge = &model.edges[number];
    let sites = model.tiers.len();
    let mut sizes: Vec<(f64, Vec<usize>)> = Vec::new();
    for (k, kb_per_s) in edge.kb_per_s.iter().enumerate() {
        match sizes.iter_mut().find(|(size, _)| size == kb_per_s) {
            Some((_, variants)) => variants.push(k),
            None => sizes.push((*kb_per_s, vec![k])),
        }
    }
    let taken = |site: usize| shares[edge.to].iter().filter_map(move |by_site| by_site[site]);
    let mut balances: Vec<(Vec<(usize, f64)>, f64)> =
        (0..sites).map(|site| (taken(site).map(|share| (share, 1.0)).collect(), 0.0)).collect();
    for (kb_per_s, variants) in &sizes {
        for from in 0..sites {
            let made: Vec<usize> = match edge.from {
                End::Source(_) => Vec::new(),
                End::Stage(u) => variants.iter().filter_map(|k| shares[u][*k][from]).collect(),
            };
            let given = if edge.from == End::Source(from) { 1.0 } else { 0.0 };
            if made.is_empty() && given == 0.0 {
                continue;
            }
            balances[from].1 += given;
            balances[from].0.extend(made.iter().map(|share| (*share, -1.0)));
            let mut leaving: Vec<(usize, f64)> = Vec::new();
            for to in (0..sites).filter(|to| *to != from && taken(*to).next().is_some()) {
                let Some(way) = model.way(edge.to, from, to) else { continue };
                let crossing = column();
                usd.push((crossing, kb_per_s * GB_PER_H * way.usd_per_gb));
                leaving.push((crossing, 1.0));
                balances[from].0.push((crossing, 1.0));
                balances[to].0.push((crossing, -1.0));
            }
            // No more leaves a site than is made there.
            leaving.extend(made.iter().map(|share| (*share, -1.0)));
            lines.push(Line { terms: leaving, bound: given, is_exact: false });
        }
    }
    balances.retain(|(terms, bound)| !terms.is_empty() || *bound != 0.0);
    lines.extend(balances.into_iter().map(|(terms, bound)| exact(terms, bound)));
}

fn add_accuracy(
    model: &Model,
    choices: &[Vec<usize>],
    column: &mut impl FnMut() -> usize,
    lines: &mut Vec<Line>,
) {
    match &model.accuracy {
        Allowed::All => {}
        Allowed::Loss { losses, most } => {
            let all = choices.iter().flatten().copied().zip(losses.iter().flatten().copied());
            lines.push(Line { terms: all.collect(), bound: most + 1e-9, is_exact: false });
        }
        Allowed::Rows { stages, rows } => {
            let chosen: Vec<usize> = rows.iter().map(|_| column()).collect();
            lines.push(exact(chosen.iter().map(|row| (*row, 1.0)).collect(), 1.0));
            for (at, v) in stages.iter().enumerate() {
                for (k, choice) in choices[*v].iter().enumerate() {
                    let with = rows.iter().zip(&chosen).filter(|(row, _)| row[at] == k);
                    let mut terms: Vec<(usize, f64)> = with.map(|(_, chosen)| (*chosen, 1.0)).collect();
                    terms.push((*choice, -1.0));
                    lines.push(exact(terms, 0.0));
                }
            }
        }
    }
}
