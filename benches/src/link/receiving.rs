//! The receiving end over each way, a process of its own: `link-end OVER ADDRESS`.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};

use jellybean_benches::{address, failed, input_ends, monotonic_ns, processor_seconds};
use jellybean_engine::{Error, ErrorKind, Result};
use zenoh::Wait;

use super::sending::{KEY, Turning, member, plain, session};
use super::{END, Over, Seen, TRAILER, say};

/// Messages at the beginning whose latency does not count: nothing is warm yet.
const WARMING: u64 = 10;

/// What has come.
#[derive(Default)]
struct Tally {
    next: u64,
    wrong: u64,
    first_ns: u64,
    last_ns: u64,
    latencies_ns: Vec<u64>,
    processor_seconds: f64,
}

impl Tally {
    /// A message has come; returns whether it was the last. One without a trailer is a greeting.
    fn come(&mut self, message: &[u8]) -> bool {
        let now_ns = monotonic_ns();
        let Some(trailer) = message.last_chunk::<TRAILER>() else { return false };
        let number = |at: usize| u64::from_le_bytes(trailer[at..at + 8].try_into().expect("they are eight"));
        let (number, sent_ns) = (number(0), number(8));
        if number == END {
            return true;
        }
        if self.latencies_ns.is_empty() {
            (self.first_ns, self.processor_seconds) = (now_ns, processor_seconds());
        }
        self.wrong += u64::from(number != self.next);
        self.next = number + 1;
        self.last_ns = now_ns;
        self.latencies_ns.push(now_ns.saturating_sub(sent_ns));
        false
    }

    /// Says what has been seen, on a line.
    fn tell(&self) {
        say(&self.seen());
    }

    fn seen(&self) -> Seen {
        let mut counted: Vec<u64> = self.latencies_ns.iter().skip(WARMING as usize).copied().collect();
        counted.sort_unstable();
        let at = |share: f64| {
            let at = (counted.len() as f64 * share) as usize;
            counted.get(at.min(counted.len().saturating_sub(1))).map_or(f64::NAN, |ns| *ns as f64 / 1e3)
        };
        Seen {
            messages: self.latencies_ns.len() as u64,
            seconds: (self.last_ns - self.first_ns) as f64 / 1e9,
            p50_us: at(0.5),
            p99_us: at(0.99),
            wrong: self.wrong,
            processor_seconds: processor_seconds() - self.processor_seconds,
        }
    }
}

/// Receives until the last message has come, and says what it has seen.
pub(crate) fn serve(over: &str, at: &str) -> Result<()> {
    let address = address(at)?;
    match over.parse()? {
        Over::Tcp => tcp(address),
        Over::Zenoh | Over::ZenohBatched => over_zenoh(address),
        Over::Link => over_link(address),
    }
}

fn tcp(address: SocketAddr) -> Result<()> {
    let lost = || failed("a lost socket");
    let mut stream = TcpStream::connect(address).map_err(failed("nobody listens"))?;
    let (mut tally, mut length, mut message) = (Tally::default(), [0; 4], Vec::new());
    loop {
        stream.read_exact(&mut length).map_err(lost())?;
        message.resize(u32::from_le_bytes(length) as usize, 0);
        stream.read_exact(&mut message).map_err(lost())?;
        if tally.come(&message) {
            tally.tell();
            return Ok(());
        }
    }
}

fn over_zenoh(address: SocketAddr) -> Result<()> {
    let session = session(&[], &[address])?;
    let tally = Arc::new(Mutex::<Tally>::default());
    let (of_callback, (end, ended)) = (tally.clone(), channel());
    let subscriber = session
        .declare_subscriber(KEY)
        .callback(move |sample| {
            let mut tally = of_callback.lock().unwrap_or_else(PoisonError::into_inner);
            // As bytes in one piece, as whoever decodes them needs them.
            if tally.come(&sample.payload().to_bytes()) {
                _ = end.send(());
            }
        })
        .wait()
        .map_err(plain("no subscription"))?;
    ended.recv().map_err(|e| Error::new(ErrorKind::Failed, "the subscription has ended").because(e))?;
    drop(subscriber);
    tally.lock().unwrap_or_else(PoisonError::into_inner).tell();
    Ok(())
}

/// A link answers until the sender has learned that everything has come, and closes the input.
fn over_link(address: SocketAddr) -> Result<()> {
    let turning = Turning::open("receiving", Vec::new(), vec![address])?;
    let receiver = turning.links.receiver(&member("sending"), "bench")?;
    let over = input_ends();
    let mut tally = Tally::default();
    while !over.load(Ordering::SeqCst) {
        turning.turn(u64::MAX, || {
            while let Some((seq, message)) = receiver.receive() {
                if tally.come(&message) {
                    tally.tell();
                }
                receiver.settle(seq);
            }
        });
    }
    Ok(())
}
