//! Local search where every stage has nodes of its own: some stages give their nodes back and are given the cheapest
//! nodes again, one after the other, perhaps for other variants.
//!
//! Nodes are counted by class and traffic by site, so that a step costs the same however many nodes there are. A step
//! that makes the plan a little dearer is taken too, ever less of them, until the search goes back to its best plan.

use std::collections::BTreeMap;

use super::cover::cover;
use super::decision::Decision;
use super::model::{Allowed, End, Model};
use super::offers::Offers;
use super::problem::Problem;
use super::traffic::{Traffic, flows};
use crate::random::Random;

/// Steps until the search is as strict as it gets, and goes back to its best plan.
const CYCLE_STEPS: u64 = 400;

/// How much dearer a step may be at the beginning of a cycle, as a part of the cost; by turns.
const SLACKS: [f64; 3] = [0.01, 0.003, 0.03];

/// Ways to cover one stage that are looked at.
const WAYS: usize = 60;

/// Orders of the stages in which a first plan is sought.
const STARTS_MAX: usize = 20;

/// How often variants are drawn until some meet the floor.
const DRAWS_MAX: usize = 8;

/// What one stage has.
#[derive(Clone, Default)]
pub(super) struct Post {
    pub(super) variant: usize,
    /// Classes, and how many nodes of each.
    pub(super) nodes: Vec<(usize, u32)>,
    usd_per_h: f64,
}

/// A search, with its present and its best plan.
pub(super) struct Descent<'a> {
    model: &'a Model,
    traffic: Traffic,
    random: Random,
    /// By class: nodes that no stage has.
    spare: Vec<u32>,
    posts: Vec<Post>,
    usd_per_h: f64,
    best: Vec<Post>,
    best_usd_per_h: f64,
    steps: u64,
    /// By stage: those that feed it or that it feeds.
    neighbours: Vec<Vec<usize>>,
    offers: Offers,
}

impl<'a> Descent<'a> {
    /// Begins with some variants, or the cheapest that meet the floor; nothing if no plan is found at once.
    pub(super) fn new(
        model: &'a Model,
        seed: u64,
        variants: Option<Vec<usize>>,
        worths: Option<Vec<f64>>,
    ) -> Option<Self> {
        let variants = match variants {
            Some(variants) => variants,
            None => cheapest_variants(model)?,
        };
        let mut descent = Self::empty(model, seed, &variants, worths);
        let busy = descent.busy();
        for _ in 0..STARTS_MAX {
            let mut order = busy.clone();
            if descent.steps > 0 {
                shuffle(&mut order, &mut descent.random);
            }
            descent.steps += 1;
            let mut chosen: Vec<usize> = order.iter().map(|v| variants[*v]).collect();
            if descent.steps > 3 {
                chosen = descent.draw_variants(&order);
            }
            let wanted: Vec<(usize, usize)> = order.iter().copied().zip(chosen).collect();
            if let Some(usd_per_h) = descent.renew(&wanted) {
                descent.usd_per_h = usd_per_h;
                descent.keep();
                return Some(descent);
            }
        }
        None
    }

    /// Begins with a plan.
    pub(super) fn from(
        model: &'a Model,
        seed: u64,
        posts: Vec<(usize, Vec<(usize, u32)>)>,
        worths: Option<Vec<f64>>,
    ) -> Option<Self> {
        let variants: Vec<usize> = posts.iter().map(|(variant, _)| *variant).collect();
        let mut descent = Self::empty(model, seed, &variants, worths);
        for (stage, (_, nodes)) in posts.into_iter().enumerate() {
            if model.stages[stage].rate_per_s > 0.0 {
                descent.place(stage, nodes);
            }
        }
        descent.usd_per_h = descent.total()?;
        descent.keep();
        Some(descent)
    }

