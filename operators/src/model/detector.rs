//! Frames in, detections out: pictures are packed into one tensor, run, and read by the family's head.
//!
//! Invariant: what comes of a frame depends on that frame alone, never on its neighbours in the batch;
//! and a frame that fails takes none of them along.

use std::sync::Arc;

use jellybean_engine::runner::{Interrupter, Runner};
use jellybean_engine::{Error, ErrorKind, Failure, Reason, Result};

use super::head;
use super::manifest::{Head, Manifest, Variant};
use super::nms::{self, Candidate};
use super::session::{Expected, Output, Session, Stopped};
use crate::picture::{Detection, Detections, Frame};
use crate::pixels::{Layout, Packer, Placed};

/// The most frames of one tensor.
const GROUP_MAX: usize = 64;
/// The most floats of one tensor, unless a single frame needs more: 256 MB.
const VALUES_MAX: usize = 64 << 20;

/// A detector's session with all it needs to turn frames into [`Detections`].
pub struct Detector {
    session: Session,
    packer: Packer,
    reader: Reader,
    group: usize,
    tensor: Vec<f32>,
}

/// What turns outputs into detections.
struct Reader {
    head: Head,
    sizes: head::Sizes,
    classes: Vec<Arc<str>>,
    candidates: Vec<Candidate>,
}

impl Detector {
    /// Opens a variant whose file was checked, and runs it once on black.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are no model, `Incompatible` if it is not what the manifest says.
    pub fn open(manifest: &Manifest, variant: &Variant, bytes: &[u8], threads: usize) -> Result<Self> {
        let packer = Packer::new(manifest.shape(variant));
        let outputs = manifest.head.outputs();
        let expected = Expected { input: &manifest.input.name, shape: tensor_shape(&packer, 1), outputs };
        let session = Session::open(bytes, &expected, threads)?;
        let group = if session.is_single() { 1 } else { (VALUES_MAX / packer.values()).clamp(1, GROUP_MAX) };
        let (width, height) = (variant.width as usize, variant.height as usize);
        let reader = Reader {
            head: manifest.head.clone(),
            sizes: head::Sizes { width, height, classes: manifest.classes.len() },
            classes: manifest.classes.iter().map(|name| Arc::from(name.as_str())).collect(),
            candidates: Vec::new(),
        };
        let mut detector = Self { session, packer, reader, group, tensor: Vec::new() };
        detector.warm_up()?;
        Ok(detector)
    }

    /// The first run is slow, and tells shapes that the graph leaves open.
    fn warm_up(&mut self) -> Result<()> {
        let Self { session, packer, reader, tensor, .. } = self;
        tensor.resize(packer.values(), 0.0);
        let outcome = session.run(tensor_shape(packer, 1), tensor, |outputs| reader.check(outputs, 1));
        let (kind, message) = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(message)) => (ErrorKind::Incompatible, message),
            Err(Stopped::Failed(message)) => (ErrorKind::Failed, message),
            Err(Stopped::Interrupted) => (ErrorKind::Timeout, "was interrupted".to_string()),
        };
        Err(Error::new(kind, format!("its first run: {message}")))
    }

    fn run_group(&mut self, frames: Vec<Frame>) -> Vec<Result<Detections, Failure>> {
        let placed = self.pack(&frames);
        let good: Vec<Placed> = placed.iter().filter_map(|placed| placed.as_ref().ok().copied()).collect();
        let mut seen = self.detect(&good).into_iter();
        let join = |(frame, placed): (Frame, Result<Placed, Failure>)| {
            placed?;
            let seen = seen.next().expect("there is an outcome per packed frame")?;
            Ok(Detections { frame, seen })
        };
        frames.into_iter().zip(placed).map(join).collect()
    }

    /// Packs the frames side by side; one that cannot be packed takes no room.
    fn pack(&mut self, frames: &[Frame]) -> Vec<Result<Placed, Failure>> {
        let values = self.packer.values();
        if self.tensor.len() < frames.len() * values {
            self.tensor.resize(frames.len() * values, 0.0);
        }
        let mut good = 0;
        let mut placed = Vec::with_capacity(frames.len());
        for frame in frames {
            let item = &mut self.tensor[good * values..][..values];
            let outcome = self.packer.pack(&frame.picture, item);
            good += usize::from(outcome.is_ok());
            placed.push(outcome);
        }
        placed
    }

    /// Runs what was packed; one outcome per place.
    fn detect(&mut self, placed: &[Placed]) -> Vec<Result<Vec<Detection>, Failure>> {
        if placed.is_empty() {
            return Vec::new();
        }
        let Self { session, packer, reader, tensor, .. } = self;
        let (items, values) = (placed.len(), placed.len() * packer.values());
        let outcome = session.run(tensor_shape(packer, items), &tensor[..values], |outputs| {
            reader.check(outputs, items)?;
            Ok(placed.iter().enumerate().map(|(item, placed)| reader.read(outputs, item, placed)).collect())
        });
        let failure = match outcome {
            Ok(Ok(seen)) => return seen,
            Ok(Err(message)) | Err(Stopped::Failed(message)) => Failure::new(Reason::FAILED, message),
            Err(Stopped::Interrupted) => Failure::new(Reason::TIMEOUT, "the model run was interrupted"),
        };
        vec![Err(failure); items]
    }
}

impl Runner for Detector {
    type In = Frame;
    type Out = Detections;

    fn run(&mut self, batch: Vec<Frame>) -> Vec<Result<Detections, Failure>> {
        self.session.rearm();
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut frames = batch.into_iter();
        while frames.len() > 0 {
            let group = frames.by_ref().take(self.group).collect();
            outcomes.append(&mut self.run_group(group));
        }
        outcomes
    }

    fn interrupter(&self) -> Option<Interrupter> {
        Some(self.session.interrupter())
    }
}

impl Reader {
    fn check(&self, outputs: &[Output<'_>], items: usize) -> Result<(), String> {
        self.head.check_outputs(outputs, items, self.sizes)
    }

    /// The detections of one item, in pixels of its frame, by falling score.
    fn read(
        &mut self,
        outputs: &[Output<'_>],
        item: usize,
        placed: &Placed,
    ) -> Result<Vec<Detection>, Failure> {
        self.candidates.clear();
        if !self.head.read(outputs, item, self.sizes, &mut self.candidates) {
            return Err(Failure::new(Reason::NOT_FINITE, "the model returned NaN or infinity"));
        }
        nms::suppress(&mut self.candidates, self.head.iou_max());
        let detections = self.candidates.iter().map(|candidate| {
            let class = Arc::clone(&self.classes[candidate.class]);
            Detection { class, score: candidate.score, rect: placed.to_picture(candidate.rect) }
        });
        // What lies outside the picture altogether, as in a letterbox's free part, is nothing.
        Ok(detections.filter(|detection| detection.rect.area() > 0.0).collect())
    }
}

fn tensor_shape(packer: &Packer, items: usize) -> [usize; 4] {
    let shape = packer.shape();
    let (width, height) = (shape.width as usize, shape.height as usize);
    match shape.layout {
        Layout::Nchw => [items, 3, height, width],
        Layout::Nhwc => [items, height, width, 3],
    }
}

#[cfg(test)]
mod tests;
