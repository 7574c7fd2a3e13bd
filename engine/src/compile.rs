//! Compilation: this node's part of a graph under a plan, as one timely dataflow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::Scope;
use timely::dataflow::operators::Inspect;
use timely::dataflow::operators::core::Concatenate;
use timely::worker::Worker;

use crate::crossing::{LinkKey, egress, ingress};
use crate::dividing::divide;
use crate::generation::Generation;
use crate::id::{Epoch, StageId};
use crate::ledger::Edge;
use crate::link::{Receiver, Sender};
use crate::meter::EdgeKey;
use crate::plan::{Assignment, Plan};
use crate::stage::{Erased, StageContext};
use crate::topology::Graph;

/// The ends of a generation's links on one node.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) senders: BTreeMap<LinkKey, Sender>,
    pub(crate) receivers: BTreeMap<LinkKey, Receiver>,
}

/// The links that a plan needs: from every node of a stage to every node of those that take its output. The whole
/// ones on a node share a link; one that is split has its own, as it gets parts alone.
pub(crate) fn crossings(graph: &Graph, plan: &Plan) -> BTreeSet<LinkKey> {
    let mut keys = BTreeSet::new();
    for (stage, consumer, _) in graph.edges() {
        let part_of = part_of(graph, plan, consumer);
        for from in assignment(graph, plan, stage).nodes() {
            for to in assignment(graph, plan, consumer).nodes().filter(|to| *to != from) {
                keys.insert(LinkKey { stage, part_of, from: from.to_owned(), to: to.to_owned() });
            }
        }
    }
    keys
}

fn assignment<'a>(graph: &Graph, plan: &'a Plan, stage: StageId) -> &'a Assignment {
    plan.assignment(&graph.stage(stage).name)
}

/// The stage itself if it is split.
fn part_of(graph: &Graph, plan: &Plan, consumer: StageId) -> Option<StageId> {
    assignment(graph, plan, consumer).is_split().then_some(consumer)
}

/// Builds the stages that `plan` puts on node `me`, over the ends of its links; returns the dataflow's index, or
/// `None` if there are none.
///
/// An input is what comes from a stage here and from ingresses, together; an output that another node wants gets
/// an egress. Every node compiles the same graph, so both ends of a link agree on its type.
pub(crate) fn compile(
    worker: &mut Worker,
    graph: &Graph,
    plan: &Plan,
    me: &str,
    generation: &Rc<Generation>,
    ends: Ends,
) -> Option<usize> {
    let is_here = |id: &StageId| assignment(graph, plan, *id).is_on(me);
    if !graph.ids().any(|id| is_here(&id)) {
        return None;
    }
    let index = worker.next_dataflow_index();
    worker.dataflow_named(&format!("{} {}", graph.name(), generation.id), |scope| {
        let mut part = Part { graph, plan, me, generation, senders: ends.senders, flows: HashMap::new() };
        for (key, receiver) in ends.receivers {
            let stream = ingress(scope, &key, receiver, graph.stage(key.stage).decode, generation);
            part.flows.entry((key.stage, key.part_of)).or_default().push(stream);
        }
        for id in graph.ids().filter(is_here) {
            let inputs = graph.stage(id).inputs.iter().map(|from| part.input(scope, *from, id)).collect();
            let first = scope.worker().peek_identifier();
            let stream = (graph.stage(id).build)(scope, inputs, &context(graph, id, generation));
            let operators = first..scope.worker().peek_identifier();
            part.output(id, watched(stream, id, operators, generation));
        }
    });
    Some(index)
}

/// Has a stage's output and operators watched, if the run is profiled.
fn watched<'scope>(
    stream: Erased<'scope>,
    stage: StageId,
    operators: Range<usize>,
    generation: &Generation,
) -> Erased<'scope> {
    let Some(survey) = &generation.local.shared.survey else { return stream };
    let show = survey.watch(stage, operators);
    stream.inspect_core(move |event| {
        if let Ok((_, batches)) = event {
            show(batches);
        }
    })
}

/// This node's part of a dataflow, being built.
struct Part<'a, 'scope> {
    graph: &'a Graph,
    plan: &'a Plan,
    me: &'a str,
    generation: &'a Rc<Generation>,
    senders: BTreeMap<LinkKey, Sender>,
    /// What there is here of a stage's output: for whole stages, and for each of the split ones.
    flows: HashMap<(StageId, Option<StageId>), Vec<Erased<'scope>>>,
}

