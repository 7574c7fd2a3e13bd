//! State by key: the driver of stateful stages and windows.
//!
//! The driver owns order, time and the hand-over; a [`Logic`] owns what a record does to the state of
//! its key. **Contract:** the driver calls `record` in the order (epoch, lane, number, position), each
//! epoch only once it is complete; before a record of epoch `e` it has called `close` for every key
//! that was due at or before `e`. At a cut it stops in mid-state and hands the state over; at the end
//! of the stream it closes everything that is due at any time. So neither batching nor cuts nor the
//! interleaving of inputs can be seen in the results. What several keys emit at one close stands in the order of the
//! keys, wherever their states are: so neither can a split of the keys over nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::copied::Copied;
use super::each::FanOut;
use super::frozen::Frozen;
use super::reorder::Reorder;
use super::{Emit, guarded};
use crate::failure::Failure;
use crate::id::Epoch;
use crate::record::{Batch, Data, Envelope, OrderedKey, Place};
use crate::shares::{self, Groups};
use crate::stage::{Build, Kind, StageContext};
use crate::topology::{Stage, Stream};

/// What records are keyed by. Equal keys have equal postcard bytes, whatever the machine.
pub trait Key: Data + Ord {}
impl<K: Data + Ord> Key for K {}

/// What a keyed stage does with the state of a key.
pub trait Logic<K, T>: Send + Sync + 'static {
    /// The state of one key; it starts from its default.
    type State: Data + Default;
    /// What the stage emits.
    type Out: Data;
    /// How many records one record may become.
    const FAN_OUT: FanOut;

    /// Takes a record in.
    ///
    /// # Errors
    /// The record is dropped with the failure's reason, and nothing is emitted for it.
    fn record(
        &self,
        key: &K,
        state: &mut Self::State,
        epoch: Epoch,
        record: T,
        emit: &mut Emit<Self::Out>,
    ) -> Result<(), Failure>;

    /// When the state wants [`Logic::close`], if ever: an epoch after every record it has seen.
    fn due(&self, _state: &Self::State) -> Option<Epoch> {
        None
    }

    /// Everything before `upto` has been seen. What is emitted has the epoch `upto - 1`. Returns
    /// whether to keep the state.
    fn close(&self, _key: &K, _state: &mut Self::State, _upto: Epoch, _emit: &mut Emit<Self::Out>) -> bool {
        true
    }
}

/// A stream with a key.
pub struct Keyed<K, T> {
    stream: Stream<T>,
    key: Arc<dyn Fn(&T) -> K + Send + Sync>,
}

impl<T: Data> Stream<T> {
    /// This stream, by key.
    pub fn keyed<K: Key>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Keyed<K, T> {
        Keyed { stream: self.clone(), key: Arc::new(key) }
    }
}

/// A record of one of two streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side<L, R> {
    /// Of the stream that was asked.
    Left(L),
    /// Of the other one.
    Right(R),
}

impl<K: Key, L: Data> Keyed<K, L> {
    /// This stream and another one by the same key, as one: what a join is a [`Logic`] on. Within an
    /// epoch and place, left comes before right. It adds three stages, `NAME-left`, `NAME-right` and
    /// `NAME-both`.
    pub fn together<R: Data>(&self, name: &str, other: &Keyed<K, R>) -> Keyed<K, Side<L, R>> {
        let left = self.stream.each(&format!("{name}-left"), FanOut::One, |record, emit| {
            emit.push(Side::Left(record));
            Ok(())
        });
        let right = other.stream.each(&format!("{name}-right"), FanOut::One, |record, emit| {
            emit.push(Side::Right(record));
            Ok(())
        });
        let (left_key, right_key) = (self.key.clone(), other.key.clone());
        left.merge(&format!("{name}-both"), [&right]).keyed(move |side| match side {
            Side::Left(record) => left_key(record),
            Side::Right(record) => right_key(record),
        })
    }
}

impl<K: Key, T: Data> Keyed<K, T> {
    /// The stream itself.
    pub(crate) fn stream(&self) -> &Stream<T> {
        &self.stream
    }

