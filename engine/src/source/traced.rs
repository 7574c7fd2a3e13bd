//! Recorded rates that drive a source: its records come when the trace says, whatever their own times are.
//!
//! Times are media time, so two runs of a trace are comparable epoch by epoch, however they went.

use std::sync::Arc;

use super::{Arrival, Feed, Lane, Pacing, Source, Stamp, Stopper};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Epoch;

/// Rows of a trace, at most.
const ROWS_MAX: usize = 1_000_000;
/// No rate is higher, in records per second.
const RATE_MAX: f64 = 1e6;
/// No trace is longer, in seconds: a year.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// The rates of some sources over time.
///
/// From each row of a source until its next one its lanes send so many records a second together; at its last row
/// they end, whatever the rate there.
///
/// ```
/// use jellybean_engine::source::Trace;
/// let trace = Trace::read("seconds,source,rate\n0,cameras,10\n2,cameras,40\n5,cameras,0\n")?;
/// assert_eq!(trace.rates("cameras").map(|rates| rates.records()), Some(140.0));
/// # Ok::<(), jellybean_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Trace(Vec<(String, Rates)>);

/// The rates of one source: from when, in seconds, and how many records a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates(Arc<[(f64, f64)]>);

impl Trace {
    /// Reads a table with the columns `seconds,source,rate`, the rows of a source in the order of time.
    ///
    /// # Errors
    /// `Invalid` with the line that is wrong.
    pub fn read(text: &str) -> Result<Self> {
        let mut of_sources: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        match lines.next() {
            Some((_, head)) if head.trim() == "seconds,source,rate" => {}
            _ => return Err(wrong(1, "it must be `seconds,source,rate`")),
        }
        for (i, line) in lines {
            let [seconds, source, rate] = line.split(',').map(str::trim).collect::<Vec<_>>()[..] else {
                return Err(wrong(i + 1, "it must have three columns"));
            };
            let (seconds, rate) = (number(i, seconds, SECONDS_MAX)?, number(i, rate, RATE_MAX)?);
            let place = of_sources.iter().position(|(name, _)| name == source);
            let place = place.unwrap_or_else(|| {
                of_sources.push((source.to_owned(), Vec::new()));
                of_sources.len() - 1
            });
            let rows = &mut of_sources[place].1;
            if rows.last().is_some_and(|(before, _)| *before >= seconds) {
                return Err(wrong(i + 1, "its time must be later than that of the row before it"));
            }
            if rows.len() >= ROWS_MAX {
                return Err(wrong(i + 1, &format!("a source may have {ROWS_MAX} rows")));
            }
            rows.push((seconds, rate));
        }
        Ok(Self(of_sources.into_iter().map(|(name, rows)| (name, Rates(rows.into()))).collect()))
    }

    /// The rates of a source.
    #[must_use]
    pub fn rates(&self, source: &str) -> Option<Rates> {
        self.0.iter().find(|(name, _)| name == source).map(|(_, rates)| rates.clone())
    }

    /// The sources it is about.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

fn wrong(line: usize, what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("line {line} of the trace: {what}"))
}

fn number(i: usize, text: &str, most: f64) -> Result<f64> {
    let number = text.parse().ok().filter(|number| (0.0..=most).contains(number));
    number.ok_or_else(|| wrong(i + 1, &format!("{text:?} is not a number from 0 to {most}")))
}

impl Rates {
    /// How many records there are in all.
    #[must_use]
    pub fn records(&self) -> f64 {
        self.spans().map(|(from, to, rate)| (to - from) * rate).sum()
    }

    /// The rate at a time, in records per second.
    #[must_use]
    pub fn at(&self, seconds: f64) -> f64 {
        let span = self.spans().find(|(from, to, _)| (*from..*to).contains(&seconds));
        span.map_or(0.0, |(.., rate)| rate)
    }

    fn spans(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        self.0.windows(2).map(|rows| (rows[0].0, rows[1].0, rows[0].1))
    }
}

/// When record after record is due.
struct Due {
    rates: Rates,
    /// The row that holds, how many records were due when it began.
    row: usize,
    before: f64,
}

impl Due {
    fn new(rates: Rates) -> Self {
        Self { rates, row: 0, before: 0.0 }
    }

