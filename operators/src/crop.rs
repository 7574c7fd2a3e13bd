//! Pieces of pictures: one of any box, or one of each thing that was seen in a frame.
//!
//! Invariant: a piece holds exactly the pixels that its box touches within the picture, in RGB; a box
//! that touches none has no piece.

use std::cmp::Ordering;
use std::sync::Arc;

use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::topology::Stream;
use jellybean_engine::{Failure, Reason};
use serde::{Deserialize, Serialize};

use crate::picture::{Detection, Detections, Format, Picture, Rect};
use crate::pixels::RgbBuffer;

/// The piece of a picture that shows one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// The camera's name.
    pub camera: Arc<str>,
    /// The number of the frame that it was cut out of.
    pub number: u64,
    /// The frame's time, in milliseconds since the camera's first frame.
    pub time_ms: u64,
    /// What was seen, and where in the frame.
    pub detection: Detection,
    /// The pixels, in RGB.
    pub picture: Picture,
}

/// The pixels that a box touches, as a picture of its own in RGB.
///
/// # Errors
/// `bad_picture` if the picture cannot be read, `empty_crop` if the box touches none of it.
///
/// ```
/// use jellybean_operators::crop::crop;
/// use jellybean_operators::picture::{Format, Picture, Rect};
///
/// let pixels: Vec<u8> = (0..4 * 2).flat_map(|i| [i, 0, 0]).collect();
/// let picture = Picture { width: 4, height: 2, format: Format::Rgb, data: pixels.into() };
/// let piece = crop(&picture, Rect { x0: 2.5, y0: -3.0, x1: 9.0, y1: 1.0 }).unwrap();
/// assert_eq!((piece.width, piece.height), (2, 1));
/// assert_eq!(&piece.data[..], [2, 0, 0, 3, 0, 0]);
/// ```
pub fn crop(picture: &Picture, rect: Rect) -> Result<Picture, Failure> {
    let mut cutter = Cutter::default();
    cutter.open(picture)?;
    cutter.cut(rect)
}

/// Cuts pieces out of the things that were seen.
pub trait CropEach {
    /// A picture of each thing seen, in order, with a `margin` on all sides: a share of the box's width at
    /// the left and the right, of its height above and below. A thing outside its frame has none; a frame
    /// that cannot be read is dropped with its reason.
    ///
    /// ```
    /// use jellybean_engine::sink::collect;
    /// use jellybean_operators::picture::{Format, Picture};
    /// use jellybean_operators::prelude::*;
    ///
    /// let picture = Picture { width: 8, height: 8, format: Format::Rgb, data: vec![7; 8 * 8 * 3].into() };
    /// let frame = Frame { camera: "door".into(), number: 5, time_ms: 200, picture };
    /// let rect = Rect { x0: 2.0, y0: 2.0, x1: 4.0, y1: 6.0 };
    /// let seen = vec![Detection { class: "person".into(), score: 0.9, rect }];
    ///
    /// let t = Topology::new("example");
    /// let (sink, crops) = collect();
    /// let detections = t.source("seen", source::iterate([Detections { frame, seen }]));
    /// detections.crop_each("crops", 0.5).sink("crops-sink", sink);
    /// jellybean_operators::run_here(&t)?;
    /// let (_, crop) = crops.take().remove(0);
    /// assert_eq!((crop.number, crop.picture.width, crop.picture.height), (5, 4, 8));
    /// # Ok::<(), jellybean_operators::Error>(())
    /// ```
    fn crop_each(&self, name: &str, margin: f32) -> Stream<Crop>;
}

impl CropEach for Stream<Detections> {
    fn crop_each(&self, name: &str, margin: f32) -> Stream<Crop> {
        self.each(name, FanOut::Many, move |detections, emit| {
            let Detections { frame, seen } = detections;
            let mut cutter = Cutter::default();
            cutter.open(&frame.picture)?;
            for detection in seen {
                if let Ok(picture) = cutter.cut(grown(detection.rect, margin)) {
                    let camera = Arc::clone(&frame.camera);
                    emit.push(Crop {
                        camera,
                        number: frame.number,
                        time_ms: frame.time_ms,
                        detection,
                        picture,
                    });
                }
            }
            Ok(())
        })
    }
}

/// Cuts several pieces out of one picture, which is converted to RGB once.
#[derive(Default)]
pub(crate) struct Cutter {
    buffer: RgbBuffer,
    picture: Option<Picture>,
}

impl Cutter {
    /// Makes this the picture that pieces are cut out of.
    pub(crate) fn open(&mut self, picture: &Picture) -> Result<(), Failure> {
        self.picture = None;
        self.buffer.read(picture)?;
        self.picture = Some(picture.clone());
        Ok(())
    }

