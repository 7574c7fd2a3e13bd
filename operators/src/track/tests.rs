use std::collections::HashMap;

use super::*;
use crate::mot::{Boxed, Compared, Score, score};
use crate::picture::{Appearance, Embedding, Format, Picture};
use crate::road::{Scene, Truth};

/// Frames of 25 per second.
const STEP_MS: u64 = 40;

fn frame(number: u64) -> Frame {
    let picture = Picture { width: 640, height: 360, format: Format::Jpeg, data: [].into() };
    Frame { camera: "a".into(), number, time_ms: number * STEP_MS, picture }
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

    /// Nearly normal, of deviation 1.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.below(1.0)).sum::<f32>() - 6.0
    }
}

/// Things on four lanes, two in each direction, that jitter, and are missed every seventh time or so.
fn street(number: u64, random: &mut Random) -> Vec<(usize, Detection)> {
    let mut all = Vec::new();
    for thing in 0..12 {
        let (lane, place) = (thing % 4, thing / 4);
        let speed = [7.0, 11.0, -9.0, -5.0][lane];
        let x = [0.0, -40.0, 600.0, 700.0][lane] + speed * number as f32
            - 150.0 * place as f32 * f32::signum(speed);
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
            let name = *names[*thing].get_or_insert(track.id);
            assert_eq!(name, track.id, "thing {thing} in frame {number}");
            shown += 1;
        }
    }
    let mut given: Vec<u64> = names.into_iter().flatten().collect();
    given.sort_unstable();
    assert_eq!(given, (1..=12).collect::<Vec<_>>());
    assert!(shown > 700, "{shown} of about 820 detections were in a track");
}

/// What a bad detector makes of the truth: boxes that are off by 6 % of their size, a seventh missed, a fifth of
/// the others doubtful, and something that is not there in every second frame.
fn made_worse(truth: &[Truth], random: &mut Random) -> Vec<Detection> {
    let mut all = Vec::new();
    for thing in truth {
        if random.below(1.0) < 0.15 {
            continue;
        }
        let Rect { x0, y0, x1, y1 } = thing.rect;
        let off = 0.06 * f32::midpoint(x1 - x0, y1 - y0);
        let [dx, dy, dw, dh] = [off, off, off / 2.0, off / 2.0].map(|off| off * random.normal());
        let rect = Rect { x0: x0 + dx - dw, y0: y0 + dy - dh, x1: x1 + dx + dw, y1: y1 + dy + dh };
        let is_doubtful = random.below(1.0) < 0.2;
        let score = if is_doubtful { 0.3 + random.below(0.2) } else { 0.5 + random.below(0.5) };
        all.push(Detection { class: thing.class.name().into(), score, rect });
    }
    if random.below(1.0) < 0.5 {
        let (x0, y0) = (random.below(280.0), random.below(150.0));
        let rect = Rect { x0, y0, x1: x0 + 10.0 + random.below(25.0), y1: y0 + 10.0 + random.below(25.0) };
        all.push(Detection { class: "car".into(), score: 0.3 + random.below(0.5), rect });
    }
    all
}

/// How the tracker does on a road whose truth was made worse, of which every so-manieth frame is seen.
fn on_a_road(seed: u64, every: usize) -> Score {
    let (scene, mut random) = (Scene::new(seed), Random(seed));
    let (mut tracker, mut frames) = (Tracker::default(), Vec::new());
    for number in (0..250).step_by(every) {
        let truth = scene.render(number).1;
        let tracks = step(&mut tracker, number, made_worse(&truth, &mut random));
        frames.push(Compared {
            truth: truth.iter().map(|t| Boxed { id: t.id, rect: t.rect }).collect(),
            tracked: tracks.iter().map(|t| Boxed { id: t.id, rect: t.rect }).collect(),
        });
    }
    score(&frames, 0.5)
}

