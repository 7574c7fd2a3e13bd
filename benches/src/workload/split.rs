//! Workload W over two nodes: decoding, detection and crops on the edge, embedding and counts in the cloud.

use std::path::Path;
use std::sync::Arc;

use jellybean::Result;
use jellybean_engine::node::Blueprint;
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::runner::{AnyRunner, Recipe, Runner, Runners};
use jellybean_engine::{Clock, Failure, Graph, Reason, Run, Topology};
use jellybean_operators::model::RawModel;
use jellybean_operators::picture::{Format, Picture};
use jellybean_operators::pixels::RgbBuffer;
use serde::{Deserialize, Serialize};

use super::{
    CROP_SIDE, CROPS, CROPS_BYTES, Cameras, FILL, FRAME_BYTES, Seen, Shot, Workload, all_or_none, crop,
    detect, embed, write,
};
use crate::cluster::Cluster;

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
    let cropped = t.source("cameras", Cameras(workload.clone())).pooled(
        "detect",
        Detect(workload.clone()),
        |shot: &Shot| shot.picture.clone(),
        |shot, crops| Cropped { i: shot.i, due_s: shot.due_s, crops },
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

struct Detect(Arc<Workload>);

struct Detecting {
    detector: RawModel,
    rgb: RgbBuffer,
    frames: Vec<u8>,
}

impl Runners for Detect {
    type In = Picture;
    type Out = Picture;

    fn resolve(&self, _assignment: &Assignment) -> Result<Recipe<Picture, Picture>> {
        let workload = self.0.clone();
        let open = move || {
            let detector = RawModel::open(&workload.detector, 1)?;
            let mut opened = Detecting { detector, rgb: RgbBuffer::default(), frames: Vec::new() };
            // Warm, before it counts.
            _ = opened.crops(&[workload.pool[0].clone()]);
            Ok(Box::new(opened) as AnyRunner<Picture, Picture>)
        };
        Ok(Recipe { key: "detect".to_owned(), open: Arc::new(open) })
    }
}

impl Detecting {
    fn crops(&mut self, pictures: &[Picture]) -> std::result::Result<Vec<Picture>, Failure> {
        self.frames.resize(pictures.len() * FRAME_BYTES, FILL);
        let mut made = Vec::with_capacity(pictures.len());
        for (picture, frame) in pictures.iter().zip(self.frames.chunks_exact_mut(FRAME_BYTES)) {
            let mut crops = vec![0; CROPS_BYTES];
            crop(&mut self.rgb, picture, frame, &mut crops)?;
            let (width, height) = (CROP_SIDE as u32, (CROPS.len() * CROP_SIDE) as u32);
            made.push(Picture { width, height, format: Format::Rgb, data: crops.into() });
        }
        for frame in self.frames.chunks_exact(FRAME_BYTES) {
            detect(&mut self.detector, frame)?;
        }
        Ok(made)
    }
}

impl Runner for Detecting {
    type In = Picture;
    type Out = Picture;

    fn run(&mut self, batch: Vec<Picture>) -> Vec<std::result::Result<Picture, Failure>> {
        self.detector.rearm();
        all_or_none(self.crops(&batch), batch.len())
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