    /// The pixels that the box touches.
    pub(crate) fn cut(&self, rect: Rect) -> Result<Picture, Failure> {
        let Some(picture) = &self.picture else {
            return Err(Failure::new(Reason::new("bad_picture"), "there is no picture to cut from"));
        };
        let (Some((x0, x1)), Some((y0, y1))) =
            (touched(rect.x0, rect.x1, picture.width), touched(rect.y0, rect.y1, picture.height))
        else {
            let (width, height) = (picture.width, picture.height);
            let message = format!("{rect:?} touches no pixel of a picture of {width}x{height}");
            return Err(Failure::new(Reason::new("empty_crop"), message));
        };
        let pixels = match picture.format {
            Format::Rgb => &picture.data[..],
            Format::I420 | Format::Jpeg => self.buffer.converted(),
        };
        let rows = pixels.chunks_exact(3 * picture.width as usize).take(y1 as usize).skip(y0 as usize);
        let mut data = Vec::with_capacity(3 * (x1 - x0) as usize * (y1 - y0) as usize);
        rows.for_each(|row| data.extend_from_slice(&row[3 * x0 as usize..3 * x1 as usize]));
        Ok(Picture { width: x1 - x0, height: y1 - y0, format: Format::Rgb, data: data.into() })
    }
}

/// The pixels in 0..`side` that lie at least partly between two coordinates; `None` if none does.
fn touched(from: f32, to: f32, side: u32) -> Option<(u32, u32)> {
    // Nothing lies in a box that is empty, or has no number for a side.
    if from.partial_cmp(&to) != Some(Ordering::Less) {
        return None;
    }
    // Casts saturate, and what is left of them is cut off at the picture.
    let (from, to) = (from.floor().max(0.0) as u32, (to.ceil().max(0.0) as u32).min(side));
    (from < to).then_some((from, to))
}

fn grown(rect: Rect, margin: f32) -> Rect {
    let (x, y) = (margin * (rect.x1 - rect.x0), margin * (rect.y1 - rect.y0));
    Rect { x0: rect.x0 - x, y0: rect.y0 - y, x1: rect.x1 + x, y1: rect.y1 + y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{Noise, frame};

    fn rect(x0: f32, y0: f32, x1: f32, y1: f32) -> Rect {
        Rect { x0, y0, x1, y1 }
    }

    /// Every pixel of the picture is asked whether it touches the box.
    fn twin(rgb: &[u8], (width, height): (u32, u32), rect: Rect) -> Vec<[u8; 3]> {
        let mut pixels = Vec::new();
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            let across = (x as f32) < rect.x1 && (x + 1) as f32 > rect.x0;
            let down = (y as f32) < rect.y1 && (y + 1) as f32 > rect.y0;
            if across && down && rect.x0 < rect.x1 && rect.y0 < rect.y1 {
                let i = 3 * (y * width + x) as usize;
                pixels.push([rgb[i], rgb[i + 1], rgb[i + 2]]);
            }
        }
        pixels
    }

    #[test]
    fn equals_its_twin_in_any_format() {
        let mut noise = Noise(41);
        for round in 0..300 {
            let (width, height) = (1 + noise.below(30) as u32, 1 + noise.below(30) as u32);
            let format = if round % 2 == 0 { Format::Rgb } else { Format::I420 };
            let bytes = format.bytes(width, height).unwrap();
            let data: Vec<u8> = (0..bytes).map(|_| noise.below(256) as u8).collect();
            let picture = Picture { width, height, format, data: data.into() };
            let mut side = |n: u32| {
                let whole = noise.below(3) == 0;
                let at = noise.unit() * (n as f32 + 20.0) - 10.0;
                if whole { at.round() } else { at }
            };
            let rect = rect(side(width), side(height), side(width), side(height));
            let mut buffer = RgbBuffer::default();
            let wanted = twin(buffer.read(&picture).unwrap(), (width, height), rect);
            match crop(&picture, rect) {
                Ok(piece) => {
                    assert_eq!(piece.format.bytes(piece.width, piece.height), Some(piece.data.len()));
                    assert_eq!(piece.data.to_vec(), wanted.concat(), "round {round}: {rect:?}");
                }
                Err(failure) => {
                    assert_eq!(failure.reason.as_str(), "empty_crop");
                    assert!(wanted.is_empty(), "round {round}: {rect:?}");
                }
            }
        }
    }

    #[test]
    fn error_boxes_that_touch_nothing() {
        let picture = frame(8, 6, |_, _| [9; 3]).picture;
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for rect in [
            rect(8.0, 0.0, 9.0, 6.0),
            rect(-4.0, -4.0, 0.0, 0.0),
            rect(2.0, 2.0, 2.0, 4.0),
            rect(4.0, 0.0, 3.0, 6.0),
            rect(nan, 0.0, 4.0, 4.0),
            rect(0.0, 0.0, 4.0, nan),
            rect(inf, 0.0, inf, 4.0),
            rect(5e9, 0.0, 6e9, 4.0),
        ] {
            assert_eq!(crop(&picture, rect).unwrap_err().reason.as_str(), "empty_crop", "{rect:?}");
        }
        let whole = crop(&picture, rect(-inf, -1e30, inf, 5.01)).unwrap();
        assert_eq!((whole.width, whole.height), (8, 6));
        let bad = Picture { width: 9, ..picture };
        assert_eq!(crop(&bad, rect(0.0, 0.0, 4.0, 4.0)).unwrap_err().reason.as_str(), "bad_picture");
    }
}