    /// A stage with state by key.
    pub fn logic<L: Logic<K, T>>(&self, name: &str, logic: L) -> Stream<L::Out> {
        let (key, logic) = (self.key.clone(), Arc::new(logic));
        let build: Build = Arc::new(move |scope, mut inputs, context| {
            let mut driver = Driver::new(key.clone(), logic.clone(), context.clone());
            let name = context.name.clone();
            inputs.remove(0).unary_frontier::<CapacityContainerBuilder<Vec<Batch>>, _, _, _>(
                Pipeline,
                &name,
                move |capability, info| {
                    let activator = scope.activator_for(info.address);
                    driver.context.generation.wakes_stage(driver.context.stage, activator);
                    let mut held = Some(capability);
                    move |(input, frontier), output| {
                        input.for_each(|_, data| data.drain(..).for_each(|b| driver.waiting.push(b.get())));
                        let frontier = frontier.frontier().as_option().copied();
                        driver.run(frontier, &mut held, &mut |capability, records| {
                            output.session(capability).give(Batch::of(records));
                        });
                    }
                },
            )
        });
        let key = self.key.clone();
        let groups: Groups = Arc::new(move |batch| {
            let group = |record: &T| guarded(|| Ok(shares::group(&key(record))));
            // A record whose key panics goes somewhere all the same: there it is dropped, with its reason.
            batch.records::<T>().iter().map(|envelope| group(&envelope.record).unwrap_or(0)).collect()
        });
        let mut stage = Stage::new(name, Kind::Keyed, vec![self.stream.stage()], build);
        stage.groups = Some(groups);
        stage.fan_outs = u32::from(L::FAN_OUT == FanOut::Many);
        self.stream.topology().add(stage)
    }
}

/// Gives records of an epoch out.
type Give<'a, U> = dyn FnMut(&Capability<Epoch>, Vec<Envelope<U>>) + 'a;

struct Driver<K, T, L: Logic<K, T>> {
    key: Arc<dyn Fn(&T) -> K + Send + Sync>,
    logic: Arc<L>,
    context: StageContext,
    waiting: Reorder<T>,
    /// `None` until the previous generation has handed it over.
    states: Option<States<K, L::State>>,
    /// What of the states has come from other nodes before.
    early: Frozen<K, L::State, T>,
    /// What of the states the next generation has already.
    copied: Option<Copied<K>>,
    made: BTreeMap<Epoch, Vec<Envelope<L::Out>>>,
}

/// The states by key, and when each is due.
struct States<K, S> {
    by_key: BTreeMap<K, S>,
    due: BTreeSet<(Epoch, K)>,
}

impl<K: Key, T: Data, L: Logic<K, T>> Driver<K, T, L> {
    fn new(key: Arc<dyn Fn(&T) -> K + Send + Sync>, logic: Arc<L>, context: StageContext) -> Self {
        let (waiting, states, early, copied, made) = Default::default();
        Self { key, logic, context, waiting, states, early, copied, made }
    }

    /// Works up to the frontier, or to the cut, and gives out what came of it.
    fn run(
        &mut self,
        frontier: Option<Epoch>,
        held: &mut Option<Capability<Epoch>>,
        give: &mut Give<'_, L::Out>,
    ) {
        let Some(capability) = held else { return };
        if self.states.is_none() {
            self.states = self.thaw();
        }
        let Some(mut states) = self.states.take() else { return };
        let open = frontier.or(self.context.generation.until()).unwrap_or(Epoch::MAX);
        let meter = self.context.meter.clone();
        while let Some((epoch, records)) = self.waiting.pop_below(open) {
            meter.work(|| {
                self.close_due(&mut states, epoch);
                records.into_iter().for_each(|envelope| self.record(&mut states, envelope));
            });
        }
        self.close_due(&mut states, open);
        for (epoch, records) in std::mem::take(&mut self.made) {
            self.context.sent(records.len());
            give(&capability.delayed(&epoch), records);
        }
        match frontier {
            Some(epoch) => {
                capability.downgrade(&epoch);
                self.copy(&states);
                self.states = Some(states);
            }
            None => {
                *held = None;
                self.offer(states);
            }
        }
    }

    /// Copies a piece of the states for the next generation, if it wants one.
    fn copy(&mut self, states: &States<K, L::State>) {
        let (generation, stage) = (&self.context.generation, self.context.stage);
        let mut handover = generation.local.handover.borrow_mut();
        let to = handover.copies_for(generation.id, stage);
        if self.copied.as_ref().map(|copied| copied.to) != to {
            // Also if that was aborted: nobody needs to know any more what has been touched.
            self.copied = to.map(Copied::new);
        }
        if let Some(copied) = &mut self.copied
            && handover.wants_copy(generation.id, stage)
        {
            let piece = copied.piece(&states.by_key, handover.piece_bytes);
            handover.copy(generation.id, stage, piece);
        }
    }

