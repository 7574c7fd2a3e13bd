//! Where a picture lies in a model's input, and the way back from there.

use super::{Resize, Shape};
use crate::picture::{Picture, Rect};

/// A picture's place in a model's input: resized, at the top left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    picture: (u32, u32),
    resized: (u32, u32),
}

impl Placed {
    pub(super) fn new(picture: &Picture, shape: &Shape) -> Self {
        let picture = (picture.width, picture.height);
        let resized = match shape.resize {
            Resize::Stretch => (shape.width, shape.height),
            Resize::Letterbox => letterbox(picture, (shape.width, shape.height)),
        };
        Self { picture, resized }
    }

    /// Width and height of the picture itself, in pixels.
    #[must_use]
    pub fn picture(&self) -> (u32, u32) {
        self.picture
    }

    /// Width and height of the part of the input that it covers, in pixels.
    #[must_use]
    pub fn resized(&self) -> (u32, u32) {
        self.resized
    }

    /// Whether the picture's size changes on the way.
    #[must_use]
    pub fn is_resized(&self) -> bool {
        self.picture != self.resized
    }

    /// A box in pixels of the input as a box in pixels of the picture, cut off at the picture's edges.
    #[must_use]
    pub fn to_picture(&self, rect: Rect) -> Rect {
        let (width, height) = (self.picture.0 as f32, self.picture.1 as f32);
        // Each axis has a ratio of its own, since the resized sides are rounded to whole pixels.
        let x = |value: f32| (value * (width / self.resized.0 as f32)).clamp(0.0, width);
        let y = |value: f32| (value * (height / self.resized.1 as f32)).clamp(0.0, height);
        Rect { x0: x(rect.x0), y0: y(rect.y0), x1: x(rect.x1), y1: y(rect.y1) }
    }
}

/// The largest size of a picture's proportions within `into`, rounded to the nearest pixel.
fn letterbox(picture: (u32, u32), into: (u32, u32)) -> (u32, u32) {
    let [w, h, into_w, into_h] = [picture.0, picture.1, into.0, into.1].map(u64::from);
    if w == 0 || h == 0 {
        return into;
    }
    // `side * numerator / denominator`, half a pixel rounds up; integers, since floats would round
    // one side of a picture that fits exactly to a pixel less than the input's.
    let scaled = |side: u64, numerator: u64, denominator: u64| {
        let nearest = (2 * side * numerator + denominator) / (2 * denominator);
        u32::try_from(nearest.max(1)).unwrap_or(u32::MAX)
    };
    if into_w * h <= into_h * w {
        (into.0, scaled(h, into_w, w).min(into.1))
    } else {
        (scaled(w, into_h, h).min(into.0), into.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letterbox_keeps_proportions_and_stays_inside() {
        for (picture, into, expected) in [
            ((320, 192), (320, 192), (320, 192)),
            ((1280, 720), (416, 416), (416, 234)),
            ((768, 576), (416, 416), (416, 312)),
            ((720, 1280), (416, 416), (234, 416)),
            ((1, 1), (320, 192), (192, 192)),
            ((16_384, 1), (320, 192), (320, 1)),
            ((1, 16_384), (320, 192), (1, 192)),
            ((641, 480), (320, 240), (320, 240)),
        ] {
            assert_eq!(letterbox(picture, into), expected, "{picture:?} into {into:?}");
        }
    }

    #[test]
    fn boxes_come_back_in_pixels_of_the_picture() {
        let placed = Placed { picture: (1280, 720), resized: (416, 234) };
        let whole = Rect { x0: 0.0, y0: 0.0, x1: 416.0, y1: 234.0 };
        assert_eq!(placed.to_picture(whole), Rect { x0: 0.0, y0: 0.0, x1: 1280.0, y1: 720.0 });
        let beyond = Rect { x0: -9.0, y0: 117.0, x1: 500.0, y1: f32::MAX };
        assert_eq!(placed.to_picture(beyond), Rect { x0: 0.0, y0: 360.0, x1: 1280.0, y1: 720.0 });
    }
}
