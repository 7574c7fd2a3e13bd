//! What a node counts of its stages and links: cells of its worker thread, kept over all generations.
//!
//! Nothing here is locked or shared between threads: whoever counts runs on the worker thread, and so does who reads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::clock::Clock;
use crate::id::StageId;
use crate::link::Sender;

/// A stage with a variant.
pub(crate) type StageKey = (StageId, Option<String>);
/// The stage that a link comes from, the first one that it leads to, and the node of that.
pub(crate) type EdgeKey = (StageId, StageId, String);

/// The meters of one node.
pub(crate) struct Meters {
    /// By itself: it is read often, and what is measured must not be hurried.
    clock: Clock,
    stages: RefCell<BTreeMap<StageKey, Rc<StageMeter>>>,
    links: RefCell<BTreeMap<EdgeKey, Rc<LinkMeter>>>,
}

/// What is counted of a stage.
pub(crate) struct StageMeter {
    clock: Clock,
    items_in: Cell<u64>,
    items_out: Cell<u64>,
    busy_us: Cell<u64>,
    calls: Cell<u64>,
    waiting: Cell<u64>,
    slots: Cell<u32>,
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get().saturating_add(n));
}

impl Meters {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { clock: clock.by_itself(), stages: RefCell::default(), links: RefCell::default() }
    }

    pub(crate) fn stage(&self, key: StageKey) -> Rc<StageMeter> {
        let new = || {
            let (items_in, items_out, busy_us, calls, waiting, slots) = Default::default();
            let clock = self.clock.clone();
            Rc::new(StageMeter { clock, items_in, items_out, busy_us, calls, waiting, slots })
        };
        self.stages.borrow_mut().entry(key).or_insert_with(new).clone()
    }

    pub(crate) fn link(&self, key: EdgeKey) -> Rc<LinkMeter> {
        self.links.borrow_mut().entry(key).or_default().clone()
    }

    pub(crate) fn stages(&self) -> Vec<(StageKey, Rc<StageMeter>)> {
        self.stages.borrow().iter().map(|(key, meter)| (key.clone(), meter.clone())).collect()
    }

    pub(crate) fn links(&self) -> Vec<(EdgeKey, Rc<LinkMeter>)> {
        self.links.borrow().iter().map(|(key, meter)| (key.clone(), meter.clone())).collect()
    }
}

impl StageMeter {
    pub(crate) fn items_in(&self, n: usize) {
        add(&self.items_in, n as u64);
    }

    pub(crate) fn items_out(&self, n: usize) {
        add(&self.items_out, n as u64);
    }

    /// Does the stage's own work, and counts how long it takes. Single calls of less than a microsecond count as 0 or
    /// 1, on average as what they took.
    pub(crate) fn work<R>(&self, work: impl FnOnce() -> R) -> R {
        let begun_us = self.clock.now_us();
        let made = work();
        self.call(self.clock.now_us() - begun_us);
        made
    }

    /// A slot, or the stage's own logic, has worked for so long.
    pub(crate) fn call(&self, busy_us: u64) {
        add(&self.busy_us, busy_us);
        add(&self.calls, 1);
    }

    pub(crate) fn slots(&self, slots: usize) {
        self.slots.set(u32::try_from(slots).unwrap_or(u32::MAX));
    }

    pub(crate) fn read(&self) -> StageCounts {
        StageCounts {
            items_in: self.items_in.get(),
            items_out: self.items_out.get(),
            busy_us: self.busy_us.get(),
            calls: self.calls.get(),
            waiting: self.waiting.get(),
            slots: self.slots.get(),
        }
    }
}

/// What a stage's meter says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageCounts {
    pub(crate) items_in: u64,
    pub(crate) items_out: u64,
    pub(crate) busy_us: u64,
    pub(crate) calls: u64,
    pub(crate) waiting: u64,
    pub(crate) slots: u32,
}

/// How many items wait at one operator: those of two generations add up.
pub(crate) struct Queue {
    meter: Rc<StageMeter>,
    waiting: u64,
}

impl Queue {
    pub(crate) fn of(meter: &Rc<StageMeter>) -> Self {
        Self { meter: meter.clone(), waiting: 0 }
    }

    pub(crate) fn meter(&self) -> &StageMeter {
        &self.meter
    }

    pub(crate) fn set(&mut self, waiting: usize) {
        let (before, now) = (self.waiting, waiting as u64);
        let total = &self.meter.waiting;
        total.set((total.get() + now).saturating_sub(before));
        self.waiting = now;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What is counted of a link, over all generations that have one there.
#[derive(Default)]
pub(crate) struct LinkMeter {
    pub(crate) items: Cell<u64>,
    pub(crate) bytes: Cell<u64>,
    pub(crate) resent: Cell<u64>,
    pub(crate) round_trip_us: Cell<Option<u64>>,
}

impl LinkMeter {
    pub(crate) fn sent(&self, items: usize) {
        add(&self.items, items as u64);
    }
}

/// A link of one generation, whose counts go into the meter whenever it is read, and for the last time when it goes.
pub(crate) struct Tap {
    meter: Rc<LinkMeter>,
    sender: Sender,
    bytes: Cell<u64>,
    resent: Cell<u64>,
}

impl Tap {
    pub(crate) fn new(meter: Rc<LinkMeter>, sender: Sender) -> Self {
        let (bytes, resent) = Default::default();
        Self { meter, sender, bytes, resent }
    }

    pub(crate) fn read(&self) {
        let counts = self.sender.counts();
        add(&self.meter.bytes, counts.bytes - self.bytes.replace(counts.bytes));
        add(&self.meter.resent, counts.resent - self.resent.replace(counts.resent));
        if let Some(round_trip_us) = self.sender.round_trip_us() {
            self.meter.round_trip_us.set(Some(round_trip_us));
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.read();
        self.meter.round_trip_us.set(None);
    }
}
