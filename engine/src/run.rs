//! A run: nodes as threads of this process, a controller, and the report at the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, select, unbounded};
use serde::Serialize;

use crate::clock::Clock;
pub use crate::cutover::Cut;
use crate::cutover::{Action, CutOver, Event, Wish};
use crate::digest::Digest;
use crate::entry::Entries;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Accounts, Latency, Ledger, SourceAccount};
use crate::local::Shared;
use crate::message::{FromNode, Mailbox, ToNode};
use crate::near::Network;
use crate::node::Node;
use crate::plan::Plan;
use crate::pool::Pools;
use crate::stage::Kind;
use crate::topology::Graph;

/// How long a plan may take to be prepared: models are loaded and warmed in it.
const PREPARE_MAX: Duration = Duration::from_secs(120);
/// How long a decided change may take to drain.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// A topology, running.
pub struct Run {
    graph: Arc<Graph>,
    nodes: BTreeSet<String>,
    /// The plan it began with: sources stay where that put them.
    first: Plan,
    clock: Clock,
    ledger: Arc<Ledger>,
    digest: Arc<Digest>,
    started_us: u64,
    requests: Sender<Request>,
    finished: Receiver<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    mailboxes: Vec<Mailbox>,
    wishes: AtomicU64,
}

/// What the outside asks of the controller.
enum Request {
    Apply(Wish, Sender<Result<Cut>>),
    GiveUp(u64),
    Stop,
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
    /// Equal for equal results: 16 hexadecimal digits.
    pub output_digest: String,
}

impl Run {
    /// Starts a topology under a plan on nodes of these names, each a thread of this process. Returns
    /// once every camera is open and every model is warm.
    ///
    /// # Errors
    /// What is wrong with the plan, or what could not be opened on which node; nothing runs then.
    pub fn start(graph: Arc<Graph>, plan: Plan, nodes: &[&str], clock: Clock) -> Result<Self> {
        let nodes: BTreeSet<String> = nodes.iter().map(|n| (*n).to_owned()).collect();
        plan.check(&graph, &nodes)?;
        let (ledger, digest) = (Ledger::new(graph.edge_names()), Arc::new(Digest::default()));
        let (up, heard) = unbounded();
        let (threads, mailboxes) = start_nodes(&graph, &nodes, &clock, &ledger, &digest, &up)?;
        let (requests, asked) = unbounded();
        let (finish, finished) = bounded(1);
        let controller = Controller {
            state: CutOver::new(nodes.clone(), 1),
            graph: graph.clone(),
            clock: clock.clone(),
            ledger: ledger.clone(),
            mailboxes: mailboxes.clone(),
            answers: HashMap::new(),
        };
        let thread = spawn("controller", move || controller.run(&heard, &asked, &finish))?;
        let mut threads = threads;
        threads.push(thread);
        let run = Self {
            graph,
            nodes,
            first: plan.clone(),
            started_us: clock.now_us(),
            clock,
            ledger,
            digest,
            requests,
            finished,
            threads: Mutex::new(threads),
            mailboxes,
            wishes: AtomicU64::new(0),
        };
        run.apply(plan)?;
        Ok(run)
    }

    /// Moves the run to another plan, live. Returns where it took effect, once nothing is left of the
    /// old one.
    ///
    /// # Errors
    /// What is wrong with the plan, or what could not be opened: then the old plan goes on untouched.
    pub fn apply(&self, plan: Plan) -> Result<Cut> {
        plan.check(&self.graph, &self.nodes)?;
        plan.check_sources(&self.graph, &self.first)?;
        let id = self.wishes.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = bounded(1);
        self.ask(Request::Apply(Wish { id, plan: Arc::new(plan) }, answer));
        match answered.recv_timeout(PREPARE_MAX) {
            Err(RecvTimeoutError::Timeout) => self.ask(Request::GiveUp(id)),
            answer => return answer.unwrap_or_else(|_| Err(has_ended())),
        }
        match answered.recv_timeout(DRAIN_MAX) {
            Err(RecvTimeoutError::Timeout) => Err(Error::new(
                ErrorKind::Timeout,
                format!("a change of plan did not end within {DRAIN_MAX:?}"),
            )),
            answer => answer.unwrap_or_else(|_| Err(has_ended())),
        }
    }

    /// Ends the run: what has entered is finished and flushed, what has not is counted as `stopped`.
    pub fn stop(&self) {
        self.ask(Request::Stop);
    }

