//! Snapshots that may be in use, and the oldest of them: what can be read there must not be deleted.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::timestamp::Timestamp;

/// Older snapshots that may be in use, each for as long as somebody holds its pin.
///
/// One entry is added for each commit; those that nobody holds are dropped from the front, and all of them whenever
/// there are twice as many as were held the last time. So there are at most as many as a small multiple of those held.
#[derive(Debug, Default)]
pub(super) struct Pins {
    pins: BTreeMap<Timestamp, Weak<()>>,
    /// When there are so many, the dead are looked for.
    sweep_at: usize,
}

/// The dead are not looked for among fewer.
const FEW: usize = 64;

impl Pins {
    /// Notes a pin that somebody may hold.
    pub(super) fn insert(&mut self, ts: Timestamp, pin: &Arc<()>) {
        self.pins.insert(ts, Arc::downgrade(pin));
        if self.pins.len() >= self.sweep_at.max(FEW) {
            self.pins.retain(|_, pin| pin.strong_count() > 0);
            self.sweep_at = 2 * self.pins.len();
        }
    }

    /// A pin for that timestamp, which whoever else reads there holds, too.
    pub(super) fn pin(&mut self, ts: Timestamp) -> Arc<()> {
        let held = self.pins.get(&ts).and_then(Weak::upgrade);
        held.unwrap_or_else(|| {
            let pin = Arc::new(());
            self.insert(ts, &pin);
            pin
        })
    }

    /// The oldest that somebody holds.
    pub(super) fn oldest(&mut self) -> Option<Timestamp> {
        loop {
            let oldest = self.pins.first_entry()?;
            if oldest.get().strong_count() > 0 {
                return Some(*oldest.key());
            }
            oldest.remove();
        }
    }

    /// How many are noted.
    pub(super) fn len(&self) -> usize {
        self.pins.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_old_reader_does_not_keep_what_others_have_let_go() {
        let mut pins = Pins::default();
        let old = pins.pin(Timestamp(1));
        for ts in 2..100_000 {
            pins.insert(Timestamp(ts), &Arc::new(()));
            assert_eq!(pins.oldest(), Some(Timestamp(1)));
            assert!(pins.len() <= FEW);
        }
        drop(old);
        assert_eq!((pins.oldest(), pins.len()), (None, 0));
    }

    #[test]
    fn readers_of_one_timestamp_share_a_pin() {
        let mut pins = Pins::default();
        let held: Vec<_> = (0..1000).map(|ts| pins.pin(Timestamp(ts))).collect();
        assert!(Arc::ptr_eq(&pins.pin(Timestamp(7)), &held[7]));
        assert_eq!(pins.len(), 1000, "all are held");
        drop(held);
        assert_eq!(pins.oldest(), None);
    }
}
