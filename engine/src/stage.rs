//! The contract between a stage and what runs it.
//!
//! A stage is compiled in two steps. `prepare` opens what it needs on a node (cameras, models, files)
//! on a helper thread, and may fail: then the change is aborted and nothing has happened. `build`
//! makes its operators on the worker thread and cannot fail.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::{Scope, Stream as TimelyStream};

use crate::clock::Clock;
use crate::credit::Token;
use crate::error::Result;
use crate::failure::Failure;
use crate::generation::Generation;
use crate::id::{Epoch, StageId};
use crate::ledger::Edge;
use crate::local::Shared;
use crate::meter::StageMeter;
use crate::plan::Assignment;
use crate::pool::Pool;
use crate::record::{Batch, Place};
use crate::runner::Recipe;

/// The one timely stream type; everything above it is typed by the builder.
pub(crate) type Erased<'scope> = TimelyStream<'scope, Epoch, Vec<Batch>>;

/// Makes a stage's operators.
pub(crate) type Build =
    Arc<dyn for<'s> Fn(Scope<'s, Epoch>, Vec<Erased<'s>>, &StageContext) -> Erased<'s> + Send + Sync>;

/// Opens what a stage needs on a node.
pub(crate) type Prepare = Arc<dyn Fn(&Preparation<'_>) -> Result<Option<Opened>> + Send + Sync>;

/// What a stage has open on a node: its pool, its lanes.
pub(crate) type Opened = Arc<dyn Any + Send + Sync>;

/// How the runners of a stage are tried outside of a run.
pub(crate) trait Trial: Send + Sync {
    /// As [`Runners::variants`](crate::runner::Runners::variants).
    fn variants(&self) -> Result<Vec<String>>;

    /// Opens one as assigned, to be tried on records that came to the stage.
    fn open(&self, assignment: &Assignment, records: Vec<Batch>) -> Result<Box<dyn Tried>>;
}

/// A runner that is being tried.
pub(crate) trait Tried {
    /// Has it run a batch of so many records, from record number `from` on and around; returns the microseconds that
    /// it took, or the first item's failure.
    fn call(&mut self, from: usize, items: usize, clock: &Clock) -> Result<u64, Failure>;
}

/// Reads a stage's output from a link's bytes.
pub(crate) type Decode = fn(Epoch, &[u8], &dyn Fn() -> Token) -> Result<Batch>;

/// How a stage treats its records, for placement and cut-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Records enter here.
    Source,
    /// Each record by itself.
    Stateless,
    /// Each record by itself, on a pool of runners.
    Pooled,
    /// State by key.
    Keyed,
    /// Incremental views; the maximal connected set of them moves as one.
    Relational,
    /// Records leave here.
    Sink,
}

/// Where `prepare` happens.
pub(crate) struct Preparation<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) stage: StageId,
    pub(crate) name: &'a str,
    pub(crate) assignment: &'a Assignment,
    /// Whether the run has begun before, with another plan.
    pub(crate) continues: bool,
}

impl Preparation<'_> {
    /// The pool of a recipe on this node, with at least this many slots.
    pub(crate) fn pool<I: Send + 'static, O: Send + 'static>(
        &self,
        slots: usize,
        recipe: &Recipe<I, O>,
    ) -> Result<Arc<Pool<I, O>>> {
        let pools = &self.shared.pools;
        pools.get_or_open(slots, recipe, &self.shared.clock, pools.imitation(self.name, self.assignment))
    }
}

/// Where `build` happens: one stage of one generation on one node.
#[derive(Clone)]
pub(crate) struct StageContext {
    pub(crate) stage: StageId,
    pub(crate) name: Rc<str>,
    pub(crate) generation: Rc<Generation>,
    pub(crate) inputs: Rc<[Arc<Edge>]>,
    pub(crate) outputs: Rc<[Arc<Edge>]>,
    pub(crate) meter: Rc<StageMeter>,
}

impl StageContext {
    /// What `prepare` opened, as what it is.
    pub(crate) fn opened<T: Send + Sync + 'static>(&self) -> Arc<T> {
        let opened = self.generation.opened.get(&self.stage).expect("prepare opened this stage on this node");
        opened.clone().downcast().expect("prepare and build of a stage agree on the type")
    }

    pub(crate) fn assignment(&self) -> Assignment {
        self.generation.plan().assignment(&self.name).clone()
    }

    /// Counts records on every outgoing edge.
    pub(crate) fn sent(&self, n: usize) {
        if n > 0 {
            self.outputs.iter().for_each(|edge| edge.sent(n));
            self.meter.items_out(n);
        }
    }

    /// Counts records that this stage has done with.
    pub(crate) fn received(&self, input: usize, n: usize) {
        self.inputs[input].received(n);
        self.meter.items_in(n);
    }

    /// Counts a record that this stage drops, with its reason.
    pub(crate) fn dropped(&self, input: usize, at: &Place, failure: &Failure) {
        self.meter.items_in(1);
        self.generation.local.shared.ledger.dropped(&self.inputs[input], at, failure);
    }
}
