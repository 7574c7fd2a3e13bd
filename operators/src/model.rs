//! ONNX models: the runtime library, families with their manifests, sessions, and what reads outputs.
//!
//! Invariant: `ort` is known to `runtime`, `session` and `raw` alone, and nothing of it is touched before
//! [`runtime::load`] succeeded. Files are checked against their manifest before a session sees them.

pub mod detector;
pub mod family;
mod head;
pub mod manifest;
mod nms;
mod raw;
pub mod runtime;
mod session;

#[cfg(test)]
pub(crate) mod testing;

pub use detector::Detector;
pub use family::{Detect, Device, EMBEDDED, Embedded, Family, Key, Model, Task, family};
pub use manifest::{Manifest, Variant};
pub use raw::{RawInput, RawModel, RawOutput, Values};
