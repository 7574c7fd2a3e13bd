//! Non-maximum suppression: of boxes of a class that overlap too much, the best one stays.

use std::cmp::Ordering;

use crate::picture::Rect;

/// The most candidates that are compared with one another; the best ones are.
pub(super) const CANDIDATES_MAX: usize = 1000;
/// The most boxes that stay.
pub(super) const BOXES_MAX: usize = 300;

/// A box that a head proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// In pixels of the input.
    pub(super) rect: Rect,
    /// Finite.
    pub(super) score: f32,
    /// Which class.
    pub(super) class: usize,
    /// Which cell; no two candidates of one head share class and cell.
    pub(super) cell: usize,
}

/// Leaves the boxes that stay, by falling score; the cell decides between equals, then the class.
pub(super) fn suppress(candidates: &mut Vec<Candidate>, iou_max: f32) {
    if candidates.len() > CANDIDATES_MAX {
        candidates.select_nth_unstable_by(CANDIDATES_MAX, better);
        candidates.truncate(CANDIDATES_MAX);
    }
    candidates.sort_unstable_by(better);
    let mut kept = 0;
    for i in 0..candidates.len() {
        let candidate = candidates[i];
        let overlaps = |k: &Candidate| k.class == candidate.class && k.rect.iou(&candidate.rect) > iou_max;
        if kept < BOXES_MAX && !candidates[..kept].iter().any(overlaps) {
            candidates[kept] = candidate;
            kept += 1;
        }
    }
    candidates.truncate(kept);
}

/// A total order in which no two candidates are equal, so that the result never depends on theirs.
fn better(a: &Candidate, b: &Candidate) -> Ordering {
    b.score.total_cmp(&a.score).then(a.cell.cmp(&b.cell)).then(a.class.cmp(&b.class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    /// By the definition: strike out, best first, whatever overlaps a better one that stays.
    fn twin(candidates: &[Candidate], iou_max: f32) -> Vec<Candidate> {
        let mut left = candidates.to_vec();
        left.sort_by(better);
        left.truncate(CANDIDATES_MAX);
        let mut stays = Vec::new();
        while !left.is_empty() && stays.len() < BOXES_MAX {
            let best = left.remove(0);
            left.retain(|c| c.class != best.class || best.rect.iou(&c.rect) <= iou_max);
            stays.push(best);
        }
        stays
    }

    fn candidate(noise: &mut Noise, cell: usize) -> Candidate {
        let [x0, y0, w, h] = [100, 100, 60, 60].map(|n| noise.below(n) as f32);
        let rect = Rect { x0, y0, x1: x0 + w, y1: y0 + h };
        // Few scores, so that ties are common.
        Candidate { rect, score: noise.below(20) as f32 / 20.0, class: noise.below(3), cell }
    }

    #[test]
    fn equals_its_twin_in_any_order() {
        let mut noise = Noise(5);
        for round in 0..60 {
            let n = if round < 50 { noise.below(200) } else { 900 + noise.below(600) };
            let mut candidates: Vec<_> = (0..n).map(|cell| candidate(&mut noise, cell)).collect();
            let iou_max = noise.below(10) as f32 / 10.0;
            let expected = twin(&candidates, iou_max);
            for i in (1..n).rev() {
                candidates.swap(i, noise.below(i + 1));
            }
            suppress(&mut candidates, iou_max);
            assert_eq!(candidates, expected, "round {round}");
        }
    }

    #[test]
    fn boxes_are_bounded() {
        let apart = |cell: usize| {
            let x0 = 2.0 * cell as f32;
            Candidate { rect: Rect { x0, y0: 0.0, x1: x0 + 1.0, y1: 1.0 }, score: 0.5, class: 0, cell }
        };
        let mut candidates: Vec<_> = (0..5000).map(apart).collect();
        suppress(&mut candidates, 0.5);
        assert_eq!(candidates.len(), BOXES_MAX);
        assert!(candidates.iter().enumerate().all(|(i, c)| c.cell == i), "equal scores: the first cells");
    }
}
