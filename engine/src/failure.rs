//! Why one item was dropped, while everything around it goes on.

use std::borrow::Cow;
use std::fmt;

/// A reason in the ledger: a short snake_case word, of which a run has few.
///
/// ```
/// use jellybean_engine::Reason;
/// assert_eq!(Reason::TIMEOUT.as_str(), "timeout");
/// assert_eq!(Reason::new("too_small").as_str(), "too_small");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// A `latest` source had a newer frame.
    pub const OVERFLOW: Self = Self(Cow::Borrowed("overflow"));
    /// The plan lets in less than the source sends: not everything can be served.
    pub const SHED: Self = Self(Cow::Borrowed("shed"));
    /// The run was stopped before the frame entered.
    pub const STOPPED: Self = Self(Cow::Borrowed("stopped"));
    /// A user closure or a runner panicked on the item.
    pub const PANIC: Self = Self(Cow::Borrowed("panic"));
    /// A `try_` closure returned an error.
    pub const REJECTED: Self = Self(Cow::Borrowed("rejected"));
    /// A model run, or a write, failed.
    pub const FAILED: Self = Self(Cow::Borrowed("failed"));
    /// A model run took longer than its bound.
    pub const TIMEOUT: Self = Self(Cow::Borrowed("timeout"));
    /// A model returned NaN or infinity.
    pub const NOT_FINITE: Self = Self(Cow::Borrowed("not_finite"));
    /// One record became more than its stage may make of it.
    pub const FAN_OUT: Self = Self(Cow::Borrowed("fan_out"));
    /// A node that the frame was on, or had to pass, was lost.
    pub const NODE_LOST: Self = Self(Cow::Borrowed("node_lost"));
    /// The record could not be brought over a link.
    pub const LINK: Self = Self(Cow::Borrowed("link"));
    /// The node's reasons are used up (32 of them); this one is counted together with others.
    pub const OTHER: Self = Self(Cow::Borrowed("other"));

    /// A reason of one's own. Keep them few: past 32 a ledger counts new ones as `other`.
    #[must_use]
    pub fn new(word: impl Into<Cow<'static, str>>) -> Self {
        Self(word.into())
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The failure of one item: its reason for the ledger, and a sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Counted in the ledger.
    pub reason: Reason,
    /// Logged, and kept as the reason's example in the report.
    pub message: String,
}

impl Failure {
    /// A failure with its reason and a sentence.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}
