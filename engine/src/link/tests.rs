//! The protocol against networks that lose, double, delay and part.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::protocol::{Receiving, Sending, WINDOW_BYTES};
use super::wire::{Back, Draft, Forward, forward};
use super::{Links, Receiver, Sender};
use crate::clock::Clock;
use crate::net::Member;
use crate::net::memory::{Faults, Hub};

fn member(name: &str) -> Member {
    Member { name: name.to_owned(), life: 1 }
}

fn draft(number: u64, bytes: usize) -> Draft {
    let mut draft = Draft::with_capacity(8 + bytes);
    draft.payload().extend_from_slice(&number.to_le_bytes());
    draft.payload().extend(std::iter::repeat_n(7, bytes));
    draft
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

/// Two members over a faulty network, on a clock of their own.
struct Pair {
    clock: Clock,
    hub: Hub,
    links: [Links; 2],
    sender: Sender,
    receiver: Receiver,
}

impl Pair {
    fn new(faults: Faults, seed: u64) -> Self {
        let clock = Clock::simulated();
        let hub = Hub::with_faults(faults, seed);
        let [a, b] =
            ["a", "b"].map(|name| Links::new(hub.join(member(name)), clock.clone(), Arc::new(|| ())));
        let sender = a.sender(&member("b"), "x").unwrap();
        let receiver = b.receiver(&member("a"), "x").unwrap();
        Self { clock, hub, links: [a, b], sender, receiver }
    }

    /// Goes on to the next time at which something happens.
    fn step(&self) {
        let turns = self.links.iter().filter_map(Links::turn);
        let next_us = turns.chain(self.hub.next_us()).min().unwrap_or(0);
        let ahead_us = next_us.saturating_sub(self.clock.now_us()).max(1);
        self.clock.advance(Duration::from_micros(ahead_us));
        self.hub.deliver(self.clock.now_us());
    }
}

#[test]
fn everything_arrives_once_and_in_order_whatever_the_network_does() {
    let mut resent = 0;
    for seed in 0..300 {
        let faults = Faults {
            loss: (seed % 5) as f64 * 0.1,
            doubling: (seed % 3) as f64 * 0.2,
            delay_max_us: 1 + seed % 4 * 20_000,
        };
        let pair = Pair::new(faults, seed);
        let (frames, mut sent, mut got, mut open) = (200_u64, 0_u64, Vec::new(), Vec::new());
        let mut settled = Vec::new();
        for round in 0.. {
            assert!(round < 200_000, "seed {seed}: {} of {frames} after {round} rounds", got.len());
            for _ in 0..seed % 7 {
                if sent < frames {
                    assert_eq!(pair.sender.send(draft(sent, (sent * 97 % 3_000) as usize)).unwrap(), sent);
                    sent += 1;
                }
            }
            sent += u64::from(seed % 7 == 0 && sent < frames && pair.sender.send(draft(sent, 0)).is_ok());
            if round == 20 {
                pair.hub.part("a", "b");
            }
            if round == 60 {
                pair.hub.heal("a", "b");
            }
            pair.step();
            while let Some((seq, payload)) = pair.receiver.receive() {
                assert_eq!(seq, number(&payload));
                got.push(seq);
                open.push(seq);
            }
            // Settled in another order than received.
            if round % 3 == 0 && !open.is_empty() {
                let at = (round as usize * 7) % open.len();
                pair.receiver.settle(open.swap_remove(at));
            }
            if got.len() as u64 == frames {
                open.drain(..).for_each(|seq| pair.receiver.settle(seq));
            }
            settled.extend(pair.sender.settled());
            if sent == frames && pair.sender.is_idle() {
                break;
            }
        }
        assert!(got.iter().copied().eq(0..frames), "seed {seed}");
        settled.sort_unstable();
        assert!(settled.into_iter().eq(0..frames), "seed {seed}: each is settled once");
        resent += pair.links[0].counts().resent;
    }
    assert!(resent > 1_000, "{resent}");
}

#[test]
fn a_sender_keeps_within_the_window_while_nobody_takes() {
    let pair = Pair::new(Faults::default(), 1);
    for i in 0..200 {
        pair.sender.send(draft(i, 1 << 20)).unwrap();
    }
    for _ in 0..2_000 {
        pair.step();
    }
    let sent = pair.links[0].counts().bytes;
    assert!((WINDOW_BYTES..WINDOW_BYTES + (2 << 20)).contains(&sent), "{sent}");
    assert!(!pair.sender.has_room());
    let mut got = 0;
    for _ in 0..2_000 {
        while let Some((seq, _)) = pair.receiver.receive() {
            pair.receiver.settle(seq);
            got += 1;
        }
        pair.step();
    }
    assert_eq!(got, 200);
    assert!(pair.sender.is_idle());
}

/// Two ends with few frames, and a network that holds up to two messages each way.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct World {
    sending: Sending,
    receiving: Receiving,
    forth: Vec<Forward>,
    back: Vec<Back>,
    queued: u64,
    taken: u64,
    settled: Vec<u64>,
    heard_settled: Vec<u64>,
}

