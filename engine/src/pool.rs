//! Pools of runners: one thread per slot, fed over bounded channels, shared by the stages and
//! generations of a node that use the same model. Under a simulated clock there are no threads: whoever
//! steps the node gives each slot its turn.
//!
//! Invariants: the worker thread never waits for a runner. A batch comes back with one outcome per
//! item, whatever the runner did: returned, panicked, or hung and was interrupted. A slot whose runner
//! hangs in spite of that is lost until it returns; what was cancelled meanwhile is not run any more.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, select};
use timely::scheduling::SyncActivator;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Failure, Reason};
use crate::plan::Assignment;
use crate::runner::{AnyRunner, Imitate, Imitation, Interrupter, Recipe};

/// Batches that wait per slot before a submission is refused.
const QUEUE_PER_SLOT: usize = 8;

/// A batch on its way to a slot.
pub(crate) struct Job<I, O> {
    pub(crate) id: u64,
    pub(crate) items: Vec<I>,
    pub(crate) reply: Reply<O>,
    pub(crate) begun: Begun,
}

/// When a slot began a batch. A batch that waits may be cancelled.
#[derive(Clone, Default)]
pub(crate) struct Begun(Arc<AtomicU64>);

impl Begun {
    const WAITING: u64 = 0;
    const CANCELLED: u64 = u64::MAX;

