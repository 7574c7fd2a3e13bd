//! What stands still behind all traffic, painted once per scene: sky, ground, roads, houses, trees.

use super::brush::{Brush, Light};
use super::camera::{Camera, Point};
use super::canvas::{Canvas, Colour};
use super::junction::{Junction, LANE_M, PAVEMENT_M, WAIT_M};
use super::random::Random;

const MARKING: Colour = [214, 214, 208];
/// How far the roads go on, in metres.
const FAR_M: f32 = 160.0;

/// The empty scene in full daylight, interleaved RGB, and the colour of its haze.
pub(super) fn background(
    random: &mut Random,
    camera: &Camera,
    junction: &Junction,
    size: [usize; 2],
) -> (Vec<u8>, Colour) {
    let [width, height] = size;
    let mut pixels = vec![0; width * height * 3];
    let mut owners = vec![0; width * height];
    let (ground, haze) = sky_and_ground(random, camera.centre_px[1], width, &mut pixels);
    let mut canvas = Canvas::new(width, height, &mut pixels, &mut owners);
    let light = Light { gain: [256; 3], haze, dark: false };
    let mut brush = Brush { camera, canvas: &mut canvas, light };
    // The lawn again in perspective, so that it fades into the haze as everything else does.
    for far in [FAR_M, 90.0, 60.0, 40.0, 28.0] {
        brush.ground([-FAR_M, FAR_M], [-5.0, far], ground);
    }
    roads(random, &mut brush, junction);
    houses(random, &mut brush, junction);
    roughen(random, &mut pixels);
    (pixels, haze)
}

/// Fills the sky; returns the colours of ground and haze.
fn sky_and_ground(random: &mut Random, horizon_px: f32, width: usize, pixels: &mut [u8]) -> (Colour, Colour) {
    let cloud = random.unit();
    let mix = |clear: [f32; 3], grey: [f32; 3]| -> [f32; 3] {
        std::array::from_fn(|i| clear[i] + (grey[i] - clear[i]) * cloud)
    };
    let (top, low) =
        (mix([104.0, 158.0, 220.0], [160.0, 166.0, 174.0]), mix([196.0, 216.0, 232.0], [198.0; 3]));
    for (y, row) in pixels.chunks_exact_mut(width * 3).enumerate() {
        let t = (y as f32 / horizon_px.max(1.0)).min(1.0);
        let colour: Colour = std::array::from_fn(|i| (top[i] + (low[i] - top[i]) * t) as u8);
        row.as_chunks_mut::<3>().0.fill(colour);
    }
    let ground =
        random.pick(&[[92, 124, 66], [112, 122, 78], [136, 132, 122], [120, 112, 96], [78, 108, 60]]);
    (ground, low.map(|v| v as u8))
}

fn roads(random: &mut Random, brush: &mut Brush<'_, '_>, junction: &Junction) {
    let [near, far] = junction.cross_z();
    let kerb = junction.main_half_m;
    let grey = random.range(70.0, 118.0) as u8;
    let (asphalt, paving) =
        ([grey, grey, grey + 3], random.pick(&[[158, 154, 148], [146, 148, 152], [170, 158, 142]]));
    let pavement_z = [near - PAVEMENT_M, far + PAVEMENT_M];
    brush.ground([-FAR_M, FAR_M], pavement_z, paving);
    // Nearer pieces go over the farther ones' haze.
    for end in [FAR_M, 100.0, 70.0, 50.0, 35.0] {
        brush.ground([-kerb - PAVEMENT_M, kerb + PAVEMENT_M], [-5.0, end], paving);
        brush.ground([-kerb, kerb], [-5.0, end], asphalt);
    }
    brush.ground([-FAR_M, FAR_M], [near, far], asphalt);
    markings(brush, junction);
    zebras(brush, junction);
}

fn markings(brush: &mut Brush<'_, '_>, junction: &Junction) {
    let [near, far] = junction.cross_z();
    let kerb = junction.main_half_m;
    let lanes = (kerb / LANE_M) as i32;
    for lane in 1 - lanes..lanes {
        let x = lane as f32 * LANE_M;
        for dash in 0..30 {
            let z = dash as f32 * 4.0 - 4.0;
            let solid = if lane == 0 { 4.0 } else { 2.0 };
            if z + solid < near - WAIT_M || z > far + WAIT_M {
                brush.ground([x - 0.09, x + 0.09], [z, z + solid], MARKING);
            }
        }
    }
    let lanes = (junction.cross_half_m / LANE_M) as i32;
    for lane in 1 - lanes..lanes {
        let z = junction.cross_z_m + lane as f32 * LANE_M;
        for (side, dash) in (0..12).flat_map(|dash| [(-1.0, dash), (1.0, dash)]) {
            let from = side * (kerb + WAIT_M + dash as f32 * 4.0);
            let to = from + side * 2.4;
            brush.ground([from.min(to), from.max(to)], [z - 0.09, z + 0.09], MARKING);
        }
    }
    brush.ground([0.1, kerb], [near - WAIT_M - 0.4, near - WAIT_M], MARKING);
    brush.ground([-kerb, -0.1], [far + WAIT_M, far + WAIT_M + 0.4], MARKING);
}

