//! Any file that ffmpeg reads, as a lane of frames.
//!
//! Invariant: every frame in the file becomes one record, once, in order, and nothing else does; what
//! keeps that from being true ends the lane with an error that says how many frames came before.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jellybean_engine::source::{Arrival, Feed, Lane, Pacing, Policy, Source, Stopper};
use jellybean_engine::{Clock, Error, ErrorKind, Result};

use super::Rate;
use super::ffmpeg::{Ffmpeg, Header, Job, Pixels, ending};
use crate::picture::{Format, Frame, Picture};

/// One video file as a source of one lane.
///
/// Frames carry media time: their number over the file's frame rate. A file of variable rate is read
/// as though it were constant: every frame once, evenly spaced.
///
/// ```no_run
/// use jellybean_engine::source::Pacing;
/// use jellybean_operators::source::Video;
/// let street = Video::file("street.mp4").camera("north").pacing(Pacing::Realtime);
/// ```
#[derive(Clone, Debug)]
pub struct Video {
    path: PathBuf,
    lane: Lane,
    program: PathBuf,
    extra_plays: i64,
    frame_timeout: Duration,
    tolerant: bool,
}

impl Video {
    /// Reads `path` once, lossless, as fast as frames are taken. The camera is named after the file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self {
            path,
            lane: Lane::new(name),
            program: PathBuf::from("ffmpeg"),
            extra_plays: 0,
            frame_timeout: Duration::from_secs(20),
            tolerant: false,
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

    /// Whether media time is waited for.
    #[must_use]
    pub fn pacing(mut self, pacing: Pacing) -> Self {
        self.lane.pacing = pacing;
        self
    }

    /// Plays the file this many times in a row, at least once; numbers and times go on rising.
    #[must_use]
    pub fn repeat(mut self, plays: u32) -> Self {
        self.extra_plays = i64::from(plays.max(1)) - 1;
        self
    }

    /// Plays the file again and again until the run is stopped.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.extra_plays = -1;
        self
    }

    /// Which ffmpeg to run; without it, the one on `PATH`.
    #[must_use]
    pub fn ffmpeg(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// How long to wait for a frame, by the run's clock, before ffmpeg is killed: 20 s unless set.
    #[must_use]
    pub fn frame_timeout(mut self, timeout: Duration) -> Self {
        self.frame_timeout = timeout;
        self
    }

    /// Takes a damaged file for what can be read of it: damage is logged and does not fail the lane.
    #[must_use]
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    fn read(&self, clock: &Clock) -> Result<VideoFeed> {
        check_file(&self.path)?;
        let (mut ffmpeg, header) = Ffmpeg::open(&self.job(), self.frame_timeout, clock, &|_| ())?;
        let Some(header) = header else { return Err(self.not_a_video(&mut ffmpeg)) };
        if ffmpeg.log().is_text() {
            return Err(Error::new(ErrorKind::Corrupt, "it is a text file").way_out("give a video file"));
        }
        let Some(rate) = header.rate else {
            let message = "it has no frame rate, or one that cannot be";
            return Err(Error::new(ErrorKind::Incompatible, message).way_out("convert it with ffmpeg -r"));
        };
        let size = Format::I420.bytes(header.width, header.height).expect("its size follows from its sides");
        tracing::info!(path = %self.path.display(), ?header, "video opened");
        let camera = Arc::from(self.lane.name.as_str());
        Ok(VideoFeed { video: self.clone(), camera, ffmpeg, header, rate, size, frames: 0, over: false })
    }

    /// One decoding thread: pictures are then the same in every run even where a file is damaged, and as
    /// many cameras as there are cores keep them busy. Bit-exact decoding makes them the same with other
    /// versions of ffmpeg too.
    fn job(&self) -> Job {
        let plays = self.extra_plays.to_string();
        let options = ["-threads", "1", "-flags:v", "+bitexact", "-max_pixels", Job::PIXELS_MAX];
        let mut input: Vec<OsString> = options.map(OsString::from).into();
        input.extend(["-stream_loop", &plays, "-i"].map(OsString::from));
        // The protocol's name keeps a file called `-y` or `http:x` from being taken for something else.
        let mut file = OsString::from("file:");
        file.push(&self.path);
        input.push(file);
        Job { program: self.program.clone(), input, script: None, output: &[] }
    }

    fn not_a_video(&self, ffmpeg: &mut Ffmpeg) -> Error {
        let why = match ffmpeg.finish() {
            Ok(status) => format!("ffmpeg {} and said: {}", ending(status), ffmpeg.log()),
            Err(error) => error.to_string(),
        };
        Error::new(ErrorKind::Corrupt, format!("no video can be read from it: {why}"))
            .way_out("check that it is a whole video file, for instance by playing it")
    }

    fn place(&self) -> String {
        format!("camera {:?}, file {}", self.lane.name, self.path.display())
    }
}

