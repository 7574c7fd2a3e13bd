//! A link between two processes whose cable is cut off under load, again and again: closed, and as a black hole.
//!
//! The cable is in this process, which sends; `sever-end ADDRESS` is the receiving one. It counts what is missing,
//! doubled or out of order, and remembers silences: one of them spans each return of the cable, and its end is when
//! the link delivers again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jellybean_benches::{
    Spread, address, input_ends, machine_seconds, monotonic_ns, processor_seconds, resident_mb,
};
use jellybean_engine::link::{Draft, Sender};
use jellybean_engine::net::cable::Cable;
use jellybean_engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::link::{END, Other, Turning, free, member, say};

/// Messages a second, and bytes of each; every tenth is large, so that 5 s of them are more than a link may keep.
const PER_SECOND: u64 = 1_000;
const SMALL_BYTES: usize = 1_000;
const LARGE_BYTES: usize = 100_000;
const LARGE_EVERY: u64 = 10;
/// How long the cable is cut off, and whole before that.
const AWAY: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(5);
/// How much longer each time, so that it comes back at another moment between two tries to connect.
const LONGER: Duration = Duration::from_millis(37);
/// A pause of the receiver that it remembers.
const SILENCE_NS: u64 = 200_000_000;
/// What nobody should have to wait for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often memory is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// What the receiving process has seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    messages: u64,
    missing: u64,
    doubled_or_late: u64,
    resident_mb_most: f64,
    /// From when to when nothing came.
    silences_ns: Vec<(u64, u64)>,
    last_ns: u64,
}

/// How a cable is cut off.
type CutOff = fn(&Cable);

/// The two ways to be cut off.
const WAYS: [(&str, CutOff); 2] = [("closed", Cable::cut), ("black hole", Cable::stall)];

pub(crate) fn run(times: u64) -> Result<()> {
    let outcomes: Result<Vec<_>> =
        WAYS.iter().map(|(name, cut_off)| one_way(name, *cut_off, times)).collect();
    println!("{:#}", serde_json::json!({ "bench": "sever", "times": times, "ways": outcomes? }));
    Ok(())
}

fn one_way(name: &str, cut_off: CutOff, times: u64) -> Result<serde_json::Value> {
    let target = free()?;
    let other = Other::start(&["sever-end", &target.to_string()])?;
    let cable = Cable::to(target)?;
    let turning = Turning::open("sending", Vec::new(), vec![cable.end()])?;
    let sender = turning.links.sender(&member("receiving"), "bench")?;
    let (own, all, began_ns) = (processor_seconds(), machine_seconds(), monotonic_ns());
    let mut load = Load { turning, sender, began_ns, sent: 0, bytes: 0, resident_mb_most: 0.0, glance_ns: 0 };
    load.go_on(WHOLE);
    let resident_mb_before = load.resident_mb_most;
    let mut back_ns = Vec::new();
    for time in 0..times as u32 {
        cut_off(&cable);
        load.go_on(AWAY + LONGER * time);
        back_ns.push(monotonic_ns());
        cable.heal();
        load.go_on(WHOLE);
    }
    let sent = load.sent;
    load.end()?;
    let seconds = (monotonic_ns() - began_ns) as f64 / 1e9;
    let own = processor_seconds() - own;
    let counts = load.turning.links.counts();
    let seen: Seen = other.told()?;
    let again: Option<Vec<f64>> = back_ns.iter().map(|back_ns| seen.again_s(*back_ns)).collect();
    let again = again.ok_or_else(|| Error::new(ErrorKind::Failed, "the link was not cut off"))?;
    Ok(serde_json::json!({
        "way": name, "sent": sent, "sent_mb": load.bytes as f64 / 1e6, "received": seen.messages,
        "lost": seen.missing + sent.saturating_sub(seen.messages), "doubled_or_late": seen.doubled_or_late,
        "again_after_seconds": { "all": again, "spread": Spread::of(again.iter().copied()) },
        "resent_frames": counts.resent, "seconds": seconds,
        "sending_mb": { "before": resident_mb_before, "most": load.resident_mb_most },
        "receiving_mb_most": seen.resident_mb_most,
        "foreign_cores": (machine_seconds() - all - own) / seconds,
    }))
}

