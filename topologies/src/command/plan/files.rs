//! The files of a plan: read with their lines in every complaint, and written.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use jellybean_engine::Graph;
use jellybean_engine::infrastructure::Infrastructure;
use jellybean_engine::placement::problem::Machines;
use jellybean_engine::planning::{self, Fault, Rates};
use jellybean_engine::profile::Profile;

use super::super::{read_toml, read_toml_with_text};

/// The machines of an infrastructure file.
pub(super) fn machines(file: &Path) -> anyhow::Result<(Infrastructure, Machines)> {
    let (text, infrastructure): (_, Infrastructure) = read_toml_with_text("infrastructure", file)?;
    let machines = planning::machines(&infrastructure).map_err(|fault| located(file, &text, fault))?;
    infrastructure.check().with_context(|| file.display().to_string())?;
    Ok((infrastructure, machines))
}

/// A rates file that fits the topology and the infrastructure.
pub(super) fn rates(file: &Path, graph: &Graph, infrastructure: &Infrastructure) -> anyhow::Result<Rates> {
    let (text, rates): (_, Rates) = read_toml_with_text("rates", file)?;
    rates.check(graph, infrastructure).map_err(|fault| located(file, &text, fault))?;
    Ok(rates)
}

/// What several files of one topology say together.
pub(super) fn profile(files: &[PathBuf]) -> anyhow::Result<Profile> {
    let mut all: Option<Profile> = None;
    for file in files {
        let profile: Profile = read_toml("profile", file)?;
        profile.check().with_context(|| file.display().to_string())?;
        all = Some(match all {
            Some(before) => before.merge(profile).with_context(|| file.display().to_string())?,
            None => profile,
        });
    }
    all.context("a plan needs a profile: pass --profile")
}

/// A fault with the line it is in.
fn located(file: &Path, text: &str, fault: Fault) -> anyhow::Error {
    let Fault { entry, error } = fault;
    match entry.line(text) {
        Some(line) => anyhow!("{}, line {line}: {error}", file.display()),
        None => anyhow!("{}: {error}", file.display()),
    }
}

pub(super) fn write(what: &str, file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("the {what} {} cannot be written", file.display()))
}
