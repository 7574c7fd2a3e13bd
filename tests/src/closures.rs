//! User code that fails or panics costs the item it failed on; the run goes on.

use std::sync::Arc;

use jellybean_engine::runner::{AnyRunner, Recipe, Runner, Runners};
use jellybean_engine::sink::collect;
use jellybean_engine::{Failure, Report};
use jellybean_operators::prelude::*;
use jellybean_operators::run_here;
use jellybean_tests::{Sample, Samples};

const LENGTH: u64 = 100;

/// What goes wrong: every tenth sample, the very first among them.
fn is_bad(sample: &Sample) -> bool {
    sample.number.is_multiple_of(10)
}

fn trip(sample: &Sample) {
    assert!(!is_bad(sample), "sample {} is bad", sample.number);
}

/// Runs samples through a stage called `stage`, and holds that it dropped the bad ones for this reason and
/// nothing else.
fn check(reason: &str, build: impl FnOnce(&Stream<Sample>)) -> Report {
    let t = Topology::new("closures");
    build(&t.source("samples", Samples::of_length(1, 1, LENGTH)));
    let report = run_here(&t).unwrap();
    let ledger = &report.ledger;
    assert!(ledger.is_closed(), "{ledger:#?}");
    assert_eq!(
        (report.ledger_total.completed, report.ledger_total.degraded),
        (LENGTH, LENGTH / 10),
        "{ledger:#?}"
    );
    let edge = &ledger.edges["samples->stage"];
    assert_eq!((edge.sent, edge.received), (LENGTH, LENGTH - LENGTH / 10), "{ledger:#?}");
    let dropped: Vec<_> = edge.dropped.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
    assert_eq!(dropped, [(reason, LENGTH / 10)]);
    let example = &ledger.examples[&format!("samples->stage {reason}")];
    assert!(example.contains("sample 0 is bad"), "{example}");
    report
}

/// The good samples' numbers.
fn good() -> Vec<u64> {
    (0..LENGTH).filter(|n| !n.is_multiple_of(10)).collect()
}

fn numbers(got: Vec<(u64, u64)>) -> Vec<u64> {
    got.into_iter().map(|(_, number)| number).collect()
}

#[test]
fn error_stateless() {
    let (sink, got) = collect();
    check("panic", |s| {
        let mapped = s.map("stage", |s| {
            trip(&s);
            s.number
        });
        mapped.sink("sink", sink);
    });
    assert_eq!(numbers(got.take()), good());

    let (sink, got) = collect();
    check("rejected", |s| {
        let mapped = s.try_map("stage", |s| match is_bad(&s) {
            true => Err(format!("sample {} is bad", s.number)),
            false => Ok(s.number),
        });
        mapped.sink("sink", sink);
    });
    assert_eq!(numbers(got.take()), good());

    let (sink, got) = collect();
    check("panic", |s| {
        let kept = s.filter("stage", |s| {
            trip(s);
            true
        });
        kept.map("number", |s| s.number).sink("sink", sink);
    });
    assert_eq!(numbers(got.take()), good());
}

#[test]
fn error_a_state_and_its_key() {
    let (sink, got) = collect();
    check("panic", |s| {
        let sums = s.keyed(|_| ()).stateful("stage", |sum: &mut u64, s| {
            trip(&s);
            *sum += 1;
            *sum
        });
        sums.sink("sink", sink);
    });
    assert_eq!(numbers(got.take()), (1..=90).collect::<Vec<_>>(), "the state goes on");

    let (sink, got) = collect();
    check("panic", |s| s.keyed(trip).stateful("stage", |(), s| s.number).sink("sink", sink));
    assert_eq!(numbers(got.take()), good());
}

#[test]
fn error_a_window_whose_first_record_fails_still_closes() {
    let (sink, got) = collect();
    check("panic", |s| {
        let windows = s.keyed(|_| ()).tumbling("stage", 10, |n: &mut u64, s| {
            trip(&s);
            *n += 1;
        });
        windows.map("value", |w| w.value).sink("sink", sink);
    });
    assert_eq!(got.take(), (0..10).map(|i| (10 * i + 9, 9)).collect::<Vec<_>>());
}

#[test]
fn error_a_count() {
    let (sink, got) = collect();
    check("panic", |s| {
        s.count_by("stage", trip).map("count", |c| c.diff * c.record.count).sink("sink", sink)
    });
    assert_eq!(got.take().into_iter().map(|(_, change)| change).sum::<i64>(), 90);
}

#[test]
fn error_a_sink() {
    let (sender, got) = crossbeam::channel::unbounded();
    check("panic", |s| {
        s.sink(
            "stage",
            Call::new(move |_, s: &Sample| {
                trip(s);
                sender.send(s.number).unwrap();
            }),
        );
    });
    assert_eq!(got.try_iter().collect::<Vec<_>>(), good());
}

/// Runners that panic on bad samples.
struct Tripping;

impl Runners for Tripping {
    type In = Sample;
    type Out = u64;

    fn resolve(&self, _assignment: &Assignment) -> jellybean_engine::Result<Recipe<Sample, u64>> {
        let open = || Ok(Box::new(Self) as AnyRunner<Sample, u64>);
        Ok(Recipe { key: "tripping".into(), open: Arc::new(open) })
    }
}

impl Runner for Tripping {
    type In = Sample;
    type Out = u64;

    fn run(&mut self, batch: Vec<Sample>) -> Vec<Result<u64, Failure>> {
        batch.iter().for_each(trip);
        batch.into_iter().map(|s| Ok(s.number)).collect()
    }
}

#[test]
fn error_a_runner_and_what_feeds_it() {
    let (sink, got) = collect();
    check("panic", |s| s.pooled("stage", Tripping, Sample::clone, |_, number| number).sink("sink", sink));
    assert_eq!(numbers(got.take()), good());

    let (sink, got) = collect();
    let input = |s: &Sample| {
        trip(s);
        Sample { number: 1, ..*s }
    };
    check("panic", |s| s.pooled("stage", Tripping, input, |s, _| s.number).sink("sink", sink));
    assert_eq!(numbers(got.take()), good());

    let (sink, got) = collect();
    let join = |s: Sample, _| {
        trip(&s);
        s.number
    };
    let fine = |s: &Sample| Sample { number: 1, ..*s };
    check("panic", |s| s.pooled("stage", Tripping, fine, join).sink("sink", sink));
    assert_eq!(numbers(got.take()), good());
}
