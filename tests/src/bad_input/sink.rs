//! Sinks on a disk that is full: what cannot be written is dropped with its reason, and the run goes on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use jellybean_operators::prelude::*;
use jellybean_operators::run_here;
use jellybean_tests::clips::ffmpeg;
use tempfile::TempDir;

const FRAMES: u64 = 120;

/// Where nothing can be written, as on a full disk: the kernel answers with the same error.
const FULL: &str = "/dev/full";

fn full(folder: &Path, name: &str) {
    fs::create_dir_all(folder).unwrap();
    symlink(FULL, folder.join(name)).unwrap();
}

#[test]
fn error_a_full_disk_costs_what_cannot_be_written_and_no_more() {
    let folder = TempDir::new().unwrap();
    let (pictures, videos) = (folder.path().join("pictures"), folder.path().join("videos"));
    // Every tenth picture of one camera, and the whole video of it, find no room.
    (0..FRAMES).step_by(10).for_each(|n| full(&pictures, &format!("road-0-{n:06}.jpg.part")));
    full(&videos, "road-0.mp4");

    let t = Topology::new("full");
    let frames = t.source("cameras", RoadCameras::new(7).cameras(2).frames(FRAMES));
    let numbers = frames.map("numbers", |f| f.number);
    numbers.sink("lines", Jsonl::file(FULL));
    numbers.sink("rows", Csv::file(FULL));
    frames.sink("pictures", Jpegs::folder(&pictures).every(5).max(1_000));
    frames.sink("videos", Mp4::folder(&videos).ffmpeg(ffmpeg()));
    let report = run_here(&t).unwrap();

    let ledger = &report.ledger;
    assert!(ledger.is_closed(), "{ledger:#?}");
    let total = &report.ledger_total;
    assert_eq!((total.admitted, total.completed), (2 * FRAMES, 2 * FRAMES));
    assert!(total.degraded > 0);
    let failed = |edge: &str| ledger.edges[edge].dropped.get("failed").copied().unwrap_or(0);
    for edge in ["numbers->lines", "numbers->rows"] {
        // A batch of lines is written at once, and its last one stands for it.
        assert!(failed(edge) > 0, "{edge}: {ledger:#?}");
    }
    assert_eq!(failed("cameras->pictures"), FRAMES / 10);
    // The video fails in the stream or at its end: ffmpeg holds frames back.
    let no_room = |said: &&String| said.contains("No space left on device") && said.contains("road-0.mp4");
    let told: Vec<_> = ledger.faults.iter().chain(ledger.examples.values()).filter(no_room).collect();
    assert!(!told.is_empty(), "{:#?} {:#?}", ledger.faults, ledger.examples);
    assert!(failed("cameras->videos") + ledger.faults.len() as u64 > 0);

    // What there was room for is there, whole.
    let written = fs::read_dir(&pictures).unwrap().filter(|p| {
        let name = p.as_ref().unwrap().file_name().into_string().unwrap();
        name.ends_with(".jpg")
    });
    assert_eq!(written.count() as u64, 2 * FRAMES / 5 - FRAMES / 10);
    let t = Topology::new("again");
    t.source("video", Video::file(videos.join("road-1.mp4")).ffmpeg(ffmpeg())).sink("nothing", Null::new());
    let again = run_here(&t).unwrap();
    assert_eq!((again.frames, again.ledger.faults.len()), (FRAMES, 0), "{:?}", again.ledger.faults);
}
