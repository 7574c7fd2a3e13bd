//! Pre-copy, as a node leads it: pieces of state go from its stages to their next homes before the cut.

use std::time::Duration;

use super::{Live, Part};
use crate::clock::micros;
use crate::error::Result;
use crate::message::{Prepare, Word};
use crate::stage::Kind;

/// How long a change waits for state to be copied; what is left then goes after the cut.
const COPY_MAX: Duration = Duration::from_secs(30);

impl Part {
    /// Asks stages that leave this node as a whole to copy their state, and keeps back until then that the next
    /// generation is ready.
    pub(super) fn ask_copies(&mut self, prepare: &Prepare) {
        if let Some((previous, before)) = &prepare.previous
            && let Some(old) = self.generations.get(previous)
        {
            for id in self.graph.ids().filter(|id| self.graph.stage(*id).kind == Kind::Keyed) {
                let name = &self.graph.stage(id).name;
                let (now, next) = (before.assignment(name), prepare.plan.assignment(name));
                let me = &self.shared.node;
                if now.nodes().eq([me]) && !next.is_split() && !next.is_on(me) {
                    self.local.handover.borrow_mut().ask_copy(*previous, id, prepare.generation);
                    old.generation.wake_stage(id);
                }
            }
        }
        if let Some(live) = self.generations.get_mut(&prepare.generation) {
            live.ready_by_us = Some(self.shared.clock.now_us() + micros(COPY_MAX));
        }
    }

    /// Sends what stages copy, and says that a generation is ready when all of it is there.
    pub(super) fn copy(&mut self) {
        let (now_us, reached) = (self.shared.clock.now_us(), self.reached());
        let mut said = Vec::new();
        for (id, live) in &self.generations {
            let Some(by_us) = live.ready_by_us else { continue };
            let sent = self.send_copies(live);
            let is_there = || self.local.handover.borrow().has_copied(*id) && live.movers.is_idle();
            match sent {
                Ok(()) if now_us < by_us && !is_there() => {}
                Ok(()) => said.push((*id, Word::Ready { generation: *id, reached })),
                Err(error) => said.push((*id, Word::Refused { generation: *id, error })),
            }
        }
        for (id, word) in said {
            if let Some(live) = self.generations.get_mut(&id) {
                live.ready_by_us = None;
            }
            self.words.push(word);
        }
    }

    fn send_copies(&self, live: &Live) -> Result<()> {
        let Some(previous) = live.generation.previous else { return Ok(()) };
        let mut handover = self.local.handover.borrow_mut();
        for stage in handover.copied(previous) {
            let plan = live.generation.plan();
            let home = plan.assignment(&self.graph.stage(stage).name).nodes().next().unwrap_or_default();
            if !live.movers.has_room(home) {
                continue;
            }
            if let Some(piece) = handover.take_copy(previous, stage) {
                live.movers.send_piece(home, stage, &piece?)?;
            }
            if let Some(old) = self.generations.get(&previous) {
                old.generation.wake_stage(stage);
            }
        }
        Ok(())
    }
}
