//! Boxes and labels on pictures.
//!
//! Invariant: everything is clipped to the picture; no box, number or text makes it panic.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use crate::picture::Rect;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// How much of a text is drawn, in characters.
const TEXT_MAX: usize = 64;

/// Far apart from each other, and visible on asphalt, grass and sky.
const PALETTE: [Colour; 12] = [
    [0, 150, 136],
    [255, 145, 0],
    [41, 121, 255],
    [255, 64, 129],
    [0, 229, 255],
    [255, 255, 255],
    [213, 0, 249],
    [255, 61, 0],
    [174, 234, 0],
    [188, 170, 255],
    [0, 200, 83],
    [255, 234, 0],
];

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("draw/DejaVuSans-ascii.ttf"))
        .expect("it is a font: a test draws with it")
});

/// The colour of a class: the same in every picture.
#[must_use]
pub fn class_colour(class: &str) -> Colour {
    // FNV-1a; the shift is one after which the usual road users differ.
    let hash = class.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    PALETTE[(hash >> 10) as usize % PALETTE.len()]
}

/// RGB pixels that are drawn on.
#[derive(Debug)]
pub struct Canvas<'a> {
    pixels: &'a mut [u8],
    width: u32,
    height: u32,
}

impl<'a> Canvas<'a> {
    /// Draws on `pixels`, interleaved 8-bit RGB; `None` unless there are `width` x `height` of them.
    #[must_use]
    pub fn new(pixels: &'a mut [u8], width: u32, height: u32) -> Option<Self> {
        let bytes = 3 * u128::from(width) * u128::from(height);
        (pixels.len() as u128 == bytes).then_some(Self { pixels, width, height })
    }

    /// Draws boxes and their labels, the most important last, in sizes that suit the picture: lines of 3 pixels
    /// at 720p. Labels stand beside each other: the most important one has the first choice of a place at its
    /// box, and one that finds none that is free is left out.
    pub fn annotate(&mut self, marks: &[(Rect, &str, Colour)]) {
        let scale = self.height.min(self.width) as f32 / 720.0;
        let (thickness, height) = ((3.0 * scale).round().max(1.0) as u32, (20.0 * scale).max(11.0));
        for (rect, _, colour) in marks {
            self.outline(rect, thickness, *colour);
        }
        let mut taken = Taken::new(self.width, self.height);
        for (rect, text, colour) in marks.iter().rev() {
            let label = Label::new(text, height);
            let free =
                label.places(rect, (self.width, self.height)).into_iter().find(|at| taken.is_free(*at));
            if let Some(at) = free {
                taken.take(at);
                self.write(label, at, *colour);
            }
        }
    }

    /// Draws the four sides of a box, inwards from its edge.
    pub fn outline(&mut self, rect: &Rect, thickness: u32, colour: Colour) {
        let [x0, y0, x1, y1] = [rect.x0, rect.y0, rect.x1, rect.y1].map(pixel);
        let t = i64::from(thickness);
        self.fill([x0, y0, x1, y1.min(y0 + t)], colour);
        self.fill([x0, y0.max(y1 - t), x1, y1], colour);
        self.fill([x0, y0, x1.min(x0 + t), y1], colour);
        self.fill([x0.max(x1 - t), y0, x1, y1], colour);
    }

    /// Writes a text of `height` pixels on a ground of `colour`: above the box where there is room, else
    /// inside it, and always within the picture as far as it fits.
    pub fn label(&mut self, rect: &Rect, text: &str, height: f32, colour: Colour) {
        let label = Label::new(text, height);
        let [at, ..] = label.places(rect, (self.width, self.height));
        self.write(label, at, colour);
    }

    fn write(&mut self, label: Label, at: [i64; 4], colour: Colour) {
        self.fill(at, colour);
        let ink = contrast(colour);
        for mut glyph in label.glyphs {
            glyph.position += point(at[0] as f32 + label.pad, at[1] as f32 + label.pad / 2.0);
            self.stamp(glyph, ink);
        }
    }

