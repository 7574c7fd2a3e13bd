//! A file's place in the cache and the sha256 it must have there.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result};

/// Where a file lies, below the cache folder, and its sha256 in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) file: PathBuf,
    pub(super) sha256: String,
}

impl Pin {
    pub(super) fn new(file: impl Into<PathBuf>, sha256: impl Into<String>) -> Self {
        Self { file: file.into(), sha256: sha256.into() }
    }

    /// The last part of `file`.
    pub(super) fn name(&self) -> &Path {
        self.file.file_name().map_or(&self.file, Path::new)
    }
}

/// Compares a file's sha256 with what it must be.
pub(super) fn verify(path: &Path, expected: &str) -> Result<()> {
    let found = sha256_of(path)?;
    if found == expected {
        return Ok(());
    }
    let message =
        format!("{} is not what it should be: sha256 expected {expected}, found {found}", path.display());
    Err(Error::new(ErrorKind::Corrupt, message)
        .way_out("delete it and run the command again, or `jellybean models fetch`"))
}

fn sha256_of(path: &Path) -> Result<String> {
    let unreadable =
        |error| Error::new(ErrorKind::Failed, format!("cannot read {}", path.display())).because(error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk).map_err(unreadable)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hash.update(&chunk[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_digest_passes_and_another_is_named_with_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc.onnx");
        std::fs::write(&path, "abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(&path, right).unwrap();

        let error = verify(&path, "00ff").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        for part in ["abc.onnx", "expected 00ff", right, "jellybean models fetch"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}
