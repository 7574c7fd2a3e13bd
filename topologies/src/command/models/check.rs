//! `models check`: whether a family is what its manifest says.

use anyhow::bail;
use clap::Args;
use jellybean_operators::model::RawModel;
use serde::Serialize;

use super::place::Place;
use crate::command::Tools;
use crate::command::progress::bars;

/// `models check`.
#[derive(Args)]
pub(in crate::command) struct Check {
    /// The family's name, or its folder.
    #[arg(value_name = "PATH")]
    family: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found of a family.
#[derive(Serialize)]
struct Checked {
    family: String,
    task: String,
    license: String,
    variants: Vec<CheckedVariant>,
}

/// What was found of a variant.
#[derive(Serialize)]
struct CheckedVariant {
    variant: String,
    sha256: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// What a run on a grey picture made.
    run: Option<String>,
    problem: Option<String>,
}

impl Check {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn run(&self, tools: &Tools) -> anyhow::Result<()> {
        let place = Place::of(&self.family);
        let manifest = place.manifest()?;
        tools.load_runtime(&bars())?;
        let variants = manifest.variants.iter().map(|variant| {
            let mut checked = CheckedVariant {
                variant: variant.name.clone(),
                sha256: variant.sha256.clone(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                run: None,
                problem: None,
            };
            match checked.look(&place, &manifest.task) {
                Ok(run) => checked.run = Some(run),
                Err(e) => checked.problem = Some(format!("{e:#}")),
            }
            checked
        });
        let variants = variants.collect();
        let checked =
            Checked { family: manifest.name, task: manifest.task, license: manifest.license, variants };
        if self.json {
            println!("{}", serde_json::to_string(&checked)?);
        } else {
            println!("{}", checked.in_words());
        }
        match checked.variants.iter().filter(|variant| variant.problem.is_some()).count() {
            0 => Ok(()),
            n => bail!("{n} of {} variants of \"{}\" cannot be used", checked.variants.len(), checked.family),
        }
    }
}

impl CheckedVariant {
    fn look(&mut self, place: &Place, task: &str) -> anyhow::Result<String> {
        let model = RawModel::open(&place.bytes(task, &self.variant)?, 1)?;
        self.inputs = model.inputs().iter().map(ToString::to_string).collect();
        self.outputs = model.outputs().iter().map(ToString::to_string).collect();
        drop(model);
        place.try_once(task, &self.variant)
    }
}

impl Checked {
    fn in_words(&self) -> String {
        let mut lines = vec![format!("{}: task {}, license {}", self.family, self.task, self.license)];
        for v in &self.variants {
            lines.push(format!("  {}: sha256 {}", v.variant, v.sha256));
            lines.extend(v.inputs.iter().map(|input| format!("    takes {input}")));
            lines.extend(v.outputs.iter().map(|output| format!("    makes {output}")));
            lines.extend(v.run.iter().map(|run| format!("    on grey: {run}")));
            lines.extend(v.problem.iter().map(|problem| format!("    cannot be used: {problem}")));
        }
        lines.join("\n")
    }
}
