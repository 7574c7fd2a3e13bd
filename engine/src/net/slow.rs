//! Links as slow as one wants: far sites, imitated on one machine.
//!
//! What is sent waits its turn at the link's bandwidth, and then half a round trip. Invariant: a pipe keeps the order,
//! and holds a tenth of a second of what it can carry, beside what is on its way; more is refused until there is room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;

use super::{Inbox, Line, Listening, Member, Network, Presence, Wake};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// How much waits before a pipe, at most: what it carries in this time.
const WAITING_MAX_US: u64 = 100_000;
/// How long its thread rests when there is nothing to carry: it is woken before.
const REST: Duration = Duration::from_secs(3_600);

/// How fast a link is, in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// What it carries.
    pub bytes_per_s: f64,
    /// How long a byte is on its way: half a round trip.
    pub one_way_us: u64,
}

/// One direction of a link between two places, shared by whoever sends over it.
pub struct Pipe {
    shared: Arc<Shared>,
    carrier: Thread,
}

struct Shared {
    speed: Speed,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When all that waits will have been put on its way.
    free_us: u64,
    under_way: VecDeque<UnderWay>,
    refused: Vec<Wake>,
    is_over: bool,
}

struct UnderWay {
    arrives_us: u64,
    message: Bytes,
    to: Arc<dyn Line>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    /// A pipe of this speed, with a thread that carries.
    ///
    /// # Errors
    /// `Unavailable` if there is no thread for it.
    pub fn new(speed: Speed, clock: Clock) -> Result<Arc<Self>> {
        let shared = Arc::new(Shared { speed, clock, state: Mutex::default() });
        let of_thread = shared.clone();
        let spawned = std::thread::Builder::new().name("pipe".into()).spawn(move || carry(&of_thread));
        let thread = spawned
            .map_err(|e| Error::new(ErrorKind::Unavailable, "no thread to imitate a link with").because(e))?;
        // It ends with the pipe.
        Ok(Arc::new(Self { shared, carrier: thread.thread().clone() }))
    }

    fn send(&self, message: Bytes, to: &Arc<dyn Line>, room: &Wake) -> std::result::Result<(), Bytes> {
        let Shared { speed, clock, .. } = &*self.shared;
        let now_us = clock.now_us();
        let mut state = self.shared.lock();
        let begins_us = state.free_us.max(now_us);
        if begins_us - now_us > WAITING_MAX_US {
            if !state.refused.iter().any(|known| Arc::ptr_eq(known, room)) {
                state.refused.push(room.clone());
            }
            return Err(message);
        }
        state.free_us = begins_us + (message.len() as f64 / speed.bytes_per_s * 1e6) as u64;
        let arrives_us = state.free_us + speed.one_way_us;
        state.under_way.push_back(UnderWay { arrives_us, message, to: to.clone() });
        drop(state);
        self.carrier.unpark();
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.carrier.unpark();
    }
}

/// Carries what has arrived, until the pipe is no more.
fn carry(shared: &Shared) {
    loop {
        let now_us = shared.clock.now_us();
        let mut state = shared.lock();
        if state.is_over {
            return;
        }
        let room_us = state.free_us.saturating_sub(WAITING_MAX_US);
        let refused = if room_us <= now_us { std::mem::take(&mut state.refused) } else { Vec::new() };
        let room_us = (!state.refused.is_empty()).then_some(room_us);
        let arrives_us = state.under_way.front().map(|first| first.arrives_us);
        let has_arrived = arrives_us.is_some_and(|at_us| at_us <= now_us);
        let first = if has_arrived { state.under_way.pop_front() } else { None };
        drop(state);
        refused.iter().for_each(|room| room());
        match first {
            // What does not find room at its destination is lost there, and sent again, as on a real link.
            Some(UnderWay { message, to, .. }) => _ = to.send(message),
            None => {
                let due_us = arrives_us.into_iter().chain(room_us).min();
                let rest = due_us.map(|at_us| Duration::from_micros(at_us.saturating_sub(now_us)));
                std::thread::park_timeout(rest.unwrap_or(REST));
            }
        }
    }
}

/// The pipe from one node to another, by their names, if they are not close to each other.
pub type Pipes = Arc<dyn Fn(&str, &str) -> Option<Arc<Pipe>> + Send + Sync>;

/// The same network, with messages that go through pipes.
#[must_use]
pub fn slowed(network: Arc<dyn Network>, pipes: Pipes) -> Arc<dyn Network> {
    Arc::new(Slow { network, pipes })
}

struct Slow {
    network: Arc<dyn Network>,
    pipes: Pipes,
}

impl Network for Slow {
    fn me(&self) -> &Member {
        self.network.me()
    }

    fn line(&self, to: &Member, channel: &str, room: Wake) -> Result<Box<dyn Line>> {
        let line = self.network.line(to, channel, room.clone())?;
        Ok(match (self.pipes)(&self.me().name, &to.name) {
            Some(pipe) => Box::new(Through { line: line.into(), pipe, room }),
            None => line,
        })
    }

    fn listen(&self, from: &Member, channel: &str, inbox: Inbox) -> Result<Box<dyn Listening>> {
        self.network.listen(from, channel, inbox)
    }

    fn watch(&self, told: Arc<dyn Fn(Presence) + Send + Sync>) -> Result<Box<dyn Listening>> {
        self.network.watch(told)
    }
}

struct Through {
    line: Arc<dyn Line>,
    pipe: Arc<Pipe>,
    room: Wake,
}

impl Line for Through {
    fn send(&self, message: Bytes) -> std::result::Result<(), Bytes> {
        self.pipe.send(message, &self.line, &self.room)
    }
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::unbounded;

    use super::*;
    use crate::net::memory::Hub;

    fn member(name: &str) -> Member {
        Member { name: name.to_owned(), life: 1 }
    }

    #[test]
    fn a_pipe_delays_keeps_the_order_and_refuses_what_is_too_much() {
        let (hub, clock) = (Hub::default(), Clock::real());
        let speed = Speed { bytes_per_s: 1e6, one_way_us: 2_000 };
        let pipe = Pipe::new(speed, clock.clone()).unwrap();
        let pipes: Pipes = Arc::new(move |from, _| (from == "a").then(|| pipe.clone()));
        let (a, b) = (slowed(hub.join(member("a")), pipes.clone()), slowed(hub.join(member("b")), pipes));
        let (came, arrived) = unbounded();
        let of_inbox = clock.clone();
        let inbox: Inbox = Arc::new(move |message: Bytes| _ = came.send((of_inbox.now_us(), message[0])));
        let _listening = b.listen(a.me(), "c", inbox).unwrap();
        let (woken, room) = unbounded();
        let line = a.line(b.me(), "c", Arc::new(move || _ = woken.send(()))).unwrap();
        let began_us = clock.now_us();
        for n in 0..40_u8 {
            // 10 KB take 10 ms each: about eleven of them find room at once.
            while line.send(Bytes::from(vec![n; 10_000])).is_err() {
                assert!(n >= 10, "{n} messages are not too much");
                room.recv().unwrap();
            }
        }
        for n in 0..40 {
            let (at_us, message) = arrived.recv().unwrap();
            assert_eq!(message, n);
            let least_us = began_us + 10_000 * (u64::from(n) + 1) + 2_000;
            assert!(at_us >= least_us, "number {n} came {} us early", least_us - at_us);
        }
    }
}
