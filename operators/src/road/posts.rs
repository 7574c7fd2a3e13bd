//! What stands by the road and may hide traffic: lights, lamps, signs, and blocks that look like none of it.

use super::brush::Brush;
use super::camera::Point;
use super::canvas::Colour;
use super::junction::{Junction, PAVEMENT_M, Phase, Signal, WAIT_M};
use super::random::Random;

const STEEL: Colour = [92, 96, 100];

/// One of them.
#[derive(Clone)]
pub(super) struct Post {
    /// Where it stands, `[x, z]` in metres.
    pub(super) foot_m: [f32; 2],
    kind: PostKind,
}

#[derive(Clone)]
enum PostKind {
    Lamp {
        height_m: f32,
    },
    Signal {
        phase: Phase,
    },
    Sign {
        colour: Colour,
    },
    /// A cabinet, a bin or a hedge: of a vehicle's size, but none.
    Block {
        size_m: [f32; 3],
        colour: Colour,
    },
}

impl Post {
    pub(super) fn paint(&self, brush: &mut Brush<'_, '_>, moment: u64) {
        let [x, z] = self.foot_m;
        let foot = [x, 0.0, z];
        match &self.kind {
            PostKind::Lamp { height_m } => lamp(brush, foot, *height_m),
            PostKind::Signal { phase } => signal(brush, foot, phase.signal(moment)),
            PostKind::Sign { colour } => {
                brush.card(foot, [-0.05, 0.05], [0.0, 2.3], STEEL);
                brush.disc([x, 2.5, z], 0.4, *colour);
            }
            PostKind::Block { size_m: [width, height, depth], colour } => {
                brush.cuboid([x, x + width], [0.0, *height], [z, z + depth], *colour);
            }
        }
    }
}

/// Draws the posts of a junction.
pub(super) fn draw(random: &mut Random, junction: &Junction) -> Vec<Post> {
    let [near, far] = junction.cross_z();
    let kerb = junction.main_half_m;
    let mut posts = Vec::new();
    let mut add = |x: f32, z: f32, kind| posts.push(Post { foot_m: [x, z], kind });
    let (main, cross) = (junction.main_phase(), junction.cross_phase());
    add(kerb + 0.4, near - WAIT_M, PostKind::Signal { phase: main });
    add(-kerb - 0.4, far + WAIT_M, PostKind::Signal { phase: main });
    add(-kerb - WAIT_M, near - 0.4, PostKind::Signal { phase: cross });
    add(kerb + WAIT_M, far + 0.4, PostKind::Signal { phase: cross });
    let lamp_m = random.range(6.0, 9.0);
    for (side, z) in [(-1.0, near - 5.0), (1.0, far + 4.0), (-1.0, far + 22.0), (1.0, far + 38.0)] {
        if random.chance(0.75) {
            let x = side * (kerb + PAVEMENT_M + 0.3);
            add(x, z + random.range(-1.0, 2.0), PostKind::Lamp { height_m: lamp_m });
        }
    }
    for _ in 0..random.below(4) {
        let colour = random.pick(&[[200, 30, 36], [36, 80, 170], [230, 200, 40], [220, 220, 220]]);
        let side = random.pick(&[-1.0, 1.0]);
        add(side * (kerb + 0.5), far + random.range(1.0, 40.0), PostKind::Sign { colour });
    }
    for _ in 0..random.below(5) {
        let size_m = [random.range(0.6, 2.8), random.range(0.6, 1.5), random.range(0.5, 2.0)];
        let colour =
            random.pick(&[[60, 104, 52], [120, 124, 120], [150, 110, 70], [70, 90, 60], [170, 60, 50]]);
        let aside = kerb + PAVEMENT_M + random.range(0.3, 8.0);
        let x = if random.chance(0.5) { aside } else { -aside - size_m[0] };
        let behind = far + PAVEMENT_M + random.range(0.3, 3.0);
        let z =
            if random.chance(0.6) { behind } else { near - PAVEMENT_M - size_m[2] - random.range(0.3, 5.0) };
        add(x, z, PostKind::Block { size_m, colour });
    }
    posts
}

fn lamp(brush: &mut Brush<'_, '_>, foot: Point, height_m: f32) {
    brush.card(foot, [-0.09, 0.09], [0.0, height_m], STEEL);
    brush.card(foot, [-0.09, 1.2], [height_m - 0.15, height_m], STEEL);
    if brush.light.dark {
        brush.glow(brush.camera.beside(foot, 1.1, height_m - 0.25), 0.28, [255, 236, 180]);
    }
}

fn signal(brush: &mut Brush<'_, '_>, foot: Point, signal: Signal) {
    brush.card(foot, [-0.07, 0.07], [0.0, 2.4], STEEL);
    brush.card(foot, [-0.2, 0.2], [2.2, 3.2], [30, 32, 34]);
    let (up_m, colour) = match signal {
        Signal::Red => (3.0, [255, 40, 30]),
        Signal::Amber => (2.7, [255, 176, 30]),
        Signal::Green => (2.4, [60, 240, 120]),
    };
    brush.glow([foot[0], up_m, foot[2]], 0.16, colour);
}
