//! Workload W over two nodes: decoding, detection and crops on the edge, embedding and counts in the cloud.
//!
//! Decoding is a stage of its own, so that a picture is read while the detector has the one before it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jellybean::Result;
use jellybean_engine::node::Blueprint;
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::runner::{AnyRunner, Recipe, Runner, Runners};
use jellybean_engine::{Clock, Failure, Graph, Reason, Run, Topology};
use jellybean_operators::model::RawModel;
use jellybean_operators::picture::{Format, Picture};
use jellybean_operators::pixels::RgbBuffer;
use jellybean_operators::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    CROP_SIDE, CROPS, CROPS_BYTES, Cameras, FILL, FRAME_BYTES, SIDE, Seen, Shot, Workload, crop, detect,
    embed, scale, write,
};
use crate::cluster::Cluster;

/// A picture as the detector sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Scaled {
    i: u64,
    due_s: f64,
    frame: Picture,
}

/// What goes from the edge to the cloud of each frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cropped {
    i: u64,
    due_s: f64,
    /// The crops, one below the other.
    crops: Picture,
}

pub(crate) fn run(folder: &str, batch: u64) -> Result<()> {
    let cluster = Cluster::start("workload-split", &["edge", "cloud"])?;
    let batch = batch.max(1) as usize;
    let plan = Plan::single("cloud")
        .with("cameras", Assignment::on("edge"))
        .with("scale", Assignment::on("edge"))
        .with("detect", Assignment::on("edge").batches(batch, 5))
        .with("embed", Assignment::on("cloud").batches(batch, 5));
    let graph = topology(folder)?;
    let run = Run::deploy(cluster.network()?, graph, folder, plan, &["edge", "cloud"], Clock::real())?;
    let report = run.finish();
    println!("{}", serde_json::to_string(&report).unwrap_or_default());
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    Ok(())
}

/// Makes the topology of the workload's folder.
pub(crate) fn blueprint() -> Blueprint {
    Arc::new(topology)
}

fn topology(folder: &str) -> Result<Arc<Graph>> {
    let workload = Workload::read(Path::new(folder))?;
    let t = Topology::new("workload-w-split");
    let buffer = Mutex::new(RgbBuffer::default());
    let scaled =
        t.source("cameras", Cameras(workload.clone())).try_map("scale", move |shot| scaled(&buffer, shot));
    let cropped = scaled.pooled(
        "detect",
        Detect(workload.clone()),
        |scaled: &Scaled| scaled.frame.clone(),
        |scaled, crops| Cropped { i: scaled.i, due_s: scaled.due_s, crops },
    );
    let seen = cropped.pooled(
        "embed",
        Embed(workload),
        |cropped: &Cropped| cropped.crops.clone(),
        |cropped, hits| Seen { i: cropped.i, due_s: cropped.due_s, hits },
    );
    write(&seen);
    t.build()
}

fn scaled(buffer: &Mutex<RgbBuffer>, shot: Shot) -> std::result::Result<Scaled, Failure> {
    let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
    let mut frame = vec![FILL; FRAME_BYTES];
    scale(&mut buffer, &shot.picture, &mut frame)?;
    let (width, height) = (SIDE as u32, SIDE as u32);
    let frame = Picture { width, height, format: Format::Rgb, data: frame.into() };
    Ok(Scaled { i: shot.i, due_s: shot.due_s, frame })
}

struct Detect(Arc<Workload>);

struct Detecting(RawModel);

impl Runners for Detect {
    type In = Picture;
    type Out = Picture;

    fn resolve(&self, _assignment: &Assignment) -> Result<Recipe<Picture, Picture>> {
        let workload = self.0.clone();
        let open = move || {
            let mut detector = RawModel::open(&workload.detector, 1)?;
            // Warm, before it counts.
            _ = detect(&mut detector, &vec![FILL; FRAME_BYTES]);
            Ok(Box::new(Detecting(detector)) as AnyRunner<Picture, Picture>)
        };
        Ok(Recipe { key: "detect".to_owned(), open: Arc::new(open) })
    }
}

impl Runner for Detecting {
    type In = Picture;
    type Out = Picture;

    fn run(&mut self, batch: Vec<Picture>) -> Vec<std::result::Result<Picture, Failure>> {
        self.0.rearm();
        let cropped = |frame: Picture| {
            detect(&mut self.0, &frame.data)?;
            let mut crops = vec![0; CROPS_BYTES];
            crop(&frame.data, &mut crops);
            let (width, height) = (CROP_SIDE as u32, (CROPS.len() * CROP_SIDE) as u32);
            Ok(Picture { width, height, format: Format::Rgb, data: crops.into() })
        };
        batch.into_iter().map(cropped).collect()
    }
}

struct Embed(Arc<Workload>);

struct Embedding(RawModel);

impl Runners for Embed {
    type In = Picture;
    type Out = u64;

    fn resolve(&self, _assignment: &Assignment) -> Result<Recipe<Picture, u64>> {
        let workload = self.0.clone();
        let open = move || {
            let mut embedder = RawModel::open(&workload.embedder, 1)?;
            _ = embed(&mut embedder, &vec![0; CROPS_BYTES]);
            Ok(Box::new(Embedding(embedder)) as AnyRunner<Picture, u64>)
        };
        Ok(Recipe { key: "embed".to_owned(), open: Arc::new(open) })
    }
}

impl Runner for Embedding {
    type In = Picture;
    type Out = u64;

    fn run(&mut self, batch: Vec<Picture>) -> Vec<std::result::Result<u64, Failure>> {
        self.0.rearm();
        let hits = |crops: Picture| match crops.data.len() {
            CROPS_BYTES => embed(&mut self.0, &crops.data),
            bytes => Err(Failure::new(Reason::FAILED, format!("{bytes} bytes of crops"))),
        };
        batch.into_iter().map(hits).collect()
    }
}
