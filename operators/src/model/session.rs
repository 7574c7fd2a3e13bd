//! One ONNX Runtime session: opened against what the manifest says, run, and interruptible.
//!
//! Invariant: borrowed tensors go into `run` only; cloning or binding one hangs in this version of
//! `ort`.

use std::sync::{Arc, Mutex, PoisonError};

use jellybean_engine::runner::Interrupter;
use jellybean_engine::{Error, ErrorKind, Result};
use ort::session::{RunOptions, Session as Ort};
use ort::value::{Outlet, TensorElementType, TensorRef};

use super::runtime;

/// The most values of an output whose shape the graph says: 1 GB.
const OUTPUT_VALUES_MAX: i64 = 256 << 20;

/// What a model has to look like. Sides that the graph leaves open fit any.
#[derive(Clone, Debug)]
pub(super) struct Expected<'a> {
    /// The name of its only input, of 32-bit floats.
    pub(super) input: &'a str,
    /// The input's shapes for one item, all of which it has to take; the first side is the batch.
    pub(super) shapes: Vec<[usize; 4]>,
    /// Names and ranks of the outputs that are read, of 32-bit floats.
    pub(super) outputs: Vec<(&'a str, usize)>,
}

/// A session for one thread.
pub(super) struct Session {
    session: Ort,
    outputs: Vec<String>,
    is_single: bool,
    interrupt: Arc<Interrupt>,
}

/// One output of a run, for all items of its batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output<'a> {
    pub(super) name: &'a str,
    pub(super) shape: &'a [i64],
    pub(super) data: &'a [f32],
}

/// Why a run came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The interrupter was called.
    Interrupted,
    /// It failed by itself.
    Failed(String),
}

/// What makes a run in progress return. The flag says who did it; the lock keeps flag and option
/// in step.
pub(super) struct Interrupt {
    options: RunOptions,
    is_raised: Mutex<bool>,
}

impl Session {
    /// Opens a checked model file.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are no model, `Incompatible` if it is another one than expected.
    pub(super) fn open(bytes: &[u8], expected: &Expected<'_>, threads: usize) -> Result<Self> {
        let environment = runtime::environment()?;
        let failed = |e: ort::Error| Error::new(ErrorKind::Failed, "cannot set up a session").because(e);
        let mut builder = configure(environment, threads).map_err(failed)?;
        let session = builder
            .commit_from_memory(bytes)
            .map_err(|e| Error::new(ErrorKind::Corrupt, "ONNX Runtime cannot read it").because(e))?;
        check_input(session.inputs(), expected)?;
        check_outputs(session.outputs(), expected)?;
        let batch = session.inputs()[0].dtype().tensor_shape().and_then(|shape| shape.first().copied());
        Ok(Self {
            is_single: batch == Some(1),
            outputs: expected.outputs.iter().map(|(name, _)| (*name).to_string()).collect(),
            interrupt: Arc::new(Interrupt::new().map_err(failed)?),
            session,
        })
    }

    /// Whether the graph takes one item at a time.
    pub(super) fn is_single(&self) -> bool {
        self.is_single
    }

    /// Forgets interruptions that came when nothing ran.
    pub(super) fn rearm(&self) {
        self.interrupt.set(false);
    }

    /// See [`jellybean_engine::runner::Runner::interrupter`].
    pub(super) fn interrupter(&self) -> Interrupter {
        let interrupt = Arc::clone(&self.interrupt);
        Arc::new(move || interrupt.set(true))
    }

