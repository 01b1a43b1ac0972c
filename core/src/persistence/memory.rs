//! The plainest storage engine: ordered maps in memory. It forgets everything when dropped, and serves tests and
//! simulations.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{
    BackfillEntry, IndexId, IndexPage, IndexRead, IndexRow, KeyVersion, LogPage, Order,
    Persistence, PersistenceError, Revision, RevisionName, Superseded,
};
use crate::timestamp::Timestamp;

/// Storage in memory. Every call is done when it returns its future.
#[derive(Debug, Default)]
pub struct MemoryPersistence {
    state: Mutex<State>,
}

/// Where in the log a revision is: by timestamp, then in the order of writing.
type Position = (Timestamp, usize);

/// Versions of one key, by timestamp: where in the log its revision is, or `None` where the key ends.
type Versions = BTreeMap<Timestamp, Option<Position>>;

#[derive(Debug, Default)]
struct State {
    log: BTreeMap<Position, Revision>,
    indexes: BTreeMap<IndexId, BTreeMap<Vec<u8>, Versions>>,
    globals: BTreeMap<&'static str, Vec<u8>>,
}

impl State {
    fn max_ts(&self) -> Timestamp {
        self.log
            .last_key_value()
            .map_or(Timestamp::ZERO, |((ts, _), _)| *ts)
    }

    fn write(&mut self, revisions: Vec<Revision>) -> Result<(), PersistenceError> {
        let ascending = revisions.is_sorted_by_key(|revision| revision.ts);
        let later = revisions
            .first()
            .is_none_or(|first| first.ts > self.max_ts());
        if !(ascending && later) {
            return Err(PersistenceError::Other(
                "timestamps of writes must ascend".into(),
            ));
        }
        for (n, mut revision) in revisions.into_iter().enumerate() {
            let position = (revision.ts, n);
            for update in std::mem::take(&mut revision.index_updates) {
                self.indexes
                    .entry(update.index)
                    .or_default()
                    .entry(update.key)
                    .or_default()
                    .insert(revision.ts, update.live.then_some(position));
            }
            self.log.insert(position, revision);
        }
        Ok(())
    }

    fn backfill(&mut self, entries: Vec<BackfillEntry>) -> Result<(), PersistenceError> {
        let positions = entries
            .iter()
            .map(|entry| self.position(entry))
            .collect::<Result<Vec<_>, _>>()?;
        for (entry, position) in entries.into_iter().zip(positions) {
            self.indexes
                .entry(entry.index)
                .or_default()
                .entry(entry.key)
                .or_default()
                .entry(entry.ts)
                .or_insert(Some(position));
        }
        Ok(())
    }

    fn position(&self, entry: &BackfillEntry) -> Result<Position, PersistenceError> {
        let name = RevisionName {
            ts: entry.ts,
            table: entry.table,
            id: entry.id,
        };
        self.find(name).ok_or_else(|| {
            PersistenceError::Other("backfill of a revision that is not in the log".into())
        })
    }

    fn find(&self, name: RevisionName) -> Option<Position> {
        let of_ts = self.log.range((name.ts, 0)..=(name.ts, usize::MAX));
        let mut found = of_ts.filter(|(_, held)| held.table == name.table && held.id == name.id);
        found.next().map(|(position, _)| *position)
    }

