//! Runs over many nodes: `node`, `deploy`, `status`, `apply`, `stop`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use jellybean_engine::client::{CLIENT, Client};
use jellybean_engine::infrastructure::Infrastructure;
use jellybean_engine::net::slow::slowed;
use jellybean_engine::net::zenoh::{Settings, Zenoh};
use jellybean_engine::net::{Member, Network};
use jellybean_engine::node::{Blueprint, CONTROLLER, Node, NodeSettings};
use jellybean_engine::pilot::{Order, Piloted};
use jellybean_engine::{ChangeReport, Clock, Error, ErrorKind, Graph, Run};
use serde::Serialize;

use super::plan::Following;
use super::run::{How, Made, Ready, Stop, read_plan, serve_metrics};
use super::{Tools, demo, read_toml};

/// How long others may take to be reached.
const REACH: Duration = Duration::from_secs(10);

/// What can be run on other machines: they make the same of the same words.
#[derive(Parser)]
#[command(name = "topology", no_binary_name = true)]
struct Described {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    _tools: Tools,
}

#[derive(Subcommand)]
enum What {
    /// Watch a synthetic junction.
    #[command(visible_alias = "junction")]
    Demo(demo::Demo),
    #[command(flatten)]
    Ready(Ready),
}

impl What {
    fn how(&self) -> How {
        match self {
            Self::Demo(demo) => demo.how.clone(),
            Self::Ready(ready) => ready.how(),
        }
    }

    fn make(self, tools: &Tools) -> anyhow::Result<Made> {
        match self {
            Self::Demo(demo) => demo.make(tools),
            Self::Ready(ready) => ready.make(tools),
        }
    }
}

/// What other processes make the same topology of: this one's arguments from the topology's name on.
pub(super) fn description() -> String {
    let words: Vec<String> = std::env::args().collect();
    let from = match words.iter().position(|word| word == "run" || word == "demo") {
        Some(at) if words[at] == "run" => at + 1,
        Some(at) => at,
        None => words.len(),
    };
    serde_json::to_string(&words[from..]).unwrap_or_default()
}

/// Makes the ready-made topology that is described in these words: its name, then its options.
pub(super) fn made_of(words: &[String], tools: &Tools) -> anyhow::Result<Made> {
    Described::try_parse_from(words)?.what.make(tools)
}

/// Makes the ready-made topologies of their descriptions.
pub(super) fn of_descriptions(tools: Tools) -> Blueprint {
    Arc::new(move |description| {
        let invalid = |cause: String| {
            Error::new(ErrorKind::Invalid, "this program cannot make that topology").because(cause)
        };
        let words: Vec<String> = serde_json::from_str(description).map_err(|e| invalid(e.to_string()))?;
        let described = Described::try_parse_from(words).map_err(|e| invalid(e.to_string()))?;
        let made = described.what.make(&tools).map_err(|e| invalid(format!("{e:#}")))?;
        Ok(made.graph)
    })
}

/// Makes the one topology of a program.
pub(super) fn of_one(graph: Arc<Graph>) -> Blueprint {
    Arc::new(move |_| Ok(graph.clone()))
}

/// The graph of a ready-made topology of its name and options, without anything that running it needs.
pub(super) fn graph(words: &str) -> anyhow::Result<Arc<Graph>> {
    let mut words: Vec<&str> = words.split_whitespace().collect();
    if words.first() == Some(&"junction") {
        words[0] = "demo";
    }
    match Described::try_parse_from(words)?.what {
        What::Demo(demo) => demo.graph(),
        What::Ready(ready) => ready.graph(),
    }
}

/// How a process takes part in a cluster.
#[derive(Args, Clone, Debug)]
pub(super) struct Joining {
    /// What the members of a cluster have in common; several can share a machine.
    #[arg(long, default_value = "default", value_name = "NAME")]
    cluster: String,
    /// A folder with ca.pem, cert.pem and key.pem: everybody proves who they are, and nobody can listen in.
    #[arg(long, value_name = "FOLDER")]
    tls_dir: Option<PathBuf>,
}

impl Joining {
    fn open(
        &self,
        name: &str,
        listen: Vec<SocketAddr>,
        connect: Vec<SocketAddr>,
        patience: Option<Duration>,
    ) -> anyhow::Result<Arc<dyn Network>> {
        let member = Member { name: name.to_owned(), life: a_life() };
        let (cluster, tls) = (self.cluster.clone(), self.tls_dir.clone());
        Ok(Zenoh::open(&Settings { cluster, member, listen, connect, tls, patience })?)
    }
}

