//! `multipart/x-mixed-replace`, as cameras write it: one picture after the other, in one answer.
//!
//! Invariants: what comes out does not depend on how the bytes were split on their way; memory is bounded by
//! [`PART_BYTES_MAX`] and what was pushed last, whatever is pushed.

use std::str;

/// The largest part, in bytes: far beyond any 8K JPEG.
pub(super) const PART_BYTES_MAX: usize = 32 << 20;
/// What the headers of a part may take, in bytes.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// What may stand between two parts, in bytes.
const BETWEEN_BYTES_MAX: usize = 64 << 10;
/// The longest boundary, in bytes; the standard allows 70.
const BOUNDARY_BYTES_MAX: usize = 200;

/// Takes an answer apart as it comes.
#[derive(Debug)]
pub(super) struct Parts {
    boundary: Vec<u8>,
    buffer: Vec<u8>,
    /// How much of the buffer is done with.
    at: usize,
    /// How far the body was searched for its end, from `at`.
    searched: usize,
    /// How much of the headers, or of what is between parts, has passed.
    passed: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Between,
    Headers { length: Option<usize>, is_picture: bool },
    Body { length: Option<usize>, is_picture: bool },
}

/// Headers before any was read: what says nothing is taken for a picture.
const FRESH: State = State::Headers { length: None, is_picture: true };

impl Parts {
    /// By the answer's content type; says what is wrong with it.
    pub(super) fn new(content_type: &str) -> Result<Self, String> {
        let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
            return Err(format!("the answer is {:?}, and no multipart/x-mixed-replace", kind.trim()));
        }
        let named = |parameter: &str| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
        };
        let boundary = parameters.split(';').find_map(named).unwrap_or_default();
        // Some name it with the dashes that belong in front of it, and write these twice or once.
        let bare = boundary.trim_start_matches("--");
        if bare.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
            return Err(format!("the content type {content_type:?} names no boundary that can be"));
        }
        let (buffer, boundary) = (Vec::new(), bare.as_bytes().to_vec());
        Ok(Self { boundary, buffer, at: 0, searched: 0, passed: 0, state: State::Between })
    }

    /// Takes bytes in as they come. To be called once [`Parts::next`] has nothing more.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next part that may be a picture, if it is there; or what is wrong.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let went_on = match self.state {
                State::Between => self.between()?,
                State::Headers { length, is_picture } => self.header(length, is_picture)?,
                State::Body { length, is_picture } => match self.body(length)? {
                    Some(body) if is_picture && !body.is_empty() => return Ok(Some(body)),
                    body => body.is_some(),
                },
            };
            if !went_on {
                return Ok(None);
            }
        }
    }

    fn between(&mut self) -> Result<bool, String> {
        let Some(line) = self.line(BETWEEN_BYTES_MAX, "no boundary where one should be")? else {
            return Ok(false);
        };
        if self.is_boundary(&line) {
            self.enter(FRESH);
        }
        Ok(true)
    }

    fn header(&mut self, length: Option<usize>, is_picture: bool) -> Result<bool, String> {
        let Some(line) = self.line(HEADER_BYTES_MAX, "a part's headers have no end")? else {
            return Ok(false);
        };
        if line.is_empty() {
            self.enter(State::Body { length, is_picture });
            return Ok(true);
        }
        let (name, value) = str::from_utf8(&line).ok().and_then(|l| l.split_once(':')).unwrap_or_default();
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        self.state = match name.as_str() {
            "content-length" => match value.parse() {
                Ok(bytes) if bytes <= PART_BYTES_MAX => State::Headers { length: Some(bytes), is_picture },
                _ => return Err(format!("a part of {value:?} bytes, where {PART_BYTES_MAX} are the most")),
            },
            "content-type" => {
                State::Headers { length, is_picture: value.to_ascii_lowercase().starts_with("image/") }
            }
            _ => self.state,
        };
        Ok(true)
    }

    fn body(&mut self, length: Option<usize>) -> Result<Option<Vec<u8>>, String> {
        let end = match length {
            Some(bytes) => Some((bytes, bytes)).filter(|_| self.rest().len() >= bytes),
            None => self.end_of_body()?,
        };
        let Some((bytes, next)) = end else { return Ok(None) };
        let body = self.rest()[..bytes].to_vec();
        self.at += next;
        self.enter(State::Between);
        Ok(Some(body))
    }

    /// Where a body of unknown length ends, and where the line of the next boundary begins.
    fn end_of_body(&mut self) -> Result<Option<(usize, usize)>, String> {
        let rest = &self.buffer[self.at..];
        while let Some(feed) = rest[self.searched..].iter().position(|b| *b == b'\n') {
            let feed = self.searched + feed;
            let line = &rest[feed + 1..];
            let Some(line) = first_line(line, self.boundary.len() + BOUNDARY_BYTES_MAX) else {
                // Whether this is the end is not yet to be seen.
                self.searched = feed;
                break;
            };
            if self.is_boundary(line) {
                let bytes = feed - usize::from(rest[..feed].ends_with(b"\r"));
                return if bytes <= PART_BYTES_MAX { Ok(Some((bytes, feed + 1))) } else { Err(endless()) };
            }
            self.searched = feed + 1;
        }
        if !rest[self.searched..].contains(&b'\n') {
            self.searched = rest.len();
        }
        if rest.len() > PART_BYTES_MAX + 2 * BOUNDARY_BYTES_MAX {
            return Err(endless());
        }
        Ok(None)
    }

    fn is_boundary(&self, line: &[u8]) -> bool {
        let line = line.trim_ascii_end();
        let line = line.strip_prefix(b"--").map(|line| line.strip_prefix(b"--").unwrap_or(line));
        // With dashes behind it, it ends the answer; some cameras go on all the same.
        line.is_some_and(|line| line == self.boundary || line.strip_suffix(b"--") == Some(&self.boundary))
    }

    /// The next line, without its end; an error once more than `bytes_max` have passed in this state.
    fn line(&mut self, bytes_max: usize, why: &str) -> Result<Option<Vec<u8>>, String> {
        let end = self.rest().iter().take(bytes_max).position(|b| *b == b'\n');
        let bytes = end.map_or(self.rest().len(), |end| end + 1);
        if self.passed + bytes > bytes_max {
            return Err(format!("{why}, within {bytes_max} bytes"));
        }
        let Some(end) = end else { return Ok(None) };
        let line = self.rest()[..end].trim_ascii_end().to_vec();
        self.at += end + 1;
        self.passed += end + 1;
        Ok(Some(line))
    }

    fn enter(&mut self, state: State) {
        (self.state, self.searched, self.passed) = (state, 0, 0);
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }
}

