//! What retention deletes, kept for the judges: they replay the whole log.
//!
//! [`Archiving`] stands between a server and its storage. It looks at every deletion before it lets it pass: only what
//! is superseded may go, and nothing that somebody still reads, as the world itself knows it ([`Readers`]), not as the
//! core says. What goes is kept in the world's [`Archive`], outside of the simulated machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use concave_core::Timestamp;
use concave_core::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, LogPage, Persistence, PersistenceError, Revision,
    RevisionName, Superseded,
};
use concave_core::retention::dropped_index;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::report::{Fault, Report};

type Answer<T> = BoxFuture<'static, Result<T, PersistenceError>>;

/// What a world's storage had and may have lost. Clones are the same.
#[derive(Clone, Default)]
pub struct Archive {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// All that was durable up to `through`, whether it is in storage still or not.
    seen: BTreeMap<RevisionName, Revision>,
    through: Timestamp,
    /// What of it was to be deleted, and so may be gone.
    named: BTreeSet<RevisionName>,
    /// Reads at or after this are as if nothing had been deleted.
    bound: Timestamp,
    report: Report,
}

/// Snapshots that somebody reads at in one life of a server, and how many do. Clones are the same.
#[derive(Clone, Default)]
pub struct Readers {
    held: Arc<Mutex<BTreeMap<Timestamp, usize>>>,
}

/// Somebody reads at a snapshot for as long as this is there.
pub struct Hold {
    readers: Readers,
    ts: Timestamp,
}

impl Readers {
    /// Notes that somebody reads at a snapshot.
    pub fn hold(&self, ts: Timestamp) -> Hold {
        *lock(&self.held).entry(ts).or_default() += 1;
        Hold {
            readers: self.clone(),
            ts,
        }
    }

    fn oldest(&self) -> Option<Timestamp> {
        lock(&self.held).keys().next().copied()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = lock(&self.readers.held);
        let readers = held.get_mut(&self.ts).expect("the snapshot was noted");
        *readers -= 1;
        if *readers == 0 {
            held.remove(&self.ts);
        }
    }
}

impl Archive {
    /// From when on storage is as if nothing had been deleted.
    pub fn bound(&self) -> Timestamp {
        self.lock().bound
    }

    /// What was deleted, and beside whom.
    pub fn report(&self) -> Report {
        self.lock().report.clone()
    }

    /// Adds what was deleted to what storage has: the log as it would be without retention.
    ///
    /// # Errors
    /// If storage has something else under a name than it had.
    pub fn complete(&self, stored: Vec<Revision>) -> Result<Vec<Revision>, String> {
        let state = self.lock();
        let mut whole: BTreeMap<_, _> = stored
            .into_iter()
            .map(|revision| (name(&revision), revision))
            .collect();
        for (name, seen) in &state.seen {
            match whole.get(name) {
                Some(stored) if stored != seen => {
                    return Err(format!("a version has changed: {stored:?} was {seen:?}"));
                }
                None if state.named.contains(name) => {
                    whole.insert(*name, seen.clone());
                }
                _ => {}
            }
        }
        Ok(whole.into_values().collect())
    }

    /// Notes a page of the log, as far as it is durable; `true` if there may be more.
    fn learn(&self, page: LogPage, newest: Timestamp) -> bool {
        let mut state = self.lock();
        for revision in page.revisions {
            if revision.ts > newest {
                return false;
            }
            state.through = state.through.max(revision.ts);
            let name = name(&revision);
            let known = state.seen.insert(name, revision.clone());
            assert!(
                known.is_none_or(|known| known == revision),
                "a version has changed: {name:?}"
            );
        }
        !page.exhausted
    }

    /// What is to be deleted is superseded, and nobody reads it.
    fn examine(&self, superseded: &Superseded, newest: Timestamp, oldest: Option<Timestamp>) {
        let mut state = self.lock();
        let state = &mut *state;
        for name in &superseded.revisions {
            let revision = state.seen.get(name);
            let revision =
                revision.unwrap_or_else(|| panic!("what was never there is deleted: {name:?}"));
            let next = state
                .seen
                .range(name..)
                .map(|(other, _)| other)
                .find(|other| {
                    (other.table, other.id) == (name.table, name.id) && other.ts > name.ts
                });
            let end = match next {
                _ if revision.document.is_none() => name.ts,
                Some(next) => next.ts,
                None => panic!("the newest version of a document is deleted: {name:?}"),
            };
            assert!(
                end < newest,
                "what the newest commit replaced is deleted: {name:?}"
            );
            assert!(
                oldest.is_none_or(|oldest| end <= oldest),
                "a version is deleted that somebody reads: {name:?}, at {oldest:?}"
            );
            state.named.insert(*name);
            state.bound = state.bound.max(end);
        }
    }

