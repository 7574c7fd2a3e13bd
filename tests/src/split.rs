//! Stages split over nodes: results equal to a run on one node, work divided by the shares, and shares that change
//! under load.

use std::collections::BTreeMap;
use std::time::Duration;

use jellybean_engine::{ErrorKind, Graph, Report};
use jellybean_operators::prelude::*;
use jellybean_tests::moves::{DIVISIBLE, Sinks, Work, never_moved, topology};
use jellybean_tests::{Random, Samples};

const NODES: [&str; 3] = ["edge", "hub", "cloud"];

/// Shares of the first two or of all three nodes.
type Weights = &'static [u32];

fn shares(weights: &[u32]) -> Assignment {
    Assignment::shared(NODES.into_iter().zip(weights.iter().copied()))
}

/// Every stage that can be split, split; the others where the source is.
fn split_plan(weights: &[u32]) -> Plan {
    DIVISIBLE
        .iter()
        .fold(Plan::single("edge"), |plan, stage| plan.with(*stage, shares(weights).batches(4, 5)))
}

/// Every stage but the source on one of three nodes, or on several if it can be, by chance.
fn random_plan(graph: &Graph, random: &mut Random) -> Plan {
    graph.stages().filter(|s| s.name != "samples").fold(Plan::single("edge"), |plan, stage| {
        let whole = Assignment::on(NODES[random.below(3) as usize]);
        let weights: Vec<u32> = (0..2 + random.below(2)).map(|_| random.below(4) as u32).collect();
        let is_split = DIVISIBLE.contains(&stage.name.as_str()) && random.below(3) > 0;
        let assignment = if is_split && weights.iter().any(|w| *w > 0) { shares(&weights) } else { whole };
        plan.with(&stage.name, assignment.batches(1 + random.below(8) as usize, 5))
    })
}

/// Starts the workflow on three nodes.
fn start(samples: Samples, plan: Plan) -> (Run, std::sync::Arc<Graph>, Sinks) {
    let (graph, sinks) = topology(samples);
    let run = Run::start(graph.clone(), plan, &NODES, Clock::real()).expect("starts");
    (run, graph, sinks)
}

/// Holds a run to the one on a single node.
fn check(report: &Report, sinks: &Sinks, (lanes, step_ms, length): (u32, u64, u64)) {
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert!(report.ledger.faults.is_empty(), "{:?}", report.ledger.faults);
    assert_eq!((report.frames, report.ledger_total.degraded), (length * u64::from(lanes), 0));
    let (expected, never) = never_moved(lanes, step_ms, length);
    let results = sinks.take();
    results.assert_equal(&expected);
    assert_eq!(report.output_digest, never.output_digest);
    for two in results.windows.windows(2) {
        assert!(two[0].0 < two[1].0 || two[0].1.0 < two[1].1.0, "windows stand by epoch and key: {two:?}");
    }
}

/// Checks that a lane's records, or a key's, went to the nodes as the schedule has it: of two nodes within one
/// record of the shares, of three within two.
fn check_turns(work: &Work, stage: &str, weights: Weights) {
    let total: u32 = weights.iter().sum();
    let bound = if weights.len() == 2 { 1.0 } else { 2.0 };
    for (lane, by_node) in work.of(stage) {
        let all: u64 = by_node.values().sum();
        for (node, weight) in NODES.iter().zip(weights) {
            let n = by_node.get(*node).copied().unwrap_or(0) as f64;
            let owed = all as f64 * f64::from(*weight) / f64::from(total);
            assert!((n - owed).abs() <= bound, "{stage}, lane {lane:?}, {weights:?}: {by_node:?}");
        }
    }
}

/// Checks that each key is at home on one node, and that every node with a share has some.
fn check_homes(work: &Work, weights: Weights) {
    let mut keys: BTreeMap<String, u32> = BTreeMap::new();
    for (key, by_node) in work.of("sum") {
        assert_eq!(by_node.len(), 1, "key {key:?} is on several nodes: {by_node:?}");
        *keys.entry(by_node.into_keys().next().unwrap()).or_default() += 1;
    }
    for (node, weight) in NODES.iter().zip(weights) {
        assert_eq!(keys.contains_key(*node), *weight > 0, "{weights:?}: {keys:?}");
    }
}

#[test]
fn equal_however_stages_are_split() {
    let (lanes, step_ms, length) = (3, 2, 500);
    for weights in [&[1, 1][..], &[3, 1], &[1, 7], &[1, 0], &[0, 1], &[1, 1, 1], &[1, 2, 4], &[2, 0, 5]] {
        let (run, _, sinks) = start(Samples::of_length(lanes, step_ms, length), split_plan(weights));
        check(&run.finish(), &sinks, (lanes, step_ms, length));
        check_turns(&sinks.work, "shift", weights);
        check_turns(&sinks.work, "model", weights);
        check_homes(&sinks.work, weights);
    }
}

