//! A run that is stepped by hand: nodes, a controller and a network, on one thread and one clock.
//!
//! Invariant: everything that happens follows from the seed. Nobody has a thread of their own; whoever is due gets
//! their turn, in a drawn order, and then the clock moves to whatever is due next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use crate::clock::Clock;
use crate::controller::{Controller, Ending, Follow, Request, Setting};
use crate::cutover::{Cut, Wish};
use crate::error::{ErrorKind, Result};
use crate::link::Links;
use crate::message::Load;
use crate::net::memory::{Faults, Hub};
use crate::net::{Listening, Member, Network};
use crate::node::{CONTROLLER, Node, NodeSettings};
use crate::pilot::solver::ByHand;
use crate::pilot::{Course, Piloted};
use crate::plan::Plan;
use crate::random::Random;
use crate::runner::{Imitate, Imitation};
use crate::telemetry::Board;
use crate::topology::Graph;

/// A run takes less than this by its own clock, or it does not end.
const LIMIT_US: u64 = 400_000_000;
/// Turns that a run takes at most.
const TURNS_MAX: u64 = 1_000_000;

/// How much slower models are where their load is to be felt.
const SLOWNESS: u64 = 15;
/// Linear programs that a question may take.
const PROGRAMS_MAX: u64 = 40;
/// How long an answer takes, at most.
const SOLVE_US_MAX: u64 = 1_500_000;

/// What happens to a run, and when: in microseconds after its first plan began.
#[derive(Default)]
pub(super) struct Script(pub(super) BTreeMap<u64, Vec<Happening>>);

/// Something that happens to a run.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// Somebody wants another plan.
    Apply(Plan),
    /// Somebody wants the run to end.
    Stop,
    /// Two members do not reach each other.
    Part(String, String),
    /// They do again.
    Heal(String, String),
    /// A node is no more.
    Crash(String),
    /// The controller is no more.
    Kill,
    /// Another one takes over.
    TakeOver,
}

/// What a run came to.
pub(super) struct Outcome {
    pub(super) ending: Ending,
    /// Of the changes that were wished for: the plan, and what became of it, if the controller lived to say so.
    pub(super) changes: Vec<(Plan, Option<Result<Cut>>)>,
    /// What pilots decided, one after the other.
    pub(super) decided: Vec<Vec<Piloted>>,
    pub(super) saw: Saw,
}

/// What befell a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Saw {
    pub(super) turns: u64,
    pub(super) took_us: u64,
    pub(super) lost: u64,
    pub(super) resend: bool,
    pub(super) crash: bool,
    pub(super) restart: bool,
    pub(super) stop: bool,
    /// A change that was wished for while another was under way.
    pub(super) overlap: bool,
}

/// See the module's page.
pub(super) struct World {
    graph: Arc<Graph>,
    clock: Clock,
    hub: Hub,
    random: Random,
    nodes: BTreeMap<String, Node>,
    names: BTreeSet<String>,
    controller: Option<Controlled>,
    lives: u64,
    began_us: Option<u64>,
    script: BTreeMap<u64, Vec<Happening>>,
    changes: Vec<(Plan, Waiting)>,
    saw: Saw,
    /// What pilots follow, if the run is piloted; and what they said as they began.
    course: Option<Course>,
    followed: Vec<Receiver<Result<()>>>,
    /// What pilots of controllers that were killed had decided.
    decided: Vec<Vec<Piloted>>,
}

/// A controller, and the way to ask it.
struct Controlled {
    controller: Controller,
    requests: Sender<Request>,
    member: Member,
    _watching: Box<dyn Listening>,
}

enum Waiting {
    For(Receiver<Result<Cut>>),
    Answered(Result<Cut>),
    InVain,
}

