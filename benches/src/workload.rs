//! Workload W, a fixed camera-analytics job that other systems run as well: 4 cameras of JPEG pictures,
//! a detector, two crops per frame, an embedder, and a count per camera and second.
//!
//! The folder holds `pool/NNN.jpg`, `detector.onnx` and `embedder.onnx`. The environment says the rest:
//! `W_MODE` (`closed`: as fast as possible, `open`: at `W_RATE` frames per second), `W_N` frames, and
//! `W_OUT`, the path prefix of the files with a line per frame and per window. Times are seconds of
//! `CLOCK_MONOTONIC`; in open mode a frame's latency counts from when it was due.

pub(crate) mod split;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jellybean::Result;
use jellybean_benches::monotonic_ns;
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::runner::{AnyRunner, Interrupter, Recipe, Runner, Runners};
use jellybean_engine::sink::{Sink, Writer};
use jellybean_engine::source::{Arrival, Feed, Lane, Source, Stamp};
use jellybean_engine::{Clock, Data, Epoch, Error, ErrorKind, Failure, Reason, Run, Topology};
use jellybean_operators::model::{RawInput, RawModel, Values};
use jellybean_operators::picture::{Format, Picture};
use jellybean_operators::pixels::RgbBuffer;
use jellybean_operators::prelude::*;
use serde::{Deserialize, Serialize};

const CAMERAS: u64 = 4;
/// Milliseconds of event time between two frames, all cameras together.
const FRAME_MS: u64 = 10;
const POOL: u64 = 64;
const SIZE: (u32, u32) = (640, 480);
const SIDE: usize = 320;
/// Rows above the picture in the detector's input.
const TOP: usize = 40;
const FILL: u8 = 114;
const CROP_SIDE: usize = 64;
/// Left and top corner of the crops in the detector's input; they are twice as large as they become.
const CROPS: [(usize, usize); 2] = [(40, 60), (150, 90)];
const EMBEDDING: usize = 128;
const THRESHOLD: f32 = 0.0451;

pub(crate) fn run(folder: &str, slots: u64, batch: u64) -> Result<()> {
    let workload = Workload::read(Path::new(folder))?;
    let t = Topology::new("workload-w");
    let seen = t.source("cameras", Cameras(workload.clone())).pooled(
        "see",
        See(workload.clone()),
        |shot: &Shot| shot.picture.clone(),
        |shot, hits| Seen { i: shot.i, due_s: shot.due_s, hits },
    );
    write(&seen);
    let (slots, batch) = (slots.max(1) as usize, batch.max(1) as usize);
    let plan = Plan::single("here").with("see", Assignment::on("here").slots(slots).batches(batch, 5));
    let report = Run::start(t.build()?, plan, &["here"], Clock::real())?.finish();
    println!("{}", serde_json::to_string(&report).unwrap_or_default());
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    Ok(())
}

/// Writes a line of each frame, and one of each camera and second.
fn write(seen: &Stream<Seen>) {
    seen.sink(
        "frames",
        Lines::new("frames", |_, seen: &Seen| {
            let (now_s, Seen { i, due_s, .. }) = (now_s(), *seen);
            let (camera, number, latency_s) = (i % CAMERAS, i / CAMERAS, now_s - due_s);
            format!("F,{i},{camera},{number},{due_s:.6},{now_s:.6},{latency_s:.6}\n")
        }),
    );
    seen.keyed(|seen| seen.i % CAMERAS)
        .tumbling("hits", 1000, |hits: &mut u64, seen| *hits += seen.hits)
        .sink(
            "windows",
            Lines::new("windows", |_, w: &Windowed<u64, u64>| {
                format!("W,{},{},{}\n", w.key, w.start_ms / 1000, w.value)
            }),
        );
}

/// What the job is given.
struct Workload {
    pool: Vec<Picture>,
    detector: Vec<u8>,
    embedder: Vec<u8>,
    frames: u64,
    rate: Option<f64>,
    begun_s: OnceLock<f64>,
}

impl Workload {
    fn read(folder: &Path) -> Result<Arc<Self>> {
        let file = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path)
                .map_err(|e| Error::new(ErrorKind::NotFound, path.display().to_string()).because(e))
        };
        let picture = |data: Vec<u8>| Picture {
            width: SIZE.0,
            height: SIZE.1,
            format: Format::Jpeg,
            data: data.into(),
        };
        let pool: Result<_> = (0..POOL).map(|k| file(&format!("pool/{k:03}.jpg")).map(picture)).collect();
        let setting = |name: &str| std::env::var(name).ok();
        let number = |name: &str| setting(name).and_then(|value| value.parse::<f64>().ok());
        Ok(Arc::new(Self {
            pool: pool?,
            detector: file(&setting("W_DETECTOR").unwrap_or_else(|| "detector.onnx".to_owned()))?,
            embedder: file("embedder.onnx")?,
            frames: number("W_N").unwrap_or(1500.0) as u64,
            rate: number("W_RATE").filter(|_| setting("W_MODE").as_deref() == Some("open")),
            begun_s: OnceLock::new(),
        }))
    }
}

