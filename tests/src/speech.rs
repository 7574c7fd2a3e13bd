//! A runner of one's own: a model with state that is carried from window to window, where no family fits.
//!
//! The model has the inputs and outputs of the Silero voice detector, and a behaviour known by construction:
//! its state halves with each window and grows by the loudness, and says how likely that is speech.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jellybean_engine::Failure;
use jellybean_engine::runner::{AnyRunner, Interrupter, Recipe, Runner, Runners};
use jellybean_engine::sink::collect;
use jellybean_operators::fetch::{Cache, Environment, onnxruntime_library, silent};
use jellybean_operators::model::{RawInput, RawModel, Values, runtime};
use jellybean_operators::prelude::*;
use jellybean_tests::Random;
use serde::{Deserialize, Serialize};

/// Samples of a window, and those before it that the model sees again.
const WINDOW: usize = 512;
const BEFORE: usize = 64;
/// Values of a state, per clip: two layers of 128.
const STATE: usize = 128;
/// The most samples of a clip: a minute at 16 kHz.
const SAMPLES_MAX: usize = 960_000;

/// Sound of one channel at 16 kHz, in -1..=1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Clip(Vec<f32>);

/// How likely each window of a clip is speech.
type Likelihoods = Vec<f32>;

/// Runs the clips of a batch side by side. The state begins anew with each batch, so it is a clip's own: what
/// comes of a clip depends on that clip alone, whichever slot of the pool has it.
struct Voice(RawModel);

impl Voice {
    /// One step of all clips: the windows `[clips, 576]` and the state `[2, clips, 128]`, which is replaced.
    fn step(&mut self, windows: &[f32], state: &mut Vec<f32>, clips: usize) -> Result<Vec<f32>, Failure> {
        let shapes = ([clips, BEFORE + WINDOW], [2, clips, STATE]);
        let inputs = [
            RawInput { name: "input", shape: &shapes.0, values: Values::F32(windows) },
            RawInput { name: "state", shape: &shapes.1, values: Values::F32(state) },
        ];
        let (likely, next) = self.0.run(&inputs, &["output", "stateN"], |outputs| {
            (outputs[0].values.to_vec(), outputs[1].values.to_vec())
        })?;
        *state = next;
        Ok(likely)
    }
}

impl Runner for Voice {
    type In = Clip;
    type Out = Likelihoods;

    fn run(&mut self, batch: Vec<Clip>) -> Vec<Result<Likelihoods, Failure>> {
        self.0.rearm();
        let counts: Vec<usize> = batch.iter().map(|clip| clip.0.len().min(SAMPLES_MAX) / WINDOW).collect();
        let mut likely: Vec<Likelihoods> = vec![Vec::new(); batch.len()];
        let mut state = vec![0.0; 2 * batch.len() * STATE];
        for number in 0..counts.iter().copied().max().unwrap_or(0) {
            let windows: Vec<f32> = batch.iter().flat_map(|clip| window(&clip.0, number)).collect();
            match self.step(&windows, &mut state, batch.len()) {
                Ok(step) => likely.iter_mut().zip(step).for_each(|(likely, p)| likely.push(p)),
                Err(failure) => return vec![Err(failure); batch.len()],
            }
        }
        likely.iter_mut().zip(counts).for_each(|(likely, count)| likely.truncate(count));
        likely.into_iter().map(Ok).collect()
    }

    fn interrupter(&self) -> Option<Interrupter> {
        Some(self.0.interrupter())
    }
}

/// A window with what is before it; silence where there is no sound.
fn window(samples: &[f32], number: usize) -> impl Iterator<Item = f32> {
    let first = (number * WINDOW) as i64 - BEFORE as i64;
    (first..first + (BEFORE + WINDOW) as i64)
        .map(|i| usize::try_from(i).ok().and_then(|i| samples.get(i).copied()).unwrap_or(0.0))
}

/// How the stage finds its model.
struct VoiceModel(PathBuf);

impl Runners for VoiceModel {
    type In = Clip;
    type Out = Likelihoods;

    fn resolve(&self, _assignment: &Assignment) -> jellybean_engine::Result<Recipe<Clip, Likelihoods>> {
        let cache = Cache::new(Environment::of_process())?;
        runtime::load(&onnxruntime_library(&cache, None, &runtime::probe, &silent)?)?;
        let bytes = fs::read(&self.0).expect("the model is in the repository");
        let key = format!("{}", self.0.display());
        let open = move || Ok(Box::new(Voice(RawModel::open(&bytes, 1)?)) as AnyRunner<Clip, Likelihoods>);
        Ok(Recipe { key, open: Arc::new(open) })
    }
}

/// By the model's definition, in double precision.
fn twin(clip: &Clip) -> Vec<f64> {
    let mut state = 0.0;
    (0..clip.0.len() / WINDOW)
        .map(|number| {
            let loudness: f64 = window(&clip.0, number).map(|v| f64::from(v.abs())).sum();
            state = state / 2.0 + loudness / (BEFORE + WINDOW) as f64;
            1.0 / (1.0 + (-8.0 * (state - 0.3)).exp())
        })
        .collect()
}

#[test]
fn state_is_carried_from_window_to_window_and_not_from_clip_to_clip() {
    let mut random = Random::new(5);
    let clips: Vec<Clip> = [5_000, 512, 12_345, 100, 700, 5_000, 8_192]
        .into_iter()
        .map(|samples| {
            let loudness = random.below(100) as f32 / 100.0;
            Clip((0..samples).map(|_| loudness * (random.below(2001) as f32 / 1000.0 - 1.0)).collect())
        })
        .collect();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models/voice/voice.onnx");
    for (slots, batch) in [(1, 1), (2, 3), (1, 7)] {
        let t = Topology::new("voice");
        let (sink, likely) = collect();
        let heard = t.source("clips", source::iterate(clips.clone()));
        heard
            .pooled("voice", VoiceModel(model.clone()), Clip::clone, |_, likely| likely)
            .sink("likely", sink);
        let plan = Plan::single("here").with("voice", Assignment::on("here").slots(slots).batches(batch, 1));
        let report = Run::start(t.build().unwrap(), plan, &["here"], Clock::real()).unwrap().finish();
        assert!(report.ledger.is_closed() && report.ledger_total.completed == 7, "{:#?}", report.ledger);
        for ((_, likely), clip) in likely.take().into_iter().zip(&clips) {
            let wanted = twin(clip);
            assert_eq!(likely.len(), wanted.len());
            let apart = likely.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).abs());
            assert!(apart.fold(0.0, f64::max) < 1e-5, "{likely:?} instead of {wanted:?}");
        }
    }
}
