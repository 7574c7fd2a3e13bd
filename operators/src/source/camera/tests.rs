//! Cameras read by a real ffmpeg, from servers on loopback.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jellybean_engine::source::{Feed, Policy, Source, Stamp};
use jellybean_engine::{Clock, Error, ErrorKind};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Camera, CameraFeed};
use crate::picture::{Format, Frame};
use crate::source::testing::{Random, Server, clip, ffmpeg, request};

/// A server that answers with these bytes, and then leaves, or waits for the other to leave.
fn serves(bytes: Vec<u8>, leaves: bool) -> Server {
    Server::start(move |_, connection| {
        request(connection)?;
        write!(connection, "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")?;
        connection.write_all(&bytes)?;
        if !leaves {
            request(connection)?;
        }
        Ok(())
    })
}

fn at(server: &Server) -> Camera {
    let address = format!("http://me:secret@{}/live.ts?token=secret", server.address());
    Camera::at(address).camera("yard").ffmpeg(ffmpeg())
}

/// A clip as an MPEG transport stream, which can be played from its beginning as it comes.
fn stream(generator: &str) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    fs::read(clip(folder.path(), "a.ts", generator, "libx264")).unwrap()
}

fn frame(feed: &mut CameraFeed) -> Frame {
    let arrival = feed.next().unwrap().unwrap();
    assert_eq!(arrival.stamp, Stamp::Live);
    let Frame { picture, .. } = &arrival.record;
    assert_eq!(Some(picture.data.len()), Format::I420.bytes(picture.width, picture.height));
    arrival.record
}

/// Frames up to the next outage, which shows no secret.
fn until_outage(feed: &mut CameraFeed) -> (Vec<Frame>, Error) {
    let mut frames = Vec::new();
    loop {
        match feed.next() {
            Ok(arrival) => frames.push(arrival.expect("a camera has no end").record),
            Err(error) => {
                let said = format!("{error} {error:?}");
                assert!(said.contains("camera \"yard\" at http://***@127.0.0.1:"), "{said}");
                assert!(!said.contains("secret"), "{said}");
                return (frames, error);
            }
        }
    }
}

/// What a process was started with, by its number.
fn command_line(pid: Pid) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap())
        .into_owned()
}

/// Lets the time of a simulated clock fly while `f` runs.
fn while_time_flies<R>(clock: &Clock, f: impl FnOnce() -> R) -> R {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                clock.advance(Duration::from_secs(1));
                std::thread::yield_now();
            }
        });
        let result = f();
        over.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn the_end_of_a_connection_is_an_outage_and_frames_go_on_counting() {
    let server = serves(stream("testsrc=size=320x240:rate=25:duration=1"), true);
    let mut feed = at(&server).read(&Clock::real()).unwrap();
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let (frames, outage) = until_outage(&mut feed);
        assert_eq!(frames.len(), 25);
        assert!(frames.windows(2).all(|w| w[0].picture != w[1].picture && w[0].time_ms <= w[1].time_ms));
        numbers.extend(frames.iter().map(|frame| frame.number));
        // ffmpeg sees nothing wrong in it.
        let said = outage.to_string();
        assert!(said.contains("the stream ended: ffmpeg ended with status 0"), "{said}");
        assert!(outage.kind().is_retryable());
    }
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}

#[test]
fn the_address_is_not_in_the_list_of_processes() {
    let server = serves(stream("testsrc=size=320x240:rate=25:duration=2"), false);
    let camera = at(&server);
    let mut feed = camera.read(&Clock::real()).unwrap();
    frame(&mut feed);
    let line = command_line(feed.connection.as_ref().unwrap().ffmpeg.pid());
    assert!(line.contains("pipe:0"), "{line}");
    assert!(!line.contains("secret") && !line.contains("127.0.0.1"), "{line}");
    let shown = format!("{camera:?}");
    assert!(shown.contains("http://***@127.0.0.1") && !shown.contains("secret"), "{shown}");
}

#[test]
fn a_change_of_size_is_scaled_to_the_first_size_of_the_connection() {
    let large = stream("testsrc=size=640x480:rate=25:duration=1");
    let small = stream("testsrc=size=320x240:rate=25:duration=1");
    let server = serves([large, small].concat(), true);
    let (frames, _) = until_outage(&mut at(&server).read(&Clock::real()).unwrap());
    assert_eq!(frames.len(), 50);
    assert!(frames.iter().all(|f| (f.picture.width, f.picture.height) == (640, 480)));
}

#[test]
fn a_picture_of_one_pixel_and_one_of_8k() {
    for (size, width, height) in [("1x1", 1, 1), ("7680x4320", 7_680, 4_320)] {
        let folder = TempDir::new().unwrap();
        let generator = format!("color=red:size={size}:rate=5:duration=0.6");
        let bytes = fs::read(clip(folder.path(), "a.mkv", &generator, "ffv1")).unwrap();
        let (frames, _) = until_outage(&mut at(&serves(bytes, true)).read(&Clock::real()).unwrap());
        assert_eq!(frames.len(), 3, "{size}");
        for Frame { picture, .. } in frames {
            assert_eq!((picture.width, picture.height), (width, height));
            assert_eq!(Some(picture.data.len()), Format::I420.bytes(width, height));
        }
    }
}

#[test]
fn garbage_is_an_outage() {
    let text = include_str!("../camera.rs").as_bytes();
    for (bytes, why) in
        [(Random(20).bytes(300_000), "no picture came"), (Vec::new(), "no picture came"), (text.to_vec(), "")]
    {
        let mut feed = at(&serves(bytes, true)).read(&Clock::real()).unwrap();
        for _ in 0..2 {
            let (frames, outage) = until_outage(&mut feed);
            assert!(frames.is_empty(), "{} frames", frames.len());
            assert!(outage.to_string().contains(why), "{outage}");
        }
    }
}

