//! The decision in simulated time: what following recorded rates would have cost, beside what others would have done.
//!
//! Pure, and the same code as in a run: reports go through the observer, the decider decides, placement answers. What
//! a second costs and whether it was late is judged for every policy alike, at what was really offered in it.

mod meter;
mod policy;
#[cfg(test)]
mod tests;
mod threshold;
mod trace;

use serde::Serialize;

pub use self::meter::Outcome;
pub use self::trace::Trace;

use super::record::Record;
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::Problem;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Machines, profile and objectives; the rates of its sources are the trace's.
    pub problem: Problem,
    /// What sources offered.
    pub trace: Trace,
    /// The link that carries what the trace says, from site to site; needed if it says anything.
    pub link: Option<(String, String)>,
    /// How eager the controller is.
    pub settings: Settings,
    /// What else it is to be compared with: other settings, each with its name.
    pub others: Vec<(String, Settings)>,
    /// Linear programs for one plan, at most.
    pub programs_max: u64,
    /// Seconds that a change takes, in which the nodes of both plans are paid.
    pub change_s: u64,
}

/// What each policy came to.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// How long the trace is.
    pub seconds: usize,
    /// Items per second of all sources: mean.
    pub mean_per_s: f64,
    /// Items per second of all sources: most.
    pub most_per_s: f64,
    /// Ours first.
    pub outcomes: Vec<Outcome>,
    /// Our cost over that of planning anew every second with perfect knowledge.
    pub over_perfect: Option<f64>,
    /// Our decisions, the oldest first.
    pub history: Vec<Record>,
}

/// Plays a scene by every policy.
///
/// # Errors
/// `Invalid` if the scene is not right, or there is no plan for it at all.
pub fn simulate(scene: &Scene) -> Result<Comparison> {
    scene.check()?;
    let (ours, history) = policy::ours(scene, "ours", &scene.settings)?;
    let mut outcomes = vec![ours];
    outcomes.push(policy::perfect(scene)?);
    outcomes.push(policy::fixed(scene, "static peak", scene.most())?);
    outcomes.push(policy::fixed(scene, "static average", scene.mean())?);
    outcomes.push(threshold::threshold(scene)?);
    for (name, settings) in &scene.others {
        outcomes.push(policy::ours(scene, name, settings)?.0);
    }
    let perfect_usd = outcomes[1].usd;
    for outcome in &mut outcomes {
        outcome.over_perfect = Some(outcome.usd / perfect_usd).filter(|ratio| ratio.is_finite());
    }
    let sums: Vec<f64> = (0..scene.trace.seconds()).map(|second| scene.at(second).0.iter().sum()).collect();
    Ok(Comparison {
        seconds: sums.len(),
        mean_per_s: sums.iter().sum::<f64>() / sums.len().max(1) as f64,
        most_per_s: sums.iter().copied().fold(0.0, f64::max),
        over_perfect: outcomes[0].over_perfect,
        outcomes,
        history,
    })
}

impl Scene {
    fn check(&self) -> Result<()> {
        let invalid =
            |message: &str, way_out: &str| Err(Error::new(ErrorKind::Invalid, message).way_out(way_out));
        self.problem.check()?;
        let others = self.others.iter().map(|(_, settings)| settings);
        others.chain([&self.settings]).try_for_each(Settings::check)?;
        let sources = &self.problem.rates.sources;
        if let Some(name) = self.trace.names().find(|name| !sources.iter().any(|s| s.name == **name)) {
            let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
            return invalid(
                &format!("the trace names source \"{name}\""),
                &format!("sources: {}", names.join(", ")),
            );
        }
        let is_link = |from: &String, to: &String| {
            self.problem.machines.links.iter().any(|link| link.from == *from && link.to == *to)
        };
        match (&self.link, self.trace.has_bandwidth()) {
            (None, true) => invalid("there is a trace of bandwidth, but no link", "name one as FROM:TO"),
            (Some((from, to)), _) if !is_link(from, to) => {
                let links = self.problem.machines.links.iter().map(|l| format!("{}:{}", l.from, l.to));
                let links: Vec<String> = links.collect();
                invalid(
                    &format!("no link leads from \"{from}\" to \"{to}\""),
                    &format!("links: {}", links.join(", ")),
                )
            }
            _ if self.trace.seconds() == 0 => invalid("the trace is empty", "give it a line at least"),
            _ => Ok(()),
        }
    }

    /// Rates in the order of the problem's sources, and what the link carries, in a second.
    fn at(&self, second: usize) -> (Vec<f64>, Option<f64>) {
        let sources = self.problem.rates.sources.iter();
        (sources.map(|source| self.trace.rate(&source.name, second)).collect(), self.trace.mbit(second))
    }

    /// The problem with these rates, and the link as wide.
    fn with(&self, (rates, mbit): &(Vec<f64>, Option<f64>)) -> Problem {
        let mut problem = self.problem.clone();
        self.put(&mut problem, rates, *mbit);
        problem
    }

    fn put(&self, problem: &mut Problem, rates: &[f64], mbit: Option<f64>) {
        for (source, rate) in problem.rates.sources.iter_mut().zip(rates) {
            source.rate_per_s = *rate;
        }
        if let (Some((from, to)), Some(mbit)) = (&self.link, mbit) {
            let links = problem.machines.links.iter_mut();
            links
                .filter(|link| link.from == *from && link.to == *to)
                .for_each(|link| link.mbit_per_s = Some(mbit));
        }
    }

    /// The highest rate of every source, and the narrowest link.
    fn most(&self) -> (Vec<f64>, Option<f64>) {
        self.fold(f64::max, f64::min, |value| value)
    }

    /// The mean rate of every source, and the mean of the link.
    fn mean(&self) -> (Vec<f64>, Option<f64>) {
        let seconds = self.trace.seconds() as f64;
        self.fold(|a, b| a + b, |a, b| a + b, |value| value / seconds)
    }

    fn fold(
        &self,
        rates: impl Fn(f64, f64) -> f64,
        mbit: impl Fn(f64, f64) -> f64,
        end: impl Fn(f64) -> f64,
    ) -> (Vec<f64>, Option<f64>) {
        let mut held = self.at(0);
        for second in 1..self.trace.seconds() {
            let now = self.at(second);
            held.0.iter_mut().zip(&now.0).for_each(|(held, now)| *held = rates(*held, *now));
            held.1 = held.1.zip(now.1).map(|(held, now)| mbit(held, now));
        }
        (held.0.into_iter().map(&end).collect(), held.1.map(&end))
    }
}
