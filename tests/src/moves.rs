//! A workflow with one stage of every kind, its results, and which node did how much of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::runner::{AnyRunner, Recipe, Runner, Runners};
use jellybean_engine::sink::{Collected, collect};
use jellybean_engine::{Change, Clock, Failure, Graph, Report, Run, Topology};
use jellybean_operators::prelude::*;

use crate::{Sample, Samples};

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

/// What a record is counted under: by lane, and by one of 13 remainders.
pub type Key = (u32, u64);

/// Everything a run's sinks got.
#[derive(Debug, PartialEq)]
pub struct Results {
    /// A state per key, at each record.
    pub sums: Vec<(u64, (Key, u64, u64))>,
    /// What was in each window of each key.
    pub windows: Vec<(u64, (Key, u64))>,
    /// Changes of counts.
    pub counts: Vec<(u64, Change<Count<u64>>)>,
}

impl Results {
    /// Compares record by record, so that a failure names the first difference.
    ///
    /// # Panics
    /// If they differ.
    pub fn assert_equal(&self, expected: &Self) {
        fn compare<T: PartialEq + std::fmt::Debug>(sink: &str, got: &[T], wanted: &[T]) {
            let n = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
            assert_eq!(got.get(n..n + 4), wanted.get(n..n + 4), "{sink} differs at {n}");
            assert_eq!(got[n..].first(), wanted[n..].first(), "{sink} differs at {n}");
            assert_eq!(got.len(), wanted.len(), "{sink} has another length");
        }
        compare("sums", &self.sums, &expected.sums);
        compare("windows", &self.windows, &expected.windows);
        compare("counts", &self.counts, &expected.counts);
    }
}

/// How many records of a stage a node had, by stage, node, and lane or key.
type Counts = BTreeMap<(&'static str, String, Key), u64>;

/// How much each node did for whom.
#[derive(Clone, Default)]
pub struct Work(Arc<Mutex<Counts>>);

impl Work {
    /// Notes one record, on the node whose thread this is.
    fn note(&self, stage: &'static str, key: Key) {
        let node = std::thread::current().name().unwrap_or_default().to_owned();
        let mut work = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *work.entry((stage, node, key)).or_default() += 1;
    }

    /// How many records of each key the nodes had of a stage.
    #[must_use]
    pub fn of(&self, stage: &str) -> BTreeMap<Key, BTreeMap<String, u64>> {
        let mut by_key = BTreeMap::<Key, BTreeMap<String, u64>>::new();
        for ((of, node, key), n) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if *of == stage {
                by_key.entry(*key).or_default().insert(node.clone(), *n);
            }
        }
        by_key
    }
}

/// The sinks of a run.
pub struct Sinks {
    sums: Collected<(Key, u64, u64)>,
    windows: Collected<(Key, u64)>,
    counts: Collected<Change<Count<u64>>>,
    /// Who did what.
    pub work: Work,
}

impl Sinks {
    /// What has come.
    #[must_use]
    pub fn take(&self) -> Results {
        Results { sums: self.sums.take(), windows: self.windows.take(), counts: self.counts.take() }
    }
}

/// The stages that several nodes can run together.
pub const DIVISIBLE: [&str; 5] = ["shift", "model", "sum", "window", "label"];

/// A closure, a model, a state per key, a window, a closure behind that, and a count, each of which can be moved.
///
/// # Panics
/// If the topology is wrong.
#[must_use]
pub fn topology(samples: Samples) -> (Arc<Graph>, Sinks) {
    let (t, work) = (Topology::new("moves"), Work::default());
    let [shifted, modelled, summed, labelled] = [(); 4].map(|()| work.clone());
    let modelled = t
        .source("samples", samples)
        .map("shift", move |s: Sample| {
            shifted.note("shift", (s.lane, 0));
            Sample { value: s.value >> 8, ..s }
        })
        .pooled(
            "model",
            Doubling,
            move |s: &Sample| {
                modelled.note("model", (s.lane, 0));
                s.value
            },
            |s, doubled| Sample { value: doubled, ..s },
        );
    let keyed = modelled.keyed(|s| (s.lane, s.value % 13));
    let (sums_sink, sums) = collect();
    keyed
        .stateful("sum", move |sum: &mut u64, s: Sample| {
            let key = (s.lane, s.value % 13);
            summed.note("sum", key);
            *sum = sum.wrapping_mul(31).wrapping_add(s.value);
            (key, s.number, *sum)
        })
        .sink("sums", sums_sink);
    let (windows_sink, windows) = collect();
    keyed
        .tumbling("window", 250, |n: &mut u64, s: Sample| *n += s.value % 7)
        .map("label", move |w| {
            labelled.note("label", w.key);
            (w.key, w.value)
        })
        .sink("windows", windows_sink);
    let (counts_sink, counts) = collect();
    modelled.relation(Keep::Millis(500)).count_by("count", |s| s.value % 5).sink("counts", counts_sink);
    (t.build().expect("the topology is right"), Sinks { sums, windows, counts, work })
}

/// The same samples through the same stages, all of them on one node.
///
/// # Panics
/// If the run cannot start.
#[must_use]
pub fn never_moved(lanes: u32, step_ms: u64, length: u64) -> (Results, Report) {
    let (graph, sinks) = topology(Samples::of_length(lanes, step_ms, length));
    let run = Run::start(graph, Plan::single("edge"), &["edge"], Clock::real()).expect("starts");
    let report = run.finish();
    (sinks.take(), report)
}
