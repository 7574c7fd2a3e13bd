//! A real RTSP server that is killed, and that freezes: the picture comes back, and the gaps are on the books.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jellybean_engine::{Gaps, Run};
use jellybean_operators::prelude::*;
use jellybean_tests::clips::ffmpeg;
use rustix::process::{Pid, Signal, kill_process};

/// How often the books are looked at.
const GLANCE: Duration = Duration::from_millis(20);

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(port: u16) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/data/rtsp_server.py")).arg(port.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("gst-rtsp-server is installed: see tests/data/rtsp_server.py");
        Self { child, port }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.send(Signal::KILL);
        self.child.wait().unwrap();
    }
}

fn until(run: &Run, what: impl Fn(&Gaps, u64) -> bool) {
    loop {
        let account = &run.accounts().sources["cameras/yard"];
        if what(account.gaps.as_ref().unwrap(), account.completed) {
            return;
        }
        assert!(!run.wait(GLANCE), "a camera has no end");
    }
}

#[test]
fn the_picture_comes_back_when_its_server_does() {
    let server = Server::start(0);
    let port = server.port;
    let camera = Camera::at(format!("rtsp://me:secret@127.0.0.1:{port}/test"));
    let t = Topology::new("rtsp");
    t.source("cameras", camera.camera("yard").ffmpeg(ffmpeg())).sink("nothing", Null::new());
    let run = Run::start(t.build().unwrap(), Plan::single("here"), &["here"], Clock::real()).unwrap();
    until(&run, |_, frames| frames >= 10);
    drop(server);
    until(&run, |gaps, _| gaps.open);
    let server = Server::start(port);
    until(&run, |gaps, _| gaps.reconnects == 1);
    server.send(Signal::STOP);
    until(&run, |gaps, _| gaps.open);
    server.send(Signal::CONT);
    until(&run, |gaps, _| gaps.reconnects == 2);
    drop(server);
    until(&run, |gaps, _| gaps.open);
    run.stop();
    let report = run.finish();
    assert!(report.ledger.is_closed() && report.ledger.faults.is_empty(), "{:#?}", report.ledger);
    let told = serde_json::to_string(&report).unwrap();
    assert!(told.contains("rtsp://***@127.0.0.1") && !told.contains("secret"), "{told}");
    let gaps = report.ledger.sources["cameras/yard"].gaps.as_ref().unwrap();
    assert_eq!((gaps.count, gaps.reconnects, gaps.open), (3, 2, true));
    assert!(gaps.seconds > 0.0 && !gaps.last_reason.is_empty(), "{gaps:?}");
}
