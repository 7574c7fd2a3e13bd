use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::memory::{Faults, Hub};
use crate::net::{Listening, Network};
use crate::node::{CONTROLLER, Node, NodeSettings};
use crate::plan::Assignment;
use crate::primitive::each::FanOut;
use crate::sink;
use crate::source::{Arrival, Feed, Lane, Pacing, Source, Stamp};
use crate::telemetry::{Readings, StageReading};
use crate::topology::Topology;

use super::*;

/// A record every 10 ms, as filmed: read as fast as it is taken, an endless one would never let time go on.
struct Ticks(u64);

struct Ticking(std::ops::Range<u64>);

impl Source for Ticks {
    type Record = u64;

    fn lanes(&self) -> Vec<Lane> {
        vec![Lane { pacing: Pacing::Realtime, ..Lane::new("ticks") }]
    }

    fn open(&self, _lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = u64>>> {
        Ok(Box::new(Ticking(0..self.0)))
    }
}

impl Feed for Ticking {
    type Record = u64;

    fn next(&mut self) -> Result<Option<Arrival<u64>>> {
        let arrival = |n| Arrival { record: n, stamp: Stamp::Media(10 * n), bytes: 8 };
        Ok(self.0.next().map(arrival))
    }
}

/// One node and its controllers, one after the other, stepped by hand.
struct World {
    hub: Hub,
    clock: Clock,
    graph: Arc<Graph>,
    node: Node,
    lives: AtomicU64,
}

/// A controller and what leads to it.
struct Led {
    controller: Controller,
    requests: Sender<Request>,
    member: Member,
    _watching: Box<dyn Listening>,
}

fn member(name: &str, life: u64) -> Member {
    Member { name: name.to_owned(), life }
}

impl World {
    fn new(records: u64) -> Self {
        Self::with_seed(records, 2_000, 7)
    }

    fn with_seed(records: u64, delay_max_us: u64, seed: u64) -> Self {
        let (clock, topology) = (Clock::simulated(), Topology::new("numbers"));
        let (sink, _results) = sink::collect();
        let numbers = topology.source("numbers", Ticks(records));
        let same = numbers.each("same", FanOut::One, |n, out| {
            out.push(n);
            Ok(())
        });
        same.sink("results", sink);
        let graph = topology.build().expect("the topology is right");
        let hub = Hub::with_faults(Faults { delay_max_us, ..Faults::default() }, seed);
        let same = graph.clone();
        let settings = NodeSettings {
            blueprint: Arc::new(move |_| Ok(same.clone())),
            clock: clock.clone(),
            follows_clock: false,
            imitate: None,
        };
        let node = Node::new(hub.join(member("a", 1)), settings).expect("a node");
        Self { hub, clock, graph, node, lives: AtomicU64::new(0) }
    }

    /// The next controller: with a plan for a run of its own, or to take over.
    fn lead(&self, plan: Option<Plan>) -> (Led, Receiver<Result<Cut>>) {
        let life = self.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let network: Arc<dyn Network> = self.hub.join(member(CONTROLLER, life));
        let ((came, presence), (requests, asked)) =
            (crossbeam::channel::unbounded(), crossbeam::channel::unbounded());
        let watching = network.watch(Arc::new(move |presence| _ = came.send(presence))).expect("presence");
        let (answer, answered) = crossbeam::channel::bounded(1);
        let setting = Setting {
            links: Links::new(network, self.clock.clone(), Arc::new(|| ())),
            clock: self.clock.clone(),
            graph: self.graph.clone(),
            load: Load { description: String::new(), hash: self.graph.hash() },
            nodes: BTreeSet::from(["a".to_owned()]),
            first: plan.map(|plan| (Wish { id: 0, plan: Arc::new(plan) }, answer)),
            presence,
            requests: asked,
            board: Board::default(),
        };
        let member = member(CONTROLLER, life);
        (Led { controller: Controller::new(setting), requests, member, _watching: watching }, answered)
    }

