//! What fetched families make of two pictures equals what Python's onnxruntime makes of them, by
//! `reference/families.py`.
//!
//! The pictures are JPEGs, and two decoders may differ by a level or two in a pixel; hence the bounds.

use std::fs;
use std::path::{Path, PathBuf};

use jellybean_operators::crop::crop;
use jellybean_operators::fetch::{Cache, Environment, fetch_family, onnxruntime_library, silent};
use jellybean_operators::model::{Task, family, runtime};
use jellybean_operators::picture::{Format, Picture};
use jellybean_operators::pixels::jpeg_size;
use jellybean_operators::prelude::*;
use serde::Deserialize;
use serde_json::Value;

const IOU_MIN: f32 = 0.95;
const SCORE_DIFFERENCE_MAX: f32 = 0.02;
/// In pixels of the picture. Where the map of text crosses its threshold, a level of a pixel may move the
/// edge of a region by one cell of at most 0.96 pixels, and the box grows by as much again at most.
const TEXT_SIDE_DIFFERENCE_MAX: f32 = 2.0;
const SIMILARITY_MIN: f32 = 0.999;

/// What a variant makes of a cut of a picture.
#[derive(Deserialize)]
struct Wanted {
    variant: String,
    picture: String,
    /// Left, top, right and bottom, in pixels.
    cut: [f32; 4],
    result: Value,
}

