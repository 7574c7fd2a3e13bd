//! Why a plan is as it is: what binds it, and what others would cost.
//!
//! Each answer comes from solving the problem once more with one thing changed, within a budget of its own, so that
//! it is a statement about plans and not about shadow prices.

use serde::Serialize;

use super::solve::{plan, solve};
use super::wanted::Wanted;
use super::written::read;
use crate::error::Result;
use crate::placement::{self, Answer, Budget, Decision, Mode, Status, evaluate};
use crate::plan::Plan;

/// A saving below this part of the cost is none.
const NOTHING: f64 = 1e-4;

/// What is nearly full is full.
const FULL: f64 = 0.99;

/// Why a plan is as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// What keeps plans from being cheaper, or from being at all; what saves most first.
    pub binds: Vec<Bind>,
    /// Other plans.
    pub alternatives: Vec<Alternative>,
}

/// A condition that binds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bind {
    /// Which.
    pub what: String,
    /// What the cheapest plan without it costs, in dollars per hour.
    pub without_usd_per_h: f64,
}

/// Another plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// Which.
    pub what: String,
    /// What it costs, in dollars per hour; nothing if there is none.
    pub cost_usd_per_h: Option<f64>,
    /// End to end, if the profile tells it.
    pub accuracy: Option<f64>,
    /// Whether none of its kind is cheaper, or that there is none.
    pub proved: bool,
    /// What is wrong with it.
    pub faults: Vec<String>,
}

/// Explains an answer. Each of some ten to twenty problems is solved within `budget`.
///
/// # Errors
/// `Invalid` if the problem is not right, or the running plan names what it does not know.
pub fn explain(
    wanted: &Wanted,
    mode: Mode,
    answer: &Answer,
    running: Option<&Plan>,
    budget: &Budget<'_>,
) -> Result<Explanation> {
    let with = Explainer { wanted, mode, answer, budget };
    let mut explanation = Explanation { binds: with.binds()?, alternatives: Vec::new() };
    if let Some(running) = running {
        explanation.alternatives.push(with.running(running)?);
    }
    with.sides(&mut explanation.alternatives)?;
    if let Some(decision) = &answer.decision {
        with.variants(decision, &mut explanation.alternatives)?;
    }
    explanation.alternatives.push(with.heuristic()?);
    Ok(explanation)
}

struct Explainer<'a> {
    wanted: &'a Wanted,
    mode: Mode,
    answer: &'a Answer,
    budget: &'a Budget<'a>,
}

