//! Follows things from frame to frame by how they move, by the overlap of their boxes, and by their look.
//!
//! Motion is SORT's Kalman filter and assignment (Bewley et al., "Simple Online and Realtime Tracking", ICIP
//! 2016). Sure detections are assigned first, and doubtful ones to what is left, as in ByteTrack (Zhang et al.,
//! "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022). Where looks are known, they
//! count beside the overlap, and what was lost is found again by them within a time and a distance (Wojke et al.,
//! "Simple Online and Realtime Tracking with a Deep Association Metric", ICIP 2017). Boxes are compared with a margin,
//! so that what is small or fast is not lost at few frames per second (Yang et al., "Hard to Track Objects with
//! Irregular Motions and Similar Appearances? Make It Easier by Buffering the Matching Space", WACV 2023).
//!
//! Invariant: pure state. What comes out depends on the detections alone, and a tracker that was
//! serialised in between goes on exactly as if it had not been. Work and memory per frame are bounded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::picture::{Appearances, Detection, Detections, Frame, Rect};
use live::{Live, Seen};
use matching::{Candidate, match_up};

mod kalman;
mod live;
mod matching;

#[cfg(test)]
mod tests;

/// How many things are followed at a time.
const LIVE_MAX: usize = 256;
/// How many detections of a frame are looked at: the surest ones.
const SEEN_MAX: usize = 1_024;
/// How far from the picture's origin a box may reach, in pixels, so that areas stay exact enough.
const FAR_MAX: f32 = 1e6;
/// The margin around boxes when they are compared, in sizes of the box (mean of width and height).
const MARGIN: f32 = 0.1;

/// The tracker of one camera.
///
/// ```
/// use jellybean_operators::picture::{Detection, Detections, Format, Frame, Picture, Rect};
/// use jellybean_operators::track::Tracker;
///
/// let mut tracker = Tracker::default();
/// let mut last = None;
/// for number in 0..5 {
///     let x0 = 10.0 * number as f32;
///     let picture = Picture { width: 100, height: 40, format: Format::Jpeg, data: [].into() };
///     let frame = Frame { camera: "north".into(), number, time_ms: 40 * number, picture };
///     let rect = Rect { x0, y0: 0.0, x1: x0 + 30.0, y1: 20.0 };
///     let seen = vec![Detection { class: "car".into(), score: 0.9, rect }];
///     last = Some(tracker.step(Detections { frame, seen }));
/// }
/// let tracks = last.unwrap().tracks;
/// assert_eq!((tracks[0].id, tracks[0].hits), (1, 5));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracker {
    rules: Rules,
    live: Vec<Live>,
    last_id: u64,
    last_ms: u64,
}

/// When two boxes are the same thing, and for how long a thing is believed in. Times are the camera's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// A detection of at least this score is sure: it may begin a track. In 0..=1.
    pub score_sure: f32,
    /// One of less than this is passed over; one in between can only go on with a track. In 0..=1.
    pub score_min: f32,
    /// The least overlap of a sure detection with where a track is expected, both with a margin of a tenth of
    /// their size: intersection over union, in 0..=1.
    pub iou_min: f32,
    /// The same for a doubtful one.
    pub iou_min_unsure: f32,
    /// A track is shown from its this-many-th sure detection on.
    pub hits_to_confirm: u32,
    /// A confirmed track is forgotten when it was not seen for longer than this, in milliseconds.
    pub lost_ms_max: u64,
    /// How much looks count beside overlap, in 0..=1; nothing where they are not known.
    pub look_weight: f32,
    /// The least similarity (cosine) by which a lost track is found again away from where it is expected, in -1..=1.
    pub similarity_min: f32,
    /// How long after it was last seen, in milliseconds.
    pub found_ms_max: u64,
    /// How fast it can have gone meanwhile, in sizes of its box (mean of width and height) per second.
    pub speed_max: f32,
}

