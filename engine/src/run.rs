//! A run: a controller, the nodes it leads, and the report at the end.
//!
//! The nodes are threads of this process, or members of a network that somebody else has started: it is the same
//! controller, and the same protocol.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use serde::Serialize;

use crate::change::ChangeReport;
use crate::clock::Clock;
use crate::controller::{Controller, Ending, Follow, Request, Setting};
use crate::cutover::Wish;
pub use crate::cutover::{Cut, Moving};
use crate::error::{Error, ErrorKind, Result};
use crate::infrastructure::Infrastructure;
use crate::ledger::{Accounts, Books, Ids, Latency, SourceAccount};
use crate::link::Links;
use crate::message::Load;
use crate::net::memory::Hub;
use crate::net::slow::slowed;
use crate::net::{Listening, Member, Network};
use crate::node::{CONTROLLER, Node, NodeSettings, Sleeper, check_name};
use crate::pilot::solver::Thinker;
use crate::pilot::{Course, Piloted};
use crate::plan::Plan;
use crate::runner::Imitate;
use crate::survey::Survey;
use crate::telemetry::Board;
use crate::topology::Graph;

/// How long a controller sleeps at most.
const PARK_MAX: Duration = Duration::from_secs(1);
/// How long the books may take.
const BOOKS_MAX: Duration = Duration::from_secs(15);

/// A topology, running.
pub struct Run {
    graph: Arc<Graph>,
    nodes: BTreeSet<String>,
    /// The plan it began with, if that is known: sources stay where that put them.
    first: Option<Plan>,
    clock: Clock,
    started_us: u64,
    requests: Sender<Request>,
    sleeper: Sleeper,
    wishes: AtomicU64,
    board: Board,
    ended: Receiver<Ending>,
    ending: Mutex<Option<Ending>>,
    controller: Mutex<Option<JoinHandle<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    quits: Arc<AtomicBool>,
    _watching: Box<dyn Listening>,
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The topology's name.
    pub topology: String,
    /// Frames admitted.
    pub frames: u64,
    /// From start to end.
    pub seconds: f64,
    /// Frames completed per second.
    pub fps: f64,
    /// From admission to completion.
    pub latency_ms: Latency,
    /// Every account.
    pub ledger: Accounts,
    /// All sources together.
    pub ledger_total: SourceAccount,
    /// What should not be.
    pub ids: Ids,
    /// What became of each change of plan, oldest first.
    pub changes: Vec<ChangeReport>,
    /// What its pilot decided, oldest first, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decisions: Option<Vec<Piloted>>,
    /// Equal for equal results: 16 hexadecimal digits.
    pub output_digest: String,
}

/// The nodes of a run that are threads of this process.
struct Threads {
    quits: Arc<AtomicBool>,
    handles: Vec<JoinHandle<()>>,
}

impl Run {
    /// Starts a run with its nodes as threads of this process, and its first plan.
    ///
    /// # Errors
    /// What is wrong with the plan, or what could not be opened on which node; nothing runs then.
    pub fn start(graph: Arc<Graph>, plan: Plan, nodes: &[&str], clock: Clock) -> Result<Self> {
        Self::start_threads(graph, plan, nodes, clock, None, |_, network| (network, None))
    }

    /// The same on one node, watched.
    pub(crate) fn start_watched(
        graph: Arc<Graph>,
        plan: Plan,
        node: &str,
        clock: Clock,
        survey: &Arc<Survey>,
    ) -> Result<Self> {
        Self::start_threads(graph, plan, &[node], clock, Some(survey), |_, network| (network, None))
    }

    /// The same with the nodes of an infrastructure, whose pools and links are as slow as it says.
    ///
    /// # Errors
    /// As [`Run::start`].
    pub fn start_imitating(
        graph: Arc<Graph>,
        plan: Plan,
        infrastructure: &Infrastructure,
        clock: Clock,
    ) -> Result<Self> {
        let pipes = infrastructure.pipes(&clock)?;
        let slow = |name: &str, network| (slowed(network, pipes.clone()), infrastructure.imitate(name));
        Self::start_threads(graph, plan, &infrastructure.names(), clock, None, slow)
    }

