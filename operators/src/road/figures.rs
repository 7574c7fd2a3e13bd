//! What cars, trucks, buses and persons look like.

use super::Class;
use super::brush::Brush;
use super::camera::Point;
use super::canvas::Colour;
use super::random::Random;
use super::traffic::Mover;

const GLASS: Colour = [62, 74, 88];
const TYRE: Colour = [24, 24, 26];
const UNDERSIDE: Colour = [38, 38, 40];
const HEADLAMP: Colour = [236, 236, 210];
const TAIL_LAMP: Colour = [176, 24, 20];
const HEADLAMP_LIT: Colour = [255, 250, 214];
const TAIL_LAMP_LIT: Colour = [255, 46, 36];

const CAR_PAINTS: [Colour; 10] = [
    [196, 36, 34],
    [36, 72, 168],
    [232, 232, 228],
    [40, 40, 44],
    [158, 162, 168],
    [98, 102, 110],
    [232, 196, 40],
    [44, 116, 70],
    [226, 112, 32],
    [120, 70, 46],
];
const TRUCK_PAINTS: [Colour; 6] =
    [[222, 222, 216], [70, 110, 170], [180, 60, 44], [96, 130, 84], [214, 180, 92], [130, 134, 140]];
const BUS_PAINTS: [Colour; 5] =
    [[226, 176, 30], [190, 34, 40], [44, 104, 176], [60, 140, 90], [226, 226, 220]];
const CLOTHES: [Colour; 9] = [
    [170, 40, 46],
    [44, 70, 140],
    [210, 206, 196],
    [34, 34, 40],
    [70, 120, 76],
    [208, 160, 44],
    [128, 76, 130],
    [220, 120, 60],
    [110, 112, 116],
];
const SKINS: [Colour; 4] = [[232, 190, 160], [198, 146, 110], [140, 96, 68], [94, 64, 48]];

/// Paints somebody.
pub(super) fn paint(brush: &mut Brush<'_, '_>, mover: &Mover) {
    let mut random = Random::new(mover.look, 0);
    if mover.class == Class::Person {
        return person(brush, mover, &mut random);
    }
    let body = Body { mover, half_width_m: half_widths_m(mover.class)[0] };
    match mover.class {
        Class::Truck => truck(brush, &body, &mut random),
        Class::Bus => bus(brush, &body, &mut random),
        _ => car(brush, &body, &mut random),
    }
}

/// Paints the shadow that somebody throws on the ground.
pub(super) fn shadow(brush: &mut Brush<'_, '_>, mover: &Mover) {
    if mover.class == Class::Person {
        let foot = [mover.front_m[0], 0.0, mover.front_m[1]];
        let [x, _, z] = foot;
        let corners = [[x - 0.3, z + 0.2], [x - 0.3, z - 0.2], [x + 0.5, z - 0.2], [x + 0.5, z + 0.2]];
        return brush.shadow(&corners.map(|[x, z]| [x, 0.0, z]), 170);
    }
    let body = Body { mover, half_width_m: half_widths_m(mover.class)[1] };
    brush.shadow(&body.ring([0.1, -mover.length_m - 0.1], body.half_width_m, 0.0), 128);
}

/// A vehicle's own frame: `along` forward from its front (hence mostly negative), `left` from its middle.
struct Body<'a> {
    mover: &'a Mover,
    half_width_m: f32,
}

/// A side of a vehicle.
#[derive(Clone, Copy)]
enum Side {
    Front,
    Back,
    Left,
    Right,
}

