//! NanoDet's outputs: scores per cell, and the distance to each side as a distribution over bins.
//!
//! After "Generalized Focal Loss" (Li et al., 2020): a distance is the expectation of its
//! distribution, in cells.

use super::{Candidate, Sizes};
use crate::model::manifest::Nanodet;
use crate::picture::Rect;

/// How the cells of one level lie in the input, and what they hold.
#[derive(Clone, Copy, Debug)]
struct Grid {
    /// Cells per row.
    columns: usize,
    /// Input pixels per cell.
    stride: f32,
    /// Scores per cell.
    classes: usize,
    /// Bins per distribution.
    bins: usize,
    /// The number of the level's first cell among all levels.
    cell: usize,
    /// Scores up to this are nothing.
    score_min: f32,
}

/// Reads all levels: their scores, and their distributions.
pub(super) fn read_levels(
    scores: &[&[f32]],
    boxes: &[&[f32]],
    head: &Nanodet,
    sizes: Sizes,
    found: &mut Vec<Candidate>,
) {
    let mut cell = 0;
    for ((scores, boxes), &stride) in scores.iter().zip(boxes).zip(&head.strides) {
        let columns = sizes.width.div_ceil(stride as usize);
        let (classes, bins, score_min) = (sizes.classes, head.bins, head.score_min);
        let grid = Grid { columns, stride: stride as f32, classes, bins, cell, score_min };
        read(scores, boxes, grid, found);
        cell += scores.len() / classes;
    }
}

/// Adds a candidate, of the class with the best score, for each cell that has one.
///
/// `scores` is `[cells, classes]`, `boxes` is `[cells, 4 * bins]`.
fn read(scores: &[f32], boxes: &[f32], grid: Grid, found: &mut Vec<Candidate>) {
    let cells = scores.chunks_exact(grid.classes).zip(boxes.chunks_exact(4 * grid.bins));
    for (cell, (scores, boxes)) in cells.enumerate() {
        // Nearly all cells are cold, and this vectorises where a search for the best would not.
        if !scores.iter().fold(false, |hot, &score| hot | (score > grid.score_min)) {
            continue;
        }
        let (class, score) = best(scores);
        let rect = rect(boxes, cell, grid);
        found.push(Candidate { rect, score: score.min(1.0), class, cell: grid.cell + cell });
    }
}

/// The first of the best.
fn best(scores: &[f32]) -> (usize, f32) {
    let mut best = (0, scores[0]);
    for (class, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (class, score);
        }
    }
    best
}

fn rect(boxes: &[f32], cell: usize, grid: Grid) -> Rect {
    let x = ((cell % grid.columns) as f32 + 0.5) * grid.stride;
    let y = ((cell / grid.columns) as f32 + 0.5) * grid.stride;
    let distance = |side: usize| grid.stride * expectation(&boxes[side * grid.bins..][..grid.bins]);
    Rect { x0: x - distance(0), y0: y - distance(1), x1: x + distance(2), y1: y + distance(3) }
}

/// The mean bin under the softmax of `logits`; the greatest is taken off first, so none overflows.
fn expectation(logits: &[f32]) -> f32 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (bin, logit) in logits.iter().enumerate() {
        let weight = (logit - greatest).exp();
        sum += weight;
        weighted += bin as f32 * weight;
    }
    weighted / sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    /// In double precision and by the definitions, one cell at a time.
    fn twin(scores: &[f32], boxes: &[f32], grid: Grid) -> Vec<(usize, usize, f32, [f64; 4])> {
        let mut found = Vec::new();
        for cell in 0..scores.len() / grid.classes {
            let scores = &scores[cell * grid.classes..(cell + 1) * grid.classes];
            let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if best <= grid.score_min {
                continue;
            }
            let class = scores.iter().position(|&s| s == best).unwrap();
            let distance = |side: usize| {
                let logit = |bin: usize| f64::from(boxes[(cell * 4 + side) * grid.bins + bin]);
                let sum: f64 = (0..grid.bins).map(|bin| logit(bin).exp()).sum();
                (0..grid.bins).map(|bin| bin as f64 * logit(bin).exp() / sum).sum::<f64>()
                    * f64::from(grid.stride)
            };
            let x = ((cell % grid.columns) as f64 + 0.5) * f64::from(grid.stride);
            let y = ((cell / grid.columns) as f64 + 0.5) * f64::from(grid.stride);
            let sides = [x - distance(0), y - distance(1), x + distance(2), y + distance(3)];
            found.push((grid.cell + cell, class, best, sides));
        }
        found
    }

    #[test]
    fn equals_its_twin() {
        let mut noise = Noise(8);
        for round in 0..100 {
            let (columns, rows) = (1 + noise.below(20), 1 + noise.below(20));
            let (classes, bins) = (1 + noise.below(80), 2 + noise.below(12));
            let score_min = 1.0 - noise.unit() / classes as f32;
            let grid = Grid { columns, stride: 16.0, classes, bins, cell: noise.below(100), score_min };
            let scores: Vec<f32> = (0..rows * columns * classes).map(|_| noise.unit()).collect();
            let boxes: Vec<f32> =
                (0..rows * columns * 4 * bins).map(|_| noise.unit() * 20.0 - 10.0).collect();
            let mut found = Vec::new();
            read(&scores, &boxes, grid, &mut found);
            let expected = twin(&scores, &boxes, grid);
            assert_eq!(found.len(), expected.len(), "round {round}");
            for (candidate, (cell, class, score, sides)) in found.iter().zip(expected) {
                assert_eq!((candidate.cell, candidate.class, candidate.score), (cell, class, score));
                let Rect { x0, y0, x1, y1 } = candidate.rect;
                let worst = [x0, y0, x1, y1].into_iter().zip(sides).map(|(a, b)| (f64::from(a) - b).abs());
                assert!(
                    worst.fold(0.0, f64::max) < 1e-2,
                    "round {round}: {candidate:?} instead of {sides:?}"
                );
            }
        }
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        assert!((expectation(&[-1e30, 3e38, 3e38, -3e38]) - 1.5).abs() < 1e-6);
        assert_eq!(expectation(&[0.0, 0.0, 0.0]), 1.0);
    }
}
