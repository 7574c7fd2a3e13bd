//! What a manifest says of outputs: one kind of head per way in which exports come.
//!
//! Invariant: a head that was checked has its numbers in range, so that reading by it needs no more
//! than the shapes of outputs.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Fault, count, holds, is_file, is_sha256};
use crate::pixels::SIDE_MAX;

/// The longest embedding.
const EMBEDDING_MAX: usize = 65_536;

/// How a model's outputs are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// Boxes with a class and a score.
    Boxes(Boxes),
    /// `kind = "scores"`, for classification.
    Scores(Scores),
    /// `kind = "embedding"`.
    Embedding(Vector),
    /// `kind = "ctc"`, for text in a picture of one line.
    Ctc(Ctc),
}

/// How a detector's outputs become boxes.
#[derive(Clone, Debug, PartialEq)]
pub enum Boxes {
    /// `kind = "heat_map"`.
    HeatMap(HeatMap),
    /// `kind = "nanodet"`.
    Nanodet(Nanodet),
    /// `kind = "yolo"`.
    Yolo(Yolo),
    /// `kind = "center_face"`.
    CenterFace(CenterFace),
    /// `kind = "text_map"`.
    TextMap(TextMap),
}

/// A map of heat per class, with the distances from each peak to the sides of its box.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeatMap {
    kind: IgnoredAny,
    /// The output `[N, classes, h, w]` of scores.
    pub heat: String,
    /// The output `[N, 4, h, w]` of distances left, up, right and down, in input pixels.
    pub ltrb: String,
    /// Input pixels per cell.
    pub stride: u32,
    /// Scores up to this are nothing.
    pub score_min: f32,
    /// Of two boxes of a class that overlap more than this, the better one stays.
    pub iou_max: f32,
}

/// NanoDet: scores per cell, and each distance as a distribution over bins.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nanodet {
    kind: IgnoredAny,
    /// Input pixels per cell, per level.
    pub strides: Vec<u32>,
    /// The bins of a distribution.
    pub bins: usize,
    /// Per level, the output `[N, h * w, classes]` of scores.
    pub classes_out: Vec<String>,
    /// Per level, the output `[N, h * w, 4 * bins]` of distributions, before their softmax.
    pub boxes_out: Vec<String>,
    /// Scores up to this are nothing.
    pub score_min: f32,
    /// Of two boxes of a class that overlap more than this, the better one stays.
    pub iou_max: f32,
}

/// The YOLO line of detectors: one output, in which a cell holds its box (centre x, centre y, width,
/// height in input pixels), the objectness if there is one, and a score per class.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yolo {
    kind: IgnoredAny,
    /// The output's name.
    pub output: String,
    /// Which of its sides counts the cells.
    pub layout: CellLayout,
    /// Whether a cell says how likely it holds anything; class scores are then multiplied by that.
    pub objectness: bool,
    /// Scores up to this are nothing.
    pub score_min: f32,
    /// Of two boxes of a class that overlap more than this, the better one stays.
    pub iou_max: f32,
}

/// The order of a YOLO's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellLayout {
    /// `[N, cells, values]`, as version 5 has it.
    Rows,
    /// `[N, values, cells]`, as versions 8 and 11 have it.
    Columns,
}

/// CenterFace: a map of heat, with size and offset per cell. Its landmarks are not read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CenterFace {
    kind: IgnoredAny,
    /// The output `[N, 1, h, w]` of scores.
    pub heat: String,
    /// The output `[N, 2, h, w]` of the logarithms of height and width, in cells.
    pub scale: String,
    /// The output `[N, 2, h, w]` of the centre's way from its cell down and right, in cells.
    pub offset: String,
    /// Where eyes, nose and mouth are; ignored.
    #[serde(default)]
    pub landmarks: Option<String>,
    /// Input pixels per cell.
    pub stride: u32,
    /// Scores up to this are nothing.
    pub score_min: f32,
    /// Of two boxes that overlap more than this, the better one stays.
    pub iou_max: f32,
}

/// A map of how likely each pixel is text, shrunk to the middle of its line ("differentiable
/// binarization"): connected regions become boxes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextMap {
    kind: IgnoredAny,
    /// The output `[N, 1, height, width]` of probabilities.
    pub map: String,
    /// Pixels up to this are no text.
    pub threshold: f32,
    /// Regions whose mean is up to this are nothing.
    pub score_min: f32,
    /// Boxes grow on every side by their area times this over their circumference.
    pub unclip: f32,
}

/// A score per class.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    kind: IgnoredAny,
    /// The output `[N, classes]`.
    pub output: String,
    /// Whether the output still has to go through a softmax.
    pub softmax: bool,
    /// How many classes are told, best first.
    pub top: usize,
}

/// A vector that says what something looks like; it is brought to length 1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    kind: IgnoredAny,
    /// The output `[N, length]`.
    pub output: String,
    /// How many numbers it has.
    pub length: usize,
}

