//! Videos with what was seen drawn on them.
//!
//! Invariant: every frame that is written is in a video once, in order, at its own time; and no file that
//! this run has written is written over.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jellybean_engine::sink::{Sink, Writer};
use jellybean_engine::{Clock, Epoch, Error, ErrorKind, Failure, Reason, Result};

use self::encoder::{Encoder, Writing};
use super::annotated::{Annotated, Painter, file_name};
use crate::picture::{Frame, Picture};

mod encoder;
mod matroska;

/// How many cameras are written side by side unless set otherwise: each has an ffmpeg of its own.
const CAMERAS_MAX: usize = 16;
/// How long after a failure, of the camera's time, the next file is begun, in milliseconds: a full disk would
/// else start an ffmpeg per frame.
const PAUSE_MS: u64 = 1_000;

/// Writes annotated frames as one video per camera into a folder: `camera.mp4` (H.264).
///
/// Frames are shown at their own times, so that what was left out is a picture that stands longer. Another
/// size in mid-stream, and what comes after a failure, begins the next file, `camera-2.mp4` and so on; so
/// does a run that moves the sink to another process, while within one process the file just goes on. Files can
/// be played while they are written, except for their last 50 frames.
///
/// ```no_run
/// use jellybean_operators::sink::Mp4;
/// use jellybean_operators::track::Tracks;
/// let sink: Mp4<Tracks> = Mp4::folder("out");
/// ```
#[derive(Clone, Debug)]
pub struct Mp4<T> {
    folder: PathBuf,
    fps: Option<u32>,
    cameras_max: usize,
    how: Writing,
    /// What is being written in this run by this process, on whichever node, as long as a writer is open.
    films: Arc<Mutex<Weak<Mutex<Films>>>>,
    record: PhantomData<fn(T)>,
}

impl<T> Mp4<T> {
    /// Writes every frame at its own time; makes the folder where it is missing.
    #[must_use]
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        let how = Writing {
            program: PathBuf::from("ffmpeg"),
            crf: 23,
            patience: Duration::from_secs(20),
            clock: Clock::real(),
        };
        Self {
            folder: path.into(),
            fps: None,
            cameras_max: CAMERAS_MAX,
            how,
            films: Arc::default(),
            record: PhantomData,
        }
    }

    /// Shows so many frames per second, whatever their times: a film in time lapse. 0 counts as 1.
    #[must_use]
    pub fn fps(mut self, frames: u32) -> Self {
        self.fps = Some(frames.max(1));
        self
    }

    /// The quality as libx264's constant rate factor, from 0, the best, to 51; 23 unless set.
    #[must_use]
    pub fn crf(mut self, crf: u8) -> Self {
        self.how.crf = crf.min(51);
        self
    }

    /// At most so many cameras, 16 unless set; frames of further ones fail.
    #[must_use]
    pub fn cameras_max(mut self, cameras: usize) -> Self {
        self.cameras_max = cameras;
        self
    }

    /// Which ffmpeg to run; without it, the one on `PATH`.
    #[must_use]
    pub fn ffmpeg(mut self, program: impl Into<PathBuf>) -> Self {
        self.how.program = program.into();
        self
    }

    /// How long ffmpeg may take nothing before it is killed: 20 s unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.how.patience = patience;
        self
    }

    /// What patience is measured by; the machine's clock unless set.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.how.clock = clock;
        self
    }

    fn films(&self, continues: bool) -> Films {
        Films {
            folder: self.folder.clone(),
            fps: self.fps,
            cameras_max: self.cameras_max,
            how: self.how.clone(),
            continues,
            by_camera: BTreeMap::new(),
            painter: Painter::default(),
        }
    }

    fn open_films(&self, continues: bool) -> Result<Arc<Mutex<Films>>> {
        super::make_folder(&self.folder)?;
        encoder::check(&self.how.program)?;
        Ok(Arc::new(Mutex::new(self.films(continues))))
    }
}

impl<T: Annotated> Sink for Mp4<T> {
    type Record = T;

    fn open(&self) -> Result<Box<dyn Writer<Record = T>>> {
        let films = self.open_films(false)?;
        *lock(&self.films) = Arc::downgrade(&films);
        Ok(Box::new(Filming { films, record: PhantomData }))
    }

    fn reopen(&self) -> Result<Box<dyn Writer<Record = T>>> {
        let mut known = lock(&self.films);
        let films = match known.upgrade() {
            Some(films) => films,
            None => self.open_films(true)?,
        };
        *known = Arc::downgrade(&films);
        Ok(Box::new(Filming { films, record: PhantomData }))
    }
}

struct Filming<T> {
    films: Arc<Mutex<Films>>,
    record: PhantomData<fn(T)>,
}

impl<T: Annotated> Writer for Filming<T> {
    type Record = T;

    fn write(&mut self, _: Epoch, record: T) -> Result<(), Failure> {
        lock(&self.films).write(&record)
    }

    fn close(&mut self) -> Result<(), Failure> {
        // The writer of the next generation goes on with the same files.
        if Arc::strong_count(&self.films) > 1 { Ok(()) } else { lock(&self.films).close() }
    }
}

