//! Benchmarks, one subcommand each; every one prints a JSON object, as kept under `runs/`.
//!
//! `cargo run --release -p jellybean-benches -- bare-loop | cameras | idle | memory | cuts | frame-path | workload | workload-split |
//! moves | place | outage | link | sever | behind | profile-twice | simulate | fuzz`

#![allow(clippy::print_stdout, reason = "results go to standard output")]

mod bare_loop;
mod behind;
mod cameras;
mod cluster;
mod cuts;
mod follow;
mod frame_path;
mod fuzz;
mod idle;
mod link;
mod memory;
mod moves;
mod outage;
mod place;
mod profile_twice;
mod sever;
mod simulate;
mod workload;

use std::process::ExitCode;

use jellybean_operators::fetch::{Cache, Environment, onnxruntime_library, silent};
use jellybean_operators::model::runtime;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize| arguments.get(i).map(String::as_str);
    let number = |i: usize, default: u64| argument(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let outcome = with_runtime(argument(0)).and_then(|()| match argument(0) {
        Some("bare-loop") => {
            bare_loop::run(argument(1).unwrap_or("w4"), number(2, 5), number(3, 1).clamp(1, 64) as usize)
        }
        Some("cameras") => cameras::run(number(1, 20)),
        Some("idle") => idle::run(number(1, 20), number(2, 1)),
        Some("memory") => memory::run(number(1, 100_000)),
        Some("cuts") => cuts::run(number(1, 200), number(2, 1)),
        Some("frame-path") => frame_path::run(argument(1), argument(2)),
        Some("workload") => workload::run(argument(1).unwrap_or("."), number(2, 2), number(3, 1)),
        Some("workload-split") => workload::split::run(argument(1).unwrap_or("."), number(2, 1)),
        Some("moves") => moves::run(number(1, 50), number(2, 1_000), number(3, 2_000), argument(4)),
        Some("node") => {
            let blueprint = match argument(1) {
                Some("moves") => moves::blueprint(),
                Some("idle") => idle::blueprint(),
                Some("behind") => behind::blueprint(),
                _ => workload::split::blueprint(),
            };
            let text = |i| argument(i).unwrap_or_default();
            cluster::serve(blueprint, text(2), text(3), text(4))
        }
        Some("behind") => behind::run(number(1, 60)),
        Some("follow") => follow::run(argument(1).unwrap_or("step"), number(2, 1)),
        Some("fuzz") => fuzz::run(number(1, 60), number(2, 0)),
        Some("simulate") => simulate::run(number(1, 1_000), number(2, 0), argument(3) == Some("piloted")),
        Some("place") => {
            let seconds = argument(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
            place::run(seconds, arguments.get(2..).unwrap_or_default())
        }
        Some("outage") => outage::run(number(1, 5)),
        Some("profile-twice") => {
            profile_twice::run(argument(1).unwrap_or_default(), argument(2).unwrap_or_default())
        }
        Some("link") => link::run(number(1, 5)),
        Some("sever") => sever::run(number(1, 10)),
        Some("sever-end") => sever::serve(argument(1).unwrap_or_default()),
        Some("link-end") => link::serve(argument(1).unwrap_or_default(), argument(2).unwrap_or_default()),
        _ => {
            println!("bare-loop [MODEL PAIRS SLOTS] | cameras [SECONDS] | idle [SECONDS NODES] | memory [FRAMES] | cuts [N SEED] | frame-path [FOLDER VARIANT] | workload [FOLDER SLOTS BATCH] | workload-split [FOLDER BATCH] | moves [CHANGES KEYS RATE KINDS] | place [SECONDS FILES] | outage [TRIES] | link [PAIRS] | sever [TIMES] | profile-twice FILE FILE | simulate [RUNS SEED piloted] | behind [SECONDS] | follow [LOAD NUMBER] | fuzz [SECONDS SEED]");
            Ok(())
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The benches of links and of placement know of no model.
fn with_runtime(bench: Option<&str>) -> jellybean::Result<()> {
    if bench.is_some_and(|bench| ["link", "sever", "place"].iter().any(|known| bench.starts_with(known))) {
        return Ok(());
    }
    let cache = Cache::new(Environment::of_process())?;
    runtime::load(&onnxruntime_library(&cache, None, &runtime::probe, &silent)?)
}
