//! The steps of JellyBean topologies: cameras, pictures, ONNX models, tracking, counting, sinks.
//!
//! One operator, one file: an extension trait of the engine's `Stream`, its doctest, and the few lines
//! that call a primitive of the engine. To add one, write its file and its line here.

pub mod branch;
pub mod count_by;
pub mod draw;
pub mod fetch;
pub mod filter;
pub mod flat_map;
pub mod infer;
pub mod map;
pub mod model;
pub mod picture;
pub mod pixels;
pub mod road;
pub mod sink;
pub mod source;
pub mod stateful;
pub mod track;
pub mod window;

pub use jellybean_engine::{Error, ErrorKind, Result};

/// Everything a topology is written with.
pub mod prelude {
    pub use jellybean_engine::plan::{Assignment, Plan};
    pub use jellybean_engine::{Change, Clock, Keep, Run, Stream, Topology, sink, source};

    pub use crate::branch::Branch;
    pub use crate::count_by::{Count, CountBy};
    pub use crate::filter::Filter;
    pub use crate::flat_map::FlatMap;
    pub use crate::infer::Infer;
    pub use crate::map::Map;
    pub use crate::model::{Detect, family};
    pub use crate::picture::{Detection, Detections, Frame, Rect};
    pub use crate::sink::{Call, Jpegs, Jsonl, Null};
    pub use crate::source::{RoadCameras, Video};
    pub use crate::stateful::Stateful;
    pub use crate::track::{Track, Tracker, Tracks};
    pub use crate::window::{Window, Windowed};
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
