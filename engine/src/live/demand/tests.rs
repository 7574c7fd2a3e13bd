use super::*;
use crate::placement::{Budget, Mode, evaluate, solve};
use crate::random::Random;

/// Facts by chance about up to eight stages in a row, of which later ones take from earlier ones.
struct Chance(Random);

impl Chance {
    fn stage(&mut self) -> u64 {
        self.0.below(8)
    }

    /// Changes some of the facts: numbers that may be 0 or absurd, and entries that come and go.
    fn change(&mut self, facts: &mut Facts) {
        for _ in 0..=self.0.below(3) {
            let number = match self.0.below(10) {
                0 => 0,
                1 => i64::MAX / 2,
                _ => self.0.below(4_000_000) as i64,
            };
            let (gone, kind) = (self.0.percent(20), self.0.below(4));
            let (a, b, c) = (self.stage(), self.stage(), self.stage() % 3);
            let stage = |number: u64| format!("stage-{number}");
            match kind {
                0 => put(
                    &mut facts.sources,
                    format!("source-{}", a % 3),
                    micro_rate(number as f64 / 1e3),
                    gone,
                ),
                1 if a < b => put(&mut facts.edges, (stage(a), stage(b)), number, gone),
                1 => put(&mut facts.edges, (format!("source-{}", a % 3), stage(b)), number, gone),
                2 => put(&mut facts.hosts, (stage(a), format!("node-{c}")), number, gone),
                _ => {
                    let sites = (format!("site-{c}"), format!("site-{}", (c + 1) % 3));
                    put(&mut facts.ways, (stage(a), stage(b), sites.0, sites.1), number, gone);
                }
            }
        }
    }
}

fn put<K: Ord>(map: &mut BTreeMap<K, i64>, key: K, number: i64, gone: bool) {
    if gone {
        map.remove(&key);
    } else {
        map.insert(key, number);
    }
}

#[test]
fn it_is_what_recomputation_finds_at_every_step() {
    for seed in 0..40 {
        let (mut chance, mut demand, mut facts) =
            (Chance(Random::new(seed)), Demand::new(), Facts::default());
        for step in 0..60 {
            chance.change(&mut facts);
            demand.set(facts.clone());
            assert_eq!(demand.loads(), recompute(&facts), "seed {seed}, step {step}: {facts:?}");
            if chance.0.percent(50) {
                let rate = chance.0.below(100_000) as f64 / 7.0;
                demand.set_rate("source-1", rate);
                facts = demand.facts().clone();
                assert_eq!(demand.loads(), recompute(&facts), "seed {seed}, step {step}: rate {rate}");
            }
        }
    }
}

/// So many chains of a source and three stages, each chain on a node of its own and over a link of its own.
fn chains(n: u32) -> Facts {
    let mut facts = Facts::default();
    for i in 0..n {
        let name = |what: &str| format!("{what}-{i}");
        facts.sources.insert(name("source"), 10_000_000);
        for (from, to) in [("source", "a"), ("a", "b"), ("b", "c")] {
            facts.edges.insert((name(from), name(to)), 2_000_000);
            facts.hosts.insert((name(to), name("node")), 1_000_000);
            facts.ways.insert((name(from), name(to), name("here"), name("there")), 1_000);
        }
    }
    facts
}

#[test]
fn a_changed_rate_costs_only_what_it_touches() {
    for n in [1, 10, 100] {
        let mut demand = Demand::new();
        demand.set(chains(n));
        // Four demands go and come; a node and a link change.
        assert_eq!(demand.set_rate("source-0", 20.0), 10, "of {n} chains");
        assert_eq!(demand.set_rate("source-0", 20.0), 0);
        assert_eq!(demand.loads(), recompute(demand.facts()));
    }
}

#[test]
fn rates_that_are_none_are_none() {
    let mut demand = Demand::new();
    demand.set(chains(1));
    for (rate, items) in [(f64::NAN, 0.0), (-3.0, 0.0), (f64::INFINITY, 0.0), (0.0, 0.0), (1e12, 1e9)] {
        demand.set_rate("source-0", rate);
        assert_eq!(demand.loads().items_per_s["source-0"], items, "{rate}");
        assert_eq!(demand.loads(), recompute(demand.facts()), "{rate}");
    }
}

#[test]
fn it_agrees_with_the_judge_of_plans() {
    let problem: Problem = toml::from_str(include_str!("../problem.toml")).expect("the problem is right");
    let answer = solve(&problem, Mode::Shared, &Budget::unlimited()).expect("it is checked");
    let decision = answer.decision.expect("there is a plan");
    let routes = Routes::of(&decision);
    let mut demand = Demand::new();
    for factor in [1.0, 0.5, 2.0, 0.1, 3.5] {
        let mut problem = problem.clone();
        problem.rates.sources.iter_mut().for_each(|source| source.rate_per_s *= factor);
        demand.set(Facts::of(&problem, &routes));
        let (loads, judged) = (demand.loads(), evaluate(&problem, Mode::Shared, &routes.at(&problem)));
        assert_eq!(judged.violations, Vec::<String>::new());
        for node in &problem.machines.nodes {
            let busy = loads.busy_slots.get(&node.name).copied().unwrap_or_default();
            let right =
                judged.utilisation.get(&node.name).copied().unwrap_or_default() * f64::from(node.slots);
            assert!((busy - right).abs() < 1e-5, "{}: {busy} and not {right}", node.name);
        }
        for (link, right) in &judged.links_mbit_per_s {
            let mbit = loads.mbit_per_s.get(link).copied().unwrap_or_default();
            assert!((mbit - right).abs() < 1e-5 * right.max(1.0), "{link}: {mbit} and not {right}");
        }
    }
}
