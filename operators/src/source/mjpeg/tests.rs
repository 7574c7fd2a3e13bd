//! MJPEG cameras on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use jellybean_engine::source::{Feed, Source, Stamp};
use jellybean_engine::{Clock, ErrorKind};

use super::Mjpeg;
use crate::picture::{Format, Frame};
use crate::pixels::RgbBuffer;
use crate::source::testing::{Random, Server, jpeg, request};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=\"cut\"\r\n";

type FrameFeed = Box<dyn Feed<Record = Frame>>;

fn open(server: &Server) -> FrameFeed {
    let address = format!("http://me:secret@{}/video?token=secret", server.address());
    Mjpeg::at(address).camera("gate").open(0, &Clock::real()).unwrap()
}

fn part(body: &[u8]) -> Vec<u8> {
    let head = format!("--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body, b"\r\n"].concat()
}

fn frame(feed: &mut FrameFeed) -> Frame {
    let arrival = feed.next().unwrap().unwrap();
    assert_eq!(arrival.stamp, Stamp::Live);
    arrival.record
}

/// The outage that comes next, which shows no secret.
fn outage(feed: &mut FrameFeed, kind: ErrorKind, words: &str) {
    let error = feed.next().map(|_| ()).unwrap_err();
    let said = format!("{error} {error:?}");
    assert_eq!(error.kind(), kind, "{said}");
    assert!(said.contains(words) && said.contains("camera \"gate\" at http://***@127.0.0.1:"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn pictures_stay_as_they_came_over_all_connections() {
    let pictures = [jpeg(64, 48), jpeg(1, 1), b"no picture".to_vec(), jpeg(640, 360), jpeg(7_680, 4_320)];
    let sent = pictures.clone();
    let server = Server::start(move |number, connection| {
        let asked = request(connection)?;
        assert!(asked.contains("Authorization: Basic bWU6c2VjcmV0\r\n"), "{asked}");
        let sent = &sent[if number == 0 { 0..3 } else { 3..5 }];
        let body: Vec<u8> = sent.iter().flat_map(|picture| part(picture)).collect();
        if number == 0 {
            write!(connection, "{HEAD}\r\n")?;
            return connection.write_all(&body);
        }
        write!(connection, "{HEAD}Transfer-Encoding: chunked\r\n\r\n")?;
        for chunk in body.chunks(1_000) {
            write!(connection, "{:x}\r\n", chunk.len())?;
            connection.write_all(chunk)?;
            connection.write_all(b"\r\n")?;
        }
        connection.write_all(b"0\r\n\r\n")
    });
    let mut feed = open(&server);
    let mut frames: Vec<Frame> = (0..3).map(|_| frame(&mut feed)).collect();
    outage(&mut feed, ErrorKind::Unavailable, "it ended the stream");
    frames.extend((3..5).map(|_| frame(&mut feed)));
    outage(&mut feed, ErrorKind::Unavailable, "it ended the stream");
    let sizes = [(64, 48), (1, 1), (1, 1), (640, 360), (7_680, 4_320)];
    let mut rgb = RgbBuffer::default();
    for (number, (frame, size)) in frames.iter().zip(sizes).enumerate() {
        assert_eq!((&*frame.camera, frame.number), ("gate", number as u64));
        let picture = &frame.picture;
        assert_eq!((picture.format, (picture.width, picture.height)), (Format::Jpeg, size));
        assert!(*picture.data == *pictures[number]);
        assert_eq!(rgb.read(picture).is_ok(), number != 2);
    }
    assert!(frames.windows(2).all(|w| w[0].time_ms <= w[1].time_ms));
}

#[test]
fn answers_that_are_no_stream_are_outages() {
    let answers: [(&str, ErrorKind, &str); 9] = [
        ("", ErrorKind::Unavailable, "without an answer"),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", ErrorKind::Unavailable, "another user or password"),
        ("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n", ErrorKind::Corrupt, "sends us elsewhere"),
        ("HTTP/1.1 503 Busy\r\n\r\n", ErrorKind::Corrupt, "503 Busy"),
        ("SSH-2.0-server\r\n\r\n", ErrorKind::Corrupt, "SSH-2.0"),
        ("HTTP/1.1 200 OK\nContent-Type: image/jpeg\n\nx", ErrorKind::Corrupt, "image/jpeg"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ErrorKind::Corrupt, "\"gzip\""),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n",
            ErrorKind::Corrupt,
            "names no boundary",
        ),
        (&format!("{HEAD}Transfer-Encoding: chunked\r\n\r\nnone\r\n"), ErrorKind::Corrupt, "tells no size"),
    ];
    let sent = answers.map(|(answer, ..)| answer.to_owned());
    let server = Server::start(move |number, connection| {
        request(connection)?;
        match sent.get(number) {
            Some(answer) => connection.write_all(answer.as_bytes()),
            None => connection.write_all(&Random(number as u64).bytes(100_000)),
        }
    });
    let mut feed = open(&server);
    for (_, kind, words) in answers {
        outage(&mut feed, kind, words);
    }
    for _ in 0..5 {
        feed.next().map(|_| ()).unwrap_err();
    }
}

#[test]
fn an_endless_head_is_an_outage() {
    let server = Server::start(|_, connection| {
        request(connection)?;
        loop {
            connection.write_all(&[b'x'; 1_000])?;
        }
    });
    outage(&mut open(&server), ErrorKind::Corrupt, "no end within");
}

#[test]
fn a_camera_that_is_not_there_is_an_outage() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut feed =
        Mjpeg::at(format!("http://me:secret@{gone}/")).camera("gate").open(0, &Clock::real()).unwrap();
    outage(&mut feed, ErrorKind::Unavailable, "cannot be reached");
}

/// Waits until the other side has gone.
fn wait(connection: &mut TcpStream) {
    let mut byte = [0];
    while matches!(connection.read(&mut byte), Ok(1..)) {}
}

#[test]
fn a_silent_camera_is_given_up_on_by_the_clock() {
    let server = Server::start(|_, connection| {
        request(connection)?;
        write!(connection, "{HEAD}\r\n")?;
        connection.write_all(&part(&jpeg(8, 8)))?;
        connection.write_all(b"--cut\r\nContent-Length: 1000\r\n\r\nthe beginning")?;
        wait(connection);
        Ok(())
    });
    let clock = Clock::simulated();
    let address = format!("http://me:secret@{}/", server.address());
    let mut feed = Mjpeg::at(address).camera("gate").open(0, &clock).unwrap();
    for number in 0..2 {
        assert_eq!(frame(&mut feed).number, number);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    clock.advance(Duration::from_secs(1));
                    std::thread::yield_now();
                }
            });
            outage(&mut feed, ErrorKind::Timeout, "no picture for");
            over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn the_stopper_ends_a_blocked_read() {
    let (waiting, is_waiting) = sync_channel(1);
    let server = Server::start(move |_, connection| {
        request(connection)?;
        write!(connection, "{HEAD}\r\n")?;
        waiting.send(()).expect("the test waits for it");
        wait(connection);
        Ok(())
    });
    let mut feed = open(&server);
    let stop = feed.stopper().unwrap();
    let stopping = std::thread::spawn(move || {
        is_waiting.recv().unwrap();
        stop();
        stop();
    });
    assert!(feed.next().unwrap().is_none());
    assert!(feed.next().unwrap().is_none());
    stopping.join().unwrap();
}

#[test]
fn error_an_address_that_is_not_http() {
    for (address, why) in [
        ("https://me:secret@host/", "not an http:// one"),
        ("me:secret@host", "no scheme"),
        ("http://me:secret@host\r\n/", "control character"),
    ] {
        let source = Mjpeg::at(address).camera("gate");
        let error = source.open(0, &Clock::real()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let said = format!("{error} {source:?}");
        assert!(error.to_string().contains(why) && said.contains("camera \"gate\""), "{said}");
    }
    let shown = format!("{:?}", Mjpeg::at("http://me:secret@host/?secret"));
    assert!(!shown.contains("secret"), "{shown}");
}
