//! What nodes are on offer for a stage: of each price at each site as much as suffices and a little more.

use std::collections::BTreeMap;

use super::cover::Item;
use super::model::Model;

/// Classes of a price at a site that a stage may choose among beyond those that suffice.
const MORE_ITEMS: usize = 4;

/// How much dearer than the cheapest a class may be for its work, and still be looked at in full.
const DEAR: f64 = 1.3;

/// Classes that stand at a site and cost the same, the fastest first.
type Order = Vec<(usize, Vec<usize>)>;

/// Orders of classes, made when they are asked for.
pub(super) struct Offers {
    /// By class: what a node is taken to cost, in one or more ways.
    tastes: Vec<Vec<f64>>,
    /// By taste, stage and variant.
    orders: Vec<Vec<Vec<Option<Order>>>>,
}

impl Offers {
    /// At what nodes cost.
    pub(super) fn new(model: &Model) -> Self {
        let mut offers = Self { tastes: Vec::new(), orders: Vec::new() };
        offers.add(model, model.classes.iter().map(|class| class.usd_per_h).collect());
        offers
    }

    /// Also as if nodes cost something else.
    pub(super) fn add(&mut self, model: &Model, usd_per_h: Vec<f64>) {
        self.tastes.push(usd_per_h);
        self.orders.push(model.stages.iter().map(|stage| vec![None; stage.work.len()]).collect());
    }

    /// In how many ways nodes are looked at.
    pub(super) fn tastes(&self) -> usize {
        self.tastes.len()
    }

    /// What may be taken for a variant of a stage: at each site of each price as much as suffices and a little more,
    /// or a few to fill up with where others do the same for less. Slopes are by site, as of traffic.
    pub(super) fn items(
        &mut self,
        model: &Model,
        spare: &[u32],
        slopes: &[f64],
        (stage, variant): (usize, usize),
        taste: usize,
    ) -> Vec<Item> {
        let usd_per_h = &self.tastes[taste];
        let order = self.orders[taste][stage][variant].get_or_insert_with(|| {
            let price = |class: usize, work: f64| work * usd_per_h[class];
            order(model, stage, variant, &price)
        });
        let work = &model.stages[stage].work[variant];
        let item = |class: usize, site: usize| {
            let usd_per_h = usd_per_h[class] + model.start_usd(stage, variant, class);
            let able = 1.0 / work[class].unwrap_or(f64::INFINITY).max(1e-9);
            Item { class, able, usd_per_h, share_usd_per_h: slopes[site], most: spare[class] }
        };
        let groups = || order.iter().filter(|(site, _)| slopes[*site] < 1e6);
        let first = |(site, classes): &(usize, Vec<usize>)| {
            classes.iter().find(|class| spare[**class] > 0).map(|class| item(*class, *site).price())
        };
        let least = groups().filter_map(first).fold(f64::INFINITY, f64::min);
        let mut items = Vec::new();
        for (site, classes) in groups() {
            let (mut able, mut more) = (0.0, MORE_ITEMS);
            for class in classes.iter().copied().filter(|class| spare[*class] > 0) {
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
        items
    }
}

fn order(model: &Model, stage: usize, variant: usize, price: &dyn Fn(usize, f64) -> f64) -> Order {
    let work = &model.stages[stage].work[variant];
    let mut groups: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
    for class in (0..work.len()).filter(|class| work[*class].is_some()) {
        let key = (model.classes[class].site, model.classes[class].usd_per_h.to_bits());
        groups.entry(key).or_default().push(class);
    }
    let of = |class: &usize| price(*class, work[*class].unwrap_or(f64::INFINITY));
    let mut order: Order = groups.into_iter().map(|((site, _), classes)| (site, classes)).collect();
    order.iter_mut().for_each(|(_, group)| group.sort_by(|a, b| of(a).total_cmp(&of(b))));
    order
}
