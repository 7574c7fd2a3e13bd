//! Placement held against published answers, against enumeration, and against the judge.

use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::{Answer, Budget, Mode, Status, evaluate, heuristic, import, solve};

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
