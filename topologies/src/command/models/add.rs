//! `models add`: a family of one's own, from an ONNX file and what its inputs and outputs tell.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use jellybean_operators::model::guess::{self, Fed, Guess, Wish};
use jellybean_operators::model::{EMBEDDED, Manifest, RawInput, RawModel, Values, read_model, sha256};
use serde::Serialize;

use super::place::Place;
use crate::command::Tools;
use crate::command::progress::bars;

/// What the pixels of the first run are worth.
const GREY: f32 = 0.5;

/// `models add`.
#[derive(Args)]
pub(in crate::command) struct Add {
    /// The ONNX file.
    #[arg(value_name = "PATH")]
    file: PathBuf,
    /// What the family is to be called; the file's name if not said.
    #[arg(long)]
    name: Option<String>,
    /// What it is for; guessed if not said.
    #[arg(long)]
    task: Option<For>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A task that can be guessed.
#[derive(Clone, Copy, ValueEnum)]
enum For {
    Detect,
    Classify,
    Embed,
}

/// What was made of a file.
#[derive(Serialize)]
struct Added {
    family: String,
    task: &'static str,
    head: &'static str,
    folder: PathBuf,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// What a run on a grey picture made.
    run: String,
    /// What was assumed, and what has to be filled in.
    to_check: Vec<String>,
}

impl Add {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn run(&self, tools: &Tools) -> anyhow::Result<()> {
        let name = self.family_name()?;
        let folder = Tools::cache()?.family(&name);
        if folder.exists() || EMBEDDED.iter().any(|e| e.name == name) {
            bail!(
                "there is a family \"{name}\" already (choose another with --name, or remove {})",
                folder.display()
            );
        }
        let bytes = read_model(&self.file)?;
        tools.load_runtime(&bars())?;
        let mut model = RawModel::open(&bytes, 1).with_context(|| self.file.display().to_string())?;
        let (fed, guess) = self.guess(&mut model).with_context(|| self.file.display().to_string())?;
        let file = format!("{name}.onnx");
        let manifest = guess.manifest(&name, &file, &sha256(&bytes), &fed);
        Manifest::parse(&manifest, "manifest.toml")?;
        let run = install(&folder, &file, &bytes, &manifest, guess.task)?;
        let added = Added {
            family: name,
            task: guess.task,
            head: guess.kind,
            folder,
            inputs: model.inputs().iter().map(ToString::to_string).collect(),
            outputs: model.outputs().iter().map(ToString::to_string).collect(),
            run,
            to_check: fed.notes.into_iter().chain(guess.notes).collect(),
        };
        if self.json {
            println!("{}", serde_json::to_string(&added)?);
        } else {
            println!("{}", added.in_words());
        }
        Ok(())
    }

    fn family_name(&self) -> anyhow::Result<String> {
        let stem = self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.name.clone().or(stem).context("a file's name is needed")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.') {
            return Ok(name);
        }
        bail!("{name:?} cannot be a family's name: letters, digits, - _ and . can (choose one with --name)")
    }

    /// Runs the file once, since graphs leave sides open that only a run tells.
    fn guess(&self, model: &mut RawModel) -> anyhow::Result<(Fed, Guess)> {
        let wish = match self.task {
            None => Wish::Any,
            Some(For::Detect) => Wish::Detect,
            Some(For::Classify) => Wish::Classify,
            Some(For::Embed) => Wish::Embed,
        };
        let fed = guess::fed(&model.inputs(), wish)?;
        let shape = fed.shape();
        let values = vec![GREY; shape.iter().product()];
        let input = RawInput { name: &fed.name, shape: &shape, values: Values::F32(&values) };
        let ports = model.outputs();
        let names: Vec<&str> = ports.iter().filter(|p| p.is_f32).map(|p| p.name.as_str()).collect();
        let shapes = model.run(&[input], &names, |outputs| {
            let side = |&side: &i64| usize::try_from(side).unwrap_or(0);
            outputs.iter().map(|output| output.shape.iter().map(side).collect()).collect::<Vec<Vec<usize>>>()
        })?;
        let outputs: Vec<_> = names.into_iter().map(str::to_owned).zip(shapes).collect();
        let guess = guess::guess(&fed, &outputs, wish)?;
        Ok((fed, guess))
    }
}

/// Writes the family beside its place, tries it there, and moves it: what does not run is not added.
fn install(
    folder: &Path,
    file: &str,
    bytes: &[u8],
    manifest: &str,
    task: &'static str,
) -> anyhow::Result<String> {
    let parent = folder.parent().context("the cache has a folder of models")?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent.join(format!(".adding-{}-{name}", std::process::id()));
    let write = || -> anyhow::Result<String> {
        fs::create_dir_all(&beside)?;
        fs::write(beside.join(file), bytes)?;
        fs::write(beside.join("manifest.toml"), manifest)?;
        let run = Place::Folder(beside.clone()).try_once(task, "default")?;
        fs::rename(&beside, folder)?;
        Ok(run)
    };
    let outcome = write().with_context(|| format!("cannot add a family at {}", folder.display()));
    if outcome.is_err() {
        // What it says is why the family was not added; that a folder stays behind would hide it.
        let _ = fs::remove_dir_all(&beside);
    }
    outcome
}

impl Added {
    fn in_words(&self) -> String {
        let mut lines = vec![format!("added \"{}\": task {}, head {}", self.family, self.task, self.head)];
        lines.extend(self.inputs.iter().map(|input| format!("  takes {input}")));
        lines.extend(self.outputs.iter().map(|output| format!("  makes {output}")));
        lines.push(format!("  on grey: {}", self.run));
        lines.push(format!("check in {}:", self.folder.join("manifest.toml").display()));
        lines.extend(self.to_check.iter().map(|note| format!("  - {note}")));
        lines.join("\n")
    }
}
