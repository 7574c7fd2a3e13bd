//! The test families of `tests/data/models`, and copies of them that a test may spoil.

use std::fs;
use std::path::{Path, PathBuf};

use jellybean_operators::model::{Detect, Family};

/// The family that sees red and green spots in 64 x 48 pixels, with variants that are spoilt in one way each.
#[must_use]
pub fn spot() -> Family<Detect> {
    Family::folder(folder("spot"))
}

/// A copy of a test family, which is gone when this is dropped.
pub struct Copy {
    parent: tempfile::TempDir,
    name: String,
}

impl Copy {
    /// Copies the family of this name.
    ///
    /// # Panics
    /// If there is none, or no room for it.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let copy = Self { parent: tempfile::tempdir().expect("there is room"), name: name.to_owned() };
        fs::create_dir(copy.folder()).expect("the folder is new");
        for file in fs::read_dir(folder(name)).expect("there is such a family") {
            let file = file.expect("it can be read");
            fs::copy(file.path(), copy.folder().join(file.file_name())).expect("there is room");
        }
        copy
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.parent.path().join(&self.name)
    }

    /// One of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Replaces a piece of its manifest.
    ///
    /// # Panics
    /// If the manifest has no such piece.
    pub fn edit(&self, piece: &str, by: &str) {
        let path = self.file("manifest.toml");
        let text = fs::read_to_string(&path).expect("there is a manifest");
        assert!(text.contains(piece), "{text}");
        fs::write(path, text.replacen(piece, by, 1)).expect("it can be written");
    }

    /// The family, read now.
    #[must_use]
    pub fn family(&self) -> Family<Detect> {
        Family::folder(self.folder())
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models").join(name)
}
