//! Changes of plan under load, between processes: what is lost, doubled or reordered, and what they do to latency.
//!
//! Records come at a fixed rate, pass two stand-in models, of which the second is split over both nodes, and a stage
//! with a kilobyte of state per key. By turns the state moves, the first model moves, its variant changes, and the
//! shares of the second change; changes begin once every key has its state. For each kind: the median, over the changes, of the
//! 99th percentile of the latency in the second after the change began over that of the second before; beside it the
//! same at instants without a change.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jellybean::Result;
use jellybean_benches::Spread;
use jellybean_engine::node::Blueprint;
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::runner::{AnyRunner, Recipe, Runner, Runners};
use jellybean_engine::sink::{Sink, Writer};
use jellybean_engine::source::{Arrival, Feed, Lane, Source, Stamp};
use jellybean_engine::{Clock, Error, ErrorKind, Failure, Graph, Run, Topology};
use jellybean_operators::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::workload::{now_s, wait_until};

const LANES: u64 = 4;
/// Seconds between two changes, or a change and an instant without one.
const BETWEEN_S: f64 = 1.05;
/// Bytes of a key's state.
const STATE_BYTES: usize = 1_000;
/// What the stand-in model takes, in seconds.
const MODEL_S: f64 = 50e-6;
const NODES: [&str; 2] = ["n0", "n1"];

/// What a run is, told to every node.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settings {
    keys: u64,
    rate: u64,
    out: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Item {
    number: u64,
    due_s: f64,
    value: u64,
}

/// What changes, by turns.
const KINDS: [&str; 4] = ["state", "model", "variant", "shares"];

pub(crate) fn run(changes: u64, keys: u64, rate: u64, kinds: Option<&str>) -> Result<()> {
    let kinds: Vec<&str> = kinds.map_or(KINDS.to_vec(), |kinds| kinds.split(',').collect());
    let out = std::env::temp_dir().join(format!("jellybean-moves-{}", std::process::id()));
    let changes_n = changes * kinds.len() as u64;
    let fill_s = keys as f64 / rate as f64;
    let settings = Settings { keys, rate, out };
    let description = serde_json::to_string(&settings).unwrap_or_default();
    let cluster = Cluster::start("moves", &NODES)?;
    let mut turns = BTreeMap::<&str, usize>::new();
    let graph = topology(&settings)?;
    let run = Run::deploy(cluster.network()?, graph, &description, plan(&turns), &NODES, Clock::real())?;
    let mut at = BTreeMap::<&str, Vec<f64>>::new();
    let mut next_s = now_s() + fill_s + 2.5;
    let mut taken_ms = BTreeMap::<&str, Vec<f64>>::new();
    for kind in kinds.iter().cycle().take(changes_n as usize) {
        at.entry("none").or_default().push(next_s);
        next_s += BETWEEN_S;
        wait_until(next_s);
        *turns.entry(kind).or_default() += 1;
        let begun_s = now_s();
        run.apply(plan(&turns))?;
        at.entry(kind).or_default().push(begun_s);
        taken_ms.entry(kind).or_default().push((now_s() - begun_s) * 1e3);
        next_s = now_s().max(next_s) + BETWEEN_S;
    }
    // The second after the last change counts as well.
    wait_until(next_s);
    run.stop();
    let report = run.finish();
    drop(cluster);
    let lines = read(&settings.out.with_extension("csv"))?;
    _ = std::fs::remove_file(settings.out.with_extension("csv"));
    let judged = judge(&lines, &settings);
    let ratios: BTreeMap<_, _> = at.iter().map(|(kind, instants)| (*kind, ratio(&lines, instants))).collect();
    let outcome = serde_json::json!({
        "bench": "moves", "changes_of_each_kind": changes, "keys": keys, "state_mb": keys as f64 * STATE_BYTES as f64 / 1e6,
        "rate": rate, "records": lines.len(), "judged": judged, "ledger_closed": report.ledger.is_closed(),
        "p99_after_over_before": ratios,
        "change_ms": taken_ms.into_iter().map(|(kind, ms)| (kind, Spread::of(ms))).collect::<BTreeMap<_, _>>(),
        "latency_ms": report.latency_ms,
    });
    println!("{outcome:#}");
    Ok(())
}

