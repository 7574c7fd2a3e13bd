//! What the parts of one node share: on every thread, and on its worker thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Clock;
use crate::entry::Entries;
use crate::handover::{Handover, PIECE_BYTES};
use crate::ledger::Ledger;
use crate::meter::Meters;
use crate::pool::Pools;
use crate::survey::Survey;
use crate::timer::Timers;

/// What a node's threads share.
pub(crate) struct Shared {
    pub(crate) node: String,
    pub(crate) clock: Clock,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) pools: Pools,
    pub(crate) entries: Entries,
    pub(crate) digest: Arc<crate::digest::Digest>,
    /// What watches the run, if it is profiled.
    pub(crate) survey: Option<Arc<Survey>>,
}

/// What a node's operators share; it never leaves the worker thread.
pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    pub(crate) timers: Timers,
    pub(crate) handover: RefCell<Handover>,
    pub(crate) meters: Meters,
}

impl Local {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        // States of simulated runs are small; so are pieces then, or none would be copied in several.
        let piece_bytes = if shared.clock.is_simulated() { 64 } else { PIECE_BYTES };
        let handover = RefCell::new(Handover::new(piece_bytes));
        let meters = Meters::new(&shared.clock);
        Rc::new(Self { shared, timers: Timers::default(), handover, meters })
    }
}
