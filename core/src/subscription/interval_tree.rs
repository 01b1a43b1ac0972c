//! A set of key ranges that can be asked which of them hold a key.
//!
//! An augmented interval tree (Cormen, Leiserson, Rivest, Stein, *Introduction to Algorithms*, 3rd ed., §14.3): a
//! search tree ordered by the start of the ranges, in which each node also knows the greatest end in its subtree.
//! It is balanced as an AVL tree (Adelson-Velsky and Landis 1962) rather than by chance, because clients choose what
//! is inserted and in which order: no sequence of insertions makes it deep.
//!
//! With n ranges, insertion and removal take O(log n) comparisons, and finding the k ranges that hold a key
//! O((k + 1) log n), whatever the ranges. Recursion is as deep as the tree: fewer than 1.45 log2(n + 2) levels.

use std::cmp::Ordering;

use crate::persistence::KeyRange;
use crate::planted::{Bug, planted};

/// Names a range in its tree, from insertion to removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

/// Ranges, each with something that it belongs to. Equal ranges may occur many times.
///
/// Nodes live in one vector and name each other by position; vacant positions are used again. The keys of a removed
/// range are freed at once, its node when the tree is dropped.
#[derive(Debug)]
pub(super) struct IntervalTree<T> {
    nodes: Vec<Node<T>>,
    vacant: Vec<NodeId>,
    root: Option<NodeId>,
}

/// Size of a node that belongs to a number.
pub(super) const NODE_BYTES: usize = size_of::<Node<u64>>();

/// Invariants, for nodes that are not vacant:
/// * nodes to the left come before this one by (start of the range, id), nodes to the right after it;
/// * the heights of the two subtrees differ by at most 1;
/// * `last` is a node of the subtree, itself included, whose range has the greatest end.
#[derive(Debug)]
struct Node<T> {
    range: KeyRange,
    owner: T,
    left: Option<NodeId>,
    right: Option<NodeId>,
    /// Levels of the subtree, at least 1.
    height: u8,
    last: NodeId,
}

