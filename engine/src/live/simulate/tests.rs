use super::*;
use crate::random::Random;

fn scene(trace: Trace, link: Option<(&str, &str)>) -> Scene {
    Scene {
        problem: toml::from_str(include_str!("../problem.toml")).expect("the problem is right"),
        trace,
        link: link.map(|(from, to)| (from.to_owned(), to.to_owned())),
        settings: Settings::default(),
        others: Vec::new(),
        programs_max: 500,
        change_s: 2,
    }
}

fn lines(rates: impl Iterator<Item = f64>) -> String {
    rates.enumerate().map(|(second, rate)| format!("{second},{rate}\n")).collect()
}

fn outcome<'a>(comparison: &'a Comparison, policy: &str) -> &'a Outcome {
    comparison.outcomes.iter().find(|outcome| outcome.policy == policy).expect("it was played")
}

#[test]
fn ours_costs_little_more_than_perfect_knowledge_and_moves_seldom() {
    let mut random = Random::new(1);
    let rates = (0..3_600).map(|second| {
        let wave = 25.0 + 20.0 * (f64::from(second) / 600.0).sin();
        wave * (0.9 + 0.2 * random.below(1_000) as f64 / 1_000.0)
    });
    let comparison =
        simulate(&scene(Trace::read(&lines(rates), 1.0).expect("it is right"), None)).expect("it runs");
    let (ours, perfect) = (outcome(&comparison, "ours"), outcome(&comparison, "perfect knowledge"));
    let peak = outcome(&comparison, "static peak");
    assert!(comparison.over_perfect.is_some_and(|ratio| ratio < 1.1), "{ours:#?} {perfect:#?}");
    assert!(ours.usd < peak.usd && ours.changes * 10 < perfect.changes, "{ours:?} {perfect:?}");
    assert!(ours.missed_s < 40, "{}", ours.missed_s);
    assert_eq!((peak.changes, peak.missed_s), (0, 0));
    assert!(outcome(&comparison, "static average").missed_s > ours.missed_s);
    assert_eq!(
        comparison.history.len(),
        comparison.history.iter().map(|r| r.id).max().unwrap_or(0) as usize + 1
    );
}

#[test]
fn a_narrow_link_is_left_in_time() {
    let rates = Trace::read(&lines((0..600).map(|_| 60.0)), 1.0).expect("it is right");
    let widths = r#"{"bandwidth_limits": [{"time": 0, "mbps": 200}, {"time": 300, "mbps": 2}, {"time": 599, "mbps": 2}]}"#;
    let trace = rates.with_bandwidth(widths).expect("it is right");
    let mut scene = scene(trace, Some(("yard", "region")));
    // Boxes are dear, so that everything goes to a server while it can.
    scene.problem.machines.nodes[..2].iter_mut().for_each(|node| node.usd_per_h = 5.0);
    let comparison = simulate(&scene).expect("it runs");
    let ours = outcome(&comparison, "ours");
    assert_eq!(ours.changes, 1, "{:#?}", comparison.history);
    assert!(ours.missed_s <= 6, "{}", ours.missed_s);
}

#[test]
fn error_traces_are_refused_with_their_line() {
    for (text, line) in [
        ("0,1\n1", "line 2"),
        ("0,1\n1,-3", "line 2"),
        ("0,1\n1,NaN", "line 2"),
        ("0,1\n1,1e12", "line 2"),
        ("second,rate\nx,1", "line 2"),
        ("0,1\n0,1", "line 2"),
        ("0,1\n99999999999,1", "line 2"),
    ] {
        let error = Trace::read(text, 1.0).expect_err(text).to_string();
        assert!(error.contains(line), "{text}: {error}");
    }
    for json in
        ["", "[]", r#"{"bandwidth_limits": []}"#, r#"{"bandwidth_limits": [{"time": 0, "mbps": -1}]}"#]
    {
        assert!(Trace::read("0,1", 1.0).expect("it is right").with_bandwidth(json).is_err(), "{json}");
    }
    let unknown = Trace::read("0,elsewhere,1", 1.0).expect("it is right");
    assert!(simulate(&scene(unknown, None)).is_err());
    assert!(simulate(&scene(Trace::default(), None)).is_err());
    let trace = Trace::read("0,1", 1.0).expect("it is right");
    assert!(simulate(&scene(trace, Some(("yard", "moon")))).is_err());
}

#[test]
fn threshold_autoscaling_adds_what_is_busy_and_takes_away_what_idles() {
    let rates = (0..2_160).map(|second| if (500..800).contains(&second) { 60.0 } else { 10.0 });
    let trace = Trace::read(&lines(rates), 1.0).expect("it is right");
    let comparison = simulate(&scene(trace, None)).expect("it runs");
    let threshold = outcome(&comparison, "threshold autoscaling");
    assert!(threshold.starts >= 1 && threshold.changes >= 2, "{threshold:?}");
    assert!(threshold.missed_s > 0 && threshold.missed_s < 60, "{threshold:?}");
    let (first, last) = (threshold.costs[0], threshold.costs[threshold.costs.len() - 1]);
    assert!((first - last).abs() < 0.05, "{first} {last}");
}
