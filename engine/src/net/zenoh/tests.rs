//! Real sessions on loopback, and through a cable that can be cut.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::{Receiver, unbounded};
use zenoh::Wait;

use super::{Settings, WAITING_BYTES_MAX, WAITING_MAX, Zenoh};
use crate::clock::Clock;
use crate::error::{ErrorKind, Result};
use crate::link::{Draft, Links};
use crate::net::cable::Cable;
use crate::net::{Line, Listening, Member, Network, Presence};

/// What nobody should have to wait for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a message may take before it is sent again; what is lost on purpose is sent only so often.
const AGAIN: Duration = Duration::from_millis(20);

fn member(name: &str, life: u64) -> Member {
    Member { name: name.to_owned(), life }
}

/// A port that nobody uses.
pub(super) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

pub(super) fn settings(name: &str, life: u64, listen: &[SocketAddr], connect: &[SocketAddr]) -> Settings {
    Settings {
        cluster: "test".to_owned(),
        member: member(name, life),
        listen: listen.to_vec(),
        connect: connect.to_vec(),
        tls: None,
        patience: Some(PATIENCE),
    }
}

fn open(name: &str, life: u64, listen: &[SocketAddr], connect: &[SocketAddr]) -> Arc<dyn Network> {
    Zenoh::open(&settings(name, life, listen, connect)).unwrap()
}

/// What comes from a member on a channel.
pub(super) struct Heard {
    messages: Receiver<Bytes>,
    _listening: Box<dyn Listening>,
}

impl Heard {
    pub(super) fn at(network: &Arc<dyn Network>, from: &Member, channel: &str) -> Self {
        let (inbox, messages) = unbounded();
        let inbox = Arc::new(move |message| inbox.send(message).unwrap());
        Self { messages, _listening: network.listen(from, channel, inbox).unwrap() }
    }

    /// Sends a message until it has come, as the protocol above does, and takes in its repetitions.
    #[track_caller]
    pub(super) fn gets(&self, line: &dyn Line, message: &'static str) {
        let clock = Clock::real();
        while clock.now_us() < PATIENCE.as_micros() as u64 {
            // One without room is tried again.
            _ = line.send(Bytes::from_static(message.as_bytes()));
            if let Ok(heard) = self.messages.recv_timeout(AGAIN) {
                assert_eq!(heard, message);
                while let Ok(again) = self.messages.recv_timeout(AGAIN) {
                    assert_eq!(again, message);
                }
                return;
            }
        }
        panic!("\"{message}\" has not come");
    }
}

pub(super) fn line(from: &Arc<dyn Network>, to: &Member, channel: &str) -> Box<dyn Line> {
    from.line(to, channel, Arc::new(|| ())).unwrap()
}

#[track_caller]
pub(super) fn refused<T>(outcome: Result<T>, kind: ErrorKind, words: &[&str]) {
    let error = outcome.err().expect("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "\"{word}\" is missing: {text}"));
}

#[test]
fn messages_go_both_ways_to_whom_they_are_for() {
    let hub = free();
    let a = open("a", 1, &[hub], &[]);
    let b_at = free();
    let b = open("b", 1, &[b_at], &[hub]);
    let c = open("c", 1, &[], &[hub, b_at]);
    let (at_b_from_a, at_b_from_c) = (Heard::at(&b, a.me(), "x/1"), Heard::at(&b, c.me(), "x/1"));
    let (at_a, at_c) = (Heard::at(&a, b.me(), "x/1"), Heard::at(&c, b.me(), "y"));
    at_b_from_a.gets(&*line(&a, b.me(), "x/1"), "from a");
    at_b_from_c.gets(&*line(&c, b.me(), "x/1"), "from c");
    at_a.gets(&*line(&b, a.me(), "x/1"), "to a");
    at_c.gets(&*line(&b, c.me(), "y"), "to c");
    for heard in [at_b_from_a, at_b_from_c, at_a, at_c] {
        assert!(heard.messages.is_empty(), "each came to one inbox");
    }
}

