//! A user's own ONNX file: `models add`, `models check` and `models list`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use jellybean_operators::fetch::{Cache, Environment, onnxruntime_library, silent};
use jellybean_operators::model::runtime;
use serde_json::Value;
use tempfile::TempDir;

use crate::bad_input::check_words;
use crate::program::{errors, jellybean, last_line};

/// Runs `jellybean models …` with a cache of its own.
fn models(cache: &Path, arguments: &[&str]) -> Output {
    let usual = Cache::new(Environment::of_process()).unwrap();
    let library = onnxruntime_library(&usual, None, &runtime::probe, &silent).unwrap();
    let mut command = jellybean();
    command.arg("models").args(arguments).arg("--onnxruntime").arg(library);
    command.env("JELLYBEAN_CACHE", cache).output().unwrap()
}

fn file(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models").join(family).join(format!("{family}.onnx"))
}

fn done(output: &Output) -> Value {
    assert!(output.status.success(), "{}", errors(output));
    last_line(output)
}

fn refused(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{}", errors(output));
    check_words(&errors(output), words);
}

#[test]
fn a_file_of_ones_own_becomes_a_family() {
    let cache = TempDir::new().unwrap();
    let yolo = file("yolo-columns");
    let yolo = yolo.to_str().unwrap();
    let added = done(&models(cache.path(), &["add", yolo, "--name", "mine", "--json"]));
    assert_eq!((&added["task"], &added["head"]), (&"detect".into(), &"yolo".into()), "{added}");
    assert_eq!(added["inputs"][0], "\"images\" Tensor<f32>(N, 3, H, W)");
    let notes = added["to_check"].to_string();
    check_words(
        &notes,
        &["width: the graph leaves it open; 640 is assumed", "names of the 5 classes", "license"],
    );
    let folder = cache.path().join("models/mine");
    let manifest = fs::read_to_string(folder.join("manifest.toml")).unwrap();
    check_words(&manifest, &["layout = \"columns\"", "objectness = false", "width = 640", "\"class-4\""]);

    let checked = done(&models(cache.path(), &["check", "mine", "--json"]));
    let variant = &checked["variants"][0];
    assert!(
        variant["problem"].is_null() && variant["run"].as_str().unwrap().contains("things seen"),
        "{checked}"
    );
    let by_folder = models(cache.path(), &["check", folder.to_str().unwrap()]);
    assert!(by_folder.status.success(), "{}", errors(&by_folder));
    let listed = done(&models(cache.path(), &["list", "--json"]));
    let mine = listed.as_array().unwrap().iter().find(|l| l["family"] == "mine").unwrap();
    assert_eq!((&mine["task"], &mine["here"]), (&"detect".into(), &true.into()));

    refused(&models(cache.path(), &["add", yolo, "--name", "mine"]), &["\"mine\" already", "--name"]);
    fs::write(folder.join("mine.onnx"), "spoilt").unwrap();
    refused(&models(cache.path(), &["check", "mine"]), &["1 of 1 variants"]);
}

#[test]
fn vectors_are_guessed_or_told() {
    let cache = TempDir::new().unwrap();
    let look = file("look");
    let look = look.to_str().unwrap();
    let guessed = done(&models(cache.path(), &["add", look, "--name", "a", "--json"]));
    assert_eq!(guessed["task"], "classify");
    let told = done(&models(cache.path(), &["add", look, "--name", "b", "--task", "embed", "--json"]));
    assert_eq!((&told["task"], &told["run"]), (&"embed".into(), &"a vector of 16".into()), "{told}");
}

#[test]
fn error_files_that_are_no_family_leave_nothing_behind() {
    let cache = TempDir::new().unwrap();
    let other = cache.path().join("other.onnx");
    fs::write(&other, "no model").unwrap();
    refused(&models(cache.path(), &["add", other.to_str().unwrap()]), &["other.onnx", "cannot read"]);
    refused(&models(cache.path(), &["add", "/no/such.onnx"]), &["/no/such.onnx", "missing"]);
    let two = file("distributions");
    refused(
        &models(cache.path(), &["add", two.to_str().unwrap()]),
        &["\"classes\"", "manifest.toml by hand"],
    );
    refused(
        &models(cache.path(), &["add", two.to_str().unwrap(), "--name", "../x"]),
        &["cannot be a family's name"],
    );
    refused(&models(cache.path(), &["check", "nobody"]), &["no model family \"nobody\""]);
    let left = fs::read_dir(cache.path().join("models")).into_iter().flatten().count();
    assert_eq!(left, 0);
}
