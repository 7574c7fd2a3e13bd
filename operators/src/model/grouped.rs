//! A session run over pictures: packed side by side into one tensor, run in groups, read one by one.
//!
//! Invariant: what comes of a picture depends on that picture alone, never on its neighbours in the
//! batch; one that fails takes none of them along; and no more than a group of them is held at once.

use std::collections::BTreeMap;

use jellybean_engine::runner::{Interrupter, Runner};
use jellybean_engine::{Error, ErrorKind, Failure, Reason, Result};

use super::manifest::{Head, Manifest, Variant};
use super::session::{Expected, Output, Session, Stopped, unlike};
use crate::picture::Picture;
use crate::pixels::{Layout, Packer, Placed, Resize, Shape};

/// The most pictures of one tensor.
const GROUP_MAX: usize = 64;
/// The most floats of one tensor, unless a single picture needs more: 256 MB.
const VALUES_MAX: usize = 64 << 20;

/// What makes a result of the outputs that belong to one picture.
pub(super) trait Reader: Send {
    /// The result.
    type Out;

    /// Names and ranks of the outputs it reads, in the order in which it expects them.
    fn outputs(&self) -> Vec<(&str, usize)>;

    /// Whether outputs for `items` inputs of `width` x `height` have the shapes that [`Reader::read`]
    /// indexes.
    fn check(&self, outputs: &[Output<'_>], items: usize, size: (usize, usize)) -> Result<(), String>;

    /// The result for one item, whose picture lies in the input as `placed` says.
    fn read(&mut self, outputs: &[Output<'_>], item: usize, placed: &Placed) -> Result<Self::Out, Failure>;
}

/// A session with all it needs to turn pictures into what its reader makes of them.
pub(super) struct Grouped<R> {
    session: Session,
    packer: Packer,
    /// How pictures are brought to size, if they are not too long for the widest input.
    resize: Resize,
    widths: Widths,
    reader: R,
    group: usize,
    tensor: Vec<f32>,
}

/// The widths that inputs may have, in pixels: from `min` to `max` in steps; both are multiples of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Widths {
    min: u32,
    max: u32,
    step: u32,
}

impl<R: Reader> Grouped<R> {
    /// Opens a variant whose file was checked, and runs it once on black.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are no model, `Incompatible` if it is not what the manifest says.
    pub(super) fn open(
        manifest: &Manifest,
        variant: &Variant,
        bytes: &[u8],
        threads: usize,
        reader: R,
    ) -> Result<Self> {
        let packer = Packer::new(manifest.shape(variant));
        let widths = Widths::of(manifest, variant);
        let shapes = widths.ends().map(|width| tensor_shape(packer.shape(), width, 1)).collect();
        let expected = Expected { input: &manifest.input.name, shapes, outputs: reader.outputs() };
        let session = Session::open(bytes, &expected, threads)?;
        let resize = manifest.input.resize;
        let mut grouped = Self { session, packer, resize, widths, reader, group: 1, tensor: Vec::new() };
        let values = grouped.warm_up()?;
        if !grouped.session.is_single() {
            grouped.group = (VALUES_MAX / values.max(1)).clamp(1, GROUP_MAX);
        }
        Ok(grouped)
    }

    /// One outcome per picture, in order. A picture that is a failure already stays one.
    pub(super) fn run(
        &mut self,
        pictures: impl IntoIterator<Item = Result<Picture, Failure>>,
    ) -> Vec<Result<R::Out, Failure>> {
        self.session.rearm();
        let mut outcomes = Vec::new();
        let mut pictures = pictures.into_iter();
        loop {
            let group: Vec<_> = pictures.by_ref().take(self.group).collect();
            if group.is_empty() {
                return outcomes;
            }
            outcomes.append(&mut self.run_group(group));
        }
    }

    /// See [`Runner::interrupter`].
    pub(super) fn interrupter(&self) -> Interrupter {
        self.session.interrupter()
    }

    /// The first run is slow, and tells shapes that the graph leaves open. Returns how many floats an
    /// item takes at most, of input or of outputs.
    fn warm_up(&mut self) -> Result<usize> {
        let Self { session, packer, widths, reader, tensor, .. } = self;
        let mut values = 0;
        for width in widths.ends() {
            let shape = tensor_shape(packer.shape(), width, 1);
            let size = (width as usize, packer.shape().height as usize);
            tensor.clear();
            tensor.resize(shape.iter().product(), 0.0);
            values = values.max(tensor.len());
            let outcome = session.run(shape, tensor, |outputs| {
                values = outputs.iter().map(|output| output.data.len()).sum::<usize>().max(values);
                reader.check(outputs, 1, size)
            });
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(message)) => return Err(first_run(ErrorKind::Incompatible, &message)),
                Err(Stopped::Failed(message)) => return Err(first_run(ErrorKind::Failed, &message)),
                Err(Stopped::Interrupted) => return Err(first_run(ErrorKind::Timeout, "was interrupted")),
            }
        }
        Ok(values)
    }

    /// Runs pictures of the same width together.
    fn run_group(&mut self, group: Vec<Result<Picture, Failure>>) -> Vec<Result<R::Out, Failure>> {
        let mut by_width: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (i, picture) in group.iter().enumerate() {
            if let Ok(picture) = picture {
                by_width.entry(self.widths.fit(picture, self.packer.shape().height)).or_default().push(i);
            }
        }
        let mut outcomes: Vec<Option<Result<R::Out, Failure>>> = group.iter().map(|_| None).collect();
        for (width, chosen) in by_width {
            let pictures = chosen.iter().filter_map(|&i| group[i].as_ref().ok());
            let done = self.run_width(width, pictures);
            chosen.into_iter().zip(done).for_each(|(i, outcome)| outcomes[i] = Some(outcome));
        }
        let join = |(picture, outcome): (Result<Picture, Failure>, Option<_>)| match picture {
            Ok(_) => outcome.expect("there is an outcome per picture"),
            Err(failure) => Err(failure),
        };
        group.into_iter().zip(outcomes).map(join).collect()
    }

    fn run_width<'a>(
        &mut self,
        width: u32,
        pictures: impl Iterator<Item = &'a Picture>,
    ) -> Vec<Result<R::Out, Failure>> {
        let placed = self.pack(width, pictures);
        let good: Vec<Placed> = placed.iter().filter_map(|placed| placed.as_ref().ok().copied()).collect();
        let mut read = self.read(width, &good).into_iter();
        let join = |placed: Result<Placed, Failure>| {
            placed?;
            read.next().expect("there is an outcome per packed picture")
        };
        placed.into_iter().map(join).collect()
    }

