//! Handing items to a pool and taking results back in order: what `pooled` and `sink` share.
//!
//! Batching adapts: while a slot is idle an item is submitted at once; while all are busy, items wait
//! for a full batch, and none longer than the deadline. One more batch per slot is kept waiting so
//! that a slot never idles between two. A batch that runs for longer than its timeout is interrupted, and
//! given up as `timeout` when it has not ended after twice that; with every slot lost in this way, so is
//! what has waited for as long.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use timely::scheduling::SyncActivator;

use crate::failure::{Failure, Reason};
use crate::meter::{Queue, StageMeter};
use crate::pool::{Begun, Done, Job, Pool, Reply};
use crate::runner::Batching;

/// How soon a full pool is asked again, when no batch of this stage is under way to wake it.
const RETRY_US: u64 = 1_000;

/// Items of type `I` on their way through a pool, each with a companion `C` that stays here.
pub(crate) struct Feeding<C, I, O> {
    pool: Arc<Pool<I, O>>,
    batching: Batching,
    waiting: VecDeque<(C, I, u64)>,
    running: VecDeque<Submitted<C>>,
    back: BTreeMap<u64, Vec<Result<O, Failure>>>,
    reply: Reply<O>,
    done: Receiver<Done<O>>,
    queue: Queue,
}

struct Submitted<C> {
    id: u64,
    companions: Vec<C>,
    since_us: u64,
    begun: Begun,
}

impl<C, I: Send + 'static, O: Send + 'static> Feeding<C, I, O> {
    pub(crate) fn new(
        pool: Arc<Pool<I, O>>,
        batching: Batching,
        wake: SyncActivator,
        meter: &Rc<StageMeter>,
    ) -> Self {
        // Room for every batch that can be under way, so that a slot never waits to answer; late
        // answers of batches that were given up on come on top, a few at most.
        let (sender, done) = bounded(4 * pool.slots() + 16);
        let reply = Reply { done: sender, wake: Arc::new(wake) };
        Self {
            pool,
            batching,
            waiting: VecDeque::new(),
            running: VecDeque::new(),
            back: BTreeMap::new(),
            reply,
            done,
            queue: Queue::of(meter),
        }
    }

    /// From the next batch on.
    pub(crate) fn set_batching(&mut self, batching: Batching) {
        self.batching = batching;
    }

    pub(crate) fn push(&mut self, companion: C, item: I, now_us: u64) {
        self.waiting.push_back((companion, item, now_us));
    }

    /// The companion of the oldest item that is not back.
    pub(crate) fn oldest(&self) -> Option<&C> {
        let running = self.running.front().and_then(|batch| batch.companions.first());
        running.or_else(|| self.waiting.front().map(|(companion, ..)| companion))
    }

    /// The next batch in order of submission, if it is back.
    pub(crate) fn pop(&mut self) -> Option<impl Iterator<Item = (C, Result<O, Failure>)> + use<C, I, O>> {
        for Done { id, outcomes, busy_us } in self.done.try_iter() {
            self.queue.meter().call(busy_us);
            // An answer to a batch that was given up on is late.
            if self.running.iter().any(|batch| batch.id == id) {
                self.back.insert(id, outcomes);
            }
        }
        let outcomes = self.back.remove(&self.running.front()?.id)?;
        let batch = self.running.pop_front()?;
        Some(batch.companions.into_iter().zip(outcomes))
    }

    /// Submits what is due and ends what is overdue; returns when to look again.
    pub(crate) fn submit(&mut self, urgent: bool, now_us: u64) -> Option<u64> {
        let again_us =
            if self.pool.is_lost() { self.abandon(now_us) } else { self.submit_due(urgent, now_us) };
        self.queue.set(self.waiting.len() + self.not_begun());
        again_us.into_iter().chain(self.overdue(now_us)).min()
    }

    /// Items that were submitted and wait for a slot.
    fn not_begun(&self) -> usize {
        let waits =
            |batch: &&Submitted<C>| batch.begun.at_us().is_none() && !self.back.contains_key(&batch.id);
        self.running.iter().filter(waits).map(|batch| batch.companions.len()).sum()
    }

