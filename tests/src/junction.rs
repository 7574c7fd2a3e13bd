//! The ready-made junction: the same results however often, in whatever batches, and wherever it runs.

use std::fs;
use std::path::Path;

use jellybean::frames::Frames;
use jellybean::junction::junction;
use jellybean::tally::Tally;
use jellybean_engine::Report;
use jellybean_operators::prelude::*;
use jellybean_tests::Until;
use tempfile::TempDir;

/// Ten seconds of each camera.
const FRAMES: u64 = 250;
const CAMERAS: u64 = 2;
const WINDOW_MS: u64 = 2_000;

fn cameras() -> Until<RoadCameras> {
    Until::told(RoadCameras::new(7).cameras(CAMERAS as usize))
}

fn start(cameras: &Until<RoadCameras>, plan: Plan, out: &Path) -> Run {
    let topology = junction(cameras.clone(), Frames::Raw, WINDOW_MS, out, &Tally::default());
    Run::start(topology.build().unwrap(), plan, &["edge", "cloud"], Clock::real()).unwrap()
}

/// The report of a run of so many frames of each camera under one plan, and what it wrote.
fn run(frames: u64, plan: Plan) -> (Report, Written) {
    let out = TempDir::new().unwrap();
    let cameras = cameras();
    cameras.end(frames);
    let report = start(&cameras, plan, out.path()).finish();
    check(&report, frames);
    (report, Written::of(out.path()))
}

fn check(report: &Report, frames: u64) {
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    let total = &report.ledger_total;
    assert_eq!((total.admitted, total.completed), (frames * CAMERAS, frames * CAMERAS));
    assert_eq!((total.degraded, total.dropped.len()), (0, 0), "{:#?}", report.ledger);
}

/// What a run leaves in its folder.
#[derive(Debug, PartialEq)]
struct Written {
    windows: String,
    lately: String,
    pictures: Vec<String>,
}

impl Written {
    fn of(out: &Path) -> Self {
        let read = |name| fs::read_to_string(out.join(name)).unwrap();
        let pictures = fs::read_dir(out.join("pictures")).unwrap();
        let mut pictures: Vec<_> = pictures.map(|p| p.unwrap().file_name().into_string().unwrap()).collect();
        pictures.sort();
        Self { windows: read("windows.jsonl"), lately: read("lately.jsonl"), pictures }
    }
}

#[test]
fn equal_in_two_runs_and_in_batches() {
    let (report, written) = run(FRAMES, Plan::single("edge"));
    assert!(written.windows.lines().count() > 5 && written.lately.lines().count() > 20, "{written:?}");
    assert_eq!(written.pictures.len(), 6, "every hundredth of each camera");
    let (again, written_again) = run(FRAMES, Plan::single("edge"));
    assert_eq!((&again.output_digest, &written_again), (&report.output_digest, &written));
    let detect = Assignment::on("edge").slots(2).batches(4, 5);
    let (batched, written_batched) = run(FRAMES, Plan::single("edge").with("detect", detect));
    assert_eq!((&batched.output_digest, &written_batched), (&report.output_digest, &written));
}

#[test]
fn equal_when_its_stages_move_about() {
    let movable = ["detect", "track", "windows", "pictures", "windows-file", "tally", "lately-file"];
    let out = TempDir::new().unwrap();
    let cameras = cameras();
    let run_moved = start(&cameras, Plan::single("edge"), out.path());
    for round in 0..5_usize {
        assert!(!run_moved.wait(std::time::Duration::ZERO), "the run goes on");
        // Each stage moves in every round, with changing neighbours.
        let plan = movable.iter().enumerate().fold(Plan::single("edge"), |plan, (i, stage)| {
            let is_away = (round + i / (1 + round / 2)).is_multiple_of(2);
            plan.with(*stage, Assignment::on(if is_away { "cloud" } else { "edge" }))
        });
        run_moved.apply(plan).unwrap();
    }
    let frames = FRAMES.max(run_moved.accounts().total().admitted / CAMERAS + 50);
    cameras.end(frames);
    let moved = run_moved.finish();
    check(&moved, frames);

    let (never_moved, written) = run(frames, Plan::single("edge"));
    assert_eq!(moved.output_digest, never_moved.output_digest);
    assert_eq!(Written::of(out.path()), written);
}
