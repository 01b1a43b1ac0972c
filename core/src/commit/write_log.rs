//! Recent writes: what transactions are validated against.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::heap::piece;
use crate::persistence::IndexId;
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::transaction::ReadSet;

/// Index keys that a commit began or ended: reading any of them before or after gives different answers.
#[derive(Clone, Debug, Default)]
pub struct WrittenKeys(Vec<(IndexId, Vec<u8>)>);

impl WrittenKeys {
    /// These keys.
    pub fn new(mut keys: Vec<(IndexId, Vec<u8>)>) -> Self {
        keys.sort_unstable();
        keys.shrink_to_fit();
        debug_assert!(
            keys.is_sorted_by(|a, b| a < b),
            "a key belongs to one document, which is written once"
        );
        Self(keys)
    }

    /// All keys, by index and then by key.
    pub fn iter(&self) -> impl Iterator<Item = (IndexId, &[u8])> {
        self.0.iter().map(|(index, key)| (*index, key.as_slice()))
    }

    /// What the log holds for a commit of these keys, bytes: the keys, and places in the queues of all commits and of
    /// each index.
    pub fn heap_bytes(&self) -> usize {
        let keys = self.0.iter().map(|(_, key)| piece(key.capacity()));
        let places = 1 + self.indexes().count();
        piece(size_of::<Self>() + self.0.capacity() * size_of::<(IndexId, Vec<u8>)>())
            + keys.sum::<usize>()
            + 2 * places * size_of::<(Timestamp, Arc<Self>)>()
    }

    /// The indexes that have keys, ascending.
    fn indexes(&self) -> impl Iterator<Item = IndexId> {
        self.0.chunk_by(|a, b| a.0 == b.0).map(|keys| keys[0].0)
    }

    /// The first key of `index` that a reader of `reads` would notice.
    fn first_in(&self, index: IndexId, reads: &ReadSet) -> Option<&[u8]> {
        let start = self.0.partition_point(|(other, _)| *other < index);
        self.0[start..]
            .iter()
            .take_while(|(other, _)| *other == index)
            .map(|(_, key)| key.as_slice())
            .find(|key| reads.contains(index, key))
    }
}

/// A commit that changed what a transaction read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The commit.
    pub with: Timestamp,
    /// The index and the key in it that both touched.
    pub index: IndexId,
    /// See `index`.
    pub key: Vec<u8>,
}

/// Commits in order of their timestamps.
type Commits = VecDeque<(Timestamp, Arc<WrittenKeys>)>;

/// Writes of all accepted commits after some timestamp.
///
/// Validating looks only at commits that wrote to the indexes that were read: many transactions in flight at once
/// cost each other nothing if they have no index in common.
///
/// Invariants:
/// * For every commit with a timestamp above [`WriteLog::begins_after`], accepted and not failed, the log holds its
///   keys.
/// * `bytes` is what the commits of `commits` take.
/// * `by_index` holds, for each index, exactly the commits of `commits` that have a key in it; no queue is empty.
#[derive(Debug)]
pub struct WriteLog {
    begins_after: Timestamp,
    commits: Commits,
    bytes: usize,
    by_index: BTreeMap<IndexId, Commits>,
}

/// How much of a log may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Commits.
    pub commits: usize,
    /// What they take, bytes.
    pub bytes: usize,
}

impl Room {
    /// None.
    pub const NONE: Self = Self {
        commits: 0,
        bytes: 0,
    };
}

impl WriteLog {
    /// An empty log that begins after `ts`.
    pub fn new(ts: Timestamp) -> Self {
        Self {
            begins_after: ts,
            commits: Commits::new(),
            bytes: 0,
            by_index: BTreeMap::new(),
        }
    }

    /// Commits at or before this are not in the log any more.
    pub fn begins_after(&self) -> Timestamp {
        self.begins_after
    }

