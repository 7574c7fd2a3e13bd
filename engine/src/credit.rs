//! Credit: how much a node takes in before something has left it.
//!
//! timely operators cannot refuse input and its queues have no bound, so the bound is at the entry.
//! Every record that enters carries a token; when its last copy is dropped (the record was delivered,
//! dropped, filtered, or absorbed into state) the credit goes back to where it came from.
//!
//! Invariants: an operator never blocks on output; credit is per source and never shared between
//! sources; a link hands a token's return on to the sender's token. So waits follow the graph and
//! cannot close a circle. An epoch that was begun may always be finished: what waits for the epoch to
//! close must not keep the rest of it out.

use crate::id::{Epoch, GenerationId};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use timely::scheduling::SyncActivator;

/// How much work may be in flight per source, measured in time: what is beyond it only waits.
const WORK_MS: u64 = 200;
/// How often the pace is measured anew.
const PACE_WINDOW_US: u64 = 100_000;

/// The limits of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Never fewer than this many records: enough to keep every slot busy with one batch waiting.
    pub(crate) records_min: usize,
    /// Never more than this many records.
    pub(crate) records_max: usize,
    /// Never more than this many bytes, once one record is in.
    pub(crate) bytes_max: usize,
}

/// The credit of one source on one node; clones share it.
#[derive(Clone)]
pub(crate) struct Credit(Arc<Account>);

struct Account {
    limits: Limits,
    records: AtomicUsize,
    bytes: AtomicUsize,
    records_limit: AtomicUsize,
    returned: AtomicU64,
    starved: AtomicBool,
    wake: Mutex<Vec<(GenerationId, SyncActivator)>>,
    pace: Mutex<Pace>,
}

struct Pace {
    since_us: u64,
    returned: u64,
    open_epoch: Option<Epoch>,
}

impl Credit {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Account {
            limits,
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            records_limit: AtomicUsize::new(limits.records_min),
            returned: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            wake: Mutex::new(Vec::new()),
            pace: Mutex::new(Pace { since_us: 0, returned: 0, open_epoch: None }),
        }))
    }

    /// Takes credit for one record, unless none is left: then the activators given to
    /// [`Credit::wake_with`] are called as soon as some is.
    pub(crate) fn take(&self, epoch: Epoch, bytes: usize, now_us: u64) -> Option<Token> {
        let account = &*self.0;
        account.measure(now_us);
        let mut pace = account.pace.lock().unwrap_or_else(PoisonError::into_inner);
        // An epoch that was begun may be finished.
        if pace.open_epoch != Some(epoch) && !account.has_room(bytes) {
            account.starved.store(true, Ordering::SeqCst);
            // A token may have come back between the look and the mark; look again.
            if !account.has_room(bytes) {
                return None;
            }
        }
        pace.open_epoch = Some(epoch);
        account.records.fetch_add(1, Ordering::SeqCst);
        account.bytes.fetch_add(bytes, Ordering::SeqCst);
        Some(Token::holding(Permit { credit: self.0.clone(), bytes }))
    }

    /// Records in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.0.records.load(Ordering::SeqCst)
    }

    /// Registers a generation's operator, to be woken when credit returns after it ran out.
    pub(crate) fn wake_with(&self, generation: GenerationId, activator: SyncActivator) {
        self.0.wakers().push((generation, activator));
    }

    /// Forgets the operator of a generation that is through.
    pub(crate) fn forget(&self, generation: GenerationId) {
        self.0.wakers().retain(|(g, _)| *g != generation);
    }
}

impl Account {
    fn has_room(&self, bytes: usize) -> bool {
        let records = self.records.load(Ordering::SeqCst);
        let held = self.bytes.load(Ordering::SeqCst);
        records == 0
            || (records < self.records_limit.load(Ordering::Relaxed) && held + bytes <= self.limits.bytes_max)
    }

    /// Sets the limit to [`WORK_MS`] of what was completed lately.
    fn measure(&self, now_us: u64) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_us = now_us.saturating_sub(pace.since_us);
        if elapsed_us < PACE_WINDOW_US {
            return;
        }
        let returned = self.returned.load(Ordering::Relaxed);
        let worth = (returned - pace.returned).saturating_mul(WORK_MS * 1_000) / elapsed_us;
        (pace.since_us, pace.returned) = (now_us, returned);
        let limit = usize::try_from(worth).unwrap_or(usize::MAX);
        let limit = limit.clamp(self.limits.records_min, self.limits.records_max);
        self.records_limit.store(limit, Ordering::Relaxed);
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<(GenerationId, SyncActivator)>> {
        self.wake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, bytes: usize) {
        self.records.fetch_sub(1, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.returned.fetch_add(1, Ordering::Relaxed);
        if self.starved.swap(false, Ordering::SeqCst) {
            // An activation fails only once its worker is gone, and then nobody waits.
            self.wakers().iter().for_each(|(_, activator)| _ = activator.activate());
        }
    }
}

/// A share of some credit; the last copy dropped gives it back. The default is worth nothing.
#[derive(Clone, Default)]
pub(crate) struct Token(Option<Arc<dyn Return>>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Token" } else { "Token(none)" })
    }
}

impl Token {
    /// A token whose last copy drops `value`.
    pub(crate) fn holding(value: impl Return + 'static) -> Self {
        Self(Some(Arc::new(value)))
    }
}

/// Something whose drop gives credit back.
pub(crate) trait Return: Send + Sync {}

struct Permit {
    credit: Arc<Account>,
    bytes: usize,
}

impl Return for Permit {}

impl Drop for Permit {
    fn drop(&mut self) {
        self.credit.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit() -> Credit {
        Credit::new(Limits { records_min: 2, records_max: 100, bytes_max: 1_000 })
    }

    #[test]
    fn runs_out_and_comes_back_with_the_last_copy() {
        let credit = credit();
        let a = credit.take(1, 10, 0).unwrap();
        let _b = credit.take(2, 10, 0).unwrap();
        assert!(credit.take(3, 10, 0).is_none());
        let copy = a.clone();
        drop(a);
        assert!(credit.take(3, 10, 0).is_none());
        drop(copy);
        assert!(credit.take(3, 10, 0).is_some());
    }

    #[test]
    fn an_epoch_that_was_begun_may_be_finished() {
        let credit = credit();
        let _held: Vec<_> = (0..2).map(|_| credit.take(5, 10, 0).unwrap()).collect();
        assert!(credit.take(5, 10, 0).is_some());
        assert!(credit.take(6, 10, 0).is_none());
    }

    #[test]
    fn a_record_larger_than_the_bound_enters_alone() {
        let credit = credit();
        let big = credit.take(1, 5_000, 0).unwrap();
        assert!(credit.take(2, 1, 0).is_none());
        drop(big);
        assert!(credit.take(2, 1, 0).is_some());
    }

    #[test]
    fn the_limit_follows_the_pace() {
        let credit = credit();
        for i in 0..500 {
            drop(credit.take(i, 1, i * 100).unwrap());
        }
        // 500 records in 100 ms: 200 ms are worth 1000, bounded by 100.
        let held: Vec<_> = (0..100).map_while(|i| credit.take(1_000 + i, 1, 100_000)).collect();
        assert_eq!(held.len(), 100);
        assert!(credit.take(2_000, 1, 100_000).is_none());
    }
}
