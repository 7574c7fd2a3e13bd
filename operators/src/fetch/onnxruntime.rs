//! Finds an ONNX Runtime library, or installs the pinned one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::pin::Pin;
use super::progress::Progress;
use super::python::{self, Wheel};
use crate::{Error, ErrorKind, Result};

const WHEEL: Wheel = Wheel {
    requirement: "onnxruntime==1.31.1",
    // The library is the same in the wheels of all Python versions.
    choice: &["--python-version", "3.12", "--implementation", "cp"],
    bytes: 23_761_000,
};
const MEMBER: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";
const FILE: &str = "onnxruntime-1.31.1/libonnxruntime.so.1.31.1";
const SHA256_X86_64: &str = "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3";
const SHA256_AARCH64: &str = "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467";

const WAY_OUT: &str = "name a library of version 1.17 or newer by --onnxruntime or JELLYBEAN_ONNXRUNTIME, \
                       or name none and have one installed";
const CONFIGURATION_BYTES_MAX: u64 = 64 << 10;

/// The ONNX Runtime library to load: the one named by the flag (`explicit`), `JELLYBEAN_ONNXRUNTIME` or
/// `ORT_DYLIB_PATH`; else the first usable one of our cache, the system's library folders and Python's
/// package; else the pinned wheel's, which is installed into the cache.
///
/// `usable` says whether a file can be loaded and is new enough, without committing to it.
///
/// # Errors
/// Where a named library is missing or unusable, or none is found and none can be installed.
pub fn onnxruntime_library(
    cache: &Cache,
    explicit: Option<&Path>,
    usable: &dyn Fn(&Path) -> Result<()>,
    progress: Progress,
) -> Result<PathBuf> {
    if let Some(found) = find_onnxruntime(cache, explicit, usable, progress)? {
        return Ok(found);
    }
    install(cache, &pin().map_err(|error| error.way_out(WAY_OUT))?, usable, progress)
}

/// The same without installing: `None` where no library is named and none is found.
///
/// # Errors
/// Where a named library is missing or unusable.
pub fn find_onnxruntime(
    cache: &Cache,
    explicit: Option<&Path>,
    usable: &dyn Fn(&Path) -> Result<()>,
    progress: Progress,
) -> Result<Option<PathBuf>> {
    if let Some((path, by)) = named(cache, explicit) {
        return check_named(path, by, usable).map(Some);
    }
    let cached = pin().ok().and_then(|pin| cached(cache, &pin));
    let in_package = || python::folder_of_package(cache, "onnxruntime", progress);
    Ok(first_usable(cached, usable)
        .or_else(|| first_usable(in_folders(&system_folders(cache)), usable))
        .or_else(|| {
            first_usable(in_package().into_iter().flat_map(|p| libraries_in(&p.join("capi"))), usable)
        }))
}

fn pin() -> Result<Pin> {
    python::of_this_machine("ONNX Runtime", SHA256_X86_64, SHA256_AARCH64)
        .map(|sha256| Pin::new(FILE, sha256))
}

/// The library somebody named, and how.
fn named<'a>(cache: &'a Cache, explicit: Option<&'a Path>) -> Option<(&'a Path, &'static str)> {
    let environment = cache.environment();
    let by_variable = |path: &'a Option<PathBuf>, name| path.as_deref().map(|path| (path, name));
    explicit
        .map(|path| (path, "--onnxruntime"))
        .or_else(|| by_variable(&environment.onnxruntime, "JELLYBEAN_ONNXRUNTIME"))
        .or_else(|| by_variable(&environment.ort_dylib_path, "ORT_DYLIB_PATH"))
}

fn check_named(path: &Path, by: &str, usable: &dyn Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    if !path.is_file() {
        let message = format!("{by} names the ONNX Runtime {}, which is not a file", path.display());
        return Err(Error::new(ErrorKind::NotFound, message).way_out(WAY_OUT));
    }
    usable(path).map_err(|error| error.at(format!("{by} names {}", path.display())).way_out(WAY_OUT))?;
    Ok(path.to_owned())
}

/// A damaged file in the cache counts as missing: installing replaces it.
fn cached(cache: &Cache, pin: &Pin) -> Option<PathBuf> {
    cache.find(pin).unwrap_or_else(|error| {
        tracing::warn!(%error, "the ONNX Runtime in the cache is passed over");
        None
    })
}

fn first_usable(
    candidates: impl IntoIterator<Item = PathBuf>,
    usable: &dyn Fn(&Path) -> Result<()>,
) -> Option<PathBuf> {
    candidates.into_iter().find(|path| match usable(path) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "an ONNX Runtime is passed over");
            false
        }
    })
}

fn install(
    cache: &Cache,
    pin: &Pin,
    usable: &dyn Fn(&Path) -> Result<()>,
    progress: Progress,
) -> Result<PathBuf> {
    cache.install("onnxruntime", std::slice::from_ref(pin), progress, &|work| {
        let wheel = python::download(cache, &WHEEL, work, progress)?;
        python::unpack(cache, &wheel, &[(MEMBER, &work.join(pin.name()))], progress)
    })?;
    let path = cache.folder().join(&pin.file);
    usable(&path).map_err(|error| error.at("the installed ONNX Runtime").way_out(WAY_OUT))?;
    Ok(path)
}

