//! Which node of a split stage a record goes to.
//!
//! Everything here is a pure function of the plan and the record: the same on every node and in every run. A
//! stage without state takes records by their place, so that all that came of one frame stays together, and two
//! stages of equal shares keep it on its node. Stages with state take them by key, in [`GROUPS`] fixed groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::id::Epoch;
use crate::record::{Batch, Place};

/// Keys are assigned to nodes in this many groups, whatever the plan.
pub(crate) const GROUPS: usize = 256;

/// The group of each record of a batch, by its key.
pub(crate) type Groups = Arc<dyn Fn(&Batch) -> Vec<u8> + Send + Sync>;

/// A number that follows from a key, on every machine the same: the xxh3 of its postcard bytes.
pub(crate) fn hash<K: Serialize>(key: &K) -> u64 {
    // A key that cannot be written is one more key; it is dropped where it would have to be written.
    postcard::to_stdvec(key).map_or(0, |bytes| xxh3_64(&bytes))
}

/// The group of a key.
pub(crate) fn group<K: Serialize>(key: &K) -> u8 {
    // Truncation is the remainder by 256.
    hash(key) as u8
}

/// Which share is next, turn by turn, over one cycle: as many turns as the shares' weights add up to, reduced.
///
/// After any number of turns each share has had its part of them to within one; of two shares, in any window.
/// It is the schedule of Tijdeman, "The chairman assignment problem", 1980: among the shares that may go
/// next without getting ahead too far, the one goes that would fall behind first.
pub(crate) fn turns(shares: &BTreeMap<String, u32>) -> Vec<usize> {
    let divisor = shares.values().fold(0, |a, b| gcd(a, *b)).max(1);
    let weights: Vec<i128> = shares.values().map(|weight| i128::from(weight / divisor)).collect();
    let total: i128 = weights.iter().sum();
    if weights.len() < 2 || total == 0 {
        return vec![0];
    }
    // In units of 1 / (total * slack), so that everything is whole.
    let slack = 2 * weights.len() as i128 - 2;
    let mut had = vec![0_i128; weights.len()];
    let mut turns = Vec::new();
    for turn in 1..=total {
        let owed = |i: usize| slack * (weights[i] * turn - had[i] * total);
        // Until when it can wait, as a fraction.
        let wait = |i: usize| (total * (slack - 1) - owed(i), weights[i]);
        let before = |a: (i128, i128), b: (i128, i128)| a.0 * b.1 < b.0 * a.1;
        let may = (0..weights.len()).filter(|i| owed(*i) >= total);
        let next = may.reduce(|a, b| if before(wait(b), wait(a)) { b } else { a }).unwrap_or(0);
        had[next] += 1;
        turns.push(next);
    }
    turns
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Whose turn a record is. Lanes begin one turn after each other, so that frames of one moment are shared too.
pub(crate) fn turn_of(turns: &[usize], epoch: Epoch, at: &Place) -> usize {
    let n = turns.len() as u64;
    let turn = if at.lane == Place::DERIVED {
        // What stages emit by themselves is numbered anew at every epoch and for every key.
        hash(&(epoch, at.key.bytes(), at.number)) % n
    } else {
        (at.number % n + u64::from(at.lane) % n) % n
    };
    turns[turn as usize]
}

/// The share that each group belongs to.
///
/// Each share has its part of the groups to within one (largest remainder). Which ones they are follows from a
/// score of every group with every name, so that most stay where they are when shares change.
pub(crate) fn homes(shares: &BTreeMap<String, u32>) -> [usize; GROUPS] {
    let mut room = quotas(shares);
    let mut pairs = Vec::with_capacity(GROUPS * shares.len());
    for (share, name) in shares.keys().enumerate() {
        for group in 0..GROUPS {
            pairs.push((hash(&(name, group as u32)), group, share));
        }
    }
    pairs.sort_unstable();
    let mut homes = [None; GROUPS];
    for (_, group, share) in pairs {
        if homes[group].is_none() && room[share] > 0 {
            room[share] -= 1;
            homes[group] = Some(share);
        }
    }
    homes.map(|home| home.expect("together they have room for all groups"))
}

/// How many groups each share has; together all of them.
fn quotas(shares: &BTreeMap<String, u32>) -> Vec<usize> {
    let total: u64 = shares.values().map(|weight| u64::from(*weight)).sum();
    if total == 0 {
        return (0..shares.len()).map(|i| if i == 0 { GROUPS } else { 0 }).collect();
    }
    let part = |weight: &u32| GROUPS as u64 * u64::from(*weight);
    let mut quotas: Vec<usize> = shares.values().map(|weight| (part(weight) / total) as usize).collect();
    let mut by_remainder: Vec<_> =
        shares.values().enumerate().map(|(i, weight)| (total - part(weight) % total, i)).collect();
    by_remainder.sort_unstable();
    let left = GROUPS - quotas.iter().sum::<usize>();
    by_remainder.iter().take(left).for_each(|(_, i)| quotas[*i] += 1);
    quotas
}

/// How the state of a stage is divided among its new homes.
pub(crate) struct Division<'a> {
    groups: &'a Groups,
    homes: [usize; GROUPS],
    parts: usize,
}

