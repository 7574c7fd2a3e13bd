//! What the detectors see equals what Python's onnxruntime sees, by the scripts in `reference`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jellybean_engine::Report;
use jellybean_engine::sink::collect;
use jellybean_operators::prelude::*;
use jellybean_operators::run_here;
use serde::Deserialize;

/// The same box: no less overlap, and no more difference in score.
const IOU_MIN: f32 = 0.95;
const SCORE_DIFFERENCE_MAX: f32 = 0.01;

/// A reference file: detections by frame number.
#[derive(Deserialize)]
struct Golden {
    frames: BTreeMap<u64, Vec<Wanted>>,
}

#[derive(Deserialize)]
struct Wanted {
    class: String,
    score: f32,
    #[serde(flatten)]
    rect: Rect,
}

fn golden(file: &str) -> BTreeMap<u64, Vec<Detection>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file);
    let golden: Golden = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let detection = |w: Wanted| Detection { class: w.class.into(), score: w.score, rect: w.rect };
    golden.frames.into_iter().map(|(n, wanted)| (n, wanted.into_iter().map(detection).collect())).collect()
}

/// Each box above this score on one side has its like on the other, and the other way round.
fn compare(number: u64, ours: &[Detection], wanted: &[Detection], score_above: f32) -> usize {
    let like = |a: &Detection, b: &Detection| {
        let alike = a.rect.iou(&b.rect) >= IOU_MIN && (a.score - b.score).abs() <= SCORE_DIFFERENCE_MAX;
        a.class == b.class && alike
    };
    let mut compared = 0;
    for (side, these, those) in [("ours", ours, wanted), ("the reference's", wanted, ours)] {
        for one in these.iter().filter(|d| d.score > score_above) {
            assert!(
                those.iter().any(|d| like(one, d)),
                "frame {number}: {side} {one:?} is not among {those:#?}"
            );
            compared += 1;
        }
    }
    compared
}

/// Runs a detector over a source; what it saw in each frame.
fn seen(
    source: impl jellybean_engine::source::Source<Record = Frame>,
    family: &str,
) -> (BTreeMap<u64, Vec<Detection>>, Report) {
    let t = Topology::new("golden");
    let (sink, seen) = collect();
    let detections =
        t.source("frames", source).infer("detect", jellybean_operators::model::family::<Detect>(family));
    detections.map("seen", |d| (d.frame.number, d.seen)).sink("seen-sink", sink);
    let report = run_here(&t).unwrap();
    assert!(report.ledger.is_closed() && report.ledger.faults.is_empty(), "{:#?}", report.ledger);
    assert_eq!((report.ledger_total.completed, report.ledger_total.degraded), (report.frames, 0));
    (seen.take().into_iter().map(|(_, seen)| seen).collect(), report)
}

#[test]
fn the_road_detector_sees_what_the_reference_sees() {
    let wanted = golden("road-w8-film7.json");
    let frames = wanted.keys().max().unwrap() + 1;
    let (seen, _) = seen(RoadCameras::new(7).frames(frames), "road");
    let compared: usize =
        wanted.iter().map(|(number, wanted)| compare(*number, &seen[number], wanted, 0.31)).sum();
    assert!(wanted.len() >= 10 && compared > 50, "{compared} boxes in {} frames", wanted.len());
}

#[cfg(feature = "fetched-models")]
#[test]
fn nanodet_sees_what_the_reference_sees() {
    use jellybean_operators::fetch::{Cache, Environment, nanodet, silent, vtest};
    let cache = Cache::new(Environment::of_process()).unwrap();
    nanodet(&cache, &silent).unwrap();
    let video = vtest(&cache, &silent).unwrap();
    let video = || Video::file(&video).ffmpeg(jellybean_tests::clips::ffmpeg());

    let (first, report) = seen(video(), "nanodet");
    assert_eq!(report.frames, 795);
    // Below this score a box of the reference may be just under the detector's own bound here, of 0.35.
    let wanted = golden("nanodet-416-vtest.json");
    let compared: usize =
        wanted.iter().map(|(number, wanted)| compare(*number, &first[number], wanted, 0.36)).sum();
    assert!(wanted.len() == 20 && compared > 100, "{compared} boxes in {} frames", wanted.len());

    let (second, again) = seen(video(), "nanodet");
    assert!(first == second);
    assert_eq!(report.output_digest, again.output_digest);
}
