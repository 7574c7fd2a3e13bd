//! What traffic costs when it is known how much each stage can take at each site: a small program over sites alone,
//! however many nodes there are.

use super::decision::{Mode, SiteFlow};
use super::model::{End, GB_PER_H, MBIT_PER_S, Model};
use super::problem::Problem;
use super::proportional::Proportional;
use super::tableau::{Line, Tableau};

/// Traffic by the rules of a mode.
pub(super) enum Traffic {
    /// Where it is cheapest.
    Routed(Routed),
    /// From everywhere to everywhere.
    Proportional(Proportional),
}

impl Traffic {
    pub(super) fn new(model: &Model, variants: &[usize]) -> Self {
        match model.mode {
            Mode::Paper => Self::Proportional(Proportional::new(model, variants)),
            Mode::Exclusive | Mode::Shared => Self::Routed(Routed::new(model, variants)),
        }
    }

    /// Gives a stage another variant.
    pub(super) fn choose(&mut self, model: &Model, stage: usize, variant: usize) {
        match self {
            Self::Routed(routed) => routed.choose(model, stage, variant),
            Self::Proportional(all) => all.choose(stage, variant),
        }
    }

    /// Says by site what part of its demand a stage can take; nothing leaves it free.
    pub(super) fn offer(&mut self, stage: usize, able: Option<&[f64]>) {
        match self {
            Self::Routed(routed) => routed.offer(stage, able),
            Self::Proportional(all) => all.offer(stage, able),
        }
    }

    /// Dollars per hour of the best shares; nothing if none will do.
    pub(super) fn solve(&mut self) -> Option<f64> {
        match self {
            Self::Routed(routed) => routed.tableau.solve(),
            Self::Proportional(all) => all.solve(),
        }
    }

    /// The part of a stage's demand that is taken at a site.
    pub(super) fn share(&self, stage: usize, site: usize) -> f64 {
        match self {
            Self::Routed(routed) => routed.columns[stage][site].map_or(0.0, |c| routed.tableau.value(c)),
            Self::Proportional(all) => all.share(stage, site),
        }
    }

    /// By site: dollars per hour of all of a stage's demand there, as far as a little of it tells; more than can be
    /// where it must not be.
    pub(super) fn slopes(&self, stage: usize) -> Vec<f64> {
        match self {
            Self::Routed(routed) => routed.slopes(stage),
            Self::Proportional(all) => all.slopes(stage),
        }
    }

    /// By edge and sites: the parts of a stream.
    pub(super) fn flows(&self, model: &Model) -> Vec<(usize, usize, usize, f64)> {
        match self {
            Self::Routed(routed) => routed.flows(model),
            Self::Proportional(all) => all.flows(),
        }
    }
}

/// A part of a stream from one site to another.
struct Crossing {
    edge: usize,
    from: usize,
    to: usize,
    usd_per_gb: f64,
    column: usize,
}

/// Traffic that goes where it is cheapest: a linear program of the shares by site, and of what crosses between sites.
/// What stays at its site needs no column: it is what is left.
pub(super) struct Routed {
    tableau: Tableau,
    variants: Vec<usize>,
    /// By stage and site: its share there.
    columns: Vec<Vec<Option<usize>>>,
    crossings: Vec<Crossing>,
    upper: Vec<f64>,
    /// Whether a link has a bound, so that the variants are in the rows.
    is_bounded: bool,
}

