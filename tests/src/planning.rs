//! `jellybean plan`: what it answers, what it writes, what it refuses.

mod error;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{errors, jellybean, last_line};

/// A file of placement's inputs.
fn placement(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("placement").join(file)
}

/// A file that comes with the topologies.
fn ready(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies/infrastructure").join(file)
}

/// What `jellybean plan` says to this.
fn plan(arguments: &[&str]) -> Output {
    jellybean().arg("plan").args(arguments).output().unwrap()
}

/// The object that it prints.
fn answered(arguments: &[&str]) -> Value {
    let output = plan(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
    last_line(&output)
}

#[test]
fn the_published_input_has_its_proved_optima() {
    let folder = placement("published-vqa");
    let folder = folder.to_str().unwrap();
    for (mode, cost) in [("paper", 7.4850), ("exclusive", 5.549), ("shared", 5.330)] {
        let answer =
            answered(&["--paper-input", folder, "--mode", mode, "--rate", "40", "--accuracy-min", "56"]);
        assert_eq!(answer["status"], "optimal", "{mode}");
        let found = answer["cost_usd_per_h"].as_f64().unwrap();
        assert!((found - cost).abs() < 5e-4, "{mode}: {found}");
        assert!(answer["gap"].as_f64().unwrap() < 1e-6 && answer["solve_seconds"].as_f64().unwrap() >= 0.0);
        assert!((answer["bound_usd_per_h"].as_f64().unwrap() - found).abs() < 1e-4, "{mode}");
        for (stage, variant) in answer["variants"].as_object().unwrap() {
            let told = &answer["stages"][stage];
            assert_eq!(&told["variant"], variant);
            let rates = told["nodes"].as_object().unwrap().values().map(|rate| rate.as_f64().unwrap());
            assert!((rates.sum::<f64>() - told["rate_per_s"].as_f64().unwrap()).abs() < 1e-6, "{stage}");
        }
    }
}

#[test]
fn that_there_is_no_plan_is_an_answer() {
    let folder = placement("published-vqa");
    let answer = answered(&["--paper-input", folder.to_str().unwrap(), "--accuracy-min", "59"]);
    assert_eq!(answer["status"], "infeasible");
    assert!(answer["cost_usd_per_h"].is_null() && answer["stages"].as_object().unwrap().is_empty());
}

#[test]
fn an_instance_is_explained() {
    let file = placement("instances/syn_5w_2t_3o.json");
    let answer = answered(&["--instance", file.to_str().unwrap(), "--explain"]);
    let cost = answer["cost_usd_per_h"].as_f64().unwrap();
    let others = answer["explanation"]["alternatives"].as_array().unwrap();
    let of = |what: &str| {
        let found = others.iter().find(|other| other["what"].as_str().unwrap().starts_with(what));
        found.unwrap_or_else(|| panic!("no {what} in {others:?}"))["cost_usd_per_h"].as_f64()
    };
    for what in ["all-edge", "all-cloud", "the paper's heuristic"] {
        assert!(of(what).is_none_or(|other| other >= cost - 1e-9), "{what}");
    }
    for bind in answer["explanation"]["binds"].as_array().unwrap() {
        assert!(bind["without_usd_per_h"].as_f64().unwrap() < cost, "{bind}");
    }
}

#[test]
fn people_are_told_in_tables_and_pictures() {
    let (file, folder) = (placement("instances/vqa_synth_small.json"), TempDir::new().unwrap());
    let svg = folder.path().join("plan.svg");
    let output = plan(&["--instance", file.to_str().unwrap(), "--explain", "--svg", svg.to_str().unwrap()]);
    assert!(output.status.success(), "{}", errors(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    for word in
        ["$/h", "proved the cheapest", "stage", "share", "node", "busy", "what binds", "instead", "all-cloud"]
    {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    let drawn = fs::read_to_string(svg).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"), "{drawn}");
    assert!(drawn.contains("vqa_synth_small"), "{drawn}");
}

/// The junction's own files.
fn junction<'a>() -> [&'a str; 2] {
    ["--topology", "junction"]
}

#[test]
fn the_junction_is_planned_and_runs_by_it() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("plan.toml");
    let files = ["edge-cloud.toml", "junction.profile.toml", "junction.rates.toml"].map(ready);
    let [infrastructure, profile, rates] = files.each_ref().map(|file| file.to_str().unwrap());
    let files = ["--infrastructure", infrastructure, "--profile", profile, "--rates", rates];
    let asked =
        [&junction()[..], &files, &["--accuracy-min", "0.7", "--out", out.to_str().unwrap()]].concat();
    let answer = answered(&asked);
    assert!(answer["cost_usd_per_h"].as_f64().unwrap() > 0.0, "{answer}");
    assert!(answer["gap"].as_f64().unwrap() < 0.05, "{answer}");

    let again = folder.path().join("again.toml");
    let other =
        [&junction()[..], &files, &["--accuracy-min", "0.7", "--out", again.to_str().unwrap()]].concat();
    answered(&other);
    assert_eq!(
        fs::read_to_string(&out).unwrap(),
        fs::read_to_string(&again).unwrap(),
        "an input has one plan"
    );

    let ran = crate::program::demo(&folder.path().join("out"))
        .args(["--seconds", "2", "--json", "--plan"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", errors(&ran));
    assert_eq!(last_line(&ran)["frames"], 100);
}

#[test]
fn a_difference_names_what_moves() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let from = write(
        "from.toml",
        "version = 1\ndefault = { node = \"edge\" }\n[stages.detect]\nnode = \"edge\"\nvariant = \"w8\"\n",
    );
    let to = write(
        "to.toml",
        "version = 1\ndefault = { node = \"edge\" }\n[stages.detect]\nshares = { edge = 1, cloud = 3 }\nvariant = \"w16\"\n",
    );
    let output = plan(&["diff", &from, &to, "--json"]);
    assert!(output.status.success(), "{}", errors(&output));
    let expected = serde_json::json!([
        { "stage": "detect", "what": "nodes", "from": "edge", "to": "cloud 75 %, edge 25 %" },
        { "stage": "detect", "what": "variant", "from": "w8", "to": "w16" },
    ]);
    assert_eq!(last_line(&output), expected);
    let output = plan(&["diff", &from, &from]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Nothing changes.\n");
}