impl World {
    /// Nodes, a controller and the first plan; where there is a course, also a pilot, of whoever takes over too.
    pub(super) fn new(
        graph: &Arc<Graph>,
        nodes: u64,
        first: &Plan,
        faults: Faults,
        course: Option<Course>,
        seed: u64,
    ) -> Result<Self> {
        let mut random = Random::new(seed);
        let hub = Hub::with_faults(faults, random.next());
        let mut world = Self {
            graph: graph.clone(),
            clock: Clock::simulated(),
            hub,
            random,
            nodes: BTreeMap::new(),
            names: (0..nodes).map(name).collect(),
            controller: None,
            lives: 0,
            began_us: None,
            script: BTreeMap::new(),
            changes: Vec::new(),
            saw: Saw::default(),
            course,
            followed: Vec::new(),
            decided: Vec::new(),
        };
        for name in world.names.clone() {
            let node = world.node(&name)?;
            world.nodes.insert(name, node);
        }
        let (answer, answered) = bounded(1);
        world.lead(Some((Wish { id: 0, plan: Arc::new(first.clone()) }, answer)))?;
        world.changes.push((first.clone(), Waiting::For(answered)));
        Ok(world)
    }

    fn node(&mut self, name: &str) -> Result<Node> {
        let network = self.hub.join(Member { name: name.to_owned(), life: 1 });
        let graph = self.graph.clone();
        let slow = if self.course.is_some() { SLOWNESS } else { 1 };
        let (batch_us, item_us) = (slow * self.random.below(3_000), slow * self.random.below(2_000));
        let imitate: Imitate = Arc::new(move |stage, _| {
            let is_sink = stage.starts_with("sink");
            (!is_sink).then_some(Imitation { batch_us, item_us })
        });
        let settings = NodeSettings {
            blueprint: Arc::new(move |_| Ok(graph.clone())),
            clock: self.clock.clone(),
            follows_clock: false,
            imitate: Some(imitate),
        };
        Node::new(network, settings)
    }

    /// Another controller; it takes over unless it is told what to begin with.
    fn lead(&mut self, first: Option<(Wish, Sender<Result<Cut>>)>) -> Result<()> {
        self.lives += 1;
        let member = Member { name: CONTROLLER.to_owned(), life: self.lives };
        let network: Arc<dyn Network> = self.hub.join(member.clone());
        let ((came, presence), (requests, asked)) = (unbounded(), unbounded());
        let watching = network.watch(Arc::new(move |presence| _ = came.send(presence)))?;
        let setting = Setting {
            links: Links::new(network, self.clock.clone(), Arc::new(|| ())),
            clock: self.clock.clone(),
            graph: self.graph.clone(),
            load: Load { description: String::new(), hash: self.graph.hash() },
            nodes: self.names.clone(),
            first,
            presence,
            requests: asked,
            board: Board::default(),
        };
        let controller = Controller::new(setting);
        self.controller = Some(Controlled { controller, requests, member, _watching: watching });
        self.follow();
        Ok(())
    }

    fn follow(&mut self) {
        let (Some(course), Some(controlled)) = (&self.course, &self.controller) else { return };
        let solver = ByHand::new(PROGRAMS_MAX, self.random.below(SOLVE_US_MAX));
        let (to, answered) = bounded(1);
        let follow = Follow { course: course.clone(), solver: Box::new(solver), to };
        // A controller that is through hears nothing more, and the run is at its end.
        _ = controlled.requests.send(Request::Follow(Box::new(follow)));
        self.followed.push(answered);
    }

    /// Steps the run to its end.
    pub(super) fn run(mut self, script: Script) -> std::result::Result<Outcome, String> {
        self.script = script.0;
        loop {
            self.saw.turns += 1;
            let now_us = self.clock.now_us();
            self.hub.deliver(now_us);
            self.happen(now_us).map_err(|error| error.to_string())?;
            let mut next_us = self.turn_nodes()?;
            if let Some(controlled) = &mut self.controller {
                match controlled.controller.turn() {
                    Ok(due_us) => next_us = next_us.into_iter().chain(due_us).min(),
                    Err(ending) => return self.ended(*ending),
                }
            }
            self.hear_answers(now_us);
            let due_us = self
                .began_us
                .and_then(|began_us| self.script.first_key_value().map(|(after_us, _)| began_us + after_us));
            let Some(next_us) = [next_us, due_us, self.hub.next_us()].into_iter().flatten().min() else {
                return Err(format!("nothing is due any more at {now_us} us: {}", self.state()));
            };
            if now_us > LIMIT_US || self.saw.turns > TURNS_MAX {
                let turns = self.saw.turns;
                return Err(format!("no end after {turns} turns, at {now_us} us: {}", self.state()));
            }
            self.clock.advance(Duration::from_micros(next_us.saturating_sub(now_us).max(1)));
        }
    }

