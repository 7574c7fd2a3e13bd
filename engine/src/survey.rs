//! What is seen of a run that is profiled: how long operators are at work, what streams carry, and some of it.
//!
//! A run without a survey pays for none of this.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

use crate::clock::Clock;
use crate::id::StageId;
use crate::record::Batch;

/// Batches that are kept of a stream, at most.
const KEPT_MAX: usize = 64;
/// Bytes that are kept of a stream, at most, once more than one batch is.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// What is seen of a run on one node.
pub(crate) struct Survey {
    stages: Vec<Seen>,
    /// Timely's numbers of each stage's operators, by the first of them.
    operators: Mutex<BTreeMap<usize, (usize, StageId)>>,
}

/// What is seen of a stage.
#[derive(Default)]
struct Seen {
    busy_ns: AtomicU64,
    out: Mutex<Kept>,
}

/// Batches of a stream from all of its length: every so many one, and fewer the longer it gets.
pub(crate) struct Kept {
    stride: u64,
    passed: u64,
    /// As they would cross a link.
    pub(crate) batches: Vec<Vec<u8>>,
    bytes: usize,
    /// Of all that were ever encoded.
    encoded_bytes: u64,
    encoded_items: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self { stride: 1, passed: 0, batches: Vec::new(), bytes: 0, encoded_bytes: 0, encoded_items: 0 }
    }
}

impl Survey {
    /// Of a run of so many stages.
    pub(crate) fn new(stages: usize) -> Arc<Self> {
        let stages = (0..stages).map(|_| Seen::default()).collect();
        Arc::new(Self { stages, operators: Mutex::default() })
    }

    fn seen(&self, stage: StageId) -> &Seen {
        &self.stages[stage.0 as usize]
    }

    /// How long a stage's operators, and its writer if it is a sink, have been at work.
    pub(crate) fn busy_ns(&self, stage: StageId) -> u64 {
        self.seen(stage).busy_ns.load(Ordering::Relaxed)
    }

    /// Adds to that.
    fn add_busy_ns(&self, stage: StageId, ns: u64) {
        self.seen(stage).busy_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Does something that counts as work of a stage.
    pub(crate) fn at_work<R>(&self, stage: StageId, clock: &Clock, work: impl FnOnce() -> R) -> R {
        let from_us = clock.now_us();
        let done = work();
        self.add_busy_ns(stage, 1_000 * clock.now_us().saturating_sub(from_us));
        done
    }

    /// What was kept of a stage's output.
    pub(crate) fn out(&self, stage: StageId) -> MutexGuard<'_, Kept> {
        lock(&self.seen(stage).out)
    }

    /// Learns which operators a stage was built of, by timely's numbers; returns who is to be shown its output.
    pub(crate) fn watch(
        self: &Arc<Self>,
        stage: StageId,
        operators: Range<usize>,
    ) -> impl Fn(&[Batch]) + use<> {
        lock(&self.operators).insert(operators.start, (operators.end, stage));
        let survey = self.clone();
        move |batches| {
            let mut out = survey.out(stage);
            batches.iter().for_each(|batch| out.take(batch));
        }
    }

    /// Listens to when a worker's operators begin and end; for dataflows that are made after this.
    pub(crate) fn listen(self: &Arc<Self>, worker: &Worker) {
        let mut heard = Heard { survey: self.clone(), open: Vec::new() };
        if let Some(mut registry) = worker.log_register() {
            registry.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
                events.iter().flatten().for_each(|(at, event)| heard.hear(*at, event));
            });
        }
    }

    fn stage_of(&self, operator: usize) -> Option<StageId> {
        let operators = lock(&self.operators);
        let (_, (end, stage)) = operators.range(..=operator).next_back()?;
        (operator < *end).then_some(*stage)
    }
}

/// Operators that have begun and not ended, the innermost last, with the time of those within.
struct Heard {
    survey: Arc<Survey>,
    open: Vec<(usize, Duration, Duration)>,
}

impl Heard {
    fn hear(&mut self, at: Duration, event: &TimelyEvent) {
        let TimelyEvent::Schedule(event) = event else { return };
        match event.start_stop {
            StartStop::Start => self.open.push((event.id, at, Duration::ZERO)),
            StartStop::Stop => {
                let Some((operator, from, within)) = self.open.pop() else { return };
                let whole = at.saturating_sub(from);
                if let Some((_, _, within)) = self.open.last_mut() {
                    *within += whole;
                }
                if let Some(stage) = self.survey.stage_of(operator) {
                    let ns = whole.saturating_sub(within).as_nanos();
                    self.survey.add_busy_ns(stage, u64::try_from(ns).unwrap_or(u64::MAX));
                }
            }
        }
    }
}

impl Kept {
    fn take(&mut self, batch: &Batch) {
        self.passed += 1;
        if !(self.passed - 1).is_multiple_of(self.stride) {
            return;
        }
        let mut bytes = Vec::new();
        // What cannot be encoded cannot leave its node, and is no example either.
        if batch.encode(&mut bytes).is_err() {
            return;
        }
        self.encoded_bytes += bytes.len() as u64;
        self.encoded_items += batch.places().len() as u64;
        self.bytes += bytes.len();
        self.batches.push(bytes);
        while self.batches.len() > 1 && (self.batches.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX) {
            let mut number = 0;
            self.batches.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.bytes = self.batches.iter().map(Vec::len).sum();
            self.stride *= 2;
        }
    }

    /// Bytes of an item on a link, on average; 0 if there was none.
    pub(crate) fn bytes_per_item(&self) -> f64 {
        self.encoded_bytes as f64 / self.encoded_items.max(1) as f64
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{KEPT_BYTES_MAX, KEPT_MAX, Kept};
    use crate::credit::Token;
    use crate::record::{Batch, Envelope, Place};

    fn batch(number: u64, bytes: usize) -> Batch {
        let record = (number, vec![0_u8; bytes]);
        Batch::of(vec![Envelope {
            epoch: 0,
            at: Place::of_source(0, number),
            record,
            token: Token::default(),
        }])
    }

    fn numbers(kept: &Kept) -> Vec<u64> {
        let decode = |bytes: &Vec<u8>| {
            let batch = Batch::decode::<(u64, Vec<u8>)>(0, bytes, &Token::default).unwrap();
            batch.get::<(u64, Vec<u8>)>()[0].record.0
        };
        kept.batches.iter().map(decode).collect()
    }

    #[test]
    fn what_is_kept_is_spread_over_a_stream() {
        let mut kept = Kept::default();
        (0..1_000).for_each(|i| kept.take(&batch(i, 10)));
        let numbers = numbers(&kept);
        assert!(numbers.len() <= KEPT_MAX && numbers.len() > KEPT_MAX / 4, "{numbers:?}");
        let step = numbers[1] - numbers[0];
        assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == step), "{numbers:?}");
        assert!(numbers.last().unwrap() + 2 * step > 1_000, "{numbers:?}");
        assert!((kept.bytes_per_item() - 20.0).abs() < 8.0, "{}", kept.bytes_per_item());
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let mut kept = Kept::default();
        (0..40).for_each(|i| kept.take(&batch(i, 1 << 20)));
        assert!(kept.batches.iter().map(Vec::len).sum::<usize>() <= KEPT_BYTES_MAX);
        assert!(numbers(&kept).len() > 4);
    }
}
