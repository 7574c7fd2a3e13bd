//! The solver held against its dull twin on random problems, in every mode.

use std::collections::BTreeMap;

use super::simplex::{Row, minimum};
use super::{cheapest, cheapest_from};
use crate::placement::descent::Descent;
use crate::placement::model::Model;
use crate::placement::prices::Prices;
use crate::placement::problem::{
    Accuracy, AccuracyRow, Edge, Link, Loss, Machine, Machines, Objectives, Problem, Profile, Rates, Service,
    Site, Source, StageProfile,
};
use crate::placement::sharing::Sharing;
use crate::placement::tableau::{Line, Tableau};
use crate::placement::{Budget, Decision, Mode, Running, Status, evaluate, evaluate_from, solve, solve_from};
use crate::random::Random;

/// Random problems per mode.
const PROBLEMS: u64 = 2_000;

/// Random problems per mode with memory, latency and a running plan.
const LIMITED: u64 = 700;

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
            let (from, to, round_trip_ms) = (a.name.clone(), b.name.clone(), 0.0);
            links.push(Link { from, to, usd_per_gb, mbit_per_s, round_trip_ms });
        }
    }
    let mut nodes = Vec::new();
    for i in 0..1 + random.below(4) {
        let site = sites[random.below(sites.len() as u64) as usize].name.clone();
        let class = random.below(3);
        let usd_per_h = 0.1 + class as f64 * 0.3;
        let (slots, class) = (1 + class as u32 % 2, Some(format!("class{class}")));
        nodes.push(Machine { name: format!("node{i}"), site, usd_per_h, slots, class, memory_mb: None });
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
                profile.services.push(Service {
                    stage,
                    variant,
                    class,
                    ms_per_item,
                    p95_ms: None,
                    memory_mb: 0.0,
                });
            }
        }
        let pinned = random.percent(15);
        let mut nodes: Vec<String> = machines.nodes.iter().map(|node| node.name.clone()).collect();
        nodes.retain(|_| random.percent(70));
        let (nodes, stays_at_site) = (pinned.then_some(nodes), random.percent(10));
        names.push(name.clone());
        profile.stages.push(StageProfile { name, variants, nodes, stays_at_site, batch_deadline_ms: 0.0 });
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

/// Adds memory, round trips and a bound of latency; few nodes and stages are left, for the twin tries much more.
fn limit(random: &mut Random, problem: &mut Problem, mode: Mode) {
    let Problem { machines, profile, objectives, .. } = problem;
    machines.nodes.truncate(3);
    let names: Vec<String> = machines.nodes.iter().map(|node| node.name.clone()).collect();
    profile
        .stages
        .iter_mut()
        .flat_map(|stage| &mut stage.nodes)
        .for_each(|nodes| nodes.retain(|n| names.contains(n)));
    let stages = if mode == Mode::Shared && names.len() > 2 { 2 } else { 3 };
    profile.stages.truncate(stages);
    let names: Vec<&String> = profile.stages.iter().map(|stage| &stage.name).collect();
    profile.edges.retain(|edge| names.contains(&&edge.to));
    profile.services.retain(|s| names.contains(&&s.stage));
    profile.services.retain(|s| machines.nodes.iter().any(|node| node.class() == s.class));
    match &mut profile.accuracy {
        Some(Accuracy::Linear { losses, .. }) => losses.retain(|loss| names.contains(&&loss.stage)),
        Some(Accuracy::Table { .. }) => (profile.accuracy, objectives.accuracy_min) = (None, None),
        None => {}
    }
    if random.percent(60) {
        machines
            .links
            .iter_mut()
            .for_each(|link| link.round_trip_ms = if random.percent(50) { 40.0 } else { 0.0 });
        profile.stages.iter_mut().for_each(|stage| stage.batch_deadline_ms = between(random, 0.0, 20.0));
        for service in &mut profile.services {
            let times = between(random, 0.8, 3.0);
            service.p95_ms = random.percent(50).then_some(service.ms_per_item * times);
        }
        objectives.utilisation_max = 0.7;
        objectives.p95_ms_max = Some(between(random, 100.0, 700.0));
    }
    if random.percent(60) {
        profile.services.iter_mut().for_each(|service| service.memory_mb = between(random, 20.0, 300.0));
        for node in &mut machines.nodes {
            let memory_mb = between(random, 100.0, 600.0);
            node.memory_mb = random.percent(70).then_some(memory_mb);
        }
    }
}

