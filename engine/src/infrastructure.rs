//! The machines there are: nodes with their places, and the links between sites.
//!
//! It is a file (TOML). Whoever runs it on one machine may *imitate* it: pools then take as long as the file says,
//! and links are as slow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::net::slow::{Pipe, Pipes, Speed};
use crate::node::check_name;
use crate::runner::{Imitate, Imitation};

/// An infrastructure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Infrastructure {
    /// The format's version; 1.
    pub version: u32,
    /// Where the controller listens.
    pub controller: SocketAddr,
    /// The nodes; one may connect to those before it.
    #[serde(default, rename = "node")]
    pub nodes: Vec<NodeEntry>,
    /// The links between sites, by direction.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkEntry>,
    /// How long stages take on nodes, to be imitated.
    #[serde(default, rename = "service")]
    pub services: Vec<ServiceEntry>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Unique.
    pub name: String,
    /// Nodes of a site reach each other freely.
    pub site: String,
    /// The level of its site.
    pub tier: Tier,
    /// Where it listens.
    pub listen: SocketAddr,
    /// How many batches it can run at once.
    pub slots: usize,
    /// Dollars per hour.
    #[serde(default)]
    pub usd_per_h: f64,
    /// Which node of a profile it is like; the one of its own name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Megabytes (10^6 bytes) for models, if they are bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<f64>,
}

/// A level of the infrastructure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Beside the camera.
    Device,
    /// On site.
    Hub,
    /// An edge datacenter.
    Edge,
    /// The cloud.
    Cloud,
}

/// The network from one site to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    /// The site that sends.
    pub from: String,
    /// The site that receives.
    pub to: String,
    /// Megabits per second.
    pub mbit_per_s: f64,
    /// Milliseconds there and back.
    pub round_trip_ms: f64,
    /// Dollars per gigabyte.
    #[serde(default)]
    pub usd_per_gb: f64,
}

/// How long a stage takes on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    /// The node.
    pub node: String,
    /// The stage.
    pub stage: String,
    /// Of this variant alone; of every one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Microseconds of every batch.
    #[serde(default)]
    pub batch_us: u64,
    /// Microseconds of every item on top.
    pub item_us: u64,
}

/// Links one after the other.
struct Way {
    round_trip_ms: f64,
    /// Of the narrowest.
    mbit_per_s: f64,
    usd_per_gb: f64,
}

impl Way {
    fn and(&self, link: &LinkEntry) -> Self {
        Self {
            round_trip_ms: self.round_trip_ms + link.round_trip_ms,
            mbit_per_s: self.mbit_per_s.min(link.mbit_per_s),
            usd_per_gb: self.usd_per_gb + link.usd_per_gb,
        }
    }
}

