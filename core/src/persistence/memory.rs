//! The plainest storage engine: ordered maps in memory. It forgets everything when dropped, and serves tests and
//! simulations.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{
    BackfillEntry, IndexId, IndexPage, IndexRead, IndexRow, LogPage, Order, Persistence,
    PersistenceError, Revision,
};
use crate::timestamp::Timestamp;

/// Storage in memory. Every call is done when it returns its future.
#[derive(Debug, Default)]
pub struct MemoryPersistence {
    state: Mutex<State>,
}

/// Versions of one key, by timestamp: where in the log its revision is, or `None` where the key ends.
type Versions = BTreeMap<Timestamp, Option<usize>>;

#[derive(Debug, Default)]
struct State {
    /// Ascending by timestamp, never shrinks: positions stay valid.
    log: Vec<Revision>,
    indexes: BTreeMap<IndexId, BTreeMap<Vec<u8>, Versions>>,
    globals: BTreeMap<&'static str, Vec<u8>>,
}

impl State {
    fn max_ts(&self) -> Timestamp {
        self.log
            .last()
            .map_or(Timestamp::ZERO, |revision| revision.ts)
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
        for mut revision in revisions {
            let position = self.log.len();
            for update in std::mem::take(&mut revision.index_updates) {
                self.indexes
                    .entry(update.index)
                    .or_default()
                    .entry(update.key)
                    .or_default()
                    .insert(revision.ts, update.live.then_some(position));
            }
            self.log.push(revision);
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

    fn position(&self, entry: &BackfillEntry) -> Result<usize, PersistenceError> {
        let first = self.log.partition_point(|revision| revision.ts < entry.ts);
        self.log[first..]
            .iter()
            .take_while(|revision| revision.ts == entry.ts)
            .position(|revision| revision.table == entry.table && revision.id == entry.id)
            .map(|offset| first + offset)
            .ok_or_else(|| {
                PersistenceError::Other("backfill of a revision that is not in the log".into())
            })
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
            let revision = &self.log[position];
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
        let start = self.log.partition_point(|revision| revision.ts <= after);
        let mut end = self.log.len().min(start.saturating_add(limit.max(1)));
        while end < self.log.len() && self.log[end].ts == self.log[end - 1].ts {
            end += 1;
        }
        LogPage {
            revisions: self.log[start..end].to_vec(),
            exhausted: end == self.log.len(),
        }
    }
}

impl MemoryPersistence {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
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
