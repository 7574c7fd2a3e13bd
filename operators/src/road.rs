//! A road junction as a fixed camera would see it, with the truth about everything in it: the camera of the demo,
//! of the tests and of the benchmarks, and the teacher of the committed road detector.
//!
//! A frame is a pure function of the scene's seed and the frame's number, the same to the byte on every machine:
//! randomness is integer, geometry is + - * / in a fixed order, and nothing is carried from frame to frame.
//!
//! ```
//! use jellybean_operators::road::{HEIGHT, Scene, WIDTH};
//!
//! let scene = Scene::new(7);
//! let (picture, truth) = scene.render(250);
//! assert_eq!((picture.width, picture.height), (WIDTH, HEIGHT));
//! for object in &truth {
//!     println!("{} {} at {:?}", object.class.name(), object.id, object.rect);
//! }
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::picture::{Format, Picture, Rect};
use crate::{Error, ErrorKind, Result};
use brush::{Brush, Light};
use camera::Camera;
use canvas::{Canvas, Colour};
use film::Grain;
use junction::Junction;
use posts::Post;
use random::Random;
use traffic::{Mover, Traffic};

mod brush;
mod camera;
mod canvas;
mod figures;
mod film;
mod junction;
mod posts;
mod random;
mod scenery;
mod traffic;

/// The width of a scene's picture at scale 1, in pixels.
pub const WIDTH: u32 = 320;
/// The height of a scene's picture at scale 1, in pixels.
pub const HEIGHT: u32 = 192;
/// The rate at which a scene moves.
pub const FRAMES_PER_SECOND: u64 = 25;
/// The largest scale of [`Scene::with_scale`]: 2560 x 1536 pixels.
pub const SCALE_MAX: u32 = 8;

/// What is told apart in a scene, in the order of the road detector's classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// A passenger car.
    Car,
    /// A cab with a box behind.
    Truck,
    /// A bus.
    Bus,
    /// Somebody on foot.
    Person,
}

impl Class {
    /// All of them, in the detector's order.
    pub const ALL: [Self; 4] = [Self::Car, Self::Truck, Self::Bus, Self::Person];

    /// The name that the road detector's manifest and its detections use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Car => "car",
            Self::Truck => "truck",
            Self::Bus => "bus",
            Self::Person => "person",
        }
    }

    /// The width and height at scale 1 below which it is nearly invisible and no truth.
    fn seen_least_px(self) -> [f32; 2] {
        if self == Self::Person { [5.0, 11.0] } else { [9.0, 7.0] }
    }
}

/// An object of a frame as it truly is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The object's identity: constant while it lives, unique in its scene.
    pub id: u64,
    /// What it is.
    pub class: Class,
    /// The box around what can be seen of it, inside of the picture, in pixels.
    pub rect: Rect,
}

/// One camera over one junction: where it stands, its light and its traffic all follow from the seed.
///
/// Rendering changes nothing, so threads may share a scene; clones share its background.
#[derive(Clone)]
pub struct Scene {
    scale: u32,
    seed: u64,
    camera: Camera,
    traffic: Traffic,
    posts: Arc<[Post]>,
    background: Arc<[u8]>,
    sky: Sky,
    grain: Arc<Grain>,
    /// How often the lens softens a frame.
    softness: u32,
}

/// How the light of a scene goes from day to dusk and back.
#[derive(Clone)]
struct Sky {
    haze: Colour,
    /// How bright the camera takes the scene.
    exposure: f32,
    /// Where in the day frame 0 lies, in frames.
    start: u64,
}

/// From a day to the next, in frames: five minutes.
const DAY: u64 = 300 * FRAMES_PER_SECOND;
/// The light's red, green and blue at noon, sunset and dusk.
const LIGHTS: [[f32; 3]; 3] = [[1.0, 1.0, 1.0], [0.86, 0.72, 0.62], [0.40, 0.44, 0.56]];
/// From here towards dusk, in 0..=1, lamps are lit.
const DARK_FROM: f32 = 0.6;

/// Less than this of an object's box in the picture is nearly invisible and no truth.
const SEEN_LEAST: f32 = 0.3;

