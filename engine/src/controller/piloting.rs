//! The pilot of a run, if it has one: when it begins, what it wishes, and how that went.

use std::sync::Arc;

use crossbeam::channel::Sender;

use super::clients::Waiter;
use super::{Controller, Phase};
use crate::cutover::{Cut, Wish};
use crate::error::{Error, ErrorKind, Result};
use crate::pilot::solver::Solver;
use crate::pilot::{Course, Order, Pilot, Piloted};

/// The wishes of pilots are numbered from here.
const PILOTS_WISHES: u64 = 1 << 48;

/// Somebody wants the run to be piloted.
pub(crate) struct Follow {
    pub(crate) course: Course,
    pub(crate) solver: Box<dyn Solver>,
    pub(crate) to: Sender<Result<()>>,
}

impl Controller {
    pub(super) fn follow(&mut self, follow: Follow) {
        if self.is_ending() || self.pilot.is_some() || self.embarking.is_some() {
            let message = "the run is piloted already, or it is ending";
            // Who asked may be gone.
            _ = follow.to.send(Err(Error::new(ErrorKind::Unavailable, message)));
            return;
        }
        self.embarking = Some(follow);
    }

    /// Has the pilot do what is due. One begins once a plan runs, and none is on its way.
    pub(super) fn steer(&mut self) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let now_us = self.now_us();
        self.embark();
        let wish = self.pilot.as_mut().and_then(|pilot| pilot.turn(now_us, &self.setting.board));
        let Some((id, plan)) = wish else { return };
        match self.may_run(&plan) {
            Ok(()) => self.wish(Wish { id: PILOTS_WISHES + id, plan: Arc::new(plan) }, Waiter::Pilot(id)),
            Err(error) => self.tell_outcome(&Waiter::Pilot(id), Err(error)),
        }
    }

    fn embark(&mut self) {
        let running = self.state.running().filter(|_| self.state.moving().is_none());
        let Some(plan) = running.and_then(|id| self.plans.get(&id)) else { return };
        let Some(Follow { course, solver, to }) = self.embarking.take() else { return };
        let pilot = Pilot::new(course, plan, solver);
        // Who asked may be gone.
        _ = to.send(pilot.as_ref().map(|_| ()).map_err(Error::again));
        self.pilot = pilot.ok();
    }

    /// What the pilot decided so far, if there is one.
    pub(crate) fn decisions(&self) -> Option<&[Piloted]> {
        self.pilot.as_ref().map(Pilot::history)
    }

    /// Tells the pilot what became of its wish.
    pub(super) fn tell_pilot(&mut self, id: u64, outcome: &Result<Cut>) {
        let now_us = self.now_us();
        if let Some(pilot) = &mut self.pilot {
            pilot.changed(id, outcome.as_ref().map(|_| ()), now_us);
        }
    }

    /// Somebody else has had a plan applied: the pilot is to know.
    pub(super) fn applied_by_hand(&mut self) {
        let now_us = self.now_us();
        let plan = self.state.running().and_then(|id| self.plans.get(&id));
        if let (Some(pilot), Some(plan)) = (&mut self.pilot, plan) {
            pilot.applied(plan, now_us);
        }
    }

    /// # Errors
    /// `Unavailable` if the run is not piloted.
    pub(super) fn order(&mut self, order: Order) -> Result<()> {
        let now_us = self.now_us();
        let unpiloted = || {
            Error::new(ErrorKind::Unavailable, "nobody pilots this run")
                .way_out("start it with --live, or `apply` a plan")
        };
        self.pilot.as_mut().ok_or_else(unpiloted)?.order(order, now_us);
        Ok(())
    }
}