/// Applies plans under load, and holds what came of it to the run on one node.
fn check_changes(first: Plan, seed: u64, plans: impl Iterator<Item = Box<dyn Fn(&Graph) -> Plan>>) {
    let (lanes, step_ms) = (3, 2);
    let samples = Samples::endless(lanes, step_ms);
    let (run, graph, sinks) = start(samples.clone(), first);
    let mut random = Random::new(seed);
    for plan in plans {
        assert!(!run.wait(Duration::from_micros(random.below(5_000))), "the run goes on");
        run.apply(plan(&graph)).expect("the change succeeds");
    }
    let length = run.accounts().total().admitted / u64::from(lanes) + 1_000;
    samples.end(length);
    check(&run.finish(), &sinks, (lanes, step_ms, length));
}

#[test]
fn changes_of_shares_are_not_seen_in_the_results() {
    let rounds: [&[u32]; 5] = [&[3, 1], &[0, 1], &[1, 1, 1], &[1, 0, 2], &[1, 1]];
    let plans = rounds.into_iter().cycle().take(20);
    let plans = plans.map(|weights| Box::new(move |_: &Graph| split_plan(weights)) as Box<dyn Fn(&_) -> _>);
    check_changes(split_plan(&[1, 1]), 1, plans);
}

#[test]
fn splits_and_moves_by_chance_are_not_seen_in_the_results() {
    for seed in 0..3 {
        let plans = (0..15).map(move |i| {
            Box::new(move |graph: &Graph| random_plan(graph, &mut Random::new(100 * seed + i)))
                as Box<dyn Fn(&_) -> _>
        });
        check_changes(Plan::single("edge"), seed, plans);
    }
}

#[test]
fn a_split_run_that_ends_during_changes_is_complete() {
    for seed in 0..10 {
        let (lanes, step_ms, length) = (2, 2, 200);
        let (run, graph, sinks) = start(Samples::of_length(lanes, step_ms, length), split_plan(&[1, 2, 1]));
        let mut random = Random::new(seed);
        // Some changes come while the sources end, some after; those are refused, and all is well.
        for _ in 0..30 {
            if run.apply(random_plan(&graph, &mut random)).is_err() {
                break;
            }
        }
        check(&run.finish(), &sinks, (lanes, step_ms, length));
    }
}

/// Stages without state by shares, those with state by others that stay.
fn plan_to_retune(weights: &[u32], batch_max: usize) -> Plan {
    DIVISIBLE.iter().fold(Plan::single("edge"), |plan, stage| {
        let weights = if ["sum", "window"].contains(stage) { &[1, 2, 1] } else { weights };
        plan.with(*stage, shares(weights).batches(batch_max, 5))
    })
}

#[test]
fn a_retune_takes_effect_at_its_epoch() {
    let (lanes, step_ms) = (3, 2);
    let samples = Samples::endless(lanes, step_ms);
    let (run, _, sinks) = start(samples.clone(), plan_to_retune(&[1, 0, 0], 1));
    let cuts = [[0, 1, 0], [0, 0, 1]].map(|weights| {
        assert!(!run.wait(Duration::from_millis(5)), "the run goes on");
        run.apply(plan_to_retune(&weights, 4)).expect("the retune succeeds")
    });
    assert!(cuts.iter().all(|cut| cut.generation.n == 1) && cuts[0].epoch < cuts[1].epoch, "{cuts:?}");
    let length = run.accounts().total().admitted / u64::from(lanes) + 1_000;
    samples.end(length);
    check(&run.finish(), &sinks, (lanes, step_ms, length));
    let [first, second] = cuts.map(|cut| cut.epoch.div_ceil(step_ms));
    let expected = [("edge", first), ("hub", second - first), ("cloud", length - second)];
    let expected = expected.into_iter().filter(|(_, n)| *n > 0).map(|(node, n)| (node.to_owned(), n));
    let expected: BTreeMap<_, _> = expected.collect();
    for stage in ["shift", "model"] {
        let work = sinks.work.of(stage);
        assert!(work.len() == 3 && work.values().all(|by_node| *by_node == expected), "{stage}: {work:?}");
    }
}

#[test]
fn retunes_are_not_seen_in_the_results() {
    let (lanes, step_ms) = (3, 2);
    let samples = Samples::endless(lanes, step_ms);
    let (run, _, sinks) = start(samples.clone(), plan_to_retune(&[1, 1, 1], 1));
    let mut random = Random::new(3);
    for n in 1..=70 {
        assert!(!run.wait(Duration::from_micros(random.below(5_000))), "the run goes on");
        let weights = [random.below(4), random.below(4), 1].map(|w| w as u32);
        let plan = plan_to_retune(&weights, 1 + random.below(8) as usize);
        let cut = run.apply(plan).expect("the retune succeeds");
        // The plans of a generation are bounded: another one begins after 64.
        assert_eq!(cut.generation.n, if n <= 64 { 1 } else { 2 }, "change {n}");
    }
    let length = run.accounts().total().admitted / u64::from(lanes) + 1_000;
    samples.end(length);
    check(&run.finish(), &sinks, (lanes, step_ms, length));
}

