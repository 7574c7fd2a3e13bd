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
    /// next stage with state restores it.
    pub fn merge<'a>(&self, name: &str, others: impl IntoIterator<Item = &'a Self>) -> Self
    where
        T: 'a,
    {
        let mut inputs = vec![self.stage()];
        inputs.extend(others.into_iter().map(Stream::stage));
        let build: Build = Arc::new(|scope, inputs, context| {
            let counted = inputs.into_iter().enumerate().map(|(i, input)| count(input, i, context.clone()));
            scope.concatenate(counted.collect::<Vec<_>>())
        });
        self.topology().add(Stage::new(name, Kind::Stateless, inputs, build))
    }
}

/// Passes a stream on, counted at the edge it came by.
fn count(input: Erased<'_>, index: usize, context: StageContext) -> Erased<'_> {
    let name = context.name.clone();
    input.unary::<CapacityContainerBuilder<Vec<Batch>>, _, _, _>(Pipeline, &name, move |_, _| {
        move |input, output| {
            input.for_each(|capability, data| {
                let n = data.iter().map(Batch::len).sum();
                context.received(index, n);
                context.sent(n);
                output.session(&capability).give_container(data);
            });
        }
    })
}
