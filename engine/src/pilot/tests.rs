use super::solver::ByHand;
use super::*;
use crate::error::ErrorKind;
use crate::live::{Cause, Reading, Verdict};
use crate::placement::Problem;
use crate::telemetry::{Readings, SourceReading, StageReading};

const SECOND: u64 = 1_000_000;
const NODES: [&str; 4] = ["box-1", "box-2", "server-1", "server-2"];

/// A pilot of the problem in `live/problem.toml`, second by second: a change takes one.
struct Flight {
    pilot: Pilot,
    board: Board,
    second: u64,
    offered: u64,
    busy_us: u64,
    /// What the next change comes to.
    fails: Option<&'static str>,
    plans: Vec<Plan>,
}

fn wanted(change: impl FnOnce(&mut Problem)) -> Wanted {
    let mut problem: Problem =
        toml::from_str(include_str!("../live/problem.toml")).expect("the problem is right");
    // As a problem of a topology names them.
    problem.rates.sources[0].name = planning::feed("cameras");
    problem.profile.edges[0].from = planning::feed("cameras");
    change(&mut problem);
    Wanted::from(problem)
}

fn plan() -> Plan {
    Plan::single("box-1").with("detect", crate::plan::Assignment::on("box-1").variant("small"))
}

impl Flight {
    fn new(change: impl FnOnce(&mut Problem)) -> Self {
        let course = Course { wanted: wanted(change), settings: Settings::default() };
        let pilot = Pilot::new(course, &plan(), Box::new(ByHand::new(2_000, SECOND / 2)));
        let pilot = pilot.expect("it is right");
        let board = Board::default();
        Self { pilot, board, second: 0, offered: 0, busy_us: 0, fails: None, plans: Vec::new() }
    }

    /// What a node tells: the first box has the cameras, and its slot is busy half of the time.
    fn tell(&self, node: &str, latency_ms: Option<[f64; 3]>) {
        let source = |lane: &str| SourceReading {
            source: "cameras".to_owned(),
            lane: lane.to_owned(),
            admitted: self.offered,
            offered: self.offered,
            dropped: 0,
        };
        let stage = StageReading {
            stage: "cameras".to_owned(),
            busy_us: self.busy_us,
            latency_ms,
            ..StageReading::default()
        };
        let is_first = node == NODES[0];
        let telemetry = Telemetry {
            node: node.to_owned(),
            at_us: self.second * SECOND,
            stages: if is_first { vec![stage] } else { vec![] },
            sources: if is_first { vec![source("north")] } else { vec![] },
            ..Telemetry::default()
        };
        self.board.put(node, Readings { telemetry, ..Readings::default() });
    }

    fn fly(&mut self, seconds: u64, rate: u64, latency_ms: Option<[f64; 3]>) {
        for _ in 0..seconds {
            self.second += 1;
            self.offered += rate;
            self.busy_us += SECOND / 2;
            NODES.iter().for_each(|node| self.tell(node, latency_ms));
            let mut now_us = self.second * SECOND;
            while now_us < (self.second + 1) * SECOND {
                if let Some((id, plan)) = self.pilot.turn(now_us, &self.board) {
                    let failed = self.fails.take().map(|why| Error::new(ErrorKind::Failed, why));
                    self.plans.extend(failed.is_none().then_some(plan));
                    self.pilot.changed(id, failed.as_ref().map_or(Ok(()), Err), now_us + SECOND / 4);
                }
                let due_us = self.pilot.due_us();
                assert!(due_us > now_us, "it is never due at once again");
                now_us = due_us;
            }
        }
    }

    fn nodes(&self) -> BTreeSet<&str> {
        let plan = self.plans.last().expect("it changed");
        ["detect", "track"].iter().flat_map(|stage| plan.assignment(stage).nodes()).collect()
    }
}