impl Body<'_> {
    fn at(&self, along: f32, left: f32, up: f32) -> Point {
        let ([x, z], [dx, dz]) = (self.mover.front_m, self.mover.heading);
        [x + dx * along - dz * left, up, z + dz * along + dx * left]
    }

    /// A rectangle at a height, against the clock as seen from above; `along` is `[front, back]`.
    fn ring(&self, along: [f32; 2], half_width: f32, up: f32) -> [Point; 4] {
        [
            self.at(along[0], half_width, up),
            self.at(along[1], half_width, up),
            self.at(along[1], -half_width, up),
            self.at(along[0], -half_width, up),
        ]
    }

    /// A rectangle on a side; `across` runs from left to right, or from front to back, in metres.
    fn panel(&self, side: Side, across: [f32; 2], up: [f32; 2]) -> [Point; 4] {
        let half = self.half_width_m;
        let at = |across: f32, up: f32| match side {
            Side::Front => self.at(0.0, -across, up),
            Side::Back => self.at(-self.mover.length_m, -across, up),
            Side::Left => self.at(-across, half, up),
            Side::Right => self.at(-across, -half, up),
        };
        let [a, b] = if matches!(side, Side::Front | Side::Right) { [across[1], across[0]] } else { across };
        [at(a, up[0]), at(b, up[0]), at(b, up[1]), at(a, up[1])]
    }

    fn box_between(&self, brush: &mut Brush<'_, '_>, along: [f32; 2], up: [f32; 2], colour: Colour) {
        let half = self.half_width_m;
        brush.solid(self.ring(along, half, up[0]), self.ring(along, half, up[1]), colour, colour);
    }

    fn wheels(&self, brush: &mut Brush<'_, '_>, middles_m: &[f32], radius_m: f32) {
        for (&middle, side) in middles_m.iter().flat_map(|m| [(m, Side::Left), (m, Side::Right)]) {
            let across = [middle - radius_m, middle + radius_m];
            brush.face(&self.panel(side, across, [0.0, radius_m * 1.8]), TYRE, 1.0);
        }
    }

    fn lamps(&self, brush: &mut Brush<'_, '_>, up: [f32; 2]) {
        let (outer, inner) = (self.half_width_m - 0.05, self.half_width_m - 0.42);
        for across in [[-outer, -inner], [inner, outer]] {
            let (front, back) = (self.panel(Side::Front, across, up), self.panel(Side::Back, across, up));
            if brush.light.dark {
                brush.lamp(&front, HEADLAMP_LIT);
                brush.lamp(&back, TAIL_LAMP_LIT);
            } else {
                brush.face(&front, HEADLAMP, 1.0);
                brush.face(&back, TAIL_LAMP, 1.0);
            }
        }
    }
}

/// Half of the width of a vehicle and of its shadow.
fn half_widths_m(class: Class) -> [f32; 2] {
    if class == Class::Car { [0.9, 1.05] } else { [1.25, 1.45] }
}

fn car(brush: &mut Brush<'_, '_>, body: &Body<'_>, random: &mut Random) {
    let length = body.mover.length_m;
    let paint = shade(random.pick(&CAR_PAINTS), random);
    let (bonnet, boot) = (length * random.range(0.2, 0.28), length * random.range(0.82, 0.99));
    let height = random.range(1.35, 1.6);
    body.box_between(brush, [0.0, -length], [0.25, 0.85], paint);
    body.wheels(brush, &[length * 0.19, length * 0.8], 0.33);
    body.lamps(brush, [0.55, 0.78]);
    let base = body.ring([-bonnet, -boot], 0.86, 0.85);
    let top = body.ring([-bonnet - 0.6, -boot + 0.35], 0.68, height);
    brush.solid(base, top, GLASS, paint);
}

