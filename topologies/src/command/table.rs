//! Tables for people.

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows below the names of their columns; a row may be short. Every line ends with a line break.
pub(super) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let lines = || std::iter::once(&names).chain(rows);
    let width = |column: usize| {
        lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in lines() {
        let mut written = String::new();
        for ((cell, (_, align)), width) in line.iter().zip(columns).zip(&widths) {
            written += &match align {
                Align::Left => format!("{cell:<width$}  "),
                Align::Right => format!("{cell:>width$}  "),
            };
        }
        text += written.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Align, table};

    #[test]
    fn columns_stand_below_each_other() {
        let columns = [("what", Align::Left), ("much", Align::Right)];
        let rows = [vec!["a long one".to_owned(), "3".to_owned()], vec!["é".to_owned(), "12345".to_owned()]];
        assert_eq!(table(&columns, &rows), "what         much\na long one      3\né           12345\n");
    }
}