const FRAMES: u64 = 2;

impl World {
    /// Everything that can happen next.
    fn successors(&self) -> Vec<Self> {
        let mut next = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            next.push(world.plain());
        };
        if self.queued < FRAMES {
            add(&|w| {
                assert_eq!(w.sending.queue(draft(w.queued, 0)), Some(w.queued));
                w.queued += 1;
            });
        }
        if self.forth.len() < 2 {
            add(&|w| w.forth.extend(w.sending.message(u64::MAX / 2).into_iter().flat_map(forward).flatten()));
            add(&|w| w.forth.extend(w.sending.probe(u64::MAX / 2).into_iter().flat_map(forward).flatten()));
        }
        if self.back.len() < 2 {
            add(&|w| w.back.push(w.receiving.standing()));
        }
        for i in 0..self.forth.len() {
            add(&|w| _ = w.forth.remove(i));
            add(&|w| _ = w.receiving.come(w.forth[i].clone(), 0));
        }
        for i in 0..self.back.len() {
            add(&|w| _ = w.back.remove(i));
            add(&|w| {
                let heard = w.sending.heard(&w.back[i].clone(), 0);
                w.heard_settled.extend(heard);
                w.heard_settled.sort_unstable();
            });
        }
        add(&Self::take);
        for seq in (0..self.taken).filter(|seq| !self.settled.contains(seq)) {
            add(&|w| {
                w.receiving.settle(seq, 0);
                w.settled.push(seq);
                w.settled.sort_unstable();
            });
        }
        next
    }

    fn take(&mut self) {
        if let Some((seq, payload)) = self.receiving.take(0) {
            assert_eq!((seq, number(&payload)), (self.taken, self.taken), "in order, each once");
            self.taken += 1;
        }
    }

    /// The same without what only counts or times, and with the network's messages in one order.
    fn plain(mut self) -> Self {
        (self.sending, self.receiving) = (self.sending.plain(), self.receiving.plain());
        self.forth.sort_by_key(|forward| format!("{forward:?}"));
        self.back.sort_by_key(|back| format!("{back:?}"));
        self
    }

    fn check(&self) {
        let distinct: HashSet<_> = self.heard_settled.iter().collect();
        assert_eq!(distinct.len(), self.heard_settled.len(), "each is settled once");
        assert!(self.heard_settled.iter().all(|seq| self.settled.contains(seq)), "and not before it is");
    }
}

#[test]
fn every_reachable_state_keeps_the_invariants() {
    let start = World::default().plain();
    let mut seen = HashSet::from([start.clone()]);
    let mut open = VecDeque::from([start]);
    let mut ended = 0;
    while let Some(world) = open.pop_front() {
        world.check();
        ended += u64::from(world.heard_settled.len() as u64 == FRAMES);
        for next in world.successors() {
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    assert!(ended > 0 && seen.len() > 1_000, "the end is reached among {} states", seen.len());
}

#[test]
fn error_garbage_is_counted_and_does_no_harm() {
    let pair = Pair::new(Faults::default(), 1);
    let (a, b) = (&pair.links[0], &pair.links[1]);
    let line = a.network().line(&member("b"), "x/f", Arc::new(|| ())).unwrap();
    let back = b.network().line(&member("a"), "x/b", Arc::new(|| ())).unwrap();
    let mut enormous = vec![0; 8];
    enormous.extend_from_slice(&(u32::MAX - 1).to_le_bytes());
    for bytes in [vec![1], vec![0; 11], vec![9; 40], enormous, vec![0xff; 300]] {
        line.send(bytes.clone().into()).unwrap();
        back.send(bytes.into()).unwrap();
    }
    // A standing that cannot be: more settled than received, more received than sent.
    for back_message in [
        Back { settled_below: 5, until_frame: 9, ..Back::default() },
        Back { received: 50, until_frame: 90, ..Back::default() },
    ] {
        back.send(back_message.encode()).unwrap();
    }
    for i in 0..10 {
        pair.sender.send(draft(i, 10)).unwrap();
    }
    let mut got = Vec::new();
    for _ in 0..200 {
        pair.step();
        while let Some((seq, _)) = pair.receiver.receive() {
            got.push(seq);
            pair.receiver.settle(seq);
        }
    }
    assert!(got.into_iter().eq(0..10));
    assert!(pair.sender.is_idle());
    assert!(b.counts().malformed >= 4 && a.counts().malformed >= 4, "{:?} {:?}", a.counts(), b.counts());
}

#[test]
fn error_garbage_by_seed_leaves_the_order_and_the_bounds() {
    let refused: u64 = (0..300).map(|seed| super::garbage(seed).unwrap()).sum();
    assert!(refused > 10_000, "{refused} messages were refused");
}
