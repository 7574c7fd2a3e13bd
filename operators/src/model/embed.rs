//! What things look like, as vectors: of whole pictures, or of everything that was seen in a frame.

use jellybean_engine::runner::{Interrupter, Runner};
use jellybean_engine::{Failure, Reason, Result};

use super::family::{Model, Task};
use super::grouped::{Grouped, OnPictures, Reader, other_head};
use super::head::{has_shape, is_finite};
use super::manifest::{Head, Vector};
use super::session::Output;
use crate::crop::Cutter;
use crate::picture::{Appearance, Appearances, Detections, Embedding, Picture};
use crate::pixels::Placed;

/// The most things of a frame whose appearance is told; the ones seen best are.
const SEEN_MAX: usize = 1024;

/// What a picture looks like, as a vector of length 1.
#[derive(Clone, Copy, Debug)]
pub struct Embed;

/// What each thing seen in a frame looks like, by a family of [`Embed`].
///
/// A thing that lies outside its picture, or that the model returns no usable vector for, is left out; a
/// frame is not: it comes out with what is left, and at most its 1024 best. A picture that cannot be read
/// and a run of the model that fails fail the frame.
#[derive(Clone, Copy, Debug)]
pub struct EmbedSeen;

impl Task for Embed {
    type In = Picture;
    type Out = Embedding;
    const NAME: &'static str = "embed";

    fn open(model: &Model<Self>, threads: usize) -> Result<Box<dyn Runner<In = Picture, Out = Embedding>>> {
        let grouped = open(model, threads)?;
        Ok(Box::new(OnPictures { grouped, picture: |picture| picture, join: |_, embedding| embedding }))
    }
}

impl Task for EmbedSeen {
    type In = Detections;
    type Out = Appearances;
    const NAME: &'static str = Embed::NAME;

    fn open(
        model: &Model<Self>,
        threads: usize,
    ) -> Result<Box<dyn Runner<In = Detections, Out = Appearances>>> {
        Ok(Box::new(SeenEmbedder(open(model, threads)?)))
    }
}

fn open<T: Task>(model: &Model<T>, threads: usize) -> Result<Grouped<VectorReader>> {
    let manifest = model.manifest();
    let Head::Embedding(head) = &manifest.head else { return Err(other_head(T::NAME)) };
    Grouped::open(manifest, model.variant(), model.bytes(), threads, VectorReader(head.clone()))
}

/// What turns an output into a vector of length 1.
struct VectorReader(Vector);

impl Reader for VectorReader {
    type Out = Embedding;

    fn outputs(&self) -> Vec<(&str, usize)> {
        vec![(&self.0.output, 2)]
    }

    fn check(&self, outputs: &[Output<'_>], items: usize, _size: (usize, usize)) -> Result<(), String> {
        has_shape(&outputs[0], &[Some(items), Some(self.0.length)])
    }

    fn read(&mut self, outputs: &[Output<'_>], item: usize, _placed: &Placed) -> Result<Embedding, Failure> {
        let values = outputs[0].item(item);
        if !is_finite(values) {
            return Err(Failure::new(Reason::NOT_FINITE, "the model returned NaN or infinity"));
        }
        Embedding::normalised(values)
            .ok_or_else(|| Failure::new(Reason::NOT_FINITE, "the model returned a vector of no length"))
    }
}

/// Runs on what was seen in frames: the things of all frames of a batch share the groups.
struct SeenEmbedder(Grouped<VectorReader>);

impl Runner for SeenEmbedder {
    type In = Detections;
    type Out = Appearances;

    fn run(&mut self, batch: Vec<Detections>) -> Vec<Result<Appearances, Failure>> {
        // Crops are cut when their group is packed, and gone after it: no more than a group is held.
        let mut cutter = Cutter::default();
        let things = batch.iter().enumerate().flat_map(|(frame, detections)| {
            detections.seen.iter().take(SEEN_MAX).map(move |thing| (frame, thing.rect))
        });
        let mut unreadable: Vec<Option<Failure>> = vec![None; batch.len()];
        let mut at = None;
        let outcomes = self.0.run(things.map(|(frame, rect)| {
            if at != Some(frame) {
                at = Some(frame);
                unreadable[frame] = cutter.open(&batch[frame].frame.picture).err();
            }
            match &unreadable[frame] {
                None => cutter.cut(rect),
                Some(failure) => Err(failure.clone()),
            }
        }));
        let mut outcomes = outcomes.into_iter();
        let frames = batch.into_iter().zip(unreadable);
        frames.map(|(detections, failure)| gather(detections, failure, &mut outcomes)).collect()
    }

    fn interrupter(&self) -> Option<Interrupter> {
        Some(self.0.interrupter())
    }
}

/// Joins a frame's things with their outcomes, which come in the same order.
fn gather(
    detections: Detections,
    unreadable: Option<Failure>,
    outcomes: &mut impl Iterator<Item = Result<Embedding, Failure>>,
) -> Result<Appearances, Failure> {
    let Detections { frame, seen } = detections;
    let things = seen.into_iter().take(SEEN_MAX);
    let things: Vec<_> = things.zip(outcomes).collect();
    if let Some(failure) = unreadable {
        return Err(failure);
    }
    let mut seen = Vec::with_capacity(things.len());
    for (detection, outcome) in things {
        match outcome {
            Ok(embedding) => seen.push(Appearance { detection, embedding }),
            // What is no fault of the thing's is told, instead of an empty frame.
            Err(failure) if [Reason::FAILED, Reason::TIMEOUT].contains(&failure.reason) => {
                return Err(failure);
            }
            Err(failure) => tracing::debug!(%failure, "a thing without an appearance"),
        }
    }
    Ok(Appearances { frame, seen })
}
