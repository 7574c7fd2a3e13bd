//! Where streams begin: one operator per source, fed by its lanes.

use std::sync::Arc;

use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::source;

use crate::entry::{Entry, Gate, Low, Waiting};
use crate::id::Epoch;
use crate::record::{Batch, Data, Envelope, Place};
use crate::source::Source;
use crate::stage::{Build, Kind, Prepare, StageContext};
use crate::topology::{Stage, Stream, Topology};

/// How often a source that the clock moves closes an epoch while something is in flight, and while nothing is.
const TICK_US: u64 = 10_000;
const IDLE_TICK_US: u64 = 250_000;
/// Records per schedule, so that other operators get their turn.
const RECORDS_MAX: usize = 256;

impl Topology {
    /// Begins a stream at a source.
    pub fn source<S: Source>(&self, name: &str, from: S) -> Stream<S::Record> {
        let from = Arc::new(from);
        let prepare: Prepare = Arc::new(move |at| {
            let shared = at.shared;
            shared.entries.get_or_open(at.stage, at.name, &from, &shared.clock, &shared.ledger).map(Some)
        });
        let build: Build = Arc::new(|scope, _inputs, context| {
            let context = context.clone();
            let name = context.name.clone();
            source(scope, &name, move |capability, info| {
                let entry = context.opened::<Entry<S::Record>>();
                let wake = || scope.worker().sync_activator_for(info.address.to_vec());
                entry.credit.wake_with(context.generation.id, wake());
                entry.doors().wake_with(context.generation.id, wake());
                let again = scope.activator_for(info.address.clone());
                context.generation.wake_with(scope.activator_for(info.address.clone()));
                let alarm = context.generation.local.timers.alarm(scope.activator_for(info.address));
                let mut taking = Taking { entry, context, held: Some(capability), started: false };
                move |output| {
                    let (records, next) = taking.run(&mut |capability, record| {
                        output.session(capability).give(Batch::of(vec![record]));
                    });
                    taking.context.sent(records);
                    match next {
                        Next::Now => again.activate(),
                        Next::At(at_us) => alarm.set(at_us),
                        Next::Woken => {}
                    }
                }
            })
        });
        self.add(Stage::new(name, Kind::Source, Vec::new(), build).prepared_by(prepare))
    }
}

/// When the operator wants its next turn.
enum Next {
    Now,
    At(u64),
    Woken,
}

/// One source of one generation.
struct Taking<T> {
    entry: Arc<Entry<T>>,
    context: StageContext,
    held: Option<Capability<Epoch>>,
    started: bool,
}

impl<T: Data> Taking<T> {
    /// Takes what may enter, and closes what is past; returns how much entered.
    fn run(&mut self, give: &mut dyn FnMut(&Capability<Epoch>, Envelope<T>)) -> (usize, Next) {
        let (Some(capability), Some(from)) = (&mut self.held, self.context.generation.from()) else {
            return (0, Next::Woken);
        };
        if !self.started {
            self.started = true;
            capability.downgrade(&from);
        }
        self.entry.doors().hunger();
        let limit = self.limit();
        let mut taken = 0;
        while taken < RECORDS_MAX {
            let round = self.take_round(from, limit, give);
            taken += round;
            if round == 0 {
                break;
            }
        }
        self.close(from, limit);
        let next = if taken >= RECORDS_MAX { Next::Now } else { self.tick() };
        (taken, next)
    }

    /// The first epoch that this generation may not touch now.
    fn limit(&self) -> Epoch {
        let until = self.context.generation.until().unwrap_or(Epoch::MAX);
        until.min(self.entry.doors().promise().unwrap_or(Epoch::MAX))
    }

    /// Takes at most one record of each lane. Lanes go in step: none runs ahead of the one that holds the
    /// frontier back, or it would spend the credit which that one needs.
    fn take_round(
        &mut self,
        from: Epoch,
        limit: Epoch,
        give: &mut dyn FnMut(&Capability<Epoch>, Envelope<T>),
    ) -> usize {
        let Some(capability) = &self.held else { return 0 };
        let now_us = self.context.generation.local.shared.clock.now_us();
        let lows: Vec<Low> = self.entry.lanes.iter().map(|lane| lane.low()).collect();
        let step = lows.iter().filter_map(|low| low.epoch).min().unwrap_or(Epoch::MAX);
        let mut taken = 0;
        for lane in &self.entry.lanes {
            let admit = |head: &Waiting<T>| {
                let mine = (from..limit).contains(&head.epoch) && head.epoch <= step;
                mine.then(|| self.entry.credit.take(head.epoch, head.bytes, now_us)).flatten()
            };
            if let Some((token, Waiting { epoch, number, record, .. })) = lane.take(admit) {
                self.entry.doors().reach(epoch + 1);
                let at = Place::of_source(lane.number, number);
                give(&capability.delayed(&epoch), Envelope { epoch, at, record, token });
                taken += 1;
            }
        }
        taken
    }

    /// Closes what is past, and ends at the cut or with the lanes.
    fn close(&mut self, from: Epoch, limit: Epoch) {
        let Some(capability) = &mut self.held else { return };
        let low = self.entry.lanes.iter().filter_map(|lane| lane.low().epoch).min();
        let frontier = low.map(|low| low.min(limit).max(from));
        let cut = self.context.generation.until();
        let Some(frontier) = frontier.filter(|frontier| cut.is_none_or(|cut| *frontier < cut)) else {
            self.held = None;
            self.entry.forget(self.context.generation.id);
            return;
        };
        if frontier > *capability.time() {
            self.entry.doors().reach(frontier);
            capability.downgrade(&frontier);
        }
    }

    fn tick(&self) -> Next {
        let lows: Vec<Low> = self.entry.lanes.iter().map(|lane| lane.low()).collect();
        if self.held.is_none() || !lows.iter().any(|low| low.clocked) {
            return Next::Woken;
        }
        let now_us = self.context.generation.local.shared.clock.now_us();
        let busy = self.entry.credit.in_flight() > 0 || lows.iter().any(|low| low.waiting);
        Next::At(now_us + if busy { TICK_US } else { IDLE_TICK_US })
    }
}
