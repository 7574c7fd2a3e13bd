//! One node: a timely worker on a thread of its own, driven by commands.
//!
//! The worker steps while there is work, and parks otherwise. It never waits for a model, a file or
//! another node.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::Thread;
use timely::worker::Worker;

use crate::compile::compile;
use crate::entry::Gate;
use crate::error::{Error, ErrorKind, Result};
use crate::generation::Generation;
use crate::handover::State;
use crate::id::{Epoch, GenerationId, StageId};
use crate::local::{Local, Shared};
use crate::message::{FromNode, Mailbox, ToNode, Word};
use crate::plan::Plan;
use crate::stage::{Opened, Preparation};
use crate::topology::Graph;

/// How long a node parks at most; commands, feeds and runners wake it earlier.
const PARK_MAX: Duration = Duration::from_secs(1);

/// One node of a run.
pub(crate) struct Node {
    graph: Arc<Graph>,
    shared: Arc<Shared>,
    local: Rc<Local>,
    worker: Worker,
    commands: Receiver<ToNode>,
    mailbox: Mailbox,
    peers: HashMap<String, Mailbox>,
    up: Sender<FromNode>,
    term: u32,
    preparing: BTreeMap<GenerationId, (Option<GenerationId>, Arc<Plan>)>,
    generations: BTreeMap<GenerationId, Live>,
}

/// A generation on this node.
struct Live {
    generation: Rc<Generation>,
    dataflow: Option<usize>,
    drained: bool,
}

impl Node {
    /// A node; to be made on the thread that runs it.
    pub(crate) fn new(
        graph: Arc<Graph>,
        shared: Arc<Shared>,
        commands: Receiver<ToNode>,
        peers: HashMap<String, Mailbox>,
        up: Sender<FromNode>,
    ) -> Self {
        let config = WorkerConfig::default().idle_spin(Duration::ZERO);
        let worker = Worker::new(config, Allocator::Thread(Thread::default()), shared.clock.origin());
        let mailbox = peers[&shared.node].clone();
        mailbox.read_here();
        let local = Local::new(shared.clone());
        let (preparing, generations) = Default::default();
        Self { graph, shared, local, worker, commands, mailbox, peers, up, term: 0, preparing, generations }
    }

    /// Runs until it is told to quit.
    pub(crate) fn run(mut self) {
        while self.obey() {
            self.local.timers.fire(self.shared.clock.now_us());
            let next = self.local.timers.next_in(self.shared.clock.now_us()).unwrap_or(PARK_MAX);
            self.worker.step_or_park(Some(next.min(PARK_MAX)));
            self.settle();
        }
    }

