//! The cheapest nodes that can take a stage's demand together, when what a share of it costs at their site is given.

/// What is left of a demand when it counts as met.
const MET: f64 = 1e-9;

/// Nodes of a class.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) class: usize,
    /// The part of the demand that one of them can take.
    pub(super) able: f64,
    /// Dollars per hour of one of them.
    pub(super) usd_per_h: f64,
    /// Dollars per hour of all of the demand, taken where they are.
    pub(super) share_usd_per_h: f64,
    /// How many there are.
    pub(super) most: u32,
}

impl Item {
    /// Of the whole demand, on nodes of this class alone, if they could be divided.
    pub(super) fn price(&self) -> f64 {
        self.usd_per_h / self.able + self.share_usd_per_h
    }
}

/// By class, how many to take; nothing if all of them are too few. Looks at so many ways, the most promising first.
pub(super) fn cover(mut items: Vec<Item>, ways: usize) -> Option<Vec<(usize, u32)>> {
    items.retain(|item| item.most > 0 && item.able > 0.0);
    items.sort_by(|a, b| a.price().total_cmp(&b.price()).then(a.class.cmp(&b.class)));
    let mut search =
        Search { taken: vec![0; items.len()], items, best: None, least: f64::INFINITY, left: ways };
    search.go_on(0, 1.0, 0.0);
    let items = search.items;
    let best = search.best?;
    Some(items.iter().zip(best).filter(|(_, n)| *n > 0).map(|(item, n)| (item.class, n)).collect())
}

struct Search {
    /// The cheapest by their work first.
    items: Vec<Item>,
    taken: Vec<u32>,
    best: Option<Vec<u32>>,
    least: f64,
    /// Ways to look at yet.
    left: usize,
}

impl Search {
    /// Takes of what stands at a place and behind it.
    fn go_on(&mut self, at: usize, demand: f64, usd_per_h: f64) {
        if demand <= MET {
            if usd_per_h < self.least {
                self.least = usd_per_h;
                self.best = Some(self.taken.clone());
            }
            self.left = self.left.saturating_sub(1);
            return;
        }
        if self.left == 0 || usd_per_h + self.bound(at, demand) >= self.least - 1e-12 {
            return;
        }
        let item = self.items[at];
        let most = item.most.min((demand / item.able - MET).ceil().max(1.0) as u32);
        for count in (0..=most).rev() {
            let share = (f64::from(count) * item.able).min(demand);
            let usd = f64::from(count) * item.usd_per_h + share * item.share_usd_per_h;
            self.taken[at] = count;
            self.go_on(at + 1, demand - share, usd_per_h + usd);
        }
        self.taken[at] = 0;
    }

    /// What the rest of the demand costs at least.
    fn bound(&self, at: usize, mut demand: f64) -> f64 {
        let mut sum = 0.0;
        for item in &self.items[at..] {
            let share = (f64::from(item.most) * item.able).min(demand);
            sum += share * item.price();
            demand -= share;
            if demand <= MET {
                return sum;
            }
        }
        f64::INFINITY
    }
}
