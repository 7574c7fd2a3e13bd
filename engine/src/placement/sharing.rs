//! Local search where nodes are shared: stages take nodes in turn, and what one leaves of its last node is offered to
//! those behind it.
//!
//! The order of the stages, their variants and how each takes nodes are what is searched; nodes follow from that.

use std::collections::BTreeMap;

use super::cover::{Item, cover};
use super::decision::Decision;
use super::descent::{cheapest_variants, is_allowed, shuffle};
use super::model::Model;
use super::offers::Offers;
use super::problem::Problem;
use super::program::Given;
use super::traffic::{Traffic, flows};
use crate::random::Random;

/// What of a node is too little to offer.
const REST_MIN: f64 = 1e-4;

/// Ways to cover a stage that are looked at.
const WAYS: usize = 100;

/// Steps until the search goes back to its best plan, and how much dearer a step may be at first.
const CYCLE_STEPS: u64 = 200;
const SLACK: f64 = 0.01;

/// What a rest of a node is taken to cost, as a part of its price: by turns.
const REST_PRICES: [f64; 3] = [0.9, 0.6, 0.0];

/// A part of a stage on a node: its class, its place in the class, and the share of the demand.
type Piece = (usize, usize, f64);

/// What a plan is made of.
#[derive(Clone)]
struct Recipe {
    /// The busy stages.
    order: Vec<usize>,
    variants: Vec<usize>,
    /// By stage: whether it pays for all of its nodes, or for what it takes of them.
    whole: Vec<bool>,
    taste: usize,
    rest_price: usize,
}

/// A search, with its best plan.
pub(super) struct Sharing<'a> {
    model: &'a Model,
    traffic: Traffic,
    offers: Offers,
    random: Random,
    now: Recipe,
    usd_per_h: f64,
    best: Recipe,
    best_usd_per_h: f64,
    steps: u64,
}

impl<'a> Sharing<'a> {
    /// Begins with some variants, and others where none are given.
    pub(super) fn new(model: &'a Model, seed: u64, given: &Given, worths: Vec<f64>) -> Option<Self> {
        let mut variants = cheapest_variants(model)?;
        let lead: Vec<usize> = given.iter().zip(&variants).map(|(lead, k)| lead.unwrap_or(*k)).collect();
        if is_allowed(&model.accuracy, &lead) {
            variants = lead;
        }
        let mut offers = Offers::new(model);
        offers.add(model, worths);
        let stages = 0..model.stages.len();
        let order: Vec<usize> = stages.filter(|v| model.stages[*v].rate_per_s > 0.0).collect();
        let whole = vec![false; model.stages.len()];
        let traffic = Traffic::new(model, &variants);
        let now = Recipe { order, variants, whole, taste: 1, rest_price: 0 };
        let best = now.clone();
        let (usd_per_h, random) = (f64::INFINITY, Random::new(seed));
        let best_usd_per_h = usd_per_h;
        Some(Self { model, traffic, offers, random, now, usd_per_h, best, best_usd_per_h, steps: 0 })
    }

    /// Goes on for some steps. Whether the best plan got better.
    pub(super) fn go_on(&mut self, steps: u64) -> bool {
        let before = self.best_usd_per_h;
        for _ in 0..steps {
            let at = self.steps % CYCLE_STEPS;
            self.steps += 1;
            if at == 0 && self.best_usd_per_h < f64::INFINITY {
                self.now = self.best.clone();
                self.usd_per_h = self.best_usd_per_h;
            }
            let next =
                if self.steps == 1 || self.now.order.is_empty() { self.now.clone() } else { self.changed() };
            let Some((usd_per_h, _)) = self.make(&next) else { continue };
            let cooled = 1.0 - at as f64 / CYCLE_STEPS as f64;
            if usd_per_h <= self.usd_per_h * (1.0 + SLACK * cooled * cooled) {
                (self.now, self.usd_per_h) = (next, usd_per_h);
            }
            if self.usd_per_h < self.best_usd_per_h * (1.0 - 1e-9) {
                self.best = self.now.clone();
                self.best_usd_per_h = self.usd_per_h;
            }
        }
        self.best_usd_per_h < before * (1.0 - 1e-9)
    }

    fn changed(&mut self) -> Recipe {
        let mut next = self.now.clone();
        let random = &mut self.random;
        let busy = next.order.len().max(1) as u64;
        match random.below(10) {
            0 => next.taste = random.below(self.offers.tastes() as u64) as usize,
            1 => next.rest_price = random.below(REST_PRICES.len() as u64) as usize,
            2 | 3 => {
                let stage = *random.pick(&next.order);
                next.whole[stage] = !next.whole[stage];
            }
            4 | 5 => {
                for _ in 0..1 + random.below(2) {
                    let stage = *random.pick(&next.order);
                    let able: Vec<usize> = self.model.stages[stage].able_variants().collect();
                    next.variants[stage] = *random.pick(&able);
                }
                if !is_allowed(&self.model.accuracy, &next.variants) {
                    next.variants.clone_from(&self.now.variants);
                }
            }
            6 if random.percent(10) => shuffle(&mut next.order, random),
            _ => next.order.swap(random.below(busy) as usize, random.below(busy) as usize),
        }
        next
    }