    fn submit_due(&mut self, urgent: bool, now_us: u64) -> Option<u64> {
        let slots = self.pool.slots();
        while let Some((_, _, since_us)) = self.waiting.front() {
            let due_us = since_us + micros(self.batching.deadline);
            let full = self.waiting.len() >= self.batching.items_max;
            let may_wait = self.running.len() >= slots && !full && now_us < due_us;
            if self.running.len() >= 2 * slots {
                break;
            }
            if may_wait {
                return Some(due_us);
            }
            if !self.submit_one(urgent, now_us) {
                return Some(now_us + RETRY_US);
            }
        }
        None
    }

    /// With every slot lost: gives up what has waited too long.
    fn abandon(&mut self, now_us: u64) -> Option<u64> {
        let patience_us = 2 * micros(self.batching.timeout);
        let n = self.waiting.iter().take_while(|(.., since_us)| since_us + patience_us <= now_us).count();
        if n > 0 {
            let id = self.pool.next_id();
            let companions = self.waiting.drain(..n).map(|(companion, ..)| companion).collect();
            self.running.push_back(Submitted { id, companions, since_us: now_us, begun: Begun::default() });
            self.give_up(id, n);
        }
        self.waiting.front().map(|(.., since_us)| since_us + patience_us)
    }

    fn submit_one(&mut self, urgent: bool, now_us: u64) -> bool {
        let n = self.waiting.len().min(self.batching.items_max);
        let (id, begun) = (self.pool.next_id(), Begun::default());
        let (mut companions, mut since, mut items) = (Vec::new(), Vec::new(), Vec::with_capacity(n));
        for (companion, item, at_us) in self.waiting.drain(..n) {
            companions.push(companion);
            since.push(at_us);
            items.push(item);
        }
        let job = Job { id, items, reply: self.reply.clone(), begun: begun.clone() };
        match self.pool.submit(job, urgent) {
            Ok(()) => {
                self.running.push_back(Submitted { id, companions, since_us: now_us, begun });
                true
            }
            Err(job) => {
                let back = companions.into_iter().zip(job.items).zip(since);
                back.rev().for_each(|((c, i), s)| self.waiting.push_front((c, i, s)));
                false
            }
        }
    }

    /// Ends batches that outlast the timeout; returns when the next one would.
    fn overdue(&mut self, now_us: u64) -> Option<u64> {
        let timeout_us = micros(self.batching.timeout);
        let (mut hopeless, mut next_us) = (Vec::new(), None);
        for batch in self.running.iter().filter(|batch| !self.back.contains_key(&batch.id)) {
            let at_us = match batch.begun.at_us() {
                Some(begun_us) if now_us < begun_us + timeout_us => begun_us + timeout_us,
                Some(begun_us) if now_us < begun_us + 2 * timeout_us => {
                    self.pool.interrupt(batch.id);
                    begun_us + 2 * timeout_us
                }
                // No time runs while it waits for a slot, as long as there is one to wait for.
                None if !self.pool.is_lost() || now_us < batch.since_us + 2 * timeout_us => {
                    now_us + timeout_us
                }
                begun => {
                    match begun {
                        Some(_) => self.pool.give_up(batch.id),
                        None => batch.begun.cancel(),
                    }
                    hopeless.push((batch.id, batch.companions.len()));
                    continue;
                }
            };
            next_us = next_us.into_iter().chain([at_us]).min();
        }
        hopeless.into_iter().for_each(|(id, items)| self.give_up(id, items));
        next_us
    }

    fn give_up(&mut self, id: u64, items: usize) {
        let failure = Failure::new(Reason::TIMEOUT, "the runner hangs and could not be interrupted");
        self.back.insert(id, (0..items).map(|_| Err(failure.clone())).collect());
        // An activation fails only once its worker is gone, and then nobody waits.
        _ = self.reply.wake.activate();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}
