//! Many cameras as one source, from configuration: a lane each.
//!
//! Invariant: a [`Cameras`] that exists was checked: keys known, names unique, addresses of a kind that
//! there is. What is at an address is only seen when the source is opened.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jellybean_engine::source::{Arrival, Feed, Lane, Pacing, Policy, Source, Stopper};
use jellybean_engine::{Clock, Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Camera, Folder, Mjpeg, RoadCameras, Video};
use crate::picture::Frame;
use crate::url::{redacted, shown};

const VERSION: i64 = 1;
/// The longest configuration, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The most cameras of one source; each takes a thread.
const CAMERAS_MAX: usize = 1_024;

/// One camera, as configuration has it.
///
/// `url` is one of `rtsp://…`, `rtsps://…`, `https://…` and `/dev/video0` (read as [`Camera`]), `http://…` (read as
/// [`Mjpeg`]; with `ffmpeg+http://…` as [`Camera`]), `file:PATH` (a [`Video`], or a [`Folder`] of pictures), and `road:SEED`
/// (of [`RoadCameras`], endless).
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraEntry {
    /// Unique; what frames and the ledger say.
    pub name: String,
    /// Where its pictures come from. It may hold a password, so it is not shown.
    pub url: String,
    /// The node that it stands at; kept for placement.
    #[serde(default)]
    pub node: Option<String>,
    /// What happens when frames come faster than they are taken: `latest` unless set for what is live, `block` for
    /// the rest, which is then read as fast as it is taken. Under `latest` a file plays as it was filmed.
    #[serde(default, deserialize_with = "policy")]
    pub policy: Option<Policy>,
    /// The higher, the later its frames are shed; kept for placement, 0 unless set.
    #[serde(default)]
    pub priority: i64,
}

impl fmt::Debug for CameraEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, url, node, policy, priority } = self;
        f.debug_struct("CameraEntry")
            .field("name", name)
            .field("url", &shown(url))
            .field("node", node)
            .field("policy", policy)
            .field("priority", priority)
            .finish()
    }
}

impl CameraEntry {
    /// A camera, with everything else unset.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { name: name.into(), url: url.into(), node: None, policy: None, priority: 0 }
    }
}

/// Many cameras of any kind, a lane each.
///
/// ```
/// use jellybean_engine::source::Source;
/// use jellybean_operators::source::{CameraEntry, Cameras};
/// let cameras = Cameras::new(vec![
///     CameraEntry::new("yard", "rtsp://user:password@10.0.0.5/stream1"),
///     CameraEntry::new("junction", "road:7"),
/// ])?;
/// assert!(cameras.lanes()[0].live && !cameras.lanes()[1].live);
/// # Ok::<(), jellybean_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Cameras {
    entries: Vec<CameraEntry>,
    sources: Vec<Arc<dyn Source<Record = Frame>>>,
    program: Option<PathBuf>,
}

/// The file, version 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(rename = "version")]
    _version: IgnoredAny,
    #[serde(default)]
    camera: Vec<CameraEntry>,
}

/// What is looked at before the rest, so that a file of another version is not told that its keys are unknown.
#[derive(Deserialize)]
struct Version {
    version: Option<i64>,
}

impl Cameras {
    /// These cameras, in this order.
    ///
    /// # Errors
    /// None at all, too many, a name that is empty or taken, an address of no known kind.
    pub fn new(entries: Vec<CameraEntry>) -> Result<Self> {
        if entries.is_empty() || entries.len() > CAMERAS_MAX {
            let message = format!("{} cameras, where 1 to {CAMERAS_MAX} are possible", entries.len());
            return Err(Error::new(ErrorKind::Invalid, message).way_out("list cameras as [[camera]]"));
        }
        let mut names = BTreeSet::new();
        for entry in &entries {
            if entry.name.trim().is_empty() {
                return Err(Error::new(ErrorKind::Invalid, "a camera without a name").way_out("name it"));
            }
            if !names.insert(&entry.name) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("two cameras are named {:?}", entry.name),
                )
                .way_out("give each a name of its own"));
            }
        }
        Self { entries, sources: Vec::new(), program: None }.with_sources()
    }

    /// The cameras of a TOML file: `version = 1`, and `[[camera]]` with the keys of [`CameraEntry`]. Paths in it count
    /// from its folder.
    ///
    /// # Errors
    /// The file is missing, or what is wrong with it, with its line; see [`Cameras::new`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = format!("cameras file {}", path.display());
        let text = read(path).map_err(|e| e.at(&place))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::from_text(&text, folder).map_err(|e| e.at(&place))
    }

    /// Which ffmpeg reads them; without it, the one on `PATH`.
    ///
    /// # Errors
    /// None: what was checked stays so.
    pub fn ffmpeg(mut self, program: impl Into<PathBuf>) -> Result<Self> {
        self.program = Some(program.into());
        self.with_sources()
    }

    /// What was configured, in the order of the lanes.
    #[must_use]
    pub fn entries(&self) -> &[CameraEntry] {
        &self.entries
    }

    fn from_text(text: &str, folder: &Path) -> Result<Self> {
        let unreadable = |e: toml::de::Error| {
            Error::new(ErrorKind::Invalid, place_and_message(text, &e))
                .way_out("a camera has name, url, node, policy and priority")
        };
        let Version { version } = toml::from_str(text).map_err(unreadable)?;
        if version != Some(VERSION) {
            let found = version.map_or("no version".into(), |version| format!("version {version}"));
            return Err(Error::new(
                ErrorKind::Incompatible,
                format!("it has {found}, and {VERSION} is read"),
            )
            .way_out(format!("begin it with version = {VERSION}")));
        }
        let Text { mut camera, .. } = toml::from_str(text).map_err(unreadable)?;
        for entry in &mut camera {
            if let Some(path) = entry.url.strip_prefix("file:") {
                entry.url = format!("file:{}", folder.join(path).display());
            }
        }
        Self::new(camera)
    }

    fn with_sources(mut self) -> Result<Self> {
        let program = self.program.clone().unwrap_or_else(|| "ffmpeg".into());
        let opened = |entry: &CameraEntry| {
            source(entry, &program).map_err(|e| e.at(format_args!("camera {:?}", entry.name)))
        };
        self.sources = self.entries.iter().map(opened).collect::<Result<_>>()?;
        Ok(self)
    }
}