fn endless() -> String {
    format!("a part has no end within {PART_BYTES_MAX} bytes")
}

/// The first line without its end, once that can be told: `bytes_max` bytes without an end are one too.
fn first_line(bytes: &[u8], bytes_max: usize) -> Option<&[u8]> {
    match bytes.iter().take(bytes_max).position(|b| *b == b'\n') {
        Some(end) => Some(&bytes[..end]),
        None => bytes.get(..bytes_max),
    }
}

#[cfg(test)]
mod tests {
    use super::{BETWEEN_BYTES_MAX, HEADER_BYTES_MAX, PART_BYTES_MAX, Parts};
    use crate::source::testing::Random;

    /// All parts of a stream that comes in pieces of these lengths, again and again; and what was wrong.
    fn parts(content_type: &str, stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Option<String>) {
        let mut parser = Parts::new(content_type).expect(content_type);
        let mut found = Vec::new();
        let mut rest = stream;
        for piece in pieces.iter().cycle() {
            loop {
                match parser.next() {
                    Ok(Some(part)) => found.push(part),
                    Ok(None) => break,
                    Err(why) => return (found, Some(why)),
                }
            }
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).clamp(1, rest.len()));
            parser.push(now);
            rest = later;
        }
        (found, None)
    }

    fn check(content_type: &str, stream: &str, expected: &[&str]) {
        for pieces in [&[usize::MAX][..], &[1], &[7, 2]] {
            let (found, wrong) = parts(content_type, stream.as_bytes(), pieces);
            let found: Vec<_> = found.iter().map(|part| String::from_utf8_lossy(part)).collect();
            assert_eq!((found, wrong), (expected.iter().map(|e| (*e).into()).collect(), None), "{stream:?}");
        }
    }

    const KIND: &str = "multipart/x-mixed-replace; boundary=cut";

    #[test]
    fn reads_what_cameras_write() {
        let both =
            "--cut\r\nContent-Length: 3\r\n\r\none\r\n--cut\r\ncontent-length:3\r\n\r\ntwo\r\n--cut--\r\n";
        for kind in [
            KIND,
            "Multipart/X-Mixed-Replace;charset=x;Boundary=\"cut\"",
            "multipart/x-mixed-replace;boundary=--cut",
        ] {
            check(kind, both, &["one", "two"]);
        }
        check(KIND, &both.replace("\r\n", "\n"), &["one", "two"]);
        check(KIND, &both.replace("--cut", "----cut"), &["one", "two"]);
        check(
            KIND,
            &both.replace("Content-Length: 3\r\n", "").replace("content-length:3\r\n", ""),
            &["one", "two"],
        );
        check(KIND, &format!("a preamble\r\n\r\n--cutlet\r\n{both}"), &["one", "two"]);
        // Without a length, a body may hold what only looks like its end.
        check(KIND, "--cut\n\n\r\na\r\n--cutlet\n--cu\r\n\r\n--cut\n", &["\r\na\r\n--cutlet\n--cu\r\n"]);
        // With one, even the end itself.
        check(KIND, "--cut\r\nContent-Length: 9\r\n\r\n\r\n--cut\r\n--cut\r\n", &["\r\n--cut\r\n"]);
        // What is empty or says that it is no picture is none.
        check(
            KIND,
            "--cut\n\n\n--cut\nContent-Type: text/plain\n\nx\n--cut\nContent-Type: image/jpeg\n\ny\n--cut\n",
            &["y"],
        );
        check(KIND, "--cut\r\nContent-Length: 4\r\n\r\nyes", &[]);
    }

    #[test]
    fn error_what_is_no_stream_of_parts() {
        for (kind, why) in [
            ("", "no multipart"),
            ("text/html; charset=utf-8", "\"text/html\""),
            ("multipart/x-mixed-replace", "names no boundary"),
            ("multipart/x-mixed-replace; boundary=\"\"", "names no boundary"),
            ("multipart/x-mixed-replace; boundary=--", "names no boundary"),
        ] {
            let error = Parts::new(kind).expect_err(kind);
            assert!(error.contains(why), "{error}");
        }
        let wrong = |stream: &[u8]| parts(KIND, stream, &[65_536, 1]).1.unwrap_or_default();
        let said = wrong(format!("--cut\r\nContent-Length: {}\r\n\r\n", PART_BYTES_MAX + 1).as_bytes());
        assert!(said.contains("are the most"), "{said}");
        assert!(wrong(b"--cut\r\nContent-Length: -1\r\n\r\n").contains("a part of \"-1\" bytes"));
        let said = wrong(&[b"--cut\r\n", &vec![b'x'; HEADER_BYTES_MAX + 1][..]].concat());
        assert!(said.contains("headers have no end"), "{said}");
        let said = wrong(&b"x\n".repeat(BETWEEN_BYTES_MAX));
        assert!(said.contains("no boundary"), "{said}");
        let said = wrong(&[b"--cut\n\n", &vec![b'\n'; PART_BYTES_MAX + 65_536][..]].concat());
        assert!(said.contains("has no end"), "{said}");
    }

    /// The dull twin: what was put into the stream.
    #[test]
    fn any_stream_in_any_pieces_gives_what_was_put_in() {
        let random = &mut Random(16);
        for round in 0..300 {
            let end = ["\r\n", "\n"][random.below(2)];
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for _ in 0..random.below(5) {
                let length = 1 + random.below(3_000);
                let mut body = random.bytes(length);
                // Enough of what its end is made of to be taken for it.
                for _ in 0..random.below(6) {
                    let at = random.below(body.len());
                    let like = [&b"\n--cu"[..], b"\r\n--", b"\n--cut!", b"\r\n\r\n"][random.below(4)];
                    body.splice(at..at, like.iter().copied());
                }
                // Two of these can come together to a true end.
                let ends = body.windows(4).any(|w| w.starts_with(b"cut") && w[3].is_ascii_whitespace());
                let length = ends || random.below(2) == 0;
                // Whether a line end in front of the boundary is the body's cannot be told.
                body.push(b'.');
                let head =
                    if length { format!("Content-Length: {}{end}", body.len()) } else { String::new() };
                stream.extend(format!("--cut{end}X: y{end}{head}{end}").bytes());
                stream.extend(&body);
                stream.extend(end.bytes());
                expected.push(body);
            }
            stream.extend(format!("--cut{end}").bytes());
            let pieces: Vec<usize> = (0..20).map(|_| 1 + random.below(700)).collect();
            assert!(parts(KIND, &stream, &pieces) == (expected, None), "round {round}");
        }
    }

    #[test]
    fn garbage_gives_the_same_in_any_pieces_and_never_panics() {
        let random = &mut Random(17);
        let words: [&[u8]; 9] = [
            b"--cut",
            b"\r\n",
            b"\n",
            b"Content-Length: ",
            b"12",
            b"99999999999999999999",
            b"--",
            b": ",
            b"\xff\xd8",
        ];
        for round in 0..2_000 {
            let mut stream = Vec::new();
            for _ in 0..random.below(60) {
                let noise = random.bytes(3);
                stream.extend_from_slice([words[random.below(words.len())], &noise][random.below(4) / 3]);
            }
            let whole = parts(KIND, &stream, &[usize::MAX]);
            let pieces: Vec<usize> = (0..10).map(|_| 1 + random.below(9)).collect();
            assert_eq!(parts(KIND, &stream, &pieces), whole, "round {round}");
        }
    }
}