impl Default for Rules {
    fn default() -> Self {
        // Scores, overlaps, hits and the time lost are tuned on synthetic roads (seeds 0 to 9) as the filter is.
        Self {
            score_sure: 0.5,
            score_min: 0.3,
            iou_min: 0.25,
            iou_min_unsure: 0.3,
            hits_to_confirm: 2,
            lost_ms_max: 2_000,
            look_weight: 0.3,
            similarity_min: 0.7,
            found_ms_max: 10_000,
            speed_max: 4.0,
        }
    }
}

/// The things followed that were seen in a frame; the frame goes along. Sorted by rising id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracks {
    /// The frame.
    pub frame: Frame,
    /// What was seen in it, as far as it is confirmed.
    pub tracks: Vec<Track>,
}

/// One thing followed, as it was seen in a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Its identity: 1, 2, 3, … in the order of confirmation, per tracker, that is per camera.
    pub id: u64,
    /// The class's name.
    pub class: Arc<str>,
    /// Of this frame's detection, in 0..=1.
    pub score: f32,
    /// Of this frame's detection, in pixels of the frame.
    pub rect: Rect,
    /// How many detections it is made of so far.
    pub hits: u32,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new(Rules::default())
    }
}

impl Tracker {
    /// A tracker that has seen nothing yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, live: Vec::new(), last_id: 0, last_ms: 0 }
    }

    /// Takes in the next frame's detections and tells which known thing each is.
    ///
    /// Detections that are not finite or absurdly far away are passed over; those beyond the 1024 surest of a
    /// frame as well. 256 things are followed at a time: for a new one, the one that was lost for longest is
    /// forgotten, and while all are in sight new ones wait.
    pub fn step(&mut self, detections: Detections) -> Tracks {
        let Detections { frame, seen } = detections;
        let seen = seen.into_iter().map(|detection| Seen { detection, look: None }).collect();
        self.take_in(frame, seen)
    }

    /// The same with what each thing looks like. At most eight looks of a track are kept.
    ///
    /// ```
    /// use jellybean_operators::picture::{
    ///     Appearance, Appearances, Detection, Embedding, Format, Frame, Picture, Rect,
    /// };
    /// use jellybean_operators::track::Tracker;
    ///
    /// let mut tracker = Tracker::default();
    /// let mut ids = Vec::new();
    /// // Behind a lorry for two seconds, and out again elsewhere.
    /// for (number, x0) in [(0, 10.0), (1, 11.0), (2, 12.0), (52, 60.0)] {
    ///     let picture = Picture { width: 100, height: 40, format: Format::Jpeg, data: [].into() };
    ///     let frame = Frame { camera: "north".into(), number, time_ms: 40 * number, picture };
    ///     let rect = Rect { x0, y0: 0.0, x1: x0 + 30.0, y1: 20.0 };
    ///     let detection = Detection { class: "car".into(), score: 0.9, rect };
    ///     let embedding = Embedding::normalised(&[0.6, 0.8]).unwrap();
    ///     let seen = vec![Appearance { detection, embedding }];
    ///     ids.extend(tracker.step_seen(Appearances { frame, seen }).tracks.iter().map(|t| t.id));
    /// }
    /// assert_eq!(ids, [1, 1, 1]);
    /// ```
    pub fn step_seen(&mut self, appearances: Appearances) -> Tracks {
        let Appearances { frame, seen } = appearances;
        let seen = seen.into_iter().map(|a| Seen { detection: a.detection, look: Some(a.embedding) });
        let seen = seen.collect();
        self.take_in(frame, seen)
    }

    fn take_in(&mut self, frame: Frame, mut seen: Vec<Seen>) -> Tracks {
        seen.retain(|s| is_usable(&s.detection, self.rules.score_min));
        seen.sort_by(|a, b| b.detection.score.total_cmp(&a.detection.score));
        seen.truncate(SEEN_MAX);
        let sure = seen.partition_point(|s| s.detection.score >= self.rules.score_sure);

        let now_ms = self.last_ms.max(frame.time_ms);
        let step_s = now_ms.saturating_sub(self.last_ms) as f32 / 1_000.0;
        self.last_ms = now_ms;
        self.live.iter_mut().for_each(|live| live.predict(step_s));

        let mut round = Round::new(&self.rules, &self.live, &seen, sure, now_ms);
        round.match_sure();
        round.match_unsure();
        round.find_again();
        round.match_unconfirmed();
        let Round { pairs, seen_taken, .. } = round;

        let mut tracks = Vec::with_capacity(pairs.len());
        for Pair { known, seen: number, is_found } in pairs {
            let (live, seen) = (&mut self.live[known], &seen[number]);
            if is_found {
                live.find_again(seen, now_ms);
            } else {
                live.follow(seen, now_ms, number < sure);
            }
            tracks.extend(confirmed(live, &seen.detection, &self.rules, &mut self.last_id));
        }
        let rules = &self.rules;
        self.live.retain(|live| live.is_kept(now_ms, rules));
        for (new, _) in seen.iter().zip(seen_taken).take(sure).filter(|(_, taken)| !taken) {
            tracks.extend(self.begin(new));
        }
        tracks.sort_by_key(|t: &Track| t.id);
        Tracks { frame, tracks }
    }

    /// Starts to follow a thing; it is a track at once if one detection is enough.
    fn begin(&mut self, seen: &Seen) -> Option<Track> {
        // Flat ones overlap nothing, not even themselves.
        if seen.detection.rect.area() <= 0.0 || !self.make_room() {
            return None;
        }
        let mut live = Live::begin(seen, self.last_ms);
        let track = confirmed(&mut live, &seen.detection, &self.rules, &mut self.last_id);
        self.live.push(live);
        track
    }

    /// Whether one more can be followed; forgets the one that was lost for longest if need be.
    fn make_room(&mut self) -> bool {
        if self.live.len() < LIVE_MAX {
            return true;
        }
        let lost = self.live.iter().enumerate().filter(|(_, live)| live.seen_ms < self.last_ms);
        let Some((longest, _)) = lost.min_by_key(|(_, live)| live.seen_ms) else { return false };
        self.live.remove(longest);
        true
    }
}

