//! What a stage hands over at a cut: its states by key, and records that wait for epochs beyond it.
//!
//! Such records exist where a source had ended before the cut: what was flushed then may lie anywhere
//! in the future, and the next generation takes it in at its time.

use std::any::Any;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::copied::Copied;
use super::keyed::Key;
use super::reorder::Reorder;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::{Arrival, PIECE_BYTES, State};
use crate::id::Epoch;
use crate::record::{Batch, Data, Envelope, Place};
use crate::shares::Division;

/// States and waiting records, between two generations.
pub(crate) struct Frozen<K, S, T> {
    pub(crate) by_key: BTreeMap<K, S>,
    pub(crate) waiting: Reorder<T>,
    /// What the successor has of the states already, if it is on another node.
    pub(crate) copied: Option<Copied<K>>,
}

impl<K, S, T> Default for Frozen<K, S, T> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), waiting: Reorder::default(), copied: None }
    }
}

/// One piece of it on a link.
#[derive(Deserialize)]
enum Piece<K, S, T> {
    State(K, S),
    Waiting(Epoch, Place, T),
    /// A state that had been copied is no more.
    Gone(K),
}

/// The same, borrowed.
#[derive(Serialize)]
pub(crate) enum PieceRef<'a, K, S, T> {
    State(&'a K, &'a S),
    Waiting(Epoch, &'a Place, &'a T),
    Gone(&'a K),
}

impl<K: Serialize, S: Serialize, T: Serialize> PieceRef<'_, K, S, T> {
    /// Adds the piece to a chunk.
    pub(crate) fn write(&self, chunk: &mut Vec<u8>) -> Result<()> {
        let written = postcard::to_extend(self, std::mem::take(chunk));
        *chunk = written.map_err(|e| Error::new(ErrorKind::Failed, "state cannot be encoded").because(e))?;
        Ok(())
    }
}

impl<K: Key, S: Data, T: Data> State for Frozen<K, S, T> {
    fn chunks(&self) -> Result<Vec<Vec<u8>>> {
        let piece = |(key, state): (_, Option<_>)| match state {
            Some(state) => PieceRef::State(key, state),
            None => PieceRef::Gone(key),
        };
        let whole = self.copied.is_none().then(|| self.by_key.iter().map(|(k, s)| (k, Some(s))));
        let rest = self.copied.iter().flat_map(|copied| copied.rest(&self.by_key));
        let waiting = self.waiting.iter().map(|e| PieceRef::Waiting(e.epoch, &e.at, &e.record));
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        for piece in whole.into_iter().flatten().chain(rest).map(piece).chain(waiting) {
            if chunks.last().is_none_or(|last| last.len() >= PIECE_BYTES) {
                chunks.push(Vec::new());
            }
            if let Some(last) = chunks.last_mut() {
                piece.write(last)?;
            }
        }
        Ok(chunks)
    }

    fn split(self: Box<Self>, division: &Division<'_>) -> Vec<Box<dyn State>> {
        let mut parts: Vec<Self> = (0..division.parts()).map(|_| Self::default()).collect();
        for (key, state) in self.by_key {
            parts[division.of_key(&key)].by_key.insert(key, state);
        }
        for batch in self.waiting.into_batches().map(Batch::of) {
            let homes = division.of_batch(&batch);
            batch.split(&homes).into_iter().for_each(|(home, batch)| parts[home].waiting.push(batch.get()));
        }
        parts.into_iter().map(|part| Box::new(part) as Box<dyn State>).collect()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl<K: Key, S: Data, T: Data> Frozen<K, S, T> {
    /// Takes in what arrived, from every old home.
    ///
    /// # Errors
    /// `Corrupt` if bytes from another node are not what [`State::chunks`] makes.
    pub(crate) fn take_in(&mut self, arrivals: Vec<Arrival>) -> Result<()> {
        for arrival in arrivals {
            match arrival {
                Arrival::Pointer(state) => {
                    let part: Self =
                        *state.downcast().expect("a stage's state has one type in every generation");
                    self.by_key.extend(part.by_key);
                    self.waiting.absorb(part.waiting);
                }
                Arrival::Chunks(chunks) => self.read(&chunks)?,
            }
        }
        Ok(())
    }

    /// Takes pieces in, in the order in which they were made.
    ///
    /// # Errors
    /// As [`Frozen::take_in`].
    pub(crate) fn read(&mut self, chunks: &[Vec<u8>]) -> Result<()> {
        for chunk in chunks {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let (piece, after) = postcard::take_from_bytes(rest)
                    .map_err(|e| Error::new(ErrorKind::Corrupt, "state cannot be decoded").because(e))?;
                match piece {
                    Piece::State(key, state) => _ = self.by_key.insert(key, state),
                    Piece::Gone(key) => _ = self.by_key.remove(&key),
                    // Its token stayed behind: state has a budget of its own.
                    Piece::Waiting(epoch, at, record) => {
                        self.waiting.push(vec![Envelope { epoch, at, record, token: Default::default() }]);
                    }
                }
                rest = after;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_in_chunks_as_by_pointer() {
        let by_key = (0..3_000).map(|k| (k, "x".repeat(k as usize % 1_000))).collect();
        let mut frozen = Frozen::<u32, String, u8> { by_key, waiting: Reorder::default(), copied: None };
        let place = |i| Place::of_source(1, i);
        for i in 0..10 {
            let token = Default::default();
            frozen.waiting.push(vec![Envelope { epoch: 100 - i, at: place(i), record: i as u8, token }]);
        }
        let chunks = frozen.chunks().unwrap();
        assert!(chunks.len() > 1 && chunks.iter().all(|c| c.len() <= PIECE_BYTES + 1_100));
        let mut moved = Frozen::<u32, String, u8>::default();
        moved.take_in(vec![Arrival::Chunks(chunks)]).unwrap();
        assert_eq!(moved.by_key, frozen.by_key);
        let plain = |r: &Reorder<u8>| r.iter().map(|e| (e.epoch, e.at.clone(), e.record)).collect::<Vec<_>>();
        assert_eq!(plain(&moved.waiting), plain(&frozen.waiting));
        assert!(moved.take_in(vec![Arrival::Chunks(vec![vec![7, 7, 7]])]).is_err());
    }
}
