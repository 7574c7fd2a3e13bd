//! Which changes of plan a running generation takes in.
//!
//! A retune keeps every stage on its nodes, with its variant and slots: only what is asked anew for every record or
//! batch may differ. So nothing has to be opened, moved or drained.

use std::collections::BTreeMap;

use crate::plan::{Assignment, Plan};
use crate::stage::Kind;
use crate::topology::{Graph, Stage};

/// Whether two plans differ in no more than the shares of stages without state, among the same nodes, and in how
/// large batches are, how long they wait, and how long they may run.
pub(crate) fn is_retune(graph: &Graph, running: &Plan, wished: &Plan) -> bool {
    let same = |stage: &Stage| {
        let of = |plan| fixed(Plan::assignment(plan, &stage.name), stage.kind);
        of(running) == of(wished)
    };
    graph.stages().all(same)
}

/// What of an assignment a running generation cannot change: nodes and their slots, the shares of state, variant.
type Fixed<'a> = (Vec<(&'a str, usize)>, Option<&'a BTreeMap<String, u32>>, Option<&'a str>);

fn fixed(assignment: &Assignment, kind: Kind) -> Fixed<'_> {
    let has_state = !matches!(kind, Kind::Stateless | Kind::Pooled);
    let shares = (has_state && assignment.is_split()).then_some(&assignment.shares);
    let nodes = assignment.nodes().map(|node| (node, assignment.slots_at(node)));
    (nodes.collect(), shares, assignment.variant.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitive::each::FanOut;
    use crate::topology::Topology;
    use crate::{sink, source};

    fn check(is_one: bool, stage: &str, before: Assignment, after: Assignment) {
        let t = Topology::new("retunes");
        let numbers = t.source("numbers", source::iterate(0..1_u64));
        let same = numbers.each("same", FanOut::One, |n, out| {
            out.push(n);
            Ok(())
        });
        let (sink, _) = sink::collect();
        same.keyed(|n| *n).together("both", &same.keyed(|n| *n)).stream().sink("out", sink);
        let graph = t.build().expect("the topology is right");
        let plan = |assignment: &Assignment| Plan::single("a").with(stage, assignment.clone());
        let (before, after) = (plan(&before), plan(&after));
        assert_eq!(is_retune(&graph, &before, &after), is_one, "{before:?} to {after:?}");
        assert_eq!(is_retune(&graph, &after, &before), is_one, "{after:?} to {before:?}");
        assert!(is_retune(&graph, &after, &after));
    }

    #[test]
    fn shares_and_batches_are_retuned_and_nothing_else() {
        let shared = |a, b| Assignment::shared([("a", a), ("b", b)]);
        check(true, "same", shared(1, 1), shared(3, 0));
        check(true, "same", shared(1, 1), shared(3, 1).batches(8, 20));
        check(true, "out", Assignment::on("a"), Assignment::on("a").batches(2, 1));
        check(true, "out", Assignment::on("a"), Assignment::shared([("a", 1)]).batches(2, 1));
        check(false, "same", shared(1, 1), Assignment::on("a"));
        check(false, "same", shared(1, 1), Assignment::shared([("a", 1), ("c", 1)]));
        check(false, "same", shared(1, 1), shared(1, 1).slots(2));
        check(false, "same", shared(1, 1), shared(1, 1).slots_on("b", 2));
        check(true, "same", shared(1, 1), shared(1, 1).slots_on("b", 1));
        check(false, "same", shared(1, 1), shared(1, 1).variant("w8"));
        check(false, "same", Assignment::on("a"), Assignment::on("b"));
    }
}