impl Routed {
    fn new(model: &Model, variants: &[usize]) -> Self {
        let mut count = 0;
        let mut column = || {
            count += 1;
            count - 1
        };
        let columns: Vec<Vec<Option<usize>>> = (0..model.stages.len())
            .map(|v| {
                let sites = if model.stages[v].rate_per_s > 0.0 { model.sites_of(v) } else { Vec::new() };
                (0..model.tiers.len()).map(|site| sites.contains(&site).then(&mut column)).collect()
            })
            .collect();
        let mut crossings = Vec::new();
        for (edge, flow) in model.edges.iter().enumerate() {
            for from in 0..model.tiers.len() {
                let sends = match flow.from {
                    End::Source(site) => site == from,
                    End::Stage(u) => columns[u][from].is_some(),
                };
                let targets = (0..model.tiers.len()).filter(|to| *to != from && sends);
                for to in targets.filter(|to| columns[flow.to][*to].is_some()) {
                    if let Some(way) = model.way(flow.to, from, to) {
                        let (usd_per_gb, column) = (way.usd_per_gb, column());
                        crossings.push(Crossing { edge, from, to, usd_per_gb, column });
                    }
                }
            }
        }
        let is_bounded = model.links.iter().flatten().flatten().any(|way| way.mbit_per_s.is_some());
        let mut routed = Self {
            tableau: Tableau::new(&[], &[]),
            variants: variants.to_vec(),
            columns,
            crossings,
            upper: vec![1.0; count],
            is_bounded,
        };
        routed.build(model);
        routed
    }

    fn build(&mut self, model: &Model) {
        self.tableau = Tableau::new(&vec![1.0; self.upper.len()], &self.lines(model));
        self.upper.iter().enumerate().for_each(|(column, most)| self.tableau.set_upper(column, *most));
        for v in 0..model.stages.len() {
            self.price(model, End::Stage(v));
        }
        for site in 0..model.tiers.len() {
            self.price(model, End::Source(site));
        }
    }

    /// Sets what the traffic of a source or stage costs.
    fn price(&mut self, model: &Model, end: End) {
        for crossing in &self.crossings {
            let flow = &model.edges[crossing.edge];
            if flow.from == end {
                let usd = flow.kb_per_s(&self.variants) * GB_PER_H * crossing.usd_per_gb;
                self.tableau.set_usd(crossing.column, usd);
            }
        }
    }

    fn lines(&self, model: &Model) -> Vec<Line> {
        let mut lines = Vec::new();
        let line = |terms: Vec<(usize, f64)>, bound: f64, is_exact: bool| Line { terms, bound, is_exact };
        for columns in self.columns.iter().filter(|columns| columns.iter().any(Option::is_some)) {
            lines.push(line(columns.iter().flatten().map(|column| (*column, 1.0)).collect(), 1.0, true));
        }
        for (edge, flow) in model.edges.iter().enumerate() {
            let mut balances = Vec::new();
            for site in 0..model.tiers.len() {
                // What is used here and not made here comes from elsewhere, and the other way round.
                let made = match flow.from {
                    End::Source(source) => (None, f64::from(u8::from(source == site))),
                    End::Stage(u) => (self.columns[u][site], 0.0),
                };
                let mut terms: Vec<(usize, f64)> = Vec::new();
                let mut leaving: Vec<(usize, f64)> = Vec::new();
                for crossing in self.crossings.iter().filter(|crossing| crossing.edge == edge) {
                    if crossing.to == site {
                        terms.push((crossing.column, -1.0));
                    } else if crossing.from == site {
                        terms.push((crossing.column, 1.0));
                        leaving.push((crossing.column, 1.0));
                    }
                }
                terms.extend(self.columns[flow.to][site].map(|column| (column, 1.0)));
                terms.extend(made.0.map(|column| (column, -1.0)));
                if terms.is_empty() && made.1 == 0.0 {
                    continue;
                }
                balances.push(line(terms, made.1, true));
                if let (Some(column), true) = (made.0, self.is_detour(model, edge, site)) {
                    // Nothing is passed on at a site.
                    leaving.push((column, -1.0));
                    lines.push(line(leaving, 0.0, false));
                }
            }
            // The last follows from the others.
            balances.pop();
            lines.extend(balances);
        }
        lines.extend(self.bandwidths(model));
        lines
    }

