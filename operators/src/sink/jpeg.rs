//! Pictures with what was seen drawn on them.
//!
//! Invariant: at most so many pictures are written as was said, each of them whole.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jellybean_engine::sink::{Sink, Writer};
use jellybean_engine::{Epoch, Failure, Reason, Result};
use jpeg_encoder::{ColorType, Encoder};

use super::annotated::{Annotated, Mark, Painter, file_name};
use crate::picture::Picture;

/// Writes annotated frames as `camera-000123.jpg` into a folder.
///
/// ```no_run
/// use jellybean_operators::picture::Detections;
/// use jellybean_operators::sink::Jpegs;
/// let sink: Jpegs<Detections> = Jpegs::folder("out").every(25).max(40);
/// ```
#[derive(Clone, Debug)]
pub struct Jpegs<T> {
    folder: PathBuf,
    every: u64,
    max: u64,
    quality: u8,
    /// Pictures written in this run by this process, from whichever node.
    written: Arc<AtomicU64>,
    record: PhantomData<fn(T)>,
}

impl<T> Jpegs<T> {
    /// Writes every frame, up to 100 pictures, at quality 85; makes the folder where it is missing.
    #[must_use]
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self {
            folder: path.into(),
            every: 1,
            max: 100,
            quality: 85,
            written: Arc::default(),
            record: PhantomData,
        }
    }

    /// Only frames whose number is a multiple of `frames`; 0 counts as 1.
    #[must_use]
    pub fn every(mut self, frames: u64) -> Self {
        self.every = frames.max(1);
        self
    }

    /// At most so many pictures in a run, of all cameras together; later ones are passed over.
    #[must_use]
    pub fn max(mut self, pictures: u64) -> Self {
        self.max = pictures;
        self
    }

    /// The JPEG quality, in 1..=100.
    #[must_use]
    pub fn quality(mut self, quality: u8) -> Self {
        self.quality = quality.clamp(1, 100);
        self
    }
}

impl<T: Annotated> Sink for Jpegs<T> {
    type Record = T;

    fn open(&self) -> Result<Box<dyn Writer<Record = T>>> {
        self.written.store(0, Ordering::Relaxed);
        self.reopen()
    }

    fn reopen(&self) -> Result<Box<dyn Writer<Record = T>>> {
        super::make_folder(&self.folder)?;
        Ok(Box::new(Pictures { rules: self.clone(), painter: Painter::default() }))
    }
}

struct Pictures<T> {
    rules: Jpegs<T>,
    painter: Painter,
}

impl<T: Annotated> Writer for Pictures<T> {
    type Record = T;

    fn write(&mut self, _: Epoch, record: T) -> Result<(), Failure> {
        let frame = record.frame();
        if self.rules.written.load(Ordering::Relaxed) >= self.rules.max
            || !frame.number.is_multiple_of(self.rules.every)
        {
            return Ok(());
        }
        let jpeg = self.encode(&frame.picture, &record.marks())?;
        let path = self.rules.folder.join(format!("{}-{:06}.jpg", file_name(&frame.camera), frame.number));
        put(&path, &jpeg).map_err(|e| {
            Failure::new(Reason::FAILED, format!("{} cannot be written: {e}", path.display()))
        })?;
        self.rules.written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl<T> Pictures<T> {
    fn encode(&mut self, picture: &Picture, marks: &[Mark]) -> Result<Vec<u8>, Failure> {
        let Picture { width, height, .. } = *picture;
        let (Ok(w), Ok(h)) = (u16::try_from(width), u16::try_from(height)) else {
            return Err(failed(format!("{width} x {height} pixels are too many for a JPEG")));
        };
        let pixels = self.painter.paint(picture, marks)?;
        let mut jpeg = Vec::new();
        Encoder::new(&mut jpeg, self.rules.quality)
            .encode(pixels, w, h, ColorType::Rgb)
            .map_err(|e| failed(format!("a picture cannot be encoded: {e}")))?;
        Ok(jpeg)
    }
}

/// Writes beside and renames, so that whoever looks into the folder sees whole pictures only.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("jpg.part");
    let outcome = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    if outcome.is_err() {
        // The first error is the one to tell; the part may not even exist.
        let _ = fs::remove_file(&part);
    }
    outcome
}

fn failed(message: String) -> Failure {
    Failure::new(Reason::FAILED, message)
}

#[cfg(test)]
mod tests {
    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::bytestream::ZCursor;

    use jellybean_engine::ErrorKind;

    use super::*;
    use crate::picture::{Detection, Detections, Format, Frame, Rect};
    use crate::track::{Track, Tracks};

    fn grey(camera: &str, number: u64, width: u32, height: u32) -> Frame {
        let data = vec![126; Format::I420.bytes(width, height).unwrap()].into();
        let picture = Picture { width, height, format: Format::I420, data };
        Frame { camera: camera.into(), number, time_ms: number * 40, picture }
    }

