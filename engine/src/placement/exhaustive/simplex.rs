//! A dense simplex of two phases with Bland's rule: slow, plain, and sure to end. All unknowns are at least 0.

/// What counts as zero.
const ZERO: f64 = 1e-9;

/// A constraint: columns with their factors, a bound, and whether it must be met exactly.
pub(super) struct Row {
    terms: Vec<(usize, f64)>,
    bound: f64,
    exact: bool,
}

impl Row {
    /// The sum is the bound.
    pub(super) fn equal(terms: Vec<(usize, f64)>, bound: f64) -> Self {
        Self { terms, bound, exact: true }
    }

    /// The sum is at most the bound, which is not below 0.
    pub(super) fn most(terms: Vec<(usize, f64)>, bound: f64) -> Self {
        Self { terms, bound, exact: false }
    }
}

/// The cheapest values that meet all rows, if any do and there is a cheapest.
pub(super) fn minimum(costs: &[f64], rows: &[Row]) -> Option<Vec<f64>> {
    let slacks = rows.iter().filter(|row| !row.exact).count();
    let (known, width) = (costs.len() + slacks, costs.len() + rows.len() + slacks);
    // A slack for each bound, and an artificial column for each row, which is its basis at first.
    let mut slack = costs.len();
    let mut table = Table { rows: Vec::new(), basis: (known..width).collect() };
    for (i, row) in rows.iter().enumerate() {
        let mut line = vec![0.0; width + 1];
        row.terms.iter().for_each(|(column, factor)| line[*column] += factor);
        if !row.exact {
            line[slack] = 1.0;
            slack += 1;
        }
        line[width] = row.bound;
        if row.bound < 0.0 {
            line.iter_mut().for_each(|value| *value = -*value);
        }
        line[known + i] = 1.0;
        table.rows.push(line);
    }
    let artificial: Vec<f64> = (0..width).map(|column| f64::from(u8::from(column >= known))).collect();
    if table.descend(&artificial, width)? > 1e-7 {
        return None;
    }
    table.drive_out(known);
    let mut prices = costs.to_vec();
    prices.resize(width, 0.0);
    table.descend(&prices, known)?;
    let mut values = vec![0.0; costs.len()];
    for (line, column) in table.rows.iter().zip(&table.basis).filter(|(_, column)| **column < costs.len()) {
        values[*column] = line[width].max(0.0);
    }
    Some(values)
}

/// Rows with the right-hand side last, and the column that each is solved for.
struct Table {
    rows: Vec<Vec<f64>>,
    basis: Vec<usize>,
}

impl Table {
    /// Goes down to the least price, entering only columns below `allowed`; nothing if there is no least.
    fn descend(&mut self, prices: &[f64], allowed: usize) -> Option<f64> {
        loop {
            let reduced = |column: usize| {
                let rows = self.rows.iter().zip(&self.basis);
                prices[column] - rows.map(|(line, basic)| prices[*basic] * line[column]).sum::<f64>()
            };
            let Some(entering) = (0..allowed).find(|column| reduced(*column) < -ZERO) else {
                let rows = self.rows.iter().zip(&self.basis);
                return Some(rows.map(|(line, basic)| prices[*basic] * line[line.len() - 1]).sum());
            };
            let ratio = |row: usize| {
                let line = &self.rows[row];
                line[line.len() - 1] / line[entering]
            };
            let rows = (0..self.rows.len()).filter(|row| self.rows[*row][entering] > ZERO);
            let leaving = rows.min_by(|a, b| {
                let order = ratio(*a).total_cmp(&ratio(*b));
                order.then(self.basis[*a].cmp(&self.basis[*b]))
            })?;
            self.pivot(leaving, entering);
        }
    }

    /// Solves the rows that still have an artificial column for a real one; a row without one says nothing.
    fn drive_out(&mut self, known: usize) {
        for row in (0..self.rows.len()).rev() {
            if self.basis[row] < known {
                continue;
            }
            match (0..known).find(|column| self.rows[row][*column].abs() > ZERO) {
                Some(column) => self.pivot(row, column),
                None => {
                    self.rows.remove(row);
                    self.basis.remove(row);
                }
            }
        }
    }

    fn pivot(&mut self, row: usize, column: usize) {
        let factor = self.rows[row][column];
        self.rows[row].iter_mut().for_each(|value| *value /= factor);
        let line = self.rows[row].clone();
        for (other, values) in self.rows.iter_mut().enumerate().filter(|(other, _)| *other != row) {
            let factor = values[column];
            if factor != 0.0 {
                values.iter_mut().zip(&line).for_each(|(value, pivot)| *value -= factor * pivot);
            }
            debug_assert!(other != row);
        }
        self.basis[row] = column;
    }
}
