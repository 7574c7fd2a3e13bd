//! Plan files with keys, stages or values that nobody knows, given to the command.

use std::fs;

use tempfile::TempDir;

use super::check_words;
use crate::program::{demo, errors};

const PLAN: &str =
    "version = 1\n\n[default]\nnode = \"here\"\n\n[stages.detect]\nnode = \"here\"\nslots = 2\n";

/// The command's complaint about this plan, which names the file.
fn refused(plan: &str, words: &[&str]) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("plan.toml");
    fs::write(&file, plan).unwrap();
    let out = folder.path().join("out");
    let output = demo(&out).args(["--seconds", "1", "--json", "--plan"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    check_words(&errors(&output), words);
    if words.iter().any(|word| word.contains("line")) {
        check_words(&errors(&output), &[&file.display().to_string()]);
    }
    assert!(output.stdout.is_empty(), "a run that never was has no report");
}

#[test]
fn error_unknown_keys_name_file_line_and_key() {
    refused(&PLAN.replace("version = 1", "version = 1\ncolour = 3"), &["line 2", "unknown field `colour`"]);
    refused(&PLAN.replace("slots = 2", "slot = 2"), &["line 8", "unknown field `slot`", "`slots`"]);
    refused(&PLAN.replace("slots = 2", "slots = \"two\""), &["line 8", "slots"]);
    refused(&PLAN.replace("version = 1\n", ""), &["line 1", "missing field `version`"]);
}

#[test]
fn error_unknown_stages_and_versions_name_what_there_is() {
    refused(
        &PLAN.replace("stages.detect", "stages.detekt"),
        &["no stage is called \"detekt\"", "detect, track"],
    );
    refused(&PLAN.replace("version = 1", "version = 2"), &["version 2 is unknown", "version = 1"]);
    refused(&PLAN.replace("slots = 2", "slots = 0"), &["stage \"detect\" has 0 slots"]);
    refused(&PLAN.replace("slots = 2", "variant = \"w9\""), &["no variant \"w9\"", "w4, w8, w16"]);
}
