//! Files that are right and survive, and files that are not right.

use super::Profile;
use crate::error::{ErrorKind, Result};

/// A junction that was measured on a box.
const JUNCTION: &str = r#"
version = 1
topology = "junction"
topology_hash = "0123456789abcdef"

[[node]]
name = "box"
cores = 2
foreign_cores = 0.1
seconds = 20.0

[[stage]]
name = "detect"
family = "road"
variants = ["w4", "w8"]
batch_deadline_ms = 20.0

[[stage]]
name = "track"
variants = ["default"]

[[edge]]
from = "cameras"
to = "detect"
items = 100
items_per_item = [1.0]
kb_per_item = [180.0]

[[edge]]
from = "detect"
to = "track"
items = 90
items_per_item = [0.5, 1.0]
kb_per_item = [180.0, 200.0]

[[service]]
stage = "detect"
variant = "w4"
node = "box"
batch = 1
p50_ms = 1.0
p95_ms = 2.0
items_per_s = 1000.0
memory_mb = 10.0
load_ms = 5.0
warm_up_ms = 2.0
spread = 0.1
foreign_cores = 0.1
samples = 50

[[service]]
stage = "detect"
variant = "w8"
node = "box"
batch = 4
p50_ms = 8.0
p95_ms = 9.0
items_per_s = 500.0
memory_mb = 20.0
load_ms = 5.0
warm_up_ms = 10.0
spread = 0.1
foreign_cores = 0.1
samples = 50

[[service]]
stage = "track"
variant = "default"
node = "box"
batch = 1
p50_ms = 0.1
p95_ms = 0.2
items_per_s = 10000.0
memory_mb = 0.0
load_ms = 0.0
warm_up_ms = 0.0
spread = 0.1
foreign_cores = 0.1
samples = 50

[accuracy.table]
against = "what was drawn"
stages = ["detect"]
rows = [
    { variants = ["w4"], accuracy = 0.7, accuracy_low = 0.6, accuracy_high = 0.8, samples = 40 },
    { variants = ["w8"], accuracy = 0.9, accuracy_low = 0.8, accuracy_high = 0.95, samples = 40 },
]
"#;

fn junction() -> Profile {
    toml::from_str(JUNCTION).unwrap()
}

#[test]
fn a_profile_survives_its_file() {
    let profile = junction();
    profile.check().unwrap();
    let again: Profile = toml::from_str(&toml::to_string(&profile).unwrap()).unwrap();
    assert_eq!(again, profile);
    let json = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
}

#[test]
fn wrong_entries_are_refused_by_name() {
    let check = |from: &str, to: &str, told: &str| {
        assert!(JUNCTION.contains(from), "{from}");
        let text = JUNCTION.replacen(from, to, 1);
        let checked: Result<(), String> = match toml::from_str::<Profile>(&text) {
            Ok(profile) => profile.check().map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        let error = checked.expect_err(to);
        assert!(error.contains(told), "{to}: {error}");
    };
    check("version = 1", "version = 2", "version 2 is unknown");
    check("0123456789abcdef", "0123", "topology_hash is \"0123\"");
    check("cores = 2", "cores = -2", "cores = -2");
    check("foreign_cores = 0.1", "foreign_cores = nan", "node \"box\": foreign_cores is NaN");
    check("seconds = 20.0", "seconds = 20.0\nspeed = 3", "unknown field `speed`");
    check("[\"w4\", \"w8\"]", "[\"w4\", \"w4\"]", "\"w4\" is there twice");
    check("[\"w4\", \"w8\"]", "[]", "stage \"detect\" has no variant");
    check("to = \"track\"", "to = \"nowhere\"", "the edge from \"detect\" to \"nowhere\": there is no stage");
    check("[0.5, 1.0]", "[0.5, 1.0, 2.0]", "gives 3 numbers as items_per_item (give one, or 2");
    check("[180.0, 200.0]", "[180.0, -1.0]", "the edge from \"detect\" to \"track\": kb_per_item is -1");
    check("variant = \"w4\"", "variant = \"w9\"", "stage \"detect\" has no variant \"w9\"");
    check("node = \"box\"", "node = \"hut\"", "there is no node \"hut\"");
    check("batch = 1\n", "batch = 0\n", "batch is 0");
    check("p50_ms = 1.0", "p50_ms = inf", "(w4, batch 1) on \"box\": p50_ms is inf");
    check("p50_ms = 1.0", "p50_ms = 3.0", "p95_ms is below p50_ms");
    check("items_per_s = 1000.0", "items_per_s = 0.0", "items_per_s is 0");
    check(
        "variant = \"w8\"\nnode = \"box\"\nbatch = 4",
        "variant = \"w4\"\nnode = \"box\"\nbatch = 1",
        "twice",
    );
    check("accuracy = 0.7,", "accuracy = 1.7,", "accuracy: row [\"w4\"] is 1.7");
    check("variants = [\"w4\"], acc", "variants = [\"w4\", \"w8\"], acc", "no variant for each stage");
}

#[test]
fn an_edge_is_planned_for_the_variant_that_sends_the_most() {
    // Planned for the items of w8; w4 sends half as many, each of 180 KB.
    let edge = junction().edges[1].for_the_most();
    assert_eq!((edge.items_per_item, &edge.kb_per_item[..]), (1.0, &[90.0, 200.0][..]));
}

#[test]
fn profiles_of_other_nodes_are_merged() {
    let server = || {
        let mut server = junction();
        server.nodes[0].name = "server".into();
        server.services.iter_mut().for_each(|row| row.node = "server".into());
        server.accuracy = None;
        server
    };
    let both = server().merge(junction()).unwrap();
    both.check().unwrap();
    assert!(both.accuracy.is_some());
    assert_eq!(both.services.len(), 2 * junction().services.len());
    assert!(junction().merge(junction()).unwrap_err().to_string().contains("node \"box\" is in both"));
    let mut stranger = server();
    stranger.topology_hash = "fedcba9876543210".into();
    assert_eq!(junction().merge(stranger).unwrap_err().kind(), ErrorKind::Incompatible);
    let mut older = server();
    older.stages[0].variants.pop();
    assert_eq!(junction().merge(older).unwrap_err().kind(), ErrorKind::Incompatible);
}
