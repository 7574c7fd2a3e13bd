//! The solver held against its dull twin on random problems, in every mode.

use super::cheapest;
use super::simplex::{Row, minimum};
use crate::placement::problem::{
    Accuracy, AccuracyRow, Edge, Link, Loss, Machine, Machines, Objectives, Problem, Profile, Rates, Service,
    Site, Source, StageProfile,
};
use crate::placement::{Budget, Mode, Status, evaluate, solve};
use crate::random::Random;

/// Random problems per mode.
const PROBLEMS: u64 = 2_000;

fn between(random: &mut Random, least: f64, most: f64) -> f64 {
    least + (most - least) * random.below(1 << 20) as f64 / f64::from(1 << 20)
}

fn random_machines(random: &mut Random, mode: Mode) -> Machines {
    let most = if mode == Mode::Paper { 2 } else { 3 };
    let mut sites: Vec<Site> = Vec::new();
    for i in 0..1 + random.below(most) {
        // The twin knows the paper's mode with sites of different tiers only.
        let tier = if mode == Mode::Paper { i as u32 } else { random.below(3) as u32 };
        sites.push(Site { name: format!("site{i}"), tier });
    }
    let mut links = Vec::new();
    for (a, b) in sites.iter().flat_map(|a| sites.iter().map(move |b| (a, b))) {
        if a.name != b.name && random.percent(85) {
            let usd_per_gb = if random.percent(20) { 0.0 } else { between(random, 0.01, 1.0) };
            let mbit_per_s = random.percent(25).then(|| between(random, 0.5, 60.0));
            links.push(Link { from: a.name.clone(), to: b.name.clone(), usd_per_gb, mbit_per_s });
        }
    }
    let mut nodes = Vec::new();
    for i in 0..1 + random.below(4) {
        let site = sites[random.below(sites.len() as u64) as usize].name.clone();
        let class = random.below(3);
        let usd_per_h = 0.1 + class as f64 * 0.3;
        let (slots, class) = (1 + class as u32 % 2, Some(format!("class{class}")));
        nodes.push(Machine { name: format!("node{i}"), site, usd_per_h, slots, class });
    }
    Machines { sites, links, nodes }
}

fn random_profile(random: &mut Random, machines: &Machines, sources: &[Source]) -> Profile {
    let mut profile = Profile::default();
    let mut names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    for i in 0..1 + random.below(3) {
        let variants: Vec<String> = (0..1 + random.below(2)).map(|k| format!("v{k}")).collect();
        let name = format!("stage{i}");
        let mut inputs: Vec<&String> = names.iter().filter(|_| random.percent(40)).collect();
        if inputs.is_empty() {
            inputs.push(&names[random.below(names.len() as u64) as usize]);
        }
        for from in inputs {
            let known = profile.stages.iter().find(|stage: &&StageProfile| stage.name == *from);
            let sizes = if random.percent(50) { 1 } else { known.map_or(1, |stage| stage.variants.len()) };
            let kb_per_item = (0..sizes).map(|_| between(random, 0.1, 300.0)).collect();
            let items_per_item = [0.5, 1.0, 1.0, 2.0][random.below(4) as usize];
            let (from, to) = (from.clone(), name.clone());
            profile.edges.push(Edge { from, to, items_per_item, kb_per_item });
        }
        let mut classes: Vec<&str> = machines.nodes.iter().map(Machine::class).collect();
        classes.sort_unstable();
        classes.dedup();
        for (k, variant) in variants.iter().enumerate() {
            let able: Vec<&str> = classes.iter().copied().filter(|_| random.percent(90)).collect();
            for class in able {
                let ms_per_item = between(random, 10.0, 60.0) * (1 + k) as f64;
                let (stage, variant, class) = (name.clone(), variant.clone(), class.to_owned());
                profile.services.push(Service { stage, variant, class, ms_per_item });
            }
        }
        let pinned = random.percent(15);
        let mut nodes: Vec<String> = machines.nodes.iter().map(|node| node.name.clone()).collect();
        nodes.retain(|_| random.percent(70));
        let (nodes, stays_at_site) = (pinned.then_some(nodes), random.percent(10));
        names.push(name.clone());
        profile.stages.push(StageProfile { name, variants, nodes, stays_at_site });
    }
    profile
}

