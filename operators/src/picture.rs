//! Frames and what is seen in them: the data that flows between steps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One picture of one camera. Clones share the pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The camera's name.
    pub camera: Arc<str>,
    /// Counts the camera's frames from 0.
    pub number: u64,
    /// The camera's own time, in milliseconds since its first frame.
    pub time_ms: u64,
    /// The pixels.
    pub picture: Picture,
}

/// Pixels of `width` x `height`, shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// How `data` is laid out.
    pub format: Format,
    /// The bytes; their number follows from format and size (see [`Format::bytes`]), except for JPEG.
    #[serde(with = "shared_bytes")]
    pub data: Arc<[u8]>,
}

/// How a picture's bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// Planar YUV 4:2:0, BT.601 limited range: Y (w x h), U and V (each ceil(w/2) x ceil(h/2)).
    I420,
    /// Interleaved 8-bit RGB.
    Rgb,
    /// A JPEG file as it came.
    Jpeg,
}

impl Format {
    /// The bytes of a `width` x `height` picture; `None` for JPEG, whose size is its own.
    #[must_use]
    pub fn bytes(self, width: u32, height: u32) -> Option<usize> {
        let (w, h) = (width as usize, height as usize);
        match self {
            Self::I420 => Some(w * h + 2 * w.div_ceil(2) * h.div_ceil(2)),
            Self::Rgb => Some(w * h * 3),
            Self::Jpeg => None,
        }
    }
}

/// A box in pixels of its frame: `x0 <= x1`, `y0 <= y1`, right and bottom exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    /// Left.
    pub x0: f32,
    /// Top.
    pub y0: f32,
    /// Right.
    pub x1: f32,
    /// Bottom.
    pub y1: f32,
}

impl Rect {
    /// In square pixels; 0 for an empty one.
    #[must_use]
    pub fn area(&self) -> f32 {
        (self.x1 - self.x0).max(0.0) * (self.y1 - self.y0).max(0.0)
    }

    /// Intersection over union, in 0..=1; 0 where both are empty.
    ///
    /// ```
    /// use jellybean_operators::picture::Rect;
    /// let a = Rect { x0: 0.0, y0: 0.0, x1: 2.0, y1: 1.0 };
    /// let b = Rect { x0: 1.0, y0: 0.0, x1: 3.0, y1: 1.0 };
    /// assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-6);
    /// ```
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let shared = Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
        .area();
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }
}

/// One thing seen in a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The class's name, from the model family's manifest.
    pub class: Arc<str>,
    /// In 0..=1.
    pub score: f32,
    /// Where, in pixels of the frame.
    pub rect: Rect,
}

/// What a detector saw in a frame; the frame goes along. Sorted by falling score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    /// The frame.
    pub frame: Frame,
    /// What was seen.
    pub seen: Vec<Detection>,
}

/// What something looks like, as a vector of length 1: the nearer two of them, the likelier it is the
/// same thing. Clones share it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Embedding(Arc<[f32]>);

impl Embedding {
    /// Brings `values` to length 1; `None` if they have none or are not finite.
    ///
    /// ```
    /// use jellybean_operators::picture::Embedding;
    /// let a = Embedding::normalised(&[3.0, 4.0]).unwrap();
    /// let b = Embedding::normalised(&[4.0, 3.0]).unwrap();
    /// assert_eq!(a.values(), [0.6, 0.8]);
    /// assert!((a.similarity(&b) - 0.96).abs() < 1e-6);
    /// assert_eq!(Embedding::normalised(&[0.0, 0.0]), None);
    /// ```
    #[must_use]
    pub fn normalised(values: &[f32]) -> Option<Self> {
        let length = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        let usable = length.is_finite() && length > 0.0;
        usable.then(|| Self(values.iter().map(|&v| (f64::from(v) / length) as f32).collect()))
    }

    /// Its numbers.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// The cosine of the angle between the two, in -1..=1; 0 where they have different numbers of values.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f32 {
        if self.0.len() != other.0.len() {
            return 0.0;
        }
        self.0.iter().zip(&*other.0).map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0)
    }
}

/// One thing seen in a frame, and what it looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Appearance {
    /// What, and where.
    pub detection: Detection,
    /// What it looks like.
    pub embedding: Embedding,
}

/// What was seen in a frame, with what each thing looks like; the frame goes along.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Appearances {
    /// The frame.
    pub frame: Frame,
    /// What was seen, by falling score.
    pub seen: Vec<Appearance>,
}

/// A class, and how sure a model is of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// The class's name, from the model family's manifest.
    pub name: Arc<str>,
    /// In 0..=1 where the family tells probabilities.
    pub score: f32,
}

/// What a picture shows: classes by falling score, at least one and no more than the family tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classes(pub Vec<Class>);

impl Classes {
    /// The likeliest class.
    #[must_use]
    pub fn best(&self) -> Option<&Class> {
        self.0.first()
    }
}

/// What a picture of one line of text says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The text; empty if none was seen.
    pub text: Arc<str>,
    /// The mean probability of its characters, in 0..=1; 0 for no text.
    pub score: f32,
}

/// Bytes as bytes, never as a list of numbers.
mod shared_bytes {
    use super::Arc;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(data: &Arc<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(data)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Arc<[u8]>, D::Error> {
        let bytes: serde_bytes::ByteBuf = serde::Deserialize::deserialize(d)?;
        Ok(bytes.into_vec().into())
    }
}