    fn start_threads(
        graph: Arc<Graph>,
        plan: Plan,
        nodes: &[&str],
        clock: Clock,
        survey: Option<&Arc<Survey>>,
        slow: impl Fn(&str, Arc<dyn Network>) -> (Arc<dyn Network>, Option<Imitate>),
    ) -> Result<Self> {
        let nodes: BTreeSet<String> = nodes.iter().map(|n| (*n).to_owned()).collect();
        plan.check(&graph, &nodes)?;
        let hub = Hub::default();
        let mut threads = Threads { quits: Arc::default(), handles: Vec::new() };
        for name in &nodes {
            let (network, imitate) = slow(name, hub.join(member(name)));
            let (same, clock, quits) = (graph.clone(), clock.clone(), threads.quits.clone());
            let survey = survey.cloned();
            threads.handles.push(spawn(name, move || {
                let blueprint = Arc::new(move |_: &str| Ok(same.clone()));
                let settings = NodeSettings { blueprint, clock, follows_clock: false, imitate };
                match Node::new(network, settings) {
                    Ok(node) => {
                        let node = if let Some(survey) = survey { node.watched_by(survey) } else { node };
                        node.run(&|| quits.load(Ordering::Relaxed));
                    }
                    Err(error) => tracing::error!(%error, "a node could not begin"),
                }
            })?);
        }
        Self::lead(hub.join(member(CONTROLLER)), graph, String::new(), nodes, Some(plan), clock, threads)
    }

    /// Starts a run on nodes that are members of a network: they make the topology of its description.
    ///
    /// # Errors
    /// What is wrong with the plan, who is not there, or what could not be opened on which node.
    pub fn deploy(
        network: Arc<dyn Network>,
        graph: Arc<Graph>,
        description: &str,
        plan: Plan,
        nodes: &[&str],
        clock: Clock,
    ) -> Result<Self> {
        let nodes: BTreeSet<String> = nodes.iter().map(|n| (*n).to_owned()).collect();
        plan.check(&graph, &nodes)?;
        let threads = Threads { quits: Arc::default(), handles: Vec::new() };
        Self::lead(network, graph, description.to_owned(), nodes, Some(plan), clock, threads)
    }

    /// Leads what runs on these nodes from now on, after its controller was lost, or instead of it.
    ///
    /// # Errors
    /// Who is not there, or that nothing runs.
    pub fn take_over(
        network: Arc<dyn Network>,
        graph: Arc<Graph>,
        nodes: &[&str],
        clock: Clock,
    ) -> Result<Self> {
        let nodes: BTreeSet<String> = nodes.iter().map(|n| (*n).to_owned()).collect();
        let threads = Threads { quits: Arc::default(), handles: Vec::new() };
        Self::lead(network, graph, String::new(), nodes, None, clock, threads)
    }

    fn lead(
        network: Arc<dyn Network>,
        graph: Arc<Graph>,
        description: String,
        nodes: BTreeSet<String>,
        first: Option<Plan>,
        clock: Clock,
        threads: Threads,
    ) -> Result<Self> {
        nodes.iter().try_for_each(|name| check_name(name))?;
        let sleeper = Sleeper::default();
        let ((came, presence), waking) = (unbounded(), sleeper.clone());
        let watching = network.watch(Arc::new(move |presence| {
            // A controller that is gone needs no news.
            _ = came.send(presence);
            waking.wake();
        }))?;
        let ((requests, asked), (end, ended), (answer, answered)) = (unbounded(), bounded(1), bounded(1));
        let (load, board) = (Load { description, hash: graph.hash() }, Board::default());
        let wish = first.clone().map(|plan| (Wish { id: 0, plan: Arc::new(plan) }, answer));
        let setting = Setting {
            links: Links::new(network, clock.clone(), sleeper.waking()),
            clock: clock.clone(),
            graph: graph.clone(),
            load,
            nodes: nodes.clone(),
            first: wish,
            presence,
            requests: asked,
            board: board.clone(),
        };
        let here = sleeper.clone();
        // A controller with its pilot stays on the thread that made it.
        let controller = spawn("controller", move || {
            here.is_here();
            run_controller(Controller::new(setting), &end);
        })?;
        let run = Self {
            graph,
            nodes,
            first,
            started_us: clock.now_us(),
            clock,
            requests,
            sleeper,
            wishes: AtomicU64::new(1),
            board,
            ended,
            ending: Mutex::default(),
            controller: Mutex::new(Some(controller)),
            threads: Mutex::new(threads.handles),
            quits: threads.quits,
            _watching: watching,
        };
        if run.first.is_some() {
            answered.recv().unwrap_or_else(|_| Err(has_ended()))?;
        }
        Ok(run)
    }