impl<'a> Division<'a> {
    pub(crate) fn new(groups: &'a Groups, shares: &BTreeMap<String, u32>) -> Self {
        Self { groups, homes: homes(shares), parts: shares.len() }
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    /// The part of a key.
    pub(crate) fn of_key<K: Serialize>(&self, key: &K) -> usize {
        self.homes[usize::from(group(key))]
    }

    /// The part of each record.
    pub(crate) fn of_batch(&self, batch: &Batch) -> Vec<usize> {
        (self.groups)(batch).into_iter().map(|group| self.homes[usize::from(group)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares by chance: up to six of up to `max`, all but the first of which may be 0.
    fn random(seed: u64, max: u64) -> BTreeMap<String, u32> {
        let mut next = seed;
        let mut below = move |bound: u64| {
            next = xxh3_64(&next.to_le_bytes());
            next % bound
        };
        let n = 1 + below(6);
        (0..n).map(|i| (format!("node-{i}"), u64::from(i == 0).max(below(max + 1)) as u32)).collect()
    }

    #[test]
    fn each_share_has_its_part_of_the_turns_at_any_time() {
        for seed in 0..300 {
            let shares = random(seed, 40);
            let turns = turns(&shares);
            let total: f64 = shares.values().map(|w| f64::from(*w)).sum();
            for (i, weight) in shares.values().enumerate() {
                let part = f64::from(*weight) / total;
                let mut owed = vec![0.0_f64];
                for turn in &turns {
                    owed.push(owed[owed.len() - 1] + part - f64::from(u8::from(*turn == i)));
                }
                let (least, most) =
                    owed.iter().fold((0.0, 0.0), |(a, b): (f64, f64), x| (a.min(*x), b.max(*x)));
                assert!(least > -1.0 && most < 1.0, "{shares:?}: {least} to {most}");
                assert!(owed[owed.len() - 1].abs() < 1e-9, "a cycle is whole");
                // A window is the difference of two moments.
                let window = if shares.len() == 2 { 1.0 + 1e-9 } else { 2.0 };
                assert!(most - least <= window, "{shares:?}: {least} to {most}");
            }
        }
    }

    #[test]
    fn every_group_has_a_home_by_weight() {
        for seed in 0..100 {
            let shares = random(seed, 1_000);
            let total: u64 = shares.values().map(|w| u64::from(*w)).sum();
            let homes = homes(&shares);
            for (i, weight) in shares.values().enumerate() {
                let n = homes.iter().filter(|home| **home == i).count() as f64;
                assert!((n - GROUPS as f64 * f64::from(*weight) / total as f64).abs() < 1.0, "{shares:?}");
            }
            assert!(homes.iter().all(|home| *home < shares.len()));
            assert_eq!(homes, super::homes(&shares));
        }
    }

    #[test]
    fn groups_stay_where_they_are_if_they_can() {
        let shares = |pairs: &[(&str, u32)]| -> BTreeMap<String, u32> {
            pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
        };
        let moved = |before: &BTreeMap<String, u32>, after: &BTreeMap<String, u32>| {
            let name = |s: &BTreeMap<String, u32>, i: usize| s.keys().nth(i).cloned();
            let (old, new) = (homes(before), homes(after));
            (0..GROUPS).filter(|g| name(before, old[*g]) != name(after, new[*g])).count()
        };
        let (two, three) = (shares(&[("a", 1), ("b", 1)]), shares(&[("a", 1), ("b", 1), ("c", 1)]));
        // A third of 256 has to move, and of equal shares with new names all that is not there by chance.
        assert!((86..=110).contains(&moved(&two, &three)), "{}", moved(&two, &three));
        assert!(moved(&two, &shares(&[("a", 3), ("b", 1)])) <= 70);
        assert_eq!(moved(&two, &shares(&[("a", 7), ("b", 7)])), 0);
    }

    #[test]
    fn what_came_of_one_frame_stays_together() {
        let turns = turns(&random(7, 9));
        for number in 0..100 {
            let frame = Place::of_source(3, number);
            let home = turn_of(&turns, 5, &frame);
            assert!((0..50).all(|i| turn_of(&turns, 5, &frame.child(i).child(2)) == home));
        }
    }
}
