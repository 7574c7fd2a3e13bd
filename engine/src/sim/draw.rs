//! Topologies by seed: a few sources, then stages of every kind on streams drawn before, and a sink on every stream
//! that nobody else uses.
//!
//! Invariant: what a topology makes of its sources depends on the seed alone, so that two runs of it are comparable
//! record by record. All streams have one type; its `trail` is made of everything that happened to a record on its
//! way, so that a record that went another way is another record.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Failure, Reason};
use crate::id::Epoch;
use crate::plan::Assignment;
use crate::primitive::Emit;
use crate::primitive::each::FanOut;
use crate::primitive::keyed::{Logic, Side};
use crate::primitive::relational::{Change, Keep};
use crate::random::{Random, mix};
use crate::record::FAN_OUT_DEPTH_MAX;
use crate::runner::{AnyRunner, Recipe, Runner, Runners};
use crate::sink::{Collected, collect};
use crate::source::{Arrival, Feed, Lane, Pacing, Source, Stamp};
use crate::topology::{Graph, Stream, Topology};

/// Streams of a topology beside its sources, at most.
const STAGES_MAX: u64 = 7;
/// Keys that records have.
const KEYS: u64 = 6;
/// A variant that no node has: to be refused in prepare.
pub(super) const MISSING: &str = "missing";

/// The records of all streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Item {
    key: u64,
    value: i64,
    trail: u64,
}

impl Item {
    fn went(self, way: u64) -> Self {
        Self { trail: mix(self.trail ^ mix(way)), ..self }
    }
}

/// A topology, and what its sinks get.
pub(super) struct Drawn {
    pub(super) graph: Arc<Graph>,
    pub(super) sinks: Vec<End>,
    pub(super) pooled: Vec<String>,
    pub(super) has_join: bool,
}

/// A sink of a drawn topology.
pub(super) struct End {
    pub(super) name: String,
    pub(super) got: Collected<Item>,
    /// Whether what it gets comes of single records: then a run that ends early leaves some out, and changes none.
    pub(super) is_plain: bool,
}

/// A stream of a topology that is being drawn.
#[derive(Clone)]
struct Drawing {
    stream: Stream<Item>,
    fan_outs: u32,
    is_plain: bool,
    is_used: bool,
}

/// How fast records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tempo {
    /// Some dozens within half a second.
    Brisk,
    /// At rates that step up and down, for as long as it takes to follow them.
    Steps,
}

/// Draws a topology; the same one for the same seed.
pub(super) fn draw(seed: u64, tempo: Tempo) -> Result<Drawn> {
    let mut random = Random::new(seed);
    let t = Topology::new(&format!("drawn-{seed}"));
    let mut streams = Vec::new();
    for i in 0..random.within(1..3) {
        let source = Lanes::draw(&mut random, i, tempo);
        let stream = t.source(&format!("source-{i}"), source);
        streams.push(Drawing { stream, fan_outs: 0, is_plain: true, is_used: false });
    }
    let (mut pooled, mut has_join) = (Vec::new(), false);
    for i in 0..random.within(2..STAGES_MAX + 1) {
        let kind = if i == 0 { Step::Pooled } else { Step::draw(&mut random) };
        let name = format!("{}-{i}", kind.name());
        let from = choose(&mut random, &mut streams);
        let with = kind.takes_two().then(|| choose(&mut random, &mut streams));
        let made = kind.make(&name, &mut random, &from, with.as_ref());
        if made.fan_outs > FAN_OUT_DEPTH_MAX {
            // The topology would be refused; this one is drawn without.
            return draw(mix(seed), tempo);
        }
        has_join |= matches!(kind, Step::Join | Step::Pairs);
        pooled.extend(matches!(kind, Step::Pooled).then_some(name));
        streams.push(made);
    }
    let mut sinks = Vec::new();
    for (i, drawing) in streams.iter().filter(|drawing| !drawing.is_used).enumerate() {
        let (sink, got) = collect();
        let name = format!("sink-{i}");
        drawing.stream.sink(&name, sink);
        sinks.push(End { name, got, is_plain: drawing.is_plain });
    }
    Ok(Drawn { graph: t.build()?, sinks, pooled, has_join })
}

fn choose(random: &mut Random, streams: &mut [Drawing]) -> Drawing {
    // Later ones more often, or topologies would be wide and flat.
    let n = streams.len() as u64;
    let chosen = random.below(n).max(random.below(n)) as usize;
    streams[chosen].is_used = true;
    streams[chosen].clone()
}

/// A kind of stage.
#[derive(Clone, Copy)]
enum Step {
    Each,
    Several,
    Pooled,
    Sums,
    Windows,
    Join,
    Merge,
    Counts,
    Pairs,
}