impl<'scope> Part<'_, 'scope> {
    /// Everything that comes here from one stage for another.
    fn input(&self, scope: Scope<'scope, Epoch>, from: StageId, to: StageId) -> Erased<'scope> {
        let streams = &self.flows[&(from, part_of(self.graph, self.plan, to))];
        match &streams[..] {
            [stream] => stream.clone(),
            streams => scope.concatenate(streams.to_vec()),
        }
    }

    /// Sends a stage's output where it is wanted.
    fn output(&mut self, stage: StageId, stream: Erased<'scope>) {
        let consumers: BTreeSet<StageId> =
            self.graph.edges().filter(|(from, ..)| *from == stage).map(|(_, to, _)| to).collect();
        for consumer in consumers.into_iter().filter(|to| part_of(self.graph, self.plan, *to).is_some()) {
            let parts = divide(stream.clone(), self.graph.stage(consumer), self.generation);
            for (node, part) in assignment(self.graph, self.plan, consumer).nodes().zip(parts) {
                self.part(stage, Some(consumer), node, part);
            }
        }
        let wanting: BTreeSet<String> =
            self.senders.keys().filter(|key| key.stage == stage).map(|key| key.to.clone()).collect();
        wanting.iter().for_each(|node| self.part(stage, None, node, stream.clone()));
        self.part(stage, None, self.me, stream);
    }

    /// Keeps a part of an output here, or sends it to its node if that has a link for it.
    fn part(&mut self, stage: StageId, part_of: Option<StageId>, node: &str, stream: Erased<'scope>) {
        if node == self.me {
            return self.flows.entry((stage, part_of)).or_default().push(stream);
        }
        let key = LinkKey { stage, part_of, from: self.me.to_owned(), to: node.to_owned() };
        if let Some(sender) = self.senders.remove(&key) {
            let meter = self.generation.local.meters.link(metered(self.graph, self.plan, &key));
            egress(stream, &key, sender, self.edges(&key), meter, self.generation);
        }
    }

    /// The edges that a link stands for.
    fn edges(&self, key: &LinkKey) -> Vec<Arc<Edge>> {
        let ledger = &self.generation.local.shared.ledger;
        edges_of(self.graph, self.plan, key).map(|(to, input)| ledger.edge(to, input)).collect()
    }
}

/// The inputs that a link leads into.
fn edges_of(graph: &Graph, plan: &Plan, key: &LinkKey) -> impl Iterator<Item = (StageId, usize)> {
    let leads_to = move |to: StageId| match part_of(graph, plan, to) {
        Some(consumer) => key.part_of == Some(consumer),
        None => key.part_of.is_none() && assignment(graph, plan, to).is_on(&key.to),
    };
    let edges = graph.edges().filter(move |(from, to, _)| *from == key.stage && leads_to(*to));
    edges.map(|(_, to, input)| (to, input))
}

/// Where a link is counted: by the first stage that it leads to.
pub(crate) fn metered(graph: &Graph, plan: &Plan, key: &LinkKey) -> EdgeKey {
    let first = edges_of(graph, plan, key).map(|(to, _)| to).min();
    (key.stage, first.unwrap_or(key.stage), key.to.clone())
}

fn context(graph: &Graph, stage: StageId, generation: &Rc<Generation>) -> StageContext {
    let ledger = &generation.local.shared.ledger;
    let inputs: Vec<Arc<Edge>> =
        (0..graph.stage(stage).inputs.len()).map(|i| ledger.edge(stage, i)).collect();
    let outgoing = graph.edges().filter(|(from, ..)| *from == stage);
    let outputs: Vec<Arc<Edge>> = outgoing.map(|(_, to, input)| ledger.edge(to, input)).collect();
    let of = graph.stage(stage);
    // Whatever a plan says of a stage without a model, it has no variants.
    let variant = of.family.as_ref().and_then(|_| generation.plan().assignment(&of.name).variant.clone());
    StageContext {
        stage,
        name: of.name.as_str().into(),
        generation: generation.clone(),
        inputs: inputs.into(),
        outputs: outputs.into(),
        meter: generation.local.meters.stage((stage, variant)),
    }
}
