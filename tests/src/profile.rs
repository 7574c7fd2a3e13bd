//! `profile`: a ready-made topology is measured on this machine, with the models that are compiled in.

use std::path::Path;
use std::process::Output;

use jellybean_engine::profile::{MeasuredAccuracy, Profile};
use tempfile::TempDir;

use crate::program::{errors, jellybean, last_line};

fn profile(arguments: &[&str]) -> Output {
    jellybean().arg("profile").args(arguments).output().expect("the command can be started")
}

fn measure(file: &Path, node: &str, more: &[&str]) -> (Output, Profile) {
    let file = file.to_str().expect("a plain path");
    let mut arguments = vec!["junction", "--node", node, "--seconds", "1", "--json", "--out", file];
    arguments.extend_from_slice(more);
    arguments.extend(["--", "--cameras", "1", "--seconds", "6", "--window", "2"]);
    let output = profile(&arguments);
    assert!(output.status.success(), "{}", errors(&output));
    let told: Profile = serde_json::from_value(last_line(&output)).expect("the last line is the profile");
    let written: Profile = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(told, written);
    written.check().unwrap();
    (output, written)
}

#[test]
fn the_junction_is_measured_and_merged() {
    let folder = TempDir::new().unwrap();
    let first = folder.path().join("box.toml");
    let (output, profile) = measure(&first, "box", &["--batches", "1,2", "--accuracy"]);
    assert!(errors(&output).contains("others kept"), "{}", errors(&output));
    for variant in ["w4", "w8", "w16"] {
        let rows = profile.services.iter().filter(|row| row.stage == "detect" && row.variant == variant);
        let batches: Vec<u32> = rows.clone().map(|row| row.batch).collect();
        assert_eq!(batches, [1, 2]);
        assert!(rows.clone().all(|row| row.samples > 0 && row.load_ms > 0.0 && row.p95_ms >= row.p50_ms));
    }
    let detect = profile.edges.iter().find(|edge| edge.to == "detect").unwrap();
    // 320 x 192 pixels of three bytes.
    assert!((180.0..181.0).contains(&detect.kb_per_item[0]), "{detect:?}");
    let track = profile.edges.iter().find(|edge| edge.to == "track").unwrap();
    assert_eq!(track.items_per_item, [1.0; 5], "one for each variant of the detector");
    for stage in ["track", "sightings", "windows", "lately", "windows-file"] {
        assert!(profile.services.iter().any(|row| row.stage == stage), "{stage}");
    }
    let Some(MeasuredAccuracy::Table { against, rows, .. }) = &profile.accuracy else {
        panic!("no accuracy")
    };
    assert!(against.contains("what was drawn") && rows.len() == 5, "{against}");
    assert!(rows.iter().all(|row| row.samples > 3 && row.accuracy_low <= row.accuracy));

    let both = folder.path().join("both.toml");
    let merge = ["--batches", "1", "--merge", first.to_str().unwrap()];
    let (_, both) = measure(&both, "server", &merge);
    for (node, stage) in ["box", "server"].iter().flat_map(|node| both.stages.iter().map(move |s| (node, s)))
    {
        assert!(both.best(&stage.name, &stage.variants[0], node).is_some(), "{} on {node}", stage.name);
    }
}

#[test]
fn wrong_words_and_files_are_refused_before_anything_is_measured() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let check = |arguments: &[&str], told: &str| {
        let output = profile(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(errors(&output).contains(told), "{arguments:?}: {}", errors(&output));
    };
    check(&["nonsense", "--node", "here"], "nonsense");
    check(&["junction"], "--node");
    check(&["junction", "--node", "controller"], "a node cannot be called \"controller\"");
    check(&["junction", "--node", "here", "--batches", "0"], "--batches");
    check(&["junction", "--node", "here", "--seconds", "0"], "--seconds");
    check(&["junction", "--node", "here", "--", "--speed", "9"], "--speed");
    check(&["junction", "--node", "here", "--merge", "nowhere.toml"], "nowhere.toml cannot be read");
    let strange = file("strange.toml", "version = 1\ntopology = \"x\"\nspeed = 3\n");
    check(&["junction", "--node", "here", "--merge", &strange], "speed");
    let wrong = file("wrong.toml", "version = 1\ntopology = \"x\"\ntopology_hash = \"12\"\n");
    check(&["junction", "--node", "here", "--merge", &wrong], "topology_hash is \"12\"");
}
