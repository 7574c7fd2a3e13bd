//! Models by themselves: loaded, and called in rounds on what reached them in a run.

use super::figures::{Times, tidy};
use super::running::Watched;
use super::{Load, Settings};
use crate::credit::Token;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::id::StageId;
use crate::plan::Assignment;
use crate::profile::{DEFAULT_VARIANT, MeasuredService, MeasuredStage};
use crate::record::Batch;
use crate::stage::Tried;
use crate::topology::{Graph, Stage};

/// Times that a variant is opened, for its memory and how long that takes. Memory that was freed before, by runs, is
/// taken again without a trace, so that the most of several is nearest.
const OPENINGS: usize = 3;
/// All that was opened stays open until everything is, so that none gets the memory of another; unless this process
/// comes to hold more than this, in megabytes.
const HELD_MB_MAX: f64 = 3_000.0;
/// How long one batch size of one variant is called in a round at least, in microseconds.
const TURN_US: u64 = 5_000;
/// Rounds, at least, if they do not take much longer than there is time for.
const ROUNDS_MIN: usize = 7;
/// How often the time there is may be taken for as many.
const PATIENCE: f64 = 3.0;
/// However little time is left for it, calls get this many seconds.
const SECONDS_MIN: f64 = 1.0;
/// Calls of one batch size of one variant, at most.
const CALLS_MAX: usize = 20_000;

/// A variant that is open.
struct Candidate {
    stage: String,
    variant: String,
    runner: Box<dyn Tried>,
    load_ms: f64,
    sizes: Vec<Size>,
    /// The record that comes next.
    next: usize,
}

/// One of its batch sizes.
#[derive(Default)]
struct Size {
    items: usize,
    memory_mb: f64,
    warm_up_us: u64,
    calls_us: Vec<f64>,
}

/// Measures every variant of every model.
pub(super) fn services(
    graph: &Graph,
    stages: &[MeasuredStage],
    seen: &Watched,
    settings: &Settings<'_>,
    seconds: f64,
) -> Result<Vec<MeasuredService>> {
    let (mut candidates, mut held) = (Vec::new(), Vec::new());
    for id in graph.ids().filter(|id| graph.stage(*id).trial.is_some()) {
        let stage = graph.stage(id);
        let Some(measured) = stages.iter().find(|measured| measured.name == stage.name) else { continue };
        for variant in &measured.variants {
            settings.check_on(&format!("loading {} {variant}", stage.name), 0.0)?;
            candidates.push(open(graph, id, variant, seen, settings, &mut held)?);
            if settings.machine.resident_mb() > HELD_MB_MAX {
                held.clear();
            }
        }
    }
    drop(held);
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let load = Load::from_now(settings);
    call(&mut candidates, settings, seconds.max(SECONDS_MIN))?;
    let foreign_cores = tidy(load.foreign_cores(settings));
    let rows = candidates.iter().flat_map(|candidate| {
        candidate.sizes.iter().map(move |size| row(candidate, size, foreign_cores, settings))
    });
    Ok(rows.collect())
}

/// Opens a variant several times; the last one is the candidate, and the others are held.
fn open(
    graph: &Graph,
    id: StageId,
    variant: &str,
    seen: &Watched,
    settings: &Settings<'_>,
    held: &mut Vec<Box<dyn Tried>>,
) -> Result<Candidate> {
    let stage = graph.stage(id);
    let at = |e: Error| e.at(format!("stage \"{}\", variant \"{variant}\"", stage.name));
    let (mut sizes, mut loads_ms): (Vec<Size>, Vec<f64>) = Default::default();
    let mut last: Option<Box<dyn Tried>> = None;
    for opening in 0..OPENINGS {
        let records = records(graph, stage, seen)?;
        let (before_mb, from_us) = (settings.machine.resident_mb(), settings.clock.now_us());
        let mut runner = opened(stage, variant, records, settings).map_err(at)?;
        loads_ms.push(settings.clock.now_us().saturating_sub(from_us) as f64 / 1e3);
        for (k, batch) in settings.batches.iter().enumerate() {
            let items = *batch as usize;
            let warm_up_us = runner.call(0, items, &settings.clock).map_err(|e| at(failed(&e)))?;
            // The candidate is warm before its calls count.
            if opening + 1 == OPENINGS {
                runner.call(items, items, &settings.clock).map_err(|e| at(failed(&e)))?;
            }
            let memory_mb = settings.machine.resident_mb() - before_mb;
            if opening == 0 {
                sizes.push(Size { items, warm_up_us, ..Size::default() });
            }
            sizes[k].memory_mb = sizes[k].memory_mb.max(memory_mb);
        }
        held.extend(last.replace(runner));
    }
    let runner = last.expect("it was opened several times");
    let load_ms = Times::of(loads_ms).quantile(0.5);
    Ok(Candidate { stage: stage.name.clone(), variant: variant.to_owned(), runner, load_ms, sizes, next: 0 })
}

