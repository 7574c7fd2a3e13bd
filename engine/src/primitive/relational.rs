//! Incremental views: differential dataflow behind one operator.
//!
//! A relation is a stream of changes to a set: `+1` and `-1` of a record at an epoch. A relational
//! stage is typed inside; outside, its changes are records like others.
//!
//! At a cut the stage reads its arrangement, and the next generation starts from that content as of
//! the cut: inserted below it, with the output below the cut discarded. Corrections then follow as
//! old/new pairs, and sinks see no seam. Retractions that are still to come move with their epochs.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::trace::cursor::Cursor;
use differential_dataflow::trace::{Navigable, TraceReader};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::progress::frontier::AntichainRef;

use super::guarded;
use super::keyed::Side;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::{Arrival, PIECE_BYTES, State};
use crate::id::Epoch;
use crate::record::{Batch, Data, Envelope, Place};
use crate::shares::Division;
use crate::stage::{Build, Kind, StageContext};
use crate::topology::{Stage, Stream};

/// A change to a relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change<R> {
    /// How many more (or, negative, fewer) of the record there are.
    pub diff: i64,
    /// The record.
    pub record: R,
}

/// How long a record stays in a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// For the rest of the run. What is kept of it must be bounded: counts by few keys are.
    Forever,
    /// For this many milliseconds after its epoch.
    Millis(u64),
}

/// A stream as a relation: a multiset of what has come and not yet gone.
pub struct Relation<T> {
    stream: Stream<T>,
    keep: Keep,
}

/// What differential arranges: ordered, hashable data.
pub trait Row: Data + Ord + std::hash::Hash + std::fmt::Debug {}
impl<T: Data + Ord + std::hash::Hash + std::fmt::Debug> Row for T {}

impl<T: Data> Stream<T> {
    /// The stream's records as a relation in which each stays for as long as `keep` says.
    #[must_use]
    pub fn relation(&self, keep: Keep) -> Relation<T> {
        Relation { stream: self.clone(), keep }
    }
}

impl<T: Data> Relation<T> {
    /// Counts by key as `row` puts them, kept up to date: a change of a count is `-1` of the old row and
    /// `+1` of the new.
    pub fn count<K: Row, R: Row>(
        &self,
        name: &str,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        row: impl Fn(K, i64) -> R + Send + Sync + 'static,
    ) -> Stream<Change<R>> {
        let row = Arc::new(row);
        self.view(name, key, move |rows| {
            let row = row.clone();
            rows.count().map(move |(key, n)| row(key, n)).into_i64()
        })
    }

    /// Each value that is in the relation at least once, once.
    pub fn distinct_values<R: Row>(
        &self,
        name: &str,
        value: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> Stream<Change<R>> {
        self.view(name, value, |rows| rows.distinct().into_i64())
    }

    /// What `reduce` makes of all values of a key, each with how often it is there, in their order; kept
    /// up to date. A panic of `reduce` is logged, and the key then has no rows.
    pub fn reduce_values<K: Row, V: Row, R: Row>(
        &self,
        name: &str,
        pair: impl Fn(&T) -> (K, V) + Send + Sync + 'static,
        reduce: impl Fn(&K, &[(&V, i64)]) -> Vec<R> + Send + Sync + 'static,
    ) -> Stream<Change<R>> {
        let (reduce, stage) = (Arc::new(reduce), name.to_owned());
        self.view(name, pair, move |rows| {
            let (reduce, stage) = (reduce.clone(), stage.clone());
            let reduced = rows.reduce(move |key, values, out| {
                match guarded(|| Ok(reduce(key, values))) {
                    Ok(made) => out.extend(made.into_iter().map(|row| (row, 1_i64))),
                    Err(failure) => tracing::error!(stage, %failure, "a key was left out of a view"),
                }
                out.sort();
                differential_dataflow::consolidation::consolidate(out);
            });
            reduced.map(|(_key, row)| row)
        })
    }

    /// All pairs of this relation's rows and another's that have the same key, kept up to date. It adds
    /// three stages before the join, `NAME-left`, `NAME-right` and `NAME-both`.
    pub fn join_values<U: Data, K: Row, V: Row, W: Row, R: Row>(
        &self,
        name: &str,
        other: &Relation<U>,
        left: impl Fn(&T) -> (K, V) + Send + Sync + 'static,
        right: impl Fn(&U) -> (K, W) + Send + Sync + 'static,
        row: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
    ) -> Stream<Change<R>> {
        let (mine, theirs, row) = (self.keep, other.keep, Arc::new(row));
        let one = || self.stream.keyed(|_| ());
        let both = one().together(name, &other.stream.keyed(|_| ()));
        let keep = move |side: &Side<T, U>| if matches!(side, Side::Left(_)) { mine } else { theirs };
        let pair = move |side: &Side<T, U>| match side {
            Side::Left(record) => Side::Left(left(record)),
            Side::Right(record) => Side::Right(right(record)),
        };
        view(both.stream(), name, keep, pair, move |rows: Rowed<'_, Side<(K, V), (K, W)>>| {
            let row = row.clone();
            let lefts = rows.clone().flat_map(|side| match side {
                Side::Left(pair) => Some(pair),
                Side::Right(_) => None,
            });
            let rights = rows.flat_map(|side| match side {
                Side::Left(_) => None,
                Side::Right(pair) => Some(pair),
            });
            lefts.join_map(rights, move |key, v, w| row(key, v, w))
        })
    }

