//! Where streams end: lines of JSON, rows of CSV, annotated pictures and videos, a function, nothing.
//!
//! Invariant: a record that cannot be written is a failure of that record, never of the run, and nothing
//! half-written stays behind.

mod annotated;
mod call;
mod csv;
mod jpeg;
mod jsonl;
mod lines;
mod mp4;
mod null;

pub use annotated::{Annotated, Mark};
pub use call::Call;
pub use csv::Csv;
pub use jpeg::Jpegs;
pub use jsonl::Jsonl;
pub use mp4::Mp4;
pub use null::Null;

use std::path::Path;

use jellybean_engine::{Error, ErrorKind, Result};

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| {
        let message = format!("the folder {} for pictures cannot be made", folder.display());
        Error::new(ErrorKind::Unavailable, message).way_out("name a folder that can be written").because(e)
    })
}
