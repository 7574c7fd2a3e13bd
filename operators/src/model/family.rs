//! Families: one task and its interchangeable models, found by name and opened as runners.
//!
//! Invariant: a [`Model`] that exists has the bytes its manifest promises, by sha256.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jellybean_engine::runner::Runner;
use jellybean_engine::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use super::manifest::{Head, Manifest, Variant};
use crate::fetch::{
    APPEARANCE_MANIFEST, Cache, Environment, FACE_MANIFEST, NANODET_MANIFEST, TEXT_DETECT_MANIFEST,
    TEXT_READ_MANIFEST,
};

/// The largest model file, in bytes.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// The largest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// What a manifest is called in its family's folder.
const MANIFEST: &str = "manifest.toml";

/// What a family is for: what goes in, what comes out, and how its models become runners.
pub trait Task: 'static {
    /// One input.
    type In: Send + 'static;
    /// One output.
    type Out: Send + 'static;
    /// What manifests call the task.
    const NAME: &'static str;

    /// Makes a runner of a model.
    ///
    /// # Errors
    /// If the model is not what its manifest says.
    fn open(model: &Model<Self>, threads: usize) -> Result<Box<dyn Runner<In = Self::In, Out = Self::Out>>>
    where
        Self: Sized;
}

/// A family that is compiled in.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// The family's name.
    pub name: &'static str,
    /// The text of its manifest.
    pub manifest: &'static str,
    /// Names and bytes of its files; none if the manifest says `fetch = true`.
    pub files: &'static [(&'static str, &'static [u8])],
}

/// The families that every build has; [`family`] knows them by name.
pub const EMBEDDED: &[Embedded] = &[
    Embedded {
        name: "road",
        manifest: include_str!("../../models/road/manifest.toml"),
        files: &[
            ("road-w4.onnx", include_bytes!("../../models/road/road-w4.onnx")),
            ("road-w8.onnx", include_bytes!("../../models/road/road-w8.onnx")),
            ("road-w16.onnx", include_bytes!("../../models/road/road-w16.onnx")),
        ],
    },
    Embedded { name: "nanodet", manifest: NANODET_MANIFEST, files: &[] },
    Embedded { name: "appearance", manifest: APPEARANCE_MANIFEST, files: &[] },
    Embedded { name: "face", manifest: FACE_MANIFEST, files: &[] },
    Embedded { name: "text-detect", manifest: TEXT_DETECT_MANIFEST, files: &[] },
    Embedded { name: "text-read", manifest: TEXT_READ_MANIFEST, files: &[] },
];

/// A model family of a task. Clones share what they hold.
///
/// Making one never fails, so that a topology can be written down anywhere; what is wrong with it is
/// told by [`Family::manifest`] and everything after.
pub struct Family<T> {
    found: Arc<Found>,
    task: PhantomData<fn() -> T>,
}

struct Found {
    name: String,
    place: Place,
    manifest: Result<Checked>,
}

struct Checked {
    manifest: Manifest,
    /// Of the manifest's text.
    sha256: String,
}

/// Where a family's files lie.
enum Place {
    Embedded(&'static [(&'static str, &'static [u8])]),
    Folder(PathBuf),
}

/// One model of a family, its bytes checked. Clones share them.
pub struct Model<T> {
    found: Arc<Found>,
    variant: Variant,
    bytes: Bytes,
    alphabet: Option<Bytes>,
    task: PhantomData<fn() -> T>,
}

#[derive(Clone)]
enum Bytes {
    Embedded(&'static [u8]),
    Read(Arc<[u8]>),
}

/// What makes two pools of runners interchangeable: a pool is shared by all who want the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Of the model file.
    pub model_sha256: String,
    /// Of the manifest: how the model is fed and read.
    pub manifest_sha256: String,
    /// Which variant of the manifest: one file may appear at several input sizes.
    pub variant: String,
    /// Where it runs.
    pub device: Device,
    /// Threads of one run.
    pub threads: usize,
}

/// What a model runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The processor.
    Cpu,
}

/// The family of this name: compiled in, or else fetched into the cache.
///
/// ```
/// use jellybean_operators::model::{Detect, family};
/// let nobody = family::<Detect>("nobody");
/// assert!(nobody.manifest().unwrap_err().to_string().contains("no model family \"nobody\""));
/// ```
#[must_use]
pub fn family<T: Task>(name: &str) -> Family<T> {
    match EMBEDDED.iter().find(|embedded| embedded.name == name) {
        Some(embedded) => Family::embedded(embedded),
        None => Family::in_folder(name, cache(name)),
    }
}