/// A distribution over characters per step along the line, the first one being "none" (the blank of
/// connectionist temporal classification).
///
/// The input's height is the variant's. Its width follows the picture's proportions: rounded up to
/// `width_step`, at least the variant's `width` and at most `width_max`. A picture fills the height and
/// lies at the left, or is squeezed where it is longer than `width_max`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ctc {
    kind: IgnoredAny,
    /// The output `[N, steps, 1 + characters]`.
    pub output: String,
    /// The file in the family's folder with a character (or several that stand for one) per line.
    pub alphabet: String,
    /// Of that file, in lower-case hexadecimal.
    pub alphabet_sha256: String,
    /// Whether the output has the space as one more character, after those of the file.
    pub space: bool,
    /// Whether the output still has to go through a softmax.
    #[serde(default)]
    pub softmax: bool,
    /// Widths of the input are multiples of this, in pixels.
    pub width_step: u32,
    /// The widest input, in pixels.
    pub width_max: u32,
}

impl Head {
    /// The task that families with this head have.
    #[must_use]
    pub fn task(&self) -> &'static str {
        match self {
            Self::Boxes(_) => "detect",
            Self::Scores(_) => "classify",
            Self::Embedding(_) => "embed",
            Self::Ctc(_) => "read",
        }
    }

    /// Checks the head, and that a family with it has as many classes as it needs.
    pub(super) fn check(&self, classes: usize) -> Result<(), Fault> {
        match self {
            Self::Boxes(boxes) => boxes.check(classes),
            Self::Scores(head) => {
                count("classes", classes)?;
                let top = head.top;
                holds((1..=classes).contains(&top), "head.top", || format!("{top} is not 1 to {classes}"))
            }
            Self::Embedding(head) => {
                without("classes", classes)?;
                let length = head.length;
                let fits = (1..=EMBEDDING_MAX).contains(&length);
                holds(fits, "head.length", || format!("{length} is not 1 to {EMBEDDING_MAX}"))
            }
            Self::Ctc(head) => {
                without("classes", classes)?;
                head.check()
            }
        }
    }
}

impl Boxes {
    fn check(&self, classes: usize) -> Result<(), Fault> {
        count("classes", classes)?;
        match self {
            Self::HeatMap(head) => {
                strides(std::slice::from_ref(&head.stride))?;
                share("head.score_min", head.score_min)?;
                share("head.iou_max", head.iou_max)
            }
            Self::Nanodet(head) => {
                head.check()?;
                strides(&head.strides)?;
                share("head.score_min", head.score_min)?;
                share("head.iou_max", head.iou_max)
            }
            Self::Yolo(head) => {
                share("head.score_min", head.score_min)?;
                share("head.iou_max", head.iou_max)
            }
            Self::CenterFace(head) => {
                single("classes", classes)?;
                strides(std::slice::from_ref(&head.stride))?;
                share("head.score_min", head.score_min)?;
                share("head.iou_max", head.iou_max)
            }
            Self::TextMap(head) => {
                single("classes", classes)?;
                share("head.threshold", head.threshold)?;
                share("head.score_min", head.score_min)?;
                let unclip = head.unclip;
                holds((0.0..=10.0).contains(&unclip), "head.unclip", || format!("{unclip} is not in 0..=10"))
            }
        }
    }
}

impl Nanodet {
    fn check(&self) -> Result<(), Fault> {
        count("head.strides", self.strides.len())?;
        holds((2..=256).contains(&self.bins), "head.bins", || format!("{} is not 2 to 256", self.bins))?;
        let levels = [self.classes_out.len(), self.boxes_out.len()];
        let one_each = levels == [self.strides.len(); 2];
        holds(one_each, "head", || format!("{} strides with {levels:?} outputs", self.strides.len()))
    }
}

impl Ctc {
    fn check(&self) -> Result<(), Fault> {
        is_file("head.alphabet", &self.alphabet)?;
        is_sha256("head.alphabet_sha256", &self.alphabet_sha256)?;
        let (step, max) = (self.width_step, self.width_max);
        holds((1..=1024).contains(&step), "head.width_step", || format!("{step} is not 1 to 1024"))?;
        let usable = (step..=SIDE_MAX).contains(&max) && max.is_multiple_of(step);
        let what = || format!("{max} is not a multiple of the step of {step}, or beyond {SIDE_MAX}");
        holds(usable, "head.width_max", what)
    }

    /// Checks a variant's least width against the steps.
    pub(super) fn check_width(&self, key: String, width: u32) -> Result<(), Fault> {
        let (step, max) = (self.width_step, self.width_max);
        let fits = width <= max && width.is_multiple_of(step);
        holds(fits, key, || {
            format!("{width} is not a multiple of the step of {step} up to the greatest width, {max}")
        })
    }
}

fn share(key: &str, value: f32) -> Result<(), Fault> {
    holds((0.0..=1.0).contains(&value), key, || format!("{value} is not in 0..=1"))
}

fn strides(strides: &[u32]) -> Result<(), Fault> {
    let sane = strides.iter().all(|stride| (1..=1024).contains(stride));
    holds(sane, "head", || format!("a stride of {strides:?} is not 1 to 1024"))
}

fn single(key: &str, n: usize) -> Result<(), Fault> {
    holds(n == 1, key, || format!("{n} of them, where this head knows one"))
}

fn without(key: &str, n: usize) -> Result<(), Fault> {
    holds(n == 0, key, || format!("{n} of them, where this head knows none"))
}
