//! Clients of the controller: who asks how the run stands, wants another plan, or wants it to end.

use std::sync::Arc;

use crossbeam::channel::Sender;

use super::books::Reader;
use super::{Controller, Request};
use crate::client::{ASK, ASKS, Ask, Overview, REPLIES, Reply, Status};
use crate::cutover::{Cut, Wish};
use crate::error::Result;
use crate::ledger::Books;
use crate::net::Member;
use crate::pilot::Piloted;
use crate::plan::Plan;
use crate::talk::Talk;

/// Clients that are heard at once.
const CLIENTS_MAX: usize = 16;
/// The wishes of clients are numbered from here.
const CLIENTS_WISHES: u64 = 1 << 32;

/// Who waits for a change of plan.
pub(super) enum Waiter {
    Here(Sender<Result<Cut>>),
    Client(Member),
    /// The pilot, with the number of its decision.
    Pilot(u64),
}

impl Controller {
    pub(super) fn client(&mut self, member: Member, is_here: bool) {
        if !is_here {
            self.clients.remove(&member);
            return;
        }
        if self.clients.len() >= CLIENTS_MAX {
            return tracing::error!(%member, "more clients than {CLIENTS_MAX} at once are not heard");
        }
        match Talk::open(&self.setting.links, &member, ASK, REPLIES, ASKS) {
            Ok(talk) => _ = self.clients.insert(member, talk),
            Err(error) => tracing::error!(%error, "a client cannot be talked to"),
        }
    }

    pub(super) fn hear_clients(&mut self) {
        let mut asked = Vec::new();
        self.clients.retain(|member, talk| match talk.hear() {
            Ok(ask) => {
                asked.extend(ask.map(|ask| (member.clone(), ask)));
                true
            }
            Err(_) => false,
        });
        asked.into_iter().for_each(|(member, ask)| self.asked(member, ask));
    }

    fn asked(&mut self, member: Member, ask: Ask) {
        match ask {
            Ask::Status => self.collect(Reader::Client(member), None),
            Ask::History => self.reply(&member, &Reply::History(self.changes.reports().to_vec())),
            Ask::Telemetry => self.reply(&member, &Reply::Telemetry(Box::new(self.overview()))),
            Ask::Decisions => {
                let decisions = self.decisions().map(<[Piloted]>::to_vec);
                self.reply(&member, &Reply::Decisions(decisions));
            }
            Ask::Order(order) => {
                let outcome = self.order(order);
                self.reply(&member, &Reply::Ordered(outcome));
            }
            Ask::Stop => {
                self.reply(&member, &Reply::Stopping);
                self.request(Request::Stop);
            }
            Ask::Apply(plan) => {
                if let Err(error) = self.may_run(&plan) {
                    return self.reply(&member, &Reply::Applied(Err(error)));
                }
                self.next_request += 1;
                let id = CLIENTS_WISHES + self.next_request;
                self.wish(Wish { id, plan: Arc::new(plan) }, Waiter::Client(member));
            }
        }
    }

    /// Whether a plan fits the topology and its nodes, and leaves sources where they are.
    pub(super) fn may_run(&self, plan: &Plan) -> Result<()> {
        plan.check(&self.setting.graph, &self.setting.nodes)?;
        let running = self.plans.values().next();
        running.map_or(Ok(()), |running| plan.check_sources(&self.setting.graph, running))
    }

    pub(super) fn reply(&self, client: &Member, reply: &Reply) {
        if let Some(talk) = self.clients.get(client) {
            talk.say(reply);
        }
    }

    pub(super) fn status(&self, books: &Books) -> Status {
        let Overview { topology, term, generation, plan, nodes, readings, .. } = self.overview();
        let telemetry = readings.into_iter().map(|(node, readings)| (node, readings.telemetry)).collect();
        Status { topology, term, generation, plan, nodes, ledger: books.accounts(), telemetry }
    }

    fn overview(&self) -> Overview {
        let generation = self.state.running();
        Overview {
            topology: self.setting.graph.name().to_owned(),
            term: self.term,
            now_us: self.now_us(),
            began_us: self.began_us,
            generation,
            plan: generation.and_then(|id| self.plans.get(&id)).map(|plan| (**plan).clone()),
            moving: self.state.moving(),
            nodes: self.setting.nodes.iter().map(|node| (node.clone(), self.reaches(node))).collect(),
            readings: self.setting.board.read(),
        }
    }

    fn reaches(&self, node: &str) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.gone_us.is_none())
    }

    pub(super) fn tell_outcome(&mut self, to: &Waiter, outcome: Result<Cut>) {
        match to {
            Waiter::Here(to) => _ = to.send(outcome),
            Waiter::Client(member) => self.reply(member, &Reply::Applied(outcome)),
            Waiter::Pilot(id) => self.tell_pilot(*id, &outcome),
        }
    }
}
