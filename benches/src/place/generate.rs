//! Problems by seed: a tree of sites, a graph of stages, and nodes that are alike or all differ a little.

use jellybean_engine::placement::Problem;
use jellybean_engine::placement::problem::{
    Accuracy, Edge, Link, Loss, Machine, Machines, Objectives, Profile, Rates, Service, Site, Source,
    StageProfile,
};

/// Sites, one per tier.
const TIERS: u32 = 4;

/// Kinds of nodes at each site.
const KINDS: usize = 4;

/// How much faster or slower a node is than its kind, where all differ.
const NOISE: f64 = 0.06;

/// Numbers by seed (splitmix64).
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn between(&mut self, least: f64, most: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        least + (most - least) * (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.between(0.0, bound as f64) as usize).min(bound - 1)
    }
}

/// A problem of so many nodes and stages, which takes about a third of the nodes.
pub(super) fn problem(seed: u64, nodes: usize, stages: usize, is_noisy: bool) -> Problem {
    let mut noise = Noise::new(seed);
    let machines = machines(&mut noise, nodes);
    let profiles: Vec<StageProfile> = (0..stages)
        .map(|v| StageProfile {
            name: format!("stage{v}"),
            variants: (0..2 + noise.below(2)).map(|k| format!("v{k}")).collect(),
            nodes: None,
            stays_at_site: false,
            batch_deadline_ms: 0.0,
        })
        .collect();
    let mut edges = Vec::new();
    for (v, stage) in profiles.iter().enumerate() {
        let mut inputs = vec![if v == 0 { 0 } else { 1 + noise.below(v) }];
        let other = noise.below(v + 1);
        if noise.between(0.0, 1.0) < 0.4 && !inputs.contains(&other) {
            inputs.push(other);
        }
        for from in inputs {
            let name = if from == 0 { "cameras".to_owned() } else { format!("stage{}", from - 1) };
            // Pictures at first, then ever less.
            let kb = if from == 0 { 600.0 } else { 40.0 * 2.0_f64.powf(noise.between(-4.0, 0.0)) };
            edges.push(Edge {
                from: name,
                to: stage.name.clone(),
                items_per_item: 1.0,
                kb_per_item: vec![kb],
            });
        }
    }
    let services = services(&mut noise, &machines, &profiles, is_noisy);
    let losses: Vec<Loss> = profiles
        .iter()
        .flat_map(|stage| {
            stage.variants.iter().rev().enumerate().map(move |(k, variant)| (stage, variant, k))
        })
        .map(|(stage, variant, k)| Loss {
            stage: stage.name.clone(),
            variant: variant.clone(),
            loss: k as f64 * (0.5 + (stage.name.len() % 3) as f64 * 0.3) * noise.between(0.6, 1.4),
        })
        .collect();
    let floor = 100.0 - losses.iter().map(|loss| loss.loss).sum::<f64>() * 0.25;
    let cameras = Source { name: "cameras".into(), site: "site0".into(), rate_per_s: nodes as f64 * 0.6 };
    Problem {
        machines,
        profile: Profile {
            stages: profiles,
            edges,
            services,
            accuracy: Some(Accuracy::Linear { base: 100.0, losses }),
        },
        rates: Rates { sources: vec![cameras] },
        objectives: Objectives { accuracy_min: Some(floor), ..Objectives::default() },
    }
}

fn machines(noise: &mut Noise, count: usize) -> Machines {
    let sites = (0..TIERS).map(|tier| Site { name: format!("site{tier}"), tier }).collect();
    let pairs = (0..TIERS).flat_map(|a| (0..TIERS).map(move |b| (a, b))).filter(|(a, b)| a != b);
    let links = pairs.map(|(a, b)| Link {
        from: format!("site{a}"),
        to: format!("site{b}"),
        usd_per_gb: 0.01 * f64::from(a.abs_diff(b)),
        mbit_per_s: None,
        round_trip_ms: 10.0 * f64::from(a.abs_diff(b)),
    });
    let links = links.collect();
    let nodes = (0..count).map(|i| {
        let (tier, kind) = (i % TIERS as usize, noise.below(KINDS));
        Machine {
            name: format!("node{i}"),
            site: format!("site{tier}"),
            // Dearer kinds are faster, and a little dearer yet where the cloud is near.
            usd_per_h: 0.1 * 2.0_f64.powi(kind as i32) * (1.0 + 0.15 * tier as f64),
            slots: 1,
            class: None,
            memory_mb: None,
        }
    });
    Machines { sites, links, nodes: nodes.collect() }
}

/// Every stage runs everywhere, on dearer kinds faster than by their price.
fn services(noise: &mut Noise, machines: &Machines, stages: &[StageProfile], is_noisy: bool) -> Vec<Service> {
    let mut services = Vec::new();
    for stage in stages {
        let base_ms = noise.between(8.0, 40.0);
        let suits: Vec<f64> = (0..KINDS).map(|_| noise.between(0.75, 1.3)).collect();
        for (k, variant) in stage.variants.iter().enumerate() {
            for node in &machines.nodes {
                let tier: f64 = node.site.trim_start_matches("site").parse().unwrap_or(0.0);
                let speed = node.usd_per_h / (0.1 * (1.0 + 0.15 * tier));
                let kind = (speed.log2().round().max(0.0) as usize).min(KINDS - 1);
                let differs = if is_noisy { noise.between(1.0 - NOISE, 1.0 + NOISE) } else { 1.0 };
                services.push(Service {
                    stage: stage.name.clone(),
                    variant: variant.clone(),
                    class: node.name.clone(),
                    ms_per_item: base_ms * (1.0 + 0.9 * k as f64) * suits[kind] / speed * differs,
                    p95_ms: None,
                    memory_mb: 0.0,
                });
            }
        }
    }
    services
}