    /// The nodes of a recipe, and what all costs; nothing if that is no plan.
    fn make(&mut self, recipe: &Recipe) -> Option<(f64, Vec<Vec<Piece>>)> {
        let mut spare: Vec<u32> = self.model.classes.iter().map(|class| class.nodes.len() as u32).collect();
        for (stage, variant) in recipe.variants.iter().enumerate() {
            self.traffic.choose(self.model, stage, *variant);
            self.traffic.offer(stage, None);
        }
        let mut pieces: Vec<Vec<Piece>> = vec![Vec::new(); self.model.stages.len()];
        // Class, place in it, and what is left of the node.
        let mut rests: Vec<(usize, usize, f64)> = Vec::new();
        let mut usd_per_h = 0.0;
        for (at, stage) in recipe.order.iter().enumerate() {
            let is_whole = recipe.whole[*stage] || at + 1 == recipe.order.len();
            self.traffic.solve()?;
            let taken = self.take(recipe, *stage, is_whole, &spare, &rests)?;
            let mut able = vec![0.0; self.model.tiers.len()];
            for (class, place, share) in taken {
                let work = self.model.stages[*stage].work[recipe.variants[*stage]][class]?;
                let known = rests.iter_mut().find(|(c, p, _)| (*c, *p) == (class, place));
                if let Some((_, _, rest)) = known {
                    *rest -= share * work;
                } else {
                    spare[class] -= 1;
                    usd_per_h += self.model.classes[class].usd_per_h;
                    rests.push((class, place, 1.0 - share * work));
                }
                able[self.model.classes[class].site] += share;
                pieces[*stage].push((class, place, share));
            }
            rests.retain(|(class, _, rest)| {
                *rest > REST_MIN && self.model.classes[*class].memory_mb.is_none()
            });
            able.iter_mut().for_each(|able| *able *= 1.0 + 1e-8);
            self.traffic.offer(*stage, Some(&able));
        }
        Some((usd_per_h + self.traffic.solve()?, pieces))
    }

    /// What a stage takes of rests and of whole nodes.
    fn take(
        &mut self,
        recipe: &Recipe,
        stage: usize,
        is_whole: bool,
        spare: &[u32],
        rests: &[(usize, usize, f64)],
    ) -> Option<Vec<Piece>> {
        let (model, variant) = (self.model, recipe.variants[stage]);
        let slopes = self.traffic.slopes(stage);
        let mut items: Vec<Item> = Vec::new();
        let mut places: Vec<(usize, usize)> = Vec::new();
        let rest_price = if is_whole { 0.0 } else { REST_PRICES[recipe.rest_price] };
        for (class, place, rest) in rests {
            let entry = &model.classes[*class];
            let Some(work) = model.stages[stage].work[variant][*class] else { continue };
            let usd = entry.usd_per_h * rest * rest_price + model.start_usd(stage, variant, *class);
            let (able, share_usd_per_h) = (rest / work.max(1e-9), slopes[entry.site]);
            items.push(Item { class: places.len(), able, usd_per_h: usd, share_usd_per_h, most: 1 });
            places.push((*class, *place));
        }
        let taste = if is_whole { 0 } else { recipe.taste };
        for item in self.offers.items(model, spare, &slopes, (stage, variant), taste) {
            let first = model.classes[item.class].nodes.len() - item.most as usize;
            items.push(Item { class: places.len(), ..item });
            places.push((item.class, first));
        }
        let taken: Vec<(usize, u32)> = if is_whole {
            cover(items.clone(), WAYS)?
        } else {
            let mut all: Vec<(usize, u32)> = items.iter().map(|item| (item.class, item.most)).collect();
            all.sort_by(|a, b| items[a.0].price().total_cmp(&items[b.0].price()).then(a.0.cmp(&b.0)));
            all
        };
        let mut left = 1.0;
        let mut pieces = Vec::new();
        for (at, count) in taken {
            for one in 0..count as usize {
                let share = items[at].able.min(left);
                if left <= 1e-9 {
                    return Some(pieces);
                }
                pieces.push((places[at].0, places[at].1 + one, share));
                left -= share;
            }
        }
        (left <= 1e-9).then_some(pieces)
    }

    /// The best plan by name.
    pub(super) fn decision(&mut self, problem: &Problem) -> Option<Decision> {
        let best = self.best.clone();
        let (_, pieces) = self.make(&best)?;
        let mut decision = Decision::default();
        for (v, entry) in self.model.stages.iter().enumerate() {
            let profile = &problem.profile.stages[entry.place];
            decision.variants.insert(profile.name.clone(), profile.variants[best.variants[v]].clone());
            if entry.rate_per_s == 0.0 {
                continue;
            }
            let mut rates: BTreeMap<String, f64> = BTreeMap::new();
            for (class, place, share) in &pieces[v] {
                let node = &problem.machines.nodes[self.model.classes[*class].nodes[*place]];
                *rates.entry(node.name.clone()).or_default() += share * entry.rate_per_s;
            }
            decision.rates_per_s.insert(profile.name.clone(), rates);
        }
        decision.flows = flows(problem, self.model, &self.traffic);
        Some(decision)
    }
}
