//! A network within a process: for nodes that are threads, and, with faults by seed, for the simulator.
//!
//! Without faults a message arrives where it was sent. With faults every message has a fate, drawn from the
//! seed: lost, doubled, or delivered after a delay by [`Hub::deliver`], so that messages overtake each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Inbox, Line, Listening, Member, Network, Presence, Wake};
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

/// What befalls messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// The share of messages that vanish.
    pub loss: f64,
    /// The share of messages that arrive twice.
    pub doubling: f64,
    /// The longest delay, in microseconds; the shortest is 1.
    pub delay_max_us: u64,
}

/// What the members of a run in one process share.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    faults: Option<Faults>,
    random: Random,
    now_us: u64,
    numbers: u64,
    inboxes: HashMap<Route, (u64, Inbox)>,
    members: BTreeSet<Member>,
    watchers: BTreeMap<u64, Arc<dyn Fn(Presence) + Send + Sync>>,
    under_way: BTreeMap<(u64, u64), (Route, Bytes)>,
    /// Pairs of names that do not reach each other.
    parted: BTreeSet<(String, String)>,
    lost: u64,
}

/// From, to, channel.
type Route = (Member, Member, String);

impl Hub {
    /// A network whose messages suffer these faults, by a seed; they arrive by [`Hub::deliver`].
    #[must_use]
    pub fn with_faults(faults: Faults, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            faults: Some(faults),
            random: Random::new(seed),
            ..State::default()
        })))
    }

    /// Another member.
    #[must_use]
    pub fn join(&self, member: Member) -> Arc<dyn Network> {
        let watchers: Vec<_> = {
            let mut state = self.lock();
            state.members.insert(member.clone());
            state.watchers.values().cloned().collect()
        };
        watchers.iter().for_each(|told| told(Presence { member: member.clone(), is_here: true }));
        Arc::new(Memory { hub: self.clone(), me: member })
    }

    /// A member is no more: nothing reaches it, and nothing comes from it.
    pub fn crash(&self, member: &Member) {
        let watchers: Vec<_> = {
            let mut state = self.lock();
            if !state.members.remove(member) {
                return;
            }
            state.inboxes.retain(|(_, to, _), _| to != member);
            state.watchers.values().cloned().collect()
        };
        watchers.iter().for_each(|told| told(Presence { member: member.clone(), is_here: false }));
    }

    /// Parts two members from each other: what they send vanishes, until [`Hub::heal`].
    pub fn part(&self, a: &str, b: &str) {
        self.lock().parted.insert(pair(a, b));
    }

    /// Two members reach each other again.
    pub fn heal(&self, a: &str, b: &str) {
        self.lock().parted.remove(&pair(a, b));
    }

    /// Delivers what is due.
    pub fn deliver(&self, now_us: u64) {
        self.lock().now_us = now_us;
        while let Some((inbox, message)) = self.due(now_us) {
            if let Some(inbox) = inbox {
                inbox(message);
            }
        }
    }

    fn due(&self, now_us: u64) -> Option<(Option<Inbox>, Bytes)> {
        let mut state = self.lock();
        let first = state.under_way.first_entry().filter(|first| first.key().0 <= now_us)?;
        let (route, message) = first.remove();
        let is_cut = state.parted.contains(&pair(&route.0.name, &route.1.name));
        let inbox = state.inboxes.get(&route).filter(|_| !is_cut).map(|(_, inbox)| inbox.clone());
        Some((inbox, message))
    }

    /// When the next message is due.
    #[must_use]
    pub fn next_us(&self) -> Option<u64> {
        self.lock().under_way.first_key_value().map(|((at_us, _), _)| *at_us)
    }

    /// Messages that have vanished so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn send(&self, route: &Route, message: Bytes) {
        let mut state = self.lock();
        let is_cut = state.parted.contains(&pair(&route.0.name, &route.1.name));
        if is_cut || !state.members.contains(&route.0) {
            state.lost += 1;
            return;
        }
        if let Some(faults) = state.faults {
            return state.put_under_way(faults, route, &message);
        }
        let inbox = state.inboxes.get(route).map(|(_, inbox)| inbox.clone());
        // An inbox may wake somebody who sends at once.
        drop(state);
        if let Some(inbox) = inbox {
            inbox(message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.min(b).to_owned(), a.max(b).to_owned())
}

impl State {
    /// Draws a message's fate.
    fn put_under_way(&mut self, faults: Faults, route: &Route, message: &Bytes) {
        if self.random.chance(faults.loss) {
            self.lost += 1;
            return;
        }
        let copies = 1 + u64::from(self.random.chance(faults.doubling));
        for _ in 0..copies {
            let at_us = self.now_us + 1 + self.random.below(faults.delay_max_us.max(1));
            self.numbers += 1;
            self.under_way.insert((at_us, self.numbers), (route.clone(), message.clone()));
        }
    }
}

struct Memory {
    hub: Hub,
    me: Member,
}

impl Network for Memory {
    fn me(&self) -> &Member {
        &self.me
    }

    fn line(&self, to: &Member, channel: &str, _room: Wake) -> Result<Box<dyn Line>> {
        let route = (self.me.clone(), to.clone(), channel.to_owned());
        Ok(Box::new(MemoryLine { hub: self.hub.clone(), route }))
    }

    fn listen(&self, from: &Member, channel: &str, inbox: Inbox) -> Result<Box<dyn Listening>> {
        let route = (from.clone(), self.me.clone(), channel.to_owned());
        let mut state = self.hub.lock();
        if state.inboxes.contains_key(&route) {
            let message = format!("two ends listen to \"{channel}\" from \"{from}\"");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        state.numbers += 1;
        let number = state.numbers;
        state.inboxes.insert(route.clone(), (number, inbox));
        drop(state);
        Ok(Box::new(MemoryInbox { hub: self.hub.clone(), route, number }))
    }

    fn watch(&self, told: Arc<dyn Fn(Presence) + Send + Sync>) -> Result<Box<dyn Listening>> {
        let (here, number) = {
            let mut state = self.hub.lock();
            state.numbers += 1;
            let number = state.numbers;
            state.watchers.insert(number, told.clone());
            (state.members.clone(), number)
        };
        here.into_iter().for_each(|member| told(Presence { member, is_here: true }));
        Ok(Box::new(MemoryWatch { hub: self.hub.clone(), number }))
    }
}

struct MemoryLine {
    hub: Hub,
    route: Route,
}

impl Line for MemoryLine {
    fn send(&self, message: Bytes) -> std::result::Result<(), Bytes> {
        self.hub.send(&self.route, message);
        Ok(())
    }
}

struct MemoryInbox {
    hub: Hub,
    route: Route,
    number: u64,
}

impl Listening for MemoryInbox {}

impl Drop for MemoryInbox {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if state.inboxes.get(&self.route).is_some_and(|(number, _)| *number == self.number) {
            state.inboxes.remove(&self.route);
        }
    }
}

struct MemoryWatch {
    hub: Hub,
    number: u64,
}

impl Listening for MemoryWatch {}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.hub.lock().watchers.remove(&self.number);
    }
}