#[test]
fn what_is_measured_is_followed_and_what_came_of_it_is_kept() {
    let mut flight = Flight::new(|_| ());
    flight.fly(30, 15, None);
    assert_eq!(flight.plans, []);
    flight.fly(20, 60, None);
    assert_eq!(flight.plans.len(), 1);
    assert!(flight.nodes().len() > 1, "{:?}", flight.plans);
    let history = flight.pilot.history();
    let changed: Vec<&Piloted> = history.iter().filter(|p| p.record.verdict == Verdict::Changed).collect();
    assert_eq!(changed.len(), 1, "{history:?}");
    assert_eq!(changed[0].record.trigger.cause, Cause::Overload);
    let used = changed[0].measured_utilisation["box-1"];
    assert!((used - 0.5).abs() < 1e-6, "{used}");
}

#[test]
fn a_change_that_failed_on_a_node_is_not_tried_there_again() {
    let mut flight = Flight::new(|_| ());
    flight.fly(10, 15, None);
    flight.fails = Some("node \"box-2\": no such model");
    flight.fly(30, 60, None);
    assert!(!flight.nodes().contains("box-2"), "{:?}", flight.plans);
    let failed = flight.pilot.history().iter().find(|p| matches!(p.record.verdict, Verdict::Failed { .. }));
    assert!(failed.is_some(), "{:?}", flight.pilot.history());
}

#[test]
fn orders_are_followed_and_a_plan_by_hand_stays() {
    let mut flight = Flight::new(|_| ());
    flight.fly(5, 15, None);
    flight.pilot.order(Order::Pause, flight.second * SECOND);
    flight.fly(30, 60, None);
    assert_eq!(flight.plans, [], "it is paused");
    flight.pilot.order(Order::Resume, flight.second * SECOND);
    flight.fly(5, 60, None);
    assert_eq!(flight.plans.len(), 1);
    let by_hand =
        Plan::single("server-1").with("detect", crate::plan::Assignment::on("server-1").variant("large"));
    flight.pilot.applied(&by_hand, flight.second * SECOND);
    flight.fly(120, 15, None);
    assert_eq!(flight.plans.len(), 1, "nothing urgent has happened");
    flight.pilot.order(Order::Rebalance, flight.second * SECOND);
    flight.fly(5, 15, None);
    assert_eq!(flight.plans.len(), 2);
    assert_eq!(flight.nodes().len(), 1, "{:?}", flight.plans);
}

#[test]
fn an_objective_that_is_missed_for_long_is_a_cause_and_a_moment_is_none() {
    let bounded = |problem: &mut Problem| problem.objectives.p95_ms_max = Some(200.0);
    let late = Some([100.0, 400.0, 500.0]);
    let causes = |flight: &Flight| -> Vec<Cause> {
        flight.pilot.history().iter().map(|piloted| piloted.record.trigger.cause).collect()
    };
    let mut flight = Flight::new(bounded);
    flight.fly(30, 15, Some([50.0, 100.0, 150.0]));
    flight.fly(5, 15, late);
    flight.fly(30, 15, Some([50.0, 100.0, 150.0]));
    assert!(!causes(&flight).contains(&Cause::ObjectiveMissed));
    flight.fly(15, 15, late);
    assert_eq!(causes(&flight).iter().filter(|cause| **cause == Cause::ObjectiveMissed).count(), 1);
}

#[test]
fn what_is_heard_of_old_misses_nothing() {
    let mut missing = Missing::new(Some(100.0), &Settings::default());
    let readings =
        |age_us| BTreeMap::from([("cameras".to_owned(), Reading { value: 300.0, latest: 300.0, age_us })]);
    let mut told =
        |age_us| (0..100).map(|s| missing.look(&readings(age_us), s * SECOND).len()).sum::<usize>();
    assert_eq!(told(20 * SECOND), 0);
    assert!(told(0) > 0);
}

#[test]
fn a_plan_that_the_profile_does_not_know_is_refused() {
    let course = Course { wanted: wanted(|_| ()), settings: Settings::default() };
    let elsewhere = Plan::single("nowhere");
    let error = Pilot::new(course, &elsewhere, Box::new(ByHand::new(1, 1))).err().expect("it is unknown");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("nowhere"), "{error}");
}