    /// Moves the run to another plan, live. Returns where it took effect, once nothing is left of the
    /// old one.
    ///
    /// # Errors
    /// What is wrong with the plan, or what could not be opened: then the old plan goes on untouched.
    pub fn apply(&self, plan: Plan) -> Result<Cut> {
        plan.check(&self.graph, &self.nodes)?;
        if let Some(first) = &self.first {
            plan.check_sources(&self.graph, first)?;
        }
        let id = self.wishes.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = bounded(1);
        self.ask(Request::Apply(Wish { id, plan: Arc::new(plan) }, answer));
        answered.recv().unwrap_or_else(|_| Err(has_ended()))
    }

    /// Keeps the plan in step with what is measured from now on, until the run ends. What is applied by hand stays
    /// until something urgent happens.
    ///
    /// # Errors
    /// `Invalid` if what runs, the problem or the settings are not right; `Unavailable` if the run is piloted already,
    /// or has ended.
    pub fn follow(&self, course: Course) -> Result<()> {
        let (to, answered) = bounded(1);
        let solver = Thinker::start(self.clock.clone(), self.sleeper.waking())?;
        self.ask(Request::Follow(Box::new(Follow { course, solver: Box::new(solver), to })));
        answered.recv().unwrap_or_else(|_| Err(has_ended()))
    }

    /// Ends the run: what has entered is finished and flushed, what has not is counted as `stopped`.
    pub fn stop(&self) {
        self.ask(Request::Stop);
    }

    /// Leaves the nodes to whoever leads them next.
    pub fn leave(self) {
        self.ask(Request::Leave);
        while !self.wait(PARK_MAX) {}
    }

    /// The ledger as it stands.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.books().accounts()
    }

    /// What the nodes have measured: each tells it every second.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    fn books(&self) -> Books {
        let (send, books) = bounded(1);
        self.ask(Request::Books(send));
        let asked = books.recv_timeout(BOOKS_MAX).ok();
        let ended = || {
            _ = self.wait(Duration::ZERO);
            self.ending().as_ref().map(|ending| ending.books.clone())
        };
        asked.or_else(ended).unwrap_or_default()
    }

    fn ending(&self) -> std::sync::MutexGuard<'_, Option<Ending>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the run began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.clock.now_us() - self.started_us) as f64 / 1e6
    }

    /// Waits for the end of every source, or of the stop, for so long; returns whether it has come.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> bool {
        match self.ended.recv_timeout(at_most) {
            Ok(ending) => {
                *self.ending() = Some(ending);
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }

    /// Waits for the end, closes everything and reports.
    #[must_use]
    pub fn finish(self) -> Report {
        while !self.wait(Duration::from_secs(3600)) {}
        let seconds = self.seconds();
        self.close();
        let ending = self.ending().take();
        let Ending { books, changes, decisions, fault } = ending.unwrap_or_else(|| Ending {
            books: Books::default(),
            changes: Vec::new(),
            decisions: None,
            fault: Some(has_ended()),
        });
        let mut ledger = books.accounts();
        ledger.faults.extend(fault.map(|fault| fault.to_string()));
        let total = ledger.total();
        Report {
            topology: self.graph.name().to_owned(),
            frames: total.admitted,
            seconds,
            fps: total.completed as f64 / seconds.max(1e-9),
            latency_ms: books.latency(),
            ledger,
            ledger_total: total,
            ids: books.ids(),
            changes,
            decisions,
            output_digest: format!("{:016x}", books.digest),
        }
    }

    fn ask(&self, request: Request) {
        // After the end nobody answers, and the waiting side sees its answer's channel closed.
        _ = self.requests.send(request);
        self.sleeper.wake();
    }

    fn close(&self) {
        let controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Its nodes have to be there for as long as it waits for them.
        controller.into_iter().for_each(join);
        self.quits.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().for_each(join);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop();
        self.close();
    }
}

fn join(thread: JoinHandle<()>) {
    thread.thread().unpark();
    if thread.join().is_err() {
        tracing::error!("a thread of the run panicked");
    }
}

fn has_ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the plan was not applied: the run has ended")
}

/// A member of which there is one life in this process.
fn member(name: &str) -> Member {
    Member { name: name.to_owned(), life: 1 }
}

fn run_controller(mut controller: Controller, end: &Sender<Ending>) {
    loop {
        match controller.turn() {
            Ok(next_us) => {
                let wait = next_us.map_or(PARK_MAX, |at_us| {
                    Duration::from_micros(at_us.saturating_sub(controller.now_us()))
                });
                std::thread::park_timeout(wait.min(PARK_MAX));
            }
            Err(ending) => {
                // Whoever waits sees the channel closed, now and later.
                _ = end.try_send(*ending);
                return;
            }
        }
    }
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(f)
        .map_err(|e| Error::new(ErrorKind::Unavailable, format!("no thread for {name}")).because(e))
}
