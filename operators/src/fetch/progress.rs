//! News for whoever draws them; this crate prints nothing.

/// What is going on just now. A new `what` begins a new step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In words: `downloading onnxruntime 1.31.1`.
    pub what: String,
    /// Bytes that have arrived; 0 where bytes do not apply.
    pub done_bytes: u64,
    /// Bytes that will have arrived at the end, roughly; `None` where the length of a step is unknown.
    pub total_bytes: Option<u64>,
}

/// Receives the steps of a long operation, in order, several a second at most per step.
pub type Progress<'a> = &'a dyn Fn(Step);

impl Step {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), done_bytes: 0, total_bytes: None }
    }
}

/// A [`Progress`] for callers that draw nothing.
///
/// ```
/// use jellybean_operators::fetch::{Progress, silent};
/// let progress: Progress = &silent;
/// # let _ = progress;
/// ```
pub fn silent(_: Step) {}
