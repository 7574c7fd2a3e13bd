//! What changes from one plan to another.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::plan::{Assignment, Plan};

/// How plans call the stages that they do not name.
const OTHERS: &str = "(other stages)";

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of which stage; in brackets, of those that neither plan names.
    pub stage: String,
    /// What of it.
    pub what: What,
    /// As it is.
    pub from: String,
    /// As it will be.
    pub to: String,
}

/// What of a stage changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The nodes it runs on: it moves.
    Nodes,
    /// How its items are divided among the same nodes.
    Shares,
    /// The variant of its model.
    Variant,
    /// How many batches it runs at once.
    Slots,
    /// How large batches are, how long they wait, and how long they may run.
    Batches,
}

/// What changes from one plan to another, by stage; nothing if they are the same.
///
/// ```
/// use jellybean_engine::plan::{Assignment, Plan};
/// use jellybean_engine::planning::{diff, diff::What};
/// let plan = Plan::single("edge").with("detect", Assignment::on("edge").variant("w8"));
/// let other = plan.clone().with("detect", Assignment::shared([("cloud", 3), ("edge", 1)]).variant("w8"));
/// let changes = diff(&plan, &other);
/// assert_eq!(changes.len(), 1);
/// assert_eq!((&*changes[0].stage, changes[0].what), ("detect", What::Nodes));
/// assert_eq!((&*changes[0].from, &*changes[0].to), ("edge", "cloud 75 %, edge 25 %"));
/// assert!(diff(&plan, &plan).is_empty());
/// ```
#[must_use]
pub fn diff(from: &Plan, to: &Plan) -> Vec<Difference> {
    let named: BTreeSet<&String> = from.stages.keys().chain(to.stages.keys()).collect();
    let mut changes = Vec::new();
    for stage in named {
        compare(stage, from.assignment(stage), to.assignment(stage), &mut changes);
    }
    compare(OTHERS, &from.default, &to.default, &mut changes);
    changes
}

fn compare(stage: &str, from: &Assignment, to: &Assignment, changes: &mut Vec<Difference>) {
    let batches = |a: &Assignment| {
        format!("up to {}, {} ms, ended after {} ms", a.batch_max, a.batch_deadline_ms, a.timeout_ms)
    };
    let variant = |a: &Assignment| a.variant.clone().unwrap_or_else(|| "the default".to_owned());
    let divided = match from.nodes().eq(to.nodes()) {
        true => What::Shares,
        false => What::Nodes,
    };
    let parts = [
        (divided, nodes(from), nodes(to)),
        (What::Variant, variant(from), variant(to)),
        (What::Slots, slots(from), slots(to)),
        (What::Batches, batches(from), batches(to)),
    ];
    let changed = parts.into_iter().filter(|(_, from, to)| from != to);
    changes.extend(changed.map(|(what, from, to)| Difference { stage: stage.to_owned(), what, from, to }));
}

/// The slots of an assignment, by node where they differ.
fn slots(assignment: &Assignment) -> String {
    let by_node = assignment.nodes().map(|node| format!("{} on {node}", assignment.slots_at(node)));
    match assignment.slots_on.is_empty() {
        true => assignment.slots.to_string(),
        false => by_node.collect::<Vec<_>>().join(", "),
    }
}

/// The nodes of an assignment, with their shares where there are several.
fn nodes(assignment: &Assignment) -> String {
    let total: f64 = assignment.shares.values().map(|weight| f64::from(*weight)).sum();
    if !assignment.is_split() || total == 0.0 {
        return assignment.nodes().collect::<Vec<_>>().join(", ");
    }
    let part =
        |(node, weight): (&String, &u32)| format!("{node} {:.3} %", f64::from(*weight) / total * 100.0);
    let parts = assignment.shares.iter().map(part);
    // Whole percents as such.
    parts.map(|part| part.replace(".000 %", " %")).collect::<Vec<_>>().join(", ")
}
