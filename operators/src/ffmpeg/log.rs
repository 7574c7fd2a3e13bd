//! What ffmpeg said on its error output: enough of it to explain a failure, never more.
//!
//! Invariants: memory is bounded by [`LINES`] times [`LINE_BYTES`], whatever ffmpeg writes; no secret of an
//! address gets in.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::process::ChildStderr;

use rustix::io::{Errno, read};

use crate::url::redacted;

/// How many lines are kept: the last ones.
const LINES: usize = 20;
/// How much of a line is kept, in bytes.
const LINE_BYTES: usize = 400;

/// Reads the output of `-loglevel level+info`.
#[derive(Debug, Default)]
pub(crate) struct Log {
    unfinished: Vec<u8>,
    tail: VecDeque<String>,
    errors: u64,
    is_text: bool,
}

impl Log {
    /// Takes in what a pipe that does not block has to say by now; it is `None` once it is at its end.
    pub(crate) fn hear(&mut self, pipe: &mut Option<ChildStderr>) -> io::Result<()> {
        let mut said = [0; 4096];
        while let Some(stderr) = pipe {
            match read(stderr, &mut said) {
                Ok(0) => *pipe = None,
                Ok(bytes) => self.push(&said[..bytes]),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes in what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.end_line();
            } else if self.unfinished.len() < LINE_BYTES {
                self.unfinished.push(byte);
            }
        }
    }

    /// Takes the unfinished line for a whole one: nothing more will come.
    pub(crate) fn end_line(&mut self) {
        let cut = self.unfinished.len() >= LINE_BYTES;
        let line = redacted(&String::from_utf8_lossy(&self.unfinished), cut).into_owned();
        self.unfinished.clear();
        self.is_text |= line.contains("[info]") && line.contains(" Video: ansi");
        if line.trim().is_empty() || line.contains("[info]") {
            return;
        }
        self.errors += u64::from(line.contains("[error]") || line.contains("[fatal]"));
        tracing::debug!(target: "ffmpeg", "{line}");
        if self.tail.len() == LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(readable(&line));
    }

    /// How many lines told of errors.
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    /// Whether the input is text, which ffmpeg renders as a picture of a terminal.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text
    }

    /// Whether one of the last lines contains `words`.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.tail.iter().any(|line| line.contains(words))
    }
}

/// The last lines, in one.
impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tail.is_empty() {
            return f.write_str("nothing");
        }
        for (i, line) in self.tail.iter().enumerate() {
            write!(f, "{}{line}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// `[h264 @ 0x55d6] [error] missing picture` becomes `h264: missing picture`: addresses differ from run
/// to run and help nobody.
fn readable(line: &str) -> String {
    let mut parts = Vec::new();
    let mut rest = line.trim();
    while let Some((tag, after)) = rest.strip_prefix('[').and_then(|r| r.split_once("] ")) {
        if let Some((name, _)) = tag.split_once(" @ 0x") {
            parts.push(name);
        }
        rest = after;
    }
    parts.push(rest);
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES, LINES, Log};

    #[test]
    fn keeps_what_explains_a_failure() {
        let mut log = Log::default();
        log.push(b"[info] Input #0, mov,mp4,m4a, from 'file:a.mp4':\n[info]   Duration: 1\n[h264 @ 0x55");
        assert!(!log.is_text());
        log.push(
            b"d6] [error] broken\n[info]   Stream #0:0: Video: ansi, pal8, 640x400, 25 fps\n[h264 @ 0x55",
        );
        log.push(
            b"d6] [error] Invalid NAL unit size (492 > 139).\n\n[warning] late\rTo ignore this, add '?'",
        );
        log.end_line();
        assert!(log.is_text());
        assert_eq!(log.errors(), 2);
        assert_eq!(
            log.to_string(),
            "h264: broken; h264: Invalid NAL unit size (492 > 139).; late; To ignore this, add '?'"
        );
        assert!(log.says("NAL unit") && !log.says("Duration"));
    }

    #[test]
    fn stays_small_whatever_is_written() {
        let mut log = Log::default();
        for _ in 0..100 {
            log.push(&[b'x'; 10_000]);
            log.push(b"\n");
        }
        assert_eq!(log.tail.len(), LINES);
        assert!(log.to_string().len() <= LINES * (LINE_BYTES + 2));
    }

    #[test]
    fn keeps_no_secret() {
        let mut log = Log::default();
        log.push(b"[in#0 @ 0x5] [error] Error opening input file rtsp://me:secret@host/a?key=secret.\n");
        log.push(&[b'x'; LINE_BYTES - 20]);
        log.push(b" rtsp://me:secret@host/a\n");
        log.end_line();
        let said = log.to_string();
        assert!(said.contains("rtsp://***@host/a***") && said.ends_with("rtsp://***"), "{said}");
        assert!(!said.contains("secre"), "{said}");
    }

    #[test]
    fn survives_broken_text() {
        let mut log = Log::default();
        log.push(b"[\n[] \n[a @ 0x] \n\xff\xfe[error] \n] [\n");
        assert_eq!(log.errors(), 1);
    }
}