impl<T: Copy> IntervalTree<T> {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            vacant: Vec::new(),
            root: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Adds a range.
    pub(super) fn insert(&mut self, range: KeyRange, owner: T) -> NodeId {
        let new = |id| Node {
            range,
            owner,
            left: None,
            right: None,
            height: 1,
            last: id,
        };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.nodes[id.0 as usize] = new(id);
                id
            }
            None => {
                let position = u32::try_from(self.nodes.len());
                let id = NodeId(position.expect("so many nodes do not fit into memory"));
                self.nodes.push(new(id));
                id
            }
        };
        self.root = Some(self.insert_below(self.root, id));
        self.check_root();
        id
    }

    /// Takes out a range that [`Self::insert`] has put into this tree, and that was not taken out since. Gives its
    /// owner.
    pub(super) fn remove(&mut self, id: NodeId) -> T {
        debug_assert!(!self.vacant.contains(&id), "it was not taken out before");
        let root = self.root.expect("a tree that holds a node has a root");
        self.root = self.remove_below(root, id);
        self.node_mut(id).range = KeyRange::default();
        self.vacant.push(id);
        self.check_root();
        self.node(id).owner
    }

    /// What can be seen of the invariants from the root: no more nodes than the height allows, no fewer than an AVL
    /// tree of that height has, which is more than 2^(height / 1.45) - 2.
    fn check_root(&self) {
        let count = self.nodes.len() - self.vacant.len();
        assert_eq!(self.root.is_none(), count == 0);
        let height = u32::from(self.height(self.root));
        assert!(height < 64);
        debug_assert!(
            (count as u64) < 1 << height,
            "{count} nodes fit in {height} levels"
        );
        debug_assert!(
            (count as u64 + 2) >= 1 << (height * 20 / 29),
            "a tree of {count} nodes is no higher than {height}"
        );
    }

    /// Calls `found` with the owner of each range that holds `key`, in order of their starts, and returns how many
    /// nodes were looked at.
    pub(super) fn stab(&self, key: &[u8], found: &mut impl FnMut(T)) -> usize {
        self.stab_below(self.root, key, found)
    }

    fn stab_below(&self, link: Option<NodeId>, key: &[u8], found: &mut impl FnMut(T)) -> usize {
        let Some(id) = link else { return 0 };
        let node = self.node(id);
        debug_assert!(compare_ends(&self.node(node.last).range, &node.range).is_ge());
        if !ends_after(&self.node(node.last).range, key) {
            return 1;
        }
        let mut looked_at = 1 + self.stab_below(node.left, key, found);
        if node.range.start.as_slice() <= key {
            let is_missed = planted(Bug::RangeStartNotTouched) && node.range.start == key;
            if ends_after(&node.range, key) && !is_missed {
                debug_assert!(node.range.contains(key));
                found(node.owner);
            }
            looked_at += self.stab_below(node.right, key, found);
        }
        looked_at
    }

    fn node(&self, id: NodeId) -> &Node<T> {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<T> {
        &mut self.nodes[id.0 as usize]
    }

    fn height(&self, link: Option<NodeId>) -> u8 {
        debug_assert!(link.is_none_or(|id| self.node(id).height > 0));
        link.map_or(0, |id| self.node(id).height)
    }

    fn is_before(&self, a: NodeId, b: NodeId) -> bool {
        (&self.node(a).range.start, a) < (&self.node(b).range.start, b)
    }

    /// Puts a new leaf into a subtree; gives the subtree's root.
    fn insert_below(&mut self, link: Option<NodeId>, new: NodeId) -> NodeId {
        let Some(root) = link else { return new };
        debug_assert!(root != new, "a new node is not in the tree");
        if self.is_before(new, root) {
            let left = self.insert_below(self.node(root).left, new);
            self.node_mut(root).left = Some(left);
        } else {
            let right = self.insert_below(self.node(root).right, new);
            self.node_mut(root).right = Some(right);
        }
        self.balance(root)
    }

    /// Takes a node out of the subtree that holds it; gives the subtree's root.
    fn remove_below(&mut self, root: NodeId, target: NodeId) -> Option<NodeId> {
        const INSIDE: &str = "the search for a node of the tree ends at the node";
        let Node { left, right, .. } = *self.node(root);
        if root == target {
            return match (left, right) {
                (None, Some(_)) if planted(Bug::RemovalLosesSubtree) => None,
                (None, child) | (child, None) => child,
                (Some(_), Some(right)) => {
                    let (first, rest) = self.split_first(right);
                    debug_assert!(self.is_before(root, first), "the next one takes its place");
                    let node = self.node_mut(first);
                    (node.left, node.right) = (left, rest);
                    Some(self.balance(first))
                }
            };
        }
        if self.is_before(target, root) {
            self.node_mut(root).left = self.remove_below(left.expect(INSIDE), target);
        } else {
            self.node_mut(root).right = self.remove_below(right.expect(INSIDE), target);
        }
        Some(self.balance(root))
    }

    /// Parts the first node of a subtree from the rest.
    fn split_first(&mut self, root: NodeId) -> (NodeId, Option<NodeId>) {
        let Node { left, right, .. } = *self.node(root);
        match left {
            None => (root, right),
            Some(left) => {
                debug_assert!(self.is_before(left, root));
                let (first, rest) = self.split_first(left);
                self.node_mut(root).left = rest;
                (first, Some(self.balance(root)))
            }
        }
    }

    /// Restores the invariants of a node whose subtrees have them, and differ in height by at most 2. Gives the
    /// root of the result.
    fn balance(&mut self, root: NodeId) -> NodeId {
        let Node { left, right, .. } = *self.node(root);
        match (left, right) {
            (Some(left), _) if self.height(Some(left)) > self.height(right) + 1 => {
                if self.height(self.node(left).left) < self.height(self.node(left).right) {
                    let left = self.rotate_left(left);
                    self.node_mut(root).left = Some(left);
                }
                self.rotate_right(root)
            }
            (_, Some(right)) if self.height(Some(right)) > self.height(left) + 1 => {
                if self.height(self.node(right).right) < self.height(self.node(right).left) {
                    let right = self.rotate_right(right);
                    self.node_mut(root).right = Some(right);
                }
                self.rotate_left(root)
            }
            _ => {
                assert!(
                    self.height(left).abs_diff(self.height(right)) <= 1,
                    "one change unbalances by one level"
                );
                self.summarise(root);
                root
            }
        }
    }

    /// Puts the right child in the place of its parent.
    fn rotate_left(&mut self, root: NodeId) -> NodeId {
        let pivot = self.node(root).right;
        let pivot = pivot.expect("the higher side has a child");
        assert!(pivot != root, "a tree has no cycle");
        self.node_mut(root).right = self.node(pivot).left;
        self.node_mut(pivot).left = Some(root);
        self.summarise(root);
        self.summarise(pivot);
        pivot
    }

    /// Puts the left child in the place of its parent.
    fn rotate_right(&mut self, root: NodeId) -> NodeId {
        let pivot = self.node(root).left;
        let pivot = pivot.expect("the higher side has a child");
        assert!(pivot != root, "a tree has no cycle");
        self.node_mut(root).left = self.node(pivot).right;
        self.node_mut(pivot).right = Some(root);
        self.summarise(root);
        self.summarise(pivot);
        pivot
    }

    /// Computes what a node knows of its subtree from its children.
    fn summarise(&mut self, id: NodeId) {
        let Node { left, right, .. } = *self.node(id);
        let mut last = id;
        for child in [left, right].into_iter().flatten() {
            let candidate = self.node(child).last;
            if compare_ends(&self.node(candidate).range, &self.node(last).range).is_gt()
                && !planted(Bug::SubtreeEndNotUpdated)
            {
                last = candidate;
            }
        }
        let height = 1 + self.height(left).max(self.height(right));
        debug_assert!(left.is_none_or(|left| self.is_before(left, id)));
        debug_assert!(right.is_none_or(|right| self.is_before(id, right)));
        let node = self.node_mut(id);
        (node.height, node.last) = (height, last);
    }
}

