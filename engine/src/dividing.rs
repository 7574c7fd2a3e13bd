//! A stream on its way to a split stage: each record to the node whose it is.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Partition;

use crate::generation::Generation;
use crate::id::Epoch;
use crate::record::Batch;
use crate::shares::{self, GROUPS, Groups};
use crate::stage::Erased;
use crate::topology::Stage;

/// The parts of a stream for each node of the split stage that it leads to, in the order of
/// [`Assignment::nodes`](crate::plan::Assignment::nodes).
pub(crate) fn divide<'s>(
    stream: Erased<'s>,
    consumer: &Stage,
    generation: &Rc<Generation>,
) -> Vec<Erased<'s>> {
    let parts = generation.plan().assignment(&consumer.name).shares.len() as u64;
    let mut router = Router::new(consumer, generation);
    let name = format!("shares of {}", consumer.name);
    let sorted =
        stream.unary::<CapacityContainerBuilder<Vec<(u64, Batch)>>, _, _, _>(Pipeline, &name, move |_, _| {
            move |input, output| {
                input.for_each(|capability, data| {
                    let epoch = *capability.least().expect("every message has a time");
                    let mut session = output.session(&capability);
                    for batch in data.drain(..) {
                        let of = router.parts(epoch, &batch);
                        for (part, batch) in batch.split(&of) {
                            session.give((part as u64, batch));
                        }
                    }
                });
            }
        });
    sorted.partition(parts, |part| part)
}

enum Router {
    ByPlace {
        generation: Rc<Generation>,
        stage: String,
        /// The turns from each epoch on, as far as the generation's plans are known.
        turns: Vec<(Epoch, Vec<usize>)>,
    },
    ByKey {
        groups: Groups,
        homes: Box<[usize; GROUPS]>,
    },
}

impl Router {
    fn new(consumer: &Stage, generation: &Rc<Generation>) -> Self {
        match &consumer.groups {
            Some(groups) => {
                let plan = generation.plan();
                let homes = Box::new(shares::homes(&plan.assignment(&consumer.name).shares));
                Self::ByKey { groups: groups.clone(), homes }
            }
            None => {
                let (generation, stage) = (generation.clone(), consumer.name.clone());
                Self::ByPlace { generation, stage, turns: Vec::new() }
            }
        }
    }

    /// The part of each record of a batch of an epoch.
    fn parts(&mut self, epoch: Epoch, batch: &Batch) -> Vec<usize> {
        match self {
            Self::ByKey { groups, homes } => {
                groups(batch).into_iter().map(|group| homes[usize::from(group)]).collect()
            }
            Self::ByPlace { generation, stage, turns } => {
                for (from, plan) in generation.plans().iter().skip(turns.len()) {
                    turns.push((*from, shares::turns(&plan.assignment(stage).shares)));
                }
                let (_, turns) = turns
                    .iter()
                    .rfind(|(from, _)| *from <= epoch)
                    .expect("a generation's first plan holds from the first epoch on");
                batch.places().iter().map(|at| shares::turn_of(turns, epoch, at)).collect()
            }
        }
    }
}
