//! Records held until their epoch is closed, then given out in the order of the run.

use std::collections::BTreeMap;

use crate::id::Epoch;
use crate::record::Envelope;

/// Records by epoch.
///
/// Their tokens stay with them. That cannot close a circle: a source may always finish the epoch that
/// holds its frontier back, so the source with the lowest frontier can always go on.
pub(crate) struct Reorder<T>(BTreeMap<Epoch, Vec<Envelope<T>>>);

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Reorder<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Envelope<T>> {
        self.0.values().flatten()
    }

    /// Takes over what another one held.
    pub(crate) fn absorb(&mut self, other: Self) {
        other.into_batches().for_each(|records| self.push(records));
    }

    /// What it held, by epoch.
    pub(crate) fn into_batches(self) -> impl Iterator<Item = Vec<Envelope<T>>> {
        self.0.into_values()
    }

    pub(crate) fn push(&mut self, records: Vec<Envelope<T>>) {
        if let Some(first) = records.first() {
            self.0.entry(first.epoch).or_default().extend(records);
        }
    }

    /// The next epoch below `frontier`, with its records in order.
    pub(crate) fn pop_below(&mut self, frontier: Epoch) -> Option<(Epoch, Vec<Envelope<T>>)> {
        let first = self.0.first_entry().filter(|entry| *entry.key() < frontier)?;
        let (epoch, mut records) = first.remove_entry();
        records.sort_by(|a, b| a.at.cmp(&b.at));
        Some((epoch, records))
    }
}
