//! Numbers and names as files give them, refused alike wherever they stand.

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::error::{Error, ErrorKind, Result};

/// No price, rate, size or time is larger.
const NUMBER_MAX: f64 = 1e9;

/// Refuses what is no number from 0 to the largest.
pub(crate) fn number(what: &str, key: &str, value: f64) -> Result<()> {
    match (0.0..=NUMBER_MAX).contains(&value) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Invalid, format!("{what}: {key} is {value}"))
            .way_out(format!("give a number from 0 to {NUMBER_MAX:e}"))),
    }
}

/// Refuses what is there twice.
pub(crate) fn unique<T: Ord + Debug>(what: &str, names: impl Iterator<Item = T>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if let Some(twice) = seen.replace(name) {
            return Err(Error::new(ErrorKind::Invalid, format!("{what} {twice:?} is there twice"))
                .way_out("leave one out"));
        }
    }
    Ok(())
}
