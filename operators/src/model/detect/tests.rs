use std::sync::mpsc;

use super::*;
use crate::model::Family;
use crate::model::testing::{self, Noise, frame};
use crate::picture::Rect;

type Opened = Box<dyn Runner<In = Frame, Out = Detections>>;

fn open(family: &str, variant: &str) -> Opened {
    testing::runtime();
    Family::<Detect>::folder(testing::models().join(family)).model(Some(variant)).unwrap().runner(1).unwrap()
}

/// A frame with a square of 16 x 16 at (`x`, `y`) on black.
fn square(width: u32, height: u32, (x, y): (u32, u32), colour: [u8; 3]) -> Frame {
    let inside = move |px, py| (x..x + 16).contains(&px) && (y..y + 16).contains(&py);
    frame(width, height, |px, py| if inside(px, py) { colour } else { [0; 3] })
}

fn noise(seed: u64, width: u32, height: u32) -> Frame {
    let mut noise = Noise(seed);
    let bytes: Vec<u8> = (0..3 * width * height).map(|_| noise.below(256) as u8).collect();
    frame(width, height, |x, y| {
        let i = 3 * (y * width + x) as usize;
        [bytes[i], bytes[i + 1], bytes[i + 2]]
    })
}

fn seen(outcome: &Result<Detections, Failure>) -> Vec<(&str, f32, [f32; 4])> {
    let detections = outcome.as_ref().unwrap();
    let flat = |r: &Rect| [r.x0, r.y0, r.x1, r.y1].map(f32::round);
    detections.seen.iter().map(|d| (&*d.class, (d.score * 100.0).round() / 100.0, flat(&d.rect))).collect()
}

#[test]
fn a_heat_map_becomes_boxes_in_pixels_of_the_frame() {
    let mut runner = open("spot", "spot");
    // Both of the square's cells in a row are peaks of the same heat; the first one suppresses the
    // others, whose boxes overlap by more than half.
    let outcomes = runner.run(vec![
        square(64, 48, (16, 16), [255, 0, 0]),
        square(64, 48, (32, 16), [0, 255, 0]),
        frame(64, 48, |_, _| [0; 3]),
    ]);
    assert_eq!(seen(&outcomes[0])[0], ("red", 1.0, [8.0, 8.0, 32.0, 32.0]));
    assert_eq!(seen(&outcomes[1])[0], ("green", 1.0, [24.0, 8.0, 48.0, 32.0]));
    assert_eq!(seen(&outcomes[2]), []);
    assert_eq!(
        outcomes[1].as_ref().unwrap().frame,
        square(64, 48, (32, 16), [0, 255, 0]),
        "the frame goes along"
    );
}

#[test]
fn a_larger_frame_is_letterboxed_and_its_boxes_come_back() {
    // 192 x 96 becomes 64 x 32, a third; the cell of 24 x 24 pixels at (48, 24) is red.
    let inside = |x, y| (48..72).contains(&x) && (24..48).contains(&y);
    let large = frame(192, 96, |x, y| if inside(x, y) { [255, 0, 0] } else { [0; 3] });
    let outcomes = open("spot", "spot").run(vec![large]);
    let seen = seen(&outcomes[0]);
    assert_eq!((seen.len(), seen[0].0, seen[0].2), (1, "red", [24.0, 0.0, 96.0, 72.0]));
    assert!(seen[0].1 > 0.8, "{seen:?}");
}

#[test]
fn distributions_become_boxes() {
    let outcomes = open("distributions", "distributions").run(vec![square(64, 48, (16, 16), [0, 255, 0])]);
    assert_eq!(seen(&outcomes[0])[0], ("green", 1.0, [8.0, 8.0, 32.0, 32.0]));
}

#[test]
fn scores_fall() {
    for outcome in open("spot", "spot").run((0..4).map(|seed| noise(seed, 64, 48)).collect()) {
        let scores: Vec<f32> = outcome.unwrap().seen.iter().map(|d| d.score).collect();
        assert!(scores.len() > 1 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    }
}

#[test]
fn what_comes_of_a_frame_does_not_depend_on_its_batch() {
    let frames: Vec<Frame> = (0..7).map(|seed| noise(seed, 80, 60)).collect();
    for (family, variant) in [("spot", "spot"), ("spot", "spot_single"), ("distributions", "distributions")] {
        let mut runner = open(family, variant);
        let alone: Vec<_> = frames.iter().map(|frame| runner.run(vec![frame.clone()]).remove(0)).collect();
        for size in [1, 2, 4, 7] {
            let batches = frames.chunks(size).flat_map(|batch| runner.run(batch.to_vec()));
            assert_eq!(batches.collect::<Vec<_>>(), alone, "{variant}, {size} at a time");
        }
        assert_eq!(open(family, variant).run(frames.clone()), alone, "another session of {variant}");
    }
}

#[test]
fn a_graph_with_a_batch_of_one_sees_what_the_open_one_sees() {
    let frames: Vec<Frame> = (0..5).map(|seed| noise(seed, 64, 48)).collect();
    assert_eq!(open("spot", "spot_single").run(frames.clone()), open("spot", "spot").run(frames));
}

#[test]
fn error_not_a_number_fails_its_item_alone() {
    let grey = |level: u8| frame(64, 48, move |_, _| [level; 3]);
    let outcomes = open("spot", "nan").run(vec![grey(255), grey(0), grey(255)]);
    assert!(outcomes[0].as_ref().is_ok_and(|d| !d.seen.is_empty()));
    assert_eq!(outcomes[1].as_ref().unwrap_err().reason, Reason::NOT_FINITE);
    assert_eq!(outcomes[0].as_ref().unwrap().seen, outcomes[2].as_ref().unwrap().seen);
}

#[test]
fn error_a_bad_picture_fails_alone() {
    let good = square(64, 48, (16, 16), [255, 0, 0]);
    let mut bad = good.clone();
    bad.picture.width = 65;
    let mut runner = open("spot", "spot");
    let outcomes = runner.run(vec![bad.clone(), good.clone(), bad.clone(), good]);
    for i in [0, 2] {
        assert_eq!(outcomes[i].as_ref().unwrap_err().reason.as_str(), "bad_picture");
    }
    assert_eq!(outcomes[1], outcomes[3]);
    assert_eq!(seen(&outcomes[1])[0].0, "red");
    assert!(runner.run(vec![bad]).remove(0).is_err(), "a batch of which nothing is left");
    assert!(runner.run(vec![]).is_empty());
}

#[test]
fn an_interrupted_run_times_out_and_the_next_one_works() {
    for (variant, batch) in [("slow", 1), ("slow", 3)] {
        let mut runner = open("spot", variant);
        let interrupt = runner.interrupter().unwrap();
        // Bright frames would run for hours. The interrupter is called until the run has returned,
        // since a call that comes before the run begins is forgotten.
        let (returned, has_returned) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            while has_returned.recv_timeout(std::time::Duration::from_millis(20)).is_err() {
                interrupt();
            }
        });
        let outcomes = runner.run(vec![frame(64, 48, |_, _| [255; 3]); batch]);
        returned.send(()).unwrap();
        watch.join().unwrap();
        assert_eq!(outcomes.len(), batch);
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().reason == Reason::TIMEOUT));
        assert!(runner.run(vec![frame(64, 48, |_, _| [0; 3])]).remove(0).is_ok());
    }
}

#[test]
fn an_interruption_between_runs_is_forgotten() {
    let mut runner = open("spot", "spot");
    runner.interrupter().unwrap()();
    assert!(runner.run(vec![square(64, 48, (0, 0), [255, 0, 0])]).remove(0).is_ok());
}
