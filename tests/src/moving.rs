//! Sampling by motion against a dull twin that looks at every pixel, over real and made-up frames.

use std::collections::BTreeMap;

use jellybean_engine::sink::collect;
use jellybean_engine::source::{Arrival, Feed, Lane, Source, Stamp};
use jellybean_engine::{Clock, Result};
use jellybean_operators::picture::{Format, Picture};
use jellybean_operators::prelude::*;
use jellybean_operators::run_here;
use jellybean_tests::Random;

const WIDTH: u32 = 64;
const HEIGHT: u32 = 36;
/// Cells of the grid: 2 x 2 pixels each, here.
const CELLS: (usize, usize) = (32, 18);

/// Lanes of frames, 40 ms apart.
#[derive(Clone)]
struct Frames(Vec<Vec<Frame>>);

impl Source for Frames {
    type Record = Frame;

    fn lanes(&self) -> Vec<Lane> {
        (0..self.0.len()).map(|i| Lane::new(format!("lane-{i}"))).collect()
    }

    fn open(&self, lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = Frame>>> {
        Ok(Box::new(Showing(self.0[lane].clone().into_iter())))
    }
}

struct Showing(std::vec::IntoIter<Frame>);

impl Feed for Showing {
    type Record = Frame;

    fn next(&mut self) -> Result<Option<Arrival<Frame>>> {
        let arrival = |record: Frame| Arrival { stamp: Stamp::Media(record.time_ms), record, bytes: 8_000 };
        Ok(self.0.next().map(arrival))
    }
}

/// A camera that sees a block that now and then goes on, in noise; in one format or the other.
fn camera(number: u64) -> Vec<Frame> {
    let mut random = Random::new(number);
    let (mut x, mut light) = (0, 0);
    let mut frame = |n: u64| {
        x = (x + if random.below(4) == 0 { random.below(3) } else { 0 }) % 50;
        light += if random.below(30) == 0 { 15 } else { 0 };
        let format = if number.is_multiple_of(2) { Format::I420 } else { Format::Rgb };
        let each = if format == Format::Rgb { 3 } else { 1 };
        let mut data = vec![128; format.bytes(WIDTH, HEIGHT).unwrap()];
        for (at, byte) in data.iter_mut().take((WIDTH * HEIGHT) as usize * each).enumerate() {
            let (column, row) = ((at / each) as u64 % 64, (at / each) as u64 / 64);
            let is_block = (x..x + 9).contains(&column) && (8..15).contains(&row);
            *byte = (if is_block { 190 } else { 60 } + light % 60 + random.below(5)) as u8;
        }
        let picture = Picture { width: WIDTH, height: HEIGHT, format, data: data.into() };
        Frame { camera: format!("camera-{number}").into(), number: n, time_ms: 40 * n, picture }
    };
    (0..200).map(&mut frame).collect()
}

/// The mean luma of each cell.
fn cells(picture: &Picture) -> Vec<f64> {
    let mut sums = vec![0.0; CELLS.0 * CELLS.1];
    for (x, y) in (0..HEIGHT as usize).flat_map(|y| (0..WIDTH as usize).map(move |x| (x, y))) {
        let at = y * WIDTH as usize + x;
        let luma = match picture.format {
            Format::I420 => ((i32::from(picture.data[at]) - 16) * 255 / 219).clamp(0, 255),
            _ => {
                let [r, g, b] = [0, 1, 2].map(|c| i32::from(picture.data[3 * at + c]));
                (299 * r + 587 * g + 114 * b) / 1_000
            }
        };
        sums[y / 2 * CELLS.0 + x / 2] += f64::from(luma);
    }
    sums.iter().map(|sum| (sum / 4.0).floor()).collect()
}

#[test]
fn equal_samples_by_motion() {
    let moving = Moving { share_min: 0.01, levels_min: 10, every_ms_max: 900 };
    let cameras = Frames((0..4).map(camera).collect());
    let t = Topology::new("moving");
    let (sink, kept) = collect();
    t.source("cameras", cameras.clone())
        .sample_moving("moving", moving.clone())
        .map("name", |f| (f.camera.to_string(), f.number))
        .sink("out", sink);
    let report = run_here(&t).unwrap();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    let mut got: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (_, (camera, number)) in kept.take() {
        got.entry(camera).or_default().push(number);
    }
    for frames in cameras.0 {
        let mut expected: Vec<&Frame> = Vec::new();
        for frame in &frames {
            let is_kept = expected.last().is_none_or(|last| {
                let (before, now) = (cells(&last.picture), cells(&frame.picture));
                let moved = before.iter().zip(now).filter(|(a, b)| (*a - b).abs() > 10.0).count();
                frame.time_ms >= last.time_ms + 900 || moved as f32 / before.len() as f32 > moving.share_min
            });
            if is_kept {
                expected.push(frame);
            }
        }
        let numbers: Vec<u64> = expected.iter().map(|f| f.number).collect();
        assert!((12..150).contains(&numbers.len()), "{numbers:?}");
        assert_eq!(got[&*frames[0].camera], numbers);
    }
}

#[test]
fn error_a_bad_picture_is_dropped_with_its_reason() {
    let mut frames = camera(0);
    frames[7].picture.data = [1, 2, 3].into();
    let t = Topology::new("bad");
    t.source("cameras", Frames(vec![frames]))
        .sample_moving("moving", Moving::default())
        .sink("out", Null::new());
    let report = run_here(&t).unwrap();
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    assert_eq!((report.ledger_total.completed, report.ledger_total.degraded), (200, 1));
    assert_eq!(report.ledger.edges["cameras->moving"].dropped["bad_picture"], 1);
}