    /// Steps everybody until a controller ends, or for so many milliseconds.
    fn go(&mut self, led: &mut Led, ms: u64) -> Option<Ending> {
        for _ in 0..ms {
            self.hub.deliver(self.clock.now_us());
            _ = self.node.turn();
            if let Err(ending) = led.controller.turn() {
                return Some(*ending);
            }
            self.clock.advance(Duration::from_millis(1));
        }
        None
    }
}

#[test]
fn a_node_serves_one_run_after_the_other() {
    let mut world = World::new(100);
    for run in 1..=5 {
        let (mut led, _answered) = world.lead(Some(Plan::single("a")));
        let ending = world.go(&mut led, 60_000).expect("the run ends");
        assert!(ending.fault.is_none(), "run {run}: {:?}", ending.fault);
        assert_eq!(ending.books.accounts().total().completed, 100, "run {run}");
        world.hub.crash(&led.member);
    }
}

#[test]
fn one_controller_takes_over_from_the_other() {
    let mut world = World::new(1 << 40);
    let (mut led, answered) = world.lead(Some(Plan::single("a")));
    assert!(world.go(&mut led, 200).is_none());
    assert!(answered.try_recv().is_ok_and(|outcome| outcome.is_ok()), "the run has begun");
    for life in 2..=5 {
        world.hub.crash(&led.member);
        led = world.lead(None).0;
        assert!(world.go(&mut led, 200).is_none(), "controller {life} leads");
        assert!(matches!(led.controller.phase, Phase::Running));
    }
    led.requests.send(Request::Stop).expect("it listens");
    let ending = world.go(&mut led, 60_000).expect("the run ends");
    assert!(ending.fault.is_none() && ending.books.accounts().is_closed(), "{:?}", ending.fault);
}

#[test]
fn what_an_earlier_controller_still_orders_is_refused_once_the_next_has_asked() {
    let mut world = World::new(1 << 40);
    let (mut old, _) = world.lead(Some(Plan::single("a")));
    assert!(world.go(&mut old, 200).is_none());
    let (mut new, _) = world.lead(None);
    assert!(world.go(&mut new, 200).is_none());
    // The old one was only silent, and does not know that it leads no more.
    let (answer, answered) = crossbeam::channel::bounded(1);
    let wish = Wish { id: 1, plan: Arc::new(Plan::single("a")) };
    old.requests.send(Request::Apply(wish, answer)).expect("it listens");
    let ending = world.go(&mut old, 60_000).expect("it leaves");
    assert!(ending.fault.is_some_and(|fault| fault.to_string().contains("in term 2")));
    assert!(answered.try_recv().is_err(), "nothing was applied");
    new.requests.send(Request::Stop).expect("it listens");
    assert!(world.go(&mut new, 60_000).expect("the run ends").fault.is_none());
}

#[test]
fn what_a_node_measures_comes_every_second_and_at_last_agrees_with_the_books() {
    let mut world = World::new(1 << 40);
    let (mut led, _) = world.lead(Some(Plan::single("a")));
    let board = led.controller.setting.board.clone();
    let mut times_us = BTreeSet::new();
    for _ in 0..50 {
        // Whoever asks for the books meanwhile gets them, and changes nothing of that.
        let (send, _books) = crossbeam::channel::bounded(1);
        led.requests.send(Request::Books(send)).expect("it listens");
        assert!(world.go(&mut led, 100).is_none());
        times_us.extend(board.read().get("a").map(|readings| readings.telemetry.at_us));
    }
    assert_eq!(times_us.len(), 5, "{times_us:?}");
    led.requests.send(Request::Stop).expect("it listens");
    let books = world.go(&mut led, 60_000).expect("the run ends").books.accounts();
    let Readings { telemetry, ledger } = board.read().remove("a").expect("it is there to the end");
    assert_eq!(ledger.edges, books.edges);
    let counts = |stage: &StageReading| (stage.stage.clone(), stage.items_in, stage.items_out);
    let n = books.edges["numbers->same"].received;
    let expected = [("numbers", 0, n), ("same", n, n), ("results", n, 0)];
    let expected = expected.map(|(name, items_in, items_out)| (name.to_owned(), items_in, items_out));
    assert_eq!(telemetry.stages.iter().map(counts).collect::<Vec<_>>(), expected);
    let lane = &telemetry.sources[0];
    assert_eq!((&*lane.source, &*lane.lane), ("numbers", "ticks"));
    assert_eq!((lane.admitted, lane.offered), (books.total().admitted, lane.admitted));
}

/// Kills the controller at every moment of a change, under some seeds, and has another take over.
fn check_kills(to: &Assignment) {
    for (seed, ms) in (0..8).flat_map(|seed| (0..60).map(move |ms| (seed, ms))) {
        let what = format!("seed {seed}, killed after {ms} ms");
        let mut world = World::with_seed(1 << 40, 20_000, seed);
        let (mut old, _) = world.lead(Some(Plan::single("a")));
        assert!(world.go(&mut old, 500).is_none());
        let (answer, _answered) = crossbeam::channel::bounded(1);
        let plan = Plan::single("a").with("same", to.clone());
        old.requests.send(Request::Apply(Wish { id: 1, plan: Arc::new(plan) }, answer)).expect("it listens");
        assert!(world.go(&mut old, ms).is_none());
        world.hub.crash(&old.member);
        drop(old);
        let (mut new, _) = world.lead(None);
        let early = world.go(&mut new, 500);
        let why = early.map(|ending| (ending.fault, ending.books.accounts()));
        assert!(why.is_none(), "{what}: the run ended by itself: {why:?}");
        let began_us = new.controller.began_us.expect("the run had begun");
        let due = (world.clock.now_us() - began_us) / 10_000;
        new.requests.send(Request::Stop).expect("it listens");
        let Some(ending) = world.go(&mut new, 60_000) else { panic!("{what}: the run does not end") };
        let accounts = ending.books.accounts();
        let closed = ending.fault.is_none() && accounts.is_closed();
        assert!(closed, "{what}: {:?} {accounts:?}", ending.fault);
        // One was due every 10 ms: nobody waited for a decision that would never come.
        assert!(accounts.total().completed + 5 >= due, "{what}: {due} were due: {accounts:?}");
    }
}

#[test]
fn a_controller_may_be_killed_at_any_moment_of_a_change() {
    check_kills(&Assignment::on("a").slots(2));
}

#[test]
fn a_controller_may_be_killed_at_any_moment_of_a_retune() {
    check_kills(&Assignment::on("a").batches(2, 0));
}