impl Infrastructure {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the first entry that is not right, and the way out.
    pub fn check(&self) -> Result<()> {
        let invalid = |message: String, way_out: &str| {
            Err(Error::new(ErrorKind::Invalid, format!("infrastructure: {message}")).way_out(way_out))
        };
        if self.version != 1 {
            return invalid(format!("version {} is unknown", self.version), "write version = 1");
        }
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::from([self.controller]));
        for node in &self.nodes {
            check_name(&node.name)?;
            if !names.insert(&node.name) {
                return invalid(format!("two nodes are called \"{}\"", node.name), "rename one");
            }
            if !addresses.insert(node.listen) {
                let message = format!("node \"{}\" listens on {}, as another does", node.name, node.listen);
                return invalid(message, "give each an address of its own");
            }
        }
        let sites: BTreeSet<&String> = self.nodes.iter().map(|node| &node.site).collect();
        for link in &self.links {
            if let Some(site) = [&link.from, &link.to].into_iter().find(|site| !sites.contains(site)) {
                return invalid(
                    format!("a link names site \"{site}\", where no node is"),
                    "name a node's site",
                );
            }
            // A number that is none is neither above nor below anything.
            if !(link.mbit_per_s > 0.0 && link.round_trip_ms >= 0.0) {
                let message = format!("the link from \"{}\" to \"{}\" has no speed", link.from, link.to);
                return invalid(message, "give mbit_per_s above and round_trip_ms not below 0");
            }
        }
        match self.services.iter().find(|service| !names.contains(&service.node)) {
            Some(service) => invalid(
                format!("a service names node \"{}\", which is not there", service.node),
                "name a node",
            ),
            None => Ok(()),
        }
    }

    /// The names of the nodes.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    /// Where a node listens, and whom it connects to: the controller, and the nodes before it.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn addresses(&self, name: &str) -> Result<(SocketAddr, Vec<SocketAddr>)> {
        let Some(at) = self.nodes.iter().position(|node| node.name == name) else {
            let message = format!("infrastructure: there is no node \"{name}\"");
            return Err(Error::new(ErrorKind::NotFound, message)
                .way_out(format!("nodes: {}", self.names().join(", "))));
        };
        let before = self.nodes[..at].iter().map(|node| node.listen);
        Ok((self.nodes[at].listen, std::iter::once(self.controller).chain(before).collect()))
    }

    /// What the pools of a node imitate, if the file says how long anything takes there.
    #[must_use]
    pub fn imitate(&self, node: &str) -> Option<Imitate> {
        let mut services: BTreeMap<String, Vec<ServiceEntry>> = BTreeMap::new();
        for service in self.services.iter().filter(|service| service.node == node) {
            services.entry(service.stage.clone()).or_default().push(service.clone());
        }
        if services.is_empty() {
            return None;
        }
        Some(Arc::new(move |stage, assignment| {
            let fits = |s: &&ServiceEntry| s.variant.is_none() || s.variant == assignment.variant;
            let service = services.get(stage)?.iter().find(fits)?;
            Some(Imitation { batch_us: service.batch_us, item_us: service.item_us })
        }))
    }

    /// How fast data goes from one node to another: over the links between their sites that take the least time
    /// together. `None` within a site, and where no link leads.
    ///
    /// ```
    /// use jellybean_engine::infrastructure::Infrastructure;
    /// let infrastructure: Infrastructure = serde_json::from_value(serde_json::json!({
    ///     "version": 1,
    ///     "controller": "127.0.0.1:7000",
    ///     "node": [
    ///         { "name": "a", "site": "yard", "tier": "edge", "listen": "127.0.0.1:7001", "slots": 1 },
    ///         { "name": "b", "site": "region", "tier": "cloud", "listen": "127.0.0.1:7002", "slots": 1 },
    ///     ],
    ///     "link": [{ "from": "yard", "to": "region", "mbit_per_s": 8.0, "round_trip_ms": 10.0 }],
    /// })).unwrap();
    /// let speed = infrastructure.speed("a", "b").unwrap();
    /// assert_eq!((speed.bytes_per_s, speed.one_way_us), (1e6, 5_000));
    /// assert_eq!(infrastructure.speed("b", "a"), None);
    /// ```
    #[must_use]
    pub fn speed(&self, from: &str, to: &str) -> Option<Speed> {
        let Way { round_trip_ms, mbit_per_s, .. } = self.way(from, to)?;
        Some(Speed { bytes_per_s: mbit_per_s * 1e6 / 8.0, one_way_us: (round_trip_ms * 500.0) as u64 })
    }

    /// What a gigabyte (2^30 bytes) costs on that way, in dollars; nothing within a site, and where no link leads.
    #[must_use]
    pub fn usd_per_gb(&self, from: &str, to: &str) -> f64 {
        self.way(from, to).map_or(0.0, |way| way.usd_per_gb)
    }

    /// The links between the sites of two nodes that take the least time together.
    fn way(&self, from: &str, to: &str) -> Option<Way> {
        let (from, to) = (self.site(from)?, self.site(to)?);
        if from == to {
            return None;
        }
        let start = Way { round_trip_ms: 0.0, mbit_per_s: f64::INFINITY, usd_per_gb: 0.0 };
        let mut ways = BTreeMap::from([(from, start)]);
        for _ in 0..self.links.len() {
            for link in &self.links {
                let Some(so_far) = ways.get(&*link.from) else { continue };
                let way = so_far.and(link);
                if ways.get(&*link.to).is_none_or(|known| way.round_trip_ms < known.round_trip_ms) {
                    ways.insert(&link.to, way);
                }
            }
        }
        ways.remove(to)
    }

    /// Pipes as slow as the links are, to be imitated: one for each pair of sites, shared by whoever sends within
    /// this process. Each has its way to itself where ways meet.
    ///
    /// # Errors
    /// `Unavailable` if there is no thread for one.
    pub fn pipes(&self, clock: &Clock) -> Result<Pipes> {
        let mut pipes = BTreeMap::new();
        for (from, to) in self.nodes.iter().flat_map(|a| self.nodes.iter().map(move |b| (a, b))) {
            let sites = (from.site.clone(), to.site.clone());
            if let Some(speed) = self.speed(&from.name, &to.name).filter(|_| !pipes.contains_key(&sites)) {
                pipes.insert(sites, Pipe::new(speed, clock.clone())?);
            }
        }
        let sites: BTreeMap<_, _> = self.nodes.iter().map(|n| (n.name.clone(), n.site.clone())).collect();
        Ok(Arc::new(move |from, to| pipes.get(&(sites.get(from)?.clone(), sites.get(to)?.clone())).cloned()))
    }

    fn site(&self, node: &str) -> Option<&str> {
        self.nodes.iter().find(|entry| entry.name == node).map(|entry| entry.site.as_str())
    }
}
