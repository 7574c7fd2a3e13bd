//! Every operator with state against a dull twin that recomputes its results from the whole input, on random
//! input of several lanes; and once more while the stages move about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jellybean_engine::sink::{Collected, collect};
use jellybean_engine::source::{Arrival, Feed, Lane, Source, Stamp};
use jellybean_engine::{Clock, Data, Graph, Result};
use jellybean_operators::prelude::*;
use jellybean_operators::run_here;
use jellybean_tests::Random;
use serde::{Deserialize, Serialize};

/// What a lane says at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Event {
    at: u64,
    lane: u32,
    key: u64,
    value: u64,
}

/// Lanes of events at random times; those of two lanes may be the same.
#[derive(Clone)]
struct Events(Vec<Vec<Event>>);

impl Events {
    fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self((0..3).map(|lane| Self::lane(lane, &mut random)).collect())
    }

    fn lane(lane: u32, random: &mut Random) -> Vec<Event> {
        let mut at = random.below(20);
        let mut event = |_| {
            // Quiet spells among the busy ones, so that sessions end and keys fall silent.
            at += if random.below(20) == 0 { random.below(120) } else { random.below(6) } + 1;
            Event { at, lane, key: random.below(4), value: random.below(9) }
        };
        (0..150).map(&mut event).collect()
    }

    /// All of them in the order of the run.
    fn in_order(&self) -> Vec<Event> {
        let mut all: Vec<Event> = self.0.iter().flatten().cloned().collect();
        all.sort_by_key(|event| (event.at, event.lane));
        all
    }

    /// Those of a key, in order.
    fn of(&self, key: u64) -> Vec<Event> {
        self.in_order().into_iter().filter(|event| event.key == key).collect()
    }
}

impl Source for Events {
    type Record = Event;

    fn lanes(&self) -> Vec<Lane> {
        (0..self.0.len()).map(|i| Lane::new(format!("lane-{i}"))).collect()
    }

    fn open(&self, lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = Event>>> {
        Ok(Box::new(Saying(self.0[lane].clone().into_iter())))
    }
}

struct Saying(std::vec::IntoIter<Event>);

impl Feed for Saying {
    type Record = Event;

