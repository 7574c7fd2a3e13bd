//! Placement held against published answers, against enumeration, and against the judge.

use std::path::{Path, PathBuf};

use super::explain::{Change, smallest_change};
use super::problem::Problem;
use super::{Answer, Budget, Mode, Running, Status, evaluate, heuristic, import, solve, solve_from};
use crate::random::Random;

const MODES: [Mode; 3] = [Mode::Paper, Mode::Exclusive, Mode::Shared];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/placement").join(name)
}

fn lines(name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(data(name)).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn published(rate_per_s: f64, accuracy_min: f64) -> Problem {
    let mut problem = import::prototype(&data("published-vqa")).unwrap();
    problem.rates.sources.iter_mut().for_each(|source| source.rate_per_s = rate_per_s);
    problem.objectives.accuracy_min = Some(accuracy_min);
    problem
}

/// Solves it, and holds the answer to what every answer promises.
#[track_caller]
fn check(problem: &Problem, mode: Mode, budget: &Budget<'_>) -> Answer {
    let answer = solve(problem, mode, budget).unwrap();
    if let Some(decision) = &answer.decision {
        let judged = evaluate(problem, mode, decision);
        assert!(judged.is_feasible(), "{mode:?}: {:?}", judged.violations);
        assert_eq!(Some(judged.cost_usd_per_h()), answer.cost_usd_per_h, "{mode:?}");
        assert!(answer.bound_usd_per_h <= answer.cost_usd_per_h, "{mode:?}");
    }
    answer
}

/// Holds a proved answer to a cost, or to there being none.
#[track_caller]
fn assert_cost(answer: &Answer, cost_usd_per_h: Option<f64>, what: &str) {
    match (answer.cost_usd_per_h, cost_usd_per_h) {
        (None, None) => assert_eq!(answer.status, Status::Infeasible, "{what}"),
        (Some(found), Some(cost)) => {
            assert_eq!(answer.status, Status::Optimal, "{what}");
            assert!((found - cost).abs() <= 2e-5 * cost, "{what}: {found} instead of {cost}");
        }
        (found, cost) => panic!("{what}: {found:?} instead of {cost:?}"),
    }
}

#[test]
fn every_mode_answers_as_published() {
    for line in lines("published-reference.csv") {
        let problem = published(line[0].parse().unwrap(), line[1].parse().unwrap());
        for (mode, cost) in MODES.iter().zip(&line[2..]) {
            let answer = check(&problem, *mode, &Budget::programs(10_000));
            assert_cost(&answer, cost.parse().ok(), &format!("{mode:?} at {:?}", &line[..2]));
        }
    }
}

#[test]
fn small_instances_have_their_proved_optima() {
    for line in lines("instances/reference.csv") {
        let problem = import::instance(&data(&format!("instances/{}.json", line[0]))).unwrap();
        for (mode, cost) in MODES.iter().zip(&line[1..]) {
            let answer = check(&problem, *mode, &Budget::programs(10_000));
            assert_cost(&answer, cost.parse().ok(), &format!("{mode:?} of {}", line[0]));
        }
    }
}

#[test]
fn an_input_has_one_answer() {
    let problem = published(40.0, 56.0);
    let solve = |mode| solve(&problem, mode, &Budget::unlimited()).unwrap();
    MODES.iter().for_each(|mode| assert_eq!(solve(*mode), solve(*mode)));
}

#[test]
fn a_search_cut_short_answers_with_a_bound() {
    let problem = published(30.0, 57.0);
    let whole = check(&problem, Mode::Exclusive, &Budget::unlimited());
    for programs in 1..60 {
        let part = check(&problem, Mode::Exclusive, &Budget::programs(programs));
        assert_ne!(part.status, Status::Infeasible);
        assert!(part.bound_usd_per_h.unwrap() <= whole.cost_usd_per_h.unwrap());
    }
}

#[test]
fn a_problem_is_the_same_after_a_trip_through_toml() {
    let problem = published(40.0, 56.0);
    let text = toml::to_string(&problem).unwrap();
    assert_eq!(toml::from_str::<Problem>(&text).unwrap(), problem);
}

#[test]
fn the_heuristic_is_feasible_and_never_below_the_optimum() {
    for line in lines("published-reference.csv") {
        let problem = published(line[0].parse().unwrap(), line[1].parse().unwrap());
        let found = heuristic(&problem).unwrap();
        assert_eq!(found, heuristic(&problem).unwrap());
        let Ok(least) = line[2].parse::<f64>() else {
            assert_eq!(found, None, "{line:?}");
            continue;
        };
        let Some((cost, decision)) = found else { continue };
        let judged = evaluate(&problem, Mode::Paper, &decision);
        assert!(judged.is_feasible(), "{line:?}: {:?}", judged.violations);
        assert_eq!(judged.cost_usd_per_h(), cost);
        assert!(cost >= least * (1.0 - 1e-6), "{line:?}: {cost}");
    }
}

#[test]
fn what_is_not_right_is_refused_in_words() {
    type Spoil = fn(&mut Problem);
    let cases: [(Spoil, &str); 20] = [
        (|p| p.rates.sources[0].rate_per_s = -1.0, "source \"ReadImage\": rate_per_s is -1"),
        (|p| p.rates.sources[0].rate_per_s = f64::NAN, "source \"ReadImage\": rate_per_s is NaN"),
        (|p| p.rates.sources[1].site = "moon".into(), "source \"ReadSpeech\" names site \"moon\""),
        (|p| p.machines.nodes[0].usd_per_h = f64::INFINITY, "usd_per_h is inf"),
        (|p| p.machines.nodes[0].slots = 0, "has no slots"),
        (|p| p.machines.nodes[1].name = p.machines.nodes[0].name.clone(), "is there twice"),
        (|p| p.machines.links[0].to = "moon".into(), "names site \"moon\""),
        (|p| p.profile.edges[0].from = "moon".into(), "comes from nowhere"),
        (|p| p.profile.edges[0].from = "VQA".into(), "the edges go in a circle"),
        (|p| p.profile.edges[2].kb_per_item.truncate(2), "gives 2 sizes"),
        (|p| p.profile.services[0].class = "moon".into(), "no node is of that class"),
        (|p| p.profile.stages[0].nodes = Some(vec!["moon".into()]), "names node \"moon\""),
        (|p| p.profile.accuracy = None, "the profile tells no accuracy"),
        (|p| p.objectives.utilisation_max = 1.5, "utilisation_max is 1.5"),
        (|p| p.objectives.p95_ms_max = Some(100.0), "a queue before slots that are always busy has no bound"),
        (|p| p.objectives.p95_ms_max = Some(f64::NAN), "p95_ms_max is NaN"),
        (|p| p.profile.services[0].memory_mb = -1.0, "memory_mb is -1"),
        (|p| p.machines.links[0].round_trip_ms = f64::INFINITY, "round_trip_ms is inf"),
        (|p| p.profile.stages[0].batch_deadline_ms = -0.5, "batch_deadline_ms is -0.5"),
        (
            |p| p.profile.stages.extend((0..300).map(|i| named(p, i)).collect::<Vec<_>>()),
            "stages (256 are the most)",
        ),
    ];
    for (spoil, words) in cases {
        let mut problem = published(40.0, 56.0);
        spoil(&mut problem);
        let error = solve(&problem, Mode::Shared, &Budget::unlimited()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_wrong_line_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(data("published-vqa")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let cases = [
        (
            "workers_specs.csv",
            "workflow-compute-cpu-1,0.096\nworkflow-compute-cpu-2,cheap\n",
            "workers_specs.csv:2",
        ),
        ("workers_specs.csv", "moon,1\n", "this worker is in no tier"),
        ("logical_graph.csv", "ReadImage\n", "logical_graph.csv:1: 1 fields instead of 2"),
        ("accuracy_requirement.json", "{\n\"threshold\": \"high\"}", "line 2"),
    ];
    for (file, text, words) in cases {
        let path = folder.path().join(file);
        let right = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        let error = import::prototype(folder.path()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        std::fs::write(&path, right).unwrap();
    }
    let error = import::instance(&folder.path().join("nothing.json")).unwrap_err();
    assert!(error.to_string().contains("nothing.json"), "{error}");
}

fn named(problem: &Problem, number: usize) -> super::problem::StageProfile {
    super::problem::StageProfile { name: format!("stage{number}"), ..problem.profile.stages[0].clone() }
}

#[test]
fn a_missing_service_or_combination_is_no_plan_of_it() {
    let mut problem = published(10.0, 58.0);
    let whole = check(&problem, Mode::Shared, &Budget::unlimited());
    let variants = whole.decision.unwrap().variants;
    let Some(super::problem::Accuracy::Table { stages, rows }) = &mut problem.profile.accuracy else {
        panic!()
    };
    let chosen: Vec<&String> = stages.iter().map(|stage| &variants[stage]).collect();
    rows.retain(|row| row.variants.iter().collect::<Vec<_>>() != chosen);
    let without = check(&problem, Mode::Shared, &Budget::unlimited());
    assert!(without.decision.is_none_or(|decision| decision.variants != variants));
    problem.profile.services.retain(|service| service.stage != "VQA");
    assert_eq!(check(&problem, Mode::Shared, &Budget::unlimited()).status, Status::Infeasible);
    assert_eq!(smallest_change(&problem, Mode::Shared, &Budget::unlimited()).unwrap(), []);
}

#[test]
fn where_there_is_no_plan_every_change_that_is_named_makes_one() {
    let mut kinds = std::collections::HashSet::new();
    let mut problems = vec![published(70.0, 59.0), published(80.0, 58.0), published(400.0, 50.0)];
    let mut slow = published(10.0, 56.0);
    slow.objectives.utilisation_max = 0.5;
    slow.objectives.p95_ms_max = Some(60.0);
    let mut narrow = published(20.0, 57.0);
    narrow.machines.links.iter_mut().for_each(|link| link.mbit_per_s = Some(0.2));
    narrow.machines.nodes.iter_mut().for_each(|node| node.memory_mb = Some(100.0));
    narrow.profile.services.iter_mut().for_each(|service| service.memory_mb = 60.0);
    problems.extend([slow, narrow]);
    for problem in problems {
        for mode in MODES {
            let changes = smallest_change(&problem, mode, &Budget::unlimited()).unwrap();
            let has_plan = solve(&problem, mode, &Budget::programs(2_000)).unwrap().decision.is_some();
            assert!(!has_plan || changes.is_empty(), "{mode:?}: {changes:?}");
            for change in changes {
                let mut changed = problem.clone();
                change.apply(&mut changed);
                // Any plan will do.
                changed.machines.nodes.iter_mut().for_each(|node| node.usd_per_h = 0.0);
                changed.machines.links.iter_mut().for_each(|link| link.usd_per_gb = 0.0);
                let answer = check(&changed, mode, &Budget::programs(2_000));
                assert!(answer.decision.is_some(), "{mode:?}: {change} ({change:?})");
                kinds.insert(std::mem::discriminant(&change));
                if let Change::Rates { factor } = change {
                    assert!(factor > 0.0 && factor < 1.0);
                }
            }
        }
    }
    assert!(kinds.len() >= 5, "{} kinds of change", kinds.len());
}

#[test]
fn a_plan_that_runs_is_kept_where_that_costs_nothing() {
    let problem = published(40.0, 56.0);
    for mode in MODES {
        let first = check(&problem, mode, &Budget::unlimited());
        let running = Running { decision: first.decision.unwrap(), usd_per_start: 0.02 };
        let again = solve_from(&problem, mode, &Budget::unlimited(), &running).unwrap();
        assert_eq!(again.starts, Some(0), "{mode:?}");
        let (cost, before) = (again.cost_usd_per_h.unwrap(), first.cost_usd_per_h.unwrap());
        assert!((cost - before).abs() < 1e-6 * before, "{mode:?}: {cost} instead of {before}");
        let mut dear = running.clone();
        dear.usd_per_start = f64::NAN;
        assert!(solve_from(&problem, mode, &Budget::unlimited(), &dear).is_err());
    }
}

/// Nodes that all differ, so many that their program is too large.
fn large(nodes: usize) -> Problem {
    let mut problem = published(0.6 * nodes as f64, 55.0);
    let mut random = Random::new(nodes as u64);
    let mut times = |most: u64| 1.0 + (random.below(1000) as f64 / 1000.0 - 0.5) * most as f64 / 100.0;
    let (kinds, services) = (problem.machines.nodes.clone(), problem.profile.services.clone());
    problem.machines.nodes.clear();
    problem.profile.services.clear();
    for i in 0..nodes {
        let kind = &kinds[i % kinds.len()];
        let mut node = kind.clone();
        node.name = format!("node{i}");
        for service in services.iter().filter(|service| service.class == kind.class()) {
            let ms_per_item = service.ms_per_item * times(12);
            let class = node.name.clone();
            problem.profile.services.push(super::problem::Service { class, ms_per_item, ..service.clone() });
        }
        node.class = None;
        problem.machines.nodes.push(node);
    }
    problem
}

#[test]
fn a_problem_too_large_for_one_program_has_a_plan_and_a_bound_within_its_budget() {
    let problem = large(1_000);
    assert!(problem.profile.services.len() > 6_000);
    for mode in MODES {
        let budget = Budget::programs(150);
        let answer = check(&problem, mode, &budget);
        assert!(answer.gap().is_some_and(|gap| gap < 0.1), "{mode:?}: {:?}", answer.gap());
        // The one that it is in is finished.
        assert!(answer.programs <= 152, "{mode:?}: {}", answer.programs);
        assert_eq!(answer, check(&problem, mode, &budget), "{mode:?}");
        assert!(check(&problem, mode, &Budget::programs(1)).bound_usd_per_h.is_some(), "{mode:?}");
    }
}
