//! Storage for the loop: `Persistence` without its futures, and quick.
//!
//! It keeps the same contract (`concave_core::persistence`), with versions that no open transaction can read left out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use concave_core::Timestamp;
use concave_core::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, IndexRow, Order, Revision,
};

/// A key's versions by timestamp, oldest first; `None` where the key ends.
type Versions = Vec<(Timestamp, Option<Revised>)>;

/// When a revision was committed, and its content.
#[derive(Clone, Debug)]
struct Revised {
    ts: Timestamp,
    document: Rc<Vec<u8>>,
}

/// Versioned indexes in memory.
#[derive(Debug, Default)]
pub struct Store {
    newest: Timestamp,
    indexes: BTreeMap<IndexId, BTreeMap<Vec<u8>, Versions>>,
}

impl Store {
    /// The newest timestamp.
    pub fn max_ts(&self) -> Timestamp {
        self.newest
    }

    /// Stores a batch.
    pub fn write(&mut self, revisions: Vec<Revision>) {
        assert!(revisions.first().is_none_or(|first| first.ts > self.newest));
        assert!(revisions.is_sorted_by_key(|revision| revision.ts));
        for revision in revisions {
            self.newest = revision.ts;
            let revised = revision.document.map(|document| Revised {
                ts: revision.ts,
                document: Rc::new(document),
            });
            for update in revision.index_updates {
                let index = self.indexes.entry(update.index).or_default();
                let version = if update.live {
                    assert!(revised.is_some(), "a deleted document has no live keys");
                    revised.clone()
                } else {
                    None
                };
                index
                    .entry(update.key)
                    .or_default()
                    .push((revision.ts, version));
            }
        }
    }

    /// Adds keys for old revisions, which are read from another index of their table.
    pub fn backfill(&mut self, from: IndexId, entries: Vec<(Vec<u8>, BackfillEntry)>) {
        for (source, entry) in entries {
            let versions = self.indexes.get(&from).and_then(|index| index.get(&source));
            let revised = versions
                .into_iter()
                .flatten()
                .filter_map(|(_, revised)| revised.clone())
                .find(|revised| revised.ts == entry.ts);
            // Gone if no open transaction can see it any more.
            let Some(revised) = revised else { continue };
            let index = self.indexes.entry(entry.index).or_default();
            let versions = index.entry(entry.key).or_default();
            let position = versions.partition_point(|(ts, _)| *ts < entry.ts);
            if versions.get(position).is_none_or(|(ts, _)| *ts != entry.ts) {
                versions.insert(position, (entry.ts, Some(revised)));
            }
        }
    }

    /// Reads a page.
    pub fn read(&self, read: &IndexRead) -> IndexPage {
        let mut page = IndexPage {
            rows: Vec::new(),
            exhausted: true,
        };
        let Some(index) = self.indexes.get(&read.index) else {
            return page;
        };
        if read.range.is_empty() {
            return page;
        }
        let end = read.range.end.as_deref();
        let range = (
            Bound::Included(read.range.start.as_slice()),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let mut entries = index.range::<[u8], _>(range);
        loop {
            let entry = match read.order {
                Order::Ascending => entries.next(),
                Order::Descending => entries.next_back(),
            };
            let Some((key, versions)) = entry else {
                return page;
            };
            let version = versions.iter().rev().find(|(ts, _)| *ts <= read.at);
            let Some((_, Some(revised))) = version else {
                continue;
            };
            if page.rows.len() == read.limit {
                page.exhausted = false;
                return page;
            }
            page.rows.push(IndexRow {
                key: key.clone(),
                ts: revised.ts,
                document: revised.document.to_vec(),
            });
        }
    }

    /// Drops versions that nobody who reads at `oldest` or later sees.
    pub fn prune(&mut self, oldest: Timestamp) {
        for index in self.indexes.values_mut() {
            index.retain(|_, versions| {
                let seen = versions.iter().rposition(|(ts, _)| *ts <= oldest);
                if let Some(seen) = seen {
                    let ended = versions[seen].1.is_none();
                    versions.drain(..seen + usize::from(ended));
                }
                !versions.is_empty()
            });
        }
    }
}
