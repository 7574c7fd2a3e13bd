//! Cut-overs under load: results equal to a run that never moved, nothing lost, doubled or reordered.

use std::sync::Arc;
use std::time::Duration;

use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::runner::{AnyRunner, Recipe, Runner, Runners};
use jellybean_engine::sink::{Collected, collect};
use jellybean_engine::{Change, Clock, Failure, Graph, Report, Run, Topology};
use jellybean_operators::prelude::*;
use jellybean_tests::{Random, Sample, Samples};

/// A stand-in for a model: doubles the value, on a pool.
struct Doubling;

struct Doubler;

impl Runners for Doubling {
    type In = u64;
    type Out = u64;

    fn resolve(&self, _assignment: &Assignment) -> jellybean_engine::Result<Recipe<u64, u64>> {
        let open = || Ok(Box::new(Doubler) as AnyRunner<u64, u64>);
        Ok(Recipe { key: "doubler".into(), open: Arc::new(open) })
    }
}

impl Runner for Doubler {
    type In = u64;
    type Out = u64;

    fn run(&mut self, batch: Vec<u64>) -> Vec<Result<u64, Failure>> {
        batch.into_iter().map(|v| Ok(v.wrapping_mul(2))).collect()
    }
}

/// Everything a run's sinks got.
#[derive(Debug, PartialEq)]
struct Results {
    sums: Vec<(u64, (u32, u64, u64))>,
    windows: Vec<(u64, Windowed<u32, u64>)>,
    counts: Vec<(u64, Change<Count<u64>>)>,
}

struct Sinks {
    sums: Collected<(u32, u64, u64)>,
    windows: Collected<Windowed<u32, u64>>,
    counts: Collected<Change<Count<u64>>>,
}

impl Sinks {
    fn take(&self) -> Results {
        Results { sums: self.sums.take(), windows: self.windows.take(), counts: self.counts.take() }
    }
}

/// A model, a state per key, a window and a count, each of which can be moved.
fn topology(samples: Samples) -> (Arc<Graph>, Sinks) {
    let t = Topology::new("moves");
    let modelled = t
        .source("samples", samples)
        .map("shift", |s: Sample| Sample { value: s.value >> 8, ..s })
        .pooled("model", Doubling, |s: &Sample| s.value, |s, doubled| Sample { value: doubled, ..s });
    let keyed = modelled.keyed(|s| s.lane);
    let (sums_sink, sums) = collect();
    keyed
        .stateful("sum", |sum: &mut u64, s: Sample| {
            *sum = sum.wrapping_mul(31).wrapping_add(s.value);
            (s.lane, s.number, *sum)
        })
        .sink("sums", sums_sink);
    let (windows_sink, windows) = collect();
    keyed.tumbling("window", 250, |n: &mut u64, s: Sample| *n += s.value % 7).sink("windows", windows_sink);
    let (counts_sink, counts) = collect();
    modelled.relation(Keep::Millis(500)).count_by("count", |s| s.value % 5).sink("counts", counts_sink);
    (t.build().expect("the topology is right"), Sinks { sums, windows, counts })
}

/// A plan that puts every stage but the source on one of two nodes, by chance.
fn random_plan(graph: &Graph, random: &mut Random) -> Plan {
    let movable = graph.stages().filter(|s| s.name != "samples");
    movable.fold(Plan::single("edge"), |plan, stage| {
        let node = ["edge", "cloud"][random.below(2) as usize];
        let batch = 1 + random.below(8) as usize;
        plan.with(&stage.name, Assignment::on(node).batches(batch, 5))
    })
}

/// Compares record by record, so that a failure names the first difference.
fn assert_equal(results: &Results, expected: &Results) {
    fn compare<T: PartialEq + std::fmt::Debug>(sink: &str, got: &[T], wanted: &[T]) {
        let n = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        assert_eq!(got.get(n..n + 4), wanted.get(n..n + 4), "{sink} differs at {n}");
        assert_eq!(got[n..].first(), wanted[n..].first(), "{sink} differs at {n}");
        assert_eq!(got.len(), wanted.len(), "{sink} has another length");
    }
    compare("sums", &results.sums, &expected.sums);
    compare("windows", &results.windows, &expected.windows);
    compare("counts", &results.counts, &expected.counts);
}

fn never_moved(lanes: u32, step_ms: u64, length: u64) -> (Results, Report) {
    let (graph, sinks) = topology(Samples::of_length(lanes, step_ms, length));
    let run = Run::start(graph, Plan::single("edge"), &["edge"], Clock::real()).expect("starts");
    let report = run.finish();
    (sinks.take(), report)
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
    assert_equal(&results, &expected);
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
        assert_equal(&sinks.take(), &never_moved(2, 2, length).0);
    }
}
