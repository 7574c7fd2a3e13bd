//! The assignment problem: which of these belongs to which of those, at the largest gain in all.
//!
//! Invariant: no row and no column is assigned twice, and no assignment of those with a positive gain has a
//! larger sum.

/// Assigns rows to columns so that the sum of `gain(row, column)` is largest; pairs without a positive gain
/// stay apart. Returns the column of each row.
///
/// Shortest augmenting paths with potentials (Jonker and Volgenant, "A shortest augmenting path algorithm
/// for dense and sparse linear assignment problems", Computing 38, 1987): O(n^3) for n rows and columns.
///
/// ```
/// use jellybean_operators::assign::assign;
/// let gains = [[5.0, 4.0], [4.0, 0.0]];
/// // The best pair alone would leave the second row with nothing.
/// assert_eq!(assign(2, 2, |row, column| gains[row][column]), [Some(1), Some(0)]);
/// ```
pub fn assign(rows: usize, columns: usize, gain: impl Fn(usize, usize) -> f64) -> Vec<Option<usize>> {
    // A column of its own per row stands for "nobody", so that every row finds one.
    let width = columns + rows;
    let cost = |row: usize, column: usize| if column < columns { -gain(row, column).max(0.0) } else { 0.0 };
    let mut search = Search::new(rows, width);
    for row in 1..=rows {
        search.augment(row, &cost);
    }
    let mut found = vec![None; rows];
    for (column, row) in search.row_of.iter().enumerate().skip(1) {
        if *row > 0 && column <= columns && gain(row - 1, column - 1) > 0.0 {
            found[row - 1] = Some(column - 1);
        }
    }
    found
}

/// Potentials and the assignment so far; rows and columns count from 1, and 0 stands for none.
struct Search {
    row_potential: Vec<f64>,
    column_potential: Vec<f64>,
    row_of: Vec<usize>,
    came_from: Vec<usize>,
}

impl Search {
    fn new(rows: usize, width: usize) -> Self {
        Self {
            row_potential: vec![0.0; rows + 1],
            column_potential: vec![0.0; width + 1],
            row_of: vec![0; width + 1],
            came_from: vec![0; width + 1],
        }
    }

    /// Takes one more row in, along the cheapest path that ends at a free column.
    fn augment(&mut self, row: usize, cost: &impl Fn(usize, usize) -> f64) {
        let width = self.row_of.len();
        let (mut least, mut done) = (vec![f64::INFINITY; width], vec![false; width]);
        self.row_of[0] = row;
        let mut column = 0;
        while self.row_of[column] > 0 {
            done[column] = true;
            let here = self.row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for to in (1..width).filter(|to| !done[*to]) {
                let reduced = cost(here - 1, to - 1) - self.row_potential[here] - self.column_potential[to];
                if reduced < least[to] {
                    (least[to], self.came_from[to]) = (reduced, column);
                }
                if least[to] < step {
                    (step, next) = (least[to], to);
                }
            }
            for to in 0..width {
                if done[to] {
                    self.row_potential[self.row_of[to]] += step;
                    self.column_potential[to] -= step;
                } else {
                    least[to] -= step;
                }
            }
            column = next;
        }
        while column > 0 {
            let before = self.came_from[column];
            self.row_of[column] = self.row_of[before];
            column = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best sum over every way to assign.
    fn best(row: usize, rows: usize, used: u32, columns: usize, gain: &impl Fn(usize, usize) -> f64) -> f64 {
        if row == rows {
            return 0.0;
        }
        let nobody = best(row + 1, rows, used, columns, gain);
        let free = (0..columns).filter(|column| used & (1 << column) == 0 && gain(row, *column) > 0.0);
        let with =
            free.map(|column| gain(row, column) + best(row + 1, rows, used | 1 << column, columns, gain));
        with.fold(nobody, f64::max)
    }

    #[test]
    fn equals_the_best_of_all_ways() {
        let mut state = 5_u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % n) as usize
        };
        for _ in 0..400 {
            let (rows, columns) = (below(6), below(6));
            // Many equal gains, and many that are none.
            let gains: Vec<f64> = (0..rows * columns).map(|_| below(6) as f64 - 2.0).collect();
            let gain = |row: usize, column: usize| gains[row * columns + column];
            let found = assign(rows, columns, gain);
            let pairs: Vec<(usize, usize)> =
                found.iter().enumerate().filter_map(|(row, column)| Some((row, (*column)?))).collect();
            let taken: std::collections::BTreeSet<usize> = pairs.iter().map(|(_, column)| *column).collect();
            assert_eq!(taken.len(), pairs.len(), "no column twice");
            let sum: f64 = pairs.iter().map(|(row, column)| gain(*row, *column)).sum();
            assert_eq!(sum, best(0, rows, 0, columns, &gain), "{rows} x {columns}: {gains:?}");
        }
    }
}
