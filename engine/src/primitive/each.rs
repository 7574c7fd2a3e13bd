//! Stateless stages: each record by itself, into none, one or several.

use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::{Emit, guarded};
use crate::failure::{Failure, Reason};
use crate::record::{Batch, Data, Envelope, FAN_OUT_MAX};
use crate::stage::{Build, Kind, StageContext};
use crate::topology::{Stage, Stream};

/// How many records one may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanOut {
    /// None or one: it keeps its place in the order.
    One,
    /// Up to 65,536, in order, at the place of the one. Four such stages may follow each other.
    Many,
}

impl<T: Data> Stream<T> {
    /// Applies `f` to each record. A failure drops the record with its reason; so does a panic.
    pub fn each<U: Data>(
        &self,
        name: &str,
        fan_out: FanOut,
        f: impl Fn(T, &mut Emit<U>) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Stream<U> {
        let f = Arc::new(f);
        let build: Build = Arc::new(move |_scope, mut inputs, context| {
            let (f, context) = (f.clone(), context.clone());
            let input = inputs.remove(0);
            let name = context.name.clone();
            input.unary::<CapacityContainerBuilder<Vec<Batch>>, _, _, _>(Pipeline, &name, move |_, _| {
                move |input, output| {
                    input.for_each(|capability, data| {
                        let mut session = output.session(&capability);
                        for batch in data.drain(..) {
                            let records =
                                context.meter.work(|| apply(&*f, fan_out, batch.get::<T>(), &context));
                            if !records.is_empty() {
                                context.sent(records.len());
                                session.give(Batch::of(records));
                            }
                        }
                    });
                }
            })
        });
        let mut stage = Stage::new(name, Kind::Stateless, vec![self.stage()], build);
        stage.fan_outs = u32::from(fan_out == FanOut::Many);
        self.topology().add(stage)
    }
}

fn apply<T, U>(
    f: &(impl Fn(T, &mut Emit<U>) -> Result<(), Failure> + ?Sized),
    fan_out: FanOut,
    records: Vec<Envelope<T>>,
    context: &StageContext,
) -> Vec<Envelope<U>> {
    let mut made = Vec::with_capacity(records.len());
    let mut emit = Emit::new();
    let mut done = 0;
    for Envelope { epoch, at, record, token } in records {
        let outcome = guarded(|| f(record, &mut emit)).and_then(|()| check(fan_out, emit.0.len()));
        if let Err(failure) = outcome {
            emit.0.clear();
            context.dropped(0, &at, &failure);
            continue;
        }
        done += 1;
        made.extend(emit.0.drain(..).enumerate().map(|(i, record)| {
            let at = if fan_out == FanOut::Many { at.child(i) } else { at.clone() };
            Envelope { epoch, at, record, token: token.clone() }
        }));
    }
    context.received(0, done);
    made
}

fn check(fan_out: FanOut, emitted: usize) -> Result<(), Failure> {
    let max = if fan_out == FanOut::Many { FAN_OUT_MAX } else { 1 };
    if emitted <= max {
        return Ok(());
    }
    Err(Failure::new(Reason::FAN_OUT, format!("one record became {emitted}, and at most {max} have a place")))
}