    /// Number of commits held.
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// What it takes, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest commit held.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.commits.back().map(|(ts, _)| *ts)
    }

    /// Whether the commit of that timestamp is held.
    pub fn holds(&self, ts: Timestamp) -> bool {
        let place = self.commits.binary_search_by_key(&ts, |(ts, _)| *ts);
        place.is_ok()
    }

    /// Whether no commit is held.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// The first commit after `after` that wrote something in `reads`.
    pub fn first_conflict(&self, reads: &ReadSet, mut after: Timestamp) -> Option<Conflict> {
        assert!(
            after >= self.begins_after,
            "the log reaches back far enough"
        );
        if planted(Bug::FirstCommitNotValidated) {
            let mut commits = self.commits.iter();
            after = commits
                .find(|(ts, _)| *ts > after)
                .map_or(after, |(ts, _)| *ts);
        }
        let first_in = |index| {
            // From the newest on, since few commits are newer than a snapshot; the last one found is the first.
            let commits = self.by_index.get(&index)?.iter().rev();
            let looked_at = match planted(Bug::OnlyNewestValidated) {
                true => 1,
                false => usize::MAX,
            };
            commits
                .take(looked_at)
                .take_while(|(ts, _)| *ts > after)
                .filter_map(|(ts, keys)| {
                    let key = keys.first_in(index, reads)?;
                    Some((*ts, index, key))
                })
                .last()
        };
        let (with, index, key) = reads.indexes().filter_map(first_in).min()?;
        assert!(with > after, "older commits were seen");
        debug_assert!(reads.contains(index, key));
        Some(Conflict {
            with,
            index,
            key: key.to_vec(),
        })
    }

    pub(super) fn append(&mut self, ts: Timestamp, keys: Arc<WrittenKeys>) {
        assert!(self.newest().is_none_or(|last| last < ts), "in order");
        assert!(ts > self.begins_after, "what is forgotten does not return");
        self.bytes += keys.heap_bytes();
        let filed = match planted(Bug::OneIndexLogged) {
            true => 1,
            false => usize::MAX,
        };
        for index in keys.indexes().take(filed) {
            let commits = self.by_index.entry(index).or_default();
            assert!(commits.back().is_none_or(|(last, _)| *last < ts));
            commits.push_back((ts, keys.clone()));
        }
        self.commits.push_back((ts, keys));
    }

    /// Forgets commits that failed.
    pub(super) fn remove(&mut self, failed: RangeInclusive<Timestamp>) {
        assert!(*failed.start() > self.begins_after);
        let range = |commits: &Commits| {
            let start = commits.partition_point(|(ts, _)| ts < failed.start());
            let end = commits.partition_point(|(ts, _)| ts <= failed.end());
            start..end
        };
        let gone = self.commits.drain(range(&self.commits));
        self.bytes -= gone.map(|(_, keys)| keys.heap_bytes()).sum::<usize>();
        self.by_index.retain(|_, commits| {
            commits.drain(range(commits));
            !commits.is_empty()
        });
    }

    /// Forgets commits at or before `before`, the oldest first, until the others fit into `room`.
    pub(super) fn trim(&mut self, mut before: Timestamp, room: Room) {
        if planted(Bug::TrimmedOneTooFar) {
            let mut newer = self.commits.iter().filter(|(ts, _)| *ts > before);
            before = newer.next().map_or(before, |(ts, _)| *ts);
        }
        while (self.commits.len() > room.commits || self.bytes > room.bytes)
            && let Some((ts, keys)) = self.commits.pop_front_if(|(ts, _)| *ts <= before)
        {
            assert!(ts > self.begins_after);
            assert!(ts <= before);
            self.bytes -= keys.heap_bytes();
            if !planted(Bug::TrimNotNoted) {
                self.begins_after = ts;
            }
            for index in keys.indexes() {
                let commits = self.by_index.get_mut(&index);
                let commits = commits.expect("the index has a queue with this commit");
                let first = commits.pop_front();
                assert_eq!(first.map(|(first, _)| first), Some(ts));
                if commits.is_empty() {
                    self.by_index.remove(&index);
                }
            }
        }
        assert!(!self.commits.is_empty() || self.bytes == 0);
        // After a burst its room is given back.
        if self.commits.len() < self.commits.capacity() / 4 {
            self.commits.shrink_to(2 * self.commits.len());
            for commits in self.by_index.values_mut() {
                commits.shrink_to(2 * commits.len());
            }
        }
    }
}
