//! Model files that are not there, not whole, not the ones promised or unlike their manifest; and NaN.

use std::fs;

use jellybean_engine::ErrorKind;
use jellybean_engine::sink::collect;
use jellybean_operators::model::Family;
use jellybean_operators::picture::{Format, Picture};
use jellybean_operators::prelude::*;
use jellybean_tests::families::{Copy, spot};

use super::check;

fn grey(number: u64, level: u8) -> Frame {
    let picture =
        Picture { width: 64, height: 48, format: Format::Rgb, data: vec![level; 64 * 48 * 3].into() };
    Frame { camera: "test".into(), number, time_ms: number, picture }
}

/// Starts a run of a variant over five white frames.
fn start(family: Family<Detect>, variant: &str) -> jellybean_engine::Result<Run> {
    let t = Topology::new("models");
    let frames = t.source("frames", source::iterate((0..5).map(|n| grey(n, 255))));
    frames.infer("detect", family).sink("nothing", Null::new());
    let plan = Plan::single("here").with("detect", Assignment::on("here").variant(variant));
    Run::start(t.build()?, plan, &["here"], Clock::real())
}

fn refused(family: Family<Detect>, variant: &str, kind: ErrorKind, words: &[&str]) {
    let error = start(family, variant).map(|_| ()).expect_err("the model cannot be used");
    check(&error, kind, words);
    check(&error, kind, &["node \"here\"", "stage \"detect\""]);
}

#[test]
fn error_files_that_are_missing_truncated_or_others() {
    let copy = Copy::of("spot");
    assert!(start(copy.family(), "spot").unwrap().finish().ledger.is_closed(), "as it is, it runs");
    let file = copy.file("spot.onnx");
    let place = file.display().to_string();
    let whole = fs::read(&file).unwrap();

    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    refused(
        copy.family(),
        "spot",
        ErrorKind::Corrupt,
        &[&place, "sha256", "truncated", "jellybean models fetch"],
    );
    fs::copy(copy.file("nan.onnx"), &file).unwrap();
    refused(copy.family(), "spot", ErrorKind::Corrupt, &[&place, "sha256", "another file"]);
    fs::remove_file(&file).unwrap();
    refused(copy.family(), "spot", ErrorKind::NotFound, &[&place, "the file is missing"]);
    fs::remove_dir_all(copy.folder()).unwrap();
    refused(copy.family(), "spot", ErrorKind::NotFound, &["no model family \"spot\""]);
}

#[test]
fn error_models_of_another_rank_or_type_than_their_manifest_says() {
    refused(spot(), "rank3", ErrorKind::Incompatible, &["rank3.onnx", "images", "of rank 3 instead of 4"]);
    refused(spot(), "integers", ErrorKind::Incompatible, &["integers.onnx", "not a tensor of 32-bit floats"]);
}

#[test]
fn error_not_a_number_costs_its_frames_and_nothing_else() {
    let t = Topology::new("nan");
    // The variant returns NaN for what is dark: every third frame.
    let frames = (0..30).map(|n| grey(n, if n % 3 == 0 { 0 } else { 255 }));
    let frames = t.source("frames", source::iterate(frames));
    let (numbers_sink, numbers) = collect();
    frames.map("number", |f| f.number).sink("numbers", numbers_sink);
    let (seen_sink, seen) = collect();
    frames
        .infer("detect", spot())
        .map("seen", |d| (d.frame.number, d.seen.len()))
        .sink("seen-sink", seen_sink);
    let detect = Assignment::on("here").variant("nan").batches(4, 1).slots(2);
    let plan = Plan::single("here").with("detect", detect);
    let report = Run::start(t.build().unwrap(), plan, &["here"], Clock::real()).unwrap().finish();

    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    let account = &report.ledger_total;
    assert_eq!((account.admitted, account.completed, account.degraded), (30, 30, 10));
    let edge = &report.ledger.edges["frames->detect"];
    assert_eq!((edge.sent, edge.received, edge.dropped["not_finite"], edge.dropped.len()), (30, 20, 10, 1));
    assert_eq!(numbers.take().len(), 30, "the other branch has them all");
    let seen: Vec<u64> = seen
        .take()
        .into_iter()
        .map(|(_, (number, n))| {
            assert!(n > 0);
            number
        })
        .collect();
    assert_eq!(seen, (0..30).filter(|n| n % 3 != 0).collect::<Vec<_>>());
    assert!(
        report.ledger.examples["frames->detect not_finite"].contains("NaN"),
        "{:?}",
        report.ledger.examples
    );
}