impl Scene {
    /// The scene of a seed at [`WIDTH`] x [`HEIGHT`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::build(seed, 1)
    }

    /// The same scene as [`Scene::new`]'s, `scale` times as wide and as high.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where `scale` is not in 1..=[`SCALE_MAX`].
    pub fn with_scale(seed: u64, scale: u32) -> Result<Self> {
        if !(1..=SCALE_MAX).contains(&scale) {
            let message = format!("a road scene cannot be rendered at scale {scale}");
            return Err(Error::new(ErrorKind::Invalid, message).way_out(format!("use 1 to {SCALE_MAX}")));
        }
        Ok(Self::build(seed, scale))
    }

    /// The picture's width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        WIDTH * self.scale
    }

    /// The picture's height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        HEIGHT * self.scale
    }

    /// The frame of a number, in RGB, and what is in it, from far to near. Any number may be asked for at any time.
    #[must_use]
    pub fn render(&self, number: u64) -> (Picture, Vec<Truth>) {
        let (width, height) = (self.width() as usize, self.height() as usize);
        let mut data: Arc<[u8]> = Arc::from(&self.background[..]);
        let pixels = Arc::get_mut(&mut data).expect("nobody else has seen the new pixels");
        let mut owners = vec![canvas::NOBODY; width * height];
        let light = self.sky.light(number);
        film::dim(pixels, light.gain);

        let mut canvas = Canvas::new(width, height, pixels, &mut owners);
        let mut brush = Brush { camera: &self.camera, canvas: &mut canvas, light };
        let truth = self.paint(&mut brush, self.traffic.moment(number));

        for _ in 0..self.softness {
            film::soften(pixels, width);
        }
        self.grain.sprinkle(pixels, width, &mut Random::new(self.seed, number));
        let picture = Picture { width: self.width(), height: self.height(), format: Format::Rgb, data };
        (picture, truth)
    }

    fn build(seed: u64, scale: u32) -> Self {
        let [mut plan, mut paint, mut film] = [0, 1, 2].map(|part| Random::new(seed, u64::MAX - part));
        let (camera, junction) = viewpoint(&mut plan, scale as f32);
        let traffic = Traffic::new(&mut plan, &junction);
        let posts = posts::draw(&mut plan, &junction).into();
        let size = [WIDTH, HEIGHT].map(|side| (side * scale) as usize);
        let (background, haze) = scenery::background(&mut paint, &camera, &junction, size);
        let sky = Sky { haze, exposure: film.range(0.82, 1.0), start: film.below(DAY) };
        let softness = film.below(3) as u32;
        let deviation = film.range(1.5, 7.0);
        let grain = Arc::new(Grain::new(&mut film, deviation));
        let background = background.into();
        Self { scale, seed, camera, traffic, posts, background, sky, grain, softness }
    }

    /// Paints whoever is there, and the posts, from far to near; says what can be seen of each.
    fn paint(&self, brush: &mut Brush<'_, '_>, moment: u64) -> Vec<Truth> {
        let mut movers = self.traffic.movers(moment);
        movers.sort_by(|a, b| self.depth_m(b).total_cmp(&self.depth_m(a)));
        let crowd = movers.len().saturating_sub(usize::from(u8::MAX));
        movers.drain(..crowd);
        for mover in &movers {
            figures::shadow(brush, mover);
        }
        let mut posts: Vec<_> = self.posts.iter().map(|p| (self.post_depth_m(p), p)).collect();
        posts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut reaches = Vec::with_capacity(movers.len());
        for (owner, mover) in (1..=u8::MAX).zip(&movers) {
            while let Some((_, post)) = posts.pop_if(|(depth_m, _)| *depth_m > self.depth_m(mover)) {
                brush.canvas.begin(canvas::NOBODY);
                post.paint(brush, moment);
            }
            brush.canvas.begin(owner);
            figures::paint(brush, mover);
            reaches.push(brush.canvas.reach());
        }
        brush.canvas.begin(canvas::NOBODY);
        while let Some((_, post)) = posts.pop() {
            post.paint(brush, moment);
        }
        let seen = (1..=u8::MAX).zip(movers.iter().zip(reaches));
        seen.filter_map(|(owner, (mover, reach))| self.truth(brush.canvas, owner, mover, reach)).collect()
    }

    /// What can be seen of an object, unless that is next to nothing.
    fn truth(&self, canvas: &Canvas<'_>, owner: u8, mover: &Mover, reach: Rect) -> Option<Truth> {
        let seen = canvas.seen(owner, reach)?;
        let rect = seen.rect;
        let [width, height] = mover.class.seen_least_px().map(|side| side * self.scale as f32);
        let enough = seen.pixels as f32 >= SEEN_LEAST * canvas.inside(reach).area()
            && rect.x1 - rect.x0 >= width
            && rect.y1 - rect.y0 >= height;
        enough.then_some(Truth { id: mover.id, class: mover.class, rect })
    }

    /// How far away the nearer end of somebody is.
    fn depth_m(&self, mover: &Mover) -> f32 {
        let [x, z] = mover.front_m;
        let back = [x - mover.heading[0] * mover.length_m, 0.0, z - mover.heading[1] * mover.length_m];
        self.camera.depth_m([x, 0.0, z]).min(self.camera.depth_m(back))
    }

    fn post_depth_m(&self, post: &Post) -> f32 {
        self.camera.depth_m([post.foot_m[0], 0.0, post.foot_m[1]])
    }
}

