//! The network between processes: zenoh sessions with explicit endpoints, and nothing discovered by multicast.
//!
//! Every member has one session, one subscription to all that is sent to it, and a liveliness token. What
//! zenoh promises is not relied on: a put blocks while the other side's buffers are full, so that each peer
//! has a writer's thread of its own behind a bounded queue, and a black hole to one holds up no other.

mod tls;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded};
use zenoh::Wait;
use zenoh::pubsub::Publisher;
use zenoh::qos::{CongestionControl, Reliability};
use zenoh::sample::{Sample, SampleKind};

use super::{Inbox, Line, Listening, Member, Network, Presence, Wake};
use crate::error::{Error, ErrorKind, Result};
use crate::id::is_plain;

/// Messages, and bytes of them, that wait for one peer's writer; what comes beyond is refused.
const WAITING_MAX: usize = 1_024;
const WAITING_BYTES_MAX: usize = 16 << 20;
/// A peer that is silent for so long is not connected any more; what it missed is sent again.
const LEASE_MS: u64 = 1_000;
/// How long two sessions may take to shake hands, four round trips: one that began in a black hole must not keep the
/// next from being tried.
const HANDSHAKE_MS: u64 = 2_000;

/// How a member takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the members of one run, or of several by turns, have in common.
    pub cluster: String,
    /// Who this is.
    pub member: Member,
    /// Where it listens, as `address:port`; beyond loopback only with `tls`.
    pub listen: Vec<SocketAddr>,
    /// Whom it connects to.
    pub connect: Vec<SocketAddr>,
    /// A folder with `ca.pem`, `cert.pem` and `key.pem`: both sides prove who they are.
    pub tls: Option<PathBuf>,
    /// How long to wait for everybody in `connect`; without it they are tried for ever, in the background.
    pub patience: Option<Duration>,
}

/// A member of a cluster, over zenoh.
pub struct Zenoh {
    me: Member,
    cluster: String,
    session: zenoh::Session,
    inboxes: Arc<Inboxes>,
    /// A writer lives as long as a line to its peer does.
    writers: Mutex<HashMap<Member, Weak<Writer>>>,
    _subscriber: zenoh::pubsub::Subscriber<()>,
    _token: zenoh::liveliness::LivelinessToken,
}

/// By from whom, and channel.
type Inboxes = RwLock<HashMap<(Member, String), Inbox>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(what: &str) -> impl FnOnce(zenoh::Error) -> Error + '_ {
    move |cause| Error::new(ErrorKind::Unavailable, what).because(told(&cause))
}

/// What zenoh says, without where in its source it says it.
fn told(cause: &zenoh::Error) -> String {
    let text = cause.to_string();
    text.split(" at /").next().unwrap_or_default().to_owned()
}

impl Zenoh {
    /// Opens the session of a member.
    ///
    /// # Errors
    /// `Invalid` if a name, an address or a certificate is not right; `Unavailable` if a port is taken, or
    /// somebody cannot be reached within the patience.
    pub fn open(settings: &Settings) -> Result<Arc<dyn Network>> {
        let Settings { cluster, member, .. } = settings;
        check_segment("a cluster", cluster)?;
        check_segment("a member", &member.name)?;
        let session = zenoh::open(config(settings)?).wait().map_err(|cause| {
            let connect = addresses(&settings.connect);
            let listen = addresses(&settings.listen);
            let message = match settings.patience {
                Some(patience) if !settings.connect.is_empty() => {
                    format!("cannot listen on [{listen}] or reach [{connect}] within {patience:?}")
                }
                _ => format!("cannot listen on [{listen}]"),
            };
            Error::new(ErrorKind::Unavailable, message)
                .because(told(&cause))
                .way_out("see that the address is free, that the other side runs, and that both use the same certificates")
        })?;
        let inboxes = Arc::new(Inboxes::default());
        let table = inboxes.clone();
        let mine = format!("jellybean/{cluster}/*/*/{}/{}/**", member.name, member.life);
        let subscriber = session
            .declare_subscriber(mine)
            .callback(move |sample| deliver(&table, &sample))
            .wait()
            .map_err(failed("the network does not let this member listen"))?;
        let token = session
            .liveliness()
            .declare_token(format!("jellybean-here/{cluster}/{}/{}", member.name, member.life))
            .wait()
            .map_err(failed("the network does not let this member show itself"))?;
        Ok(Arc::new(Self {
            me: member.clone(),
            cluster: cluster.clone(),
            session,
            inboxes,
            writers: Mutex::default(),
            _subscriber: subscriber,
            _token: token,
        }))
    }