impl Source for Video {
    type Record = Frame;

    fn lanes(&self) -> Vec<Lane> {
        vec![self.lane.clone()]
    }

    fn open(&self, lane: usize, clock: &Clock) -> Result<Box<dyn Feed<Record = Frame>>> {
        if lane != 0 {
            return Err(Error::new(ErrorKind::Invalid, format!("a video has lane 0 only, not {lane}")));
        }
        let feed = self.read(clock).map_err(|e| e.at(self.place()))?;
        Ok(Box::new(feed))
    }
}

/// The lane, being read.
struct VideoFeed {
    video: Video,
    camera: Arc<str>,
    ffmpeg: Ffmpeg,
    header: Header,
    rate: Rate,
    size: usize,
    frames: u64,
    over: bool,
}

impl Feed for VideoFeed {
    type Record = Frame;

    fn next(&mut self) -> Result<Option<Arrival<Frame>>> {
        if self.over {
            return Ok(None);
        }
        let outcome = match self.ffmpeg.picture(self.size) {
            Ok(Pixels::Whole(data)) => return Ok(Some(self.arrival(data))),
            Ok(Pixels::End) => self.verdict(None),
            Ok(Pixels::Partial { bytes }) => self.verdict(Some(bytes)),
            Err(error) => Err(error),
        };
        self.over = true;
        if self.ffmpeg.is_stopped() {
            return Ok(None);
        }
        let place = || format!("{}, after {} frames", self.video.place(), self.frames);
        outcome.map(|()| None).map_err(|e| e.at(place()))
    }

    fn stopper(&self) -> Option<Stopper> {
        Some(self.ffmpeg.stopper())
    }
}

impl VideoFeed {
    fn arrival(&mut self, data: Arc<[u8]>) -> Arrival<Frame> {
        let Header { width, height, .. } = self.header;
        let number = self.frames;
        self.frames += 1;
        super::arrival(&self.camera, number, self.rate, Picture { width, height, format: Format::I420, data })
    }

    /// Whether the end of the output is the end of the file.
    fn verdict(&mut self, partial_bytes: Option<usize>) -> Result<()> {
        let status = self.ffmpeg.finish()?;
        let log = self.ffmpeg.log();
        if !status.success() {
            let message = format!("ffmpeg {} in mid-stream and said: {log}", ending(status));
            return Err(Error::new(ErrorKind::Failed, message).way_out("start the run again"));
        }
        if let Some(bytes) = partial_bytes {
            let message = format!("the last frame has {bytes} of {} bytes; ffmpeg said: {log}", self.size);
            return Err(Error::new(ErrorKind::Corrupt, message).way_out("start the run again"));
        }
        if log.errors() == 0 {
            return Ok(());
        }
        let message = format!("the file is damaged or truncated; ffmpeg said: {log}");
        if self.video.tolerant {
            tracing::warn!("{}, {} frames: {message}", self.video.place(), self.frames);
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, message)
            .way_out("get a whole copy of it, or take what can be read with `Video::tolerant`"))
    }
}

