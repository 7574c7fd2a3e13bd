//! Peaks of heat maps, with the distances from each to the sides of its box.
//!
//! After "Objects as Points" (Zhou, Wang, Krähenbühl, 2019), with distances to four sides in place of
//! size and offset, as in "FCOS" (Tian et al., 2019).

use super::Candidate;
use crate::picture::Rect;

/// How the cells of a map lie in the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Cells per row.
    pub(super) columns: usize,
    /// Input pixels per cell.
    pub(super) stride: f32,
    /// Scores up to this are nothing.
    pub(super) score_min: f32,
}

/// Adds a candidate for each cell that is no cooler than its eight neighbours.
///
/// `heat` is `[classes, rows, columns]`, `ltrb` is `[4, rows, columns]` in input pixels.
pub(super) fn read(heat: &[f32], ltrb: &[f32], grid: Grid, found: &mut Vec<Candidate>) {
    /// Cells that are looked at together; nearly all of them are cold.
    const TOGETHER: usize = 32;
    let cells = ltrb.len() / 4;
    for (class, plane) in heat.chunks_exact(cells).enumerate() {
        for (chunk, scores) in plane.chunks(TOGETHER).enumerate() {
            if !scores.iter().fold(false, |hot, &score| hot | (score > grid.score_min)) {
                continue;
            }
            for (i, &score) in scores.iter().enumerate() {
                let cell = chunk * TOGETHER + i;
                if score > grid.score_min && is_peak(plane, cell, grid.columns) {
                    let rect = rect(ltrb, cell, grid);
                    found.push(Candidate { rect, score: score.min(1.0), class, cell });
                }
            }
        }
    }
}

fn is_peak(plane: &[f32], cell: usize, columns: usize) -> bool {
    let (row, column) = (cell / columns, cell % columns);
    let rows = row.saturating_sub(1)..(row + 2).min(plane.len() / columns);
    let near = column.saturating_sub(1)..(column + 2).min(columns);
    rows.flat_map(|row| &plane[row * columns..][near.clone()]).all(|&neighbour| neighbour <= plane[cell])
}

fn rect(ltrb: &[f32], cell: usize, grid: Grid) -> Rect {
    let cells = ltrb.len() / 4;
    let x = ((cell % grid.columns) as f32 + 0.5) * grid.stride;
    let y = ((cell / grid.columns) as f32 + 0.5) * grid.stride;
    let [left, up, right, down] = [0, 1, 2, 3].map(|side| ltrb[side * cells + cell]);
    Rect { x0: x - left, y0: y - up, x1: x + right, y1: y + down }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    /// Every cell against a map of the maxima of 3 x 3.
    fn twin(heat: &[f32], ltrb: &[f32], rows: usize, grid: Grid) -> Vec<Candidate> {
        let (columns, stride) = (grid.columns as i64, grid.stride);
        let cells = rows * grid.columns;
        let mut found = Vec::new();
        for class in 0..heat.len() / cells {
            let at = |x: i64, y: i64| {
                let inside = (0..columns).contains(&x) && (0..rows as i64).contains(&y);
                if inside { heat[class * cells + (y * columns + x) as usize] } else { f32::NEG_INFINITY }
            };
            for y in 0..rows as i64 {
                for x in 0..columns {
                    let mut maximum = f32::NEG_INFINITY;
                    for (dx, dy) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy))) {
                        maximum = maximum.max(at(x + dx, y + dy));
                    }
                    if at(x, y) == maximum && maximum > grid.score_min {
                        let cell = (y * columns + x) as usize;
                        let (cx, cy) = ((x as f32 + 0.5) * stride, (y as f32 + 0.5) * stride);
                        let rect = Rect {
                            x0: cx - ltrb[cell],
                            y0: cy - ltrb[cells + cell],
                            x1: cx + ltrb[2 * cells + cell],
                            y1: cy + ltrb[3 * cells + cell],
                        };
                        found.push(Candidate { rect, score: maximum, class, cell });
                    }
                }
            }
        }
        found
    }

    #[test]
    fn equals_its_twin() {
        let mut noise = Noise(7);
        for round in 0..200 {
            let (rows, columns, classes) = (1 + noise.below(12), 1 + noise.below(50), 1 + noise.below(4));
            let cells = rows * columns;
            // A few levels of heat, so that plateaus are common.
            let heat: Vec<f32> = (0..classes * cells).map(|_| noise.below(8) as f32 / 8.0).collect();
            let ltrb: Vec<f32> = (0..4 * cells).map(|_| noise.unit() * 40.0).collect();
            let grid = Grid { columns, stride: 8.0, score_min: noise.unit() };
            let mut found = Vec::new();
            read(&heat, &ltrb, grid, &mut found);
            assert_eq!(
                found,
                twin(&heat, &ltrb, rows, grid),
                "round {round}: {classes} x {rows} x {columns}"
            );
        }
    }
}