/// Seconds of the clock that every process of the machine shares.
pub(crate) fn now_s() -> f64 {
    monotonic_ns() as f64 / 1e9
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Shot {
    i: u64,
    due_s: f64,
    picture: Picture,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Seen {
    i: u64,
    due_s: f64,
    hits: u64,
}

/// Four cameras that show the pool in turn.
struct Cameras(Arc<Workload>);

struct Camera {
    workload: Arc<Workload>,
    next: u64,
}

impl Source for Cameras {
    type Record = Shot;

    fn lanes(&self) -> Vec<Lane> {
        let step_ms = CAMERAS * FRAME_MS;
        (0..CAMERAS).map(|camera| Lane { step_ms, ..Lane::new(format!("camera-{camera}")) }).collect()
    }

    fn open(&self, lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = Shot>>> {
        Ok(Box::new(Camera { workload: self.0.clone(), next: lane as u64 }))
    }
}

impl Feed for Camera {
    type Record = Shot;

    fn next(&mut self) -> Result<Option<Arrival<Shot>>> {
        let (i, workload) = (self.next, &self.workload);
        if i >= workload.frames {
            return Ok(None);
        }
        self.next += CAMERAS;
        let due_s = match workload.rate {
            None => now_s(),
            Some(rate) => {
                let due_s = workload.begun_s.get_or_init(now_s) + i as f64 / rate;
                wait_until(due_s);
                due_s
            }
        };
        let picture = workload.pool[(i % POOL) as usize].clone();
        let bytes = picture.data.len();
        Ok(Some(Arrival { record: Shot { i, due_s, picture }, stamp: Stamp::Media(i * FRAME_MS), bytes }))
    }
}

pub(crate) fn wait_until(due_s: f64) {
    while let Ok(left) = Duration::try_from_secs_f64(due_s - now_s()) {
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// The detector and the embedder in one runner.
struct See(Arc<Workload>);

impl Runners for See {
    type In = Picture;
    type Out = u64;

    fn resolve(&self, _assignment: &Assignment) -> Result<Recipe<Picture, u64>> {
        let workload = self.0.clone();
        let open = move || Ok(Box::new(Seeing::open(&workload)?) as AnyRunner<Picture, u64>);
        Ok(Recipe { key: "see".to_owned(), open: Arc::new(open) })
    }
}

struct Seeing {
    detector: RawModel,
    embedder: RawModel,
    rgb: RgbBuffer,
    frames: Vec<u8>,
    crops: Vec<u8>,
}

/// Bytes of a frame as the detector sees it, and of its crops.
const FRAME_BYTES: usize = 3 * SIDE * SIDE;
const CROPS_BYTES: usize = CROPS.len() * 3 * CROP_SIDE * CROP_SIDE;

impl Seeing {
    fn open(workload: &Workload) -> Result<Self> {
        let mut seeing = Self {
            detector: RawModel::open(&workload.detector, 1)?,
            embedder: RawModel::open(&workload.embedder, 1)?,
            rgb: RgbBuffer::default(),
            frames: Vec::new(),
            crops: Vec::new(),
        };
        seeing
            .see(&[workload.pool[0].clone()])
            .map_err(|failure| Error::new(ErrorKind::Failed, format!("the first run: {failure}")))?;
        Ok(seeing)
    }

    /// How many crops of each picture are hits. Step by step for the whole batch, so that each model finds
    /// its weights in the cache, but a frame at a time, so that what lies between its layers stays there too.
    fn see(&mut self, pictures: &[Picture]) -> std::result::Result<Vec<u64>, Failure> {
        self.frames.resize(pictures.len() * FRAME_BYTES, FILL);
        self.crops.resize(pictures.len() * CROPS_BYTES, 0);
        let frames = self.frames.chunks_exact_mut(FRAME_BYTES);
        for ((picture, frame), crops) in
            pictures.iter().zip(frames).zip(self.crops.chunks_exact_mut(CROPS_BYTES))
        {
            scale(&mut self.rgb, picture, frame)?;
            crop(frame, crops);
        }
        for frame in self.frames.chunks_exact(FRAME_BYTES) {
            detect(&mut self.detector, frame)?;
        }
        self.crops.chunks_exact(CROPS_BYTES).map(|crops| embed(&mut self.embedder, crops)).collect()
    }
}

/// Reads a picture into the detector's input.
fn scale(rgb: &mut RgbBuffer, picture: &Picture, frame: &mut [u8]) -> std::result::Result<(), Failure> {
    let rgb = rgb.read(picture)?;
    let row = 3 * SIDE;
    halve_to_bgr(rgb, SIZE.0 as usize, &mut frame[TOP * row..(SIDE - TOP) * row]);
    Ok(())
}

/// Takes the crops of the detector's input.
fn crop(frame: &[u8], crops: &mut [u8]) {
    for ((x, y), crop) in CROPS.iter().zip(crops.chunks_exact_mut(CROPS_BYTES / CROPS.len())) {
        halve(frame, SIDE, (*x, *y), CROP_SIDE, crop);
    }
}

fn detect(detector: &mut RawModel, frame: &[u8]) -> std::result::Result<(), Failure> {
    let image = RawInput { name: "image", shape: &[1, SIDE, SIDE, 3], values: Values::U8(frame) };
    let boxes = detector.run(&[image], &["boxes"], |outputs| outputs[0].shape.to_vec())?;
    if boxes != [1, 100, 6] {
        return Err(Failure::new(Reason::FAILED, format!("the detector returned {boxes:?}")));
    }
    Ok(())
}

/// How many crops of a frame are hits.
fn embed(embedder: &mut RawModel, crops: &[u8]) -> std::result::Result<u64, Failure> {
    let shape = [CROPS.len(), CROP_SIDE, CROP_SIDE, 3];
    let crops = RawInput { name: "crops", shape: &shape, values: Values::U8(crops) };
    embedder.run(&[crops], &["emb"], |outputs| {
        let hit = |embedding: &[f32]| u64::from(embedding[0] > THRESHOLD);
        outputs[0].values.chunks_exact(EMBEDDING).map(hit).sum()
    })
}

/// The outcomes of a batch that succeeds or fails as one.
fn all_or_none<T>(
    outcome: std::result::Result<Vec<T>, Failure>,
    items: usize,
) -> Vec<std::result::Result<T, Failure>> {
    match outcome {
        Ok(made) => made.into_iter().map(Ok).collect(),
        Err(failure) => vec![failure; items].into_iter().map(Err).collect(),
    }
}

impl Runner for Seeing {
    type In = Picture;
    type Out = u64;

    fn run(&mut self, batch: Vec<Picture>) -> Vec<std::result::Result<u64, Failure>> {
        self.detector.rearm();
        self.embedder.rearm();
        all_or_none(self.see(&batch), batch.len())
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let (detector, embedder) = (self.detector.interrupter(), self.embedder.interrupter());
        Some(Arc::new(move || {
            detector();
            embedder();
        }))
    }
}

/// Each pixel the mean of four; RGB becomes BGR.
fn halve_to_bgr(rgb: &[u8], width: usize, out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { halve_to_bgr_avx2(rgb, width, out) };
        return;
    }
    halve_to_bgr_any(rgb, width, out);
}

/// The same code again, compiled for processors with AVX2, where it takes half the time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn halve_to_bgr_avx2(rgb: &[u8], width: usize, out: &mut [u8]) {
    halve_to_bgr_any(rgb, width, out);
}

#[inline(always)]
fn halve_to_bgr_any(rgb: &[u8], width: usize, out: &mut [u8]) {
    let pairs = rgb.chunks_exact(2 * 3 * width);
    for (rows, out) in pairs.zip(out.chunks_exact_mut(3 * width / 2)) {
        let (upper, lower) = rows.split_at(3 * width);
        let pixels = upper.chunks_exact(6).zip(lower.chunks_exact(6));
        for ((a, b), out) in pixels.zip(out.chunks_exact_mut(3)) {
            for colour in 0..3 {
                out[2 - colour] = mean([a[colour], a[colour + 3], b[colour], b[colour + 3]]);
            }
        }
    }
}

/// The square of twice `side` at `at`, each pixel the mean of four.
fn halve(pixels: &[u8], width: usize, at: (usize, usize), side: usize, out: &mut [u8]) {
    for (y, out) in out.chunks_exact_mut(3 * side).enumerate() {
        let start = |row: usize| 3 * ((at.1 + row) * width + at.0);
        let upper = pixels[start(2 * y)..][..6 * side].chunks_exact(6);
        let lower = pixels[start(2 * y + 1)..][..6 * side].chunks_exact(6);
        for ((a, b), out) in upper.zip(lower).zip(out.chunks_exact_mut(3)) {
            for colour in 0..3 {
                out[colour] = mean([a[colour], a[colour + 3], b[colour], b[colour + 3]]);
            }
        }
    }
}

fn mean(values: [u8; 4]) -> u8 {
    ((values.map(u16::from).iter().sum::<u16>() + 2) / 4) as u8
}

/// A line of text per record, visible to others at once.
struct Lines<T> {
    name: &'static str,
    line: fn(Epoch, &T) -> String,
}

impl<T> Lines<T> {
    fn new(name: &'static str, line: fn(Epoch, &T) -> String) -> Self {
        Self { name, line }
    }
}

struct LineFile<T> {
    file: File,
    line: fn(Epoch, &T) -> String,
}

impl<T: Data> Sink for Lines<T> {
    type Record = T;

    fn open(&self) -> Result<Box<dyn Writer<Record = T>>> {
        let path = format!("{}.{}", std::env::var("W_OUT").unwrap_or_else(|_| "out".to_owned()), self.name);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|e| Error::new(ErrorKind::Unavailable, path).because(e))?;
        Ok(Box::new(LineFile { file, line: self.line }))
    }
}

impl<T: Data> Writer for LineFile<T> {
    type Record = T;

    fn write(&mut self, epoch: Epoch, record: T) -> std::result::Result<(), Failure> {
        let line = (self.line)(epoch, &record);
        self.file.write_all(line.as_bytes()).map_err(|e| Failure::new(Reason::FAILED, e.to_string()))
    }
}
