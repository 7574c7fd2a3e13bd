use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, kill_process};

use super::*;
use crate::fetch::{Cache, Environment, ffmpeg_program, silent};
use crate::picture::{Detection, Detections, Format, Rect};

fn ffmpeg() -> PathBuf {
    ffmpeg_program(&Cache::new(Environment::of_process()).unwrap(), None, &silent).unwrap()
}

/// A grey frame with a car in it, at a time.
fn seen(camera: &str, number: u64, time_ms: u64, (width, height): (u32, u32)) -> Detections {
    let data = vec![126; Format::I420.bytes(width, height).unwrap()].into();
    let picture = Picture { width, height, format: Format::I420, data };
    let rect = Rect { x0: 40.0, y0: 30.0, x1: 90.0, y1: 80.0 };
    let seen = vec![Detection { class: "car".into(), score: 0.874, rect }];
    Detections { frame: Frame { camera: camera.into(), number, time_ms, picture }, seen }
}

fn sink(folder: &Path) -> Mp4<Detections> {
    Mp4::folder(folder).ffmpeg(ffmpeg())
}

/// When the pictures of a video are shown, in milliseconds, and how large they are.
fn shown(file: &Path) -> (Vec<u64>, String) {
    let output = Command::new(ffmpeg())
        .args(["-nostdin", "-v", "error", "-threads", "1", "-i"])
        .arg(file)
        .args(["-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-c:v", "rawvideo"])
        .args(["-threads", "1", "-f", "framecrc", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("#tb 0: 1/1000\n"), "{text}");
    let size = text.lines().find_map(|line| line.strip_prefix("#dimensions 0: ")).unwrap().to_owned();
    let times = text.lines().filter(|line| !line.starts_with('#'));
    (times.map(|line| line.split(',').nth(2).unwrap().trim().parse().unwrap()).collect(), size)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_frame_is_shown_once_at_its_own_time() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut writer = sink(folder.path()).open().unwrap();
    // Uneven times, one of them twice, a gap, and sides that H.264 cannot have.
    let times = [500, 533, 567, 600, 600, 700, 2_900, 2_933];
    for (number, time_ms) in times.into_iter().enumerate() {
        writer.write(time_ms, seen("north", number as u64, time_ms, (161, 121))).unwrap();
        writer.write(time_ms, seen("../south", number as u64, time_ms, (64, 48))).unwrap();
    }
    writer.close().unwrap();
    assert_eq!(names(folder.path()), ["%2E%2E%2Fsouth.mp4", "north.mp4"]);
    let wanted = vec![0, 33, 67, 100, 101, 200, 2_400, 2_433];
    assert_eq!(shown(&folder.path().join("north.mp4")), (wanted.clone(), "162x122".into()));
    assert_eq!(shown(&folder.path().join("%2E%2E%2Fsouth.mp4")), (wanted, "64x48".into()));
}

#[test]
fn a_rate_can_be_given() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut writer = sink(folder.path()).fps(20).open().unwrap();
    (0..5).for_each(|n| writer.write(n, seen("a", n, 7_000 * n, (64, 48))).unwrap());
    writer.close().unwrap();
    assert_eq!(shown(&folder.path().join("a.mp4")).0, [0, 50, 100, 150, 200]);
}

#[test]
fn another_size_is_another_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut writer = sink(folder.path()).open().unwrap();
    for number in 0..30 {
        let size = if number < 20 { (64, 48) } else { (96, 64) };
        writer.write(0, seen("a", number, 40 * number, size)).unwrap();
    }
    writer.close().unwrap();
    assert_eq!(names(folder.path()), ["a-2.mp4", "a.mp4"]);
    let (first, second) = (shown(&folder.path().join("a.mp4")), shown(&folder.path().join("a-2.mp4")));
    assert_eq!((first.0.len(), &*first.1), (20, "64x48"));
    assert_eq!((second.0, &*second.1), ((0..10).map(|n| 40 * n).collect(), "96x64"));
}