    fn seen(camera: &str, number: u64) -> Detections {
        let rect = Rect { x0: 40.0, y0: 30.0, x1: 90.0, y1: 80.0 };
        let seen = vec![Detection { class: "car".into(), score: 0.874, rect }];
        Detections { frame: grey(camera, number, 160, 120), seen }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_nth_frame_up_to_the_bound() {
        let folder = tempfile::TempDir::new().unwrap();
        let sink = Jpegs::<Detections>::folder(folder.path().join("a/b")).every(10).max(3);
        let mut writer = sink.open().unwrap();
        (0..100).for_each(|n| writer.write(n * 40, seen("north", n)).unwrap());
        assert_eq!(
            names(&folder.path().join("a/b")),
            ["north-000000.jpg", "north-000010.jpg", "north-000020.jpg"]
        );
    }

    #[test]
    fn the_bound_holds_for_a_sink_that_moves() {
        let folder = tempfile::TempDir::new().unwrap();
        let sink = Jpegs::<Detections>::folder(folder.path()).max(3);
        let mut first = sink.open().unwrap();
        let mut second = sink.reopen().unwrap();
        (0..2).for_each(|n| first.write(n * 40, seen("north", n)).unwrap());
        (2..9).for_each(|n| second.write(n * 40, seen("north", n)).unwrap());
        assert_eq!(names(folder.path()).len(), 3);
        (9..11).for_each(|n| sink.open().unwrap().write(n * 40, seen("north", n)).unwrap());
        assert_eq!(names(folder.path()).len(), 5, "another run counts anew");
    }

    #[test]
    fn a_box_is_where_it_was_seen() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut writer = Jpegs::<Detections>::folder(folder.path()).quality(100).open().unwrap();
        writer.write(0, seen("north", 0)).unwrap();
        let jpeg = fs::read(folder.path().join("north-000000.jpg")).unwrap();
        let mut decoder = JpegDecoder::new(ZCursor::new(jpeg));
        let pixels = decoder.decode().unwrap();
        assert_eq!(decoder.dimensions(), Some((160, 120)));
        let is_near = |x: usize, y: usize, colour: [u8; 3]| {
            let at = 3 * (y * 160 + x);
            pixels[at..at + 3].iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 90)
        };
        assert!(is_near(65, 55, [128; 3]) && is_near(10, 110, [128; 3]));
        assert!(label_pixels(&pixels) > 100);
        assert!(!is_near(40, 60, [128; 3]) || !is_near(41, 60, [128; 3]));
    }

    /// How many pixels above the box are neither grey nor near it.
    fn label_pixels(pixels: &[u8]) -> usize {
        let rows = pixels.chunks_exact(3 * 160).skip(16).take(12);
        rows.flat_map(|r| r[3 * 40..3 * 90].chunks_exact(3))
            .filter(|p| p.iter().any(|c| c.abs_diff(128) > 60))
            .count()
    }

    #[test]
    fn pictures_of_one_pixel_and_boxes_outside() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut writer = Jpegs::<Tracks>::folder(folder.path()).open().unwrap();
        let rect = Rect { x0: -500.0, y0: f32::NAN, x1: 1e9, y1: 2.0 };
        let tracks = vec![Track { id: 7, class: "bus".into(), score: 1.0, rect, hits: 3 }];
        writer.write(0, Tracks { frame: grey("a", 0, 1, 1), tracks }).unwrap();
        assert_eq!(names(folder.path()), ["a-000000.jpg"]);
    }

    #[test]
    fn labels_name_what_is_drawn() {
        assert_eq!(seen("a", 0).marks()[0].text, "car 0.87");
        let rect = Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 };
        let tracks = vec![Track { id: 12, class: "car".into(), score: 1.0, rect, hits: 3 }];
        assert_eq!(Tracks { frame: grey("a", 0, 2, 2), tracks }.marks()[0].text, "car #12");
        assert!(grey("a", 0, 2, 2).marks().is_empty());
    }

    #[test]
    fn error_bad_pictures_fail_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut writer = Jpegs::<Frame>::folder(folder.path()).open().unwrap();
        let mut short = grey("a", 0, 16, 16);
        short.picture.data = [1, 2, 3].into();
        writer.write(0, short).unwrap_err();
        let mut huge = grey("a", 1, 16, 16);
        huge.picture.width = 70_000;
        let failure = writer.write(1, huge).unwrap_err();
        assert!(failure.message.contains("too many for a JPEG"), "{failure}");
        writer.write(2, grey("a", 2, 16, 16)).unwrap();
        assert_eq!(names(folder.path()), ["a-000002.jpg"]);
    }

    #[test]
    fn error_the_folder_cannot_be_made_or_goes_away() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = Jpegs::<Frame>::folder(file.join("out")).open().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("name a folder that can be written"), "{error}");
        let out = folder.path().join("out");
        let mut writer = Jpegs::<Frame>::folder(&out).open().unwrap();
        fs::remove_dir(&out).unwrap();
        let failure = writer.write(0, grey("a", 0, 2, 2)).unwrap_err();
        assert!(failure.message.contains("a-000000.jpg cannot be written"), "{failure}");
    }
}
