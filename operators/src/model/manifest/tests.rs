use super::*;
use crate::model::testing;

fn text(family: &str) -> String {
    std::fs::read_to_string(testing::models().join(family).join("manifest.toml")).unwrap()
}

/// The number of the first line that starts with this.
fn line(text: &str, start: &str) -> usize {
    1 + text.lines().position(|line| line.starts_with(start)).expect("the line is there")
}

/// The manifest of a family with this task, classes and head.
fn with_head(task: &str, classes: &str, head: &str) -> String {
    let spot = text("spot").replacen("task = \"detect\"", &format!("task = \"{task}\""), 1);
    let spot = spot.replacen("classes = [\"red\", \"green\"]\n", classes, 1);
    let (start, end) = (spot.find("[head]").unwrap(), spot.find("[[variant]]").unwrap());
    format!("{}[head]\n{head}\n{}", &spot[..start], &spot[end..])
}

/// Task, classes and head of one family per kind of head that the test families do not show.
fn families() -> [String; 6] {
    let sha256 = "0".repeat(64);
    let ctc = format!(
        "kind = \"ctc\"\noutput = \"y\"\nalphabet = \"keys.txt\"\nalphabet_sha256 = \"{sha256}\"\nspace = true\n\
         width_step = 32\nwidth_max = 640"
    );
    [
        with_head(
            "detect",
            "classes = [\"a\", \"b\"]\n",
            "kind = \"yolo\"\noutput = \"y\"\nlayout = \"columns\"\nobjectness = false\nscore_min = 0.25\niou_max = 0.45",
        ),
        with_head(
            "detect",
            "classes = [\"face\"]\n",
            "kind = \"center_face\"\nheat = \"h\"\nscale = \"s\"\noffset = \"o\"\nlandmarks = \"l\"\nstride = 4\n\
             score_min = 0.5\niou_max = 0.3",
        ),
        with_head(
            "detect",
            "classes = [\"text\"]\n",
            "kind = \"text_map\"\nmap = \"m\"\nthreshold = 0.3\nscore_min = 0.6\nunclip = 1.5",
        ),
        with_head(
            "classify",
            "classes = [\"a\", \"b\"]\n",
            "kind = \"scores\"\noutput = \"y\"\nsoftmax = true\ntop = 2",
        ),
        with_head("embed", "", "kind = \"embedding\"\noutput = \"y\"\nlength = 1280"),
        with_head("read", "", &ctc),
    ]
}

