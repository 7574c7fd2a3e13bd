//! The controller: gathers nodes, leads changes of plan, and collects the books.
//!
//! It holds no truth of its own: what runs is asked of the nodes, so that another one can take over at any time,
//! in a higher term. What it decides is decided by [`CutOver`]; this is the loop around it.

mod books;
mod changes;
mod clients;
mod piloting;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};

use self::books::{Collection, Reader};
use self::changes::Changes;
use self::clients::Waiter;
pub(crate) use self::piloting::Follow;
use crate::change::ChangeReport;
use crate::client::{Ask, CLIENT, Reply};
use crate::clock::{Clock, micros};
use crate::cutover::{Action, Cut, CutOver, Event, Wish};
use crate::error::{Error, ErrorKind, Result};
use crate::id::GenerationId;
use crate::ledger::Books;
use crate::link::Links;
use crate::message::{ASKING, Decide, FromNode, Load, Order, Prepare, Standing, ToNode, Word};
use crate::net::{Member, Presence};
use crate::node::{ORDERS, TALK, WORDS};
use crate::part::sources_of;
use crate::pilot::{Pilot, Piloted};
use crate::plan::Plan;
use crate::talk::Talk;
use crate::telemetry::Board;
use crate::topology::Graph;

/// How long nodes may take to show up and to make the topology.
const GATHER_MAX: Duration = Duration::from_secs(30);
/// How long a plan may take to be prepared: models are loaded and warmed in it.
const PREPARE_MAX: Duration = Duration::from_secs(120);
/// How long a decided change may take to drain.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// How long a node may be out of reach before it counts as lost: a cut link is not a dead node.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// How long the last orders may take to arrive.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What the outside asks of the controller.
pub(crate) enum Request {
    Apply(Wish, Sender<Result<Cut>>),
    Books(Sender<Books>),
    /// Keep the plan in step with what is measured.
    Follow(Box<Follow>),
    Stop,
    /// Leave the nodes as they are, for a successor.
    Leave,
}

/// How a run ended.
pub(crate) struct Ending {
    pub(crate) books: Books,
    /// What became of each change of plan.
    pub(crate) changes: Vec<ChangeReport>,
    /// What its pilot decided, if it had one.
    pub(crate) decisions: Option<Vec<Piloted>>,
    /// Why it could not go on, if it could not.
    pub(crate) fault: Option<Error>,
}

/// What a controller is made of.
pub(crate) struct Setting {
    pub(crate) links: Links,
    pub(crate) clock: Clock,
    pub(crate) graph: Arc<Graph>,
    pub(crate) load: Load,
    pub(crate) nodes: BTreeSet<String>,
    /// What runs first; `None` to take over what runs.
    pub(crate) first: Option<(Wish, Sender<Result<Cut>>)>,
    pub(crate) presence: Receiver<Presence>,
    pub(crate) requests: Receiver<Request>,
    /// Where what the nodes measure is put.
    pub(crate) board: Board,
}

pub(crate) struct Controller {
    setting: Setting,
    phase: Phase,
    state: CutOver,
    term: u32,
    began_us: Option<u64>,
    peers: BTreeMap<String, Peer>,
    clients: BTreeMap<Member, Talk<Reply, Ask>>,
    /// Nodes with sources: who is told what sinks have passed.
    sources: BTreeSet<String>,
    plans: BTreeMap<GenerationId, Arc<Plan>>,
    /// What nodes said of the run after they had told how they stand, and before everybody had.
    held: Vec<FromNode>,
    answers: BTreeMap<u64, Answer>,
    /// Wishes that came before anything could be changed.
    early: Vec<(Wish, Waiter)>,
    collections: BTreeMap<u64, Collection>,
    changes: Changes,
    next_request: u64,
    fault: Option<Error>,
    /// Who wants the run to be piloted, until it is.
    embarking: Option<Follow>,
    pilot: Option<Pilot>,
}