    fn empty(model: &'a Model, seed: u64, variants: &[usize], worths: Option<Vec<f64>>) -> Self {
        let mut offers = Offers::new(model);
        if let Some(worths) = worths {
            offers.add(model, worths);
        }
        let fed = |u: usize, v: usize| model.edges.iter().any(|e| e.from == End::Stage(u) && e.to == v);
        let stages = 0..model.stages.len();
        let is_busy = |v: &usize| model.stages[*v].rate_per_s > 0.0;
        let neighbours =
            |u: usize| stages.clone().filter(is_busy).filter(|v| fed(u, *v) || fed(*v, u)).collect();
        Self {
            model,
            traffic: Traffic::new(model, variants),
            random: Random::new(seed),
            spare: model.classes.iter().map(|class| class.nodes.len() as u32).collect(),
            posts: variants.iter().map(|variant| Post { variant: *variant, ..Post::default() }).collect(),
            usd_per_h: f64::INFINITY,
            best: Vec::new(),
            best_usd_per_h: f64::INFINITY,
            steps: 0,
            neighbours: stages.clone().map(neighbours).collect(),
            offers,
        }
    }

    fn busy(&self) -> Vec<usize> {
        let stages = self.model.stages.iter().enumerate();
        stages.filter(|(_, stage)| stage.rate_per_s > 0.0).map(|(v, _)| v).collect()
    }

    fn keep(&mut self) {
        self.best_usd_per_h = self.usd_per_h;
        self.best.clone_from(&self.posts);
    }

    /// Dollars per hour of the best plan, unused nodes included.
    pub(super) fn best_usd_per_h(&self) -> f64 {
        self.best_usd_per_h
    }

    pub(super) fn best(&self) -> &[Post] {
        &self.best
    }

    /// Goes on for some steps. Whether the best plan got better.
    pub(super) fn go_on(&mut self, steps: u64) -> bool {
        let before = self.best_usd_per_h;
        let busy = self.busy();
        if busy.is_empty() {
            return false;
        }
        for _ in 0..steps {
            let at = self.steps % CYCLE_STEPS;
            self.steps += 1;
            if at == 0 && self.usd_per_h > self.best_usd_per_h {
                self.go_back();
            }
            let cooled = 1.0 - at as f64 / CYCLE_STEPS as f64;
            let turn = (self.steps / CYCLE_STEPS) as usize % SLACKS.len();
            let slack = SLACKS[turn] * cooled * cooled * cooled * self.best_usd_per_h;
            self.step(&busy, slack);
        }
        self.best_usd_per_h < before * (1.0 - 1e-9)
    }

    fn go_back(&mut self) {
        for stage in self.busy() {
            self.clear(stage);
        }
        for (stage, post) in self.best.clone().into_iter().enumerate() {
            self.choose(stage, post.variant);
            if self.model.stages[stage].rate_per_s > 0.0 {
                self.place(stage, post.nodes);
            }
        }
        self.usd_per_h = self.best_usd_per_h;
    }

    fn step(&mut self, busy: &[usize], slack: f64) {
        let free = self.draw(busy);
        let variants = self.draw_variants(&free);
        let before: Vec<Post> = free.iter().map(|stage| self.posts[*stage].clone()).collect();
        let wanted: Vec<(usize, usize)> = free.iter().copied().zip(variants).collect();
        let after = self.renew(&wanted);
        if let Some(usd_per_h) = after.filter(|usd| *usd <= self.usd_per_h + slack) {
            self.usd_per_h = usd_per_h;
            if usd_per_h < self.best_usd_per_h * (1.0 - 1e-9) {
                self.keep();
            }
            return;
        }
        for stage in &free {
            self.clear(*stage);
        }
        for (stage, post) in free.iter().zip(before) {
            self.choose(*stage, post.variant);
            self.place(*stage, post.nodes);
        }
    }

    /// One to four stages: mostly such as feed each other.
    fn draw(&mut self, busy: &[usize]) -> Vec<usize> {
        let most = 1 + [0, 1, 1, 1, 2, 2, 3][self.random.below(7) as usize];
        let mut free = vec![*self.random.pick(busy)];
        while free.len() < most.min(busy.len()) {
            let near: Vec<usize> = free.iter().flat_map(|v| self.neighbours[*v].clone()).collect();
            let pool = if near.is_empty() || self.random.percent(35) { busy } else { &near };
            let next = *self.random.pick(pool);
            if free.contains(&next) {
                // Or a stage whose neighbours are all drawn would be waited for.
                let rest: Vec<usize> = busy.iter().copied().filter(|v| !free.contains(v)).collect();
                free.push(*self.random.pick(&rest));
            } else {
                free.push(next);
            }
        }
        shuffle(&mut free, &mut self.random);
        free
    }

