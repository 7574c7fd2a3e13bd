//! Who is on the road at a moment: a pure function of the scene's seed and the moment.
//!
//! Every lane draws the traffic of each cycle of the lights on its own. An object would reach the stop line at
//! its `arrival` and may cross it at its `departure`, so with speed v its way past the line is
//! `max(min(v (t - arrival), -queue), v (t - departure))`: it drives up, waits behind those who wait already, and
//! goes on. All who arrive in a cycle leave in it. Each of the three terms keeps the vehicle behind its leader by
//! the leader's length and more, hence so does the whole: nobody ever drives through another.

use super::junction::{Junction, LANE_M, PAVEMENT_M, Phase, WAIT_M};
use super::random::Random;
use super::{Class, FRAMES_PER_SECOND};

/// How many objects a lane sends in one cycle at most.
const PER_CYCLE_MAX: u64 = 8;
/// How many lanes there may be; a factor of the identities.
const LANES_MAX: u64 = 32;
/// No vehicle exists outside of this part of the world, `[x, z]` in metres, and no walker outside of that: they end
/// where they are about too small to count as seen.
const VEHICLES_M: [[f32; 2]; 2] = [[-34.0, 34.0], [-14.0, 68.0]];
const WALKERS_M: [[f32; 2]; 2] = [[-26.0, 26.0], [-2.0, 46.0]];
/// Cycles before frame 0, so that its traffic is already there.
const EARLIER_CYCLES: u64 = 2;

/// The direction of a lane on the ground, `[x, z]`.
pub(super) type Heading = [f32; 2];

/// One object at one moment.
#[derive(Clone, Copy)]
pub(super) struct Mover {
    /// Constant while the object lives, and never given to another of the scene.
    pub(super) id: u64,
    pub(super) class: Class,
    /// The middle of its front on the ground, `[x, z]` in metres.
    pub(super) front_m: [f32; 2],
    pub(super) heading: Heading,
    /// From its front to its back.
    pub(super) length_m: f32,
    /// How far it has come; legs and wheels follow it.
    pub(super) way_m: f32,
    /// Decides all else about its looks.
    pub(super) look: u64,
}

/// All lanes of a scene.
#[derive(Clone)]
pub(super) struct Traffic {
    seed: u64,
    lanes: Vec<Lane>,
    cycle: u64,
    habits: Habits,
}

/// What differs between scenes.
#[derive(Clone, Copy)]
struct Habits {
    /// The widest gap between two vehicles and two walkers of a lane, in seconds.
    vehicle_gap_s: f32,
    walker_gap_s: f32,
    /// How often a vehicle is a truck or a bus.
    truck: f32,
    bus: f32,
}

#[derive(Clone, Copy)]
struct Lane {
    /// The point on its middle line where it waits.
    stop_m: [f32; 2],
    heading: Heading,
    speed_mps: f32,
    phase: Phase,
    walkers: bool,
    /// What must be left of the green for somebody to set off, in seconds.
    reserve_s: f32,
}

/// One object's journey through its lane; times in seconds of the lane's cycle.
struct Journey {
    slot: u64,
    class: Class,
    length_m: f32,
    speed_mps: f32,
    sideways_m: f32,
    arrival_s: f32,
    departure_s: f32,
    queue_m: f32,
    look: u64,
}

impl Traffic {
    pub(super) fn new(random: &mut Random, junction: &Junction) -> Self {
        let habits = Habits {
            vehicle_gap_s: random.range(2.0, 7.0),
            walker_gap_s: random.range(9.0, 30.0),
            truck: random.range(0.1, 0.25),
            bus: random.range(0.08, 0.2),
        };
        let mut lanes = Vec::new();
        roads(random, junction, &mut lanes);
        pavements(random, junction, &mut lanes);
        debug_assert!(lanes.len() as u64 <= LANES_MAX);
        Self { seed: random.bits(), lanes, cycle: junction.main_phase().cycle, habits }
    }

    /// The moment of a frame: counts frames from some cycles before the first.
    pub(super) fn moment(&self, frame: u64) -> u64 {
        frame.wrapping_add(self.cycle * EARLIER_CYCLES)
    }

