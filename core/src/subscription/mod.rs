//! Which subscriptions does a commit touch?
//!
//! A subscription is a read set: the ranges of index keys that a query's result depends on. A commit touches it when
//! it writes a key, old or new, inside one of the ranges. This module only answers that question; who recomputes
//! what, and when, is not known here.

mod interval_tree;

#[cfg(test)]
mod arbitrary;

use std::collections::{BTreeMap, BTreeSet};

use crate::persistence::{IndexId, KeyRange};
use interval_tree::{IntervalTree, NodeId};

/// What a watched range takes beside its keys, bytes: a node, half of whose vector may be empty, and where it is.
pub(crate) const RANGE_BYTES: usize = 2 * interval_tree::NODE_BYTES + 16;

/// Names a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

/// Read sets, arranged for finding those that hold a key.
///
/// Finding the k ranges of an index that hold a key looks at O((k + 1) log n) of the index's n ranges; setting and
/// removing costs O(log n) for each range.
#[derive(Debug, Default)]
pub struct SubscriptionIndex {
    /// Only indexes with at least one range.
    trees: BTreeMap<IndexId, IntervalTree<SubscriptionId>>,
    /// Where the ranges of each subscription are. The nodes are in trees of `trees`.
    subscriptions: BTreeMap<SubscriptionId, Vec<(IndexId, NodeId)>>,
}

impl SubscriptionIndex {
    /// An index without subscriptions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the read set of a subscription, in place of any it had.
    pub fn insert(
        &mut self,
        id: SubscriptionId,
        ranges: impl IntoIterator<Item = (IndexId, KeyRange)>,
    ) {
        self.remove(id);
        assert!(!self.subscriptions.contains_key(&id));
        let mut places = Vec::new();
        for (index, range) in ranges {
            if !range.is_empty() {
                let tree = self.trees.entry(index).or_insert_with(IntervalTree::new);
                places.push((index, tree.insert(range, id)));
            }
        }
        let twice = self.subscriptions.insert(id, places);
        assert!(twice.is_none(), "a subscription is registered once");
    }

    /// Forgets a subscription; says whether there was one.
    pub fn remove(&mut self, id: SubscriptionId) -> bool {
        let Some(places) = self.subscriptions.remove(&id) else {
            return false;
        };
        for (index, node) in places {
            let tree = self.trees.get_mut(&index);
            let tree = tree.expect("an index with ranges has a tree");
            let owner = tree.remove(node);
            assert_eq!(owner, id, "its places are its own");
            if tree.is_empty() {
                self.trees.remove(&index);
            }
        }
        if self.subscriptions.is_empty() {
            assert!(self.trees.is_empty(), "ranges belong to subscriptions");
        }
        true
    }

    /// The subscriptions that have a range with one of the written keys.
    pub fn touched<'a>(
        &self,
        writes: impl IntoIterator<Item = (IndexId, &'a [u8])>,
    ) -> BTreeSet<SubscriptionId> {
        let mut touched = BTreeSet::new();
        for (index, key) in writes {
            if let Some(tree) = self.trees.get(&index) {
                tree.stab(key, &mut |id| {
                    debug_assert!(self.subscriptions.contains_key(&id));
                    touched.insert(id);
                });
            }
        }
        touched
    }

    /// Number of subscriptions.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::arbitrary::{any_key, any_range};
    use super::*;

    fn any_index() -> impl Strategy<Value = IndexId> {
        (0u32..3).prop_map(IndexId)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(SubscriptionId, Vec<(IndexId, KeyRange)>),
        Remove(SubscriptionId),
        Commit(Vec<(IndexId, Vec<u8>)>),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let id = (0u64..12).prop_map(SubscriptionId);
        prop_oneof![
            3 => (id.clone(), vec((any_index(), any_range()), 0..4))
                .prop_map(|(id, ranges)| Step::Insert(id, ranges)),
            1 => id.prop_map(Step::Remove),
            2 => vec((any_index(), any_key()), 0..4).prop_map(Step::Commit),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_list_of_read_sets(steps in vec(any_step(), 1..60)) {
            let mut index = SubscriptionIndex::new();
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(id, ranges) => {
                        index.insert(id, ranges.clone());
                        model.insert(id, ranges);
                    }
                    Step::Remove(id) => {
                        prop_assert_eq!(index.remove(id), model.remove(&id).is_some());
                    }
                    Step::Commit(writes) => {
                        let expected = model.iter().filter(|(_, ranges)| {
                            writes.iter().any(|(index, key)| {
                                ranges.iter().any(|(of, range)| of == index && range.contains(key))
                            })
                        });
                        let expected: BTreeSet<_> = expected.map(|(id, _)| *id).collect();
                        let writes = writes.iter().map(|(index, key)| (*index, key.as_slice()));
                        prop_assert_eq!(index.touched(writes), expected);
                    }
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for id in model.into_keys() {
                prop_assert!(index.remove(id));
            }
            prop_assert!(index.is_empty() && index.trees.is_empty());
        }
    }
}