    /// Variants for some stages, mostly their own, such that all together meet the floor.
    fn draw_variants(&mut self, free: &[usize]) -> Vec<usize> {
        let own: Vec<usize> = free.iter().map(|stage| self.posts[*stage].variant).collect();
        if self.random.percent(50) {
            return own;
        }
        let mut all: Vec<usize> = self.posts.iter().map(|post| post.variant).collect();
        for _ in 0..DRAWS_MAX {
            for stage in free {
                let able: Vec<usize> = self.model.stages[*stage].able_variants().collect();
                all[*stage] = *self.random.pick(&able);
            }
            if is_allowed(&self.model.accuracy, &all) {
                return free.iter().map(|stage| all[*stage]).collect();
            }
        }
        own
    }

    /// Takes the nodes of some stages, and gives them others. What all then costs, if that is a plan.
    fn renew(&mut self, wanted: &[(usize, usize)]) -> Option<f64> {
        for (stage, variant) in wanted {
            self.clear(*stage);
            self.choose(*stage, *variant);
        }
        // Now and then prices that are a little wrong, or the first in turn would always get the same.
        let noise = if self.steps > 1 && self.random.percent(40) { 0.3 } else { 0.0 };
        let taste =
            if self.offers.tastes() > 1 && (self.steps <= 1 || self.random.percent(30)) { 1 } else { 0 };
        for (stage, variant) in wanted {
            self.traffic.solve()?;
            let slopes = self.traffic.slopes(*stage);
            let mut items = self.offers.items(self.model, &self.spare, &slopes, (*stage, *variant), taste);
            if noise > 0.0 {
                let mut factor = || 1.0 + noise * (self.random.below(1024) as f64 / 1024.0 - 0.5);
                items.iter_mut().for_each(|item| item.usd_per_h *= factor());
            }
            self.place(*stage, cover(items, WAYS)?);
        }
        self.total()
    }

    fn choose(&mut self, stage: usize, variant: usize) {
        self.traffic.choose(self.model, stage, variant);
        self.posts[stage].variant = variant;
    }

    /// Takes a stage's nodes from it.
    fn clear(&mut self, stage: usize) {
        for (class, count) in std::mem::take(&mut self.posts[stage].nodes) {
            self.spare[class] += count;
        }
        self.posts[stage].usd_per_h = 0.0;
        self.traffic.offer(stage, None);
    }

    /// Gives a stage nodes that are spare.
    fn place(&mut self, stage: usize, nodes: Vec<(usize, u32)>) {
        let variant = self.posts[stage].variant;
        let mut able = vec![0.0; self.model.tiers.len()];
        let mut usd_per_h = 0.0;
        for (class, count) in &nodes {
            self.spare[*class] -= count;
            let entry = &self.model.classes[*class];
            let one = entry.usd_per_h + self.model.start_usd(stage, variant, *class);
            usd_per_h += f64::from(*count) * one;
            let work = self.model.stages[stage].work[variant][*class];
            able[entry.site] += f64::from(*count) / work.unwrap_or(f64::INFINITY).max(1e-9);
        }
        self.traffic.offer(stage, Some(&able));
        self.posts[stage].nodes = nodes;
        self.posts[stage].usd_per_h = usd_per_h;
    }

    fn total(&mut self) -> Option<f64> {
        Some(self.traffic.solve()? + self.posts.iter().map(|post| post.usd_per_h).sum::<f64>())
    }

