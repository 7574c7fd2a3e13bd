//! Fetches into the cache what its arguments name: `onnxruntime`, `ffmpeg`, a family, `vtest`.
//!
//! `JELLYBEAN_CACHE=/tmp/cache cargo run -p jellybean-operators --example fetch -- ffmpeg vtest`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::cell::RefCell;

use jellybean_operators::Result;
use jellybean_operators::fetch::{
    Cache, Environment, Step, fetch_models, ffmpeg_program, onnxruntime_library,
};

fn main() -> Result<()> {
    let cache = Cache::new(Environment::of_process())?;
    let last = RefCell::new(String::new());
    let progress = |step: Step| {
        let percent = step.total_bytes.map(|total| format!(" {} %", step.done_bytes * 100 / total.max(1)));
        let line = format!("{}{}", step.what, percent.unwrap_or_default());
        if *last.borrow() != line {
            println!("  {line}");
            last.replace(line);
        }
    };
    for name in std::env::args().skip(1) {
        let path = match name.as_str() {
            "onnxruntime" => onnxruntime_library(&cache, None, &|_| Ok(()), &progress)?,
            "ffmpeg" => ffmpeg_program(&cache, None, &progress)?,
            other => fetch_models(&cache, &[other], &progress)?.remove(0).path,
        };
        println!("{name}: {}", path.display());
    }
    Ok(())
}
