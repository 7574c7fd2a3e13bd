//! A node's part of a run: its generations, on the node's timely worker.
//!
//! It does what it is ordered to and gathers what is to be said; it never waits for a model, a file or
//! another node.

mod copying;
mod reading;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::worker::Worker;

use crate::clock::{Clock, micros};
use crate::compile::{Ends, compile, crossings, metered};
use crate::digest::Digest;
use crate::entry::{Entries, Gate};
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Failure, Reason};
use crate::generation::Generation;
use crate::handover::State;
use crate::id::{Epoch, GenerationId, StageId};
use crate::ledger::{DEGRADED_MAX, Ledger};
use crate::link::Links;
use crate::local::{Local, Shared};
use crate::message::{ASKING, Decide, GenerationStanding, Passed, Prepare, Retune, Standing, Word};
use crate::meter::Tap;
use crate::moving::Movers;
use crate::plan::{Assignment, Plan};
use crate::pool::Pools;
use crate::shares::Division;
use crate::stage::{Kind, Opened, Preparation};
use crate::survey::Survey;
use crate::topology::{Graph, Stage};

/// What `prepare` has opened, or why it could not: from a helper thread.
pub(crate) struct Prepared {
    pub(crate) generation: GenerationId,
    pub(crate) opened: Result<HashMap<StageId, Opened>>,
}

/// Where a [`Prepared`] goes; it wakes the node.
pub(crate) type OnPrepared = Arc<dyn Fn(Prepared) + Send + Sync>;

/// How often others are told how far sinks have come: every word wakes two processes.
const SAY_EVERY: Duration = Duration::from_millis(100);

/// One node's part of a run.
pub(crate) struct Part {
    graph: Arc<Graph>,
    shared: Arc<Shared>,
    local: Rc<Local>,
    links: Links,
    on_prepared: OnPrepared,
    preparing: BTreeMap<GenerationId, Prepare>,
    generations: BTreeMap<GenerationId, Live>,
    began_us: Option<u64>,
    passed: BTreeMap<(GenerationId, StageId), Passed>,
    /// What of that is still to be said, and by when.
    unsaid: Vec<Passed>,
    say_at_us: Option<u64>,
    /// Frames of other nodes, as (lane, number): the latest that were said to be degraded.
    degraded: VecDeque<(u32, u64)>,
    is_stopping: bool,
    /// By lane, the most frames that were offered.
    offered: BTreeMap<u32, u64>,
    /// What is to be said.
    pub(crate) words: Vec<Word>,
}

/// A generation on this node.
struct Live {
    generation: Rc<Generation>,
    dataflow: Option<usize>,
    drained: bool,
    movers: Movers,
    /// The links over which it sends.
    taps: Vec<Tap>,
    /// Until when it waits for state to be copied before it says that it is ready; `None` once it has said so.
    ready_by_us: Option<u64>,
    /// Whether others have to be told what sinks here have passed.
    has_sources_elsewhere: bool,
}

