//! Addresses of cameras, which hold passwords.
//!
//! Invariant: what is shown of an address (`Display`, `Debug`, [`redacted`]) holds neither user nor
//! password, nor anything behind a `?` or `=`, where some cameras want them.

use std::borrow::Cow;
use std::fmt;

use jellybean_engine::{Error, ErrorKind, Result};

/// The longest address, in bytes: far beyond real ones.
const BYTES_MAX: usize = 2_048;
/// What stands for what must not be shown.
const HIDDEN: &str = "***";

/// The address of a camera, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    text: String,
    /// Before the `://`, in lower case.
    pub(crate) scheme: String,
    /// User and password, percent-decoded.
    pub(crate) credentials: Option<(Vec<u8>, Vec<u8>)>,
    /// Without the brackets of IPv6.
    pub(crate) host: String,
    /// Where it is named.
    pub(crate) port: Option<u16>,
    /// Path and query, from the `/` on; without a fragment.
    pub(crate) target: String,
}

impl Url {
    /// Takes an address apart; says what is wrong with it, but not what it is.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Invalid, format!("the address {:?} {why}", shown(text)))
                .way_out("give one like rtsp://user:password@10.0.0.5:554/stream")
        };
        if text.len() > BYTES_MAX {
            return Err(wrong("is longer than an address can be"));
        }
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(wrong("holds a space or a control character; write them as %20 and so on"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("has no scheme such as rtsp://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        // A password may hold such characters, though it should not.
        let at = rest.rfind('@').filter(|at| *at < end || !rest[end..*at].contains('/')).map(|at| at + 1);
        let (credentials, rest) = rest.split_at(at.unwrap_or(0));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) =
            host_and_port(authority).ok_or_else(|| wrong("has no host, or a port that is none"))?;
        let target = target.split('#').next().unwrap_or_default();
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let credentials = credentials.strip_suffix('@').map(|both| {
            let (user, password) = both.split_once(':').unwrap_or((both, ""));
            (decoded(user), decoded(password))
        });
        let (text, scheme) = (text.to_owned(), scheme.to_ascii_lowercase());
        Ok(Self { text, scheme, credentials, host: host.to_owned(), port, target })
    }

    /// All of it: not to be shown.
    pub(crate) fn secret(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.text))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What may be shown of something that should be an address, and may be none.
pub(crate) fn shown(address: &str) -> String {
    let known = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    match address.split_once("://") {
        Some((scheme, rest)) if scheme.chars().all(known) => {
            let mut result = format!("{scheme}://");
            redact_address(rest, &mut result);
            result
        }
        None if !address.contains(['@', '?', '=']) => address.to_owned(),
        _ => HIDDEN.to_owned(),
    }
}

/// A text without the secrets of the addresses in it. Of one that was `cut` off, the last address may have
/// lost the `@` by which its beginning is known for a secret, so it is hidden as a whole.
pub(crate) fn redacted(text: &str, cut: bool) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://").map(|colon| colon + 3) {
        let (before, after) = rest.split_at(start);
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let (address, after) = after.split_at(end);
        result += before;
        if cut && after.is_empty() {
            result += HIDDEN;
        } else {
            redact_address(address, &mut result);
        }
        rest = after;
    }
    Cow::Owned(result + rest)
}

fn redact_address(address: &str, result: &mut String) {
    let (secret, place) = address.rsplit_once('@').map_or((None, address), |(s, place)| (Some(s), place));
    if secret.is_some() {
        *result += HIDDEN;
        result.push('@');
    }
    let end = place.find(['?', '=', '&', ';']).unwrap_or(place.len());
    *result += &place[..end];
    if end < place.len() {
        *result += HIDDEN;
    }
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
        None => None,
    };
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    (!host.is_empty() && host.chars().all(known)).then_some((host, port))
}

/// `%40` is `@`; what is no such code stays.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match code.filter(|c| !c.starts_with('+')).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Url, redacted, shown};

    fn parts(text: &str) -> (String, Option<(String, String)>, String, Option<u16>, String) {
        let Url { scheme, credentials, host, port, target, .. } = Url::parse(text).expect(text);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (scheme, credentials.map(|(u, p)| (text(u), text(p))), host, port, target)
    }

    #[test]
    fn takes_addresses_apart() {
        let own = |u: &str, p: &str| Some((u.to_owned(), p.to_owned()));
        for (text, scheme, credentials, host, port, target) in [
            ("rtsp://10.0.0.5/a/b?c=d", "rtsp", None, "10.0.0.5", None, "/a/b?c=d"),
            (
                "RTSP://me:s%40c%2Fret%@cam.example:8554/x#y",
                "rtsp",
                own("me", "s@c/ret%"),
                "cam.example",
                Some(8554),
                "/x",
            ),
            ("http://me@[::1]:80?q", "http", own("me", ""), "::1", Some(80), "/?q"),
            ("http://u:p@ss@host/", "http", own("u", "p@ss"), "host", None, "/"),
            ("http://host/path@2x/a", "http", None, "host", None, "/path@2x/a"),
        ] {
            let expected = (scheme.to_owned(), credentials, host.to_owned(), port, target.to_owned());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn error_what_is_no_address() {
        for (text, why) in [
            ("me:secret@host", "has no scheme"),
            ("rtsp://me:secret@", "has no host"),
            ("rtsp://me:secret@host:0/", "a port that is none"),
            ("rtsp://me:secret@host:99999/", "a port that is none"),
            ("rtsp://me:secret@ho'st/", "has no host"),
            ("rtsp://me:sec ret@host/", "a space or a control character"),
            ("rtsp://me:secret@host/\r\nx: y", "a space or a control character"),
            (&format!("rtsp://me:secret@host/{}", "x".repeat(4_000)), "longer than"),
        ] {
            let error = Url::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("secret") && !error.contains("sec ret"), "{error}");
        }
    }

    #[test]
    fn shows_no_secret() {
        let check = |text: &str, cut, expected: &str| assert_eq!(redacted(text, cut), expected);
        check("no address: a@b?c=d", false, "no address: a@b?c=d");
        check("'rtsp://me:secret@host:1/a': refused", false, "'rtsp://***@host:1/a': refused");
        check("x rtsp://u:p@h/a http://v:q@i?user=x y", false, "x rtsp://***@h/a http://***@i*** y");
        check("rtsp://h/user=me&password=secret", false, "rtsp://h/user***");
        check("rtsp://u:p'\"@/x@h/a", false, "rtsp://***@h/a");
        check("opening rtsp://me:secr", true, "opening rtsp://***");
        check("rtsp://h/a was opened", true, "rtsp://h/a was opened");
        let url = Url::parse("rtsp://me:secret@host/a?token=1").expect("an address");
        assert_eq!(format!("{url} {url:?}"), "rtsp://***@host/a*** rtsp://***@host/a***");
        assert_eq!(shown("me:secret@host"), "***");
        assert_eq!(shown("me:secret@http://host"), "***");
        assert_eq!(shown("rtsp://me:sec ret@ho st/"), "rtsp://***@ho st/");
        assert_eq!(shown("road:7"), "road:7");
    }
}