    /// Fills a box `[x0, y0, x1, y1]`, right and bottom exclusive.
    fn fill(&mut self, [x0, y0, x1, y1]: [i64; 4], colour: Colour) {
        let columns = clip(x0, x1, self.width);
        for y in clip(y0, y1, self.height) {
            let row = y * self.width as usize;
            let bytes = 3 * (row + columns.start)..3 * (row + columns.end);
            self.pixels[bytes].chunks_exact_mut(3).for_each(|p| p.copy_from_slice(&colour));
        }
    }

    fn stamp(&mut self, glyph: Glyph, ink: Colour) {
        let Some(outlined) = FONT.outline_glyph(glyph) else { return };
        let corner = outlined.px_bounds().min;
        let (left, top) = (corner.x as i64, corner.y as i64);
        outlined.draw(|x, y, coverage| {
            let (x, y) = (left + i64::from(x), top + i64::from(y));
            if (0..i64::from(self.width)).contains(&x) && (0..i64::from(self.height)).contains(&y) {
                let at = 3 * (y as usize * self.width as usize + x as usize);
                let coverage = coverage.clamp(0.0, 1.0);
                for (old, new) in self.pixels[at..at + 3].iter_mut().zip(ink) {
                    *old = (f32::from(*old) * (1.0 - coverage) + f32::from(new) * coverage).round() as u8;
                }
            }
        });
    }
}

/// A text on its ground, at no place yet.
struct Label {
    glyphs: Vec<Glyph>,
    pad: f32,
    width: f32,
    height: f32,
}

impl Label {
    fn new(text: &str, height: f32) -> Self {
        let (glyphs, width) = set_out(text, height);
        let pad = (height / 6.0).ceil();
        Self { glyphs, pad, width: width + 2.0 * pad, height: height + pad }
    }

    /// Where it can stand at a box, the best first: above it, or inside where there is no room above; then
    /// around it; then a line or two further off.
    fn places(&self, rect: &Rect, (width, height): (u32, u32)) -> [[i64; 4]; 15] {
        let Rect { x0, y0, x1, y1 } = *rect;
        let (w, h) = (self.width, self.height);
        let first = if y0 - h >= 0.0 { (x0, y0 - h) } else { (x0, y0) };
        let around = [(x1 - w, y0 - h), (x0, y1), (x1 - w, y1), (x1, y0), (x0 - w, y0)];
        let inside = [(x0, y0), (x0, y1 - h)];
        let off = [
            (x1, y0 + h),
            (x0 - w, y0 + h),
            (x1, y1 - h),
            (x0, y0 - 2.0 * h),
            (x0, y1 + h),
            (x0, y0 - 3.0 * h),
            (x0, y1 + 2.0 * h),
        ];
        let mut places = [[0; 4]; 15];
        let all = std::iter::once(first).chain(around).chain(inside).chain(off);
        for (place, (x, y)) in places.iter_mut().zip(all) {
            let (x, y) = (within(x, width as f32 - w), within(y, height as f32 - h));
            *place = [x, y, x + w, y + h].map(pixel);
        }
        places
    }
}

/// Which parts of a picture have a label: in squares, so that asking costs as much as the label is large,
/// however many there are.
struct Taken {
    columns: usize,
    rows: usize,
    squares: Vec<bool>,
}

impl Taken {
    /// The side of a square in pixels: a third of the smallest label's height.
    const SIDE: usize = 4;

    fn new(width: u32, height: u32) -> Self {
        let [columns, rows] = [width, height].map(|side| (side as usize).div_ceil(Self::SIDE));
        Self { columns, rows, squares: vec![false; columns * rows] }
    }

    fn is_free(&self, at: [i64; 4]) -> bool {
        self.under(at).all(|square| !self.squares[square])
    }

    fn take(&mut self, at: [i64; 4]) {
        for square in self.under(at).collect::<Vec<_>>() {
            self.squares[square] = true;
        }
    }

