//! Plans of random topologies, compared with what dull enumeration finds.

use std::collections::{BTreeMap, BTreeSet};

use super::wanted::Wanted;
use super::{plan, read, solve, write};
use crate::placement::problem::{
    Edge, Link, Machine, Machines, Objectives, Problem, Profile, Rates, Service, Site, Source, StageProfile,
};
use crate::placement::{self, Budget, Mode, Status, evaluate};
use crate::random::Random;
use crate::stage::Kind;

/// A chain of stages over a few nodes at two sites, some of which belong together or cannot be split.
fn random(seed: u64) -> Wanted {
    let mut random = Random::new(seed);
    let mut part = |most: f64| random.within(1..1_000) as f64 / 1_000.0 * most;
    let node = |name: &str, site: &str, usd_per_h| Machine {
        name: name.to_owned(),
        site: site.to_owned(),
        usd_per_h,
        slots: 1,
        class: None,
        memory_mb: None,
    };
    let link = |from: &str, to: &str, usd_per_gb| Link {
        from: from.to_owned(),
        to: to.to_owned(),
        usd_per_gb,
        mbit_per_s: None,
        round_trip_ms: 10.0,
    };
    let site = |name: &str, tier| Site { name: name.to_owned(), tier };
    let machines = Machines {
        sites: vec![site("yard", 0), site("region", 3)],
        links: vec![link("yard", "region", part(0.2)), link("region", "yard", part(0.2))],
        nodes: vec![
            node("box-1", "yard", part(0.1)),
            node("box-2", "yard", part(0.1)),
            node("server", "region", part(0.4)),
        ],
    };
    let names = ["cameras", "detect", "shape", "track", "sink"];
    let kinds = [Kind::Source, Kind::Pooled, Kind::Stateless, Kind::Keyed, Kind::Sink];
    let (mut services, mut edges) = (Vec::new(), Vec::new());
    let (mut before, mut kb) = ("cameras feed".to_owned(), 0.0);
    for (name, kind) in names.iter().zip(kinds) {
        for (node, speed) in [("box-1", 1.0), ("box-2", 1.0), ("server", 0.4)] {
            let most = if kind == Kind::Pooled { 60.0 } else { 4.0 };
            services.push(Service {
                stage: (*name).to_owned(),
                variant: "default".to_owned(),
                class: node.to_owned(),
                ms_per_item: part(most) * speed,
                p95_ms: None,
                memory_mb: 0.0,
            });
        }
        edges.push(Edge { from: before, to: (*name).to_owned(), items_per_item: 1.0, kb_per_item: vec![kb] });
        (before, kb) = ((*name).to_owned(), part(100.0));
    }
    let stage = |name: &&str| StageProfile {
        name: (*name).to_owned(),
        variants: vec!["default".to_owned()],
        nodes: (*name == "cameras").then(|| vec!["box-1".to_owned()]),
        stays_at_site: false,
        batch_deadline_ms: 0.0,
    };
    let source = Source { name: "cameras feed".to_owned(), site: "yard".to_owned(), rate_per_s: part(40.0) };
    let together = random.percent(50);
    let whole = |stages: &[&str]| stages.iter().map(|stage| (*stage).to_owned()).collect::<BTreeSet<_>>();
    let wholes =
        if together { vec![whole(&["shape", "track"]), whole(&["sink"])] } else { vec![whole(&["sink"])] };
    let problem = Problem {
        machines,
        profile: Profile { stages: names.iter().map(stage).collect(), edges, services, accuracy: None },
        rates: Rates { sources: vec![source] },
        objectives: Objectives { utilisation_max: 0.8, ..Objectives::default() },
    };
    let kinds = names.iter().zip(kinds).map(|(name, kind)| ((*name).to_owned(), kind)).collect();
    Wanted { wholes, kinds, ..Wanted::from(problem) }
}

/// The least cost of all ways to bind each whole to a node.
fn least(wanted: &Wanted) -> Option<f64> {
    let nodes: Vec<String> = wanted.problem.machines.nodes.iter().map(|node| node.name.clone()).collect();
    let mut least: Option<f64> = None;
    for mut way in 0..nodes.len().pow(wanted.wholes.len() as u32) {
        let mut problem = wanted.problem.clone();
        for whole in &wanted.wholes {
            let node = nodes[way % nodes.len()].clone();
            way /= nodes.len();
            let stages = problem.profile.stages.iter_mut().filter(|stage| whole.contains(&stage.name));
            stages.for_each(|stage| stage.nodes = Some(vec![node.clone()]));
        }
        let answer = placement::solve(&problem, Mode::Shared, &Budget::unlimited()).expect("it is right");
        least = [least, answer.cost_usd_per_h].into_iter().flatten().reduce(f64::min);
    }
    least
}

