//! How long after its server a camera's picture is back: the server killed and started again, and frozen and
//! continued. Needs gst-rtsp-server (see `tests/data/rtsp_server.py`).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jellybean_benches::{Spread, machine_seconds, processor_seconds};
use jellybean_engine::{Clock, Error, ErrorKind, Result, Run, Topology};
use jellybean_operators::fetch::{Cache, Environment, ffmpeg_program, silent};
use jellybean_operators::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

const SERVER: &str = include_str!("../../tests/data/rtsp_server.py");
/// The Python that the system's packages are for.
const PYTHON: &str = "/usr/bin/python3";
/// How long a server is away at first; longer than a camera is waited for.
const AWAY: Duration = Duration::from_secs(7);
/// How much longer each time, so that it comes back at another moment between two tries to connect: these come
/// about a second after each other.
const LONGER: Duration = Duration::from_millis(237);
/// How often frames are looked for.
const GLANCE: Duration = Duration::from_millis(5);
/// What nobody should have to wait for.
const BACK_MAX: Duration = Duration::from_secs(60);

/// The server, which dies with us.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts one, and waits until it listens.
    fn start(port: u16) -> Result<Self> {
        let failed = |e| Error::new(ErrorKind::Failed, "no RTSP server").because(e);
        let mut command = Command::new(PYTHON);
        command.args(["-c", SERVER, &port.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).map_err(failed)?;
        let port = line.trim().parse().map_err(|e| {
            Error::new(ErrorKind::NotFound, "gst-rtsp-server does not start")
                .because(e)
                .way_out("install what tests/data/rtsp_server.py needs")
        })?;
        Ok(Self { child, port })
    }

    fn send(&self, signal: Signal) {
        // It is ours and nobody has waited for it, so it is there.
        _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.send(Signal::KILL);
        _ = self.child.wait();
    }
}

/// Counts what arrives.
struct Watch {
    frames: Arc<AtomicU64>,
    clock: Clock,
}

impl Watch {
    /// Seconds from now until a frame arrives.
    fn until_next(&self) -> Result<f64> {
        let (seen, since_us) = (self.frames.load(Ordering::SeqCst), self.clock.now_us());
        while self.frames.load(Ordering::SeqCst) == seen {
            if self.clock.now_us() - since_us > BACK_MAX.as_micros() as u64 {
                return Err(Error::new(ErrorKind::Timeout, "the picture has not come back"));
            }
            self.clock.sleep(GLANCE);
        }
        Ok((self.clock.now_us() - since_us) as f64 / 1e6)
    }
}

pub(crate) fn run(tries: u64) -> Result<()> {
    let cache = Cache::new(Environment::of_process())?;
    let mut server = Server::start(0)?;
    let watch = Watch { frames: Arc::default(), clock: Clock::real() };
    let t = Topology::new("outage");
    let address = format!("rtsp://127.0.0.1:{}/test", server.port);
    let camera = Camera::at(address).ffmpeg(ffmpeg_program(&cache, None, &silent)?);
    let frames = watch.frames.clone();
    let counting = move |_, _: &Frame| _ = frames.fetch_add(1, Ordering::SeqCst);
    t.source("cameras", camera).sink("count", Call::new(counting));
    let running = Run::start(t.build()?, Plan::single("here"), &["here"], Clock::real())?;
    let first = watch.until_next()?;
    let (own, all, since_us) = (processor_seconds(), machine_seconds(), watch.clock.now_us());
    let (mut killed, mut frozen) = (Vec::new(), Vec::new());
    let mut away = AWAY;
    for _ in 0..tries {
        let port = server.port;
        drop(server);
        watch.clock.sleep(away);
        server = Server::start(port)?;
        killed.push(watch.until_next()?);
        watch.until_next()?;
        server.send(Signal::STOP);
        watch.clock.sleep(away);
        server.send(Signal::CONT);
        frozen.push(watch.until_next()?);
        watch.until_next()?;
        away += LONGER;
    }
    let seconds = (watch.clock.now_us() - since_us) as f64 / 1e6;
    let foreign = (machine_seconds() - all - (processor_seconds() - own)) / seconds;
    running.stop();
    let report = running.finish();
    let outcome = serde_json::json!({
        "bench": "outage", "tries": tries, "away_seconds": [AWAY.as_secs_f64(), (away - LONGER).as_secs_f64()], "first_picture_seconds": first,
        "back_after_kill_seconds": { "all": killed, "spread": Spread::of(killed.iter().copied()) },
        "back_after_freeze_seconds": { "all": frozen, "spread": Spread::of(frozen.iter().copied()) },
        "gaps": report.ledger.sources["cameras/camera"].gaps, "frames": report.frames,
        "foreign_cores": foreign, "ledger_closed": report.ledger.is_closed(),
    });
    println!("{outcome:#}");
    Ok(())
}
