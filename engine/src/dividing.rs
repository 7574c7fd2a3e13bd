//! A stream on its way to a split stage: each record to the node whose it is.

use std::rc::Rc;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Partition;

use crate::generation::Generation;
use crate::id::Epoch;
use crate::plan::Plan;
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

/// As many plans as records in flight may go by, mostly.
const PLANS_KEPT: usize = 2;

enum Router {
    ByPlace {
        generation: Rc<Generation>,
        stage: String,
        /// The turns of the plans that were needed last.
        turns: Vec<(Arc<Plan>, Vec<usize>)>,
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
                let plan = generation.plan_at(epoch);
                let turns = turns_of(turns, &plan, stage);
                batch.places().iter().map(|at| shares::turn_of(turns, epoch, at)).collect()
            }
        }
    }
}

/// The turns of a stage under a plan, made anew only if they are not among those kept.
fn turns_of<'a>(kept: &'a mut Vec<(Arc<Plan>, Vec<usize>)>, plan: &Arc<Plan>, stage: &str) -> &'a [usize] {
    let known = kept.iter().position(|(of, _)| Arc::ptr_eq(of, plan));
    let i = known.unwrap_or_else(|| {
        if kept.len() == PLANS_KEPT {
            kept.remove(0);
        }
        kept.push((plan.clone(), shares::turns(&plan.assignment(stage).shares)));
        kept.len() - 1
    });
    &kept[i].1
}