/// `LD_LIBRARY_PATH`, the usual folders, and those which the dynamic linker's configuration lists.
fn system_folders(cache: &Cache) -> Vec<PathBuf> {
    let own = cache.environment().ld_library_path.iter().flat_map(env::split_paths).collect::<Vec<_>>();
    let triple = format!("{}-linux-gnu", env::consts::ARCH);
    let usual =
        ["/usr/local/lib".into(), format!("/usr/lib/{triple}"), "/usr/lib64".into(), "/usr/lib".into()];
    let configured = files_in(Path::new("/etc/ld.so.conf.d"), |name| name.ends_with(".conf"));
    let mut folders: Vec<PathBuf> = Vec::new();
    let all =
        own.into_iter().chain(usual.map(PathBuf::from)).chain(configured.iter().flat_map(|f| listed_in(f)));
    for folder in all {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// The folders one configuration file of the dynamic linker lists.
fn listed_in(configuration: &Path) -> Vec<PathBuf> {
    use std::io::Read;
    let mut text = String::new();
    let read = fs::File::open(configuration)
        .and_then(|file| file.take(CONFIGURATION_BYTES_MAX).read_to_string(&mut text));
    if let Err(error) = read {
        tracing::debug!(%error, file = %configuration.display(), "cannot be read");
    }
    text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(PathBuf::from).collect()
}

fn in_folders(folders: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    folders.iter().flat_map(|folder| libraries_in(folder))
}

/// The ONNX Runtime libraries in a folder, the newest version first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = files_in(folder, |name| name.starts_with("libonnxruntime.so"));
    found.sort_by_key(|path| std::cmp::Reverse(version_in_name(path)));
    found
}

fn files_in(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = entries
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found
}

/// `libonnxruntime.so.1.31.1` is [1, 31, 1]; without a version it is empty, the lowest.
fn version_in_name(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').skip(2).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{Environment, silent};

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    /// A cache whose search sees `libraries` before the system's folders.
    fn cache_seeing(libraries: &Path) -> Cache {
        Cache::new(Environment {
            cache: Some(libraries.join("cache")),
            ld_library_path: Some(libraries.into()),
            ..Environment::default()
        })
        .unwrap()
    }

    fn too_old(path: &Path) -> Result<()> {
        Err(Error::new(ErrorKind::Incompatible, format!("{} is 1.16", path.display())))
    }

    #[test]
    fn a_named_library_that_is_missing_is_an_error_naming_it() {
        let folder = folder_with(&["libonnxruntime.so"]);
        let cache = cache_seeing(folder.path());
        let explicit = Path::new("/no/such/libonnxruntime.so");
        let error = onnxruntime_library(&cache, Some(explicit), &|_| Ok(()), &silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let text = error.to_string();
        assert!(text.contains("--onnxruntime names the ONNX Runtime /no/such/libonnxruntime.so"), "{text}");
    }

    #[test]
    fn a_named_library_that_is_too_old_is_an_error_naming_the_variable() {
        let folder = folder_with(&["old.so"]);
        let onnxruntime = Some(folder.path().join("old.so"));
        let cache = Some(folder.path().join("cache"));
        let cache = Cache::new(Environment { cache, onnxruntime, ..Environment::default() }).unwrap();
        let error = onnxruntime_library(&cache, None, &too_old, &silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(error.to_string().starts_with("JELLYBEAN_ONNXRUNTIME names /"), "{error}");
    }

    #[test]
    fn the_flag_goes_before_the_variables() {
        let folder = folder_with(&["flag.so", "ours.so", "theirs.so"]);
        let file = |name| Some(folder.path().join(name));
        let environment = Environment {
            cache: file("cache"),
            onnxruntime: file("ours.so"),
            ort_dylib_path: file("theirs.so"),
            ..Environment::default()
        };
        let found = |environment: &Environment, explicit: Option<&Path>| {
            let cache = Cache::new(environment.clone()).unwrap();
            onnxruntime_library(&cache, explicit, &|_| Ok(()), &silent).unwrap()
        };
        assert_eq!(found(&environment, file("flag.so").as_deref()), file("flag.so").unwrap());
        assert_eq!(found(&environment, None), file("ours.so").unwrap());
        let environment = Environment { onnxruntime: None, ..environment };
        assert_eq!(found(&environment, None), file("theirs.so").unwrap());
    }

    #[test]
    fn the_search_skips_what_is_unusable_and_takes_the_newest() {
        let names = ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.22.1", "libonnxruntime.so.1.32.0"];
        let folder = folder_with(&names);
        let cache = cache_seeing(folder.path());
        let usable = |path: &Path| if path.ends_with(names[2]) { too_old(path) } else { Ok(()) };
        let found = onnxruntime_library(&cache, None, &usable, &silent).unwrap();
        assert_eq!(found, folder.path().join(names[1]));
    }

    #[test]
    fn a_damaged_library_in_the_cache_is_passed_over() {
        let folder = folder_with(&["libonnxruntime.so.1.20.1"]);
        let cache = cache_seeing(folder.path());
        let damaged = cache.folder().join(FILE);
        fs::create_dir_all(damaged.parent().unwrap()).unwrap();
        fs::write(&damaged, "half a library").unwrap();
        let found = onnxruntime_library(&cache, None, &|_| Ok(()), &silent).unwrap();
        assert_eq!(found, folder.path().join("libonnxruntime.so.1.20.1"));
    }

    #[test]
    fn where_nothing_can_be_installed_the_way_out_is_named() {
        let folder = folder_with(&[]);
        let cache = cache_seeing(folder.path());
        let error = onnxruntime_library(&cache, None, &too_old, &silent).unwrap_err();
        assert!(error.to_string().contains("needs python3"), "{error}");
    }
}
