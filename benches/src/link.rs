//! What a link costs over what it stands on: from `Sender::send` in one process to `Receiver::receive` in another,
//! against plain zenoh and raw TCP, by turns.
//!
//! The bench starts itself again as the receiving end of each measurement. Messages end with their number and the
//! time on a clock that both processes read; the receiver counts what is missing, doubled or out of order.

mod receiving;
mod sending;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use jellybean_benches::{Spread, failed, machine_seconds, monotonic_ns, processor_seconds};
use jellybean_engine::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use receiving::serve;
pub(crate) use sending::{Turning, free, member};

/// Bytes of a message, and how many a second are sent when it is their latency that counts.
const SIZES: [(usize, u64); 3] = [(1_000, 500), (100_000, 100), (1_000_000, 30)];
/// How long messages are sent for a figure: as fast as they are taken, and at their pace.
const FLOOD: Duration = Duration::from_millis(1_500);
const PACED: Duration = Duration::from_secs(3);
/// Messages that are sent together when there are more to come.
const TOGETHER: u64 = 64;
/// The number of the message behind the last.
pub(crate) const END: u64 = u64::MAX;
/// Bytes of number and time at the end of each message.
const TRAILER: usize = 16;

/// What messages go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Over {
    /// A socket, a length before each message.
    Tcp,
    /// A zenoh publisher that sends each message at once.
    Zenoh,
    /// A zenoh publisher that gathers small ones.
    ZenohBatched,
    /// A link.
    Link,
}

impl Over {
    const ALL: [Self; 4] = [Self::Tcp, Self::Zenoh, Self::ZenohBatched, Self::Link];

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Zenoh => "zenoh",
            Self::ZenohBatched => "zenoh-batched",
            Self::Link => "link",
        }
    }
}

impl FromStr for Over {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|over| over.name() == name);
        found.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("messages cannot go over \"{name}\"")))
    }
}

/// What the receiving process has seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    messages: u64,
    /// From the first to the last.
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
    /// Missing, doubled or out of order.
    wrong: u64,
    processor_seconds: f64,
}

/// One figure, of one way and size.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    over: Over,
    bytes: usize,
    /// How many a second were sent; none if as many as were taken.
    per_second: Option<u64>,
    seen: Seen,
    messages_per_second: f64,
    megabytes_per_second: f64,
    /// Of both processes, for each message.
    processor_us: f64,
    foreign_cores: f64,
}

pub(crate) fn run(pairs: u64) -> Result<()> {
    let mut all = Vec::new();
    for pair in 0..pairs as usize {
        for (bytes, pace) in SIZES {
            for per_second in [None, Some(pace)] {
                // Another one begins each time.
                for turn in 0..Over::ALL.len() {
                    let over = Over::ALL[(turn + pair) % Over::ALL.len()];
                    all.push(measure(over, bytes, per_second)?);
                }
            }
        }
    }
    let ratios: Vec<_> = SIZES.iter().map(|(bytes, _)| ratios(&all, *bytes)).collect();
    let wrong: u64 = all.iter().filter(|m| m.over == Over::Link).map(|m| m.seen.wrong).sum();
    let outcome = serde_json::json!({
        "bench": "link", "pairs": pairs, "link_over_best_zenoh": ratios, "wrong_over_links": wrong,
        "medians": medians(&all), "measured": all,
    });
    println!("{outcome:#}");
    Ok(())
}