    fn view<K: Row, R: Row>(
        &self,
        name: &str,
        row: impl Fn(&T) -> K + Send + Sync + 'static,
        logic: impl for<'s> Fn(Rowed<'s, K>) -> Rowed<'s, R> + Send + Sync + 'static,
    ) -> Stream<Change<R>> {
        let keep = self.keep;
        view(&self.stream, name, move |_| keep, row, logic)
    }
}

/// A collection within a relational stage.
type Rowed<'s, K> = VecCollection<'s, Epoch, K, i64>;

/// A relational stage: the rows that `row` makes of records, arranged, and what `logic` makes of them.
/// The rows alone are its state: what follows from them is made anew in the next generation.
fn view<T: Data, K: Row, R: Row>(
    stream: &Stream<T>,
    name: &str,
    keep: impl Fn(&T) -> Keep + Send + Sync + 'static,
    row: impl Fn(&T) -> K + Send + Sync + 'static,
    logic: impl for<'s> Fn(Rowed<'s, K>) -> Rowed<'s, R> + Send + Sync + 'static,
) -> Stream<Change<R>> {
    let (row, keep, logic) = (Arc::new(row), Arc::new(keep), Arc::new(logic));
    let build: Build = Arc::new(move |_scope, mut inputs, context| {
        let seam = Rc::new(Seam::default());
        let updates = updates(inputs.remove(0), keep.clone(), row.clone(), &seam, context);
        let arranged = VecCollection::new(updates).arrange_by_self();
        let trace = RefCell::new(Some(arranged.trace.clone()));
        let rows = logic(arranged.as_collection(|row, ()| row.clone()));
        let freeze = Box::new(move |frontier: Option<Epoch>| {
            let mut slot = trace.borrow_mut();
            let trace = slot.as_mut()?;
            if let Some(epoch) = frontier {
                // What lies behind need not be told apart any more, but must stay behind a cut at `epoch`.
                let compacted = [epoch.saturating_sub(1)];
                trace.set_logical_compaction(AntichainRef::new(&compacted));
                trace.set_physical_compaction(AntichainRef::new(&compacted));
                return None;
            }
            let rows = read(trace.batches_through(AntichainRef::new(&[]))?);
            *slot = None;
            Some(rows)
        });
        changes(rows, freeze, &seam, context)
    });
    stream.topology().add(Stage::new(name, Kind::Relational, vec![stream.stage()], build))
}

/// Counts that differential keeps in the machine's own integers.
trait IntoI64<'s, R> {
    fn into_i64(self) -> Rowed<'s, R>;
}

impl<'s, R: Row> IntoI64<'s, R> for VecCollection<'s, Epoch, R, isize> {
    fn into_i64(self) -> Rowed<'s, R> {
        use timely::dataflow::operators::vec::Map;
        VecCollection::new(self.inner.map(|(row, epoch, diff)| (row, epoch, diff as i64)))
    }
}

