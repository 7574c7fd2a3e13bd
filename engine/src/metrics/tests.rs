use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::error::ErrorKind;
use crate::ledger::{Accounts, EdgeAccount, SourceAccount};
use crate::telemetry::Telemetry;

/// A sample: its metric, its labels, its value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads a page, and refuses whatever the format does not allow.
fn parse(page: &str) -> Vec<Sample> {
    assert!(page.is_empty() || page.ends_with('\n'), "every line ends");
    let (mut samples, mut families, mut seen) = (Vec::new(), Vec::<(String, String)>::new(), BTreeSet::new());
    let mut helped = None;
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a help has a text");
            assert!(!text.is_empty() && families.iter().all(|(other, _)| other != name), "{line}");
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type has a name");
            assert!(helped.take().as_deref() == Some(name) && ["counter", "gauge"].contains(&kind), "{line}");
            families.push((name.to_owned(), kind.to_owned()));
        } else {
            let sample = parse_sample(line);
            assert_eq!(
                families.last().map(|(name, _)| name),
                Some(&sample.0),
                "samples stand below their type"
            );
            assert!(seen.insert((sample.0.clone(), format!("{:?}", sample.1))), "each once: {line}");
            samples.push(sample);
        }
    }
    samples
}

fn is_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(rest) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn parse_sample(line: &str) -> Sample {
    let at = line.find(['{', ' ']).expect("a name ends");
    let (name, mut rest) = line.split_at(at);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, value) = inside.split_once("=\"").expect("a label has a value");
            assert!(is_name(label), "{line}");
            let (value, after) = unquote(value);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            match after.strip_prefix(',') {
                Some(more) => inside = more,
                None => {
                    rest = after.strip_prefix('}').expect("labels end");
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("a value follows a space");
    (name.to_owned(), labels, value.parse().expect("a number"))
}

/// A quoted value, and what comes after its quote.
fn unquote(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next().expect("a quote ends") {
            (at, '"') => return (value, &text[at + 1..]),
            (_, '\\') => value.push(match chars.next().expect("something is escaped").1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                c => panic!("\\{c} is no escape"),
            }),
            (_, c) => {
                assert!(!c.is_control(), "{c:?}");
                value.push(c);
            }
        }
    }
}

fn readings() -> BTreeMap<String, Readings> {
    let stage = StageReading {
        stage: "detect".into(),
        variant: Some("w16".into()),
        items_in: 100,
        items_out: 99,
        busy_us: 1_500_000,
        calls: 25,
        waiting: 3,
        slots: 2,
        latency_ms: Some([10.0, 20.0, 30.0]),
    };
    let link = LinkReading {
        to: "cloud".into(),
        from_stage: "detect".into(),
        to_stage: "track".into(),
        items: 99,
        bytes: 9_000,
        resent: 1,
        round_trip_us: Some(12_500),
    };
    // The names of cameras are their owners'.
    let lane = "gate \"north\"\\yard\nand more\u{7}".to_owned();
    let (admitted, dropped, offered) = (100, 4, 110);
    let source = SourceReading { source: "cameras".into(), lane: lane.clone(), admitted, dropped, offered };
    let account = SourceAccount {
        admitted,
        completed: 95,
        degraded: 1,
        dropped: BTreeMap::from([("overflow".into(), 4)]),
        in_flight: 1,
        gaps: None,
    };
    let edge = EdgeAccount { dropped: BTreeMap::from([("failed".into(), 1)]), ..EdgeAccount::default() };
    let ledger = Accounts {
        sources: BTreeMap::from([(format!("cameras/{lane}"), account)]),
        edges: BTreeMap::from([("cameras->detect".into(), edge)]),
        ..Accounts::default()
    };
    let telemetry = Telemetry {
        node: "edge".into(),
        at_us: 2_500_000,
        stages: vec![stage],
        links: vec![link],
        sources: vec![source],
    };
    BTreeMap::from([("edge".into(), Readings { telemetry, ledger })])
}

