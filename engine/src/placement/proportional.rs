//! Traffic by the paper's rules: every site of a stage takes its share of what every site of an input sends.
//!
//! What a stage's share at a site costs depends on the shares of the others; so the shares of one stage after the
//! other are made the best, until none gets better.

use super::model::{End, Flow, GB_PER_H, MBIT_PER_S, Model};

/// What a share costs where it must not be: more than any plan.
const BLOCKED_USD: f64 = 1e9;

/// How often all shares are gone through, at most.
const ROUNDS_MAX: usize = 6;

/// Shares by site, and what the traffic between them costs.
pub(super) struct Proportional {
    streams: Vec<Flow>,
    /// By stage, from site and to site: dollars per gigabyte of its input.
    usd_per_gb: Vec<Vec<Vec<f64>>>,
    /// From site and to site: what a link carries at most.
    mbit_per_s: Vec<Vec<f64>>,
    variants: Vec<usize>,
    /// By stage and site; nothing is a stage that is yet free.
    able: Vec<Option<Vec<f64>>>,
    shares: Vec<Vec<f64>>,
}

impl Proportional {
    pub(super) fn new(model: &Model, variants: &[usize]) -> Self {
        let sites = model.tiers.len();
        let usd = |stage: usize, from: usize, to: usize| {
            model.way(stage, from, to).map_or(f64::INFINITY, |way| way.usd_per_gb)
        };
        let most = |from: usize, to: usize| {
            model.links[from][to].and_then(|way| way.mbit_per_s).unwrap_or(f64::INFINITY)
        };
        let table = |stage: usize| {
            (0..sites).map(|from| (0..sites).map(|to| usd(stage, from, to)).collect()).collect()
        };
        Self {
            streams: model.edges.clone(),
            usd_per_gb: (0..model.stages.len()).map(table).collect(),
            mbit_per_s: (0..sites).map(|from| (0..sites).map(|to| most(from, to)).collect()).collect(),
            variants: variants.to_vec(),
            able: vec![None; model.stages.len()],
            shares: vec![vec![0.0; sites]; model.stages.len()],
        }
    }

    pub(super) fn choose(&mut self, stage: usize, variant: usize) {
        self.variants[stage] = variant;
    }

    pub(super) fn offer(&mut self, stage: usize, able: Option<&[f64]>) {
        self.able[stage] = able.map(<[f64]>::to_vec);
        if able.is_some() {
            self.fill(stage);
        }
    }

    pub(super) fn share(&self, stage: usize, site: usize) -> f64 {
        self.shares[stage][site]
    }

    pub(super) fn solve(&mut self) -> Option<f64> {
        for _ in 0..ROUNDS_MAX {
            let mut is_changed = false;
            for stage in (0..self.able.len()).filter(|stage| self.able[*stage].is_some()).collect::<Vec<_>>()
            {
                is_changed |= self.fill(stage);
            }
            if !is_changed {
                break;
            }
        }
        let of_stream = |stream: &Flow| -> f64 {
            let usd =
                |(from, to, share): (usize, usize, f64)| priced(self.stream_usd(stream, from, to) * share);
            self.pairs(stream).into_iter().map(usd).sum()
        };
        let usd = self.streams.iter().map(of_stream).sum::<f64>();
        (usd < BLOCKED_USD * 1e-6 && self.fits()).then_some(usd)
    }

    /// Gives a stage the cheapest shares, as the others are. Whether that changed anything.
    fn fill(&mut self, stage: usize) -> bool {
        let slopes = self.slopes(stage);
        let Some(able) = &self.able[stage] else { return false };
        let mut order: Vec<usize> = (0..able.len()).collect();
        order.sort_by(|a, b| slopes[*a].total_cmp(&slopes[*b]).then(a.cmp(b)));
        let mut left = 1.0;
        let mut shares = vec![0.0; able.len()];
        for site in order {
            shares[site] = able[site].min(left);
            left -= shares[site];
        }
        let is_changed = shares.iter().zip(&self.shares[stage]).any(|(new, old)| (new - old).abs() > 1e-9);
        self.shares[stage] = shares;
        is_changed
    }

    pub(super) fn slopes(&self, stage: usize) -> Vec<f64> {
        let sites = self.shares[stage].len();
        let mut slopes = vec![0.0; sites];
        for stream in &self.streams {
            let usd = |from: usize, to: usize| priced(self.stream_usd(stream, from, to));
            if stream.to == stage {
                let made = self.made(stream);
                for (site, slope) in slopes.iter_mut().enumerate() {
                    for (other, made) in made.iter().enumerate().filter(|(_, made)| **made > 1e-12) {
                        *slope += made * usd(other, site);
                    }
                }
            }
            if stream.from == End::Stage(stage) {
                for (site, slope) in slopes.iter_mut().enumerate() {
                    for (other, taken) in self.taken(stream).iter().enumerate().filter(|(_, t)| **t > 1e-12) {
                        *slope += taken * usd(site, other);
                    }
                }
            }
        }
        slopes
    }

    /// By site: what of a stream is sent from there; nothing while its sender is free.
    fn made(&self, stream: &Flow) -> Vec<f64> {
        match stream.from {
            End::Source(site) => (0..self.mbit_per_s.len()).map(|s| f64::from(u8::from(s == site))).collect(),
            End::Stage(u) if self.able[u].is_some() => self.shares[u].clone(),
            End::Stage(_) => Vec::new(),
        }
    }

    /// By site: what of a stream is used there; nothing while its receiver is free.
    fn taken(&self, stream: &Flow) -> &[f64] {
        if self.able[stream.to].is_some() { &self.shares[stream.to] } else { &[] }
    }

    fn pairs(&self, stream: &Flow) -> Vec<(usize, usize, f64)> {
        let (made, taken) = (self.made(stream), self.taken(stream));
        let pairs = made
            .iter()
            .enumerate()
            .flat_map(|(from, out)| taken.iter().enumerate().map(move |(to, taken)| (from, to, out * taken)));
        pairs.filter(|(_, _, share)| *share > 1e-12).collect()
    }

    /// Dollars per hour of all of a stream from one site to another; nothing finite where it must not go.
    fn stream_usd(&self, stream: &Flow, from: usize, to: usize) -> f64 {
        stream.kb_per_s(&self.variants) * GB_PER_H * self.usd_per_gb[stream.to][from][to]
    }

    /// Whether all links can carry what they are given.
    fn fits(&self) -> bool {
        let sites = self.mbit_per_s.len();
        let mut loads = vec![vec![0.0; sites]; sites];
        for stream in &self.streams {
            for (from, to, share) in self.pairs(stream) {
                loads[from][to] += share * stream.kb_per_s(&self.variants) * MBIT_PER_S;
            }
        }
        let mut pairs = loads.iter().flatten().zip(self.mbit_per_s.iter().flatten());
        pairs.all(|(load, most)| *load <= most * (1.0 + 1e-9))
    }

    pub(super) fn flows(&self) -> Vec<(usize, usize, usize, f64)> {
        let streams = self.streams.iter().enumerate();
        let parts = streams.flat_map(|(edge, stream)| {
            self.pairs(stream).into_iter().map(move |(from, to, share)| (edge, from, to, share))
        });
        parts.collect()
    }
}

/// What must not be has a price that shows.
fn priced(usd: f64) -> f64 {
    if usd.is_finite() { usd } else { BLOCKED_USD }
}
