//! Where streams end: records in order, on a thread of their own.
//!
//! What a sink gets of the new generation is held until the old one has written everything below the
//! cut, and has handed over what waits for epochs beyond it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, Probe};

use super::feeding::Feeding;
use super::frozen::Frozen;
use super::guarded;
use super::reorder::Reorder;
use crate::clock::Clock;
use crate::digest::Digest;
use crate::failure::Failure;
use crate::generation::Passed;
use crate::id::{Epoch, StageId};
use crate::ledger::Ledger;
use crate::pool::Pool;
use crate::record::{Batch, Data, Envelope};
use crate::runner::{AnyRunner, Batching, Recipe, Runner};
use crate::sink::{Sink, Writer};
use crate::stage::{Build, Kind, Prepare, StageContext};
use crate::survey::Survey;
use crate::topology::{Stage, Stream};

/// Records per hand-over to the writer's thread, at most.
const RECORDS_MAX: usize = 32;
/// How long writing that many may take before they are given up on.
const TIMEOUT: Duration = Duration::from_secs(600);

impl<T: Data> Stream<T> {
    /// Ends the stream in a sink. Records arrive there in the order of the run.
    pub fn sink(&self, name: &str, sink: impl Sink<Record = T>) {
        let sink = Arc::new(sink);
        let prepare: Prepare = Arc::new(move |at| {
            let (sink, digest, name) = (sink.clone(), at.shared.digest.clone(), at.name.to_owned());
            let ledger = at.shared.ledger.clone();
            let watched = at.shared.survey.clone().map(|survey| (survey, at.stage, at.shared.clock.clone()));
            let begun = AtomicBool::new(at.continues);
            let open = move || {
                let writer = if begun.swap(true, Ordering::Relaxed) { sink.reopen() } else { sink.open() };
                let writer = writer.map_err(|e| e.at(format!("sink \"{name}\"")))?;
                let (name, digest, ledger) = (name.clone(), digest.clone(), ledger.clone());
                let watched = watched.clone();
                Ok(Box::new(Writing { name, digest, ledger, writer, watched }) as AnyRunner<_, _>)
            };
            let recipe = Recipe { key: format!("sink {}", at.name), open: Arc::new(open) };
            let pool: Arc<Pool<(Epoch, T), ()>> = at.pool(1, &recipe)?;
            Ok(Some(pool))
        });
        let build: Build = Arc::new(|scope, mut inputs, context| {
            let (context, name) = (context.clone(), context.name.clone());
            let written = inputs.remove(0).unary_frontier::<CapacityContainerBuilder<Vec<Batch>>, _, _, _>(
                Pipeline,
                &name,
                |capability, info| {
                    let wake = scope.worker().sync_activator_for(info.address.to_vec());
                    let alarm =
                        context.generation.local.timers.alarm(scope.activator_for(info.address.clone()));
                    context.generation.wakes_stage(context.stage, scope.activator_for(info.address));
                    let mut ending = Ending::<T>::new(context.clone(), capability, wake);
                    move |(input, frontier), _output| {
                        input.for_each(|_, data| data.drain(..).for_each(|b| ending.waiting.push(b.get())));
                        if let Some(at_us) = ending.run(frontier.frontier().as_option().copied()) {
                            alarm.set(at_us);
                        }
                    }
                },
            );
            let (probe, written) = written.probe();
            context.generation.sinks.borrow_mut().push(Passed { sink: context.stage, probe, told: None });
            written
        });
        let stage = Stage::new(name, Kind::Sink, vec![self.stage()], build).prepared_by(prepare);
        self.topology().add::<()>(stage);
    }
}

/// One sink of one generation.
struct Ending<T> {
    context: StageContext,
    waiting: Reorder<T>,
    feeding: Feeding<Envelope<()>, (Epoch, T), ()>,
    held: Option<Capability<Epoch>>,
    may_write: bool,
}

impl<T: Data> Ending<T> {
    fn new(context: StageContext, held: Capability<Epoch>, wake: timely::scheduling::SyncActivator) -> Self {
        let batching = Batching { items_max: RECORDS_MAX, deadline: Duration::ZERO, timeout: TIMEOUT };
        let feeding = Feeding::new(context.opened::<Pool<(Epoch, T), ()>>(), batching, wake, &context.meter);
        let may_write = context.generation.previous.is_none();
        Self { context, waiting: Reorder::default(), feeding, held: Some(held), may_write }
    }

