use super::*;
use crate::model::{Classify, Detect, Embed, Read, testing};

/// A copy of a test family, whose files a test may spoil.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let copy = tempfile::tempdir().unwrap();
    let folder = copy.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    for file in std::fs::read_dir(testing::models().join(name)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    (copy, folder)
}

fn spot() -> Family<Detect> {
    Family::folder(testing::models().join("spot"))
}

/// What is said when this variant is opened.
fn refusal(family: &Family<Detect>, variant: &str) -> Error {
    testing::runtime();
    family.model(Some(variant)).and_then(|model| model.runner(1)).map(|_| ()).unwrap_err()
}

/// Replaces a piece of a family's manifest.
fn edit(folder: &Path, piece: &str, by: &str) {
    let path = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(piece), "{text}");
    std::fs::write(path, text.replace(piece, by)).unwrap();
}

#[test]
fn a_family_opens_its_default_and_its_named_variants() {
    testing::runtime();
    let family = spot();
    assert_eq!((family.name(), family.manifest().unwrap().classes.len()), ("spot", 2));
    assert_eq!(family.variant(None).unwrap().name, "spot");
    for variant in [None, Some("spot_single"), Some("nan"), Some("slow")] {
        family.model(variant).unwrap().runner(1).unwrap();
    }
}

#[test]
fn keys_tell_runners_apart_and_nothing_else() {
    let family = spot();
    let key = family.key(None, 1).unwrap();
    assert_eq!(key, spot().key(Some("spot"), 1).unwrap());
    assert_eq!(key.model_sha256, sha256(family.model(None).unwrap().bytes()));
    assert_ne!(key, family.key(None, 2).unwrap());
    assert_ne!(key, family.key(Some("nan"), 1).unwrap());

    let (_copy, folder) = copy("spot");
    assert_eq!(key, Family::<Detect>::folder(&folder).key(None, 1).unwrap(), "wherever it lies");
    edit(&folder, "score_min = 0.3", "score_min = 0.4");
    assert_ne!(key, Family::<Detect>::folder(&folder).key(None, 1).unwrap(), "read differently");
}

#[test]
fn an_embedded_family_needs_no_files() {
    const SPOT: Embedded = Embedded {
        name: "spot",
        manifest: include_str!("../../../../tests/data/models/spot/manifest.toml"),
        files: &[("spot.onnx", include_bytes!("../../../../tests/data/models/spot/spot.onnx"))],
    };
    testing::runtime();
    let family = Family::<Detect>::embedded(&SPOT);
    family.model(None).unwrap().runner(1).unwrap();
    assert_eq!(family.key(None, 1).unwrap(), spot().key(None, 1).unwrap());
    let e = refusal(&family, "nan");
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(e.to_string().contains("nan.onnx (embedded): it is not compiled in"), "{e}");
}

#[test]
fn the_embedded_families_are_whole() {
    for embedded in EMBEDDED {
        let task = Manifest::parse(embedded.manifest, embedded.name).unwrap().task;
        match task.as_str() {
            Detect::NAME => is_whole::<Detect>(embedded),
            Embed::NAME => is_whole::<Embed>(embedded),
            Read::NAME => is_whole::<Read>(embedded),
            other => panic!("{}: no test for the task {other}", embedded.name),
        }
    }
}

/// A compiled-in family has all of its files; a fetched one has none of them, and is fetched by its name.
fn is_whole<T: Task>(embedded: &Embedded) {
    let family = family::<T>(embedded.name);
    let manifest = family.manifest().unwrap();
    assert_eq!(manifest.name, embedded.name);
    let is_fetched = crate::fetch::fetched_families().any(|name| name == embedded.name);
    assert_eq!((manifest.fetch, embedded.files.is_empty()), (is_fetched, is_fetched), "{}", embedded.name);
    for variant in manifest.variants.iter().filter(|_| !manifest.fetch) {
        family.model(Some(&variant.name)).unwrap();
    }
}

