//! What frames with boxes have in common, whatever they are written as.

use std::sync::Arc;

use jellybean_engine::{Data, Failure, Reason};

use crate::draw::{Canvas, class_colour};
use crate::picture::{Detection, Detections, Frame, Picture, Rect};
use crate::pixels::RgbBuffer;
use crate::track::{Track, Tracks};

/// A frame with something to draw on it.
pub trait Annotated: Data {
    /// The frame.
    fn frame(&self) -> &Frame;

    /// What to draw, the most important last.
    fn marks(&self) -> Vec<Mark>;
}

/// A box to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Where, in pixels of the frame.
    pub rect: Rect,
    /// Decides the colour.
    pub class: Arc<str>,
    /// What is written at the box.
    pub text: String,
}

impl Annotated for Detections {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn marks(&self) -> Vec<Mark> {
        let mark = |d: &Detection| Mark {
            rect: d.rect,
            class: Arc::clone(&d.class),
            text: format!("{} {:.2}", d.class, d.score),
        };
        self.seen.iter().rev().map(mark).collect()
    }
}

impl Annotated for Tracks {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn marks(&self) -> Vec<Mark> {
        let mark = |t: &Track| Mark {
            rect: t.rect,
            class: Arc::clone(&t.class),
            text: format!("{} #{}", t.class, t.id),
        };
        self.tracks.iter().map(mark).collect()
    }
}

impl Annotated for Frame {
    fn frame(&self) -> &Frame {
        self
    }

    fn marks(&self) -> Vec<Mark> {
        Vec::new()
    }
}

/// Draws marks on pictures, in memory that is reused.
#[derive(Default)]
pub(super) struct Painter {
    rgb: RgbBuffer,
    pixels: Vec<u8>,
}

impl Painter {
    /// The picture with its marks, as interleaved RGB.
    pub(super) fn paint(&mut self, picture: &Picture, marks: &[Mark]) -> Result<&[u8], Failure> {
        let Picture { width, height, .. } = *picture;
        self.pixels.clear();
        self.pixels.extend_from_slice(self.rgb.read(picture)?);
        let mut canvas = Canvas::new(&mut self.pixels, width, height).ok_or_else(|| {
            Failure::new(Reason::FAILED, format!("the pixels are not those of {width} x {height}"))
        })?;
        let marks: Vec<_> =
            marks.iter().map(|mark| (mark.rect, mark.text.as_str(), class_colour(&mark.class))).collect();
        canvas.annotate(&marks);
        Ok(&self.pixels)
    }
}

/// A camera's name as part of a file name: what could be more than a name becomes `%` and two hex digits,
/// so that different cameras stay different.
pub(super) fn file_name(camera: &str) -> String {
    let mut name = String::with_capacity(camera.len());
    for byte in camera.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_names_stay_names_and_stay_different() {
        assert_eq!(file_name("Nord-1_b"), "Nord-1_b");
        assert_eq!(file_name("../a/b"), "%2E%2E%2Fa%2Fb");
        assert_ne!(file_name("a/b"), file_name("a%2Fb"));
        assert_eq!(file_name("Süd"), "S%C3%BCd");
    }
}
