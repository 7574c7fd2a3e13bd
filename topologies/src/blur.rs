//! Faces are made unrecognisable before pictures leave the site where they were taken.

use std::path::Path;

use jellybean_engine::source::Source;
use jellybean_operators::prelude::*;

use crate::tally::{Tally, WindowCount};

/// How much more than a face is hidden, on each side, as a share of its size: hair and ears tell as well.
const MARGIN: f32 = 0.25;

/// The topology over `cameras`; pictures, and videos made by `ffmpeg`, go into the folder `out`, and how many faces were hidden per frame of
/// each window of `window_ms` milliseconds to `tally`.
#[must_use]
pub fn blur(
    cameras: impl Source<Record = Frame>,
    window_ms: u64,
    out: &Path,
    ffmpeg: &Path,
    tally: &Tally,
) -> Topology {
    let t = Topology::new("blur");
    let faces = t.source("cameras", cameras).infer("detect", family::<Detect>("face")).stay_at_site();
    let frames = faces.blur("blur", MARGIN).stay_at_site();
    frames.sink("pictures", Jpegs::folder(out.join("pictures")).every(25).max(100));
    frames.sink("video", Mp4::folder(out.join("video")).ffmpeg(ffmpeg));

    // Counts may leave: they show nobody.
    let windows = faces
        .map("count", |d| (d.frame.camera, d.seen.len() as u64))
        .keyed(|(camera, _)| camera.clone())
        .tumbling("windows", window_ms, |faces: &mut Vec<u64>, (_, n)| faces.push(n))
        .map("faces-per-frame", |w| WindowCount::of_frames("face", w));
    windows.sink("windows-file", Jsonl::file(out.join("windows.jsonl")));
    windows.sink("tally", tally.sink());
    t
}
