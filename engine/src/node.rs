//! A node: a member that runs its part of what a controller orders.
//!
//! It steps while there is work, and parks otherwise. Everything it does is one [`Node::turn`], so that a thread
//! can run it, or a simulator.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::Thread as OneThread;
use timely::worker::Worker;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::is_plain;
use crate::link::{Counts, Links};
use crate::message::{ASKING, GenerationStanding, Load, Order, Standing, ToNode, Word};
use crate::net::{Listening, Member, Network, Presence, Wake};
use crate::part::{OnPrepared, Part, Prepared};
use crate::pool::Pools;
use crate::runner::Imitate;
use crate::survey::Survey;
use crate::talk::Talk;
use crate::telemetry::Board;
use crate::topology::Graph;

/// The name of the member that leads a run.
pub const CONTROLLER: &str = "controller";
/// What the names of clients begin with.
pub const CLIENT: &str = "client-";
/// What a controller and a node say to each other goes over this channel.
pub(crate) const TALK: &str = "talk";
pub(crate) const ORDERS: &str = "orders";
pub(crate) const WORDS: &str = "words";

/// How long a node parks at most; commands, feeds and runners wake it earlier.
const PARK_MAX: Duration = Duration::from_secs(1);
/// Controllers that a node talks to, of which one leads.
const CONTROLLERS_MAX: usize = 4;
/// How often a node that follows the controller's clock asks for it.
const CLOCK_US: u64 = 1_000_000;
/// How often a node says what it has measured.
const TELL_US: u64 = 1_000_000;
/// Answers with a longer round trip than this multiple of the shortest say little of the clock.
const ROUND_TRIP_FACTOR: u64 = 2;

/// Refuses a node's name that means somebody else.
///
/// # Errors
/// `Invalid`, with what a name may be.
pub fn check_name(name: &str) -> Result<()> {
    if name == CONTROLLER || name.starts_with(CLIENT) || !is_plain(name) {
        let message = format!("a node cannot be called \"{name}\"");
        return Err(Error::new(ErrorKind::Invalid, message)
            .way_out("use letters, digits, '-', '_' and '.', and neither \"controller\" nor \"client-…\""));
    }
    Ok(())
}

/// Makes a topology of its description: the same program on every node makes the same of it.
pub type Blueprint = Arc<dyn Fn(&str) -> Result<Arc<Graph>> + Send + Sync>;

/// How a node is made.
pub struct NodeSettings {
    /// How it makes topologies.
    pub blueprint: Blueprint,
    /// Its clock.
    pub clock: Clock,
    /// Whether that follows the controller's, as it must in a process of its own.
    pub follows_clock: bool,
    /// What its pools imitate, if anything.
    pub imitate: Option<Imitate>,
}

/// A node; it stays on the thread that made it.
pub struct Node {
    settings: NodeSettings,
    links: Links,
    worker: Worker,
    events: Receiver<Event>,
    on_prepared: OnPrepared,
    controllers: BTreeMap<Member, Talk<Word, Order>>,
    term: u32,
    load: Option<Load>,
    part: Option<Part>,
    survey: Option<Arc<Survey>>,
    shortest_us: u64,
    ask_clock_at_us: u64,
    has_clock: bool,
    tell_at_us: u64,
    board: Board,
    /// Who waits to hear that the topology is loaded, until the clock is known.
    unanswered: Option<Member>,
    _watching: Box<dyn Listening>,
}

/// What other threads tell a node.
enum Event {
    Presence(Presence),
    Prepared(Prepared),
}

/// Wakes a thread that has not told yet who it is, or is asleep.
#[derive(Clone, Default)]
pub(crate) struct Sleeper(Arc<OnceLock<Thread>>);

impl Sleeper {
    /// This thread is the one to be woken.
    pub(crate) fn is_here(&self) {
        self.0.get_or_init(std::thread::current);
    }

    pub(crate) fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }

    pub(crate) fn waking(&self) -> Wake {
        let sleeper = self.clone();
        Arc::new(move || sleeper.wake())
    }
}

