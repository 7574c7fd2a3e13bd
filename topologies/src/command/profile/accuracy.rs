//! How accurate combinations of variants are, end to end: by what a topology counts.

use anyhow::{Context, bail};
use jellybean_engine::plan::{Assignment, Plan};
use jellybean_engine::profile::{MeasuredAccuracy, MeasuredRow, MeasuredStage, Profile};
use jellybean_engine::{Clock, Run};
use jellybean_operators::model::manifest_of;

use super::super::run::{Judged, Made};
use crate::accuracy::Scores;
use crate::tally::Counts;

/// Combinations of variants that are run, at most.
const COMBINATIONS_MAX: usize = 64;
/// The seed of the intervals.
const SEED: u64 = 1;
/// How often it is looked whether to end.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// Runs the topology on all of its footage with every combination of variants.
pub(super) fn measure(
    made: &Made,
    judged: &Judged,
    profile: &Profile,
    tell: &dyn Fn(&str),
    ends: &dyn Fn() -> bool,
) -> anyhow::Result<MeasuredAccuracy> {
    let stages: Vec<&MeasuredStage> = profile.stages.iter().filter(|stage| stage.family.is_some()).collect();
    let combinations = combinations(&stages);
    if combinations.len() > COMBINATIONS_MAX {
        bail!(
            "{} combinations of variants are too many, {COMBINATIONS_MAX} are the most",
            combinations.len()
        );
    }
    let (right, against) = match &judged.truth {
        Some(truth) => {
            tell("what there truly is");
            let against = "against what was drawn: of each camera, window and class the smaller count over the larger one";
            (truth()?, against.to_owned())
        }
        None => {
            let largest = stages.iter().map(|stage| largest(stage)).collect::<anyhow::Result<Vec<_>>>()?;
            let against = format!(
                "against the largest variants ({}), not against labels: of each camera, window and class the smaller \
                 count over the larger one",
                largest.join(", ")
            );
            (counts(made, judged, &stages, &largest, tell, ends)?, against)
        }
    };
    let mut rows = Vec::new();
    for variants in combinations {
        let found = counts(made, judged, &stages, &variants, tell, ends)?;
        let estimate = Scores::of(&found, &right).estimate(SEED);
        let estimate = estimate.context("nothing was counted: take footage in which something happens")?;
        let tidy = |share: f64| (share * 1e4).round() / 1e4;
        rows.push(MeasuredRow {
            variants,
            accuracy: tidy(estimate.mean),
            accuracy_low: tidy(estimate.low),
            accuracy_high: tidy(estimate.high),
            samples: estimate.samples,
        });
    }
    Ok(MeasuredAccuracy::Table {
        against,
        stages: stages.iter().map(|stage| stage.name.clone()).collect(),
        rows,
    })
}

/// Every choice of a variant for each stage.
fn combinations(stages: &[&MeasuredStage]) -> Vec<Vec<String>> {
    stages.iter().fold(vec![Vec::new()], |chosen, stage| {
        let with = |chosen: &Vec<String>, variant: &String| {
            chosen.iter().chain([variant]).cloned().collect::<Vec<String>>()
        };
        chosen
            .iter()
            .flat_map(|chosen| stage.variants.iter().map(move |variant| with(chosen, variant)))
            .collect()
    })
}

/// The variant that its manifest calls the most accurate.
fn largest(stage: &MeasuredStage) -> anyhow::Result<String> {
    let family = stage.family.as_deref().context("the stage has a family")?;
    let manifest = manifest_of(family)?;
    let best = manifest.variants.iter().max_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
    Ok(best.context("the family has no variant")?.name.clone())
}

/// What is counted with these variants.
fn counts(
    made: &Made,
    judged: &Judged,
    stages: &[&MeasuredStage],
    variants: &[String],
    tell: &dyn Fn(&str),
    ends: &dyn Fn() -> bool,
) -> anyhow::Result<Counts> {
    let plan = stages.iter().zip(variants).fold(Plan::single("here"), |plan, (stage, variant)| {
        plan.with(&stage.name, Assignment::on("here").variant(variant))
    });
    _ = judged.tally.take();
    let run = Run::start(made.graph.clone(), plan, &["here"], Clock::real())?;
    while !run.wait(LOOK) {
        let accounts = run.accounts();
        if accounts.sources.values().any(|source| source.gaps.is_some()) {
            bail!("live cameras do not show the same twice: take videos or pictures for --accuracy");
        }
        let frames = accounts.total().completed;
        tell(&format!("accuracy of {}: {frames} frames", variants.join(", ")));
        if ends() {
            bail!("measuring the accuracy was ended");
        }
    }
    let report = run.finish();
    if let Some(fault) = report.ledger.faults.first() {
        bail!("{fault}");
    }
    Ok(judged.tally.take())
}
