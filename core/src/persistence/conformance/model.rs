//! What storage means, in the fewest words: lists that are searched from end to end.

use std::collections::BTreeMap;

use super::super::{
    BackfillEntry, IndexId, IndexRow, IndexUpdate, KeyRange, KeyVersion, Order, Revision,
    RevisionName, Superseded, TableId,
};
use crate::timestamp::Timestamp;
use crate::value::InternalId;

/// Everything that was ever written.
#[derive(Default)]
pub(super) struct Model {
    pub(super) log: Vec<Revision>,
    versions: Vec<Version>,
}

/// One key as of one timestamp.
struct Version {
    index: IndexId,
    key: Vec<u8>,
    ts: Timestamp,
    /// `None`: the key ends here.
    document: Option<(TableId, InternalId)>,
}

impl Model {
    pub(super) fn write(&mut self, revisions: &[Revision]) {
        for revision in revisions {
            for IndexUpdate { index, key, live } in revision.index_updates.clone() {
                self.versions.push(Version {
                    index,
                    key,
                    ts: revision.ts,
                    document: live.then_some((revision.table, revision.id)),
                });
            }
            self.log.push(Revision {
                index_updates: Vec::new(),
                ..revision.clone()
            });
        }
    }

    pub(super) fn backfill(&mut self, entries: &[BackfillEntry]) {
        for entry in entries.iter().cloned() {
            let known = self.versions.iter().any(|version| {
                (version.index, &version.key, version.ts) == (entry.index, &entry.key, entry.ts)
            });
            if !known {
                self.versions.push(Version {
                    index: entry.index,
                    key: entry.key,
                    ts: entry.ts,
                    document: Some((entry.table, entry.id)),
                });
            }
        }
    }

    pub(super) fn delete(&mut self, superseded: &Superseded) {
        self.log.retain(|revision| {
            let name = RevisionName {
                ts: revision.ts,
                table: revision.table,
                id: revision.id,
            };
            !superseded.revisions.contains(&name)
        });
        self.versions.retain(|version| {
            let name = KeyVersion {
                index: version.index,
                key: version.key.clone(),
                ts: version.ts,
            };
            !superseded.keys.contains(&name)
        });
    }

    pub(super) fn delete_index(&mut self, index: IndexId) {
        self.versions.retain(|version| version.index != index);
    }

    /// The stored form of a document as of `ts`, which must be the timestamp of one of its revisions.
    fn document(&self, ts: Timestamp, table: TableId, id: InternalId) -> Option<Vec<u8>> {
        self.log
            .iter()
            .find(|revision| (revision.ts, revision.table, revision.id) == (ts, table, id))
            .expect("index keys lead to revisions of the log")
            .document
            .clone()
    }

    /// All rows of a range.
    pub(super) fn rows(
        &self,
        index: IndexId,
        range: &KeyRange,
        order: Order,
        at: Timestamp,
    ) -> Vec<IndexRow> {
        let mut newest: BTreeMap<&[u8], &Version> = BTreeMap::new();
        for version in &self.versions {
            if version.index == index && version.ts <= at && range.contains(&version.key) {
                let held = newest.entry(&version.key).or_insert(version);
                if held.ts < version.ts {
                    *held = version;
                }
            }
        }
        let mut rows: Vec<IndexRow> = newest
            .into_values()
            .filter_map(|version| {
                let (table, id) = version.document?;
                Some(IndexRow {
                    key: version.key.clone(),
                    ts: version.ts,
                    document: self.document(version.ts, table, id)?,
                })
            })
            .collect();
        if order == Order::Descending {
            rows.reverse();
        }
        rows
    }

    pub(super) fn log_after(&self, after: Timestamp) -> Vec<Revision> {
        self.log
            .iter()
            .filter(|revision| revision.ts > after)
            .cloned()
            .collect()
    }

    pub(super) fn max_ts(&self) -> Timestamp {
        self.log
            .last()
            .map_or(Timestamp::ZERO, |revision| revision.ts)
    }

    /// Every timestamp at which something was written, ascending.
    pub(super) fn timestamps(&self) -> Vec<Timestamp> {
        let mut timestamps: Vec<Timestamp> = self.log.iter().map(|revision| revision.ts).collect();
        timestamps.dedup();
        timestamps
    }
}
