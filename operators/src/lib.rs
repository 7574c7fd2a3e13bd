//! The steps of JellyBean topologies: cameras, pictures, ONNX models, tracking, counting, sinks.
//!
//! One operator, one file: an extension trait of the engine's `Stream`, its doctest, and the few lines
//! that call a primitive of the engine. To add one, write its file and its line here.

pub mod assign;
pub mod blur;
pub mod branch;
pub mod count_by;
pub mod crop;
pub mod dedup;
pub mod distinct;
pub mod draw;
pub mod fetch;
mod ffmpeg;
pub mod filter;
pub mod flat_map;
pub mod infer;
pub mod join_latest;
pub mod join_relation;
pub mod join_window;
pub mod join_within;
pub mod map;
pub mod model;
pub mod mot;
pub mod picture;
pub mod pixels;
pub mod rate_limit;
pub mod reduce_by;
pub mod road;
pub mod sample;
pub mod sample_moving;
pub mod session;
pub mod silence;
pub mod sink;
pub mod sliding;
pub mod source;
pub mod stateful;
pub mod top_k;
pub mod track;
pub mod transcode;
mod url;
pub mod window;
pub mod zone;

pub use jellybean_engine::{Error, ErrorKind, Result};

/// Everything a topology is written with.
pub mod prelude {
    pub use jellybean_engine::plan::{Assignment, Plan};
    pub use jellybean_engine::{Change, Clock, Keep, Run, Stream, Topology, sink, source};

    pub use crate::blur::Blur;
    pub use crate::branch::Branch;
    pub use crate::count_by::{Count, CountBy};
    pub use crate::crop::{Crop, CropEach};
    pub use crate::dedup::Dedup;
    pub use crate::distinct::Distinct;
    pub use crate::filter::Filter;
    pub use crate::flat_map::FlatMap;
    pub use crate::infer::Infer;
    pub use crate::join_latest::JoinLatest;
    pub use crate::join_relation::JoinRelation;
    pub use crate::join_window::JoinWindow;
    pub use crate::join_within::JoinWithin;
    pub use crate::map::Map;
    pub use crate::model::{Classify, Detect, Embed, EmbedSeen, Read, family};
    pub use crate::picture::{
        Appearance, Appearances, Class, Classes, Detection, Detections, Embedding, Frame, Reading, Rect,
    };
    pub use crate::rate_limit::RateLimit;
    pub use crate::reduce_by::ReduceBy;
    pub use crate::sample::Sample;
    pub use crate::sample_moving::{Moving, SampleMoving};
    pub use crate::session::Session;
    pub use crate::silence::{Silence, Silent};
    pub use crate::sink::{Call, Csv, Jpegs, Jsonl, Mp4, Null};
    pub use crate::sliding::Sliding;
    pub use crate::source::{Camera, CameraEntry, Cameras, Folder, Mjpeg, RoadCameras, Video};
    pub use crate::stateful::Stateful;
    pub use crate::top_k::{Ranked, TopK};
    pub use crate::track::{Track, Tracker, Tracks};
    pub use crate::transcode::Transcode;
    pub use crate::window::{Window, Windowed};
    pub use crate::zone::Zone;
}

/// Runs a topology on one node of this process until its sources end.
///
/// # Errors
/// What is wrong with the topology, or could not be opened.
pub fn run_here(topology: &jellybean_engine::Topology) -> Result<jellybean_engine::Report> {
    let plan = jellybean_engine::plan::Plan::single("here");
    let run =
        jellybean_engine::Run::start(topology.build()?, plan, &["here"], jellybean_engine::Clock::real())?;
    Ok(run.finish())
}
