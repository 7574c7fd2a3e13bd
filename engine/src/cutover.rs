//! The cut-over: the protocol by which one generation follows another.
//!
//! prepare (every node builds its part) -> propose(E) (every source promises not to pass E, or says
//! where it stands) -> decide(E) (effective at E: epochs below it belong to the old generation, the
//! rest to the new one) -> drain (the old one empties). Stopping is a cut-over to nothing, with flush. A change that
//! the running generation can take in is proposed and decided alone: sources stay where they are while that is done.
//!
//! This is the decision alone: a state and a function, without clock, thread or channel.
//! Invariants: at most two generations live; a generation is aborted only before it is decided; a
//! newer wish replaces a waiting one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::id::{Epoch, GenerationId};
use crate::message::{FromNode, Retune, Standing, ToNode, Word};
use crate::plan::Plan;
use crate::retune::is_retune;
use crate::topology::Graph;

/// A cut lies ahead of where the sources were when they answered by two ticks, so that they need not
/// wait for the decision.
const AHEAD_MS: u64 = 20;

/// How often one generation is retuned: each of its plans is kept, as records of its epochs may be in flight.
const RETUNES_MAX: usize = 64;

/// Something the controller learns.
pub(crate) enum Event {
    /// Somebody wants another plan; the wish has a number.
    Apply(Wish),
    /// Somebody wants the run to end.
    Stop,
    /// A wish takes too long to prepare.
    GiveUp(u64),
    /// A node said something.
    Heard(FromNode),
    /// A node that runs nothing is gone.
    Lost(String),
}

/// A plan that somebody wants to run.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) id: u64,
    pub(crate) plan: Arc<Plan>,
}

impl Wish {
    /// The number of a wish that nobody waits for.
    pub(crate) const NOBODYS: u64 = u64::MAX;
}

/// Something the controller is to do.
pub(crate) enum Action {
    /// Have every node prepare a plan.
    Prepare { generation: GenerationId, previous: Option<GenerationId>, plan: Arc<Plan> },
    /// Tell every node that a generation begins.
    Decide { generation: GenerationId, cut: Epoch },
    /// Tell every node.
    TellAll(ToNode),
    /// A wish has come true, or not.
    Fulfilled { wish: u64, outcome: Result<Cut, Error> },
    /// Nothing is left of the run.
    Finished,
}

/// Where a change took effect: in a generation that began there, or in one that was retuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The generation that runs since.
    pub generation: GenerationId,
    /// The first epoch that goes by the new plan.
    pub epoch: Epoch,
}

/// A change of plan on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// What is being done: `prepare`, `propose`, `drain` or `end`.
    pub phase: String,
    /// The generation that comes, or is retuned; `None` where the run ends.
    pub to: Option<GenerationId>,
    /// The epoch at which it takes effect, once one is proposed.
    pub cut: Option<Epoch>,
    /// The nodes whose answer is waited for.
    pub missing: BTreeSet<String>,
}

/// The state of the controller.
pub(crate) struct CutOver {
    graph: Arc<Graph>,
    nodes: BTreeSet<String>,
    last: GenerationId,
    running: Option<GenerationId>,
    /// What the running generation goes by, and how often it was retuned.
    plan: Option<Arc<Plan>>,
    retunes: usize,
    drained: BTreeSet<(GenerationId, String)>,
    phase: Phase,
    queued: Option<Wish>,
    stop: bool,
    round: u32,
}

enum Phase {
    Steady,
    Preparing { wish: Wish, to: GenerationId, missing: BTreeSet<String>, reached: Vec<(Epoch, u64)> },
    Proposing { goal: Goal, cut: Epoch, missing: BTreeSet<String>, late: Option<Epoch> },
    Draining { wish: u64, from: GenerationId, cut: Cut },
    Ending,
    Over,
}

/// What a cut leads to.
#[derive(Clone)]
enum Goal {
    Generation(Wish, GenerationId),
    /// Another plan for the running generation; whether the nodes know it with the cut that is proposed.
    Retune {
        wish: Wish,
        generation: GenerationId,
        is_told: bool,
    },
    Nothing,
}

impl CutOver {
    pub(crate) fn new(graph: Arc<Graph>, nodes: BTreeSet<String>, term: u32) -> Self {
        Self {
            graph,
            nodes,
            last: GenerationId { term, n: 0 },
            running: None,
            plan: None,
            retunes: 0,
            drained: BTreeSet::new(),
            phase: Phase::Steady,
            queued: None,
            stop: false,
            round: 0,
        }
    }