/// A number that no earlier process of the name has had.
fn a_life() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// `node`: takes orders until it is ended.
#[derive(Args)]
pub(super) struct NodeCommand {
    /// Its name, unique in the cluster.
    #[arg(long)]
    name: String,
    /// Where it listens; beyond loopback only with --tls-dir. What the infrastructure says, unless set.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "infrastructure")]
    listen: Option<SocketAddr>,
    /// Whom it connects to: the controller, and other nodes; one of each two has to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: Vec<SocketAddr>,
    /// A file that says where everybody listens.
    #[arg(long, value_name = "FILE")]
    infrastructure: Option<PathBuf>,
    /// Be as slow as the infrastructure says, and its links as well: to rehearse on one machine.
    #[arg(long, requires = "infrastructure")]
    imitate: bool,
    #[command(flatten)]
    joining: Joining,
    /// Serve what this node measures at this address, as Prometheus reads it: /metrics. Loopback alone.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// End with the process that started it: when standard input ends.
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

impl NodeCommand {
    #[allow(clippy::print_stderr, reason = "the command is where things are told")]
    pub(super) fn run(self, blueprint: Blueprint) -> anyhow::Result<()> {
        let infrastructure = self.infrastructure.as_deref().map(read_infrastructure).transpose()?;
        let (mut listen, mut connect) = (self.listen, self.connect.clone());
        if let Some(infrastructure) = &infrastructure {
            let (at, others) = infrastructure.addresses(&self.name)?;
            listen = listen.or(Some(at));
            connect = if connect.is_empty() { others } else { connect };
        }
        let listen = listen.context("a node has to listen somewhere: pass --listen")?;
        jellybean_engine::node::check_name(&self.name)?;
        let network = self.joining.open(&self.name, vec![listen], connect, None)?;
        let stop = Stop::on_signals()?;
        let over = Arc::new(AtomicBool::new(false));
        if self.until_input_ends {
            end_with_input(&over)?;
        }
        let clock = Clock::real();
        let (mut network, mut imitate) = (network, None);
        if let Some(infrastructure) = infrastructure.filter(|_| self.imitate) {
            network = slowed(network, infrastructure.pipes(&clock)?);
            imitate = infrastructure.imitate(&self.name);
        }
        let settings = NodeSettings { blueprint, clock, follows_clock: true, imitate };
        eprintln!("node {} listens on {listen}", self.name);
        let node = Node::new(network, settings)?;
        let _metrics = serve_metrics(self.metrics, node.board())?;
        node.run(&|| stop.is_asked() || over.load(Ordering::Relaxed));
        Ok(())
    }
}

/// Sets a mark when standard input ends, and wakes the node's thread.
fn end_with_input(over: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let (over, node) = (over.clone(), std::thread::current());
    std::thread::Builder::new().name("input".into()).spawn(move || {
        // Whatever comes means nothing; an error is an end as well.
        _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        over.store(true, Ordering::Relaxed);
        node.unpark();
    })?;
    Ok(())
}

/// `deploy`: leads a topology on nodes that run already, and shows how it goes until it ends.
#[derive(Args)]
pub(super) struct Deploy {
    /// The nodes there are (TOML).
    #[arg(long, value_name = "FILE")]
    infrastructure: PathBuf,
    /// The plan to begin with (TOML): which node runs which stage.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["take_over", "live"])]
    plan: Option<PathBuf>,
    /// Lead what runs there already, after its controller was lost or instead of it.
    #[arg(long, conflicts_with = "plan")]
    take_over: bool,
    /// Serve what is measured at this address, as Prometheus reads it: /metrics. Loopback alone.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    following: Following,
    #[command(flatten)]
    joining: Joining,
    /// The topology and its own options, as `run` takes them: `people --variant 320`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "TOPOLOGY")]
    topology: Vec<String>,
}

impl Deploy {
    /// Of the ready-made topologies.
    pub(super) fn run_ready(self, tools: &Tools) -> anyhow::Result<()> {
        let described = Described::try_parse_from(&self.topology)?;
        let how = described.what.how();
        let made = described.what.make(tools)?;
        let description = serde_json::to_string(&self.topology)?;
        self.run(&made, &how, &description)
    }

