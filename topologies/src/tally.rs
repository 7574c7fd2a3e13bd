//! What windows have counted so far, for people to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jellybean_operators::prelude::{Call, Windowed};
use serde::{Deserialize, Serialize};

/// How many windows a tally remembers; older ones are forgotten first.
const WINDOWS_MAX: usize = 10_000;

/// What was counted of a class, by a camera, in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowCount {
    /// Who counted.
    pub camera: Arc<str>,
    /// What.
    pub class: Arc<str>,
    /// The window's first millisecond.
    pub start_ms: u64,
    /// The millisecond after its last.
    pub end_ms: u64,
    /// How many: distinct identities, or the mean per frame where there are none.
    pub count: f64,
    /// The most at once; of identities the same as `count`.
    pub most: u64,
}

impl WindowCount {
    /// Of a window of identities.
    #[must_use]
    pub fn of_distinct(window: Windowed<(Arc<str>, Arc<str>), BTreeSet<u64>>) -> Self {
        let Windowed { key: (camera, class), start_ms, end_ms, value } = window;
        let most = value.len() as u64;
        Self { camera, class, start_ms, end_ms, count: most as f64, most }
    }

    /// Of a window of counts, one per frame.
    #[must_use]
    pub fn of_frames(class: &str, window: Windowed<Arc<str>, Vec<u64>>) -> Self {
        let Windowed { key: camera, start_ms, end_ms, value } = window;
        let count = value.iter().sum::<u64>() as f64 / value.len().max(1) as f64;
        let most = value.iter().copied().max().unwrap_or(0);
        Self { camera, class: class.into(), start_ms, end_ms, count, most }
    }
}

/// A board that a run's counts are written on; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Windows>>);

/// What was counted of each class by each camera, by a window's start and end in milliseconds.
type Windows = BTreeMap<(u64, u64), BTreeMap<(Arc<str>, Arc<str>), f64>>;

/// What was counted, by camera, a window's start in milliseconds, and class.
pub type Counts = BTreeMap<(Arc<str>, u64, Arc<str>), f64>;

impl Tally {
    /// A sink that writes on the board.
    #[must_use]
    pub fn sink(&self) -> Call<WindowCount, impl Fn(u64, &WindowCount) + Send + Sync + 'static> {
        let tally = self.clone();
        Call::new(move |_epoch, count: &WindowCount| tally.add(count))
    }

    fn add(&self, count: &WindowCount) {
        let mut windows = self.lock();
        let classes = windows.entry((count.start_ms, count.end_ms)).or_default();
        *classes.entry((count.class.clone(), count.camera.clone())).or_default() += count.count;
        if windows.len() > WINDOWS_MAX {
            windows.pop_first();
        }
    }

    /// The newest window's counts, in a line; empty before the first.
    #[must_use]
    pub fn newest(&self) -> String {
        let windows = self.lock();
        let Some(((start_ms, end_ms), classes)) = windows.last_key_value() else { return String::new() };
        let counts: Vec<_> =
            sums(classes).iter().map(|(class, n)| format!("{class} {}", short(*n))).collect();
        format!("{}–{} s: {}", start_ms / 1000, end_ms / 1000, counts.join("  "))
    }

    /// Takes everything off the board.
    #[must_use]
    pub fn take(&self) -> Counts {
        let windows = std::mem::take(&mut *self.lock());
        let rows = windows.into_iter().flat_map(|((start_ms, _), counts)| {
            counts.into_iter().map(move |((class, camera), n)| ((camera, start_ms, class), n))
        });
        rows.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table: a line per window, a column per class.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows = self.lock();
        let classes: BTreeSet<&Arc<str>> =
            windows.values().flat_map(BTreeMap::keys).map(|(c, _)| c).collect();
        write!(f, "{:>14}", "window")?;
        for class in &classes {
            write!(f, "{class:>9}")?;
        }
        for ((start_ms, end_ms), counts) in windows.iter() {
            let span = format!("{}–{} s", start_ms / 1000, end_ms / 1000);
            write!(f, "\n{span:>14}")?;
            let counts = sums(counts);
            for class in &classes {
                write!(f, "{:>9}", counts.get(*class).map_or("·".to_owned(), |n| short(*n)))?;
            }
        }
        Ok(())
    }
}

/// All cameras together, by class.
fn sums(counts: &BTreeMap<(Arc<str>, Arc<str>), f64>) -> BTreeMap<&Arc<str>, f64> {
    let mut sums = BTreeMap::new();
    counts.iter().for_each(|((class, _), n)| *sums.entry(class).or_default() += n);
    sums
}

fn short(n: f64) -> String {
    if n.fract() == 0.0 { format!("{n:.0}") } else { format!("{n:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_per_window_and_a_column_per_class() {
        let tally = Tally::default();
        let count = |class: &str, start_ms, count| WindowCount {
            camera: "north".into(),
            class: class.into(),
            start_ms,
            end_ms: start_ms + 5_000,
            count,
            most: 9,
        };
        tally.add(&count("car", 0, 3.0));
        tally.add(&count("car", 0, 1.0));
        tally.add(&count("bus", 5_000, 1.5));
        let table = [
            "        window      bus      car",
            "         0–5 s        ·        4",
            "        5–10 s      1.5        ·",
        ];
        assert_eq!(tally.to_string(), table.join("\n"));
        assert_eq!(tally.newest(), "5–10 s: bus 1.5");
        let south = WindowCount { camera: "south".into(), ..count("car", 0, 2.0) };
        tally.add(&south);
        assert!(tally.to_string().contains("6"), "{tally}");
        let counts = tally.take();
        assert_eq!(counts[&("north".into(), 0, "car".into())], 4.0);
        assert_eq!((counts[&("south".into(), 0, "car".into())], counts.len()), (2.0, 3));
        assert!(tally.take().is_empty());
    }
}
