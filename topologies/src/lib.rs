//! JellyBean serves machine-learning workflows over unequal machines.
//!
//! This is the façade that topologies are written against: [`engine`], [`operators`], the ready-made
//! topologies, and the command that runs them. A topology of one's own becomes a program with
//! [`main`]:
//!
//! ```no_run
//! use jellybean::prelude::*;
//!
//! fn main() -> std::process::ExitCode {
//!     let t = Topology::new("doorway");
//!     t.source("camera", Video::file("door.mp4"))
//!         .infer("detect", family::<Detect>("nanodet"))
//!         .filter("somebody", |d| d.seen.iter().any(|thing| &*thing.class == "person"))
//!         .sink("pictures", Jpegs::folder("out/doorway"));
//!     jellybean::main(&t)
//! }
//! ```

pub mod accuracy;
pub mod blur;
pub mod command;
pub mod frames;
pub mod junction;
pub mod people;
pub mod tally;
pub mod text;

pub use command::main;
pub use jellybean_engine as engine;
pub use jellybean_engine::{Error, Result};
pub use jellybean_operators as operators;

/// Everything a topology is written with.
pub mod prelude {
    pub use jellybean_operators::prelude::*;
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
