//! An edge that crosses nodes: an egress here, a link, an ingress there.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::{Operator, operator::source};

use crate::credit::{Return, Token};
use crate::generation::Generation;
use crate::id::Epoch;
use crate::near::{Body, Frame, Link, LinkKey};
use crate::record::Batch;
use crate::stage::{Decode, Erased};

/// Sends a stream over a link.
///
/// The records' tokens stay here until the other node is done with what came of them: so the credit
/// of a source bounds what is in flight on every node, and no second bound can block against it.
pub(crate) fn egress(stream: Erased<'_>, key: &LinkKey, generation: &Rc<Generation>) {
    let link = generation.local.shared.network.open(key);
    let mut sender = Sender::new(link);
    let generation = generation.clone();
    let scope = stream.scope();
    let name = format!("egress {} to {}", key.stage.0, key.to);
    stream.unary_frontier::<timely::container::CapacityContainerBuilder<Vec<Batch>>, _, _, _>(
        Pipeline,
        &name,
        move |capability, info| {
            sender.link.wake_sender(scope.worker().sync_activator_for(info.address.to_vec()));
            // Held until everything is acknowledged, so that the operator lives to see it.
            let mut alive = Some(capability);
            move |(input, frontier), _output| {
                sender.settle();
                input.for_each(|capability, data| {
                    let epoch = *capability.least().expect("every message has a time");
                    data.drain(..).for_each(|batch| sender.data(epoch, batch));
                });
                sender.frontier(frontier.frontier().as_option().copied(), generation.until());
                sender.push();
                if sender.is_done() {
                    alive = None;
                } else if let (Some(alive), Some(epoch)) = (&mut alive, frontier.frontier().as_option()) {
                    alive.downgrade(epoch);
                }
            }
        },
    );
}

struct Sender {
    link: Arc<Link>,
    seq: u64,
    unsent: VecDeque<Frame>,
    unacknowledged: HashMap<u64, Vec<Token>>,
    told: Option<Epoch>,
    ended: bool,
}

impl Sender {
    fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            seq: 0,
            unsent: VecDeque::new(),
            unacknowledged: HashMap::new(),
            told: None,
            ended: false,
        }
    }

    /// Returns the tokens of what the other node is done with.
    fn settle(&mut self) {
        while let Some(seq) = self.link.acknowledged() {
            self.unacknowledged.remove(&seq);
        }
    }

    fn data(&mut self, epoch: Epoch, mut batch: Batch) {
        let tokens = batch.take_tokens();
        match batch.encode() {
            Ok(records) => {
                self.unacknowledged.insert(self.seq, tokens);
                self.queue(Body::Data { epoch, records });
            }
            // The edge's books then stay open, which the run reports; user data that cannot be
            // encoded cannot cross a link.
            Err(error) => tracing::error!(%error, "records lost at a link"),
        }
    }

    fn frontier(&mut self, frontier: Option<Epoch>, until: Option<Epoch>) {
        match frontier {
            Some(epoch) if self.told.is_none_or(|told| told < epoch) => {
                self.told = Some(epoch);
                self.queue(Body::Frontier(epoch));
            }
            None if !self.ended => {
                self.ended = true;
                self.queue(until.map_or(Body::End, Body::Cut));
            }
            _ => {}
        }
    }

    fn queue(&mut self, body: Body) {
        self.unsent.push_back(Frame { seq: self.seq, body });
        self.seq += 1;
    }

    fn push(&mut self) {
        while let Some(frame) = self.unsent.pop_front() {
            if let Err(frame) = self.link.send(frame) {
                self.unsent.push_front(frame);
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.ended && self.unsent.is_empty() && self.unacknowledged.is_empty()
    }
}

/// Receives a stream from a link.
pub(crate) fn ingress<'s>(
    scope: Scope<'s, Epoch>,
    key: &LinkKey,
    decode: Decode,
    generation: &Rc<Generation>,
) -> Erased<'s> {
    let link = generation.local.shared.network.open(key);
    let generation = generation.clone();
    source(scope, &format!("ingress {} from {}", key.stage.0, key.from), move |capability, info| {
        link.wake_receiver(scope.worker().sync_activator_for(info.address.to_vec()));
        let mut capability = Some(capability);
        let mut expected = 0;
        move |output| {
            while let (Some(held), Some(frame)) = (&mut capability, link.receive()) {
                debug_assert_eq!(frame.seq, expected, "an in-memory link keeps order");
                expected += 1;
                match frame.body {
                    Body::Data { epoch, records } => {
                        let token = arrival_token(&link, frame.seq);
                        match decode(epoch, &records, &|| token.clone()) {
                            Ok(batch) => output.session(&held.delayed(&epoch)).give(batch),
                            Err(error) => tracing::error!(%error, "records lost at a link"),
                        }
                    }
                    Body::Frontier(epoch) => held.downgrade(&epoch),
                    Body::Cut(epoch) => {
                        generation.set_until(epoch);
                        capability = None;
                    }
                    Body::End => capability = None,
                }
            }
        }
    })
}

/// A token whose last copy acknowledges the frame it came in.
fn arrival_token(link: &Arc<Link>, seq: u64) -> Token {
    struct Acknowledge {
        link: Arc<Link>,
        seq: u64,
    }
    impl Return for Acknowledge {}
    impl Drop for Acknowledge {
        fn drop(&mut self) {
            self.link.acknowledge(self.seq);
        }
    }
    Token::holding(Acknowledge { link: link.clone(), seq })
}
