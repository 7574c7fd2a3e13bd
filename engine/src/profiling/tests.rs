//! A topology whose figures are known, measured.

use std::sync::Arc;

use super::{Machine, Settings, profile};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Failure, Reason};
use crate::plan::Assignment;
use crate::primitive::each::FanOut;
use crate::profile::Profile;
use crate::runner::{AnyRunner, Recipe, Runner, Runners};
use crate::topology::{Graph, Topology};
use crate::{sink, source};

/// A machine that nothing is known of.
struct Unknown;

impl Machine for Unknown {
    fn processor(&self) -> String {
        String::new()
    }
    fn cores(&self) -> u32 {
        1
    }
    fn spent_seconds(&self) -> (f64, f64) {
        (0.0, 0.0)
    }
    fn resident_mb(&self) -> f64 {
        0.0
    }
}

/// Writes numbers out, in as many bytes as the variant says.
struct Padded;

struct Pad(usize);

impl Runner for Pad {
    type In = u64;
    type Out = Vec<u8>;

    fn run(&mut self, batch: Vec<u64>) -> Vec<Result<Vec<u8>, Failure>> {
        let pad = |_| match self.0 {
            0 => Err(Failure::new(Reason::FAILED, "there is nothing to pad with")),
            bytes => Ok(vec![7; bytes]),
        };
        batch.into_iter().map(pad).collect()
    }
}

impl Runners for Padded {
    type In = u64;
    type Out = Vec<u8>;

    fn variants(&self) -> Result<Vec<String>> {
        Ok(["1024", "2048"].map(str::to_owned).to_vec())
    }

    fn resolve(&self, assignment: &Assignment) -> Result<Recipe<u64, Vec<u8>>> {
        let variant = assignment.variant.as_deref().unwrap_or("1024");
        let bytes: usize = variant.parse().map_err(|e| Error::new(ErrorKind::Invalid, "bytes").because(e))?;
        let open = move || Ok(Box::new(Pad(bytes)) as AnyRunner<u64, Vec<u8>>);
        Ok(Recipe { key: variant.to_owned(), open: Arc::new(open) })
    }
}

fn twice(runners: impl Runners<In = u64, Out = Vec<u8>>, keeps: fn(&u64) -> bool) -> Arc<Graph> {
    let t = Topology::new("twice");
    let doubled =
        t.source("numbers", source::iterate(0..3_000_u64)).each("double", FanOut::Many, |n, out| {
            out.push(n);
            out.push(n);
            Ok(())
        });
    let kept = doubled.each("keep", FanOut::One, move |n, out| {
        if keeps(&n) {
            out.push(n);
        }
        Ok(())
    });
    let padded = kept.pooled("pad", runners, |n| *n, |_, bytes| bytes);
    let (sink, _) = sink::collect();
    padded.sink("results", sink);
    t.build().unwrap()
}

fn measured(graph: &Arc<Graph>, go_on: &dyn Fn() -> bool) -> Result<Profile> {
    profile(
        graph,
        &Settings {
            node: "here".into(),
            seconds: 0.2,
            batches: vec![1, 4],
            batch_deadline_ms: 20.0,
            machine: &Unknown,
            tell: &|_| (),
            go_on,
            clock: Clock::real(),
        },
    )
}

#[test]
fn what_goes_over_edges_is_counted() {
    let graph = twice(Padded, |n| n.is_multiple_of(4));
    let profile = measured(&graph, &|| true).unwrap();
    assert_eq!(profile.topology_hash, format!("{:016x}", graph.hash()));
    let edge = |from: &str| profile.edges.iter().find(|edge| edge.from == from).unwrap();
    assert_eq!(edge("numbers").items_per_item, [1.0]);
    assert_eq!(edge("double").items_per_item, [2.0]);
    assert_eq!(edge("keep").items_per_item, [0.25]);
    assert_eq!(edge("pad").items_per_item, [1.0, 1.0]);
    assert_eq!((edge("numbers").items, edge("keep").items), (3_000, 1_500));
    // A record's place comes on top, and how many there are.
    let kb = &edge("pad").kb_per_item;
    assert!(kb.len() == 2 && (1.0..1.05).contains(&kb[0]) && (2.0..2.05).contains(&kb[1]), "{kb:?}");
}

#[test]
fn every_stage_is_timed() {
    let profile = measured(&twice(Padded, |_| true), &|| true).unwrap();
    let rows = |stage: &str| -> Vec<(String, u32)> {
        let rows = profile.services.iter().filter(|row| row.stage == stage);
        rows.map(|row| (row.variant.clone(), row.batch)).collect()
    };
    let row = |variant: &str, batch| (variant.to_owned(), batch);
    assert_eq!(rows("pad"), [row("1024", 1), row("1024", 4), row("2048", 1), row("2048", 4)]);
    for stage in ["double", "keep", "results"] {
        assert_eq!(rows(stage), [row("default", 1)]);
    }
    assert!(rows("numbers").is_empty(), "a source is paid for by nobody");
    assert!(profile.services.iter().all(|row| row.samples > 0 && row.items_per_s > 0.0));
    assert_eq!(profile.stages.len(), 4);
    assert!(
        ["double", "keep", "results"].iter().all(|stage| profile.best(stage, "default", "here").is_some())
    );
}

#[test]
fn a_model_that_fails_or_that_nothing_reaches_is_named() {
    struct Spoiled;
    impl Runners for Spoiled {
        type In = u64;
        type Out = Vec<u8>;

        fn variants(&self) -> Result<Vec<String>> {
            Ok(vec!["8".to_owned(), "0".to_owned()])
        }

        fn resolve(&self, assignment: &Assignment) -> Result<Recipe<u64, Vec<u8>>> {
            Padded.resolve(assignment)
        }
    }
    let error = measured(&twice(Spoiled, |_| true), &|| true).unwrap_err().to_string();
    assert!(
        error.contains("stage \"pad\", variant \"0\"") && error.contains("nothing to pad with"),
        "{error}"
    );
    let error = measured(&twice(Padded, |_| false), &|| true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("no record came to the stage"), "{error}");
}

#[test]
fn measuring_ends_when_it_is_asked_to() {
    let error = measured(&twice(Padded, |_| true), &|| false).unwrap_err().to_string();
    assert!(error.contains("measuring was ended"), "{error}");
}
