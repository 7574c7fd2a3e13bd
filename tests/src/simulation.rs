//! Runs by seed, stepped by hand over a network with faults, each against its twin on one node in peace.

use jellybean_engine::sim::{Seen, simulate, simulate_piloted};

/// Runs of this test; `jellybean-benches simulate` makes more.
const RUNS: u64 = 500;
/// Of those with a pilot.
const PILOTED: u64 = 150;

#[test]
fn faults_and_changes_of_plan_are_not_seen_in_the_results() {
    let outcomes: Vec<Result<Seen, String>> = (0..RUNS).map(simulate).collect();
    let failures: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(failures.is_empty(), "{} of {RUNS}: {failures:#?}", failures.len());
    let seen: Vec<&Seen> = outcomes.iter().flatten().collect();
    let check = |what: &str, is: &dyn Fn(&Seen) -> bool| {
        let n = seen.iter().filter(|seen| is(seen)).count();
        assert!(n * 5 >= seen.len(), "{what} in {n} of {RUNS} runs alone");
    };
    check("resend", &|seen| seen.resend);
    check("crash", &|seen| seen.crash);
    check("join", &|seen| seen.join);
    check("split stage", &|seen| seen.split);
    check("retune", &|seen| seen.retune);
    check("hand-over", &|seen| seen.handover);
    check("abort", &|seen| seen.abort);
    check("two changes in a row", &|seen| seen.two_in_a_row);
    check("restart of the controller", &|seen| seen.restart);
}

#[test]
fn a_pilot_that_follows_the_rates_is_not_seen_in_the_results_and_moves_no_stage_twice_in_a_row() {
    let outcomes: Vec<Result<Seen, String>> = (0..PILOTED).map(simulate_piloted).collect();
    let failures: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(failures.is_empty(), "{} of {PILOTED}: {failures:#?}", failures.len());
    let count = |is: &dyn Fn(&Seen) -> bool| outcomes.iter().flatten().filter(|seen| is(seen)).count();
    let (piloted, refused) = (count(&|seen| seen.piloted), count(&|seen| seen.refused));
    let (infeasible, restart) = (count(&|seen| seen.infeasible), count(&|seen| seen.restart && seen.piloted));
    assert!(piloted * 4 >= outcomes.len(), "{piloted} of {PILOTED} runs alone are changed by their pilot");
    assert!(refused > 0 && infeasible > 0 && restart > 0, "{refused} {infeasible} {restart}");
}

#[test]
fn a_seed_says_everything() {
    for seed in 0..20 {
        assert_eq!(simulate(seed), simulate(seed));
        assert_eq!(simulate_piloted(seed), simulate_piloted(seed));
    }
}
