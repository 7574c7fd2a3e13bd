//! `vtest.avi`, the video of people walking that OpenCV's documentation brings along, out of a Debian package.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::child::{Child, DOWNLOAD_MAX};
use super::pin::Pin;
use super::progress::Progress;
use super::python::{make_folder, the_file_in};
use crate::{Error, ErrorKind, Result};

const FILE: &str = "videos/vtest.avi";
const SHA256: &str = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf";
const PACKAGE: &str = "opencv-doc";
const PACKAGE_BYTES: u64 = 95_715_000;
const MEMBER: &str = "usr/share/doc/opencv-doc/examples/data/vtest.avi";
const WAY_OUT: &str = "use a video of your own: jellybean run people --video FILE";

/// The path of `vtest.avi`, which is fetched where it is missing or damaged: 768x576, 795 frames at 10 per
/// second, people walking by; 8 MB.
///
/// # Errors
/// On systems without apt, where apt cannot reach a mirror, or where its package holds another video.
pub fn vtest(cache: &Cache, progress: Progress) -> Result<PathBuf> {
    let pin = Pin::new(FILE, SHA256);
    let fetched = cache.install("vtest", std::slice::from_ref(&pin), progress, &|work| {
        let package = download(cache, work, progress)?;
        let unpacked = work.join("unpacked");
        Child::new(&tool(cache, "dpkg-deb")?, "unpacking opencv-doc", cache.clock(), progress)
            .arguments([OsString::from("--extract"), package.into(), unpacked.clone().into()])
            .run()?;
        fs::rename(unpacked.join(MEMBER), work.join(pin.name())).map_err(|error| {
            Error::new(ErrorKind::NotFound, format!("{PACKAGE} holds no {MEMBER}")).because(error)
        })
    });
    fetched.map_err(|error| error.way_out(WAY_OUT))?;
    Ok(cache.folder().join(&pin.file))
}

/// Downloads the package with the system's package lists, else with lists of our own.
fn download(cache: &Cache, work: &Path, progress: Progress) -> Result<PathBuf> {
    let package = work.join("package");
    make_folder(&package)?;
    if let Err(error) = apt_download(cache, &[], &package, progress) {
        tracing::debug!(%error, "the system's package lists do not serve; own ones are fetched");
        let lists = own_lists(&work.join("apt"))?;
        apt(cache, "fetching Debian's package lists", &lists, progress)?
            .arguments(["update"])
            .time_max(DOWNLOAD_MAX)
            .run()?;
        apt_download(cache, &lists, &package, progress)?;
    }
    the_file_in(&package, "deb")
}

fn apt_download(cache: &Cache, lists: &[String], folder: &Path, progress: Progress) -> Result<()> {
    let what = format!("downloading {PACKAGE} ({} MB)", PACKAGE_BYTES / 1_000_000);
    apt(cache, &what, lists, progress)?
        .arguments(["download", PACKAGE])
        .in_folder(folder)
        .watch(folder, PACKAGE_BYTES)
        .time_max(DOWNLOAD_MAX)
        .run()?;
    Ok(())
}

/// The options by which apt keeps its lists and caches below a folder that needs no root.
fn own_lists(folder: &Path) -> Result<Vec<String>> {
    for inner in ["state/lists/partial", "cache/archives/partial"] {
        make_folder(&folder.join(inner))?;
    }
    let folder = folder.display();
    let options = [
        format!("Dir::State={folder}/state"),
        format!("Dir::Cache={folder}/cache"),
        "Dir::State::status=/var/lib/dpkg/status".into(),
        "Acquire::Languages=none".into(),
    ];
    Ok(options.into_iter().flat_map(|option| ["-o".into(), option]).collect())
}

fn apt<'a>(cache: &'a Cache, what: &str, lists: &[String], progress: Progress<'a>) -> Result<Child<'a>> {
    let child = Child::new(&tool(cache, "apt-get")?, what, cache.clock(), progress);
    Ok(child.arguments(["-qq"]).arguments(lists))
}

fn tool(cache: &Cache, name: &str) -> Result<PathBuf> {
    cache.environment().find_program(name).ok_or_else(|| {
        let message = format!("vtest.avi comes from a Debian package, and there is no {name} in PATH");
        Error::new(ErrorKind::NotFound, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{Environment, silent};

    #[test]
    fn without_apt_the_way_out_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Some(folder.path().to_owned());
        let cache = Cache::new(Environment { cache, ..Environment::default() }).unwrap();
        let error = vtest(&cache, &silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let text = error.to_string();
        assert!(text.contains("no apt-get in PATH") && text.contains("run people --video FILE"), "{text}");
    }
}