    /// Carries out what was commanded; false once the node is to quit.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                ToNode::Prepare { generation, previous, plan } => self.prepare(generation, previous, plan),
                ToNode::Opened { generation, opened } => self.opened(generation, opened),
                ToNode::Propose { round, cut } => self.propose(round, cut),
                ToNode::Decide { generation, cut } => self.decide(generation, cut),
                ToNode::Abort { generation } => self.abort(generation),
                ToNode::Stop { cut } => self.shared.entries.gates().iter().for_each(|gate| gate.stop(cut)),
                ToNode::State { generation, stage, piece } => self.state(generation, stage, piece),
                ToNode::Quit => return false,
            }
        }
        true
    }

    fn say(&self, word: Word) {
        // Without a controller nobody listens; a new one asks.
        _ = self.up.send(FromNode { node: self.shared.node.clone(), word });
    }

    /// Opens what a plan needs on a helper thread: loading a model must not hold the data up.
    fn prepare(&mut self, generation: GenerationId, previous: Option<GenerationId>, plan: Arc<Plan>) {
        if generation.term < self.term {
            let error = Error::new(
                ErrorKind::Invalid,
                format!("term {} is over; this is {}", generation.term, self.term),
            );
            return self.say(Word::Refused { generation, error });
        }
        self.term = generation.term;
        let (graph, shared, mailbox) = (self.graph.clone(), self.shared.clone(), self.mailbox.clone());
        self.preparing.insert(generation, (previous, plan.clone()));
        let opening = move || {
            let opened = open(&graph, &plan, &shared, previous.is_some());
            mailbox.send(ToNode::Opened { generation, opened });
        };
        if let Err(e) = std::thread::Builder::new().name("prepare".into()).spawn(opening) {
            let error = Error::new(ErrorKind::Unavailable, "no thread to prepare a plan").because(e);
            self.say(Word::Refused { generation, error });
        }
    }

    fn opened(&mut self, generation: GenerationId, opened: Result<HashMap<StageId, Opened>>) {
        // Aborted meanwhile: what was opened is dropped.
        let Some((previous, plan)) = self.preparing.remove(&generation) else { return };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return self.say(Word::Refused { generation, error }),
        };
        let live = Generation::new(generation, plan.clone(), previous, self.local.clone(), opened);
        let dataflow = compile(&mut self.worker, &self.graph, &plan, &self.shared.node, &live);
        self.generations.insert(generation, Live { generation: live, dataflow, drained: false });
        let reached = self.gates().iter().map(|gate| gate.reached()).max().unwrap_or(0);
        self.say(Word::Ready { generation, reached });
    }

    fn gates(&self) -> Vec<Arc<dyn Gate>> {
        self.shared.entries.gates()
    }

    fn propose(&self, round: u32, cut: Epoch) {
        let late = self.gates().iter().filter_map(|gate| gate.promise(cut).err()).max();
        self.say(late.map_or(Word::Accepted { round }, |reached| Word::Late { round, reached }));
    }

    fn decide(&mut self, generation: GenerationId, cut: Epoch) {
        let Some(next) = self.generations.get(&generation).map(|live| live.generation.clone()) else {
            return;
        };
        if let Some(old) = next.previous.and_then(|id| self.generations.get(&id)) {
            old.generation.set_until(cut);
        }
        next.set_from(cut);
        for gate in self.gates() {
            gate.start();
            gate.release();
        }
    }

    fn abort(&mut self, generation: GenerationId) {
        self.preparing.remove(&generation);
        if let Some(dataflow) = self.generations.remove(&generation).and_then(|live| live.dataflow) {
            self.worker.drop_dataflow(dataflow);
        }
        self.local.handover.borrow_mut().forget(generation);
        self.shared.network.close(generation);
        for gate in self.gates() {
            gate.forget(generation);
            gate.release();
        }
    }

    fn state(&mut self, generation: GenerationId, stage: StageId, piece: Option<Vec<u8>>) {
        match piece {
            Some(piece) => self.local.handover.borrow_mut().arrive_piece(generation, stage, piece),
            None => {
                self.local.handover.borrow_mut().arrive_end(generation, stage);
                if let Some(live) = self.generations.get(&generation) {
                    live.generation.state_arrived(stage);
                }
            }
        }
    }

    /// After a step: books what sinks have passed, delivers state, and notices what is drained.
    fn settle(&mut self) {
        let now_us = self.shared.clock.now_us();
        let installed = self.worker.installed_dataflows();
        for live in self.generations.values_mut() {
            book_sinks(live, &self.shared, now_us);
        }
        self.deliver();
        let mut drained = Vec::new();
        for (id, live) in &mut self.generations {
            let begun = live.generation.from().is_some();
            let gone = live.dataflow.is_none_or(|index| !installed.contains(&index));
            if begun && gone && !live.drained {
                live.drained = true;
                drained.push(*id);
            }
        }
        for generation in drained {
            self.shared.network.close(generation);
            self.say(Word::Drained { generation });
        }
        // A drained generation stays until its successor has everything that it offered.
        let newest =
            self.generations.iter().filter(|(_, l)| l.generation.from().is_some()).map(|(id, _)| *id).max();
        self.generations.retain(|id, live| !live.drained || Some(*id) >= newest);
    }

    /// Brings what an ended generation offers to the stages that succeed it.
    fn deliver(&mut self) {
        for live in self.generations.values() {
            let next = &live.generation;
            let (Some(previous), Some(_)) = (next.previous, next.from()) else { continue };
            let offers = self.local.handover.borrow_mut().take_offers(previous);
            for (stage, state) in offers {
                let home = &next.plan.assignment(&self.graph.stage(stage).name).node;
                if *home == self.shared.node {
                    self.local.handover.borrow_mut().arrive_here(next.id, stage, state.into_any());
                    next.state_arrived(stage);
                } else {
                    self.send_state(home, next.id, stage, &*state);
                }
            }
        }
    }

    fn send_state(&self, home: &str, generation: GenerationId, stage: StageId, state: &dyn State) {
        let Some(peer) = self.peers.get(home) else { return };
        match state.chunks() {
            Ok(chunks) => {
                chunks
                    .into_iter()
                    .for_each(|c| peer.send(ToNode::State { generation, stage, piece: Some(c) }));
            }
            Err(error) => {
                tracing::error!(%error, stage = self.graph.stage(stage).name, "state lost in a move")
            }
        }
        peer.send(ToNode::State { generation, stage, piece: None });
    }
}

/// Opens what the stages of this node need.
fn open(
    graph: &Graph,
    plan: &Plan,
    shared: &Arc<Shared>,
    continues: bool,
) -> Result<HashMap<StageId, Opened>> {
    let mut opened = HashMap::new();
    for id in graph.ids() {
        let stage = graph.stage(id);
        let assignment = plan.assignment(&stage.name);
        if assignment.node == shared.node {
            let at = Preparation { shared, stage: id, name: &stage.name, assignment, continues };
            let result = (stage.prepare)(&at).map_err(|e| e.at(format!("stage \"{}\"", stage.name)))?;
            opened.extend(result.map(|o| (id, o)));
        }
    }
    Ok(opened)
}

fn book_sinks(live: &mut Live, shared: &Shared, now_us: u64) {
    if live.generation.from().is_none() {
        return;
    }
    for passed in live.generation.sinks.borrow_mut().iter_mut() {
        let frontier = passed.probe.with_frontier(|f| f.as_option().copied());
        // `told` starts at `None`; a frontier that is through is told once, as the maximum.
        let now = frontier.unwrap_or(Epoch::MAX);
        if passed.told.is_none_or(|told| told < now) {
            passed.told = Some(now);
            shared.ledger.sink_passed(live.generation.id, passed.sink, frontier, now_us);
        }
    }
}
