//! Runs a program to its end, bounded in time and in what is kept of its output.
//!
//! Arguments are passed as they are, never through a shell. The child stays in this process's group, so
//! that Ctrl-C at a terminal ends it too.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jellybean_engine::Clock;

use super::progress::{Progress, Step};
use crate::{Error, ErrorKind, Result};

/// The bound of a download: 145 MB, the largest, at 330 kbit/s.
pub(super) const DOWNLOAD_MAX: Duration = Duration::from_secs(60 * 60);
/// The bound of unpacking and converting, which take seconds.
pub(super) const WORK_MAX: Duration = Duration::from_secs(10 * 60);
/// The bound of asking a program something it knows.
pub(super) const PROBE_MAX: Duration = Duration::from_secs(20);

const OUTPUT_BYTES_MAX: usize = 16 << 10;
const TAIL_LINES: usize = 8;
const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(100);

/// A program about to be run.
pub(super) struct Child<'a> {
    command: Command,
    name: String,
    time_max: Duration,
    step: Step,
    watched: Option<PathBuf>,
    clock: &'a Clock,
    progress: Progress<'a>,
}

impl<'a> Child<'a> {
    /// A program that does `what`, for the progress and for errors.
    pub(super) fn new(program: &Path, what: &str, clock: &'a Clock, progress: Progress<'a>) -> Self {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let step = Step::new(what);
        Self { command, name, time_max: WORK_MAX, step, watched: None, clock, progress }
    }

    pub(super) fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(super) fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    pub(super) fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub(super) fn time_max(mut self, time_max: Duration) -> Self {
        self.time_max = time_max;
        self
    }

    /// Takes the growth of a folder for the progress of a download of about `total_bytes`.
    pub(super) fn watch(mut self, folder: &Path, total_bytes: u64) -> Self {
        self.watched = Some(folder.to_owned());
        self.step.total_bytes = Some(total_bytes);
        self
    }

    /// Runs it and gives the end of its standard output. An exit status other than 0 is an error with the
    /// end of its standard error; at the bound it is killed.
    pub(super) fn run(mut self) -> Result<String> {
        (self.progress)(self.step.clone());
        let mut child = self.command.spawn().map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Failed,
            };
            Error::new(kind, format!("{}: cannot start {}", self.step.what, self.name)).because(error)
        })?;
        let output = Tail::of(child.stdout.take());
        let complaints = Tail::of(child.stderr.take());
        let status = self.wait(&mut child)?;
        output.settle(self.clock);
        complaints.settle(self.clock);
        match status {
            Some(status) if status.success() => Ok(output.text()),
            Some(status) => Err(self.failure(ErrorKind::Failed, &status.to_string(), &complaints)),
            None => {
                let fate = format!("killed after {} s", self.time_max.as_secs());
                Err(self.failure(ErrorKind::Timeout, &fate, &complaints))
            }
        }
    }

    /// The status of the child when it has ended; `None` when it had to be killed.
    fn wait(&mut self, child: &mut std::process::Child) -> Result<Option<ExitStatus>> {
        let lost = |error| Error::new(ErrorKind::Failed, "lost track of a child process").because(error);
        let end_us = self.clock.now_us() + u64::try_from(self.time_max.as_micros()).unwrap_or(u64::MAX / 2);
        let mut poll = POLL_MIN;
        loop {
            if let Some(status) = child.try_wait().map_err(lost)? {
                return Ok(Some(status));
            }
            if self.clock.now_us() >= end_us {
                child.kill().map_err(lost)?;
                child.wait().map_err(lost)?;
                return Ok(None);
            }
            self.clock.sleep(poll);
            poll = (poll * 2).min(POLL_MAX);
            self.report_growth();
        }
    }

    fn report_growth(&mut self) {
        let Some(folder) = &self.watched else { return };
        let bytes = bytes_below(folder).min(self.step.total_bytes.unwrap_or(u64::MAX));
        if bytes > self.step.done_bytes {
            self.step.done_bytes = bytes;
            (self.progress)(self.step.clone());
        }
    }

    fn failure(&self, kind: ErrorKind, fate: &str, complaints: &Tail) -> Error {
        let text = complaints.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ");
        Error::new(kind, format!("{}: {}: {fate}: {tail}", self.step.what, self.name))
    }
}

/// The end of what a child writes to one of its pipes, read beside it so that it never blocks.
struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tail {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let reader = pipe.map(|pipe| {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || read_tail(pipe, &kept))
        });
        Self { kept, reader }
    }

    /// Gives the reader up to a second to see the end: a grandchild may still hold the pipe open.
    fn settle(&self, clock: &Clock) {
        for _ in 0..100 {
            if self.reader.as_ref().is_none_or(JoinHandle::is_finished) {
                return;
            }
            clock.sleep(Duration::from_millis(10));
        }
    }

    fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

fn read_tail(mut pipe: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = pipe.read(&mut chunk) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&chunk[..n]);
        let excess = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.drain(..excess);
    }
}

/// The bytes of all files below a folder; what vanishes meanwhile counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let data = entry.metadata().ok()?;
            Some(if data.is_dir() { bytes_below(&entry.path()) } else { data.len() })
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::silent;

    fn shell<'a>(script: &str, clock: &'a Clock) -> Child<'a> {
        Child::new(Path::new("/bin/sh"), "testing", clock, &silent).arguments(["-c", script])
    }

    #[test]
    fn output_is_returned_and_bounded() {
        let clock = Clock::real();
        assert_eq!(shell("echo hello", &clock).run().unwrap(), "hello\n");
        let long = shell("seq 1 100000", &clock).run().unwrap();
        assert_eq!(long.len(), OUTPUT_BYTES_MAX);
        assert!(long.ends_with("99999\n100000\n"));
    }

    #[test]
    fn a_failure_carries_the_end_of_standard_error() {
        let clock = Clock::real();
        let error = shell("seq 1 50 >&2; exit 3", &clock).run().unwrap_err().to_string();
        assert!(error.contains("testing: sh: exit status: 3: 43 | 44"), "{error}");
        assert!(error.ends_with("49 | 50"), "{error}");
    }

    #[test]
    fn a_child_that_does_not_end_is_killed_at_the_bound() {
        // The simulated clock reaches the bound at once; the child would sleep much longer than any test.
        let clock = Clock::simulated();
        let error = shell("exec sleep 1000", &clock).time_max(PROBE_MAX).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("killed after 20 s"), "{error}");
    }

    #[test]
    fn a_program_that_is_missing_is_not_found() {
        let clock = Clock::real();
        let error = Child::new(Path::new("/no/such/tool"), "testing", &clock, &silent).run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("cannot start tool"), "{error}");
    }
}
