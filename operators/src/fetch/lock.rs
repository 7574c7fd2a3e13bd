//! Keeps two processes from installing the same thing at once.
//!
//! The operating system drops the lock with the process, however it ends, so a lock never goes stale.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use jellybean_engine::Clock;

use super::progress::{Progress, Step};
use crate::{Error, ErrorKind, Result};

/// An hour covers the largest install (all families, 265 MB) on a line of 1 Mbit/s.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);
const POLL: Duration = Duration::from_millis(200);

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock on a file, which is made where it is missing; waits while another process has it.
    pub(super) fn take(path: &Path, clock: &Clock, progress: Progress) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Failed, format!("cannot lock {}", path.display()))
                .because(error)
                .way_out("set JELLYBEAN_CACHE to a folder that can be written")
        };
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        let polls_max = WAIT_MAX.as_millis() / POLL.as_millis();
        for poll in 0..polls_max {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if poll == 0 => {
                    progress(Step::new("waiting for another jellybean to finish installing the same"));
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            clock.sleep(POLL);
        }
        let message = format!("another process has held {} for {} s", path.display(), WAIT_MAX.as_secs());
        Err(Error::new(ErrorKind::Timeout, message).way_out("end the other jellybean and try again"))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::fetch::silent;

    #[test]
    fn a_second_taker_waits_says_so_and_gives_up_at_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thing.lock");
        let held = Lock::take(&path, &Clock::real(), &silent).unwrap();

        let clock = Clock::simulated();
        let said = RefCell::new(Vec::new());
        let error = Lock::take(&path, &clock, &|step| said.borrow_mut().push(step.what)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("thing.lock"), "{error}");
        assert_eq!(clock.now_ms(), 60 * 60 * 1000);
        assert_eq!(said.borrow().len(), 1);

        drop(held);
        Lock::take(&path, &clock, &silent).unwrap();
    }
}
