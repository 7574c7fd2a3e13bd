//! Local search where every stage has nodes of its own: some stages give their nodes back and are given the cheapest
//! nodes again, one after the other, perhaps for other variants.
//!
//! Nodes are counted by class and traffic by site, so that a step costs the same however many nodes there are. A step
//! that makes the plan a little dearer is taken too, ever less of them, until the search goes back to its best plan.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::cover::{Item, cover};
use super::decision::{Decision, SiteFlow};
use super::model::{Allowed, End, Model};
use super::problem::Problem;
use super::traffic::Traffic;
use crate::random::Random;

/// Steps until the search is as strict as it gets, and goes back to its best plan.
const CYCLE_STEPS: u64 = 400;

/// How much dearer a step may be at the beginning of a cycle, as a part of the cost; by turns.
const SLACKS: [f64; 3] = [0.01, 0.003, 0.03];

/// Ways to cover one stage that are looked at.
const WAYS: usize = 60;

/// Orders of the stages in which a first plan is sought.
const STARTS_MAX: usize = 20;

/// Classes of a price at a site that a stage may choose among beyond those that suffice.
const MORE_ITEMS: usize = 4;

/// How much dearer than the cheapest a class may be for its work, and still be looked at in full.
const DEAR: f64 = 1.3;

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
    /// By class: what a node is taken to cost; and what it is worth to whom it suits best, if that is known.
    tastes: Vec<Vec<f64>>,
    /// By taste, stage and variant: what can run it.
    orders: Vec<Vec<Vec<Option<Rc<Order>>>>>,
}

