//! The YOLO line: one output whose cells hold a box, perhaps an objectness, and a score per class.
//!
//! After "You Only Look Once" (Redmon et al., 2016): a cell counts as the class with its best score, and
//! where it has an objectness, its score is the product of the two.

use super::Candidate;
use crate::picture::Rect;

/// What a cell holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Scores per cell.
    pub(super) classes: usize,
    /// Whether one more value, before the scores, multiplies them.
    pub(super) objectness: bool,
    /// Scores up to this are nothing.
    pub(super) score_min: f32,
}

impl Cell {
    /// Where the scores begin.
    fn scores(self) -> usize {
        4 + usize::from(self.objectness)
    }

    fn values(self) -> usize {
        self.scores() + self.classes
    }
}

/// Adds a candidate for each cell that has one; `values` is `[cells, values]`.
pub(super) fn read_rows(values: &[f32], cell: Cell, found: &mut Vec<Candidate>) {
    for (number, row) in values.chunks_exact(cell.values()).enumerate() {
        let objectness = if cell.objectness { row[4] } else { 1.0 };
        let scores = &row[cell.scores()..];
        // Nearly all cells are cold, and this vectorises where a search for the best would not.
        if !scores.iter().fold(false, |hot, &score| hot | (score * objectness > cell.score_min)) {
            continue;
        }
        let (class, score) = best(scores.iter().map(|score| score * objectness));
        let rect = rect([row[0], row[1], row[2], row[3]]);
        found.push(Candidate { rect, score: score.min(1.0), class, cell: number });
    }
}

/// Adds a candidate for each cell that has one; `values` is `[values, cells]`.
pub(super) fn read_columns(values: &[f32], cell: Cell, found: &mut Vec<Candidate>) {
    /// Cells that are looked at together, a class at a time.
    const TOGETHER: usize = 64;
    let cells = values.len() / cell.values();
    for start in (0..cells).step_by(TOGETHER) {
        let n = TOGETHER.min(cells - start);
        let row = |value: usize| &values[value * cells + start..][..n];
        let mut objectness = [1.0_f32; TOGETHER];
        if cell.objectness {
            objectness[..n].copy_from_slice(row(4));
        }
        let mut hottest = [f32::NEG_INFINITY; TOGETHER];
        for class in 0..cell.classes {
            let scores = row(cell.scores() + class).iter().zip(&objectness);
            hottest.iter_mut().zip(scores).for_each(|(hottest, (s, o))| *hottest = hottest.max(s * o));
        }
        for i in (0..n).filter(|&i| hottest[i] > cell.score_min) {
            let scores = (0..cell.classes).map(|class| row(cell.scores() + class)[i] * objectness[i]);
            let (class, score) = best(scores);
            let rect = rect([0, 1, 2, 3].map(|value| row(value)[i]));
            found.push(Candidate { rect, score: score.min(1.0), class, cell: start + i });
        }
    }
}

/// The first of the best.
fn best(scores: impl Iterator<Item = f32>) -> (usize, f32) {
    let better = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    scores.enumerate().fold((0, f32::NEG_INFINITY), better)
}

/// A box by its sides, from its centre and size.
fn rect([x, y, width, height]: [f32; 4]) -> Rect {
    let (half_w, half_h) = (width / 2.0, height / 2.0);
    Rect { x0: x - half_w, y0: y - half_h, x1: x + half_w, y1: y + half_h }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    /// In double precision and by the definition; `at` is the value of a cell.
    fn twin(
        at: impl Fn(usize, usize) -> f32,
        cells: usize,
        cell: Cell,
    ) -> Vec<(usize, usize, f64, [f64; 4])> {
        let mut found = Vec::new();
        for number in 0..cells {
            let value = |v: usize| f64::from(at(number, v));
            let objectness = if cell.objectness { value(4) } else { 1.0 };
            let first = if cell.objectness { 5 } else { 4 };
            let mut best = (0, f64::NEG_INFINITY);
            for class in 0..cell.classes {
                let score = value(first + class) * objectness;
                if score > best.1 {
                    best = (class, score);
                }
            }
            if best.1 > f64::from(cell.score_min) {
                let (x, y, w, h) = (value(0), value(1), value(2), value(3));
                let sides = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
                found.push((number, best.0, best.1, sides));
            }
        }
        found
    }

    fn assert_like(found: &[Candidate], twin: &[(usize, usize, f64, [f64; 4])]) {
        assert_eq!(found.len(), twin.len());
        for (candidate, (number, class, score, sides)) in found.iter().zip(twin) {
            assert_eq!((candidate.cell, candidate.class), (*number, *class));
            assert!((f64::from(candidate.score) - score).abs() < 1e-6, "{candidate:?}, {score}");
            let Rect { x0, y0, x1, y1 } = candidate.rect;
            let worst = [x0, y0, x1, y1].into_iter().zip(sides).map(|(a, b)| (f64::from(a) - b).abs());
            assert!(worst.fold(0.0, f64::max) < 1e-3, "{candidate:?} instead of {sides:?}");
        }
    }

    #[test]
    fn rows_and_columns_equal_their_twin() {
        let mut noise = Noise(31);
        for round in 0..100 {
            let (cells, classes) = (1 + noise.below(200), 1 + noise.below(20));
            // Scores are multiples of 1/64 and the bound lies between two: no rounding decides.
            let score_min = (noise.below(4096) as f32 + 0.5) / 4096.0;
            let cell = Cell { classes, objectness: round % 2 == 0, score_min };
            let values = cell.values();
            let rows: Vec<f32> = (0..cells * values)
                .map(|i| {
                    let is_box = i % values < 4;
                    if is_box { noise.unit() * 640.0 } else { noise.below(65) as f32 / 64.0 }
                })
                .collect();
            let columns: Vec<f32> =
                (0..cells * values).map(|i| rows[i % cells * values + i / cells]).collect();
            let expected = twin(|number, value| rows[number * values + value], cells, cell);
            let (mut by_rows, mut by_columns) = (Vec::new(), Vec::new());
            read_rows(&rows, cell, &mut by_rows);
            read_columns(&columns, cell, &mut by_columns);
            assert_like(&by_rows, &expected);
            assert_eq!(by_rows, by_columns, "round {round}");
        }
    }
}
