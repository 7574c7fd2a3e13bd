//! Nodes as processes, joined by zenoh: the same results as in one process, wherever the graph is cut and
//! whatever moves while it runs.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jellybean::frames::Frames;
use jellybean::junction::junction;
use jellybean::tally::Tally;
use jellybean_engine::client::Client;
use jellybean_engine::net::zenoh::{Settings, Zenoh};
use jellybean_engine::net::{Member, Network};
use jellybean_engine::node::CONTROLLER;
use jellybean_engine::{Error, ErrorKind, Graph, Report};
use jellybean_operators::prelude::*;
use tempfile::TempDir;

use crate::program::{demo, errors, jellybean, last_line};

/// The stages of the junction, in the order of the graph.
const STAGES: [&str; 11] = [
    "cameras",
    "detect",
    "track",
    "pictures",
    "sightings",
    "windows",
    "distinct",
    "windows-file",
    "tally",
    "lately",
    "lately-file",
];

/// Addresses that were free a moment ago.
pub(crate) fn addresses(n: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

/// Writes an infrastructure of nodes `n0`, `n1`, …
fn infrastructure(folder: &Path, nodes: usize) -> (std::path::PathBuf, Vec<SocketAddr>) {
    let addresses = addresses(nodes + 1);
    let mut text = format!("version = 1\ncontroller = \"{}\"\n", addresses[0]);
    for (i, address) in addresses[1..].iter().enumerate() {
        text += &format!(
            "[[node]]\nname = \"n{i}\"\nsite = \"here\"\ntier = \"hub\"\nlisten = \"{address}\"\nslots = 1\n"
        );
    }
    let file = folder.join("infrastructure.toml");
    std::fs::write(&file, text).unwrap();
    (file, addresses)
}

/// A plan file: each stage with its line, the others on `n0`.
pub(crate) fn plan_of_lines(lines: &[(&str, String)]) -> String {
    let stages = lines.iter().map(|(stage, line)| format!("[stages.{stage}]\n{line}\n"));
    format!("version = 1\n[default]\nnode = \"n0\"\n{}", stages.collect::<String>())
}

/// The digest of four seconds of the junction over so many processes.
fn digest_over_processes(nodes: usize, homes: &[usize], frames: &str) -> String {
    let lines: Vec<_> =
        STAGES.iter().zip(homes).map(|(stage, home)| (*stage, format!("node = \"n{home}\""))).collect();
    digest_of_plan(nodes, &plan_of_lines(&lines), frames)
}

/// The same with a plan as it is written.
fn digest_of_plan(nodes: usize, text: &str, frames: &str) -> String {
    let folder = TempDir::new().unwrap();
    let (infrastructure, _) = infrastructure(folder.path(), nodes);
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, text).unwrap();
    let output = demo(folder.path())
        .args(["--seconds", "4", "--json", "--nodes", "processes", "--frames", frames, "--infrastructure"])
        .arg(infrastructure)
        .arg("--plan")
        .arg(plan)
        .output()
        .unwrap();
    assert!(output.status.success(), "{text}: {}", errors(&output));
    let report = last_line(&output);
    assert_eq!(report["ledger_total"]["completed"], 200, "{report}");
    report["output_digest"].as_str().unwrap().to_owned()
}

fn digest_in_one(seconds: u64, frames: &str) -> String {
    let folder = TempDir::new().unwrap();
    let mut command = demo(folder.path());
    command.args(["--seconds", &seconds.to_string(), "--json", "--frames", frames]);
    last_line(&command.output().unwrap())["output_digest"].as_str().unwrap().to_owned()
}

#[test]
fn equal_wherever_the_graph_is_cut() {
    let expected = digest_in_one(4, "raw");
    for (cut, stage) in STAGES.iter().enumerate().skip(1) {
        let homes: Vec<usize> = (0..STAGES.len()).map(|i| usize::from(i >= cut)).collect();
        assert_eq!(digest_over_processes(2, &homes, "raw"), expected, "cut before {stage}");
    }
    for nodes in [3, 5] {
        let homes: Vec<usize> = (0..STAGES.len()).map(|i| i % nodes).collect();
        assert_eq!(digest_over_processes(nodes, &homes, "raw"), expected, "over {nodes} nodes");
    }
    let homes: Vec<usize> = (0..STAGES.len()).map(|i| usize::from(i >= 1)).collect();
    assert_eq!(digest_over_processes(2, &homes, "jpeg:80"), digest_in_one(4, "jpeg:80"));
}

#[test]
fn equal_when_stages_are_split_over_processes() {
    let expected = digest_in_one(4, "raw");
    for (nodes, shares) in [(2, "{ n0 = 1, n1 = 3 }"), (3, "{ n0 = 2, n1 = 1, n2 = 1 }")] {
        let stages = ["detect", "track", "sightings", "windows", "distinct"];
        let lines = stages.map(|stage| (stage, format!("shares = {shares}")));
        assert_eq!(digest_of_plan(nodes, &plan_of_lines(&lines), "raw"), expected, "{shares}");
    }
}

