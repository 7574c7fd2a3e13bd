//! Lists of cameras, right and wrong.

use std::fs;
use std::path::Path;

use jellybean_engine::source::{Pacing, Policy, Source};
use jellybean_engine::{Clock, ErrorKind};
use tempfile::TempDir;

use super::{CameraEntry, Cameras};
use crate::source::testing::{clip, ffmpeg, jpeg};

fn written(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("cameras.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn every_kind_is_a_lane_under_its_own_name() {
    let folder = TempDir::new().unwrap();
    clip(folder.path(), "street.avi", "testsrc=size=64x48:rate=5:duration=1", "mpeg4");
    fs::create_dir(folder.path().join("pictures")).unwrap();
    fs::write(folder.path().join("pictures/a.jpg"), jpeg(8, 6)).unwrap();
    let path = written(
        folder.path(),
        r#"
        version = 1
        [[camera]]
        name = "yard"
        url = "rtsp://me:secret@10.0.0.5/stream"
        node = "hub-1"
        priority = 3
        [[camera]]
        name = "gate"
        url = "http://me:secret@10.0.0.6/video.mjpg"
        policy = "block"
        [[camera]]
        name = "street"
        url = "file:street.avi"
        policy = "latest"
        [[camera]]
        name = "album"
        url = "file:pictures"
        [[camera]]
        name = "junction"
        url = "road:7"
        [[camera]]
        name = "door"
        url = "ffmpeg+http://10.0.0.7/live.ts"
        [[camera]]
        name = "desk"
        url = "/dev/video0"
        "#,
    );
    let cameras = Cameras::from_file(&path).unwrap().ffmpeg(ffmpeg()).unwrap();
    let lanes = cameras.lanes();
    let seen: Vec<_> = lanes.iter().map(|l| (l.name.as_str(), l.live, l.policy, l.pacing)).collect();
    use Pacing::{Max, Realtime};
    use Policy::{Block, Latest};
    let expected = [
        ("yard", true, Latest, Max),
        ("gate", true, Block, Max),
        ("street", false, Latest, Realtime),
        ("album", false, Block, Max),
        ("junction", false, Block, Max),
        ("door", true, Latest, Max),
        ("desk", true, Latest, Max),
    ];
    assert_eq!(seen, expected);
    let yard = &cameras.entries()[0];
    assert_eq!((yard.node.as_deref(), yard.priority), (Some("hub-1"), 3));
    assert!(!format!("{:?}", cameras.entries()).contains("secret"));
    for (lane, size) in [(2, (64, 48)), (3, (8, 6)), (4, (320, 192))] {
        let frame = cameras.open(lane, &Clock::real()).unwrap().next().unwrap().unwrap().record;
        assert_eq!(*frame.camera, *lanes[lane].name);
        assert_eq!((frame.picture.width, frame.picture.height), size);
    }
    // Cameras that are not there are no reason not to start.
    for lane in [0, 1, 5, 6] {
        assert!(cameras.open(lane, &Clock::real()).is_ok());
    }
    assert_eq!(cameras.open(7, &Clock::real()).err().unwrap().kind(), ErrorKind::Invalid);
}

#[test]
fn error_a_list_that_is_not_right() {
    let folder = TempDir::new().unwrap();
    let camera = "[[camera]]\nname = \"a\"\nurl = \"road:1\"\n";
    for (text, words) in [
        ("version = 1\n".to_owned(), "0 cameras"),
        (camera.to_owned(), "no version"),
        (format!("version = 2\nnovelty = 1\n{camera}"), "version 2, and 1 is read"),
        (format!("version = 1\nfps = 3\n{camera}"), "line 2: unknown field `fps`"),
        (format!("version = 1\n{camera}colour = 1\n"), "line 5: unknown field `colour`"),
        (format!("version = 1\n{camera}policy = \"newest\"\n"), "line 5: unknown variant `newest`"),
        (format!("version = 1\n{camera}priority = \"high\"\n"), "line 5: invalid type"),
        ("version = 1\n[[camera]]\nname = \"a\"\n".to_owned(), "missing field `url`"),
        (format!("version = 1\n{camera}{camera}"), "two cameras are named \"a\""),
        ("version = 1\n[[camera]]\nname = \" \"\nurl = \"road:1\"".to_owned(), "without a name"),
        (format!("version = 1\n{}", camera.replace("road:1", "road:x")), "no number for a seed"),
        (format!("version = 1\n{}", camera.replace("road:1", "street.avi")), "\"street.avi\" is no address"),
        (format!("version = 1\n{}", camera.replace("road:1", "ftp://u:secret@h/")), "which no camera here"),
        (format!("version = 1\n{}", camera.replace("road:1", "http://u:secret@/")), "no host"),
        (format!("version = 1\n{}", camera.replace("road:1", "u:secret@h")), "\"***\" is no address"),
        ("version = 1\n[[camera]]\nurl = \"rtsp://u:secret@h/\n".to_owned(), "line 3"),
        (
            format!("version = 1\n{}", camera.replace("\"road:1\"", "{ url = \"rtsp://u:secret@h/\" }")),
            "line 4",
        ),
    ] {
        let path = written(folder.path(), &text);
        let error = Cameras::from_file(&path).err().unwrap_or_else(|| panic!("{text}"));
        let said = format!("{error} {error:?}");
        assert!(error.to_string().contains(words), "{text}: {said}");
        assert!(said.contains("cameras.toml") && !said.contains("secret"), "{said}");
    }
    let error = Cameras::from_file(folder.path().join("none.toml")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let many = vec![CameraEntry::new("a", "road:1"); 1_025];
    assert!(Cameras::new(many).err().unwrap().to_string().contains("1025 cameras"));
}
