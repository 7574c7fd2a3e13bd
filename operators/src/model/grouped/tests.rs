use std::path::Path;

use super::*;
use crate::model::testing::{self, Noise, frame};
use crate::model::{Classify, Detect, Embed, EmbedSeen, Family, Read, Task};
use crate::picture::{Detection, Detections, Frame, Rect};

type Opened<T> = Box<dyn Runner<In = <T as Task>::In, Out = <T as Task>::Out>>;

/// Opens a test family's default variant.
fn open<T: Task>(family: &str) -> Opened<T> {
    open_in::<T>(&testing::models().join(family), None).unwrap()
}

fn open_in<T: Task>(folder: &Path, variant: Option<&str>) -> Result<Opened<T>> {
    testing::runtime();
    Family::<T>::folder(folder).model(variant)?.runner(1)
}

/// Opens a copy of a test family whose manifest has pieces replaced.
fn edited<T: Task>(family: &str, edits: &[(&str, &str)]) -> Result<Opened<T>> {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(testing::models().join(family)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let path = copy.path().join("manifest.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (piece, by) in edits {
        assert!(text.contains(piece), "{piece}: {text}");
        text = text.replacen(piece, by, 1);
    }
    std::fs::write(path, text).unwrap();
    open_in::<T>(copy.path(), None)
}

fn noise(seed: u64, width: u32, height: u32) -> Frame {
    let mut noise = Noise(seed);
    let bytes: Vec<u8> = (0..3 * width * height).map(|_| noise.below(256) as u8).collect();
    frame(width, height, |x, y| {
        let i = 3 * (y * width + x) as usize;
        [bytes[i], bytes[i + 1], bytes[i + 2]]
    })
}

fn level(level: u8) -> Picture {
    frame(64, 48, move |_, _| [level; 3]).picture
}

/// Runs records one at a time, then in batches of several sizes: the results are the same.
fn check_batches<T: Task<In: Clone, Out: PartialEq + std::fmt::Debug>>(family: &str, records: &[T::In]) {
    let mut runner = open::<T>(family);
    let alone: Vec<_> = records.iter().map(|record| runner.run(vec![record.clone()]).remove(0)).collect();
    assert!(alone.iter().any(Result::is_ok));
    for size in [2, 3, records.len()] {
        let batches = records.chunks(size).flat_map(|batch| runner.run(batch.to_vec()));
        assert_eq!(batches.collect::<Vec<_>>(), alone, "{family}, {size} at a time");
    }
}

#[test]
fn what_comes_of_a_picture_does_not_depend_on_its_batch() {
    let frames: Vec<Frame> =
        [(64, 48), (150, 70), (400, 20), (16, 16), (64, 48), (31, 90), (400, 20), (9, 9)]
            .into_iter()
            .zip(0..)
            .map(|((w, h), seed)| noise(seed, w, h))
            .collect();
    let mut pictures: Vec<Picture> = frames.iter().map(|frame| frame.picture.clone()).collect();
    for family in ["yolo-rows", "yolo-columns", "center-face", "text-map"] {
        check_batches::<Detect>(family, &frames);
    }
    pictures[3].width = 99;
    check_batches::<Classify>("scores", &pictures);
    check_batches::<Embed>("look", &pictures);
    check_batches::<Read>("line", &pictures);
}

#[test]
fn lines_are_as_wide_as_they_need_to_be() {
    let widths = Widths { min: 16, max: 160, step: 8 };
    for ((width, height), wanted) in [
        ((64, 16), 64),
        ((65, 16), 72),
        ((64, 48), 24),
        ((1, 100), 16),
        ((4000, 16), 160),
        ((u32::MAX, 1), 160),
        ((0, 0), 16),
    ] {
        let picture = Picture { width, height, ..level(0) };
        assert_eq!(widths.fit(&picture, 16), wanted, "{width}x{height}");
    }
}

/// Brightness that is more than floats hold, with both signs: NaN for what is not black.
const OVERFLOWING: &[(&str, &str)] = &[
    ("mean = [", "mean = [0.0, 0.0, 0.0] #"),
    ("std = [", "std = [1e-38, -1e-38, 1e-38] #"),
    ("fill = ", "fill = 0 #"),
];

#[test]
fn error_not_a_number_fails_its_item_alone_whatever_the_head() {
    fn check<T: Task<In: Clone>>(family: &str, input: impl Fn(u8) -> T::In) {
        let mut runner = edited::<T>(family, OVERFLOWING).unwrap();
        let outcomes = runner.run(vec![input(0), input(255), input(0)]);
        let reasons: Vec<_> =
            outcomes.into_iter().map(|outcome| outcome.err().map(|failure| failure.reason)).collect();
        assert_eq!(reasons, [None, Some(Reason::NOT_FINITE), None], "{family}");
    }
    let frame = |of| Frame { picture: level(of), ..frame(1, 1, |_, _| [0; 3]) };
    for family in ["yolo-rows", "yolo-columns", "center-face", "text-map"] {
        check::<Detect>(family, frame);
    }
    check::<Classify>("scores", level);
    check::<Read>("line", level);
}

#[test]
fn ten_thousand_detections_are_bounded() {
    let all = [
        ("score_min = 0.6", "score_min = 0.0"),
        ("width = 64", "width = 800"),
        ("height = 48", "height = 800"),
    ];
    let mut runner = edited::<Detect>("yolo-columns", &all).unwrap();
    let seen = runner.run(vec![noise(1, 800, 800)]).remove(0).unwrap().seen;
    assert!((1..=300).contains(&seen.len()), "{}", seen.len());
    assert!(seen.is_sorted_by(|a, b| a.score >= b.score));
}

#[test]
fn error_graphs_with_sides_of_nothing_or_beyond_memory() {
    let folder = testing::models().join("sides");
    assert!(open_in::<Classify>(&folder, Some("six")).unwrap().run(vec![level(3)]).remove(0).is_ok());
    for (variant, kind, said) in [
        (
            "empty_in",
            ErrorKind::Incompatible,
            "its input \"images\" is [0, 3, 40, 40], where [1, 3, 40, 40] goes in",
        ),
        ("huge_in", ErrorKind::Incompatible, "is [1, 3, 1099511627776, 40], where [1, 3, 40, 40] goes in"),
        ("empty_out", ErrorKind::Incompatible, "output \"output\" is [1, 0] instead of [1, 6]"),
        ("huge_out", ErrorKind::Incompatible, "more than 268435456 values"),
        ("huge_hidden", ErrorKind::Failed, "its first run: "),
    ] {
        let e = open_in::<Classify>(&folder, Some(variant)).map(|_| ()).unwrap_err();
        assert_eq!(e.kind(), kind, "{variant}: {e}");
        assert!(e.to_string().contains(said), "{variant}: {e}");
    }
}

#[test]
fn error_alphabets() {
    for (text, said) in [
        (&b"a\n\xff\n"[..], "letters.txt: is not text"),
        (b"a\n\nb\n", "letters.txt: line 2 is empty"),
        (b"a\nb\n", "output \"output\" is [1, 4, 12] instead of [1, any, 4]"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        for file in ["manifest.toml", "line.onnx", "letters.txt"] {
            std::fs::copy(testing::models().join("line").join(file), copy.path().join(file)).unwrap();
        }
        let letters = copy.path().join("letters.txt");
        let old = crate::model::sha256(&std::fs::read(&letters).unwrap());
        std::fs::write(&letters, text).unwrap();
        let e = open_in::<Read>(copy.path(), None).map(|_| ()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
        let manifest = copy.path().join("manifest.toml");
        let new = std::fs::read_to_string(&manifest).unwrap().replace(&old, &crate::model::sha256(text));
        std::fs::write(&manifest, new).unwrap();
        let e = open_in::<Read>(copy.path(), None).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains(said), "{e}");
    }
}

fn seen(frame: Frame, rects: &[[f32; 4]]) -> Detections {
    let thing = |&[x0, y0, x1, y1]: &[f32; 4]| Detection {
        class: "thing".into(),
        score: 0.5,
        rect: Rect { x0, y0, x1, y1 },
    };
    Detections { frame, seen: rects.iter().map(thing).collect() }
}

#[test]
fn error_a_thing_that_cannot_be_cut_out_is_left_out_alone() {
    let good = [4.0, 4.0, 30.0, 40.0];
    let mut unreadable = noise(2, 64, 48);
    unreadable.picture.height = 49;
    let frames = vec![
        seen(noise(1, 64, 48), &[good, [70.0, 0.0, 80.0, 9.0], good, [5.0, 5.0, 5.0, 9.0]]),
        seen(unreadable, &[good]),
        seen(noise(1, 64, 48), &[]),
        seen(noise(1, 64, 48), &[good; 1500]),
    ];
    let outcomes = open::<EmbedSeen>("look").run(frames);
    let lengths: Vec<_> =
        outcomes.iter().map(|o| o.as_ref().map(|a| a.seen.len()).map_err(|f| f.reason.as_str())).collect();
    assert_eq!(lengths, [Ok(2), Err("bad_picture"), Ok(0), Ok(1024)]);
    let first = &outcomes[0].as_ref().unwrap().seen[0].embedding;
    assert!(outcomes[3].as_ref().unwrap().seen.iter().all(|thing| thing.embedding == *first));
}

#[test]
fn error_things_without_a_vector_are_left_out_and_their_frame_is_not() {
    let half = frame(64, 48, |x, _| [if x < 32 { 0 } else { 255 }; 3]);
    let (dark, bright) = ([0.0, 0.0, 20.0, 40.0], [40.0, 0.0, 60.0, 40.0]);
    let mut runner = edited::<EmbedSeen>("look", OVERFLOWING).unwrap();
    // The means of a dark crop are all 0 and so is its vector; of a bright one they are NaN.
    let outcome = runner.run(vec![seen(half, &[dark, bright, dark])]).remove(0).unwrap();
    assert!(outcome.seen.is_empty(), "{:?}", outcome.seen);
}
