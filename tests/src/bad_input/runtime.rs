//! An ONNX Runtime that is absent, too old, or none at all.

use std::path::{Path, PathBuf};
use std::process::Command;

use jellybean_engine::ErrorKind;
use jellybean_operators::fetch::{Cache, Environment, onnxruntime_library, silent};
use jellybean_operators::model::runtime;
use tempfile::TempDir;

use super::{check, check_words};
use crate::program::{demo, errors};

/// A library that answers like ONNX Runtime 1.16.3, as far as its version goes.
fn old_library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("old.c"), folder.join("libonnxruntime.so"));
    let code = r#"
        static const char* version(void) { return "1.16.3"; }
        static const struct { void* get_api; const char* (*version)(void); } base = { 0, version };
        const void* OrtGetApiBase(void) { return &base; }
    "#;
    std::fs::write(&source, code).unwrap();
    let arguments = [Path::new("-shared"), Path::new("-fPIC"), Path::new("-o"), &library, &source];
    let compiled = Command::new("cc").args(arguments).status();
    assert!(compiled.expect("the test needs a C compiler").success());
    library
}

fn refused(library: &Path, kind: ErrorKind, words: &[&str]) {
    let place = library.display().to_string();
    let words = [&[place.as_str(), "--onnxruntime", "1.17"], words].concat();
    let cache = Cache::new(Environment::of_process()).unwrap();
    let error = onnxruntime_library(&cache, Some(library), &runtime::probe, &silent).unwrap_err();
    check(&error, kind, &words);

    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let output = demo(&out).args(["--seconds", "1", "--onnxruntime"]).arg(library).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    check_words(&errors(&output), &words);
    assert!(!out.exists() && output.stdout.is_empty(), "nothing has begun");
}

#[test]
fn error_absent() {
    refused(Path::new("/no/such/libonnxruntime.so"), ErrorKind::NotFound, &["not a file"]);
}

#[test]
fn error_too_old() {
    let folder = TempDir::new().unwrap();
    refused(&old_library(folder.path()), ErrorKind::Incompatible, &["is 1.16", "too old"]);
}

#[test]
fn error_not_a_runtime() {
    let folder = TempDir::new().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    std::fs::write(&library, "not a library").unwrap();
    refused(&library, ErrorKind::Incompatible, &["is not an ONNX Runtime"]);
}