fn truck(brush: &mut Brush<'_, '_>, body: &Body<'_>, random: &mut Random) {
    let length = body.mover.length_m;
    let cab_paint = shade(random.pick(&CAR_PAINTS), random);
    let box_paint = shade(random.pick(&TRUCK_PAINTS), random);
    let (cab_m, height) = (1.9, random.range(2.8, 3.4));
    let cab = |brush: &mut Brush<'_, '_>| {
        body.box_between(brush, [0.0, -cab_m], [0.5, 2.4], cab_paint);
        brush.face(&body.panel(Side::Front, [-1.05, 1.05], [1.4, 2.15]), GLASS, 1.0);
        for side in [Side::Left, Side::Right] {
            brush.face(&body.panel(side, [0.3, 1.2], [1.4, 2.1]), GLASS, 0.9);
        }
    };
    let load = |brush: &mut Brush<'_, '_>| {
        body.box_between(brush, [-cab_m - 0.25, -length], [0.85, height], box_paint);
    };
    body.box_between(brush, [0.0, -length], [0.45, 0.85], UNDERSIDE);
    let away_m = |along: f32| {
        let [x, _, z] = body.at(along, 0.0, 0.0);
        (x - brush.camera.x_m).abs() + z
    };
    if away_m(-cab_m / 2.0) > away_m(-length) {
        cab(brush);
        load(brush);
    } else {
        load(brush);
        cab(brush);
    }
    body.wheels(brush, &[1.0, length - 2.1, length - 0.9], 0.48);
    body.lamps(brush, [0.6, 0.82]);
}

fn bus(brush: &mut Brush<'_, '_>, body: &Body<'_>, random: &mut Random) {
    let length = body.mover.length_m;
    let paint = shade(random.pick(&BUS_PAINTS), random);
    let half = body.half_width_m;
    let (base, top) = (body.ring([0.0, -length], half, 0.35), body.ring([0.0, -length], half, 3.05));
    brush.solid(base, top, paint, [214, 214, 210]);
    let windows = 6;
    let pitch = (length - 0.8) / windows as f32;
    for i in 0..windows {
        let from = 0.4 + i as f32 * pitch;
        for side in [Side::Left, Side::Right] {
            brush.face(&body.panel(side, [from, from + pitch - 0.25], [1.45, 2.5]), GLASS, 0.9);
        }
    }
    brush.face(&body.panel(Side::Front, [-1.1, 1.1], [1.2, 2.7]), GLASS, 1.0);
    brush.face(&body.panel(Side::Back, [-1.0, 1.0], [1.7, 2.6]), GLASS, 1.0);
    body.wheels(brush, &[2.3, length - 2.6], 0.48);
    body.lamps(brush, [0.6, 0.85]);
}

fn person(brush: &mut Brush<'_, '_>, mover: &Mover, random: &mut Random) {
    let foot = [mover.front_m[0], 0.0, mover.front_m[1]];
    let size = random.range(0.92, 1.08);
    let (coat, trousers) = (shade(random.pick(&CLOTHES), random), shade(random.pick(&CLOTHES), random));
    let (skin, hair) = (random.pick(&SKINS), random.pick(&[[30, 26, 24], [90, 60, 36], [190, 170, 130]]));
    let swing = 0.26 * size * triangle(mover.way_m / 1.4);
    let up = |from: f32, to: f32| [from * size, to * size];
    for stride in [-swing, swing] {
        let at = |right: f32, up: f32| brush.camera.beside(foot, right * size, up * size);
        let leg = [at(stride - 0.1, 0.0), at(stride + 0.1, 0.0), at(0.14, 0.9), at(-0.14, 0.9)];
        brush.face(&leg, trousers, 0.9);
    }
    brush.card(foot, [-0.25 * size, 0.25 * size], up(0.8, 1.45), coat);
    brush.card(foot, [-0.33 * size, -0.22 * size], up(0.75, 1.4), coat);
    brush.card(foot, [0.22 * size, 0.33 * size], up(0.75, 1.4), coat);
    let head = [foot[0], 1.6 * size, foot[2]];
    brush.disc(head, 0.15 * size, skin);
    brush.card(foot, [-0.13 * size, 0.13 * size], up(1.64, 1.76), hair);
}

/// Goes up and down between -1 and 1 once per unit.
fn triangle(at: f32) -> f32 {
    let part = at - at.floor();
    if part < 0.5 { 4.0 * part - 1.0 } else { 3.0 - 4.0 * part }
}

/// The same paint, a little lighter or darker.
fn shade(paint: Colour, random: &mut Random) -> Colour {
    let brightness = random.range(0.85, 1.12);
    paint.map(|value| (f32::from(value) * brightness) as u8)
}
