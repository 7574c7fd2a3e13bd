//! How JellyBean runs: the topology builder, plans, compilation to timely, links, control, ledgers.
//! It knows neither cameras nor ONNX.
//!
//! A [`Topology`] is written with [`Stream`]s and built into a [`Graph`]; a [`Plan`](plan::Plan) says
//! which node runs which stage; a [`Run`] compiles every node's part to a timely dataflow, and moves
//! from plan to plan while it runs.
//!
//! ```
//! use jellybean_engine::primitive::each::FanOut;
//! use jellybean_engine::{Clock, Run, Topology, plan::Plan, sink, source};
//!
//! let t = Topology::new("doubles");
//! let numbers = t.source("numbers", source::iterate(0..100_u64));
//! let doubles = numbers.each("double", FanOut::One, |n, out| Ok(out.push(2 * n)));
//! let (sink, results) = sink::collect();
//! doubles.sink("results", sink);
//!
//! let report = Run::start(t.build()?, Plan::single("here"), &["here"], Clock::real())?.finish();
//! assert_eq!(results.take().len(), 100);
//! assert!(report.ledger.is_closed());
//! # Ok::<(), jellybean_engine::Error>(())
//! ```
//!
//! Modules import each other in no circle: the run and its controller, the node, compilation, primitives,
//! the stage contract, pools and entries, records and their accounts, names. A test holds them to it.

#![forbid(unsafe_code)]

pub mod client;
pub mod clock;
pub mod error;
pub mod failure;
pub mod infrastructure;
pub mod link;
pub mod live;
pub mod metrics;
pub mod net;
pub mod node;
pub mod pilot;
pub mod placement;
pub mod plan;
pub mod planning;
pub mod primitive;
pub mod profile;
pub mod profiling;
mod random;
mod recent;
pub mod record;
pub mod run;
pub mod runner;
#[doc(hidden)]
pub mod sim;
pub mod sink;
pub mod source;
pub mod telemetry;
pub mod topology;

mod change;
mod checks;
mod compile;
mod controller;
mod credit;
mod crossing;
mod cutover;
mod digest;
mod dividing;
mod entry;
mod fit;
mod generation;
mod handover;
mod id;
mod ledger;
mod local;
mod message;
mod meter;
mod moving;
mod ordered;
mod part;
mod pool;
mod retune;
mod rounding;
mod shares;
mod stage;
mod survey;
mod talk;
mod timer;

pub use change::{Around, ChangeIds, ChangeReport, Phases};
pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use failure::{Failure, Reason};
pub use id::{Epoch, GenerationId};
pub use ledger::{Accounts, EdgeAccount, Gaps, Ids, Latency, SourceAccount};
pub use primitive::relational::{Change, Keep};
pub use record::Data;
pub use run::{Cut, Moving, Report, Run};
pub use stage::Kind;
pub use topology::{Graph, Stream, Topology};
