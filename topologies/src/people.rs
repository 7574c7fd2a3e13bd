//! People in a video: how many are seen, per window of time.

use std::path::Path;

use jellybean_operators::prelude::*;

use crate::tally::{Tally, WindowCount};

/// The topology over a video; counts and pictures go into the folder `out`, and the counts also to `tally`.
#[must_use]
pub fn people(video: Video, window_ms: u64, out: &Path, tally: &Tally) -> Topology {
    let t = Topology::new("people");
    let seen = t.source("video", video).infer("detect", family::<Detect>("nanodet"));
    let persons = seen.map("persons", |mut d| {
        d.seen.retain(|thing| &*thing.class == "person");
        d
    });
    persons.sink("pictures", Jpegs::folder(out.join("pictures")).every(50).max(20));
    persons
        .map("boxes", |d| (d.frame.number, d.seen))
        .sink("boxes-file", Jsonl::file(out.join("boxes.jsonl")));

    let windows = persons
        .keyed(|d| d.frame.camera.clone())
        .tumbling("windows", window_ms, |seen: &mut Vec<u64>, d| seen.push(d.seen.len() as u64))
        .map("persons-per-frame", |w| WindowCount::of_frames("person", w));
    windows.sink("windows-file", Jsonl::file(out.join("windows.jsonl")));
    windows.sink("tally", tally.sink());
    t
}