enum Phase {
    /// Nodes show up and say how they stand.
    Gathering {
        until_us: u64,
    },
    /// Nodes make the topology.
    Loading {
        until_us: u64,
        missing: BTreeSet<String>,
    },
    Running,
    /// The run is over; the books are collected.
    Closing,
    /// The last orders are on their way.
    Leaving {
        until_us: u64,
        books: Option<Books>,
    },
    Over,
}

struct Peer {
    talk: Talk<Order, Word>,
    standing: Option<Standing>,
    /// How far its clock was ahead when it said that.
    ahead_us: i64,
    /// Since when it is not seen.
    gone_us: Option<u64>,
}

/// Somebody waits for a change of plan.
struct Answer {
    to: Waiter,
    give_up_us: Option<u64>,
    fail_us: u64,
}

impl Controller {
    pub(crate) fn new(setting: Setting) -> Self {
        let until_us = setting.clock.now_us() + micros(GATHER_MAX);
        Self {
            phase: Phase::Gathering { until_us },
            state: CutOver::new(setting.graph.clone(), setting.nodes.clone(), 1),
            term: ASKING,
            began_us: None,
            peers: BTreeMap::new(),
            clients: BTreeMap::new(),
            sources: BTreeSet::new(),
            plans: BTreeMap::new(),
            held: Vec::new(),
            answers: BTreeMap::new(),
            early: Vec::new(),
            collections: BTreeMap::new(),
            changes: Changes::default(),
            next_request: 0,
            fault: None,
            embarking: None,
            pilot: None,
            setting,
        }
    }

