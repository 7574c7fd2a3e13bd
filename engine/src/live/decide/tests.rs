use super::*;
use crate::live::observe::{Observed, Reading};
use crate::live::question::answer;
use crate::live::record::Verdict;
use crate::placement::{Budget, solve, solve_from};
use crate::random::Random;

const SECOND: u64 = 1_000_000;

/// A run of the problem in `problem.toml`, second by second: changes take two.
struct Play {
    decider: Decider,
    second: u64,
    rate: f64,
    observed: Observed,
    /// Whether what is asked is answered.
    solves: bool,
    under_way: Vec<(u64, u64)>,
    fail_on: Option<&'static str>,
    /// Every plan that took effect, with when.
    plans: Vec<(u64, Routes)>,
    applied: BTreeMap<u64, Routes>,
    told: Vec<Record>,
}

fn problem() -> Problem {
    toml::from_str(include_str!("../problem.toml")).expect("the problem is right")
}

impl Play {
    fn new(settings: &str) -> Self {
        let settings = toml::from_str(settings).expect("the settings are right");
        Self::of(problem(), settings, Setup::default())
    }

    fn of(problem: Problem, settings: Settings, setup: Setup) -> Self {
        Self {
            decider: Decider::new(problem, setup, settings).expect("it is right"),
            second: 0,
            rate: 10.0,
            observed: Observed::default(),
            solves: true,
            under_way: Vec::new(),
            fail_on: None,
            plans: Vec::new(),
            applied: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn tell(&mut self, event: Event) {
        let mut actions = self.decider.step(event, self.second * SECOND);
        while let Some(action) = actions.pop() {
            match action {
                Action::Tell(record) => self.told.push(*record),
                Action::Apply { id, decision, .. } => {
                    self.applied.insert(id, Routes::of(&decision));
                    self.under_way.push((self.second + 2, id));
                }
                Action::Solve(question) if self.solves => {
                    let budget = Budget::programs(2_000);
                    let mode = question.mode;
                    let found = answer(&question, &mut |problem, running| {
                        if running.decision.variants.is_empty() {
                            return solve(problem, mode, &budget);
                        }
                        solve_from(problem, mode, &budget, running)
                    });
                    let solution = found.map(Box::new).map_err(|error| error.to_string());
                    let solved = Event::Solved { id: question.id, solution };
                    actions.extend(self.decider.step(solved, self.second * SECOND));
                }
                Action::Solve(_) => {}
            }
        }
    }

    fn play(&mut self, seconds: u64, mut rate: impl FnMut(u64) -> f64) {
        for i in 0..seconds {
            self.second += 1;
            self.rate = rate(i);
            let reading = Reading { value: self.rate, latest: self.rate, age_us: 0 };
            self.observed.sources.insert("cameras".to_owned(), reading);
            self.tell(Event::Observed(self.observed.clone()));
            let now = self.second;
            let due: Vec<u64> =
                self.under_way.iter().filter(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
            self.under_way.retain(|(at, _)| *at > now);
            for id in due {
                let routes = self.applied.remove(&id).expect("it was applied");
                let bad = self.fail_on.filter(|node| routes.on(node).next().is_some());
                let outcome = match bad {
                    Some(node) => Err(Failed { why: "no".to_owned(), node: Some(node.to_owned()) }),
                    None => {
                        self.plans.push((now, routes));
                        Ok(())
                    }
                };
                self.tell(Event::Changed { id, outcome });
            }
        }
    }

    fn nodes(&self) -> Vec<String> {
        let routes = self.decider.routes().expect("something runs");
        let mut nodes: Vec<String> = routes.shares.values().flat_map(|s| s.keys().cloned()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    fn causes(&self) -> Vec<Cause> {
        self.decider.history().map(|record| record.trigger.cause).collect()
    }

    /// No stage moves twice within its cool-down, unless the cause was urgent.
    #[track_caller]
    fn check(&self) {
        let cool_down_us = us(self.decider.settings.cool_down_s);
        let mut moved: BTreeMap<&String, u64> = BTreeMap::new();
        for record in self.decider.history().filter(|record| record.verdict == Verdict::Changed) {
            for stage in &record.moved {
                let before_us = moved.insert(stage, record.ended_us.expect("it has ended"));
                let hot = before_us.is_some_and(|before_us| record.at_us < before_us + cool_down_us);
                assert!(!hot || record.trigger.cause.is_urgent(), "{stage} moves twice: {record:?}");
                assert_eq!(hot, record.preempted.contains(stage), "{stage}: {record:?}");
            }
        }
    }
}

#[test]
fn a_steady_load_with_noise_moves_nothing_in_ten_minutes() {
    let (mut play, mut random) = (Play::new(""), Random::new(3));
    play.play(660, |_| 20.0 * (0.9 + 0.2 * random.below(1_000) as f64 / 1_000.0));
    assert_eq!(play.plans.len(), 1, "{:?}", play.told);
    assert_eq!(play.nodes(), ["box-1"]);
}

#[test]
fn a_step_is_followed_at_once_by_one_change_up_and_one_down() {
    let mut play = Play::new("");
    play.play(120, |_| 15.0);
    let begin = play.second;
    play.play(120, |_| 60.0);
    play.play(120, |_| 15.0);
    play.check();
    let times: Vec<u64> = play.plans.iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 3, "{:?}", play.told);
    assert!(times[1] <= begin + 3, "{times:?}");
    assert!(times[2] > begin + 120 && times[2] <= begin + 120 + 15, "{times:?}");
    assert_eq!(play.nodes(), ["box-1"]);
    let up = play.decider.history().find(|record| record.trigger.cause == Cause::Overload);
    let up = up.expect("there was an overload");
    assert!(!up.could_stay && up.usd_per_h_after > up.usd_per_h_before, "{up:?}");
    assert!(up.trigger.value > up.trigger.high && !up.starts.is_empty(), "{up:?}");
}

#[test]
fn what_does_not_earn_its_move_stays() {
    let mut play = Play::new("");
    play.play(90, |_| 30.0);
    // Another node would do as well: nothing to gain, though the rate is far from what it was.
    play.play(60, |_| 20.0);
    assert_eq!(play.plans.len(), 1);
    let kept = play.decider.history().find(|record| record.trigger.cause == Cause::Rate);
    let kept = kept.expect("it was looked at");
    assert_eq!(kept.verdict, Verdict::Kept);
    assert!(kept.trigger.value < kept.trigger.low);
}

#[test]
fn a_node_that_is_gone_is_left_at_once_and_may_come_back() {
    let mut play = Play::new("");
    play.play(10, |_| 60.0);
    assert_eq!(play.nodes(), ["box-1", "box-2"]);
    play.tell(Event::NodeGone("box-2".to_owned()));
    play.play(5, |_| 60.0);
    assert!(!play.nodes().contains(&"box-2".to_owned()), "{:?}", play.nodes());
    play.play(100, |_| 60.0);
    play.tell(Event::NodeCame("box-2".to_owned()));
    play.play(100, |_| 60.0);
    assert_eq!(play.nodes(), ["box-1", "box-2"]);
    play.check();
    play.tell(Event::NodeGone("nobody".to_owned()));
    play.tell(Event::NodeCame("nobody".to_owned()));
    play.play(100, |_| 60.0);
    assert_eq!(play.causes().iter().filter(|cause| **cause == Cause::NodeGone).count(), 1);
}

#[test]
fn what_slows_a_node_down_is_seen() {
    let mut play = Play::new("");
    play.play(60, |_| 20.0);
    let slow = Reading { value: 60.0, latest: 60.0, age_us: 0 };
    let key = ("detect".to_owned(), "small".to_owned(), "box-1".to_owned());
    play.observed.services.insert(key, slow);
    play.play(60, |_| 20.0);
    assert_eq!(play.nodes(), ["box-2"], "{:?}", play.told);
    play.check();
}

#[test]
fn a_link_that_narrows_is_avoided() {
    let mut play = Play::new("");
    play.play(60, |_| 120.0);
    assert!(play.nodes().iter().any(|node| node.starts_with("server")), "{:?}", play.nodes());
    let link = |mbit| crate::live::observe::LinkObserved {
        capacity_mbit_per_s: Some(Reading { value: mbit, latest: mbit, age_us: 0 }),
        ..Default::default()
    };
    play.observed.links.insert(("yard".to_owned(), "region".to_owned()), link(20.0));
    play.play(120, |_| 120.0);
    let last = play.decider.history().rfind(|r| r.verdict == Verdict::Changed).expect("it changed");
    assert!(!last.admitted.is_empty(), "more comes than can be served: {last:?}");
    let loads = play.decider.loads();
    assert!(loads.mbit_per_s.get("yard -> region").is_none_or(|mbit| *mbit < 22.0), "{loads:?}");
}

#[test]
fn what_cannot_be_served_is_cut_by_priority_and_served_again() {
    let mut problem = problem();
    problem.machines.nodes.truncate(2);
    let mut second = problem.rates.sources[0].clone();
    second.name = "doors".to_owned();
    problem.rates.sources.push(second);
    problem.profile.stages.push(crate::placement::problem::StageProfile {
        name: "watch".to_owned(),
        ..problem.profile.stages[1].clone()
    });
    let edge = crate::placement::problem::Edge {
        from: "doors".to_owned(),
        to: "watch".to_owned(),
        ..problem.profile.edges[0].clone()
    };
    problem.profile.edges.push(edge);
    let watch = |class: &str| crate::placement::problem::Service {
        stage: "watch".to_owned(),
        variant: "default".to_owned(),
        class: class.to_owned(),
        ms_per_item: 10.0,
        p95_ms: None,
        memory_mb: 0.0,
    };
    problem.profile.services.retain(|service| service.class == "box");
    problem.profile.services.push(watch("box"));
    let priorities = BTreeMap::from([("doors".to_owned(), 1)]);
    let mut play = Play::of(problem, Settings::default(), Setup { priorities, ..Setup::default() });
    play.play(60, |_| 40.0);
    assert!(play.decider.admitted.is_empty());
    // 72 a second of the cameras are the most, and the doors take a part of that.
    play.play(100, |_| 500.0);
    let admitted = play.decider.admitted.clone();
    assert!(!admitted.contains_key("doors"), "{admitted:?}");
    assert!((60.0..70.0).contains(&admitted["cameras"]), "{admitted:?}");
    let changes = play.plans.len();
    play.play(600, |_| 500.0);
    assert_eq!(play.plans.len(), changes, "{:?}", play.told);
    play.play(200, |_| 40.0);
    assert!(play.decider.admitted.is_empty(), "{:?}", play.told);
}

#[test]
fn absurd_rates_do_no_harm() {
    for absurd in [0.0, f64::NAN, -5.0, f64::INFINITY, 1e12, 1e300] {
        let mut play = Play::new("");
        play.play(30, |_| 20.0);
        play.play(30, |_| absurd);
        play.play(200, |_| 20.0);
        play.check();
        assert_eq!(play.nodes(), ["box-1"], "after {absurd}");
        assert!(play.decider.admitted.is_empty(), "after {absurd}");
    }
}

#[test]
fn old_readings_start_nothing() {
    let mut play = Play::new("");
    play.play(30, |_| 20.0);
    for second in 0..100 {
        play.second += 1;
        let reading = Reading { value: 90.0, latest: 90.0, age_us: (20 + second) * SECOND };
        play.observed.sources.insert("cameras".to_owned(), reading);
        play.tell(Event::Observed(play.observed.clone()));
        play.tell(Event::Tick);
    }
    assert_eq!((play.plans.len(), play.under_way.len()), (1, 0));
}

#[test]
fn a_change_that_fails_is_not_tried_again_at_once() {
    let mut play = Play::new("");
    play.play(60, |_| 20.0);
    play.fail_on = Some("box-2");
    play.play(60, |_| 60.0);
    let failed = play.decider.history().filter(|r| matches!(r.verdict, Verdict::Failed { .. })).count();
    assert_eq!(failed, 1, "{:?}", play.told);
    assert!(play.nodes().iter().any(|node| node.starts_with("server")), "{:?}", play.nodes());
}

#[test]
fn failures_wait_longer_and_longer() {
    let mut play = Play::new("avoid_s = 0\nback_off_s = 5\nback_off_s_max = 40");
    play.play(60, |_| 20.0);
    play.fail_on = Some("box-1");
    play.play(200, |_| 60.0);
    let times: Vec<u64> = play
        .decider
        .history()
        .filter(|record| matches!(record.verdict, Verdict::Failed { .. }))
        .map(|record| record.at_us / SECOND)
        .collect();
    let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]), "{waits:?}");
    assert!(waits.len() >= 3 && waits[0] >= 5 && waits.iter().all(|wait| *wait <= 50), "{waits:?}");
}

#[test]
fn people_come_first() {
    let mut play = Play::new("");
    play.play(30, |_| 20.0);
    play.tell(Event::Pause);
    play.play(60, |_| 60.0);
    assert_eq!(play.plans.len(), 1);
    play.tell(Event::Rebalance);
    play.play(5, |_| 60.0);
    assert_eq!((play.plans.len(), play.nodes().len()), (2, 2));
    play.tell(Event::Resume);
    // Everything on a server: dear, but somebody wanted it.
    let problem = problem();
    let mut wanted = Play::of(problem.clone(), Settings::default(), Setup::default());
    ["box-1", "box-2"].iter().for_each(|node| wanted.tell(Event::NodeGone((*node).to_owned())));
    wanted.play(5, |_| 60.0);
    let decision = wanted.decider.routes().expect("it runs").at(&problem);
    play.tell(Event::AppliedByHand(decision));
    play.play(200, |_| 20.0);
    assert_eq!(play.nodes(), ["server-1"]);
    play.tell(Event::Resume);
    play.play(200, |_| 20.0);
    assert_eq!(play.nodes(), ["box-1"]);
    play.check();
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let answer = solve(&problem(), Default::default(), &Budget::unlimited()).expect("it is right");
    let setup = Setup { running: answer.decision, ..Setup::default() };
    let settings = Settings { dry_run: true, cool_down_s: 60.0, ..Settings::default() };
    let mut play = Play::of(problem(), settings, setup);
    play.play(200, |_| 60.0);
    assert!(play.plans.is_empty() && play.under_way.is_empty());
    let told = play.told.iter().filter(|record| record.verdict == Verdict::Told).count();
    assert!((1..5).contains(&told), "{told}");
}

#[test]
fn a_missed_objective_asks_for_emptier_slots() {
    let mut play = Play::new("");
    play.play(100, |_| 33.0);
    assert_eq!(play.nodes(), ["box-1"]);
    let missed = Event::ObjectiveMissed { what: "cameras".to_owned(), p95_ms: 300.0, p95_ms_max: 200.0 };
    play.tell(missed);
    play.play(5, |_| 33.0);
    assert_eq!(play.nodes(), ["box-1", "box-2"], "{:?}", play.told);
    play.play(200, |_| 33.0);
    assert_eq!(play.nodes().len(), 2, "it is not forgotten at once: {:?}", play.told);
}

#[test]
fn cameras_that_come_are_planned_for_before_they_are_measured() {
    let mut play = Play::new("");
    play.play(60, |_| 20.0);
    play.tell(Event::Camera { source: "cameras".to_owned(), rate_per_s: 60.0 });
    play.play(4, |_| 20.0);
    assert_eq!(play.nodes(), ["box-1", "box-2"]);
    play.play(100, |_| 60.0);
    assert_eq!(play.plans.len(), 2);
}

#[test]
fn drifting_and_stepping_rates_never_move_a_stage_twice_within_its_cool_down() {
    for seed in 0..6 {
        let (mut play, mut random, mut rate) = (Play::new("headroom = 0.02"), Random::new(seed), 20.0);
        play.play(900, |_| {
            rate = match random.below(200) {
                0 => 5.0 + random.below(120) as f64,
                _ => (rate * (0.97 + 0.06 * random.below(1_000) as f64 / 1_000.0)).clamp(1.0, 150.0),
            };
            rate
        });
        play.check();
        let ended = play.decider.history().all(|record| record.verdict != Verdict::Changing);
        assert!(ended || !play.under_way.is_empty());
    }
}

#[test]
fn an_answer_that_comes_late_or_never_blocks_nothing_else() {
    let mut play = Play::new("");
    play.play(30, |_| 20.0);
    play.solves = false;
    play.play(10, |_| 60.0);
    let id = play.decider.next_id - 1;
    play.tell(Event::Solved { id: id + 7, solution: Err("not mine".to_owned()) });
    play.solves = true;
    play.tell(Event::Solved { id, solution: Err("it took too long".to_owned()) });
    assert!(matches!(play.told.last().expect("it is told").verdict, Verdict::Unknown { .. }));
    play.play(20, |_| 60.0);
    assert_eq!(play.nodes().len(), 2);
}
