//! Records in motion: what a stream carries, and its erased batches.
//!
//! Invariant: every envelope of a `Batch` has the epoch of the timely message it travels in, and a
//! batch holds the one type that the typed builder gave its stream, so that a downcast cannot fail.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::credit::Token;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Epoch;
use crate::ordered;

/// What a stream may carry: serde data, since any edge may become a link.
pub trait Data: Clone + Serialize + DeserializeOwned + Send + 'static {}
impl<T: Clone + Serialize + DeserializeOwned + Send + 'static> Data for T {}

/// The most records that one record may become in one `flat_map`.
pub(crate) const FAN_OUT_MAX: usize = 1 << SUB_BITS;
/// How many `flat_map`s may follow each other: their positions share the 64 bits of `sub`.
pub(crate) const FAN_OUT_DEPTH_MAX: u32 = 64 / SUB_BITS;
const SUB_BITS: u32 = 16;

/// A record with its place in the order of its run.
#[derive(Clone, Debug)]
pub(crate) struct Envelope<T> {
    pub(crate) epoch: Epoch,
    pub(crate) at: Place,
    pub(crate) record: T,
    pub(crate) token: Token,
}

/// Where within its epoch a record stands: by lane, key, number in the lane or of the key, and position below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) lane: u32,
    pub(crate) key: OrderedKey,
    pub(crate) number: u64,
    pub(crate) sub: u64,
}

impl Place {
    /// The lane of records that no source made: what windows and relations emit.
    pub(crate) const DERIVED: u32 = u32::MAX;

    /// The place of child number `i` of a record that became several.
    pub(crate) fn child(&self, i: usize) -> Self {
        Self { sub: (self.sub << SUB_BITS) | i as u64, ..self.clone() }
    }

    /// The place of a source's record.
    pub(crate) fn of_source(lane: u32, number: u64) -> Self {
        Self { lane, key: OrderedKey::default(), number, sub: 0 }
    }

    /// The place of record number `i` that a stage emits at an epoch for a key: the same wherever the key's state
    /// is, and whatever other keys are there.
    pub(crate) fn of_key(key: OrderedKey, i: usize) -> Self {
        Self { key, ..Self::derived(i) }
    }

    /// The place of record number `i` that a stage emits at an epoch by itself.
    pub(crate) fn derived(i: usize) -> Self {
        Self::of_source(Self::DERIVED, i as u64)
    }
}

/// The key that a record was emitted for, as [`ordered`] bytes; empty for what came of a source's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrderedKey(Option<Arc<[u8]>>);

