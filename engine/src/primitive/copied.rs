//! Pre-copy: states go to their next home before the cut, while they are still in use; after it goes only what has
//! changed since, so that the pause depends on how much changes and not on how much there is.
//!
//! Invariant: a state up to the last key that was copied is either as it was then, or its key is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use serde::Serialize;

use super::frozen::PieceRef;
use crate::error::Result;
use crate::id::GenerationId;

/// What the next home of states has of them.
pub(crate) struct Copied<K> {
    /// The generation that they are copied for.
    pub(crate) to: GenerationId,
    upto: Option<K>,
    touched: BTreeSet<K>,
}

impl<K: Ord + Clone + Serialize> Copied<K> {
    pub(crate) fn new(to: GenerationId) -> Self {
        Self { to, upto: None, touched: BTreeSet::new() }
    }

    /// The state of a key has changed, or is gone.
    pub(crate) fn touch(&mut self, key: &K) {
        if self.upto.as_ref().is_some_and(|upto| key <= upto) && !self.touched.contains(key) {
            self.touched.insert(key.clone());
        }
    }

    /// The next piece, of about so many bytes, and whether it is the last.
    ///
    /// # Errors
    /// If a user's state cannot be encoded.
    pub(crate) fn piece<S: Serialize>(
        &mut self,
        by_key: &BTreeMap<K, S>,
        bytes: usize,
    ) -> Result<(Vec<u8>, bool)> {
        let (mut piece, mut upto, mut is_last) = (Vec::new(), None, true);
        for (key, state) in self.beyond(by_key) {
            if piece.len() >= bytes {
                is_last = false;
                break;
            }
            PieceRef::<_, _, ()>::State(key, state).write(&mut piece)?;
            upto = Some(key);
        }
        if let Some(upto) = upto.cloned() {
            self.upto = Some(upto);
        }
        Ok((piece, is_last))
    }

    /// What the next home has not, or has not as it is; nothing where it is gone.
    pub(crate) fn rest<'a, S>(
        &'a self,
        by_key: &'a BTreeMap<K, S>,
    ) -> impl Iterator<Item = (&'a K, Option<&'a S>)> {
        let touched = self.touched.iter().map(|key| (key, by_key.get(key)));
        touched.chain(self.beyond(by_key).map(|(key, state)| (key, Some(state))))
    }

    fn beyond<'a, S>(&self, by_key: &'a BTreeMap<K, S>) -> impl Iterator<Item = (&'a K, &'a S)> {
        by_key.range((self.upto.as_ref().map_or(Unbounded, Excluded), Unbounded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::{Arrival, State};
    use crate::primitive::frozen::Frozen;
    use crate::primitive::reorder::Reorder;
    use crate::random::Random;

    type States = Frozen<u64, String, u8>;

    #[test]
    fn what_was_copied_and_what_is_left_make_the_whole() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let state = |random: &mut Random| "x".repeat(random.below(4_000) as usize);
            let mut by_key: BTreeMap<u64, String> =
                (0..random.below(400)).map(|key| (2 * key, state(&mut random))).collect();
            let mut copied = Copied::new(GenerationId { term: 1, n: 2 });
            let mut pieces = Vec::new();
            // More or less of it, as a cut may come at any time; in between, states come, change and go.
            for _ in 0..random.below(12) {
                pieces.push(copied.piece(&by_key, 50_000).unwrap().0);
                for _ in 0..random.below(20) {
                    let key = random.below(800);
                    copied.touch(&key);
                    if random.percent(30) {
                        by_key.remove(&key);
                    } else {
                        by_key.insert(key, state(&mut random));
                    }
                }
            }
            let whole = by_key.clone();
            let frozen = States { by_key, waiting: Reorder::default(), copied: Some(copied) };
            pieces.extend(frozen.chunks().unwrap());
            let mut moved = States::default();
            moved.take_in(vec![Arrival::Chunks(pieces)]).unwrap();
            assert_eq!(moved.by_key, whole, "seed {seed}");
        }
    }
}