/// The videos of a run, by camera.
struct Films {
    folder: PathBuf,
    fps: Option<u32>,
    cameras_max: usize,
    how: Writing,
    /// Whether the run may have written files before.
    continues: bool,
    by_camera: BTreeMap<Arc<str>, Film>,
    painter: Painter,
}

/// The videos of one camera, of which the last one is being written.
#[derive(Default)]
struct Film {
    part: u32,
    now: Option<Part>,
    /// When the last one failed, in the camera's time.
    failed_ms: Option<u64>,
}

/// A file being written.
struct Part {
    path: PathBuf,
    encoder: Encoder,
    width: u32,
    height: u32,
    begun_ms: u64,
    frames: u64,
    /// When its last picture is shown.
    last_ms: u64,
}

impl Films {
    fn write(&mut self, record: &impl Annotated) -> Result<(), Failure> {
        let frame = record.frame();
        let pixels = self.painter.paint(&frame.picture, &record.marks())?;
        if !self.by_camera.contains_key(&frame.camera) {
            if self.by_camera.len() >= self.cameras_max {
                let message = format!("camera {} is one more than {}", frame.camera, self.cameras_max);
                return Err(Failure::new(Reason::FAILED, message));
            }
            self.by_camera.insert(frame.camera.clone(), Film::default());
        }
        let film = self.by_camera.get_mut(&frame.camera).expect("it was put there");
        if film.failed_ms.is_some_and(|at| frame.time_ms < at.saturating_add(PAUSE_MS)) {
            let message =
                format!("the video of camera {} has failed; the next one begins later", frame.camera);
            return Err(Failure::new(Reason::FAILED, message));
        }
        let begin = |part: &mut u32| Part::begin(&self.folder, &self.how, self.continues, frame, part);
        film.write(frame, pixels, self.fps, begin).inspect_err(|_| film.failed_ms = Some(frame.time_ms))
    }

    fn close(&mut self) -> Result<(), Failure> {
        let films = std::mem::take(&mut self.by_camera);
        let ends = films.into_values().filter_map(|film| film.now).map(Part::end);
        // Each is waited for; the first failure is told.
        ends.fold(Ok(()), Result::and)
    }
}

impl Film {
    fn write(
        &mut self,
        frame: &Frame,
        pixels: &[u8],
        fps: Option<u32>,
        begin: impl Fn(&mut u32) -> Result<Part>,
    ) -> Result<(), Failure> {
        self.failed_ms = None;
        let Picture { width, height, .. } = frame.picture;
        let ended = self.now.take_if(|part| (part.width, part.height) != (width, height)).map(Part::end);
        if self.now.is_none() {
            self.now = Some(begin(&mut self.part).map_err(|e| failed(&e))?);
        }
        let written = self.now.as_mut().map_or(Ok(()), |part| part.write(frame, pixels, fps));
        if written.is_err() {
            self.now = None;
            return written;
        }
        // What the end of the file before took with it cannot be told apart; this frame stands for it.
        ended.unwrap_or(Ok(()))
    }
}

impl Part {
    fn begin(folder: &Path, how: &Writing, continues: bool, frame: &Frame, part: &mut u32) -> Result<Self> {
        let name = file_name(&frame.camera);
        let path = loop {
            *part += 1;
            let file = if *part == 1 { format!("{name}.mp4") } else { format!("{name}-{part}.mp4") };
            let path = folder.join(file);
            if !continues || !path.exists() {
                break path;
            }
        };
        let Picture { width, height, .. } = frame.picture;
        let encoder = Encoder::start(how, &path, width, height).map_err(|e| e.at(path.display()))?;
        Ok(Self { path, encoder, width, height, begun_ms: frame.time_ms, frames: 0, last_ms: 0 })
    }

    fn write(&mut self, frame: &Frame, pixels: &[u8], fps: Option<u32>) -> Result<(), Failure> {
        let own_ms = match fps {
            Some(fps) => self.frames.saturating_mul(1_000) / u64::from(fps),
            None => frame.time_ms.saturating_sub(self.begun_ms),
        };
        // Two pictures at one time would be one.
        let time_ms = if self.frames == 0 { 0 } else { own_ms.max(self.last_ms.saturating_add(1)) };
        let frames = self.frames;
        self.encoder.picture(time_ms, pixels).map_err(|e| {
            failed(
                &e.at(format!(
                    "{}, after {frames} frames, of which the last may be lost",
                    self.path.display()
                )),
            )
        })?;
        (self.frames, self.last_ms) = (self.frames + 1, time_ms);
        Ok(())
    }

    fn end(mut self) -> Result<(), Failure> {
        let place =
            format!("{}, of {} frames, of which the last may be lost", self.path.display(), self.frames);
        self.encoder.finish().map_err(|e| failed(&e.at(place)))
    }
}

fn failed(error: &Error) -> Failure {
    let reason = if error.kind() == ErrorKind::Timeout { Reason::TIMEOUT } else { Reason::FAILED };
    Failure::new(reason, error.to_string())
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