impl OrderedKey {
    pub(crate) fn of<K: Serialize>(key: &K) -> Self {
        // A key that cannot be written cannot leave its node either.
        Self::from(ordered::bytes(key).unwrap_or_default())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<Vec<u8>> for OrderedKey {
    fn from(bytes: Vec<u8>) -> Self {
        Self((!bytes.is_empty()).then(|| bytes.into()))
    }
}

impl Serialize for OrderedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for OrderedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = OrderedKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a key")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<OrderedKey, E> {
                Ok(OrderedKey::from(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A `Vec<Envelope<T>>` whose `T` is known at both ends.
trait Records {
    fn boxed(&self) -> Box<dyn Records>;
    fn encode(&self, out: &mut Vec<u8>) -> Result<()>;
    fn places(&self) -> Vec<Place>;
    fn take_tokens(&mut self) -> Vec<Token>;
    fn split(self: Box<Self>, parts: &[usize]) -> Vec<(usize, Batch)>;
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T: Data> Records for Vec<Envelope<T>> {
    fn boxed(&self) -> Box<dyn Records> {
        Box::new(self.clone())
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        let wire: Vec<(&Place, &T)> = self.iter().map(|e| (&e.at, &e.record)).collect();
        // It goes behind what is there, without a buffer of its own.
        let all = postcard::to_extend(&wire, std::mem::take(out));
        *out = all
            .map_err(|e| Error::new(ErrorKind::Failed, "a record cannot be encoded for a link").because(e))?;
        Ok(())
    }

    fn places(&self) -> Vec<Place> {
        self.iter().map(|e| e.at.clone()).collect()
    }

    fn take_tokens(&mut self) -> Vec<Token> {
        self.iter_mut().map(|e| std::mem::take(&mut e.token)).collect()
    }

    fn split(self: Box<Self>, parts: &[usize]) -> Vec<(usize, Batch)> {
        let mut made: Vec<(usize, Self)> = Vec::new();
        for (envelope, part) in self.into_iter().zip(parts) {
            match made.iter_mut().find(|(of, _)| of == part) {
                Some((_, records)) => records.push(envelope),
                None => made.push((*part, vec![envelope])),
            }
        }
        made.into_iter().map(|(part, records)| (part, Batch::of(records))).collect()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// One erased batch: all timely code is compiled once, for this.
pub(crate) struct Batch(Box<dyn Records>);

impl Clone for Batch {
    fn clone(&self) -> Self {
        Self(self.0.boxed())
    }
}

impl Batch {
    /// Erases a batch.
    pub(crate) fn of<T: Data>(records: Vec<Envelope<T>>) -> Self {
        Self(Box::new(records))
    }

    /// The batch as what it is.
    pub(crate) fn get<T: Data>(self) -> Vec<Envelope<T>> {
        *self
            .0
            .into_any()
            .downcast()
            .expect("only the typed builder makes edges, so both ends agree on the type")
    }

    /// The batch's records, as what they are.
    pub(crate) fn records<T: Data>(&self) -> &[Envelope<T>] {
        let records: Option<&Vec<Envelope<T>>> = self.0.as_any().downcast_ref();
        records.expect("only the typed builder makes edges, so both ends agree on the type")
    }

    /// Its records by part, in order: `parts` says of each which one it belongs to.
    pub(crate) fn split(self, parts: &[usize]) -> Vec<(usize, Self)> {
        match parts {
            [first, rest @ ..] if rest.iter().all(|part| part == first) => vec![(*first, self)],
            _ => self.0.split(parts),
        }
    }

    /// Writes the records' bytes on a link (postcard) behind what is there; their epoch travels in the link's frame.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.0.encode(out)
    }

    /// The places of its records.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.0.places()
    }

    /// Takes the tokens out, to be held until the next node has acknowledged the records.
    pub(crate) fn take_tokens(&mut self) -> Vec<Token> {
        self.0.take_tokens()
    }

    /// A batch from its bytes, at an epoch, with a token each.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not what [`Batch::encode`] makes of a `T`.
    pub(crate) fn decode<T: Data>(epoch: Epoch, bytes: &[u8], token: &dyn Fn() -> Token) -> Result<Self> {
        let wire: Vec<(Place, T)> = postcard::from_bytes(bytes).map_err(|e| {
            Error::new(ErrorKind::Corrupt, "records from a link cannot be decoded").because(e)
        })?;
        let envelope = |(at, record)| Envelope { epoch, at, record, token: token() };
        Ok(Self::of(wire.into_iter().map(envelope).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_survives_its_bytes() {
        let records: Vec<Envelope<(u32, String)>> = (0..5)
            .map(|i| Envelope {
                epoch: 7,
                at: Place { key: OrderedKey::of(&("key", i)), ..Place::of_source(1, i) }.child(3),
                record: (i as u32, format!("r{i}")),
                token: Token::default(),
            })
            .collect();
        let mut bytes = Vec::new();
        Batch::of(records.clone()).encode(&mut bytes).unwrap();
        let back = Batch::decode::<(u32, String)>(7, &bytes, &Token::default).unwrap().get::<(u32, String)>();
        let plain = |v: &[Envelope<(u32, String)>]| -> Vec<_> {
            v.iter().map(|e| (e.epoch, e.at.clone(), e.record.clone())).collect()
        };
        assert_eq!(plain(&back), plain(&records));
        assert!(Batch::decode::<(u32, String)>(7, &bytes[..bytes.len() - 1], &Token::default).is_err());
    }

    #[test]
    fn children_keep_the_order_of_their_parents() {
        let first = Place::of_source(0, 1);
        let second = Place::of_source(0, 2);
        assert!(first.child(FAN_OUT_MAX - 1) < second.child(0));
        assert!(first.child(1).child(9) < first.child(2).child(0));
    }
}