    /// The ledger as it stands.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.ledger.accounts()
    }

    /// Seconds since the run began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.clock.now_us() - self.started_us) as f64 / 1e6
    }

    /// Waits for the end of every source, or of the stop, for so long; returns whether it has come.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> bool {
        let ended = self.finished.recv_timeout(at_most);
        !matches!(ended, Err(RecvTimeoutError::Timeout))
    }

    /// Waits for the end, closes everything and reports.
    #[must_use]
    pub fn finish(self) -> Report {
        while !self.wait(Duration::from_secs(3600)) {}
        let seconds = self.seconds();
        self.close();
        let ledger = self.ledger.accounts();
        let total = ledger.total();
        Report {
            topology: self.graph.name().to_owned(),
            frames: total.admitted,
            seconds,
            fps: total.completed as f64 / seconds.max(1e-9),
            latency_ms: self.ledger.latency(),
            ledger,
            ledger_total: total,
            output_digest: format!("{:016x}", self.digest.value()),
        }
    }

    fn ask(&self, request: Request) {
        // After the end nobody answers, and the waiting side sees its answer's channel closed.
        _ = self.requests.send(request);
    }

    fn close(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(ToNode::Quit));
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a node's thread panicked");
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop();
        self.close();
    }
}

fn has_ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the plan was not applied: the run has ended")
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(f)
        .map_err(|e| Error::new(ErrorKind::Unavailable, format!("no thread for {name}")).because(e))
}

fn start_nodes(
    graph: &Arc<Graph>,
    nodes: &BTreeSet<String>,
    clock: &Clock,
    ledger: &Arc<Ledger>,
    digest: &Arc<Digest>,
    up: &Sender<FromNode>,
) -> Result<(Vec<JoinHandle<()>>, Vec<Mailbox>)> {
    let network = Arc::new(Network::default());
    let boxes: Vec<_> = nodes.iter().map(|node| (node, unbounded())).collect();
    let peers: HashMap<String, Mailbox> =
        boxes.iter().map(|(node, (send, _))| ((*node).clone(), Mailbox::new(send.clone()))).collect();
    let mut threads = Vec::new();
    for (node, (_, commands)) in &boxes {
        let shared = Arc::new(Shared {
            node: (*node).clone(),
            clock: clock.clone(),
            ledger: ledger.clone(),
            pools: Pools::default(),
            entries: Entries::default(),
            network: network.clone(),
            digest: digest.clone(),
        });
        let (graph, commands, peers, up) = (graph.clone(), commands.clone(), peers.clone(), up.clone());
        threads.push(spawn(node, move || Node::new(graph, shared, commands, peers, up).run())?);
    }
    Ok((threads, peers.into_values().collect()))
}

/// The loop around the controller's decision.
struct Controller {
    state: CutOver,
    graph: Arc<Graph>,
    clock: Clock,
    ledger: Arc<Ledger>,
    mailboxes: Vec<Mailbox>,
    answers: HashMap<u64, Sender<Result<Cut>>>,
}

impl Controller {
    fn run(mut self, heard: &Receiver<FromNode>, asked: &Receiver<Request>, finish: &Sender<()>) {
        loop {
            let event = select! {
                recv(heard) -> word => word.ok().map(Event::Heard),
                recv(asked) -> request => request.ok().map(|request| self.event(request)),
            };
            let Some(event) = event else { return };
            for action in self.state.step(event, self.clock.now_ms()) {
                if self.act(action) {
                    // Whoever waits sees the channel closed, now and later.
                    _ = finish.try_send(());
                    return;
                }
            }
        }
    }

    fn event(&mut self, request: Request) -> Event {
        match request {
            Request::Apply(wish, answer) => {
                self.answers.insert(wish.id, answer);
                Event::Apply(wish)
            }
            Request::GiveUp(id) => Event::GiveUp(id),
            Request::Stop => Event::Stop,
        }
    }

    /// Does what was decided; true once the run is over.
    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::TellAll(command) => self.tell_all(&command),
            Action::OpenSinks { generation, cut } => {
                for id in self.graph.ids().filter(|id| self.graph.stage(*id).kind == Kind::Sink) {
                    self.ledger.open_sink(generation, id, cut);
                }
            }
            Action::Fulfilled { wish, outcome } => {
                if let Some(answer) = self.answers.remove(&wish) {
                    _ = answer.send(outcome);
                }
            }
            Action::Finished => return true,
        }
        false
    }

    fn tell_all(&self, command: &ToNode) {
        for mailbox in &self.mailboxes {
            let copy = match command {
                ToNode::Prepare { generation, previous, plan } => {
                    ToNode::Prepare { generation: *generation, previous: *previous, plan: plan.clone() }
                }
                ToNode::Propose { round, cut } => ToNode::Propose { round: *round, cut: *cut },
                ToNode::Decide { generation, cut } => ToNode::Decide { generation: *generation, cut: *cut },
                ToNode::Abort { generation } => ToNode::Abort { generation: *generation },
                ToNode::Stop { cut } => ToNode::Stop { cut: *cut },
                ToNode::Opened { .. } | ToNode::State { .. } | ToNode::Quit => continue,
            };
            mailbox.send(copy);
        }
    }
}
