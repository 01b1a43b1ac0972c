//! Which subscriptions does a commit touch?

use std::collections::{BTreeMap, BTreeSet};

use crate::persistence::{IndexId, KeyRange};

/// Names a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

/// Read sets by subscription.
#[derive(Debug, Default)]
pub struct SubscriptionIndex(BTreeMap<SubscriptionId, Vec<(IndexId, KeyRange)>>);

impl SubscriptionIndex {
    /// Registers the ranges that a subscription has read.
    pub fn insert(
        &mut self,
        id: SubscriptionId,
        ranges: impl IntoIterator<Item = (IndexId, KeyRange)>,
    ) {
        self.0.insert(id, ranges.into_iter().collect());
    }

    /// Forgets a subscription.
    pub fn remove(&mut self, id: SubscriptionId) {
        self.0.remove(&id);
    }

    /// The subscriptions that read any of the written keys.
    pub fn touched<'a>(
        &self,
        writes: impl IntoIterator<Item = (IndexId, &'a [u8])>,
    ) -> BTreeSet<SubscriptionId> {
        let writes: Vec<_> = writes.into_iter().collect();
        let touches = |(index, range): &(IndexId, KeyRange)| {
            writes
                .iter()
                .any(|(written, key)| written == index && range.contains(key))
        };
        self.0
            .iter()
            .filter(|(_, ranges)| ranges.iter().any(touches))
            .map(|(id, _)| *id)
            .collect()
    }
}
