//! Follows things from frame to frame by the overlap of their boxes.
//!
//! The method is SORT's (Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016), simplified:
//! the Kalman filter is a smoothed constant velocity, the optimal assignment a greedy one.
//!
//! Invariant: pure state. What comes out depends on the detections alone, and a tracker that was
//! serialised in between goes on exactly as if it had not been.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::picture::{Detection, Detections, Frame, Rect};

/// How many things are followed at a time; further ones wait until there is room.
const LIVE_MAX: usize = 256;
/// How many detections of a frame are looked at: the best ones.
const SEEN_MAX: usize = 1_024;
/// The weight of the newest displacement in the velocity.
const FRESH: f32 = 0.5;

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

/// When two boxes are the same thing, and for how long a thing is believed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The least overlap (intersection over union) of a detection with where a track is expected, in 0..=1.
    pub iou_min: f32,
    /// A track is shown from its this-many-th detection in a row on.
    pub hits_to_confirm: u32,
    /// A confirmed track is forgotten after more than so many frames without a detection.
    pub misses_max: u32,
}

impl Default for Rules {
    fn default() -> Self {
        // Tried on 2400 frames of synthetic roads with their truth: fewer misses break more tracks at
        // occlusions, more hand a track on to another thing; so does less overlap.
        Self { iou_min: 0.2, hits_to_confirm: 3, misses_max: 15 }
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

/// A thing followed, between frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Live {
    /// `None` until it is confirmed.
    id: Option<u64>,
    class: Arc<str>,
    rect: Rect,
    /// When `rect` was seen, in the camera's milliseconds.
    seen_ms: u64,
    /// Of its centre, in pixels per millisecond; `None` until it was seen twice.
    velocity: Option<(f32, f32)>,
    hits: u32,
    misses: u32,
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
    /// Detections that are not finite are passed over; those beyond the first 1024 of a frame, and new
    /// things while 256 are being followed, as well.
    pub fn step(&mut self, detections: Detections) -> Tracks {
        let Detections { frame, mut seen } = detections;
        seen.truncate(SEEN_MAX);
        seen.retain(|d| is_finite(&d.rect));
        self.last_ms = self.last_ms.max(frame.time_ms);
        let expected: Vec<Rect> = self.live.iter().map(|l| l.expected(self.last_ms)).collect();
        let pairs = match_up(&self.live, &expected, &seen, self.rules.iou_min);

        let mut tracks = Vec::with_capacity(pairs.len());
        let mut is_new = vec![true; seen.len()];
        for live in &mut self.live {
            live.misses += 1;
        }
        for (known, number) in pairs {
            is_new[number] = false;
            let live = &mut self.live[known];
            live.take_in(&seen[number], self.last_ms);
            if live.id.is_none() && live.hits >= self.rules.hits_to_confirm {
                self.last_id += 1;
                live.id = Some(self.last_id);
            }
            tracks.extend(live.track(&seen[number]));
        }
        let misses_max = self.rules.misses_max;
        self.live.retain(|l| l.misses == 0 || (l.id.is_some() && l.misses <= misses_max));
        for (detection, _) in seen.iter().zip(is_new).filter(|(_, new)| *new) {
            tracks.extend(self.begin(detection));
        }
        tracks.sort_by_key(|t: &Track| t.id);
        Tracks { frame, tracks }
    }

    /// Starts to follow a thing; it is a track at once if one detection is enough.
    fn begin(&mut self, detection: &Detection) -> Option<Track> {
        if self.live.len() == LIVE_MAX {
            return None;
        }
        let id = (self.rules.hits_to_confirm <= 1).then(|| {
            self.last_id += 1;
            self.last_id
        });
        let class = Arc::clone(&detection.class);
        let live = Live {
            id,
            class,
            rect: detection.rect,
            seen_ms: self.last_ms,
            velocity: None,
            hits: 1,
            misses: 0,
        };
        let track = live.track(detection);
        self.live.push(live);
        track
    }
}

impl Live {
    /// Where it should be by now: its box, moved on at its velocity.
    fn expected(&self, now_ms: u64) -> Rect {
        let (vx, vy) = self.velocity.unwrap_or_default();
        let ms = now_ms.saturating_sub(self.seen_ms) as f32;
        let Rect { x0, y0, x1, y1 } = self.rect;
        Rect { x0: x0 + vx * ms, y0: y0 + vy * ms, x1: x1 + vx * ms, y1: y1 + vy * ms }
    }

