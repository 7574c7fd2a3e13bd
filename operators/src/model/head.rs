//! Reading a detector's outputs: which ones a head needs, of which shape, and what they say.
//!
//! Invariant: shapes are checked against the input before anything is indexed ([`Head::check_outputs`]);
//! the functions beneath are pure and rely on it.

mod heat_map;
mod nanodet;

use super::manifest::Head;
use super::nms::Candidate;
use super::session::Output;

/// What a head needs to know about the model's input and classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) classes: usize,
}

impl Head {
    /// The names and ranks of the outputs it reads, in the order in which it expects them.
    pub(super) fn outputs(&self) -> Vec<(&str, usize)> {
        match self {
            Self::HeatMap(head) => vec![(&head.heat, 4), (&head.ltrb, 4)],
            Self::Nanodet(head) => {
                head.classes_out.iter().chain(&head.boxes_out).map(|name| (name.as_str(), 3)).collect()
            }
        }
    }

    /// Overlap beyond which the worse of two boxes goes.
    pub(super) fn iou_max(&self) -> f32 {
        match self {
            Self::HeatMap(head) => head.iou_max,
            Self::Nanodet(head) => head.iou_max,
        }
    }

    /// Whether outputs for `items` inputs have the shapes that [`Head::read`] indexes.
    pub(super) fn check_outputs(
        &self,
        outputs: &[Output<'_>],
        items: usize,
        sizes: Sizes,
    ) -> Result<(), String> {
        for (output, shape) in outputs.iter().zip(self.shapes(items, sizes)) {
            if !output.shape.iter().copied().eq(shape.iter().map(|&side| side as i64)) {
                return Err(format!("output \"{}\" is {:?} instead of {shape:?}", output.name, output.shape));
            }
        }
        Ok(())
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
                let mut cell = 0;
                for ((scores, boxes), &stride) in scores.iter().zip(boxes).zip(&head.strides) {
                    let columns = sizes.width.div_ceil(stride as usize);
                    let (classes, bins, score_min) = (sizes.classes, head.bins, head.score_min);
                    let grid =
                        nanodet::Grid { columns, stride: stride as f32, classes, bins, cell, score_min };
                    nanodet::read(scores, boxes, grid, found);
                    cell += scores.len() / classes;
                }
            }
        }
        true
    }

    /// The shape of each output for `items` inputs.
    fn shapes(&self, items: usize, sizes: Sizes) -> Vec<Vec<usize>> {
        let Sizes { width, height, classes } = sizes;
        let cells = |stride: u32| (height.div_ceil(stride as usize), width.div_ceil(stride as usize));
        match self {
            Self::HeatMap(head) => {
                let (h, w) = cells(head.stride);
                vec![vec![items, classes, h, w], vec![items, 4, h, w]]
            }
            Self::Nanodet(head) => {
                let level = |values: usize| {
                    head.strides.iter().map(move |&stride| {
                        let (h, w) = cells(stride);
                        vec![items, h * w, values]
                    })
                };
                level(classes).chain(level(4 * head.bins)).collect()
            }
        }
    }
}

/// Whether no value is NaN or infinite: those are the ones whose exponent bits are all set.
fn is_finite(values: &[f32]) -> bool {
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