/// Something that may have run before.
fn random_running(random: &mut Random, problem: &Problem) -> Running {
    let mut decision = Decision::default();
    for stage in &problem.profile.stages {
        decision.variants.insert(stage.name.clone(), random.pick(&stage.variants).clone());
        let nodes = problem.machines.nodes.iter().filter(|_| random.percent(40));
        let rates: BTreeMap<String, f64> = nodes.map(|node| (node.name.clone(), 1.0)).collect();
        decision.rates_per_s.insert(stage.name.clone(), rates);
    }
    Running { decision, usd_per_start: *random.pick(&[0.0, 0.02, 0.2]) }
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

/// What the same would cost without limits.
fn solve_free(problem: &Problem, mode: Mode) -> Option<f64> {
    let mut free = problem.clone();
    free.machines.nodes.iter_mut().for_each(|node| node.memory_mb = None);
    free.objectives.p95_ms_max = None;
    solve(&free, mode, &Budget::programs(20_000)).unwrap().cost_usd_per_h
}

/// The same where memory, latency and starts count.
fn holds_within_limits(mode: Mode) {
    let (mut feasible, mut bound) = (0, 0);
    for seed in 0..LIMITED {
        let mut problem = random_problem(seed + 1_000_000, mode);
        let mut random = Random::new(seed);
        limit(&mut random, &mut problem, mode);
        let running = random.percent(60).then(|| random_running(&mut random, &problem));
        let twin = cheapest_from(&problem, mode, running.as_ref()).unwrap();
        let solve = |budget: &Budget<'_>| match &running {
            Some(running) => solve_from(&problem, mode, budget, running).unwrap(),
            None => solve(&problem, mode, budget).unwrap(),
        };
        let answer = solve(&Budget::programs(50_000));
        let what = format!("{mode:?}, seed {seed}: {answer:?}, and the twin has {twin:?}");
        let Some((cost, _)) = twin else {
            assert_eq!(answer.status, Status::Infeasible, "{what}");
            continue;
        };
        feasible += 1;
        let found = answer.cost_usd_per_h.expect(&what) + answer.starts_usd_per_h;
        assert!((found - cost).abs() <= 1e-6 * cost.max(1e-3), "{found} {cost}: {what}");
        assert_eq!(answer.status, Status::Optimal, "{what}");
        assert!(answer.bound_usd_per_h.unwrap() <= found, "{what}");
        let free = solve_free(&problem, mode);
        bound += u64::from(free.is_none_or(|free| found > free * (1.0 + 1e-6)));
        let judged = evaluate_from(&problem, mode, answer.decision.as_ref().unwrap(), running.as_ref());
        assert!(judged.is_feasible(), "{:?}: {what}", judged.violations);
        assert_eq!((judged.starts, judged.p95_ms), (answer.starts, answer.p95_ms.clone()), "{what}");
        let early = solve(&Budget::programs(5));
        assert!(early.bound_usd_per_h.is_some_and(|bound| bound <= cost * (1.0 + 1e-9) + 1e-12), "{what}");
    }
    assert!((LIMITED / 5..LIMITED).contains(&feasible), "{feasible} are feasible");
    assert!(bound > LIMITED / 20, "only {bound} cost more within their limits");
}

#[test]
fn paper_agrees_with_enumeration_within_limits() {
    holds_within_limits(Mode::Paper);
}

#[test]
fn exclusive_agrees_with_enumeration_within_limits() {
    holds_within_limits(Mode::Exclusive);
}