    fn take_in(&mut self, detection: &Detection, now_ms: u64) {
        let ms = now_ms.saturating_sub(self.seen_ms);
        if ms > 0 {
            let ((x, y), (old_x, old_y)) = (centre(&detection.rect), centre(&self.rect));
            let fresh = ((x - old_x) / ms as f32, (y - old_y) / ms as f32);
            let old = self.velocity.unwrap_or(fresh);
            let mix = |fresh: f32, old: f32| FRESH * fresh + (1.0 - FRESH) * old;
            self.velocity = Some((mix(fresh.0, old.0), mix(fresh.1, old.1)));
        }
        self.rect = detection.rect;
        self.seen_ms = now_ms;
        self.hits = self.hits.saturating_add(1);
        self.misses = 0;
    }

    fn track(&self, seen: &Detection) -> Option<Track> {
        let id = self.id?;
        Some(Track {
            id,
            class: Arc::clone(&self.class),
            score: seen.score,
            rect: seen.rect,
            hits: self.hits,
        })
    }
}

/// Pairs of (known, seen) of the same class: always the pair with the most overlap next, each in one
/// pair at most. Ties go to the older track, then to the earlier detection.
fn match_up(live: &[Live], expected: &[Rect], seen: &[Detection], iou_min: f32) -> Vec<(usize, usize)> {
    let mut candidates = Vec::new();
    for (known, (track, place)) in live.iter().zip(expected).enumerate() {
        for (number, detection) in seen.iter().enumerate().filter(|(_, d)| d.class == track.class) {
            let iou = place.iou(&detection.rect);
            if iou >= iou_min && iou > 0.0 {
                candidates.push((iou, known, number));
            }
        }
    }
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let (mut known_taken, mut seen_taken) = (vec![false; live.len()], vec![false; seen.len()]);
    candidates.retain(|&(_, known, number)| {
        let free = !known_taken[known] && !seen_taken[number];
        known_taken[known] |= free;
        seen_taken[number] |= free;
        free
    });
    candidates.into_iter().map(|(_, known, number)| (known, number)).collect()
}

fn centre(rect: &Rect) -> (f32, f32) {
    (f32::midpoint(rect.x0, rect.x1), f32::midpoint(rect.y0, rect.y1))
}

fn is_finite(rect: &Rect) -> bool {
    [rect.x0, rect.y0, rect.x1, rect.y1].iter().all(|side| side.is_finite())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::picture::{Format, Picture};
    use crate::road::{Scene, Truth};

    fn frame(number: u64) -> Frame {
        let picture = Picture { width: 640, height: 360, format: Format::Jpeg, data: [].into() };
        Frame { camera: "a".into(), number, time_ms: number * 40, picture }
    }

    fn seen(class: &str, x0: f32, y0: f32) -> Detection {
        Detection { class: class.into(), score: 0.9, rect: Rect { x0, y0, x1: x0 + 40.0, y1: y0 + 30.0 } }
    }

    fn step(tracker: &mut Tracker, number: u64, seen: Vec<Detection>) -> Vec<Track> {
        tracker.step(Detections { frame: frame(number), seen }).tracks
    }

    fn ids(tracks: &[Track]) -> Vec<u64> {
        tracks.iter().map(|t| t.id).collect()
    }

    /// A splitmix64 generator: enough randomness for test data, the same in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, bound: f32) -> f32 {
            bound * (self.next() >> 40) as f32 / (1u64 << 24) as f32
        }
    }

    /// Things on four lanes, two in each direction, that jitter, and are missed every seventh time or so.
    fn street(number: u64, random: &mut Random) -> Vec<(usize, Detection)> {
        let mut all = Vec::new();
        for thing in 0..12 {
            let (lane, place) = (thing % 4, thing / 4);
            let speed = [7.0, 11.0, -9.0, -5.0][lane];
            let x = [0.0, -40.0, 600.0, 700.0][lane] + speed * number as f32
                - 150.0 * place as f32 * speed.signum();
            let class = if lane % 2 == 0 { "car" } else { "bus" };
            let detection = seen(class, x + random.below(4.0), 60.0 * lane as f32 + random.below(4.0));
            if !random.next().is_multiple_of(7) {
                all.push((thing, detection));
            }
        }
        all
    }

    #[test]
    fn identities_are_kept_across_jitter_and_misses() {
        let (mut tracker, mut random) = (Tracker::default(), Random(1));
        let mut names: Vec<Option<u64>> = vec![None; 12];
        let mut shown = 0;
        for number in 0..80 {
            let things = street(number, &mut random);
            let tracks = step(&mut tracker, number, things.iter().map(|(_, d)| d.clone()).collect());
            for track in &tracks {
                let (thing, _) = things.iter().find(|(_, d)| d.rect == track.rect).unwrap();
                assert_eq!(
                    *names[*thing].get_or_insert(track.id),
                    track.id,
                    "thing {thing} in frame {number}"
                );
                shown += 1;
            }
        }
        let mut given: Vec<u64> = names.into_iter().flatten().collect();
        given.sort_unstable();
        assert_eq!(given, (1..=12).collect::<Vec<_>>());
        assert!(shown > 700, "{shown} of about 820 detections were in a track");
    }

    #[test]
    fn a_track_on_a_road_is_one_thing() {
        let (mut all, mut shown, mut right) = (0, 0, 0);
        for seed in 0..6 {
            let scene = Scene::new(seed);
            let (mut tracker, mut owners) = (Tracker::default(), HashMap::new());
            for number in 0..250 {
                let truth = scene.render(number).1;
                let one = |t: &Truth| Detection { class: t.class.name().into(), score: 1.0, rect: t.rect };
                all += truth.len();
                for track in step(&mut tracker, number, truth.iter().map(one).collect()) {
                    let thing = truth.iter().find(|t| t.rect == track.rect).unwrap();
                    shown += 1;
                    right += usize::from(*owners.entry(track.id).or_insert(thing.id) == thing.id);
                }
            }
        }
        assert!(10 * shown > 9 * all && 100 * right >= 99 * shown, "{right} of {shown} of {all}");
    }

    #[test]
    fn a_round_trip_in_the_middle_changes_nothing() {
        let (mut straight, mut random) = (Tracker::default(), Random(2));
        let mut moved = straight.clone();
        for number in 0..60 {
            let now: Vec<_> = street(number, &mut random).into_iter().map(|(_, d)| d).collect();
            let (a, b) = (step(&mut straight, number, now.clone()), step(&mut moved, number, now));
            assert_eq!(a, b);
            moved = serde_json::from_slice(&serde_json::to_vec(&moved).unwrap()).unwrap();
            assert_eq!(moved, straight);
        }
    }

    #[test]
    fn a_thing_is_confirmed_late_and_forgotten_later() {
        let mut tracker = Tracker::new(Rules { misses_max: 2, ..Rules::default() });
        let here = || vec![seen("car", 100.0, 100.0)];
        let shown: Vec<_> = (0..4).map(|n| ids(&step(&mut tracker, n, here()))).collect();
        assert_eq!(shown, [vec![], vec![], vec![1], vec![1]]);
        assert!(step(&mut tracker, 4, vec![]).is_empty() && step(&mut tracker, 5, vec![]).is_empty());
        assert_eq!(ids(&step(&mut tracker, 6, here())), [1]);
        (7..10).for_each(|n| assert!(step(&mut tracker, n, vec![]).is_empty()));
        let shown: Vec<_> = (10..13).map(|n| ids(&step(&mut tracker, n, here()))).collect();
        assert_eq!(shown, [vec![], vec![], vec![2]]);
        // One that is not confirmed is forgotten at once.
        let mut fresh = Tracker::default();
        step(&mut fresh, 0, here());
        step(&mut fresh, 1, vec![]);
        assert!(fresh.live.is_empty());
    }

    #[test]
    fn one_detection_can_be_enough() {
        let mut tracker = Tracker::new(Rules { hits_to_confirm: 1, ..Rules::default() });
        let tracks = step(&mut tracker, 0, vec![seen("car", 0.0, 0.0), seen("car", 200.0, 0.0)]);
        assert_eq!(ids(&tracks), [1, 2]);
        assert_eq!(ids(&step(&mut tracker, 1, vec![seen("car", 200.0, 0.0)])), [2]);
    }

    #[test]
    fn classes_do_not_mix() {
        let mut tracker = Tracker::default();
        (0..3).for_each(|n| drop(step(&mut tracker, n, vec![seen("car", 0.0, 0.0)])));
        assert!(step(&mut tracker, 3, vec![seen("bus", 0.0, 0.0)]).is_empty());
    }

    #[test]
    fn nonsense_is_passed_over() {
        let mut tracker = Tracker::default();
        for number in 0..5 {
            let bad = [f32::NAN, f32::INFINITY].map(|x| seen("car", x, 0.0));
            let flat =
                Detection { rect: Rect { x0: 5.0, y0: 5.0, x1: 5.0, y1: 5.0 }, ..seen("car", 0.0, 0.0) };
            assert!(step(&mut tracker, number, [bad.to_vec(), vec![flat]].concat()).is_empty());
        }
        // Time that stands still or falls is taken for no time at all.
        for number in [9, 9, 2, 9] {
            step(&mut tracker, number, vec![seen("car", number as f32, 0.0)]);
        }
        assert_eq!(ids(&step(&mut tracker, 10, vec![seen("car", 9.0, 0.0)])), [1]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut tracker = Tracker::default();
        for number in 0..4 {
            let crowd = (0..2_000).map(|i| seen("car", 50.0 * i as f32, 0.0)).collect();
            assert!(step(&mut tracker, number, crowd).len() <= LIVE_MAX);
            assert_eq!(tracker.live.len(), LIVE_MAX);
        }
    }

    /// The dull twin of the matching: search all that is left for the best pair, again and again.
    fn match_up_dully(
        live: &[Live],
        expected: &[Rect],
        seen: &[Detection],
        iou_min: f32,
    ) -> Vec<(usize, usize)> {
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        loop {
            let mut best: Option<(f32, usize, usize)> = None;
            for known in (0..live.len()).filter(|k| pairs.iter().all(|p| p.0 != *k)) {
                for number in (0..seen.len()).filter(|n| pairs.iter().all(|p| p.1 != *n)) {
                    let iou = expected[known].iou(&seen[number].rect);
                    let fits = live[known].class == seen[number].class && iou >= iou_min && iou > 0.0;
                    if fits && best.is_none_or(|(most, _, _)| iou > most) {
                        best = Some((iou, known, number));
                    }
                }
            }
            let Some((_, known, number)) = best else { return pairs };
            pairs.push((known, number));
        }
    }

    #[test]
    fn matching_equals_its_dull_twin() {
        let mut random = Random(3);
        for _ in 0..200 {
            let mut boxes = |count: u64| -> Vec<Detection> {
                let kinds = ["car", "bus"];
                // Whole pixels, so that ties happen.
                let side = |r: &mut Random| r.below(8.0).floor() * 10.0;
                (0..count)
                    .map(|_| seen(kinds[(random.next() % 2) as usize], side(&mut random), side(&mut random)))
                    .collect()
            };
            let (known, now) = (boxes(12), boxes(15));
            let mut tracker = Tracker::default();
            step(&mut tracker, 0, known);
            let expected: Vec<Rect> = tracker.live.iter().map(|l| l.expected(40)).collect();
            let clever = match_up(&tracker.live, &expected, &now, 0.1);
            assert_eq!(clever, match_up_dully(&tracker.live, &expected, &now, 0.1));
        }
    }
}