#[test]
fn a_sink_that_moves_goes_on_with_its_file_and_another_process_with_the_next() {
    let folder = tempfile::TempDir::new().unwrap();
    let here = sink(folder.path());
    let mut first = here.open().unwrap();
    (0..10).for_each(|n| first.write(0, seen("a", n, 40 * n, (64, 48))).unwrap());
    let mut second = here.reopen().unwrap();
    // Prepared for a change of plan that is aborted.
    drop(here.reopen().unwrap());
    first.close().unwrap();
    drop(first);
    (10..20).for_each(|n| second.write(0, seen("a", n, 40 * n, (64, 48))).unwrap());
    second.close().unwrap();
    drop(second);
    assert_eq!(shown(&folder.path().join("a.mp4")).0.len(), 20);

    let mut elsewhere = sink(folder.path()).reopen().unwrap();
    (20..25).for_each(|n| elsewhere.write(0, seen("a", n, 40 * n, (64, 48))).unwrap());
    elsewhere.close().unwrap();
    assert_eq!(names(folder.path()), ["a-2.mp4", "a.mp4"]);
    assert_eq!(shown(&folder.path().join("a.mp4")).0.len(), 20);
    assert_eq!(shown(&folder.path().join("a-2.mp4")).0.len(), 5);
}

#[test]
fn error_ffmpeg_goes_away_and_the_next_file_begins_later() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut films = sink(folder.path()).films(false);
    (0..5).for_each(|n| films.write(&seen("a", n, 40 * n, (640, 480))).unwrap());
    let pid = films.by_camera["a"].now.as_ref().unwrap().encoder.pid();
    kill_process(pid, Signal::KILL).unwrap();
    let outcomes: Vec<_> = (5..60).map(|n| films.write(&seen("a", n, 40 * n, (640, 480)))).collect();
    let failures: Vec<&Failure> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let first = failures.first().expect("ffmpeg is gone");
    assert!(first.message.contains("a.mp4, after") && first.message.contains("SIGKILL"), "{first}");
    // A second of frames.
    assert_eq!(failures.len(), 25, "{failures:?}");
    assert!(failures[1].message.contains("the next one begins later"), "{}", failures[1]);
    films.close().unwrap();
    let after = outcomes.iter().rposition(Result::is_err).unwrap();
    assert_eq!(shown(&folder.path().join("a-2.mp4")).0.len(), outcomes.len() - after - 1);
}

#[test]
fn error_ffmpeg_hangs() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut films = sink(folder.path()).patience(Duration::from_millis(300)).films(false);
    films.write(&seen("a", 0, 0, (640, 480))).unwrap();
    let pid = films.by_camera["a"].now.as_ref().unwrap().encoder.pid();
    kill_process(pid, Signal::STOP).unwrap();
    // The pipe takes some frames more.
    let failure = (1..50).find_map(|n| films.write(&seen("a", n, 40 * n, (640, 480))).err()).unwrap();
    assert_eq!(failure.reason, Reason::TIMEOUT, "{failure}");
    assert!(failure.message.contains("has taken nothing for"), "{failure}");
    films.close().unwrap();

    let mut films = sink(folder.path()).patience(Duration::from_millis(300)).films(false);
    films.write(&seen("b", 0, 0, (64, 48))).unwrap();
    let pid = films.by_camera["b"].now.as_ref().unwrap().encoder.pid();
    kill_process(pid, Signal::STOP).unwrap();
    assert_eq!(films.close().unwrap_err().reason, Reason::TIMEOUT);
}

#[test]
fn error_more_cameras_than_allowed_and_no_ffmpeg() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut writer = sink(folder.path()).cameras_max(1).open().unwrap();
    writer.write(0, seen("a", 0, 0, (64, 48))).unwrap();
    let failure = writer.write(0, seen("b", 0, 0, (64, 48))).unwrap_err();
    assert!(failure.message.contains("camera b is one more than 1"), "{failure}");
    writer.close().unwrap();
    let error = sink(folder.path()).ffmpeg("/nowhere/ffmpeg").open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("Mp4::ffmpeg"), "{error}");
}

#[test]
fn error_a_disk_that_is_full_fails_frames_or_the_end() {
    let folder = tempfile::TempDir::new().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("a.mp4")).unwrap();
    let mut films = sink(folder.path()).films(false);
    let mut outcomes: Vec<_> = (0..20).map(|n| films.write(&seen("a", n, 40 * n, (64, 48)))).collect();
    outcomes.push(films.close());
    let failure = outcomes.into_iter().find_map(Result::err).expect("nothing can be written there");
    assert!(failure.message.contains("No space left on device"), "{failure}");
}
