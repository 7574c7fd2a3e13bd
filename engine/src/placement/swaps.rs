//! Local search: other nodes for one stage that cost less and can still serve it.
//!
//! It counts whole nodes only; whether the traffic eats the saving is for a linear program to say.

use super::model::Model;

/// A cheaper set of nodes for a stage.
pub(super) struct Swap {
    pub(super) stage: usize,
    /// By class: how many nodes it then has.
    pub(super) counts: Vec<f64>,
    /// Dollars per hour of nodes.
    pub(super) saving_usd_per_h: f64,
}

/// The sets of nodes that differ from a stage's own in up to two nodes given back and up to two taken, cost less and
/// suffice: the greatest saving first, and `most` of them at most.
pub(super) fn swaps(
    model: &Model,
    variants: &[Option<usize>],
    counts: &[Vec<f64>],
    most: usize,
) -> Vec<Swap> {
    let mut spare: Vec<f64> = model.classes.iter().map(|class| class.nodes.len() as f64).collect();
    for by_class in counts {
        spare.iter_mut().zip(by_class).for_each(|(spare, count)| *spare -= count);
    }
    let mut found = Vec::new();
    for (stage, (entry, variant)) in model.stages.iter().zip(variants).enumerate() {
        let Some(variant) = *variant else { continue };
        // By class: what part of the demand a node of it can take.
        let able: Vec<f64> =
            entry.work[variant].iter().map(|work| work.map_or(0.0, |work| 1.0 / work.max(1e-9))).collect();
        let own = &counts[stage];
        let slack = own.iter().zip(&able).map(|(count, able)| count * able).sum::<f64>() - 1.0;
        let given = groups(own, |class| own[class]);
        let taken = groups(&able, |class| if able[class] > 0.0 { spare[class] } else { 0.0 });
        let price = |group: &[usize]| group.iter().map(|class| model.classes[*class].usd_per_h).sum::<f64>();
        let power = |group: &[usize]| group.iter().map(|class| able[*class]).sum::<f64>();
        for given in given.iter().filter(|given| !given.is_empty()) {
            for taken in taken.iter().filter(|taken| taken.iter().all(|class| !given.contains(class))) {
                let saving_usd_per_h = price(given) - price(taken);
                if saving_usd_per_h > 1e-9 && slack + power(taken) - power(given) >= 0.0 {
                    let mut counts = own.clone();
                    given.iter().for_each(|class| counts[*class] -= 1.0);
                    taken.iter().for_each(|class| counts[*class] += 1.0);
                    found.push(Swap { stage, counts, saving_usd_per_h });
                }
            }
        }
    }
    found.sort_by(|a, b| b.saving_usd_per_h.total_cmp(&a.saving_usd_per_h));
    found.truncate(most);
    found
}

/// None, one or two of the classes, of each as many as there are.
fn groups(classes: &[f64], there_are: impl Fn(usize) -> f64) -> Vec<Vec<usize>> {
    let known: Vec<usize> = (0..classes.len()).filter(|class| there_are(*class) > 0.5).collect();
    let mut groups = vec![Vec::new()];
    for (at, &one) in known.iter().enumerate() {
        groups.push(vec![one]);
        let others = known[at..].iter().filter(|other| **other != one || there_are(one) > 1.5);
        groups.extend(others.map(|other| vec![one, *other]));
    }
    groups
}
