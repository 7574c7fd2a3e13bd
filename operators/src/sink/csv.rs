//! Records as rows of comma-separated values.

use std::path::PathBuf;

use csv::WriterBuilder;
use jellybean_engine::sink::{Sink, Writer};
use jellybean_engine::{Data, Result};

use super::lines::{Lines, Output, Target};

/// Writes a row per record (RFC 4180, ended by line feeds), after a row with the names of its fields if the
/// record is a struct. Rows are flat: a record that holds a list or a map cannot be one.
///
/// ```
/// use jellybean_engine::sink::Sink;
/// use jellybean_operators::sink::Csv;
/// let sink: Csv<(String, u32)> = Csv::stdout();
/// let mut counts = sink.open()?;
/// counts.write(40, ("north, left lane".into(), 3)).unwrap();
/// counts.flush().unwrap();
/// # Ok::<(), jellybean_engine::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Csv<T> {
    to: Target,
    record: std::marker::PhantomData<fn(T)>,
}

impl<T: Data> Csv<T> {
    /// Writes to the standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self { to: Target::Stdout, record: std::marker::PhantomData }
    }

    /// Writes to a file, from its beginning; what was in it is gone. A run that moves the sink to another
    /// node goes on at the end of that node's file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { to: Target::File(path.into()), record: std::marker::PhantomData }
    }
}

impl<T: Data> Sink for Csv<T> {
    type Record = T;

    fn open(&self) -> Result<Box<dyn Writer<Record = T>>> {
        self.to.create().map(|output| self.rows(output, None))
    }

    fn reopen(&self) -> Result<Box<dyn Writer<Record = T>>> {
        let begun = matches!(self.to, Target::Stdout).then_some(true);
        self.to.append().map(|output| self.rows(output, begun))
    }
}

impl<T: Data> Csv<T> {
    fn rows(&self, output: Output, begun: Option<bool>) -> Box<dyn Writer<Record = T>> {
        let to = self.to.clone();
        // Looked at with the first record: a sink that will move is opened while the old one still writes.
        let mut is_begun = begun;
        let row = move |bytes: &mut Vec<u8>, _epoch, record: &T| {
            let names = !*is_begun.get_or_insert_with(|| to.is_begun());
            let no_row = |e: &dyn std::fmt::Display| format!("a record is no row: {e}");
            let mut writer = WriterBuilder::new().has_headers(names).from_writer(bytes);
            writer.serialize(record).map_err(|e| no_row(&e))?;
            writer.flush().map_err(|e| no_row(&e))?;
            is_begun = Some(true);
            Ok(())
        };
        Box::new(Lines::new(output, row))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Seen {
        camera: String,
        score: f64,
        track: Option<u64>,
    }

    /// Texts with everything that rows have to quote.
    fn seen(i: u64) -> Seen {
        let text = ["plain", "with, comma", "\"quoted\"", "two\nlines", " spaces ", "", "\u{e9}"];
        Seen {
            camera: text[(i % 7) as usize].into(),
            score: 0.1 * i as f64,
            track: (!i.is_multiple_of(3)).then_some(i),
        }
    }

    #[test]
    fn what_is_read_back_is_what_was_written_also_by_a_sink_that_moved() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("seen.csv");
        let sink = Csv::<Seen>::file(&path);
        for (opened, range) in [(sink.open(), 0..9), (sink.reopen(), 9..9), (sink.reopen(), 9..20)] {
            let mut writer = opened.unwrap();
            range.for_each(|i| writer.write(i, seen(i)).unwrap());
            writer.flush().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("camera,score,track\nplain,0.0,\n"), "{text}");
        let read: Vec<Seen> =
            csv::Reader::from_path(&path).unwrap().deserialize().map(Result::unwrap).collect();
        assert_eq!(read, (0..20).map(seen).collect::<Vec<_>>());
    }

    #[test]
    fn error_what_is_no_row_and_a_full_disk() {
        let mut map = Csv::<std::collections::BTreeMap<u8, u8>>::stdout().open().unwrap();
        let failure = map.write(0, [(1, 2)].into()).expect_err("a map is no row");
        assert!(failure.to_string().contains("a record is no row"), "{failure}");

        let mut full = Csv::<(u32, u32)>::file("/dev/full").open().unwrap();
        full.write(0, (1, 2)).unwrap();
        let failure = full.flush().expect_err("nothing can be written there");
        assert!(
            failure.to_string().contains("/dev/full cannot be written, up to 1 lines are lost"),
            "{failure}"
        );
    }
}
