//! Garbage on a link, seed after seed: it must do no harm, and memory must not grow with it.

use std::time::Duration;

use jellybean_benches::resident_mb;
use jellybean_engine::Clock;
use jellybean_engine::link::garbage;
use serde_json::json;

/// Failing seeds that are told.
const TOLD_MAX: usize = 20;

pub(crate) fn run(seconds: u64, seed: u64) -> jellybean::Result<()> {
    let (clock, limit_us) = (Clock::real(), Duration::from_secs(seconds).as_micros() as u64);
    let (mut refused, mut failures, mut seeds) = (0, Vec::new(), 0);
    let mut before_mb = resident_mb();
    while clock.now_us() < limit_us {
        match garbage(seed + seeds) {
            Ok(n) => refused += n,
            Err(error) => failures.push(error),
        }
        seeds += 1;
        if seeds == 100 {
            // By then everything has been allocated once.
            before_mb = resident_mb();
        }
    }
    let report = json!({
        "benchmark": "fuzz",
        "seeds": seeds,
        "first_seed": seed,
        "failed": failures.len(),
        "failures": failures.iter().take(TOLD_MAX).collect::<Vec<_>>(),
        "messages_refused": refused,
        "resident_mb": [before_mb, resident_mb()],
    });
    println!("{report:#}");
    Ok(())
}
