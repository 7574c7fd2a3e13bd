//! Manifests with keys that nobody knows.

use jellybean_engine::ErrorKind;
use jellybean_operators::prelude::*;
use jellybean_operators::run_here;
use jellybean_tests::families::Copy;

use super::check;

#[test]
fn error_an_unknown_key_names_file_line_and_key() {
    for (after, key) in [("task = \"detect\"", "colour"), ("fill = 0", "paint"), ("width = 64", "depth")] {
        let copy = Copy::of("spot");
        copy.edit(after, &format!("{after}\n{key} = 1"));
        let text = std::fs::read_to_string(copy.file("manifest.toml")).unwrap();
        let line = 1 + text.lines().position(|line| line.starts_with(key)).unwrap();
        let t = Topology::new("manifest");
        let frames = t.source("cameras", RoadCameras::new(1).frames(1));
        frames.infer("detect", copy.family()).sink("nothing", Null::new());
        let error = run_here(&t).map(|_| ()).expect_err("the manifest is wrong");
        let place = format!("{}:{line}: ", copy.file("manifest.toml").display());
        let said = format!("unknown field `{key}`");
        check(&error, ErrorKind::Invalid, &["node \"here\"", "stage \"detect\"", &place, &said]);
    }
}
