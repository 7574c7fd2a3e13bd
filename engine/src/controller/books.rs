//! The books of a run as its controller collects them: every node is asked, and what they say is added up.

use std::collections::BTreeSet;
use std::time::Duration;

use crossbeam::channel::Sender;

use super::Controller;
use crate::client::Reply;
use crate::clock::micros;
use crate::ledger::Books;
use crate::message::ToNode;
use crate::net::Member;
use crate::recent::Windows;

/// How long nodes may take to tell what their books say.
const BOOKS_MAX: Duration = Duration::from_secs(10);

/// For whom books are collected.
pub(super) enum Reader {
    /// The end of the run.
    Run,
    Here(Sender<Books>),
    /// The report of a change.
    Change {
        wish: u64,
        is_last: bool,
    },
    Client(Member),
}

/// Books that are being collected.
pub(super) struct Collection {
    pub(super) missing: BTreeSet<String>,
    books: Books,
    pub(super) until_us: u64,
    to: Reader,
}

impl Controller {
    /// Asks every node for its books, and how it went in some windows.
    pub(super) fn collect(&mut self, to: Reader, windows: Option<Windows>) {
        self.next_request += 1;
        let request = self.next_request;
        let until_us = self.now_us() + micros(BOOKS_MAX);
        let missing = self.peers.keys().cloned().collect();
        self.tell_all(&ToNode::Books { request, windows });
        self.collections.insert(request, Collection { missing, books: Books::default(), until_us, to });
    }

    pub(super) fn deliver_books(&mut self) {
        let now_us = self.now_us();
        let is_due = |c: &Collection| c.missing.is_empty() || now_us >= c.until_us;
        // In the order of asking: the end of the run comes after its last changes.
        let due: Vec<u64> = self.collections.iter().filter(|(_, c)| is_due(c)).map(|(r, _)| *r).collect();
        for request in due {
            let Some(collection) = self.collections.remove(&request) else { continue };
            match collection.to {
                Reader::Here(to) => _ = to.send(collection.books),
                Reader::Change { wish, is_last } => self.change_measured(wish, &collection.books, is_last),
                Reader::Client(member) => {
                    self.reply(&member, &Reply::Status(Box::new(self.status(&collection.books))));
                }
                Reader::Run => {
                    self.tell_all(&ToNode::Unload);
                    self.leave(Some(collection.books));
                }
            }
        }
    }

    /// What a node says its books say.
    pub(super) fn booked(&mut self, node: &str, request: u64, books: Books) {
        if let Some(collection) = self.collections.get_mut(&request)
            && collection.missing.remove(node)
        {
            collection.books.add(books);
        }
    }
}