    /// The squares whose middles are in a box.
    fn under(&self, [x0, y0, x1, y1]: [i64; 4]) -> impl Iterator<Item = usize> {
        let squares = |from: i64, to: i64, most: usize| {
            let square = |side: i64| ((side.max(0) as usize + Self::SIDE / 2) / Self::SIDE).min(most);
            square(from)..square(to)
        };
        let (columns, width) = (squares(x0, x1, self.columns), self.columns);
        squares(y0, y1, self.rows).flat_map(move |row| columns.clone().map(move |c| row * width + c))
    }
}

/// The glyphs of a text whose top left is the origin, and its width.
fn set_out(text: &str, height: f32) -> (Vec<Glyph>, f32) {
    let font = FONT.as_scaled(PxScale::from(height));
    let mut x = 0.0;
    let mut glyphs = Vec::new();
    for character in text.chars().take(TEXT_MAX) {
        let id = font.glyph_id(character);
        glyphs.push(id.with_scale_and_position(height, point(x, font.ascent())));
        x += font.h_advance(id);
    }
    (glyphs, x)
}

/// Black or white, whichever reads better on `ground`.
fn contrast(ground: Colour) -> Colour {
    let [r, g, b] = ground.map(u32::from);
    // The luma of BT.601, in thousandths.
    if 299 * r + 587 * g + 114 * b > 128_000 { [0; 3] } else { [255; 3] }
}

/// The nearest pixel edge. Not a number is 0, and what is far outside stays near enough to calculate with.
fn pixel(side: f32) -> i64 {
    side.round().clamp(-1e9, 1e9) as i64
}

/// `side`, but in 0..=most; 0 if there is nothing in between.
fn within(side: f32, most: f32) -> f32 {
    side.round().min(most.floor()).max(0.0)
}

