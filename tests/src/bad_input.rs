//! Bad input gets a clear error, and nothing is lost.

mod manifest;
mod model;
mod plan_file;
mod runtime;
mod sink;
mod video;

use jellybean_engine::{Error, ErrorKind};

/// An error is of this kind and says all of this.
fn check(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    check_words(&error.to_string(), words);
}

pub(crate) fn check_words(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}
