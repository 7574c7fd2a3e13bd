//! `plan diff`: what changes from one plan to another.

use std::path::PathBuf;

use clap::Args;
use jellybean_engine::planning::diff;
use jellybean_engine::planning::diff::{Difference, What};

use super::super::run::read_plan;
use super::super::table::{Align, table};

/// `plan diff`.
#[derive(Args)]
pub(super) struct Diff {
    /// The plan as it is (TOML).
    from: PathBuf,
    /// The plan as it will be (TOML).
    to: PathBuf,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

impl Diff {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let changes = diff(&read_plan(&self.from)?, &read_plan(&self.to)?);
        if self.json {
            println!("{}", serde_json::to_string(&changes)?);
        } else if changes.is_empty() {
            println!("Nothing changes.");
        } else {
            print!("{}", in_words(&changes));
        }
        Ok(())
    }
}

fn in_words(changes: &[Difference]) -> String {
    let row = |change: &Difference| {
        let what = match change.what {
            What::Nodes => "moves",
            What::Shares => "shares",
            What::Variant => "variant",
            What::Slots => "slots",
            What::Batches => "batches",
        };
        let cells = [&change.stage, what, &change.from, "->", &change.to];
        cells.map(str::to_owned).to_vec()
    };
    let rows: Vec<Vec<String>> = changes.iter().map(row).collect();
    let columns = ["stage", "what", "from", "", "to"].map(|name| (name, Align::Left));
    table(&columns, &rows)
}