    /// Takes over what nodes say that runs. What was decided anywhere is decided; what was decided nowhere, though
    /// everybody has answered, is aborted.
    pub(crate) fn resume(
        graph: Arc<Graph>,
        standings: &BTreeMap<String, Standing>,
        term: u32,
    ) -> (Self, Vec<Action>) {
        let mut state = Self::new(graph, standings.keys().cloned().collect(), term);
        let mut decided = BTreeMap::new();
        let mut undecided = BTreeSet::new();
        for (node, standing) in standings {
            for generation in &standing.generations {
                match generation.from {
                    Some(cut) => _ = decided.insert(generation.id, cut),
                    None => _ = undecided.insert(generation.id),
                }
                if generation.is_drained {
                    state.drained.insert((generation.id, node.clone()));
                }
            }
        }
        let mut actions = Vec::new();
        for generation in undecided.into_iter().filter(|id| !decided.contains_key(id)) {
            actions.push(Action::TellAll(ToNode::Abort { generation }));
        }
        let mut newest = decided.iter().rev();
        if let Some((generation, cut)) = newest.next() {
            state.running = Some(*generation);
            actions.push(Action::Decide { generation: *generation, cut: *cut });
            if let Some((from, _)) = newest.next() {
                // A node that does not know the old generation any more is through with it.
                for (node, standing) in standings {
                    if standing.generations.iter().all(|g| g.id != *from) {
                        state.drained.insert((*from, node.clone()));
                    }
                }
                let cut = Cut { generation: *generation, epoch: *cut };
                state.phase = Phase::Draining { wish: Wish::NOBODYS, from: *from, cut };
            } else {
                // That may have been said to some and not to others.
                let of_all = standings.values().flat_map(|standing| &standing.generations);
                let before = of_all.filter(|g| g.id == *generation).find_map(|g| g.previous);
                actions.extend(before.map(|generation| Action::TellAll(ToNode::Close { generation })));
            }
        }
        if state.running.is_none() {
            // What was given up was the first; nothing is left to lead.
            state.phase = Phase::Over;
            actions.push(Action::Finished);
        }
        state.stop = standings.values().any(|standing| standing.is_stopping);
        actions.extend(state.retuned_by(standings).map(|retune| Action::TellAll(ToNode::Retuned(retune))));
        let mut more = VecDeque::new();
        state.advance(&mut more);
        actions.extend(more);
        (state, actions)
    }

    /// The newest plan of the running generation. Where it was decided it is; where it is not known it will be; and
    /// sources that wait for a decision of nobody's go on.
    fn retuned_by(&mut self, standings: &BTreeMap<String, Standing>) -> Option<Retune> {
        let generation = self.running?;
        let all = standings.values().flat_map(|standing| &standing.generations);
        let newest = all.filter(|g| g.id == generation).max_by_key(|g| (g.from.is_some(), g.retuned))?;
        let (cut, plan) = (newest.retuned, newest.plan.clone());
        self.plan = Some(plan.clone());
        // How often it was retuned is not known; it was, if it was ever.
        self.retunes = if cut == 0 { 0 } else { RETUNES_MAX };
        (!self.stop).then_some(Retune { generation, cut, plan })
    }

    /// Takes an event in; returns what is to be done, in order.
    pub(crate) fn step(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        let mut actions = VecDeque::new();
        match event {
            Event::Apply(wish) => self.wish(wish, &mut actions),
            Event::Stop => self.stop = true,
            Event::GiveUp(id) => self.give_up(id, &mut actions),
            Event::Heard(FromNode { node, word }) => self.heard(node, word, now_ms, &mut actions),
            Event::Lost(node) => self.lost(&node, &mut actions),
        }
        self.advance(&mut actions);
        actions.into()
    }

    /// The newest generation that was decided.
    pub(crate) fn running(&self) -> Option<GenerationId> {
        self.running
    }

    /// The change that is on its way, if one is.
    pub(crate) fn moving(&self) -> Option<Moving> {
        let (phase, to, cut, missing) = match &self.phase {
            Phase::Steady | Phase::Over => return None,
            Phase::Preparing { to, missing, .. } => ("prepare", Some(*to), None, missing.clone()),
            Phase::Proposing { goal, cut, missing, .. } => {
                let to = match goal {
                    Goal::Generation(_, to) | Goal::Retune { generation: to, .. } => Some(*to),
                    Goal::Nothing => None,
                };
                ("propose", to, Some(*cut), missing.clone())
            }
            Phase::Draining { from, cut, .. } => {
                let is_left = |node: &&String| !self.drained.contains(&(*from, (*node).clone()));
                let left = self.nodes.iter().filter(is_left).cloned().collect();
                ("drain", Some(cut.generation), Some(cut.epoch), left)
            }
            Phase::Ending => ("end", None, None, BTreeSet::new()),
        };
        Some(Moving { phase: phase.to_owned(), to, cut, missing })
    }

    fn wish(&mut self, wish: Wish, actions: &mut VecDeque<Action>) {
        if self.stop || matches!(self.phase, Phase::Ending | Phase::Over) {
            return refuse(&wish, "the run is ending", actions);
        }
        if let Some(older) = self.queued.replace(wish) {
            refuse(&older, "a newer plan took its place", actions);
        }
    }

