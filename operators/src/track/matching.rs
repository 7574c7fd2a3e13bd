//! Which known thing is which detection: the optimal assignment, in pieces that are small.
//!
//! Boxes overlap few others, so the pairs that are possible at all fall apart into small groups that have
//! nothing in common. Each is assigned by itself, at the largest gain in all; one that is too large for that
//! is assigned best pair first.
//!
//! Invariant: nothing is in two pairs, and no group costs more than [`STEPS_MAX`].

use crate::assign::assign;

/// How many steps the optimal assignment of one group may take, rows² x (rows + columns): tens of milliseconds.
/// A group of 100 by 100, which no suppressed detections give, still fits.
const STEPS_MAX: usize = 4_000_000;

/// A pair that is possible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) known: usize,
    pub(super) seen: usize,
    /// What it is worth; more than 0.
    pub(super) gain: f32,
}

/// Pairs of (known, seen), by rising known, each in one pair at most, at the largest sum of gains.
pub(super) fn match_up(candidates: Vec<Candidate>) -> Vec<(usize, usize)> {
    match_up_within(candidates, STEPS_MAX)
}

fn match_up_within(candidates: Vec<Candidate>, steps_max: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for group in groups(candidates) {
        if let [Candidate { known, seen, .. }] = group[..] {
            pairs.push((known, seen));
            continue;
        }
        let rows = distinct(group.iter().map(|c| c.known));
        let columns = distinct(group.iter().map(|c| c.seen));
        if rows.len() * rows.len() * (rows.len() + columns.len()) > steps_max {
            best_first(group, &mut pairs);
        } else {
            optimal(&group, &rows, &columns, &mut pairs);
        }
    }
    pairs.sort_unstable();
    pairs
}

/// The candidates in groups that share neither a known thing nor a detection.
fn groups(mut candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let knowns = candidates.iter().map(|c| c.known + 1).max().unwrap_or(0);
    let seens = candidates.iter().map(|c| c.seen + 1).max().unwrap_or(0);
    let mut parents: Vec<usize> = (0..knowns + seens).collect();
    for candidate in &candidates {
        let (a, b) = (root(&mut parents, candidate.known), root(&mut parents, knowns + candidate.seen));
        parents[a.max(b)] = a.min(b);
    }
    candidates.sort_by_key(|c| (root(&mut parents, c.known), c.known, c.seen));
    candidates
        .chunk_by(|a, b| root(&mut parents, a.known) == root(&mut parents, b.known))
        .map(<[Candidate]>::to_vec)
        .collect()
}

/// Who stands for the group of `of`; shortens the way there.
fn root(parents: &mut [usize], mut of: usize) -> usize {
    while parents[of] != of {
        parents[of] = parents[parents[of]];
        of = parents[of];
    }
    of
}

fn distinct(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn optimal(group: &[Candidate], rows: &[usize], columns: &[usize], pairs: &mut Vec<(usize, usize)>) {
    let place = |among: &[usize], of: usize| among.binary_search(&of).expect("it is one of them");
    let mut gains = vec![0.0; rows.len() * columns.len()];
    for candidate in group {
        let (row, column) = (place(rows, candidate.known), place(columns, candidate.seen));
        gains[row * columns.len() + column] = f64::from(candidate.gain);
    }
    let found = assign(rows.len(), columns.len(), |row, column| gains[row * columns.len() + column]);
    let found = found.into_iter().enumerate();
    pairs.extend(found.filter_map(|(row, column)| Some((rows[row], columns[column?]))));
}

/// Always the pair of the largest gain next; of equal ones the older thing's, then the surer detection's.
fn best_first(mut group: Vec<Candidate>, pairs: &mut Vec<(usize, usize)>) {
    group.sort_by(|a, b| b.gain.total_cmp(&a.gain).then((a.known, a.seen).cmp(&(b.known, b.seen))));
    let (mut knowns, mut seens) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    for Candidate { known, seen, .. } in group {
        if !knowns.contains(&known) && !seens.contains(&seen) {
            knowns.insert(known);
            seens.insert(seen);
            pairs.push((known, seen));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random candidates; gains are whole numbers, so that ties happen.
    fn candidates(seed: u64, knowns: u64, seens: u64, share_of_ten: u64) -> Vec<Candidate> {
        let mut state = seed;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut all = Vec::new();
        for (known, seen) in (0..knowns).flat_map(|k| (0..seens).map(move |s| (k as usize, s as usize))) {
            if below(10) < share_of_ten {
                all.push(Candidate { known, seen, gain: 1.0 + below(9) as f32 });
            }
        }
        all
    }

    fn worth(candidates: &[Candidate], pairs: &[(usize, usize)]) -> f32 {
        let gain = |&(known, seen): &(usize, usize)| {
            candidates.iter().find(|c| (c.known, c.seen) == (known, seen)).expect("a candidate").gain
        };
        pairs.iter().map(gain).sum()
    }

    #[test]
    fn groups_are_as_good_as_the_whole() {
        for seed in 0..200 {
            let all = candidates(seed, 9, 12, 1 + seed % 5);
            let pairs = match_up(all.clone());
            // The dull twin: everything at once.
            let gain = |row: usize, column: usize| {
                all.iter().find(|c| (c.known, c.seen) == (row, column)).map_or(0.0, |c| c.gain.into())
            };
            let whole: Vec<(usize, usize)> =
                assign(9, 12, gain).into_iter().enumerate().filter_map(|(r, c)| Some((r, c?))).collect();
            assert_eq!(worth(&all, &pairs), worth(&all, &whole), "seed {seed}");
            assert_eq!(distinct(pairs.iter().map(|p| p.0)).len(), pairs.len());
            assert_eq!(distinct(pairs.iter().map(|p| p.1)).len(), pairs.len());
        }
    }

    #[test]
    fn best_first_is_a_search_for_the_best_again_and_again() {
        for seed in 0..200 {
            let all = candidates(seed, 9, 12, 4);
            let mut left = all.clone();
            let mut dull = Vec::new();
            while let Some(best) = left.iter().copied().reduce(|a, b| if b.gain > a.gain { b } else { a }) {
                dull.push((best.known, best.seen));
                left.retain(|c| c.known != best.known && c.seen != best.seen);
            }
            dull.sort_unstable();
            let pairs = match_up_within(all, 0);
            assert_eq!(pairs, dull, "seed {seed}");
        }
    }

    #[test]
    fn a_group_that_is_too_large_is_no_more_work_than_it_may_be() {
        let all = candidates(1, 256, 1_024, 10);
        assert_eq!(match_up(all).len(), 256);
        assert!(match_up(Vec::new()).is_empty());
    }
}
