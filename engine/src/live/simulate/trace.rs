//! Recorded rates and widths of a link, second by second.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::live::observe::RATE_MAX;

/// A trace is no longer: two weeks.
const SECONDS_MAX: usize = 14 * 86_400;

/// What was offered in every second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// By source; under no name, of those that are not named.
    rates: BTreeMap<String, Vec<f64>>,
    /// Megabits per second of a link.
    mbit: Vec<f64>,
    seconds: usize,
}

/// A file of widths of a link.
#[derive(Deserialize)]
struct Limits {
    bandwidth_limits: Vec<Limit>,
}

#[derive(Deserialize)]
struct Limit {
    time: f64,
    mbps: f64,
}

fn invalid(line: usize, message: &str) -> Error {
    let way_out = "a line is SECOND,RATE or SECOND,SOURCE,RATE, in order of the seconds";
    Error::new(ErrorKind::Invalid, format!("line {line}: {message}")).way_out(way_out)
}

impl Trace {
    /// Reads lines of `second,rate`, of all sources alike, or of `second,source,rate`; the first line may be a title.
    /// A rate holds until the next one. Rates are multiplied by `scale`.
    ///
    /// ```
    /// use jellybean_engine::live::simulate::Trace;
    /// let trace = Trace::read("second,rate\n0,10\n2,30\n", 0.5)?;
    /// assert_eq!((0..3).map(|s| trace.rate("any", s)).collect::<Vec<_>>(), [5.0, 5.0, 15.0]);
    /// assert!(Trace::read("0,-1", 1.0).is_err());
    /// # Ok::<(), jellybean_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, with the line.
    pub fn read(text: &str, scale: f64) -> Result<Self> {
        let mut trace = Self::default();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let (second, source, rate) = match fields[..] {
                [second, rate] => (second, "", rate),
                [second, source, rate] => (second, source, rate),
                _ => return Err(invalid(i + 1, &format!("{} fields", fields.len()))),
            };
            if i == 0 && second.parse::<f64>().is_err() {
                continue;
            }
            let second = second.parse().ok().filter(|s: &f64| (0.0..SECONDS_MAX as f64).contains(s));
            let second = second.ok_or_else(|| invalid(i + 1, "the second is none, or too late"))?;
            let rate = rate.parse::<f64>().map(|rate| rate * scale).ok();
            let rate = rate.filter(|rate| (0.0..=RATE_MAX).contains(rate));
            let rate = rate.ok_or_else(|| invalid(i + 1, "the rate is none"))?;
            let rates = trace.rates.entry(source.to_owned()).or_default();
            hold(rates, second as usize, rate).ok_or_else(|| invalid(i + 1, "it comes after a later one"))?;
        }
        trace.seconds = trace.rates.values().map(Vec::len).max().unwrap_or_default();
        for rates in trace.rates.values_mut() {
            let last = rates.last().copied().unwrap_or_default();
            rates.resize(trace.seconds, last);
        }
        Ok(trace)
    }

    /// Adds the widths of a link: JSON, `{"bandwidth_limits": [{"time": SECONDS, "mbps": MBIT_PER_S}, …]}`. The trace
    /// ends where either ends.
    ///
    /// # Errors
    /// `Invalid` if it is something else.
    pub fn with_bandwidth(mut self, json: &str) -> Result<Self> {
        let wrong = |message: String| {
            let way_out = "give {\"bandwidth_limits\": [{\"time\": SECONDS, \"mbps\": MBIT_PER_S}, …]}";
            Error::new(ErrorKind::Invalid, message).at("bandwidth").way_out(way_out)
        };
        let limits: Limits = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
        for Limit { time, mbps } in limits.bandwidth_limits {
            let is_right = (0.0..SECONDS_MAX as f64).contains(&time) && (0.0..=1e9).contains(&mbps);
            let held = is_right.then(|| hold(&mut self.mbit, time as usize, mbps)).flatten();
            held.ok_or_else(|| wrong(format!("{mbps} Mbit/s at {time} s, or not in order")))?;
        }
        if self.mbit.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        self.cut(self.mbit.len().min(self.seconds));
        Ok(self)
    }

    /// Leaves out what comes after.
    pub fn cut(&mut self, seconds: usize) {
        self.seconds = self.seconds.min(seconds);
        self.rates.values_mut().for_each(|rates| rates.truncate(seconds));
        self.mbit.truncate(seconds);
    }

    /// How long it is.
    #[must_use]
    pub fn seconds(&self) -> usize {
        self.seconds
    }

    /// The sources that it names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.rates.keys().filter(|name| !name.is_empty())
    }

    /// Items per second of a source.
    #[must_use]
    pub fn rate(&self, source: &str, second: usize) -> f64 {
        let rates = self.rates.get(source).or_else(|| self.rates.get(""));
        rates.and_then(|rates| rates.get(second)).copied().unwrap_or_default()
    }

    /// Megabits per second of the link.
    #[must_use]
    pub fn mbit(&self, second: usize) -> Option<f64> {
        self.mbit.get(second).copied()
    }

    /// Whether it says how wide a link is.
    #[must_use]
    pub fn has_bandwidth(&self) -> bool {
        !self.mbit.is_empty()
    }
}

/// Puts a value at a second and the one before into the gap; the first also before it.
fn hold(values: &mut Vec<f64>, second: usize, value: f64) -> Option<()> {
    if values.len() > second {
        return None;
    }
    let before = values.last().copied().unwrap_or(value);
    values.resize(second, before);
    values.push(value);
    Some(())
}
