//! A conversation between two members: messages both ways, in order, each once, over a pair of links.
//!
//! The first frame each way is the protocol's version, alone and in plain text, so that members of different
//! versions understand that they do not understand each other.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::link::{Draft, Links, Receiver, Sender};
use crate::message::PROTOCOL;
use crate::net::Member;

/// The largest message: books of many edges and lanes, or a plan.
const MESSAGE_MAX: usize = 16 << 20;
/// With more than that on its way no news is told.
const NEWS_BYTES: u64 = 1 << 20;

/// One end of a conversation: says `S`, hears `H`.
pub(crate) struct Talk<S, H> {
    with: Member,
    channel: String,
    links: Links,
    sender: Sender,
    receiver: Receiver,
    greeted: bool,
    said: PhantomData<fn(S) -> H>,
}

impl<S, H> Drop for Talk<S, H> {
    fn drop(&mut self) {
        self.links.close_with(&self.with, &self.channel);
    }
}

impl<S: Serialize, H: DeserializeOwned> Talk<S, H> {
    /// Opens it; `out` and `back` name the two directions, and the other end has them the other way round.
    pub(crate) fn open(links: &Links, with: &Member, channel: &str, out: &str, back: &str) -> Result<Self> {
        let sender = links.sender(with, &format!("{channel}/{out}"))?;
        let receiver = links.receiver(with, &format!("{channel}/{back}"))?;
        let talk = Self {
            with: with.clone(),
            channel: format!("{channel}/"),
            links: links.clone(),
            sender,
            receiver,
            greeted: false,
            said: PhantomData,
        };
        talk.send(greeting().as_bytes())?;
        Ok(talk)
    }

    /// Whom with.
    pub(crate) fn with(&self) -> &Member {
        &self.with
    }

    /// Says something; it goes out at the latest at the member's next turn.
    pub(crate) fn say(&self, message: &S) {
        let sent = serde_json::to_vec(message)
            .map_err(|e| Error::new(ErrorKind::Failed, "a message cannot be written").because(e))
            .and_then(|bytes| self.send(&bytes));
        if let Err(error) = sent {
            tracing::error!(%error, to = %self.with, "a message was not sent");
        }
        self.sender.flush();
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let mut draft = Draft::with_capacity(bytes.len());
        draft.payload().extend_from_slice(bytes);
        self.sender.send(draft).map(|_| ())
    }

    /// The next thing the other one said.
    ///
    /// # Errors
    /// `Incompatible` if it speaks another version, `Corrupt` if it makes no sense.
    pub(crate) fn hear(&mut self) -> Result<Option<H>> {
        while let Some((seq, bytes)) = self.receiver.receive() {
            self.receiver.settle(seq);
            if !self.greeted {
                self.greeted = true;
                self.check_greeting(&bytes)?;
                continue;
            }
            if bytes.len() > MESSAGE_MAX {
                return Err(self.nonsense("a message of too many bytes"));
            }
            let message = serde_json::from_slice(&bytes);
            return message.map(Some).map_err(|e| self.nonsense("a message that makes no sense").because(e));
        }
        Ok(None)
    }

    /// Whether little of what was said waits to be heard: what is only news can be left out else.
    pub(crate) fn has_room(&self) -> bool {
        self.sender.kept_bytes() < NEWS_BYTES
    }

    /// Whether everything that was said has been heard.
    pub(crate) fn is_idle(&self) -> bool {
        self.sender.is_idle()
    }

    fn check_greeting(&self, bytes: &[u8]) -> Result<()> {
        if bytes == greeting().as_bytes() {
            return Ok(());
        }
        let theirs = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        let message = format!("\"{}\" speaks \"{theirs}\", and this is \"{}\"", self.with, greeting());
        Err(Error::new(ErrorKind::Incompatible, message).way_out("run the same version everywhere"))
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("\"{}\" sent {what}", self.with))
    }
}

fn greeting() -> String {
    format!("jellybean/{PROTOCOL}")
}
