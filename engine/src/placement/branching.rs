//! What to make whole next in a solution of the linear program, and the parts that this leads to.

use microlp::{Solution, Variable};

use super::model::{End, Model};
use super::program::{Count, Cut, Given, Host, Program, Route};
use super::reading::NOTHING;

/// How far from a whole number is whole.
pub(super) const WHOLE: f64 = 1e-6;

/// How far a path may be beyond its bound, relatively, and still count as at it; the judge allows more.
const LATE: f64 = 1e-7;

/// What must be whole and is not.
#[derive(Clone)]
pub(super) enum Undecided {
    /// A variant, or whether a node hosts a stage.
    Choice(Variable),
    Host(Variable),
    Height(Variable, f64),
    Count(Variable, f64),
    /// A stage or an edge takes longer than its column says: that, or none of what is so slow.
    Late(Variable, f64, Vec<Variable>),
}

impl Undecided {
    /// Two parts that hold every plan between them.
    pub(super) fn cuts(self) -> [Cut; 2] {
        match self {
            Self::Choice(column) | Self::Host(column) | Self::Height(column, _) => {
                [Cut::Fix(column, 1.0), Cut::Fix(column, 0.0)]
            }
            Self::Count(column, value) => {
                [Cut::AtMost(column, value.floor()), Cut::AtLeast(column, value.ceil())]
            }
            Self::Late(column, value, slow) => [Cut::Without(slow), Cut::AtLeast(column, value)],
        }
    }

