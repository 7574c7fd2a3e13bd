//! A map of text: regions of likely pixels become boxes that are grown back to the size of the line.
//!
//! After "Real-time Scene Text Detection with Differentiable Binarization" (Liao et al., 2020): the map
//! holds lines shrunk to their middle, by a distance that depends on area and circumference. Boxes are
//! axis-aligned here, and a region's score is the mean of its own pixels.

use super::Candidate;
use crate::model::manifest::TextMap;
use crate::picture::Rect;

/// Regions thinner than this are specks, in pixels of the input.
const SIDE_MIN: usize = 3;

/// What counts as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    threshold: f32,
    score_min: f32,
    unclip: f32,
}

/// Neighbouring likely pixels of a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    row: usize,
    start: usize,
    end: usize,
    sum: f64,
}

/// Pixels that hang together, corners included.
#[derive(Clone, Copy, Debug)]
struct Region {
    /// The first one in reading order.
    first: usize,
    x0: usize,
    y0: usize,
    x1: usize,
    y1: usize,
    pixels: usize,
    sum: f64,
}

impl Rules {
    pub(super) fn of(head: &TextMap) -> Self {
        Self { threshold: head.threshold, score_min: head.score_min, unclip: head.unclip }
    }
}

/// Adds a candidate for each region; `map` is `[rows, columns]`.
pub(super) fn read(map: &[f32], columns: usize, rules: Rules, found: &mut Vec<Candidate>) {
    for region in regions(map, columns, rules.threshold) {
        let (width, height) = (region.x1 - region.x0, region.y1 - region.y0);
        let score = (region.sum / region.pixels as f64) as f32;
        if width.min(height) < SIDE_MIN || score <= rules.score_min {
            continue;
        }
        let (w, h) = (width as f32, height as f32);
        let grown = w * h * rules.unclip / (2.0 * (w + h));
        let rect = Rect {
            x0: region.x0 as f32 - grown,
            y0: region.y0 as f32 - grown,
            x1: region.x1 as f32 + grown,
            y1: region.y1 as f32 + grown,
        };
        found.push(Candidate { rect, score: score.min(1.0), class: 0, cell: region.first });
    }
}

/// The regions, by their first pixel.
fn regions(map: &[f32], columns: usize, threshold: f32) -> Vec<Region> {
    let runs = runs(map, columns, threshold);
    let mut leaders: Vec<usize> = (0..runs.len()).collect();
    // Runs of a row against those of the row above; both ascend, so two fingers do.
    let mut above = 0;
    for i in 0..runs.len() {
        let run = runs[i];
        while above < i && (runs[above].row + 1 < run.row || is_left_above(&runs[above], &run)) {
            above += 1;
        }
        let touching = runs[above..i].iter().take_while(|up| up.row + 1 == run.row && up.start <= run.end);
        for k in 0..touching.count() {
            union(&mut leaders, above + k, i);
        }
    }
    gather(&runs, &mut leaders, columns)
}

/// Whether `up` lies in the row above and ends before it could touch `run`.
fn is_left_above(up: &Run, run: &Run) -> bool {
    up.row + 1 == run.row && up.end < run.start
}

fn runs(map: &[f32], columns: usize, threshold: f32) -> Vec<Run> {
    let mut runs = Vec::new();
    for (row, values) in map.chunks_exact(columns).enumerate() {
        let mut open: Option<Run> = None;
        for (column, &value) in values.iter().enumerate() {
            if value > threshold {
                let run = open.get_or_insert(Run { row, start: column, end: column, sum: 0.0 });
                run.end = column + 1;
                run.sum += f64::from(value);
            } else if let Some(run) = open.take() {
                runs.push(run);
            }
        }
        runs.extend(open);
    }
    runs
}

/// The first run of the region; paths are halved on the way, so that they stay short.
fn leader(leaders: &mut [usize], mut run: usize) -> usize {
    while leaders[run] != run {
        leaders[run] = leaders[leaders[run]];
        run = leaders[run];
    }
    run
}

fn union(leaders: &mut [usize], a: usize, b: usize) {
    let (a, b) = (leader(leaders, a), leader(leaders, b));
    leaders[a.max(b)] = a.min(b);
}

