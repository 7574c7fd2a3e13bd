//! Nodes and controllers that are not as one would wish: frozen, or on machines with another time.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jellybean_engine::client::Client;
use jellybean_engine::node::{CONTROLLER, Node, NodeSettings};
use jellybean_engine::source::Policy;
use jellybean_engine::{Graph, Report, sink};
use jellybean_operators::prelude::*;

use crate::live::{Show, Shows};
use crate::processes::{Cluster, addresses, check, join, plan_of_lines, plan_of_places};
use crate::program::{errors, jellybean};

/// How long something that must come may take before the test gives up.
const PATIENCE_US: u64 = 60_000_000;

fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &process.id().to_string()]).status().unwrap();
    assert!(sent.success(), "{name} was not sent");
}

/// Frozen while another one takes over and acts, a controller finds out when it goes on, and changes nothing.
#[test]
fn a_controller_that_was_frozen_finds_that_another_leads() {
    let (cluster, seconds) = (Cluster::start(2), 240);
    let plan = cluster.folder.path().join("plan.toml");
    std::fs::write(&plan, plan_of_lines(&[("detect", "node = \"n1\"".to_owned())])).unwrap();
    let (description, graph) = cluster.junction(seconds);
    let words: Vec<String> = serde_json::from_str(&description).unwrap();
    let mut deploy = jellybean();
    deploy.arg("deploy").arg("--infrastructure").arg(cluster.folder.path().join("infrastructure.toml"));
    deploy.arg("--plan").arg(&plan).args(words).stdout(Stdio::null()).stderr(Stdio::piped());
    let frozen = deploy.spawn().unwrap();
    let clock = Clock::real();
    let mut client = Client::connect(cluster.network("client-1", 1), &clock).unwrap();
    while client.status().unwrap().plan.is_none() {
        assert!(clock.now_us() < PATIENCE_US, "nothing runs");
    }
    drop(client);
    signal(&frozen, "-STOP");
    let network = join(CONTROLLER, 2, &[], &cluster.addresses[1..]);
    let run = Run::take_over(network, graph, &["n0", "n1"], Clock::real()).unwrap();
    run.apply(plan_of_places(3)).unwrap();
    signal(&frozen, "-CONT");
    let output = frozen.wait_with_output().unwrap();
    assert!(
        !output.status.success() && errors(&output).contains("another controller leads"),
        "{}",
        errors(&output)
    );
    check(&run.finish(), seconds);
}

#[test]
fn a_node_that_is_frozen_for_a_while_is_waited_for() {
    let (cluster, seconds) = (Cluster::start(2), 120);
    let plan = Plan::single("n0").with("detect", Assignment::on("n1"));
    let run = cluster.deploy(seconds, plan, 1).unwrap();
    signal(&cluster.nodes[1], "-STOP");
    let is_over = run.wait(Duration::from_secs(3));
    signal(&cluster.nodes[1], "-CONT");
    assert!(!is_over, "the frozen node's stage is missed");
    check(&run.finish(), seconds);
}

/// Two nodes, each as if it had been there for so many seconds, and controllers one after the other.
fn runs_on_nodes_of_ages(
    graph: &Arc<Graph>,
    ages_s: [u64; 2],
    controllers_s: &[u64],
    check: &dyn Fn(&Report),
) {
    let (at, over) = (addresses(3), Arc::new(AtomicBool::new(false)));
    let start = |i: usize| {
        let (graph, over, at) = (graph.clone(), over.clone(), at.clone());
        std::thread::spawn(move || {
            let network = join(&format!("n{i}"), 1, &at[i + 1..i + 2], &at[..=i]);
            let blueprint = Arc::new(move |_: &str| Ok(graph.clone()));
            let clock = Clock::begun(Duration::from_secs(ages_s[i]));
            let settings = NodeSettings { blueprint, clock, follows_clock: true, imitate: None };
            Node::new(network, settings).unwrap().run(&|| over.load(Ordering::Relaxed));
        })
    };
    let nodes = [start(0), start(1)];
    for (life, age_s) in (1..).zip(controllers_s) {
        let plan = Plan::single("n1").with("cameras", Assignment::on("n0"));
        let (network, clock) =
            (join(CONTROLLER, life, &at[..1], &[]), Clock::begun(Duration::from_secs(*age_s)));
        check(&Run::deploy(network, graph.clone(), "", plan, &["n0", "n1"], clock).unwrap().finish());
    }
    over.store(true, Ordering::Relaxed);
    for node in nodes {
        node.thread().unpark();
        node.join().unwrap();
    }
}

#[test]
fn nodes_and_controllers_hours_apart_agree_on_the_time() {
    for ages_s in [[0, 3_600], [3_600, 0]] {
        let t = Topology::new("hour");
        let (sink, windows) = sink::collect();
        let shows: Vec<Show> = vec![(0..50).map(Ok).collect(); 2];
        t.source("cameras", Shows { policy: Policy::Block, shows, ends: true })
            .keyed(|(camera, _)| *camera)
            .tumbling("windows", 1_000, |n: &mut u64, _| *n += 1)
            .map("count", |w| w.value)
            .sink("counts", sink);
        runs_on_nodes_of_ages(&t.build().unwrap(), ages_s, &[0, 7_200, 60], &|report| {
            assert!(report.ledger.is_closed() && report.frames == 100, "{:#?}", report.ledger);
            let windows = windows.take();
            assert_eq!(windows.iter().map(|(_, n)| n).sum::<u64>(), 100);
            // An hour would be 3.6 million of milliseconds.
            assert!(windows.iter().all(|(epoch, _)| *epoch < 600_000), "{ages_s:?}: {windows:?}");
            assert!(report.latency_ms.p99 < 600_000.0, "{ages_s:?}: {:?}", report.latency_ms);
        });
    }
}
