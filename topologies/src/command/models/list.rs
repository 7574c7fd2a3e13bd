//! `models list`: families that are compiled in, and those in the cache.

use std::collections::BTreeSet;
use std::fs;

use jellybean_operators::model::EMBEDDED;
use serde::Serialize;

use super::place::Place;
use crate::command::Tools;

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

/// A family that cannot be listed.
#[derive(Serialize)]
struct Unlisted {
    family: String,
    problem: String,
}

#[allow(clippy::print_stdout, reason = "the command is where results are told")]
pub(super) fn list(json: bool) -> anyhow::Result<()> {
    let (mut listed, mut unlisted) = (Vec::new(), Vec::new());
    for family in names()? {
        match variants(&family) {
            Ok(variants) => listed.extend(variants),
            Err(e) => unlisted.push(Unlisted { family, problem: format!("{e:#}") }),
        }
    }
    if json {
        let all = listed.iter().map(serde_json::to_value).chain(unlisted.iter().map(serde_json::to_value));
        println!("{}", serde_json::to_string(&all.collect::<Result<Vec<_>, _>>()?)?);
        return Ok(());
    }
    for l in listed {
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
    unlisted.iter().for_each(|u| println!("! {}: {}", u.family, u.problem));
    Ok(())
}

/// Families that are compiled in, then those of the cache, by name.
fn names() -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = EMBEDDED.iter().map(|e| e.name.to_owned()).collect();
    let cached = Tools::cache()?.folder().join("models");
    let folders = fs::read_dir(cached).into_iter().flatten().filter_map(Result::ok);
    let with_manifest = folders.filter(|folder| folder.path().join("manifest.toml").is_file());
    let found: BTreeSet<String> =
        with_manifest.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    let new = found.into_iter().filter(|name| !EMBEDDED.iter().any(|e| e.name == name));
    names.extend(new);
    Ok(names)
}

fn variants(family: &str) -> anyhow::Result<Vec<Listed>> {
    let place = Place::Named(family.to_owned());
    let manifest = place.manifest()?;
    let listed = manifest.variants.iter().map(|variant| Listed {
        family: family.to_owned(),
        task: manifest.task.clone(),
        variant: variant.name.clone(),
        default: variant.name == manifest.default_variant().name,
        input: format!("{}x{}", variant.width, variant.height),
        precision: format!("{:?}", variant.precision).to_lowercase(),
        accuracy: variant.accuracy,
        accuracy_data: variant.accuracy_data.clone(),
        here: place.bytes(&manifest.task, &variant.name).is_ok(),
    });
    Ok(listed.collect())
}
