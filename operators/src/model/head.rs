//! Reading outputs: which ones a detector's head needs, of which shape, and what they say; and the
//! arithmetic of the other heads.
//!
//! Invariant: shapes are checked against the input before anything is indexed ([`Boxes::check_outputs`]);
//! the functions beneath are pure and rely on it.

mod center_face;
pub(super) mod ctc;
mod heat_map;
mod nanodet;
pub(super) mod scores;
mod text_map;
mod yolo;

use super::manifest::{Boxes, CellLayout, Yolo};
use super::nms::Candidate;
use super::session::Output;

/// What a head needs to know about the model's input and classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) classes: usize,
}

impl Boxes {
    /// The names and ranks of the outputs it reads, in the order in which it expects them.
    pub(super) fn outputs(&self) -> Vec<(&str, usize)> {
        match self {
            Self::HeatMap(head) => vec![(&head.heat, 4), (&head.ltrb, 4)],
            Self::Nanodet(head) => {
                head.classes_out.iter().chain(&head.boxes_out).map(|name| (name.as_str(), 3)).collect()
            }
            Self::Yolo(head) => vec![(&head.output, 3)],
            Self::CenterFace(head) => vec![(&head.heat, 4), (&head.scale, 4), (&head.offset, 4)],
            Self::TextMap(head) => vec![(&head.map, 4)],
        }
    }

    /// Overlap beyond which the worse of two boxes goes.
    pub(super) fn iou_max(&self) -> f32 {
        match self {
            Self::HeatMap(head) => head.iou_max,
            Self::Nanodet(head) => head.iou_max,
            Self::Yolo(head) => head.iou_max,
            Self::CenterFace(head) => head.iou_max,
            // Regions are apart; the boxes around them may touch.
            Self::TextMap(_) => 1.0,
        }
    }

    /// Whether outputs for `items` inputs have the shapes that [`Boxes::read`] indexes.
    pub(super) fn check_outputs(
        &self,
        outputs: &[Output<'_>],
        items: usize,
        sizes: Sizes,
    ) -> Result<(), String> {
        outputs
            .iter()
            .zip(self.shapes(items, sizes))
            .try_for_each(|(output, shape)| has_shape(output, &shape))
    }

    /// Adds what one item's outputs say; `false`, with nothing added, if they are not all finite.
    pub(super) fn read(
        &self,
        outputs: &[Output<'_>],
        item: usize,
        sizes: Sizes,
        found: &mut Vec<Candidate>,
    ) -> bool {
        let slices: Vec<&[f32]> = outputs.iter().map(|output| output.item(item)).collect();
        if !slices.iter().all(|slice| is_finite(slice)) {
            return false;
        }
        match self {
            Self::HeatMap(head) => {
                let columns = sizes.width.div_ceil(head.stride as usize);
                let grid = heat_map::Grid { columns, stride: head.stride as f32, score_min: head.score_min };
                heat_map::read(slices[0], slices[1], grid, found);
            }
            Self::Nanodet(head) => {
                let (scores, boxes) = slices.split_at(head.strides.len());
                nanodet::read_levels(scores, boxes, head, sizes, found);
            }
            Self::Yolo(head) => {
                let Yolo { objectness, score_min, .. } = *head;
                let cell = yolo::Cell { classes: sizes.classes, objectness, score_min };
                match head.layout {
                    CellLayout::Rows => yolo::read_rows(slices[0], cell, found),
                    CellLayout::Columns => yolo::read_columns(slices[0], cell, found),
                }
            }
            Self::CenterFace(head) => {
                let columns = sizes.width.div_ceil(head.stride as usize);
                let grid =
                    center_face::Grid { columns, stride: head.stride as f32, score_min: head.score_min };
                center_face::read(slices[0], slices[1], slices[2], grid, found);
            }
            Self::TextMap(head) => text_map::read(slices[0], sizes.width, text_map::Rules::of(head), found),
        }
        true
    }

    /// The shape of each output for `items` inputs.
    fn shapes(&self, items: usize, sizes: Sizes) -> Vec<Vec<Side>> {
        let Sizes { width, height, classes } = sizes;
        let cells = |stride: u32| (height.div_ceil(stride as usize), width.div_ceil(stride as usize));
        let map = |values: usize, (h, w): (usize, usize)| [items, values, h, w].map(Some).to_vec();
        match self {
            Self::HeatMap(head) => {
                let cells = cells(head.stride);
                vec![map(classes, cells), map(4, cells)]
            }
            Self::Nanodet(head) => {
                let level = |values: usize| {
                    head.strides.iter().map(move |&stride| {
                        let (h, w) = cells(stride);
                        [items, h * w, values].map(Some).to_vec()
                    })
                };
                level(classes).chain(level(4 * head.bins)).collect()
            }
            Self::Yolo(head) => {
                let values = Some(4 + usize::from(head.objectness) + classes);
                vec![match head.layout {
                    CellLayout::Rows => vec![Some(items), None, values],
                    CellLayout::Columns => vec![Some(items), values, None],
                }]
            }
            Self::CenterFace(head) => {
                let cells = cells(head.stride);
                vec![map(1, cells), map(2, cells), map(2, cells)]
            }
            Self::TextMap(_) => vec![map(1, (height, width))],
        }
    }
}

/// How long a side of an output is; `None` where anything but nothing will do.
pub(super) type Side = Option<usize>;

/// Whether an output has this shape; else says how it differs.
pub(super) fn has_shape(output: &Output<'_>, shape: &[Side]) -> Result<(), String> {
    let fits = |(&side, wanted): (&i64, &Side)| wanted.map_or(side > 0, |wanted| side == wanted as i64);
    if output.shape.len() == shape.len() && output.shape.iter().zip(shape).all(fits) {
        return Ok(());
    }
    let wanted: Vec<String> =
        shape.iter().map(|side| side.map_or("any".to_string(), |side| side.to_string())).collect();
    Err(format!("output \"{}\" is {:?} instead of [{}]", output.name, output.shape, wanted.join(", ")))
}

/// Whether no value is NaN or infinite: those are the ones whose exponent bits are all set.
pub(super) fn is_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // An "or" over whole chunks vectorises; leaving at the first odd value would not.
    values
        .chunks(256)
        .all(|chunk| !chunk.iter().fold(false, |odd, v| odd | (v.to_bits() & EXPONENT == EXPONENT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::Noise;

    #[test]
    fn finiteness_equals_that_of_the_standard_library() {
        let mut noise = Noise(6);
        for length in [0, 1, 255, 256, 257, 1000] {
            let mut values: Vec<f32> = (0..length).map(|_| noise.unit() * 2e38 - 1e38).collect();
            assert!(is_finite(&values));
            for odd in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                if length > 0 {
                    let at = noise.below(length);
                    let good = std::mem::replace(&mut values[at], odd);
                    assert!(!is_finite(&values), "{odd} at {at} of {length}");
                    values[at] = good;
                }
            }
        }
        assert!(is_finite(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0, 1e-45]));
    }
}