impl Node {
    /// A member of a network that takes orders.
    ///
    /// # Errors
    /// If its network cannot tell who is there.
    pub fn new(network: Arc<dyn Network>, settings: NodeSettings) -> Result<Self> {
        let sleeper = Sleeper::default();
        sleeper.is_here();
        let (send, events) = unbounded();
        let (on_presence, waking): (Sender<Event>, _) = (send.clone(), sleeper.clone());
        let watching = network.watch(Arc::new(move |presence| {
            // A node that is gone needs no news.
            _ = on_presence.send(Event::Presence(presence));
            waking.wake();
        }))?;
        let waking = sleeper.clone();
        let on_prepared: OnPrepared = Arc::new(move |prepared| {
            _ = send.send(Event::Prepared(prepared));
            waking.wake();
        });
        let config = WorkerConfig::default().idle_spin(Duration::ZERO);
        let worker =
            Worker::new(config, Allocator::Thread(OneThread::default()), Some(settings.clock.origin()));
        let has_clock = !settings.follows_clock;
        Ok(Self {
            links: Links::new(network, settings.clock.clone(), sleeper.waking()),
            settings,
            worker,
            events,
            on_prepared,
            controllers: BTreeMap::new(),
            term: 0,
            load: None,
            part: None,
            survey: None,
            shortest_us: u64::MAX,
            ask_clock_at_us: 0,
            has_clock,
            tell_at_us: 0,
            board: Board::default(),
            unanswered: None,
            _watching: watching,
        })
    }

    /// The same with everything that it runs watched.
    pub(crate) fn watched_by(self, survey: Arc<Survey>) -> Self {
        survey.listen(&self.worker);
        Self { survey: Some(survey), ..self }
    }

    /// Runs until `quits` says so; asked at every turn, and at least once a second.
    pub fn run(mut self, quits: &dyn Fn() -> bool) {
        while !quits() {
            let next_us = self.before();
            let now_us = self.settings.clock.now_us();
            let wait = next_us.map_or(PARK_MAX, |at_us| Duration::from_micros(at_us.saturating_sub(now_us)));
            self.worker.step_or_park(Some(wait.min(PARK_MAX)));
            self.after();
        }
        if let Some(part) = self.part.take() {
            part.unload(&mut self.worker);
        }
    }

    /// Does everything that is due, and stops before anything would have to be waited for; returns when more will
    /// be due, by the clock in microseconds. For clocks that somebody moves by hand.
    pub fn turn(&mut self) -> Option<u64> {
        // What other threads would wake is seen one step later.
        let mut quiet_steps = 0;
        loop {
            let next_us = self.before();
            self.worker.step();
            self.after();
            let is_idle = self.worker.activations().borrow().empty_for().is_none() && self.events.is_empty();
            let is_quiet = is_idle && next_us.is_none_or(|at_us| at_us > self.settings.clock.now_us());
            quiet_steps = if is_quiet { quiet_steps + 1 } else { 0 };
            if quiet_steps > 1 {
                return next_us;
            }
        }
    }

    /// Where it puts what it has measured, every second while it runs something.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// What its links have done.
    pub(crate) fn counts(&self) -> Counts {
        self.links.counts()
    }

    /// Generations that have begun and are not drained.
    pub(crate) fn live_generations(&self) -> usize {
        self.part.as_ref().map_or(0, Part::live_generations)
    }

    /// What it is at, for people.
    pub(crate) fn place(&self) -> String {
        let Standing { term, generations, .. } = self.standing();
        let one = |g: &GenerationStanding| {
            format!("{} from {:?}{}", g.id, g.from, if g.is_drained { ", drained" } else { "" })
        };
        format!("term {term}, [{}]", generations.iter().map(one).collect::<Vec<_>>().join("; "))
    }

