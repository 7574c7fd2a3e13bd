//! A thing followed, between frames.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Rules;
use super::kalman::Motion;
use crate::picture::{Detection, Embedding, Rect};

/// How many looks of a thing are kept.
const LOOKS_MAX: usize = 8;
/// How far apart they are, in milliseconds at least: neighbouring frames say the same.
const LOOK_EVERY_MS: u64 = 200;
/// How long one that is not confirmed may be out of sight, in milliseconds.
const UNCONFIRMED_MS_MAX: u64 = 300;

/// A detection, and what it looks like where that is known.
pub(super) struct Seen {
    pub(super) detection: Detection,
    pub(super) look: Option<Embedding>,
}

/// A thing followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Live {
    /// `None` until it is confirmed.
    pub(super) id: Option<u64>,
    pub(super) class: Arc<str>,
    pub(super) hits: u32,
    /// When it was last seen, in the camera's milliseconds.
    pub(super) seen_ms: u64,
    /// Where it was then.
    last: Rect,
    motion: Motion,
    /// The newest last.
    looks: VecDeque<Embedding>,
    looked_ms: u64,
}

impl Live {
    /// Begins to follow what is seen for the first time.
    pub(super) fn begin(seen: &Seen, now_ms: u64) -> Self {
        let Detection { class, rect, .. } = &seen.detection;
        Self {
            id: None,
            class: Arc::clone(class),
            hits: 1,
            seen_ms: now_ms,
            last: *rect,
            motion: Motion::begin(rect),
            looks: seen.look.iter().cloned().collect(),
            looked_ms: now_ms,
        }
    }

    pub(super) fn predict(&mut self, step_s: f32) {
        self.motion.predict(step_s);
    }

    /// Where it should be.
    pub(super) fn expected(&self) -> Rect {
        self.motion.rect()
    }

    /// Takes in where it was seen, near where it was expected.
    pub(super) fn follow(&mut self, seen: &Seen, now_ms: u64, is_sure: bool) {
        self.motion.correct(&seen.detection.rect);
        self.hits = self.hits.saturating_add(1);
        (self.seen_ms, self.last) = (now_ms, seen.detection.rect);
        // A doubtful detection shows half of the thing, or what hides it.
        let is_due = self.looks.is_empty() || now_ms >= self.looked_ms.saturating_add(LOOK_EVERY_MS);
        if let Some(look) = seen.look.as_ref().filter(|_| is_sure && is_due) {
            if self.looks.len() == LOOKS_MAX {
                self.looks.pop_front();
            }
            self.looks.push_back(look.clone());
            self.looked_ms = now_ms;
        }
    }

    /// Takes in where it was found again by its look: how it moves has to be learnt anew.
    pub(super) fn find_again(&mut self, seen: &Seen, now_ms: u64) {
        self.motion = Motion::begin(&seen.detection.rect);
        self.follow(seen, now_ms, true);
    }

    /// How alike it and a detection look: the most of all its looks, in -1..=1; `None` if either has none.
    pub(super) fn likeness(&self, seen: &Seen) -> Option<f32> {
        let look = seen.look.as_ref()?;
        self.looks.iter().map(|known| known.similarity(look)).max_by(f32::total_cmp)
    }

    /// Whether it can have got from where it was last seen to a detection.
    pub(super) fn can_be_at(&self, rect: &Rect, now_ms: u64, rules: &Rules) -> bool {
        let centre = |r: &Rect| (f32::midpoint(r.x0, r.x1), f32::midpoint(r.y0, r.y1));
        let ((x, y), (to_x, to_y)) = (centre(&self.last), centre(rect));
        let (dx, dy) = (to_x - x, to_y - y);
        let away_s = now_ms.saturating_sub(self.seen_ms) as f32 / 1_000.0;
        let size = f32::midpoint(self.last.x1 - self.last.x0, self.last.y1 - self.last.y0);
        let reach = size * (1.0 + rules.speed_max * away_s);
        dx * dx + dy * dy <= reach * reach
    }

    /// Whether it is still believed in.
    pub(super) fn is_kept(&self, now_ms: u64, rules: &Rules) -> bool {
        let patience_ms = match self.id {
            None => UNCONFIRMED_MS_MAX.min(rules.lost_ms_max),
            Some(_) if self.looks.is_empty() => rules.lost_ms_max,
            Some(_) => rules.lost_ms_max.max(rules.found_ms_max),
        };
        now_ms.saturating_sub(self.seen_ms) <= patience_ms
    }
}
