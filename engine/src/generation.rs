//! A generation: the running dataflow of one plan.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::ProbeHandle;
use timely::scheduling::Activator;

use crate::id::{Epoch, GenerationId, StageId};
use crate::local::Local;
use crate::plan::Plan;

/// What the operators of one generation on one node share.
pub(crate) struct Generation {
    pub(crate) id: GenerationId,
    /// Its plans, each with the epoch from which on it holds: the first one with 0, then what it was retuned to.
    plans: RefCell<Vec<(Epoch, Arc<Plan>)>>,
    /// The next one, while it is not decided.
    expected: RefCell<Option<(Epoch, Arc<Plan>)>>,
    /// The generation whose state this one takes over.
    pub(crate) previous: Option<GenerationId>,
    pub(crate) local: Rc<Local>,
    /// What `prepare` opened for each stage: entries, pools.
    pub(crate) opened: HashMap<StageId, Arc<dyn Any + Send + Sync>>,
    from: Cell<Option<Epoch>>,
    until: Cell<Option<Epoch>>,
    waiting: RefCell<Vec<Activator>>,
    by_stage: RefCell<HashMap<StageId, Activator>>,
    /// The frontiers behind this node's sinks.
    pub(crate) sinks: RefCell<Vec<Passed>>,
}

/// How far a sink has written.
pub(crate) struct Passed {
    pub(crate) sink: StageId,
    pub(crate) probe: ProbeHandle<Epoch>,
    /// What the ledger was told last.
    pub(crate) told: Option<Epoch>,
}

impl Generation {
    pub(crate) fn new(
        id: GenerationId,
        plan: Arc<Plan>,
        previous: Option<GenerationId>,
        local: Rc<Local>,
        opened: HashMap<StageId, Arc<dyn Any + Send + Sync>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            plans: RefCell::new(vec![(0, plan)]),
            expected: RefCell::default(),
            previous,
            local,
            opened,
            from: Cell::new(None),
            until: Cell::new(None),
            waiting: RefCell::default(),
            by_stage: RefCell::default(),
            sinks: RefCell::default(),
        })
    }

    /// The plan that an epoch goes by.
    pub(crate) fn plan_at(&self, epoch: Epoch) -> Arc<Plan> {
        let (plans, expected) = (self.plans.borrow(), self.expected.borrow());
        let newest = plans.iter().chain(expected.iter()).rfind(|(from, _)| *from <= epoch);
        newest.map(|(_, plan)| plan.clone()).expect("the first plan holds from the first epoch on")
    }

    /// A plan that will hold from an epoch on; no record from there on comes before that is decided. It takes the
    /// place of another that was expected.
    pub(crate) fn expect(&self, from: Epoch, plan: Arc<Plan>) {
        self.expected.replace(Some((from, plan)));
    }

    /// A plan holds from an epoch on, and nothing else is expected.
    pub(crate) fn retune(&self, from: Epoch, plan: Arc<Plan>) {
        self.expected.replace(None);
        let mut plans = self.plans.borrow_mut();
        match plans.last_mut().filter(|(newest, _)| *newest >= from) {
            // A new controller makes sure.
            Some((newest, held)) if *newest == from => *held = plan,
            Some(_) => return,
            None => plans.push((from, plan)),
        }
        drop(plans);
        self.wake();
    }

    /// The first epoch of the newest plan; 0 for the first plan.
    pub(crate) fn retuned(&self) -> Epoch {
        self.plans.borrow().last().map_or(0, |(from, _)| *from)
    }

    /// The newest plan: what does not depend on epochs goes by that.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        let plans = self.plans.borrow();
        plans.last().map(|(_, plan)| plan.clone()).expect("a generation begins with a plan")
    }

    /// The first epoch of this generation, once that is decided.
    pub(crate) fn from(&self) -> Option<Epoch> {
        self.from.get()
    }

    /// The first epoch of the next generation, once that is decided. With it set, an empty frontier
    /// means *freeze what is open*; without it, *flush*.
    pub(crate) fn until(&self) -> Option<Epoch> {
        self.until.get()
    }

    pub(crate) fn set_from(&self, epoch: Epoch) {
        self.from.set(Some(epoch));
        self.wake();
    }

    pub(crate) fn set_until(&self, epoch: Epoch) {
        self.until.set(Some(epoch));
        self.wake();
    }

    /// Registers an operator to be scheduled when `from` or `until` is set.
    pub(crate) fn wake_with(&self, activator: Activator) {
        self.waiting.borrow_mut().push(activator);
    }

    /// Registers the operator of a stage, which waits for its state or is asked for it.
    pub(crate) fn wakes_stage(&self, stage: StageId, activator: Activator) {
        self.by_stage.borrow_mut().insert(stage, activator);
    }

    /// Schedules a stage's operator: its state has arrived, or is wanted.
    pub(crate) fn wake_stage(&self, stage: StageId) {
        if let Some(activator) = self.by_stage.borrow().get(&stage) {
            activator.activate();
        }
    }

    fn wake(&self) {
        self.waiting.borrow().iter().for_each(Activator::activate);
    }
}
