//! An edge that crosses nodes: an egress here, a link, an ingress there.
//!
//! A frame carries records of an epoch, or says something of time. Frontiers are absolute and come after the
//! data they close. `Cut` is a change of plan (freeze), `End` the end of the stream (flush): confused, they
//! would emit open windows in halves.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::{Operator, operator::source};
use timely::scheduling::SyncActivator;

use crate::credit::{Return, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Failure, Reason};
use crate::generation::Generation;
use crate::id::{Epoch, GenerationId, StageId};
use crate::ledger::Edge;
use crate::link::{Draft, Receiver, Sender};
use crate::meter::LinkMeter;
use crate::net::Wake;
use crate::record::Batch;
use crate::stage::{Decode, Erased};

/// A link of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkKey {
    /// The stage whose output it is.
    pub(crate) stage: StageId,
    /// The split stage that it leads to; `None` if it leads to all the whole ones on the other node.
    pub(crate) part_of: Option<StageId>,
    pub(crate) from: String,
    pub(crate) to: String,
}

impl LinkKey {
    /// What it is called between its two members.
    pub(crate) fn channel(&self, generation: GenerationId) -> String {
        match self.part_of {
            None => format!("{generation}/{}", self.stage.0),
            Some(consumer) => format!("{generation}/{}.{}", self.stage.0, consumer.0),
        }
    }
}

/// What a frame says.
enum Body<'a> {
    /// Records of an epoch, as [`Batch::encode`] writes them.
    Data { epoch: Epoch, records: &'a [u8] },
    /// No record below this epoch will come.
    Frontier(Epoch),
    /// The generation ends here: freeze what is open, the next generation goes on at this epoch.
    Cut(Epoch),
    /// The stream ends: flush what is open.
    End,
}

const DATA: u8 = 0;
const FRONTIER: u8 = 1;
const CUT: u8 = 2;
const END: u8 = 3;

fn draft(tag: u8, epoch: Epoch) -> Draft {
    let mut draft = Draft::default();
    draft.payload().push(tag);
    draft.payload().extend_from_slice(&epoch.to_le_bytes());
    draft
}

fn read(payload: &[u8]) -> Result<Body<'_>> {
    let epoch = |bytes: Option<&[u8]>| bytes.and_then(|b| b.try_into().ok()).map(Epoch::from_le_bytes);
    let body = match (payload.first(), epoch(payload.get(1..9))) {
        (Some(&DATA), Some(epoch)) => Some(Body::Data { epoch, records: &payload[9..] }),
        (Some(&FRONTIER), Some(epoch)) => Some(Body::Frontier(epoch)),
        (Some(&CUT), Some(epoch)) => Some(Body::Cut(epoch)),
        (Some(&END), Some(_)) => Some(Body::End),
        _ => None,
    };
    body.ok_or_else(|| Error::new(ErrorKind::Corrupt, "a frame of a link makes no sense"))
}

/// Wakes an operator from any thread.
fn waking(activator: SyncActivator) -> Wake {
    // An activation fails only once its worker is gone, and then nobody waits.
    Arc::new(move || _ = activator.activate())
}

/// Sends a stream over a link.
///
/// The records' tokens stay here until the other node is done with what came of them: so the credit
/// of a source bounds what is in flight on every node, and no second bound can block against it. `edges` are
/// those that the link stands for: what cannot be sent is dropped on them.
pub(crate) fn egress(
    stream: Erased<'_>,
    key: &LinkKey,
    sender: Sender,
    edges: Vec<Arc<Edge>>,
    meter: Rc<LinkMeter>,
    generation: &Rc<Generation>,
) {
    let mut egress = Egress {
        sender,
        edges,
        meter,
        unsettled: HashMap::new(),
        told: None,
        ended: false,
        generation: generation.clone(),
    };
    let scope = stream.scope();
    let name = format!("egress {} to {}", key.stage.0, key.to);
    stream.unary_frontier::<timely::container::CapacityContainerBuilder<Vec<Batch>>, _, _, _>(
        Pipeline,
        &name,
        move |capability, info| {
            egress.sender.on_settled(waking(scope.worker().sync_activator_for(info.address.to_vec())));
            // Held until everything is settled, so that the operator lives to see it.
            let mut alive = Some(capability);
            move |(input, frontier), _output| {
                egress.settle();
                input.for_each(|capability, data| {
                    let epoch = *capability.least().expect("every message has a time");
                    data.drain(..).for_each(|batch| egress.data(epoch, batch));
                });
                egress.frontier(frontier.frontier().as_option().copied());
                egress.sender.flush();
                if egress.is_done() {
                    alive = None;
                } else if let (Some(alive), Some(epoch)) = (&mut alive, frontier.frontier().as_option()) {
                    alive.downgrade(epoch);
                }
            }
        },
    );
}