#[test]
fn error_shares_in_a_plan_file_are_whole_numbers() {
    let folder = TempDir::new().unwrap();
    let (infrastructure, _) = infrastructure(folder.path(), 1);
    let plan = folder.path().join("plan.toml");
    for (line, words) in [
        ("shares = { n0 = -1 }", "-1"),
        ("shares = { n0 = 0.5 }", "0.5"),
        ("shares = { n0 = 0 }", "stage \"track\" has shares of 0 alone"),
        ("slots = 1", "stage \"track\" is on no node"),
    ] {
        std::fs::write(&plan, plan_of_lines(&[("track", line.to_owned())])).unwrap();
        let mut command = demo(folder.path());
        command.args(["--seconds", "1", "--json", "--nodes", "processes", "--infrastructure"]);
        let output = command.arg(&infrastructure).arg("--plan").arg(&plan).output().unwrap();
        assert!(!output.status.success() && errors(&output).contains(words), "{line}: {}", errors(&output));
    }
}

/// A member of the tests' cluster.
pub(crate) fn join(name: &str, life: u64, listen: &[SocketAddr], to: &[SocketAddr]) -> Arc<dyn Network> {
    let member = Member { name: name.into(), life };
    let (listen, connect) = (listen.to_vec(), to.to_vec());
    Zenoh::open(&Settings { cluster: "default".into(), member, listen, connect, tls: None, patience: None })
        .unwrap()
}

/// Nodes that are processes, and a network for their controller.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    pub(crate) nodes: Vec<Child>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            drop(node.stdin.take());
            _ = node.wait();
        }
    }
}

