//! Runs over processes whose controller has a pilot: orders from outside, and a pilot of whoever takes over.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jellybean::frames::Frames;
use jellybean::junction::junction;
use jellybean::tally::Tally;
use jellybean_engine::client::Client;
use jellybean_engine::infrastructure::Infrastructure;
use jellybean_engine::live::{Cause, Settings, Verdict};
use jellybean_engine::node::CONTROLLER;
use jellybean_engine::pilot::{Course, Order, Piloted};
use jellybean_engine::placement::problem::Objectives;
use jellybean_engine::planning::{Rates, Wanted, machines};
use jellybean_engine::source::{Trace, Traced};
use jellybean_engine::{Error, ErrorKind, Graph};
use jellybean_operators::prelude::*;

use crate::processes::{Cluster, plan_of_places};
use crate::program::{demo, errors, last_line};

/// How long something that must come may take before the test gives up.
const PATIENCE_US: u64 = 60_000_000;
/// The detector's default.
const VARIANT: &str = "w8";
/// Ten frames a second, of which one box has plenty.
const TRACE: &str = "seconds,source,rate\n0,cameras,10\n20,cameras,10\n";

/// What the nodes make of words, and the same here.
fn topology(folder: &Path) -> (String, Arc<Graph>) {
    let (trace, out) = (folder.join("trace.csv"), folder.join("out"));
    std::fs::write(&trace, TRACE).unwrap();
    let words = ["demo", "--trace", trace.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let trace = Trace::read(TRACE).unwrap();
    let frames = trace.rates("cameras").unwrap().records().ceil() as u64;
    let cameras = Traced::new(RoadCameras::new(7).cameras(2).frames(frames), "cameras", Some(&trace));
    let graph = junction(cameras, Frames::Raw, 5_000, &out, &Tally::default()).build().unwrap();
    (serde_json::to_string(&words).unwrap(), graph)
}

/// The cameras are on a box that costs money whatever it does, and another box costs as much again.
fn course(graph: &Graph) -> Course {
    let node = |name: &str, port: u16| {
        format!(
            "[[node]]\nname = \"{name}\"\nsite = \"here\"\ntier = \"hub\"\nlisten = \"127.0.0.1:{port}\"\nslots = 2\n\
             usd_per_h = 1.0\nclass = \"core\"\n"
        )
    };
    let text = format!("version = 1\ncontroller = \"127.0.0.1:1\"\n{}{}", node("n0", 2), node("n1", 3));
    let infrastructure: Infrastructure = toml::from_str(&text).unwrap();
    let profile = include_str!("../../topologies/infrastructure/junction.profile.toml");
    let rates: Rates = toml::from_str(
        "version = 1\n[[source]]\nname = \"cameras\"\nsite = \"here\"\nnode = \"n0\"\nrate_per_s = 10.0\n",
    )
    .unwrap();
    let objectives = Objectives { utilisation_max: 0.9, accuracy_min: None, p95_ms_max: None };
    let machines = (&infrastructure, machines(&infrastructure).unwrap());
    let mut wanted =
        Wanted::new(graph, machines, &toml::from_str(profile).unwrap(), &rates, objectives).unwrap();
    // With the default variant alone: results stay the same.
    let profile = &mut wanted.problem.profile;
    profile.stages.iter_mut().for_each(|stage| stage.variants.truncate(1));
    profile.services.retain(|service| service.stage != "detect" || service.variant == VARIANT);
    profile.edges.iter_mut().for_each(|edge| edge.kb_per_item.truncate(1));
    profile.accuracy = None;
    Course { wanted, settings: Settings::default() }
}

/// Has the pilot look, and waits for what it makes of it.
fn rebalance(client: &mut Client) -> Piloted {
    let seen = client.decisions().unwrap().expect("there is a pilot").len();
    client.order(Order::Rebalance).unwrap();
    let clock = Clock::real();
    loop {
        let decisions = client.decisions().unwrap().expect("there is a pilot");
        let is_open = |piloted: &Piloted| piloted.record.verdict == Verdict::Changing;
        if let Some(last) = decisions.into_iter().skip(seen).next_back().filter(|last| !is_open(last)) {
            return last;
        }
        assert!(clock.now_us() < PATIENCE_US, "the pilot does nothing");
    }
}

#[test]
fn a_run_is_rebalanced_from_outside_also_under_the_next_controller() {
    let cluster = Cluster::start(2);
    let (description, graph) = topology(cluster.folder.path());
    let course = course(&graph);
    let network = cluster.network(CONTROLLER, 1);
    let run =
        Run::deploy(network, graph.clone(), &description, plan_of_places(3), &["n0", "n1"], Clock::real());
    let run = run.unwrap();
    let mut client = Client::connect(cluster.network("client-1", 1), &Clock::real()).unwrap();
    assert_eq!(client.order(Order::Pause).unwrap_err().kind(), ErrorKind::Unavailable, "nobody pilots it");
    assert_eq!(client.decisions().unwrap(), None);
    run.follow(course.clone()).unwrap();
    let again: Error = run.follow(course.clone()).expect_err("it is piloted already");
    assert_eq!(again.kind(), ErrorKind::Unavailable);

    let piloted = rebalance(&mut client);
    assert_eq!(
        (piloted.record.trigger.cause, piloted.record.verdict.clone()),
        (Cause::Rebalance, Verdict::Changed)
    );
    let nodes =
        client.status().unwrap().plan.unwrap().nodes().into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(nodes, ["n0"], "one box is enough: {piloted:?}");
    drop(client);

    run.leave();
    let network = cluster.network(CONTROLLER, 2);
    let run = Run::take_over(network, graph, &["n0", "n1"], Clock::real()).unwrap();
    run.follow(course).unwrap();
    let mut client = Client::connect(cluster.network("client-2", 1), &Clock::real()).unwrap();
    let piloted = rebalance(&mut client);
    assert_eq!(piloted.record.verdict, Verdict::Kept, "it knows what runs: {piloted:?}");
    client.order(Order::Pause).unwrap();

    while !run.wait(Duration::from_secs(1)) {}
    let report = run.finish();
    assert!(report.ledger.is_closed() && report.ledger.faults.is_empty(), "{:#?}", report.ledger);
    assert_eq!(report.ledger_total.completed, 200);
    assert_eq!(report.decisions.map(|decisions| decisions.len()), Some(1));
    let mut still = demo(cluster.folder.path());
    let output =
        still.arg("--json").arg("--trace").arg(cluster.folder.path().join("trace.csv")).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(report.output_digest, last_line(&output)["output_digest"].as_str().unwrap());
}