fn gather(runs: &[Run], leaders: &mut [usize], columns: usize) -> Vec<Region> {
    let mut places = vec![usize::MAX; runs.len()];
    let mut regions: Vec<Region> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let leader = leader(leaders, i);
        if places[leader] == usize::MAX {
            places[leader] = regions.len();
            let first = run.row * columns + run.start;
            let (x0, y0) = (run.start, run.row);
            regions.push(Region { first, x0, y0, x1: run.end, y1: run.row + 1, pixels: 0, sum: 0.0 });
        }
        let region = &mut regions[places[leader]];
        region.x0 = region.x0.min(run.start);
        region.x1 = region.x1.max(run.end);
        region.y1 = region.y1.max(run.row + 1);
        region.pixels += run.end - run.start;
        region.sum += run.sum;
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    /// Floods from each pixel that was not reached before, in double precision.
    fn twin(map: &[f32], columns: usize, rules: Rules) -> Vec<(usize, f64, [f64; 4])> {
        let rows = map.len() / columns;
        let mut reached = vec![false; map.len()];
        let mut found = Vec::new();
        for first in 0..map.len() {
            if reached[first] || map[first] <= rules.threshold {
                continue;
            }
            let (mut waiting, mut pixels) = (vec![first], Vec::new());
            reached[first] = true;
            while let Some(pixel) = waiting.pop() {
                pixels.push(pixel);
                let (y, x) = ((pixel / columns) as i64, (pixel % columns) as i64);
                for (dx, dy) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy))) {
                    let (nx, ny) = (x + dx, y + dy);
                    if (0..columns as i64).contains(&nx) && (0..rows as i64).contains(&ny) {
                        let near = (ny * columns as i64 + nx) as usize;
                        if !reached[near] && map[near] > rules.threshold {
                            reached[near] = true;
                            waiting.push(near);
                        }
                    }
                }
            }
            let xs = || pixels.iter().map(|p| p % columns);
            let ys = || pixels.iter().map(|p| p / columns);
            let (x0, x1) = (xs().min().unwrap() as f64, xs().max().unwrap() as f64 + 1.0);
            let (y0, y1) = (ys().min().unwrap() as f64, ys().max().unwrap() as f64 + 1.0);
            let mean = pixels.iter().map(|&p| f64::from(map[p])).sum::<f64>() / pixels.len() as f64;
            let (w, h) = (x1 - x0, y1 - y0);
            if w >= 3.0 && h >= 3.0 && mean > f64::from(rules.score_min) {
                let d = w * h * f64::from(rules.unclip) / (2.0 * w + 2.0 * h);
                found.push((first, mean, [x0 - d, y0 - d, x1 + d, y1 + d]));
            }
        }
        found
    }

    #[test]
    fn equals_its_twin() {
        let mut noise = Noise(33);
        for round in 0..300 {
            let (rows, columns) = (1 + noise.below(30), 1 + noise.below(40));
            // From sparse specks to one large sponge.
            let threshold = noise.unit() * 0.6 + 0.35;
            let rules =
                Rules { threshold, score_min: threshold + noise.unit() * 0.3, unclip: noise.unit() * 2.0 };
            let map: Vec<f32> = (0..rows * columns).map(|_| noise.unit()).collect();
            let mut found = Vec::new();
            read(&map, columns, rules, &mut found);
            let expected = twin(&map, columns, rules);
            assert_eq!(found.len(), expected.len(), "round {round}");
            for (candidate, (first, score, sides)) in found.iter().zip(expected) {
                assert_eq!(candidate.cell, first, "round {round}");
                assert!((f64::from(candidate.score) - score).abs() < 1e-5);
                let Rect { x0, y0, x1, y1 } = candidate.rect;
                let worst = [x0, y0, x1, y1].into_iter().zip(sides).map(|(a, b)| (f64::from(a) - b).abs());
                assert!(worst.fold(0.0, f64::max) < 1e-3, "{candidate:?} instead of {sides:?}");
            }
        }
    }

    #[test]
    fn a_spiral_is_one_region() {
        let picture = [
            "#########", //
            "........#",
            "#######.#",
            "#.....#.#",
            "#.###.#.#",
            "#.#...#.#",
            "#.#####.#",
            "#.......#",
            "#########",
        ];
        let map: Vec<f32> =
            picture.iter().flat_map(|row| row.bytes()).map(|b| f32::from(u8::from(b == b'#'))).collect();
        let rules = Rules { threshold: 0.3, score_min: 0.5, unclip: 0.0 };
        let mut found = Vec::new();
        read(&map, 9, rules, &mut found);
        let whole = Rect { x0: 0.0, y0: 0.0, x1: 9.0, y1: 9.0 };
        assert_eq!(found, [Candidate { rect: whole, score: 1.0, class: 0, cell: 0 }]);
    }
}
