//! ONNX models: the runtime library, families with their manifests, sessions, and what reads outputs.
//!
//! Invariant: `ort` is known to `runtime`, `session` and `raw` alone, and nothing of it is touched before
//! [`runtime::load`] succeeded. Files are checked against their manifest before a session sees them.

mod classify;
mod detect;
mod embed;
pub mod family;
mod grouped;
pub mod guess;
mod head;
pub mod manifest;
mod nms;
mod raw;
mod read;
pub mod runtime;
mod session;

#[cfg(test)]
pub(crate) mod testing;

pub use classify::Classify;
pub use detect::Detect;
pub use embed::{Embed, EmbedSeen};
pub use family::{
    Device, EMBEDDED, Embedded, Family, Key, Model, Task, family, manifest_in, manifest_of, read_model,
    sha256,
};
pub use manifest::{Manifest, Variant};
pub use raw::{Port, RawInput, RawModel, RawOutput, Values};
pub use read::Read;
