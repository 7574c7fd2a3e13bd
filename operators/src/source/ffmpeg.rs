//! ffmpeg as a child process that writes uncompressed pictures into a pipe.
//!
//! Its output is YUV4MPEG2: the header tells size and rate without a second process that probes, and the
//! marker in front of every picture shows that the pipe is still in step.
//!
//! Invariant: no wait is longer than the patience given, by the injected clock; past it ffmpeg is killed.

mod yuv4mpeg;

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use jellybean_engine::source::Stopper;
use jellybean_engine::{Clock, Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read};

pub(super) use self::yuv4mpeg::Header;
use self::yuv4mpeg::{FRAME, HEADER_BYTES_MAX};
use crate::ffmpeg::child::INPUT_BYTES_MAX;
use crate::ffmpeg::{Child, Log};

/// How long a wait for ffmpeg lasts before the clock is looked at again.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// The same once its pipes are closed, and only its exit status is missing.
const GLANCE_AT_EXIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// The pipe's size in bytes where the system allows it: a 720p picture then takes two reads, not twenty.
const PIPE_BYTES: usize = 1 << 20;

/// Brings pixels to what [`Format::I420`](crate::picture::Format::I420) says: BT.601, limited range, 8 bits.
/// Costs nothing where they are so or do not say what they are; bringing BT.709 there takes longer than decoding.
const FILTER: &str = "scale=out_range=tv:out_color_matrix=bt601,format=yuv420p";

/// What ffmpeg is to read.
pub(super) struct Job {
    /// Which ffmpeg.
    pub(super) program: PathBuf,
    /// The options of the input, its `-i` and the name behind it.
    pub(super) input: Vec<OsString>,
    /// What it finds on its standard input, of [`Job::SCRIPT_BYTES_MAX`] bytes at most.
    pub(super) script: Option<String>,
    /// Further options of the output.
    pub(super) output: &'static [&'static str],
}

impl Job {
    /// What ffmpeg may allocate for a picture: 16384 x 16384 pixels, as we may.
    pub(super) const PIXELS_MAX: &str = "268435456";
    /// The longest script, in bytes.
    pub(super) const SCRIPT_BYTES_MAX: usize = INPUT_BYTES_MAX;

    /// Every picture of the input once, as it comes. One thread of filters, as of decoding: as many cameras
    /// as there are cores keep them busy.
    fn arguments(&self, frame_sync: &str) -> Vec<OsString> {
        let common =
            ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-filter_threads", "1"];
        // A capital V leaves the cover pictures of music out.
        let output = ["-map", "0:V:0", "-vf", FILTER, frame_sync, "passthrough"];
        let mut arguments: Vec<OsString> = common.map(OsString::from).into();
        arguments.extend(self.input.iter().cloned());
        arguments.extend(output.iter().chain(self.output).map(OsString::from));
        arguments.extend(["-f", "yuv4mpegpipe", "pipe:1"].map(OsString::from));
        arguments
    }
}

/// A running ffmpeg.
pub(super) struct Ffmpeg {
    child: Arc<Child>,
    /// `None` once it is at its end; so is `stderr`.
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    log: Log,
    clock: Clock,
    patience: Duration,
}

impl Ffmpeg {
    /// Starts it and reads the header, which is missing if it ended without one. Every wait for it lasts at
    /// most `patience` by `clock`. What is made of the running ffmpeg's stopper happens before the first wait.
    pub(super) fn open(
        job: &Job,
        patience: Duration,
        clock: &Clock,
        stoppable: &dyn Fn(Stopper),
    ) -> Result<(Self, Option<Header>)> {
        // ffmpeg 9 has dropped the old name of the option and 5.0 does not know the new one.
        let mut ffmpeg = Self::start(job, "-fps_mode", patience, clock)?;
        stoppable(ffmpeg.stopper());
        let mut header = ffmpeg.header()?;
        if header.is_none() {
            ffmpeg.finish()?;
            if ffmpeg.log().says("'fps_mode'") {
                ffmpeg = Self::start(job, "-vsync", patience, clock)?;
                stoppable(ffmpeg.stopper());
                header = ffmpeg.header()?;
            }
        }
        Ok((ffmpeg, header))
    }

