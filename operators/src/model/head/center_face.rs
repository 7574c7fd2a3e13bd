//! CenterFace's outputs: heat per cell, the logarithms of height and width, and the centre's offset.
//!
//! After "CenterFace" (Xu et al., 2020). Every cell that is hot enough proposes its box; suppression
//! leaves one of neighbours.

use super::Candidate;
use crate::picture::Rect;

/// The logarithm beyond which a size grows no more; no face is e^12 cells large, and nothing overflows.
const LOGARITHM_MAX: f32 = 12.0;

/// How the cells lie in the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Cells per row.
    pub(super) columns: usize,
    /// Input pixels per cell.
    pub(super) stride: f32,
    /// Scores up to this are nothing.
    pub(super) score_min: f32,
}

/// Adds a candidate for each hot cell.
///
/// `heat` is `[rows, columns]`, `scale` and `offset` are `[2, rows, columns]`: first what is vertical.
pub(super) fn read(heat: &[f32], scale: &[f32], offset: &[f32], grid: Grid, found: &mut Vec<Candidate>) {
    let cells = heat.len();
    for (cell, &score) in heat.iter().enumerate().filter(|(_, score)| **score > grid.score_min) {
        let size = |axis: usize| scale[axis * cells + cell].min(LOGARITHM_MAX).exp() * grid.stride;
        let centre = |at: usize, axis: usize| (at as f32 + offset[axis * cells + cell] + 0.5) * grid.stride;
        let (height, width) = (size(0), size(1));
        let (x, y) = (centre(cell % grid.columns, 1), centre(cell / grid.columns, 0));
        let (x0, y0) = (x - width / 2.0, y - height / 2.0);
        let rect = Rect { x0, y0, x1: x0 + width, y1: y0 + height };
        found.push(Candidate { rect, score: score.min(1.0), class: 0, cell });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    /// In double precision, row by row and column by column.
    fn twin(
        heat: &[f32],
        scale: &[f32],
        offset: &[f32],
        rows: usize,
        grid: Grid,
    ) -> Vec<(usize, f32, [f64; 4])> {
        let (cells, stride) = (rows * grid.columns, f64::from(grid.stride));
        let mut found = Vec::new();
        for row in 0..rows {
            for column in 0..grid.columns {
                let cell = row * grid.columns + column;
                if heat[cell] > grid.score_min {
                    let h = f64::from(scale[cell]).exp() * stride;
                    let w = f64::from(scale[cells + cell]).exp() * stride;
                    let y = (row as f64 + 0.5 + f64::from(offset[cell])) * stride;
                    let x = (column as f64 + 0.5 + f64::from(offset[cells + cell])) * stride;
                    let sides = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
                    found.push((cell, heat[cell], sides));
                }
            }
        }
        found
    }

    #[test]
    fn equals_its_twin() {
        let mut noise = Noise(32);
        for round in 0..100 {
            let (rows, columns) = (1 + noise.below(20), 1 + noise.below(20));
            let grid = Grid { columns, stride: 4.0, score_min: noise.unit() };
            let heat: Vec<f32> = (0..rows * columns).map(|_| noise.unit()).collect();
            let mut two = || (0..2 * rows * columns).map(|_| noise.unit() * 4.0 - 1.0).collect::<Vec<f32>>();
            let (scale, offset) = (two(), two());
            let mut found = Vec::new();
            read(&heat, &scale, &offset, grid, &mut found);
            let expected = twin(&heat, &scale, &offset, rows, grid);
            assert_eq!(found.len(), expected.len(), "round {round}");
            for (candidate, (cell, score, sides)) in found.iter().zip(expected) {
                assert_eq!((candidate.cell, candidate.score, candidate.class), (cell, score, 0));
                let Rect { x0, y0, x1, y1 } = candidate.rect;
                let worst = [x0, y0, x1, y1].into_iter().zip(sides).map(|(a, b)| (f64::from(a) - b).abs());
                assert!(worst.fold(0.0, f64::max) < 1e-2, "{candidate:?} instead of {sides:?}");
            }
        }
    }

    #[test]
    fn huge_logarithms_do_not_overflow() {
        let grid = Grid { columns: 1, stride: 4.0, score_min: 0.5 };
        let mut found = Vec::new();
        read(&[1.0], &[3e38, 3e38], &[0.0, 0.0], grid, &mut found);
        let Rect { x0, y0, x1, y1 } = found[0].rect;
        assert!([x0, y0, x1, y1].iter().all(|side| side.is_finite()), "{found:?}");
    }
}