    /// Everybody who is there at a moment.
    pub(super) fn movers(&self, moment: u64) -> Vec<Mover> {
        let mut movers = Vec::new();
        for (number, lane) in self.lanes.iter().enumerate() {
            let this_cycle = moment.wrapping_sub(lane.phase.offset) / self.cycle;
            for cycle in this_cycle.saturating_sub(1)..=this_cycle.saturating_add(1) {
                let start = cycle.wrapping_mul(self.cycle).wrapping_add(lane.phase.offset);
                let now_s = moment.wrapping_sub(start) as i64 as f32 / FRAMES_PER_SECOND as f32;
                let stream = cycle.wrapping_mul(LANES_MAX) + number as u64;
                lane.journeys(&mut Random::new(self.seed, stream), self.habits, |journey| {
                    let id = stream.wrapping_mul(PER_CYCLE_MAX) + journey.slot;
                    movers.extend(lane.mover(&journey, id, now_s));
                });
            }
        }
        movers
    }
}

impl Lane {
    /// The journeys of one cycle, in order.
    fn journeys(&self, random: &mut Random, habits: Habits, mut each: impl FnMut(Journey)) {
        let rate = FRAMES_PER_SECOND as f32;
        let (cycle_s, red_s) = (self.phase.cycle as f32 / rate, self.phase.red as f32 / rate);
        let gap_s = if self.walkers { habits.walker_gap_s } else { habits.vehicle_gap_s };
        let (mut arrival_s, mut departure_s, mut queue_m, mut headway_s) = (0.0, 0.0_f32, 0.0, 2.2_f32);
        for slot in 0..PER_CYCLE_MAX {
            let class = if self.walkers { Class::Person } else { vehicle(random, habits) };
            let length_m = length_m(class, random);
            let speed_mps = self.speed_mps * if self.walkers { random.range(0.9, 1.15) } else { 1.0 };
            let sideways_m = random.range(-1.0, 1.0) * if self.walkers { PAVEMENT_M * 0.36 } else { 0.2 };
            arrival_s += headway_s.max(random.range(0.0, gap_s * 2.0));
            departure_s = arrival_s.max(red_s).max(departure_s + headway_s);
            if departure_s > cycle_s - self.reserve_s {
                return;
            }
            let look = random.bits();
            each(Journey {
                slot,
                class,
                length_m,
                speed_mps,
                sideways_m,
                arrival_s,
                departure_s,
                queue_m,
                look,
            });
            queue_m += length_m + if self.walkers { 0.2 } else { 2.0 };
            headway_s = if self.walkers { 0.4 } else { (length_m + 3.0) / speed_mps + 0.3 };
        }
    }

    /// Where somebody is at a moment of the cycle; `None` outside of the world.
    fn mover(&self, journey: &Journey, id: u64, now_s: f32) -> Option<Mover> {
        let ease_m = if self.walkers { 0.2 } else { 3.0 };
        let arriving = journey.speed_mps * (now_s - journey.arrival_s);
        let leaving = journey.speed_mps * (now_s - journey.departure_s);
        let way_m = soft_max(soft_min(arriving, -journey.queue_m, ease_m), leaving, ease_m);
        let [dx, dz] = self.heading;
        let front_m = [
            self.stop_m[0] + dx * way_m - dz * journey.sideways_m,
            self.stop_m[1] + dz * way_m + dx * journey.sideways_m,
        ];
        let world_m = if self.walkers { WALKERS_M } else { VEHICLES_M };
        let inside = front_m.iter().zip(world_m).all(|(&at, [low, high])| (low..high).contains(&at));
        let Journey { class, length_m, look, .. } = *journey;
        inside.then_some(Mover { id, class, front_m, heading: self.heading, length_m, way_m, look })
    }
}

