//! The one road to ONNX: a stage that runs a model family.

use std::sync::Arc;

use jellybean_engine::plan::Assignment;
use jellybean_engine::runner::{Recipe, Runners};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Result};

use crate::fetch::{Cache, Environment, onnxruntime_library, silent};
use crate::model::{Family, Task, runtime};

/// Threads of one run of a model: slots give parallelism, and a slot is one core.
const THREADS: usize = 1;

/// Runs models on a stream.
pub trait Infer<T> {
    /// Runs the family on each record. Which variant, on how many slots and in what batches, the plan
    /// says. Records keep their order; one that the model fails on is dropped with its reason.
    fn infer<M: Task<In = T, Out: Data>>(&self, name: &str, family: Family<M>) -> Stream<M::Out>;

    /// Runs the family on what `input` takes out of each record, and joins the result with the record.
    fn infer_with<M: Task, U: Data>(
        &self,
        name: &str,
        family: Family<M>,
        input: impl Fn(&T) -> M::In + Send + Sync + 'static,
        join: impl Fn(T, M::Out) -> U + Send + Sync + 'static,
    ) -> Stream<U>;
}

impl<T: Data> Infer<T> for Stream<T> {
    fn infer<M: Task<In = T, Out: Data>>(&self, name: &str, family: Family<M>) -> Stream<M::Out> {
        self.infer_with(name, family, T::clone, |_record, out| out)
    }

    fn infer_with<M: Task, U: Data>(
        &self,
        name: &str,
        family: Family<M>,
        input: impl Fn(&T) -> M::In + Send + Sync + 'static,
        join: impl Fn(T, M::Out) -> U + Send + Sync + 'static,
    ) -> Stream<U> {
        self.pooled(name, Models(family), input, join)
    }
}

/// A family as the runners of a pooled stage.
struct Models<M>(Family<M>);

impl<M: Task> Runners for Models<M> {
    type In = M::In;
    type Out = M::Out;

    fn family(&self) -> Option<&str> {
        Some(self.0.name())
    }

    fn variants(&self) -> Result<Vec<String>> {
        let manifest = self.0.manifest()?;
        let default = &manifest.default_variant().name;
        let others = manifest.variants.iter().map(|variant| &variant.name).filter(|name| *name != default);
        Ok(std::iter::once(default).chain(others).cloned().collect())
    }

    fn resolve(&self, assignment: &Assignment) -> Result<Recipe<M::In, M::Out>> {
        let variant = assignment.variant.as_deref();
        let key = self.0.key(variant, THREADS)?;
        load_runtime()?;
        let model = self.0.model(variant)?;
        Ok(Recipe { key: format!("{key:?}"), open: Arc::new(move || model.runner(THREADS)) })
    }
}

/// Loads an ONNX Runtime, unless the program has chosen one before.
fn load_runtime() -> Result<()> {
    if runtime::loaded().is_some() {
        return Ok(());
    }
    let cache = Cache::new(Environment::of_process())?;
    runtime::load(&onnxruntime_library(&cache, None, &runtime::probe, &silent)?)
}
