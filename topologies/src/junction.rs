//! The junction: what drives and walks across it, per class and window of time.
//!
//! Cameras see a road; a detector finds cars, trucks, buses and persons; a tracker per camera gives
//! each an identity; windows count the identities.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jellybean_engine::source::Source;
use jellybean_operators::prelude::*;
use serde::{Deserialize, Serialize};

use crate::frames::Frames;
use crate::tally::{Tally, WindowCount};

/// One thing in one frame, with its identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Who saw it.
    pub camera: Arc<str>,
    /// What it is.
    pub class: Arc<str>,
    /// The tracker's number for it, unique per camera.
    pub id: u64,
}

/// The topology over `cameras`; counts and pictures go into the folder `out`, and the counts also to `tally`.
#[must_use]
pub fn junction(
    cameras: impl Source<Record = Frame>,
    frames: Frames,
    window_ms: u64,
    out: &Path,
    tally: &Tally,
) -> Topology {
    let t = Topology::new("junction");
    let frames = frames.carry(t.source("cameras", cameras));
    let seen = frames.infer("detect", family::<Detect>("road"));
    let tracks = seen.keyed(|d| d.frame.camera.clone()).stateful("track", Tracker::step);
    tracks.sink("pictures", Jpegs::folder(out.join("pictures")).every(100).max(20));

    let sightings = tracks.flat_map("sightings", sightings);
    let windows = sightings
        .keyed(|s| (s.camera.clone(), s.class.clone()))
        .tumbling("windows", window_ms, |ids: &mut BTreeSet<u64>, s| _ = ids.insert(s.id))
        .map("distinct", WindowCount::of_distinct);
    windows.sink("windows-file", Jsonl::file(out.join("windows.jsonl")));
    windows.sink("tally", tally.sink());

    // Counts kept up to date while things come and go: how often each class was seen in the last ten seconds.
    let lately = sightings.relation(Keep::Millis(10_000)).count_by("lately", |s| s.class.clone());
    lately.sink("lately-file", Jsonl::file(out.join("lately.jsonl")).changes());
    t
}

fn sightings(tracks: Tracks) -> Vec<Sighting> {
    let camera = tracks.frame.camera;
    tracks.tracks.into_iter().map(|t| Sighting { camera: camera.clone(), class: t.class, id: t.id }).collect()
}
