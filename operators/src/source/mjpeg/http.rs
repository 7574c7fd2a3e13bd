//! As much of HTTP/1.1 as a camera needs: one request, one endless answer.
//!
//! Invariants: no wait is longer than the patience given, by the injected clock; a head is bounded before it
//! is read, and what an answer says of itself allocates nothing.

use std::fmt::Write as _;
use std::io::{ErrorKind as IoErrorKind, Read, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use jellybean_engine::{Clock, Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::source::halt::Halt;
use crate::url::Url;

/// How long one address of a camera may take to accept a connection. A stop waits for it.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 4;
/// How long a wait for the camera lasts before the clock is looked at again.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What is read at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// An answer, of which the head has been read.
pub(super) struct Answer {
    /// Its content type as it came; empty where there is none.
    pub(super) content_type: String,
    connection: Connection,
    chunks: Option<Chunks>,
    /// Of the body, what came with the head.
    early: Vec<u8>,
}

/// Asks for what stands at an address.
pub(super) fn get(url: &Url, patience: Duration, clock: &Clock, halt: &Halt) -> Result<Answer> {
    let mut connection = Connection::open(url, patience, clock, halt)?;
    connection.send(&request(url))?;
    let since_ms = clock.now_ms();
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = end_of_head(&bytes) {
            let early = bytes.split_off(end);
            return Answer::new(&String::from_utf8_lossy(&bytes), early, connection);
        }
        if bytes.len() > HEAD_BYTES_MAX {
            let message = format!("the head of its answer has no end within {HEAD_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if !connection.read(since_ms, &mut bytes)? {
            return Err(Error::new(ErrorKind::Unavailable, "it closed the connection without an answer"));
        }
    }
}

impl Answer {
    fn new(head: &str, early: Vec<u8>, connection: Connection) -> Result<Self> {
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        let code = status.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).unwrap_or_default();
        let corrupt = |what: &str| Error::new(ErrorKind::Corrupt, format!("{what}: {:?}", short(status)));
        match code {
            "200" => {}
            "401" | "403" => {
                let message = format!("it wants another user or password, and answers {code}");
                return Err(Error::new(ErrorKind::Unavailable, message).way_out(
                    "give them in the address; a camera that wants digest authentication is read by `Camera`",
                ));
            }
            "301" | "302" | "303" | "307" | "308" => {
                return Err(
                    corrupt("it sends us elsewhere").way_out("give the address where it sends browsers")
                );
            }
            _ => return Err(corrupt("it does not answer with a stream")),
        }
        let header = |wanted: &str| {
            let matching = |line: &str| {
                let (name, value) = line.split_once(':')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
            };
            head.lines().find_map(matching).unwrap_or_default()
        };
        let chunks = match header("transfer-encoding").to_ascii_lowercase().as_str() {
            "" | "identity" => None,
            "chunked" => Some(Chunks::default()),
            other => return Err(corrupt(&format!("it sends its answer as {:?}", short(other)))),
        };
        Ok(Self { content_type: short(&header("content-type")).to_owned(), connection, chunks, early })
    }

    /// Appends some of the body to `bytes`; false at its end. The wait began at `since_ms`.
    pub(super) fn read(&mut self, since_ms: u64, bytes: &mut Vec<u8>) -> Result<bool> {
        let mut raw = std::mem::take(&mut self.early);
        if raw.is_empty() && !self.connection.read(since_ms, &mut raw)? {
            return Ok(false);
        }
        match &mut self.chunks {
            None => bytes.append(&mut raw),
            Some(chunks) => {
                let going_on =
                    chunks.decode(&raw, bytes).map_err(|why| Error::new(ErrorKind::Corrupt, why))?;
                return Ok(going_on || !bytes.is_empty());
            }
        }
        Ok(true)
    }
}

fn request(url: &Url) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let mut request = format!("GET {} HTTP/1.1\r\nHost: {host}", url.target);
    let mut add = |text: std::fmt::Arguments<'_>| request.write_fmt(text).expect("a string takes it");
    if let Some(port) = url.port {
        add(format_args!(":{port}"));
    }
    add(format_args!("\r\nUser-Agent: jellybean\r\nAccept: multipart/x-mixed-replace, image/jpeg\r\n"));
    if let Some((user, password)) = &url.credentials {
        add(format_args!("Authorization: Basic {}\r\n", base64(&[user, &b":"[..], password].concat())));
    }
    add(format_args!("Connection: close\r\n\r\n"));
    request
}

