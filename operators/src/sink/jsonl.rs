//! Records as lines of JSON.

use std::io::{self, Write};
use std::path::PathBuf;

use jellybean_engine::sink::{Sink, Writer};
use jellybean_engine::{Change, Data, Epoch, Result};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::lines::{Lines, Output, Target};

/// Writes `{"epoch": …, "record": …}`, a line per record; for changes of relations see [`Jsonl::changes`].
///
/// Bytes, such as a frame's pixels, are not written: a string says how many there were.
///
/// ```
/// use jellybean_engine::sink::Sink;
/// use jellybean_operators::sink::Jsonl;
/// let sink: Jsonl<(String, u32)> = Jsonl::stdout();
/// let mut counts = sink.open()?;
/// counts.write(40, ("north".into(), 3)).unwrap();
/// counts.flush().unwrap();
/// # Ok::<(), jellybean_engine::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Jsonl<T> {
    to: Target,
    line: LineOf<T>,
}

/// Appends a record's JSON, without the line's end.
type LineOf<T> = fn(&mut Vec<u8>, Epoch, &T) -> serde_json::Result<()>;

impl<T: Serialize> Jsonl<T> {
    /// Writes to the standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self { to: Target::Stdout, line: plain }
    }

    /// Writes to a file, from its beginning; what was in it is gone. A run that moves the sink to another
    /// node goes on at the end of that node's file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { to: Target::File(path.into()), line: plain }
    }
}

impl<R: Serialize> Jsonl<Change<R>> {
    /// Writes `{"epoch": …, "diff": …, "record": …}`: how a relation's changes are told.
    #[must_use]
    pub fn changes(mut self) -> Self {
        self.line = |to, epoch, Change { diff, record }| {
            #[derive(Serialize)]
            struct Line<'a, R> {
                epoch: Epoch,
                diff: i64,
                record: &'a R,
            }
            append(to, &Line { epoch, diff: *diff, record })
        };
        self
    }
}

impl<T: Data> Sink for Jsonl<T> {
    type Record = T;

    fn open(&self) -> Result<Box<dyn Writer<Record = T>>> {
        self.to.create().map(|output| self.lines(output))
    }

    fn reopen(&self) -> Result<Box<dyn Writer<Record = T>>> {
        self.to.append().map(|output| self.lines(output))
    }
}

impl<T: Data> Jsonl<T> {
    fn lines(&self, output: Output) -> Box<dyn Writer<Record = T>> {
        let line = self.line;
        let line = move |to: &mut Vec<u8>, epoch, record: &T| {
            line(to, epoch, record).map_err(|e| format!("a record has no JSON form: {e}"))?;
            to.push(b'\n');
            Ok(())
        };
        Box::new(Lines::new(output, line))
    }
}

fn plain<T: Serialize>(to: &mut Vec<u8>, epoch: Epoch, record: &T) -> serde_json::Result<()> {
    #[derive(Serialize)]
    struct Line<'a, T> {
        epoch: Epoch,
        record: &'a T,
    }
    append(to, &Line { epoch, record })
}

fn append(to: &mut Vec<u8>, line: &impl Serialize) -> serde_json::Result<()> {
    line.serialize(&mut Serializer::with_formatter(to, BytesCounted))
}

/// Compact JSON that tells how many bytes there are instead of listing them as numbers.
struct BytesCounted;

impl Formatter for BytesCounted {
    fn write_byte_array<W: ?Sized + Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        write!(writer, "\"{} bytes\"", value.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use jellybean_engine::{ErrorKind, Reason};

    use super::*;
    use crate::picture::{Format, Picture};

    #[test]
    fn a_sink_that_moved_goes_on_where_it_was() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("lines");
        let sink = Jsonl::<u32>::file(&path);
        for (opened, n) in [(sink.open(), 1), (sink.reopen(), 2), (sink.reopen(), 3)] {
            let mut writer = opened.unwrap();
            // Prepared for a change of plan that is aborted.
            drop(sink.reopen().unwrap());
            writer.write(0, n).unwrap();
            writer.flush().unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("\"record\":").count(), 3, "{text}");
        drop(sink.open().unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "", "another run begins anew");
    }

    #[test]
    fn a_line_per_record_visible_after_a_flush() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("counts.jsonl");
        let mut writer = Jsonl::<(String, u32)>::file(&path).open().unwrap();
        writer.write(0, ("a\n\"b\"".into(), 1)).unwrap();
        writer.write(40, ("c".into(), 2)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        writer.flush().unwrap();
        let lines = "{\"epoch\":0,\"record\":[\"a\\n\\\"b\\\"\",1]}\n{\"epoch\":40,\"record\":[\"c\",2]}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), lines);
    }

    #[test]
    fn many_lines_are_written_before_a_flush() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("many.jsonl");
        let mut writer = Jsonl::<u64>::file(&path).open().unwrap();
        (0..10_000).for_each(|n| writer.write(n, n).unwrap());
        assert!(fs::read_to_string(&path).unwrap().ends_with("}\n"));
        writer.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 10_000);
    }

    #[test]
    fn changes_are_told_with_their_diff() {
        let sink = Jsonl::<Change<&str>>::stdout().changes();
        let mut lines = Vec::new();
        (sink.line)(&mut lines, 7, &Change { diff: -1, record: "x" }).unwrap();
        assert_eq!(lines, br#"{"epoch":7,"diff":-1,"record":"x"}"#);
    }

    #[test]
    fn pixels_are_counted_not_listed() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("pictures.jsonl");
        let mut writer = Jsonl::<Picture>::file(&path).open().unwrap();
        writer.write(1, Picture { width: 2, height: 2, format: Format::Rgb, data: [9; 12].into() }).unwrap();
        writer.flush().unwrap();
        let line = fs::read_to_string(&path).unwrap();
        assert!(line.contains("\"data\":\"12 bytes\""), "{line}");
    }

    #[test]
    fn error_a_record_without_json_form_leaves_no_trace() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("maps.jsonl");
        let mut writer = Jsonl::<BTreeMap<(u8, u8), u8>>::file(&path).open().unwrap();
        let failure = writer.write(1, BTreeMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(failure.reason, Reason::FAILED);
        writer.write(2, BTreeMap::new()).unwrap();
        writer.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"epoch\":2,\"record\":{}}\n");
    }

    #[test]
    fn error_a_full_disk_is_a_failure() {
        let mut writer = Jsonl::<u8>::file("/dev/full").open().unwrap();
        writer.write(1, 2).unwrap();
        let failure = writer.flush().unwrap_err();
        assert!(failure.message.contains("/dev/full cannot be written, up to 1 lines"), "{failure}");
        writer.flush().unwrap();
    }

    #[test]
    fn error_a_folder_that_is_not_there() {
        let error = Jsonl::<u8>::file("/nowhere/a.jsonl").open().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("check that its folder exists"), "{error}");
    }
}