#[test]
fn shared_agrees_with_enumeration_within_limits() {
    holds_within_limits(Mode::Shared);
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

#[test]
fn the_dual_simplex_agrees_with_the_plain_one_however_often_it_begins_where_it_ended() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let (columns, rows) = (1 + random.below(7) as usize, 1 + random.below(5) as usize);
        let mut number = |most: f64| (between(&mut random, -most, most) * 8.0).round() / 8.0;
        let lines: Vec<(Vec<f64>, f64, bool)> = (0..rows)
            .map(|_| ((0..columns).map(|_| number(2.0)).collect(), number(1.0).abs(), number(1.0) < -0.4))
            .collect();
        let line = |(factors, bound, is_exact): &(Vec<f64>, f64, bool)| Line {
            terms: factors.iter().copied().enumerate().collect(),
            bound: *bound,
            is_exact: *is_exact,
        };
        let mut tableau = Tableau::new(&vec![1.0; columns], &lines.iter().map(line).collect::<Vec<_>>());
        for _ in 0..6 {
            let costs: Vec<f64> = (0..columns).map(|_| number(3.0)).collect();
            let upper: Vec<f64> = (0..columns).map(|_| number(1.0).abs()).collect();
            for column in 0..columns {
                tableau.set_usd(column, costs[column]);
                tableau.set_upper(column, upper[column]);
            }
            let plain = |(factors, bound, is_exact): &(Vec<f64>, f64, bool)| {
                let terms = factors.iter().copied().enumerate().collect();
                if *is_exact { Row::equal(terms, *bound) } else { Row::most(terms, *bound) }
            };
            let mut all: Vec<Row> = lines.iter().map(plain).collect();
            all.extend(upper.iter().enumerate().map(|(column, most)| Row::most(vec![(column, 1.0)], *most)));
            let known = minimum(&costs, &all);
            let usd = |values: Vec<f64>| values.iter().zip(&costs).map(|(x, usd)| x * usd).sum::<f64>();
            match (tableau.solve(), known.map(usd)) {
                (None, None) => {}
                (Some(found), Some(usd)) => {
                    assert!((found - usd).abs() < 1e-6, "{seed}: {found} instead of {usd}");
                    assert!((tableau.bound() - usd).abs() < 1e-6, "{seed}: {} is proved", tableau.bound());
                }
                (found, usd) => panic!("{seed}: {found:?} instead of {usd:?}"),
            }
        }
    }
}

#[test]
fn what_walks_find_is_a_plan_and_what_prices_prove_is_no_dearer_than_any() {
    let (mut plans, mut optima) = (0, 0);
    for (mode, seed) in
        [Mode::Paper, Mode::Exclusive, Mode::Shared].into_iter().flat_map(|m| (0..250).map(move |s| (m, s)))
    {
        let problem = random_problem(seed, mode);
        let model = Model::new(&problem, mode, None).unwrap();
        let Ok(known) = cheapest(&problem, mode) else { continue };
        let least = known.map_or(f64::INFINITY, |(cost, _)| cost);
        let mut prices = Prices::new(&model);
        while prices.step(least) {}
        let whole = prices.bound();
        assert!(whole <= least * (1.0 + 1e-9) + 1e-9, "{mode:?} {seed}: {whole} is proved, {least} is known");
        let mut parts = 20;
        prices.divide(f64::INFINITY, &mut || {
            parts -= 1;
            parts > 0
        });
        let divided = prices.bound();
        assert!(
            whole <= divided && divided <= least * (1.0 + 1e-9) + 1e-9,
            "{mode:?} {seed}: {divided}, {least}"
        );
        let worths = prices.worths();
        let decision = if mode == Mode::Shared {
            Sharing::new(&model, seed, prices.lead(), worths).and_then(|mut sharing| {
                sharing.go_on(300);
                sharing.decision(&problem)
            })
        } else {
            Descent::new(&model, seed, None, Some(worths)).and_then(|mut descent| {
                descent.go_on(300);
                descent.decision(&problem)
            })
        };
        let Some(decision) = decision else { continue };
        let judged = evaluate(&problem, mode, &decision);
        assert!(judged.is_feasible(), "{mode:?} {seed}: {:?}", judged.violations);
        assert!(judged.cost_usd_per_h() >= least * (1.0 - 1e-6) - 1e-9, "{mode:?} {seed}");
        plans += 1;
        optima += u32::from(judged.cost_usd_per_h() <= least * (1.0 + 1e-6) + 1e-9);
    }
    assert!(plans > 300 && optima * 10 > plans * 8, "{optima} of {plans} are optimal");
}
