//! What nodes measure of themselves, against the ledger and against what was imitated.

use std::collections::BTreeMap;

use jellybean_engine::infrastructure::Infrastructure;
use jellybean_engine::telemetry::{Readings, StageReading};
use jellybean_operators::prelude::*;
use jellybean_tests::Samples;
use jellybean_tests::moves::topology;

/// Microseconds of the model per batch and per item, and there and back between the sites.
const BATCH_US: u64 = 500;
const ITEM_US: u64 = 1_000;
const ROUND_TRIP_US: u64 = 10_000;

fn infrastructure() -> Infrastructure {
    let node = |name: &str, port: u16| {
        let listen = format!("127.0.0.1:{port}");
        serde_json::json!({ "name": name, "site": name, "tier": "hub", "listen": listen, "slots": 2 })
    };
    let link = |from: &str, to: &str| {
        let round_trip_ms = ROUND_TRIP_US as f64 / 1e3;
        serde_json::json!({ "from": from, "to": to, "mbit_per_s": 1_000.0, "round_trip_ms": round_trip_ms })
    };
    serde_json::from_value(serde_json::json!({
        "version": 1,
        "controller": "127.0.0.1:1",
        "node": [node("edge", 2), node("cloud", 3)],
        "link": [link("edge", "cloud"), link("cloud", "edge")],
        "service": [{ "node": "cloud", "stage": "model", "batch_us": BATCH_US, "item_us": ITEM_US }],
    }))
    .expect("an infrastructure")
}

/// Every stage by name, added up over the nodes.
fn by_stage(readings: &BTreeMap<String, Readings>) -> BTreeMap<&str, StageReading> {
    let mut sums: BTreeMap<&str, StageReading> = BTreeMap::new();
    for reading in readings.values().flat_map(|readings| &readings.telemetry.stages) {
        let sum = sums.entry(&reading.stage).or_default();
        sum.items_in += reading.items_in;
        sum.items_out += reading.items_out;
        sum.waiting += reading.waiting;
    }
    sums
}

#[test]
fn what_is_measured_agrees_with_the_ledger_and_with_what_is_imitated() {
    let (lanes, length) = (4, 100);
    let (graph, _sinks) = topology(Samples::of_length(lanes, 40, length));
    let whole = Assignment::on("cloud").slots(2).batches(4, 5);
    let plan = Plan::single("edge").with("model", whole.clone());
    let run = Run::start_imitating(graph.clone(), plan.clone(), &infrastructure(), Clock::real()).unwrap();
    // A generation later counters go on where they were.
    let split = Assignment::shared([("edge", 1), ("cloud", 1)]).batches(4, 5);
    _ = run.apply(plan.with("sum", split));
    let board = run.board();
    let report = run.finish();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    let (readings, n) = (board.read(), u64::from(lanes) * length);

    for (stage, sum) in by_stage(&readings) {
        let edges =
            || report.ledger.edges.iter().filter_map(|(name, edge)| Some((name.split_once("->")?, edge)));
        let done: u64 = edges().filter(|((_, to), _)| *to == stage).map(|(_, edge)| edge.received).sum();
        assert_eq!(sum.items_in, done, "{stage}");
        for (_, edge) in edges().filter(|((from, _), _)| *from == stage) {
            assert_eq!(sum.items_out, edge.sent, "{stage}");
        }
        assert_eq!(sum.waiting, 0, "{stage}");
    }
    let cloud = &readings["cloud"].telemetry;
    let model = cloud.stages.iter().find(|reading| reading.stage == "model").expect("the model's");
    assert_eq!(model.items_in, n);
    assert!(model.busy_us >= BATCH_US * model.calls + ITEM_US * n, "{model:?}");
    let edge = &readings["edge"].telemetry;
    let link = edge.links.iter().find(|link| link.to_stage == "model").expect("the link's");
    assert_eq!((&*link.to, &*link.from_stage, link.items), ("cloud", "shift", n));
    assert!(link.round_trip_us.is_none_or(|us| us >= ROUND_TRIP_US), "{link:?}");
    assert!(link.bytes > 8 * n, "{link:?}");
    let admitted: u64 = edge.sources.iter().map(|lane| lane.admitted).sum();
    assert_eq!((edge.sources.len(), admitted), (lanes as usize, n));
}
