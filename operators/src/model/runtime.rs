//! The ONNX Runtime library: looked at, loaded once, and set up.
//!
//! Invariant: a process has at most one library and one environment. `ort` panics where it is used
//! before its library is loaded, and can never make a second environment; so everything goes
//! through [`load`].

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use jellybean_engine::{Error, ErrorKind, Result};
use ort::environment::Environment;
use ort::logging::LogLevel;

/// The oldest usable ONNX Runtime is 1.17.
pub const MINOR_MIN: u32 = 17;

struct Loaded {
    path: PathBuf,
    environment: Environment,
}

static LOADED: OnceLock<Loaded> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Whether the library at `path` can be loaded, without loading it for good.
///
/// # Errors
/// `NotFound` if there is no such file, `Incompatible` if it is not an ONNX Runtime for this machine
/// or an old one.
pub fn probe(path: &Path) -> Result<()> {
    let minor = minor(path)?;
    if is_new_enough(minor) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Incompatible,
        format!("the ONNX Runtime at {} is 1.{minor}, which is too old", path.display()),
    )
    .way_out(format!("use ONNX Runtime 1.{MINOR_MIN} or newer")))
}

/// The minor version of the ONNX Runtime at `path`: 31 for 1.31.1.
///
/// # Errors
/// `NotFound` if there is no such file, `Incompatible` if it is not an ONNX Runtime for this machine.
pub fn minor(path: &Path) -> Result<u32> {
    // The dynamic linker's own message would not tell a missing file from a broken one.
    if !path.is_file() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("no ONNX Runtime library at {}", path.display()),
        )
        .way_out("give the path of a libonnxruntime.so"));
    }
    ort::util::probe(path).ok_or_else(|| {
        Error::new(
            ErrorKind::Incompatible,
            format!("{} is not an ONNX Runtime 1.x library for this machine", path.display()),
        )
        .way_out("give the path of a libonnxruntime.so built for this system and processor")
    })
}

/// Loads the library at `path` for the rest of the process; again for the same path does nothing.
///
/// After a failure another path may be tried.
///
/// # Errors
/// As [`probe`], and `Failed` if another library is loaded already.
pub fn load(path: &Path) -> Result<()> {
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    probe(path)?;
    let failed = |what: &str| Error::new(ErrorKind::Failed, format!("{what} {}", path.display()));
    let path = path.canonicalize().map_err(|e| failed("cannot resolve").because(e))?;
    if let Some(loaded) = LOADED.get() {
        let same = loaded.path == path;
        let message =
            format!("another ONNX Runtime is loaded already, {}, instead of", loaded.path.display());
        return if same { Ok(()) } else { Err(failed(&message)) };
    }
    let environment = ort::init_from(&path)
        .map_err(|e| failed("cannot load ONNX Runtime").because(e))?
        .with_name("jellybean")
        .with_telemetry(false)
        .build()
        .map_err(|e| failed("cannot set up ONNX Runtime").because(e))?;
    // What it would print on stderr comes back as errors as well.
    environment.set_log_level(LogLevel::Fatal);
    tracing::debug!(path = %path.display(), "loaded ONNX Runtime");
    LOADED.get_or_init(|| Loaded { path, environment });
    Ok(())
}

/// The library in use, if one was loaded.
#[must_use]
pub fn loaded() -> Option<&'static Path> {
    LOADED.get().map(|loaded| loaded.path.as_path())
}

pub(super) fn environment() -> Result<&'static Environment> {
    LOADED.get().map(|loaded| &loaded.environment).ok_or_else(|| {
        Error::new(ErrorKind::Failed, "ONNX Runtime is not loaded").way_out("call model::runtime::load first")
    })
}

fn is_new_enough(minor: u32) -> bool {
    minor >= MINOR_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing;

    #[test]
    fn error_old_versions() {
        assert!(!is_new_enough(16));
        assert!(is_new_enough(17) && is_new_enough(31));
        assert_eq!(ort::MINOR_VERSION, MINOR_MIN, "the rule is that of the api-NN feature of ort");
    }

    /// A library that answers like ONNX Runtime, as far as its version goes.
    fn library_of_version(folder: &Path, version: &str) -> PathBuf {
        let (source, library) = (folder.join("old.c"), folder.join("libold.so"));
        let code = format!(
            r#"
            static const char* version(void) {{ return "{version}"; }}
            static const struct {{ void* get_api; const char* (*version)(void); }} base = {{ 0, version }};
            const void* OrtGetApiBase(void) {{ return &base; }}
            "#
        );
        std::fs::write(&source, code).unwrap();
        let arguments = [Path::new("-shared"), Path::new("-fPIC"), Path::new("-o"), &library, &source];
        let compiled = std::process::Command::new("cc").args(arguments).status();
        assert!(compiled.expect("the test needs a C compiler").success());
        library
    }

    #[test]
    fn error_a_library_of_an_old_version() {
        let folder = tempfile::tempdir().unwrap();
        let library = library_of_version(folder.path(), "1.16.3");
        assert_eq!(minor(&library).map_err(|e| e.to_string()), Ok(16));
        for e in [probe(&library).unwrap_err(), load(&library).unwrap_err()] {
            assert_eq!(e.kind(), ErrorKind::Incompatible);
            let said = format!(
                "the ONNX Runtime at {} is 1.16, which is too old (use ONNX Runtime 1.17 or newer)",
                library.display()
            );
            assert_eq!(e.to_string(), said);
        }
    }

    #[test]
    fn error_absent_or_not_a_runtime_and_then_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("libonnxruntime.so");
        let e = load(&absent).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NotFound);
        assert!(
            e.to_string().starts_with(&format!("no ONNX Runtime library at {}", absent.display())),
            "{e}"
        );
        assert_eq!(probe(folder.path()).unwrap_err().kind(), ErrorKind::NotFound, "a folder is no library");

        std::fs::write(&absent, "not a library").unwrap();
        let e = load(&absent).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Incompatible);
        assert!(e.to_string().contains("is not an ONNX Runtime"), "{e}");

        testing::runtime();
        assert_eq!(load(&testing::runtime_path()).map_err(|e| e.to_string()), Ok(()), "again is fine");
        assert_eq!(loaded().map(Path::to_path_buf), testing::runtime_path().canonicalize().ok());
    }

    #[test]
    fn error_another_library_of_the_process_is_not_a_runtime() {
        // libc is loadable but exports none of the API.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let Some(libc) =
            maps.lines().filter_map(|l| l.split_whitespace().last()).find(|p| p.contains("libc.so"))
        else {
            return;
        };
        let e = probe(Path::new(libc)).unwrap_err();
        assert!(e.to_string().contains("is not an ONNX Runtime"), "{e}");
    }
}
