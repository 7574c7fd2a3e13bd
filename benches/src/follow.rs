//! A run that follows a load which steps and climbs, against the same load on one plan, and against stopping and
//! starting anew with another one.
//!
//! Each is a `jellybean demo` of the program beside this one, with an edge and a cloud as processes, and the detector
//! imitated at 30 ms a frame: so loads, prices and moves are what the files say, and the machine's own load is small.

mod files;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jellybean_benches::{Spread, failed, machine_seconds, monotonic_ns};
use jellybean_engine::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use self::files::Files;

/// The steps of a load: from a second on, frames a second.
type Load = [(u64, u64)];

/// Up to four times as much at once, and down again.
const STEP: &Load = &[(0, 30), (30, 120), (60, 30), (90, 30)];
/// The same little by little.
const RAMP: &Load = &[
    (0, 30),
    (20, 40),
    (25, 50),
    (30, 60),
    (35, 70),
    (40, 80),
    (45, 90),
    (50, 100),
    (55, 110),
    (60, 120),
    (75, 100),
    (80, 80),
    (85, 60),
    (90, 40),
    (95, 30),
    (120, 30),
];
/// How long each part of a run lasts that is stopped and started anew, in seconds.
const PART_S: u64 = 8;
/// Runs of so many seconds or more are not repeated on one plan.
const LONG: u64 = 100;
/// How soon a step is to be followed, in seconds.
const SOON_S: f64 = 3.0;

/// `follow step [TIMES] | ramp [TIMES] | noise [SECONDS]`.
pub(crate) fn run(load: &str, number: u64) -> Result<()> {
    let noise;
    let (load, times, steps): (&Load, u64, &[u64]) = match load {
        "ramp" => (RAMP, number.clamp(1, 20), &[]),
        "noise" => {
            noise = noisy(number.max(20));
            (&noise, 1, &[])
        }
        _ => (STEP, number.clamp(1, 20), &[30, 60]),
    };
    let files = Files::write()?;
    let trace = files.trace(load)?;
    let (all, began_ns) = (machine_seconds(), monotonic_ns());
    let is_long = number >= LONG;
    let still = (!is_long).then(|| demo(&files, &trace, &["--plan", &files.wide()])).transpose()?;
    let digest = still.as_ref().map(|still| still.report["output_digest"].clone());
    let runs: Result<Vec<Value>> = (0..times)
        .map(|_| {
            let live = demo(&files, &trace, &files.live())?;
            Ok(followed(&live.report, digest.as_ref(), steps))
        })
        .collect();
    let restart = (!steps.is_empty()).then(|| restarted(&files)).transpose()?;
    let seconds = (monotonic_ns() - began_ns) as f64 / 1e9;
    println!(
        "{:#}",
        json!({
            "benchmark": "follow", "load": load, "runs": runs?, "still": still.map(|still| in_short(&still.report)), "restart": restart,
            "seconds": seconds, "machine_cores": (machine_seconds() - all) / seconds,
        })
    );
    Ok(())
}

/// 30 frames a second, a tenth more or less, another number every second.
fn noisy(seconds: u64) -> Vec<(u64, u64)> {
    // Any sequence will do; this one jumps about.
    (0..=seconds).map(|second| (second, 27 + second.wrapping_mul(0x9e37_79b9) % 7)).collect()
}

/// A run of the program: what it told, and how long its process lived.
struct Ran {
    report: Value,
    seconds: f64,
}

fn demo(files: &Files, trace: &Path, arguments: &[impl AsRef<str>]) -> Result<Ran> {
    let began_ns = monotonic_ns();
    let output = command(files, trace, arguments)?.output().map_err(failed("the program does not start"))?;
    let seconds = (monotonic_ns() - began_ns) as f64 / 1e9;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let report = report.ok_or_else(|| {
        let said =
            String::from_utf8_lossy(&output.stderr).lines().rev().take(5).collect::<Vec<_>>().join("; ");
        Error::new(ErrorKind::Failed, format!("the run told no report: {said}"))
    })?;
    Ok(Ran { report, seconds })
}

