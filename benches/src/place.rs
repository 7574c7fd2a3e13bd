//! Placement: how long the solver takes, how good what it answers is, and what it saves from one plan to the next.
//!
//! Times are processor seconds of the one thread that solves.

mod generate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jellybean_benches::Spread;
use jellybean_engine::placement::{
    Answer, Budget, Decision, Mode, Problem, Running, Status, evaluate_from, import, solve, solve_from,
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const MODES: [Mode; 3] = [Mode::Paper, Mode::Exclusive, Mode::Shared];

/// Dollars per hour that a start counts as, in the runs that count them.
const USD_PER_START: f64 = 0.02;

/// Seconds for the generated instances.
const GENERATED_SECONDS: f64 = 2.0;

pub(crate) fn run(seconds: f64, files: &[String]) -> jellybean::Result<()> {
    let report = json!({
        "benchmark": "place",
        "published": published()?,
        "replan": replan()?,
        "trace": trace()?,
        "seconds_each": seconds,
        "instances": files.iter().map(|file| instance(Path::new(file), seconds)).collect::<Result<Vec<_>, _>>()?,
        "generated_seconds_each": GENERATED_SECONDS,
        "generated": generated()?,
    });
    println!("{report:#}");
    Ok(())
}

/// Processor seconds of this thread.
fn thread_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Solves for some seconds at most, and says how many it took.
fn timed(
    problem: &Problem,
    mode: Mode,
    most: f64,
    running: Option<&Running>,
) -> jellybean::Result<(Answer, f64)> {
    let began = thread_seconds();
    let go_on = || thread_seconds() - began < most;
    let budget = Budget { programs_max: u64::MAX, go_on: &go_on };
    let answer = match running {
        Some(running) => solve_from(problem, mode, &budget, running)?,
        None => solve(problem, mode, &budget)?,
    };
    Ok((answer, thread_seconds() - began))
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/placement").join(name)
}

fn published_at(image_per_s: f64, speech_per_s: f64, accuracy_min: f64) -> jellybean::Result<Problem> {
    let mut problem = import::prototype(&data("published-vqa"))?;
    for source in &mut problem.rates.sources {
        source.rate_per_s = if source.name.contains("Image") { image_per_s } else { speech_per_s };
    }
    problem.objectives.accuracy_min = Some(accuracy_min);
    Ok(problem)
}

/// The published input at every rate and floor, in every mode, against its proved optima.
fn published() -> jellybean::Result<Value> {
    let reference = std::fs::read_to_string(data("published-reference.csv")).unwrap_or_default();
    let mut modes = serde_json::Map::new();
    for (column, mode) in MODES.into_iter().enumerate() {
        let (mut ms, mut wrong, mut worst) = (Vec::new(), Vec::new(), 0.0_f64);
        for line in reference.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
            let (Some(rate), Some(floor)) = (number(0), number(1)) else { continue };
            let (answer, seconds) = timed(&published_at(rate, rate, floor)?, mode, 10.0, None)?;
            ms.push(seconds * 1e3);
            let holds = match (answer.cost_usd_per_h, number(2 + column)) {
                (Some(cost), Some(known)) => {
                    worst = worst.max((cost - known).abs() / known);
                    (cost - known).abs() <= 2e-5 * known && answer.status == Status::Optimal
                }
                (None, None) => answer.status == Status::Infeasible,
                _ => false,
            };
            if !holds {
                wrong.push(format!("{rate} at {floor}: {:?}", answer.cost_usd_per_h));
            }
        }
        let figures = json!({
            "cells": ms.len(),
            "wrong": wrong,
            "furthest_relative": worst,
            "processor_ms": Spread::of(ms),
        });
        modes.insert(name(mode), figures);
    }
    Ok(Value::Object(modes))
}

fn name(mode: Mode) -> String {
    format!("{mode:?}").to_lowercase()
}

/// From the optimum at 40 and 40 to rates a fifth more and less, each start at its price.
fn replan() -> jellybean::Result<Value> {
    let mut modes = serde_json::Map::new();
    for mode in [Mode::Exclusive, Mode::Shared] {
        let (answer, _) = timed(&published_at(40.0, 40.0, 56.0)?, mode, 10.0, None)?;
        let decision = answer.decision.unwrap_or_default();
        let (mut ms, mut cells) = (Vec::new(), Vec::new());
        for (image, speech) in
            [(48.0, 40.0), (32.0, 40.0), (40.0, 48.0), (40.0, 32.0), (48.0, 48.0), (32.0, 32.0)]
        {
            let problem = published_at(image, speech, 56.0)?;
            let mut starts = BTreeMap::new();
            for usd_per_start in [0.0, USD_PER_START] {
                let running = Running { decision: decision.clone(), usd_per_start };
                let (answer, seconds) = timed(&problem, mode, 10.0, Some(&running))?;
                if usd_per_start > 0.0 {
                    ms.push(seconds * 1e3);
                }
                let figures = json!({
                    "cost_usd_per_h": answer.cost_usd_per_h, "starts": answer.starts, "gap": answer.gap(),
                    "programs": answer.programs, "processor_ms": seconds * 1e3,
                });
                starts.insert(format!("{usd_per_start}"), figures);
            }
            cells.push(json!({ "image_per_s": image, "speech_per_s": speech, "usd_per_start": starts }));
        }
        modes.insert(name(mode), json!({ "processor_ms_with_starts": Spread::of(ms), "changes": cells }));
    }
    Ok(Value::Object(modes))
}