/// The lanes of both roads: traffic keeps to the right.
fn roads(random: &mut Random, junction: &Junction, lanes: &mut Vec<Lane>) {
    let [near, far] = junction.cross_z();
    let half = junction.main_half_m;
    let mut lane = |stop_m, heading, phase, reserve_s| Lane {
        stop_m,
        heading,
        speed_mps: random.range(7.5, 11.0),
        phase,
        walkers: false,
        reserve_s,
    };
    for k in 0..(half / LANE_M) as u32 {
        let aside = (k as f32 + 0.5) * LANE_M;
        lanes.push(lane([aside, near - WAIT_M], [0.0, 1.0], junction.main_phase(), 0.0));
        lanes.push(lane([-aside, far + WAIT_M], [0.0, -1.0], junction.main_phase(), 0.0));
    }
    for k in 0..(junction.cross_half_m / LANE_M) as u32 {
        let aside = (k as f32 + 0.5) * LANE_M;
        let z = junction.cross_z_m;
        lanes.push(lane([-half - WAIT_M, z - aside], [1.0, 0.0], junction.cross_phase(), 0.0));
        lanes.push(lane([half + WAIT_M, z + aside], [-1.0, 0.0], junction.cross_phase(), 0.0));
    }
}

/// The pavements' walkers, both ways on each; they cross a road while the traffic beside them may go.
fn pavements(random: &mut Random, junction: &Junction, lanes: &mut Vec<Lane>) {
    let [near, far] = junction.cross_z();
    let half = junction.main_half_m;
    let mut lane = |stop_m, heading, phase, road_m: f32| {
        let speed_mps = random.range(1.5, 1.7);
        let reserve_s = (road_m / speed_mps - 2.0).max(0.0);
        Lane { stop_m, heading, speed_mps, phase, walkers: true, reserve_s }
    };
    for z in [near - PAVEMENT_M / 2.0, far + PAVEMENT_M / 2.0] {
        let phase = junction.cross_phase();
        lanes.push(lane([-half - 0.5, z], [1.0, 0.0], phase, 2.0 * half));
        lanes.push(lane([half + 0.5, z], [-1.0, 0.0], phase, 2.0 * half));
    }
    for x in [-half - PAVEMENT_M / 2.0, half + PAVEMENT_M / 2.0] {
        let phase = junction.main_phase();
        lanes.push(lane([x, near - 0.5], [0.0, 1.0], phase, far - near));
        lanes.push(lane([x, far + 0.5], [0.0, -1.0], phase, far - near));
    }
}

fn vehicle(random: &mut Random, habits: Habits) -> Class {
    let at = random.unit();
    if at < habits.truck {
        Class::Truck
    } else if at < habits.truck + habits.bus {
        Class::Bus
    } else {
        Class::Car
    }
}

fn length_m(class: Class, random: &mut Random) -> f32 {
    match class {
        Class::Car => random.range(3.8, 4.7),
        Class::Truck => random.range(6.2, 8.5),
        Class::Bus => random.range(9.5, 11.5),
        Class::Person => random.range(0.3, 0.5),
    }
}

/// The lesser of two, rounded where they meet within `ease`: brakes take their time.
fn soft_min(a: f32, b: f32, ease: f32) -> f32 {
    let near = (ease - (a - b).abs()).max(0.0);
    a.min(b) - near * near / (4.0 * ease)
}

/// The greater of two, rounded alike.
fn soft_max(a: f32, b: f32, ease: f32) -> f32 {
    -soft_min(-a, -b, ease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_drives_through_another() {
        for seed in 0..12 {
            let mut random = Random::new(seed, 0);
            let junction = Junction::draw(&mut random, 10.0);
            let traffic = Traffic::new(&mut random, &junction);
            for moment in (1_000..6_000).step_by(7) {
                let movers = traffic.movers(moment);
                for (i, a) in movers.iter().enumerate().filter(|(_, m)| m.class != Class::Person) {
                    for b in movers[i + 1..].iter().filter(|m| m.class != Class::Person) {
                        assert!(!overlap(a, b), "seed {seed}, moment {moment}: {} and {}", a.id, b.id);
                    }
                }
            }
        }
    }

    fn overlap(a: &Mover, b: &Mover) -> bool {
        let range = |m: &Mover, axis: usize| {
            let back = m.front_m[axis] - m.heading[axis] * m.length_m;
            let side = 0.9 * m.heading[1 - axis].abs();
            (m.front_m[axis].min(back) - side, m.front_m[axis].max(back) + side)
        };
        (0..2).all(|axis| {
            let ((a0, a1), (b0, b1)) = (range(a, axis), range(b, axis));
            a0 < b1 && b0 < a1
        })
    }
}
