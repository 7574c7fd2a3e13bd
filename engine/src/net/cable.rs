//! A cable between two members that can be cut, for tests and benchmarks: what is connected to it is passed on,
//! byte for byte, until it is not.
//!
//! What a stalled cable took in before, it delivers when it is healed, as a network does that was silent for a while.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// What is passed on at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A cable to an address on this machine; dropped, it is cut for good.
pub struct Cable {
    end: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    way: Way,
    /// Both ends of every connection since the last cut, to be closed by the next.
    open: Vec<TcpStream>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Through,
    Stalled,
    Cut,
    Gone,
}

impl Cable {
    /// A cable to an address; it is to be connected to at its [`end`](Cable::end).
    ///
    /// # Errors
    /// `Unavailable` if the machine has no port or thread left.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let failed = |cause| Error::new(ErrorKind::Unavailable, "there is no cable").because(cause);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let end = listener.local_addr().map_err(failed)?;
        let inner = Arc::new(Inner::default());
        let of_thread = inner.clone();
        let accept = move || {
            for near in listener.incoming().flatten() {
                if of_thread.lock().way == Way::Gone {
                    return;
                }
                // One that cannot be passed on is closed, as one without a listener is.
                _ = of_thread.join(near, target);
            }
        };
        std::thread::Builder::new().name("cable".into()).spawn(accept).map_err(failed)?;
        Ok(Self { end, inner })
    }

    /// Where it is to be connected to.
    #[must_use]
    pub fn end(&self) -> SocketAddr {
        self.end
    }

    /// Closes every connection, also those that are tried until it is healed.
    pub fn cut(&self) {
        self.inner.set(Way::Cut);
    }

    /// Nothing moves any more, and nobody is told: a black hole.
    pub fn stall(&self) {
        self.inner.set(Way::Stalled);
    }

    /// It passes on again.
    pub fn heal(&self) {
        self.inner.set(Way::Through);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.inner.set(Way::Gone);
        // Wakes the thread that accepts; if it cannot, there is no such thread any more.
        _ = TcpStream::connect(self.end);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, way: Way) {
        let mut state = self.lock();
        state.way = way;
        if matches!(way, Way::Cut | Way::Gone) {
            state.open.drain(..).for_each(|stream| close(&stream));
        }
        self.changed.notify_all();
    }

    fn join(self: &Arc<Self>, near: TcpStream, target: SocketAddr) -> std::io::Result<()> {
        if self.lock().way == Way::Cut {
            return Ok(());
        }
        let far = TcpStream::connect(target)?;
        for (from, to) in [(&near, &far), (&far, &near)] {
            from.set_nodelay(true)?;
            let (from, to, inner) = (from.try_clone()?, to.try_clone()?, self.clone());
            std::thread::Builder::new().name("cable".into()).spawn(move || inner.pass(from, to))?;
        }
        let mut state = self.lock();
        state.open.extend([near, far]);
        if matches!(state.way, Way::Cut | Way::Gone) {
            // It was cut meanwhile.
            state.open.drain(..).for_each(|stream| close(&stream));
        }
        Ok(())
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let stalled = |state: &mut State| state.way == Way::Stalled;
            drop(self.changed.wait_while(self.lock(), stalled).unwrap_or_else(PoisonError::into_inner));
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        close(&from);
        close(&to);
    }
}

/// One that is closed already is as good.
fn close(stream: &TcpStream) {
    _ = stream.shutdown(Shutdown::Both);
}