    /// The best plan by name.
    pub(super) fn decision(&mut self, problem: &Problem) -> Option<Decision> {
        self.go_back();
        self.traffic.solve()?;
        let mut decision = Decision::default();
        let mut used = vec![0; self.model.classes.len()];
        for (stage, (entry, post)) in self.model.stages.iter().zip(&self.best).enumerate() {
            let profile = &problem.profile.stages[entry.place];
            decision.variants.insert(profile.name.clone(), profile.variants[post.variant].clone());
            if entry.rate_per_s == 0.0 {
                continue;
            }
            let able =
                |class: usize| 1.0 / entry.work[post.variant][class].unwrap_or(f64::INFINITY).max(1e-9);
            let site = |class: usize| self.model.classes[class].site;
            let mut rates = BTreeMap::new();
            for (class, count) in &post.nodes {
                let share = self.traffic.share(stage, site(*class));
                let here = post.nodes.iter().filter(|(other, _)| site(*other) == site(*class));
                let all: f64 = here.map(|(other, count)| able(*other) * f64::from(*count)).sum();
                let names = self.model.classes[*class].nodes.iter().skip(used[*class]).take(*count as usize);
                for name in names.filter(|_| share > 1e-9) {
                    let rate_per_s = entry.rate_per_s * share * able(*class) / all;
                    rates.insert(problem.machines.nodes[*name].name.clone(), rate_per_s);
                }
                used[*class] += *count as usize;
            }
            decision.rates_per_s.insert(profile.name.clone(), rates);
        }
        decision.flows = flows(problem, self.model, &self.traffic);
        Some(decision)
    }
}

pub(super) fn shuffle(of: &mut [usize], random: &mut Random) {
    for i in (1..of.len()).rev() {
        of.swap(i, random.below(i as u64 + 1) as usize);
    }
}

pub(super) fn is_allowed(allowed: &Allowed, variants: &[usize]) -> bool {
    match allowed {
        Allowed::All => true,
        Allowed::Loss { losses, most } => {
            losses.iter().zip(variants).map(|(by_variant, k)| by_variant[*k]).sum::<f64>() <= most + 1e-9
        }
        Allowed::Rows { stages, rows } => {
            rows.iter().any(|row| stages.iter().zip(row).all(|(stage, k)| variants[*stage] == *k))
        }
    }
}

/// Variants that meet the floor and cost little if every stage had the nodes that suit it best.
pub(super) fn cheapest_variants(model: &Model) -> Option<Vec<usize>> {
    let price = |stage: usize, variant: usize| {
        let nodes = model.stages[stage].work[variant].iter().zip(&model.classes);
        nodes.filter_map(|(work, class)| Some((*work)? * class.usd_per_h)).fold(f64::INFINITY, f64::min)
    };
    let cheapest = |stage: usize| {
        let able = model.stages[stage].able_variants();
        able.min_by(|a, b| price(stage, *a).total_cmp(&price(stage, *b)))
    };
    let mut variants: Vec<usize> = (0..model.stages.len()).map(cheapest).collect::<Option<_>>()?;
    match &model.accuracy {
        Allowed::All => {}
        Allowed::Loss { losses, .. } => {
            while !is_allowed(&model.accuracy, &variants) {
                let mut next: Option<(f64, usize, usize)> = None;
                for (stage, now) in variants.iter().enumerate() {
                    for k in model.stages[stage].able_variants() {
                        let gained = losses[stage][*now] - losses[stage][k];
                        let usd = (price(stage, k) - price(stage, *now)) / gained;
                        if gained > 1e-12 && next.is_none_or(|(least, ..)| usd < least) {
                            next = Some((usd, stage, k));
                        }
                    }
                }
                let (_, stage, k) = next?;
                variants[stage] = k;
            }
        }
        Allowed::Rows { stages, rows } => {
            let usd = |row: &&Vec<usize>| -> f64 {
                stages.iter().zip(row.iter()).map(|(stage, k)| price(*stage, *k)).sum()
            };
            let row = rows
                .iter()
                .min_by(|a, b| usd(a).total_cmp(&usd(b)))
                .filter(|row| usd(row) < f64::INFINITY)?;
            stages.iter().zip(row).for_each(|(stage, k)| variants[*stage] = *k);
        }
    }
    Some(variants)
}
