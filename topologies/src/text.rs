//! What is written in pictures: where lines of text stand, and what they say.

use std::path::Path;
use std::sync::Arc;

use jellybean_engine::source::Source;
use jellybean_operators::prelude::*;
use serde::{Deserialize, Serialize};

/// Readings below this are taken for marks that only look like text.
const SCORE_MIN: f32 = 0.6;
/// What is cut out around a line, as a share of its size.
const MARGIN: f32 = 0.02;

/// A line of text in a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Whose frame.
    pub camera: Arc<str>,
    /// Which frame.
    pub number: u64,
    /// Where, in pixels.
    pub rect: Rect,
    /// What it says.
    pub text: Arc<str>,
    /// How sure that is, in 0..=1.
    pub score: f32,
}

/// The topology over `cameras`; lines and pictures go into the folder `out`, and the lines also to `told`.
#[must_use]
pub fn text(
    cameras: impl Source<Record = Frame>,
    out: &Path,
    told: impl Fn(&Line) + Send + Sync + 'static,
) -> Topology {
    let t = Topology::new("text");
    let found = t.source("cameras", cameras).infer("detect", family::<Detect>("text-detect"));
    found.sink("pictures", Jpegs::folder(out.join("pictures")).every(25).max(20));
    let ordered = found.map("order", |mut d| {
        // As a page is read, down and then across.
        d.seen.sort_by(|a, b| a.rect.y0.total_cmp(&b.rect.y0).then(a.rect.x0.total_cmp(&b.rect.x0)));
        d
    });
    let lines = ordered.crop_each("crop", MARGIN).infer_with(
        "read",
        family::<Read>("text-read"),
        |crop| crop.picture.clone(),
        |crop, Reading { text, score }| {
            let Crop { camera, number, detection, .. } = crop;
            Line { camera, number, rect: detection.rect, text, score }
        },
    );
    let sure = lines.filter("sure", |line| line.score >= SCORE_MIN);
    sure.sink("lines-file", Jsonl::file(out.join("lines.jsonl")));
    sure.sink("told", Call::new(move |_epoch, line| told(line)));
    t
}
