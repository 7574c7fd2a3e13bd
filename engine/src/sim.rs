//! The simulator: whole runs by seed, stepped by hand, over a network that loses, doubles and delays.
//!
//! A seed says everything: the topology, the nodes and how slow they are, the plans and when they change, what befalls
//! the network, the nodes and the controller. Each run is held against its dull twin, the same topology on one node
//! over a network without faults.

mod course;
mod draw;
mod script;
mod world;

use serde::Serialize;

use self::course::{course, flapping};
use self::draw::{Drawn, Item, Tempo, draw};
use self::script::Drama;
use self::world::{Outcome, Script, World, name};
use crate::id::Epoch;
use crate::ledger::Accounts;
use crate::live::Verdict;
use crate::net::memory::Faults;
use crate::plan::{Assignment, Plan};
use crate::stage::Kind;

/// What happened in a simulated run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Turns that it took.
    pub turns: u64,
    /// Microseconds that it took by its own clock.
    pub took_us: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Changes of plan that took effect.
    pub changes: u64,
    /// Something was sent again.
    pub resend: bool,
    /// A node was lost.
    pub crash: bool,
    /// The topology joined streams.
    pub join: bool,
    /// A stage was split over nodes.
    pub split: bool,
    /// A generation took another plan in.
    pub retune: bool,
    /// State moved from node to node.
    pub handover: bool,
    /// A change was refused or given up, and the plan before went on.
    pub abort: bool,
    /// A change was wished for while another was under way.
    pub two_in_a_row: bool,
    /// The controller was killed, and another one took over.
    pub restart: bool,
    /// The run was stopped before its end.
    pub stop: bool,
    /// Decisions of pilots.
    pub decisions: u64,
    /// A pilot changed the plan.
    pub piloted: bool,
    /// A change that a pilot wished for failed.
    pub refused: bool,
    /// A pilot had more to serve than can be.
    pub infeasible: bool,
}

/// Simulates the run of a seed, and its twin.
///
/// # Errors
/// What differed, or what did not end.
pub fn simulate(seed: u64) -> Result<Seen, String> {
    play(seed, Tempo::Brisk)
}

/// The same with a pilot that follows rates which step up and down.
///
/// # Errors
/// What differed, or what did not end, or which stage moved twice within its cool-down.
pub fn simulate_piloted(seed: u64) -> Result<Seen, String> {
    play(seed, Tempo::Steps)
}

fn play(seed: u64, tempo: Tempo) -> Result<Seen, String> {
    let here = |what: &'static str| move |error: String| format!("seed {seed}: {what}: {error}");
    let expected = twin(seed, tempo).map_err(here("the twin"))?;
    let drawn = draw(seed, tempo).map_err(|error| here("the topology")(error.to_string()))?;
    let drama = Drama::draw(&drawn, seed, tempo);
    let course = match tempo {
        Tempo::Brisk => None,
        Tempo::Steps => Some(course(&drawn, &drama, seed).map_err(here("the course"))?),
    };
    let world = World::new(&drawn.graph, drama.nodes, &drama.first, drama.faults, course, seed);
    let world = world.map_err(|error| here("the start")(error.to_string()))?;
    let outcome = world.run(drama.script).map_err(here("the run"))?;
    let got = Results::of(&drawn, &outcome);
    let checked = check(&drawn, &expected, &got, &outcome);
    checked.map_err(|error| here("the results")(format!("{error}; {:?}", outcome.saw)))?;
    outcome.decided.iter().try_for_each(|decided| flapping(decided)).map_err(here("the decisions"))?;
    Ok(seen(&drawn, &outcome))
}

/// What a run has to show.
struct Results {
    sinks: Vec<Vec<(Epoch, Item)>>,
    accounts: Accounts,
    digest: u64,
}

impl Results {
    fn of(drawn: &Drawn, outcome: &Outcome) -> Self {
        let sinks = drawn.sinks.iter().map(|sink| sink.got.take()).collect();
        let books = &outcome.ending.books;
        Self { sinks, accounts: books.accounts(), digest: books.digest }
    }
}

/// The same topology on one node, in peace.
fn twin(seed: u64, tempo: Tempo) -> Result<Results, String> {
    let drawn = draw(seed, tempo).map_err(|error| error.to_string())?;
    let world = World::new(&drawn.graph, 1, &Plan::single(name(0)), Faults::default(), None, seed);
    let outcome = world.map_err(|error| error.to_string())?.run(Script::default())?;
    let results = Results::of(&drawn, &outcome);
    if let Some(fault) = outcome.ending.fault {
        return Err(fault.to_string());
    }
    if !results.accounts.is_closed() {
        return Err(format!("the ledger is open: {:#?}", results.accounts));
    }
    Ok(results)
}

