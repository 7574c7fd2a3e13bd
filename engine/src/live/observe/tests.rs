use super::*;
use crate::live::telemetry::SourceReading;
use crate::random::Random;

const SECOND: u64 = 1_000_000;

fn observer() -> Observer {
    let sites = [("edge", "yard"), ("cloud", "region")];
    let sites = sites.map(|(node, site)| (node.to_owned(), site.to_owned())).into();
    Observer::new(Smoothing { rates_s: 2.0, services_s: 10.0 }, sites)
}

/// What a node that does the same all the time has done after some seconds: 40 items come a second, of which 30 are let
/// in; a detector takes 20 ms for each and makes three of it; each of those goes on in 2 KB.
fn steady(node: &str, second: u64) -> Telemetry {
    let admitted = second * 30;
    Telemetry {
        node: node.to_owned(),
        at_us: 77 * SECOND + second * SECOND,
        stages: vec![StageReading {
            stage: "detect".to_owned(),
            variant: Some("w16".to_owned()),
            items_in: admitted,
            items_out: admitted * 3,
            busy_us: admitted * 20_000,
            waiting: second,
            slots: 1,
            latency_ms: Some([10.0, 30.0, 50.0]),
            ..StageReading::default()
        }],
        links: vec![LinkReading {
            to: "cloud".to_owned(),
            from_stage: "detect".to_owned(),
            to_stage: "embed".to_owned(),
            items: admitted * 3,
            bytes: admitted * 3 * 2048,
            round_trip_us: Some(20_000),
            ..LinkReading::default()
        }],
        sources: vec![SourceReading {
            source: "cameras".to_owned(),
            lane: "north".to_owned(),
            admitted,
            offered: second * 40,
            dropped: 0,
        }],
    }
}

fn check_steady(observed: &Observed) {
    let near = |value: f64, right: f64| assert!((value - right).abs() < 1e-6, "{value}, not {right}");
    near(observed.sources["cameras"].value, 40.0);
    near(observed.sources["cameras"].latest, 40.0);
    near(observed.services[&("detect".to_owned(), "w16".to_owned(), "edge".to_owned())].value, 20.0);
    near(observed.selectivity["detect"].value, 3.0);
    near(observed.kb_per_item[&("detect".to_owned(), "embed".to_owned())].value, 2.0);
    let link = &observed.links[&("yard".to_owned(), "region".to_owned())];
    near(link.mbit_per_s.value, 90.0 * 2048.0 * 8.0 / 1e6);
    near(link.round_trip_ms.expect("it was measured").value, 20.0);
    assert_eq!(link.capacity_mbit_per_s, None);
    near(observed.p95_ms["detect"].value, 30.0);
}

#[test]
fn rates_are_those_that_are_offered_and_services_those_that_are_worked() {
    let mut observer = observer();
    (0..30).for_each(|second| observer.hear(steady("edge", second), second * SECOND));
    let observed = observer.observed(31 * SECOND);
    check_steady(&observed);
    assert_eq!(observed.sources["cameras"].age_us, 2 * SECOND);
    assert_eq!(observed.waiting["detect"], 29);
}

#[test]
fn reports_may_be_lost_doubled_late_and_out_of_order() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut reports: Vec<u64> = (0..40).filter(|_| !random.percent(40)).collect();
        for i in 1..reports.len() {
            if random.percent(30) {
                reports.swap(i - 1, i);
            }
            if random.percent(20) {
                let twice = reports[i];
                reports.push(twice);
            }
        }
        reports.extend(40..44);
        let mut observer = observer();
        reports.iter().for_each(|second| observer.hear(steady("edge", *second), second * SECOND));
        check_steady(&observer.observed(44 * SECOND));
    }
}

#[test]
fn a_node_that_begins_again_is_heard_again() {
    for (name, later) in [("its clock goes on", 100), ("its clock begins again", 0)] {
        let mut observer = observer();
        (0..20).for_each(|second| observer.hear(steady("edge", second), second * SECOND));
        for second in 0..20 {
            let mut report = steady("edge", second);
            report.at_us += later * SECOND;
            observer.hear(report, (20 + second) * SECOND);
            let rate = observer.observed(0).sources["cameras"].value;
            assert!((rate - 40.0).abs() < 8.0, "{name}: {rate} after {second} s");
        }
        check_steady(&observer.observed(40 * SECOND));
    }
}

#[test]
fn what_one_report_says_alone_counts_for_little() {
    let mut observer = observer();
    for second in 0..20 {
        let mut report = steady("edge", second);
        report.sources[0].offered += if second == 10 { u64::MAX / 2 } else { 0 };
        report.stages[0].busy_us = if second == 12 { u64::MAX } else { report.stages[0].busy_us };
        observer.hear(report, second * SECOND);
        let rate = observer.observed(0).sources.get("cameras").map_or(40.0, |rate| rate.value);
        assert!((rate - 40.0).abs() < 1e-6, "{rate} after {second} s");
    }
    let services = observer.observed(0).services;
    let ms = services[&("detect".to_owned(), "w16".to_owned(), "edge".to_owned())].value;
    assert!((ms - 20.0).abs() < 1e-6, "{ms}");
}

#[test]
fn a_step_shows_within_two_reports() {
    let mut observer = observer();
    let mut offered = 0;
    for second in 0..20 {
        offered += if second > 10 { 160 } else { 40 };
        let mut report = steady("edge", second);
        report.sources[0].offered = offered;
        observer.hear(report, second * SECOND);
        let latest = observer.observed(0).sources.get("cameras").map_or(40.0, |rate| rate.latest);
        assert_eq!(latest, if second > 11 { 160.0 } else { 40.0 }, "after {second} s");
    }
}

#[test]
fn lanes_come_and_go() {
    let mut observer = observer();
    for second in 0..40 {
        let mut report = steady("edge", second);
        if (10..20).contains(&second) {
            let more = SourceReading {
                lane: "south".to_owned(),
                offered: (second - 9) * 10,
                ..report.sources[0].clone()
            };
            report.sources.push(more);
        }
        if second >= 30 {
            report.sources.clear();
        }
        observer.hear(report, second * SECOND);
        let rate = observer.observed(0).sources.get("cameras").map(|rate| rate.latest);
        let right = match second {
            0 | 30.. => None,
            12..20 => Some(50.0),
            22..30 => Some(40.0),
            _ => rate,
        };
        assert_eq!(rate, right, "after {second} s");
    }
}

#[test]
fn a_full_link_tells_what_it_carries() {
    let mut observer = observer();
    for second in 0..40 {
        let mut report = steady("edge", second);
        report.links[0].round_trip_us = Some(if second > 10 { 400_000 } else { 20_000 });
        observer.hear(report, second * SECOND);
    }
    let link = observer.observed(0).links[&("yard".to_owned(), "region".to_owned())];
    assert_eq!(link.capacity_mbit_per_s, Some(link.mbit_per_s));
}