/// The track that a thing is, with its identity, once it was seen often enough.
fn confirmed(live: &mut Live, seen: &Detection, rules: &Rules, last_id: &mut u64) -> Option<Track> {
    if live.id.is_none() && live.hits >= rules.hits_to_confirm {
        *last_id += 1;
        live.id = Some(*last_id);
    }
    let class = Arc::clone(&live.class);
    Some(Track { id: live.id?, class, score: seen.score, rect: seen.rect, hits: live.hits })
}

fn is_usable(detection: &Detection, score_min: f32) -> bool {
    let Rect { x0, y0, x1, y1 } = detection.rect;
    let near = |side: f32| side.abs() <= FAR_MAX;
    [x0, y0, x1, y1].into_iter().all(near) && x0 <= x1 && y0 <= y1 && detection.score >= score_min
}

fn with_margin(rect: &Rect) -> Rect {
    let Rect { x0, y0, x1, y1 } = *rect;
    let margin = MARGIN * f32::midpoint(x1 - x0, y1 - y0);
    Rect { x0: x0 - margin, y0: y0 - margin, x1: x1 + margin, y1: y1 + margin }
}

/// A known thing and the detection it is.
struct Pair {
    known: usize,
    seen: usize,
    /// By its look, far from where it was expected.
    is_found: bool,
}

/// The rounds in which one frame's detections are given to what is known.
struct Round<'a> {
    rules: &'a Rules,
    live: &'a [Live],
    expected: Vec<Rect>,
    /// The sure ones first.
    seen: &'a [Seen],
    sure: usize,
    now_ms: u64,
    live_taken: Vec<bool>,
    seen_taken: Vec<bool>,
    pairs: Vec<Pair>,
}

