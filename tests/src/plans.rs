//! Plans that cannot be carried out are refused, and the run goes on as though nobody had asked.

use std::sync::Arc;

use jellybean_engine::sink::{Collected, collect};
use jellybean_engine::{ErrorKind, Graph};
use jellybean_operators::prelude::*;
use jellybean_tests::Until;
use jellybean_tests::families::spot;

type Seen = (u64, Vec<Detection>);

fn cameras() -> Until<RoadCameras> {
    Until::told(RoadCameras::new(5).prerendered(20))
}

fn topology(cameras: Until<RoadCameras>) -> (Arc<Graph>, Collected<Seen>) {
    let t = Topology::new("plans");
    let (sink, seen) = collect();
    let detections = t.source("cameras", cameras).infer("detect", spot());
    detections.map("seen", |d| (d.frame.number, d.seen)).sink("seen-sink", sink);
    (t.build().unwrap(), seen)
}

fn with_variant(variant: &str) -> Plan {
    Plan::single("here").with("detect", Assignment::on("there").variant(variant))
}

#[test]
fn error_a_refused_plan_leaves_no_trace() {
    let asked = cameras();
    let (graph, seen) = topology(asked.clone());
    let run = Run::start(graph, Plan::single("here"), &["here", "there"], Clock::real()).unwrap();
    for (plan, kind, words) in [
        (
            with_variant("w9"),
            ErrorKind::Invalid,
            &["node \"there\"", "stage \"detect\"", "\"w9\"", "spot_single"][..],
        ),
        (
            with_variant("rank3"),
            ErrorKind::Incompatible,
            &["node \"there\"", "stage \"detect\"", "rank3.onnx"],
        ),
        (
            Plan::single("here").with("detekt", Assignment::on("here")),
            ErrorKind::Invalid,
            &["no stage is called \"detekt\"", "cameras, detect, seen, seen-sink"],
        ),
        (
            Plan::single("here").with("detect", Assignment::on("moon")),
            ErrorKind::Invalid,
            &["\"detect\"", "unknown node \"moon\"", "here, there"],
        ),
        (
            Plan::single("here").with("detect", Assignment::on("here").slots(0)),
            ErrorKind::Invalid,
            &["\"detect\" has 0 slots"],
        ),
        (
            Plan::single("here").with("cameras", Assignment::on("there")),
            ErrorKind::Invalid,
            &["source \"cameras\" is open on node \"here\"", "leave it on \"here\""],
        ),
    ] {
        let error = run.apply(plan).expect_err("the plan cannot be carried out");
        assert_eq!(error.kind(), kind, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "no {word:?} in: {error}");
        }
        assert!(!run.wait(std::time::Duration::ZERO), "the run goes on");
    }
    run.apply(with_variant("spot_single")).expect("a good plan comes through after bad ones");
    let length = run.accounts().total().admitted + 50;
    asked.end(length);
    let report = run.finish();

    let never = cameras();
    never.end(length);
    let (graph, expected) = topology(never);
    let plan = Plan::single("here");
    let never = Run::start(graph, plan, &["here"], Clock::real()).unwrap().finish();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert_eq!((report.frames, report.ledger_total.degraded), (length, 0));
    assert!(report.ledger.faults.is_empty());
    assert_eq!(report.output_digest, never.output_digest);
    assert!(seen.take() == expected.take(), "the same, though the digest is too");
}

#[test]
fn error_a_first_plan_that_is_refused_starts_nothing() {
    let cameras = cameras();
    cameras.end(1);
    let (graph, seen) = topology(cameras);
    let error = Run::start(graph, with_variant("w9"), &["here", "there"], Clock::real());
    let error = error.map(|_| ()).expect_err("there is no such variant");
    assert!(error.to_string().contains("no variant \"w9\""), "{error}");
    assert!(seen.take().is_empty());
}