    fn delete(&mut self, superseded: Superseded) -> Result<(), PersistenceError> {
        let newest = self.max_ts();
        if superseded.revisions.iter().any(|name| name.ts >= newest) {
            return Err(PersistenceError::Other(
                "the newest timestamp of the log must stay".into(),
            ));
        }
        for name in superseded.revisions {
            if let Some(position) = self.find(name) {
                self.log.remove(&position);
            }
        }
        for KeyVersion { index, key, ts } in superseded.keys {
            let Some(keys) = self.indexes.get_mut(&index) else {
                continue;
            };
            if let Some(versions) = keys.get_mut(&key) {
                versions.remove(&ts);
                if versions.is_empty() {
                    keys.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn delete_index(&mut self, index: IndexId, limit: usize) -> bool {
        let Some(keys) = self.indexes.get_mut(&index) else {
            return true;
        };
        for _ in 0..limit {
            let Some(mut key) = keys.first_entry() else {
                break;
            };
            key.get_mut().pop_first();
            if key.get().is_empty() {
                key.remove();
            }
        }
        keys.is_empty()
    }

    fn read_index(&self, read: &IndexRead) -> IndexPage {
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
        let from_start = index.range(read.range.start.clone()..);
        let in_range = from_start.filter(|(key, _)| read.range.contains(key));
        let in_order: Box<dyn Iterator<Item = (&Vec<u8>, &Versions)>> = match read.order {
            Order::Ascending => Box::new(in_range),
            Order::Descending => Box::new(in_range.rev()),
        };
        for (key, versions) in in_order {
            let Some((_, &Some(position))) = versions.range(..=read.at).next_back() else {
                continue;
            };
            if page.rows.len() == read.limit {
                page.exhausted = false;
                return page;
            }
            let revision = self
                .log
                .get(&position)
                .expect("a key that can be read leads to a revision");
            // A live key of a deleted document would be a defect of the caller; it has nothing to show.
            let Some(document) = &revision.document else {
                continue;
            };
            page.rows.push(IndexRow {
                key: key.clone(),
                ts: revision.ts,
                document: document.clone(),
            });
        }
        page
    }

    fn read_log(&self, after: Timestamp, limit: usize) -> LogPage {
        let mut page = LogPage {
            revisions: Vec::<Revision>::new(),
            exhausted: true,
        };
        let newer = (Bound::Excluded((after, usize::MAX)), Bound::Unbounded);
        for revision in self.log.range(newer).map(|(_, revision)| revision) {
            let last = page.revisions.last();
            if page.revisions.len() >= limit && last.is_some_and(|last| last.ts != revision.ts) {
                page.exhausted = false;
                break;
            }
            page.revisions.push(revision.clone());
        }
        page
    }
}

impl MemoryPersistence {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every version of every key: whether the key begins or ends there.
    #[cfg(test)]
    pub(crate) fn versions(&self) -> Vec<(IndexId, Vec<u8>, Timestamp, bool)> {
        let state = self.state();
        let keys = state.indexes.iter();
        keys.flat_map(|(index, keys)| keys.iter().map(move |(key, of_key)| (*index, key, of_key)))
            .flat_map(|(index, key, of_key)| {
                let of_key = of_key.iter();
                of_key.map(move |(ts, leads)| (index, key.clone(), *ts, leads.is_some()))
            })
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Persistence for MemoryPersistence {
    fn write(&self, revisions: Vec<Revision>) -> BoxFuture<'static, Result<(), PersistenceError>> {
        ready(self.state().write(revisions)).boxed()
    }

    fn backfill(
        &self,
        entries: Vec<BackfillEntry>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        ready(self.state().backfill(entries)).boxed()
    }

    fn delete(&self, superseded: Superseded) -> BoxFuture<'static, Result<(), PersistenceError>> {
        ready(self.state().delete(superseded)).boxed()
    }

    fn delete_index(
        &self,
        index: IndexId,
        limit: usize,
    ) -> BoxFuture<'static, Result<bool, PersistenceError>> {
        ready(Ok(self.state().delete_index(index, limit))).boxed()
    }

    fn read_index(
        &self,
        read: IndexRead,
    ) -> BoxFuture<'static, Result<IndexPage, PersistenceError>> {
        ready(Ok(self.state().read_index(&read))).boxed()
    }

    fn read_log(
        &self,
        after: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<LogPage, PersistenceError>> {
        ready(Ok(self.state().read_log(after, limit))).boxed()
    }

    fn max_ts(&self) -> BoxFuture<'static, Result<Timestamp, PersistenceError>> {
        ready(Ok(self.state().max_ts())).boxed()
    }

    fn get_global(
        &self,
        name: &'static str,
    ) -> BoxFuture<'static, Result<Option<Vec<u8>>, PersistenceError>> {
        ready(Ok(self.state().globals.get(name).cloned())).boxed()
    }

    fn set_global(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.state().globals.insert(name, value);
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::persistence::conformance;

    #[test]
    fn conforms() {
        let make = || -> BoxFuture<'static, Arc<dyn Persistence>> {
            ready(Arc::new(MemoryPersistence::new()) as Arc<dyn Persistence>).boxed()
        };
        // Every future of this adapter is ready at once, so that no executor is needed.
        conformance::run_all(make)
            .now_or_never()
            .expect("nothing here waits");
    }
}