impl Seen {
    /// How long after the return of the cable something came, in seconds.
    fn again_s(&self, back_ns: u64) -> Option<f64> {
        let spans = |(from, to): &&(u64, u64)| (*from..*to).contains(&back_ns);
        self.silences_ns.iter().find(spans).map(|(_, to)| (to - back_ns) as f64 / 1e9)
    }
}

/// What sends: at its pace while there is room, and faster when it was held up.
struct Load {
    turning: Turning,
    sender: Sender,
    began_ns: u64,
    sent: u64,
    bytes: u64,
    resident_mb_most: f64,
    glance_ns: u64,
}

impl Load {
    fn go_on(&mut self, lasts: Duration) {
        let until_ns = monotonic_ns() + lasts.as_nanos() as u64;
        while monotonic_ns() < until_ns {
            while self.due_ns() <= monotonic_ns() && self.sender.has_room() {
                let bytes = if self.sent.is_multiple_of(LARGE_EVERY) { LARGE_BYTES } else { SMALL_BYTES };
                self.send(self.sent, bytes);
                self.sent += 1;
            }
            self.sender.flush();
            // Without room it is told of some.
            let due_ns = if self.sender.has_room() { self.due_ns() } else { u64::MAX };
            self.turning.turn(due_ns.min(until_ns), || ());
            self.look();
        }
    }

    fn due_ns(&self) -> u64 {
        self.began_ns + self.sent * 1_000_000_000 / PER_SECOND
    }

    fn send(&mut self, number: u64, bytes: usize) {
        let mut draft = Draft::with_capacity(bytes);
        draft.extend(number.to_le_bytes());
        draft.extend(std::iter::repeat_n(number as u8, bytes - 8));
        self.sender.send(draft).expect("it is not too large for a frame");
        self.bytes += bytes as u64;
    }

    fn look(&mut self) {
        let now_ns = monotonic_ns();
        if now_ns >= self.glance_ns {
            self.glance_ns = now_ns + GLANCE.as_nanos() as u64;
            self.resident_mb_most = self.resident_mb_most.max(resident_mb());
        }
    }

    fn end(&mut self) -> Result<()> {
        self.send(END, SMALL_BYTES);
        self.sender.flush();
        let until_ns = monotonic_ns() + PATIENCE.as_nanos() as u64;
        while !self.sender.is_idle() {
            if monotonic_ns() > until_ns {
                return Err(Error::new(ErrorKind::Timeout, "the link does not deliver any more"));
            }
            self.turning.turn(until_ns, || ());
        }
        Ok(())
    }
}

/// Receives until the last message has come, says what it has seen, and answers until its input ends.
pub(crate) fn serve(at: &str) -> Result<()> {
    let turning = Turning::open("receiving", vec![address(at)?], Vec::new())?;
    let receiver = turning.links.receiver(&member("sending"), "bench")?;
    let over = input_ends();
    let (mut seen, mut next) = (Seen::default(), 0);
    while !over.load(Ordering::SeqCst) {
        turning.turn(u64::MAX, || {
            while let Some((seq, message)) = receiver.receive() {
                let number = message.first_chunk().map_or(END, |bytes| u64::from_le_bytes(*bytes));
                if number == END {
                    say(&seen);
                } else {
                    seen.come(number, &mut next);
                }
                receiver.settle(seq);
            }
        });
        seen.resident_mb_most = seen.resident_mb_most.max(resident_mb());
    }
    Ok(())
}

impl Seen {
    fn come(&mut self, number: u64, next: &mut u64) {
        let now_ns = monotonic_ns();
        if self.messages > 0 && now_ns - self.last_ns > SILENCE_NS {
            self.silences_ns.push((self.last_ns, now_ns));
        }
        self.last_ns = now_ns;
        self.messages += 1;
        self.missing += number.saturating_sub(*next);
        self.doubled_or_late += u64::from(number < *next);
        *next = (*next).max(number + 1);
    }
}