#[test]
fn error_shares_that_cannot_be() {
    let samples = Samples::endless(1, 2);
    let (run, _, sinks) = start(samples.clone(), Plan::single("edge"));
    let of = |stage: &str, assignment: Assignment| Plan::single("edge").with(stage, assignment);
    let nowhere = Assignment { node: String::new(), ..Assignment::on("edge") };
    let elsewhere = Assignment { node: "hub".into(), ..Assignment::shared([("edge", 1), ("cloud", 1)]) };
    for (plan, words) in [
        (of("model", shares(&[0, 0])), &["\"model\"", "shares of 0 alone", "above 0"][..]),
        (of("model", Assignment::shared([("edge", 0)])), &["\"model\"", "shares of 0 alone"]),
        (of("sum", shares(&[1, 1001])), &["\"sum\"", "share of 1001", "\"hub\"", "up to 1000"]),
        (
            of("model", Assignment::shared([("edge", 1), ("moon", 1)])),
            &["\"model\"", "unknown node \"moon\"", "cloud, edge, hub"],
        ),
        (of("model", nowhere), &["\"model\" is on no node", "`shares`"]),
        (of("model", elsewhere), &["\"model\" is on node \"hub\"", "no share there"]),
        (
            of("model", shares(&[1, 1]).slots_on("cloud", 2)),
            &["\"model\"", "slots on node \"cloud\"", "a share"],
        ),
        (of("model", shares(&[1, 1]).slots_on("hub", 0)), &["\"model\" has 0 slots", "1 to 1024"]),
        (of("model", Assignment::on("hub").admitting(5.0)), &["\"model\" is no source", "rate_max_per_s"]),
        (
            of("samples", Assignment::on("edge").admitting(f64::NAN)),
            &["\"samples\"", "rate_max_per_s is NaN"],
        ),
        (of("samples", Assignment::on("edge").admitting(-1.0)), &["\"samples\"", "rate_max_per_s is -1"]),
        (of("samples", shares(&[1, 1])), &["\"samples\" cannot be split", "source", "node = \"edge\""]),
        (of("count", shares(&[1, 1])), &["\"count\" cannot be split", "relation"]),
        (of("sums", shares(&[1, 1])), &["\"sums\" cannot be split", "sink"]),
        (of("samples", Assignment::shared([("hub", 1)])), &["source \"samples\" is open on node \"edge\""]),
    ] {
        let error = run.apply(plan).expect_err("the plan cannot be carried out");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "no {word:?} in: {error}");
        }
        assert!(!run.wait(Duration::ZERO), "the run goes on");
    }
    // One share is no split: any stage can have it.
    run.apply(of("count", Assignment::shared([("hub", 5)])))
        .expect("a good plan comes through after bad ones");
    let length = run.accounts().total().admitted + 500;
    samples.end(length);
    check(&run.finish(), &sinks, (1, 2, length));
}

#[test]
fn error_what_stays_at_its_site_is_split_as_what_it_comes_of() {
    let t = Topology::new("blurred");
    let seen = t.source("samples", Samples::of_length(1, 2, 10)).map("shift", |s| s.value);
    let blurred = seen.map("blur", |value| value / 2).stay_at_site();
    blurred.map("count", |value| value).pinned_to("edge").sink("out", Null::new());
    let graph = t.build().unwrap();
    let nodes = NODES.map(str::to_owned).into();
    let check = |shift: &[u32], blur: &[u32], count: &[u32]| {
        let plan = Plan::single("edge").with("shift", shares(shift)).with("blur", shares(blur));
        plan.with("count", shares(count)).check(&graph, &nodes).map_err(|e| e.to_string())
    };
    check(&[1, 2], &[1, 2], &[1]).expect("every record stays on its node");
    check(&[1], &[1], &[1]).expect("everything is on one node");
    let error = check(&[1, 2], &[2, 1], &[1]).expect_err("some records go from node to node");
    assert!(error.contains("\"blur\" may not leave its site"), "{error}");
    assert!(check(&[1], &[1, 2], &[1]).is_err() && check(&[1, 2], &[1], &[1]).is_err());
    let error = check(&[1], &[1], &[1, 1]).expect_err("it is pinned");
    assert!(error.contains("pinned to node \"edge\", not \"hub\""), "{error}");
}
