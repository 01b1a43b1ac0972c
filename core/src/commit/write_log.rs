//! Recent writes by timestamp: what transactions are validated against.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::persistence::IndexId;
use crate::timestamp::Timestamp;
use crate::transaction::ReadSet;

/// Index keys that a commit began or ended: reading any of them before or after gives different answers.
#[derive(Clone, Debug, Default)]
pub struct WrittenKeys(Vec<(IndexId, Vec<u8>)>);

impl WrittenKeys {
    /// Adds a key.
    pub fn push(&mut self, index: IndexId, key: Vec<u8>) {
        self.0.push((index, key));
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = (IndexId, &[u8])> {
        self.0.iter().map(|(index, key)| (*index, key.as_slice()))
    }

    /// The first key that a reader of `reads` would notice.
    pub fn first_in(&self, reads: &ReadSet) -> Option<(IndexId, &[u8])> {
        self.iter().find(|(index, key)| reads.contains(*index, key))
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

/// Writes of all accepted commits after some timestamp.
///
/// Invariant: for every commit with a timestamp above [`WriteLog::begins_after`], accepted and not failed, the log
/// holds its keys.
#[derive(Debug)]
pub struct WriteLog {
    begins_after: Timestamp,
    commits: BTreeMap<Timestamp, Arc<WrittenKeys>>,
}

impl WriteLog {
    /// An empty log that begins after `ts`.
    pub fn new(ts: Timestamp) -> Self {
        Self {
            begins_after: ts,
            commits: BTreeMap::new(),
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

    /// Whether no commit is held.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// The keys of a commit.
    pub fn get(&self, ts: Timestamp) -> Option<&Arc<WrittenKeys>> {
        self.commits.get(&ts)
    }

    /// The first commit after `after` that wrote something in `reads`.
    pub fn first_conflict(&self, reads: &ReadSet, after: Timestamp) -> Option<Conflict> {
        assert!(
            after >= self.begins_after,
            "the log reaches back far enough"
        );
        self.commits.range(after.next()..).find_map(|(ts, keys)| {
            let (index, key) = keys.first_in(reads)?;
            Some(Conflict {
                with: *ts,
                index,
                key: key.to_vec(),
            })
        })
    }

    pub(super) fn append(&mut self, ts: Timestamp, keys: Arc<WrittenKeys>) {
        debug_assert!(
            self.commits
                .last_key_value()
                .is_none_or(|(last, _)| *last < ts)
        );
        self.commits.insert(ts, keys);
    }

    pub(super) fn remove(&mut self, ts: Timestamp) {
        self.commits.remove(&ts);
    }

    pub(super) fn trim(&mut self, before: Timestamp) {
        if before > self.begins_after {
            self.commits = self.commits.split_off(&before.next());
            self.begins_after = before;
        }
    }
}
