//! A folder of pictures as a camera.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jellybean_engine::source::{Arrival, Feed, Lane, Pacing, Policy, Source};
use jellybean_engine::{Clock, Error, ErrorKind, Result};

use super::Rate;
use crate::picture::{Format, Frame, Picture};
use crate::pixels::jpeg_size;

/// The largest picture file, in bytes: far beyond any 8K JPEG.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The most pictures of a folder: a bound on their names in memory.
const FILES_MAX: usize = 1 << 20;

/// The JPEG files of a folder (`.jpg`, `.jpeg`) in the order of their names; lossless, as fast as they are
/// taken, stamped as of one frame per second unless set otherwise.
///
/// A file that is no picture becomes a frame of 1 x 1 pixels with its bytes, which whatever reads the
/// pixels drops as `bad_picture`: nothing is lost in silence, and the run goes on.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    fps: u32,
    policy: Policy,
    pacing: Pacing,
}

impl Folder {
    /// The pictures in this folder.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), fps: 1, policy: Policy::Block, pacing: Pacing::Max }
    }

    /// Frames per second of media time, at least 1.
    #[must_use]
    pub fn fps(mut self, fps: u32) -> Self {
        self.fps = fps.max(1);
        self
    }

    /// What happens when frames come faster than they are taken.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether media time is waited for.
    #[must_use]
    pub fn pacing(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let place = self.path.display();
        let unreadable = |e| {
            Error::new(ErrorKind::NotFound, format!("the folder {place} cannot be read"))
                .way_out("give the path of a folder with JPEG files")
                .because(e)
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if is_jpeg(&path) {
                files.push(path);
            }
            if files.len() > FILES_MAX {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("{place} holds over {FILES_MAX} pictures"),
                )
                .way_out("divide it into several folders"));
            }
        }
        if files.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("{place} holds no picture"))
                .way_out("pictures are files that end in .jpg or .jpeg"));
        }
        files.sort();
        Ok(files)
    }
}

impl Source for Folder {
    type Record = Frame;

    fn lanes(&self) -> Vec<Lane> {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let step_ms = u64::from(1_000 / self.fps).max(1);
        let lane = Lane::new(name.unwrap_or_else(|| "folder".into()));
        vec![Lane { policy: self.policy, pacing: self.pacing, step_ms, ..lane }]
    }

    fn open(&self, _lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = Frame>>> {
        let camera = self.lanes().remove(0).name.into();
        let rate = Rate { frames: self.fps, seconds: 1 };
        Ok(Box::new(Pictures { camera, rate, files: self.files()?.into_iter(), number: 0 }))
    }
}

struct Pictures {
    camera: Arc<str>,
    rate: Rate,
    files: std::vec::IntoIter<PathBuf>,
    number: u64,
}

impl Feed for Pictures {
    type Record = Frame;

    fn next(&mut self) -> Result<Option<Arrival<Frame>>> {
        let Some(path) = self.files.next() else { return Ok(None) };
        let number = self.number;
        self.number += 1;
        let data = read(&path).unwrap_or_else(|e| {
            tracing::warn!(file = %path.display(), "cannot be read: {e}");
            Vec::new()
        });
        let (width, height) = jpeg_size(&data).unwrap_or((1, 1));
        let picture = Picture { width, height, format: Format::Jpeg, data: data.into() };
        Ok(Some(super::arrival(&self.camera, number, self.rate, picture)))
    }
}

fn is_jpeg(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    extension.is_some_and(|e| e == "jpg" || e == "jpeg")
}

/// At most one byte more than a picture may have, so that what is too large is noticed where it is read.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut data)?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::RgbBuffer;
    use crate::source::testing::jpeg;

    #[test]
    fn pictures_come_in_the_order_of_their_names_and_garbage_in_its_place() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = |name: &str, data: &[u8]| std::fs::write(folder.path().join(name), data).unwrap();
        file("b.JPG", &jpeg(8, 6));
        file("a.jpg", &jpeg(16, 4));
        file("c.jpeg", b"no picture");
        file("d.jpg", &jpeg(8, 6)[..40]);
        file("e.jpg", &[]);
        file("f.jpg", &jpeg(1, 1));
        file("notes.txt", b"not looked at");
        let source = Folder::new(folder.path()).fps(4);
        let mut feed = source.open(0, &Clock::real()).unwrap();
        let mut rgb = RgbBuffer::default();
        let mut seen = Vec::new();
        while let Some(arrival) = feed.next().unwrap() {
            let Frame { number, time_ms, picture, .. } = arrival.record;
            assert_eq!(time_ms, 250 * number);
            seen.push((picture.width, picture.height, rgb.read(&picture).is_ok()));
        }
        assert_eq!(seen[..2], [(16, 4, true), (8, 6, true)]);
        assert!(seen[2..5].iter().all(|(.., good)| !good), "{seen:?}");
        assert_eq!(seen[5..], [(1, 1, true)]);
    }

    #[test]
    fn error_a_folder_that_is_missing_or_holds_no_picture() {
        let folder = tempfile::TempDir::new().unwrap();
        let error = |path: &Path| Folder::new(path).open(0, &Clock::real()).err().expect("fails").to_string();
        assert!(error(folder.path()).contains("holds no picture"));
        assert!(error(&folder.path().join("nowhere")).contains("cannot be read"));
    }
}