fn command(files: &Files, trace: &Path, arguments: &[impl AsRef<str>]) -> Result<Command> {
    let mut command = Command::new(program()?);
    command.args(["demo", "--json", "--nodes", "processes", "--trace"]).arg(trace);
    command.arg("--infrastructure").arg(files.infrastructure()).arg("--out").arg(files.out());
    command.args(arguments.iter().map(AsRef::as_ref)).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

fn program() -> Result<PathBuf> {
    let beside = std::env::current_exe().map_err(failed("this program does not know where it is"))?;
    let program = beside.with_file_name("jellybean");
    let missing = || Error::new(ErrorKind::NotFound, "there is no `jellybean` beside this program");
    let way_out = "cargo build --release -p jellybean";
    program.is_file().then_some(program).ok_or_else(|| missing().way_out(way_out))
}

/// How a run followed its load.
fn followed(report: &Value, digest: Option<&Value>, steps: &[u64]) -> Value {
    let changes: Vec<&Value> = report["changes"].as_array().into_iter().flatten().collect();
    let done: Vec<&Value> = changes.iter().copied().filter(|change| change["error"].is_null()).collect();
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    // From when on frames go by it.
    let effective = |change: &Value| {
        let phases = &change["phases_ms"];
        number(&change["at_seconds"]) + (number(&phases["prepare"]) + number(&phases["propose"])) / 1e3
    };
    let after = steps.iter().enumerate().map(|(i, step)| {
        let until = steps.get(i + 1).map_or(f64::INFINITY, |next| *next as f64);
        let delays: Vec<f64> =
            done.iter().map(|c| effective(c)).filter(|s| (*step as f64..until).contains(s)).map(|s| s - *step as f64).collect();
        json!({ "step_at_s": step, "after_s": delays, "in_time": delays.first().is_some_and(|s| *s <= SOON_S) })
    });
    let decisions: Vec<&Value> = report["decisions"].as_array().into_iter().flatten().collect();
    let changed: Vec<&&Value> = decisions.iter().filter(|d| d["verdict"]["is"] == "changed").collect();
    // The n-th change that was made is of the n-th decision that led to one.
    let calm = done.iter().zip(&changed).filter(|(_, decision)| decision["trigger"]["cause"] != "overload");
    let ratios = calm.map(|(change, _)| {
        let p99 = |when: &str| number(&change["latency_ms"][when]["p99"]);
        p99("around") / p99("before")
    });
    let ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
    let loads = changed.iter().map(|decision| {
        json!({ "cause": decision["trigger"]["cause"], "predicted": decision["utilisation"],
            "measured": decision["measured_utilisation"], "usd_per_h": decision["usd_per_h_after"] })
    });
    json!({
        "after_steps": after.collect::<Vec<_>>(),
        "changes": done.len(), "failed_changes": changes.len() - done.len(), "decisions": decisions.len(),
        "same_results": digest.map(|digest| report["output_digest"] == *digest),
        "p99_around_over_before_without_overload": ratios,
        "loads": loads.collect::<Vec<_>>(),
        "run": in_short(report),
    })
}

fn in_short(report: &Value) -> Value {
    json!({
        "frames": report["frames"], "seconds": report["seconds"], "latency_ms": report["latency_ms"], "ids": report["ids"],
        "dropped": report["ledger_total"]["dropped"], "output_digest": report["output_digest"],
    })
}

/// The same step by stopping the run on one plan, and starting another on the other.
///
/// Between the two nothing is served: both processes live for longer than they have frames, by an end and a start each.
fn restarted(files: &Files) -> Result<Value> {
    let (low, high) = (files.trace(&[(0, 30), (PART_S, 30)])?, files.trace(&[(0, 120), (PART_S, 120)])?);
    let dark = |_| {
        let (before, after) = (
            demo(files, &low, &["--plan", &files.narrow()])?,
            demo(files, &high, &["--plan", &files.wide()])?,
        );
        Ok((before.seconds + after.seconds - 2.0 * PART_S as f64) / 2.0)
    };
    let dark: Result<Vec<f64>> = (0..5).map(dark).collect();
    let dark = Spread::of(dark?);
    Ok(
        json!({ "dark_seconds": dark, "frames_missed_at_120": dark.median * 120.0, "state_lost": "tracks and open windows" }),
    )
}

impl Files {
    /// What makes a run follow its load.
    fn live(&self) -> Vec<String> {
        let path = |file: &str| self.path(file).display().to_string();
        let flags = ["--live", "--profile", "--rates", "--live-settings"].map(str::to_owned);
        let [live, profile, rates, settings] = flags;
        vec![live, profile, path("profile.toml"), rates, path("rates.toml"), settings, path("settings.toml")]
    }
}