impl Step {
    fn draw(random: &mut Random) -> Self {
        use Step::{Counts, Each, Join, Merge, Pairs, Pooled, Several, Sums, Windows};
        *random.pick(&[Each, Several, Pooled, Pooled, Sums, Windows, Join, Merge, Counts, Pairs])
    }

    fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Several => "several",
            Self::Pooled => "pooled",
            Self::Sums => "sums",
            Self::Windows => "windows",
            Self::Join => "join",
            Self::Merge => "merge",
            Self::Counts => "counts",
            Self::Pairs => "pairs",
        }
    }

    fn takes_two(self) -> bool {
        matches!(self, Self::Join | Self::Merge | Self::Pairs)
    }

    fn make(self, name: &str, random: &mut Random, from: &Drawing, with: Option<&Drawing>) -> Drawing {
        let (way, span) = (random.next(), random.within(5..60));
        let (s, other) = (&from.stream, with.map_or(&from.stream, |with| &with.stream));
        let keyed = |s: &Stream<Item>| s.keyed(|item| item.key);
        let keep = || Keep::Millis(span);
        let stream = match self {
            Self::Each => s.each(name, FanOut::One, move |item, emit| pass(item, way, emit)),
            Self::Several => s.each(name, FanOut::Many, move |item, emit| {
                (0..item.trail % 3).for_each(|i| emit.push(item.clone().went(way + i)));
                Ok(())
            }),
            Self::Pooled => {
                s.pooled(name, Models, |item| item.value, move |item, value| Item { value, ..item }.went(way))
            }
            Self::Sums => keyed(s).logic(name, Sums { way }),
            Self::Windows => keyed(s).logic(name, Windows { way, span }),
            Self::Join => keyed(s).together(name, &keyed(other)).logic(name, Latest { way }),
            Self::Merge => s.merge(name, [other]),
            Self::Counts => changes(
                name,
                way,
                s.relation(keep()).count(
                    &format!("{name}-of"),
                    |i| i.key,
                    |key, n| Item { key, value: n, trail: 0 },
                ),
            ),
            Self::Pairs => changes(name, way, {
                let pair = |item: &Item| (item.key, item.value % 4);
                let row = |key: &u64, a: &i64, b: &i64| Item { key: *key, value: a * 5 + b, trail: 0 };
                s.relation(keep()).join_values(
                    &format!("{name}-of"),
                    &other.relation(keep()),
                    pair,
                    pair,
                    row,
                )
            }),
        };
        let depth = from.fan_outs.max(with.map_or(0, |with| with.fan_outs));
        let adds = matches!(self, Self::Several | Self::Merge | Self::Join | Self::Pairs);
        let is_plain = from.is_plain && with.is_none_or(|with| with.is_plain);
        let keeps_plain = matches!(self, Self::Each | Self::Several | Self::Pooled | Self::Merge);
        Drawing {
            stream,
            fan_outs: depth + u32::from(adds),
            is_plain: is_plain && keeps_plain,
            is_used: false,
        }
    }
}

/// Passes most records on; a few are left out, and a few fail.
fn pass(item: Item, way: u64, emit: &mut Emit<Item>) -> Result<(), Failure> {
    match item.trail % 17 {
        0 => Err(Failure::new(Reason::REJECTED, "one of those that fail")),
        1 => Ok(()),
        _ => {
            emit.push(Item { value: item.value + 1, ..item }.went(way));
            Ok(())
        }
    }
}

/// Changes of a relation as records.
fn changes(name: &str, way: u64, relation: Stream<Change<Item>>) -> Stream<Item> {
    relation.each(name, FanOut::One, move |Change { diff, record }, emit| {
        emit.push(record.went(way ^ diff as u64));
        Ok(())
    })
}

/// A running sum by key.
struct Sums {
    way: u64,
}

impl Logic<u64, Item> for Sums {
    type State = (i64, u64);
    type Out = Item;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        key: &u64,
        (sum, trail): &mut (i64, u64),
        epoch: Epoch,
        record: Item,
        emit: &mut Emit<Item>,
    ) -> Result<(), Failure> {
        // The trail is one of order too: two records that change places make another one.
        (*sum, *trail) = (sum.wrapping_add(record.value), mix(*trail ^ record.trail ^ epoch));
        emit.push(Item { key: *key, value: *sum, trail: *trail }.went(self.way));
        Ok(())
    }
}

/// Sums of windows that follow each other, by key.
struct Windows {
    way: u64,
    span: u64,
}