    /// Whether a successor would find everything with the nodes.
    pub(crate) fn is_leading(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing)
    }

    /// What it is at, for people.
    pub(crate) fn place(&self) -> String {
        let phase = match &self.phase {
            Phase::Gathering { .. } => "gathering",
            Phase::Loading { .. } => "loading",
            Phase::Running => "running",
            Phase::Closing => "closing",
            Phase::Leaving { .. } => "leaving",
            Phase::Over => "over",
        };
        format!("{phase}, term {}, missing: {}; {}", self.term, self.missing(), self.state.place())
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.setting.clock.now_us()
    }

    /// Does what is due; returns when more will be, or how it ended.
    pub(crate) fn turn(&mut self) -> std::result::Result<Option<u64>, Box<Ending>> {
        let links_us = self.setting.links.turn();
        while let Ok(presence) = self.setting.presence.try_recv() {
            self.presence(presence);
        }
        self.hear();
        while let Ok(request) = self.setting.requests.try_recv() {
            self.request(request);
        }
        self.go_on();
        let due_us = self.overdue();
        if let Phase::Leaving { books, until_us } = &mut self.phase {
            let is_heard = self.peers.values().all(|peer| peer.talk.is_idle())
                && self.clients.values().all(Talk::is_idle);
            if is_heard || self.setting.clock.now_us() >= *until_us {
                let books = books.take().unwrap_or_default();
                self.phase = Phase::Over;
                let changes = self.changes.reports().to_vec();
                let decisions = self.pilot.take().map(Pilot::end);
                return Err(Box::new(Ending { books, changes, decisions, fault: self.fault.take() }));
            }
        }
        let again_us = self.setting.links.turn();
        Ok([links_us, due_us, again_us].into_iter().flatten().min())
    }

    fn presence(&mut self, presence: Presence) {
        let Presence { member, is_here } = presence;
        if member.name.starts_with(CLIENT) {
            return self.client(member, is_here);
        }
        if !self.setting.nodes.contains(&member.name) {
            return;
        }
        let now_us = self.now_us();
        match self.peers.get_mut(&member.name) {
            Some(peer) if *peer.talk.with() == member => peer.gone_us = (!is_here).then_some(now_us),
            Some(peer) if is_here && peer.gone_us.is_some() => self.lost(&member),
            Some(_) if is_here => self.fail(
                Error::new(ErrorKind::Invalid, format!("two nodes are called \"{member}\""))
                    .way_out("stop one of them; a node that was lost cannot come back into a run"),
            ),
            None if is_here => self.meet(&member),
            _ => {}
        }
    }

    fn meet(&mut self, member: &Member) {
        match Talk::open(&self.setting.links, member, TALK, ORDERS, WORDS) {
            Ok(talk) => {
                self.peers
                    .insert(member.name.clone(), Peer { talk, standing: None, ahead_us: 0, gone_us: None });
                self.tell(&member.name, ToNode::Enquire);
            }
            Err(error) => self.fail(error.at(format!("node \"{member}\""))),
        }
    }

    /// A node is gone. What it did not run is not missed; else the run cannot go on.
    fn lost(&mut self, member: &Member) {
        self.peers.remove(&member.name);
        self.setting.board.remove(&member.name);
        for collection in self.collections.values_mut() {
            collection.missing.remove(&member.name);
        }
        if self.is_ending() {
            return;
        }
        let is_used = self.plans.values().any(|plan| plan.nodes().contains(&*member.name));
        if is_used || !matches!(self.phase, Phase::Running) {
            let lost = Error::new(ErrorKind::Unavailable, format!("node \"{member}\" was lost"));
            self.tell_all(&ToNode::Lost { node: member.name.clone() });
            return self.fail(lost.way_out("start it again, and the run"));
        }
        self.decide(Event::Lost(member.name.clone()));
    }

    fn hear(&mut self) {
        let mut heard = Vec::new();
        let mut fault = None;
        for (name, peer) in &mut self.peers {
            loop {
                match peer.talk.hear() {
                    Ok(Some(word)) => heard.push((name.clone(), word)),
                    Ok(None) => break,
                    Err(error) => {
                        fault = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(fault) = fault {
            self.fail(fault);
        }
        for (node, word) in heard {
            self.heard(node, word);
        }
        self.hear_clients();
    }

    /// Whether nothing can be changed any more.
    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Leaving { .. } | Phase::Over)
    }

    fn heard(&mut self, node: String, word: Word) {
        match word {
            Word::Standing(standing) => {
                // It holds whatever was said before it.
                self.held.retain(|word| word.node != node);
                let now_us = self.now_us();
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.ahead_us = standing.now_us as i64 - now_us as i64;
                    peer.standing = Some(*standing);
                }
            }
            Word::Loaded(Ok(())) => {
                if let Phase::Loading { missing, .. } = &mut self.phase {
                    missing.remove(&node);
                }
            }
            Word::Loaded(Err(error)) => self.fail(error.at(format!("node \"{node}\""))),
            word if matches!(self.phase, Phase::Gathering { .. }) && word.is_of_the_run() => {
                self.held.push(FromNode { node, word });
            }
            Word::Telemetry(readings) => self.setting.board.put(&node, *readings),
            Word::Passed(passed) => self.relay(&node, &ToNode::Passed(passed)),
            Word::Degraded(frames) => self.relay(&node, &ToNode::Degraded(frames)),
            Word::Books { request, books } => self.booked(&node, request, *books),
            Word::AskClock { sent_us } => {
                self.tell(&node, ToNode::Clock { sent_us, now_us: self.now_us() });
            }
            Word::Deposed { term } => {
                let message = format!(
                    "another controller leads the run, in term {term}; this one led in {}",
                    self.term
                );
                self.fault.get_or_insert(Error::new(ErrorKind::Unavailable, message));
                self.leave(None);
            }
            word => self.decide(Event::Heard(FromNode { node, word })),
        }
    }

    fn relay(&self, from: &str, order: &ToNode) {
        for node in self.sources.iter().filter(|node| *node != from) {
            self.tell(node, order.clone());
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Apply(wish, to) => self.wish(wish, Waiter::Here(to)),
            Request::Books(to) => self.collect(Reader::Here(to), None),
            Request::Follow(follow) => self.follow(*follow),
            Request::Stop if matches!(self.phase, Phase::Running) => self.decide(Event::Stop),
            Request::Stop => self.fail(Error::new(ErrorKind::Unavailable, "stopped before the run began")),
            Request::Leave => self.leave(None),
        }
    }

    fn wish(&mut self, wish: Wish, to: Waiter) {
        match self.phase {
            Phase::Running => {}
            Phase::Gathering { .. } | Phase::Loading { .. } => return self.early.push((wish, to)),
            _ => {
                let error = Error::new(ErrorKind::Unavailable, "the plan was not applied: the run is ending");
                return self.tell_outcome(&to, Err(error));
            }
        }
        let now_us = self.now_us();
        let fail_us = now_us + micros(PREPARE_MAX + DRAIN_MAX);
        self.answers.insert(wish.id, Answer { to, give_up_us: Some(now_us + micros(PREPARE_MAX)), fail_us });
        if self.began_us.is_some() {
            self.changes.asked(wish.id, now_us);
        }
        self.decide(Event::Apply(wish));
    }

    /// Goes on to the next phase, once everybody is there.
    fn go_on(&mut self) {
        match &self.phase {
            Phase::Gathering { .. } => {
                let standing =
                    |name: &String| self.peers.get(name).is_some_and(|peer| peer.standing.is_some());
                if self.setting.nodes.iter().all(standing) {
                    self.gathered();
                }
            }
            Phase::Loading { missing, .. } if missing.is_empty() => {
                self.phase = Phase::Running;
                if let Some((wish, to)) = self.setting.first.take() {
                    self.wish(wish, Waiter::Here(to));
                }
            }
            _ => {}
        }
        if matches!(self.phase, Phase::Running) {
            for (wish, to) in std::mem::take(&mut self.early) {
                self.wish(wish, to);
            }
        }
        self.measure_changes();
        self.deliver_books();
        self.steer();
    }

    fn gathered(&mut self) {
        let standings: BTreeMap<String, Standing> = self
            .peers
            .iter_mut()
            .filter_map(|(name, peer)| Some((name.clone(), peer.standing.take()?)))
            .collect();
        let busy = standings.iter().find(|(_, standing)| !standing.generations.is_empty());
        match (busy, &self.setting.first) {
            (None, Some(_)) | (Some(_), None) if self.term == ASKING => {
                self.term = standings.values().map(|standing| standing.term).max().unwrap_or(ASKING) + 1;
                // Orders of whoever led before may still be on their way. Once everybody has answered in this
                // term they are refused, and what was answered stays true.
                self.tell_all(&ToNode::Enquire);
            }
            (None, Some((wish, _))) => {
                self.sources = sources_of(&self.setting.graph, &wish.plan).map(str::to_owned).collect();
                let graph = self.setting.graph.clone();
                self.state = CutOver::new(graph, self.setting.nodes.clone(), self.term);
                self.tell_all(&ToNode::Load(self.setting.load.clone()));
                let until_us = self.now_us() + micros(GATHER_MAX);
                self.phase = Phase::Loading { until_us, missing: self.setting.nodes.clone() };
            }
            (Some((node, _)), Some(_)) => {
                let message = format!("node \"{node}\" runs something already");
                let error = Error::new(ErrorKind::Invalid, message);
                self.fail(error.way_out("stop that run first, or take it over with `deploy --take-over`"));
            }
            (None, None) => {
                let message = "there is nothing to take over: no node runs anything";
                self.fail(Error::new(ErrorKind::NotFound, message).way_out("deploy a topology"));
            }
            (Some(_), None) => self.take_over(&standings),
        }
    }

    /// Goes on with what the nodes say that runs.
    fn take_over(&mut self, standings: &BTreeMap<String, Standing>) {
        self.began_us = standings.values().find_map(|standing| standing.began_us);
        // The run's time goes on as the nodes have it.
        if let Some(ahead_us) = self.peers.values().map(|peer| peer.ahead_us).max() {
            self.setting.clock.follow(ahead_us);
        }
        for generation in standings.values().flat_map(|standing| &standing.generations) {
            self.plans.insert(generation.id, generation.plan.clone());
            self.sources.extend(sources_of(&self.setting.graph, &generation.plan).map(str::to_owned));
        }
        self.phase = Phase::Running;
        let (state, actions) = CutOver::resume(self.setting.graph.clone(), standings, self.term);
        self.state = state;
        if self.state.is_over() {
            let message = "the run had not begun anywhere when its controller was lost";
            self.fault.get_or_insert(Error::new(ErrorKind::NotFound, message).way_out("deploy it again"));
        }
        // A node that has missed the decision knows nothing yet of what its generation's sinks have passed; and
        // what they said to a controller that is gone must be known before anybody is asked for the books.
        let (decisions, others) =
            actions.into_iter().partition(|action| matches!(action, Action::Decide { .. }));
        self.act_all(decisions);
        for (node, standing) in standings {
            self.relay(node, &ToNode::Passed(standing.passed.clone()));
            self.relay(node, &ToNode::Degraded(standing.degraded.clone()));
        }
        self.act_all(others);
        std::mem::take(&mut self.held).into_iter().for_each(|FromNode { node, word }| self.heard(node, word));
    }

    fn decide(&mut self, event: Event) {
        if matches!(self.phase, Phase::Running) {
            let actions = self.state.step(event, self.setting.clock.now_ms());
            self.act_all(actions);
        }
    }

    fn act_all(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Prepare { generation, previous, plan } => self.prepare(generation, previous, plan),
                Action::Decide { generation, cut } => {
                    let now_us = self.now_us();
                    let began_us = *self.began_us.get_or_insert(now_us);
                    self.tell_all(&ToNode::Decide(Decide { generation, cut, began_us }));
                    self.changes.decided(false, now_us);
                    // From now on it only remains to wait for what was before.
                    self.answers.values_mut().for_each(|answer| answer.give_up_us = None);
                }
                Action::TellAll(order) => {
                    if let ToNode::Close { generation } | ToNode::Abort { generation } = &order {
                        self.plans.remove(generation);
                    }
                    if let ToNode::Retuned(retune) = &order {
                        self.plans.insert(retune.generation, retune.plan.clone());
                        self.changes.decided(true, self.now_us());
                    }
                    if let ToNode::Propose { is_end: false, .. } = &order {
                        self.changes.proposed(self.now_us());
                    }
                    self.tell_all(&order);
                }
                Action::Fulfilled { wish, outcome } => {
                    self.changes.ended(wish, &outcome, self.now_us());
                    if let Some(answer) = self.answers.remove(&wish) {
                        if outcome.is_ok() && !matches!(answer.to, Waiter::Pilot(_)) {
                            self.applied_by_hand();
                        }
                        self.tell_outcome(&answer.to, outcome);
                    }
                }
                Action::Finished => {
                    self.phase = Phase::Closing;
                    self.measure_the_rest();
                    self.collect(Reader::Run, None);
                }
            }
        }
    }

    fn prepare(&mut self, generation: GenerationId, previous: Option<GenerationId>, plan: Arc<Plan>) {
        let before = previous.and_then(|id| Some((id, self.plans.get(&id)?.clone())));
        self.plans.insert(generation, plan.clone());
        let members =
            self.peers.iter().map(|(name, peer)| (name.clone(), peer.talk.with().clone())).collect();
        let prepare = Prepare { generation, previous: before, plan, members };
        self.tell_all(&ToNode::Prepare(prepare));
    }

    fn tell(&self, node: &str, order: ToNode) {
        if self.term == ASKING && !matches!(order, ToNode::Enquire) {
            return;
        }
        if let Some(peer) = self.peers.get(node) {
            peer.talk.say(&Order { term: self.term, order });
        }
    }

    fn tell_all(&self, order: &ToNode) {
        self.peers.keys().for_each(|node| self.tell(node, order.clone()));
    }

    /// What takes too long is given up; returns when the next thing will have.
    fn overdue(&mut self) -> Option<u64> {
        let now_us = self.now_us();
        if let Phase::Gathering { until_us } | Phase::Loading { until_us, .. } = self.phase
            && now_us >= until_us
        {
            let missing = self.missing();
            let message = format!("no answer within {GATHER_MAX:?} from: {missing}");
            let error = Error::new(ErrorKind::Timeout, message);
            self.fail(
                error.way_out("start them, and see that they reach this controller's --listen address"),
            );
        }
        let gone = |peer: &Peer| peer.gone_us.map(|at_us| at_us + micros(LOST_AFTER));
        let dead = self.peers.values().find(|peer| gone(peer).is_some_and(|at_us| now_us >= at_us));
        if let Some(member) = dead.map(|peer| peer.talk.with().clone()) {
            self.lost(&member);
        }
        let of_gone: Vec<u64> = self.peers.values().filter_map(gone).collect();
        let late = |at: Option<u64>| at.is_some_and(|at_us| now_us >= at_us);
        let give_up: Vec<u64> =
            self.answers.iter().filter(|(_, a)| late(a.give_up_us)).map(|(id, _)| *id).collect();
        for id in give_up {
            if let Some(answer) = self.answers.get_mut(&id) {
                answer.give_up_us = None;
            }
            self.decide(Event::GiveUp(id));
        }
        let too_late: Vec<u64> =
            self.answers.iter().filter(|(_, a)| now_us >= a.fail_us).map(|(id, _)| *id).collect();
        for answer in too_late.iter().filter_map(|id| self.answers.remove(id)).collect::<Vec<_>>() {
            let message = format!("a change of plan did not end within {DRAIN_MAX:?}");
            self.tell_outcome(&answer.to, Err(Error::new(ErrorKind::Timeout, message)));
        }
        let of_answers = self.answers.values().flat_map(|a| a.give_up_us.into_iter().chain([a.fail_us]));
        let of_books = self.collections.values().map(|collection| collection.until_us);
        let of_phase = match &self.phase {
            Phase::Gathering { until_us }
            | Phase::Loading { until_us, .. }
            | Phase::Leaving { until_us, .. } => Some(*until_us),
            _ => None,
        };
        let of_changes = self.changes.due_us().filter(|_| !self.is_ending());
        let of_pilot = self.pilot.as_ref().map(Pilot::due_us).filter(|_| !self.is_ending());
        let all = of_answers.chain(of_books).chain(of_phase).chain(of_gone).chain(of_changes);
        all.chain(of_pilot).min()
    }

    fn missing(&self) -> String {
        let missing: Vec<_> = match &self.phase {
            Phase::Loading { missing, .. } => missing.iter().cloned().collect(),
            _ => self.setting.nodes.iter().filter(|name| !self.peers.contains_key(*name)).cloned().collect(),
        };
        missing.join(", ")
    }

    /// The run cannot go on: what the books say is collected from whoever is left.
    fn fail(&mut self, error: Error) {
        if self.is_ending() {
            return;
        }
        let early = std::mem::take(&mut self.early).into_iter().map(|(_, to)| to);
        let waiting = std::mem::take(&mut self.answers).into_values().map(|answer| answer.to);
        for to in early.chain(waiting).collect::<Vec<_>>() {
            self.tell_outcome(&to, Err(error.again()));
        }
        if let Some((_, to)) = self.setting.first.take() {
            _ = to.send(Err(error.again()));
        }
        let has_begun = self.began_us.is_some();
        self.fault.get_or_insert(error);
        if has_begun {
            self.phase = Phase::Closing;
            self.measure_the_rest();
            self.collect(Reader::Run, None);
        } else {
            self.leave(None);
        }
    }

    fn leave(&mut self, books: Option<Books>) {
        let until_us = self.now_us() + micros(FAREWELL_MAX);
        self.phase = Phase::Leaving { until_us, books };
    }
}
