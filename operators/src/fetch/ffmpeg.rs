//! Finds an ffmpeg program, or installs the pinned one.

use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::child::{Child, PROBE_MAX};
use super::pin::Pin;
use super::progress::Progress;
use super::python::{self, Wheel};
use crate::{Error, ErrorKind, Result};

const WHEEL: Wheel = Wheel { requirement: "imageio-ffmpeg==0.8.1", choice: &[], bytes: 67_998_000 };
const MEMBER_X86_64: &str = "imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2";
const MEMBER_AARCH64: &str = "imageio_ffmpeg/binaries/ffmpeg-linux-aarch64-v9.0.2";
const FILE: &str = "ffmpeg-9.0.2/ffmpeg";
const SHA256_X86_64: &str = "0d709a0bed1a43f24cd2c420878c63afea4580671b6949ad19ed124572f3bc3d";
const SHA256_AARCH64: &str = "0b0b5ac30495b4e07ce1321b8d58200f901f57782884a8b6b264c7528c2c9e77";

const WAY_OUT: &str =
    "name a working ffmpeg by --ffmpeg or JELLYBEAN_FFMPEG, or name none and have one installed";

/// The ffmpeg program to run: the one named by the flag (`explicit`) or `JELLYBEAN_FFMPEG`; else one in
/// `PATH` that runs; else the pinned wheel's, which is installed into the cache where it is missing.
///
/// # Errors
/// Where a named program is missing or does not run, or none is found and none can be installed.
pub fn ffmpeg_program(cache: &Cache, explicit: Option<&Path>, progress: Progress) -> Result<PathBuf> {
    match find_ffmpeg(cache, explicit, progress)? {
        Some(found) => Ok(found),
        None => install(cache, progress),
    }
}

/// The same without installing: `None` where no program is named and none is found.
///
/// # Errors
/// Where a named program is missing or does not run.
pub fn find_ffmpeg(cache: &Cache, explicit: Option<&Path>, progress: Progress) -> Result<Option<PathBuf>> {
    let by_variable = || cache.environment().ffmpeg.as_deref().map(|path| (path, "JELLYBEAN_FFMPEG"));
    if let Some((path, by)) = explicit.map(|path| (path, "--ffmpeg")).or_else(by_variable) {
        let place = |error: Error| error.at(format!("{by} names {}", path.display())).way_out(WAY_OUT);
        return check_runs(cache, path, progress).map(|()| Some(path.to_owned())).map_err(place);
    }
    if let Some(path) = cache.environment().find_program("ffmpeg") {
        match check_runs(cache, &path, progress) {
            Ok(()) => return Ok(Some(path)),
            Err(error) => tracing::warn!(%error, "the ffmpeg in PATH is passed over"),
        }
    }
    // A damaged file in the cache counts as missing: installing replaces it.
    Ok(pin().ok().and_then(|pin| cache.find(&pin).ok().flatten()))
}

fn pin() -> Result<Pin> {
    let sha256 = python::of_this_machine("ffmpeg", SHA256_X86_64, SHA256_AARCH64);
    sha256.map(|sha256| Pin::new(FILE, sha256)).map_err(|error| error.way_out(WAY_OUT))
}

fn check_runs(cache: &Cache, program: &Path, progress: Progress) -> Result<()> {
    let child = Child::new(program, "asking ffmpeg for its version", cache.clock(), progress);
    let output = child.arguments(["-hide_banner", "-version"]).time_max(PROBE_MAX).run()?;
    if output.starts_with("ffmpeg version") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Incompatible, format!("{} is not an ffmpeg", program.display())))
}

fn install(cache: &Cache, progress: Progress) -> Result<PathBuf> {
    let pin = pin()?;
    let member = python::of_this_machine("ffmpeg", MEMBER_X86_64, MEMBER_AARCH64)?;
    cache.install("ffmpeg", std::slice::from_ref(&pin), progress, &|work| {
        let program = work.join(pin.name());
        let wheel = python::download(cache, &WHEEL, work, progress)?;
        python::unpack(cache, &wheel, &[(member, &program)], progress)?;
        python::make_executable(&program)
    })?;
    Ok(cache.folder().join(&pin.file))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::fetch::{Environment, silent};

    /// A cache in a folder that is also `PATH`, with a program in it.
    fn with_program(name: &str, script: &str) -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        // Written by a child: a file this process writes is busy for exec while another test forks.
        let write = r#"printf '%s\n' "$2" > "$1" && chmod +x "$1""#;
        let arguments = ["-c", write, "sh", name, script];
        let status = Command::new("/bin/sh").args(arguments).current_dir(&folder).status().unwrap();
        assert!(status.success());
        let environment = Environment {
            cache: Some(folder.path().join("cache")),
            path: Some(folder.path().into()),
            ..Environment::default()
        };
        (folder, Cache::new(environment).unwrap())
    }

    #[test]
    fn one_in_path_that_runs_is_taken() {
        let (folder, cache) = with_program("ffmpeg", "#!/bin/sh\necho ffmpeg version 5");
        assert_eq!(ffmpeg_program(&cache, None, &silent).unwrap(), folder.path().join("ffmpeg"));
    }

    #[test]
    fn one_in_path_that_does_not_run_is_passed_over() {
        let (_folder, cache) = with_program("ffmpeg", "#!/bin/sh\necho broken >&2; exit 127");
        let error = ffmpeg_program(&cache, None, &silent).unwrap_err();
        assert!(error.to_string().contains("needs python3"), "{error}");
    }

    #[test]
    fn a_named_one_that_is_missing_or_broken_is_an_error_naming_it() {
        let (folder, cache) = with_program("other", "#!/bin/sh\necho hello");
        let missing = ffmpeg_program(&cache, Some(Path::new("/no/ffmpeg")), &silent).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains("--ffmpeg names /no/ffmpeg"), "{missing}");

        let other = ffmpeg_program(&cache, Some(&folder.path().join("other")), &silent).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Incompatible);
        assert!(other.to_string().contains("is not an ffmpeg"), "{other}");
    }
}