    fn start(job: &Job, frame_sync: &str, patience: Duration, clock: &Clock) -> Result<Self> {
        let mut command = Command::new(&job.program);
        command.args(job.arguments(frame_sync)).env_remove("AV_LOG_FORCE_COLOR").env_remove("FFREPORT");
        let started = Child::reading(command, job.script.as_deref());
        let (child, stdout, stderr) = started.map_err(|e| cannot_start(&job.program, e))?;
        let this = Self {
            child,
            log: Log::default(),
            clock: clock.clone(),
            patience,
            stdout: Some(stdout),
            stderr: Some(stderr),
        };
        this.prepare_pipes().map_err(|e| lost_touch(e.into()))?;
        Ok(this)
    }

    /// From now on, every wait lasts at most so long.
    pub(super) fn be_patient_for(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Reads the header; `None` if ffmpeg ended without one.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut line = String::new();
        while line.len() < HEADER_BYTES_MAX {
            let mut byte = [MaybeUninit::uninit()];
            match self.fill(&mut byte)? {
                [] => return Ok(None),
                [b'\n'] => break,
                [other, ..] => line.push(char::from(*other)),
            }
        }
        let misfit =
            |why| Error::new(ErrorKind::Incompatible, format!("ffmpeg's output is unexpected: {why}"));
        yuv4mpeg::parse(&line).map(Some).map_err(misfit)
    }

    /// Reads one picture of `size` bytes.
    pub(super) fn picture(&mut self, size: usize) -> Result<Pixels> {
        let mut marker = [MaybeUninit::uninit(); FRAME.len()];
        match self.fill(&mut marker)? {
            [] => return Ok(Pixels::End),
            whole if whole == FRAME => {}
            part if FRAME.starts_with(part) => return Ok(Pixels::Partial { bytes: 0 }),
            _ => return Err(Error::new(ErrorKind::Corrupt, "ffmpeg's output is out of step")),
        }
        let mut pixels = Arc::new_uninit_slice(size);
        let buffer = Arc::get_mut(&mut pixels).expect("nobody else knows these pixels yet");
        let bytes = self.fill(buffer)?.len();
        if bytes < size {
            return Ok(Pixels::Partial { bytes });
        }
        // SAFETY: `fill` has initialised `bytes` bytes from the start, and they are all.
        Ok(Pixels::Whole(unsafe { pixels.assume_init() }))
    }

    /// Waits until ffmpeg has ended; what it had still to say is in the log.
    pub(super) fn finish(&mut self) -> Result<ExitStatus> {
        self.stdout = None;
        let since_ms = self.clock.now_ms();
        loop {
            if let Some(status) = self.child.exit_status().map_err(lost_touch)? {
                self.hear()?;
                self.log.end_line();
                return Ok(status);
            }
            self.wait(since_ms)?;
        }
    }

    /// What it said.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Whether the stopper was called.
    pub(super) fn is_stopped(&self) -> bool {
        self.child.is_stopped()
    }

    /// Ends ffmpeg, and with it whatever waits for it.
    pub(super) fn stopper(&self) -> Stopper {
        let child = Arc::clone(&self.child);
        Arc::new(move || child.stop())
    }

