//! A live camera, read by ffmpeg: RTSP, video over HTTP, or a device of this machine.
//!
//! Invariant: no end of a connection is an end of the camera. Whatever goes wrong after the start is an
//! outage: ffmpeg is killed, and started again when the engine asks next.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use jellybean_engine::source::{Arrival, Feed, Lane, Policy, Source, Stopper};
use jellybean_engine::{Clock, Error, ErrorKind, Result};

use super::Shots;
use super::ffmpeg::{Ffmpeg, Header, Job, Pixels, check_program, ending};
use super::halt::Halt;
use crate::picture::{Format, Frame, Picture};
use crate::url::{Url, shown};

/// What a stream may lead ffmpeg to: no file, so that no camera can have our own read to it.
const PROTOCOLS: &str = "pipe,fd,rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto";
/// How long ffmpeg waits for a socket, in microseconds; then it says so itself, before it is killed.
const SOCKET_TIMEOUT_US: &str = "5000000";
/// How much of a stream ffmpeg may look at before its first picture, in microseconds: it waits for sound
/// that was announced, for instance, and never comes.
const ANALYSIS_US: &str = "1000000";

/// One live camera as a source of one lane: `rtsp://`, `rtsps://`, `http://` or `https://` with any video
/// that ffmpeg reads, or a device like `/dev/video0`.
///
/// Frames carry the time of their arrival. Under [`Policy::Latest`], which is the default, a frame that
/// nobody takes gives way to a newer one. An outage is waited out, also if it is there from the start; the ledger
/// shows it as a gap. A picture whose size changes in mid-stream is scaled to the first size of its
/// connection; after the next connection frames have the new one.
///
/// Passwords in addresses are shown nowhere by us. ffmpeg is told an address on its standard input, so that it
/// does not stand in the list of processes either; whoever may read ffmpeg's memory can still find it there.
///
/// ```no_run
/// use jellybean_operators::source::Camera;
/// let yard = Camera::at("rtsp://user:password@10.0.0.5/stream1").camera("yard");
/// ```
#[derive(Clone)]
pub struct Camera {
    address: String,
    lane: Lane,
    program: PathBuf,
    connect_timeout: Duration,
    frame_timeout: Duration,
}

impl std::fmt::Debug for Camera {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lane, program, connect_timeout, frame_timeout, .. } = self;
        f.debug_struct("Camera")
            .field("address", &shown(&self.address))
            .field("lane", lane)
            .field("program", program)
            .field("connect_timeout", connect_timeout)
            .field("frame_timeout", frame_timeout)
            .finish()
    }
}

impl Camera {
    /// The camera at an address. It is named `camera` unless [`Camera::camera`] says otherwise.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            lane: Lane::live("camera"),
            program: PathBuf::from("ffmpeg"),
            connect_timeout: Duration::from_secs(15),
            frame_timeout: Duration::from_secs(5),
        }
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

    /// Which ffmpeg to run, 5.0 or newer; without it, the one on `PATH`.
    #[must_use]
    pub fn ffmpeg(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// How long to wait for a frame, by the run's clock, before ffmpeg is killed and the camera connected to
    /// again: 5 s unless set.
    #[must_use]
    pub fn frame_timeout(mut self, timeout: Duration) -> Self {
        self.frame_timeout = timeout;
        self
    }

    /// The same for the first frame of a connection: 15 s unless set. Cameras send whole pictures, with which a
    /// connection can begin, every few seconds only.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    fn read(&self, clock: &Clock) -> Result<CameraFeed> {
        let job = self.job()?;
        check_program(&self.program)?;
        let shots = Shots::new(&self.lane.name, clock);
        let clock = clock.clone();
        Ok(CameraFeed { camera: self.clone(), job, clock, shots, halt: Halt::default(), connection: None })
    }

    /// Whether its address is of a known kind.
    pub(super) fn check(&self) -> Result<()> {
        self.job().map(drop)
    }

    fn job(&self) -> Result<Job> {
        let (input, script) = if self.address.starts_with("/dev/video") {
            (device(&self.address), None)
        } else {
            let url = Url::parse(&self.address)?;
            (stream(), Some(script(&url)?))
        };
        // Without it, the end of a picture would wait in ffmpeg's buffer for the next one.
        let output = &["-flush_packets", "1"];
        Ok(Job { program: self.program.clone(), input, script, output })
    }

    fn place(&self) -> String {
        format!("camera {:?} at {}", self.lane.name, shown(&self.address))
    }
}