/// The manifest of the family of this name, whatever its task.
///
/// # Errors
/// As [`Family::manifest`].
pub fn manifest_of(name: &str) -> Result<Manifest> {
    match EMBEDDED.iter().find(|embedded| embedded.name == name) {
        Some(embedded) => Manifest::parse(embedded.manifest, &format!("{name}/{MANIFEST}")),
        None => manifest_named(name, &cache(name)),
    }
}

/// The manifest in a family's folder, whatever its task.
///
/// # Errors
/// As [`Family::manifest`].
pub fn manifest_in(folder: &Path) -> Result<Manifest> {
    manifest_named(&folder_name(folder), folder)
}

fn manifest_named(name: &str, folder: &Path) -> Result<Manifest> {
    let (text, file) = manifest_text(name, folder)?;
    Manifest::parse(&text, &file)
}

/// The bytes of a model file that has no manifest yet.
///
/// # Errors
/// `NotFound` if there is no such file, `Invalid` if it is larger than any model may be.
pub fn read_model(path: &Path) -> Result<Vec<u8>> {
    read_bounded(path, FILE_BYTES_MAX).map_err(|e| e.at(path.display().to_string()))
}

impl<T: Task> Family<T> {
    /// A family that is compiled into the caller's own program.
    #[must_use]
    pub fn embedded(embedded: &Embedded) -> Self {
        let manifest = check::<T>(embedded.manifest, &format!("{}/{MANIFEST}", embedded.name));
        let place = match &manifest {
            Ok(checked) if checked.manifest.fetch => Place::Folder(cache(embedded.name)),
            _ => Place::Embedded(embedded.files),
        };
        Self::new(embedded.name, place, manifest)
    }

    /// A family of one's own: a folder with a `manifest.toml`.
    #[must_use]
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self::in_folder(&folder_name(&folder), folder)
    }

    fn in_folder(name: &str, folder: PathBuf) -> Self {
        let manifest = manifest_text(name, &folder).and_then(|(text, file)| check::<T>(&text, &file));
        Self::new(name, Place::Folder(folder), manifest)
    }

    fn new(name: &str, place: Place, manifest: Result<Checked>) -> Self {
        Self { found: Arc::new(Found { name: name.to_string(), place, manifest }), task: PhantomData }
    }

    /// The name it was asked for by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.found.name
    }

    /// What the family is.
    ///
    /// # Errors
    /// `NotFound` if there is no such family, `Invalid` or `Incompatible` if its manifest is wrong or
    /// is for another task.
    pub fn manifest(&self) -> Result<&Manifest> {
        self.found.checked().map(|checked| &checked.manifest)
    }

    /// The variant of this name, or the family's default one.
    ///
    /// # Errors
    /// As [`Family::manifest`], and `Invalid` if the family has no such variant.
    pub fn variant(&self, name: Option<&str>) -> Result<&Variant> {
        let manifest = self.manifest()?;
        let Some(name) = name else { return Ok(manifest.default_variant()) };
        manifest.variant(name).ok_or_else(|| {
            let names: Vec<&str> = manifest.variants.iter().map(|variant| variant.name.as_str()).collect();
            Error::new(ErrorKind::Invalid, format!("family \"{}\" has no variant \"{name}\"", self.name()))
                .way_out(format!("it has {}", names.join(", ")))
        })
    }

    /// What identifies the runners of a variant; nothing is read for it.
    ///
    /// # Errors
    /// As [`Family::variant`].
    pub fn key(&self, variant: Option<&str>, threads: usize) -> Result<Key> {
        let variant = self.variant(variant)?;
        Ok(Key {
            model_sha256: variant.sha256.clone(),
            manifest_sha256: self.found.checked()?.sha256.clone(),
            variant: variant.name.clone(),
            device: Device::Cpu,
            threads,
        })
    }

    /// Reads a variant's files and checks them: once per pool, for all of its runners.
    ///
    /// # Errors
    /// As [`Family::variant`], `NotFound` if the file is missing, `Corrupt` if its sha256 is another.
    pub fn model(&self, variant: Option<&str>) -> Result<Model<T>> {
        let variant = self.variant(variant)?.clone();
        let bytes = self.found.read(&variant, &variant.file, &variant.sha256)?;
        let alphabet = match &self.manifest()?.head {
            Head::Ctc(head) => Some(self.found.read(&variant, &head.alphabet, &head.alphabet_sha256)?),
            _ => None,
        };
        Ok(Model { found: Arc::clone(&self.found), variant, bytes, alphabet, task: PhantomData })
    }
}

impl<T: Task> Model<T> {
    /// Opens one runner: a session of its own, warmed up. The ONNX Runtime has to be loaded.
    ///
    /// # Errors
    /// `Corrupt` or `Incompatible` if the model is not what its manifest says.
    pub fn runner(&self, threads: usize) -> Result<Box<dyn Runner<In = T::In, Out = T::Out>>> {
        T::open(self, threads).map_err(|e| e.at(self.found.of(&self.variant, &self.variant.file)))
    }