    /// Packs pictures side by side; one that cannot be packed takes no room.
    fn pack<'a>(
        &mut self,
        width: u32,
        pictures: impl Iterator<Item = &'a Picture>,
    ) -> Vec<Result<Placed, Failure>> {
        let mut good = 0;
        let mut placed = Vec::new();
        for picture in pictures {
            let fits = self.widths.natural(picture, self.packer.shape().height) <= u64::from(width);
            let resize = if self.widths.is_open() && !fits { Resize::Stretch } else { self.resize };
            self.packer.reshape(width, resize);
            let values = self.packer.values();
            if self.tensor.len() < (good + 1) * values {
                self.tensor.resize((good + 1) * values, 0.0);
            }
            let outcome = self.packer.pack(picture, &mut self.tensor[good * values..][..values]);
            good += usize::from(outcome.is_ok());
            placed.push(outcome);
        }
        placed
    }

    /// Runs what was packed; one outcome per place.
    fn read(&mut self, width: u32, placed: &[Placed]) -> Vec<Result<R::Out, Failure>> {
        if placed.is_empty() {
            return Vec::new();
        }
        let Self { session, packer, reader, tensor, .. } = self;
        let (items, size) = (placed.len(), (width as usize, packer.shape().height as usize));
        let shape = tensor_shape(packer.shape(), width, items);
        let values: usize = shape.iter().product();
        let outcome = session.run(shape, &tensor[..values], |outputs| {
            reader.check(outputs, items, size)?;
            Ok(placed.iter().enumerate().map(|(item, placed)| reader.read(outputs, item, placed)).collect())
        });
        let failure = match outcome {
            Ok(Ok(read)) => return read,
            Ok(Err(message)) | Err(Stopped::Failed(message)) => Failure::new(Reason::FAILED, message),
            Err(Stopped::Interrupted) => Failure::new(Reason::TIMEOUT, "the model run was interrupted"),
        };
        placed.iter().map(|_| Err(failure.clone())).collect()
    }
}

impl Widths {
    fn of(manifest: &Manifest, variant: &Variant) -> Self {
        match &manifest.head {
            Head::Ctc(head) => Self { min: variant.width, max: head.width_max, step: head.width_step },
            _ => Self { min: variant.width, max: variant.width, step: 1 },
        }
    }

    /// Whether there is more than one.
    fn is_open(self) -> bool {
        self.min < self.max
    }

    /// The least and the greatest one, once if they are the same.
    fn ends(self) -> impl Iterator<Item = u32> {
        std::iter::once(self.min).chain(self.is_open().then_some(self.max))
    }

    /// The width of a picture that is brought to `height`, in whole pixels, rounded up.
    fn natural(self, picture: &Picture, height: u32) -> u64 {
        // A picture without height fails when it is packed.
        (u64::from(picture.width) * u64::from(height)).div_ceil(u64::from(picture.height.max(1)))
    }

    /// The width of the input for a picture.
    fn fit(self, picture: &Picture, height: u32) -> u32 {
        let stepped = self.natural(picture, height).next_multiple_of(u64::from(self.step));
        u32::try_from(stepped).unwrap_or(u32::MAX).clamp(self.min, self.max)
    }
}

/// A runner of records that hold one picture each.
pub(super) struct OnPictures<R: Reader, I, O> {
    pub(super) grouped: Grouped<R>,
    /// Where a record's picture is.
    pub(super) picture: fn(&I) -> &Picture,
    /// Joins a record with its result.
    pub(super) join: fn(I, R::Out) -> O,
}

impl<R: Reader, I: Send + 'static, O: Send + 'static> Runner for OnPictures<R, I, O> {
    type In = I;
    type Out = O;

    fn run(&mut self, batch: Vec<I>) -> Vec<Result<O, Failure>> {
        let Self { grouped, picture, join } = self;
        let outcomes = grouped.run(batch.iter().map(|record| Ok(picture(record).clone())));
        batch.into_iter().zip(outcomes).map(|(record, outcome)| Ok(join(record, outcome?))).collect()
    }

    fn interrupter(&self) -> Option<Interrupter> {
        Some(self.grouped.interrupter())
    }
}

/// What is said where a task is opened with a head that it cannot read.
pub(super) fn other_head(task: &str) -> Error {
    unlike(format!("its head is none of the task \"{task}\""))
}

fn first_run(kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, format!("its first run: {message}"))
}

fn tensor_shape(shape: &Shape, width: u32, items: usize) -> [usize; 4] {
    let (width, height) = (width as usize, shape.height as usize);
    match shape.layout {
        Layout::Nchw => [items, 3, height, width],
        Layout::Nhwc => [items, height, width, 3],
    }
}

#[cfg(test)]
mod tests;
