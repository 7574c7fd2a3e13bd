//! How far two profiles of a topology agree that were measured on the same machine, one after the other.

use jellybean::Result;
use jellybean_benches::{Spread, failed};
use jellybean_engine::profile::{MeasuredService, Profile};
use jellybean_engine::{Error, ErrorKind};
use serde::Serialize;

#[derive(Serialize)]
struct Outcome {
    bench: &'static str,
    topology: String,
    /// Cores that others kept busy, each time.
    foreign_cores: [f64; 2],
    models: Agreement,
    stages_without_model: Agreement,
    /// Of all variants: how many would be run in the same batch.
    same_best_batch: [usize; 2],
    rows: Vec<Row>,
}

/// How far figures of the second time are from those of the first, in per cent of these.
#[derive(Serialize)]
struct Agreement {
    rows: usize,
    p50_percent: Spread,
    p95_percent: Spread,
    memory_mb: Spread,
}

#[derive(Serialize)]
struct Row {
    stage: String,
    variant: String,
    batch: u32,
    p50_ms: [f64; 2],
    p95_ms: [f64; 2],
    memory_mb: [f64; 2],
}

pub(crate) fn run(first: &str, second: &str) -> Result<()> {
    let (first, second) = (read(first)?, read(second)?);
    let pairs: Vec<(&MeasuredService, &MeasuredService)> = first
        .services
        .iter()
        .filter_map(|a| {
            let same =
                |b: &&MeasuredService| (&b.stage, &b.variant, b.batch) == (&a.stage, &a.variant, a.batch);
            Some((a, second.services.iter().find(same)?))
        })
        .collect();
    let of = |has_model: bool| -> Agreement {
        let pairs = || pairs.iter().filter(move |(a, _)| (a.load_ms > 0.0) == has_model);
        let percent = |a: f64, b: f64| 100.0 * (b / a - 1.0).abs();
        Agreement {
            rows: pairs().count(),
            p50_percent: Spread::of(pairs().map(|(a, b)| percent(a.p50_ms, b.p50_ms))),
            p95_percent: Spread::of(pairs().map(|(a, b)| percent(a.p95_ms, b.p95_ms))),
            memory_mb: Spread::of(pairs().map(|(a, b)| (b.memory_mb - a.memory_mb).abs())),
        }
    };
    let best = |profile: &Profile, row: &MeasuredService| {
        profile.best(&row.stage, &row.variant, &row.node).map(|row| row.batch)
    };
    let singles = || pairs.iter().filter(|(a, _)| a.batch == 1 && a.load_ms > 0.0);
    let outcome = Outcome {
        bench: "profile-twice",
        topology: first.topology.clone(),
        foreign_cores: [&first, &second].map(|p| p.nodes.first().map_or(f64::NAN, |node| node.foreign_cores)),
        models: of(true),
        stages_without_model: of(false),
        same_best_batch: [
            singles().filter(|(a, b)| best(&first, a) == best(&second, b)).count(),
            singles().count(),
        ],
        rows: pairs.iter().map(|(a, b)| row(a, b)).collect(),
    };
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap_or_default());
    Ok(())
}

fn row(a: &MeasuredService, b: &MeasuredService) -> Row {
    Row {
        stage: a.stage.clone(),
        variant: a.variant.clone(),
        batch: a.batch,
        p50_ms: [a.p50_ms, b.p50_ms],
        p95_ms: [a.p95_ms, b.p95_ms],
        memory_mb: [a.memory_mb, b.memory_mb],
    }
}

fn read(file: &str) -> Result<Profile> {
    let text = std::fs::read_to_string(file).map_err(failed(file))?;
    let profile: Profile =
        toml::from_str(&text).map_err(|e| Error::new(ErrorKind::Invalid, file).because(e))?;
    profile.check()?;
    Ok(profile)
}
