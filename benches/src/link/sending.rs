//! The sending end over each way; all wait while the other side cannot take more.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use jellybean_benches::{failed, monotonic_ns};
use jellybean_engine::link::{Draft, Links, Sender};
use jellybean_engine::net::Member;
use jellybean_engine::net::zenoh::{Settings, Zenoh};
use jellybean_engine::{Clock, Error, ErrorKind, Result};
use zenoh::Wait;
use zenoh::pubsub::Publisher;
use zenoh::qos::{CongestionControl, Reliability};

use super::{Over, TRAILER};

/// What plain messages are put under.
pub(super) const KEY: &str = "jellybean-bench/plain";
/// How often something is looked for.
const GLANCE: Duration = Duration::from_millis(2);
/// What nobody should have to wait for.
const PATIENCE: Duration = Duration::from_secs(30);
/// No turn is further away.
const TURN_MAX: Duration = Duration::from_millis(100);

pub(super) trait Sending {
    /// Where the other end has to connect to.
    fn address(&self) -> SocketAddr;

    /// Waits for the other end.
    fn meet(&mut self) -> Result<()>;

    /// Sends a message of so many bytes. If there are more to come it need not go out at once.
    fn send(&mut self, number: u64, bytes: usize, has_more: bool) -> Result<()>;

    /// Does nothing but what has to be done meanwhile.
    fn wait_until(&mut self, due_ns: u64) {
        Clock::real().sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
    }

    /// Everything has been sent: what waits here goes out.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(super) fn open(over: Over) -> Result<Box<dyn Sending>> {
    Ok(match over {
        Over::Tcp => Box::new(Tcp::open()?),
        Over::Zenoh => Box::new(Plain::open(true)?),
        Over::ZenohBatched => Box::new(Plain::open(false)?),
        Over::Link => Box::new(Linked::open()?),
    })
}

/// A port that nobody uses.
pub(crate) fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed("no port"))?;
    listener.local_addr().map_err(failed("no port"))
}

/// The last bytes of a message. The time is taken last, when the rest of it is there.
fn trailer(number: u64) -> [u8; TRAILER] {
    let mut bytes = [0; TRAILER];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&monotonic_ns().to_le_bytes());
    bytes
}

fn message(number: u64, bytes: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(bytes);
    message.resize(bytes - TRAILER, number as u8);
    message.extend_from_slice(&trailer(number));
    message
}

struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Tcp {
    fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed("no port"))?;
        let address = listener.local_addr().map_err(failed("no port"))?;
        Ok(Self { listener, address, stream: None })
    }
}

impl Sending for Tcp {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn meet(&mut self) -> Result<()> {
        let (stream, _) = self.listener.accept().map_err(failed("nobody connects"))?;
        stream.set_nodelay(true).map_err(failed("no socket"))?;
        self.stream = Some(stream);
        Ok(())
    }

    fn send(&mut self, number: u64, bytes: usize, _has_more: bool) -> Result<()> {
        let stream = self.stream.as_mut().expect("they have met");
        let message = message(number, bytes);
        let length = (message.len() as u32).to_le_bytes();
        stream.write_all(&length).and_then(|()| stream.write_all(&message)).map_err(failed("a lost socket"))
    }
}

struct Plain {
    address: SocketAddr,
    publisher: Publisher<'static>,
    _session: zenoh::Session,
}

/// A session as links have it.
pub(super) fn session(listen: &[SocketAddr], connect: &[SocketAddr]) -> Result<zenoh::Session> {
    let endpoints = |of: &[SocketAddr]| {
        let quoted: Vec<String> = of.iter().map(|address| format!("\"tcp/{address}\"")).collect();
        format!("[{}]", quoted.join(","))
    };
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("mode", "\"peer\"".to_owned()),
        ("listen/endpoints", endpoints(listen)),
        ("connect/endpoints", endpoints(connect)),
        ("connect/timeout_ms", "-1".to_owned()),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("scouting/gossip/enabled", "false".to_owned()),
        ("transport/link/tx/lease", "1000".to_owned()),
    ] {
        config.insert_json5(key, &value).map_err(plain("a setting is refused"))?;
    }
    zenoh::open(config).wait().map_err(plain("no session"))
}

pub(super) fn plain(what: &str) -> impl FnOnce(zenoh::Error) -> Error + '_ {
    move |cause| Error::new(ErrorKind::Failed, what).because(cause.to_string())
}