#[test]
fn error_no_such_family_or_variant() {
    let (copy, _) = copy("spot");
    let e = Family::<Detect>::folder(copy.path().join("nobody")).manifest().map(|_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(e.to_string().contains("no model family \"nobody\""), "{e}");
    let e = spot().variant(Some("w9")).map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("no variant \"w9\" (it has spot, spot_single, nan,"), "{e}");
}

#[test]
fn error_another_task() {
    let family = Family::<Classify>::folder(testing::models().join("spot"));
    let e = family.manifest().map(|_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Incompatible);
    assert!(
        e.to_string().ends_with("manifest.toml: task: a \"detect\" family where \"classify\" is asked for"),
        "{e}"
    );
}

#[test]
fn error_a_manifest_with_an_unknown_key_names_its_file_and_line() {
    let (_copy, folder) = copy("spot");
    edit(&folder, "fill = 0", "fill = 0\npaint = 1");
    let e = Family::<Detect>::folder(&folder).key(None, 1).unwrap_err().to_string();
    assert!(e.starts_with(&format!("{}:16: unknown field `paint`", folder.join(MANIFEST).display())), "{e}");
}

#[test]
fn error_missing_truncated_or_other_files() {
    let (_copy, folder) = copy("spot");
    let family = Family::<Detect>::folder(&folder);
    let file = folder.join("spot.onnx");
    let whole = std::fs::read(&file).unwrap();

    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let e = refusal(&family, "spot");
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    let said =
        format!("model \"spot/spot\", {}: its {} bytes have the sha256", file.display(), whole.len() / 2);
    assert!(e.to_string().starts_with(&said) && e.to_string().contains("truncated or another file"), "{e}");

    std::fs::copy(folder.join("nan.onnx"), &file).unwrap();
    assert_eq!(refusal(&family, "spot").kind(), ErrorKind::Corrupt, "another model");

    std::fs::remove_file(&file).unwrap();
    let e = refusal(&family, "spot");
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(e.to_string().contains("the file is missing (`jellybean models fetch`"), "{e}");
}

#[test]
fn error_bytes_that_are_no_model() {
    let (_copy, folder) = copy("spot");
    let old = spot().variant(None).unwrap().sha256.clone();
    let bytes = b"these are the bytes that the manifest promises, but no model";
    edit(&folder, &old, &sha256(bytes));
    std::fs::write(folder.join("spot.onnx"), bytes).unwrap();
    let e = refusal(&Family::folder(folder), "spot");
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    assert!(e.to_string().contains("ONNX Runtime cannot read it"), "{e}");
}

#[test]
fn error_models_unlike_their_manifest() {
    for (variant, said) in [
        ("rank3", "its input \"images\" is Tensor<f32>(3, H, W), of rank 3 instead of 4"),
        ("integers", "its input \"images\" is Tensor<i32>(N, 3, H, W), not a tensor of 32-bit floats"),
    ] {
        let e = refusal(&spot(), variant);
        assert_eq!(e.kind(), ErrorKind::Incompatible);
        let start = format!("model \"spot/{variant}\", ");
        assert!(e.to_string().starts_with(&start) && e.to_string().contains(said), "{e}");
    }
    for (piece, by, said) in [
        (
            "name = \"images\"",
            "name = \"pictures\"",
            "its input is called \"images\" instead of \"pictures\"",
        ),
        ("heat = \"heat\"", "heat = \"warmth\"", "it has no output \"warmth\", but [\"heat\", \"ltrb\"]"),
        ("layout = \"nchw\"", "layout = \"nhwc\"", "where [1, 48, 64, 3] goes in"),
        ("stride = 8", "stride = 16", "output \"heat\" is [1, 2, 6, 8] instead of [1, 2, 3, 4]"),
        ("[\"red\", \"green\"]", "[\"red\"]", "output \"heat\" is [1, 2, 6, 8] instead of [1, 1, 6, 8]"),
    ] {
        let (_copy, folder) = copy("spot");
        edit(&folder, piece, by);
        let e = refusal(&Family::folder(folder), "spot");
        assert_eq!(e.kind(), ErrorKind::Incompatible);
        assert!(e.to_string().contains(said), "{by}: {e}");
    }
}
