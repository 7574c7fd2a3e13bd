use std::collections::BTreeMap;

use jellybean_engine::client::Overview;
use jellybean_engine::infrastructure::Infrastructure;
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::telemetry::{LinkReading, Readings, SourceReading, StageReading, Telemetry};
use jellybean_engine::{Accounts, GenerationId, Moving, SourceAccount};

use super::draw::{Seen, printed, text_of};
use super::view::{History, View};

const SECOND_US: u64 = 1_000_000;

/// Two nodes that have worked for so many seconds: 25 frames a second, a detector on a server that takes 30 ms.
fn overview(seconds: u64) -> Overview {
    let stage = |stage: &str, per_s: u64, busy_us: u64, slots: u32| StageReading {
        stage: stage.into(),
        items_in: per_s * seconds,
        items_out: per_s * seconds,
        busy_us: busy_us * per_s * seconds,
        calls: per_s * seconds,
        slots,
        ..StageReading::default()
    };
    let cameras =
        StageReading { items_in: 0, latency_ms: Some([41.0, 62.5, 140.0]), ..stage("cameras", 25, 0, 0) };
    let detect = StageReading { variant: Some("w16".into()), waiting: 3, ..stage("detect", 25, 30_000, 2) };
    let (admitted, dropped, offered) = (25 * seconds, seconds, 25 * seconds);
    let lane = SourceReading { source: "cameras".into(), lane: "north".into(), admitted, dropped, offered };
    let link = LinkReading {
        to: "cloud".into(),
        from_stage: "cameras".into(),
        to_stage: "detect".into(),
        items: 25 * seconds,
        bytes: 1_250_000 * seconds,
        resent: 2,
        round_trip_us: Some(20_400),
    };
    let account = SourceAccount {
        admitted,
        completed: 23 * seconds,
        in_flight: seconds,
        dropped: BTreeMap::from([("overflow".into(), dropped)]),
        ..SourceAccount::default()
    };
    let ledger =
        Accounts { sources: BTreeMap::from([("cameras/north".into(), account)]), ..Accounts::default() };
    let at_us = seconds * SECOND_US;
    let telemetry = |node: &str| Telemetry { node: node.into(), at_us, ..Telemetry::default() };
    let edge =
        Telemetry { stages: vec![cameras], links: vec![link], sources: vec![lane], ..telemetry("edge") };
    let cloud = Telemetry { stages: vec![detect, stage("count", 25, 12, 0)], ..telemetry("cloud") };
    let plan = Plan::single("cloud").with("cameras", Assignment::on("edge"));
    Overview {
        topology: "junction".into(),
        term: 1,
        now_us: at_us + SECOND_US / 2,
        began_us: Some(0),
        generation: Some(GenerationId { term: 1, n: 3 }),
        plan: Some(plan),
        moving: None,
        nodes: BTreeMap::from([("edge".into(), true), ("cloud".into(), true), ("spare".into(), false)]),
        readings: BTreeMap::from([
            ("edge".into(), Readings { telemetry: edge, ledger }),
            ("cloud".into(), Readings { telemetry: cloud, ..Readings::default() }),
        ]),
    }
}

fn infrastructure() -> Infrastructure {
    serde_json::from_value(serde_json::json!({
        "version": 1,
        "controller": "127.0.0.1:1",
        "node": [
            { "name": "edge", "site": "yard", "tier": "hub", "listen": "127.0.0.1:2", "slots": 1, "usd_per_h": 0.05 },
            { "name": "cloud", "site": "region", "tier": "cloud", "listen": "127.0.0.1:3", "slots": 8, "usd_per_h": 0.4 },
            { "name": "spare", "site": "region", "tier": "cloud", "listen": "127.0.0.1:4", "slots": 8, "usd_per_h": 0.4 },
        ],
        "link": [{
            "from": "yard", "to": "region", "mbit_per_s": 100.0, "round_trip_ms": 20.0, "usd_per_gb": 0.1
        }],
    }))
    .expect("an infrastructure")
}

fn view_of(overviews: &[Overview]) -> View {
    let mut history = History::default();
    overviews.iter().for_each(|overview| history.hear(overview));
    history.view(overviews.last().expect("there is one"), Some(&infrastructure()))
}

