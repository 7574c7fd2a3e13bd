//! Parts of a camera's view, by name: a door, a crossing, the left lane.
//!
//! Corners are in shares of the frame's width and height, so that a zone fits every resolution of its camera.

use std::str::FromStr;
use std::sync::Arc;

use jellybean_engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::picture::{Picture, Rect};

/// The most corners of a zone.
const CORNERS_MAX: usize = 256;

/// A polygon in a camera's view.
///
/// ```
/// use jellybean_operators::zone::Zone;
/// let left: Zone = "left=0,0 0.5,0 0.5,1 0,1".parse()?;
/// assert_eq!(&**left.name(), "left");
/// assert!(left.contains(0.25, 0.5) && !left.contains(0.75, 0.5));
/// # Ok::<(), jellybean_operators::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    name: Arc<str>,
    corners: Vec<(f32, f32)>,
}

impl Zone {
    /// A polygon of at least three corners `(x, y)`, each in 0..=1; its last corner is joined with the first.
    ///
    /// # Errors
    /// `Invalid` without a name, or with corners that are too few, too many or outside the view.
    pub fn new(name: &str, corners: impl IntoIterator<Item = (f32, f32)>) -> Result<Self> {
        let wrong = |what: String| {
            Error::new(ErrorKind::Invalid, format!("zone \"{name}\": {what}"))
                .way_out("a zone is a name and three or more corners: door=0.1,0.2 0.5,0.2 0.5,0.9")
        };
        if name.is_empty() {
            return Err(wrong("it has no name".to_owned()));
        }
        let corners: Vec<_> = corners.into_iter().take(CORNERS_MAX + 1).collect();
        if !(3..=CORNERS_MAX).contains(&corners.len()) {
            return Err(wrong(format!("{} corners instead of 3 to {CORNERS_MAX}", corners.len())));
        }
        let view = 0.0..=1.0;
        if let Some((x, y)) = corners.iter().find(|(x, y)| !view.contains(x) || !view.contains(y)) {
            return Err(wrong(format!("the corner {x},{y} is outside of 0 to 1")));
        }
        Ok(Self { name: name.into(), corners })
    }

    /// The whole view.
    #[must_use]
    pub fn whole(name: &str) -> Self {
        Self { name: name.into(), corners: vec![(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)] }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether a point lies inside: whether a ray from it crosses the border an odd number of times. Left and
    /// upper borders belong to the zone, right and lower ones do not.
    #[must_use]
    pub fn contains(&self, x: f32, y: f32) -> bool {
        let mut previous = self.corners[self.corners.len() - 1];
        let mut inside = false;
        for &(cx, cy) in &self.corners {
            let (px, py) = previous;
            // The side reaches across the point's height, and lies to the right of it there.
            if (cy > y) != (py > y) && x < (px - cx) * (y - cy) / (py - cy) + cx {
                inside = !inside;
            }
            previous = (cx, cy);
        }
        inside
    }

    /// Whether something stands in it: whether the middle of its box's lower side does.
    #[must_use]
    pub fn holds(&self, rect: &Rect, picture: &Picture) -> bool {
        // What stands on the lower edge of the view stands in it.
        let share = |value: f32, side: u32| (value / side.max(1) as f32).clamp(0.0, 1.0 - f32::EPSILON);
        self.contains(share(f32::midpoint(rect.x0, rect.x1), picture.width), share(rect.y1, picture.height))
    }
}

/// `name=x,y x,y x,y …`
impl FromStr for Zone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unreadable = || {
            Error::new(ErrorKind::Invalid, format!("\"{text}\" is no zone"))
                .way_out("a zone is a name and three or more corners: door=0.1,0.2 0.5,0.2 0.5,0.9")
        };
        let (name, corners) = text.split_once('=').ok_or_else(unreadable)?;
        let corner = |text: &str| {
            let (x, y) = text.split_once(',')?;
            Some((x.parse().ok()?, y.parse().ok()?))
        };
        let corners: Option<Vec<_>> = corners.split_whitespace().map(corner).collect();
        Self::new(name, corners.ok_or_else(unreadable)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;
    use crate::picture::Format;

    /// By the angle under which the border is seen: once around from inside, nothing from outside.
    fn twin(zone: &Zone, x: f32, y: f32) -> bool {
        let n = zone.corners.len();
        let angle = |i: usize| {
            let ((ax, ay), (bx, by)) = (zone.corners[i], zone.corners[(i + 1) % n]);
            let [ax, ay, bx, by] = [ax - x, ay - y, bx - x, by - y].map(f64::from);
            (ax * by - ay * bx).atan2(ax * bx + ay * by)
        };
        (0..n).map(angle).sum::<f64>().abs() > std::f64::consts::PI
    }

    #[test]
    fn equals_its_twin() {
        let mut noise = Noise(3);
        for _ in 0..200 {
            // A star around the middle has no border that crosses itself, where the two would differ.
            let n = 3 + noise.below(9);
            let mut turns: Vec<f32> = (0..n).map(|i| (i as f32 + noise.unit()) / n as f32).collect();
            turns.sort_by(f32::total_cmp);
            let corners = turns.iter().map(|turn| {
                let (radius, angle) = (0.05 + 0.45 * noise.unit(), turn * std::f32::consts::TAU);
                (0.5 + radius * angle.cos(), 0.5 + radius * angle.sin())
            });
            let zone = Zone::new("star", corners.collect::<Vec<_>>()).unwrap();
            for _ in 0..50 {
                let (x, y) = (noise.unit(), noise.unit());
                assert_eq!(zone.contains(x, y), twin(&zone, x, y), "{zone:?} at {x},{y}");
            }
        }
    }

    #[test]
    fn zones_beside_each_other_share_no_point() {
        let [left, right]: [Zone; 2] =
            ["l=0,0 0.5,0 0.5,1 0,1", "r=0.5,0 1,0 1,1 0.5,1"].map(|text| text.parse().unwrap());
        for x in [0.0, 0.25, 0.5, 0.75] {
            assert!(left.contains(x, 0.5) != right.contains(x, 0.5), "at {x}");
        }
    }

    #[test]
    fn things_stand_where_their_box_ends_below() {
        let picture = Picture { width: 100, height: 50, format: Format::Jpeg, data: [].into() };
        let lower: Zone = "lower=0,0.5 1,0.5 1,1 0,1".parse().unwrap();
        let standing = |y0, y1| lower.holds(&Rect { x0: 40.0, y0, x1: 60.0, y1 }, &picture);
        assert!(standing(0.0, 30.0) && standing(40.0, 50.0) && !standing(0.0, 20.0));
        assert!(Zone::whole("all").holds(&Rect { x0: 90.0, y0: 0.0, x1: 110.0, y1: 50.0 }, &picture));
    }

    #[test]
    fn error_what_is_no_zone() {
        for text in [
            "door",
            "door=",
            "=0,0 1,0 1,1",
            "door=0,0 1,0",
            "door=0,0 1,0 1,2",
            "door=0,0 1,0 1,x",
            "d=0,0 1,0 NaN,1",
        ] {
            let error = text.parse::<Zone>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
            assert!(error.to_string().contains("door=0.1,0.2"), "{error}");
        }
    }
}
