//! A family's manifest: what a folder of interchangeable ONNX files is, wants and returns.
//!
//! Invariant: a [`Manifest`] that exists was checked: keys known, values in range, names unique, and
//! files plain names within their folder.

mod heads;

use std::collections::BTreeSet;
use std::path::{Component, Path};

use jellybean_engine::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::pixels::{Channels, Layout, PIXELS_MAX, Resize, SIDE_MAX, Shape};
pub use heads::{Boxes, CellLayout, CenterFace, Ctc, Head, HeatMap, Nanodet, Scores, TextMap, Vector, Yolo};

const VERSION: i64 = 1;
/// The most classes, variants, strides of a family: far beyond real ones, and a bound for what follows.
const ENTRIES_MAX: usize = 4096;

/// Which key is wrong, and how.
type Fault = (String, String);

/// A model family. The TOML format is shown in the manifests below `tests/data/models`.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The family's name.
    pub name: String,
    /// The name of its task, as [`super::Task::NAME`] has it.
    pub task: String,
    /// The names of the classes, in the order of the model's outputs; none where the task knows none.
    pub classes: Vec<String>,
    /// Under which licence the weights are.
    pub license: String,
    /// Where the weights come from.
    pub source: String,
    /// Whether the files are fetched into the cache, instead of lying beside the manifest.
    pub fetch: bool,
    /// What goes in.
    pub input: Input,
    /// How to read what comes out.
    pub head: Head,
    /// The interchangeable files; at least one.
    pub variants: Vec<Variant>,
}

/// What a family's models are fed with, but for the size.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The input's name in the graph.
    pub name: String,
    /// The order of its dimensions.
    pub layout: Layout,
    /// The order of its channels.
    pub channels: Channels,
    /// Subtracted from pixel values (0..=255), in the order of `channels`.
    pub mean: [f32; 3],
    /// Divides what is left, in the order of `channels`.
    pub std: [f32; 3],
    /// How pictures are brought to size.
    pub resize: Resize,
    /// The pixel value of what a letterboxed picture leaves free.
    pub fill: u8,
}

/// One file of a family at one input size.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Unique in the family.
    pub name: String,
    /// The file's name in the family's folder.
    pub file: String,
    /// Of the file, in lower-case hexadecimal.
    pub sha256: String,
    /// Of the input, in pixels.
    pub width: u32,
    /// Of the input, in pixels.
    pub height: u32,
    /// What the weights are held in.
    pub precision: Precision,
    /// As measured on `accuracy_data`, in 0..=1.
    pub accuracy: f64,
    /// What the accuracy was measured on, and how.
    pub accuracy_data: String,
    /// Whether it is used where nothing else is said; the first one is if none says so.
    #[serde(default)]
    pub default: bool,
}

/// What weights are held in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers.
    Int8,
}

/// A manifest as it is written, with a head of one kind. (A tagged enumeration in place of `H` would
/// do, but its errors do not know their line.)
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text<H> {
    version: IgnoredAny,
    name: String,
    task: String,
    #[serde(default)]
    classes: Vec<String>,
    license: String,
    source: String,
    #[serde(default)]
    fetch: bool,
    input: Input,
    head: H,
    variant: Vec<Variant>,
}

/// What decides how the rest is read.
#[derive(Deserialize)]
struct Version {
    version: i64,
}

#[derive(Deserialize)]
struct Kinds {
    head: KindOf,
}

#[derive(Deserialize)]
struct KindOf {
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    HeatMap,
    Nanodet,
    Yolo,
    CenterFace,
    TextMap,
    Scores,
    Embedding,
    Ctc,
}