    /// Of one that is there.
    pub(super) fn run(&self, made: &Made, how: &How, description: &str) -> anyhow::Result<()> {
        let infrastructure = read_infrastructure(&self.infrastructure)?;
        let stop = Stop::on_signals()?;
        // The nodes know a successor only if it has the address of the controller before it.
        let to = if self.take_over {
            infrastructure.nodes.iter().map(|node| node.listen).collect()
        } else {
            vec![]
        };
        let network = self.joining.open(CONTROLLER, vec![infrastructure.controller], to, None)?;
        let (graph, names, clock) = (made.graph.clone(), infrastructure.names(), Clock::real());
        let course = self.following.course(&graph, &self.infrastructure)?;
        let first = || course.as_ref().map(|course| Following::first(&course.wanted)).transpose();
        let plan = match &self.plan {
            Some(plan) => Some(read_plan(plan)?),
            None if self.take_over => None,
            None => first()?,
        };
        let run = match plan {
            Some(plan) => Run::deploy(network, graph, description, plan, &names, clock)?,
            None => Run::take_over(network, graph, &names, clock)?,
        };
        course.map_or(Ok(()), |course| run.follow(course))?;
        how.serving(self.metrics).watch(run, made, &stop)
    }
}

/// How a command finds the controller.
#[derive(Args, Clone)]
pub(super) struct Asking {
    /// Where the controller listens.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "infrastructure")]
    controller: Option<SocketAddr>,
    /// The file that says so.
    #[arg(long, value_name = "FILE")]
    infrastructure: Option<PathBuf>,
    #[command(flatten)]
    joining: Joining,
}

impl Asking {
    /// The infrastructure, if a file was named.
    pub(super) fn infrastructure(&self) -> anyhow::Result<Option<Infrastructure>> {
        self.infrastructure.as_deref().map(read_infrastructure).transpose()
    }

    pub(super) fn connect(&self) -> anyhow::Result<Client> {
        let controller = match (self.controller, &self.infrastructure) {
            (Some(controller), _) => controller,
            (None, Some(file)) => read_infrastructure(file)?.controller,
            (None, None) => anyhow::bail!("where is the controller? pass --controller or --infrastructure"),
        };
        let name = format!("{CLIENT}{:x}", a_life());
        let network = self.joining.open(&name, Vec::new(), vec![controller], Some(REACH))?;
        Ok(Client::connect(network, &Clock::real())?)
    }
}

/// What is asked of a run's controller.
#[derive(Subcommand)]
pub(super) enum Asked {
    /// Say how a run stands.
    Status(Asking),
    /// Move a run to another plan, live.
    Apply {
        /// The plan (TOML).
        plan: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// Have a run that follows its rates look for the cheapest plan now.
    Rebalance(Asking),
    /// Keep a run that follows its rates on the plan it has, until `resume`.
    Pause(Asking),
    /// Let a paused run follow its rates again; also after an `apply`.
    Resume(Asking),
    /// Say what became of the changes of plan, and what was decided if the run follows its rates.
    History(Asking),
    /// End a run: what has entered is finished.
    Stop(Asking),
}

impl Asked {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Status(asking) => {
                println!("{}", serde_json::to_string_pretty(&asking.connect()?.status()?)?);
            }
            Self::Apply { plan, asking } => {
                let plan = read_plan(plan)?;
                println!("{}", serde_json::to_string(&asking.connect()?.apply(plan)?)?);
            }
            Self::Rebalance(asking) => asking.connect()?.order(Order::Rebalance)?,
            Self::Pause(asking) => asking.connect()?.order(Order::Pause)?,
            Self::Resume(asking) => asking.connect()?.order(Order::Resume)?,
            Self::History(asking) => {
                let mut client = asking.connect()?;
                let (changes, decisions) = (client.history()?, client.decisions()?);
                println!("{}", serde_json::to_string_pretty(&History { changes, decisions })?);
            }
            Self::Stop(asking) => asking.connect()?.stop()?,
        }
        Ok(())
    }
}

/// What has become of a run.
#[derive(Serialize)]
struct History {
    changes: Vec<ChangeReport>,
    /// Of runs that follow their rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<Vec<Piloted>>,
}

/// The network of a controller of nodes on this machine.
pub(super) fn lead(infrastructure: &Infrastructure) -> anyhow::Result<Arc<dyn Network>> {
    let joining = Joining { cluster: "default".to_owned(), tls_dir: None };
    joining.open(CONTROLLER, vec![infrastructure.controller], Vec::new(), None)
}

pub(super) fn read_infrastructure(file: &Path) -> anyhow::Result<Infrastructure> {
    let infrastructure: Infrastructure = read_toml("infrastructure", file)?;
    infrastructure.check()?;
    Ok(infrastructure)
}

/// The nodes of an infrastructure, each a process of this program that ends with this one.
pub(super) struct Processes(Vec<Child>);

impl Processes {
    pub(super) fn start(file: &Path, infrastructure: &Infrastructure) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let mut processes = Self(Vec::new());
        for name in infrastructure.names() {
            let child = Command::new(&program)
                .args(["node", "--name", name, "--imitate", "--until-input-ends", "--infrastructure"])
                .arg(file)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .with_context(|| format!("no process for node {name}"))?;
            processes.0.push(child);
        }
        Ok(processes)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Its input ends, and so does it.
            drop(child.stdin.take());
        }
        for child in &mut self.0 {
            // One that is gone already needs no waiting for.
            _ = child.wait();
        }
    }
}