    /// By the run clock, if a slot has begun it.
    pub(crate) fn at_us(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|at_us| ![Self::WAITING, Self::CANCELLED].contains(at_us))
    }

    /// Keeps slots from beginning it.
    pub(crate) fn cancel(&self) {
        // One that was begun in between runs for nobody.
        _ = self.leave_waiting(Self::CANCELLED);
    }

    fn begin(&self, now_us: u64) -> bool {
        self.leave_waiting(now_us.max(1))
    }

    fn leave_waiting(&self, to: u64) -> bool {
        self.0.compare_exchange(Self::WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Where a batch's outcome goes.
pub(crate) struct Reply<O> {
    pub(crate) done: Sender<Done<O>>,
    pub(crate) wake: Arc<SyncActivator>,
}

impl<O> Clone for Reply<O> {
    fn clone(&self) -> Self {
        Self { done: self.done.clone(), wake: self.wake.clone() }
    }
}

/// A batch's outcome: one entry per item, in order.
pub(crate) struct Done<O> {
    pub(crate) id: u64,
    pub(crate) outcomes: Vec<Result<O, Failure>>,
    /// How long its slot worked for it, with what was imitated.
    pub(crate) busy_us: u64,
}

/// Slots with a runner each.
pub(crate) struct Pool<I, O> {
    urgent: Option<Sender<Job<I, O>>>,
    normal: Option<Sender<Job<I, O>>>,
    slots: Vec<Arc<Slot>>,
    threads: Vec<JoinHandle<()>>,
    /// What the threads would run, under a simulated clock.
    by_hand: Mutex<Vec<Seat<I, O>>>,
    ids: AtomicU64,
    lost: Arc<AtomicUsize>,
}

/// What can be seen of a slot from outside.
#[derive(Default)]
struct Slot(Mutex<Running>);

#[derive(Default)]
struct Running {
    job: Option<u64>,
    is_lost: bool,
    interrupter: Option<Interrupter>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Running> {
        lock(&self.0)
    }
}

impl<I: Send + 'static, O: Send + 'static> Pool<I, O> {
    /// Opens every slot's runner, then starts the threads.
    pub(crate) fn open(
        name: &str,
        slots: usize,
        recipe: &Recipe<I, O>,
        clock: &Clock,
        imitation: Option<Imitation>,
    ) -> Result<Arc<Self>> {
        let runners = (0..slots).map(|_| (recipe.open)()).collect::<Result<Vec<_>>>()?;
        let (urgent, urgent_jobs) = bounded(QUEUE_PER_SLOT * slots);
        let (normal, normal_jobs) = bounded(QUEUE_PER_SLOT * slots);
        let mut pool = Self {
            urgent: Some(urgent),
            normal: Some(normal),
            slots: Vec::new(),
            threads: Vec::new(),
            by_hand: Mutex::default(),
            ids: AtomicU64::new(0),
            lost: Arc::default(),
        };
        for (i, runner) in runners.into_iter().enumerate() {
            let slot = Arc::new(Slot::default());
            slot.lock().interrupter = runner.interrupter();
            let work = Work {
                runner: Some(runner),
                open: recipe.open.clone(),
                slot: slot.clone(),
                lost: pool.lost.clone(),
                clock: clock.clone(),
                imitation,
                urgent: urgent_jobs.clone(),
                normal: normal_jobs.clone(),
            };
            pool.slots.push(slot);
            if clock.is_simulated() {
                lock(&pool.by_hand).push(Seat { work, held: None });
            } else {
                let thread = std::thread::Builder::new().name(format!("{name}-{i}")).spawn(|| work.run());
                pool.threads.push(thread.map_err(|e| {
                    Error::new(ErrorKind::Unavailable, format!("no thread for slot {i} of {name}")).because(e)
                })?);
            }
        }
        Ok(Arc::new(pool))
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// A number that no other batch of this pool has.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a batch to a slot, or gives it back while the queue is full. What is urgent goes first:
    /// a generation that drains has priority over the next.
    pub(crate) fn submit(&self, job: Job<I, O>, urgent: bool) -> std::result::Result<(), Job<I, O>> {
        let queue = if urgent { &self.urgent } else { &self.normal };
        match queue.as_ref().expect("the queues live as long as the pool").try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Err(job),
        }
    }

    /// Whether every slot is lost: nothing that is submitted now is begun before one returns.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire) >= self.slots.len()
    }

    /// Interrupts the batch if a slot is running it.
    pub(crate) fn interrupt(&self, id: u64) {
        self.interrupt_and(id, |_| ());
    }

    /// Interrupts the batch once more, and counts its slot as lost until it returns.
    pub(crate) fn give_up(&self, id: u64) {
        self.interrupt_and(id, |running| {
            if !std::mem::replace(&mut running.is_lost, true) {
                self.lost.fetch_add(1, Ordering::AcqRel);
            }
        });
    }

    fn interrupt_and(&self, id: u64, mark: impl Fn(&mut Running)) {
        for slot in &self.slots {
            let mut running = slot.lock();
            if running.job == Some(id) {
                if let Some(interrupt) = &running.interrupter {
                    interrupt();
                }
                mark(&mut running);
            }
        }
    }
}

impl<I, O> Drop for Pool<I, O> {
    fn drop(&mut self) {
        (self.urgent, self.normal) = (None, None);
        for (slot, thread) in self.slots.iter().zip(self.threads.drain(..)) {
            // A slot that still runs was given up on; waiting for it could take for ever.
            if slot.lock().job.is_none() && thread.join().is_err() {
                tracing::error!("a slot's thread panicked");
            }
        }
    }
}

/// What a slot does with its batches.
struct Work<I, O> {
    runner: Option<AnyRunner<I, O>>,
    open: Arc<dyn Fn() -> Result<AnyRunner<I, O>> + Send + Sync>,
    slot: Arc<Slot>,
    lost: Arc<AtomicUsize>,
    clock: Clock,
    imitation: Option<Imitation>,
    urgent: Receiver<Job<I, O>>,
    normal: Receiver<Job<I, O>>,
}

/// A batch that was run, on its way back.
struct Answer<O> {
    reply: Reply<O>,
    done: Done<O>,
    /// When it may go back, where its slowness is imitated.
    due_us: Option<u64>,
}

impl<I: Send + 'static, O: Send + 'static> Work<I, O> {
    /// The slot's thread.
    fn run(mut self) {
        while let Some(job) = self.next() {
            let Some(answer) = self.work(job) else { continue };
            if let Some(due_us) = answer.due_us {
                self.clock.sleep(Duration::from_micros(due_us.saturating_sub(self.clock.now_us())));
            }
            self.end();
            let Answer { reply, done, .. } = answer;
            // The stage may be gone; then nobody waits for the outcome.
            if reply.done.send(done).is_ok() {
                _ = reply.wake.activate();
            }
        }
    }

    /// Runs a batch, unless it was cancelled. The slot is taken until [`Work::end`].
    fn work(&mut self, job: Job<I, O>) -> Option<Answer<O>> {
        let Job { id, items, reply, begun } = job;
        let now_us = self.clock.now_us();
        self.slot.lock().job = Some(id);
        if !begun.begin(now_us) {
            self.end();
            return None;
        }
        let due_us = self.imitation.map(|imitation| now_us.saturating_add(imitation.of(items.len())));
        let outcomes = self.outcomes(items);
        let ended_us = self.clock.now_us().max(due_us.unwrap_or(0));
        let busy_us = ended_us.saturating_sub(now_us);
        Some(Answer { reply, done: Done { id, outcomes, busy_us }, due_us })
    }

    fn end(&self) {
        let mut running = self.slot.lock();
        running.job = None;
        if std::mem::take(&mut running.is_lost) {
            self.lost.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn next(&self) -> Option<Job<I, O>> {
        if let Ok(job) = self.urgent.try_recv() {
            return Some(job);
        }
        select! {
            recv(self.urgent) -> job => job.ok(),
            recv(self.normal) -> job => job.ok(),
        }
    }

    /// What waits, without waiting for it.
    fn next_waiting(&self) -> Option<Job<I, O>> {
        self.urgent.try_recv().or_else(|_| self.normal.try_recv()).ok()
    }

    fn outcomes(&mut self, items: Vec<I>) -> Vec<Result<O, Failure>> {
        let n = items.len();
        if self.runner.is_none() {
            self.reopen();
        }
        let Some(runner) = &mut self.runner else {
            let message = "the runner panicked before, and could not be opened again";
            return fail_all(n, &Failure::new(Reason::FAILED, message));
        };
        let failure = match catch_unwind(AssertUnwindSafe(|| runner.run(items))) {
            Ok(outcomes) if outcomes.len() == n => return outcomes,
            Ok(outcomes) => Failure::new(
                Reason::FAILED,
                format!("the runner returned {} results for {n} items", outcomes.len()),
            ),
            Err(panic) => {
                self.runner = None;
                Failure::new(Reason::PANIC, panic_message(&*panic))
            }
        };
        fail_all(n, &failure)
    }

    fn reopen(&mut self) {
        match (self.open)() {
            Ok(runner) => {
                self.slot.lock().interrupter = runner.interrupter();
                self.runner = Some(runner);
            }
            Err(error) => tracing::error!(%error, "a runner could not be opened again"),
        }
    }
}

/// A slot that is stepped by hand.
struct Seat<I, O> {
    work: Work<I, O>,
    /// What was run and has not gone back yet.
    held: Option<Answer<O>>,
}

impl<I: Send + 'static, O: Send + 'static> Seat<I, O> {
    /// Sends back what is due and begins what waits. Says when it wants its next turn: now, if
    /// something went back.
    fn turn(&mut self, now_us: u64) -> Option<u64> {
        let mut answered = None;
        loop {
            if let Some(answer) = self.held.take() {
                if let Some(due_us) = answer.due_us.filter(|due_us| *due_us > now_us) {
                    self.held = Some(answer);
                    return answered.or(Some(due_us));
                }
                self.work.end();
                answered = Some(now_us);
                self.held = go_back(answer);
                if self.held.is_some() {
                    return answered;
                }
            }
            let Some(job) = self.work.next_waiting() else { return answered };
            self.held = self.work.work(job);
        }
    }
}

/// Sends an answer back, or returns it while there is no room for it.
fn go_back<O>(answer: Answer<O>) -> Option<Answer<O>> {
    let Answer { reply, done, due_us } = answer;
    match reply.done.try_send(done) {
        Ok(()) => _ = reply.wake.activate(),
        Err(TrySendError::Full(done)) => return Some(Answer { reply, done, due_us }),
        // The stage is gone.
        Err(TrySendError::Disconnected(_)) => {}
    }
    None
}

fn fail_all<O>(n: usize, failure: &Failure) -> Vec<Result<O, Failure>> {
    (0..n).map(|_| Err(failure.clone())).collect()
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panicked").to_owned()
}

/// A pool whose slots a simulator steps.
trait ByHand: Send + Sync {
    /// Gives every slot its turn; says when it wants the next one.
    fn turn(&self, now_us: u64) -> Option<u64>;
}

impl<I: Send + 'static, O: Send + 'static> ByHand for Pool<I, O> {
    fn turn(&self, now_us: u64) -> Option<u64> {
        lock(&self.by_hand).iter_mut().filter_map(|seat| seat.turn(now_us)).min()
    }
}

/// The pools of a node by key, counted by reference: a change that keeps a model loads nothing.
#[derive(Default)]
pub(crate) struct Pools {
    by_key: Mutex<HashMap<String, Weak<dyn Any + Send + Sync>>>,
    /// In the order in which they were opened, so that a simulated run can be repeated.
    by_hand: Mutex<Vec<Weak<dyn ByHand>>>,
    imitate: Option<Imitate>,
}

impl Pools {
    /// The pools of a node that is as slow as it is told to be.
    pub(crate) fn imitating(imitate: Option<Imitate>) -> Self {
        Self { imitate, ..Self::default() }
    }

    /// What the pool of a stage imitates here.
    pub(crate) fn imitation(&self, stage: &str, assignment: &Assignment) -> Option<Imitation> {
        self.imitate.as_ref().and_then(|imitate| imitate(stage, assignment))
    }

    /// The pool of this key, opened if there is none or it has fewer slots. Who shares a pool shares its
    /// slowness: the first stage's.
    pub(crate) fn get_or_open<I: Send + 'static, O: Send + 'static>(
        &self,
        slots: usize,
        recipe: &Recipe<I, O>,
        clock: &Clock,
        imitation: Option<Imitation>,
    ) -> Result<Arc<Pool<I, O>>> {
        let mut pools = lock(&self.by_key);
        let known = pools
            .get(&recipe.key)
            .and_then(Weak::upgrade)
            .and_then(|pool| pool.downcast::<Pool<I, O>>().ok());
        if let Some(pool) = known.filter(|pool| pool.slots() >= slots) {
            return Ok(pool);
        }
        let pool = Pool::open(&recipe.key, slots, recipe, clock, imitation)?;
        let erased: Arc<dyn Any + Send + Sync> = pool.clone();
        pools.insert(recipe.key.clone(), Arc::downgrade(&erased));
        pools.retain(|_, pool| pool.strong_count() > 0);
        if clock.is_simulated() {
            let by_hand: Arc<dyn ByHand> = pool.clone();
            lock(&self.by_hand).push(Arc::downgrade(&by_hand));
        }
        Ok(pool)
    }

    /// Under a simulated clock: gives every slot its turn, and says when the next one is wanted. That is
    /// now if a batch went back, so that the stages get their turn in between; `None` until something is
    /// submitted. On threads there is nothing to do.
    pub(crate) fn turn(&self, now_us: u64) -> Option<u64> {
        let mut pools = lock(&self.by_hand);
        pools.retain(|pool| pool.strong_count() > 0);
        let live: Vec<_> = pools.iter().filter_map(Weak::upgrade).collect();
        drop(pools);
        live.iter().filter_map(|pool| pool.turn(now_us)).min()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