    /// Runs a batch, and lets `read` see the outputs in the expected order.
    pub(super) fn run<R>(
        &mut self,
        shape: [usize; 4],
        data: &[f32],
        read: impl FnOnce(&[Output<'_>]) -> R,
    ) -> Result<R, Stopped> {
        let Self { session, outputs: names, interrupt, .. } = self;
        let failed = |e: ort::Error| Stopped::Failed(e.to_string());
        let input = TensorRef::from_array_view((shape, data)).map_err(failed)?;
        let outputs = session
            .run_with_options(ort::inputs![input], &interrupt.options)
            .map_err(|e| if interrupt.is_raised() { Stopped::Interrupted } else { failed(e) })?;
        let mut views = Vec::with_capacity(names.len());
        for name in names {
            let value =
                outputs.get(name.as_str()).ok_or_else(|| Stopped::Failed(format!("no output \"{name}\"")))?;
            let (shape, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
            views.push(Output { name, shape, data });
        }
        Ok(read(&views))
    }
}

impl<'a> Output<'a> {
    /// The values of one item; the first side was checked to be the batch.
    pub(super) fn item(&self, item: usize) -> &'a [f32] {
        let items = usize::try_from(self.shape[0]).expect("a checked shape has no negative side");
        let values = self.data.len() / items;
        &self.data[item * values..][..values]
    }
}

impl Interrupt {
    pub(super) fn new() -> Result<Self, ort::Error> {
        Ok(Self { options: RunOptions::new()?, is_raised: Mutex::new(false) })
    }

    pub(super) fn options(&self) -> &RunOptions {
        &self.options
    }

    pub(super) fn set(&self, raise: bool) {
        let mut is_raised = self.is_raised.lock().unwrap_or_else(PoisonError::into_inner);
        let done = if raise { self.options.terminate() } else { self.options.unterminate() };
        match done {
            Ok(()) => *is_raised = raise,
            Err(e) => tracing::warn!("cannot set the interruption of a session to {raise}: {e}"),
        }
    }

    pub(super) fn is_raised(&self) -> bool {
        *self.is_raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn configure(
    environment: &ort::environment::Environment,
    threads: usize,
) -> Result<ort::session::builder::SessionBuilder, ort::Error> {
    // Spinning burns six times the processor time for the same latency.
    Ok(Ort::builder(environment)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_deterministic_compute(true)?
        .with_log_level(ort::logging::LogLevel::Fatal)?)
}

fn check_input(inputs: &[Outlet], expected: &Expected<'_>) -> Result<()> {
    let names: Vec<&str> = inputs.iter().map(Outlet::name).collect();
    let [input] = inputs else {
        return Err(unlike(format!("it has the inputs {names:?} instead of \"{}\" alone", expected.input)));
    };
    if input.name() != expected.input {
        return Err(unlike(format!(
            "its input is called {:?} instead of {:?}",
            input.name(),
            expected.input
        )));
    }
    check_type("input", input, 4)?;
    let sides = input.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    let fits = |(&side, &wanted): (&i64, &usize)| side < 0 || side == wanted as i64;
    match expected.shapes.iter().find(|shape| !sides.iter().zip(*shape).all(fits)) {
        Some(shape) => {
            Err(unlike(format!("its input {:?} is {sides:?}, where {shape:?} goes in", expected.input)))
        }
        None => Ok(()),
    }
}

fn check_outputs(outputs: &[Outlet], expected: &Expected<'_>) -> Result<()> {
    for (name, rank) in &expected.outputs {
        let Some(output) = outputs.iter().find(|output| output.name() == *name) else {
            let names: Vec<&str> = outputs.iter().map(Outlet::name).collect();
            return Err(unlike(format!("it has no output {name:?}, but {names:?}")));
        };
        check_type("output", output, *rank)?;
        check_size(output)?;
    }
    Ok(())
}

fn check_type(what: &str, outlet: &Outlet, rank: usize) -> Result<()> {
    let (name, kind) = (outlet.name(), outlet.dtype());
    if kind.tensor_type() != Some(TensorElementType::Float32) {
        return Err(unlike(format!("its {what} {name:?} is {kind}, not a tensor of 32-bit floats")));
    }
    // A graph may leave an output's rank open, which reads as none; the first run tells then.
    match kind.tensor_shape().map(|shape| shape.len()) {
        Some(other) if other != rank && (other > 0 || what == "input") => {
            Err(unlike(format!("its {what} {name:?} is {kind}, of rank {other} instead of {rank}")))
        }
        _ => Ok(()),
    }
}

/// Refuses an output that would be too large before anything is run.
fn check_size(output: &Outlet) -> Result<()> {
    let sides = output.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    let known = sides.iter().filter(|&&side| side >= 0).fold(1_i64, |all, &side| all.saturating_mul(side));
    if known <= OUTPUT_VALUES_MAX {
        return Ok(());
    }
    Err(unlike(format!("its output {:?} is {sides:?}, more than {OUTPUT_VALUES_MAX} values", output.name())))
}

pub(super) fn unlike(message: String) -> Error {
    Error::new(ErrorKind::Incompatible, message).way_out("make the manifest and the model agree")
}