fn check_file(path: &Path) -> Result<()> {
    let missing = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, "there is no such file").way_out("check the path")
        }
        _ => Error::new(ErrorKind::Unavailable, "it cannot be looked at").because(e),
    };
    let kind = fs::metadata(path).map_err(missing)?.file_type();
    if kind.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, "it is a folder").way_out("give a video file"));
    }
    if !kind.is_file() {
        // Opening a pipe would wait for somebody to write into it; ffmpeg may do that, under its watchdog.
        return Ok(());
    }
    let closed = |e| {
        Error::new(ErrorKind::Unavailable, "it cannot be read").way_out("check its permissions").because(e)
    };
    fs::File::open(path).map(drop).map_err(closed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use std::{env, thread};

    use jellybean_engine::source::{Feed, Source, Stamp};
    use jellybean_engine::{Clock, Error, ErrorKind};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
    use tempfile::TempDir;

    use super::{Video, VideoFeed};
    use crate::picture::{Format, Frame};
    use crate::source::testing::{clip, clip_with, ffmpeg};

    const LONG: &str = "testsrc=size=320x240:rate=25:duration=60";
    const SHORT: &str = "testsrc=size=320x240:rate=25:duration=2";

    fn open(path: impl AsRef<Path>) -> Result<VideoFeed, Error> {
        Video::file(path.as_ref()).ffmpeg(ffmpeg()).read(&Clock::real())
    }

    /// Reads to the end: the frames, and the error that ended the lane if one did.
    fn drain(feed: &mut dyn Feed<Record = Frame>) -> (Vec<Frame>, Option<Error>) {
        let mut frames = Vec::new();
        loop {
            match feed.next() {
                Ok(Some(arrival)) => {
                    assert_eq!(arrival.stamp, Stamp::Media(arrival.record.time_ms));
                    assert!(arrival.bytes >= arrival.record.picture.data.len());
                    frames.push(arrival.record);
                }
                Ok(None) => return (frames, None),
                Err(error) => return (frames, Some(error)),
            }
        }
    }

    fn check_error(error: &Error, kind: ErrorKind, words: &[&str]) {
        assert_eq!(error.kind(), kind, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "no {word:?} in: {error}");
        }
    }

    #[test]
    fn every_frame_comes_once_with_media_time() {
        let folder = TempDir::new().unwrap();
        let path =
            clip(folder.path(), "street.mp4", "testsrc=size=322x242:rate=30000/1001:duration=2", "libx264");
        let video = Video::file(path).ffmpeg(ffmpeg());
        assert_eq!(video.lanes()[0].name, "street");
        let (frames, error) = drain(&mut *video.open(0, &Clock::real()).unwrap());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames.len(), 60);
        for (number, frame) in (0..).zip(&frames) {
            assert_eq!((frame.number, frame.time_ms), (number, number * 1_001 * 1_000 / 30_000));
            assert_eq!((frame.picture.width, frame.picture.height), (322, 242));
            assert_eq!(Some(frame.picture.data.len()), Format::I420.bytes(322, 242));
            assert_eq!(&*frame.camera, "street");
        }
        assert!(frames.windows(2).all(|w| w[0].picture != w[1].picture));
    }

    /// The dull twin: the same file through ffmpeg's raw output, whole, without our pipe handling.
    #[test]
    fn pixels_equal_what_ffmpeg_writes_to_a_file() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.avi", "testsrc=size=321x241:rate=10:duration=3", "ffv1");
        let raw = folder.path().join("raw");
        let status = Command::new(ffmpeg())
            .args(["-v", "error", "-i"])
            .arg(&path)
            .args(["-pix_fmt", "yuv420p", "-f", "rawvideo"])
            .arg(&raw)
            .status();
        assert!(status.unwrap().success());
        let (frames, error) = drain(&mut open(&path).unwrap());
        assert!(error.is_none(), "{error:?}");
        let ours: Vec<u8> = frames.iter().flat_map(|f| f.picture.data.iter().copied()).collect();
        assert!(ours == fs::read(raw).unwrap());
    }

    /// White and red as [`Format::I420`] has them, whatever the file's range and matrix.
    #[test]
    fn colours_are_brought_to_limited_bt601() {
        let folder = TempDir::new().unwrap();
        let frames = "size=32x32:rate=5:duration=1";
        let white = format!("color=white:{frames}");
        let red = format!("color=red:{frames},format=rgb24,scale=out_color_matrix=bt709,format=yuv420p");
        let full = clip(folder.path(), "full.avi", &white, "mjpeg");
        let hd = clip_with(folder.path(), "hd.mp4", &red, "libx264", &["-colorspace", "bt709"]);
        for (path, expected) in [(full, [235, 128, 128]), (hd, [81, 90, 240])] {
            let (frames, _) = drain(&mut open(&path).unwrap());
            let data = &frames[0].picture.data;
            for (got, wanted) in [data[500], data[1_024 + 100], data[1_280 + 100]].into_iter().zip(expected) {
                assert!(got.abs_diff(wanted) <= 3, "{}: {got}, not {wanted}", path.display());
            }
        }
    }

    #[test]
    fn repeats_are_one_lane_of_rising_time() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.mp4", SHORT, "libx264");
        let mut feed = Video::file(path).ffmpeg(ffmpeg()).repeat(3).read(&Clock::real()).unwrap();
        let (frames, error) = drain(&mut feed);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames.len(), 150);
        assert_eq!(frames[149].time_ms, 149 * 40);
        for (number, frame) in frames.iter().enumerate() {
            assert!(frame.picture == frames[number % 50].picture, "frame {number}");
        }
    }

    #[test]
    fn a_change_of_size_within_the_file_is_scaled_away() {
        let folder = TempDir::new().unwrap();
        let small = clip(folder.path(), "small.ts", SHORT, "libx264");
        let large = clip(folder.path(), "large.ts", "testsrc=size=640x480:rate=25:duration=2", "libx264");
        let both = folder.path().join("both.ts");
        fs::write(&both, [fs::read(small).unwrap(), fs::read(large).unwrap()].concat()).unwrap();
        let (frames, error) = drain(&mut open(both).unwrap());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames.len(), 100);
        assert!(frames.iter().all(|f| (f.picture.width, f.picture.height) == (320, 240)));
    }

    #[test]
    fn odd_names_are_only_names() {
        let folder = TempDir::new().unwrap();
        for name in ["-y.avi", "http:x y.avi", "%d[1]*.avi"] {
            let path = clip(folder.path(), name, "testsrc=size=16x16:rate=5:duration=1", "mpeg4");
            let mut feed = open(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(drain(&mut feed).0.len(), 5, "{name}");
        }
    }

    #[test]
    fn an_old_ffmpeg_is_asked_in_its_own_words() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.avi", "testsrc=size=16x16:rate=5:duration=1", "mpeg4");
        let old = folder.path().join("old-ffmpeg");
        // It knows only the old name of the option, whichever version stands behind it. A shell writes it:
        // a child that another test forks meanwhile must not inherit it open for writing.
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *-fps_mode*) echo \"[error] Unrecognized option 'fps_mode'.\" >&2; exit 1;; esac\n\
             exec {} $(printf '%s ' \"$@\" | sed 's/-vsync/-fps_mode/')\n",
            ffmpeg().display()
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"", "sh", &script]).arg(&old);
        assert!(shell.status().unwrap().success());
        let mut feed = Video::file(path).ffmpeg(old).read(&Clock::real()).unwrap();
        let (frames, error) = drain(&mut feed);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames.len(), 5);
    }

    #[test]
    fn error_missing_file() {
        let error = Video::file("/nowhere/street.mp4").open(0, &Clock::real()).err().unwrap();
        check_error(
            &error,
            ErrorKind::NotFound,
            &["camera \"street\"", "/nowhere/street.mp4", "no such file"],
        );
    }

    #[test]
    fn error_folder() {
        let folder = TempDir::new().unwrap();
        check_error(&open(folder.path()).err().unwrap(), ErrorKind::Invalid, &["it is a folder"]);
    }

    #[test]
    fn error_not_a_video() {
        let folder = TempDir::new().unwrap();
        let text = include_str!("video.rs");
        for (name, content) in
            [("noise.mp4", &b"\x00\x13\xff"[..]), ("empty.avi", b""), ("notes.txt", text.as_bytes())]
        {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            let error = open(path).err().unwrap_or_else(|| panic!("{name} was opened"));
            check_error(
                &error,
                ErrorKind::Corrupt,
                &[if name == "notes.txt" { "a text file" } else { "ffmpeg ended" }],
            );
        }
    }

    #[test]
    fn error_sound_without_pictures() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "tone.wav", "sine=duration=1", "");
        check_error(
            &open(path).err().unwrap(),
            ErrorKind::Corrupt,
            &["no video can be read", "matches no streams"],
        );
    }

    #[test]
    fn error_too_large() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "wide.avi", "color=size=16400x16:rate=5:duration=1", "ffv1");
        check_error(&open(path).err().unwrap(), ErrorKind::Incompatible, &["a side of \"16400\" pixels"]);
    }

    #[test]
    fn error_truncated_before_its_index() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.mp4", SHORT, "libx264");
        truncate(&path, 60);
        check_error(
            &open(path).err().unwrap(),
            ErrorKind::Corrupt,
            &["moov atom not found", "whole video file"],
        );
    }

    #[test]
    fn error_truncated_in_the_middle_keeps_the_frames_before() {
        let folder = TempDir::new().unwrap();
        for name in ["a.avi", "a.mkv"] {
            let path = clip(folder.path(), name, SHORT, "mpeg4");
            let (whole, _) = drain(&mut open(&path).unwrap());
            truncate(&path, 60);
            let (frames, error) = drain(&mut open(&path).unwrap());
            assert!(frames.len() > 10 && frames.len() < 50, "{name}: {} frames", frames.len());
            assert!(frames[..frames.len() - 1] == whole[..frames.len() - 1], "{name}");
            let after = format!("after {} frames", frames.len());
            check_error(&error.unwrap(), ErrorKind::Corrupt, &[&after, "damaged or truncated", "tolerant"]);
            let mut tolerant = Video::file(&path).ffmpeg(ffmpeg()).tolerant().read(&Clock::real()).unwrap();
            let (again, error) = drain(&mut tolerant);
            assert!(error.is_none(), "{error:?}");
            assert!(again == frames, "{name}");
        }
    }

    #[test]
    fn error_ffmpeg_missing() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.avi", SHORT, "mpeg4");
        let error = Video::file(&path).ffmpeg("/nowhere/ffmpeg").open(0, &Clock::real()).err().unwrap();
        check_error(&error, ErrorKind::NotFound, &["no program /nowhere/ffmpeg", "install ffmpeg"]);
        let error = Video::file(&path).ffmpeg(&path).open(0, &Clock::real()).err().unwrap();
        check_error(&error, ErrorKind::Unavailable, &["cannot be started", "executable ffmpeg"]);
    }

    #[test]
    fn error_ffmpeg_killed_in_mid_stream() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.mp4", LONG, "libx264");
        let mut feed = open(path).unwrap();
        for number in 0..40 {
            assert_eq!(feed.next().unwrap().unwrap().record.number, number);
        }
        kill_process(feed.ffmpeg.pid(), Signal::KILL).unwrap();
        let (frames, error) = drain(&mut feed);
        let after = format!("after {} frames", 40 + frames.len());
        assert!((0..).zip(&frames).all(|(i, f)| f.number == 40 + i));
        check_error(&error.unwrap(), ErrorKind::Failed, &[&after, "killed by signal 9 in mid-stream"]);
        assert!(feed.next().unwrap().is_none());
    }

    #[test]
    fn error_ffmpeg_hangs() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.mp4", LONG, "libx264");
        let clock = Clock::simulated();
        let mut feed = Video::file(path).ffmpeg(ffmpeg()).read(&clock).unwrap();
        feed.next().unwrap().unwrap();
        kill_process(feed.ffmpeg.pid(), Signal::STOP).unwrap();
        let over = AtomicBool::new(false);
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    clock.advance(Duration::from_secs(1));
                    thread::yield_now();
                }
            });
            let error = drain(&mut feed).1;
            over.store(true, Ordering::Relaxed);
            error
        });
        check_error(&error.unwrap(), ErrorKind::Timeout, &["no picture for"]);
        assert!(feed.ffmpeg.finish().unwrap().code().is_none());
    }

    #[test]
    fn the_stopper_ends_a_blocked_read_without_an_error() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.mp4", SHORT, "libx264");
        let mut feed = Video::file(path).ffmpeg(ffmpeg()).endless().read(&Clock::real()).unwrap();
        feed.next().unwrap().unwrap();
        kill_process(feed.ffmpeg.pid(), Signal::STOP).unwrap();
        let stop = feed.stopper().unwrap();
        let stopping = thread::spawn(move || {
            stop();
            stop();
        });
        let (_, error) = drain(&mut feed);
        assert!(error.is_none(), "{error:?}");
        stopping.join().unwrap();
    }

    #[test]
    fn ffmpeg_outlives_the_thread_that_opened_it() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.mp4", SHORT, "libx264");
        let mut feed = thread::spawn(move || open(path).unwrap()).join().unwrap();
        let (frames, error) = drain(&mut feed);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames.len(), 50);
    }

    #[test]
    fn ffmpeg_dies_with_its_feed() {
        let folder = TempDir::new().unwrap();
        let feed = open(clip(folder.path(), "a.mp4", LONG, "libx264")).unwrap();
        let ffmpeg = pidfd_open(feed.ffmpeg.pid(), PidfdFlags::empty()).unwrap();
        drop(feed);
        assert!(ends_within(&ffmpeg, 0));
    }

    const HELD: &str = "JELLYBEAN_TEST_HELD_VIDEO";

    #[test]
    fn ffmpeg_dies_with_our_process() {
        let folder = TempDir::new().unwrap();
        let path = clip(folder.path(), "a.mp4", LONG, "libx264");
        let mut holder = Command::new(env::current_exe().unwrap())
            .args(["--exact", "source::video::tests::hold_a_video_open", "--ignored", "--nocapture"])
            .env(HELD, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(holder.stderr.take().unwrap()).lines().map(Result::unwrap);
        let pid = said.find_map(|line| line.strip_prefix("ffmpeg is ")?.parse().ok()).unwrap();
        let ffmpeg = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(ends_within(&ffmpeg, 30));
    }

    #[test]
    #[ignore = "not a test: the process that another test kills"]
    fn hold_a_video_open() {
        let Some(path) = env::var_os(HELD) else { return };
        let feed = open(path).unwrap();
        eprintln!("ffmpeg is {}", feed.ffmpeg.pid().as_raw_nonzero());
        std::io::stdin().lines().for_each(drop);
    }

    fn ends_within(process: &impl std::os::fd::AsFd, tv_sec: i64) -> bool {
        let bound = Timespec { tv_sec, tv_nsec: 0 };
        poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&bound)).unwrap() == 1
    }

    fn truncate(path: &Path, percent: u64) {
        let bytes = fs::metadata(path).unwrap().len();
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes * percent / 100).unwrap();
    }
}
