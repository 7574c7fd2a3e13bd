//! ffmpeg as a child process that is fed pictures and writes a video.
//!
//! Invariant: no wait is longer than the patience given, by the injected clock; past it ffmpeg is killed.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, Command};
use std::sync::Arc;
use std::time::Duration;

use jellybean_engine::{Clock, Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, write};

use super::matroska;
use crate::ffmpeg::{Child, Log};

/// How long a wait for ffmpeg lasts before the clock is looked at again.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// The same once only its exit status is missing.
const GLANCE_AT_EXIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// The pipe's size in bytes where the system allows it.
const PIPE_BYTES: usize = 1 << 20;

/// Even sides, as the format asks for, and the colours of high definition.
const FILTER: &str = "scale=out_range=tv:out_color_matrix=bt709,pad=ceil(iw/2)*2:ceil(ih/2)*2,format=yuv420p";
/// In pieces of at most 50 pictures that can be played by themselves: whatever ends the writing costs the last one.
const OUTPUT: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-threads",
    "1",
    "-g",
    "50",
    "-enc_time_base",
    "1:1000",
    "-colorspace",
    "bt709",
    "-color_primaries",
    "bt709",
    "-color_trc",
    "bt709",
    "-color_range",
    "tv",
    "-movflags",
    "+frag_keyframe+empty_moov+default_base_moof",
    "-f",
    "mp4",
    "-y",
];

/// How a video is written.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) program: std::path::PathBuf,
    /// libx264's constant rate factor.
    pub(super) crf: u8,
    pub(super) patience: Duration,
    pub(super) clock: Clock,
}

/// A running ffmpeg that writes one file.
pub(super) struct Encoder {
    child: Arc<Child>,
    stdin: Option<ChildStdin>,
    stderr: Option<ChildStderr>,
    log: Log,
    clock: Clock,
    patience: Duration,
}

impl Encoder {
    /// Starts to write pictures of one size into a file, whatever was in it.
    pub(super) fn start(how: &Writing, file: &Path, width: u32, height: u32) -> Result<Self> {
        let mut command = Command::new(&how.program);
        command.args(arguments(file, how.crf)).env_remove("AV_LOG_FORCE_COLOR").env_remove("FFREPORT");
        let (child, stdin, stderr) = Child::writing(command).map_err(|e| cannot_start(&how.program, e))?;
        let mut this = Self {
            child,
            stdin: Some(stdin),
            stderr: Some(stderr),
            log: Log::default(),
            clock: how.clock.clone(),
            patience: how.patience,
        };
        this.prepare_pipes().map_err(|e| lost_touch(e.into()))?;
        this.feed(&matroska::header(width, height))?;
        Ok(this)
    }

    /// Hands over the picture of a time, interleaved RGB of the size it was started with.
    pub(super) fn picture(&mut self, time_ms: u64, rgb: &[u8]) -> Result<()> {
        self.feed(&matroska::picture(time_ms, rgb.len()))?;
        self.feed(rgb)
    }

    /// Ends the file and waits until it is written.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.stdin = None;
        let since_ms = self.clock.now_ms();
        loop {
            let status = self.child.exit_status().map_err(lost_touch)?;
            self.log.hear(&mut self.stderr).map_err(lost_touch)?;
            let Some(status) = status else {
                self.wait(since_ms)?;
                continue;
            };
            self.log.end_line();
            if status.success() && self.log.errors() == 0 {
                return Ok(());
            }
            let message = format!("ffmpeg ended with {status} and said: {}", self.log);
            return Err(Error::new(ErrorKind::Failed, message));
        }
    }

    fn prepare_pipes(&self) -> rustix::io::Result<()> {
        let (Some(stdin), Some(stderr)) = (&self.stdin, &self.stderr) else { return Ok(()) };
        for pipe in [stdin.as_fd(), stderr.as_fd()] {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        // The system may refuse: each user has a limit for all pipes together. A small pipe works as well.
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(stdin, PIPE_BYTES) {
            tracing::debug!(%error, "the pipe to ffmpeg keeps its size");
        }
        Ok(())
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        let since_ms = self.clock.now_ms();
        while let (Some(stdin), false) = (&self.stdin, bytes.is_empty()) {
            match write(stdin, bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::AGAIN) => self.wait(since_ms)?,
                Err(Errno::INTR) => {}
                // It has gone; its status and its words say why.
                Err(Errno::PIPE) => {
                    self.finish()?;
                    return Err(Error::new(ErrorKind::Failed, "ffmpeg ended in mid-stream"));
                }
                Err(error) => return Err(lost_touch(error.into())),
            }
        }
        Ok(())
    }

    /// Waits until ffmpeg takes something or ends; takes in what it says.
    fn wait(&mut self, since_ms: u64) -> Result<()> {
        let waited = Duration::from_millis(self.clock.now_ms().saturating_sub(since_ms));
        if waited >= self.patience {
            self.child.kill();
            let message = format!("ffmpeg has taken nothing for {} s and was killed", waited.as_secs());
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        let mut pipes = Vec::with_capacity(2);
        pipes.extend(self.stdin.as_ref().map(|p| PollFd::new(p, PollFlags::OUT)));
        pipes.extend(self.stderr.as_ref().map(|p| PollFd::new(p, PollFlags::IN)));
        let glance = if pipes.is_empty() { GLANCE_AT_EXIT } else { GLANCE };
        match poll(&mut pipes, Some(&glance)) {
            Ok(_) | Err(Errno::INTR) => self.log.hear(&mut self.stderr).map_err(lost_touch),
            Err(error) => Err(lost_touch(error.into())),
        }
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> rustix::process::Pid {
        self.child.pid()
    }
}

/// Whether there is a program that can be started at all.
pub(super) fn check(program: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.arg("-version");
    Child::reading(command, None).map(drop).map_err(|e| cannot_start(program, e))
}

fn arguments(file: &Path, crf: u8) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["-hide_banner", "-nostats", "-loglevel", "level+warning", "-filter_threads", "1"]
            .map(OsString::from)
            .into();
    let mut push = |options: &[&str]| arguments.extend(options.iter().map(OsString::from));
    push(&["-f", "matroska", "-i", "pipe:0", "-vf", FILTER, "-crf", &crf.to_string()]);
    push(OUTPUT);
    // The protocol's name keeps a file called `-y` or `http:x` from being taken for something else.
    let mut output = OsString::from("file:");
    output.push(file);
    arguments.push(output);
    arguments
}

fn cannot_start(program: &Path, error: io::Error) -> Error {
    let program = program.display();
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!("there is no program {program} to write videos with");
        return Error::new(ErrorKind::NotFound, message)
            .way_out("install ffmpeg, or say where it is with `Mp4::ffmpeg`");
    }
    Error::new(ErrorKind::Unavailable, format!("{program} cannot be started"))
        .way_out("check that it is an executable ffmpeg for this machine")
        .because(error)
}

fn lost_touch(error: io::Error) -> Error {
    Error::new(ErrorKind::Failed, "ffmpeg cannot be written to any more").because(error)
}
