//! Compilation: this node's part of a graph under a plan, as one timely dataflow.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use timely::worker::Worker;

use crate::crossing::{egress, ingress};
use crate::generation::Generation;
use crate::id::StageId;
use crate::ledger::Edge;
use crate::near::LinkKey;
use crate::plan::Plan;
use crate::stage::{Erased, StageContext};
use crate::topology::Graph;

/// Builds the stages that `plan` puts on node `me`; returns the dataflow's index, or `None` if there
/// are none.
///
/// An input comes from a stage here or from an ingress; an output that another node wants gets an
/// egress. Every node compiles the same graph, so both ends of a link agree on its key and type.
pub(crate) fn compile(
    worker: &mut Worker,
    graph: &Graph,
    plan: &Plan,
    me: &str,
    generation: &Rc<Generation>,
) -> Option<usize> {
    let node_of = |id: StageId| plan.assignment(&graph.stage(id).name).node.as_str();
    let link = |stage, from: &str, to: &str| LinkKey {
        generation: generation.id,
        stage,
        from: from.to_owned(),
        to: to.to_owned(),
    };
    if !graph.ids().any(|id| node_of(id) == me) {
        return None;
    }
    let index = worker.next_dataflow_index();
    worker.dataflow_named(&format!("{} {}", graph.name(), generation.id), |scope| {
        let mut streams: HashMap<StageId, Erased<'_>> = HashMap::new();
        for id in graph.ids().filter(|id| node_of(*id) == me) {
            for from in graph.stage(id).inputs.iter().filter(|from| node_of(**from) != me) {
                streams.entry(*from).or_insert_with(|| {
                    ingress(scope, &link(*from, node_of(*from), me), graph.stage(*from).decode, generation)
                });
            }
            let inputs = graph.stage(id).inputs.iter().map(|from| streams[from].clone()).collect();
            let stream = (graph.stage(id).build)(scope, inputs, &context(graph, id, generation));
            streams.insert(id, stream);
        }
        for id in graph.ids().filter(|id| node_of(*id) == me) {
            let mut remote: Vec<&str> =
                consumers(graph, id).map(node_of).filter(|node| *node != me).collect();
            remote.sort_unstable();
            remote.dedup();
            for to in remote {
                egress(streams[&id].clone(), &link(id, me, to), generation);
            }
        }
    });
    Some(index)
}

fn consumers(graph: &Graph, stage: StageId) -> impl Iterator<Item = StageId> {
    graph.edges().filter(move |(from, ..)| *from == stage).map(|(_, to, _)| to)
}

fn context(graph: &Graph, stage: StageId, generation: &Rc<Generation>) -> StageContext {
    let ledger = &generation.local.shared.ledger;
    let inputs: Vec<Arc<Edge>> =
        (0..graph.stage(stage).inputs.len()).map(|i| ledger.edge(stage, i)).collect();
    let outgoing = graph.edges().filter(|(from, ..)| *from == stage);
    let outputs: Vec<Arc<Edge>> = outgoing.map(|(_, to, input)| ledger.edge(to, input)).collect();
    StageContext {
        stage,
        name: graph.stage(stage).name.as_str().into(),
        generation: generation.clone(),
        inputs: inputs.into(),
        outputs: outputs.into(),
    }
}