/// Days with noise of their own.
const DAYS: u64 = 10;

/// A day in 24 steps: a wave of 26 to 50 a second with a tenth of noise, planned anew at each: as if nothing ran, from
/// the running plan with starts that cost nothing, and with starts at their price. The first day by itself, and all.
fn trace() -> jellybean::Result<Value> {
    let mut modes = serde_json::Map::new();
    for mode in [Mode::Exclusive, Mode::Shared] {
        let mut policies = serde_json::Map::new();
        for (name, usd_per_start) in [("anew", None), ("0", Some(0.0)), ("0.02", Some(USD_PER_START))] {
            let days = (0..DAYS).map(|day| walk(mode, 24 + day, usd_per_start));
            let days = days.collect::<Result<Vec<Day>, _>>()?;
            let figures = json!({
                "first_day_usd": days[0].usd,
                "first_day_starts": days[0].starts,
                "usd": days.iter().map(|day| day.usd).sum::<f64>(),
                "starts": days.iter().map(|day| day.starts).sum::<usize>(),
                "starts_by_day": days.iter().map(|day| day.starts).collect::<Vec<_>>(),
                "proved": days.iter().map(|day| day.proved).sum::<usize>(),
                "processor_ms": Spread::of(days.into_iter().flat_map(|day| day.ms)),
            });
            policies.insert(name.to_owned(), figures);
        }
        modes.insert(name(mode), json!({ "days": DAYS, "usd_per_start": policies }));
    }
    Ok(Value::Object(modes))
}

/// What a day came to.
struct Day {
    usd: f64,
    starts: usize,
    /// Steps whose plan was proved the best.
    proved: usize,
    ms: Vec<f64>,
}

fn walk(mode: Mode, seed: u64, usd_per_start: Option<f64>) -> jellybean::Result<Day> {
    let mut noise = generate::Noise::new(seed);
    let mut day = Day { usd: 0.0, starts: 0, proved: 0, ms: Vec::new() };
    let mut decision: Option<Decision> = None;
    for step in 0..24 {
        let wave = 38.0 - 12.0 * (f64::from(step) / 24.0 * std::f64::consts::TAU).cos();
        let rates = [0, 1].map(|_| wave * noise.between(0.9, 1.1));
        let problem = published_at(rates[0], rates[1], 56.0)?;
        let running =
            decision.map(|decision| Running { decision, usd_per_start: usd_per_start.unwrap_or_default() });
        let looked_at = running.as_ref().filter(|_| usd_per_start.is_some());
        let (answer, seconds) = timed(&problem, mode, 10.0, looked_at)?;
        day.ms.push(seconds * 1e3);
        day.proved += usize::from(answer.status == Status::Optimal);
        let next = answer.decision.unwrap_or_default();
        day.usd += answer.cost_usd_per_h.unwrap_or(f64::NAN);
        day.starts += running.map_or(0, |running| {
            evaluate_from(&problem, mode, &next, Some(&running)).starts.unwrap_or_default()
        });
        decision = Some(next);
    }
    Ok(day)
}

/// An instance file in every mode, beside what is known of it, if a table of that lies in the folder above.
fn instance(file: &Path, seconds: f64) -> jellybean::Result<Value> {
    let problem = import::instance(file)?;
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let known = file.parent().and_then(Path::parent).map(|folder| folder.join("reference.csv"));
    let known = known.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let known: Vec<&str> = known
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&&*stem))
        .unwrap_or_default();
    let number = |at: usize| known.get(at).and_then(|field| field.parse::<f64>().ok());
    let mut modes = serde_json::Map::new();
    for (place, mode) in MODES.into_iter().enumerate() {
        let mut figures = figures(&problem, mode, seconds)?;
        figures["reference_usd_per_h"] = json!(number(9 + 3 * place));
        figures["reference_bound_usd_per_h"] = json!(number(10 + 3 * place));
        modes.insert(name(mode), figures);
    }
    Ok(json!({ "name": stem, "prototype_usd_per_h": number(18), "modes": modes }))
}

fn figures(problem: &Problem, mode: Mode, seconds: f64) -> jellybean::Result<Value> {
    let (answer, seconds) = timed(problem, mode, seconds, None)?;
    Ok(json!({
        "status": answer.status,
        "cost_usd_per_h": answer.cost_usd_per_h,
        "bound_usd_per_h": answer.bound_usd_per_h,
        "gap": answer.gap(),
        "programs": answer.programs,
        "processor_seconds": seconds,
    }))
}

/// A thousand nodes and twelve stages, with nodes that are alike and with nodes that all differ.
fn generated() -> jellybean::Result<Value> {
    let mut found = serde_json::Map::new();
    for (what, is_noisy) in [("identical", false), ("heterogeneous", true)] {
        let problem = generate::problem(1, 1_000, 12, is_noisy);
        for mode in [Mode::Exclusive, Mode::Shared] {
            let figures = figures(&problem, mode, GENERATED_SECONDS)?;
            found.insert(format!("1000 nodes, 12 stages, {what}, {}", name(mode)), figures);
        }
    }
    Ok(Value::Object(found))
}
