//! Telling what a picture shows: the best of a family's classes.

use std::sync::Arc;

use jellybean_engine::runner::Runner;
use jellybean_engine::{Failure, Reason, Result};

use super::family::{Model, Task};
use super::grouped::{Grouped, OnPictures, Reader, other_head};
use super::head::{has_shape, is_finite, scores};
use super::manifest::{Head, Scores};
use super::session::Output;
use crate::picture::{Class, Classes, Picture};
use crate::pixels::Placed;

/// Telling what a picture shows: classes with scores, best first.
#[derive(Clone, Copy, Debug)]
pub struct Classify;

impl Task for Classify {
    type In = Picture;
    type Out = Classes;
    const NAME: &'static str = "classify";

    fn open(model: &Model<Self>, threads: usize) -> Result<Box<dyn Runner<In = Picture, Out = Classes>>> {
        let manifest = model.manifest();
        let Head::Scores(head) = &manifest.head else { return Err(other_head(Self::NAME)) };
        let classes = manifest.classes.iter().map(|name| Arc::from(name.as_str())).collect();
        let reader = ScoreReader { head: head.clone(), classes };
        let grouped = Grouped::open(manifest, model.variant(), model.bytes(), threads, reader)?;
        Ok(Box::new(OnPictures { grouped, picture: |picture| picture, join: |_, classes| classes }))
    }
}

/// What turns an output into classes.
struct ScoreReader {
    head: Scores,
    classes: Vec<Arc<str>>,
}

impl Reader for ScoreReader {
    type Out = Classes;

    fn outputs(&self) -> Vec<(&str, usize)> {
        vec![(&self.head.output, 2)]
    }

    fn check(&self, outputs: &[Output<'_>], items: usize, _size: (usize, usize)) -> Result<(), String> {
        has_shape(&outputs[0], &[Some(items), Some(self.classes.len())])
    }

    fn read(&mut self, outputs: &[Output<'_>], item: usize, _placed: &Placed) -> Result<Classes, Failure> {
        let values = outputs[0].item(item);
        if !is_finite(values) {
            return Err(Failure::new(Reason::NOT_FINITE, "the model returned NaN or infinity"));
        }
        let best = scores::read(values, self.head.softmax, self.head.top);
        let class = |(class, score): (usize, f32)| Class { name: Arc::clone(&self.classes[class]), score };
        Ok(Classes(best.into_iter().map(class).collect()))
    }
}
