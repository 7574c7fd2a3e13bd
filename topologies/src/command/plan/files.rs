//! The files of a plan: read with their lines in every complaint, and written.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use jellybean_engine::Graph;
use jellybean_engine::infrastructure::Infrastructure;
use jellybean_engine::placement::problem::Machines;
use jellybean_engine::planning::{self, Fault, Rates};
use jellybean_engine::profile::Profile;
use serde::de::DeserializeOwned;

/// A file is no larger.
const BYTES_MAX: u64 = 64 << 20;

/// The machines of an infrastructure file.
pub(super) fn machines(file: &Path) -> anyhow::Result<(Infrastructure, Machines)> {
    let (text, infrastructure): (_, Infrastructure) = read("infrastructure", file)?;
    let machines = planning::machines(&infrastructure).map_err(|fault| located(file, &text, fault))?;
    infrastructure.check().with_context(|| file.display().to_string())?;
    Ok((infrastructure, machines))
}

/// A rates file that fits the topology and the infrastructure.
pub(super) fn rates(file: &Path, graph: &Graph, infrastructure: &Infrastructure) -> anyhow::Result<Rates> {
    let (text, rates): (_, Rates) = read("rates", file)?;
    rates.check(graph, infrastructure).map_err(|fault| located(file, &text, fault))?;
    Ok(rates)
}

/// What several files of one topology say together.
pub(super) fn profile(files: &[PathBuf]) -> anyhow::Result<Profile> {
    let mut all: Option<Profile> = None;
    for file in files {
        let (_, profile): (_, Profile) = read("profile", file)?;
        profile.check().with_context(|| file.display().to_string())?;
        all = Some(match all {
            Some(before) => before.merge(profile).with_context(|| file.display().to_string())?,
            None => profile,
        });
    }
    all.context("a plan needs a profile: pass --profile")
}

fn read<T: DeserializeOwned>(what: &str, file: &Path) -> anyhow::Result<(String, T)> {
    let unreadable = || format!("the {what} {} cannot be read", file.display());
    if std::fs::metadata(file).with_context(unreadable)?.len() > BYTES_MAX {
        return Err(anyhow!("the {what} {} is too large: at most {BYTES_MAX} bytes", file.display()));
    }
    let text = std::fs::read_to_string(file).with_context(unreadable)?;
    let held =
        toml::from_str(&text).with_context(|| format!("the {what} {} is not right", file.display()))?;
    Ok((text, held))
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
