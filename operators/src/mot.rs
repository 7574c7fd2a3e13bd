//! How good a tracker is, against the truth: MOTA and IDF1.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::assign::assign;
use crate::picture::Rect;

/// A box of an identity in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boxed {
    /// Who it is: a thing in the truth, a track in what is measured.
    pub id: u64,
    /// Where it is.
    pub rect: Rect,
}

/// One frame: what is there, and what was tracked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// The truth.
    pub truth: Vec<Boxed>,
    /// What the tracker says.
    pub tracked: Vec<Boxed>,
}

/// What a tracker made of a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// 1 - (misses + false positives + switches) / boxes of the truth; below 0 where there are more of those.
    pub mota: f64,
    /// The share of boxes with the right identity, as the harmonic mean of precision and recall, in 0..=1.
    pub idf1: f64,
    /// Boxes of the truth.
    pub truth: u64,
    /// Boxes of the truth that have a track.
    pub matches: u64,
    /// Boxes of the truth that have none.
    pub misses: u64,
    /// Boxes of tracks where nothing is.
    pub false_positives: u64,
    /// How often a thing's track is another one than before.
    pub switches: u64,
}

/// Scores the frames of one camera, in order; boxes are the same place where their overlap is at least
/// `iou_min`, usually 0.5.
///
/// MOTA counts frame by frame (Bernardin and Stiefelhagen, "Evaluating multiple object tracking performance:
/// the CLEAR MOT metrics", 2008): a pair of before stays together while it overlaps, and the others are
/// assigned anew at the most overlap. IDF1 assigns whole tracks to things, one to one, at the most
/// boxes (Ristani et al., "Performance measures and a data set for multi-target, multi-camera tracking", 2016).
///
/// ```
/// use jellybean_operators::mot::{Boxed, Compared, score};
/// use jellybean_operators::picture::Rect;
/// let at = |id| Boxed { id, rect: Rect { x0: 0.0, y0: 0.0, x1: 9.0, y1: 9.0 } };
/// let frame = |track| Compared { truth: vec![at(1)], tracked: vec![at(track)] };
/// let score = score(&[frame(7), frame(7), frame(7), frame(8)], 0.5);
/// assert_eq!((score.switches, score.mota, score.idf1), (1, 0.75, 0.75));
/// ```
#[must_use]
pub fn score(frames: &[Compared], iou_min: f32) -> Score {
    let mut score = Score::default();
    let mut last = BTreeMap::new();
    for frame in frames {
        let pairs = pairs(frame, &last, iou_min);
        score.truth += frame.truth.len() as u64;
        score.matches += pairs.len() as u64;
        score.misses += (frame.truth.len() - pairs.len()) as u64;
        score.false_positives += (frame.tracked.len() - pairs.len()) as u64;
        for (thing, track) in pairs {
            let before = last.insert(thing, track);
            score.switches += u64::from(before.is_some_and(|before| before != track));
        }
    }
    let faults = score.misses + score.false_positives + score.switches;
    score.mota = if score.truth > 0 { 1.0 - faults as f64 / score.truth as f64 } else { 0.0 };
    score.idf1 = idf1(frames, iou_min);
    score
}

/// Who is who in a frame: those who were last time and still may be, then the others.
fn pairs(frame: &Compared, last: &BTreeMap<u64, u64>, iou_min: f32) -> Vec<(u64, u64)> {
    let same = |a: &Boxed, b: &Boxed| a.rect.iou(&b.rect) >= iou_min;
    let (mut pairs, mut taken) = (Vec::new(), BTreeSet::new());
    let mut others = Vec::new();
    for thing in &frame.truth {
        let track = last.get(&thing.id).and_then(|id| frame.tracked.iter().find(|t| t.id == *id));
        match track.filter(|track| same(thing, track) && taken.insert(track.id)) {
            Some(track) => pairs.push((thing.id, track.id)),
            None => others.push(thing),
        }
    }
    let free: Vec<&Boxed> = frame.tracked.iter().filter(|track| !taken.contains(&track.id)).collect();
    // As many pairs as possible come before their overlap.
    let gain = |row: usize, column: usize| {
        let (thing, track): (&Boxed, &Boxed) = (others[row], free[column]);
        if same(thing, track) { 1e4 + f64::from(thing.rect.iou(&track.rect)) } else { 0.0 }
    };
    let found = assign(others.len(), free.len(), gain);
    pairs.extend(found.into_iter().enumerate().filter_map(|(row, c)| Some((others[row].id, free[c?].id))));
    pairs
}