    /// When record number `n` of all lanes is due, in milliseconds; they are asked for in order.
    fn at_ms(&mut self, n: u64) -> Option<Epoch> {
        loop {
            let [(from, rate), (to, _), ..] = self.rates.0.get(self.row..)? else { return None };
            let within = (to - from) * rate;
            if n as f64 >= self.before + within {
                self.before += within;
                self.row += 1;
                continue;
            }
            return Some(((from + (n as f64 - self.before) / rate) * 1e3).round() as Epoch);
        }
    }
}

/// A source whose records come as a trace says, by the run clock.
pub struct Traced<S> {
    source: S,
    rates: Option<Rates>,
}

impl<S: Source> Traced<S> {
    /// The source of this name as the trace drives it; as it is if there is no trace, or nothing of it in there.
    pub fn new(source: S, name: &str, trace: Option<&Trace>) -> Self {
        Self { source, rates: trace.and_then(|trace| trace.rates(name)) }
    }
}

impl<S: Source> Source for Traced<S> {
    type Record = S::Record;

    fn lanes(&self) -> Vec<Lane> {
        let lanes = self.source.lanes();
        match self.rates {
            None => lanes,
            Some(_) => {
                let driven = |lane| Lane { pacing: Pacing::Realtime, step_ms: 1, live: false, ..lane };
                lanes.into_iter().map(driven).collect()
            }
        }
    }

    fn open(&self, lane: usize, clock: &Clock) -> Result<Box<dyn Feed<Record = S::Record>>> {
        let feed = self.source.open(lane, clock)?;
        let Some(rates) = &self.rates else { return Ok(feed) };
        let lanes = self.source.lanes().len() as u64;
        Ok(Box::new(Driven { feed, due: Due::new(rates.clone()), next: lane as u64, lanes }))
    }
}

/// A lane that is driven: of the records of all lanes in turn, those that are its.
struct Driven<T> {
    feed: Box<dyn Feed<Record = T>>,
    due: Due,
    next: u64,
    lanes: u64,
}

impl<T> Feed for Driven<T> {
    type Record = T;

    fn next(&mut self) -> Result<Option<Arrival<T>>> {
        let Some(at_ms) = self.due.at_ms(self.next) else { return Ok(None) };
        self.next += self.lanes;
        Ok(self.feed.next()?.map(|arrival| Arrival { stamp: Stamp::Media(at_ms), ..arrival }))
    }

    fn stopper(&self) -> Option<Stopper> {
        self.feed.stopper()
    }
}

#[cfg(test)]
mod tests {
    use super::{Due, Trace};
    use crate::random::Random;

    #[test]
    fn records_are_due_as_often_as_by_adding_up() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let (mut text, mut at, mut rows) = ("seconds,source,rate\n".to_owned(), 0.0, Vec::new());
            for _ in 0..1 + random.below(6) {
                let rate = random.below(40) as f64;
                text += &format!("{at},cameras,{rate}\n");
                rows.push((at, rate));
                at += (1 + random.below(5)) as f64;
            }
            let rates = Trace::read(&text).unwrap().rates("cameras").unwrap();
            let mut due = Due::new(rates.clone());
            let times: Vec<u64> = (0..).map_while(|n| due.at_ms(n)).collect();
            assert_eq!(times.len() as f64, rates.records());
            for (row, next) in rows.iter().zip(rows.iter().skip(1)) {
                let within = (row.0 * 1e3) as u64..(next.0 * 1e3) as u64;
                let n = times.iter().filter(|at_ms| within.contains(at_ms)).count();
                assert_eq!(n as f64, (next.0 - row.0) * row.1, "{text}");
            }
            assert!(times.is_sorted());
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, told) in [
            ("", "line 1"),
            ("seconds,rate\n", "line 1"),
            ("seconds,source,rate\n0,a\n", "line 2"),
            ("seconds,source,rate\n0,a,NaN\n", "\"NaN\" is not a number"),
            ("seconds,source,rate\n0,a,-1\n", "line 2"),
            ("seconds,source,rate\n0,a,1e12\n", "line 2"),
            ("seconds,source,rate\n5,a,1\n5,a,2\n", "line 3"),
        ] {
            let error = Trace::read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