impl Manifest {
    /// Reads and checks a manifest; `file` is what errors call it.
    ///
    /// # Errors
    /// `Invalid`, with file, line and key: not TOML, unknown or missing keys, values out of range;
    /// `Incompatible` for another version of the format.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        // The version first: keys that another version knows should not be called unknown.
        let Version { version } = from_toml(text, file)?;
        if version != VERSION {
            let message = format!("{file}: version = {version} is not known, only {VERSION} is");
            return Err(Error::new(ErrorKind::Incompatible, message));
        }
        let manifest = match from_toml::<Kinds>(text, file)?.head.kind {
            Kind::HeatMap => read(text, file, |head| Head::Boxes(Boxes::HeatMap(head))),
            Kind::Nanodet => read(text, file, |head| Head::Boxes(Boxes::Nanodet(head))),
            Kind::Yolo => read(text, file, |head| Head::Boxes(Boxes::Yolo(head))),
            Kind::CenterFace => read(text, file, |head| Head::Boxes(Boxes::CenterFace(head))),
            Kind::TextMap => read(text, file, |head| Head::Boxes(Boxes::TextMap(head))),
            Kind::Scores => read(text, file, Head::Scores),
            Kind::Embedding => read(text, file, Head::Embedding),
            Kind::Ctc => read(text, file, Head::Ctc),
        }?;
        let said = |(key, what): Fault| Error::new(ErrorKind::Invalid, format!("{file}: {key}: {what}"));
        manifest.check().map_err(said)?;
        Ok(manifest)
    }

    /// The variant of this name.
    #[must_use]
    pub fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// The variant that is used where nothing else is said.
    #[must_use]
    pub fn default_variant(&self) -> &Variant {
        self.variants.iter().find(|variant| variant.default).unwrap_or(&self.variants[0])
    }

    /// What a variant is fed with.
    #[must_use]
    pub fn shape(&self, variant: &Variant) -> Shape {
        let Input { layout, channels, mean, std, resize, fill, .. } = self.input;
        Shape { width: variant.width, height: variant.height, layout, channels, resize, fill, mean, std }
    }

    /// Says which key is wrong and how.
    fn check(&self) -> Result<(), Fault> {
        is_name("name", &self.name)?;
        count("variant", self.variants.len())?;
        let finite = self.input.mean.iter().all(|m| m.is_finite());
        holds(finite, "input.mean", || "is not finite".to_string())?;
        let usable = self.input.std.iter().all(|s| s.is_finite() && *s != 0.0);
        holds(usable, "input.std", || "divides, so it is finite and not 0".to_string())?;
        let (task, needed) = (&self.task, self.head.task());
        holds(task == needed, "task", || {
            format!("{task:?}, where the head is one of \"{needed}\" families")
        })?;
        self.head.check(self.classes.len())?;
        let mut names = BTreeSet::new();
        for variant in &self.variants {
            let key = |field: &str| format!("variant \"{}\": {field}", variant.name);
            holds(names.insert(&variant.name), key("name"), || "is there twice".to_string())?;
            variant.check(key)?;
            if let Head::Ctc(head) = &self.head {
                head.check_width(key("width"), variant.width)?;
            }
        }
        let defaults = self.variants.iter().filter(|variant| variant.default).count();
        holds(defaults <= 1, "variant", || format!("{defaults} of them are the default"))
    }
}

impl<H> Text<H> {
    fn manifest(self, head: impl FnOnce(H) -> Head) -> Manifest {
        let Self { version: IgnoredAny, name, task, classes, license, source, fetch, input, .. } = self;
        let (head, variants) = (head(self.head), self.variant);
        Manifest { name, task, classes, license, source, fetch, input, head, variants }
    }
}

impl Variant {
    fn check(&self, key: impl Fn(&str) -> String) -> Result<(), Fault> {
        is_name(&key("name"), &self.name)?;
        is_file(&key("file"), &self.file)?;
        is_sha256(&key("sha256"), &self.sha256)?;
        let (width, height) = (self.width, self.height);
        let sides = [width, height].iter().all(|side| (1..=SIDE_MAX).contains(side));
        let bounded = sides && u64::from(width) * u64::from(height) <= PIXELS_MAX / 4;
        holds(bounded, key("width, height"), || format!("{width}x{height} is not a usable size"))?;
        let accuracy = self.accuracy;
        holds((0.0..=1.0).contains(&accuracy), key("accuracy"), || format!("{accuracy} is not in 0..=1"))
    }
}

fn read<H: DeserializeOwned>(text: &str, file: &str, head: impl FnOnce(H) -> Head) -> Result<Manifest> {
    Ok(from_toml::<Text<H>>(text, file)?.manifest(head))
}

fn from_toml<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        let place = line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"));
        Error::new(ErrorKind::Invalid, format!("{place}: {}", e.message()))
    })
}

fn holds(yes: bool, key: impl Into<String>, what: impl FnOnce() -> String) -> Result<(), Fault> {
    if yes { Ok(()) } else { Err((key.into(), what())) }
}

fn count(key: &str, n: usize) -> Result<(), Fault> {
    holds((1..=ENTRIES_MAX).contains(&n), key, || format!("{n} of them, instead of 1 to {ENTRIES_MAX}"))
}

fn is_file(key: &str, file: &str) -> Result<(), Fault> {
    let mut parts = Path::new(file).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    holds(plain, key, || format!("{file:?} is not a plain file name"))
}

fn is_sha256(key: &str, digits: &str) -> Result<(), Fault> {
    let hex = digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    holds(hex, key, || "is 64 digits of lower-case hexadecimal".to_string())
}

/// Names appear in paths, metrics and plans.
fn is_name(key: &str, name: &str) -> Result<(), Fault> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.');
    holds(good, key, || format!("{name:?} is not 1 to 64 letters, digits, - _ and . (not first)"))
}

#[cfg(test)]
mod tests;
