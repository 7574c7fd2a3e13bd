//! The typed builder: a topology is written with it, checked, and becomes a graph of erased stages.
//!
//! Invariant: only the builder makes edges, and it knows both ends' type.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{StageId, is_plain};
use crate::record::{Batch, Data, FAN_OUT_DEPTH_MAX};
use crate::shares::Groups;
use crate::stage::{Build, Decode, Kind, Prepare, Trial};

/// A workflow being written: sources, stages, sinks, and the streams between them.
///
/// Its operators come as extension traits of [`Stream`] from `jellybean-operators`.
#[derive(Clone)]
pub struct Topology(Rc<RefCell<Draft>>);

struct Draft {
    name: String,
    stages: Vec<Stage>,
}

/// A stream of records in a topology being written; clones are the same stream.
pub struct Stream<T> {
    topology: Topology,
    stage: StageId,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self { topology: self.topology.clone(), stage: self.stage, record: PhantomData }
    }
}

/// One step of a graph.
#[derive(Clone)]
pub struct Stage {
    /// Unique in its topology; plans, metrics and errors speak of it.
    pub name: String,
    /// How it treats records.
    pub kind: Kind,
    /// The model family it runs, if any.
    pub family: Option<String>,
    /// The node it must be on, if any.
    pub pinned: Option<String>,
    /// Whether its input must not leave the site.
    pub stay_at_site: bool,
    pub(crate) inputs: Vec<StageId>,
    pub(crate) fan_outs: u32,
    pub(crate) prepare: Prepare,
    pub(crate) build: Build,
    /// By which groups of keys it can be split, if it has keys.
    pub(crate) groups: Option<Groups>,
    pub(crate) decode: Decode,
    /// How its runners are tried, if it has some.
    pub(crate) trial: Option<Arc<dyn Trial>>,
}

impl Stage {
    /// A stage that opens nothing.
    pub(crate) fn new(name: &str, kind: Kind, inputs: Vec<StageId>, build: Build) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            family: None,
            pinned: None,
            stay_at_site: false,
            inputs,
            fan_outs: 0,
            prepare: Arc::new(|_| Ok(None)),
            build,
            groups: None,
            decode: Batch::decode::<()>,
            trial: None,
        }
    }

    pub(crate) fn prepared_by(mut self, prepare: Prepare) -> Self {
        self.prepare = prepare;
        self
    }
}

impl Topology {
    /// An empty topology.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Rc::new(RefCell::new(Draft { name: name.to_owned(), stages: Vec::new() })))
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.borrow().name.clone()
    }

    /// Adds a stage whose output is a stream of `T`.
    pub(crate) fn add<T: Data>(&self, stage: Stage) -> Stream<T> {
        let mut draft = self.0.borrow_mut();
        let deepest = stage.inputs.iter().map(|i| draft.stages[i.0 as usize].fan_outs).max().unwrap_or(0);
        let id = StageId(u32::try_from(draft.stages.len()).expect("fewer than 2^32 stages"));
        draft.stages.push(Stage { fan_outs: stage.fan_outs + deepest, decode: Batch::decode::<T>, ..stage });
        Stream { topology: self.clone(), stage: id, record: PhantomData }
    }

    /// The graph of what was written.
    ///
    /// # Errors
    /// Everything that is wrong with it, naming each stage and the way out.
    pub fn build(&self) -> Result<Arc<Graph>> {
        let draft = self.0.borrow();
        let faults = faults(&draft);
        if faults.is_empty() {
            return Ok(Arc::new(Graph { name: draft.name.clone(), stages: draft.stages.clone() }));
        }
        Err(Error::new(ErrorKind::Invalid, format!("topology \"{}\": {}", draft.name, faults.join("; "))))
    }
}

impl<T> Stream<T> {
    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(crate) fn stage(&self) -> StageId {
        self.stage
    }

    /// Pins the stage that makes this stream to a node.
    #[must_use]
    pub fn pinned_to(self, node: &str) -> Self {
        self.change(|stage| stage.pinned = Some(node.to_owned()))
    }

    /// Keeps the input of the stage that makes this stream on its site: faces are blurred before
    /// frames leave the building.
    #[must_use]
    pub fn stay_at_site(self) -> Self {
        self.change(|stage| stage.stay_at_site = true)
    }

    fn change(self, change: impl FnOnce(&mut Stage)) -> Self {
        change(&mut self.topology.0.borrow_mut().stages[self.stage.0 as usize]);
        self
    }
}

fn faults(draft: &Draft) -> Vec<String> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    let used: BTreeSet<StageId> = draft.stages.iter().flat_map(|s| s.inputs.iter().copied()).collect();
    for (i, stage) in draft.stages.iter().enumerate() {
        let name = &stage.name;
        if !is_plain(name) {
            faults.push(format!(
                "stage name \"{name}\" is not made of letters, digits, '-', '_' and '.'; rename it"
            ));
        }
        if !names.insert(name) {
            faults.push(format!("two stages are called \"{name}\"; rename one"));
        }
        if stage.kind != Kind::Sink && !used.contains(&StageId(i as u32)) {
            faults
                .push(format!("nothing uses the output of stage \"{name}\"; add a sink or remove the stage"));
        }
        if stage.fan_outs > FAN_OUT_DEPTH_MAX {
            faults.push(format!(
                "stage \"{name}\" is flat_map number {} in a row, and {FAN_OUT_DEPTH_MAX} are possible; join two",
                stage.fan_outs
            ));
        }
    }
    for (kind, what) in [(Kind::Source, "source"), (Kind::Sink, "sink")] {
        if !draft.stages.iter().any(|s| s.kind == kind) {
            faults.push(format!("there is no {what}; add one"));
        }
    }
    faults
}

/// A checked topology: stages in topological order.
pub struct Graph {
    name: String,
    stages: Vec<Stage>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        for stage in &self.stages {
            let inputs: Vec<_> = stage.inputs.iter().map(|i| self.stage(*i).name.as_str()).collect();
            let from = if inputs.is_empty() { String::new() } else { format!(" <- {}", inputs.join(", ")) };
            writeln!(f, "  {:?} {}{from}", stage.kind, stage.name)?;
        }
        Ok(())
    }
}

impl Graph {
    /// The topology's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stages in topological order.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter()
    }

    pub(crate) fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id.0 as usize]
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = StageId> + use<> {
        (0..self.stages.len() as u32).map(StageId)
    }

    /// Every edge as (from, to, which input of `to`).
    pub(crate) fn edges(&self) -> impl Iterator<Item = (StageId, StageId, usize)> {
        self.ids().flat_map(move |to| {
            self.stage(to).inputs.iter().enumerate().map(move |(input, from)| (*from, to, input))
        })
    }

    /// The name of every edge, `from->to`, by the input it leads into.
    pub(crate) fn edge_names(&self) -> impl Iterator<Item = ((StageId, usize), String)> {
        self.edges().map(|(from, to, input)| {
            ((to, input), format!("{}->{}", self.stage(from).name, self.stage(to).name))
        })
    }

    /// A hash of the logical graph: the same wherever the topology was compiled.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(self.to_string().as_bytes())
    }
}
