//! The certificates of a member: who shows none of the same authority is not let in, on either side.
//!
//! Files are looked at before a session is opened: what zenoh says of a bad one does not name it.

#[cfg(test)]
mod tests;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// The largest file that is read: a chain of certificates is a few KB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What others than the owner may not do with a private key: anything.
const OTHERS: u32 = 0o077;
const WAY_OUT: &str = "the folder needs ca.pem, cert.pem and key.pem";

/// What zenoh is to be told so that both sides prove who they are, by a folder with `ca.pem`, `cert.pem` and `key.pem`.
///
/// # Errors
/// `NotFound` if a file is not there, `Corrupt` if it does not hold what it should, `Invalid` if others can read
/// the key; each names the file.
pub(super) fn entries(folder: &Path) -> Result<Vec<(&'static str, String)>> {
    let ca = file(folder, "ca.pem", "CERTIFICATE")?;
    let cert = file(folder, "cert.pem", "CERTIFICATE")?;
    let key = file(folder, "key.pem", "PRIVATE KEY")?;
    check_private(&folder.join("key.pem"))?;
    Ok(vec![
        ("transport/link/tls/root_ca_certificate", ca),
        ("transport/link/tls/listen_private_key", key.clone()),
        ("transport/link/tls/listen_certificate", cert.clone()),
        ("transport/link/tls/connect_private_key", key),
        ("transport/link/tls/connect_certificate", cert),
        ("transport/link/tls/enable_mtls", "true".to_owned()),
        ("transport/link/tls/verify_name_on_connect", "true".to_owned()),
        // A certificate that runs out must not let its owner stay.
        ("transport/link/tls/close_link_on_expiration", "true".to_owned()),
    ])
}

/// The path as JSON, once the file is seen to hold a PEM block of this kind.
fn file(folder: &Path, name: &str, kind: &str) -> Result<String> {
    let path = folder.join(name);
    let mut text = String::new();
    let read = fs::File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    if let Err(cause) = read {
        let (problem, what) = match cause.kind() {
            std::io::ErrorKind::NotFound => (ErrorKind::NotFound, "there is no"),
            std::io::ErrorKind::InvalidData => (ErrorKind::Corrupt, "this is not a PEM file:"),
            _ => (ErrorKind::Unavailable, "cannot read"),
        };
        return Err(Error::new(problem, format!("{what} {}", path.display()))
            .because(cause)
            .way_out(WAY_OUT));
    }
    if !has_block(&text, kind) {
        let message = format!("{} holds no {}", path.display(), kind.to_lowercase());
        return Err(Error::new(ErrorKind::Corrupt, message).way_out(WAY_OUT));
    }
    let not_unicode = || Error::new(ErrorKind::Invalid, format!("{} is no Unicode path", path.display()));
    // A string always has a JSON form.
    path.to_str().map(|path| serde_json::Value::from(path).to_string()).ok_or_else(not_unicode)
}

/// Whether a PEM block begins and ends whose label ends so: keys come as `PRIVATE KEY`, `EC PRIVATE KEY` and others.
fn has_block(text: &str, kind: &str) -> bool {
    let is_mark = |line: &str, mark: &str| {
        let label = line.trim_end().strip_prefix(mark).and_then(|rest| rest.strip_suffix("-----"));
        label.is_some_and(|label| label.ends_with(kind))
    };
    let mut lines = text.lines();
    lines.any(|line| is_mark(line, "-----BEGIN ")) && lines.any(|line| is_mark(line, "-----END "))
}

fn check_private(key: &Path) -> Result<()> {
    let failed = |cause| {
        Error::new(ErrorKind::Unavailable, format!("cannot look at {}", key.display())).because(cause)
    };
    let mode = fs::metadata(key).map_err(failed)?.permissions().mode();
    if mode & OTHERS != 0 {
        let message = format!("others than its owner can use {} (mode {:o})", key.display(), mode & 0o777);
        return Err(Error::new(ErrorKind::Invalid, message).way_out(format!("chmod 600 {}", key.display())));
    }
    Ok(())
}