#[test]
fn roads_seen_badly_are_followed_well() {
    // Other roads than those the rules were tuned on. A seventh of the boxes cannot be found at all.
    let (mut all, mut rare) = (Vec::new(), Vec::new());
    for seed in 100..106 {
        let (score, seldom) = (on_a_road(seed, 1), on_a_road(seed, 5));
        assert!(score.mota > 0.76 && score.idf1 > 0.75, "seed {seed}: {score:?}");
        assert!(seldom.mota > 0.6 && seldom.idf1 > 0.6, "seed {seed}, every fifth frame: {seldom:?}");
        all.push(score);
        rare.push(seldom);
    }
    let mean = |of: &[Score], what: fn(&Score) -> f64| of.iter().map(what).sum::<f64>() / of.len() as f64;
    let means = [&all, &rare].map(|of| (mean(of, |s| s.mota), mean(of, |s| s.idf1)));
    assert!(means[0].0 > 0.8 && means[0].1 > 0.8, "{means:?}");
    assert!(means[1].0 > 0.66 && means[1].1 > 0.7, "{means:?}");
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

/// Somebody's look, a little different every time.
fn look(of: usize, random: &mut Random) -> Embedding {
    let values: Vec<f32> =
        (0..16).map(|i| if i == of { 1.0 } else { 0.0 } + 0.08 * random.normal()).collect();
    Embedding::normalised(&values).unwrap()
}

fn step_seen(tracker: &mut Tracker, number: u64, seen: Vec<(Detection, Embedding)>) -> Vec<Track> {
    let seen = seen.into_iter().map(|(detection, embedding)| Appearance { detection, embedding }).collect();
    tracker.step_seen(Appearances { frame: frame(number), seen }).tracks
}

/// Two that walk towards each other, stand behind a wall for two seconds, and go back to where they came from.
fn meeting(number: u64, random: &mut Random) -> Vec<(Detection, Embedding)> {
    let away = match number {
        0..40 => 4.0 * number as f32,
        40..90 => return Vec::new(),
        _ => 160.0 - 4.0 * (number - 90) as f32,
    };
    [100.0 + away, 460.0 - away]
        .into_iter()
        .enumerate()
        .map(|(who, x)| (seen("person", x, 100.0), look(who, random)))
        .collect()
}

#[test]
fn looks_tell_apart_what_motion_confuses() {
    let mut random = Random(3);
    let (mut by_look, mut by_motion) = (Tracker::default(), Tracker::default());
    let (mut right_by_look, mut right_by_motion) = (0, 0);
    for number in 0..120 {
        let all = meeting(number, &mut random);
        let count = |tracks: &[Track]| {
            let is_right = |t: &&Track| all.get(t.id as usize - 1).is_some_and(|(d, _)| d.rect == t.rect);
            if number < 90 { 0 } else { tracks.iter().filter(is_right).count() }
        };
        right_by_motion += count(&step(&mut by_motion, number, all.iter().map(|(d, _)| d.clone()).collect()));
        right_by_look += count(&step_seen(&mut by_look, number, all.clone()));
    }
    assert_eq!(right_by_look, 60);
    assert!(right_by_motion < 30, "{right_by_motion}");
}

#[test]
fn what_is_lost_is_found_again_within_time_and_distance_only() {
    let found = |gone: u64, x: f32, who: usize| {
        let (mut tracker, mut random) = (Tracker::default(), Random(4));
        for number in 0..10 {
            step_seen(&mut tracker, number, vec![(seen("person", 100.0, 100.0), look(0, &mut random))]);
        }
        for number in 10..10 + gone {
            step_seen(&mut tracker, number, Vec::new());
        }
        let mut last = Vec::new();
        for number in 10 + gone..13 + gone {
            last = step_seen(&mut tracker, number, vec![(seen("person", x, 100.0), look(who, &mut random))]);
        }
        ids(&last)
    };
    assert_eq!(found(50, 220.0, 0), [1], "two seconds away, and some way off");
    assert_eq!(found(50, 220.0, 1), [2], "somebody else");
    assert_eq!(found(240, 500.0, 0), [1], "9.6 s away");
    assert_eq!(found(260, 220.0, 0), [2], "10.4 s away");
    assert_eq!(found(5, 400.0, 0), [2], "nobody is that fast");
}

#[test]
fn looks_are_kept_in_bounds() {
    let (mut tracker, mut random) = (Tracker::default(), Random(5));
    let mut bytes = Vec::new();
    for number in 0..400 {
        step_seen(&mut tracker, number, vec![(seen("person", 100.0, 100.0), look(0, &mut random))]);
        bytes.push(serde_json::to_vec(&tracker).unwrap().len());
    }
    assert!(bytes[399] < bytes[100] + 200, "{} and {}", bytes[100], bytes[399]);
}

#[test]
fn a_round_trip_in_the_middle_changes_nothing() {
    let (mut straight, mut random) = (Tracker::default(), Random(2));
    let mut moved = straight.clone();
    for number in 0..60 {
        let mut now: Vec<_> = street(number, &mut random)
            .into_iter()
            .map(|(thing, mut d)| {
                d.score = 0.3 + random.below(0.7);
                (d, look(thing, &mut random))
            })
            .collect();
        if number % 20 > 14 {
            now.truncate(3);
        }
        let (a, b) = (step_seen(&mut straight, number, now.clone()), step_seen(&mut moved, number, now));
        assert_eq!(a, b);
        moved = serde_json::from_slice(&serde_json::to_vec(&moved).unwrap()).unwrap();
        assert_eq!(moved, straight);
    }
}

#[test]
fn a_thing_is_confirmed_late_and_forgotten_later() {
    let rules = Rules { hits_to_confirm: 3, lost_ms_max: 3 * STEP_MS, ..Rules::default() };
    let mut tracker = Tracker::new(rules);
    let here = || vec![seen("car", 100.0, 100.0)];
    let shown: Vec<_> = (0..4).map(|n| ids(&step(&mut tracker, n, here()))).collect();
    assert_eq!(shown, [vec![], vec![], vec![1], vec![1]]);
    assert!(step(&mut tracker, 4, vec![]).is_empty() && step(&mut tracker, 5, vec![]).is_empty());
    assert_eq!(ids(&step(&mut tracker, 6, here())), [1]);
    (7..11).for_each(|n| assert!(step(&mut tracker, n, vec![]).is_empty()));
    let shown: Vec<_> = (11..14).map(|n| ids(&step(&mut tracker, n, here()))).collect();
    assert_eq!(shown, [vec![], vec![], vec![2]]);
    // One that is not confirmed is forgotten sooner.
    let mut fresh = Tracker::default();
    step(&mut fresh, 0, here());
    step(&mut fresh, 7, vec![]);
    assert_eq!(fresh.live.len(), 1);
    step(&mut fresh, 8, vec![]);
    assert!(fresh.live.is_empty());
}

#[test]
fn frames_that_are_left_out_change_little() {
    // Things that go evenly are followed by time, not by the number of frames.
    for every in [1, 2, 5] {
        let mut tracker = Tracker::default();
        for number in (0..100).step_by(every) {
            // A gap of most of a second, during which it goes on.
            if !(40..60).contains(&number) {
                let tracks = step(&mut tracker, number, vec![seen("car", 4.0 * number as f32, 100.0)]);
                assert!(number == 0 || ids(&tracks) == [1], "every {every}, frame {number}: {tracks:?}");
            }
        }
    }
}

#[test]
fn a_doubtful_detection_goes_on_but_never_begins() {
    let doubtful = |x0: f32, score| Detection { score, ..seen("car", x0, 100.0) };
    let mut tracker = Tracker::default();
    (0..5).for_each(|n| assert!(step(&mut tracker, n, vec![doubtful(300.0, 0.4)]).is_empty()));
    (5..8).for_each(|n| drop(step(&mut tracker, n, vec![seen("car", 100.0, 100.0)])));
    assert_eq!(ids(&step(&mut tracker, 8, vec![doubtful(101.0, 0.4)])), [1]);
    assert!(step(&mut tracker, 9, vec![doubtful(101.0, 0.2)]).is_empty(), "below the least score");
    // A sure one comes first, even where a doubtful one overlaps more.
    let both = vec![doubtful(100.0, 0.4), seen("car", 110.0, 100.0)];
    assert_eq!(step(&mut tracker, 10, both)[0].rect.x0, 110.0);
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
    let (mut tracker, mut random) = (Tracker::default(), Random(6));
    let mut one = |class| vec![(seen(class, 0.0, 0.0), look(0, &mut random))];
    (0..3).for_each(|n| drop(step_seen(&mut tracker, n, one("car"))));
    assert!(step_seen(&mut tracker, 3, one("bus")).is_empty());
    assert_eq!(ids(&step_seen(&mut tracker, 4, one("car"))), [1]);
}

#[test]
fn nonsense_is_passed_over() {
    let mut tracker = Tracker::default();
    for number in 0..5 {
        let bad = [f32::NAN, f32::INFINITY, 1e30].map(|x| seen("car", x, 0.0));
        let flat = Detection { rect: Rect { x0: 5.0, y0: 5.0, x1: 5.0, y1: 5.0 }, ..seen("car", 0.0, 0.0) };
        let inside_out = Detection { rect: Rect { x0: 9.0, y0: 9.0, x1: 5.0, y1: 5.0 }, ..flat.clone() };
        let unscored = Detection { score: f32::NAN, ..seen("car", 0.0, 0.0) };
        let all = [bad.to_vec(), vec![flat, inside_out, unscored]].concat();
        assert!(step(&mut tracker, number, all).is_empty());
    }
    // Time that stands still or falls is taken for no time at all.
    for number in [9, 9, 2, 9] {
        step(&mut tracker, number, vec![seen("car", number as f32, 0.0)]);
    }
    assert_eq!(ids(&step(&mut tracker, 10, vec![seen("car", 9.0, 0.0)])), [1]);
    // So is the end of time.
    let mut frame = frame(11);
    frame.time_ms = u64::MAX;
    assert!(tracker.step(Detections { frame, seen: vec![] }).tracks.is_empty());
    assert!(tracker.live.is_empty());
}

#[test]
fn memory_is_bounded() {
    let mut tracker = Tracker::default();
    for number in 0..4 {
        let crowd = (0..10_000).map(|i| seen("car", 50.0 * i as f32, 0.0)).collect();
        assert!(step(&mut tracker, number, crowd).len() <= LIVE_MAX);
        assert_eq!(tracker.live.len(), LIVE_MAX);
    }
    // All in one place is the most work there is.
    for number in 4..8 {
        let crowd = (0..10_000).map(|i| seen("car", 0.01 * i as f32, 0.0)).collect();
        assert!(step(&mut tracker, number, crowd).len() <= LIVE_MAX);
        assert!(tracker.live.len() <= LIVE_MAX);
    }
}

#[test]
fn what_was_lost_for_longest_makes_room() {
    let mut tracker = Tracker::default();
    let crowd = |y0: f32, n: usize| (0..n).map(|i| seen("car", 50.0 * i as f32, y0)).collect::<Vec<_>>();
    (0..2).for_each(|n| drop(step(&mut tracker, n, crowd(0.0, LIVE_MAX))));
    let tracks = (2..4).map(|n| step(&mut tracker, n, crowd(100.0, 3)).len()).collect::<Vec<_>>();
    assert_eq!((tracks, tracker.live.len()), (vec![0, 3], LIVE_MAX));
}