    fn give_up(&mut self, id: u64, actions: &mut VecDeque<Action>) {
        if let Phase::Preparing { wish, .. } = &self.phase
            && wish.id == id
        {
            let error = Error::new(ErrorKind::Timeout, "a node took too long to prepare the plan");
            self.abort(error, actions);
        }
    }

    /// Goes on without a node.
    fn lost(&mut self, node: &str, actions: &mut VecDeque<Action>) {
        self.nodes.remove(node);
        match &mut self.phase {
            Phase::Preparing { .. } => {
                let message = format!("node \"{node}\" was lost while the plan was prepared");
                self.abort(Error::new(ErrorKind::Unavailable, message), actions);
            }
            Phase::Proposing { missing, .. } => {
                missing.remove(node);
                self.counted(actions);
            }
            _ => {}
        }
    }

    fn heard(&mut self, node: String, word: Word, now_ms: u64, actions: &mut VecDeque<Action>) {
        match (word, &mut self.phase) {
            (Word::Ready { generation, reached: at }, Phase::Preparing { to, missing, reached, .. })
                if generation == *to =>
            {
                missing.remove(&node);
                reached.push((at, now_ms));
                if missing.is_empty() {
                    let ahead = |(at, when): &(Epoch, u64)| at + now_ms.saturating_sub(*when) + AHEAD_MS;
                    let cut = reached.iter().map(ahead).max().unwrap_or(0);
                    self.prepared(cut, actions);
                }
            }
            (Word::Refused { generation, error }, Phase::Preparing { to, .. }) if generation == *to => {
                self.abort(error.at(format!("node \"{node}\"")), actions);
            }
            (Word::Accepted { round }, Phase::Proposing { missing, .. }) if round == self.round => {
                missing.remove(&node);
                self.counted(actions);
            }
            (Word::Late { round, reached }, Phase::Proposing { missing, late, .. })
                if round == self.round =>
            {
                missing.remove(&node);
                *late = (*late).max(Some(reached));
                self.counted(actions);
            }
            (Word::Drained { generation }, _) => _ = self.drained.insert((generation, node)),
            // What belongs to a round or a change that is over.
            _ => {}
        }
    }

    /// Every node is ready.
    fn prepared(&mut self, cut: Epoch, actions: &mut VecDeque<Action>) {
        let Phase::Preparing { wish, to, .. } = std::mem::replace(&mut self.phase, Phase::Steady) else {
            return;
        };
        if self.running.is_none() {
            // Nothing runs yet, so there is nobody to ask.
            return self.decide(wish, to, 0, actions);
        }
        self.propose(Goal::Generation(wish, to), cut, actions);
    }

    fn propose(&mut self, goal: Goal, cut: Epoch, actions: &mut VecDeque<Action>) {
        self.round += 1;
        if let Goal::Retune { wish, generation, is_told: true } = &goal {
            let retune = Retune { generation: *generation, cut, plan: wish.plan.clone() };
            actions.push_back(Action::TellAll(ToNode::Retune(retune)));
        }
        let is_end = matches!(goal, Goal::Nothing);
        actions.push_back(Action::TellAll(ToNode::Propose { round: self.round, cut, is_end }));
        self.phase = Phase::Proposing { goal, cut, missing: self.nodes.clone(), late: None };
    }

    /// A node has answered a proposal.
    fn counted(&mut self, actions: &mut VecDeque<Action>) {
        let Phase::Proposing { goal, cut, missing, late } = &self.phase else { return };
        if !missing.is_empty() {
            return;
        }
        let (goal, cut, late) = (goal.clone(), *cut, *late);
        // Those who were late wait where they are, so the next proposal finds everybody before it.
        let next = late.map_or(cut, |reached| cut.max(reached));
        match (late, goal) {
            (None, Goal::Retune { wish, generation, is_told: true }) => {
                self.retune(wish, generation, cut, actions);
            }
            (_, Goal::Retune { wish, generation, .. }) => {
                // Epoch 0 is that of a generation's first plan.
                self.propose(Goal::Retune { wish, generation, is_told: true }, next.max(1), actions);
            }
            (Some(_), goal) => self.propose(goal, next, actions),
            (None, Goal::Generation(wish, to)) => self.decide(wish, to, cut, actions),
            (None, Goal::Nothing) => {
                actions.push_back(Action::TellAll(ToNode::Stop { cut }));
                self.phase = Phase::Ending;
            }
        }
    }