fn zebras(brush: &mut Brush<'_, '_>, junction: &Junction) {
    let [near, far] = junction.cross_z();
    let stripes = |half: f32| (0..(half / 0.5) as i32 * 2).map(move |i| i as f32 * 0.5 - half).step_by(2);
    for x in stripes(junction.main_half_m) {
        for z in [near - PAVEMENT_M + 0.3, far + 0.3] {
            brush.ground([x + 0.1, x + 0.6], [z, z + PAVEMENT_M - 0.6], MARKING);
        }
    }
    for z in stripes(junction.cross_half_m) {
        for x in [-junction.main_half_m - PAVEMENT_M + 0.3, junction.main_half_m + 0.3] {
            let z = junction.cross_z_m + z;
            brush.ground([x, x + PAVEMENT_M - 0.6], [z + 0.1, z + 0.6], MARKING);
        }
    }
}

/// Houses and trees beyond the cross street on both sides, from far to near, and a hazy skyline.
fn houses(random: &mut Random, brush: &mut Brush<'_, '_>, junction: &Junction) {
    for lot in 0..24 {
        let x = lot as f32 * 14.0 - 168.0;
        let height = random.range(3.0, 14.0);
        brush.cuboid([x, x + 14.0], [0.0, height], [FAR_M - 10.0, FAR_M], [104, 116, 104]);
    }
    let front = junction.cross_z()[1] + PAVEMENT_M + random.range(1.5, 6.0);
    let aside = junction.main_half_m + PAVEMENT_M + random.range(0.5, 5.0);
    let mut z = 84.0;
    while z > front {
        let depth = random.range(8.0, 16.0).min(z - front + 3.0);
        for side in [-1.0, 1.0] {
            row(random, brush, side, aside, [z - depth, z]);
        }
        z -= depth;
    }
}

/// What stands on one side of the road between two depths, from the outermost to the road.
fn row(random: &mut Random, brush: &mut Brush<'_, '_>, side: f32, aside: f32, z: [f32; 2]) {
    let mut x = 46.0;
    while x > aside {
        let width = random.range(8.0, 16.0).min(x - aside + 2.0);
        let (outer, inner) = (side * x, side * (x - width).max(aside));
        let span = [outer.min(inner), outer.max(inner)];
        if random.chance(0.7) {
            let set_back = random.range(0.0, 2.0);
            house(random, brush, span, [z[0] + set_back, z[1]]);
        } else {
            tree(random, brush, [(span[0] + span[1]) / 2.0, 0.0, (z[0] + z[1]) / 2.0]);
        }
        x -= width;
    }
}

fn house(random: &mut Random, brush: &mut Brush<'_, '_>, x: [f32; 2], z: [f32; 2]) {
    let walls =
        [[168, 132, 108], [186, 176, 156], [140, 142, 148], [150, 92, 74], [198, 190, 178], [112, 104, 100]];
    let wall = random.pick(&walls);
    let storeys = 1 + random.below(4);
    let height = storeys as f32 * 3.2 + 0.6;
    brush.cuboid(x, [0.0, height], z, wall);
    let pane: Colour = random.pick(&[[66, 78, 92], [94, 106, 116], [52, 54, 60]]);
    let columns = (((x[1] - x[0]) / 2.6) as u32).max(1);
    let pitch = (x[1] - x[0]) / columns as f32;
    for (column, storey) in (0..columns).flat_map(|c| (0..storeys).map(move |s| (c, s))) {
        let (left, floor) = (x[0] + column as f32 * pitch + 0.6, storey as f32 * 3.2 + 1.2);
        let foot = [left, floor, z[0]];
        let [w, h] = [pitch - 1.2, 1.5];
        let at = |right: f32, up: f32| [foot[0] + right, foot[1] + up, foot[2]];
        brush.face(&[at(0.0, 0.0), at(w, 0.0), at(w, h), at(0.0, h)], pane, 1.0);
    }
}

fn tree(random: &mut Random, brush: &mut Brush<'_, '_>, foot: Point) {
    let size = random.range(0.8, 1.5);
    brush.card(foot, [-0.2, 0.2], [0.0, 2.5 * size], [84, 64, 48]);
    let green = random.pick(&[[62, 96, 44], [78, 110, 50], [52, 84, 50]]);
    for _ in 0..5 {
        let (right, up) = (random.range(-1.4, 1.4) * size, random.range(2.2, 4.8) * size);
        let brightness = random.range(0.8, 1.2);
        let leaves = green.map(|v: u8| (f32::from(v) * brightness) as u8);
        brush.disc(brush.camera.beside(foot, right, up), random.range(1.0, 1.7) * size, leaves);
    }
}

/// Flat colours look like nothing real: every pixel gets its own lasting speck.
fn roughen(random: &mut Random, pixels: &mut [u8]) {
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let speck = (random.below(15) + random.below(15)) as i8 - 14;
        for value in pixel {
            *value = value.saturating_add_signed(speck / 2);
        }
    }
}
