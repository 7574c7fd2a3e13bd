//! Fewer frames: those in which something has moved.

use std::sync::Arc;

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::Logic;
use jellybean_engine::topology::Stream;
use jellybean_engine::{Epoch, Failure};

use crate::picture::Frame;
use crate::pixels::LumaGrid;

/// How much has to change for a frame to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Moving {
    /// The share of the picture's cells (32 x 18 of them) that has to change, in 0..=1.
    pub share_min: f32,
    /// By how many levels of brightness, of 255, a cell's mean has to change to count.
    pub levels_min: u8,
    /// A frame is kept after so many milliseconds of the stream's time even where nothing moves.
    pub every_ms_max: u64,
}

impl Default for Moving {
    /// Three cells of the 576, more than the grain of a dark picture, and a frame per second.
    fn default() -> Self {
        Self { share_min: 0.005, levels_min: 10, every_ms_max: 1_000 }
    }
}

/// Thins frames out.
pub trait SampleMoving {
    /// Keeps the frames of each camera that differ from the last kept one. Brightness is compared, in a coarse
    /// grid: cheap for uncompressed pictures, while a JPEG is decoded for it.
    ///
    /// ```
    /// use jellybean_operators::picture::{Format, Frame, Picture};
    /// use jellybean_operators::prelude::*;
    /// // A dark yard where a light goes on in the sixth second.
    /// let frame = |number: u64| {
    ///     let level = if number < 6 { 40 } else { 90 };
    ///     let picture = Picture { width: 64, height: 36, format: Format::Rgb, data: vec![level; 64 * 36 * 3].into() };
    ///     Frame { camera: "yard".into(), number, time_ms: number, picture }
    /// };
    /// let t = Topology::new("sample_moving");
    /// let (sink, kept) = sink::collect();
    /// let frames: Vec<Frame> = (0..10).map(frame).collect();
    /// t.source("frames", source::iterate(frames))
    ///     .sample_moving("moving", Moving { every_ms_max: 4, ..Moving::default() })
    ///     .map("number", |f| f.number)
    ///     .sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(kept.take(), [(0, 0), (4, 4), (6, 6)]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    fn sample_moving(&self, name: &str, moving: Moving) -> Stream<Frame>;
}

impl SampleMoving for Stream<Frame> {
    fn sample_moving(&self, name: &str, moving: Moving) -> Stream<Frame> {
        self.keyed(|frame| frame.camera.clone()).logic(name, moving)
    }
}

impl Logic<Arc<str>, Frame> for Moving {
    /// When the last frame was kept, and how bright it was.
    type State = Option<(Epoch, LumaGrid)>;
    type Out = Frame;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _camera: &Arc<str>,
        kept: &mut Self::State,
        epoch: Epoch,
        frame: Frame,
        emit: &mut Emit<Frame>,
    ) -> Result<(), Failure> {
        let grid = LumaGrid::of(&frame.picture)?;
        let is_new = kept.as_ref().is_none_or(|(at, last)| {
            epoch >= at.saturating_add(self.every_ms_max)
                || grid.difference(last, self.levels_min) > self.share_min
        });
        if is_new {
            *kept = Some((epoch, grid));
            emit.push(frame);
        }
        Ok(())
    }
}
