//! How eager the controller is: bands, prices and waits, as configuration with defaults.

use serde::{Deserialize, Serialize};

use super::observe::Smoothing;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::Mode;

/// How the plan follows the rates. Every key may be left out.
///
/// ```
/// use jellybean_engine::live::Settings;
/// let settings: Settings = toml::from_str("keep = 0.1\n[bands]\nrate = 0.3").unwrap();
/// assert_eq!((settings.keep, settings.bands.rate, settings.cool_down_s), (0.1, 0.3, 20.0));
/// assert!(toml::from_str::<Settings>("keeep = 0.1").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The format's version; 1.
    pub version: u32,
    /// Whose rules plans follow.
    pub mode: Mode,
    /// Say what would be changed, and change nothing.
    pub dry_run: bool,
    /// Rates are smoothed over so many seconds.
    pub rates_s: f64,
    /// Service times, selectivity and sizes are smoothed over so many seconds.
    pub services_s: f64,
    /// How far what was measured may be from what the plan was made for.
    pub bands: Bands,
    /// What is out of its band is back once it is within this part of it.
    pub inner: f64,
    /// What is out of its band for so many seconds is looked at; sooner, the further out it is.
    pub out_for_s: f64,
    /// How far a node may be above its ceiling of utilisation, as a part of it.
    pub overload: f64,
    /// A node that is further above its ceiling for so many seconds is overloaded; one that has no slot left is at once.
    pub overload_for_s: f64,
    /// When the load grows, the next plan is made for so much more of it, as a part.
    pub headroom: f64,
    /// A plan stays if it costs no more than this part above the cheapest, starts included.
    pub keep: f64,
    /// What it costs once to start a stage on a node, in dollars.
    pub usd_per_start: f64,
    /// A plan is expected to run for so many seconds; later, for as long as the last ones did, but no shorter than a
    /// fifth and no longer than five times of this.
    pub hold_s: f64,
    /// A stage that moved does not move again for so many seconds, unless something is overloaded, a node is gone, an
    /// objective is missed, or somebody asks for it.
    pub cool_down_s: f64,
    /// After a change that failed nothing is changed for so many seconds, and twice as long after each further one.
    pub back_off_s: f64,
    /// But no longer than this.
    pub back_off_s_max: f64,
    /// What could not be started is not tried again for so many seconds.
    pub avoid_s: f64,
    /// What was measured of services, sizes and links is believed for so many seconds.
    pub believe_s: f64,
    /// A report that is older than so many seconds starts nothing.
    pub report_age_s_max: f64,
    /// Sources are planned for as if they sent no less, in items per second, so that everything has a place.
    pub rate_floor_per_s: f64,
    /// Decisions that are remembered.
    pub history_max: usize,
}

/// How far numbers may be from what the plan was made for, as parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bands {
    /// Rates of sources.
    pub rate: f64,
    /// Service times.
    pub service: f64,
    /// Items out per item in, and their sizes.
    pub selectivity: f64,
    /// What links carry.
    pub bandwidth: f64,
    /// Round trips; looked at only where there is an objective for latency.
    pub round_trip: f64,
}

impl Default for Bands {
    fn default() -> Self {
        Self { rate: 0.2, service: 0.25, selectivity: 0.25, bandwidth: 0.25, round_trip: 0.5 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: 1,
            mode: Mode::Shared,
            dry_run: false,
            rates_s: 10.0,
            services_s: 15.0,
            bands: Bands::default(),
            inner: 0.5,
            out_for_s: 10.0,
            overload: 0.1,
            overload_for_s: 3.0,
            headroom: 0.0,
            keep: 0.05,
            usd_per_start: 0.002,
            hold_s: 600.0,
            cool_down_s: 20.0,
            back_off_s: 5.0,
            back_off_s_max: 300.0,
            avoid_s: 600.0,
            believe_s: 600.0,
            report_age_s_max: 10.0,
            rate_floor_per_s: 0.1,
            history_max: 256,
        }
    }
}

impl Settings {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `Invalid`, with the first key that is not right, and the way out.
    pub fn check(&self) -> Result<()> {
        let invalid = |message: String, way_out: &str| {
            Err(Error::new(ErrorKind::Invalid, message).at("live").way_out(way_out))
        };
        if self.version != 1 {
            return invalid(format!("version {} is unknown", self.version), "write version = 1");
        }
        let Bands { rate, service, selectivity, bandwidth, round_trip } = self.bands;
        let parts = [
            ("bands.rate", rate),
            ("bands.service", service),
            ("bands.selectivity", selectivity),
            ("bands.bandwidth", bandwidth),
            ("bands.round_trip", round_trip),
        ];
        if let Some((key, part)) = parts.iter().find(|(_, part)| !(*part > 0.0 && *part <= 100.0)) {
            return invalid(format!("{key} is {part}"), "give a part above 0, such as 0.2 for 20 %");
        }
        let numbers = [
            ("rates_s", self.rates_s),
            ("services_s", self.services_s),
            ("inner", self.inner),
            ("out_for_s", self.out_for_s),
            ("overload", self.overload),
            ("overload_for_s", self.overload_for_s),
            ("headroom", self.headroom),
            ("keep", self.keep),
            ("usd_per_start", self.usd_per_start),
            ("hold_s", self.hold_s),
            ("cool_down_s", self.cool_down_s),
            ("back_off_s", self.back_off_s),
            ("back_off_s_max", self.back_off_s_max),
            ("avoid_s", self.avoid_s),
            ("believe_s", self.believe_s),
            ("report_age_s_max", self.report_age_s_max),
            ("rate_floor_per_s", self.rate_floor_per_s),
        ];
        if let Some((key, number)) = numbers.iter().find(|(_, number)| !(0.0..=1e6).contains(number)) {
            return invalid(format!("{key} is {number}"), "give a number from 0 to 1000000");
        }
        if self.inner > 1.0 {
            return invalid(format!("inner is {}", self.inner), "give a part of the band, up to 1");
        }
        if self.history_max > 100_000 {
            return invalid(format!("history_max is {}", self.history_max), "give a number up to 100000");
        }
        Ok(())
    }

    /// How reports are smoothed.
    #[must_use]
    pub fn smoothing(&self) -> Smoothing {
        Smoothing { rates_s: self.rates_s, services_s: self.services_s }
    }
}

/// Seconds as microseconds.
pub(crate) fn us(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}
