//! Garbage by seed on both directions of a link: what a broken or hostile peer might send.
//!
//! A fuzz target that needs no tools: messages of the protocol with numbers close to those that are due, cut off,
//! lengthened, flipped and lied in, between real ones and bytes that are nothing. The network itself may be kept
//! from strangers (mutual TLS); this is about what may be left of a link's ends if it is not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::wire::{Back, Draft, probe};
use super::{Links, Receiver, Sender, WAITING_MAX};
use crate::clock::Clock;
use crate::error::Result;
use crate::net::memory::{Faults, Hub};
use crate::net::{Line, Member};
use crate::random::Random;

/// Turns that both ends take.
const TURNS: u64 = 200;
/// The largest payload that comes with garbage.
const PAYLOAD_MAX: u64 = 3_000;

/// Two ends, and lines on which anything can be sent to them.
struct Attacked {
    clock: Clock,
    hub: Hub,
    links: [Links; 2],
    sender: Sender,
    receiver: Receiver,
    forward: Box<dyn Line>,
    back: Box<dyn Line>,
}

impl Attacked {
    fn new() -> Result<Self> {
        let (clock, hub) = (Clock::simulated(), Hub::with_faults(Faults::default(), 1));
        let member = |name: &str| Member { name: name.to_owned(), life: 1 };
        let join = |name| Links::new(hub.join(member(name)), clock.clone(), Arc::new(|| ()));
        let [a, b] = ["a", "b"].map(join);
        let (sender, receiver) = (a.sender(&member("b"), "x")?, b.receiver(&member("a"), "x")?);
        let forward = a.network().line(&member("b"), "x/f", Arc::new(|| ()))?;
        let back = b.network().line(&member("a"), "x/b", Arc::new(|| ()))?;
        Ok(Self { clock, hub, links: [a, b], sender, receiver, forward, back })
    }

    fn step(&self) {
        self.links.iter().for_each(|links| _ = links.turn());
        self.clock.advance(Duration::from_millis(1));
        self.hub.deliver(self.clock.now_us());
    }
}

/// Sends garbage to both ends of a link; returns how many messages were refused as such.
///
/// # Errors
/// What was not as it must be: frames came out of order, or more was kept than may be.
#[doc(hidden)]
pub fn garbage(seed: u64) -> std::result::Result<u64, String> {
    let mut random = Random::new(seed);
    let ends = Attacked::new().map_err(|error| error.to_string())?;
    let (mut sent, mut got) = (0_u64, 0_u64);
    for _ in 0..TURNS {
        for _ in 0..random.below(4) {
            let message = message(&mut random, sent, got);
            let line = if random.percent(50) { &ends.forward } else { &ends.back };
            // The network in memory takes everything.
            _ = line.send(message);
        }
        if random.percent(50) {
            let mut draft = Draft::default();
            draft.payload().extend(std::iter::repeat_n(1, random.below(PAYLOAD_MAX) as usize));
            sent += u64::from(ends.sender.send(draft).is_ok());
            ends.sender.flush();
        }
        ends.step();
        while let Some((seq, payload)) = ends.receiver.receive() {
            if seq != got {
                return Err(format!("seed {seed}: frame {seq} came where {got} was due"));
            }
            got += 1;
            if payload.len() as u64 > 2 * PAYLOAD_MAX {
                return Err(format!("seed {seed}: {} bytes came, which nobody sent", payload.len()));
            }
            ends.receiver.settle(seq);
        }
        if ends.sender.kept_bytes() > TURNS * (PAYLOAD_MAX + 100) {
            return Err(format!("seed {seed}: the sender keeps {} bytes", ends.sender.kept_bytes()));
        }
    }
    // More than an inbox holds at once is lost, as on any network.
    (0..2 * WAITING_MAX).for_each(|_| _ = ends.forward.send(message(&mut random, sent, got)));
    ends.step();
    Ok(ends.links.iter().map(|links| links.counts().malformed).sum())
}

/// A message that may be anything, most likely nearly right.
fn message(random: &mut Random, sent: u64, got: u64) -> Bytes {
    let near = |random: &mut Random, number: u64| (number + random.below(5)).saturating_sub(2);
    let mut bytes = Vec::new();
    for _ in 0..random.within(1..4) {
        let part = match random.below(5) {
            0 => (0..random.below(40)).map(|_| random.next() as u8).collect::<Vec<u8>>(),
            1 => probe(near(random, sent)).to_vec(),
            2 => {
                let (received, settled_below) = (near(random, got), near(random, got));
                let settled = (0..random.below(3)).map(|_| (near(random, got), near(random, got))).collect();
                let (until_frame, until_byte) = (received + random.below(9_000), random.below(1 << 20));
                let (is_missing, waited_us) = (random.percent(50), random.next());
                let back =
                    Back { received, until_frame, until_byte, is_missing, settled_below, settled, waited_us };
                back.encode().to_vec()
            }
            _ => {
                let mut draft = Draft::default();
                draft.payload().extend((0..random.below(50)).map(|_| random.next() as u8));
                draft.numbered(near(random, got)).unwrap_or_default().to_vec()
            }
        };
        bytes.extend(part);
    }
    if random.percent(30) {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
    if random.percent(30) && !bytes.is_empty() {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
    bytes.into()
}