#[test]
fn rates_are_differences_of_counters() {
    let view = view_of(&[overview(10), overview(12)]);
    let detect = view.stages.iter().find(|stage| stage.stage == "detect").expect("it is there");
    let near = |value: Option<f64>, expected: f64| {
        assert!(value.is_some_and(|value| (value - expected).abs() < 1e-6), "{value:?} and {expected}");
    };
    near(detect.in_per_s, 25.0);
    near(detect.service_ms, 30.0);
    near(detect.load, 0.375);
    let cloud = view.nodes.iter().find(|node| node.node == "cloud").expect("it is there");
    near(cloud.busy, 0.75);
    near(view.links[0].mbit_per_s, 10.0);
    near(view.sources[0].dropped_per_s, 1.0);
    let gb_per_h = 1_250_000.0 * 3_600.0 / (1_u64 << 30) as f64;
    near(view.usd_per_h, 0.05 + 0.4 + 0.1 * gb_per_h);
    assert_eq!((view.ledger.admitted, view.ledger.completed, view.ledger.in_flight), (300, 276, 12));
}

#[test]
fn without_a_second_report_there_is_no_rate() {
    let mut history = History::default();
    history.hear(&overview(10));
    assert!(!history.is_whole());
    // The same report once more is no second one.
    history.hear(&overview(10));
    assert!(!history.is_whole());
    assert!(history.view(&overview(10), None).stages.iter().all(|stage| stage.in_per_s.is_none()));
    history.hear(&overview(11));
    assert!(history.is_whole());
}

#[test]
fn a_node_that_starts_again_has_no_rate_until_its_next_report() {
    let mut again = overview(12);
    let young = overview(1).readings.remove("cloud").expect("it is there");
    let cloud = again.readings.get_mut("cloud").expect("it is there");
    *cloud = young;
    cloud.telemetry.at_us = 12 * SECOND_US;
    let of =
        |view: &View, stage: &str| view.stages.iter().find(|s| s.stage == stage).and_then(|s| s.in_per_s);
    let view = view_of(&[overview(10), again.clone()]);
    assert_eq!(of(&view, "detect"), None);
    assert!(
        of(&view, "cameras").is_none() && view.stages.iter().any(|s| s.out_per_s == Some(25.0)),
        "others have"
    );
    let mut later = overview(13);
    later.readings.insert("cloud".into(), {
        let mut readings = overview(2).readings.remove("cloud").expect("it is there");
        readings.telemetry.at_us = 13 * SECOND_US;
        readings
    });
    assert_eq!(of(&view_of(&[overview(10), again, later]), "detect"), Some(25.0));
}

fn drawn(width: u16, height: u16) -> String {
    let mut view = view_of(&[overview(10), overview(12)]);
    let missing = ["cloud".to_owned()].into();
    view.moving = Some(Moving { phase: "drain".into(), to: None, cut: Some(12_400), missing });
    text_of(&view, width, height, &mut Seen::default())
}

#[test]
fn it_fits_on_80_by_24() {
    let text = drawn(80, 24);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 24);
    for expected in [
        "junction  generation 1.3  0:00:12  $0.8691/h",
        "admitted 300 = completed 276 + in flight 12 + dropped 12; degraded 0",
        "dropped: overflow 12",
        "drain at epoch 12400, waits for cloud",
    ] {
        assert!(lines.contains(&expected), "{expected}\n{text}");
    }
    let words = |line: &&str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = lines.iter().map(words).collect();
    for expected in [
        "cloud region 38% 0.75 2 0 0.4000 0.5",
        "spare region - - 0 - 0.0000 gone",
        "detect cloud w16 25.0 25.0 30.0 38% 3",
        "edge cloud cameras > detect 25.0 10.0 20.4 2",
    ] {
        assert!(rows.iter().any(|row| row.join(" ") == expected), "{expected}\n{text}");
    }
}

#[test]
fn a_wide_terminal_shows_more_and_what_does_not_fit_is_counted() {
    let wide = drawn(140, 40);
    assert!(wide.lines().any(|line| line.contains("P95 MS")) && wide.contains("62.5"), "{wide}");
    let mut view = view_of(&[overview(10), overview(12)]);
    let stage = view.stages[0].clone();
    view.stages
        .extend((0..40).map(|i| super::view::StageView { stage: format!("stage-{i}"), ..stage.clone() }));
    let mut seen = Seen::default();
    let text = text_of(&view, 80, 24, &mut seen);
    assert!(text.contains(" more") && !text.contains("stage-39"), "{text}");
    seen.scroll = usize::MAX;
    let text = text_of(&view, 80, 24, &mut seen);
    assert!(text.contains(" above") && text.contains("stage-39"), "{text}");
    assert!(seen.scroll < view.stages.len());
    let all = printed(&view);
    assert!(all.contains("stage-0 ") && all.contains("stage-39"), "{all}");
}

#[test]
fn it_can_be_drawn_on_any_size_and_of_nothing() {
    let sizes = (1..90).step_by(8).flat_map(|width| (1..30).step_by(3).map(move |height| (width, height)));
    for (width, height) in sizes {
        _ = drawn(width, height);
        _ = text_of(&View::default(), width, height, &mut Seen::default());
    }
}