/// Behind the first empty line, whichever line ends are used.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let ends =
        |end: &[u8]| bytes.windows(end.len()).position(|window| window == end).map(|at| at + end.len());
    ends(b"\r\n\r\n").into_iter().chain(ends(b"\n\n")).min()
}

/// Enough of a text for a message.
fn short(text: &str) -> &str {
    let end = text.char_indices().nth(400).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit > three.len() { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

/// A socket that no read waits for longer than the patience.
struct Connection {
    socket: Arc<TcpStream>,
    patience: Duration,
    clock: Clock,
}

impl Connection {
    fn open(url: &Url, patience: Duration, clock: &Clock, halt: &Halt) -> Result<Self> {
        let out_of_reach = |e| Error::new(ErrorKind::Unavailable, "it cannot be reached").because(e);
        let port = url.port.unwrap_or(80);
        let addresses = (url.host.as_str(), port).to_socket_addrs().map_err(out_of_reach)?;
        let mut last = std::io::Error::from(IoErrorKind::AddrNotAvailable);
        for address in addresses.take(ADDRESSES_MAX) {
            match TcpStream::connect_timeout(&address, CONNECT_MAX) {
                Ok(socket) => {
                    let socket = Arc::new(socket);
                    let held = socket.clone();
                    // A socket that the camera has closed meanwhile refuses, and needs no stopping.
                    halt.holds(Arc::new(move || _ = held.shutdown(Shutdown::Both)));
                    return Ok(Self { socket, patience, clock: clock.clone() });
                }
                Err(error) => last = error,
            }
            if halt.is_called() {
                break;
            }
        }
        Err(out_of_reach(last))
    }

    /// Sends a request, which fits into the empty buffer of a new socket whole.
    fn send(&mut self, request: &str) -> Result<()> {
        (&*self.socket).write_all(request.as_bytes()).map_err(lost_touch)?;
        self.socket.set_nonblocking(true).map_err(lost_touch)
    }

    /// Appends what there is to `bytes`, at least one byte; false at the end.
    fn read(&mut self, since_ms: u64, bytes: &mut Vec<u8>) -> Result<bool> {
        let start = bytes.len();
        bytes.resize(start + READ_BYTES, 0);
        loop {
            let outcome = (&*self.socket).read(&mut bytes[start..]);
            if let Ok(fresh) = outcome {
                bytes.truncate(start + fresh);
                return Ok(fresh > 0);
            }
            let outcome = match outcome.map_err(|e| (e.kind(), e)) {
                Err((IoErrorKind::WouldBlock, _)) => self.wait(since_ms),
                Err((IoErrorKind::Interrupted, _)) | Ok(_) => Ok(()),
                Err((_, error)) => Err(lost_touch(error)),
            };
            if let Err(error) = outcome {
                bytes.truncate(start);
                return Err(error);
            }
        }
    }

    fn wait(&self, since_ms: u64) -> Result<()> {
        let waited = Duration::from_millis(self.clock.now_ms().saturating_sub(since_ms));
        if waited >= self.patience {
            let message = format!("it has sent no picture for {} s", waited.as_secs());
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        match poll(&mut [PollFd::new(&*self.socket, PollFlags::IN)], Some(&GLANCE)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(lost_touch(error.into())),
        }
    }
}

fn lost_touch(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to it broke").because(error)
}

/// Takes `Transfer-Encoding: chunked` away.
#[derive(Debug, Default)]
struct Chunks {
    state: Chunk,
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Chunk {
    /// In the line that tells a chunk's size.
    #[default]
    Size,
    /// So many bytes of it are to come.
    Data(u64),
    /// In the line end behind it.
    End,
    /// Behind the last one.
    Over,
}

impl Chunks {
    /// The longest line that tells a size, in bytes; extensions are allowed in it, and not read.
    const LINE_BYTES_MAX: usize = 1_024;

    /// Appends what is in `raw` to `bytes`; false once the last chunk is over.
    fn decode(&mut self, mut raw: &[u8], bytes: &mut Vec<u8>) -> Result<bool, String> {
        while let (Some((&first, rest)), true) = (raw.split_first(), self.state != Chunk::Over) {
            if let Chunk::Data(left) = self.state {
                let here = usize::try_from(left).map_or(raw.len(), |left| left.min(raw.len()));
                bytes.extend_from_slice(&raw[..here]);
                raw = &raw[here..];
                let left = left - here as u64;
                self.state = if left > 0 { Chunk::Data(left) } else { Chunk::End };
                continue;
            }
            raw = rest;
            if first != b'\n' {
                self.line.push(first);
                if self.line.len() > Self::LINE_BYTES_MAX {
                    return Err("a chunk of its answer tells no size".into());
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.state = self.after_line(line.trim_ascii())?;
        }
        Ok(self.state != Chunk::Over)
    }

    fn after_line(&self, line: &[u8]) -> Result<Chunk, String> {
        if self.state == Chunk::End {
            return if line.is_empty() {
                Ok(Chunk::Size)
            } else {
                Err("a chunk of its answer is too long".into())
            };
        }
        let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let known = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).ok().filter(|_| known);
        match text.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            Some(0) => Ok(Chunk::Over),
            Some(size) => Ok(Chunk::Data(size)),
            None => Err("a chunk of its answer tells no size".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunks, base64, request};
    use crate::source::testing::Random;
    use crate::url::Url;

    #[test]
    fn asks_as_browsers_do() {
        let ask = |address: &str| request(&Url::parse(address).expect(address));
        let plain = ask("http://[::1]:8080/a?b=c#d");
        assert!(plain.starts_with("GET /a?b=c HTTP/1.1\r\nHost: [::1]:8080\r\n"), "{plain}");
        assert!(plain.ends_with("Connection: close\r\n\r\n") && !plain.contains("Authorization"), "{plain}");
        let known = ask("http://Aladdin:open%20sesame@host");
        assert!(known.starts_with("GET / HTTP/1.1\r\nHost: host\r\n"), "{known}");
        assert!(known.contains("\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{known}");
    }

    #[test]
    fn base64_as_the_standard_has_it() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(b"\xff\xfe\xfb"), "//77");
    }

    fn decoded(stream: &[u8], random: &mut Random) -> Result<(Vec<u8>, bool), String> {
        let (mut chunks, mut bytes, mut rest, mut going_on) = (Chunks::default(), Vec::new(), stream, true);
        while !rest.is_empty() {
            let (now, later) = rest.split_at((1 + random.below(40)).min(rest.len()));
            going_on = chunks.decode(now, &mut bytes)?;
            rest = later;
        }
        Ok((bytes, going_on))
    }

    /// The dull twin: what was put into the chunks.
    #[test]
    fn any_chunks_in_any_pieces_give_what_was_put_in() {
        let random = &mut Random(18);
        for _ in 0..500 {
            let (mut stream, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..random.below(6) {
                let length = 1 + random.below(300);
                let chunk = random.bytes(length);
                let end = ["\r\n", "\n"][random.below(2)];
                let extension = ["", ";name=value", " "][random.below(3)];
                stream.extend(format!("{:x}{extension}{end}", chunk.len()).bytes());
                stream.extend(chunk.iter().copied().chain(end.bytes()));
                expected.extend(chunk);
            }
            assert_eq!(decoded(&stream, random), Ok((expected.clone(), true)));
            stream.extend(b"0\r\nX: trailer\r\n\r\n");
            assert_eq!(decoded(&stream, random), Ok((expected, false)));
        }
    }

    #[test]
    fn error_what_are_no_chunks() {
        let random = &mut Random(19);
        for (stream, why) in [
            (&b"no size\r\n"[..], "tells no size"),
            (b"\r\n", "tells no size"),
            (b"+5\r\nabcde\r\n", "tells no size"),
            (b"11111111111111111\r\n", "tells no size"),
            (b"3\r\nabcd\r\n", "too long"),
            (&[b'1'; 2_000], "tells no size"),
        ] {
            let error = decoded(stream, random).expect_err("is refused");
            assert!(error.contains(why), "{error}");
        }
        for _ in 0..1_000 {
            let length = random.below(80);
            let noise = random.bytes(length);
            let bytes = decoded(&noise, random).map_or(0, |(bytes, _)| bytes.len());
            assert!(bytes <= noise.len());
        }
    }
}
