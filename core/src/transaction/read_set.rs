//! What a transaction has read: for each index, the set of keys whose change would change what it saw.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::heap::piece;
use crate::persistence::{IndexId, KeyRange};
use crate::planted::{Bug, planted};
use crate::subscription::RANGE_BYTES;

/// Index ranges read. Ranges of one index are kept disjoint, non-empty and non-adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSet {
    indexes: BTreeMap<IndexId, RangeSet>,
}

impl ReadSet {
    /// Adds a range.
    pub fn insert(&mut self, index: IndexId, range: KeyRange) {
        let is_lost = planted(Bug::PointsNotRead) && range == KeyRange::point(range.start.clone());
        if !range.is_empty() && !is_lost {
            let set = self.indexes.entry(index).or_default();
            set.insert(range);
            assert!(!set.ranges.is_empty(), "what was read is recorded");
        }
    }

    /// Whether a write of `key` would change what was read.
    pub fn contains(&self, index: IndexId, key: &[u8]) -> bool {
        self.indexes
            .get(&index)
            .is_some_and(|set| set.contains(key))
    }

    /// The indexes that were read, ascending.
    pub fn indexes(&self) -> impl Iterator<Item = IndexId> + '_ {
        self.indexes.keys().copied()
    }

    /// All ranges, by index and then by key.
    pub fn ranges(&self) -> impl Iterator<Item = (IndexId, KeyRange)> + '_ {
        self.indexes.iter().flat_map(|(index, set)| {
            set.ranges.iter().map(|(start, end)| {
                (
                    *index,
                    KeyRange {
                        start: start.clone(),
                        end: end.clone(),
                    },
                )
            })
        })
    }

    /// Number of ranges, after merging.
    pub fn len(&self) -> usize {
        self.indexes.values().map(|set| set.ranges.len()).sum()
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// What a subscription to all ranges takes, bytes.
    pub fn watched_bytes(&self) -> usize {
        let range = |(start, end): (&Vec<u8>, &Option<Vec<u8>>)| {
            piece(start.len()) + end.as_ref().map_or(0, |end| piece(end.len())) + RANGE_BYTES
        };
        self.indexes
            .values()
            .flat_map(|set| set.ranges.iter().map(range))
            .sum()
    }
}

/// Disjoint ranges by their first key; the value is the first key outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RangeSet {
    ranges: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl RangeSet {
    fn insert(&mut self, range: KeyRange) {
        let KeyRange { mut start, mut end } = range;
        // Swallow every range that overlaps or touches the new one, growing it on both sides.
        let up_to_start = (Bound::Unbounded, Bound::Included(start.as_slice()));
        if let Some((before, before_end)) = self.ranges.range::<[u8], _>(up_to_start).next_back()
            && before_end
                .as_ref()
                .is_none_or(|before_end| *before_end >= start)
        {
            debug_assert!(*before <= start, "it begins before");
            start = before.clone();
            end = later(end, before_end.clone());
            self.ranges.remove(&start);
        }
        while let Some((next, next_end)) = self
            .ranges
            .range::<[u8], _>((Bound::Included(start.as_slice()), Bound::Unbounded))
            .next()
            && end.as_ref().is_none_or(|end| next <= end)
        {
            let next = next.clone();
            debug_assert!(next >= start, "it begins inside");
            end = later(end, next_end.clone());
            self.ranges.remove(&next);
        }
        debug_assert!(
            end.as_ref().is_none_or(|end| start < *end),
            "no range is empty"
        );
        let same = self.ranges.insert(start, end);
        assert!(same.is_none(), "ranges are disjoint");
    }

    fn contains(&self, key: &[u8]) -> bool {
        debug_assert!(
            !self.ranges.is_empty(),
            "indexes without ranges are not kept"
        );
        self.ranges
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()
            .is_some_and(|(_, end)| end.as_deref().is_none_or(|end| key < end))
    }
}

/// The later of two ends, where `None` is the end of everything.
fn later(a: Option<Vec<u8>>, b: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (a, b) = (a?, b?);
    debug_assert!(!a.is_empty(), "ranges are not empty");
    debug_assert!(!b.is_empty());
    Some(a.max(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range() -> impl Strategy<Value = KeyRange> {
        let key = || prop::collection::vec(0u8..4, 0..3);
        (key(), prop::option::of(key())).prop_map(|(start, end)| KeyRange { start, end })
    }

    proptest! {
        #[test]
        fn holds_exactly_the_union(ranges in prop::collection::vec(range(), 0..12), key in prop::collection::vec(0u8..4, 0..4)) {
            let index = IndexId(7);
            let mut set = ReadSet::default();
            for range in &ranges {
                set.insert(index, range.clone());
            }
            prop_assert_eq!(set.contains(index, &key), ranges.iter().any(|range| range.contains(&key)));
            prop_assert!(!set.contains(IndexId(8), &key));
            let merged: Vec<_> = set.ranges().map(|(_, range)| range).collect();
            for pair in merged.windows(2) {
                prop_assert!(pair[0].end.as_ref().is_some_and(|end| *end < pair[1].start), "{:?}", merged);
            }
        }
    }
}
