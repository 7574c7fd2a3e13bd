//! Real clips for tests, made at test time by a real ffmpeg.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetch::{Cache, Environment, ffmpeg_program, silent};

/// The ffmpeg that tests run: found, or installed as for any run.
pub(super) fn ffmpeg() -> PathBuf {
    ffmpeg_program(&Cache::new(Environment::of_process()).unwrap(), None, &silent).unwrap()
}

/// Writes a clip of one of ffmpeg's generators, with a video codec (none for sound), into a folder.
pub(super) fn clip(folder: &Path, name: &str, generator: &str, codec: &str) -> PathBuf {
    clip_with(folder, name, generator, codec, &[])
}

/// The same with further options of the encoder.
pub(super) fn clip_with(
    folder: &Path,
    name: &str,
    generator: &str,
    codec: &str,
    options: &[&str],
) -> PathBuf {
    let path = folder.join(name);
    let mut output = std::ffi::OsString::from("file:");
    output.push(&path);
    let mut command = Command::new(ffmpeg());
    command.args(["-nostdin", "-v", "error", "-threads", "1", "-f", "lavfi", "-i", generator]);
    if !codec.is_empty() {
        // Motion JPEG has formats of its own, in full range.
        let format = if codec == "mjpeg" { "yuvj420p" } else { "yuv420p" };
        command.args(["-c:v", codec, "-threads", "1", "-pix_fmt", format]);
    }
    if codec == "libx264" {
        command.args(["-preset", "ultrafast"]);
    }
    let status = command.args(options).arg(output).status().expect("ffmpeg starts");
    assert!(status.success(), "ffmpeg could not make {}", path.display());
    path
}