impl<'a> Round<'a> {
    fn new(rules: &'a Rules, live: &'a [Live], seen: &'a [Seen], sure: usize, now_ms: u64) -> Self {
        Self {
            rules,
            live,
            expected: live.iter().map(Live::expected).collect(),
            seen,
            sure,
            now_ms,
            live_taken: vec![false; live.len()],
            seen_taken: vec![false; seen.len()],
            pairs: Vec::new(),
        }
    }

    /// Sure detections to confirmed tracks, by overlap and look.
    fn match_sure(&mut self) {
        let iou_min = self.rules.iou_min;
        let candidates = self.candidates(0..self.sure, |round, live, rect, seen| {
            let is_known = live.id.is_some() && round.lost_ms(live) <= round.rules.lost_ms_max;
            is_known.then(|| round.gain(live, rect, seen, iou_min))?
        });
        self.take(candidates, false);
    }

    /// Doubtful detections to confirmed tracks that are not lost yet: what is half hidden scores low.
    fn match_unsure(&mut self) {
        let iou_min = self.rules.iou_min_unsure;
        let candidates = self.candidates(self.sure..self.seen.len(), |round, live, rect, seen| {
            let is_known = live.id.is_some() && round.lost_ms(live) <= round.rules.lost_ms_max;
            is_known.then(|| round.gain(live, rect, seen, iou_min))?
        });
        self.take(candidates, false);
    }

    /// Sure detections to lost tracks that they look like and that can have got there.
    fn find_again(&mut self) {
        let candidates = self.candidates(0..self.sure, |round, live, _, seen| {
            let is_lost = live.id.is_some() && round.lost_ms(live) <= round.rules.found_ms_max;
            if !is_lost || !live.can_be_at(&seen.detection.rect, round.now_ms, round.rules) {
                return None;
            }
            Some(live.likeness(seen)? - round.rules.similarity_min)
        });
        self.take(candidates, true);
    }

    /// What is left of sure detections to what is not confirmed yet.
    fn match_unconfirmed(&mut self) {
        let iou_min = self.rules.iou_min;
        let candidates = self.candidates(0..self.sure, |round, live, rect, seen| {
            live.id.is_none().then(|| round.gain(live, rect, seen, iou_min))?
        });
        self.take(candidates, false);
    }

    /// What a pair that overlaps enough is worth.
    fn gain(&self, live: &Live, expected: &Rect, seen: &Seen, iou_min: f32) -> Option<f32> {
        let iou = with_margin(expected).iou(&with_margin(&seen.detection.rect));
        if iou < iou_min || iou <= 0.0 {
            return None;
        }
        let overlap = iou - iou_min;
        let Some(likeness) = live.likeness(seen) else { return Some(overlap) };
        let weight = self.rules.look_weight;
        Some((1.0 - weight) * overlap + weight * likeness.max(0.0))
    }

    /// How long ago it was seen, not counting this frame.
    fn lost_ms(&self, live: &Live) -> u64 {
        self.now_ms.saturating_sub(live.seen_ms)
    }

    /// The pairs of the same class, of those that are free, that are worth more than nothing.
    fn candidates(
        &self,
        among: std::ops::Range<usize>,
        gain: impl Fn(&Self, &Live, &Rect, &Seen) -> Option<f32>,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (known, live) in self.live.iter().enumerate().filter(|(known, _)| !self.live_taken[*known]) {
            for number in among.clone().filter(|number| !self.seen_taken[*number]) {
                let seen = &self.seen[number];
                if seen.detection.class == live.class {
                    // A pair of just enough overlap is worth a little.
                    let gain = gain(self, live, &self.expected[known], seen).map(|gain| gain + 1e-6);
                    candidates.extend(gain.filter(|g| *g > 0.0).map(|gain| Candidate {
                        known,
                        seen: number,
                        gain,
                    }));
                }
            }
        }
        candidates
    }

    fn take(&mut self, candidates: Vec<Candidate>, is_found: bool) {
        for (known, seen) in match_up(candidates) {
            (self.live_taken[known], self.seen_taken[seen]) = (true, true);
            self.pairs.push(Pair { known, seen, is_found });
        }
    }
}