fn clip(from: i64, to: i64, size: u32) -> std::ops::Range<usize> {
    let clamp = |side: i64| side.clamp(0, i64::from(size)) as usize;
    clamp(from)..clamp(to).max(clamp(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Colour = [255, 0, 0];

    /// What a drawing looks like: `#` where a pixel is no longer black.
    fn picture(width: u32, height: u32, draw: impl Fn(&mut Canvas<'_>)) -> Vec<String> {
        let mut pixels = vec![0; 3 * width as usize * height as usize];
        draw(&mut Canvas::new(&mut pixels, width, height).unwrap());
        let row = |row: &[u8]| row.chunks(3).map(|p| if p == [0; 3] { '.' } else { '#' }).collect();
        pixels.chunks(3 * width as usize).map(row).collect()
    }

    #[test]
    fn outlines_are_drawn_inwards_and_clipped() {
        let inside = Rect { x0: 1.0, y0: 1.0, x1: 6.0, y1: 4.0 };
        assert_eq!(
            picture(8, 5, |c| c.outline(&inside, 1, RED)),
            ["........", ".#####..", ".#...#..", ".#####..", "........"]
        );
        let over = Rect { x0: -2.0, y0: -3.0, x1: 3.0, y1: 3.0 };
        assert_eq!(picture(5, 4, |c| c.outline(&over, 1, RED)), ["..#..", "..#..", "###..", "....."]);
        let around = Rect { x0: -9.0, y0: -9.0, x1: 99.0, y1: 99.0 };
        assert_eq!(picture(2, 2, |c| c.outline(&around, 3, RED)), ["..", ".."]);
    }

    #[test]
    fn a_label_stands_above_its_box_or_inside() {
        let rect = |y0| Rect { x0: 4.0, y0, x1: 50.0, y1: y0 + 30.0 };
        let is_drawn = |rows: &[String]| rows.iter().map(|r| r.contains('#')).collect::<Vec<_>>();
        let above = is_drawn(&picture(80, 60, |c| c.label(&rect(20.0), "car", 12.0, RED)));
        assert!(above[7] && !above[20] && !above[4]);
        let inside = is_drawn(&picture(80, 60, |c| c.label(&rect(5.0), "car", 12.0, RED)));
        assert!(inside[5] && inside[15] && !inside[3]);
    }

    #[test]
    fn labels_stand_beside_each_other_or_are_left_out() {
        let marks: Vec<Rect> = (0..12)
            .map(|i| {
                let (x0, y0) = (60.0 + 3.0 * (i % 4) as f32, 60.0 + 5.0 * (i / 4) as f32);
                Rect { x0, y0, x1: x0 + 30.0, y1: y0 + 25.0 }
            })
            .collect();
        let (mut taken, mut placed) = (Taken::new(240, 180), Vec::new());
        for rect in &marks {
            let label = Label::new("car #12", 12.0);
            if let Some(at) = label.places(rect, (240, 180)).into_iter().find(|at| taken.is_free(*at)) {
                taken.take(at);
                placed.push(at);
            }
        }
        assert!(placed.len() > 5, "{} of {}", placed.len(), marks.len());
        for (i, [x0, y0, x1, y1]) in placed.iter().enumerate() {
            for [u0, v0, u1, v1] in &placed[..i] {
                // As exact as the squares are.
                let (w, h) = (x1.min(u1) - x0.max(u0), y1.min(v1) - y0.max(v0));
                assert!(w <= 4 || h <= 4, "{placed:?}");
            }
        }
    }

    #[test]
    fn ten_thousand_boxes_are_drawn() {
        let mut pixels = vec![0; 3 * 1280 * 720];
        let rect = |i: u32| {
            let (x0, y0) = ((i * 7919 % 1250) as f32, (i * 104_729 % 690) as f32);
            Rect { x0, y0, x1: x0 + 30.0, y1: y0 + 30.0 }
        };
        let marks: Vec<_> = (0..10_000).map(|i| (rect(i), "car 0.87", RED)).collect();
        Canvas::new(&mut pixels, 1280, 720).unwrap().annotate(&marks);
        // The most important one, the last, has its label where it belongs.
        let Rect { x0, y0, .. } = rect(9_999);
        assert_eq!(pixels[3 * ((y0 as usize - 20) * 1280 + x0 as usize + 1)], 255);
    }

    #[test]
    fn every_character_has_a_shape() {
        for character in ('!'..='~').chain(['ü', '車']) {
            let (mut glyphs, width) = set_out(&character.to_string(), 16.0);
            assert!(width > 0.0 && FONT.outline_glyph(glyphs.remove(0)).is_some(), "{character:?}");
        }
    }

    #[test]
    fn nothing_panics() {
        let sides =
            [f32::NAN, f32::NEG_INFINITY, -1e30, -3.0, -0.4, 0.0, 0.6, 2.0, 700.0, 1e30, f32::INFINITY];
        for (width, height) in [(0, 0), (1, 1), (1, 40), (40, 1), (33, 17)] {
            let mut pixels = vec![7; 3 * (width * height) as usize];
            let mut canvas = Canvas::new(&mut pixels, width, height).unwrap();
            for (x0, y0) in sides.iter().flat_map(|x| sides.map(|y| (*x, y))) {
                let far = [(y0, x0), (x0 + 1.0, y0 + 1.0), (5.0, 5.0)];
                let marks = far.map(|(x1, y1)| (Rect { x0, y0, x1, y1 }, "car 0.87", RED));
                canvas.annotate(&marks);
            }
            canvas.label(&Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 }, &"W\n\0ü".repeat(1_000), 900.0, RED);
        }
        assert!(Canvas::new(&mut [0; 5], 1, 2).is_none());
        assert!(Canvas::new(&mut [], u32::MAX, u32::MAX).is_none());
    }

    #[test]
    fn road_users_have_colours_of_their_own() {
        let mut colours = ["car", "bus", "truck", "person", "bicycle", "van"].map(class_colour).to_vec();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), 6);
    }
}
