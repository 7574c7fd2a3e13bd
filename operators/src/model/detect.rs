//! Finding things in frames: boxes with a class and a score.

use std::sync::Arc;

use jellybean_engine::runner::Runner;
use jellybean_engine::{Failure, Reason, Result};

use super::family::{Model, Task};
use super::grouped::{Grouped, OnPictures, Reader, other_head};
use super::head::Sizes;
use super::manifest::{Boxes, Head};
use super::nms::{self, Candidate};
use super::session::Output;
use crate::picture::{Detection, Detections, Frame};
use crate::pixels::Placed;

/// Finding things in frames: boxes with a class and a score.
#[derive(Clone, Copy, Debug)]
pub struct Detect;

impl Task for Detect {
    type In = Frame;
    type Out = Detections;
    const NAME: &'static str = "detect";

    fn open(model: &Model<Self>, threads: usize) -> Result<Box<dyn Runner<In = Frame, Out = Detections>>> {
        let manifest = model.manifest();
        let Head::Boxes(head) = &manifest.head else { return Err(other_head(Self::NAME)) };
        let classes = manifest.classes.iter().map(|name| Arc::from(name.as_str())).collect();
        let size = (model.variant().width as usize, model.variant().height as usize);
        let reader = BoxReader { head: head.clone(), size, classes, candidates: Vec::new() };
        let grouped = Grouped::open(manifest, model.variant(), model.bytes(), threads, reader)?;
        let join = |frame, seen| Detections { frame, seen };
        Ok(Box::new(OnPictures { grouped, picture: |frame: &Frame| &frame.picture, join }))
    }
}

/// What turns outputs into detections.
struct BoxReader {
    head: Boxes,
    /// Width and height of the input, in pixels.
    size: (usize, usize),
    classes: Vec<Arc<str>>,
    candidates: Vec<Candidate>,
}

impl Reader for BoxReader {
    type Out = Vec<Detection>;

    fn outputs(&self) -> Vec<(&str, usize)> {
        self.head.outputs()
    }

    fn check(&self, outputs: &[Output<'_>], items: usize, _size: (usize, usize)) -> Result<(), String> {
        self.head.check_outputs(outputs, items, self.sizes())
    }

    /// The detections of one item, in pixels of its frame, by falling score.
    fn read(
        &mut self,
        outputs: &[Output<'_>],
        item: usize,
        placed: &Placed,
    ) -> Result<Vec<Detection>, Failure> {
        let sizes = self.sizes();
        self.candidates.clear();
        if !self.head.read(outputs, item, sizes, &mut self.candidates) {
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

impl BoxReader {
    fn sizes(&self) -> Sizes {
        Sizes { width: self.size.0, height: self.size.1, classes: self.classes.len() }
    }
}

#[cfg(test)]
mod tests;
