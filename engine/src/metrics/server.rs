//! A very small HTTP server: `/metrics` and `/healthz`, on loopback.
//!
//! One request per connection, one connection at a time, each bounded in bytes and in time: who is slow or sends
//! nonsense costs the next one two seconds at most. Nothing that is asked changes anything.

use std::io::{ErrorKind as IoKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{Clock, micros};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a request, at most: a line and some headers.
const REQUEST_MAX: usize = 8 << 10;
/// How long a request and its answer may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(2);
/// How long the server waits before it accepts again, where that failed: for want of a descriptor, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// What there is to be read at `/metrics`: made anew for each request.
pub type Page = Arc<dyn Fn() -> String + Send + Sync>;

/// A server that goes on until it is dropped.
pub struct Server {
    at: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a page.
    ///
    /// # Errors
    /// `Invalid` beyond loopback, `Unavailable` if the address is taken.
    pub fn start(at: SocketAddr, page: Page, clock: &Clock) -> Result<Self> {
        if !at.ip().is_loopback() {
            let message = format!("metrics are not served on {at}: anybody there could read them");
            return Err(Error::new(ErrorKind::Invalid, message)
                .way_out("serve them on 127.0.0.1, and let a proxy that proves who asks pass them on"));
        }
        let taken = |e| {
            Error::new(ErrorKind::Unavailable, format!("metrics cannot be served on {at}"))
                .because(e)
                .way_out("give another --metrics address")
        };
        let listener = TcpListener::bind(at).map_err(taken)?;
        let at = listener.local_addr().map_err(taken)?;
        let ends = Arc::new(AtomicBool::new(false));
        let (over, clock) = (ends.clone(), clock.by_itself());
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            while !over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok(_) if over.load(Ordering::SeqCst) => return,
                    // Who hung up meanwhile needs no answer.
                    Ok((stream, _)) => _ = Exchange { stream, clock: &clock, until_us: 0 }.serve(&page),
                    Err(_) => clock.sleep(PAUSE),
                }
            }
        });
        let thread = thread.map_err(taken)?;
        Ok(Self { at, ends, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes it; if that fails it ends with the process.
        if TcpStream::connect_timeout(&self.at, EXCHANGE_MAX).is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the metrics panicked");
        }
    }
}

/// One request and its answer.
struct Exchange<'a> {
    stream: TcpStream,
    clock: &'a Clock,
    until_us: u64,
}

impl Exchange<'_> {
    fn serve(mut self, page: &Page) -> std::io::Result<()> {
        self.until_us = self.clock.now_us() + micros(EXCHANGE_MAX);
        let (status, body) = match self.request()?.as_deref().map(target) {
            Some(Some((method, path))) => answer(method, path, page),
            Some(None) => ("400 Bad Request", "this is no request of HTTP\n".to_owned()),
            None => ("431 Request Header Fields Too Large", "the request is too long\n".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
            body.len()
        );
        self.write(head.as_bytes())?;
        self.write(body.as_bytes())?;
        self.stream.shutdown(std::net::Shutdown::Write)?;
        // What is left unread would reset the connection, and the answer with it.
        self.read_on(|_, n| n == 0)?;
        Ok(())
    }

    /// The head of the request; `None` if it is too long.
    fn request(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let is_whole = |so_far: &[u8], n| n == 0 || so_far.windows(4).any(|end| end == b"\r\n\r\n");
        Ok(Some(self.read_on(is_whole)?).filter(|request| request.len() < REQUEST_MAX))
    }

    /// Reads until something is reached, at most as long as a request may be.
    fn read_on(&mut self, is_enough: impl Fn(&[u8], usize) -> bool) -> std::io::Result<Vec<u8>> {
        let mut so_far = vec![0; REQUEST_MAX];
        let mut end = 0;
        loop {
            self.stream.set_read_timeout(Some(self.left()?))?;
            let n = self.stream.read(&mut so_far[end..])?;
            end += n;
            if is_enough(&so_far[..end], n) || end == REQUEST_MAX {
                so_far.truncate(end);
                return Ok(so_far);
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            let n = self.stream.write(bytes)?;
            if n == 0 {
                return Err(IoKind::WriteZero.into());
            }
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn left(&self) -> std::io::Result<Duration> {
        let left_us = self.until_us.saturating_sub(self.clock.now_us());
        if left_us == 0 { Err(IoKind::TimedOut.into()) } else { Ok(Duration::from_micros(left_us)) }
    }
}

/// The method and the path of a request's first line.
fn target(request: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(request.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_right = words.next().is_none() && version.starts_with("HTTP/1.") && target.starts_with('/');
    is_right.then(|| (method, target.split('?').next().unwrap_or(target)))
}

fn answer(method: &str, path: &str, page: &Page) -> (&'static str, String) {
    match (method, path) {
        ("GET", "/metrics") => ("200 OK", page()),
        ("GET", "/healthz") => ("200 OK", "ok\n".to_owned()),
        ("GET", _) => ("404 Not Found", "there is /metrics, and /healthz\n".to_owned()),
        _ => ("405 Method Not Allowed", "there is GET alone\n".to_owned()),
    }
}