impl Source for Camera {
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

/// Options for what the script leads to.
fn stream() -> Vec<OsString> {
    let options = ["-threads", "1", "-max_pixels", Job::PIXELS_MAX, "-protocol_whitelist", PROTOCOLS];
    let script = ["-fpsprobesize", "0", "-f", "concat", "-safe", "0", "-i", "pipe:0"];
    options.iter().chain(&script).map(OsString::from).collect()
}

/// A list of one stream, in ffmpeg's own format for lists: the one way to tell it an address that nobody
/// else on the machine can read, as they can a command line.
fn script(url: &Url) -> Result<String> {
    let options: &[(&str, &str)] = match url.scheme.as_str() {
        // Over UDP a lost packet spoils pictures until the next whole one.
        "rtsp" | "rtsps" => &[("rtsp_transport", "tcp"), ("timeout", SOCKET_TIMEOUT_US)],
        "http" | "https" => &[("rw_timeout", SOCKET_TIMEOUT_US)],
        other => {
            let message = format!("the address {url} begins with {other}://, which no camera here speaks");
            return Err(Error::new(ErrorKind::Invalid, message).way_out(
                "give an address with rtsp://, rtsps://, http:// or https://, or a device like /dev/video0",
            ));
        }
    };
    let mut script = format!("ffconcat version 1.0\nfile '{}'\n", url.secret().replace('\'', r"'\''"));
    for (option, value) in [("analyzeduration", ANALYSIS_US), ("fpsprobesize", "0")].iter().chain(options) {
        script += &format!("option {option} {value}\n");
    }
    if script.len() > Job::SCRIPT_BYTES_MAX {
        let message = format!("the address {url} is longer than ffmpeg can be told");
        return Err(Error::new(ErrorKind::Invalid, message).way_out("write ' in it as %27"));
    }
    Ok(script)
}

fn device(path: &str) -> Vec<OsString> {
    ["-threads", "1", "-max_pixels", Job::PIXELS_MAX, "-f", "v4l2", "-i", path].map(OsString::from).into()
}

/// The lane, being read.
struct CameraFeed {
    camera: Camera,
    job: Job,
    clock: Clock,
    shots: Shots,
    halt: Halt,
    connection: Option<Connection>,
}

/// An ffmpeg that has begun to show pictures.
struct Connection {
    ffmpeg: Ffmpeg,
    header: Header,
    size: usize,
}

impl Feed for CameraFeed {
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
            Err(outage) => Err(outage.at(self.camera.place())),
        }
    }

    fn stopper(&self) -> Option<Stopper> {
        Some(self.halt.stopper())
    }
}

impl CameraFeed {
    /// The next picture; what fails takes its connection along.
    fn picture(&mut self) -> Result<Picture> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let picture = connection.picture()?;
        self.connection = Some(connection);
        Ok(picture)
    }

    fn connect(&self) -> Result<Connection> {
        let patience = self.camera.connect_timeout;
        let (mut ffmpeg, header) =
            Ffmpeg::open(&self.job, patience, &self.clock, &|stopper| self.halt.holds(stopper))?;
        let Some(header) = header else { return Err(ended(&mut ffmpeg, "no picture came")) };
        if ffmpeg.log().is_text() {
            return Err(Error::new(ErrorKind::Corrupt, "it answers with text where a video should be"));
        }
        ffmpeg.be_patient_for(self.camera.frame_timeout);
        let size = Format::I420.bytes(header.width, header.height).expect("its size follows from its sides");
        tracing::info!("{}: connected, {header:?}", self.camera.place());
        Ok(Connection { ffmpeg, header, size })
    }
}

impl Connection {
    fn picture(&mut self) -> Result<Picture> {
        match self.ffmpeg.picture(self.size)? {
            Pixels::Whole(data) => {
                let Header { width, height, .. } = self.header;
                Ok(Picture { width, height, format: Format::I420, data })
            }
            // ffmpeg ends as though all were well when its server goes away.
            Pixels::End | Pixels::Partial { .. } => Err(ended(&mut self.ffmpeg, "the stream ended")),
        }
    }
}

fn ended(ffmpeg: &mut Ffmpeg, what: &str) -> Error {
    match ffmpeg.finish() {
        Ok(status) => {
            let message = format!("{what}: ffmpeg {} and said: {}", ending(status), ffmpeg.log());
            Error::new(ErrorKind::Unavailable, message)
        }
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests;
