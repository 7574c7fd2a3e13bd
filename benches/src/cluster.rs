//! Nodes that are processes of this program, for the benches that need several.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jellybean::Result;
use jellybean_benches::{address, failed, input_ends};
use jellybean_engine::Clock;
use jellybean_engine::net::zenoh::{Settings, Zenoh};
use jellybean_engine::net::{Member, Network};
use jellybean_engine::node::{Blueprint, CONTROLLER, Node, NodeSettings};

/// Nodes by name, each a process; they end with this one.
pub(crate) struct Cluster {
    children: Vec<Child>,
    controller: SocketAddr,
}

impl Cluster {
    /// Starts nodes that make the topologies of a bench.
    pub(crate) fn start(bench: &str, names: &[&str]) -> Result<Self> {
        let listeners: std::io::Result<Vec<_>> =
            (0..=names.len()).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
        let addresses: std::io::Result<Vec<SocketAddr>> =
            listeners.map_err(failed("no port"))?.iter().map(TcpListener::local_addr).collect();
        let addresses = addresses.map_err(failed("no port"))?;
        let program = std::env::current_exe().map_err(failed("this program does not know where it is"))?;
        let start = |(i, name): (usize, &&str)| {
            // A node connects to the controller, and to the nodes before it.
            let connect: Vec<String> = addresses[..=i].iter().map(ToString::to_string).collect();
            Command::new(&program)
                .args(["node", bench, name, &addresses[i + 1].to_string(), &connect.join(",")])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .map_err(failed("no process for a node"))
        };
        let children: Result<Vec<_>> = names.iter().enumerate().map(start).collect();
        Ok(Self { children: children?, controller: addresses[0] })
    }

    /// The ids of its processes, in the order of their names.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        self.children.iter().map(Child::id)
    }

    /// The controller's network.
    pub(crate) fn network(&self) -> Result<Arc<dyn Network>> {
        join(CONTROLLER, self.controller, Vec::new())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.stdin.take());
            _ = child.wait();
        }
    }
}

fn join(name: &str, listen: SocketAddr, connect: Vec<SocketAddr>) -> Result<Arc<dyn Network>> {
    let member = Member { name: name.to_owned(), life: u64::from(std::process::id()) };
    let (cluster, listen) = ("benches".to_owned(), vec![listen]);
    Zenoh::open(&Settings { cluster, member, listen, connect, tls: None, patience: None })
}

/// `node NAME LISTEN CONNECT,…`: runs until standard input ends.
pub(crate) fn serve(blueprint: Blueprint, name: &str, listen: &str, connect: &str) -> Result<()> {
    let connect: Result<Vec<_>> = connect.split(',').map(address).collect();
    let network = join(name, address(listen)?, connect?)?;
    let over = input_ends();
    let settings = NodeSettings { blueprint, clock: Clock::real(), follows_clock: true, imitate: None };
    Node::new(network, settings)?.run(&|| over.load(Ordering::SeqCst));
    Ok(())
}