/// A link's figures over the better one of the two that zenoh by itself gave beside it, pair by pair.
fn ratios(all: &[Measured], bytes: usize) -> serde_json::Value {
    let of = |over: Over, is_paced: bool, figure: fn(&Measured) -> f64| -> Vec<f64> {
        let like = |m: &&Measured| m.over == over && m.bytes == bytes && m.per_second.is_some() == is_paced;
        all.iter().filter(like).map(figure).collect()
    };
    let ratio = |is_paced, figure: fn(&Measured) -> f64, better: fn(f64, f64) -> f64| {
        let [plain, batched, link] =
            [Over::Zenoh, Over::ZenohBatched, Over::Link].map(|over| of(over, is_paced, figure));
        let best = plain.into_iter().zip(batched).map(|(p, b)| better(p, b));
        Spread::of(link.into_iter().zip(best).map(|(link, best)| link / best))
    };
    serde_json::json!({
        "bytes": bytes,
        "throughput": ratio(false, |m| m.messages_per_second, f64::max),
        "p50": ratio(true, |m| m.seen.p50_us, f64::min),
        "p99": ratio(true, |m| m.seen.p99_us, f64::min),
    })
}

/// A line for each way and size.
fn medians(all: &[Measured]) -> Vec<serde_json::Value> {
    let cells = SIZES.iter().flat_map(|(bytes, _)| Over::ALL.map(|over| (*bytes, over)));
    let line = |(bytes, over)| {
        let median = |is_paced: bool, figure: fn(&Measured) -> f64| {
            let like =
                |m: &&Measured| m.over == over && m.bytes == bytes && m.per_second.is_some() == is_paced;
            Spread::of(all.iter().filter(like).map(figure)).median
        };
        serde_json::json!({
            "bytes": bytes, "over": over,
            "messages_per_second": median(false, |m| m.messages_per_second),
            "megabytes_per_second": median(false, |m| m.megabytes_per_second),
            "flood_processor_us": median(false, |m| m.processor_us),
            "p50_us": median(true, |m| m.seen.p50_us), "p99_us": median(true, |m| m.seen.p99_us),
            "paced_processor_us": median(true, |m| m.processor_us),
        })
    };
    cells.map(line).collect()
}

fn measure(over: Over, bytes: usize, per_second: Option<u64>) -> Result<Measured> {
    let mut sending = sending::open(over)?;
    let other = Other::start(&["link-end", over.name(), &sending.address().to_string()])?;
    sending.meet()?;
    let (own, all, since_ns) = (processor_seconds(), machine_seconds(), monotonic_ns());
    let lasts = if per_second.is_some() { PACED } else { FLOOD };
    let until_ns = since_ns + lasts.as_nanos() as u64;
    let mut number = 0_u64;
    while monotonic_ns() < until_ns {
        let has_more = per_second.is_none() && !(number + 1).is_multiple_of(TOGETHER);
        sending.send(number, bytes, has_more)?;
        number += 1;
        if let Some(per_second) = per_second {
            sending.wait_until(since_ns + number * 1_000_000_000 / per_second);
        }
    }
    sending.send(END, TRAILER, false)?;
    sending.finish()?;
    let seen: Seen = other.told()?;
    let seconds = (monotonic_ns() - since_ns) as f64 / 1e9;
    let own = processor_seconds() - own + seen.processor_seconds;
    let messages_per_second = seen.messages as f64 / seen.seconds;
    let seen = Seen { wrong: seen.wrong + number.abs_diff(seen.messages), ..seen };
    Ok(Measured {
        over,
        bytes,
        per_second,
        messages_per_second,
        megabytes_per_second: messages_per_second * bytes as f64 / 1e6,
        processor_us: own * 1e6 / number as f64,
        foreign_cores: (machine_seconds() - all - own) / seconds,
        seen,
    })
}

/// This program as a second process; it ends with this one.
pub(crate) struct Other(Child);

impl Other {
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().map_err(failed("this program does not know where it is"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("no second process"))?;
        Ok(Self(child))
    }

    /// What it says at its end.
    pub(crate) fn told<T: DeserializeOwned>(mut self) -> Result<T> {
        let output = self.0.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(failed("the second process is silent"))?;
        serde_json::from_str(&line)
            .map_err(|cause| Error::new(ErrorKind::Failed, "the second process fails").because(cause))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        _ = self.0.wait();
    }
}

/// Says something to the first process.
pub(crate) fn say(what: &impl Serialize) {
    println!("{}", serde_json::to_string(what).unwrap_or_default());
}