/// Whether the range ends after `key`.
fn ends_after(range: &KeyRange, key: &[u8]) -> bool {
    range.end.as_deref().is_none_or(|end| key < end)
}

/// Compares where two ranges end; an unbounded one ends last.
fn compare_ends(a: &KeyRange, b: &KeyRange) -> Ordering {
    match (&a.end, &b.end) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::subscription::arbitrary::{any_key, any_range};

    impl<T: Copy> IntervalTree<T> {
        /// Checks every invariant of the subtree; gives its nodes in order.
        fn check(&self, link: Option<NodeId>) -> Vec<NodeId> {
            let Some(id) = link else { return Vec::new() };
            let node = self.node(id);
            let mut ids = self.check(node.left);
            ids.push(id);
            ids.extend(self.check(node.right));
            assert!(ids.is_sorted_by(|a, b| self.is_before(*a, *b)));
            let (left, right) = (self.height(node.left), self.height(node.right));
            assert!(left.abs_diff(right) <= 1);
            assert_eq!(node.height, 1 + left.max(right));
            assert!(ids.contains(&node.last));
            let last = &self.node(node.last).range;
            let is_last = |id: &NodeId| compare_ends(&self.node(*id).range, last).is_le();
            assert!(ids.iter().all(is_last));
            ids
        }
    }

    fn stab(tree: &IntervalTree<usize>, key: &[u8]) -> (Vec<usize>, usize) {
        let mut owners = Vec::new();
        let looked_at = tree.stab(key, &mut |owner| owners.push(owner));
        owners.sort();
        (owners, looked_at)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(KeyRange),
        Remove(proptest::sample::Index),
    }

    proptest! {
        /// After each step the tree is sound, and answers like a list.
        #[test]
        fn behaves_like_a_list(
            steps in proptest::collection::vec(prop_oneof![
                3 => any_range().prop_map(Step::Insert),
                2 => any::<proptest::sample::Index>().prop_map(Step::Remove),
            ], 1..80),
            keys in proptest::collection::vec(any_key(), 1..8),
        ) {
            let mut tree = IntervalTree::new();
            let mut list: Vec<(NodeId, KeyRange, usize)> = Vec::new();
            let mut most = 0;
            for (owner, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(range) => list.push((tree.insert(range.clone(), owner), range, owner)),
                    Step::Remove(index) if !list.is_empty() => {
                        tree.remove(list.remove(index.index(list.len())).0);
                    }
                    Step::Remove(_) => {}
                }
                most = most.max(list.len());
                prop_assert_eq!(tree.check(tree.root).len(), list.len());
                prop_assert_eq!(tree.nodes.len(), most); // positions are used again
                for key in &keys {
                    let holding = list.iter().filter(|(_, range, _)| range.contains(key));
                    let expected: Vec<_> = holding.map(|(_, _, owner)| *owner).collect();
                    prop_assert_eq!(stab(&tree, key).0, expected);
                }
            }
        }
    }

    /// Checks ten thousand ranges, inserted in the given order, half of them removed again.
    fn many(range_at: impl Fn(u32) -> KeyRange) {
        const COUNT: u32 = 10_000;
        let mut tree = IntervalTree::new();
        let ranges: Vec<_> = (0..COUNT).map(&range_at).collect();
        let ids: Vec<_> = ranges
            .iter()
            .enumerate()
            .map(|(owner, range)| tree.insert(range.clone(), owner))
            .collect();
        for owner in (0..ids.len()).step_by(2) {
            tree.remove(ids[owner]);
        }
        let height = usize::from(tree.height(tree.root));
        assert!(
            height < 19,
            "an AVL tree of 5,000 nodes is lower than {height}"
        );
        for probe in 0..60 {
            let key = range_at(probe * COUNT / 60).start;
            let (owners, looked_at) = stab(&tree, &key);
            let holding = (1..ids.len())
                .step_by(2)
                .filter(|owner| ranges[*owner].contains(&key));
            assert_eq!(owners, holding.collect::<Vec<_>>());
            // The search path, the ancestors of what was found, and a fruitless look beside each.
            let bound = 2 * height * (owners.len() + 1) + 1;
            assert!(looked_at <= bound, "{looked_at} nodes for {}", owners.len());
        }
        ids.iter().skip(1).step_by(2).for_each(|id| {
            tree.remove(*id);
        });
        assert!(tree.is_empty());
    }

    fn between(start: u32, end: Option<u32>) -> KeyRange {
        KeyRange {
            start: start.to_be_bytes().to_vec(),
            end: end.map(|end| end.to_be_bytes().to_vec()),
        }
    }

    #[test]
    fn many_points_in_order() {
        many(|i| KeyRange::point(i.to_be_bytes().to_vec()));
    }

    #[test]
    fn many_nested() {
        many(|i| between(i, Some(20_000 - i)));
    }

    #[test]
    fn many_equal() {
        many(|_| between(5, Some(6)));
    }

    #[test]
    fn many_unbounded_backwards() {
        many(|i| between(20_000 - i, None));
    }

    #[test]
    fn many_long_among_short() {
        let scattered = |i: u32| i.wrapping_mul(0x9e37_79b1);
        many(|i| match i % 100 {
            0 => between(scattered(i), None),
            _ => between(scattered(i), Some(scattered(i).saturating_add(100_000))),
        });
    }
}
