//! Simulated runs by seed: how many held, and how much of what can happen they saw.

use std::collections::BTreeMap;

use jellybean_engine::Clock;
use jellybean_engine::sim::{Seen, simulate, simulate_piloted};
use serde_json::json;

/// Failing seeds that are told.
const TOLD_MAX: usize = 20;

pub(crate) fn run(runs: u64, seed: u64, is_piloted: bool) -> jellybean::Result<()> {
    let clock = Clock::real();
    let mut failures = Vec::new();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut changes, mut lost, mut simulated_us, mut decisions) = (0, 0, 0, 0);
    let simulate = if is_piloted { simulate_piloted } else { simulate };
    for seed in seed..seed + runs {
        match simulate(seed) {
            Ok(seen) => {
                kinds(&seen)
                    .into_iter()
                    .for_each(|(kind, is)| *counts.entry(kind).or_default() += u64::from(is));
                changes += seen.changes;
                lost += seen.lost;
                simulated_us += seen.took_us;
                decisions += seen.decisions;
            }
            Err(error) => failures.push(error),
        }
    }
    let share = |n: u64| (1e4 * n as f64 / runs.max(1) as f64).round() / 1e4;
    let shares: BTreeMap<_, _> = counts.into_iter().map(|(kind, n)| (kind, share(n))).collect();
    let report = json!({
        "benchmark": if is_piloted { "simulate piloted" } else { "simulate" },
        "runs": runs,
        "first_seed": seed,
        "failed": failures.len(),
        "failures": failures.iter().take(TOLD_MAX).collect::<Vec<_>>(),
        "share_of_runs_with": shares,
        "changes_of_plan": changes,
        "decisions": decisions,
        "messages_lost": lost,
        "simulated_seconds": simulated_us as f64 / 1e6,
        "seconds": clock.now_us() as f64 / 1e6,
    });
    println!("{report:#}");
    Ok(())
}

fn kinds(seen: &Seen) -> [(&'static str, bool); 14] {
    [
        ("resend", seen.resend),
        ("crash", seen.crash),
        ("join", seen.join),
        ("split stage", seen.split),
        ("retune", seen.retune),
        ("hand-over of state", seen.handover),
        ("abort", seen.abort),
        ("two changes in a row", seen.two_in_a_row),
        ("controller restart", seen.restart),
        ("stop", seen.stop),
        ("change of plan", seen.changes > 0),
        ("change by the pilot", seen.piloted),
        ("refused change of the pilot", seen.refused),
        ("more than can be served", seen.infeasible),
    ]
}