struct Egress {
    sender: Sender,
    edges: Vec<Arc<Edge>>,
    meter: Rc<LinkMeter>,
    unsettled: HashMap<u64, Vec<Token>>,
    told: Option<Epoch>,
    ended: bool,
    generation: Rc<Generation>,
}

impl Egress {
    /// Returns the tokens of what the other node is done with.
    fn settle(&mut self) {
        for seq in self.sender.settled() {
            self.unsettled.remove(&seq);
        }
    }

    fn data(&mut self, epoch: Epoch, mut batch: Batch) {
        let tokens = batch.take_tokens();
        let mut frame = draft(DATA, epoch);
        let sent = batch.encode(frame.payload()).and_then(|()| self.sender.send(frame));
        match sent {
            Ok(seq) => {
                self.meter.sent(tokens.len());
                self.unsettled.insert(seq, tokens);
            }
            Err(error) => self.drop_all(&batch, &error),
        }
    }

    fn drop_all(&self, batch: &Batch, error: &Error) {
        let failure = Failure::new(Reason::LINK, error.to_string());
        let ledger = &self.generation.local.shared.ledger;
        for (edge, at) in
            self.edges.iter().flat_map(|edge| batch.places().into_iter().map(move |at| (edge, at)))
        {
            ledger.dropped(edge, &at, &failure);
        }
    }

    fn frontier(&mut self, frontier: Option<Epoch>) {
        let frame = match frontier {
            Some(epoch) if self.told.is_none_or(|told| told < epoch) => {
                self.told = Some(epoch);
                draft(FRONTIER, epoch)
            }
            None if !self.ended => {
                self.ended = true;
                self.generation.until().map_or_else(|| draft(END, 0), |cut| draft(CUT, cut))
            }
            _ => return,
        };
        // A frame of nine bytes is never too large.
        _ = self.sender.send(frame);
    }

    fn is_done(&self) -> bool {
        self.ended && self.sender.is_idle() && self.unsettled.is_empty()
    }
}

/// Receives a stream from a link.
pub(crate) fn ingress<'s>(
    scope: Scope<'s, Epoch>,
    key: &LinkKey,
    receiver: Receiver,
    decode: Decode,
    generation: &Rc<Generation>,
) -> Erased<'s> {
    let generation = generation.clone();
    let name = format!("ingress {} from {}", key.stage.0, key.from);
    source(scope, &name, move |capability, info| {
        receiver.on_arrival(waking(scope.worker().sync_activator_for(info.address.to_vec())));
        let mut capability = Some(capability);
        move |output| {
            while let (Some(held), Some((seq, payload))) = (&mut capability, receiver.receive()) {
                // Settles the frame with its last copy.
                let token = arrival_token(&receiver, seq);
                match read(&payload) {
                    Ok(Body::Data { epoch, records }) => match decode(epoch, records, &|| token.clone()) {
                        Ok(batch) => output.session(&held.delayed(&epoch)).give(batch),
                        // Then the edge's books stay open, which the run reports: both ends compile the same types.
                        Err(error) => tracing::error!(%error, "records lost at a link"),
                    },
                    Ok(Body::Frontier(epoch)) => held.downgrade(&epoch),
                    Ok(Body::Cut(epoch)) => {
                        generation.set_until(epoch);
                        capability = None;
                    }
                    Ok(Body::End) => capability = None,
                    Err(error) => tracing::error!(%error, "a frame lost at a link"),
                }
            }
        }
    })
}

/// A token whose last copy settles the frame it came in.
fn arrival_token(receiver: &Receiver, seq: u64) -> Token {
    struct Settle {
        receiver: Receiver,
        seq: u64,
    }
    impl Return for Settle {}
    impl Drop for Settle {
        fn drop(&mut self) {
            self.receiver.settle(self.seq);
        }
    }
    Token::holding(Settle { receiver: receiver.clone(), seq })
}
