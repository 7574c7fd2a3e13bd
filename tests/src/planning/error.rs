//! Files of a plan that are not right: each complaint names the file, the line, and the way out.

use std::fs;

use tempfile::TempDir;

use super::{plan, ready};
use crate::bad_input::check_words;
use crate::program::errors;

/// What `plan` says of the junction after a change in one of its files.
fn refused(file: &str, from: &str, to: &str, words: &[&str]) {
    let folder = TempDir::new().unwrap();
    let mut arguments = vec!["--topology".to_owned(), "junction".to_owned()];
    let files = [
        ("infrastructure", "edge-cloud.toml"),
        ("profile", "junction.profile.toml"),
        ("rates", "junction.rates.toml"),
    ];
    for (option, name) in files {
        let mut text = fs::read_to_string(ready(name)).unwrap();
        if option == file {
            assert!(text.contains(from), "{name} has no {from:?}");
            text = text.replacen(from, to, 1);
        }
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        arguments.extend([format!("--{option}"), path.display().to_string()]);
    }
    arguments.extend(["--accuracy-min".to_owned(), "0.5".to_owned()]);
    let output = plan(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let name = files.iter().find(|(option, _)| *option == file).unwrap().1;
    check_words(&said, &[words, &[name]].concat());
    assert!(output.stdout.is_empty());
}

#[test]
fn error_rates_that_do_not_fit() {
    let wrong = |from, to, words: &[&str]| refused("rates", from, to, words);
    wrong("rate_per_s = 50.0", "rate_per_s = -1.0", &["line", "\"cameras\" sends -1"]);
    wrong("rate_per_s = 50.0", "rate_per_s = nan", &["line", "sends NaN"]);
    wrong("rate_per_s = 50.0", "rate_per_s = 1e30", &["line", "from 0 to"]);
    wrong("rate_per_s = 50.0", "rate = 50.0", &["line", "unknown field `rate`"]);
    wrong("name = \"cameras\"", "name = \"camera\"", &["line", "no source \"camera\"", "sources: cameras"]);
    wrong(
        "site = \"junction\"",
        "site = \"moon\"",
        &["line", "no node is at site \"moon\"", "edge at junction"],
    );
    wrong("version = 1", "version = 2", &["line", "version 2 is unknown"]);
    let place = "version = 1\n[[place]]\nstage = \"tally\"\nnode = \"moon\"\n";
    wrong("version = 1", place, &["line", "there is no node \"moon\""]);
    let place = "version = 1\n[[place]]\nstage = \"tallly\"\nnode = \"edge\"\n";
    wrong("version = 1", place, &["line", "no stage \"tallly\"", "detect, track"]);
}

#[test]
fn error_infrastructures_that_are_not_right() {
    let wrong = |from, to, words: &[&str]| refused("infrastructure", from, to, words);
    wrong("usd_per_h = 0.05", "usd_per_h = nan", &["line 11", "usd_per_h is NaN"]);
    wrong("usd_per_h = 0.05", "usd_per_h = -0.05", &["line 11", "usd_per_h is -0.05"]);
    wrong("slots = 2", "slots = 1000000000", &["line 10", "1000000000 slots"]);
    wrong("to = \"region\"", "to = \"moon\"", &["a link names site \"moon\""]);
    wrong("mbit_per_s = 100.0", "mbit_per_s = nan", &["line", "mbit_per_s is NaN"]);
    wrong("round_trip_ms = 20.0", "round_trip = 20.0", &["line", "unknown field `round_trip`"]);
}

#[test]
fn error_profiles_that_lack_something() {
    let wrong = |from, to, words: &[&str]| refused("profile", from, to, words);
    wrong("topology_hash = \"", "topology_hash = \"f", &["topology_hash"]);
    wrong("name = \"core\"", "name = \"other\"", &["there is no node \"core\""]);
    let text = fs::read_to_string(ready("junction.profile.toml")).unwrap();
    let at =
        |start: &str, from: usize| from + text[from..].find(start).unwrap_or_else(|| panic!("no {start}"));
    // The first combination, and how long the tracker takes.
    let row = at("[[accuracy.table.rows]]", 0);
    let next = at("[[accuracy.table.rows]]", row + 1);
    wrong(&text[row..next], "", &["accuracy", "the table of detect lacks w8"]);
    let track = at("stage = \"track\"\nvariant", 0);
    let track = text[..track].rfind("[[service]]").unwrap();
    let next = at("[[service]]", track + 1);
    wrong(&text[track..next], "", &["\"track\"", "was not measured on node \"edge\"", "--node core"]);
}
