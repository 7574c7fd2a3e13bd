//! Child processes that cannot outlive us.
//!
//! Invariant: a child dies with its whole process group when its handle is dropped, and when this
//! process dies, in whatever way.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal};

/// What the smallest pipe of any Linux takes at once, in bytes.
pub(crate) const INPUT_BYTES_MAX: usize = 4_096;

/// A running child, shared between the one who reads or feeds it and those who may stop it.
#[derive(Debug)]
pub(crate) struct Child {
    process: Mutex<process::Child>,
    stopped: AtomicBool,
}

impl Child {
    /// Starts `command` in a process group of its own, with output and errors piped. It is given `input`,
    /// which fits into a pipe whole, so that nobody waits.
    pub(crate) fn reading(
        mut command: Command,
        input: Option<&str>,
    ) -> io::Result<(Arc<Self>, ChildStdout, ChildStderr)> {
        debug_assert!(input.is_none_or(|input| input.len() <= INPUT_BYTES_MAX));
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped());
        let (child, stderr) = Self::start(command)?;
        let (stdin, stdout) = {
            let mut process = child.lock();
            (process.stdin.take(), process.stdout.take().expect("its output is piped"))
        };
        if let (Some(input), Some(mut stdin)) = (input, stdin) {
            // A child that has ended already reads nothing; how it ended tells more than this would.
            _ = stdin.write_all(input.as_bytes());
        }
        Ok((child, stdout, stderr))
    }

    /// The same for one that is written to: input and errors are piped, and there is no output.
    pub(crate) fn writing(mut command: Command) -> io::Result<(Arc<Self>, ChildStdin, ChildStderr)> {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let (child, stderr) = Self::start(command)?;
        let stdin = child.lock().stdin.take().expect("its input is piped");
        Ok((child, stdin, stderr))
    }

    /// Ends the child because nobody wants more of it.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.kill();
    }

    /// Whether [`Child::stop`] was called: then its end is no failure.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Kills the child and what it started; harmless once it has ended.
    pub(crate) fn kill(&self) {
        let mut process = self.lock();
        // The lock is what makes this safe: as long as nobody has waited for the child, its number is its own.
        if matches!(process.try_wait(), Ok(None)) {
            let group = Pid::from_child(&process);
            if let Err(error) = kill_process_group(group, Signal::KILL) {
                tracing::warn!(pid = process.id(), %error, "a child process could not be killed");
            }
        }
    }

    /// How it ended, or `None` while it runs.
    pub(crate) fn exit_status(&self) -> io::Result<Option<ExitStatus>> {
        self.lock().try_wait()
    }

    #[cfg(test)]
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.lock())
    }

    fn start(mut command: Command) -> io::Result<(Arc<Self>, ChildStderr)> {
        command.stderr(Stdio::piped()).process_group(0);
        die_with_us(&mut command);
        let mut process = spawn(command)?;
        let stderr = process.stderr.take().expect("its errors are piped");
        Ok((Arc::new(Self { process: Mutex::new(process), stopped: AtomicBool::new(false) }), stderr))
    }

    fn lock(&self) -> MutexGuard<'_, process::Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if let Err(error) = self.lock().wait() {
            tracing::warn!(%error, "a child process could not be waited for");
        }
    }
}

/// Makes the kernel kill the child when its parent dies.
fn die_with_us(command: &mut Command) {
    let parent = getpid();
    let arrange = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the arrangement was made.
        if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure makes two bare
    // system calls, allocates nothing and takes no lock.
    unsafe { command.pre_exec(arrange) };
}

/// Spawns on a thread that lives as long as the process does: "parent" in the kernel's arrangement above
/// means the thread that forked, and a child must not die because the thread that opened it ended.
fn spawn(command: Command) -> io::Result<process::Child> {
    type Order = (Command, SyncSender<io::Result<process::Child>>);
    static NURSERY: LazyLock<Option<SyncSender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = sync_channel::<Order>(0);
        let nurse = move || {
            for (mut command, answer) in inbox {
                // Whoever ordered waits for the answer, so sending it cannot fail.
                let _ = answer.send(command.spawn());
            }
        };
        thread::Builder::new().name("jellybean-children".into()).spawn(nurse).ok()?;
        Some(orders)
    });
    let gone = || io::Error::other("the thread that starts child processes could not be started");
    let (answer, spawned) = sync_channel(1);
    NURSERY.as_ref().ok_or_else(gone)?.send((command, answer)).map_err(|_| gone())?;
    spawned.recv().map_err(|_| gone())?
}