fn check(drawn: &Drawn, expected: &Results, got: &Results, outcome: &Outcome) -> Result<(), String> {
    for (name, source) in &got.accounts.sources {
        let done = source.completed + source.dropped.values().sum::<u64>();
        if source.in_flight != 0 || source.admitted != done {
            return Err(format!("the account of {name} is open: {source:?}"));
        }
    }
    if let Some(fault) = &outcome.ending.fault {
        // A controller that is lost before its first decision was heard leaves nothing to take over.
        let never_began = outcome.saw.restart && got.accounts.total().admitted == 0;
        if !outcome.saw.crash && !never_began {
            return Err(format!("the run failed: {fault}"));
        }
        return check_parts(drawn, expected, got);
    }
    // What a lost node had counted of edges while an earlier plan used it is lost with it.
    if !got.accounts.is_closed() && !outcome.saw.crash {
        return Err(format!("the ledger is open: {:#?}", got.accounts));
    }
    if outcome.saw.stop {
        return check_parts(drawn, expected, got);
    }
    for ((sink, expected), got) in drawn.sinks.iter().zip(&expected.sinks).zip(&got.sinks) {
        if let Some(difference) = difference(expected, got) {
            return Err(format!("{}: {difference}", sink.name));
        }
    }
    if outcome.saw.crash {
        return Ok(());
    }
    if expected.accounts != got.accounts {
        return Err(format!("the ledgers differ: {:#?} and not {:#?}", got.accounts, expected.accounts));
    }
    if expected.digest != got.digest {
        return Err("the digests differ, though the results do not".to_owned());
    }
    Ok(())
}

/// What was cut short has nothing that the whole has not, and nothing twice or in another order.
fn check_parts(drawn: &Drawn, expected: &Results, got: &Results) -> Result<(), String> {
    let sinks = drawn.sinks.iter().zip(&expected.sinks).zip(&got.sinks);
    for ((sink, expected), got) in sinks.filter(|((sink, _), _)| sink.is_plain) {
        let mut rest = expected.iter();
        if let Some(i) = got.iter().position(|item| !rest.any(|other| other == item)) {
            return Err(format!("{}: number {i} of a part is not in the whole: {:?}", sink.name, got[i]));
        }
    }
    Ok(())
}

fn difference(expected: &[(Epoch, Item)], got: &[(Epoch, Item)]) -> Option<String> {
    let i = expected.iter().zip(got).position(|(a, b)| a != b);
    let i = i.or_else(|| (expected.len() != got.len()).then(|| expected.len().min(got.len())))?;
    let (n, m) = (expected.len(), got.len());
    Some(format!("{m} records and not {n}; number {i} is {:?} and not {:?}", got.get(i), expected.get(i)))
}

fn seen(drawn: &Drawn, outcome: &Outcome) -> Seen {
    let saw = outcome.saw;
    let applied = outcome.changes.iter().filter(|(_, answer)| matches!(answer, Some(Ok(_))));
    let plans: Vec<&Plan> = applied.map(|(plan, _)| plan).collect();
    let cuts = outcome.changes.iter().filter_map(|(_, answer)| answer.as_ref()?.as_ref().ok());
    let generations: Vec<_> = cuts.map(|cut| cut.generation).collect();
    let has_state = |kind| matches!(kind, Kind::Keyed | Kind::Relational);
    let moves = |before: &Plan, after: &Plan| {
        let mut states = drawn.graph.stages().filter(|stage| has_state(stage.kind));
        states.any(|stage| {
            let (before, after) = (before.assignment(&stage.name), after.assignment(&stage.name));
            before.node != after.node || before.shares != after.shares
        })
    };
    let decided = || outcome.decided.iter().flatten().map(|piloted| &piloted.record);
    Seen {
        turns: saw.turns,
        took_us: saw.took_us,
        lost: saw.lost,
        changes: plans.len().saturating_sub(1) as u64,
        resend: saw.resend,
        crash: saw.crash,
        join: drawn.has_join,
        split: plans.iter().any(|plan| plan.stages.values().any(Assignment::is_split)),
        retune: generations.windows(2).any(|pair| pair[0] == pair[1]),
        handover: plans.windows(2).any(|pair| moves(pair[0], pair[1])),
        abort: outcome.changes.iter().any(|(plan, answer)| {
            let is_missing = plan.stages.values().any(|a| a.variant.as_deref() == Some(draw::MISSING));
            is_missing && matches!(answer, Some(Err(_)))
        }),
        two_in_a_row: saw.overlap,
        restart: saw.restart,
        stop: saw.stop,
        decisions: decided().count() as u64,
        piloted: decided().any(|record| record.verdict == Verdict::Changed),
        refused: decided().any(|record| matches!(record.verdict, Verdict::Failed { .. })),
        infeasible: decided().any(|record| !record.admitted.is_empty()),
    }
}
