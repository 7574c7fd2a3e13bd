//! A dense simplex for small programs that are solved again and again while only prices and upper bounds change.
//!
//! Every column lies between 0 and an upper bound, so that each basis is dual feasible as soon as every other column
//! is at the bound that its reduced price asks for: the dual simplex begins where it ended the last time.

/// What counts as zero.
const ZERO: f64 = 1e-9;

/// The least factor to divide a row by.
const PIVOT_MIN: f64 = 1e-7;

/// After how many exchanges a program is begun anew, so that errors do not add up.
const PIVOTS_MAX: usize = 3_000;

/// A constraint: columns with their factors, a bound, and whether it must be met exactly.
pub(super) struct Line {
    pub(super) terms: Vec<(usize, f64)>,
    pub(super) bound: f64,
    pub(super) is_exact: bool,
}

/// A program, its basis, and the optimum that was found last.
pub(super) struct Tableau {
    /// Columns and the slack of each row; a row of `body` has its bound behind them.
    width: usize,
    start: Vec<f64>,
    body: Vec<f64>,
    /// By row: the column that it tells.
    basis: Vec<usize>,
    /// By column.
    is_basic: Vec<bool>,
    is_full: Vec<bool>,
    upper: Vec<f64>,
    usd: Vec<f64>,
    reduced: Vec<f64>,
    /// By row: the value of its column.
    values: Vec<f64>,
    pivots: usize,
}

impl Tableau {
    /// A program with the upper bounds of its columns, which later ones must not exceed. All prices are 0.
    pub(super) fn new(upper: &[f64], lines: &[Line]) -> Self {
        let (columns, rows) = (upper.len(), lines.len());
        let width = columns + rows;
        let mut start = vec![0.0; rows * (width + 1)];
        let mut all = upper.to_vec();
        for (r, line) in lines.iter().enumerate() {
            let row = &mut start[r * (width + 1)..(r + 1) * (width + 1)];
            let mut least = 0.0;
            for (column, factor) in &line.terms {
                row[*column] += factor;
                least += (factor * upper[*column]).min(0.0);
            }
            row[columns + r] = 1.0;
            row[width] = line.bound;
            all.push(if line.is_exact { 0.0 } else { (line.bound - least).max(0.0) });
        }
        let mut tableau = Self {
            width,
            body: Vec::new(),
            start,
            basis: vec![0; rows],
            is_basic: vec![false; width],
            is_full: vec![false; width],
            upper: all,
            usd: vec![0.0; width],
            reduced: vec![0.0; width],
            values: vec![0.0; rows],
            pivots: 0,
        };
        tableau.begin_anew();
        tableau
    }

    pub(super) fn set_usd(&mut self, column: usize, usd: f64) {
        self.usd[column] = usd;
    }

    pub(super) fn set_upper(&mut self, column: usize, upper: f64) {
        self.upper[column] = upper;
    }

    /// The value of a column in the optimum.
    pub(super) fn value(&self, column: usize) -> f64 {
        if self.is_basic[column] {
            let row = self.basis.iter().position(|known| *known == column);
            return row.map_or(0.0, |row| self.values[row].clamp(0.0, self.upper[column]));
        }
        if self.is_full[column] { self.upper[column] } else { 0.0 }
    }

    /// What a little more of a column costs, at the optimum.
    pub(super) fn reduced_usd(&self, column: usize) -> f64 {
        if self.is_basic[column] { 0.0 } else { self.reduced[column] }
    }

    /// The least price; nothing if no values meet all rows, or if the arithmetic failed.
    pub(super) fn solve(&mut self) -> Option<f64> {
        if self.pivots > PIVOTS_MAX {
            self.begin_anew();
        }
        if let Some(known) = self.descend() {
            return known.then(|| self.usd());
        }
        self.begin_anew();
        self.descend()?.then(|| self.usd())
    }

    /// What no values cost less than, by the prices of rows at the optimum: however exact those are, it holds.
    pub(super) fn bound(&self) -> f64 {
        let (rows, columns) = (self.basis.len(), self.width - self.basis.len());
        let mut reduced = self.usd.clone();
        let mut sum = 0.0;
        for r in 0..rows {
            let price = -self.reduced[columns + r];
            if price != 0.0 {
                let row = &self.start[r * (self.width + 1)..(r + 1) * (self.width + 1)];
                reduced.iter_mut().zip(row).for_each(|(reduced, factor)| *reduced -= price * factor);
                sum += price * row[self.width];
            }
        }
        sum + reduced.iter().zip(&self.upper).map(|(reduced, upper)| (reduced * upper).min(0.0)).sum::<f64>()
    }

    fn usd(&self) -> f64 {
        let full = (0..self.width).filter(|j| !self.is_basic[*j] && self.is_full[*j]);
        let full: f64 = full.map(|j| self.usd[j] * self.upper[j]).sum();
        let basic = self.basis.iter().zip(&self.values).map(|(column, value)| self.usd[*column] * value);
        full + basic.sum::<f64>()
    }

