//! Where frames come from: live cameras, video files, folders of pictures, and a synthetic road.
//!
//! Invariants: what is replayable stamps media time (frame number over rate, in milliseconds, rounded
//! down), whatever the pacing, so that two runs are comparable epoch by epoch. What is live is stamped
//! when it comes, and an outage does not end it. No secret of an address is shown.

mod camera;
mod cameras;
mod ffmpeg;
mod folder;
mod halt;
mod mjpeg;
mod synthetic;
mod video;

#[cfg(test)]
mod testing;

pub use camera::Camera;
pub use cameras::{CameraEntry, Cameras};
pub use folder::Folder;
pub use mjpeg::Mjpeg;
pub use synthetic::RoadCameras;
pub use video::Video;

use std::sync::Arc;

use jellybean_engine::source::{Arrival, Stamp};
use jellybean_engine::{Clock, Epoch};

use crate::picture::{Frame, Picture};

/// Frames per second, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    frames: u32,
    seconds: u32,
}

impl Rate {
    /// When frame `number` is, in milliseconds since the first one, rounded down.
    fn time_ms(self, number: u64) -> Epoch {
        let ms = u128::from(number) * 1_000 * u128::from(self.seconds) / u128::from(self.frames.max(1));
        Epoch::try_from(ms).unwrap_or(Epoch::MAX)
    }
}

/// Frame `number` of `camera`, stamped with media time.
fn arrival(camera: &Arc<str>, number: u64, rate: Rate, picture: Picture) -> Arrival<Frame> {
    let time_ms = rate.time_ms(number);
    let bytes = picture.data.len() + size_of::<Frame>();
    let record = Frame { camera: Arc::clone(camera), number, time_ms, picture };
    Arrival { record, stamp: Stamp::Media(time_ms), bytes }
}

/// Numbers and stamps the frames of a live camera, over all its connections.
struct Shots {
    camera: Arc<str>,
    clock: Clock,
    number: u64,
    /// When the first one came, by the clock.
    first_ms: Option<u64>,
}

impl Shots {
    fn new(camera: &str, clock: &Clock) -> Self {
        Self { camera: camera.into(), clock: clock.clone(), number: 0, first_ms: None }
    }

    /// A picture that has come just now.
    fn arrival(&mut self, picture: Picture) -> Arrival<Frame> {
        let now_ms = self.clock.now_ms();
        let time_ms = now_ms - *self.first_ms.get_or_insert(now_ms);
        let bytes = picture.data.len() + size_of::<Frame>();
        let record = Frame { camera: Arc::clone(&self.camera), number: self.number, time_ms, picture };
        self.number += 1;
        Arrival { record, stamp: Stamp::Live, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn media_time_is_rounded_down_and_never_overflows() {
        let ntsc = Rate { frames: 30_000, seconds: 1_001 };
        assert_eq!([0, 1, 2, 3, 30].map(|n| ntsc.time_ms(n)), [0, 33, 66, 100, 1_001]);
        assert_eq!(Rate { frames: 25, seconds: 1 }.time_ms(3), 120);
        assert_eq!(Rate { frames: 1, seconds: 1 }.time_ms(u64::MAX), u64::MAX);
    }
}