#[test]
fn what_belongs_together_is_as_cheap_as_the_cheapest_binding() {
    let mut bound = 0;
    for seed in 0..200 {
        let wanted = random(seed);
        let answer = solve(&wanted, Mode::Shared, &Budget::unlimited()).expect("it is right");
        let alone =
            placement::solve(&wanted.problem, Mode::Shared, &Budget::unlimited()).expect("it is right");
        bound += usize::from(alone.cost_usd_per_h != answer.cost_usd_per_h);
        match (answer.cost_usd_per_h, least(&wanted)) {
            (Some(cost), Some(least)) => {
                assert!((cost - least).abs() < 1e-6, "seed {seed}: {cost}, and {least} is possible");
                assert_eq!(answer.status, Status::Optimal, "seed {seed}");
            }
            (None, None) => assert_eq!(answer.status, Status::Infeasible, "seed {seed}"),
            (found, least) => panic!("seed {seed}: {found:?}, and the least is {least:?}"),
        }
    }
    assert!(bound > 0, "some have to be bound");
}

#[test]
fn a_plan_keeps_together_and_costs_what_is_said() {
    let mut split = 0;
    for seed in 0..200 {
        let wanted = random(seed);
        let (answer, written) = plan(&wanted, &Budget::unlimited()).expect("it is right");
        assert_eq!(answer.decision.is_some(), written.is_some(), "seed {seed}");
        let Some(written) = written else { continue };
        let decision = read(&wanted, &written).expect("it is our own");
        let judged = evaluate(&wanted.problem, Mode::Shared, &decision);
        assert!(judged.is_feasible(), "seed {seed}: {:?}", judged.violations);
        assert_eq!(answer.cost_usd_per_h, Some(judged.cost_usd_per_h()), "seed {seed}");
        assert!(
            answer.bound_usd_per_h.expect("there is one") <= judged.cost_usd_per_h() + 1e-6,
            "seed {seed}"
        );
        for whole in &wanted.wholes {
            let nodes: BTreeSet<&str> =
                whole.iter().flat_map(|stage| written.assignment(stage).nodes()).collect();
            assert_eq!(nodes.len(), 1, "seed {seed}: {whole:?}");
        }
        split += written.stages.values().filter(|assignment| assignment.is_split()).count();
    }
    assert!(split > 0, "some are split");
}

#[test]
fn a_decision_survives_being_written() {
    for seed in 0..200 {
        let wanted = random(seed);
        let answer =
            placement::solve(&wanted.problem, Mode::Shared, &Budget::unlimited()).expect("it is right");
        let Some(decision) = answer.decision else { continue };
        let again = read(&wanted, &write(&wanted, &decision)).expect("it is our own");
        assert_eq!(again.variants, decision.variants);
        for (stage, rates) in &decision.rates_per_s {
            let all: f64 = rates.values().sum();
            let near: BTreeMap<&String, bool> = rates
                .iter()
                .map(|(node, rate)| (node, (again.rates_per_s[stage][node] - rate).abs() <= all * 0.003))
                .collect();
            assert!(near.values().all(|near| *near), "seed {seed}, {stage}: {rates:?}");
        }
    }
}

#[test]
fn no_node_gets_more_slots_than_it_has() {
    let mut other = 0;
    for seed in 0..200 {
        let mut wanted = random(seed);
        let server = wanted.problem.machines.nodes.iter_mut().find(|node| node.name == "server");
        server.expect("there is one").slots = 4;
        wanted.problem.rates.sources[0].rate_per_s *= 2.0;
        let Some(written) = plan(&wanted, &Budget::unlimited()).expect("it is right").1 else { continue };
        let detect = written.assignment("detect");
        for node in wanted.problem.machines.nodes.iter().filter(|node| detect.is_on(&node.name)) {
            let slots = detect.slots_at(&node.name);
            assert!((1..=node.slots as usize).contains(&slots), "seed {seed}: {slots} on {}", node.name);
        }
        other += detect.slots_on.len();
    }
    assert!(other > 0, "on some nodes there are fewer");
}
