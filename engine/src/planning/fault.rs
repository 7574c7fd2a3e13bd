//! What is wrong in a file, and in which entry, so that whoever has read the file can tell the line.

use crate::error::{Error, ErrorKind};

/// An entry of a TOML file: of the tables `[[table]]` the one of this number, counted from 0, and its key. Without a
/// table, a key of the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of the array of tables; empty for a key of the file itself.
    pub table: &'static str,
    /// Which of them.
    pub index: usize,
    /// The key.
    pub key: &'static str,
}

impl Entry {
    pub(super) fn key(key: &'static str) -> Self {
        Self { table: "", index: 0, key }
    }

    /// The line of the entry, counted from 1: that of its key, or of its table if the key is not written there. It
    /// is looked for in text that was read as TOML before, and found where tables are written as `[[table]]`.
    ///
    /// ```
    /// use jellybean_engine::planning::Entry;
    /// let text = "version = 1\n\n[[node]]\nname = \"a\"\n\n[[node]]\nname = \"b\"\nslots = 0\n";
    /// assert_eq!(Entry { table: "node", index: 1, key: "slots" }.line(text), Some(8));
    /// assert_eq!(Entry { table: "node", index: 1, key: "site" }.line(text), Some(6));
    /// assert_eq!(Entry { table: "link", index: 0, key: "from" }.line(text), None);
    /// ```
    #[must_use]
    pub fn line(&self, text: &str) -> Option<usize> {
        let head = format!("[[{}]]", self.table);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let from = match self.table {
            "" => 0,
            _ => lines.iter().enumerate().filter(|(_, line)| line.starts_with(&head)).nth(self.index)?.0 + 1,
        };
        let is_key =
            |line: &&str| line.strip_prefix(self.key).is_some_and(|rest| rest.trim_start().starts_with('='));
        let own = lines[from..].iter().take_while(|line| !line.starts_with('['));
        match own.clone().position(is_key) {
            Some(at) => Some(from + at + 1),
            None => (from > 0).then_some(from),
        }
    }
}

/// What is wrong with an entry.
#[derive(Debug)]
pub struct Fault {
    /// Where.
    pub entry: Entry,
    /// What, and the way out.
    pub error: Error,
}

impl Fault {
    pub(super) fn new(entry: Entry, message: impl Into<String>, way_out: &str) -> Self {
        Self { entry, error: Error::new(ErrorKind::Invalid, message).way_out(way_out) }
    }
}
