//! What the tests of this folder share: the real ONNX Runtime, and the test models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fetch::{Cache, Environment, onnxruntime_library, silent};
use crate::picture::{Format, Frame, Picture};

/// The library that the tests load: found, or installed as for any run.
///
/// # Panics
/// If there is none: a test that needs it never passes without it.
pub(crate) fn runtime_path() -> PathBuf {
    let cache = Cache::new(Environment::of_process()).unwrap();
    onnxruntime_library(&cache, None, &super::runtime::probe, &silent).unwrap()
}

/// Loads the real ONNX Runtime.
pub(crate) fn runtime() {
    super::runtime::load(&runtime_path()).unwrap();
}

/// The folder of test models, made by its `make.py`.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models")
}

/// A frame of RGB.
pub(crate) fn frame(width: u32, height: u32, rgb: impl Fn(u32, u32) -> [u8; 3]) -> Frame {
    let data: Vec<u8> = (0..width * height).flat_map(|i| rgb(i % width, i / width)).collect();
    let picture = Picture { width, height, format: Format::Rgb, data: data.into() };
    Frame { camera: Arc::from("test"), number: 0, time_ms: 0, picture }
}

/// A small generator of test input (splitmix64).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// In 0..n.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In 0..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
