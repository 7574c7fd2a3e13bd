//! Cameras over a synthetic road: footage that needs no file, with ground truth.
//!
//! Invariant: the same seed gives the same frames, in every run, on every machine.

use std::sync::Arc;

use jellybean_engine::source::{Arrival, Feed, Lane, Pacing, Policy, Source};
use jellybean_engine::{Clock, Error, ErrorKind, Result};

use super::Rate;
use crate::picture::{Frame, Picture};
use crate::road::Scene;

/// How much memory the pictures rendered beforehand may take per camera, in bytes.
const PRERENDERED_BYTES_MAX: usize = 1 << 30;

/// Any number of cameras, each over a road of its own; endless, lossless, 25 frames per second unless set
/// otherwise.
///
/// ```
/// use jellybean_engine::{Clock, source::Source};
/// use jellybean_operators::source::RoadCameras;
/// let roads = RoadCameras::new(7).cameras(2).frames(100);
/// assert_eq!(roads.lanes()[1].name, "road-1");
/// let mut camera = roads.open(1, &Clock::real())?;
/// let first = camera.next()?.unwrap().record;
/// assert_eq!((&*first.camera, first.number), ("road-1", 0));
/// # Ok::<(), jellybean_engine::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RoadCameras {
    seed: u64,
    cameras: usize,
    frames: Option<u64>,
    fps: u32,
    scale: u32,
    policy: Policy,
    pacing: Pacing,
    prerendered: Option<usize>,
}

impl RoadCameras {
    /// One camera over the road of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            cameras: 1,
            frames: None,
            fps: 25,
            scale: 1,
            policy: Policy::Block,
            pacing: Pacing::Max,
            prerendered: None,
        }
    }

    /// So many cameras, named `road-0`, `road-1`, …
    #[must_use]
    pub fn cameras(mut self, cameras: usize) -> Self {
        self.cameras = cameras;
        self
    }

    /// Each camera ends after so many frames.
    #[must_use]
    pub fn frames(mut self, frames: u64) -> Self {
        self.frames = Some(frames);
        self
    }

    /// Frames per second of media time; 0 counts as 1. The scene moves on by the same step per frame at
    /// every rate: it lives at 25.
    #[must_use]
    pub fn fps(mut self, fps: u32) -> Self {
        self.fps = fps.max(1);
        self
    }

    /// Pictures so many times as wide and as high as [`crate::road`] says.
    #[must_use]
    pub fn scale(mut self, scale: u32) -> Self {
        self.scale = scale;
        self
    }

    /// What happens when frames come faster than they are taken.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether media time is waited for.
    #[must_use]
    pub fn pacing(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// Renders the first so many frames (at least one) when a camera is opened and shows them again and
    /// again, sharing their pixels: frames then cost nothing, as benchmarks want it. Frame `n` looks like
    /// frame `n % frames`.
    #[must_use]
    pub fn prerendered(mut self, frames: usize) -> Self {
        self.prerendered = Some(frames.max(1));
        self
    }

    /// What camera number `lane` looks at: it knows what truly is in each frame. Its seed is the cameras'
    /// seed plus `lane`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where there is no such scale.
    pub fn scene(&self, lane: usize) -> Result<Scene> {
        Scene::with_scale(self.seed.wrapping_add(lane as u64), self.scale)
    }

    fn pictures(&self, lane: usize) -> Result<Pictures> {
        let scene = self.scene(lane)?;
        let Some(frames) = self.prerendered else { return Ok(Pictures::Rendered(scene)) };
        let (first, _) = scene.render(0);
        let fit = PRERENDERED_BYTES_MAX / first.data.len().max(1);
        if frames > fit {
            let message =
                format!("{frames} frames rendered beforehand take more than {PRERENDERED_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::Invalid, message).way_out(format!("ask for at most {fit}")));
        }
        let rest = (1..frames as u64).map(|number| scene.render(number).0);
        Ok(Pictures::Looped(std::iter::once(first).chain(rest).collect()))
    }
}

impl Source for RoadCameras {
    type Record = Frame;

    fn lanes(&self) -> Vec<Lane> {
        let lane =
            |number| Lane { policy: self.policy, pacing: self.pacing, ..Lane::new(format!("road-{number}")) };
        (0..self.cameras).map(lane).collect()
    }

    fn open(&self, lane: usize, _: &Clock) -> Result<Box<dyn Feed<Record = Frame>>> {
        if lane >= self.cameras {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("there are {} cameras, no number {lane}", self.cameras),
            ));
        }
        Ok(Box::new(RoadFeed {
            camera: format!("road-{lane}").into(),
            pictures: self.pictures(lane).map_err(|e| e.at(format_args!("camera \"road-{lane}\"")))?,
            rate: Rate { frames: self.fps, seconds: 1 },
            next: 0,
            end: self.frames,
        }))
    }
}

/// One camera, being read.
struct RoadFeed {
    camera: Arc<str>,
    pictures: Pictures,
    rate: Rate,
    next: u64,
    end: Option<u64>,
}

enum Pictures {
    Rendered(Scene),
    Looped(Vec<Picture>),
}

impl Feed for RoadFeed {
    type Record = Frame;

    fn next(&mut self) -> Result<Option<Arrival<Frame>>> {
        if self.end.is_some_and(|end| self.next >= end) {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        let picture = match &self.pictures {
            Pictures::Rendered(scene) => scene.render(number).0,
            Pictures::Looped(pictures) => pictures[(number % pictures.len() as u64) as usize].clone(),
        };
        Ok(Some(super::arrival(&self.camera, number, self.rate, picture)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(cameras: &RoadCameras, lane: usize) -> Vec<Frame> {
        let mut feed = cameras.open(lane, &Clock::real()).unwrap();
        std::iter::from_fn(|| feed.next().unwrap()).map(|a| a.record).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_frames() {
        let cameras = RoadCameras::new(3).cameras(2).frames(5).fps(30);
        let frames = all(&cameras, 1);
        assert_eq!(frames.len(), 5);
        assert!(frames == all(&cameras, 1) && frames[0].picture != all(&cameras, 0)[0].picture);
        let truth = cameras.scene(1).unwrap();
        for (number, frame) in (0..).zip(&frames) {
            assert_eq!((frame.number, frame.time_ms), (number, number * 1_000 / 30));
            assert!(frame.picture == truth.render(number).0);
        }
        assert!(frames[0].picture != frames[4].picture);
    }

    #[test]
    fn prerendered_frames_share_their_pixels() {
        let cameras = RoadCameras::new(3).frames(8).prerendered(3);
        let frames = all(&cameras, 0);
        assert_eq!(frames.iter().map(|f| f.number).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        for (number, frame) in frames.iter().enumerate() {
            assert!(Arc::ptr_eq(&frame.picture.data, &frames[number % 3].picture.data));
            assert!(frame.picture == cameras.scene(0).unwrap().render(number as u64 % 3).0);
        }
    }

    #[test]
    fn error_what_cannot_be_opened() {
        let error = RoadCameras::new(0).cameras(2).open(2, &Clock::real()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = RoadCameras::new(0).prerendered(usize::MAX).open(0, &Clock::real()).err().unwrap();
        assert!(error.to_string().contains("ask for at most"), "{error}");
    }
}