#[test]
fn a_page_holds_every_metric_in_the_format_of_prometheus() {
    let samples = parse(&page(&readings()));
    let names: BTreeSet<&str> = samples.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, Metric::ALL.map(Metric::name).into());
    let value =
        |metric: Metric| samples.iter().find(|(name, ..)| name == metric.name()).expect("it is there").2;
    assert_eq!(value(Metric::StageBusy), 1.5);
    assert_eq!(value(Metric::SourceLatency), 0.01);
    assert_eq!(value(Metric::LinkRoundTrip), 0.0125);
    let (_, labels, dropped) =
        samples.iter().find(|(name, ..)| name == Metric::SourceDropped.name()).expect("it is there");
    assert_eq!(
        (*dropped, labels["reason"].as_str(), labels["source"].as_str()),
        (4.0, "overflow", "cameras")
    );
    assert_eq!(labels["lane"], "gate \"north\"\\yard\nand more\u{fffd}");
}

#[test]
fn a_label_is_no_longer_than_it_may_be() {
    let mut readings = readings();
    let long = "é".repeat(10 * LABEL_MAX);
    readings.get_mut("edge").expect("it is there").telemetry.links[0].to = long;
    let samples = parse(&page(&readings));
    let (_, labels, _) = samples.iter().find(|(name, ..)| name == Metric::LinkItems.name()).expect("a link");
    assert_eq!(labels["to"].chars().count(), LABEL_MAX);
}

/// Sends bytes, and returns the status line, the headers and the body that come back.
fn exchange(server: &Server, request: &[u8]) -> (String, String, String) {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.write_all(request).expect("it takes them");
    stream.shutdown(Shutdown::Write).expect("that was all");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let (status, headers) = head.split_once("\r\n").expect("a status and headers");
    let length = format!("Content-Length: {}", body.len());
    assert!(headers.lines().any(|header| header == length), "{headers}");
    (status.to_owned(), headers.to_owned(), body.to_owned())
}

fn serve() -> Server {
    let page: Page = Arc::new(|| page(&readings()));
    Server::start(([127, 0, 0, 1], 0).into(), page, &Clock::real()).expect("a free address")
}

#[test]
fn a_scrape_gets_the_page_and_a_look_at_the_health_an_ok() {
    let server = serve();
    let (status, headers, body) = exchange(&server, b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains("Content-Type: text/plain; version=0.0.4"), "{headers}");
    assert_eq!(body, page(&readings()));
    assert!(!parse(&body).is_empty());
    let (status, _, body) = exchange(&server, b"GET /healthz?verbose HTTP/1.0\r\n\r\n");
    assert_eq!((&*status, &*body), ("HTTP/1.1 200 OK", "ok\n"));
}

#[test]
fn error_other_requests_are_refused_and_the_next_one_is_served() {
    let server = serve();
    let long = [b"GET /metrics HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 64 << 10]].concat();
    for (request, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"nonsense\r\n\r\n", "400"),
        (b"GET /metrics\r\n\r\n", "400"),
        (b"\xff\xfe\x00\r\n\r\n", "400"),
        (b"", "400"),
    ] {
        let (status, ..) = exchange(&server, request);
        assert!(status.starts_with(&format!("HTTP/1.1 {expected} ")), "{status}");
    }
    // Who sends without end is cut off, and may find its connection reset before it could read the answer.
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    _ = stream.write_all(&long);
    _ = stream.read(&mut [0; 64]);
    drop(stream);
    // Who says nothing is not waited for for ever.
    let silent = TcpStream::connect(server.address()).expect("it listens");
    assert!(exchange(&server, b"GET /healthz HTTP/1.1\r\n\r\n").0.contains("200"));
    drop(silent);
}

#[test]
fn error_beyond_loopback_nothing_is_served() {
    let page: Page = Arc::new(String::new);
    let error =
        Server::start(([0, 0, 0, 0], 0).into(), page, &Clock::real()).map(|_| ()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}
