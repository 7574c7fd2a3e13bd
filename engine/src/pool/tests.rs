use std::collections::BTreeMap;

use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::Thread;
use timely::worker::Worker;

use super::*;
use crate::runner::Runner;

/// Doubles what it gets; fails on 7, panics on 11, and answers too little on 13.
struct Fussy;

impl Runner for Fussy {
    type In = u64;
    type Out = u64;

    fn run(&mut self, batch: Vec<u64>) -> Vec<Result<u64, Failure>> {
        assert!(!batch.contains(&11), "eleven");
        if batch.contains(&13) {
            return Vec::new();
        }
        let double = |n| if n == 7 { Err(Failure::new(Reason::FAILED, "seven")) } else { Ok(2 * n) };
        batch.into_iter().map(double).collect()
    }
}

fn recipe() -> Recipe<u64, u64> {
    Recipe { key: "fussy".into(), open: Arc::new(|| Ok(Box::new(Fussy) as _)) }
}

/// A stage that submits and collects; the worker is there to be woken.
struct Stage {
    pool: Arc<Pool<u64, u64>>,
    reply: Reply<u64>,
    done: Receiver<Done<u64>>,
}

impl Stage {
    fn new(pools: &Pools, slots: usize, clock: &Clock) -> Self {
        let imitation = pools.imitation("double", &Assignment::on("here"));
        let pool = pools.get_or_open(slots, &recipe(), clock, imitation).expect("it opens");
        let worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Thread::default()), None);
        let (done_sender, done) = bounded(64);
        let reply = Reply { done: done_sender, wake: Arc::new(worker.sync_activator_for(vec![0])) };
        Self { pool, reply, done }
    }

    fn submit(&self, items: Vec<u64>, urgent: bool) -> (u64, Begun) {
        let (id, begun) = (self.pool.next_id(), Begun::default());
        let job = Job { id, items, reply: self.reply.clone(), begun: begun.clone() };
        assert!(self.pool.submit(job, urgent).is_ok(), "the queue has room");
        (id, begun)
    }

    fn ids(&self) -> Vec<u64> {
        self.done.try_iter().map(|done| done.id).collect()
    }
}

fn slow() -> Pools {
    Pools::imitating(Some(Arc::new(|stage, assignment| {
        let slow = stage == "double" && assignment.node == "here";
        slow.then_some(Imitation { batch_us: 1_000, item_us: 100 })
    })))
}

#[test]
fn the_same_comes_back_from_threads_and_by_hand() {
    let batches: Vec<Vec<u64>> = (0..16_u64).map(|i| (i..i + 1 + i % 4).collect()).collect();
    let run = |clock: Clock| {
        let pools = Pools::default();
        let stage = Stage::new(&pools, 2, &clock);
        batches.iter().for_each(|batch| _ = stage.submit(batch.clone(), false));
        let mut outcomes = BTreeMap::new();
        while outcomes.len() < batches.len() {
            _ = pools.turn(clock.now_us());
            let Done { id, outcomes: of_batch, .. } =
                stage.done.recv_timeout(Duration::from_secs(60)).expect("an answer to every batch");
            outcomes.insert(id, format!("{of_batch:?}"));
        }
        outcomes
    };
    let by_hand = run(Clock::simulated());
    assert_eq!(run(Clock::real()), by_hand);
    assert!(by_hand.values().any(|outcome| outcome.contains("eleven")));
}

#[test]
fn by_hand_slots_work_beside_each_other_for_as_long_as_is_imitated() {
    let (clock, pools) = (Clock::simulated(), slow());
    let stage = Stage::new(&pools, 2, &clock);
    assert_eq!(pools.turn(clock.now_us()), None);
    let batches = [vec![1; 10], vec![2; 5], vec![3]];
    let [(long, _), (short, short_begun), (next, next_begun)] =
        batches.map(|batch| stage.submit(batch, false));
    assert_eq!(pools.turn(clock.now_us()), Some(1_500));
    assert_eq!((short_begun.at_us(), next_begun.at_us()), (Some(1), None), "two slots are taken");
    assert!(stage.ids().is_empty());
    clock.advance(Duration::from_micros(1_500));
    assert_eq!(pools.turn(clock.now_us()), Some(1_500), "one went back: the stages come first");
    assert_eq!(stage.ids(), [short]);
    assert_eq!(pools.turn(clock.now_us()), Some(2_000));
    clock.advance(Duration::from_micros(500));
    assert_eq!((pools.turn(clock.now_us()), stage.ids()), (Some(2_000), vec![long]));
    assert_eq!(pools.turn(clock.now_us()), Some(2_600));
    clock.advance(Duration::from_micros(600));
    assert_eq!((pools.turn(clock.now_us()), stage.ids()), (Some(2_600), vec![next]));
    assert_eq!(pools.turn(clock.now_us()), None);
}

#[test]
fn by_hand_what_is_urgent_goes_first_and_what_was_cancelled_never() {
    let (clock, pools) = (Clock::simulated(), Pools::default());
    let stage = Stage::new(&pools, 1, &clock);
    let (normal, _) = stage.submit(vec![1], false);
    stage.submit(vec![2], false).1.cancel();
    let (urgent, _) = stage.submit(vec![3], true);
    assert_eq!(pools.turn(clock.now_us()), Some(0));
    assert_eq!(stage.ids(), [urgent, normal]);
}

#[test]
fn by_hand_a_slot_that_was_given_up_on_is_lost_until_it_is_back() {
    let (clock, pools) = (Clock::simulated(), slow());
    let stage = Stage::new(&pools, 1, &clock);
    let (id, _) = stage.submit(vec![1], false);
    assert_eq!(pools.turn(clock.now_us()), Some(1_100));
    stage.pool.give_up(id);
    assert!(stage.pool.is_lost());
    clock.advance(Duration::from_micros(1_100));
    assert_eq!(pools.turn(clock.now_us()), Some(1_100));
    assert!(!stage.pool.is_lost());
}

#[test]
fn a_thread_takes_no_less_than_is_imitated() {
    let (clock, pools) = (Clock::real(), slow());
    let stage = Stage::new(&pools, 1, &clock);
    let (_, begun) = stage.submit(vec![1; 20], false);
    stage.done.recv_timeout(Duration::from_secs(60)).expect("an answer");
    let begun_us = begun.at_us().expect("it was begun");
    assert!(clock.now_us() >= begun_us + 3_000);
}

#[test]
fn a_pool_that_gave_way_to_a_larger_one_still_gets_its_turns() {
    let (clock, pools) = (Clock::simulated(), Pools::default());
    let (small, large) = (Stage::new(&pools, 1, &clock), Stage::new(&pools, 2, &clock));
    assert!(!Arc::ptr_eq(&small.pool, &large.pool));
    small.submit(vec![1], false);
    assert_eq!(pools.turn(clock.now_us()), Some(0));
    assert_eq!((small.ids(), large.ids()), (vec![0], vec![]));
    drop(small);
    assert_eq!(pools.turn(clock.now_us()), None);
}