    /// The family's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        let checked = self.found.manifest.as_ref();
        &checked.expect("a model is only made of a family whose manifest was checked").manifest
    }

    /// Which variant it is.
    #[must_use]
    pub fn variant(&self) -> &Variant {
        &self.variant
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// The bytes of the file with the characters that it reads, if its head has one.
    #[must_use]
    pub fn alphabet(&self) -> Option<&[u8]> {
        self.alphabet.as_ref().map(Bytes::get)
    }
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Embedded(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

impl Found {
    fn checked(&self) -> Result<&Checked> {
        // Everybody who asks is told; the first error stays where it is.
        self.manifest.as_ref().map_err(|e| Error::new(e.kind(), e.to_string()))
    }

    /// How errors call a file of a variant.
    fn of(&self, variant: &Variant, file: &str) -> String {
        let place = match &self.place {
            Place::Embedded(_) => format!("{file} (embedded)"),
            Place::Folder(folder) => folder.join(file).display().to_string(),
        };
        format!("model \"{}/{}\", {place}", self.name, variant.name)
    }

    fn read(&self, variant: &Variant, file: &str, wanted: &str) -> Result<Bytes> {
        let bytes = match &self.place {
            Place::Embedded(files) => files
                .iter()
                .find(|(name, _)| *name == file)
                .map(|(_, bytes)| Bytes::Embedded(bytes))
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "it is not compiled in")),
            Place::Folder(folder) => {
                read_bounded(&folder.join(file), FILE_BYTES_MAX).map(|bytes| Bytes::Read(bytes.into()))
            }
        };
        let bytes = bytes.map_err(|e| e.at(self.of(variant, file)).way_out(WAY_OUT))?;
        let sha256 = sha256(bytes.get());
        if sha256 == wanted {
            return Ok(bytes);
        }
        let message = format!(
            "{}: its {} bytes have the sha256 {sha256} instead of {wanted}; it is truncated or another file",
            self.of(variant, file),
            bytes.get().len(),
        );
        Err(Error::new(ErrorKind::Corrupt, message).way_out(WAY_OUT))
    }
}

const WAY_OUT: &str = "`jellybean models fetch` brings files anew";

/// The folder of a fetched family. Without a cache folder there is none, and it is not found there.
fn cache(name: &str) -> PathBuf {
    Cache::new(Environment::of_process()).map(|cache| cache.family(name)).unwrap_or_default()
}

fn check<T: Task>(text: &str, file: &str) -> Result<Checked> {
    let manifest = Manifest::parse(text, file)?;
    if manifest.task != T::NAME {
        let message =
            format!("{file}: task: a \"{}\" family where \"{}\" is asked for", manifest.task, T::NAME);
        return Err(Error::new(ErrorKind::Incompatible, message));
    }
    Ok(Checked { manifest, sha256: sha256(text.as_bytes()) })
}

fn folder_name(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The text of a manifest, and what errors call it.
fn manifest_text(name: &str, folder: &Path) -> Result<(String, String)> {
    let path = folder.join(MANIFEST);
    if !folder.is_dir() {
        let message = format!("no model family \"{name}\" in {}", folder.display());
        return Err(Error::new(ErrorKind::NotFound, message)
            .way_out("`jellybean models` lists families, `jellybean models fetch` brings more"));
    }
    Ok((read_text(&path)?, path.display().to_string()))
}

fn read_text(path: &Path) -> Result<String> {
    let place = path.display();
    let bytes = read_bounded(path, MANIFEST_BYTES_MAX).map_err(|e| e.at(place.to_string()))?;
    String::from_utf8(bytes)
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("{place} is not text")).because(e))
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "the file is missing"),
        _ => Error::new(ErrorKind::Failed, "cannot read the file").because(e),
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::new(ErrorKind::Invalid, format!("the file has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// The sha256 of some bytes, in lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<T> Clone for Family<T> {
    fn clone(&self) -> Self {
        Self { found: Arc::clone(&self.found), task: PhantomData }
    }
}

impl<T> Clone for Model<T> {
    fn clone(&self) -> Self {
        let (variant, bytes, alphabet) = (self.variant.clone(), self.bytes.clone(), self.alphabet.clone());
        Self { found: Arc::clone(&self.found), variant, bytes, alphabet, task: PhantomData }
    }
}

impl<T> fmt::Debug for Family<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.found.name).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Model<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({})", self.found.of(&self.variant, &self.variant.file))
    }
}

#[cfg(test)]
mod tests;
