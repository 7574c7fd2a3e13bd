//! The machines of an infrastructure as placement knows them.
//!
//! Data takes the way between two sites that takes the least time, as [`Infrastructure::speed`] says and as it is
//! imitated: over several links, their prices and round trips add up and the narrowest one bounds it. Two ways over
//! one link do not share its bandwidth in the problem.

use std::collections::BTreeMap;

use super::fault::{Entry, Fault};
use crate::checks;
use crate::infrastructure::Infrastructure;
use crate::placement::problem::{Link, Machines};

/// Nodes and links of an infrastructure, at most.
const ENTRIES_MAX: usize = 10_000;

/// Sites between which ways of several links are looked for, at most.
const SITES_MAX: usize = 100;

/// Slots of one node, at most.
const SLOTS_MAX: usize = 1024;

/// The machines, with a link wherever a way leads.
///
/// # Errors
/// The first number that is none, or too large.
pub fn machines(infrastructure: &Infrastructure) -> Result<Machines, Fault> {
    check(infrastructure)?;
    let mut machines = Machines::from(infrastructure);
    machines.links = ways(&machines);
    for (machine, node) in machines.nodes.iter_mut().zip(&infrastructure.nodes) {
        (machine.class, machine.memory_mb) = (node.class.clone(), node.memory_mb);
    }
    Ok(machines)
}

fn check(infrastructure: &Infrastructure) -> Result<(), Fault> {
    let Infrastructure { nodes, links, .. } = infrastructure;
    for (table, count) in [("node", nodes.len()), ("link", links.len())] {
        if count > ENTRIES_MAX {
            let entry = Entry { table, index: ENTRIES_MAX, key: "" };
            return Err(Fault::new(
                entry,
                format!("{count} of [[{table}]]"),
                &format!("{ENTRIES_MAX} are the most"),
            ));
        }
    }
    let number = |table, index, key, value: f64, what: &str| {
        let entry = Entry { table, index, key };
        checks::number(what, key, value).map_err(|error| Fault { entry, error })
    };
    for (index, node) in nodes.iter().enumerate() {
        let what = format!("node \"{}\"", node.name);
        number("node", index, "usd_per_h", node.usd_per_h, &what)?;
        number("node", index, "memory_mb", node.memory_mb.unwrap_or_default(), &what)?;
        if !(1..=SLOTS_MAX).contains(&node.slots) {
            let entry = Entry { table: "node", index, key: "slots" };
            let message = format!("{what} has {} slots", node.slots);
            return Err(Fault::new(entry, message, &format!("give 1 to {SLOTS_MAX}")));
        }
    }
    for (index, link) in links.iter().enumerate() {
        let what = format!("the link from \"{}\" to \"{}\"", link.from, link.to);
        number("link", index, "mbit_per_s", link.mbit_per_s, &what)?;
        number("link", index, "round_trip_ms", link.round_trip_ms, &what)?;
        number("link", index, "usd_per_gb", link.usd_per_gb, &what)?;
    }
    Ok(())
}

/// For each pair of sites the way that takes the least time, as one link.
fn ways(machines: &Machines) -> Vec<Link> {
    if machines.sites.len() > SITES_MAX {
        return machines.links.clone();
    }
    let mut found = Vec::new();
    for start in &machines.sites {
        let mut ways: BTreeMap<&str, Link> = BTreeMap::new();
        // As many rounds as there are links: a round settles one more link of every way at least.
        for _ in 0..machines.links.len() {
            let mut changed = false;
            for link in &machines.links {
                let Some(way) = longer(&start.name, ways.get(&*link.from), link) else { continue };
                let known = ways.get(&*link.to).map(|known| known.round_trip_ms);
                if link.to != start.name && known.is_none_or(|known| way.round_trip_ms < known) {
                    ways.insert(&link.to, way);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        found.extend(ways.into_values());
    }
    found
}

/// A way from `start` that goes on over a link.
fn longer(start: &str, way: Option<&Link>, link: &Link) -> Option<Link> {
    match way {
        _ if link.from == start => Some(link.clone()),
        None => None,
        Some(way) => Some(Link {
            from: start.to_owned(),
            to: link.to.clone(),
            usd_per_gb: way.usd_per_gb + link.usd_per_gb,
            mbit_per_s: match (way.mbit_per_s, link.mbit_per_s) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            round_trip_ms: way.round_trip_ms + link.round_trip_ms,
        }),
    }
}