/// Classes that stand at a site and cost the same, the fastest first.
type Order = Vec<(usize, Vec<usize>)>;

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
        let mut descent = Self::empty(model, seed, &variants);
        if let Some(worths) = worths {
            descent = descent.with_taste(worths);
        }
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
        let mut descent = Self::empty(model, seed, &variants);
        if let Some(worths) = worths {
            descent = descent.with_taste(worths);
        }
        for (stage, (_, nodes)) in posts.into_iter().enumerate() {
            if model.stages[stage].rate_per_s > 0.0 {
                nodes.iter().for_each(|(class, count)| descent.spare[*class] -= count);
                descent.place(stage, nodes);
            }
        }
        descent.usd_per_h = descent.total()?;
        descent.keep();
        Some(descent)
    }

    fn empty(model: &'a Model, seed: u64, variants: &[usize]) -> Self {
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
            tastes: Vec::new(),
            orders: Vec::new(),
        }
        .with_taste(model.classes.iter().map(|class| class.usd_per_h).collect())
    }

    /// Also looks at nodes as if they cost something else.
    fn with_taste(mut self, usd_per_h: Vec<f64>) -> Self {
        self.tastes.push(usd_per_h);
        self.orders.push(self.model.stages.iter().map(|stage| vec![None; stage.work.len()]).collect());
        self
    }

    fn order(&mut self, taste: usize, stage: usize, variant: usize) -> Rc<Order> {
        let (model, usd_per_h) = (self.model, &self.tastes[taste]);
        let entry = &mut self.orders[taste][stage][variant];
        let order = entry.get_or_insert_with(|| {
            let work = &model.stages[stage].work[variant];
            let mut groups: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
            for class in (0..work.len()).filter(|class| work[*class].is_some()) {
                let key = (model.classes[class].site, model.classes[class].usd_per_h.to_bits());
                groups.entry(key).or_default().push(class);
            }
            let price = |class: &usize| work[*class].unwrap_or(f64::INFINITY) * usd_per_h[*class];
            let mut order: Order = groups.into_iter().map(|((site, _), classes)| (site, classes)).collect();
            order.iter_mut().for_each(|(_, group)| group.sort_by(|a, b| price(a).total_cmp(&price(b))));
            Rc::new(order)
        });
        Rc::clone(order)
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
            self.traffic.choose(self.model, stage, post.variant);
            self.posts[stage].variant = post.variant;
            if self.model.stages[stage].rate_per_s > 0.0 {
                post.nodes.iter().for_each(|(class, count)| self.spare[*class] -= count);
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
            self.traffic.choose(self.model, *stage, post.variant);
            self.posts[*stage].variant = post.variant;
            post.nodes.iter().for_each(|(class, count)| self.spare[*class] -= count);
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
                let able = able_variants(self.model, *stage);
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
            self.traffic.choose(self.model, *stage, *variant);
            self.posts[*stage].variant = *variant;
        }
        // Now and then prices that are a little wrong, or the first in turn would always get the same.
        let noise = if self.steps > 1 && self.random.percent(40) { 0.3 } else { 0.0 };
        let taste = if self.tastes.len() > 1 && (self.steps <= 1 || self.random.percent(30)) { 1 } else { 0 };
        self.traffic.solve()?;
        for (at, (stage, variant)) in wanted.iter().enumerate() {
            if at > 0 {
                self.traffic.solve()?;
            }
            let items = self.items(*stage, *variant, taste, noise);
            let nodes = cover(items, WAYS)?;
            nodes.iter().for_each(|(class, count)| self.spare[*class] -= count);
            self.place(*stage, nodes);
        }
        self.total()
    }

    /// What may be taken for a stage: of each price at each site as much as suffices and a little more, or a few to
    /// fill up with where others do the same for less.
    fn items(&mut self, stage: usize, variant: usize, taste: usize, noise: f64) -> Vec<Item> {
        let slopes = self.traffic.slopes(stage);
        let order = self.order(taste, stage, variant);
        let work = &self.model.stages[stage].work[variant];
        let mut items = Vec::new();
        let item = |class: usize, site: usize| {
            let usd_per_h = self.tastes[taste][class] + self.model.start_usd(stage, variant, class);
            let able = 1.0 / work[class].unwrap_or(f64::INFINITY).max(1e-9);
            Item { class, able, usd_per_h, share_usd_per_h: slopes[site], most: self.spare[class] }
        };
        let groups = || order.iter().filter(|(site, _)| slopes[*site] < 1e6);
        let first = |(site, classes): &(usize, Vec<usize>)| {
            classes.iter().find(|class| self.spare[**class] > 0).map(|class| item(*class, *site).price())
        };
        let least = groups().filter_map(first).fold(f64::INFINITY, f64::min);
        for (site, classes) in groups() {
            let (mut able, mut more) = (0.0, MORE_ITEMS);
            for class in classes.iter().copied().filter(|class| self.spare[*class] > 0) {
                let item = item(class, *site);
                able += item.able * f64::from(item.most);
                if able >= 1.0 || item.price() > least * DEAR {
                    more -= 1;
                }
                items.push(item);
                if more == 0 {
                    break;
                }
            }
        }
        if noise > 0.0 {
            let random = &mut self.random;
            let mut factor = || 1.0 + noise * (random.below(1024) as f64 / 1024.0 - 0.5);
            items.iter_mut().for_each(|item| item.usd_per_h *= factor());
        }
        items
    }

    fn clear(&mut self, stage: usize) {
        for (class, count) in std::mem::take(&mut self.posts[stage].nodes) {
            self.spare[class] += count;
        }
        self.posts[stage].usd_per_h = 0.0;
        self.traffic.offer(stage, None);
    }

    fn place(&mut self, stage: usize, nodes: Vec<(usize, u32)>) {
        let variant = self.posts[stage].variant;
        let mut able = vec![0.0; self.model.tiers.len()];
        let mut usd_per_h = 0.0;
        for (class, count) in &nodes {
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

    pub(super) fn debug(&mut self) {
        self.go_back();
        let t = self.traffic.solve();
        for (v, post) in self.best.iter().enumerate() {
            let work = &self.model.stages[v].work[post.variant];
            let able: f64 = post.nodes.iter().map(|(c, n)| f64::from(*n) / work[*c].unwrap()).sum();
            let cheapest = post.nodes.iter().map(|(c, _)| work[*c].unwrap() * self.model.classes[*c].usd_per_h).collect::<Vec<_>>();
            let best = (0..self.model.tiers.len()).map(|s| (0..work.len()).filter(|c| self.model.classes[*c].site == s).map(|c| work[c].unwrap() * self.model.classes[c].usd_per_h).fold(f64::INFINITY, f64::min)).collect::<Vec<_>>();
            eprintln!("stage {v} variant {} nodes {} able {able:.4} usd {:.3} best at sites {best:.3?} mean {:.3} {:?}", post.variant, post.nodes.len(), post.usd_per_h, cheapest.iter().sum::<f64>() / cheapest.len() as f64, post.nodes.iter().take(12).map(|(c, n)| (self.model.classes[*c].site, (self.model.classes[*c].usd_per_h * 1000.0) as u32, *n, (work[*c].unwrap() * 1000.0) as u32)).collect::<Vec<_>>());
        }
        eprintln!("traffic {t:?}");
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
            let able = |class: usize| 1.0 / entry.work[post.variant][class].unwrap_or(f64::INFINITY).max(1e-9);
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
        let site = |site: usize| problem.machines.sites[site].name.clone();
        for (edge, from, to, share) in self.traffic.flows(self.model) {
            let entry = &problem.profile.edges[self.model.edges[edge].place];
            decision.flows.push(SiteFlow {
                from: entry.from.clone(),
                to: entry.to.clone(),
                from_site: site(from),
                to_site: site(to),
                rate_per_s: share * self.model.stages[self.model.edges[edge].to].rate_per_s,
            });
        }
        Some(decision)
    }
}

fn shuffle(of: &mut [usize], random: &mut Random) {
    for i in (1..of.len()).rev() {
        of.swap(i, random.below(i as u64 + 1) as usize);
    }
}

/// The variants of a stage that can run somewhere.
fn able_variants(model: &Model, stage: usize) -> Vec<usize> {
    let work = &model.stages[stage].work;
    (0..work.len()).filter(|k| work[*k].iter().any(Option::is_some)).collect()
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
fn cheapest_variants(model: &Model) -> Option<Vec<usize>> {
    let price = |stage: usize, variant: usize| {
        let nodes = model.stages[stage].work[variant].iter().zip(&model.classes);
        nodes.filter_map(|(work, class)| Some((*work)? * class.usd_per_h)).fold(f64::INFINITY, f64::min)
    };
    let cheapest = |stage: usize| {
        let able = able_variants(model, stage).into_iter();
        able.min_by(|a, b| price(stage, *a).total_cmp(&price(stage, *b)))
    };
    let mut variants: Vec<usize> = (0..model.stages.len()).map(cheapest).collect::<Option<_>>()?;
    match &model.accuracy {
        Allowed::All => {}
        Allowed::Loss { losses, .. } => {
            while !is_allowed(&model.accuracy, &variants) {
                let mut next: Option<(f64, usize, usize)> = None;
                for (stage, now) in variants.iter().enumerate() {
                    for k in able_variants(model, stage) {
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
            let row = rows.iter().min_by(|a, b| usd(a).total_cmp(&usd(b))).filter(|row| usd(row) < f64::INFINITY)?;
            stages.iter().zip(row).for_each(|(stage, k)| variants[*stage] = *k);
        }
    }
    Some(variants)
}
