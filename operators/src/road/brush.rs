//! Paints shapes of the world onto the canvas: projected, lit, and paled by distance.

use super::camera::{Camera, Point};
use super::canvas::{Canvas, Colour};

/// From here on, things fade into the haze, and at the far end of it they are as pale as they get.
const HAZE_M: [f32; 2] = [25.0, 150.0];
const HAZE_MOST: f32 = 0.55;

/// The light of one moment.
#[derive(Clone, Copy)]
pub(super) struct Light {
    /// What is left of red, green and blue, out of 256.
    pub(super) gain: [u16; 3],
    /// The colour of the distance in full daylight.
    pub(super) haze: Colour,
    /// Whether lamps are lit.
    pub(super) dark: bool,
}

impl Light {
    fn on(&self, colour: Colour, brightness: f32, depth_m: f32) -> Colour {
        let pale = ((depth_m - HAZE_M[0]) / (HAZE_M[1] - HAZE_M[0])).clamp(0.0, 1.0) * HAZE_MOST;
        std::array::from_fn(|i| {
            let lit = f32::from(colour[i]) * brightness;
            let seen = lit + (f32::from(self.haze[i]) - lit) * pale;
            (seen * f32::from(self.gain[i]) / 256.0) as u8
        })
    }
}

/// A canvas seen through a camera in some light.
pub(super) struct Brush<'a, 'b> {
    pub(super) camera: &'a Camera,
    pub(super) canvas: &'a mut Canvas<'b>,
    pub(super) light: Light,
}

impl Brush<'_, '_> {
    /// A convex polygon, if it is seen from its outside, where its corners run against the clock.
    pub(super) fn face(&mut self, polygon: &[Point], colour: Colour, brightness: f32) {
        let outline = self.camera.outline(polygon);
        if outline.faces_us() {
            let colour = self.light.on(colour, brightness, self.camera.depth_m(polygon[0]));
            self.canvas.fill(&outline, colour);
        }
    }

    /// A face that shines: neither dusk nor haze dims it.
    pub(super) fn lamp(&mut self, polygon: &[Point], colour: Colour) {
        let outline = self.camera.outline(polygon);
        if outline.faces_us() {
            self.canvas.fill(&outline, colour);
        }
    }

    /// Darkens what a convex polygon covers.
    pub(super) fn shadow(&mut self, polygon: &[Point], keep: u16) {
        let outline = self.camera.outline(polygon);
        self.canvas.darken(&outline, keep);
    }

    /// A rectangle on the ground, in metres.
    pub(super) fn ground(&mut self, x: [f32; 2], z: [f32; 2], colour: Colour) {
        self.face(&ring(x, z, 0.0), colour, 1.0);
    }

    /// An upright box in metres.
    pub(super) fn cuboid(&mut self, x: [f32; 2], y: [f32; 2], z: [f32; 2], colour: Colour) {
        self.solid(ring(x, z, y[0]), ring(x, z, y[1]), colour, colour);
    }

    /// A body between two rings, both against the clock as seen from above.
    pub(super) fn solid(&mut self, base: [Point; 4], top: [Point; 4], sides: Colour, roof: Colour) {
        for i in 0..4 {
            let j = (i + 1) % 4;
            let (along_x, along_z) = ((base[i][0] - base[j][0]).abs(), (base[i][2] - base[j][2]).abs());
            let brightness = if along_x > along_z { 0.92 } else { 0.75 };
            self.face(&[base[i], base[j], top[j], top[i]], sides, brightness);
        }
        self.face(&top, roof, 1.1);
    }

    /// An upright rectangle that always faces the camera: `right` and `up` are metres from `foot`.
    pub(super) fn card(&mut self, foot: Point, right: [f32; 2], up: [f32; 2], colour: Colour) {
        let corners = self.card_corners(foot, right, up);
        self.face(&corners, colour, 1.0);
    }

    /// An upright octagon that always faces the camera.
    pub(super) fn disc(&mut self, centre: Point, radius_m: f32, colour: Colour) {
        self.face(&self.octagon(centre, radius_m), colour, 1.0);
    }

    /// A disc that shines.
    pub(super) fn glow(&mut self, centre: Point, radius_m: f32, colour: Colour) {
        self.lamp(&self.octagon(centre, radius_m), colour);
    }

    fn card_corners(&self, foot: Point, right: [f32; 2], up: [f32; 2]) -> [Point; 4] {
        [(0, 0), (1, 0), (1, 1), (0, 1)].map(|(r, u)| self.camera.beside(foot, right[r], up[u]))
    }

    fn octagon(&self, centre: Point, radius_m: f32) -> [Point; 8] {
        let (long, short) = (radius_m, radius_m * 0.41);
        let corners = [
            (-short, -long),
            (short, -long),
            (long, -short),
            (long, short),
            (short, long),
            (-short, long),
            (-long, short),
            (-long, -short),
        ];
        corners.map(|(right, up)| self.camera.beside(centre, right, up))
    }
}

/// An upright box's corners at one height, against the clock as seen from above.
fn ring(x: [f32; 2], z: [f32; 2], y: f32) -> [Point; 4] {
    [[x[0], y, z[1]], [x[0], y, z[0]], [x[1], y, z[0]], [x[1], y, z[1]]]
}