/// The plan after so many turns of each kind.
fn plan(turns: &BTreeMap<&str, usize>) -> Plan {
    let side = |kind| turns.get(kind).copied().unwrap_or(0) % 2;
    let variant = ["a", "b"][side("variant")];
    let shares = [[1, 3], [3, 1]][side("shares")];
    Plan::single(NODES[0])
        .with("model", Assignment::on(NODES[side("model")]).variant(variant).batches(16, 2))
        .with("second", Assignment::shared(NODES.into_iter().zip(shares)).batches(16, 2))
        .with("state", Assignment::on(NODES[side("state")]))
}

/// Makes the topology of its settings.
pub(crate) fn blueprint() -> Blueprint {
    Arc::new(|description| {
        let settings = serde_json::from_str(description)
            .map_err(|e| Error::new(ErrorKind::Invalid, "no settings of this bench").because(e))?;
        topology(&settings)
    })
}

fn topology(settings: &Settings) -> Result<Arc<Graph>> {
    let t = Topology::new("moves");
    let keys = settings.keys;
    t.source("items", Items(settings.clone()))
        .pooled("model", Models, |item: &Item| item.value, |item, value| Item { value, ..item })
        .pooled("second", Models, |item: &Item| item.value, |item, value| Item { value, ..item })
        .keyed(move |item| item.number % keys)
        .stateful("state", |state: &mut Vec<u8>, item: Item| {
            state.resize(STATE_BYTES, 7);
            // How often the key was seen, so that lost state would show.
            let seen = u64::from_le_bytes([state[0], state[1], state[2], state[3], 0, 0, 0, 0]) + 1;
            state[..4].copy_from_slice(&(seen as u32).to_le_bytes());
            Item { value: item.value.wrapping_add(seen), ..item }
        })
        .sink("lines", Lines(settings.out.with_extension("csv")));
    t.build()
}

struct Items(Settings);

struct ItemFeed {
    settings: Settings,
    lane: u64,
    next: u64,
    begun_s: Option<f64>,
}

impl Source for Items {
    type Record = Item;

    fn lanes(&self) -> Vec<Lane> {
        let step_ms = 1_000 * LANES / self.0.rate;
        (0..LANES).map(|i| Lane { step_ms: step_ms.max(1), ..Lane::new(format!("lane-{i}")) }).collect()
    }

    fn open(&self, lane: usize, _clock: &Clock) -> Result<Box<dyn Feed<Record = Item>>> {
        let lane = lane as u64;
        Ok(Box::new(ItemFeed { settings: self.0.clone(), lane, next: 0, begun_s: None }))
    }
}

impl Feed for ItemFeed {
    type Record = Item;

    fn next(&mut self) -> Result<Option<Arrival<Item>>> {
        let step_s = LANES as f64 / self.settings.rate as f64;
        let at_s = self.next as f64 * step_s;
        let due_s = *self.begun_s.get_or_insert_with(now_s) + at_s;
        wait_until(due_s);
        let number = self.next * LANES + self.lane;
        self.next += 1;
        let record = Item { number, due_s, value: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        Ok(Some(Arrival { record, stamp: Stamp::Media((at_s * 1e3).round() as u64), bytes: 64 }))
    }
}

/// Stand-ins for a model in two variants that give the same results.
struct Models;

struct Model;

impl Runners for Models {
    type In = u64;
    type Out = u64;

    fn resolve(&self, assignment: &Assignment) -> Result<Recipe<u64, u64>> {
        let key = format!("model {:?}", assignment.variant);
        Ok(Recipe { key, open: Arc::new(|| Ok(Box::new(Model) as AnyRunner<u64, u64>)) })
    }
}

impl Runner for Model {
    type In = u64;
    type Out = u64;

