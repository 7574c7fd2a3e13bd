//! A live camera that sends one JPEG after the other over HTTP, read without ffmpeg and without decoding.
//!
//! Invariant: no end of a connection is an end of the camera. Whatever goes wrong after the start is an
//! outage: the connection is dropped, and made again when the engine asks next.

mod http;
mod multipart;

use std::time::Duration;

use jellybean_engine::source::{Arrival, Feed, Lane, Policy, Source, Stopper};
use jellybean_engine::{Clock, Error, ErrorKind, Result};

use self::http::Answer;
use self::multipart::Parts;
use super::Shots;
use super::halt::Halt;
use crate::picture::{Format, Frame, Picture};
use crate::pixels::jpeg_size;
use crate::url::{Url, shown};

/// One MJPEG camera (`multipart/x-mixed-replace` at an `http://` address) as a source of one lane.
///
/// Frames stay JPEG as they came, each of its own size, and carry the time of their arrival. A part that is no JPEG
/// becomes a frame of 1 x 1 pixels with its bytes, which whatever reads the pixels drops as `bad_picture`. Policy,
/// outages and secrets are as with [`Camera`](super::Camera), which reads MJPEG over `https://` or with
/// digest authentication.
///
/// The name of a host is looked up by the system, within the system's own bounds.
///
/// ```no_run
/// use jellybean_operators::source::Mjpeg;
/// let gate = Mjpeg::at("http://user:password@10.0.0.6/video.mjpg").camera("gate");
/// ```
#[derive(Clone)]
pub struct Mjpeg {
    address: String,
    lane: Lane,
    frame_timeout: Duration,
}

impl std::fmt::Debug for Mjpeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lane, frame_timeout, .. } = self;
        f.debug_struct("Mjpeg")
            .field("address", &shown(&self.address))
            .field("lane", lane)
            .field("frame_timeout", frame_timeout)
            .finish()
    }
}

impl Mjpeg {
    /// The camera at an address. It is named `camera` unless [`Mjpeg::camera`] says otherwise.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        let lane = Lane::live("camera");
        Self { address: address.into(), lane, frame_timeout: Duration::from_secs(5) }
    }

    /// Names the camera.
    #[must_use]
    pub fn camera(mut self, name: impl Into<String>) -> Self {
        self.lane.name = name.into();
        self
    }

    /// What happens when frames come faster than they are taken.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.lane.policy = policy;
        self
    }

    /// How long to wait for a whole frame, by the run's clock, before the camera is connected to again: 5 s
    /// unless set.
    #[must_use]
    pub fn frame_timeout(mut self, timeout: Duration) -> Self {
        self.frame_timeout = timeout;
        self
    }

    /// Whether its address is of a known kind.
    pub(super) fn check(&self) -> Result<()> {
        self.url().map(drop)
    }

    fn url(&self) -> Result<Url> {
        let url = Url::parse(&self.address)?;
        if url.scheme == "http" {
            return Ok(url);
        }
        Err(Error::new(ErrorKind::Invalid, format!("the address {url} is not an http:// one"))
            .way_out("read other addresses with `Camera`"))
    }

    fn read(&self, clock: &Clock) -> Result<MjpegFeed> {
        let url = self.url()?;
        let shots = Shots::new(&self.lane.name, clock);
        let (patience, clock) = (self.frame_timeout, clock.clone());
        let place = format!("camera {:?} at {url}", self.lane.name);
        Ok(MjpegFeed { url, place, patience, clock, shots, halt: Halt::default(), connection: None })
    }
}

impl Source for Mjpeg {
    type Record = Frame;

    fn lanes(&self) -> Vec<Lane> {
        vec![self.lane.clone()]
    }

    fn open(&self, lane: usize, clock: &Clock) -> Result<Box<dyn Feed<Record = Frame>>> {
        if lane != 0 {
            return Err(Error::new(ErrorKind::Invalid, format!("a camera has lane 0 only, not {lane}")));
        }
        let feed = self.read(clock).map_err(|e| e.at(format_args!("camera {:?}", self.lane.name)))?;
        Ok(Box::new(feed))
    }
}

/// The lane, being read.
struct MjpegFeed {
    url: Url,
    place: String,
    patience: Duration,
    clock: Clock,
    shots: Shots,
    halt: Halt,
    connection: Option<Connection>,
}

/// A camera that has begun to answer.
struct Connection {
    answer: Answer,
    parts: Parts,
}

impl Feed for MjpegFeed {
    type Record = Frame;

    fn next(&mut self) -> Result<Option<Arrival<Frame>>> {
        if self.halt.is_called() {
            return Ok(None);
        }
        let picture = self.picture();
        if picture.is_err() {
            self.halt.lets_go();
        }
        match picture {
            Ok(picture) => Ok(Some(self.shots.arrival(picture))),
            Err(_) if self.halt.is_called() => Ok(None),
            Err(outage) => Err(outage.at(&self.place)),
        }
    }

    fn stopper(&self) -> Option<Stopper> {
        Some(self.halt.stopper())
    }
}

impl MjpegFeed {
    /// The next picture; what fails takes its connection along.
    fn picture(&mut self) -> Result<Picture> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let data = connection.part(self.clock.now_ms())?;
        self.connection = Some(connection);
        let (width, height) = jpeg_size(&data).unwrap_or((1, 1));
        Ok(Picture { width, height, format: Format::Jpeg, data: data.into() })
    }

    fn connect(&self) -> Result<Connection> {
        let answer = http::get(&self.url, self.patience, &self.clock, &self.halt)?;
        let parts = Parts::new(&answer.content_type).map_err(|why| {
            Error::new(ErrorKind::Corrupt, why)
                .way_out("give the address of its MJPEG stream, not of a page or a picture")
        })?;
        tracing::info!("{}: connected", self.place);
        Ok(Connection { answer, parts })
    }
}

impl Connection {
    /// The next part, waited for since `since_ms`.
    fn part(&mut self, since_ms: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            if let Some(part) = self.parts.next().map_err(|why| Error::new(ErrorKind::Corrupt, why))? {
                return Ok(part);
            }
            bytes.clear();
            if !self.answer.read(since_ms, &mut bytes)? {
                return Err(Error::new(ErrorKind::Unavailable, "it ended the stream"));
            }
            self.parts.push(&bytes);
        }
    }
}

#[cfg(test)]
mod tests;