    /// The value to try, and the one to try if that leads nowhere.
    pub(super) fn values(self, taste: Taste) -> [Cut; 2] {
        match self {
            Self::Choice(_) | Self::Late(..) => self.cuts(),
            Self::Host(column) => [0.0, 1.0].map(|value| Cut::Fix(column, value)),
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
pub(super) enum Taste {
    /// Up, those first that lack least.
    Up,
    /// To the nearest, those first that are nearest.
    Near,
    /// Down, the dearest nodes first.
    Frugal,
}

impl Taste {
    pub(super) fn turn(turn: u64) -> Self {
        [Self::Up, Self::Frugal, Self::Near][turn as usize % 3]
    }
}

/// The variant to choose next, of the stages that are not given one: what is nearest to chosen, yet in doubt, else what
/// is chosen anyway.
pub(super) fn open_choice(
    program: &Program,
    given: &Given,
    solution: &Solution,
) -> Option<(Variable, usize, usize)> {
    let most = |stage: usize| {
        let choices = program.choices[stage].iter().enumerate();
        let choices = choices.filter_map(|(k, column)| Some((k, (*column)?, solution.var_value((*column)?))));
        choices.max_by(|a, b| a.2.total_cmp(&b.2)).map(|(k, column, value)| (column, stage, k, value))
    };
    let open = (0..given.len()).filter(|stage| given[*stage].is_none()).filter_map(most);
    let sure = |value: f64| if value > 1.0 - WHOLE { -1.0 } else { value };
    let next = open.max_by(|a, b| sure(a.3).total_cmp(&sure(b.3)));
    next.map(|(column, stage, variant, _)| (column, stage, variant))
}

fn fraction(value: f64) -> f64 {
    (value - value.round()).abs()
}

/// What to branch on next: a variant, else a tier, else the number of nodes with most money in doubt, else what a node
/// hosts, else what is late.
pub(super) fn undecided(model: &Model, program: &Program, solution: &Solution) -> Option<Undecided> {
    let doubt = |count: &Count| {
        (fraction(solution.var_value(count.column)) + 0.1) * model.classes[count.class].usd_per_h
    };
    let count = || {
        let worst = open_counts(program, solution).max_by(|a, b| doubt(a).total_cmp(&doubt(b)))?;
        Some(Undecided::Count(worst.column, solution.var_value(worst.column)))
    };
    let first = choice_or_height(program, solution).or_else(count);
    first.or_else(|| host(program, solution)).or_else(|| late(model, program, solution))
}

/// What to round next: a variant, else a tier, else a number of nodes by taste, else the rest.
pub(super) fn nearest(
    model: &Model,
    program: &Program,
    solution: &Solution,
    taste: Taste,
) -> Option<Undecided> {
    let distance = |count: &Count| {
        let value = solution.var_value(count.column);
        match taste {
            Taste::Up => value.ceil() - value,
            Taste::Near => fraction(value),
            Taste::Frugal => -model.classes[count.class].usd_per_h,
        }
    };
    let count = || {
        let nearest = open_counts(program, solution).min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        Some(Undecided::Count(nearest.column, solution.var_value(nearest.column)))
    };
    let first = choice_or_height(program, solution).or_else(count);
    first.or_else(|| host(program, solution)).or_else(|| late(model, program, solution))
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

/// The stage that a node hosts least of, while it is not said whether it does.
fn host(program: &Program, solution: &Solution) -> Option<Undecided> {
    let value = |host: &Host| solution.var_value(host.column);
    let open = program.hosts.iter().filter(|host| solution.var_value(host.share) >= NOTHING);
    let open = open.filter(|host| value(host) < 1.0 - WHOLE);
    open.min_by(|a, b| value(a).total_cmp(&value(b))).map(|host| Undecided::Host(host.column))
}

/// Of the first path that takes longer than it may: the stage or edge whose column says the least of it.
fn late(model: &Model, program: &Program, solution: &Solution) -> Option<Undecided> {
    let most = model.p95_ms_max?;
    let is_used = |column: &Variable| solution.var_value(*column) >= NOTHING;
    let stage = |v: usize| {
        let shares = program.shares[v].iter().flatten().zip(model.stages[v].latency_ms.iter().flatten());
        shares.filter_map(|(share, ms)| Some(((*share)?, *ms))).collect::<Vec<_>>()
    };
    let edge = |number: usize| {
        let routes = program.routes.iter().filter(|route| route.edge == number);
        let ms = |route: &Route| {
            let way = model.way(model.edges[number].to, route.from, route.to);
            (route.column, way.map_or(0.0, |way| way.round_trip_ms))
        };
        routes.map(ms).collect::<Vec<_>>()
    };
    let takes = |parts: &[(Variable, f64)]| {
        parts.iter().filter(|(column, _)| is_used(column)).map(|(_, ms)| *ms).fold(0.0, f64::max)
    };
    let idle = |v: usize| model.stages[v].rate_per_s == 0.0;
    let stages: Vec<f64> =
        (0..model.stages.len()).map(|v| if idle(v) { 0.0 } else { takes(&stage(v)) }).collect();
    let edges: Vec<f64> = (0..model.edges.len()).map(|number| takes(&edge(number))).collect();
    // By stage: until when, and the edge that is waited for.
    let mut until: Vec<(f64, Option<usize>)> = vec![(0.0, None); stages.len()];
    for (number, flow) in model.edges.iter().enumerate() {
        let before = if let End::Stage(from) = flow.from { until[from].0 } else { 0.0 };
        let then = before + edges[number] + stages[flow.to];
        if then > until[flow.to].0 {
            until[flow.to] = (then, Some(number));
        }
    }
    let mut at = (0..until.len()).max_by(|a, b| until[*a].0.total_cmp(&until[*b].0))?;
    if until[at].0 <= most * (1.0 + LATE) {
        return None;
    }
    let mut worst: Option<(f64, Undecided)> = None;
    let mut consider = |column: Option<Variable>, ms: f64, parts: Vec<(Variable, f64)>| {
        let Some(column) = column else { return };
        let unsaid = ms / most.max(1e-6) - solution.var_value(column);
        if unsaid > WHOLE && worst.as_ref().is_none_or(|(known, _)| unsaid > *known) {
            let slow = parts.into_iter().filter(|(_, part)| *part >= ms).map(|(column, _)| column);
            worst = Some((unsaid, Undecided::Late(column, ms / most.max(1e-6), slow.collect())));
        }
    };
    while let (_, Some(number)) = until[at] {
        consider(program.worst[at], stages[at], stage(at));
        consider(program.longest[number], edges[number], edge(number));
        let End::Stage(from) = model.edges[number].from else { break };
        at = from;
    }
    worst.map(|(_, next)| next)
}
