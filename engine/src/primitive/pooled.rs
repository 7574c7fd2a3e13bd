//! Stages on a pool of runners: the worker thread hands items over and never waits.

use std::rc::Rc;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::feeding::Feeding;
use super::guarded;
use super::trial::Trying;
use crate::id::Epoch;
use crate::pool::Pool;
use crate::record::{Batch, Data, Envelope};
use crate::runner::{Batching, Runners};
use crate::stage::{Build, Kind, Prepare, StageContext};
use crate::topology::{Stage, Stream};

impl<T: Data> Stream<T> {
    /// Runs each record's `input` on a pool of runners, and joins what comes back with the record.
    /// Records keep their order. A failure drops the record with its reason.
    pub fn pooled<R: Runners, U: Data>(
        &self,
        name: &str,
        runners: R,
        input: impl Fn(&T) -> R::In + Send + Sync + 'static,
        join: impl Fn(T, R::Out) -> U + Send + Sync + 'static,
    ) -> Stream<U> {
        let (runners, input, join) = (Arc::new(runners), Arc::new(input), Arc::new(join));
        let family = runners.family().map(str::to_owned);
        let trial = Trying { runners: runners.clone(), input: input.clone() };
        let prepare: Prepare = Arc::new(move |at| {
            let recipe = runners.resolve(at.assignment)?;
            Ok(Some(at.pool(at.assignment.slots_at(&at.shared.node), &recipe)?))
        });
        let build: Build = Arc::new(move |scope, mut inputs, context| {
            let (input, join, context) = (input.clone(), join.clone(), context.clone());
            let name = context.name.clone();
            inputs.remove(0).unary::<CapacityContainerBuilder<Vec<Batch>>, _, _, _>(
                Pipeline,
                &name,
                move |_, info| {
                    let wake = scope.worker().sync_activator_for(info.address.to_vec());
                    let alarm =
                        context.generation.local.timers.alarm(scope.activator_for(info.address.clone()));
                    context.generation.wake_with(scope.activator_for(info.address));
                    let pool = context.opened::<Pool<R::In, R::Out>>();
                    context.meter.slots(pool.slots());
                    let mut feeding =
                        Feeding::new(pool, Batching::of(&context.assignment()), wake, &context.meter);
                    let mut plan = context.generation.plan();
                    move |arriving, output| {
                        let newest = context.generation.plan();
                        if !Arc::ptr_eq(&plan, &newest) {
                            plan = newest;
                            feeding.set_batching(Batching::of(&context.assignment()));
                        }
                        let now_us = context.generation.local.shared.clock.now_us();
                        arriving.for_each(|capability, data| {
                            let capability =
                                Rc::new(capability.retain_least(0).expect("every message has a time"));
                            for envelope in data.drain(..).flat_map(Batch::get::<T>) {
                                take_in(&mut feeding, &capability, envelope, &*input, &context, now_us);
                            }
                        });
                        while let Some(batch) = feeding.pop() {
                            for ((capability, envelope), outcome) in batch {
                                if let Some(made) = finish(envelope, outcome, &*join, &context) {
                                    output.session(&*capability).give(Batch::of(vec![made]));
                                }
                            }
                        }
                        if let Some(at_us) = feeding.submit(context.generation.until().is_some(), now_us) {
                            alarm.set(at_us);
                        }
                    }
                },
            )
        });
        let mut stage = Stage::new(name, Kind::Pooled, vec![self.stage()], build).prepared_by(prepare);
        stage.family = family;
        stage.trial = Some(Arc::new(trial));
        self.topology().add(stage)
    }
}

/// A record that waits for its result, with the right to emit at its epoch.
type Companion<T> = (Rc<Capability<Epoch>>, Envelope<T>);

fn take_in<T, I: Send + 'static, O: Send + 'static>(
    feeding: &mut Feeding<Companion<T>, I, O>,
    capability: &Rc<Capability<Epoch>>,
    envelope: Envelope<T>,
    input: &impl Fn(&T) -> I,
    context: &StageContext,
    now_us: u64,
) {
    match guarded(|| Ok(input(&envelope.record))) {
        Ok(item) => feeding.push((capability.clone(), envelope), item, now_us),
        Err(failure) => context.dropped(0, &envelope.at, &failure),
    }
}

fn finish<T, O, U>(
    envelope: Envelope<T>,
    outcome: Result<O, crate::failure::Failure>,
    join: &impl Fn(T, O) -> U,
    context: &StageContext,
) -> Option<Envelope<U>> {
    let Envelope { epoch, at, record, token } = envelope;
    match outcome.and_then(|result| guarded(|| Ok(join(record, result)))) {
        Ok(record) => {
            context.received(0, 1);
            context.sent(1);
            Some(Envelope { epoch, at, record, token })
        }
        Err(failure) => {
            context.dropped(0, &at, &failure);
            None
        }
    }
}
