//! A profile for people.

use jellybean_engine::profile::{MeasuredAccuracy, MeasuredEdge, MeasuredService, Profile};

use super::super::table::{Align, table};

/// Of a machine's cores, what others may use before times become doubtful.
const QUIET: f64 = 0.1;

/// Tables of services, edges and accuracy, with what is to be known of how they were measured.
pub(super) fn of(profile: &Profile) -> String {
    let mut text = format!("{} ({})", profile.topology, profile.topology_hash);
    for node in &profile.nodes {
        let processor =
            if node.processor.is_empty() { String::new() } else { format!(", {}", node.processor) };
        text += &format!(
            "\nnode {}: {} cores{processor}; measured for {:.0} s, while others kept {:.2} cores busy",
            node.name, node.cores, node.seconds, node.foreign_cores
        );
    }
    if let Some(node) = profile.nodes.iter().find(|node| node.foreign_cores > QUIET * f64::from(node.cores)) {
        text += &format!(
            "\nNode {} had too much else to do for its times to be relied on: measure it again while it is quiet.",
            node.name
        );
    }
    text += "\n\n";
    text += &grid(
        &[
            "node", "stage", "variant", "batch", "p50 ms", "p95 ms", "items/s", "MB", "load ms", "first ms",
            "spread", "calls",
        ],
        3,
        profile.services.iter().map(service).collect(),
    );
    text += "\n";
    text += &grid(
        &["from", "to", "variant", "items/item", "KB/item", "items"],
        3,
        profile.edges.iter().flat_map(|edge| of_edge(edge, profile)).collect(),
    );
    if let Some(accuracy) = &profile.accuracy {
        text += &of_accuracy(accuracy);
    }
    let unseen: Vec<&str> = profile
        .stages
        .iter()
        .filter(|stage| !profile.services.iter().any(|service| service.stage == stage.name))
        .map(|stage| stage.name.as_str())
        .collect();
    if !unseen.is_empty() {
        text += &format!(
            "\nNothing reached {}: no plan can be made before something has. Take other footage, or more of it.\n",
            unseen.join(", ")
        );
    }
    text
}

fn service(row: &MeasuredService) -> Vec<String> {
    let has_model = row.load_ms > 0.0;
    let of_model = |value: f64| if has_model { short(value) } else { "·".to_owned() };
    vec![
        row.node.clone(),
        row.stage.clone(),
        row.variant.clone(),
        row.batch.to_string(),
        short(row.p50_ms),
        short(row.p95_ms),
        short(row.items_per_s),
        of_model(row.memory_mb),
        of_model(row.load_ms),
        of_model(row.warm_up_ms),
        format!("{:.0} %", 100.0 * row.spread),
        row.samples.to_string(),
    ]
}

/// A line for all variants of its stage, or one for each.
fn of_edge(edge: &MeasuredEdge, profile: &Profile) -> Vec<Vec<String>> {
    let stage = profile.stages.iter().find(|stage| stage.name == edge.from);
    let lines = edge.variants();
    let line = |k: usize| {
        let (items_per_item, kb_per_item) = edge.of_variant(k);
        let variant = stage.filter(|_| lines > 1).and_then(|stage| stage.variants.get(k));
        vec![
            edge.from.clone(),
            edge.to.clone(),
            variant.cloned().unwrap_or_else(|| "·".to_owned()),
            short(items_per_item),
            short(kb_per_item),
            if k == 0 { edge.items.to_string() } else { "·".to_owned() },
        ]
    };
    (0..lines).map(line).collect()
}

fn of_accuracy(accuracy: &MeasuredAccuracy) -> String {
    let mut text = format!("\nAccuracy, {}\n", accuracy.against());
    let interval = |low: f64, high: f64| format!("{low:.3} to {high:.3}");
    match accuracy {
        MeasuredAccuracy::Table { stages, rows, .. } => {
            let mut heads: Vec<&str> = stages.iter().map(String::as_str).collect();
            let names = heads.len();
            heads.extend(["accuracy", "95 % of the time", "samples"]);
            let line = |row: &jellybean_engine::profile::MeasuredRow| {
                let figures = [
                    format!("{:.3}", row.accuracy),
                    interval(row.accuracy_low, row.accuracy_high),
                    row.samples.to_string(),
                ];
                row.variants.iter().cloned().chain(figures).collect()
            };
            text += &grid(&heads, names, rows.iter().map(line).collect());
        }
        MeasuredAccuracy::Linear { base, losses, .. } => {
            text += &format!("{base:.3} at best, less:\n");
            let line = |loss: &jellybean_engine::profile::MeasuredLoss| {
                vec![
                    loss.stage.clone(),
                    loss.variant.clone(),
                    format!("{:.3}", loss.loss),
                    interval(loss.loss_low, loss.loss_high),
                    loss.samples.to_string(),
                ]
            };
            let heads = ["stage", "variant", "loss", "95 % of the time", "samples"];
            text += &grid(&heads, 2, losses.iter().map(line).collect());
        }
    }
    text
}

/// A table, of which so many columns hold names and stand to the left.
fn grid(heads: &[&str], names: usize, lines: Vec<Vec<String>>) -> String {
    let align = |k| if k < names { Align::Left } else { Align::Right };
    let columns: Vec<(&str, Align)> = heads.iter().enumerate().map(|(k, head)| (*head, align(k))).collect();
    table(&columns, &lines)
}

/// A figure to three digits.
fn short(value: f64) -> String {
    match value.abs() {
        x if x >= 100.0 || x == 0.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        x if x >= 1.0 => format!("{value:.2}"),
        x if x >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}