impl Cluster {
    pub(crate) fn start(nodes: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let (infrastructure, addresses) = infrastructure(folder.path(), nodes);
        let start = |i| {
            let mut node = jellybean();
            node.args(["node", "--until-input-ends", "--name", &format!("n{i}"), "--infrastructure"]);
            node.arg(&infrastructure).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        let nodes = (0..nodes).map(start).collect();
        Self { folder, nodes, addresses }
    }

    pub(crate) fn network(&self, name: &str, life: u64) -> Arc<dyn Network> {
        let controller = &self.addresses[..1];
        if name == CONTROLLER { join(name, life, controller, &[]) } else { join(name, life, &[], controller) }
    }

    /// What the nodes make the junction of, and the junction.
    pub(crate) fn junction(&self, seconds: u64) -> (String, Arc<Graph>) {
        let out = self.folder.path().join("out");
        let words = ["demo", "--seconds", &seconds.to_string(), "--out", out.to_str().unwrap()];
        let cameras = RoadCameras::new(7).cameras(2).frames(seconds * 25);
        let graph = junction(cameras, Frames::Raw, 5_000, &out, &Tally::default()).build().unwrap();
        (serde_json::to_string(&words).unwrap(), graph)
    }

    pub(crate) fn deploy(&self, seconds: u64, plan: Plan, life: u64) -> Result<Run, Error> {
        let (description, graph) = self.junction(seconds);
        let names: Vec<String> = (0..self.nodes.len()).map(|i| format!("n{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Run::deploy(self.network(CONTROLLER, life), graph, &description, plan, &names, Clock::real())
    }
}

pub(crate) fn check(report: &Report, seconds: u64) {
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert!(report.ledger.faults.is_empty(), "{:?}", report.ledger.faults);
    assert_eq!(report.ledger_total.completed, seconds * 50);
    assert_eq!(report.output_digest, digest_in_one(seconds, "raw"));
}

/// Every stage but the cameras on one of two nodes or on both, and one of the detector's variants.
fn plan(number: usize) -> Plan {
    let variant = ["w8", "w4", "w8", "w16"][number % 4];
    let home = |i: usize| format!("n{}", (number >> (i % 4)) % 2);
    let rest = STAGES[2..].iter().enumerate();
    let plan = rest.fold(Plan::single("n0"), |plan, (i, stage)| plan.with(*stage, Assignment::on(home(i))));
    let plan = match number as u32 % 3 {
        0 => plan,
        // Some stages on both, by shares that change.
        weight => ["track", "sightings", "windows"]
            .iter()
            .fold(plan, |plan, stage| plan.with(*stage, Assignment::shared([("n0", 1), ("n1", weight)]))),
    };
    plan.with("detect", Assignment::on(home(number)).variant(variant))
}

/// The same without changes of the variant, so that results stay the same.
pub(crate) fn plan_of_places(number: usize) -> Plan {
    let mut plan = plan(number);
    plan.stages.values_mut().for_each(|assignment| assignment.variant = None);
    plan
}

#[test]
fn equal_when_stages_move_between_processes() {
    let cluster = Cluster::start(2);
    let seconds = 60;
    let run = cluster.deploy(seconds, plan_of_places(0), 1).unwrap();
    let mut moves = 0;
    while !run.wait(Duration::from_millis(1)) && run.apply(plan_of_places(moves + 1)).is_ok() {
        moves += 1;
    }
    assert!(moves >= 3, "{moves} moves");
    check(&run.finish(), seconds);
}

#[test]
fn a_controller_that_is_lost_is_succeeded_by_another() {
    let cluster = Cluster::start(2);
    let seconds = 240;
    let mut run = cluster.deploy(seconds, plan_of_places(0), 1).unwrap();
    for life in 2..4 {
        run.leave();
        let (_, graph) = cluster.junction(seconds);
        let network = cluster.network(CONTROLLER, life);
        run = Run::take_over(network, graph, &["n0", "n1"], Clock::real()).unwrap();
        // It may be at its end already.
        _ = run.apply(plan_of_places(life as usize));
    }
    check(&run.finish(), seconds);
}

#[test]
fn a_client_asks_and_moves_and_stops() {
    let cluster = Cluster::start(2);
    let run = cluster.deploy(3_600, plan_of_places(0), 1).unwrap();
    let mut client = Client::connect(cluster.network("client-1", 1), &Clock::real()).unwrap();
    let status = client.status().unwrap();
    assert_eq!((status.topology.as_str(), status.term), ("junction", 1));
    assert!(status.nodes.values().all(|is_here| *is_here) && status.plan == Some(plan_of_places(0)));
    let cut = client.apply(plan(3)).unwrap();
    assert_eq!(cut.generation.n, 2);
    let mut batches = plan(3);
    batches.stages.get_mut("detect").unwrap().batch_max = 4;
    assert_eq!(client.apply(batches).unwrap().generation.n, 2, "the same generation takes it in");
    let error = client.apply(Plan::single("moon")).expect_err("there is no such node");
    assert!(error.to_string().contains("unknown node \"moon\""), "{error}");
    let error = client.apply(Plan::single("n0").with("detect", Assignment::on("n1").variant("w9")));
    let error = error.expect_err("there is no such variant");
    assert!(error.to_string().contains("node \"n1\"") && error.to_string().contains("\"w9\""), "{error}");
    client.stop().unwrap();
    let report = run.finish();
    assert!(report.ledger.is_closed() && report.ledger.faults.is_empty(), "{:#?}", report.ledger);
    assert!(report.ledger_total.completed > 0);
}

#[test]
fn error_a_node_with_another_topology_or_name_is_told_apart() {
    let cluster = Cluster::start(1);
    let (_, graph) = cluster.junction(1);
    let words = serde_json::to_string(&["demo", "--frames", "jpeg:50"]).unwrap();
    let network = cluster.network(CONTROLLER, 1);
    let run = Run::deploy(network, graph.clone(), &words, Plan::single("n0"), &["n0"], Clock::real());
    let error = run.map(|_| ()).expect_err("the node's topology has a stage more");
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(error.to_string().contains("node \"n0\"") && error.to_string().contains("hash"), "{error}");

    let twin = cluster.network("n0", 77);
    let network = cluster.network(CONTROLLER, 2);
    let run = Run::deploy(network, graph, "[\"demo\"]", Plan::single("n0"), &["n0"], Clock::real());
    let error = run.map(|_| ()).expect_err("two nodes have one name");
    assert!(error.to_string().contains("two nodes are called \"n0\""), "{error}");
    drop(twin);
}

#[test]
fn error_names_addresses_and_certificates_that_cannot_be() {
    let settings = |name: &str, listen: &str| Settings {
        cluster: "default".into(),
        member: Member { name: name.into(), life: 1 },
        listen: vec![listen.parse().unwrap()],
        connect: vec![],
        tls: None,
        patience: None,
    };
    let error =
        |settings: &Settings| Zenoh::open(settings).map(|_| ()).expect_err("it cannot be").to_string();
    assert!(error(&settings("a/*", "127.0.0.1:1")).contains("a/*"));
    assert!(error(&settings("a", "0.0.0.0:7447")).contains("--tls-dir"));
    let folder = TempDir::new().unwrap();
    let tls = Settings { tls: Some(folder.path().into()), ..settings("a", "127.0.0.1:1") };
    assert!(error(&tls).contains("ca.pem"));
    let [nobody, mine] = addresses(2)[..] else { panic!("two were asked for") };
    let patience = Some(Duration::from_millis(300));
    let unreachable = Settings { connect: vec![nobody], patience, ..settings("a", &mine.to_string()) };
    assert!(error(&unreachable).contains(&nobody.to_string()));
}
