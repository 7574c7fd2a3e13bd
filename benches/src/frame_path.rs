//! What a frame costs on its way to detections, part by part, on one thread.

use std::hint::black_box;
use std::sync::Arc;

use jellybean_engine::Clock;
use jellybean_operators::Result;
use jellybean_operators::model::{Detect, Family};
use jellybean_operators::picture::{Format, Frame, Picture};
use jellybean_operators::pixels::{Channels, Layout, Packer, Resize, RgbBuffer, Shape};

const ROUNDS: usize = 300;
const SPOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/spot");

/// Prints the cost of every part; of the detector for the family in `folder`.
pub(crate) fn run(folder: Option<&str>, variant: Option<&str>) -> Result<()> {
    for (width, height, into) in [(320, 192, (320, 192)), (640, 480, (640, 640)), (1280, 720, (640, 640))] {
        pixels(width, height, into);
    }
    detector(folder.unwrap_or(SPOT), variant)
}

fn pixels(width: u32, height: u32, into: (u32, u32)) {
    let (i420, rgb) = (picture(width, height, Format::I420), picture(width, height, Format::Rgb));
    let shape = |width, height| Shape {
        width,
        height,
        layout: Layout::Nchw,
        channels: Channels::Rgb,
        resize: Resize::Letterbox,
        fill: 0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let name = format!("{width}x{height}");
    let mut buffer = RgbBuffer::default();
    report(&format!("{name} I420 to RGB"), || black_box(buffer.read(&i420)).map(<[u8]>::len));
    for (what, picture, into) in [
        ("RGB to NCHW, same size", &rgb, (width, height)),
        ("RGB to NCHW, letterboxed", &rgb, into),
        ("I420 to NCHW, letterboxed", &i420, into),
    ] {
        let mut packer = Packer::new(shape(into.0, into.1));
        let mut item = vec![0.0; packer.values()];
        report(&format!("{name} {what} to {}x{}", into.0, into.1), || {
            black_box(packer.pack(picture, &mut item))
        });
    }
}

fn detector(folder: &str, variant: Option<&str>) -> Result<()> {
    let model = Family::<Detect>::folder(folder).model(variant)?;
    let mut runner = model.runner(1)?;
    let (width, height) = (model.variant().width, model.variant().height);
    let picture = picture(width, height, Format::I420);
    let frame = Frame { camera: Arc::from("bench"), number: 0, time_ms: 0, picture };
    let outcome = runner.run(vec![frame.clone()]).remove(0);
    println!("{:?}: {:?} detections", model, outcome.map(|detections| detections.seen.len()));
    report(&format!("{width}x{height} I420 to detections"), || black_box(runner.run(vec![frame.clone()])));
    Ok(())
}

/// A picture with some structure and some noise.
fn picture(width: u32, height: u32, format: Format) -> Picture {
    let bytes = format.bytes(width, height).unwrap_or_default();
    let data: Vec<u8> = (0..bytes).map(|i| (i * i / 7 + i / 50) as u8).collect();
    Picture { width, height, format, data: data.into() }
}

/// The least and the median of many rounds, in microseconds.
fn report<T>(what: &str, mut work: impl FnMut() -> T) {
    let clock = Clock::real();
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            // Ten at a time, since the clock counts whole microseconds.
            let begin_us = clock.now_us();
            (0..10).for_each(|_| drop(work()));
            (clock.now_us() - begin_us) as f64 / 10.0
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{what}: {:.1} us at best, {:.1} us in the middle", rounds[0], rounds[ROUNDS / 2]);
}