/// What the two ends of a relational stage tell each other.
#[derive(Default)]
struct Seam {
    /// The first epoch whose changes this generation shows.
    from: Cell<Epoch>,
    /// The cut that ended the input, if one did: changes from there on are the next generation's. At the
    /// end of the stream time runs out, and what is still to come shows.
    until: Cell<Option<Epoch>>,
}

type Update<K> = (K, Epoch, i64);

/// Tells an arrangement how far time has come; without a frontier, returns what it holds and lets go of it.
type Freeze<K> = Box<dyn Fn(Option<Epoch>) -> Option<Vec<Update<K>>>>;

/// Everything an arrangement holds, as updates.
fn read<K: Row, B>(batches: Vec<B>) -> Vec<Update<K>>
where
    B: Navigable,
    B::Cursor: for<'a> Cursor<Storage = B, Key<'a> = &'a K, Time = Epoch, Diff = i64>,
{
    let mut rows = Vec::new();
    for batch in &batches {
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(batch) {
            let key = key.clone();
            while cursor.val_valid(batch) {
                cursor.map_times(batch, |time, diff| {
                    let time = <B::Cursor as Cursor>::owned_time(time);
                    rows.push((key.clone(), time, <B::Cursor as Cursor>::owned_diff(diff)));
                });
                cursor.step_val(batch);
            }
            cursor.step_key(batch);
        }
    }
    rows
}

/// Records as updates, after what the previous generation handed over.
fn updates<'s, T: Data, K: Row>(
    input: crate::stage::Erased<'s>,
    keep: Arc<impl Fn(&T) -> Keep + Send + Sync + 'static>,
    key: Arc<impl Fn(&T) -> K + Send + Sync + 'static>,
    seam: &Rc<Seam>,
    context: &StageContext,
) -> timely::dataflow::StreamVec<'s, Epoch, Update<K>> {
    let (seam, context, name) = (seam.clone(), context.clone(), context.name.clone());
    let scope = input.scope();
    input.unary_frontier::<CapacityContainerBuilder<Vec<Update<K>>>, _, _, _>(
        Pipeline,
        &name,
        move |capability, info| {
            context.generation.wakes_stage(context.stage, scope.activator_for(info.address.clone()));
            context.generation.wake_with(scope.activator_for(info.address));
            let mut held: Option<Capability<Epoch>> = Some(capability);
            let mut waiting: Vec<Envelope<T>> = Vec::new();
            let mut thawed = context.generation.previous.is_none();
            move |(input, frontier), output| {
                input.for_each(|_, data| waiting.extend(data.drain(..).flat_map(Batch::get::<T>)));
                let Some(capability) = &mut held else { return };
                let Some(from) = context.generation.from() else { return };
                if !thawed {
                    let generation = &context.generation;
                    let arrival = generation.local.handover.borrow_mut().take(generation.id, context.stage);
                    let Some(arrival) = arrival else { return };
                    thawed = true;
                    let rows: Rows<K> = thaw(arrival, &context).frozen_at(from);
                    seam.from.set(from);
                    output.session(&capability).give_iterator(rows.0.into_iter());
                }
                for Envelope { epoch, at, record, .. } in waiting.drain(..) {
                    match guarded(|| Ok((key(&record), keep(&record)))) {
                        Ok((key, keep)) => {
                            context.received(0, 1);
                            let gone = match keep {
                                Keep::Forever => None,
                                Keep::Millis(ms) => Some((key.clone(), epoch + ms, -1)),
                            };
                            let mut session = output.session(&capability);
                            session.give((key, epoch, 1));
                            session.give_iterator(gone.into_iter());
                        }
                        Err(failure) => context.dropped(0, &at, &failure),
                    }
                }
                match frontier.frontier().as_option() {
                    Some(epoch) => capability.downgrade(epoch),
                    None => {
                        seam.until.set(context.generation.until());
                        held = None;
                    }
                }
            }
        },
    )
}