impl Source for Cameras {
    type Record = Frame;

    fn lanes(&self) -> Vec<Lane> {
        let lane = |(entry, source): (&CameraEntry, &Arc<dyn Source<Record = Frame>>)| {
            let lane = source.lanes().into_iter().next();
            Lane { name: entry.name.clone(), ..lane.expect("each of these sources has a lane") }
        };
        self.entries.iter().zip(&self.sources).map(lane).collect()
    }

    fn open(&self, lane: usize, clock: &Clock) -> Result<Box<dyn Feed<Record = Frame>>> {
        let Some((entry, source)) = self.entries.get(lane).zip(self.sources.get(lane)) else {
            let message = format!("there are {} cameras, no number {lane}", self.entries.len());
            return Err(Error::new(ErrorKind::Invalid, message));
        };
        Ok(Box::new(Named { camera: entry.name.as_str().into(), feed: source.open(0, clock)? }))
    }
}

/// Frames under the name that configuration gives their camera.
struct Named {
    camera: Arc<str>,
    feed: Box<dyn Feed<Record = Frame>>,
}

impl Feed for Named {
    type Record = Frame;

    fn next(&mut self) -> Result<Option<Arrival<Frame>>> {
        let mut arrival = self.feed.next()?;
        if let Some(arrival) = &mut arrival {
            arrival.record.camera = self.camera.clone();
        }
        Ok(arrival)
    }

    fn stopper(&self) -> Option<Stopper> {
        self.feed.stopper()
    }
}

/// What reads an address.
fn source(entry: &CameraEntry, program: &Path) -> Result<Arc<dyn Source<Record = Frame>>> {
    let CameraEntry { name, url, policy, .. } = entry;
    let live = policy.unwrap_or(Policy::Latest);
    let replayed = policy.unwrap_or(Policy::Block);
    let pacing = if replayed == Policy::Latest { Pacing::Realtime } else { Pacing::Max };
    let camera = |address: &str| Arc::new(Camera::at(address).camera(name).policy(live).ffmpeg(program));
    if let Some(path) = url.strip_prefix("file:") {
        return Ok(if Path::new(path).is_dir() {
            Arc::new(Folder::new(path).policy(replayed).pacing(pacing))
        } else {
            Arc::new(Video::file(path).camera(name).policy(replayed).pacing(pacing).ffmpeg(program))
        });
    }
    if let Some(seed) = url.strip_prefix("road:") {
        let wrong = |e| {
            let message = format!("the road {seed:?} has no number for a seed");
            Error::new(ErrorKind::Invalid, message).way_out("write one like road:7").because(e)
        };
        let seed = seed.parse().map_err(|e: std::num::ParseIntError| wrong(e))?;
        return Ok(Arc::new(RoadCameras::new(seed).policy(replayed).pacing(pacing)));
    }
    if let Some(address) = url.strip_prefix("ffmpeg+") {
        return checked(camera(address));
    }
    match url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
        Some("http") => {
            let mjpeg = Mjpeg::at(url).camera(name).policy(live);
            mjpeg.check().map(|()| Arc::new(mjpeg) as Arc<dyn Source<Record = Frame>>)
        }
        Some(_) => checked(camera(url)),
        None if url.starts_with("/dev/video") => checked(camera(url)),
        None => {
            let message = format!("{:?} is no address of a camera", shown(url));
            let way_out = "give rtsp://…, http://…, /dev/video0, file:PATH or road:SEED";
            Err(Error::new(ErrorKind::Invalid, message).way_out(way_out))
        }
    }
}

fn checked(camera: Arc<Camera>) -> Result<Arc<dyn Source<Record = Frame>>> {
    camera.check()?;
    Ok(camera)
}

fn read(path: &Path) -> Result<String> {
    let unreadable =
        |e| Error::new(ErrorKind::NotFound, "it cannot be read").way_out("check the path").because(e);
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        let message = format!("it has {bytes} bytes, where {FILE_BYTES_MAX} are the most");
        return Err(Error::new(ErrorKind::Invalid, message).way_out("is it a list of cameras?"));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// The error's line and message, without the text around it: that may hold a password.
fn place_and_message(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let message = redacted(error.message(), false).replace('\n', " ");
    line.map_or(message.clone(), |line| format!("line {line}: {message}"))
}

fn policy<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<Policy>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Block,
        Latest,
    }
    Ok(Some(match Word::deserialize(from)? {
        Word::Block => Policy::Block,
        Word::Latest => Policy::Latest,
    }))
}

#[cfg(test)]
mod tests;
