//! What this machine is, and how busy: from `/proc`. What it does not tell reads as 0.

use std::fs::read_to_string;

use jellybean_engine::profiling::Machine;

/// Clock ticks per second in `/proc`: 100 on every Linux that there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// The machine that this process runs on.
pub(super) struct ThisMachine;

impl Machine for ThisMachine {
    fn processor(&self) -> String {
        let text = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        name.map(|(_, name)| name.trim().to_owned()).unwrap_or_default()
    }

    fn cores(&self) -> u32 {
        std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
    }

    fn spent_seconds(&self) -> (f64, f64) {
        (
            of_machine(&read_to_string("/proc/stat").unwrap_or_default()),
            of_process(&read_to_string("/proc/self/stat").unwrap_or_default()),
        )
    }

    fn resident_mb(&self) -> f64 {
        // What was allocated: pages of libraries and files are shared by all sessions.
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let kb = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next()?.parse().ok());
        kb.unwrap_or(0.0) * 1024.0 / 1e6
    }
}

/// Of `/proc/stat`: everything but idling, and but what guests have been counted for already.
fn of_machine(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    (fields.iter().take(8).sum::<f64>() - idle) / TICKS_PER_SECOND
}

/// Of `/proc/self/stat`: user and system time of all threads, and of children that have ended.
fn of_process(stat: &str) -> f64 {
    // The name in brackets may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::{Machine, ThisMachine, of_machine, of_process};

    #[test]
    fn what_proc_tells_is_read() {
        let stat = "cpu  100 20 30 9000 500 6 4 10 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert!((of_machine(stat) - 1.7).abs() < 1e-9);
        let own = "7 (a (b) 9 9) S 1 1 1 0 -1 4 1 0 0 0 250 50 20 5 20 0 9 0 1 1 1";
        assert!((of_process(own) - 3.25).abs() < 1e-9);
        assert_eq!((of_machine(""), of_process("nonsense")), (0.0, 0.0));
        let (all, own) = ThisMachine.spent_seconds();
        assert!(all >= own && ThisMachine.resident_mb() > 0.1 && ThisMachine.cores() > 0);
    }
}