impl Explainer<'_> {
    /// The answer to a changed problem.
    fn solve(&self, change: impl FnOnce(&mut Wanted)) -> Result<(Wanted, Answer)> {
        let mut changed = self.wanted.clone();
        change(&mut changed);
        let answer = match self.mode {
            Mode::Shared if !changed.kinds.is_empty() => plan(&changed, self.budget)?.0,
            mode => solve(&changed, mode, self.budget)?,
        };
        Ok((changed, answer))
    }

    /// The conditions of which one, left out, makes plans cheaper or possible.
    fn binds(&self) -> Result<Vec<Bind>> {
        let mut binds = Vec::new();
        let mut try_without = |what: String, change: &dyn Fn(&mut Wanted)| -> Result<()> {
            let cost = self.solve(change)?.1.cost_usd_per_h;
            let now = self.answer.cost_usd_per_h.unwrap_or(f64::INFINITY);
            if let Some(without_usd_per_h) = cost.filter(|cost| *cost < now * (1.0 - NOTHING)) {
                binds.push(Bind { what, without_usd_per_h });
            }
            Ok(())
        };
        let objectives = &self.wanted.problem.objectives;
        if let Some(floor) = objectives.accuracy_min {
            try_without(format!("accuracy of at least {floor}"), &|w| {
                w.problem.objectives.accuracy_min = None
            })?;
        }
        if let Some(most) = objectives.p95_ms_max {
            try_without(format!("p95 of at most {most} ms"), &|w| w.problem.objectives.p95_ms_max = None)?;
        }
        if objectives.utilisation_max < 1.0 && objectives.p95_ms_max.is_none() {
            let what = format!("slots busy at most {:.0} %", objectives.utilisation_max * 100.0);
            try_without(what, &|w| w.problem.objectives.utilisation_max = 1.0)?;
        }
        for (i, node) in self.wanted.problem.machines.nodes.iter().enumerate() {
            if self.is_full(&node.name) {
                let what = format!(
                    "no more than {} slots on node \"{}\" (without: twice as many)",
                    node.slots, node.name
                );
                try_without(what, &|w| w.problem.machines.nodes[i].slots *= 2)?;
            }
        }
        if self.wanted.problem.machines.links.iter().any(|link| link.mbit_per_s.is_some()) {
            try_without("bandwidth of the links".to_owned(), &|w| {
                w.problem.machines.links.iter_mut().for_each(|link| link.mbit_per_s = None);
            })?;
        }
        for (i, stage) in
            self.wanted.problem.profile.stages.iter().enumerate().filter(|(_, s)| s.stays_at_site)
        {
            try_without(format!("what \"{}\" takes in stays at its site", stage.name), &|w| {
                w.problem.profile.stages[i].stays_at_site = false;
            })?;
        }
        binds.sort_by(|a, b| a.without_usd_per_h.total_cmp(&b.without_usd_per_h));
        Ok(binds)
    }

    /// Whether a node's slots are as busy as they may be; where there is no plan, any may be what is missing.
    fn is_full(&self, node: &str) -> bool {
        let Some(decision) = &self.answer.decision else { return true };
        let judged = evaluate(&self.wanted.problem, self.mode, decision);
        let most = self.wanted.problem.objectives.utilisation_max;
        judged.utilisation.get(node).is_some_and(|busy| *busy >= most * FULL)
    }

    fn alternative(what: String, wanted: &Wanted, mode: Mode, answer: &Answer) -> Alternative {
        let judged = answer.decision.as_ref().map(|decision| evaluate(&wanted.problem, mode, decision));
        Alternative {
            what,
            cost_usd_per_h: answer.cost_usd_per_h,
            accuracy: judged.and_then(|judged| judged.accuracy),
            proved: matches!(answer.status, Status::Optimal | Status::Infeasible),
            faults: Vec::new(),
        }
    }

    /// Everything below the highest tier, and everything on it; what has a place stays there.
    fn sides(&self, found: &mut Vec<Alternative>) -> Result<()> {
        let machines = &self.wanted.problem.machines;
        let tier = |site: &str| machines.sites.iter().find(|s| s.name == site).map_or(0, |site| site.tier);
        let highest = machines.nodes.iter().map(|node| tier(&node.site)).max().unwrap_or_default();
        let is_high = |site: &str| tier(site) == highest;
        if machines.nodes.iter().all(|node| is_high(&node.site)) {
            return Ok(());
        }
        for (what, high) in
            [("all-edge: below the highest tier", false), ("all-cloud: on the highest tier", true)]
        {
            let nodes: Vec<String> =
                machines.nodes.iter().filter(|n| is_high(&n.site) == high).map(|n| n.name.clone()).collect();
            let (changed, answer) = self.solve(|wanted| {
                for stage in &mut wanted.problem.profile.stages {
                    let may = |node: &&String| stage.nodes.as_ref().is_none_or(|nodes| nodes.contains(node));
                    let side: Vec<String> = nodes.iter().filter(may).cloned().collect();
                    // One that is bound to the other side stays there.
                    stage.nodes = if side.is_empty() { stage.nodes.take() } else { Some(side) };
                }
            })?;
            found.push(Self::alternative(what.to_owned(), &changed, self.mode, &answer));
        }
        Ok(())
    }

    /// One model smaller or larger, the others as they are, whatever accuracy comes of it.
    fn variants(&self, decision: &Decision, found: &mut Vec<Alternative>) -> Result<()> {
        for stage in self.wanted.problem.profile.stages.iter().filter(|stage| stage.variants.len() > 1) {
            let by_work = self.by_work(&stage.name, &stage.variants);
            let chosen = decision.variants.get(&stage.name);
            let Some(at) = by_work.iter().position(|variant| Some(variant) == chosen) else { continue };
            let neighbours = [(at.checked_sub(1), "smaller"), (Some(at + 1), "larger")];
            for (variant, how) in neighbours.iter().filter_map(|(i, how)| Some((by_work.get((*i)?)?, how))) {
                let mut chosen = decision.variants.clone();
                chosen.insert(stage.name.clone(), variant.clone());
                let (changed, answer) = self.solve(|wanted| {
                    wanted.problem.objectives.accuracy_min = None;
                    wanted.problem.profile.services.retain(|s| chosen.get(&s.stage) == Some(&s.variant));
                })?;
                let what = format!("\"{}\" with {variant}, one {how}", stage.name);
                found.push(Self::alternative(what, &changed, self.mode, &answer));
            }
        }
        Ok(())
    }

    /// The variants of a stage by how long they take, on the average node.
    fn by_work(&self, stage: &str, variants: &[String]) -> Vec<String> {
        let services = &self.wanted.problem.profile.services;
        let work = |variant: &String| {
            let of: Vec<f64> = services
                .iter()
                .filter(|s| s.stage == stage && s.variant == *variant)
                .map(|s| s.ms_per_item)
                .collect();
            of.iter().sum::<f64>() / of.len().max(1) as f64
        };
        let mut sorted = variants.to_vec();
        sorted.sort_by(|a, b| work(a).total_cmp(&work(b)));
        sorted
    }

    /// What the paper's heuristic finds by the paper's rules.
    fn heuristic(&self) -> Result<Alternative> {
        let problem = self.wanted.models();
        let what = match self.wanted.kinds.is_empty() {
            true => "the paper's heuristic",
            false => "the paper's heuristic, of the models alone",
        };
        let found = placement::heuristic(&problem)?;
        let judged = found.as_ref().map(|(_, decision)| evaluate(&problem, Mode::Paper, decision));
        Ok(Alternative {
            what: what.to_owned(),
            cost_usd_per_h: found.map(|(cost, _)| cost),
            accuracy: judged.and_then(|judged| judged.accuracy),
            proved: false,
            faults: Vec::new(),
        })
    }

    /// The plan that runs, at the rates of now.
    fn running(&self, plan: &Plan) -> Result<Alternative> {
        let decision = read(self.wanted, plan)?;
        let judged = evaluate(&self.wanted.problem, Mode::Shared, &decision);
        Ok(Alternative {
            what: "the running plan".to_owned(),
            cost_usd_per_h: Some(judged.cost_usd_per_h()),
            accuracy: judged.accuracy,
            proved: false,
            faults: judged.violations,
        })
    }
}
