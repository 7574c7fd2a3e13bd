//! Runners that hang are interrupted after their timeout, and given up on where that does not help.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use jellybean_engine::runner::{AnyRunner, Interrupter, Recipe, Runner, Runners};
use jellybean_engine::sink::collect;
use jellybean_engine::{Failure, Reason, Report};
use jellybean_operators::prelude::*;
use jellybean_tests::{Sample, Samples};

const LENGTH: u64 = 60;
const TIMEOUT_MS: u64 = 100;

/// Runners that hang on some numbers until they are told to go on.
struct Hanging {
    is_interruptible: bool,
    hangs: fn(u64) -> bool,
    orders: (Sender<()>, Receiver<()>),
}

struct Hang {
    is_interruptible: bool,
    hangs: fn(u64) -> bool,
    orders: (Sender<()>, Receiver<()>),
}

impl Runners for Hanging {
    type In = u64;
    type Out = u64;

    fn resolve(&self, _assignment: &Assignment) -> jellybean_engine::Result<Recipe<u64, u64>> {
        let (is_interruptible, hangs, orders) = (self.is_interruptible, self.hangs, self.orders.clone());
        let open = move || {
            let runner = Hang { is_interruptible, hangs, orders: orders.clone() };
            Ok(Box::new(runner) as AnyRunner<u64, u64>)
        };
        Ok(Recipe { key: "hanging".into(), open: Arc::new(open) })
    }
}

impl Runner for Hang {
    type In = u64;
    type Out = u64;

    fn run(&mut self, batch: Vec<u64>) -> Vec<Result<u64, Failure>> {
        if self.is_interruptible {
            // As real ones do: an order that came when nothing ran is forgotten.
            self.orders.1.try_iter().for_each(drop);
        }
        if batch.iter().any(|number| (self.hangs)(*number)) {
            // An error means that the test is over.
            _ = self.orders.1.recv();
            return batch.iter().map(|_| Err(Failure::new(Reason::TIMEOUT, "interrupted"))).collect();
        }
        batch.into_iter().map(Ok).collect()
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let orders = self.orders.0.clone();
        self.is_interruptible.then(|| Arc::new(move || _ = orders.try_send(())) as Interrupter)
    }
}

/// The numbers that came through runners that hang on some, and the report.
fn run(is_interruptible: bool, hangs: fn(u64) -> bool) -> (Vec<u64>, Report) {
    let orders = bounded(1);
    let t = Topology::new("hang");
    let (sink, got) = collect();
    let runners = Hanging { is_interruptible, hangs, orders: orders.clone() };
    t.source("samples", Samples::of_length(1, 1, LENGTH))
        .pooled("model", runners, |s: &Sample| s.number, |_, number| number)
        .sink("sink", sink);
    let model = Assignment { timeout_ms: TIMEOUT_MS, ..Assignment::on("here") };
    let plan = Plan::single("here").with("model", model);
    let report = Run::start(t.build().unwrap(), plan, &["here"], Clock::real()).unwrap().finish();
    // Whoever hangs for ever may end with the test.
    _ = orders.0.try_send(());
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert_eq!(report.ledger_total.completed, LENGTH);
    let lost = LENGTH - report.ledger.edges["model->sink"].sent;
    assert_eq!(report.ledger_total.degraded, lost);
    assert_eq!(report.ledger.edges["samples->model"].dropped, [("timeout".to_owned(), lost)].into());
    (got.take().into_iter().map(|(_, number)| number).collect(), report)
}

#[test]
fn error_a_runner_that_hangs_is_interrupted() {
    // Neighbours, too: the second one waits behind the first, and hangs in its turn.
    let hangs = |number| number % 30 == 20 || number % 30 == 21;
    let (got, report) = run(true, hangs);
    assert_eq!(got, (0..LENGTH).filter(|n| !hangs(*n)).collect::<Vec<_>>());
    assert_eq!(report.ledger.examples["samples->model timeout"], "interrupted");
}

#[test]
fn error_a_runner_that_cannot_be_interrupted_is_given_up_on() {
    let (got, report) = run(false, |number| number == 20);
    assert_eq!(got, (0..20).collect::<Vec<_>>(), "its only slot is lost");
    assert!(
        report.ledger.examples["samples->model timeout"].contains("hangs"),
        "{:?}",
        report.ledger.examples
    );
}