    /// Hands the states over, frozen.
    fn offer(&mut self, states: States<K, L::State>) {
        let (generation, stage) = (&self.context.generation, self.context.stage);
        let mut handover = generation.local.handover.borrow_mut();
        let to = handover.copies_for(generation.id, stage);
        // What was copied for a generation that never came to be is of no use.
        let copied = self.copied.take().filter(|copied| Some(copied.to) == to);
        let frozen = Frozen { by_key: states.by_key, waiting: std::mem::take(&mut self.waiting), copied };
        handover.offer(generation.id, stage, Box::new(frozen));
    }

    fn record(&mut self, states: &mut States<K, L::State>, envelope: Envelope<T>) {
        let Envelope { epoch, at, record, token } = envelope;
        let (logic, mut emit) = (&self.logic, Emit::new());
        let key = guarded(|| Ok((self.key)(&record)));
        let outcome = key.and_then(|key| {
            let state = states.by_key.entry(key.clone()).or_default();
            let due = logic.due(state);
            let outcome = guarded(|| logic.record(&key, state, epoch, record, &mut emit));
            if let Some(copied) = &mut self.copied {
                copied.touch(&key);
            }
            // Even what a panic left half done is due at some time.
            let due_now = logic.due(state);
            if due != due_now {
                due.map(|due| states.due.remove(&(due, key.clone())));
                due_now.map(|due| states.due.insert((due, key)));
            }
            outcome
        });
        match outcome {
            Ok(()) => {
                self.context.received(0, 1);
                let place = |i| if L::FAN_OUT == FanOut::Many { at.child(i) } else { at.clone() };
                let envelopes = emit.0.into_iter().enumerate();
                let envelopes = envelopes.map(|(i, record)| Envelope {
                    epoch,
                    at: place(i),
                    record,
                    token: token.clone(),
                });
                self.made.entry(epoch).or_default().extend(envelopes);
            }
            Err(failure) => self.context.dropped(0, &at, &failure),
        }
    }

    /// Closes every state that is due at or before `upto`, in the order of time and key.
    fn close_due(&mut self, states: &mut States<K, L::State>, upto: Epoch) {
        while states.due.first().is_some_and(|(due, _)| *due <= upto) {
            let Some((due, key)) = states.due.pop_first() else { return };
            let place = OrderedKey::of(&key);
            let Some(state) = states.by_key.get_mut(&key) else { continue };
            if let Some(copied) = &mut self.copied {
                copied.touch(&key);
            }
            let mut emit = Emit::new();
            let keep = guarded(|| Ok(self.logic.close(&key, state, due, &mut emit)));
            let keep = keep.unwrap_or_else(|failure| {
                tracing::error!(stage = &*self.context.name, %failure, "a state was dropped when it was closed");
                false
            });
            match self.logic.due(state).filter(|_| keep) {
                Some(next) if next > due => _ = states.due.insert((next, key)),
                _ if keep => {}
                _ => _ = states.by_key.remove(&key),
            }
            let made = self.made.entry(due - 1).or_default();
            for (i, record) in emit.0.into_iter().enumerate() {
                let at = Place::of_key(place.clone(), i);
                made.push(Envelope { epoch: due - 1, at, record, token: Default::default() });
            }
        }
    }

    /// The state this generation starts from, once it is there.
    fn thaw(&mut self) -> Option<States<K, L::State>> {
        let (generation, stage) = (&self.context.generation, self.context.stage);
        let mut frozen = std::mem::take(&mut self.early);
        if generation.previous.is_some() {
            let mut handover = generation.local.handover.borrow_mut();
            let pieces = handover.take_pieces(generation.id, stage);
            let arrivals = handover.take(generation.id, stage);
            drop(handover);
            let is_whole = arrivals.is_some();
            let read = frozen.read(&pieces).and_then(|()| frozen.take_in(arrivals.unwrap_or_default()));
            if let Err(error) = read {
                tracing::error!(stage = &*self.context.name, %error, "state lost in the hand-over");
            }
            if !is_whole {
                self.early = frozen;
                return None;
            }
        }
        self.waiting.absorb(frozen.waiting);
        let by_key = frozen.by_key;
        let due = by_key.iter().filter_map(|(k, s)| Some((self.logic.due(s)?, k.clone()))).collect();
        Some(States { by_key, due })
    }
}