    fn next(&mut self) -> Result<Option<Arrival<Event>>> {
        let arrival = |record: Event| Arrival { stamp: Stamp::Media(record.at), record, bytes: 32 };
        Ok(self.0.next().map(arrival))
    }
}

/// What a topology makes of events, with its epochs.
fn run<U: Data>(events: &Events, build: impl FnOnce(&Stream<Event>) -> Stream<U>) -> Vec<(u64, U)> {
    let t = Topology::new("twin");
    let (sink, made) = collect();
    build(&t.source("events", events.clone())).sink("made", sink);
    let report = run_here(&t).expect("runs");
    assert!(report.ledger.is_closed(), "{:#?}", report.ledger);
    made.take()
}

fn seeds() -> impl Iterator<Item = Events> {
    (0..8).map(Events::random)
}

/// Results without their order within an epoch.
fn sorted<U: Ord>(mut results: Vec<(u64, U)>) -> Vec<(u64, U)> {
    results.sort();
    results
}

#[test]
fn equal_sliding_windows() {
    for events in seeds() {
        let got = run(&events, |s| s.keyed(|e| e.key).sliding("w", 30, 10, |v: &mut u64, e| *v += e.value));
        let got = got.into_iter().map(|(at, w)| (at, (w.key, w.start_ms, w.end_ms, w.value))).collect();
        let last = events.in_order().last().expect("there are events").at;
        let mut expected = Vec::new();
        for (key, start) in (0..4).flat_map(|key| (0..=last).step_by(10).map(move |start| (key, start))) {
            let inside = events.of(key).into_iter().filter(|e| (start..start + 30).contains(&e.at));
            let values: Vec<u64> = inside.map(|e| e.value).collect();
            if !values.is_empty() {
                expected.push((start + 29, (key, start, start + 30, values.iter().sum())));
            }
        }
        assert_eq!(sorted(got), sorted(expected));
    }
}

#[test]
fn equal_sessions() {
    for events in seeds() {
        let got =
            run(&events, |s| s.keyed(|e| e.key).session("w", 25, |v: &mut Vec<u64>, e| v.push(e.value)));
        let got = got.into_iter().map(|(at, w)| (at, (w.key, w.start_ms, w.end_ms, w.value))).collect();
        let mut expected = Vec::new();
        for key in 0..4 {
            let mut spells: Vec<Vec<Event>> = Vec::new();
            for event in events.of(key) {
                match spells.last_mut().filter(|spell| event.at < spell[spell.len() - 1].at + 25) {
                    Some(spell) => spell.push(event),
                    None => spells.push(vec![event]),
                }
            }
            for spell in spells {
                let (start, end) = (spell[0].at, spell[spell.len() - 1].at + 25);
                let values: Vec<u64> = spell.into_iter().map(|e| e.value).collect();
                expected.push((end - 1, (key, start, end, values)));
            }
        }
        assert_eq!(sorted(got), sorted(expected));
    }
}

#[test]
fn equal_thinned_streams() {
    for events in seeds() {
        let deduped = run(&events, |s| s.dedup("d", 40, |e| (e.key, e.value)));
        let sampled = run(&events, |s| s.keyed(|e| e.key).sample("s", 17));
        let limited = run(&events, |s| s.keyed(|e| e.key).rate_limit("r", 2, 20));
        let mut first: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let mut kept: BTreeMap<u64, u64> = BTreeMap::new();
        let mut passed: BTreeMap<(u64, u64), u32> = BTreeMap::new();
        let (mut dedup, mut sample, mut limit) = (Vec::new(), Vec::new(), Vec::new());
        for e in events.in_order() {
            if first.get(&(e.key, e.value)).is_none_or(|at| e.at >= at + 40) {
                first.insert((e.key, e.value), e.at);
                dedup.push((e.at, e.clone()));
            }
            if kept.get(&e.key).is_none_or(|at| e.at >= at + 17) {
                kept.insert(e.key, e.at);
                sample.push((e.at, e.clone()));
            }
            let n = passed.entry((e.key, e.at / 20)).or_default();
            *n += 1;
            if *n <= 2 {
                limit.push((e.at, e));
            }
        }
        assert_eq!(deduped, dedup);
        assert_eq!(sampled, sample);
        assert_eq!(limited, limit);
    }
}

#[test]
fn equal_silences() {
    for events in seeds() {
        let got = run(&events, |s| s.keyed(|e| e.key).silence("quiet", 30));
        let got = got.into_iter().map(|(at, s)| (at, (s.key, s.since_ms))).collect();
        let mut expected = Vec::new();
        for key in 0..4 {
            let times: Vec<u64> = events.of(key).iter().map(|e| e.at).collect();
            for (i, at) in times.iter().enumerate() {
                if times.get(i + 1).is_none_or(|next| next - at >= 30) {
                    expected.push((at + 29, (key, *at)));
                }
            }
        }
        assert_eq!(sorted(got), sorted(expected));
    }
}

/// Even and odd values of a stream, by key.
fn halves(s: &Stream<Event>) -> [jellybean_engine::primitive::keyed::Keyed<u64, Event>; 2] {
    let half = |name: &str, rest| s.filter(name, move |e| e.value % 2 == rest).keyed(|e: &Event| e.key);
    [half("even", 0), half("odd", 1)]
}

#[test]
fn equal_joins_in_time() {
    for events in seeds() {
        let latest = run(&events, |s| {
            let [even, odd] = halves(s);
            even.join_latest("j", &odd, |e, o| (e.lane, e.value, o.map(|o| (o.at, o.lane, o.value))))
        });
        let near = run(&events, |s| {
            let [even, odd] = halves(s);
            even.join_within("j", 9, &odd, |e, o| ((e.at, e.lane, e.value), (o.at, o.lane, o.value)))
        });
        let all = events.in_order();
        let (mut with_latest, mut with_near) = (Vec::new(), Vec::new());
        for (i, e) in all.iter().enumerate().filter(|(_, e)| e.value % 2 == 0) {
            let others = |o: &&Event| o.key == e.key && o.value % 2 == 1;
            let before = all[..i].iter().rev().find(others).map(|o| (o.at, o.lane, o.value));
            with_latest.push((e.at, (e.lane, e.value, before)));
            for o in all.iter().filter(others).filter(|o| o.at.abs_diff(e.at) <= 9) {
                with_near.push((e.at.max(o.at), ((e.at, e.lane, e.value), (o.at, o.lane, o.value))));
            }
        }
        assert_eq!(latest, with_latest);
        assert_eq!(sorted(near), sorted(with_near));
    }
}

#[test]
fn equal_joins_by_window() {
    for events in seeds() {
        let got = run(&events, |s| {
            let [even, odd] = halves(s);
            even.join_window("j", 40, &odd)
        });
        let got = got.into_iter().map(|(at, w)| (at, w.key, values(w.value.0), values(w.value.1)));
        let mut expected = Vec::new();
        let windows: BTreeSet<(u64, u64)> = events.in_order().iter().map(|e| (e.at / 40, e.key)).collect();
        for (window, key) in windows {
            let inside = events.of(key).into_iter().filter(|e| e.at / 40 == window);
            let (even, odd): (Vec<Event>, Vec<Event>) = inside.partition(|e| e.value % 2 == 0);
            if !even.is_empty() && !odd.is_empty() {
                expected.push((40 * window + 39, key, values(even), values(odd)));
            }
        }
        assert_eq!(got.collect::<Vec<_>>(), expected);
    }
}

fn values(events: Vec<Event>) -> Vec<(u64, u64)> {
    events.into_iter().map(|e| (e.at, e.value)).collect()
}

/// What a view has come to after every epoch in which it changed.
fn content<R: Ord + Clone>(changes: Vec<(u64, Change<R>)>) -> BTreeMap<u64, BTreeMap<R, i64>> {
    let (mut now, mut after) = (BTreeMap::<R, i64>::new(), BTreeMap::new());
    for (at, Change { diff, record }) in changes {
        *now.entry(record).or_default() += diff;
        now.retain(|_, n| *n != 0);
        after.insert(at, now.clone());
    }
    after
}

/// Holds a view against the same made from scratch, at every epoch in which it or its input changed.
fn assert_view<R: Ord + Clone + std::fmt::Debug>(
    events: &Events,
    keep: u64,
    changes: Vec<(u64, Change<R>)>,
    twin: impl Fn(&[Event]) -> BTreeMap<R, i64>,
) {
    let got = content(changes);
    let all = events.in_order();
    let times: BTreeSet<u64> =
        all.iter().flat_map(|e| [e.at, e.at + keep]).chain(got.keys().copied()).collect();
    for at in times {
        let there: Vec<Event> = all.iter().filter(|e| e.at <= at && at < e.at + keep).cloned().collect();
        let now = got.range(..=at).next_back().map(|(_, rows)| rows.clone()).unwrap_or_default();
        assert_eq!(now, twin(&there), "at {at}");
    }
}

fn largest(there: &[Event], k: usize) -> BTreeMap<(u64, usize, u64), i64> {
    let mut rows = BTreeMap::new();
    for key in 0..4 {
        let mut values: Vec<u64> = there.iter().filter(|e| e.key == key).map(|e| e.value).collect();
        values.sort_by(|a, b| b.cmp(a));
        rows.extend(values.into_iter().take(k).enumerate().map(|(rank, value)| ((key, rank, value), 1)));
    }
    rows
}

#[test]
fn equal_views() {
    const KEEP: u64 = 60;
    for events in seeds() {
        let relation = |s: &Stream<Event>| s.relation(Keep::Millis(KEEP));
        let distinct = run(&events, |s| relation(s).distinct("d", |e| (e.key, e.value)));
        assert_view(&events, KEEP, distinct, |there| there.iter().map(|e| ((e.key, e.value), 1)).collect());

        let sum =
            |_: &u64, values: &[(&u64, i64)]| Some(values.iter().map(|(v, n)| *n * **v as i64).sum::<i64>());
        let sums = run(&events, |s| {
            relation(s).reduce_by("r", |e| (e.key, e.value), move |k, v| sum(k, v).map(|sum| (*k, sum)))
        });
        assert_view(&events, KEEP, sums, |there| {
            let mut sums = BTreeMap::new();
            there.iter().for_each(|e| *sums.entry(e.key).or_insert(0) += e.value as i64);
            sums.into_iter().map(|row| (row, 1)).collect()
        });

        let top = run(&events, |s| relation(s).top_k("t", 2, |e| (e.key, e.value)));
        let plain = |c: Change<Ranked<u64, u64>>| Change {
            diff: c.diff,
            record: (c.record.key, c.record.rank, c.record.value),
        };
        let top = top.into_iter().map(|(at, change)| (at, plain(change))).collect();
        assert_view(&events, KEEP, top, |there| largest(there, 2));
    }
}

#[test]
fn equal_joined_relations() {
    const KEEP: u64 = 50;
    for events in seeds() {
        let got = run(&events, |s| {
            let half = |name: &str, rest| s.filter(name, move |e| e.value % 2 == rest);
            let even = half("even", 0).relation(Keep::Millis(KEEP));
            let odd = half("odd", 1).relation(Keep::Millis(KEEP));
            even.join("j", &odd, |e| (e.key, e.value), |o| (o.key, o.value), |key, e, o| (*key, *e, *o))
        });
        assert_view(&events, KEEP, got, |there| {
            let mut rows = BTreeMap::new();
            for (e, o) in there.iter().flat_map(|e| there.iter().map(move |o| (e, o))) {
                if e.key == o.key && e.value % 2 == 0 && o.value % 2 == 1 {
                    *rows.entry((e.key, e.value, o.value)).or_insert(0) += 1;
                }
            }
            rows
        });
    }
}

/// One of everything, each with a sink of its own.
fn everything(events: Events) -> (Arc<Graph>, Vec<Collected<String>>) {
    let t = Topology::new("everything");
    let s = t.source("events", events);
    let (mut sinks, by_key) = (Vec::new(), || s.keyed(|e| e.key));
    let keep = || s.relation(Keep::Millis(45));
    let mut end = |name: &str, results: Stream<String>| {
        let (sink, made) = collect();
        results.sink(&format!("{name}-sink"), sink);
        sinks.push(made);
    };
    fn text<T: Data + std::fmt::Debug>(name: &str, results: Stream<T>) -> Stream<String> {
        results.map(&format!("{name}-text"), |result| format!("{result:?}"))
    }
    let add = |v: &mut u64, e: &Event| *v += e.value;
    let [even, odd] = halves(&s);
    end("sliding", text("sliding", by_key().sliding("sliding", 30, 10, add)));
    end("session", text("session", by_key().session("session", 25, move |v, e| add(v, &e))));
    end("dedup", text("dedup", s.dedup("dedup", 40, |e| (e.key, e.value))));
    end("sample", text("sample", by_key().sample("sample", 17)));
    end("limit", text("limit", by_key().rate_limit("limit", 2, 20)));
    end("silence", text("silence", by_key().silence("silence", 30)));
    end("latest", text("latest", even.join_latest("latest", &odd, |e, o| (e, o.cloned()))));
    end("within", text("within", even.join_within("within", 9, &odd, |e, o| (e.clone(), o.clone()))));
    end("joined", text("joined", even.join_window("joined", 40, &odd)));
    end("distinct", text("distinct", keep().distinct("distinct", |e| (e.key, e.value))));
    end("top", text("top", keep().top_k("top", 2, |e| (e.key, e.value))));
    let pair = |e: &Event| (e.key, e.value);
    end("pairs", text("pairs", keep().join("pairs", &keep(), pair, pair, |k, a, b| (*k, *a, *b))));
    (t.build().expect("the topology is right"), sinks)
}

#[test]
fn moves_are_not_seen_in_any_of_them() {
    for seed in 0..4 {
        let events = Events::random(100 + seed);
        let (graph, never) = everything(events.clone());
        let run = Run::start(graph, Plan::single("edge"), &["edge"], Clock::real()).expect("starts");
        assert!(run.finish().ledger.is_closed());

        let (graph, moved) = everything(events);
        let mut random = Random::new(seed);
        let run = Run::start(graph.clone(), Plan::single("edge"), &["edge", "cloud"], Clock::real());
        let run = run.expect("starts");
        loop {
            let movable = graph.stages().filter(|stage| stage.name != "events");
            let plan = movable.fold(Plan::single("edge"), |plan, stage| {
                plan.with(&stage.name, Assignment::on(["edge", "cloud"][random.below(2) as usize]))
            });
            // Refused once the sources have ended, and all is well.
            if run.apply(plan).is_err() || run.wait(Duration::ZERO) {
                break;
            }
        }
        assert!(run.finish().ledger.is_closed());
        for (never, moved) in never.iter().zip(&moved) {
            assert_eq!(moved.take(), never.take(), "seed {seed}");
        }
    }
}
