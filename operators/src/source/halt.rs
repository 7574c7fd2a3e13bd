//! Stops a feed that connects again and again, whatever it is connected to at the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jellybean_engine::source::Stopper;

/// A feed's end of it; clones share it.
#[derive(Clone, Default)]
pub(super) struct Halt(Arc<State>);

#[derive(Default)]
struct State {
    called: AtomicBool,
    connection: Mutex<Option<Stopper>>,
}

impl Halt {
    /// Whether nothing more is wanted.
    pub(super) fn is_called(&self) -> bool {
        self.0.called.load(Ordering::SeqCst)
    }

    /// From now on this is what has to be stopped; at once, if that was asked for already.
    pub(super) fn holds(&self, connection: Stopper) {
        let mut held = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_called() {
            connection();
        }
        *held = Some(connection);
    }

    /// What was held is over; to hold it longer would keep a process or a socket from being closed.
    pub(super) fn lets_go(&self) {
        *self.0.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The other end.
    pub(super) fn stopper(&self) -> Stopper {
        let state = self.0.clone();
        Arc::new(move || {
            // Before the look: a connection made after it finds the call.
            state.called.store(true, Ordering::SeqCst);
            let held = state.connection.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(stop) = &*held {
                stop();
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Halt, Stopper};

    #[test]
    fn whatever_is_held_is_stopped_before_or_after() {
        let halt = Halt::default();
        let connection = || {
            let calls = Arc::new(AtomicU32::new(0));
            let counted = calls.clone();
            let stopper: Stopper = Arc::new(move || _ = counted.fetch_add(1, Ordering::SeqCst));
            (calls, stopper)
        };
        let (gone, old, new, late) = (connection(), connection(), connection(), connection());
        halt.holds(gone.1);
        halt.lets_go();
        assert_eq!(Arc::strong_count(&gone.0), 1);
        halt.holds(old.1);
        halt.holds(new.1);
        halt.stopper()();
        assert!(halt.is_called());
        halt.holds(late.1);
        assert_eq!([gone.0, old.0, new.0, late.0].map(|calls| calls.load(Ordering::SeqCst)), [0, 0, 1, 1]);
    }
}