fn idf1(frames: &[Compared], iou_min: f32) -> f64 {
    let (mut things, mut tracks) = (BTreeSet::new(), BTreeSet::new());
    let (mut together, mut boxes) = (BTreeMap::<(u64, u64), u64>::new(), 0);
    for Compared { truth, tracked } in frames {
        boxes += truth.len() + tracked.len();
        things.extend(truth.iter().map(|thing| thing.id));
        tracks.extend(tracked.iter().map(|track| track.id));
        for (thing, track) in truth.iter().flat_map(|thing| tracked.iter().map(move |track| (thing, track))) {
            if thing.rect.iou(&track.rect) >= iou_min {
                *together.entry((thing.id, track.id)).or_default() += 1;
            }
        }
    }
    let (things, tracks): (Vec<u64>, Vec<u64>) = (things.into_iter().collect(), tracks.into_iter().collect());
    let n = |row: usize, column: usize| together.get(&(things[row], tracks[column])).copied().unwrap_or(0);
    let found = assign(things.len(), tracks.len(), |row, column| n(row, column) as f64);
    let right: u64 = found.into_iter().enumerate().filter_map(|(row, column)| Some(n(row, column?))).sum();
    if boxes > 0 { 2.0 * right as f64 / boxes as f64 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(id: u64, x: f32) -> Boxed {
        Boxed { id, rect: Rect { x0: x, y0: 0.0, x1: x + 10.0, y1: 10.0 } }
    }

    fn frame(truth: &[(u64, f32)], tracked: &[(u64, f32)]) -> Compared {
        let boxed = |boxes: &[(u64, f32)]| boxes.iter().map(|(id, x)| at(*id, *x)).collect();
        Compared { truth: boxed(truth), tracked: boxed(tracked) }
    }

    #[test]
    fn a_perfect_tracker() {
        let frames: Vec<_> =
            (0..9).map(|i| frame(&[(1, i as f32), (2, 50.0)], &[(70, i as f32), (80, 50.0)])).collect();
        let score = score(&frames, 0.5);
        assert_eq!((score.mota, score.idf1, score.matches, score.switches), (1.0, 1.0, 18, 0));
    }

    #[test]
    fn misses_and_false_positives_by_hand() {
        // Of six boxes two are missed, and there is one where nothing is.
        let frames = [
            frame(&[(1, 0.0), (2, 50.0)], &[(7, 1.0), (8, 50.0)]),
            frame(&[(1, 0.0), (2, 50.0)], &[(7, 1.0), (9, 200.0)]),
            frame(&[(1, 0.0), (2, 50.0)], &[(8, 50.0)]),
        ];
        let score = score(&frames, 0.5);
        assert_eq!((score.truth, score.matches, score.misses, score.false_positives), (6, 4, 2, 1));
        assert_eq!((score.switches, score.mota), (0, 0.5));
        // Four right boxes of six there and five tracked.
        assert!((score.idf1 - 8.0 / 11.0).abs() < 1e-12);
    }

    #[test]
    fn a_swap_costs_two_switches_and_half_of_the_identities() {
        let swap = |i: u64| if i < 4 { [(7, 0.0), (8, 50.0)] } else { [(8, 0.0), (7, 50.0)] };
        let frames: Vec<_> = (0..8).map(|i| frame(&[(1, 0.0), (2, 50.0)], &swap(i))).collect();
        let score = score(&frames, 0.5);
        assert_eq!((score.switches, score.misses, score.mota, score.idf1), (2, 0, 0.875, 0.5));
    }

    #[test]
    fn who_was_together_stays_so_while_another_is_nearer() {
        let frames = [frame(&[(1, 0.0)], &[(7, 0.0)]), frame(&[(1, 0.0)], &[(7, 3.0), (8, 0.0)])];
        assert_eq!(score(&frames, 0.5).switches, 0);
    }

    #[test]
    fn nothing_is_no_success() {
        assert_eq!(score(&[], 0.5), Score::default());
        let nothing_there = score(&[frame(&[], &[(1, 0.0)])], 0.5);
        assert_eq!((nothing_there.mota, nothing_there.idf1, nothing_there.false_positives), (0.0, 0.0, 1));
    }
}