#[test]
fn what_nobody_listens_for_is_lost_and_holds_up_nothing() {
    let hub = free();
    let (a, b) = (open("a", 1, &[hub], &[]), open("b", 1, &[], &[hub]));
    let (early, other) = (line(&a, b.me(), "early"), line(&a, b.me(), "other"));
    let at_b = Heard::at(&b, a.me(), "other");
    at_b.gets(&*other, "they know each other");
    for _ in 0..50 {
        early.send(Bytes::from_static(b"too early")).unwrap();
    }
    // They share a session, so that those above have come before this one.
    at_b.gets(&*other, "behind them");
    let later = Heard::at(&b, a.me(), "early");
    later.gets(&*early, "in time");
    let twice = b.listen(a.me(), "early", Arc::new(|_| ()));
    refused(twice, ErrorKind::Invalid, &["early", "\"a\""]);
    drop(later);
    Heard::at(&b, a.me(), "early").gets(&*early, "to a second inbox");
}

#[test]
fn a_successor_is_somebody_else() {
    let hub = free();
    let a = open("a", 1, &[hub], &[]);
    let (told, presences) = unbounded();
    let _watching = a.watch(Arc::new(move |presence| told.send(presence).unwrap())).unwrap();
    let next = || presences.recv_timeout(PATIENCE).unwrap();
    let here = |life, is_here| Presence { member: member("b", life), is_here };
    assert_eq!(next(), Presence { member: member("a", 1), is_here: true });
    let b = open("b", 1, &[], &[hub]);
    assert_eq!(next(), here(1, true));
    let to_first = line(&a, b.me(), "x");
    Heard::at(&b, a.me(), "x").gets(&*to_first, "to the first");
    drop(b);
    assert_eq!(next(), here(1, false));
    let b = open("b", 2, &[], &[hub]);
    assert_eq!(next(), here(2, true));
    let heard = Heard::at(&b, a.me(), "x");
    to_first.send(Bytes::from_static(b"to the dead")).unwrap();
    heard.gets(&*line(&a, b.me(), "x"), "to the second");
}

#[test]
fn who_comes_later_learns_who_is_there() {
    let hub = free();
    let a = open("a", 1, &[hub], &[]);
    let b = open("b", 7, &[], &[hub]);
    let (told, presences) = unbounded();
    let _watching = b.watch(Arc::new(move |presence: Presence| told.send(presence).unwrap())).unwrap();
    let seen: BTreeSet<_> = (0..2).map(|_| presences.recv_timeout(PATIENCE).unwrap().member).collect();
    assert_eq!(seen, BTreeSet::from([a.me().clone(), b.me().clone()]));
}