#[test]
fn garbage_in_mid_stream_spoils_pictures_but_never_their_size() {
    let mut bytes = stream("testsrc=size=320x240:rate=25:duration=4");
    let mut random = Random(21);
    for _ in 0..40 {
        let at = random.below(bytes.len() - 200);
        let noise = random.bytes(200);
        bytes[at..at + 200].copy_from_slice(&noise);
    }
    let (frames, _) = until_outage(&mut at(&serves(bytes, true)).read(&Clock::real()).unwrap());
    assert!(frames.iter().all(|f| (f.picture.width, f.picture.height) == (320, 240)));
}

#[test]
fn a_camera_that_is_not_there_is_an_outage() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["http", "rtsp"] {
        let camera = Camera::at(format!("{scheme}://me:secret@{gone}/x?secret")).ffmpeg(ffmpeg());
        let error = camera.open(0, &Clock::real()).unwrap().next().map(|_| ()).unwrap_err();
        let said = format!("{error} {error:?}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{said}");
        assert!(said.contains("refused") && !said.contains("secret"), "{said}");
    }
}

#[test]
fn an_ffmpeg_that_hangs_is_killed_and_another_started() {
    let server = serves(stream("testsrc=size=320x240:rate=25:duration=8"), true);
    let clock = Clock::simulated();
    let mut feed = at(&server).read(&clock).unwrap();
    frame(&mut feed);
    let pid = feed.connection.as_ref().unwrap().ffmpeg.pid();
    kill_process(pid, Signal::STOP).unwrap();
    let (frames, outage) = while_time_flies(&clock, || until_outage(&mut feed));
    assert_eq!(outage.kind(), ErrorKind::Timeout, "{outage}");
    assert!(outage.to_string().contains("no picture for"), "{outage}");
    assert!(!fs::exists(format!("/proc/{}", pid.as_raw_nonzero())).unwrap(), "it was waited for");
    assert_eq!(frame(&mut feed).number, 1 + frames.len() as u64);
}

#[test]
fn a_server_that_says_nothing_is_given_up_on() {
    let server = serves(Vec::new(), false);
    let clock = Clock::simulated();
    let mut feed = at(&server).read(&clock).unwrap();
    let (frames, outage) = while_time_flies(&clock, || until_outage(&mut feed));
    assert!(frames.is_empty());
    assert_eq!(outage.kind(), ErrorKind::Timeout, "{outage}");
}

#[test]
fn the_stopper_ends_a_blocked_read_and_a_connection_that_is_being_made() {
    for bytes in [stream("testsrc=size=320x240:rate=25:duration=1"), Vec::new()] {
        let server = serves(bytes, false);
        let mut feed = at(&server).read(&Clock::real()).unwrap();
        let stop = feed.stopper().unwrap();
        let (waiting, is_waiting) = std::sync::mpsc::sync_channel(1);
        let stopping = std::thread::spawn(move || {
            is_waiting.recv().unwrap();
            stop();
            stop();
        });
        waiting.send(()).unwrap();
        while feed.next().unwrap().is_some() {}
        assert!(feed.next().unwrap().is_none());
        stopping.join().unwrap();
    }
}

#[test]
fn a_device_is_asked_for_in_the_words_of_video4linux() {
    let job = Camera::at("/dev/video3").job().unwrap();
    let input: Vec<_> = job.input.iter().map(|argument| argument.to_str().unwrap()).collect();
    assert!(input.ends_with(&["-f", "v4l2", "-i", "/dev/video3"]), "{input:?}");
    assert_eq!(job.script, None);
}

#[test]
fn the_script_is_what_ffmpeg_takes_for_one_address() {
    let job = Camera::at("rtsps://me:it's@host/a").job().unwrap();
    let script = job.script.unwrap();
    let lines: Vec<&str> = script.lines().collect();
    assert_eq!(lines[..2], ["ffconcat version 1.0", r"file 'rtsps://me:it'\''s@host/a'"]);
    assert!(lines[2..].contains(&"option rtsp_transport tcp"), "{script}");
    let longest = Camera::at(format!("http://host/{}", "'".repeat(1_500))).job();
    assert!(longest.err().unwrap().to_string().contains("longer than ffmpeg can be told"));
}

#[test]
fn error_what_can_be_seen_before_anything_starts() {
    let clock = Clock::real();
    for (address, why) in [
        ("ftp://me:secret@host/", "ftp://, which no camera here speaks"),
        ("file:///etc/passwd", "no host"),
        ("me:secret@host", "no scheme"),
        ("rtsp://me:secret@host\n/", "control character"),
        ("concat:secret@x|y", "no scheme"),
    ] {
        let error = Camera::at(address).camera("yard").ffmpeg(ffmpeg()).open(0, &clock).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let said = error.to_string();
        assert!(said.contains(why) && said.contains("camera \"yard\"") && !said.contains("secret"), "{said}");
    }
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("ffmpeg");
    fs::write(&plain, "").unwrap();
    for (program, kind) in [
        ("/nowhere/ffmpeg".into(), ErrorKind::NotFound),
        ("no-such-program-anywhere".into(), ErrorKind::NotFound),
        (plain, ErrorKind::Unavailable),
    ] {
        let error = Camera::at("rtsp://host/").ffmpeg(program).open(0, &clock).err().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let lane = &Camera::at("rtsp://host/").lanes()[0];
    assert!(lane.live && lane.policy == Policy::Latest);
}