#[derive(Debug, Deserialize)]
struct WantedBox {
    class: String,
    score: f32,
    #[serde(flatten)]
    rect: Rect,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

/// Everything that is wanted of a family.
fn wanted(family: &str) -> Vec<Wanted> {
    let text = fs::read_to_string(data().join("families.json")).unwrap();
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let ours = all.into_iter().filter(|one| one["family"] == family);
    ours.map(|one| serde_json::from_value(one).unwrap()).collect()
}

fn picture(wanted: &Wanted) -> Picture {
    let bytes = fs::read(data().join(&wanted.picture)).unwrap();
    let (width, height) = jpeg_size(&bytes).unwrap();
    let whole = Picture { width, height, format: Format::Jpeg, data: bytes.into() };
    let [x0, y0, x1, y1] = wanted.cut;
    crop(&whole, Rect { x0, y0, x1, y1 }).unwrap()
}

/// What a family makes of all that is wanted of it, each alone and all of a variant together.
fn made<T: Task<Out: PartialEq + std::fmt::Debug>>(
    name: &str,
    input: impl Fn(Picture) -> T::In,
) -> Vec<(Wanted, T::Out)> {
    let cache = Cache::new(Environment::of_process()).unwrap();
    fetch_family(&cache, name, &silent).unwrap();
    runtime::load(&onnxruntime_library(&cache, None, &runtime::probe, &silent).unwrap()).unwrap();
    let (family, all) = (family::<T>(name), wanted(name));
    let mut outcomes = Vec::new();
    for variant in family.manifest().unwrap().variants.iter().map(|variant| variant.name.as_str()) {
        let mut runner = family.model(Some(variant)).unwrap().runner(1).unwrap();
        let mut run = |these: Vec<T::In>| -> Vec<T::Out> {
            runner.run(these).into_iter().map(|outcome| outcome.unwrap()).collect()
        };
        let pictures = || all.iter().filter(|one| one.variant == variant).map(|one| input(picture(one)));
        let together = run(pictures().collect());
        let alone: Vec<T::Out> = pictures().flat_map(|one| run(vec![one])).collect();
        assert_eq!(together, alone, "{name}/{variant}");
        outcomes.extend(together);
    }
    // The reference has variants in the order of its own; within one, pictures keep theirs.
    let order: Vec<&str> = family.manifest().unwrap().variants.iter().map(|v| v.name.as_str()).collect();
    let mut all = all;
    all.sort_by_key(|one| order.iter().position(|name| *name == one.variant));
    assert!(!all.is_empty() && all.len() == outcomes.len(), "{name}: {} of {}", outcomes.len(), all.len());
    all.into_iter().zip(outcomes).collect()
}

fn frame(picture: Picture) -> Frame {
    Frame { camera: "golden".into(), number: 0, time_ms: 0, picture }
}

fn check_boxes(name: &str, alike: fn(&Rect, &Rect) -> bool) {
    for (wanted, seen) in made::<Detect>(name, frame) {
        let place = format!("{name}/{} on {} {:?}", wanted.variant, wanted.picture, wanted.cut);
        let boxes: Vec<WantedBox> = serde_json::from_value(wanted.result).unwrap();
        assert!(!boxes.is_empty() && boxes.len() == seen.seen.len(), "{place}: {boxes:#?}, {:#?}", seen.seen);
        for wanted in boxes {
            let ours = seen.seen.iter().find(|ours| alike(&ours.rect, &wanted.rect));
            let ours = ours.unwrap_or_else(|| panic!("{place}: no {wanted:?} in {:#?}", seen.seen));
            assert_eq!(*ours.class, *wanted.class, "{place}");
            let apart = (ours.score - wanted.score).abs();
            assert!(apart <= SCORE_DIFFERENCE_MAX, "{place}: {ours:?}, {wanted:?}");
        }
    }
}

#[test]
fn faces() {
    check_boxes("face", |a, b| a.iou(b) >= IOU_MIN);
}

#[test]
fn lines_of_text() {
    check_boxes("text-detect", |a, b| {
        let sides = |r: &Rect| [r.x0, r.y0, r.x1, r.y1];
        sides(a).into_iter().zip(sides(b)).all(|(a, b)| (a - b).abs() <= TEXT_SIDE_DIFFERENCE_MAX)
    });
}

#[test]
fn appearance() {
    for (wanted, ours) in made::<Embed>("appearance", |picture| picture) {
        let values: Vec<f32> = serde_json::from_value(wanted.result).unwrap();
        let reference = Embedding::normalised(&values).unwrap();
        let alike = ours.similarity(&reference);
        assert!(alike >= SIMILARITY_MIN, "{} {:?}: {alike}", wanted.variant, wanted.cut);
    }
}

#[test]
fn text() {
    for (wanted, ours) in made::<Read>("text-read", |picture| picture) {
        let reference: Reading = serde_json::from_value(wanted.result).unwrap();
        assert_eq!(ours.text, reference.text);
        assert!((ours.score - reference.score).abs() <= SCORE_DIFFERENCE_MAX, "{ours:?}, {reference:?}");
    }
}

/// Of NanoDet the video has the rest (`golden`): here is the 8-bit variant, which rounds by calibration.
#[test]
fn nanodet_in_8_bits() {
    let cache = Cache::new(Environment::of_process()).unwrap();
    fetch_family(&cache, "nanodet", &silent).unwrap();
    runtime::load(&onnxruntime_library(&cache, None, &runtime::probe, &silent).unwrap()).unwrap();
    for wanted in wanted("nanodet") {
        let model = family::<Detect>("nanodet").model(Some(&wanted.variant)).unwrap();
        let seen = model.runner(1).unwrap().run(vec![frame(picture(&wanted))]).remove(0).unwrap();
        let boxes: Vec<WantedBox> = serde_json::from_value(wanted.result).unwrap();
        assert_eq!(seen.seen.len(), boxes.len(), "{:#?}", seen.seen);
        assert_eq!((&*seen.seen[0].class, boxes[0].class.as_str()), ("person", "person"));
        assert!(seen.seen[0].rect.iou(&boxes[0].rect) >= IOU_MIN, "{:?}, {:?}", seen.seen[0], boxes[0]);
        let apart = (seen.seen[0].score - boxes[0].score).abs();
        assert!(apart <= SCORE_DIFFERENCE_MAX, "{:?}, {:?}", seen.seen[0], boxes[0]);
    }
}
