//! Noticing what does not come.

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure};
use serde::{Deserialize, Serialize};

/// A key of which nothing has come for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent<K> {
    /// Who is silent.
    pub key: K,
    /// The epoch of its last record.
    pub since_ms: Epoch,
}

/// Watches for keys that fall silent.
pub trait Silence<K> {
    /// Emits a key once nothing has come of it for `after_ms` milliseconds of the stream's time (a timeout);
    /// again only after it has been heard of again. The end of the stream silences every key. A key that
    /// was never heard of is never missed.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("silence");
    /// let (sink, silent) = sink::collect();
    /// t.source("numbers", source::iterate(0..10_u64))
    ///     .keyed(|n| *n >= 3)
    ///     .silence("timeout", 4)
    ///     .map("plain", |s| (s.key, s.since_ms))
    ///     .sink("out", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(silent.take(), [(5, (false, 2)), (12, (true, 9))]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `after_ms` is 0.
    fn silence(&self, name: &str, after_ms: u64) -> Stream<Silent<K>>;
}

impl<K: Key, T: Data> Silence<K> for Keyed<K, T> {
    fn silence(&self, name: &str, after_ms: u64) -> Stream<Silent<K>> {
        assert!(after_ms > 0, "silence \"{name}\" lasts at least a millisecond");
        self.logic(name, Listening { after_ms })
    }
}

struct Listening {
    after_ms: u64,
}

impl<K: Key, T: Data> Logic<K, T> for Listening {
    /// When the key was heard of last.
    type State = Option<Epoch>;
    type Out = Silent<K>;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &K,
        heard: &mut Self::State,
        epoch: Epoch,
        _record: T,
        _emit: &mut Emit<Self::Out>,
    ) -> Result<(), Failure> {
        *heard = Some(epoch);
        Ok(())
    }

    fn due(&self, heard: &Self::State) -> Option<Epoch> {
        heard.map(|epoch| epoch + self.after_ms)
    }

    fn close(&self, key: &K, heard: &mut Self::State, _upto: Epoch, emit: &mut Emit<Self::Out>) -> bool {
        if let Some(since_ms) = heard.take() {
            emit.push(Silent { key: key.clone(), since_ms });
        }
        false
    }
}
