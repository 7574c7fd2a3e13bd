//! People in videos: how many are seen, who goes where, per window of time.
//!
//! A detector finds persons; an embedding of how each looks helps a tracker per camera to give each an
//! identity; windows count persons per frame, and the identities that stood in each zone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jellybean_engine::source::Source;
use jellybean_operators::prelude::*;

use crate::frames::Frames;
use crate::tally::{Tally, WindowCount};

/// What is counted, and where results go.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The length of a window, in milliseconds.
    pub window_ms: u64,
    /// Where people are counted by identity.
    pub zones: &'a [Zone],
    /// How frames leave their cameras.
    pub frames: Frames,
    /// The folder of pictures and counts.
    pub out: &'a Path,
    /// The ffmpeg that writes an annotated video of each camera, if one is wanted.
    pub record: Option<&'a Path>,
}

/// The topology over `cameras`; counts go also to `tally`.
#[must_use]
pub fn people(cameras: impl Source<Record = Frame>, settings: Settings<'_>, tally: &Tally) -> Topology {
    let Settings { window_ms, zones, frames, out, record } = settings;
    let t = Topology::new("people");
    let seen = frames.carry(t.source("cameras", cameras)).infer("detect", family::<Detect>("nanodet"));
    let persons = seen.map("persons", |mut d| {
        d.seen.retain(|thing| &*thing.class == "person");
        d
    });
    persons
        .map("boxes", |d| (d.frame.number, d.seen))
        .sink("boxes-file", Jsonl::file(out.join("boxes.jsonl")));
    let looks = persons.infer("embed", family::<EmbedSeen>("appearance"));
    let tracks = looks.keyed(|a| a.frame.camera.clone()).stateful("track", Tracker::step_seen);
    tracks.sink("pictures", Jpegs::folder(out.join("pictures")).every(50).max(20));
    if let Some(ffmpeg) = record {
        tracks.sink("video", Mp4::folder(out.join("video")).ffmpeg(ffmpeg));
    }

    let windows = persons
        .keyed(|d| d.frame.camera.clone())
        .tumbling("windows", window_ms, |seen: &mut Vec<u64>, d| seen.push(d.seen.len() as u64))
        .map("persons-per-frame", |w| WindowCount::of_frames("person", w));
    let zones = zones.to_vec();
    let visits = tracks
        .flat_map("visits", move |tracks| visits(&tracks, &zones))
        .keyed(|(camera, zone, _)| (camera.clone(), zone.clone()))
        .tumbling("zones", window_ms, |ids: &mut BTreeSet<u64>, (_, _, id)| _ = ids.insert(id))
        .map("distinct", WindowCount::of_distinct);
    let counts = windows.merge("counts", [&visits]);
    counts.sink("windows-file", Jsonl::file(out.join("windows.jsonl")));
    counts.sink("tally", tally.sink());
    t
}

/// Who stands in which zone, as (camera, zone, identity).
fn visits(tracks: &Tracks, zones: &[Zone]) -> Vec<(Arc<str>, Arc<str>, u64)> {
    let Tracks { frame, tracks } = tracks;
    let inside = |zone: &Zone| {
        let held = tracks.iter().filter(|track| zone.holds(&track.rect, &frame.picture));
        held.map(|track| (frame.camera.clone(), zone.name().clone(), track.id)).collect::<Vec<_>>()
    };
    zones.iter().flat_map(inside).collect()
}
