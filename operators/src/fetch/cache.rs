//! The folder that holds what was fetched, and the one way by which anything enters it.

use std::fs;
use std::path::{Path, PathBuf};

use jellybean_engine::Clock;

use super::environment::Environment;
use super::lock::Lock;
use super::pin::{Pin, verify};
use super::progress::{Progress, Step};
use crate::{Error, ErrorKind, Result};

/// A folder of fetched files, shared by all processes of a user.
///
/// ```text
/// onnxruntime-1.31.1/libonnxruntime.so.1.31.1
/// ffmpeg-9.0.2/ffmpeg
/// models/FAMILY/FILE.onnx
/// videos/vtest.avi
/// locks/  work/            held and filled only during an install
/// ```
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    environment: Environment,
    clock: Clock,
}

impl Cache {
    /// The cache which an environment names; nothing is created before something is installed.
    ///
    /// # Errors
    /// Where the environment names none: neither `JELLYBEAN_CACHE` nor `XDG_CACHE_HOME` nor `HOME`.
    ///
    /// ```
    /// use jellybean_operators::fetch::{Cache, Environment};
    /// let cache = Cache::new(Environment { home: Some("/home/bo".into()), ..Environment::default() })?;
    /// assert_eq!(cache.family("nanodet").to_str(), Some("/home/bo/.cache/jellybean/models/nanodet"));
    /// # Ok::<(), jellybean_operators::Error>(())
    /// ```
    pub fn new(environment: Environment) -> Result<Self> {
        Ok(Self { folder: environment.cache_folder()?, environment, clock: Clock::real() })
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a fetched model family's files.
    #[must_use]
    pub fn family(&self, name: &str) -> PathBuf {
        self.folder.join("models").join(name)
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The path of a pinned file; `None` where it is missing, an error where it is not what was pinned.
    pub(super) fn find(&self, pin: &Pin) -> Result<Option<PathBuf>> {
        let path = self.folder.join(&pin.file);
        if !path.exists() {
            return Ok(None);
        }
        verify(&path, &pin.sha256).map(|()| Some(path))
    }

    /// Makes sure that pinned files are there: does nothing where they are, replaces them where one is
    /// missing or damaged. `make` puts them, by their last names, into the empty folder it is given;
    /// they are moved to their places only when all have the right sha256.
    pub(super) fn install(
        &self,
        name: &str,
        pins: &[Pin],
        progress: Progress,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<()> {
        if self.is_complete(pins) {
            return Ok(());
        }
        let work = self.work(name, progress)?;
        if self.is_complete(pins) {
            // Another process has installed it while this one waited for the lock.
            return Ok(());
        }
        make(&work.folder)?;
        progress(Step::new(format!("checking {name}")));
        for pin in pins {
            verify(&work.folder.join(pin.name()), &pin.sha256)?;
        }
        pins.iter().try_for_each(|pin| self.place(&work.folder.join(pin.name()), pin))
    }

    /// Whether pinned files are there and sound.
    pub(super) fn is_complete(&self, pins: &[Pin]) -> bool {
        pins.iter().all(|pin| match self.find(pin) {
            Ok(found) => found.is_some(),
            Err(error) => {
                tracing::warn!(%error, "a damaged file in the cache is fetched again");
                false
            }
        })
    }

    /// An empty folder inside the cache, so that moving out of it is one rename. Waits while another
    /// process has the one of this name.
    pub(super) fn work(&self, name: &str, progress: Progress) -> Result<Work> {
        let locks = self.create(&self.folder.join("locks"))?;
        let lock = Lock::take(&locks.join(format!("{name}.lock")), &self.clock, progress)?;
        let folder = self.folder.join("work").join(name);
        if folder.exists() {
            // Only a killed process leaves one behind: the lock is ours.
            fs::remove_dir_all(&folder).map_err(|error| self.unwritable(&folder, error))?;
        }
        Ok(Work { folder: self.create(&folder)?, _lock: lock })
    }

    fn place(&self, from: &Path, pin: &Pin) -> Result<()> {
        let to = self.folder.join(&pin.file);
        if let Some(parent) = to.parent() {
            self.create(parent)?;
        }
        fs::rename(from, &to).map_err(|error| self.unwritable(&to, error))
    }

    fn create(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).map_err(|error| self.unwritable(folder, error))?;
        Ok(folder.to_owned())
    }

    fn unwritable(&self, path: &Path, error: std::io::Error) -> Error {
        let message = format!("cannot write {} in the cache {}", path.display(), self.folder.display());
        Error::new(ErrorKind::Failed, message)
            .because(error)
            .way_out("set JELLYBEAN_CACHE to a folder that can be written")
    }
}

/// A folder of one's own that goes when it is dropped, and only then its lock.
pub(super) struct Work {
    folder: PathBuf,
    _lock: Lock,
}

impl Work {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, folder = %self.folder.display(), "a work folder stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::fetch::silent;

    const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn cache_in(folder: &Path) -> Cache {
        let environment = Environment { cache: Some(folder.join("cache")), ..Environment::default() };
        Cache::new(environment).unwrap()
    }

    fn pin() -> Pin {
        Pin::new("models/abc/abc.onnx", SHA256_OF_ABC)
    }

    fn write(content: &'static str) -> impl Fn(&Path) -> Result<()> {
        move |work| {
            fs::write(work.join("abc.onnx"), content).unwrap();
            Ok(())
        }
    }

    #[test]
    fn an_installed_file_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(folder.path());
        let made = Cell::new(0);
        for _ in 0..3 {
            let make = |work: &Path| {
                made.set(made.get() + 1);
                write("abc")(work)
            };
            cache.install("abc", &[pin()], &silent, &make).unwrap();
        }
        assert_eq!(made.get(), 1);
        assert_eq!(cache.find(&pin()).unwrap(), Some(cache.family("abc").join("abc.onnx")));
        assert_eq!(fs::read_dir(cache.folder().join("work")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_refused_by_find_and_replaced_by_install() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(folder.path());
        cache.install("abc", &[pin()], &silent, &write("abc")).unwrap();
        fs::write(cache.folder().join(&pin().file), "ab").unwrap();
        assert_eq!(cache.find(&pin()).unwrap_err().kind(), ErrorKind::Corrupt);
        cache.install("abc", &[pin()], &silent, &write("abc")).unwrap();
        assert!(cache.find(&pin()).unwrap().is_some());
    }

    #[test]
    fn what_was_fetched_wrong_never_gets_its_final_name() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(folder.path());
        let error = cache.install("abc", &[pin()], &silent, &write("xyz")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("abc.onnx"), "{error}");
        assert_eq!(cache.find(&pin()).unwrap(), None);
    }

    #[test]
    fn leftovers_of_a_killed_install_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(folder.path());
        let work = cache.folder().join("work/abc");
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("abc.onnx"), "half").unwrap();
        let make = |work: &Path| {
            assert_eq!(fs::read_dir(work).unwrap().count(), 0);
            write("abc")(work)
        };
        cache.install("abc", &[pin()], &silent, &make).unwrap();
    }

    #[test]
    fn two_installers_make_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_in(folder.path());
        let made = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let make = |work: &Path| {
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        write("abc")(work)
                    };
                    cache.install("abc", &[pin()], &silent, &make).unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn an_unwritable_cache_names_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cache"), "a file where the folder should be").unwrap();
        let cache = cache_in(folder.path());
        let error = cache.install("abc", &[pin()], &silent, &write("abc")).unwrap_err();
        assert!(error.to_string().contains("JELLYBEAN_CACHE"), "{error}");
    }
}
