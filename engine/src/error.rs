//! The one error of the house: what happened, whether trying again can help, and the way out.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What went wrong, in the coarse terms a caller acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// A topology, plan or configuration is wrong; somebody has to change it.
    Invalid,
    /// Something named is not there: a file, a camera, a program, a library.
    NotFound,
    /// Something is there but is not what it should be: truncated, of another checksum or shape.
    Corrupt,
    /// Two parts do not fit together: versions, types, protocols.
    Incompatible,
    /// Something is out of reach for now.
    Unavailable,
    /// Something took longer than its bound.
    Timeout,
    /// An operation failed in its own way; the message says how.
    Failed,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout)
    }
}

/// What happened and where, with the way out and the cause where they are known.
///
/// ```
/// use jellybean_engine::{Error, ErrorKind};
/// let e = Error::new(ErrorKind::NotFound, "no video at street.mp4").way_out("pass --video FILE");
/// assert_eq!(e.to_string(), "no video at street.mp4 (pass --video FILE)");
/// assert!(!e.kind().is_retryable());
/// ```
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: ErrorKind,
    message: String,
    way_out: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind, with a sentence that says what happened and where.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, message: message.into(), way_out: None, source: None }))
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn way_out(mut self, way_out: impl Into<String>) -> Self {
        self.0.way_out = Some(way_out.into());
        self
    }

    /// Adds the error beneath.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts the place in front of the message: `stage "detect": …`.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// The same error for a second reader, with its causes as text.
    #[must_use]
    pub fn again(&self) -> Self {
        let Parts { kind, message, way_out, source } = &*self.0;
        let source = source.as_ref().map(|s| s.to_string().into());
        Self(Box::new(Parts { kind: *kind, message: message.clone(), way_out: way_out.clone(), source }))
    }

    /// The coarse kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

/// What goes to another process: kind, message with its causes, way out.
#[derive(Serialize, Deserialize)]
struct Told(ErrorKind, String, Option<String>);

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Parts { kind, message, way_out, source } = &*self.0;
        let cause = source.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        Told(*kind, format!("{message}{cause}"), way_out.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Told(kind, message, way_out) = Told::deserialize(deserializer)?;
        Ok(Self(Box::new(Parts { kind, message, way_out, source: None })))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        if let Some(way_out) = &self.0.way_out {
            write!(f, " ({way_out})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // `Display` already tells the cause, so the chain continues below it.
        self.0.source.as_ref().and_then(|s| s.source())
    }
}