    fn retune(&mut self, wish: Wish, generation: GenerationId, cut: Epoch, actions: &mut VecDeque<Action>) {
        let retune = Retune { generation, cut, plan: wish.plan.clone() };
        actions.push_back(Action::TellAll(ToNode::Retuned(retune)));
        actions.push_back(Action::Fulfilled { wish: wish.id, outcome: Ok(Cut { generation, epoch: cut }) });
        self.plan = Some(wish.plan);
        self.retunes += 1;
        self.phase = Phase::Steady;
    }

    fn decide(&mut self, wish: Wish, generation: GenerationId, cut: Epoch, actions: &mut VecDeque<Action>) {
        actions.push_back(Action::Decide { generation, cut });
        (self.plan, self.retunes) = (Some(wish.plan), 0);
        let cut = Cut { generation, epoch: cut };
        self.phase = match self.running.replace(generation) {
            Some(from) => Phase::Draining { wish: wish.id, from, cut },
            None => {
                actions.push_back(Action::Fulfilled { wish: wish.id, outcome: Ok(cut) });
                Phase::Steady
            }
        };
    }

    fn abort(&mut self, error: Error, actions: &mut VecDeque<Action>) {
        let Phase::Preparing { wish, to, .. } = std::mem::replace(&mut self.phase, Phase::Steady) else {
            return;
        };
        actions.push_back(Action::TellAll(ToNode::Abort { generation: to }));
        actions.push_back(Action::Fulfilled { wish: wish.id, outcome: Err(error) });
        if self.running.is_none() {
            self.phase = Phase::Over;
            actions.push_back(Action::Finished);
        }
    }

    /// Goes on as far as it can without hearing more.
    fn advance(&mut self, actions: &mut VecDeque<Action>) {
        if let Phase::Draining { wish, from, cut } = &self.phase
            && self.is_drained(*from)
        {
            actions.push_back(Action::Fulfilled { wish: *wish, outcome: Ok(*cut) });
            let from = *from;
            actions.push_back(Action::TellAll(ToNode::Close { generation: from }));
            self.drained.retain(|(generation, _)| *generation != from);
            self.phase = Phase::Steady;
        }
        let through = self.running.is_some_and(|generation| self.is_drained(generation));
        if through && matches!(self.phase, Phase::Steady | Phase::Ending) {
            self.phase = Phase::Over;
            actions.push_back(Action::Finished);
        }
        match self.phase {
            Phase::Over => {
                if let Some(wish) = self.queued.take() {
                    refuse(&wish, "the run has ended", actions);
                }
            }
            Phase::Steady if self.stop && self.running.is_some() => {
                self.stop = false;
                if let Some(wish) = self.queued.take() {
                    refuse(&wish, "the run is ending", actions);
                }
                // A pause does not matter any more: everybody stays where it is.
                self.propose(Goal::Nothing, 0, actions);
            }
            Phase::Steady => {
                if let Some(wish) = self.queued.take() {
                    self.begin(wish, actions);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, wish: Wish, actions: &mut VecDeque<Action>) {
        let is_retune = self.plan.as_ref().is_some_and(|plan| is_retune(&self.graph, plan, &wish.plan));
        match self.running.filter(|_| is_retune && self.retunes < RETUNES_MAX) {
            // Nobody is before epoch 0: so sources say where they are, and stay there.
            Some(generation) => self.propose(Goal::Retune { wish, generation, is_told: false }, 0, actions),
            None => self.prepare(wish, actions),
        }
    }

    fn prepare(&mut self, wish: Wish, actions: &mut VecDeque<Action>) {
        self.last.n += 1;
        let (to, plan) = (self.last, wish.plan.clone());
        actions.push_back(Action::Prepare { generation: to, previous: self.running, plan });
        self.phase = Phase::Preparing { wish, to, missing: self.nodes.clone(), reached: Vec::new() };
    }

    /// Whether there is nothing to lead.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && self.running.is_none()
    }

    /// What it is at, for people.
    pub(crate) fn place(&self) -> String {
        let phase = match &self.phase {
            Phase::Steady => "steady".to_owned(),
            Phase::Preparing { to, missing, .. } => format!("preparing {to}, missing {missing:?}"),
            Phase::Proposing { cut, missing, late, .. } => {
                format!("proposing {cut} in round {}, missing {missing:?}, late {late:?}", self.round)
            }
            Phase::Draining { from, .. } => format!("draining {from}"),
            Phase::Ending => "ending".to_owned(),
            Phase::Over => "over".to_owned(),
        };
        format!("{phase}, drained: {:?}", self.drained)
    }

    fn is_drained(&self, generation: GenerationId) -> bool {
        self.nodes.iter().all(|node| self.drained.contains(&(generation, node.clone())))
    }
}

fn refuse(wish: &Wish, why: &str, actions: &mut VecDeque<Action>) {
    let error = Error::new(ErrorKind::Unavailable, format!("the plan was not applied: {why}"));
    actions.push_back(Action::Fulfilled { wish: wish.id, outcome: Err(error) });
}
