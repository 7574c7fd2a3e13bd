//! The picture while it is painted: pixels, and who owns each of them.
//!
//! Whoever paints last owns a pixel, so when all is painted from far to near, what an object still owns is
//! what can be seen of it.

use super::camera::Outline;
use crate::picture::Rect;

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// Owns what is no object.
pub(super) const NOBODY: u8 = 0;

/// Pixels and owners, both `width` x `height`.
pub(super) struct Canvas<'a> {
    width: usize,
    height: usize,
    pixels: &'a mut [u8],
    owners: &'a mut [u8],
    /// Everything painted since [`Canvas::begin`], also outside of the picture.
    reach: Rect,
    owner: u8,
}

/// What can be seen of an owner.
pub(super) struct Seen {
    pub(super) rect: Rect,
    pub(super) pixels: u32,
}

impl<'a> Canvas<'a> {
    /// A canvas on interleaved RGB `pixels` and one byte per pixel of `owners`.
    pub(super) fn new(width: usize, height: usize, pixels: &'a mut [u8], owners: &'a mut [u8]) -> Self {
        debug_assert!(pixels.len() == width * height * 3 && owners.len() == width * height);
        Self { width, height, pixels, owners, reach: NOWHERE, owner: NOBODY }
    }

    /// From here on, what is filled belongs to `owner`.
    pub(super) fn begin(&mut self, owner: u8) {
        self.owner = owner;
        self.reach = NOWHERE;
    }

    /// The box around everything filled since [`Canvas::begin`], whether seen or not; empty where there is nothing.
    pub(super) fn reach(&self) -> Rect {
        self.reach
    }

    /// Fills a convex outline.
    pub(super) fn fill(&mut self, outline: &Outline, colour: Colour) {
        let reach = &mut self.reach;
        for &[x, y] in outline.corners() {
            *reach =
                Rect { x0: reach.x0.min(x), y0: reach.y0.min(y), x1: reach.x1.max(x), y1: reach.y1.max(y) };
        }
        let owner = self.owner;
        self.each_run(outline, |pixels, owners| {
            pixels.as_chunks_mut::<3>().0.fill(colour);
            owners.fill(owner);
        });
    }

    /// Darkens a convex outline to `keep` / 256 and leaves its owners.
    pub(super) fn darken(&mut self, outline: &Outline, keep: u16) {
        self.each_run(outline, |pixels, _| {
            for p in pixels {
                *p = ((u16::from(*p) * keep) >> 8) as u8;
            }
        });
    }

    /// The part of a box that lies in the picture.
    pub(super) fn inside(&self, rect: Rect) -> Rect {
        let (width, height) = (self.width as f32, self.height as f32);
        Rect { x0: rect.x0.max(0.0), y0: rect.y0.max(0.0), x1: rect.x1.min(width), y1: rect.y1.min(height) }
    }

    /// What is left of `owner` inside of `reach`.
    pub(super) fn seen(&self, owner: u8, reach: Rect) -> Option<Seen> {
        let (left, right) = (clamp(reach.x0, self.width), clamp(reach.x1 + 1.0, self.width));
        let (top, bottom) = (clamp(reach.y0, self.height), clamp(reach.y1 + 1.0, self.height));
        let (mut x0, mut y0, mut x1, mut y1, mut pixels) = (usize::MAX, usize::MAX, 0, 0, 0);
        for y in top..bottom {
            let row = &self.owners[y * self.width + left..y * self.width + right];
            let Some(first) = row.iter().position(|&o| o == owner) else { continue };
            let last = row.iter().rposition(|&o| o == owner).unwrap_or(first);
            pixels += row[first..=last].iter().map(|&o| u32::from(o == owner)).sum::<u32>();
            (x0, x1) = (x0.min(left + first), x1.max(left + last + 1));
            (y0, y1) = (y0.min(y), y + 1);
        }
        let rect = Rect { x0: x0 as f32, y0: y0 as f32, x1: x1 as f32, y1: y1 as f32 };
        (pixels > 0).then_some(Seen { rect, pixels })
    }

    /// Calls `paint` with the pixels and owners of every run of pixels whose centres an outline covers.
    fn each_run(&mut self, outline: &Outline, mut paint: impl FnMut(&mut [u8], &mut [u8])) {
        let corners = outline.corners();
        let top = corners.iter().fold(f32::MAX, |least, c| least.min(c[1]));
        let bottom = corners.iter().fold(f32::MIN, |most, c| most.max(c[1]));
        for y in clamp(top + 0.5, self.height)..clamp(bottom + 0.5, self.height) {
            let (left, right) = span(corners, y as f32 + 0.5);
            let (first, end) = (clamp(left + 0.5, self.width), clamp(right + 0.5, self.width));
            if first < end {
                let (first, end) = (y * self.width + first, y * self.width + end);
                paint(&mut self.pixels[first * 3..end * 3], &mut self.owners[first..end]);
            }
        }
    }
}

const NOWHERE: Rect = Rect { x0: f32::MAX, y0: f32::MAX, x1: f32::MIN, y1: f32::MIN };

/// Rounds down into `0..=end`.
fn clamp(v: f32, end: usize) -> usize {
    (v.max(0.0) as usize).min(end)
}

/// Where a horizontal line enters and leaves a convex polygon.
fn span(corners: &[[f32; 2]], y: f32) -> (f32, f32) {
    let (mut left, mut right) = (f32::MAX, f32::MIN);
    let mut from = corners[corners.len() - 1];
    for &to in corners {
        if (from[1] <= y) != (to[1] <= y) {
            let x = from[0] + (y - from[1]) / (to[1] - from[1]) * (to[0] - from[0]);
            (left, right) = (left.min(x), right.max(x));
        }
        from = to;
    }
    (left, right)
}