#[test]
fn error_nobody_is_there_or_the_port_is_taken() {
    let nobody = free();
    let short = Some(Duration::from_millis(300));
    let alone = Settings { patience: short, ..settings("a", 1, &[], &[nobody]) };
    refused(Zenoh::open(&alone), ErrorKind::Unavailable, &[&nobody.to_string(), "300ms", "runs"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    refused(Zenoh::open(&settings("a", 1, &[at], &[])), ErrorKind::Unavailable, &[&at.to_string(), "free"]);
    // In the background they are tried for ever.
    let at = free();
    let patient = Zenoh::open(&Settings { patience: None, ..settings("a", 1, &[], &[at]) }).unwrap();
    let late = open("late", 1, &[at], &[]);
    Heard::at(&late, patient.me(), "x").gets(&*line(&patient, late.me(), "x"), "found");
}

#[test]
fn error_names_and_addresses_that_cannot_be() {
    for name in ["", "a/b", "*", "a b", "$", "ä", "a#"] {
        refused(Zenoh::open(&settings(name, 1, &[], &[])), ErrorKind::Invalid, &["a member", "letters"]);
        let cluster = Settings { cluster: name.to_owned(), ..settings("a", 1, &[], &[]) };
        refused(Zenoh::open(&cluster), ErrorKind::Invalid, &["a cluster"]);
    }
    let everywhere = "0.0.0.0:7447".parse().unwrap();
    refused(
        Zenoh::open(&settings("a", 1, &[everywhere], &[])),
        ErrorKind::Invalid,
        &["0.0.0.0:7447", "--tls-dir"],
    );
    let away = "192.0.2.1:7447".parse().unwrap();
    refused(
        Zenoh::open(&settings("a", 1, &[], &[away])),
        ErrorKind::Invalid,
        &["192.0.2.1:7447", "--tls-dir"],
    );
    let a = open("a", 1, &[free()], &[]);
    for channel in ["", "/", "x/", "x//y", "**", "x/*", "x y"] {
        refused(a.line(&member("b", 1), channel, Arc::new(|| ())), ErrorKind::Invalid, &["a channel"]);
        refused(a.listen(&member("b", 1), channel, Arc::new(|_| ())), ErrorKind::Invalid, &["a channel"]);
    }
}

#[test]
fn error_what_a_stranger_sends_does_no_harm() {
    let hub = free();
    let (a, b) = (open("a", 1, &[hub], &[]), open("b", 1, &[], &[hub]));
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("mode", "\"peer\"".to_owned()),
        ("listen/endpoints", "[]".to_owned()),
        ("connect/endpoints", format!("[\"tcp/{hub}\"]")),
        ("scouting/multicast/enabled", "false".to_owned()),
    ] {
        config.insert_json5(key, &value).unwrap();
    }
    let stranger = zenoh::open(config).wait().unwrap();
    let (told, presences) = unbounded();
    let _watching = a.watch(Arc::new(move |presence: Presence| told.send(presence).unwrap())).unwrap();
    let _tokens = ["test", "test/a", "test/a/b", "test/a/-1", "test/x/5"]
        .map(|key| stranger.liveliness().declare_token(format!("jellybean-here/{key}")).wait().unwrap());
    let at_a = Heard::at(&a, b.me(), "x");
    let to_a = stranger.declare_publisher("jellybean/test/b/one/a/1/x").wait().unwrap();
    let keys =
        ["b/1/a/1", "b/1/a/1/y", "b/99999999999999999999/a/1/x", "b/-1/a/1/x", "c/1/a/1/x", "b/1/a/1/x/y"];
    for round in 0..20 {
        to_a.put(vec![round; 300]).wait().unwrap();
        for key in keys {
            stranger.put(format!("jellybean/test/{key}"), vec![round; 70_000]).wait().unwrap();
        }
        stranger.delete("jellybean/test/b/1/a/1/y").wait().unwrap();
    }
    at_a.gets(&*line(&b, a.me(), "x"), "the real one");
    let mut seen = BTreeSet::new();
    while !seen.contains(&member("x", 5)) {
        seen.insert(presences.recv_timeout(PATIENCE).unwrap().member);
    }
    assert_eq!(seen, BTreeSet::from([member("a", 1), member("b", 1), member("x", 5)]));
}

#[test]
fn a_black_hole_to_one_peer_holds_up_no_other() {
    let (b_at, c_at) = (free(), free());
    let (b, c) = (open("b", 1, &[b_at], &[]), open("c", 1, &[c_at], &[]));
    let cable = Cable::to(b_at).unwrap();
    let a = open("a", 1, &[], &[cable.end(), c_at]);
    let (room, has_room) = unbounded();
    let to_b = a.line(b.me(), "x", Arc::new(move || room.send(()).unwrap())).unwrap();
    let to_c = line(&a, c.me(), "x");
    let (at_b, at_c) = (Heard::at(&b, a.me(), "x"), Heard::at(&c, a.me(), "x"));
    at_b.gets(&*to_b, "through");
    cable.stall();
    // The writer blocks once what lies between is full; then as much waits as may, and no more.
    let megabyte = Bytes::from(vec![1; 1 << 20]);
    let clock = Clock::real();
    while to_b.send(megabyte.clone()).is_ok() {
        assert!(clock.now_us() < PATIENCE.as_micros() as u64, "what is not sent is kept without a bound");
    }
    let most = WAITING_MAX.min(WAITING_BYTES_MAX / megabyte.len());
    let more = (0..most).filter(|_| to_b.send(megabyte.clone()).is_ok()).count();
    assert!(more < most, "{more} of {most} found room");
    at_c.gets(&*to_c, "meanwhile");
    cable.heal();
    has_room.recv_timeout(PATIENCE).unwrap();
    while at_b.messages.recv_timeout(AGAIN).is_ok() {}
    Heard::at(&b, a.me(), "y").gets(&*line(&a, b.me(), "y"), "after all");
}

/// What befalls a cable, after how many frames, and how long: shorter and longer than the lease.
const TROUBLES: [Trouble; 4] = [
    (400, Cable::cut, Duration::from_millis(10)),
    (1_000, Cable::stall, Duration::from_millis(300)),
    (1_600, Cable::stall, Duration::from_millis(1_500)),
    (2_200, Cable::cut, Duration::from_millis(700)),
];

fn frame(number: u64) -> Draft {
    let mut draft = Draft::default();
    draft.extend(number.to_le_bytes());
    draft.extend(std::iter::repeat_n(number as u8, (number * 7_919 % 90_000) as usize));
    draft
}

type Trouble = (u64, fn(&Cable), Duration);

/// Two members with links over a cable, each turned by the test.
#[test]
fn links_lose_nothing_over_a_cable_that_is_cut() {
    let b_at = free();
    let b = open("b", 1, &[b_at], &[]);
    let cable = Cable::to(b_at).unwrap();
    let a = open("a", 1, &[], &[cable.end()]);
    let (stir, stirred) = crossbeam::channel::bounded(1);
    let wake = Arc::new(move || _ = stir.try_send(()));
    let [left, right] = [&a, &b].map(|n| Links::new(n.clone(), Clock::real(), wake.clone()));
    let sender = left.sender(b.me(), "g").unwrap();
    let receiver = right.receiver(a.me(), "g").unwrap();
    let clock = Clock::real();
    let (frames, mut sent, mut got) = (3_000, 0, 0);
    let mut troubles = TROUBLES.into_iter().peekable();
    let mut heal_at_us = u64::MAX;
    while got < frames || !sender.is_idle() {
        let now_us = clock.now_us();
        assert!(now_us < 2 * PATIENCE.as_micros() as u64, "{got} of {sent} frames");
        while sent < frames.min(got + 200) && sender.has_room() {
            assert_eq!(sender.send(frame(sent)).unwrap(), sent);
            sent += 1;
        }
        if let Some((_, befalls, while_)) = troubles.next_if(|(after, ..)| *after <= got) {
            befalls(&cable);
            heal_at_us = now_us + while_.as_micros() as u64;
        }
        if heal_at_us <= now_us {
            heal_at_us = u64::MAX;
            cable.heal();
        }
        for links in [&left, &right] {
            links.turn();
        }
        while let Some((seq, payload)) = receiver.receive() {
            let mut expected = frame(got);
            assert_eq!((seq, &payload[..]), (got, &expected.payload()[12..]), "in order, each once");
            receiver.settle(seq);
            got += 1;
        }
        _ = stirred.recv_timeout(Duration::from_millis(5));
    }
    assert!(sender.settled().into_iter().eq(0..frames));
    assert!(troubles.next().is_none() && left.counts().resent > 0, "{:?}", left.counts());
}

#[test]
fn nothing_is_left_of_what_is_dropped() {
    let hub = free();
    let a = open("a", 1, &[hub], &[]);
    // A name that no other test has, short enough for the kernel's name of a thread.
    let b = open("left-over", 1, &[], &[hub]);
    let lines = ["x", "y", "z"].map(|channel| line(&a, b.me(), channel));
    for (line, channel) in lines.iter().zip(["x", "y", "z"]) {
        Heard::at(&b, a.me(), channel).gets(&**line, "there");
    }
    // All of them work, so that their writers run; one that is there stays while its line does.
    assert_eq!(threads("to-left-over"), 1, "one writer for all lines to a peer");
    drop(lines);
    drop(b);
    let clock = Clock::real();
    while threads("to-left-over") > 0 {
        assert!(clock.now_us() < PATIENCE.as_micros() as u64, "a writer has stayed");
        std::thread::yield_now();
    }
    drop(a);
    TcpListener::bind(hub).expect("the port is free again");
}

/// Threads of this process that are called so.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let called = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    tasks.flatten().filter_map(called).filter(|comm| comm.trim() == name).count()
}
