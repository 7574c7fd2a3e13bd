//! Cut-overs under load: results equal to a run that never moved, nothing lost, doubled or reordered.

use std::time::Duration;

use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::{Clock, Graph, Run};
use jellybean_tests::moves::{never_moved, topology};
use jellybean_tests::{Random, Samples};

/// A plan that puts every stage but the source on one of two nodes, by chance.
fn random_plan(graph: &Graph, random: &mut Random) -> Plan {
    let movable = graph.stages().filter(|s| s.name != "samples");
    movable.fold(Plan::single("edge"), |plan, stage| {
        let node = ["edge", "cloud"][random.below(2) as usize];
        let batch = 1 + random.below(8) as usize;
        plan.with(&stage.name, Assignment::on(node).batches(batch, 5))
    })
}

fn check_moves(cuts: u64, seed: u64) {
    let (lanes, step_ms) = (3, 2);
    let samples = Samples::endless(lanes, step_ms);
    let (graph, sinks) = topology(samples.clone());
    let mut random = Random::new(seed);
    let run =
        Run::start(graph.clone(), Plan::single("edge"), &["edge", "cloud"], Clock::real()).expect("starts");
    for _ in 0..cuts {
        assert!(!run.wait(Duration::from_micros(random.below(5_000))), "the run goes on");
        run.apply(random_plan(&graph, &mut random)).expect("the cut-over succeeds");
    }
    let length = run.accounts().total().admitted / u64::from(lanes) + 1_000;
    samples.end(length);
    let report = run.finish();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert_eq!(report.frames, length * u64::from(lanes));

    let (expected, never) = never_moved(lanes, step_ms, length);
    let results = sinks.take();
    results.assert_equal(&expected);
    assert_eq!(report.output_digest, never.output_digest);
}

#[test]
fn moves_are_not_seen_in_the_results() {
    for seed in 0..3 {
        check_moves(20, seed);
    }
}

#[test]
fn a_run_that_ends_during_changes_is_complete() {
    for seed in 0..20 {
        let length = 200;
        let (graph, sinks) = topology(Samples::of_length(2, 2, length));
        let mut random = Random::new(seed);
        let run = Run::start(graph.clone(), Plan::single("edge"), &["edge", "cloud"], Clock::real())
            .expect("starts");
        // Some changes come while the sources end, some after; those are refused, and all is well.
        for _ in 0..30 {
            if run.apply(random_plan(&graph, &mut random)).is_err() {
                break;
            }
        }
        let report = run.finish();
        assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
        sinks.take().assert_equal(&never_moved(2, 2, length).0);
    }
}
