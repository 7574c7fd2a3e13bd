//! Session windows: one value per key and spell of activity.

use jellybean_engine::primitive::Emit;
use jellybean_engine::primitive::each::FanOut;
use jellybean_engine::primitive::keyed::{Key, Keyed, Logic};
use jellybean_engine::topology::Stream;
use jellybean_engine::{Data, Epoch, Failure};

use crate::window::Windowed;

/// Divides time into spells of activity.
pub trait Session<K, T> {
    /// Accumulates the records of each key until none has come for `gap_ms` milliseconds. The session is
    /// emitted then, at its last millisecond; it begins with its first record and ends `gap_ms` after its
    /// last.
    ///
    /// ```
    /// use jellybean_operators::prelude::*;
    /// let t = Topology::new("sessions");
    /// let (sink, sessions) = sink::collect();
    /// t.source("numbers", source::iterate(0..10_u64))
    ///     .filter("active", |n| [0, 1, 6, 7, 8].contains(n))
    ///     .keyed(|_| 0)
    ///     .session("count", 3, |count: &mut u32, _n| *count += 1)
    ///     .map("value", |w| (w.start_ms, w.end_ms, w.value))
    ///     .sink("sessions", sink);
    /// jellybean_operators::run_here(&t)?;
    /// assert_eq!(sessions.take(), [(3, (0, 4, 2)), (10, (6, 11, 3))]);
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `gap_ms` is 0.
    fn session<A: Data + Default>(
        &self,
        name: &str,
        gap_ms: u64,
        add: impl Fn(&mut A, T) + Send + Sync + 'static,
    ) -> Stream<Windowed<K, A>>;
}

impl<K: Key, T: Data> Session<K, T> for Keyed<K, T> {
    fn session<A: Data + Default>(
        &self,
        name: &str,
        gap_ms: u64,
        add: impl Fn(&mut A, T) + Send + Sync + 'static,
    ) -> Stream<Windowed<K, A>> {
        assert!(gap_ms > 0, "session \"{name}\" must have a gap of at least a millisecond");
        self.logic(name, Spells { gap_ms, add: Box::new(add) })
    }
}

/// Adds a record to the value of a session.
type Add<A, T> = Box<dyn Fn(&mut A, T) + Send + Sync>;

struct Spells<A, T> {
    gap_ms: u64,
    add: Add<A, T>,
}

impl<K: Key, T: Data, A: Data + Default> Logic<K, T> for Spells<A, T> {
    /// The open session: the epochs of its first and its last record, and its value.
    type State = Option<(Epoch, Epoch, A)>;
    type Out = Windowed<K, A>;
    const FAN_OUT: FanOut = FanOut::One;

    fn record(
        &self,
        _key: &K,
        open: &mut Self::State,
        epoch: Epoch,
        record: T,
        _emit: &mut Emit<Self::Out>,
    ) -> Result<(), Failure> {
        let (_, last_ms, value) = open.get_or_insert_with(|| (epoch, epoch, A::default()));
        *last_ms = epoch;
        (self.add)(value, record);
        Ok(())
    }

    fn due(&self, open: &Self::State) -> Option<Epoch> {
        open.as_ref().map(|(_, last_ms, _)| last_ms + self.gap_ms)
    }

    fn close(&self, key: &K, open: &mut Self::State, upto: Epoch, emit: &mut Emit<Self::Out>) -> bool {
        if let Some((start_ms, _, value)) = open.take() {
            emit.push(Windowed { key: key.clone(), start_ms, end_ms: upto, value });
        }
        false
    }
}
