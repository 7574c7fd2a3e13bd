//! `output_digest`: one number that tells whether two runs had the same results.
//!
//! xxh3 over the postcard bytes of (sink, epoch, record), summed without regard to order. Floats are
//! rounded to 1e-3 first, so that a fused multiply-add elsewhere makes no difference. Streams of
//! changes come consolidated, with their `diff` in the record.

use std::sync::atomic::{AtomicU64, Ordering};

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::id::Epoch;
use crate::rounding::Rounding;

/// The digest of a run's results so far.
#[derive(Default)]
pub(crate) struct Digest(AtomicU64);

impl Digest {
    /// What a record at a sink is worth.
    pub(crate) fn hash<T: Serialize>(sink: &str, epoch: Epoch, record: &T) -> u64 {
        // What cannot be encoded cannot reach a sink over a link either; it counts as 0.
        let hash = postcard::serialize_with_flavor(&(sink, epoch, Rounding(record)), Hashing(Xxh3::new()));
        hash.unwrap_or_default()
    }

    /// Adds a record that was written.
    pub(crate) fn add(&self, hash: u64) {
        self.0.fetch_add(hash, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Takes postcard's bytes as they come, so that pixels are not copied to be hashed.
struct Hashing(Xxh3);

impl Flavor for Hashing {
    type Output = u64;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.update(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.update(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u64> {
        Ok(self.0.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(records: &[(u64, (f32, &str))]) -> u64 {
        let digest = Digest::default();
        records.iter().for_each(|(epoch, record)| digest.add(Digest::hash("sink", *epoch, record)));
        digest.value()
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let a = digest(&[(1, (0.5, "x")), (2, (0.25, "y"))]);
        assert_eq!(a, digest(&[(2, (0.25, "y")), (1, (0.5, "x"))]));
        assert_eq!(a, digest(&[(1, (0.500_04, "x")), (2, (0.25, "y"))]));
        assert_ne!(a, digest(&[(1, (0.502, "x")), (2, (0.25, "y"))]));
        assert_ne!(a, digest(&[(1, (0.5, "x"))]));
        assert_ne!(a, digest(&[(1, (0.5, "x")), (3, (0.25, "y"))]));
    }
}
