//! Real clips, made at test time by a real ffmpeg.

use std::path::{Path, PathBuf};
use std::process::Command;

use jellybean_operators::fetch::{Cache, Environment, ffmpeg_program, silent};

/// The ffmpeg that tests run: found, or installed as for any run.
///
/// # Panics
/// If there is none: a test that needs it never passes without it.
#[must_use]
pub fn ffmpeg() -> PathBuf {
    let cache = Cache::new(Environment::of_process()).expect("there is a folder for the cache");
    ffmpeg_program(&cache, None, &silent).expect("ffmpeg is found or installed")
}

/// Writes a clip of so many frames (160 x 120, 25 per second, MPEG-4 in AVI) into a folder.
///
/// # Panics
/// If ffmpeg cannot.
#[must_use]
pub fn clip(folder: &Path, name: &str, frames: u32) -> PathBuf {
    let path = folder.join(name);
    let status = Command::new(ffmpeg())
        .args([
            "-nostdin",
            "-v",
            "error",
            "-threads",
            "1",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=160x120:rate=25",
        ])
        .args(["-frames:v", &frames.to_string(), "-c:v", "mpeg4", "-threads", "1", "-pix_fmt", "yuv420p"])
        .arg(&path)
        .status();
    assert!(status.expect("ffmpeg starts").success(), "ffmpeg could not make {}", path.display());
    path
}
