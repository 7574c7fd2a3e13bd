//! What joins the members of a run: nodes, and the controller.
//!
//! A network carries messages between members as well as it can: they may be lost, doubled, late or out
//! of order, and what arrives is whole. Everything that must arrive goes over a [`Link`](crate::link), whose protocol
//! needs no more than this. Nothing here blocks, and nothing is called back under a lock of the caller's.

pub mod cable;
pub mod memory;
pub mod slow;
pub mod zenoh;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Who takes part, and in which life of its process: a successor of the same name is somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Its name, unique among those alive.
    pub name: String,
    /// Which of its lives; any number that its name has not had before.
    pub life: u64,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A member comes or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub member: Member,
    /// Whether it is there now.
    pub is_here: bool,
}

/// Takes a message in; called on the network's threads.
pub type Inbox = Arc<dyn Fn(Bytes) + Send + Sync>;

/// Told that something has changed, on the network's threads.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Carries messages between members.
pub trait Network: Send + Sync {
    /// Who this is.
    fn me(&self) -> &Member;

    /// A line to a member, about one thing. `room` is called when a message that was refused may be tried again.
    ///
    /// A channel is made of letters, digits, `-`, `_`, `.` and `/`.
    fn line(&self, to: &Member, channel: &str, room: Wake) -> Result<Box<dyn Line>>;

    /// Gives what a member sends on a channel to an inbox, until the guard is dropped.
    fn listen(&self, from: &Member, channel: &str, inbox: Inbox) -> Result<Box<dyn Listening>>;

    /// Who is there now, one by one, and then whoever comes or goes, until the guard is dropped.
    fn watch(&self, told: Arc<dyn Fn(Presence) + Send + Sync>) -> Result<Box<dyn Listening>>;
}

/// Keeps an inbox; forgets it when dropped.
pub trait Listening: Send + Sync {}

/// One direction to one member about one thing.
pub trait Line: Send + Sync {
    /// Hands a message over, or gives it back while there is no room for it.
    ///
    /// # Errors
    /// The message itself.
    fn send(&self, message: Bytes) -> std::result::Result<(), Bytes>;
}
