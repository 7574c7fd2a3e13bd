//! How bright a picture is, coarsely: what tells cheaply whether something has changed.
//!
//! Invariant: the work does not grow with the picture, except for a JPEG, which has to be decoded.

use jellybean_engine::Failure;
use serde::{Deserialize, Serialize};

use super::{RgbBuffer, check};
use crate::picture::{Format, Picture};

/// The cells of a row and of a column, of pictures that have as many pixels.
const GRID: [u32; 2] = [32, 18];
/// About how many pixels of a cell's side are looked at.
const LOOKS: u32 = 16;

/// The mean brightness of a picture's parts, in a grid of at most 32 x 18 cells; full range, 0 is black.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LumaGrid {
    columns: u32,
    rows: u32,
    #[serde(with = "serde_bytes")]
    cells: Vec<u8>,
}

impl LumaGrid {
    /// Of a picture. Of I420 only the luma plane is read.
    ///
    /// # Errors
    /// `bad_picture` where size and bytes do not fit together, or where a JPEG cannot be read.
    pub fn of(picture: &Picture) -> Result<Self, Failure> {
        check(picture)?;
        let width = picture.width as usize;
        Ok(match picture.format {
            // Limited range: 16 is black and 235 white.
            Format::I420 => Self::mean(picture, |x, y| {
                let luma = i32::from(picture.data[y * width + x]);
                ((luma - 16) * 255 / 219).clamp(0, 255) as u32
            }),
            Format::Rgb | Format::Jpeg => {
                let mut buffer = RgbBuffer::default();
                let rgb = buffer.read(picture)?;
                Self::mean(picture, |x, y| {
                    let at = 3 * (y * width + x);
                    let [r, g, b] = [rgb[at], rgb[at + 1], rgb[at + 2]].map(u32::from);
                    // BT.601, in thousandths.
                    (299 * r + 587 * g + 114 * b) / 1_000
                })
            }
        })
    }

    /// The share of cells, in 0..=1, that differ by more than so many levels of 255; all of them where the
    /// pictures' sizes give other grids.
    #[must_use]
    pub fn difference(&self, other: &Self, levels: u8) -> f32 {
        if (self.columns, self.rows) != (other.columns, other.rows) {
            return 1.0;
        }
        let differ = self.cells.iter().zip(&other.cells).filter(|(a, b)| a.abs_diff(**b) > levels).count();
        differ as f32 / self.cells.len() as f32
    }

    fn mean(picture: &Picture, luma: impl Fn(usize, usize) -> u32) -> Self {
        let (columns, rows) = (GRID[0].min(picture.width), GRID[1].min(picture.height));
        let mut cells = Vec::with_capacity((columns * rows) as usize);
        for row in 0..rows {
            let ys = part(row, rows, picture.height);
            for column in 0..columns {
                let (mut sum, mut looks) = (0, 0);
                for y in ys.clone() {
                    for x in part(column, columns, picture.width) {
                        sum += luma(x, y);
                        looks += 1;
                    }
                }
                cells.push((sum / looks) as u8);
            }
        }
        Self { columns, rows, cells }
    }
}

/// The pixels of a side that belong to a part and are looked at: all of a small part, never none.
fn part(number: u32, parts: u32, side: u32) -> impl Iterator<Item = usize> + Clone {
    let [from, to] = [number, number + 1].map(|n| (n * side / parts) as usize);
    let apart = 1 + (side / parts / LOOKS) as usize;
    (from..to).step_by(apart)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, format: Format, byte: impl Fn(usize) -> u8) -> Picture {
        let bytes = format.bytes(width, height).unwrap();
        Picture { width, height, format, data: (0..bytes).map(byte).collect::<Vec<u8>>().into() }
    }

    #[test]
    fn the_same_scene_is_as_bright_in_every_format() {
        for level in [0_u8, 60, 128, 200, 255] {
            let limited = (u32::from(level) * 219 / 255 + 16) as u8;
            let i420 = picture(640, 361, Format::I420, |at| if at < 640 * 361 { limited } else { 128 });
            let rgb = picture(640, 361, Format::Rgb, |_| level);
            let (i420, rgb) = (LumaGrid::of(&i420).unwrap(), LumaGrid::of(&rgb).unwrap());
            assert_eq!(i420.difference(&rgb, 2), 0.0, "{level}: {i420:?} {rgb:?}");
        }
    }

    #[test]
    fn a_cell_is_the_mean_of_its_pixels() {
        // The dull twin: every pixel, in floats. Small enough that every pixel is looked at.
        for (width, height) in [(64, 36), (63, 35), (33, 19), (32, 18), (5, 3), (1, 1), (200, 7)] {
            let rgb = picture(width, height, Format::Rgb, |at| (at * at % 251) as u8);
            let grid = LumaGrid::of(&rgb).unwrap();
            for (i, cell) in grid.cells.iter().enumerate() {
                let (column, row) = (i as u32 % grid.columns, i as u32 / grid.columns);
                let is_in = |at: u32, of: u32, parts: u32, side: u32| {
                    (of * side / parts..(of + 1) * side / parts).contains(&at)
                };
                let (mut sum, mut n) = (0.0, 0.0);
                for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                    if is_in(x, column, grid.columns, width) && is_in(y, row, grid.rows, height) {
                        let at = 3 * (y * width + x) as usize;
                        let [r, g, b] = [0, 1, 2].map(|c| f64::from(rgb.data[at + c]));
                        sum += 0.299 * r + 0.587 * g + 0.114 * b;
                        n += 1.0;
                    }
                }
                assert!((f64::from(*cell) - sum / n).abs() <= 2.0, "{width} x {height}, cell {i}");
            }
        }
    }

    #[test]
    fn a_change_counts_where_it_is() {
        let grey = picture(320, 180, Format::I420, |_| 120);
        let spot = picture(320, 180, Format::I420, |at| if at < 320 * 10 { 220 } else { 120 });
        let (grey, spot) = (LumaGrid::of(&grey).unwrap(), LumaGrid::of(&spot).unwrap());
        assert_eq!(grey.difference(&spot, 10), 1.0 / 18.0);
        assert_eq!(grey.difference(&spot, 200), 0.0);
        let small = LumaGrid::of(&picture(16, 9, Format::I420, |_| 120)).unwrap();
        assert_eq!(grey.difference(&small, 10), 1.0);
    }

    #[test]
    fn error_bad_pictures_are_refused() {
        for (width, height) in [(0, 0), (4, 4), (u32::MAX, u32::MAX)] {
            let bad = Picture { width, height, format: Format::I420, data: [1, 2, 3].into() };
            assert_eq!(LumaGrid::of(&bad).unwrap_err().reason.as_str(), "bad_picture");
        }
    }
}
