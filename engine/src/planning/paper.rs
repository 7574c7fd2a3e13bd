//! A topology as the paper's model sees it: model stages alone, each with nodes to itself.
//!
//! What is cheap goes along with the model stage before it and costs nothing, so that a plan by these rules is, if
//! anything, too cheap: a comparison with it is fair to it.

use std::collections::BTreeMap;

use super::wanted::Wanted;
use crate::placement::Problem;
use crate::placement::problem::{Edge, Profile, Rates, Source};
use crate::stage::Kind;

impl Wanted {
    /// The problem of the model stages; the whole one where nothing is known of stages.
    #[must_use]
    pub fn models(&self) -> Problem {
        models(self)
    }
}

fn models(wanted: &Wanted) -> Problem {
    let kept = |stage: &str| wanted.kinds.get(stage) == Some(&Kind::Pooled);
    let problem = &wanted.problem;
    if !problem.profile.stages.iter().any(|stage| kept(&stage.name)) {
        return problem.clone();
    }
    let demands = wanted.demands();
    let demand = |name: &str| demands.get(name).copied().unwrap_or_default();
    let mut edges: BTreeMap<(String, String), Edge> = BTreeMap::new();
    for edge in problem.profile.edges.iter().filter(|edge| kept(&edge.to)) {
        let Some(origin) = origin(wanted, &edge.from, &kept) else { continue };
        let direct = origin == edge.from;
        let ratio = if demand(&origin) > 0.0 { demand(&edge.to) / demand(&origin) } else { 0.0 };
        let kb_per_item = match direct || edge.kb_per_item.len() == 1 {
            true => edge.kb_per_item.clone(),
            false => edge.kb_per_item.iter().take(1).copied().collect(),
        };
        let entry = Edge { from: origin.clone(), to: edge.to.clone(), items_per_item: ratio, kb_per_item };
        edges.entry((origin, edge.to.clone())).or_insert(entry);
    }
    let is_source = |name: &String| wanted.kinds.get(name) == Some(&Kind::Source);
    let node_of = |name: &str| {
        let stage = problem.profile.stages.iter().find(|stage| stage.name == name)?;
        stage.nodes.as_ref()?.first()
    };
    let site_of = |name: &str| {
        let node = node_of(name)?;
        problem.machines.nodes.iter().find(|known| known.name == *node).map(|node| node.site.clone())
    };
    let sources = wanted.kinds.keys().filter(|name| is_source(name)).filter_map(|name| {
        Some(Source { name: name.clone(), site: site_of(name)?, rate_per_s: demand(name) })
    });
    let (stages, services) = (&problem.profile.stages, &problem.profile.services);
    Problem {
        machines: problem.machines.clone(),
        profile: Profile {
            stages: stages.iter().filter(|stage| kept(&stage.name)).cloned().collect(),
            edges: edges.into_values().collect(),
            services: services.iter().filter(|service| kept(&service.stage)).cloned().collect(),
            accuracy: problem.profile.accuracy.clone(),
        },
        rates: Rates { sources: sources.collect() },
        objectives: problem.objectives.clone(),
    }
}

/// The model stage or source that a stage's items come from, by its first input.
fn origin(wanted: &Wanted, stage: &str, kept: &impl Fn(&str) -> bool) -> Option<String> {
    let mut at = stage;
    for _ in 0..=wanted.problem.profile.stages.len() {
        if kept(at) || wanted.kinds.get(at) == Some(&Kind::Source) {
            return Some(at.to_owned());
        }
        at = wanted.problem.profile.edges.iter().find(|edge| edge.to == at).map(|edge| edge.from.as_str())?;
    }
    None
}