    fn run(&mut self, batch: Vec<u64>) -> Vec<std::result::Result<u64, Failure>> {
        let until_s = now_s() + MODEL_S * batch.len() as f64;
        while now_s() < until_s {
            std::hint::spin_loop();
        }
        batch.into_iter().map(|value| Ok(value ^ 0x5555)).collect()
    }
}

/// `number,value,due,now`, in the order in which they came.
struct Lines(PathBuf);

struct LineFile(BufWriter<std::fs::File>);

impl Sink for Lines {
    type Record = Item;

    fn open(&self) -> Result<Box<dyn Writer<Record = Item>>> {
        let file = std::fs::File::create(&self.0)
            .map_err(|e| Error::new(ErrorKind::Unavailable, self.0.display().to_string()).because(e))?;
        Ok(Box::new(LineFile(BufWriter::new(file))))
    }
}

impl Writer for LineFile {
    type Record = Item;

    fn write(&mut self, _epoch: u64, item: Item) -> std::result::Result<(), Failure> {
        writeln!(self.0, "{},{},{:.6},{:.6}", item.number, item.value, item.due_s, now_s())
            .map_err(|e| Failure::new(jellybean_engine::Reason::FAILED, e.to_string()))
    }
}

struct Line {
    number: u64,
    value: u64,
    due_s: f64,
    now_s: f64,
}

fn read(file: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Error::new(ErrorKind::NotFound, file.display().to_string()).because(e))?;
    let line = |line: &str| {
        let mut parts = line.split(',');
        Some(Line {
            number: parts.next()?.parse().ok()?,
            value: parts.next()?.parse().ok()?,
            due_s: parts.next()?.parse().ok()?,
            now_s: parts.next()?.parse().ok()?,
        })
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Lost, doubled, out of order, and whether every value is what it would be without any change. What is behind the last
/// record of a lane was never admitted.
fn judge(lines: &[Line], settings: &Settings) -> serde_json::Value {
    let mut seen = vec![0_u32; lines.iter().map(|line| line.number as usize + 1).max().unwrap_or(0)];
    let mut ends = [0; LANES as usize];
    let mut last = [None; LANES as usize];
    let (mut reordered, mut wrong) = (0, 0);
    for line in lines {
        seen[line.number as usize] += 1;
        let last = &mut last[(line.number % LANES) as usize];
        reordered += u64::from(last.is_some_and(|last| last >= line.number));
        *last = Some(line.number);
        ends[(line.number % LANES) as usize] = line.number;
        // What one model does to a value the other undoes. Keys take turns, so the key was seen once for each round of all keys before; its count begins at four sevens.
        let expected = line
            .number
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(0x0707_0707 + line.number / settings.keys + 1);
        wrong += u64::from(line.value != expected);
    }
    let admitted = |number: u64| number <= ends[(number % LANES) as usize];
    let lost = (0..).zip(&seen).filter(|(number, n)| **n == 0 && admitted(*number)).count();
    let doubled = seen.iter().filter(|n| **n > 1).count();
    serde_json::json!({ "lost": lost, "doubled": doubled, "out_of_order": reordered, "other_results": wrong })
}

/// The 99th percentile after each instant over the one before, and both, in milliseconds.
fn ratio(lines: &[Line], instants: &[f64]) -> serde_json::Value {
    let p99_ms = |from_s: f64, to_s: f64| {
        let within = lines.iter().filter(|line| (from_s..to_s).contains(&line.due_s));
        let mut ms: Vec<f64> = within.map(|line| (line.now_s - line.due_s) * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        ms.get(ms.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    };
    let pairs: Vec<(f64, f64)> =
        instants.iter().map(|at_s| (p99_ms(at_s - 1.0, *at_s), p99_ms(*at_s, at_s + 1.0))).collect();
    serde_json::json!({
        "n": pairs.len(),
        "ratio": Spread::of(pairs.iter().map(|(before, after)| after / before)),
        "before_ms": Spread::of(pairs.iter().map(|(before, _)| *before)),
        "after_ms": Spread::of(pairs.iter().map(|(_, after)| *after)),
    })
}