impl Plain {
    fn open(express: bool) -> Result<Self> {
        let address = free()?;
        let session = session(&[address], &[])?;
        let publisher = session
            .declare_publisher(KEY)
            .congestion_control(CongestionControl::Block)
            .reliability(Reliability::Reliable)
            .express(express)
            .wait()
            .map_err(plain("no publisher"))?;
        Ok(Self { address, publisher, _session: session })
    }
}

impl Sending for Plain {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn meet(&mut self) -> Result<()> {
        let clock = Clock::real();
        while !self.publisher.matching_status().wait().map_err(plain("no status"))?.matching() {
            if clock.now_us() > PATIENCE.as_micros() as u64 {
                return Err(Error::new(ErrorKind::Timeout, "nobody subscribes"));
            }
            clock.sleep(GLANCE);
        }
        Ok(())
    }

    fn send(&mut self, number: u64, bytes: usize, _has_more: bool) -> Result<()> {
        self.publisher.put(message(number, bytes)).wait().map_err(plain("a message is refused"))
    }
}

/// A member of the bench; each end has its name.
pub(crate) fn member(name: &str) -> Member {
    Member { name: name.to_owned(), life: 1 }
}

/// The links of a member that this thread turns.
pub(crate) struct Turning {
    pub(crate) links: Links,
    clock: Clock,
}

impl Turning {
    pub(crate) fn open(name: &str, listen: Vec<SocketAddr>, connect: Vec<SocketAddr>) -> Result<Self> {
        let settings = Settings {
            cluster: "bench".to_owned(),
            member: member(name),
            listen,
            connect,
            tls: None,
            patience: Some(PATIENCE),
        };
        let (turning, clock) = (std::thread::current(), Clock::real());
        let links = Links::new(Zenoh::open(&settings)?, clock.clone(), Arc::new(move || turning.unpark()));
        Ok(Self { links, clock })
    }

    /// Does what is due, takes what has come by it, and sleeps until more is due, something comes, or a time.
    pub(crate) fn turn(&self, until_ns: u64, take: impl FnOnce()) {
        let next_us = self.links.turn().unwrap_or(u64::MAX);
        take();
        let due = Duration::from_micros(next_us.saturating_sub(self.clock.now_us()));
        let left = Duration::from_nanos(until_ns.saturating_sub(monotonic_ns()));
        let pause = due.min(left).min(TURN_MAX);
        if !pause.is_zero() {
            std::thread::park_timeout(pause);
        }
    }
}

/// A link, turned by this thread.
struct Linked {
    address: SocketAddr,
    turning: Turning,
    sender: Sender,
}

impl Linked {
    fn open() -> Result<Self> {
        let address = free()?;
        let turning = Turning::open("sending", vec![address], Vec::new())?;
        let sender = turning.links.sender(&member("receiving"), "bench")?;
        Ok(Self { address, turning, sender })
    }

    fn turn_while(&self, waits: impl Fn(&Sender) -> bool) -> Result<()> {
        let end_ns = monotonic_ns() + PATIENCE.as_nanos() as u64;
        while waits(&self.sender) {
            if monotonic_ns() > end_ns {
                return Err(Error::new(ErrorKind::Timeout, "nobody takes what is sent"));
            }
            self.turning.turn(end_ns, || ());
        }
        Ok(())
    }
}

impl Sending for Linked {
    fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first answer gives credit.
    fn meet(&mut self) -> Result<()> {
        self.sender.send(Draft::default())?;
        self.turn_while(|sender| !sender.is_idle())
    }

    fn send(&mut self, number: u64, bytes: usize, has_more: bool) -> Result<()> {
        self.turn_while(|sender| !sender.has_room())?;
        let mut draft = Draft::with_capacity(bytes);
        draft.extend(std::iter::repeat_n(number as u8, bytes - TRAILER));
        draft.payload().extend_from_slice(&trailer(number));
        self.sender.send(draft)?;
        if !has_more {
            self.sender.flush();
            self.turning.links.turn();
        }
        Ok(())
    }

    fn wait_until(&mut self, due_ns: u64) {
        while monotonic_ns() < due_ns {
            self.turning.turn(due_ns, || ());
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.turn_while(|sender| !sender.is_idle())
    }
}
