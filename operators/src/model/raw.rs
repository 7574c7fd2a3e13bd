//! Any ONNX file as it is: for runners of one's own, where no family fits.
//!
//! Invariant: borrowed tensors go into `run` only, as in `session`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jellybean_engine::runner::Interrupter;
use jellybean_engine::{Error, ErrorKind, Failure, Reason, Result};
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, TensorElementType, TensorRef};

use super::runtime;
use super::session::{Interrupt, configure};

/// A session without a manifest. The ONNX Runtime has to be loaded ([`runtime::load`]).
pub struct RawModel {
    session: Session,
    interrupt: Arc<Interrupt>,
}

/// One input tensor of a run.
#[derive(Clone, Copy, Debug)]
pub struct RawInput<'a> {
    /// Its name in the graph.
    pub name: &'a str,
    /// Its sides.
    pub shape: &'a [usize],
    /// As many values as the shape has, the last side varying fastest.
    pub values: Values<'a>,
}

/// The values of a tensor.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit integers.
    I64(&'a [i64]),
    /// Bytes.
    U8(&'a [u8]),
}

/// One output tensor of a run.
#[derive(Clone, Copy, Debug)]
pub struct RawOutput<'a> {
    /// Its sides.
    pub shape: &'a [i64],
    /// Its values, the last side varying fastest.
    pub values: &'a [f32],
}

/// An input or an output, as the graph declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// What it is, in words: the type, and the sides with the names of those that are open.
    pub kind: String,
    /// Whether it is a tensor of 32-bit floats.
    pub is_f32: bool,
    /// Its sides; negative ones are open. None if it is no tensor, or of any rank.
    pub sides: Vec<i64>,
}

impl Port {
    fn of(outlet: &Outlet) -> Self {
        let kind = outlet.dtype();
        Self {
            name: outlet.name().to_owned(),
            kind: kind.to_string(),
            is_f32: kind.tensor_type() == Some(TensorElementType::Float32),
            sides: kind.tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" {}", self.name, self.kind)
    }
}

impl RawModel {
    /// Opens a model file from its bytes; `threads` is what one run uses.
    ///
    /// # Errors
    /// `Corrupt` if ONNX Runtime cannot read it, `Unavailable` before the runtime is loaded.
    pub fn open(bytes: &[u8], threads: usize) -> Result<Self> {
        let failed = |e: ort::Error| Error::new(ErrorKind::Failed, "cannot set up a session").because(e);
        let session = configure(runtime::environment()?, threads)
            .map_err(failed)?
            .commit_from_memory(bytes)
            .map_err(|e| Error::new(ErrorKind::Corrupt, "ONNX Runtime cannot read the model").because(e))?;
        Ok(Self { session, interrupt: Arc::new(Interrupt::new().map_err(failed)?) })
    }

    /// Runs once; `read` sees the outputs in the order of `outputs`, which names them.
    ///
    /// # Errors
    /// What ONNX Runtime says of it, or `timeout` when it was interrupted.
    pub fn run<R>(
        &mut self,
        inputs: &[RawInput<'_>],
        outputs: &[&str],
        read: impl FnOnce(&[RawOutput<'_>]) -> R,
    ) -> std::result::Result<R, Failure> {
        let failed = |e: ort::Error| Failure::new(Reason::FAILED, e.to_string());
        let given: Vec<_> = inputs.iter().map(tensor).collect::<Result<_, _>>().map_err(failed)?;
        let Self { session, interrupt } = self;
        let made = session.run_with_options(given, interrupt.options()).map_err(|e| {
            if interrupt.is_raised() {
                Failure::new(Reason::TIMEOUT, "the model run was interrupted")
            } else {
                failed(e)
            }
        })?;
        let mut views = Vec::with_capacity(outputs.len());
        for name in outputs {
            let value = made
                .get(*name)
                .ok_or_else(|| Failure::new(Reason::FAILED, format!("the model has no output \"{name}\"")))?;
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(failed)?;
            views.push(RawOutput { shape, values });
        }
        Ok(read(&views))
    }

    /// What it takes.
    #[must_use]
    pub fn inputs(&self) -> Vec<Port> {
        self.session.inputs().iter().map(Port::of).collect()
    }

    /// What it makes.
    #[must_use]
    pub fn outputs(&self) -> Vec<Port> {
        self.session.outputs().iter().map(Port::of).collect()
    }

    /// Forgets interruptions that came when nothing ran; to be called at the start of a batch.
    pub fn rearm(&self) {
        self.interrupt.set(false);
    }

    /// See [`jellybean_engine::runner::Runner::interrupter`].
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        let interrupt = Arc::clone(&self.interrupt);
        Arc::new(move || interrupt.set(true))
    }
}

fn tensor<'a>(
    input: &RawInput<'a>,
) -> std::result::Result<(Cow<'a, str>, SessionInputValue<'a>), ort::Error> {
    let shape = input.shape.to_vec();
    let value: SessionInputValue<'a> = match input.values {
        Values::F32(values) => TensorRef::from_array_view((shape, values))?.into(),
        Values::I64(values) => TensorRef::from_array_view((shape, values))?.into(),
        Values::U8(values) => TensorRef::from_array_view((shape, values))?.into(),
    };
    Ok((Cow::Borrowed(input.name), value))
}