fn random_accuracy(random: &mut Random, profile: &Profile) -> Accuracy {
    if random.percent(50) {
        let losses = profile.stages.iter().flat_map(|stage| {
            stage.variants.iter().map(|variant| (stage.name.clone(), variant.clone())).collect::<Vec<_>>()
        });
        let losses = losses.map(|(stage, variant)| Loss { stage, variant, loss: between(random, 0.0, 10.0) });
        return Accuracy::Linear { base: 100.0, losses: losses.collect() };
    }
    let mut rows = vec![Vec::new()];
    for stage in &profile.stages {
        let longer = |row: &Vec<String>| {
            stage
                .variants
                .iter()
                .map(|variant| [row.as_slice(), std::slice::from_ref(variant)].concat())
                .collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(longer).collect();
    }
    rows.retain(|_| random.percent(90));
    let row = |variants| AccuracyRow { variants, accuracy: between(random, 75.0, 100.0) };
    let stages = profile.stages.iter().map(|stage| stage.name.clone()).collect();
    Accuracy::Table { stages, rows: rows.into_iter().map(row).collect() }
}

fn random_problem(seed: u64, mode: Mode) -> Problem {
    let mut random = Random::new(seed);
    let machines = random_machines(&mut random, mode);
    let mut sources = Vec::new();
    for i in 0..1 + random.below(2) {
        let site = machines.sites[random.below(machines.sites.len() as u64) as usize].name.clone();
        let rate_per_s = if random.percent(4) { 0.0 } else { between(&mut random, 1.0, 25.0) };
        sources.push(Source { name: format!("source{i}"), site, rate_per_s });
    }
    let mut profile = random_profile(&mut random, &machines, &sources);
    let mut objectives = Objectives::default();
    if random.percent(60) {
        profile.accuracy = Some(random_accuracy(&mut random, &profile));
        objectives.accuracy_min = Some(between(&mut random, 80.0, 95.0));
    }
    if random.percent(50) {
        objectives.utilisation_max = 0.7;
    }
    Problem { machines, profile, rates: Rates { sources }, objectives }
}

/// The same optimum, a feasible plan, and a bound below it.
fn holds(mode: Mode) {
    let mut feasible = 0;
    for seed in 0..PROBLEMS {
        let problem = random_problem(seed, mode);
        let twin = cheapest(&problem, mode).unwrap();
        let answer = solve(&problem, mode, &Budget::programs(20_000)).unwrap();
        let what = format!("{mode:?}, seed {seed}: {answer:?}, and the twin has {twin:?}");
        let Some((cost, _)) = twin else {
            assert_eq!(answer.status, Status::Infeasible, "{what}");
            continue;
        };
        feasible += 1;
        assert_eq!(answer.status, Status::Optimal, "{what}");
        let found = answer.cost_usd_per_h.unwrap();
        assert!((found - cost).abs() <= 1e-6 * cost.max(1e-3), "{found} {cost}: {what}");
        assert!(answer.bound_usd_per_h.unwrap() <= found, "{what}");
        let judged = evaluate(&problem, mode, answer.decision.as_ref().unwrap());
        assert!(judged.is_feasible(), "{:?}: {what}", judged.violations);
        assert!(judged.cost_usd_per_h() == found, "{what}");
        for programs in [2, 10] {
            let early = solve(&problem, mode, &Budget::programs(programs)).unwrap();
            assert!(
                early.bound_usd_per_h.is_some_and(|bound| bound <= cost * (1.0 + 1e-9) + 1e-12),
                "{early:?}: {what}"
            );
        }
    }
    // The random problems are neither all easy nor all impossible.
    assert!((PROBLEMS / 5..PROBLEMS).contains(&feasible), "{feasible} are feasible");
}

#[test]
fn paper_agrees_with_enumeration() {
    holds(Mode::Paper);
}

#[test]
fn exclusive_agrees_with_enumeration() {
    holds(Mode::Exclusive);
}

#[test]
fn shared_agrees_with_enumeration() {
    holds(Mode::Shared);
}

#[test]
fn the_simplex_finds_the_least() {
    // x + y = 4, x <= 3: x is cheaper.
    let rows = [Row::equal(vec![(0, 1.0), (1, 1.0)], 4.0), Row::most(vec![(0, 1.0)], 3.0)];
    assert_eq!(minimum(&[1.0, 2.0], &rows), Some(vec![3.0, 1.0]));
    let rows = [Row::equal(vec![(0, 1.0)], 4.0), Row::most(vec![(0, 1.0)], 3.0)];
    assert_eq!(minimum(&[1.0], &rows), None);
    assert_eq!(minimum(&[-1.0], &[Row::equal(vec![(0, 0.0)], 0.0)]), None);
}