    fn prepare_pipes(&self) -> rustix::io::Result<()> {
        let (Some(stdout), Some(stderr)) = (&self.stdout, &self.stderr) else { return Ok(()) };
        for pipe in [stdout.as_fd(), stderr.as_fd()] {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        // The system may refuse: each user has a limit for all pipes together. A small pipe works as well.
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(stdout, PIPE_BYTES) {
            tracing::debug!(%error, "the pipe from ffmpeg keeps its size");
        }
        Ok(())
    }

    /// Fills `buffer` and returns what is filled: less than all of it only at the end of the output.
    fn fill<'b>(&mut self, buffer: &'b mut [MaybeUninit<u8>]) -> Result<&'b [u8]> {
        let since_ms = self.clock.now_ms();
        let mut filled = 0;
        while let (Some(stdout), true) = (&self.stdout, filled < buffer.len()) {
            match read(stdout, &mut buffer[filled..]) {
                Ok(([], _)) => self.stdout = None,
                Ok((fresh, _)) => filled += fresh.len(),
                Err(Errno::AGAIN) => self.wait(since_ms)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(lost_touch(error.into())),
            }
        }
        // SAFETY: the reads above have initialised the first `filled` bytes, and the borrow is passed on.
        Ok(unsafe { slice::from_raw_parts(buffer.as_ptr().cast(), filled) })
    }

    /// Waits until ffmpeg writes something or ends; takes in what it says.
    fn wait(&mut self, since_ms: u64) -> Result<()> {
        let waited = Duration::from_millis(self.clock.now_ms().saturating_sub(since_ms));
        if waited >= self.patience {
            self.child.kill();
            let message = format!("ffmpeg has written no picture for {} s", waited.as_secs());
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        let mut pipes = Vec::with_capacity(2);
        pipes.extend(self.stdout.as_ref().map(|p| PollFd::new(p, PollFlags::IN)));
        pipes.extend(self.stderr.as_ref().map(|p| PollFd::new(p, PollFlags::IN)));
        let glance = if pipes.is_empty() { GLANCE_AT_EXIT } else { GLANCE };
        match poll(&mut pipes, Some(&glance)) {
            Ok(_) | Err(Errno::INTR) => self.hear(),
            Err(error) => Err(lost_touch(error.into())),
        }
    }

    /// Takes in what ffmpeg has said by now.
    fn hear(&mut self) -> Result<()> {
        self.log.hear(&mut self.stderr).map_err(lost_touch)
    }
}

/// What a read of a picture gave.
pub(super) enum Pixels {
    /// All of it.
    Whole(Arc<[u8]>),
    /// The output ended inside it, after so many bytes of pixels.
    Partial {
        /// How many came.
        bytes: usize,
    },
    /// The output ended in front of it.
    End,
}

/// How a process ended, as the rest of a sentence.
pub(super) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// Whether there is such a program, before anything needs it.
pub(super) fn check_program(program: &Path) -> Result<()> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = match program.components().count() {
        1 => std::env::split_paths(&folders).map(|folder| folder.join(program)).collect(),
        _ => vec![program.to_owned()],
    };
    let files = || places.iter().filter_map(|place| place.metadata().ok()).filter(|file| file.is_file());
    if files().any(|file| file.permissions().mode() & 0o111 != 0) {
        return Ok(());
    }
    let why =
        if files().next().is_some() { io::ErrorKind::PermissionDenied } else { io::ErrorKind::NotFound };
    Err(cannot_start(program, why.into()))
}

fn cannot_start(program: &Path, error: io::Error) -> Error {
    let program = program.display();
    if error.kind() == io::ErrorKind::NotFound {
        return Error::new(ErrorKind::NotFound, format!("there is no program {program} to read videos with"))
            .way_out("install ffmpeg, or say where it is with `Video::ffmpeg` or `Camera::ffmpeg`");
    }
    Error::new(ErrorKind::Unavailable, format!("{program} cannot be started"))
        .way_out("check that it is an executable ffmpeg for this machine")
        .because(error)
}

fn lost_touch(error: io::Error) -> Error {
    Error::new(ErrorKind::Failed, "ffmpeg cannot be read from any more").because(error)
}

#[cfg(test)]
impl Ffmpeg {
    pub(super) fn pid(&self) -> rustix::process::Pid {
        self.child.pid()
    }
}
