//! Where the camera stands and what it makes of the world: a pinhole above the road.
//!
//! The world is in metres, `[x, y, z]`: x to the right, y up from the ground, z ahead of the camera's foot.
//! The picture plane is upright (as with a shifted lens), so what is vertical in the world is vertical in the
//! picture. Only + - * / are used, so every machine computes the same pixels.

/// A place in the world.
pub(super) type Point = [f32; 3];

/// What lies nearer than this, in metres, is cut off.
const NEAR_M: f32 = 1.0;

/// The corners of a convex polygon in the picture, in pixels.
#[derive(Clone, Copy)]
pub(super) struct Outline {
    corners: [[f32; 2]; Outline::MAX],
    count: usize,
}

impl Outline {
    /// Cutting a polygon at one plane adds at most one corner.
    const MAX: usize = 9;

    pub(super) fn corners(&self) -> &[[f32; 2]] {
        &self.corners[..self.count]
    }

    /// Whether the corners run against the clock as seen: so do those of a face seen from its outside.
    pub(super) fn faces_us(&self) -> bool {
        let corners = self.corners();
        let doubled_area: f32 =
            (0..corners.len()).map(|i| cross(corners[i], corners[(i + 1) % corners.len()])).sum();
        doubled_area < 0.0
    }

    fn push(&mut self, corner: [f32; 2]) {
        self.corners[self.count] = corner;
        self.count += 1;
    }
}

/// A pinhole at `x_m`, `height_m`, z = 0.
#[derive(Clone)]
pub(super) struct Camera {
    pub(super) x_m: f32,
    pub(super) height_m: f32,
    /// Cosine and sine of the turn to the right.
    pub(super) turn: [f32; 2],
    pub(super) focal_px: f32,
    /// Where the horizon's middle lies in the picture.
    pub(super) centre_px: [f32; 2],
}

impl Camera {
    /// The turn whose half has this tangent: the cosine and sine without a library's, which differ.
    pub(super) fn turn(half_tangent: f32) -> [f32; 2] {
        let square = half_tangent * half_tangent;
        [(1.0 - square) / (1.0 + square), 2.0 * half_tangent / (1.0 + square)]
    }

    /// How far ahead of the picture plane, in metres.
    pub(super) fn depth_m(&self, p: Point) -> f32 {
        self.turn[1] * (p[0] - self.x_m) + self.turn[0] * p[2]
    }

    /// The point `right_m` to the right of another in the picture, and `up_m` above it, at the same depth.
    pub(super) fn beside(&self, p: Point, right_m: f32, up_m: f32) -> Point {
        [p[0] + self.turn[0] * right_m, p[1] + up_m, p[2] - self.turn[1] * right_m]
    }

    /// The outline of a convex polygon of at most 8 corners; empty where all of it is behind the camera.
    pub(super) fn outline(&self, polygon: &[Point]) -> Outline {
        debug_assert!(polygon.len() < Outline::MAX);
        let mut outline = Outline { corners: [[0.0; 2]; Outline::MAX], count: 0 };
        for (i, &from) in polygon.iter().enumerate() {
            let (from, to) = (self.eye(from), self.eye(polygon[(i + 1) % polygon.len()]));
            if from[2] >= NEAR_M {
                outline.push(self.project(from));
            }
            if (from[2] >= NEAR_M) != (to[2] >= NEAR_M) {
                let t = (NEAR_M - from[2]) / (to[2] - from[2]);
                let cut = [from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1]), NEAR_M];
                outline.push(self.project(cut));
            }
        }
        outline
    }

    /// Right, up and ahead as the camera sees them.
    fn eye(&self, p: Point) -> Point {
        let right = self.turn[0] * (p[0] - self.x_m) - self.turn[1] * p[2];
        [right, p[1] - self.height_m, self.depth_m(p)]
    }

    fn project(&self, eye: Point) -> [f32; 2] {
        let scale = self.focal_px / eye[2];
        [self.centre_px[0] + scale * eye[0], self.centre_px[1] - scale * eye[1]]
    }
}

fn cross(a: [f32; 2], b: [f32; 2]) -> f32 {
    a[0] * b[1] - b[0] * a[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> Camera {
        Camera { x_m: 1.0, height_m: 5.0, turn: Camera::turn(0.1), focal_px: 300.0, centre_px: [160.0, 40.0] }
    }

    #[test]
    fn ground_seen_from_above_faces_us_and_its_underside_does_not() {
        let above = [[-1.0, 0.0, 11.0], [-1.0, 0.0, 9.0], [1.0, 0.0, 9.0], [1.0, 0.0, 11.0]];
        assert!(camera().outline(&above).faces_us());
        let mut below = above;
        below.reverse();
        assert!(!camera().outline(&below).faces_us());
    }

    #[test]
    fn what_straddles_the_near_plane_is_cut_at_it_and_what_is_behind_vanishes() {
        let strip = [[-1.0, 0.0, 50.0], [-1.0, 0.0, -50.0], [1.0, 0.0, -50.0], [1.0, 0.0, 50.0]];
        let outline = camera().outline(&strip);
        assert_eq!(outline.corners().len(), 4);
        let nearest_px = 40.0 + 300.0 * 5.0 / NEAR_M;
        assert!(outline.corners().iter().all(|c| c[1] <= nearest_px + 0.1));
        assert!(camera().outline(&strip.map(|p| [p[0], p[1], -60.0])).corners().is_empty());
    }
}