impl Sky {
    fn light(&self, number: u64) -> Light {
        let hour = (number % DAY + self.start) % DAY;
        let noon = hour as f32 / (DAY / 2) as f32 - 1.0;
        let dusk = 1.0 - noon.abs();
        let place = dusk * (LIGHTS.len() - 1) as f32;
        let before = (place as usize).min(LIGHTS.len() - 2);
        let part = place - before as f32;
        let gain = std::array::from_fn(|i| {
            let [from, to] = [LIGHTS[before][i], LIGHTS[before + 1][i]];
            ((from + (to - from) * part) * self.exposure * 256.0) as u16
        });
        Light { gain, haze: self.haze, dark: dusk > DARK_FROM }
    }
}

/// Where the camera stands, and the junction before it.
fn viewpoint(random: &mut Random, scale: f32) -> (Camera, Junction) {
    let (focal, height_m) = (random.range(250.0, 320.0), random.range(4.6, 7.2));
    let horizon = random.range(18.0, 54.0);
    let nearest_m = focal * height_m / (HEIGHT as f32 - horizon);
    let junction = Junction::draw(random, nearest_m);
    let turn = Camera::turn(random.range(-0.13, 0.13));
    let verge_m = junction.main_half_m + 2.5;
    let opposite_m = -turn[1] / turn[0] * junction.cross_z_m * 0.75;
    let x_m = (opposite_m + random.range(-2.5, 2.5)).clamp(-verge_m, verge_m);
    let middle = WIDTH as f32 / 2.0 + random.range(-20.0, 20.0);
    let centre_px = [middle * scale, horizon * scale];
    (Camera { x_m, height_m, turn, focal_px: focal * scale, centre_px }, junction)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_on_every_machine() {
        let (picture, truth) = Scene::new(1).render(1_000);
        let digest: String = Sha256::digest(&picture.data).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, "5db5bfbe4a64e7cc86d0f081ef29ec9fbe96f9ffa17ada316e9a09822ad83b9f");
        assert!(truth.len() > 2, "{truth:?}");
        assert_eq!(Scene::new(1).render(1_000), (picture, truth));
    }

    #[test]
    fn frames_do_not_depend_on_the_order_in_which_they_are_asked_for() {
        let scene = Scene::new(5);
        let forward: Vec<_> = (0..4).map(|n| scene.render(n * 40)).collect();
        let mut backward: Vec<_> = (0..4).rev().map(|n| scene.render(n * 40)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
    }

    #[test]
    fn boxes_lie_inside_of_the_picture_and_are_not_empty() {
        for seed in 0..20 {
            for truth in Scene::new(seed).render(seed * 977).1 {
                let Rect { x0, y0, x1, y1 } = truth.rect;
                assert!(x0 >= 0.0 && y0 >= 0.0 && x1 <= WIDTH as f32 && y1 <= HEIGHT as f32, "{truth:?}");
                assert!(x0 < x1 && y0 < y1, "{truth:?}");
            }
        }
    }

    #[test]
    fn an_identity_keeps_its_class_moves_smoothly_and_is_one_of_a_kind() {
        let scene = Scene::new(3);
        let mut before: HashMap<u64, Truth> = HashMap::new();
        let (mut kept, mut seen) = (0, 0);
        for number in 500..560 {
            let truth = scene.render(number).1;
            let now: HashMap<u64, Truth> = truth.iter().map(|t| (t.id, *t)).collect();
            assert_eq!(now.len(), truth.len(), "an identity twice in frame {number}");
            for (id, was) in &before {
                let Some(is) = now.get(id) else { continue };
                assert_eq!(is.class, was.class);
                let travel = (is.rect.y1 - was.rect.y1).abs();
                assert!(travel < 24.0, "{was:?} jumped to {is:?}");
                kept += 1;
            }
            seen += before.len();
            before = now;
        }
        assert!(kept * 100 > seen * 90, "only {kept} of {seen} live on from a frame to the next");
    }

    #[test]
    fn a_scale_enlarges_the_scene_and_a_foolish_one_is_refused() {
        let (small, large) = (Scene::new(9).render(77).1, Scene::with_scale(9, 2).unwrap().render(77).1);
        let large: HashMap<u64, Truth> = large.iter().map(|t| (t.id, *t)).collect();
        for truth in small.iter().filter(|t| t.rect.area() > 400.0) {
            let twin = large[&truth.id].rect;
            let half = Rect { x0: twin.x0 / 2.0, y0: twin.y0 / 2.0, x1: twin.x1 / 2.0, y1: twin.y1 / 2.0 };
            assert!(half.iou(&truth.rect) > 0.7, "{truth:?} {half:?}");
        }
        for scale in [0, SCALE_MAX + 1] {
            assert_eq!(Scene::with_scale(9, scale).err().unwrap().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn every_frame_number_there_is_can_be_rendered() {
        let scene = Scene::new(2);
        for number in [0, 1, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
            assert_eq!(scene.render(number).0.data.len(), (WIDTH * HEIGHT * 3) as usize);
        }
    }
}
