//! What the benchmarks share: processor time, memory, the load of the rest of the machine, second processes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jellybean_engine::{Error, ErrorKind, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Clock ticks per second in `/proc`: 100 on every Linux that there is.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes per page in `/proc/self/statm`.
const PAGE_BYTES: f64 = 4096.0;

/// Processor seconds that this process has used, all threads together (without children).
#[must_use]
pub fn processor_seconds() -> f64 {
    processor_seconds_of("self")
}

/// The same of a process by its id.
#[must_use]
pub fn processor_seconds_of(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// Processor seconds that the whole machine has spent on anything.
#[must_use]
pub fn machine_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|t| t.parse().ok())
        .collect();
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    (fields.iter().take(8).sum::<f64>() - idle) / TICKS_PER_SECOND
}

/// Resident memory of this process, in MB.
#[must_use]
pub fn resident_mb() -> f64 {
    resident_mb_of("self")
}

/// The same of a process by its id.
#[must_use]
pub fn resident_mb_of(process: &str) -> f64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|p| p.parse::<f64>().ok()).unwrap_or(0.0) * PAGE_BYTES / 1e6
}

/// Nanoseconds on the clock that every process of the machine shares.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The middle of some figures, and how far they spread.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median.
    pub median: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of at least one figure.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(sorted.len() / 2), most: at(sorted.len().saturating_sub(1)) }
    }
}

/// What the machine would not do.
pub fn failed(what: &str) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |cause| Error::new(ErrorKind::Unavailable, what).because(cause)
}

/// An address from the command line.
///
/// # Errors
/// `Invalid` if it is none.
pub fn address(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|e| Error::new(ErrorKind::Invalid, format!("\"{text}\" is no address")).because(e))
}

/// Set when standard input ends; then this thread is woken.
#[must_use]
pub fn input_ends() -> Arc<AtomicBool> {
    let (over, waiting) = (Arc::new(AtomicBool::new(false)), std::thread::current());
    let of_thread = over.clone();
    std::thread::spawn(move || {
        // Whatever comes means nothing; an error is an end as well.
        _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        of_thread.store(true, Ordering::SeqCst);
        waiting.unpark();
    });
    over
}