    /// What is to lose all its keys was dropped, and nobody reads it.
    fn examine_index(&self, index: IndexId, oldest: Option<Timestamp>) {
        let mut state = self.lock();
        let dropped = state.seen.values().rev().find(|revision| {
            dropped_index(revision).expect("what is stored can be read") == Some(index)
        });
        let dropped = dropped.map(|revision| revision.ts);
        let dropped = dropped
            .unwrap_or_else(|| panic!("an index is emptied that was not dropped: {index:?}"));
        assert!(
            oldest.is_none_or(|oldest| dropped <= oldest),
            "an index is emptied that somebody reads: {index:?}, at {oldest:?}"
        );
        state.bound = state.bound.max(dropped);
    }

    /// Counts what was deleted.
    fn deleted(&self, revisions: usize, beside_reader: bool) {
        let mut state = self.lock();
        state.report.versions_deleted += revisions as u64;
        if revisions > 0 && beside_reader {
            state.report.strike(Fault::RetentionRace);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a revision is called.
pub(crate) fn name(revision: &Revision) -> RevisionName {
    RevisionName {
        ts: revision.ts,
        table: revision.table,
        id: revision.id,
    }
}

/// Storage whose deletions are examined and kept.
#[derive(Clone)]
pub struct Archiving {
    storage: Arc<dyn Persistence>,
    archive: Archive,
    readers: Readers,
}

impl Archiving {
    /// Keeps in `archive` what is deleted from `storage`, which must be nothing that `readers` read.
    pub fn new(storage: Arc<dyn Persistence>, archive: Archive, readers: Readers) -> Self {
        Self {
            storage,
            archive,
            readers,
        }
    }

    /// Reads what it does not know yet, and gives the newest timestamp that is durable.
    async fn learn(&self) -> Result<Timestamp, PersistenceError> {
        let newest = self.storage.max_ts().await?;
        loop {
            let through = self.archive.lock().through;
            let page = self.storage.read_log(through, 64).await?;
            if !self.archive.learn(page, newest) {
                return Ok(newest);
            }
        }
    }
}

impl Persistence for Archiving {
    fn write(&self, revisions: Vec<Revision>) -> Answer<()> {
        self.storage.write(revisions)
    }

    fn backfill(&self, entries: Vec<BackfillEntry>) -> Answer<()> {
        self.storage.backfill(entries)
    }

    fn delete(&self, superseded: Superseded) -> Answer<()> {
        let this = self.clone();
        async move {
            let newest = this.learn().await?;
            let oldest = this.readers.oldest();
            this.archive.examine(&superseded, newest, oldest);
            let revisions = superseded.revisions.len();
            this.storage.delete(superseded).await?;
            let is_beside = |oldest: Timestamp| oldest < newest;
            let beside_reader = oldest.is_some_and(is_beside);
            this.archive.deleted(revisions, beside_reader);
            Ok(())
        }
        .boxed()
    }

    fn delete_index(&self, index: IndexId, limit: usize) -> Answer<bool> {
        let this = self.clone();
        async move {
            this.learn().await?;
            this.archive.examine_index(index, this.readers.oldest());
            this.storage.delete_index(index, limit).await
        }
        .boxed()
    }

    fn read_index(&self, read: IndexRead) -> Answer<IndexPage> {
        self.storage.read_index(read)
    }

    fn read_log(&self, after: Timestamp, limit: usize) -> Answer<LogPage> {
        self.storage.read_log(after, limit)
    }

    fn max_ts(&self) -> Answer<Timestamp> {
        self.storage.max_ts()
    }

    fn get_global(&self, name: &'static str) -> Answer<Option<Vec<u8>>> {
        self.storage.get_global(name)
    }

    fn set_global(&self, name: &'static str, value: Vec<u8>) -> Answer<()> {
        self.storage.set_global(name, value)
    }
}