    fn writer(&self, to: &Member) -> Result<Arc<Writer>> {
        let mut writers = lock(&self.writers);
        if let Some(writer) = writers.get(to).and_then(Weak::upgrade) {
            return Ok(writer);
        }
        writers.retain(|_, writer| writer.strong_count() > 0);
        let writer = Writer::start(to)?;
        writers.insert(to.clone(), Arc::downgrade(&writer));
        Ok(writer)
    }
}

fn check_segment(what: &str, name: &str) -> Result<()> {
    if !is_plain(name) {
        let message = format!("{what} cannot be called \"{name}\"");
        return Err(Error::new(ErrorKind::Invalid, message).way_out("use letters, digits, '-', '_' and '.'"));
    }
    Ok(())
}

fn check_channel(channel: &str) -> Result<()> {
    channel.split('/').try_for_each(|part| check_segment("a channel", part))
}

fn addresses(of: &[SocketAddr]) -> String {
    of.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// What leaves the machine is to be encrypted, between members who have proved who they are.
fn check_loopback(settings: &Settings) -> Result<()> {
    let wide = |of: &[SocketAddr]| of.iter().copied().find(|address| !address.ip().is_loopback());
    let (message, instead) = match (wide(&settings.listen), wide(&settings.connect)) {
        _ if settings.tls.is_some() => return Ok(()),
        (Some(at), _) => (format!("listening on {at} would let everybody in who reaches it"), "listen on"),
        (None, Some(to)) => {
            (format!("connecting to {to} would let everybody on the way listen in"), "connect to")
        }
        (None, None) => return Ok(()),
    };
    let way_out = format!("pass --tls-dir, or {instead} a loopback address");
    Err(Error::new(ErrorKind::Invalid, message).way_out(way_out))
}

fn config(settings: &Settings) -> Result<zenoh::Config> {
    let scheme = if settings.tls.is_some() { "tls" } else { "tcp" };
    check_loopback(settings)?;
    let endpoints = |of: &[SocketAddr]| {
        let quoted: Vec<String> = of.iter().map(|address| format!("\"{scheme}/{address}\"")).collect();
        format!("[{}]", quoted.join(","))
    };
    let patience_ms = settings.patience.map_or(-1, |p| i64::try_from(p.as_millis()).unwrap_or(i64::MAX));
    let mut entries = vec![
        ("mode", "\"peer\"".to_owned()),
        ("listen/endpoints", endpoints(&settings.listen)),
        ("connect/endpoints", endpoints(&settings.connect)),
        ("connect/timeout_ms", patience_ms.to_string()),
        ("connect/exit_on_failure", settings.patience.is_some().to_string()),
        ("connect/retry", "{period_init_ms:100,period_max_ms:500,period_increase_factor:1.5}".to_owned()),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("scouting/gossip/enabled", "false".to_owned()),
        ("transport/link/tx/lease", LEASE_MS.to_string()),
        ("transport/unicast/open_timeout", HANDSHAKE_MS.to_string()),
        ("transport/unicast/accept_timeout", HANDSHAKE_MS.to_string()),
    ];
    if let Some(folder) = &settings.tls {
        entries.extend(tls::entries(folder)?);
    }
    let mut config = zenoh::Config::default();
    for (key, value) in entries {
        config.insert_json5(key, &value).map_err(|cause| {
            Error::new(ErrorKind::Invalid, format!("the network refuses {key} = {value}"))
                .because(told(&cause))
        })?;
    }
    Ok(config)
}

/// Finds the inbox that a message is for: its key is `jellybean/CLUSTER/FROM/LIFE/TO/LIFE/CHANNEL`. Others are lost.
fn deliver(inboxes: &Inboxes, sample: &Sample) {
    let key = sample.key_expr().as_str();
    let mut parts = key.splitn(7, '/').skip(2);
    let (Some(name), Some(life)) = (parts.next(), parts.next()) else { return };
    let (Ok(life), Some(channel)) = (life.parse(), parts.nth(2)) else { return };
    let from = (Member { name: name.to_owned(), life }, channel.to_owned());
    let inbox = inboxes.read().unwrap_or_else(PoisonError::into_inner).get(&from).cloned();
    if let Some(inbox) = inbox {
        inbox(match sample.payload().to_bytes() {
            std::borrow::Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            std::borrow::Cow::Owned(bytes) => bytes.into(),
        });
    }
}

impl Network for Zenoh {
    fn me(&self) -> &Member {
        &self.me
    }

    fn line(&self, to: &Member, channel: &str, room: Wake) -> Result<Box<dyn Line>> {
        check_segment("a member", &to.name)?;
        check_channel(channel)?;
        let (me, cluster) = (&self.me, &self.cluster);
        let key = format!("jellybean/{cluster}/{}/{}/{}/{}/{channel}", me.name, me.life, to.name, to.life);
        let publisher = self
            .session
            .declare_publisher(key)
            .congestion_control(CongestionControl::Block)
            .reliability(Reliability::Reliable)
            .express(true)
            .wait()
            .map_err(failed("the network does not let this member send"))?;
        Ok(Box::new(ZenohLine { publisher: Arc::new(publisher), writer: self.writer(to)?, room }))
    }

    fn listen(&self, from: &Member, channel: &str, inbox: Inbox) -> Result<Box<dyn Listening>> {
        check_channel(channel)?;
        let key = (from.clone(), channel.to_owned());
        let mut inboxes = self.inboxes.write().unwrap_or_else(PoisonError::into_inner);
        if inboxes.contains_key(&key) {
            let message = format!("two ends listen to \"{channel}\" from \"{from}\"");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        inboxes.insert(key.clone(), inbox);
        Ok(Box::new(ZenohInbox { inboxes: self.inboxes.clone(), key }))
    }

    fn watch(&self, told: Arc<dyn Fn(Presence) + Send + Sync>) -> Result<Box<dyn Listening>> {
        let subscriber = self
            .session
            .liveliness()
            .declare_subscriber(format!("jellybean-here/{}/*/*", self.cluster))
            .history(true)
            .callback(move |sample| {
                let mut parts = sample.key_expr().as_str().split('/').skip(2);
                let (Some(name), Some(Ok(life))) = (parts.next(), parts.next().map(str::parse)) else {
                    return;
                };
                let member = Member { name: name.to_owned(), life };
                told(Presence { member, is_here: sample.kind() == SampleKind::Put });
            })
            .wait()
            .map_err(failed("the network does not say who is there"))?;
        Ok(Box::new(ZenohWatch(subscriber)))
    }
}

struct ZenohWatch(#[allow(dead_code, reason = "it is kept")] zenoh::pubsub::Subscriber<()>);

impl Listening for ZenohWatch {}

struct ZenohInbox {
    inboxes: Arc<Inboxes>,
    key: (Member, String),
}

impl Listening for ZenohInbox {}

impl Drop for ZenohInbox {
    fn drop(&mut self) {
        self.inboxes.write().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// One peer's queue, and the thread behind it.
struct Writer {
    queue: Sender<(Arc<Publisher<'static>>, Bytes)>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// Whom to tell of room: each line once.
    refused: Mutex<Vec<Wake>>,
}

impl Writer {
    fn start(to: &Member) -> Result<Arc<Self>> {
        let (queue, messages) = bounded(WAITING_MAX);
        let waiting = Arc::new(Waiting::default());
        let of_thread = waiting.clone();
        // It ends with the last line to the peer.
        std::thread::Builder::new()
            .name(format!("to-{to}"))
            .spawn(move || write(&messages, &of_thread))
            .map_err(|e| {
                Error::new(ErrorKind::Unavailable, format!("no thread to write to {to}")).because(e)
            })?;
        Ok(Arc::new(Self { queue, waiting }))
    }

    fn send(
        &self,
        publisher: &Arc<Publisher<'static>>,
        message: Bytes,
        room: &Wake,
    ) -> std::result::Result<(), Bytes> {
        let bytes = message.len();
        let held = self.waiting.bytes.fetch_add(bytes, Ordering::SeqCst);
        // One message enters whatever its size.
        let refused = if held > 0 && held + bytes > WAITING_BYTES_MAX {
            message
        } else {
            match self.queue.try_send((publisher.clone(), message)) {
                Ok(()) => return Ok(()),
                Err(full) => full.into_inner().1,
            }
        };
        self.waiting.bytes.fetch_sub(bytes, Ordering::SeqCst);
        let mut asking = lock(&self.waiting.refused);
        if !asking.iter().any(|known| Arc::ptr_eq(known, room)) {
            asking.push(room.clone());
        }
        Err(refused)
    }
}

fn write(messages: &Receiver<(Arc<Publisher<'static>>, Bytes)>, waiting: &Waiting) {
    for (publisher, message) in messages {
        let bytes = message.len();
        if let Err(error) = publisher.put(message).wait() {
            // It is sent again, like whatever is lost.
            tracing::debug!(%error, "a message was not sent");
        }
        waiting.bytes.fetch_sub(bytes, Ordering::SeqCst);
        for room in std::mem::take(&mut *lock(&waiting.refused)) {
            room();
        }
    }
}

struct ZenohLine {
    publisher: Arc<Publisher<'static>>,
    writer: Arc<Writer>,
    room: Wake,
}

impl Line for ZenohLine {
    fn send(&self, message: Bytes) -> std::result::Result<(), Bytes> {
        self.writer.send(&self.publisher, message, &self.room)
    }
}