    fn begin_anew(&mut self) {
        self.body.clone_from(&self.start);
        let columns = self.width - self.basis.len();
        self.basis.iter_mut().enumerate().for_each(|(r, column)| *column = columns + r);
        self.is_basic.iter_mut().enumerate().for_each(|(j, is)| *is = j >= columns);
        self.is_full.fill(false);
        self.pivots = 0;
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.body[row * (self.width + 1)..(row + 1) * (self.width + 1)]
    }

    /// Puts every column at the bound that its price asks for, and tells the basis.
    fn settle(&mut self) {
        self.reduced.copy_from_slice(&self.usd);
        for r in 0..self.basis.len() {
            let usd = self.usd[self.basis[r]];
            if usd != 0.0 {
                let row = &self.body[r * (self.width + 1)..r * (self.width + 1) + self.width];
                self.reduced.iter_mut().zip(row).for_each(|(reduced, factor)| *reduced -= usd * factor);
            }
        }
        let mut full = Vec::new();
        for j in 0..self.width {
            if self.is_basic[j] {
                self.is_full[j] = false;
                continue;
            }
            if self.reduced[j].abs() > ZERO {
                self.is_full[j] = self.reduced[j] < 0.0;
            }
            if self.is_full[j] && self.upper[j] > 0.0 {
                full.push(j);
            }
        }
        for r in 0..self.basis.len() {
            let row = self.row(r);
            let used: f64 = full.iter().map(|j| row[*j] * self.upper[*j]).sum();
            self.values[r] = row[self.width] - used;
        }
    }

    /// Whether there is an optimum, which is then told by the basis; nothing if it went on for too long.
    fn descend(&mut self) -> Option<bool> {
        self.settle();
        for _ in 0..10 * (self.width + 10) {
            let beyond = |r: usize| (-self.values[r]).max(self.values[r] - self.upper[self.basis[r]]);
            let worst = (0..self.basis.len()).max_by(|a, b| beyond(*a).total_cmp(&beyond(*b)));
            let Some(row) = worst.filter(|row| beyond(*row) > ZERO) else { return Some(true) };
            let Some((flipped, column)) = self.entering(row) else { return Some(false) };
            self.flip(&flipped);
            self.pivot(row, column);
        }
        None
    }

    /// The columns that go to their other bound, and the one that enters in the place of a row's own.
    fn entering(&self, r: usize) -> Option<(Vec<usize>, usize)> {
        let row = self.row(r);
        let is_below = self.values[r] < 0.0;
        let mut lacks = if is_below { -self.values[r] } else { self.values[r] - self.upper[self.basis[r]] };
        let mut known: Vec<(f64, f64, usize)> = Vec::new();
        for (j, &factor) in row[..self.width].iter().enumerate() {
            if factor.abs() > PIVOT_MIN
                && !self.is_basic[j]
                && self.upper[j] > 0.0
                && (factor > 0.0) == (self.is_full[j] == is_below)
            {
                known.push((self.reduced[j].abs() / factor.abs(), factor.abs(), j));
            }
        }
        known.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
        let mut flipped = Vec::new();
        for (_, factor, j) in known {
            lacks -= factor * self.upper[j];
            if lacks <= ZERO {
                return Some((flipped, j));
            }
            flipped.push(j);
        }
        None
    }

    fn flip(&mut self, columns: &[usize]) {
        for &j in columns {
            let change = if self.is_full[j] { -self.upper[j] } else { self.upper[j] };
            self.is_full[j] = !self.is_full[j];
            for r in 0..self.basis.len() {
                self.values[r] -= self.body[r * (self.width + 1) + j] * change;
            }
        }
    }

    /// Exchanges a row's own column for another.
    fn pivot(&mut self, r: usize, column: usize) {
        self.pivots += 1;
        let stride = self.width + 1;
        let leaving = self.basis[r];
        let factor = self.body[r * stride + column];
        let is_full = self.values[r] > 0.0;
        let target = if is_full { self.upper[leaving] } else { 0.0 };
        let step = (self.values[r] - target) / factor;
        let from = if self.is_full[column] { self.upper[column] } else { 0.0 };
        let mut line: Vec<f64> = self.row(r).iter().map(|value| value / factor).collect();
        line.iter_mut().filter(|value| value.abs() < 1e-13).for_each(|value| *value = 0.0);
        let filled: Vec<usize> = (0..stride).filter(|j| line[*j] != 0.0).collect();
        let is_sparse = filled.len() * 4 < stride;
        for i in 0..self.basis.len() {
            let row = &mut self.body[i * stride..(i + 1) * stride];
            let by = row[column];
            if i == r || by == 0.0 {
                continue;
            }
            self.values[i] -= by * step;
            if is_sparse {
                filled.iter().for_each(|j| row[*j] -= by * line[*j]);
            } else {
                row.iter_mut().zip(&line).for_each(|(value, other)| *value -= by * other);
            }
            row[column] = 0.0;
        }
        let by = self.reduced[column];
        self.reduced.iter_mut().zip(&line).for_each(|(value, other)| *value -= by * other);
        self.reduced[column] = 0.0;
        self.body[r * stride..(r + 1) * stride].copy_from_slice(&line);
        self.values[r] = from + step;
        self.basis[r] = column;
        self.is_basic[leaving] = false;
        self.is_full[leaving] = is_full;
        self.is_basic[column] = true;
        self.is_full[column] = false;
    }
}