impl Part {
    pub(crate) fn new(
        graph: Arc<Graph>,
        links: &Links,
        clock: &Clock,
        pools: Pools,
        survey: Option<Arc<Survey>>,
        on_prepared: OnPrepared,
    ) -> Self {
        let shared = Arc::new(Shared {
            node: links.me().name.clone(),
            clock: clock.clone(),
            ledger: Ledger::new(graph.edge_names()),
            pools,
            entries: Entries::default(),
            digest: Arc::new(Digest::default()),
            survey,
        });
        let local = Local::new(shared.clone());
        let (preparing, generations, passed, unsaid, degraded) = Default::default();
        Self {
            graph,
            shared,
            local,
            links: links.clone(),
            on_prepared,
            preparing,
            generations,
            began_us: None,
            passed,
            unsaid,
            say_at_us: None,
            degraded,
            is_stopping: false,
            offered: BTreeMap::new(),
            words: Vec::new(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Wakes what is due; returns when more will be, by the clock in microseconds.
    pub(crate) fn wake_due(&self) -> Option<u64> {
        let now_us = self.shared.clock.now_us();
        let by_hand = if self.shared.clock.is_simulated() {
            [self.shared.pools.turn(now_us), self.shared.entries.turn()]
        } else {
            // Threads do it.
            [None, None]
        };
        self.local.timers.fire(now_us);
        let next_us = self.local.timers.next_in(now_us).map(|wait| now_us + micros(wait));
        let ready_us = self.generations.values().filter_map(|live| live.ready_by_us).min();
        by_hand.into_iter().chain([next_us, ready_us, self.say_at_us]).flatten().min()
    }

    /// Opens what a plan needs on a helper thread: loading a model must not hold the data up.
    pub(crate) fn prepare(&mut self, prepare: Prepare) {
        let generation = prepare.generation;
        if self.preparing.contains_key(&generation) || self.generations.contains_key(&generation) {
            return;
        }
        let (graph, shared, on_prepared) =
            (self.graph.clone(), self.shared.clone(), self.on_prepared.clone());
        let (plan, continues) = (prepare.plan.clone(), prepare.previous.is_some());
        self.preparing.insert(generation, prepare);
        let opening = move || {
            let opened = open(&graph, &plan, &shared, continues);
            on_prepared(Prepared { generation, opened });
        };
        if self.shared.clock.is_simulated() {
            return opening();
        }
        if let Err(e) = std::thread::Builder::new().name("prepare".into()).spawn(opening) {
            let error = Error::new(ErrorKind::Unavailable, "no thread to prepare a plan").because(e);
            self.words.push(Word::Refused { generation, error });
        }
    }

    /// What was to be prepared is open: builds this node's part of the plan.
    pub(crate) fn prepared(&mut self, worker: &mut Worker, prepared: Prepared) {
        let Prepared { generation, opened } = prepared;
        // Aborted meanwhile: what was opened is dropped.
        let Some(prepare) = self.preparing.remove(&generation) else { return };
        let built = opened.and_then(|opened| self.build(worker, &prepare, opened));
        match built {
            Ok(()) => self.ask_copies(&prepare),
            Err(error) => {
                self.links.close(&prefix(generation));
                self.words.push(Word::Refused { generation, error });
            }
        }
    }

    fn build(
        &mut self,
        worker: &mut Worker,
        prepare: &Prepare,
        opened: HashMap<StageId, Opened>,
    ) -> Result<()> {
        let (me, plan) = (&self.shared.node, &prepare.plan);
        let (mut ends, mut taps) = (Ends::default(), Vec::new());
        for key in crossings(&self.graph, plan) {
            let channel = key.channel(prepare.generation);
            if key.from == *me {
                let sender = self.links.sender(prepare.member(&key.to)?, &channel)?;
                let meter = self.local.meters.link(metered(&self.graph, plan, &key));
                taps.push(Tap::new(meter, sender.clone()));
                ends.senders.insert(key, sender);
            } else if key.to == *me {
                let receiver = self.links.receiver(prepare.member(&key.from)?, &channel)?;
                ends.receivers.insert(key, receiver);
            }
        }
        let movers = Movers::open(&self.graph, prepare, me, &self.links)?;
        if let Some((_, before)) = &prepare.previous {
            for id in self.graph.ids() {
                let name = &self.graph.stage(id).name;
                if plan.assignment(name).is_on(me) {
                    let homes = before.assignment(name).nodes().count();
                    self.local.handover.borrow_mut().expect(prepare.generation, id, homes);
                }
            }
        }
        let previous = prepare.previous.as_ref().map(|(id, _)| *id);
        let generation =
            Generation::new(prepare.generation, plan.clone(), previous, self.local.clone(), opened);
        let dataflow = compile(worker, &self.graph, plan, me, &generation, ends);
        let has_sources_elsewhere = sources_of(&self.graph, plan).any(|node| node != me);
        let live = Live {
            generation,
            dataflow,
            drained: false,
            movers,
            taps,
            ready_by_us: None,
            has_sources_elsewhere,
        };
        self.generations.insert(prepare.generation, live);
        Ok(())
    }

    fn gates(&self) -> Vec<Arc<dyn Gate>> {
        self.shared.entries.gates()
    }

    fn reached(&self) -> Epoch {
        self.gates().iter().map(|gate| gate.reached()).max().unwrap_or(0)
    }

    pub(crate) fn propose(&mut self, round: u32, cut: Epoch, is_end: bool) {
        // Whoever takes over in the middle of it must end the run: nothing else would take the promises back.
        self.is_stopping |= is_end;
        let late = self.gates().iter().filter_map(|gate| gate.promise(cut).err()).max();
        self.words.push(late.map_or(Word::Accepted { round }, |reached| Word::Late { round, reached }));
    }

    pub(crate) fn decide(&mut self, decide: Decide) {
        let Decide { generation, cut, began_us } = decide;
        let Some(next) = self.generations.get(&generation).map(|live| live.generation.clone()) else {
            return;
        };
        if next.from().is_some() {
            // A new controller makes sure.
            return;
        }
        if let Some(old) = next.previous.and_then(|id| self.generations.get(&id)) {
            old.generation.set_until(cut);
        }
        for id in self.graph.ids().filter(|id| self.graph.stage(*id).kind == Kind::Sink) {
            self.shared.ledger.open_sink(generation, id, cut);
        }
        next.set_from(cut);
        self.began_us = Some(began_us);
        self.limit(&next.plan());
        for gate in self.gates() {
            gate.start(began_us / 1_000);
            gate.release();
        }
    }

    /// A plan is about to hold: no record from its epoch on comes before that is decided.
    pub(crate) fn retune(&self, retune: Retune) {
        if let Some(live) = self.generations.get(&retune.generation) {
            live.generation.expect(retune.cut, retune.plan);
        }
    }

    pub(crate) fn retuned(&self, retune: Retune) {
        if let Some(live) = self.generations.get(&retune.generation) {
            self.limit(&retune.plan);
            live.generation.retune(retune.cut, retune.plan);
        }
        self.gates().iter().for_each(|gate| gate.release());
    }

    /// Holds sources to what a plan lets in.
    fn limit(&self, plan: &Plan) {
        let of = |stage| plan.assignment(&self.graph.stage(stage).name).rate_max_per_s;
        self.shared.entries.limit(of);
    }

    pub(crate) fn abort(&mut self, worker: &mut Worker, generation: GenerationId) {
        let is_decided = |live: &Live| live.generation.from().is_some();
        if self.generations.get(&generation).is_some_and(is_decided) {
            return;
        }
        self.preparing.remove(&generation);
        if let Some(dataflow) = self.generations.remove(&generation).and_then(|live| live.dataflow) {
            worker.drop_dataflow(dataflow);
        }
        self.local.handover.borrow_mut().forget(generation);
        self.links.close(&prefix(generation));
        for gate in self.gates() {
            gate.forget(generation);
            gate.release();
        }
    }

    /// Nothing is left of a generation on any node.
    pub(crate) fn close(&mut self, generation: GenerationId) {
        self.links.close(&prefix(generation));
        self.local.handover.borrow_mut().forget(generation);
        self.passed.retain(|(id, _), _| *id > generation);
        self.shared.ledger.close_sinks(generation, self.shared.clock.now_us());
    }

    pub(crate) fn stop(&mut self, cut: Epoch) {
        self.is_stopping = true;
        self.gates().iter().for_each(|gate| gate.stop(cut));
    }

    /// A sink elsewhere has come so far.
    pub(crate) fn passed(&self, passed: &[Passed]) {
        for Passed { generation, sink, frontier, at_us } in passed {
            self.shared.ledger.sink_passed(*generation, *sink, *frontier, *at_us);
        }
    }

    pub(crate) fn degraded(&self, frames: &[(u32, u64)]) {
        for (lane, number) in frames {
            self.shared.ledger.degrade(*lane, *number);
        }
    }

    /// Another node is lost, and what is open can never be completed.
    pub(crate) fn lost(&mut self, node: &str) {
        self.gates().iter().for_each(|gate| gate.stop(0));
        let failure = Failure::new(Reason::NODE_LOST, format!("node \"{node}\" was lost"));
        self.shared.ledger.give_up(&failure);
        self.is_stopping = true;
    }

    /// After a step: books what sinks have passed, delivers state, and notices what is drained.
    pub(crate) fn settle(&mut self, worker: &Worker) {
        self.book_sinks();
        let degraded = self.shared.ledger.take_degraded_elsewhere();
        if !degraded.is_empty() {
            self.degraded.extend(&degraded);
            self.degraded.drain(..self.degraded.len().saturating_sub(DEGRADED_MAX));
            self.words.push(Word::Degraded(degraded));
        }
        self.copy();
        self.deliver();
        let installed = worker.installed_dataflows();
        for (id, live) in &mut self.generations {
            let begun = live.generation.from().is_some();
            let gone = live.dataflow.is_none_or(|index| !installed.contains(&index));
            if begun && gone && !live.drained {
                live.drained = true;
                self.words.push(Word::Drained { generation: *id });
            }
        }
        // A drained generation stays until its successor has everything that it offered.
        let begun = |live: &Live| live.generation.from().is_some();
        let newest = self.generations.iter().filter(|(_, live)| begun(live)).map(|(id, _)| *id).max();
        self.generations.retain(|id, live| !live.drained || Some(*id) >= newest);
    }

    fn book_sinks(&mut self) {
        let at_us = self.shared.clock.now_us();
        for (id, live) in self.generations.iter().filter(|(_, live)| live.generation.from().is_some()) {
            for sink in live.generation.sinks.borrow_mut().iter_mut() {
                let frontier = sink.probe.with_frontier(|f| f.as_option().copied());
                // `told` starts at `None`; a frontier that is through is told once, as the maximum.
                let now = frontier.unwrap_or(Epoch::MAX);
                if sink.told.is_some_and(|told| told >= now) {
                    continue;
                }
                sink.told = Some(now);
                self.shared.ledger.sink_passed(*id, sink.sink, frontier, at_us);
                if live.has_sources_elsewhere {
                    let passed = Passed { generation: *id, sink: sink.sink, frontier, at_us };
                    self.passed.insert((*id, sink.sink), passed);
                    self.unsaid.push(passed);
                }
            }
        }
        let is_through = self.unsaid.iter().any(|passed| passed.frontier.is_none());
        if is_through || self.say_at_us.is_some_and(|say_at_us| at_us >= say_at_us) {
            self.words.push(Word::Passed(std::mem::take(&mut self.unsaid)));
        }
        self.say_at_us = match self.unsaid.is_empty() {
            true => None,
            false => self.say_at_us.or(Some(at_us + micros(SAY_EVERY))),
        };
    }

    /// Brings what an ended generation offers to the stages that succeed it.
    fn deliver(&mut self) {
        for live in self.generations.values_mut() {
            let next = live.generation.clone();
            for (from, stage, piece) in live.movers.arrived() {
                let mut handover = self.local.handover.borrow_mut();
                match piece {
                    Some(piece) => handover.arrive_piece(next.id, stage, from, piece),
                    None => handover.arrive_end(next.id, stage, from),
                }
                next.wake_stage(stage);
            }
            let (Some(previous), Some(_)) = (next.previous, next.from()) else { continue };
            let offers = self.local.handover.borrow_mut().take_offers(previous);
            let (me, plan) = (&self.shared.node, next.plan());
            for (stage, state) in offers {
                let of = self.graph.stage(stage);
                let assignment = plan.assignment(&of.name);
                for (home, state) in assignment.nodes().zip(divided(state, of, assignment)) {
                    if home == me {
                        let state = state.into_any();
                        self.local.handover.borrow_mut().arrive_here(next.id, stage, me, state);
                        next.wake_stage(stage);
                    } else {
                        // A piece that was copied and still waits goes before the rest.
                        let piece = self.local.handover.borrow_mut().take_copy(previous, stage);
                        let sent = piece.map_or(Ok(()), |piece| live.movers.send_piece(home, stage, &piece?));
                        if let Err(error) = sent.and_then(|()| live.movers.send(home, stage, &*state)) {
                            tracing::error!(%error, stage = of.name, "state lost in a move");
                        }
                    }
                }
            }
        }
    }

    /// How many generations have begun and are not drained.
    pub(crate) fn live_generations(&self) -> usize {
        self.generations.values().filter(|live| live.generation.from().is_some() && !live.drained).count()
    }

    /// What a new controller needs to know; the term is the node's.
    pub(crate) fn standing(&self) -> Standing {
        let preparing = self.preparing.values().map(|prepare| GenerationStanding {
            id: prepare.generation,
            plan: prepare.plan.clone(),
            previous: prepare.previous.as_ref().map(|(id, _)| *id),
            retuned: 0,
            from: None,
            is_drained: false,
        });
        let built = self.generations.iter().map(|(id, live)| GenerationStanding {
            id: *id,
            plan: live.generation.plan(),
            previous: live.generation.previous,
            retuned: live.generation.retuned(),
            from: live.generation.from(),
            is_drained: live.drained,
        });
        let mut generations: Vec<_> = built.chain(preparing).collect();
        generations.sort_by_key(|generation| generation.id);
        Standing {
            term: ASKING,
            now_us: self.shared.clock.now_us(),
            began_us: self.began_us,
            generations,
            passed: self.passed.values().copied().collect(),
            degraded: self.degraded.iter().copied().collect(),
            is_stopping: self.is_stopping,
        }
    }

    /// Lets go of everything.
    pub(crate) fn unload(self, worker: &mut Worker) {
        self.gates().iter().for_each(|gate| gate.stop(0));
        for (id, live) in self.generations {
            if let Some(dataflow) = live.dataflow {
                worker.drop_dataflow(dataflow);
            }
            self.links.close(&prefix(id));
        }
    }
}

/// What the channels of a generation's links begin with.
fn prefix(generation: GenerationId) -> String {
    format!("{generation}/")
}

/// The nodes that a plan's sources are on.
pub(crate) fn sources_of<'a>(graph: &'a Graph, plan: &'a Plan) -> impl Iterator<Item = &'a str> {
    let sources = graph.stages().filter(|stage| stage.kind == Kind::Source);
    sources.flat_map(|stage| plan.assignment(&stage.name).nodes())
}

/// A stage's state for each node of its next assignment.
fn divided(state: Box<dyn State>, stage: &Stage, assignment: &Assignment) -> Vec<Box<dyn State>> {
    match &stage.groups {
        Some(groups) if assignment.is_split() => state.split(&Division::new(groups, &assignment.shares)),
        _ => vec![state],
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
        if assignment.is_on(&shared.node) {
            let at = Preparation { shared, stage: id, name: &stage.name, assignment, continues };
            let result = (stage.prepare)(&at).map_err(|e| e.at(format!("stage \"{}\"", stage.name)))?;
            opened.extend(result.map(|o| (id, o)));
        }
    }
    Ok(opened)
}
