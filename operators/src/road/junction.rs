//! The ground plan: a main road that leads away from the camera, a street that crosses it, pavements along both.

use super::FRAMES_PER_SECOND;
use super::random::Random;

/// How wide a lane is.
pub(super) const LANE_M: f32 = 3.3;
/// How wide a pavement is; where it meets a road it goes on as a zebra crossing.
pub(super) const PAVEMENT_M: f32 = 2.8;
/// From the kerb of the crossing road to where traffic waits: the zebra lies between.
pub(super) const WAIT_M: f32 = PAVEMENT_M + 1.0;

/// Sizes in metres, lights in frames. The main road runs along z around x = 0, the cross street along x.
#[derive(Clone)]
pub(super) struct Junction {
    /// Half of the main road's width.
    pub(super) main_half_m: f32,
    /// Half of the cross street's width.
    pub(super) cross_half_m: f32,
    /// Where the middle of the cross street lies along the main road.
    pub(super) cross_z_m: f32,
    /// How long main road, cross street and each change between them hold the lights.
    main_green: u64,
    cross_green: u64,
    clearance: u64,
}

/// The colour of a traffic light.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Red,
    Amber,
    Green,
}

/// When a stream of traffic may go. Its cycle starts with its red.
#[derive(Clone, Copy)]
pub(super) struct Phase {
    /// How long a whole cycle lasts, in frames.
    pub(super) cycle: u64,
    /// How late its cycle starts, in frames.
    pub(super) offset: u64,
    /// How much of the cycle is red, in frames.
    pub(super) red: u64,
}

impl Junction {
    /// A junction whose nearer kerb is seen beyond `nearest_m`.
    pub(super) fn draw(random: &mut Random, nearest_m: f32) -> Self {
        let main_half_m = LANE_M * random.pick(&[1.0, 2.0]);
        let cross_half_m = LANE_M * random.pick(&[1.0, 1.0, 2.0]);
        let mut seconds = |least, most| (least + random.below(most - least)) * FRAMES_PER_SECOND;
        let (main_green, cross_green, clearance) = (seconds(11, 15), seconds(10, 13), seconds(3, 4));
        let cross_z_m = nearest_m + cross_half_m + PAVEMENT_M + random.range(0.5, 6.0);
        Self { main_half_m, cross_half_m, cross_z_m, main_green, cross_green, clearance }
    }

    /// Where the cross street begins and ends along z.
    pub(super) fn cross_z(&self) -> [f32; 2] {
        [self.cross_z_m - self.cross_half_m, self.cross_z_m + self.cross_half_m]
    }

    /// The phase of the traffic along the main road, vehicles and walkers alike.
    pub(super) fn main_phase(&self) -> Phase {
        let cycle = self.cycle();
        Phase { cycle, offset: 0, red: cycle - self.main_green }
    }

    /// The phase of the traffic along the cross street.
    pub(super) fn cross_phase(&self) -> Phase {
        let cycle = self.cycle();
        Phase { cycle, offset: self.clearance + self.cross_green, red: cycle - self.cross_green }
    }

    fn cycle(&self) -> u64 {
        self.main_green + self.cross_green + 2 * self.clearance
    }
}

impl Phase {
    /// What the light shows at a moment counted as [`super::traffic::Traffic`] counts them.
    pub(super) fn signal(&self, moment: u64) -> Signal {
        let since = (moment.wrapping_sub(self.offset)) % self.cycle;
        if since >= self.red {
            Signal::Green
        } else if since < 2 * FRAMES_PER_SECOND {
            Signal::Amber
        } else {
            Signal::Red
        }
    }
}
