//! `doctor`: what this machine has, and what is missing.

use std::path::{Path, PathBuf};

use clap::Args;
use jellybean_operators::fetch::{ffmpeg_program, find_ffmpeg, find_onnxruntime, onnxruntime_library};
use jellybean_operators::model::runtime;
use serde::Serialize;

use super::Tools;
use super::progress::bars;

/// `doctor`.
#[derive(Args)]
pub(super) struct Doctor {
    /// Install what is missing: ONNX Runtime and ffmpeg, into the cache.
    #[arg(long)]
    install: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    cores: usize,
    cache: PathBuf,
    onnxruntime: Finding,
    ffmpeg: Finding,
}

/// One tool.
#[derive(Serialize)]
struct Finding {
    path: Option<PathBuf>,
    version: Option<String>,
    problem: Option<String>,
}

impl Doctor {
    #[allow(clippy::print_stdout, reason = "the command is where results are told")]
    pub(super) fn run(&self, tools: &Tools) -> anyhow::Result<()> {
        let findings = self.examine(tools)?;
        if self.json {
            println!("{}", serde_json::to_string(&findings)?);
        } else {
            println!("jellybean {} on {} cores", findings.version, findings.cores);
            println!("cache: {}", findings.cache.display());
            for (name, finding) in [("ONNX Runtime", &findings.onnxruntime), ("ffmpeg", &findings.ffmpeg)] {
                println!("{name}: {}", finding.in_words());
            }
        }
        let problem = [findings.onnxruntime, findings.ffmpeg].into_iter().find_map(|f| f.problem);
        problem.map_or(Ok(()), |problem| Err(anyhow::anyhow!(problem)))
    }

    fn examine(&self, tools: &Tools) -> anyhow::Result<Findings> {
        let cache = Tools::cache()?;
        let progress = bars();
        let (library, ffmpeg) = (tools.onnxruntime.as_deref(), tools.ffmpeg.as_deref());
        let library = match self.install {
            true => onnxruntime_library(&cache, library, &runtime::probe, &progress).map(Some),
            false => find_onnxruntime(&cache, library, &runtime::probe, &progress),
        };
        let ffmpeg = match self.install {
            true => ffmpeg_program(&cache, ffmpeg, &progress).map(Some),
            false => find_ffmpeg(&cache, ffmpeg, &progress),
        };
        Ok(Findings {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cache: cache.folder().to_owned(),
            onnxruntime: Finding::of(library, |path| {
                runtime::minor(path).ok().map(|minor| format!("1.{minor}"))
            }),
            ffmpeg: Finding::of(ffmpeg, ffmpeg_version),
        })
    }
}

impl Finding {
    fn of(
        found: jellybean_engine::Result<Option<PathBuf>>,
        version: impl Fn(&Path) -> Option<String>,
    ) -> Self {
        match found {
            Ok(Some(path)) => Self { version: version(&path), path: Some(path), problem: None },
            Ok(None) => Self { path: None, version: None, problem: None },
            Err(error) => Self { path: None, version: None, problem: Some(error.to_string()) },
        }
    }

    fn in_words(&self) -> String {
        match (&self.path, &self.problem) {
            (Some(path), _) => {
                format!("{} ({})", self.version.as_deref().unwrap_or("version unknown"), path.display())
            }
            (None, Some(problem)) => problem.clone(),
            (None, None) => {
                "not here; it is installed when it is needed, or by: jellybean doctor --install".to_owned()
            }
        }
    }
}

/// The second word of what `ffmpeg -version` says first.
fn ffmpeg_version(program: &Path) -> Option<String> {
    let output = std::process::Command::new(program).arg("-version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(2).map(str::to_owned)
}