impl Logic<u64, Item> for Windows {
    /// The end of the window, the sum and the trail; no window is open at 0.
    type State = (Epoch, i64, u64);
    type Out = Item;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &u64,
        (end, sum, trail): &mut (Epoch, i64, u64),
        epoch: Epoch,
        record: Item,
        _emit: &mut Emit<Item>,
    ) -> Result<(), Failure> {
        *end = (epoch / self.span + 1) * self.span;
        (*sum, *trail) = (sum.wrapping_add(record.value), mix(*trail ^ record.trail ^ epoch));
        Ok(())
    }

    fn due(&self, (end, ..): &(Epoch, i64, u64)) -> Option<Epoch> {
        Some(*end).filter(|end| *end > 0)
    }

    fn close(
        &self,
        key: &u64,
        (_, sum, trail): &mut (Epoch, i64, u64),
        upto: Epoch,
        emit: &mut Emit<Item>,
    ) -> bool {
        emit.push(Item { key: *key, value: *sum, trail: *trail ^ upto }.went(self.way));
        false
    }
}

/// Joins each record of one stream with the latest of the other.
struct Latest {
    way: u64,
}

impl Logic<u64, Side<Item, Item>> for Latest {
    type State = Option<Item>;
    type Out = Item;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &u64,
        latest: &mut Option<Item>,
        _epoch: Epoch,
        record: Side<Item, Item>,
        emit: &mut Emit<Item>,
    ) -> Result<(), Failure> {
        match record {
            Side::Left(item) => {
                let trail = latest.as_ref().map_or(0, |latest| latest.trail);
                emit.push(item.went(self.way ^ trail));
            }
            Side::Right(item) => *latest = Some(item),
        }
        Ok(())
    }
}

/// What stands in for models; how slow they are is imitated.
struct Models;

impl Runners for Models {
    type In = i64;
    type Out = i64;

    fn resolve(&self, assignment: &Assignment) -> Result<Recipe<i64, i64>> {
        let variant = assignment.variant.as_deref().unwrap_or("default");
        if variant == MISSING {
            return Err(
                Error::new(ErrorKind::NotFound, "no node has this variant").way_out("use another one")
            );
        }
        let open = || Ok(Box::new(Model) as AnyRunner<i64, i64>);
        Ok(Recipe { key: variant.to_owned(), open: Arc::new(open) })
    }
}

struct Model;

impl Runner for Model {
    type In = i64;
    type Out = i64;

    fn run(&mut self, batch: Vec<i64>) -> Vec<Result<i64, Failure>> {
        let one = |value: i64| match value.rem_euclid(19) {
            0 => Err(Failure::new(Reason::FAILED, "one of those that fail")),
            _ => Ok(value.wrapping_mul(3).wrapping_add(1)),
        };
        batch.into_iter().map(one).collect()
    }
}

/// Lanes of records at drawn times.
struct Lanes {
    pacing: Pacing,
    lanes: Vec<Vec<(Epoch, Item)>>,
}

impl Lanes {
    fn draw(random: &mut Random, source: u64, tempo: Tempo) -> Self {
        if tempo == Tempo::Steps {
            return Self::in_steps(random, source);
        }
        let pacing = if random.percent(85) { Pacing::Realtime } else { Pacing::Max };
        let lanes = (0..random.within(1..4)).map(|lane| {
            let (n, step, mut at) = (random.within(20..70), random.within(1..12), random.below(30));
            let item = |i: u64| {
                at += random.within(1..2 * step + 1);
                let trail = mix(source << 48 | lane << 32 | i);
                (at, Item { key: random.below(KEYS), value: random.below(100) as i64, trail })
            };
            (0..n).map(item).collect()
        });
        Self { pacing, lanes: lanes.collect() }
    }

    /// Lanes as filmed, each with some seconds of one rate after the other.
    fn in_steps(random: &mut Random, source: u64) -> Self {
        let lanes = (0..random.within(1..3)).map(|lane| {
            let (mut records, mut at) = (Vec::new(), random.below(300));
            for _ in 0..random.within(2..5) {
                let (gap, until) = (*random.pick(&[40, 60, 150, 400]), at + random.within(2_000..9_000));
                while at < until {
                    at += random.within(gap / 2..gap * 3 / 2);
                    let trail = mix(source << 48 | lane << 32 | records.len() as u64);
                    let (key, value) = (random.below(KEYS), random.below(100) as i64);
                    records.push((at, Item { key, value, trail }));
                }
            }
            records
        });
        Self { pacing: Pacing::Realtime, lanes: lanes.collect() }
    }
}

impl Source for Lanes {
    type Record = Item;

    fn lanes(&self) -> Vec<Lane> {
        let lane = |i| Lane { pacing: self.pacing, ..Lane::new(format!("lane-{i}")) };
        (0..self.lanes.len()).map(lane).collect()
    }

    fn open(&self, lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = Item>>> {
        Ok(Box::new(Records(self.lanes[lane].clone().into_iter())))
    }
}

struct Records(std::vec::IntoIter<(Epoch, Item)>);

impl Feed for Records {
    type Record = Item;

    fn next(&mut self) -> Result<Option<Arrival<Item>>> {
        let arrival = |(at, record)| Arrival { record, stamp: Stamp::Media(at), bytes: size_of::<Item>() };
        Ok(self.0.next().map(arrival))
    }
}
