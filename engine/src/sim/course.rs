//! What the pilot of a simulated run follows: machines, a profile and rates, all of them drawn, and wrong in places.
//!
//! What is measured has to mend it: how long models take is guessed, and what goes over edges is not known at all.

use std::collections::{BTreeMap, BTreeSet};

use super::draw::{Drawn, MISSING};
use super::script::Drama;
use super::world::name;
use crate::infrastructure::{Infrastructure, LinkEntry, NodeEntry, Tier};
use crate::live::{Settings, Verdict, us};
use crate::pilot::{Course, Piloted};
use crate::placement::problem::Objectives;
use crate::planning::rates::SourceRate;
use crate::planning::{Rates, Wanted, machines};
use crate::profile::{DEFAULT_VARIANT, MeasuredEdge, MeasuredNode, MeasuredService, MeasuredStage, Profile};
use crate::random::Random;
use crate::stage::Kind;

/// How long a stage that moved stays, in seconds: runs are short.
const COOL_DOWN_S: f64 = 5.0;

/// A course for a drawn run.
pub(super) fn course(drawn: &Drawn, drama: &Drama, seed: u64) -> Result<Course, String> {
    let mut random = Random::new(seed.rotate_left(17) ^ 0x5eed);
    let infrastructure = infrastructure(&mut random, drama.nodes);
    let machines = machines(&infrastructure).map_err(|fault| fault.error.to_string())?;
    let profile = profile(&mut random, drawn, drama.nodes);
    let rates = rates(&mut random, drawn, drama, &infrastructure);
    let objectives = Objectives {
        accuracy_min: None,
        p95_ms_max: random.percent(30).then(|| random.within(300..3_000) as f64),
        utilisation_max: 0.8,
    };
    let settings = Settings {
        rates_s: 1.0,
        services_s: 3.0,
        out_for_s: 2.0,
        overload_for_s: 1.0,
        hold_s: 30.0,
        cool_down_s: COOL_DOWN_S,
        back_off_s: 1.0,
        dry_run: random.percent(5),
        ..Settings::default()
    };
    let wanted = Wanted::new(&drawn.graph, (&infrastructure, machines), &profile, &rates, objectives);
    Ok(Course { wanted: wanted.map_err(|error| error.to_string())?, settings })
}

/// The first half of the nodes stand beside the cameras, the others far away.
fn infrastructure(random: &mut Random, nodes: u64) -> Infrastructure {
    let address = |port: u64| std::net::SocketAddr::from(([127, 0, 0, 1], port as u16));
    let node = |i: u64| {
        let is_far = 2 * i >= nodes.max(2);
        NodeEntry {
            name: name(i),
            site: if is_far { "far" } else { "near" }.to_owned(),
            tier: if is_far { Tier::Cloud } else { Tier::Device },
            listen: address(7_000 + i),
            slots: random.within(1..4) as usize,
            usd_per_h: random.within(1..50) as f64 / 100.0,
            class: None,
            memory_mb: None,
        }
    };
    let nodes: Vec<NodeEntry> = (0..nodes).map(node).collect();
    let link = |from: &str, to: &str| LinkEntry {
        from: from.to_owned(),
        to: to.to_owned(),
        mbit_per_s: 1_000.0,
        round_trip_ms: 10.0,
        usd_per_gb: 0.01,
    };
    let are_apart = nodes.iter().map(|node| &node.site).collect::<BTreeSet<_>>().len() > 1;
    let links = if are_apart { vec![link("near", "far"), link("far", "near")] } else { vec![] };
    Infrastructure { version: 1, controller: address(6_999), nodes, links, services: Vec::new() }
}

fn profile(random: &mut Random, drawn: &Drawn, nodes: u64) -> Profile {
    // Cheap, and on no node: it has to be found out.
    let has_missing = random.percent(30);
    let stages = || drawn.graph.stages().filter(|stage| stage.kind != Kind::Source);
    let variants = |kind: Kind| match kind {
        Kind::Pooled if has_missing => vec![DEFAULT_VARIANT.to_owned(), MISSING.to_owned()],
        _ => vec![DEFAULT_VARIANT.to_owned()],
    };
    let mut services = Vec::new();
    for stage in stages() {
        for (variant, node) in
            variants(stage.kind).into_iter().flat_map(|v| (0..nodes).map(move |n| (v.clone(), n)))
        {
            let ms = match (stage.kind, variant == MISSING) {
                (Kind::Pooled, false) => random.within(10..80) as f64,
                _ => 0.05,
            };
            services.push(MeasuredService {
                stage: stage.name.clone(),
                variant,
                node: name(node),
                batch: 1,
                p50_ms: ms,
                p95_ms: ms,
                items_per_s: 1e3 / ms,
                memory_mb: 0.0,
                load_ms: 0.0,
                warm_up_ms: 0.0,
                spread: 0.0,
                foreign_cores: 0.0,
                samples: 1,
            });
        }
    }
    let edges = stages().flat_map(|stage| {
        stage.inputs.iter().map(|input| MeasuredEdge {
            from: drawn.graph.stage(*input).name.clone(),
            to: stage.name.clone(),
            items: 1,
            items_per_item: vec![1.0],
            kb_per_item: vec![0.05],
        })
    });
    let mut known = BTreeSet::new();
    let edges = edges.filter(|edge| known.insert((edge.from.clone(), edge.to.clone()))).collect();
    let stage = |stage: &crate::topology::Stage| MeasuredStage {
        name: stage.name.clone(),
        family: None,
        variants: variants(stage.kind),
        stays_at_site: false,
        batch_deadline_ms: 0.0,
    };
    Profile {
        version: 1,
        topology: drawn.graph.name().to_owned(),
        topology_hash: format!("{:016x}", drawn.graph.hash()),
        nodes: (0..nodes).map(measured_on).collect(),
        stages: stages().map(stage).collect(),
        edges,
        services,
        accuracy: None,
    }
}

fn measured_on(node: u64) -> MeasuredNode {
    MeasuredNode { name: name(node), processor: String::new(), cores: 1, foreign_cores: 0.0, seconds: 0.0 }
}

/// Sources stand where the first plan has them.
fn rates(random: &mut Random, drawn: &Drawn, drama: &Drama, infrastructure: &Infrastructure) -> Rates {
    let sources = drawn.graph.stages().filter(|stage| stage.kind == Kind::Source);
    let source = |stage: &crate::topology::Stage| {
        let node = drama.first.assignment(&stage.name).node.clone();
        let site =
            infrastructure.nodes.iter().find(|known| known.name == node).map(|known| known.site.clone());
        SourceRate {
            name: stage.name.clone(),
            site: site.unwrap_or_default(),
            node: Some(node),
            rate_per_s: random.within(1..40) as f64,
            priority: random.below(3) as i64,
        }
    };
    Rates { version: 1, sources: sources.map(source).collect(), places: Vec::new() }
}

/// Whether a stage moved twice within its cool-down, though nothing was urgent.
pub(super) fn flapping(decided: &[Piloted]) -> Result<(), String> {
    let mut moved: BTreeMap<&String, u64> = BTreeMap::new();
    for record in decided.iter().map(|p| &p.record).filter(|record| record.verdict == Verdict::Changed) {
        for stage in &record.moved {
            let before_us = moved.insert(stage, record.ended_us.unwrap_or(record.at_us));
            let is_hot = before_us.is_some_and(|at_us| record.at_us < at_us + us(COOL_DOWN_S));
            if is_hot && !record.trigger.cause.is_urgent() {
                return Err(format!("stage \"{stage}\" moved twice within its cool-down: {record:?}"));
            }
        }
    }
    Ok(())
}
