//! Compilation: this node's part of a graph under a plan, as one timely dataflow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use timely::worker::Worker;

use crate::crossing::{LinkKey, egress, ingress};
use crate::generation::Generation;
use crate::id::StageId;
use crate::ledger::Edge;
use crate::link::{Receiver, Sender};
use crate::plan::Plan;
use crate::stage::{Erased, StageContext};
use crate::topology::Graph;

/// The ends of a generation's links on one node.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) senders: BTreeMap<LinkKey, Sender>,
    pub(crate) receivers: BTreeMap<LinkKey, Receiver>,
}

/// The links that a plan needs.
pub(crate) fn crossings(graph: &Graph, plan: &Plan) -> BTreeSet<LinkKey> {
    let node_of = |id: StageId| plan.assignment(&graph.stage(id).name).node.clone();
    let keys =
        graph.edges().map(|(from, to, _)| LinkKey { stage: from, from: node_of(from), to: node_of(to) });
    keys.filter(|key| key.from != key.to).collect()
}

/// Builds the stages that `plan` puts on node `me`, over the ends of its links; returns the dataflow's index, or
/// `None` if there are none.
///
/// An input comes from a stage here or from an ingress; an output that another node wants gets an
/// egress. Every node compiles the same graph, so both ends of a link agree on its type.
pub(crate) fn compile(
    worker: &mut Worker,
    graph: &Graph,
    plan: &Plan,
    me: &str,
    generation: &Rc<Generation>,
    ends: Ends,
) -> Option<usize> {
    let node_of = |id: StageId| plan.assignment(&graph.stage(id).name).node.as_str();
    if !graph.ids().any(|id| node_of(id) == me) {
        return None;
    }
    let index = worker.next_dataflow_index();
    worker.dataflow_named(&format!("{} {}", graph.name(), generation.id), |scope| {
        let mut streams: HashMap<StageId, Erased<'_>> = HashMap::new();
        for (key, receiver) in ends.receivers {
            let stream = ingress(scope, &key, receiver, graph.stage(key.stage).decode, generation);
            streams.insert(key.stage, stream);
        }
        for id in graph.ids().filter(|id| node_of(*id) == me) {
            let inputs = graph.stage(id).inputs.iter().map(|from| streams[from].clone()).collect();
            let stream = (graph.stage(id).build)(scope, inputs, &context(graph, id, generation));
            streams.insert(id, stream);
        }
        for (key, sender) in ends.senders {
            let to = graph.edges().filter(|(from, to, _)| *from == key.stage && node_of(*to) == key.to);
            let ledger = &generation.local.shared.ledger;
            let edges = to.map(|(_, to, input)| ledger.edge(to, input)).collect();
            egress(streams[&key.stage].clone(), &key, sender, edges, generation);
        }
    });
    Some(index)
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
