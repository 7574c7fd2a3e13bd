//! Wake-ups in run time: operators ask to be scheduled again at a time of the node's clock.
//!
//! timely's own `activate_after` reads the machine's clock, which a simulator could not drive.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use timely::scheduling::Activator;

/// The wake-ups of one node; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Timers(Rc<RefCell<Pending>>);

#[derive(Default)]
struct Pending {
    heap: BinaryHeap<Reverse<(u64, usize)>>,
    alarms: Vec<Rc<Alarm>>,
}

/// One operator's wake-up; it is due once, until it is set again.
pub(crate) struct Alarm {
    index: usize,
    due_us: RefCell<Option<u64>>,
    activator: Activator,
    timers: Timers,
}

impl Timers {
    /// An alarm for an operator, not yet set.
    pub(crate) fn alarm(&self, activator: Activator) -> Rc<Alarm> {
        let mut pending = self.0.borrow_mut();
        let free = pending.alarms.iter().position(|a| Rc::strong_count(a) == 1);
        let index = free.unwrap_or(pending.alarms.len());
        let alarm = Rc::new(Alarm { index, due_us: RefCell::new(None), activator, timers: self.clone() });
        match free {
            Some(index) => pending.alarms[index] = alarm.clone(),
            None => pending.alarms.push(alarm.clone()),
        }
        alarm
    }

    /// Schedules the operators whose time has come.
    pub(crate) fn fire(&self, now_us: u64) {
        let mut pending = self.0.borrow_mut();
        while let Some(Reverse((at_us, index))) = pending.heap.peek().copied() {
            if at_us > now_us {
                break;
            }
            pending.heap.pop();
            let alarm = &pending.alarms[index];
            if alarm.due_us.borrow().is_some_and(|due| due <= now_us) {
                *alarm.due_us.borrow_mut() = None;
                alarm.activator.activate();
            }
        }
    }

    /// How long until the next alarm.
    pub(crate) fn next_in(&self, now_us: u64) -> Option<Duration> {
        let pending = self.0.borrow();
        pending.heap.peek().map(|Reverse((at_us, _))| Duration::from_micros(at_us.saturating_sub(now_us)))
    }
}

impl Alarm {
    /// Wakes the operator at this time, or earlier if an earlier time was set before.
    pub(crate) fn set(&self, at_us: u64) {
        let mut due = self.due_us.borrow_mut();
        if due.is_none_or(|due| at_us < due) {
            *due = Some(at_us);
            self.timers.0.borrow_mut().heap.push(Reverse((at_us, self.index)));
        }
    }
}