/// Updates of a view as changes for the next stage; at the end, the arrangement for the next generation.
fn changes<'s, R: Row, K: Row>(
    view: Rowed<'s, R>,
    freeze: Freeze<K>,
    seam: &Rc<Seam>,
    context: &StageContext,
) -> crate::stage::Erased<'s> {
    let (seam, context) = (seam.clone(), context.clone());
    let name = format!("{} changes", context.name);
    view.inner.unary_frontier::<CapacityContainerBuilder<Vec<Batch>>, _, _, _>(
        Pipeline,
        &name,
        move |capability, _| {
            let mut waiting = std::collections::BTreeMap::<Epoch, Vec<(R, i64)>>::new();
            let mut held = Some(capability);
            move |(input, frontier), output| {
                input.for_each(|_, data| {
                    for (record, epoch, diff) in data.drain(..) {
                        waiting.entry(epoch).or_default().push((record, diff));
                    }
                });
                let Some(capability) = &mut held else { return };
                // Past the cut the frontier runs on through what is still to come. The trace must not, nor what
                // others see of it: to them a closed epoch is one that nothing follows in.
                let until = context.generation.until().unwrap_or(Epoch::MAX);
                let frontier = frontier.frontier().as_option().map(|epoch| *epoch.min(&until));
                let open = frontier.or(seam.until.get()).unwrap_or(Epoch::MAX);
                while let Some(first) = waiting.first_entry().filter(|first| *first.key() < open) {
                    let (epoch, mut updates) = first.remove_entry();
                    if epoch < seam.from.get() {
                        continue;
                    }
                    // A view may come in pieces, which depend on how its input came.
                    differential_dataflow::consolidation::consolidate(&mut updates);
                    let changes = updates.into_iter().map(|(record, diff)| Change { diff, record });
                    let mut changes: Vec<_> = changes.collect();
                    changes.sort();
                    context.sent(changes.len());
                    let envelopes = changes.into_iter().enumerate();
                    let envelope = |(i, record)| Envelope {
                        epoch,
                        at: Place::derived(i),
                        record,
                        token: Default::default(),
                    };
                    output
                        .session(&capability.delayed(&epoch))
                        .give(Batch::of(envelopes.map(envelope).collect::<Vec<_>>()));
                }
                let rows = freeze(frontier);
                match frontier {
                    Some(epoch) => capability.downgrade(&epoch),
                    None => {
                        held = None;
                        let rows =
                            Rows(rows.unwrap_or_default()).frozen_at(seam.until.get().unwrap_or(Epoch::MAX));
                        let generation = &context.generation;
                        generation.local.handover.borrow_mut().offer(
                            generation.id,
                            context.stage,
                            Box::new(rows),
                        );
                    }
                }
            }
        },
    )
}

/// The content of an arrangement as of a cut, and what is still to come.
struct Rows<K>(Vec<Update<K>>);

impl<K: Row> Rows<K> {
    /// Forgets the times of what lies below the cut, and adds up.
    fn frozen_at(mut self, cut: Epoch) -> Self {
        self.0.iter_mut().filter(|(_, epoch, _)| *epoch < cut).for_each(|(_, epoch, _)| *epoch = 0);
        differential_dataflow::consolidation::consolidate_updates(&mut self.0);
        self
    }
}

impl<K: Row> State for Rows<K> {
    fn chunks(&self) -> Result<Vec<Vec<u8>>> {
        let encode = |rows: &[Update<K>]| {
            postcard::to_stdvec(rows)
                .map_err(|e| Error::new(ErrorKind::Failed, "a relation cannot be encoded").because(e))
        };
        // Rows are small; this many of them stay within a chunk unless their keys are long.
        self.0.chunks(PIECE_BYTES / 64).map(encode).collect()
    }

    /// A relation is on one node, whatever the plan.
    fn split(self: Box<Self>, _division: &Division<'_>) -> Vec<Box<dyn State>> {
        vec![self]
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

fn thaw<K: Row>(arrivals: Vec<Arrival>, context: &StageContext) -> Rows<K> {
    let mut all = Rows(Vec::new());
    let mut chunks = Vec::new();
    for arrival in arrivals {
        match arrival {
            Arrival::Pointer(state) => {
                let rows: Rows<K> =
                    *state.downcast().expect("a stage's state has one type in every generation");
                all.0.extend(rows.0);
            }
            Arrival::Chunks(more) => chunks.extend(more),
        }
    }
    for chunk in chunks {
        match postcard::from_bytes::<Vec<Update<K>>>(&chunk) {
            Ok(rows) => all.0.extend(rows),
            Err(error) => tracing::error!(stage = &*context.name, %error, "state lost in the hand-over"),
        }
    }
    all
}
