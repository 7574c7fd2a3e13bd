//! Local search as a part of the whole: when it walks, where it begins, what becomes of its plans.

use super::Search;
use crate::placement::GAP_PROVED;
use crate::placement::decision::Mode;
use crate::placement::descent::Descent;

/// Steps of the local search that count as one linear program.
const STEPS_PER_PROGRAM: u64 = 40;

/// After how many programs' worth without a better plan a walk is given up.
const WALK_PATIENCE: u64 = 50;

impl Search<'_> {
    /// Whether nodes can be counted by stage, and nothing matters that the local search does not see.
    pub(super) fn may_walk(&self) -> bool {
        self.model.mode != Mode::Shared && self.model.p95_ms_max.is_none()
    }

    /// A walk of the local search: from the best plan and from new beginnings in turn.
    pub(super) fn walk(&mut self, programs: u64, worths: Option<Vec<f64>>) {
        self.walks += 1;
        let is_counted = self.model.mode != Mode::Shared;
        let best = self.best.as_ref().filter(|_| is_counted && self.walks.is_multiple_of(2));
        let post = |(variant, counts): (&Option<usize>, &Vec<f64>)| {
            let nodes = counts.iter().enumerate().filter(|(_, count)| **count > 0.5);
            Some(((*variant)?, nodes.map(|(class, count)| (class, *count as u32)).collect()))
        };
        let posts = best.and_then(|best| best.choice.iter().zip(&best.counts).map(post).collect());
        let begun = match posts {
            Some(posts) => Descent::from(&self.model, self.walks, posts, worths),
            None => {
                let lead = (self.walks / 2) as usize % self.leads.len().max(1);
                let lead = self.leads.get(lead).and_then(|lead| lead.iter().copied().collect());
                Descent::new(&self.model, self.walks, lead, worths)
            }
        };
        let (mut patience, mut left) = (WALK_PATIENCE, programs);
        self.solved += 1;
        let Some(mut descent) = begun else { return };
        while patience > 0 && left > 0 && self.may_go_on() {
            patience = if descent.go_on(STEPS_PER_PROGRAM) { WALK_PATIENCE } else { patience - 1 };
            left -= 1;
            self.solved += 1;
        }
        let cost = descent.best_usd_per_h();
        if self.best.as_ref().is_some_and(|best| cost >= best.cost * (1.0 - GAP_PROVED)) {
            return;
        }
        let Some(decision) = descent.decision(self.problem) else { return };
        let choice = descent.best().iter().map(|post| Some(post.variant)).collect();
        let counts = descent.best().iter().map(|post| {
            let mut counts = vec![0.0; self.model.classes.len()];
            post.nodes.iter().for_each(|(class, count)| counts[*class] = f64::from(*count));
            counts
        });
        let mut counts: Vec<Vec<f64>> = counts.collect();
        if self.model.mode == Mode::Shared {
            // There the first line is of all stages together.
            let sum = |class: usize| counts.iter().map(|line| line[class]).sum();
            let all: Vec<f64> = (0..self.model.classes.len()).map(sum).collect();
            counts.iter_mut().for_each(|line| line.fill(0.0));
            counts[0] = all;
        }
        self.take(decision, choice, counts);
    }
}
