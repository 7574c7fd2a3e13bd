//! What a slot of a pool holds.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::failure::Failure;
use crate::plan::Assignment;

/// Turns a batch of inputs into outputs; owned by one thread. It may open several model sessions.
pub trait Runner: Send {
    /// One input.
    type In: Send + 'static;
    /// One output.
    type Out: Send + 'static;

    /// Runs a batch. The result has one entry per input, in the same order; a failure concerns its
    /// own item alone.
    fn run(&mut self, batch: Vec<Self::In>) -> Vec<Result<Self::Out, Failure>>;

    /// A handle that makes a running [`Runner::run`] return soon with failures, if it can.
    fn interrupter(&self) -> Option<Interrupter> {
        None
    }
}

/// Makes a [`Runner::run`] in progress return soon; callable from any thread.
pub type Interrupter = Arc<dyn Fn() + Send + Sync>;

/// A runner, whatever it is.
pub type AnyRunner<I, O> = Box<dyn Runner<In = I, Out = O>>;

/// What a pooled stage runs: resolved per node when a plan is prepared.
pub trait Runners: Send + Sync + 'static {
    /// One input.
    type In: Send + 'static;
    /// One output.
    type Out: Send + 'static;

    /// The model family, if it is one.
    fn family(&self) -> Option<&str> {
        None
    }

    /// The variants that an assignment can ask for, the one it gets by default first; none if there is no choice.
    ///
    /// # Errors
    /// If they are not known: the family is missing, or wrong.
    fn variants(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// How to open the runners of an assignment.
    ///
    /// # Errors
    /// Says which variant or file is missing or wrong, and the way out.
    fn resolve(&self, assignment: &Assignment) -> Result<Recipe<Self::In, Self::Out>>;
}

/// How to fill a pool.
pub struct Recipe<I, O> {
    /// Pools are shared by key (the model's sha256, device and threads) on a node, and outlive generations.
    pub key: String,
    /// Opens and warms one runner; called once per slot, and again after one panicked.
    pub open: Arc<dyn Fn() -> Result<AnyRunner<I, O>> + Send + Sync>,
}

/// How long a batch takes at least: it makes a node as slow as another one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imitation {
    /// Microseconds of every batch.
    pub batch_us: u64,
    /// Microseconds of every item on top.
    pub item_us: u64,
}

impl Imitation {
    /// Microseconds that a batch of so many items takes at least.
    #[must_use]
    pub fn of(self, items: usize) -> u64 {
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        self.batch_us.saturating_add(self.item_us.saturating_mul(items))
    }
}

/// What to imitate on a node: by the name of a stage, and how it is assigned there.
pub type Imitate = Arc<dyn Fn(&str, &Assignment) -> Option<Imitation> + Send + Sync>;

/// The batching of a pooled stage, from its assignment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    pub(crate) items_max: usize,
    pub(crate) deadline: Duration,
    pub(crate) timeout: Duration,
}

impl Batching {
    pub(crate) fn of(assignment: &Assignment) -> Self {
        Self {
            items_max: assignment.batch_max,
            deadline: Duration::from_millis(assignment.batch_deadline_ms),
            timeout: Duration::from_millis(assignment.timeout_ms),
        }
    }
}
