//! A link's messages as bytes.
//!
//! Forward go frames, one behind the other: `seq: u64, length: u32` (little endian) and the payload. A length
//! of `u32::MAX` is a probe: it asks for the receiver's standing, and says what the next frame will be. Back
//! goes a [`Back`] (postcard). Whatever else comes is refused before anything is allocated for it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes before each payload.
pub(crate) const HEAD: usize = 12;
/// The largest payload of a frame: a raw 8K picture fits.
pub(crate) const PAYLOAD_MAX: usize = 256 << 20;
/// Where a length would stand, in a probe.
const PROBE: u32 = u32::MAX;
/// The largest message back: every frame of a window settled but its neighbours.
const BACK_MAX: usize = 256 << 10;

/// A frame being written: room for its head, then the payload.
#[derive(Debug)]
pub struct Draft(Vec<u8>);

impl Default for Draft {
    fn default() -> Self {
        Self(vec![0; HEAD])
    }
}

impl Draft {
    /// With room for a payload of so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEAD + bytes);
        buffer.resize(HEAD, 0);
        Self(buffer)
    }

    /// Where the payload is written, behind what is there.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The frame; `None` if the payload is too large for one.
    pub(crate) fn numbered(mut self, seq: u64) -> Option<Bytes> {
        let length = self.0.len() - HEAD;
        if length > PAYLOAD_MAX {
            return None;
        }
        self.0[..8].copy_from_slice(&seq.to_le_bytes());
        self.0[8..HEAD].copy_from_slice(&(length as u32).to_le_bytes());
        Some(self.0.into())
    }
}

impl Extend<u8> for Draft {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

/// What comes forward.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Forward {
    Frame { seq: u64, payload: Bytes },
    Probe { next: u64 },
}

/// A question for the receiver's standing.
pub(crate) fn probe(next: u64) -> Bytes {
    let mut bytes = [0; HEAD];
    bytes[..8].copy_from_slice(&next.to_le_bytes());
    bytes[8..].copy_from_slice(&PROBE.to_le_bytes());
    Bytes::copy_from_slice(&bytes)
}

/// What stands in a message forward, in order; ends at the first byte that is not right, with `Err`.
pub(crate) fn forward(mut message: Bytes) -> impl Iterator<Item = Result<Forward, Malformed>> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let next = take(&mut message);
        if next.is_none() {
            message.clear();
        }
        Some(next.ok_or(Malformed))
    })
}

/// Bytes that are not a message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

fn take(message: &mut Bytes) -> Option<Forward> {
    let seq = u64::from_le_bytes(message.get(..8)?.try_into().ok()?);
    let length = u32::from_le_bytes(message.get(8..HEAD)?.try_into().ok()?);
    if length == PROBE {
        _ = message.split_to(HEAD);
        return Some(Forward::Probe { next: seq });
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= PAYLOAD_MAX)?;
    if message.len() - HEAD < length {
        return None;
    }
    _ = message.split_to(HEAD);
    Some(Forward::Frame { seq, payload: message.split_to(length) })
}

/// How the receiver stands. Everything in it that is acted upon only grows, so that late and doubled ones do no harm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Back {
    /// Every frame below this has come.
    pub(crate) received: u64,
    /// Frames from this one on must wait.
    pub(crate) until_frame: u64,
    /// Frames that begin at or after this many bytes from the start of the link must wait.
    pub(crate) until_byte: u64,
    /// Whether something came that should have come later.
    pub(crate) is_missing: bool,
    /// Every frame below this is settled: nothing of it is left on the receiving node.
    pub(crate) settled_below: u64,
    /// Frames above, as ranges `[from, to)`, that are settled as well.
    pub(crate) settled: Vec<(u64, u64)>,
    /// How long ago the newest of the received frames came: what of a round trip was waiting.
    pub(crate) waited_us: u64,
}

impl Back {
    pub(crate) fn encode(&self) -> Bytes {
        // Numbers and pairs of them always have a postcard form.
        postcard::to_stdvec(self).unwrap_or_default().into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > BACK_MAX {
            return Err(Malformed);
        }
        let back: Self = postcard::from_bytes(bytes).map_err(|_| Malformed)?;
        let ordered = back.settled.iter().all(|(from, to)| from < to);
        let sound = ordered && back.settled_below <= back.received && back.received <= back.until_frame;
        if sound { Ok(back) } else { Err(Malformed) }
    }
}
