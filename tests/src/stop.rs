//! Stopping in mid-run: what entered is finished and flushed, the rest is counted.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use crossbeam::channel::{Sender, bounded};
use jellybean_engine::Graph;
use jellybean_engine::sink::{Collected, collect};
use jellybean_operators::prelude::*;
use jellybean_tests::{Sample, Samples};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::program::{demo, errors, last_line};

/// When the sinks have seen enough.
const ENOUGH: u64 = 500;

struct Sinks {
    sums: Collected<u64>,
    windows: Collected<u64>,
}

/// Sums and windows of samples; says when `ENOUGH` have come.
fn topology(samples: Samples, reached: Sender<()>) -> (Arc<Graph>, Sinks) {
    let t = Topology::new("stop");
    let keyed = t.source("samples", samples).keyed(|_| ());
    let (sums_sink, sums) = collect();
    let summed = keyed.stateful("sum", |sum: &mut u64, s: Sample| {
        *sum = sum.wrapping_mul(31).wrapping_add(s.value);
        *sum
    });
    summed.sink("sums", sums_sink);
    let telling = Call::new(move |epoch, _: &u64| {
        if epoch == ENOUGH {
            reached.send(()).expect("the test waits for it");
        }
    });
    summed.sink("telling", telling);
    let (windows_sink, windows) = collect();
    let windowed = keyed.tumbling("window", 64, |n: &mut u64, s: Sample| *n = n.wrapping_add(s.value));
    windowed.map("value", |w| w.value).sink("windows", windows_sink);
    (t.build().unwrap(), Sinks { sums, windows })
}

#[test]
fn what_entered_is_finished_and_flushed() {
    let (reached, has_reached) = bounded(1);
    let (graph, sinks) = topology(Samples::endless(1, 1), reached);
    let run = Run::start(graph, Plan::single("here"), &["here"], Clock::real()).unwrap();
    has_reached.recv().unwrap();
    run.stop();
    run.stop();
    let report = run.finish();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    let total = &report.ledger_total;
    assert!(total.completed > ENOUGH);
    let stopped = total.admitted - total.completed;
    assert_eq!(total.dropped.get("stopped").copied().unwrap_or(0), stopped, "{total:?}");
    assert!(total.dropped.len() <= 1 && report.ledger.faults.is_empty(), "{:#?}", report.ledger);

    // The same as a run that ended there by itself: the last windows are flushed, though they were not over.
    let (reached, _has_reached) = bounded(1);
    let (graph, expected) = topology(Samples::of_length(1, 1, total.completed), reached);
    let ended = Run::start(graph, Plan::single("here"), &["here"], Clock::real()).unwrap().finish();
    assert_eq!(sinks.sums.take(), expected.sums.take());
    assert_eq!(sinks.windows.take(), expected.windows.take());
    assert_eq!(report.output_digest, ended.output_digest);
}

#[test]
fn a_run_that_is_stopped_at_once_or_dropped_ends() {
    let (reached, _has_reached) = bounded(1);
    let (graph, _sinks) = topology(Samples::endless(1, 1), reached.clone());
    let run = Run::start(graph, Plan::single("here"), &["here"], Clock::real()).unwrap();
    run.stop();
    assert!(run.finish().ledger.is_closed());
    let (graph, _sinks) = topology(Samples::of_length(1, 1, 100), reached);
    drop(Run::start(graph, Plan::single("here"), &["here"], Clock::real()).unwrap());
}

#[test]
fn ctrl_c_ends_the_command_with_a_closed_ledger() {
    let folder = TempDir::new().unwrap();
    // The windows go into a pipe, so that the test knows when some have come.
    let windows = folder.path().join("windows.jsonl");
    mkfifoat(CWD, &windows, Mode::RUSR | Mode::WUSR).unwrap();
    let mut command = demo(folder.path());
    command.args(["--seconds", "3600", "--window", "1", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(File::open(&windows).unwrap()).lines();
    lines.next().unwrap().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    lines.for_each(|line| assert!(line.is_ok()));
    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = last_line(&output);
    let total = &report["ledger_total"];
    let count = |field: &str| total[field].as_u64().unwrap();
    let stopped = total["dropped"].get("stopped").map_or(0, |n| n.as_u64().unwrap());
    assert_eq!(count("admitted"), count("completed") + stopped, "{total}");
    assert!((25..3600 * 25).contains(&count("completed")) && count("in_flight") == 0, "{total}");
    let edges = report["ledger"]["edges"].as_object().unwrap();
    assert!(edges.values().all(|edge| edge["in_flight"] == 0), "{edges:?}");
    // What was written out is whole: the last line, too.
    let lately = fs::read_to_string(folder.path().join("lately.jsonl")).unwrap();
    assert!(lately.ends_with("}\n"), "{lately}");
    assert!(lately.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}
