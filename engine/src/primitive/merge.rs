//! Several streams as one.

use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::Concatenate;
use timely::dataflow::operators::generic::Operator;

use crate::record::{Batch, Data};
use crate::stage::{Build, Erased, Kind, StageContext};
use crate::topology::{Stage, Stream};

impl<T: Data> Stream<T> {
    /// This stream and others as one. Order is kept within each; where it matters across them, the
    /// next stage with state restores it: of records that come from one, those of this stream are
    /// first, then those of the others in their order. At most 65,536 streams.
    pub fn merge<'a>(&self, name: &str, others: impl IntoIterator<Item = &'a Self>) -> Self
    where
        T: 'a,
    {
        let mut inputs = vec![self.stage()];
        inputs.extend(others.into_iter().map(Stream::stage));
        let build: Build = Arc::new(|scope, inputs, context| {
            let counted =
                inputs.into_iter().enumerate().map(|(i, input)| place::<T>(input, i, context.clone()));
            scope.concatenate(counted.collect::<Vec<_>>())
        });
        let mut stage = Stage::new(name, Kind::Stateless, inputs, build);
        stage.fan_outs = 1;
        self.topology().add(stage)
    }
}

/// Passes a stream on, counted at the edge it came by, each record in its stream's place.
fn place<T: Data>(input: Erased<'_>, index: usize, context: StageContext) -> Erased<'_> {
    let name = context.name.clone();
    input.unary::<CapacityContainerBuilder<Vec<Batch>>, _, _, _>(Pipeline, &name, move |_, _| {
        move |input, output| {
            input.for_each(|capability, data| {
                let mut session = output.session(&capability);
                for batch in data.drain(..) {
                    let mut records = batch.get::<T>();
                    records.iter_mut().for_each(|envelope| envelope.at = envelope.at.child(index));
                    context.received(index, records.len());
                    context.sent(records.len());
                    session.give(Batch::of(records));
                }
            });
        }
    })
}
