//! Members that prove who they are, and those who cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::error::ErrorKind;
use crate::net::zenoh::tests::{Heard, PATIENCE, free, line, refused, settings};
use crate::net::zenoh::{Settings, Zenoh};

/// Somebody who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A folder for a member: its own certificate and key, and an authority that it trusts.
    fn folder(&self, trusts: &Self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        write(folder.path(), "ca.pem", &trusts.0.pem());
        write(folder.path(), "cert.pem", &cert.pem());
        write(folder.path(), "key.pem", &key.serialize_pem());
        folder
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn with(tls: &TempDir, settings: Settings) -> Settings {
    Settings { tls: Some(tls.path().to_owned()), ..settings }
}

/// How long somebody stands before a closed door.
const SHORT: Duration = Duration::from_secs(1);

#[test]
fn members_with_certificates_of_one_authority_meet() {
    let authority = Authority::new();
    let folders = [authority.folder(&authority), authority.folder(&authority)];
    let hub = free();
    let a = Zenoh::open(&with(&folders[0], settings("a", 1, &[hub], &[]))).unwrap();
    let b = Zenoh::open(&with(&folders[1], settings("b", 1, &[], &[hub]))).unwrap();
    Heard::at(&b, a.me(), "x").gets(&*line(&a, b.me(), "x"), "to b");
    Heard::at(&a, b.me(), "x").gets(&*line(&b, a.me(), "x"), "to a");
}

#[test]
fn error_strangers_are_not_let_in() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let hub = free();
    let folder = ours.folder(&ours);
    let a = Zenoh::open(&with(&folder, settings("a", 1, &[hub], &[]))).unwrap();
    let (told, presences) = crossbeam::channel::unbounded();
    let _watching = a.watch(Arc::new(move |presence| told.send(presence).unwrap())).unwrap();
    assert_eq!(presences.recv_timeout(PATIENCE).unwrap().member, *a.me());
    let patience = Some(SHORT);
    // One who believes in ours but shows another's, one who believes in another, and one without any.
    for folder in [theirs.folder(&ours), theirs.folder(&theirs), ours.folder(&theirs)] {
        let stranger = with(&folder, Settings { patience, ..settings("stranger", 1, &[], &[hub]) });
        refused(Zenoh::open(&stranger), ErrorKind::Unavailable, &[&hub.to_string(), "certificates"]);
    }
    let in_the_clear = Settings { patience, ..settings("clear", 1, &[], &[hub]) };
    refused(Zenoh::open(&in_the_clear), ErrorKind::Unavailable, &[&hub.to_string()]);
    assert!(presences.is_empty(), "nobody was seen inside");
    let friend = ours.folder(&ours);
    let b = Zenoh::open(&with(&friend, settings("b", 1, &[], &[hub]))).unwrap();
    Heard::at(&a, b.me(), "x").gets(&*line(&b, a.me(), "x"), "let in");
}

#[test]
fn error_folders_that_are_not_right_are_refused_by_the_file() {
    let authority = Authority::new();
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        let spoilt = |spoil: &dyn Fn(&Path), kind, word: &str| {
            let folder = authority.folder(&authority);
            let path = folder.path().join(name);
            spoil(&path);
            let outcome = Zenoh::open(&with(&folder, settings("a", 1, &[free()], &[])));
            refused(outcome, kind, &[&path.display().to_string(), word]);
        };
        spoilt(&|path| fs::remove_file(path).unwrap(), ErrorKind::NotFound, "there is no");
        spoilt(&|path| fs::write(path, "").unwrap(), ErrorKind::Corrupt, "holds no");
        spoilt(&|path| fs::write(path, [0xff; 9]).unwrap(), ErrorKind::Corrupt, "not a PEM file");
        let begun = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAAAA";
        spoilt(&|path| fs::write(path, begun).unwrap(), ErrorKind::Corrupt, "holds no");
    }
    let folder = authority.folder(&authority);
    let key = folder.path().join("key.pem");
    for mode in [0o644, 0o640, 0o602] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let outcome = Zenoh::open(&with(&folder, settings("a", 1, &[free()], &[])));
        refused(outcome, ErrorKind::Invalid, &["key.pem", &format!("{mode:o}"), "chmod 600"]);
    }
}