    /// Writes what is complete; returns when to look again.
    fn run(&mut self, frontier: Option<Epoch>) -> Option<u64> {
        self.held.as_ref()?;
        let generation = self.context.generation.clone();
        if !self.may_write {
            let arrival = generation.local.handover.borrow_mut().take(generation.id, self.context.stage)?;
            self.may_write = true;
            let mut frozen = Frozen::<(), (), T>::default();
            if let Err(error) = frozen.take_in(arrival) {
                tracing::error!(sink = &*self.context.name, %error, "records lost in the hand-over");
            }
            self.waiting.absorb(frozen.waiting);
        }
        let now_us = generation.local.shared.clock.now_us();
        let open = frontier.or(generation.until()).unwrap_or(Epoch::MAX);
        while let Some((epoch, records)) = self.waiting.pop_below(open) {
            generation.local.shared.ledger.sink_writes(self.context.stage, epoch, records.len());
            for Envelope { at, record, token, .. } in records {
                self.feeding.push(Envelope { epoch, at, record: (), token }, (epoch, record), now_us);
            }
        }
        while let Some(batch) = self.feeding.pop() {
            for (envelope, outcome) in batch {
                match outcome {
                    Ok(()) => self.context.received(0, 1),
                    Err(failure) => self.context.dropped(0, &envelope.at, &failure),
                }
            }
        }
        // Never urgent: an urgent batch overtakes those of this sink that wait already, and no other
        // generation's wait beside them.
        let again_us = self.feeding.submit(false, now_us);
        self.settle(frontier);
        again_us
    }

    /// Lets go of the epochs that are written.
    fn settle(&mut self, frontier: Option<Epoch>) {
        let oldest = self.feeding.oldest().map(|envelope| envelope.epoch);
        match (oldest.or(frontier), &mut self.held) {
            (Some(epoch), Some(held)) => held.downgrade(&epoch),
            _ => {
                self.held = None;
                let generation = &self.context.generation;
                let left =
                    Frozen::<(), (), T> { waiting: std::mem::take(&mut self.waiting), ..Frozen::default() };
                generation.local.handover.borrow_mut().offer(
                    generation.id,
                    self.context.stage,
                    Box::new(left),
                );
            }
        }
    }
}

/// A writer as the runner of a pool with one slot.
struct Writing<T> {
    name: String,
    digest: Arc<Digest>,
    ledger: Arc<Ledger>,
    writer: Box<dyn Writer<Record = T>>,
    /// What watches the run, if anything does, and the clock to watch by.
    watched: Option<(Arc<Survey>, StageId, Clock)>,
}

impl<T> Drop for Writing<T> {
    fn drop(&mut self) {
        if let Err(failure) = guarded(|| self.writer.close()) {
            self.ledger.fault_of_sink(format!("sink {:?}: {failure}", self.name));
        }
    }
}

impl<T: Data> Runner for Writing<T> {
    type In = (Epoch, T);
    type Out = ();

    fn run(&mut self, batch: Vec<(Epoch, T)>) -> Vec<Result<(), Failure>> {
        match self.watched.clone() {
            Some((survey, sink, clock)) => survey.at_work(sink, &clock, || self.write_all(batch)),
            None => self.write_all(batch),
        }
    }
}

impl<T: Data> Writing<T> {
    fn write_all(&mut self, batch: Vec<(Epoch, T)>) -> Vec<Result<(), Failure>> {
        let mut outcomes: Vec<_> =
            batch.into_iter().map(|(epoch, record)| self.write(epoch, record)).collect();
        if let Err(failure) = guarded(|| self.writer.flush()) {
            // What a failed flush took with it cannot be told apart; the last record stands for it.
            if let Some(last) = outcomes.last_mut() {
                *last = Err(failure);
            }
        }
        outcomes
    }

    /// A panic costs its record alone: opening the writer anew could cost what it holds back.
    fn write(&mut self, epoch: Epoch, record: T) -> Result<(), Failure> {
        let hash = Digest::hash(&self.name, epoch, &record);
        guarded(|| self.writer.write(epoch, record))?;
        self.digest.add(hash);
        Ok(())
    }
}