    /// Whether it would pay to send by way of a site.
    fn is_detour(&self, model: &Model, edge: usize, by: usize) -> bool {
        let to = model.edges[edge].to;
        let way = |from: usize, at: usize| model.way(to, from, at).map(|way| way.usd_per_gb);
        let sites = 0..model.tiers.len();
        let pairs = sites.clone().flat_map(|from| sites.clone().map(move |at| (from, at)));
        let mut pairs = pairs.filter(|(from, at)| *from != by && *at != by && from != at);
        pairs.any(|(from, at)| match (way(from, by), way(by, at)) {
            (Some(first), Some(second)) => way(from, at).is_none_or(|straight| first + second < straight),
            _ => false,
        })
    }

    fn bandwidths(&self, model: &Model) -> Vec<Line> {
        let mut lines = Vec::new();
        let pairs = (0..model.tiers.len()).flat_map(|from| (0..model.tiers.len()).map(move |to| (from, to)));
        for (from, to) in pairs {
            let Some(most) = model.links[from][to].and_then(|way| way.mbit_per_s) else { continue };
            let used = self.crossings.iter().filter(|crossing| (crossing.from, crossing.to) == (from, to));
            let load = |crossing: &Crossing| {
                let mbit = model.edges[crossing.edge].kb_per_s(&self.variants) * MBIT_PER_S;
                (crossing.column, mbit / most.max(1e-6))
            };
            lines.push(Line { terms: used.map(load).collect(), bound: 1.0, is_exact: false });
        }
        lines
    }

    fn choose(&mut self, model: &Model, stage: usize, variant: usize) {
        if self.variants[stage] == variant {
            return;
        }
        self.variants[stage] = variant;
        if self.is_bounded {
            return self.build(model);
        }
        self.price(model, End::Stage(stage));
    }

    fn offer(&mut self, stage: usize, able: Option<&[f64]>) {
        for (site, column) in self.columns[stage].iter().enumerate() {
            let Some(column) = *column else { continue };
            let most = able.map_or(1.0, |able| able[site].min(1.0));
            self.upper[column] = most;
            self.tableau.set_upper(column, most);
        }
    }

    fn slopes(&self, stage: usize) -> Vec<f64> {
        let slope = |column: &Option<usize>| column.map_or(f64::INFINITY, |c| self.tableau.reduced_usd(c));
        let slopes: Vec<f64> = self.columns[stage].iter().map(slope).collect();
        let least = slopes.iter().copied().fold(f64::INFINITY, f64::min);
        slopes.into_iter().map(|slope| slope - least.min(0.0)).collect()
    }

    fn flows(&self, model: &Model) -> Vec<(usize, usize, usize, f64)> {
        let mut flows = Vec::new();
        for (edge, flow) in model.edges.iter().enumerate() {
            let crossings = || self.crossings.iter().filter(|crossing| crossing.edge == edge);
            let amount = |crossing: &Crossing| self.tableau.value(crossing.column);
            for crossing in crossings() {
                flows.push((edge, crossing.from, crossing.to, amount(crossing)));
            }
            for site in 0..model.tiers.len() {
                let arriving: f64 = crossings().filter(|c| c.to == site).map(amount).sum();
                let used = self.columns[flow.to][site].map_or(0.0, |column| self.tableau.value(column));
                flows.push((edge, site, site, used - arriving));
            }
        }
        flows.retain(|(_, _, _, share)| *share > 1e-9);
        flows
    }
}

/// The traffic of a plan by name.
pub(super) fn flows(problem: &Problem, model: &Model, traffic: &Traffic) -> Vec<SiteFlow> {
    let site = |site: usize| problem.machines.sites[site].name.clone();
    let flow = |(edge, from, to, share): (usize, usize, usize, f64)| {
        let entry = &problem.profile.edges[model.edges[edge].place];
        SiteFlow {
            from: entry.from.clone(),
            to: entry.to.clone(),
            from_site: site(from),
            to_site: site(to),
            rate_per_s: share * model.stages[model.edges[edge].to].rate_per_s,
        }
    };
    traffic.flows(model).into_iter().map(flow).collect()
}