/// Parses a manifest in which one piece is replaced, and returns what is said about it.
fn refusal(piece: &str, by: &str) -> String {
    let all = [text("spot"), text("distributions")].into_iter().chain(families());
    let whole = all.into_iter().find(|text| text.contains(piece));
    let text = whole.expect("a manifest has the piece").replacen(piece, by, 1);
    Manifest::parse(&text, "m.toml").map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_test_families_parse() {
    let spot = Manifest::parse(&text("spot"), "spot").unwrap();
    assert_eq!((spot.name.as_str(), spot.fetch, spot.classes.len()), ("spot", false, 2));
    assert_eq!(spot.default_variant().name, "spot", "the first one, where none says that it is the default");
    assert_eq!(spot.variant("slow").map(|v| (v.width, v.height)), Some((64, 48)));
    let Head::Boxes(Boxes::HeatMap(head)) = &spot.head else { panic!("{:?}", spot.head) };
    assert_eq!((head.heat.as_str(), head.ltrb.as_str(), head.stride), ("heat", "ltrb", 8));
    assert_eq!((head.score_min, head.iou_max), (0.3, 0.5));

    let last = text("spot").replacen("name = \"nan\"", "name = \"nan\"\ndefault = true", 1);
    assert_eq!(Manifest::parse(&last, "spot").unwrap().default_variant().name, "nan");

    let distributions = Manifest::parse(&text("distributions"), "distributions").unwrap();
    assert!(
        matches!(&distributions.head, Head::Boxes(Boxes::Nanodet(head)) if head.bins == 4 && head.strides == [8])
    );
}

#[test]
fn error_unknown_keys_name_file_key_and_line() {
    let spot = text("spot");
    for (after, key) in [("version", "colour"), ("fill", "paint"), ("stride", "bins"), ("height", "depth")] {
        let known = spot.lines().find(|line| line.starts_with(after)).unwrap();
        let message = refusal(known, &format!("{known}\n{key} = 1"));
        assert!(
            message.starts_with("m.toml:") && message.contains(&format!("unknown field `{key}`")),
            "{message}"
        );
        let at: usize = message["m.toml:".len()..].split(':').next().unwrap().parse().unwrap();
        assert_eq!(at, 1 + line(&spot, after), "{message}");
    }
}

#[test]
fn error_what_is_not_toml_or_is_missing_or_of_another_type() {
    assert!(refusal("name = \"spot\"", "name = spot").starts_with("m.toml:2: "));
    assert!(refusal("license", "licence").contains("unknown field `licence`"));
    assert!(refusal("fill = 0\n", "").contains("missing field `fill`"));
    assert!(refusal("fill = 0", "fill = 256").starts_with("m.toml:15: "));
    assert!(refusal("layout = \"nchw\"", "layout = \"chwn\"").contains("unknown variant `chwn`"));
    assert!(refusal("kind = \"heat_map\"", "kind = \"heatmap\"").contains("unknown variant `heatmap`"));
    assert!(refusal("mean = [0.0, 0.0, 0.0]", "mean = [0.0, 0.0]").contains("array of length 3"));
}

#[test]
fn error_another_version_is_told_before_its_keys() {
    assert_eq!(
        refusal("version = 1\n", "version = 2\nnovelty = true\n"),
        "m.toml: version = 2 is not known, only 1 is"
    );
    assert!(refusal("version = 1\n", "").contains("missing field `version`"));
}

#[test]
fn error_values_out_of_range() {
    for (piece, by, said) in [
        ("name = \"spot\"", "name = \"../spot\"", "m.toml: name: \"../spot\" is not 1 to 64"),
        ("classes = [\"red\", \"green\"]", "classes = []", "m.toml: classes: 0 of them"),
        ("std = [1.0, 1.0, 1.0]", "std = [1.0, 0.0, 1.0]", "m.toml: input.std: divides"),
        ("mean = [0.0, 0.0, 0.0]", "mean = [nan, 0.0, 0.0]", "m.toml: input.mean: is not finite"),
        ("stride = 8", "stride = 0", "a stride of [0]"),
        ("score_min = 0.3", "score_min = 1.5", "head.score_min: 1.5 is not in 0..=1"),
        ("iou_max = 0.5", "iou_max = nan", "head.iou_max: NaN is not in 0..=1"),
        ("bins = 4", "bins = 1", "head.bins: 1 is not 2 to 256"),
        ("strides = [8]", "strides = [8, 16]", "2 strides with [1, 1] outputs"),
        (
            "file = \"nan.onnx\"",
            "file = \"../nan.onnx\"",
            "variant \"nan\": file: \"../nan.onnx\" is not a plain",
        ),
        ("file = \"nan.onnx\"", "file = \"/nan.onnx\"", "is not a plain file name"),
        ("name = \"nan\"", "name = \"spot\"", "variant \"spot\": name: is there twice"),
        ("width = 64", "width = 0", "0x48 is not a usable size"),
        ("width = 64", "width = 4000000000", "is not a usable size"),
        ("accuracy = 1.0", "accuracy = 81.6", "accuracy: 81.6 is not in 0..=1"),
        ("sha256 = \"", "sha256 = \"F", "sha256: is 64 digits"),
    ] {
        let message = refusal(piece, by);
        assert!(message.contains(said), "{by}: {message}");
    }
    let twice = text("spot").replace("height = 48", "height = 48\ndefault = true");
    let message = Manifest::parse(&twice, "m.toml").unwrap_err().to_string();
    assert!(message.contains("6 of them are the default"), "{message}");
}

#[test]
fn every_kind_of_head_parses() {
    let tasks = ["detect", "detect", "detect", "classify", "embed", "read"];
    for (text, task) in families().into_iter().zip(tasks) {
        let manifest = Manifest::parse(&text, "m.toml").unwrap();
        assert_eq!((manifest.task.as_str(), manifest.head.task()), (task, task));
        let counted = matches!(task, "detect" | "classify");
        assert_eq!(!manifest.classes.is_empty(), counted);
    }
    let [yolo, .., ctc] = families().map(|text| Manifest::parse(&text, "m.toml").unwrap().head);
    let Head::Boxes(Boxes::Yolo(yolo)) = yolo else { panic!("{yolo:?}") };
    assert_eq!((yolo.layout, yolo.objectness), (CellLayout::Columns, false));
    let Head::Ctc(ctc) = ctc else { panic!("{ctc:?}") };
    assert_eq!((ctc.space, ctc.softmax, ctc.width_step, ctc.width_max), (true, false, 32, 640));
}

#[test]
fn error_unknown_keys_of_every_head() {
    for text in families() {
        let spoilt = text.replacen("[head]\n", "[head]\ncolour = 1\n", 1);
        let said = Manifest::parse(&spoilt, "m.toml").map(|_| ()).unwrap_err().to_string();
        let at = 1 + line(&text, "[head]");
        assert!(said.starts_with(&format!("m.toml:{at}: unknown field `colour`")), "{said}");
    }
}

#[test]
fn error_heads_out_of_range() {
    for (piece, by, said) in [
        ("objectness = false", "", "missing field `objectness`"),
        ("layout = \"columns\"", "layout = \"planes\"", "unknown variant `planes`"),
        ("score_min = 0.25", "score_min = -0.1", "head.score_min: -0.1 is not in 0..=1"),
        (
            "classes = [\"face\"]",
            "classes = [\"face\", \"hand\"]",
            "classes: 2 of them, where this head knows one",
        ),
        ("stride = 4", "stride = 4096", "a stride of [4096]"),
        ("threshold = 0.3", "threshold = nan", "head.threshold: NaN is not in 0..=1"),
        ("unclip = 1.5", "unclip = inf", "head.unclip: inf is not in 0..=10"),
        ("classes = [\"text\"]", "classes = []", "classes: 0 of them"),
        ("top = 2", "top = 3", "head.top: 3 is not 1 to 2"),
        ("top = 2", "top = 0", "head.top: 0 is not 1 to 2"),
        ("length = 1280", "length = 0", "head.length: 0 is not 1 to 65536"),
        (
            "task = \"embed\"",
            "task = \"embed\"\nclasses = [\"a\"]",
            "classes: 1 of them, where this head knows none",
        ),
        (
            "task = \"embed\"",
            "task = \"read\"",
            "task: \"read\", where the head is one of \"embed\" families",
        ),
        (
            "alphabet = \"keys.txt\"",
            "alphabet = \"../keys.txt\"",
            "head.alphabet: \"../keys.txt\" is not a plain",
        ),
        ("alphabet_sha256 = \"0", "alphabet_sha256 = \"", "head.alphabet_sha256: is 64 digits"),
        ("width_step = 32", "width_step = 0", "head.width_step: 0 is not 1 to 1024"),
        ("width_max = 640", "width_max = 630", "head.width_max: 630 is not a multiple of the step of 32"),
        ("width_max = 640", "width_max = 65536", "head.width_max: 65536"),
        (
            "width_step = 32",
            "width_step = 128",
            "variant \"spot\": width: 64 is not a multiple of the step of 128",
        ),
    ] {
        let message = refusal(piece, by);
        assert!(message.contains(said), "{by}: {message}");
    }
}