fn opened(
    stage: &Stage,
    variant: &str,
    records: Vec<Batch>,
    settings: &Settings<'_>,
) -> Result<Box<dyn Tried>> {
    let mut assignment = Assignment::on(&settings.node);
    if variant != DEFAULT_VARIANT {
        assignment = assignment.variant(variant);
    }
    stage.trial.as_ref().expect("it has runners").open(&assignment, records)
}

/// What reached a stage in a run.
fn records(graph: &Graph, stage: &Stage, seen: &Watched) -> Result<Vec<Batch>> {
    let from = stage.inputs[0];
    let out = seen.survey.out(from);
    let decode = graph.stage(from).decode;
    out.batches.iter().map(|bytes| decode(0, bytes, &Token::default)).collect()
}

/// Calls everything in turn until the time is over.
fn call(candidates: &mut [Candidate], settings: &Settings<'_>, seconds: f64) -> Result<()> {
    let what = "calling models";
    let load = Load::from_now(settings);
    for round in 0.. {
        let done = load.seconds(settings) / seconds;
        let is_over = done >= PATIENCE || done >= 1.0 && round >= ROUNDS_MIN;
        if round > 0 && (is_over || candidates.iter().all(Candidate::is_full)) {
            break;
        }
        for candidate in &mut *candidates {
            settings.check_on(what, load.seconds(settings) / seconds)?;
            candidate.turn(settings)?;
        }
    }
    Ok(())
}

impl Candidate {
    fn is_full(&self) -> bool {
        self.sizes.iter().all(|size| size.calls_us.len() >= CALLS_MAX)
    }

    /// Calls each batch size for a while.
    fn turn(&mut self, settings: &Settings<'_>) -> Result<()> {
        for size in &mut self.sizes {
            let mut turn_us = 0;
            while turn_us < TURN_US && size.calls_us.len() < CALLS_MAX {
                let us = self.runner.call(self.next, size.items, &settings.clock).map_err(|e| {
                    failed(&e).at(format!("stage \"{}\", variant \"{}\"", self.stage, self.variant))
                })?;
                self.next = self.next.wrapping_add(size.items) % (1 << 30);
                size.calls_us.push(us as f64);
                // A call that is shorter than the clock can tell ends a turn as well.
                turn_us += us.max(1);
            }
        }
        Ok(())
    }
}

fn row(candidate: &Candidate, size: &Size, foreign_cores: f64, settings: &Settings<'_>) -> MeasuredService {
    let times = Times::of(size.calls_us.iter().map(|us| us / 1e3).collect());
    let p50_ms = times.quantile(0.5).max(1e-3);
    MeasuredService {
        stage: candidate.stage.clone(),
        variant: candidate.variant.clone(),
        node: settings.node.clone(),
        batch: u32::try_from(size.items).unwrap_or(u32::MAX),
        p50_ms: tidy(p50_ms),
        p95_ms: tidy(times.quantile(0.95).max(p50_ms)),
        items_per_s: tidy(1e3 * size.items as f64 / p50_ms),
        memory_mb: tidy(size.memory_mb.max(0.0)),
        load_ms: tidy(candidate.load_ms),
        warm_up_ms: tidy(size.warm_up_us as f64 / 1e3),
        spread: tidy(times.spread()),
        foreign_cores,
        samples: times.count(),
    }
}

fn failed(failure: &Failure) -> Error {
    Error::new(ErrorKind::Failed, format!("the model fails on what reached it: {failure}"))
}
