//! Lines of text in a file or on the standard output: what `jsonl` and `csv` share.
//!
//! Invariant: lines are written whole, so that several sinks can share the standard output.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use jellybean_engine::sink::Writer;
use jellybean_engine::{Data, Epoch, Error, ErrorKind, Failure, Reason, Result};

/// How many bytes of lines are held back before they are written in one go.
const PENDING_BYTES: usize = 64 << 10;

/// Where lines go.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Stdout,
    File(PathBuf),
}

/// A target that is open.
pub(super) struct Output {
    place: String,
    to: Box<dyn Write + Send>,
}

impl Target {
    /// Opens it from its beginning; what was in a file is gone.
    pub(super) fn create(&self) -> Result<Output> {
        self.open(OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// Opens it at its end.
    pub(super) fn append(&self) -> Result<Output> {
        self.open(OpenOptions::new().append(true).create(true))
    }

    fn open(&self, options: &OpenOptions) -> Result<Output> {
        let Self::File(path) = self else {
            return Ok(Output { place: "the standard output".into(), to: Box::new(io::stdout()) });
        };
        let place = path.display().to_string();
        let closed = |e| {
            Error::new(ErrorKind::Unavailable, format!("{place} cannot be written"))
                .way_out("check that its folder exists and is writable")
                .because(e)
        };
        let file = options.open(path).map_err(closed)?;
        Ok(Output { place, to: Box::new(file) })
    }

    /// Whether it is a file that has something in it by now.
    pub(super) fn is_begun(&self) -> bool {
        matches!(self, Self::File(path) if path.metadata().is_ok_and(|file| file.len() > 0))
    }
}

/// Writes the lines that a function makes of records.
pub(super) struct Lines<T, F> {
    output: Output,
    /// Whole lines only.
    pending: Vec<u8>,
    line: F,
    record: std::marker::PhantomData<fn(T)>,
}

impl<T, F: FnMut(&mut Vec<u8>, Epoch, &T) -> Result<(), String>> Lines<T, F> {
    /// `line` appends a record's line with its end, or says why there is none.
    pub(super) fn new(output: Output, line: F) -> Self {
        Self { output, pending: Vec::new(), line, record: std::marker::PhantomData }
    }

    fn write_out(&mut self) -> Result<(), Failure> {
        let outcome = self.output.to.write_all(&self.pending);
        let lines = self.pending.iter().filter(|b| **b == b'\n').count();
        self.pending.clear();
        self.pending.shrink_to(PENDING_BYTES);
        outcome.map_err(|e| {
            let place = &self.output.place;
            Failure::new(
                Reason::FAILED,
                format!("{place} cannot be written, up to {lines} lines are lost: {e}"),
            )
        })
    }
}

impl<T: Data, F> Writer for Lines<T, F>
where
    F: FnMut(&mut Vec<u8>, Epoch, &T) -> Result<(), String> + Send,
{
    type Record = T;

    fn write(&mut self, epoch: Epoch, record: T) -> Result<(), Failure> {
        let whole = self.pending.len();
        if let Err(message) = (self.line)(&mut self.pending, epoch, &record) {
            self.pending.truncate(whole);
            return Err(Failure::new(Reason::FAILED, message));
        }
        if self.pending.len() < PENDING_BYTES { Ok(()) } else { self.write_out() }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.write_out()?;
        self.output.to.flush().map_err(|e| {
            Failure::new(Reason::FAILED, format!("{} cannot be written: {e}", self.output.place))
        })
    }
}
