//! An explanation of a plan as it is printed.

use jellybean_engine::planning::explain::{Alternative, Explanation};

use super::super::table::{Align, table};
use super::told::{short, usd};

/// What binds, and what other plans would cost, beside one that costs so much.
pub(super) fn in_words(explanation: &Explanation, cost_usd_per_h: Option<f64>) -> String {
    let Explanation { binds, alternatives } = explanation;
    let against = |cost: f64| match cost_usd_per_h {
        Some(own) if own > 0.0 => format!("{:+.1} %", (cost / own - 1.0) * 100.0),
        _ => String::new(),
    };
    let mut text = String::new();
    if binds.is_empty() {
        text += "Nothing that could be left out alone would make it cheaper.\n";
    } else {
        let rows = binds.iter().map(|bind| {
            vec![bind.what.clone(), usd(bind.without_usd_per_h), against(bind.without_usd_per_h)]
        });
        let columns = [("what binds", Align::Left), ("$/h without it", Align::Right), ("", Align::Right)];
        text += &table(&columns, &rows.collect::<Vec<_>>());
    }
    let row = |other: &Alternative| {
        let mut note = other.faults.first().cloned().unwrap_or_default();
        if note.is_empty() && other.cost_usd_per_h.is_none() {
            note = if other.proved { "there is no such plan" } else { "none was found" }.to_owned();
        }
        vec![
            other.what.clone(),
            other.cost_usd_per_h.map_or_else(|| "-".to_owned(), usd),
            other.cost_usd_per_h.map_or_else(String::new, against),
            other.accuracy.map_or_else(String::new, short),
            note,
        ]
    };
    let rows: Vec<Vec<String>> = alternatives.iter().map(row).collect();
    let columns = [
        ("instead", Align::Left),
        ("$/h", Align::Right),
        ("", Align::Right),
        ("accuracy", Align::Right),
        ("", Align::Left),
    ];
    text + "\n" + &table(&columns, &rows)
}