    /// Hears what there is to be heard, obeys, and wakes what is due; returns when more will be.
    fn before(&mut self) -> Option<u64> {
        self.links.turn();
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Presence(presence) => self.presence(presence),
                Event::Prepared(prepared) => {
                    if let Some(part) = &mut self.part {
                        part.prepared(&mut self.worker, prepared);
                    }
                }
            }
        }
        self.obey();
        let clock_us = self.ask_clock();
        let part_us = self.part.as_ref().and_then(Part::wake_due);
        self.speak();
        let telemetry_us = self.tell();
        // What was said and heard has made more due.
        let links_us = self.links.turn();
        [links_us, clock_us, part_us, telemetry_us].into_iter().flatten().min()
    }

    fn after(&mut self) {
        if let Some(part) = &mut self.part {
            part.settle(&self.worker);
        }
        self.speak();
    }

    fn presence(&mut self, presence: Presence) {
        let Presence { member, is_here } = presence;
        // One that is out of reach may come back; it is kept until there are too many.
        if member.name != CONTROLLER || !is_here || self.controllers.contains_key(&member) {
            return;
        }
        if self.controllers.len() >= CONTROLLERS_MAX {
            self.controllers.pop_first();
        }
        match Talk::open(&self.links, &member, TALK, WORDS, ORDERS) {
            Ok(talk) => _ = self.controllers.insert(member, talk),
            Err(error) => tracing::error!(%error, "a controller is there that cannot be talked to"),
        }
    }

    /// Says what is to be said to whoever leads.
    fn speak(&mut self) {
        let Some(part) = &mut self.part else { return };
        for word in part.words.drain(..) {
            // Without a controller nobody listens; a new one asks.
            self.controllers.values().for_each(|talk| talk.say(&word));
        }
    }

    /// Tells what has been measured, now and then. A controller that does not listen hears of it later: counters only
    /// grow.
    fn tell(&mut self) -> Option<u64> {
        let part = self.part.as_mut()?;
        let now_us = self.settings.clock.now_us();
        // A clock that was set back for another run must not silence it.
        if now_us >= self.tell_at_us || self.tell_at_us > now_us + TELL_US {
            self.tell_at_us = now_us + TELL_US;
            let readings = part.readings();
            self.board.put(&readings.telemetry.node.clone(), readings.clone());
            let word = Word::Telemetry(Box::new(readings));
            self.controllers.values().filter(|talk| talk.has_room()).for_each(|talk| talk.say(&word));
        }
        Some(self.tell_at_us)
    }

    /// Carries out what was ordered.
    fn obey(&mut self) {
        let mut orders = Vec::new();
        self.controllers.retain(|member, talk| {
            loop {
                match talk.hear() {
                    Ok(Some(order)) => orders.push((member.clone(), order)),
                    Ok(None) => return true,
                    Err(error) => {
                        tracing::error!(%error, "a controller that cannot be understood is not listened to");
                        return false;
                    }
                }
            }
        });
        for (member, order) in orders {
            let only_asks = order.term == ASKING && matches!(order.order, ToNode::Enquire);
            if order.term < self.term && !only_asks {
                self.answer(&member, &Word::Deposed { term: self.term });
            } else {
                self.term = self.term.max(order.term);
                self.carry_out(&member, order.order);
            }
        }
    }

    fn answer(&self, member: &Member, word: &Word) {
        if let Some(talk) = self.controllers.get(member) {
            talk.say(word);
        }
    }

    fn carry_out(&mut self, member: &Member, order: ToNode) {
        match order {
            ToNode::Enquire => {
                return self.answer(member, &Word::Standing(Box::new(self.standing())));
            }
            ToNode::Load(load) => {
                let loaded = self.load(&load);
                if loaded.is_ok() && !self.has_clock {
                    // Nothing may be stamped before.
                    (self.unanswered, self.ask_clock_at_us) = (Some(member.clone()), 0);
                    return;
                }
                return self.answer(member, &Word::Loaded(loaded));
            }
            // The last that is measured is told with the last books, so that both agree. While it runs they are
            // asked for as often as somebody looks.
            ToNode::Books { .. } if self.live_generations() == 0 => {
                self.tell_at_us = 0;
                self.tell();
            }
            ToNode::Clock { sent_us, now_us } => return self.set_clock(sent_us, now_us),
            ToNode::Unload => return self.unload(),
            _ => {}
        }
        let (Some(part), worker) = (&mut self.part, &mut self.worker) else { return };
        match order {
            ToNode::Prepare(prepare) => part.prepare(prepare),
            ToNode::Propose { round, cut, is_end } => part.propose(round, cut, is_end),
            ToNode::Decide(decide) => part.decide(decide),
            ToNode::Retune(retune) => part.retune(retune),
            ToNode::Retuned(retune) => part.retuned(retune),
            ToNode::Abort { generation } => part.abort(worker, generation),
            ToNode::Close { generation } => part.close(generation),
            ToNode::Stop { cut } => part.stop(cut),
            ToNode::Passed(passed) => part.passed(&passed),
            ToNode::Degraded(frames) => part.degraded(&frames),
            ToNode::Lost { node } => part.lost(&node),
            ToNode::Books { request, windows } => {
                let books = part.shared().ledger.books(part.shared().digest.value(), windows.as_ref());
                self.answer(member, &Word::Books { request, books: Box::new(books) });
            }
            ToNode::Enquire | ToNode::Load(_) | ToNode::Clock { .. } | ToNode::Unload => {}
        }
    }

    fn standing(&self) -> Standing {
        let of_part = self.part.as_ref().map(Part::standing).unwrap_or_default();
        Standing { term: self.term, now_us: self.settings.clock.now_us(), ..of_part }
    }

    fn load(&mut self, load: &Load) -> Result<()> {
        if self.load.as_ref() == Some(load) && self.part.is_some() {
            return Ok(());
        }
        self.unload();
        if self.settings.follows_clock {
            // Another run, another clock.
            self.settings.clock.let_go();
            self.has_clock = false;
        }
        let graph = (self.settings.blueprint)(&load.description)?;
        if graph.hash() != load.hash {
            let message = format!(
                "topology \"{}\" is not the controller's: their hashes are {:016x} and {:016x}",
                graph.name(),
                graph.hash(),
                load.hash
            );
            return Err(
                Error::new(ErrorKind::Incompatible, message).way_out("run the same program everywhere")
            );
        }
        let pools = Pools::imitating(self.settings.imitate.clone());
        let (survey, on_prepared) = (self.survey.clone(), self.on_prepared.clone());
        self.part = Some(Part::new(graph, &self.links, &self.settings.clock, pools, survey, on_prepared));
        self.load = Some(load.clone());
        Ok(())
    }

    fn unload(&mut self) {
        self.load = None;
        if let Some(part) = self.part.take() {
            part.unload(&mut self.worker);
            self.board.remove(&self.links.me().name);
        }
    }

    /// Asks for the run clock now and then.
    fn ask_clock(&mut self) -> Option<u64> {
        if !self.settings.follows_clock || self.controllers.is_empty() {
            return None;
        }
        let now_us = self.settings.clock.now_us();
        if now_us >= self.ask_clock_at_us {
            self.ask_clock_at_us = now_us + CLOCK_US;
            self.controllers.values().for_each(|talk| talk.say(&Word::AskClock { sent_us: now_us }));
        }
        Some(self.ask_clock_at_us)
    }

    /// The run clock read `theirs_us` somewhere between `sent_us` and now; half-way, where the round trip was short.
    fn set_clock(&mut self, sent_us: u64, theirs_us: u64) {
        let now_us = self.settings.clock.now_us();
        let Some(round_trip_us) = now_us.checked_sub(sent_us) else { return };
        self.shortest_us = self.shortest_us.min(round_trip_us.max(1));
        if round_trip_us > ROUND_TRIP_FACTOR * self.shortest_us {
            // The next one may be better; the shortest of old times is not held against it for ever.
            self.shortest_us += self.shortest_us / 8 + 1;
            return;
        }
        let mine_us = sent_us + round_trip_us / 2;
        self.settings.clock.follow(theirs_us as i64 - mine_us as i64);
        self.has_clock = true;
        if let Some(member) = self.unanswered.take() {
            self.answer(&member, &Word::Loaded(Ok(())));
        }
        if self.settings.clock.now_us() < self.ask_clock_at_us.saturating_sub(CLOCK_US) {
            self.ask_clock_at_us = self.settings.clock.now_us() + CLOCK_US;
        }
    }
}