    /// Gives every node its turn, in a drawn order.
    fn turn_nodes(&mut self) -> std::result::Result<Option<u64>, String> {
        let mut names: Vec<String> = self.nodes.keys().cloned().collect();
        let mut next_us = None;
        while !names.is_empty() {
            let name = names.swap_remove(self.random.below(names.len() as u64) as usize);
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            next_us = next_us.into_iter().chain(node.turn()).min();
            self.saw.resend = self.saw.resend || node.counts().resent > 0;
            if node.live_generations() > 2 {
                return Err(format!("{} generations live on {name}", node.live_generations()));
            }
        }
        Ok(next_us)
    }

    fn hear_answers(&mut self, now_us: u64) {
        for (_, waiting) in &mut self.changes {
            let Waiting::For(answered) = waiting else { continue };
            match answered.try_recv() {
                Ok(outcome) => *waiting = Waiting::Answered(outcome),
                Err(error) if error.is_disconnected() => *waiting = Waiting::InVain,
                Err(_) => continue,
            }
            self.began_us.get_or_insert(now_us);
        }
    }

    /// What the script says of this moment.
    fn happen(&mut self, now_us: u64) -> Result<()> {
        let Some(began_us) = self.began_us else { return Ok(()) };
        while let Some(first) = self.script.first_entry() {
            if began_us + first.key() > now_us {
                break;
            }
            for happening in first.remove() {
                self.befall(happening)?;
            }
        }
        Ok(())
    }

    fn befall(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::Apply(plan) => {
                let Some(controlled) = &self.controller else { return Ok(()) };
                let (answer, answered) = bounded(1);
                let wish = Wish { id: self.changes.len() as u64, plan: Arc::new(plan.clone()) };
                // A controller that is through hears nothing more, and the run is at its end.
                _ = controlled.requests.send(Request::Apply(wish, answer));
                self.saw.overlap |= self.changes.iter().any(|(_, w)| matches!(w, Waiting::For(_)));
                self.changes.push((plan, Waiting::For(answered)));
            }
            Happening::Stop => {
                let Some(controlled) = &self.controller else { return Ok(()) };
                self.saw.stop = true;
                _ = controlled.requests.send(Request::Stop);
            }
            Happening::Part(a, b) => self.hub.part(&a, &b),
            Happening::Heal(a, b) => self.hub.heal(&a, &b),
            Happening::Crash(node) => {
                self.saw.crash = true;
                self.hub.crash(&Member { name: node.clone(), life: 1 });
                self.nodes.remove(&node);
            }
            Happening::Kill => {
                let is_leading = |c: &mut Controlled| c.controller.is_leading();
                if let Some(killed) = self.controller.take_if(is_leading) {
                    self.decided.extend(killed.controller.decisions().map(<[Piloted]>::to_vec));
                    self.saw.restart = true;
                    self.hub.crash(&killed.member);
                }
            }
            Happening::TakeOver if self.controller.is_none() => self.lead(None)?,
            Happening::TakeOver => {}
        }
        Ok(())
    }

    fn ended(mut self, ending: Ending) -> std::result::Result<Outcome, String> {
        let said = self.followed.iter().filter_map(|answered| answered.try_recv().ok()?.err());
        if let Some(error) = said.into_iter().find(|error| error.kind() == ErrorKind::Invalid) {
            return Err(format!("the pilot did not begin: {error}"));
        }
        self.controller = None;
        self.hear_answers(0);
        self.saw.took_us = self.clock.now_us();
        self.saw.lost = self.hub.lost();
        let answer = |waiting| match waiting {
            Waiting::Answered(outcome) => Some(outcome),
            _ => None,
        };
        let changes = self.changes.into_iter().map(|(plan, waiting)| (plan, answer(waiting))).collect();
        self.decided.extend(ending.decisions.clone());
        Ok(Outcome { ending, changes, decided: self.decided, saw: self.saw })
    }

    /// What a run that does not end was at.
    fn state(&self) -> String {
        let leads = self.controller.as_ref().map(|controlled| controlled.controller.place());
        let nodes: Vec<_> =
            self.nodes.iter().map(|(name, node)| format!("{name}: {}", node.place())).collect();
        format!("controller: {leads:?}; {}", nodes.join("; "))
    }
}

/// The name of a node by its number.
pub(super) fn name(number: u64) -> String {
    format!("node-{number}")
}
