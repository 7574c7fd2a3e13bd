//! What a ready-made topology looks at.

use std::path::{Path, PathBuf};

use clap::Args;
use jellybean_engine::source::Policy;
use jellybean_operators::source::{CameraEntry, Cameras};

/// What to look at: any number of these.
#[derive(Args)]
pub(super) struct Footage {
    /// A video, or a picture; any file that ffmpeg reads.
    #[arg(long, value_name = "FILE")]
    video: Vec<PathBuf>,
    /// A folder of JPEG pictures.
    #[arg(long, value_name = "FOLDER")]
    pictures: Vec<PathBuf>,
    /// A live camera: rtsp://…, http://… (MJPEG), /dev/video0. Other programs see the command line: cameras with a
    /// password belong into a file.
    #[arg(long, value_name = "URL")]
    camera: Vec<String>,
    /// A file of cameras (TOML): `version = 1`, and `[[camera]]` with name, url, node, policy, priority.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["video", "pictures", "camera"])]
    cameras: Option<PathBuf>,
    /// Play files as fast as they were filmed, and drop frames that are too late, as from a live camera.
    #[arg(long, conflicts_with = "cameras")]
    realtime: bool,
}

impl Footage {
    /// The cameras to look at; where nothing is named, the files that `default` brings.
    pub(super) fn cameras(
        &self,
        ffmpeg: &Path,
        default: impl FnOnce() -> anyhow::Result<Vec<PathBuf>>,
    ) -> anyhow::Result<Cameras> {
        if let Some(file) = &self.cameras {
            return Ok(Cameras::from_file(file)?.ffmpeg(ffmpeg)?);
        }
        let mut files: Vec<PathBuf> = self.video.iter().chain(&self.pictures).cloned().collect();
        if files.is_empty() && self.camera.is_empty() {
            files = default()?;
        }
        let mut entries: Vec<CameraEntry> = Vec::new();
        for file in files {
            let name = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy();
            let mut entry = CameraEntry::new(unused(&entries, &name), format!("file:{}", file.display()));
            entry.policy = self.realtime.then_some(Policy::Latest);
            entries.push(entry);
        }
        for url in &self.camera {
            entries.push(CameraEntry::new(unused(&entries, "camera"), url));
        }
        Ok(Cameras::new(entries)?.ffmpeg(ffmpeg)?)
    }
}

/// The name, or with the first number that makes it the only one of its kind.
fn unused(entries: &[CameraEntry], name: &str) -> String {
    let is_free = |name: &String| entries.iter().all(|entry| entry.name != *name);
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).expect("numbers do not run out")
}
