//! Storage on the simulated disk: a log, and an index of it in memory.
//!
//! A write is one record, appended and synced ([`log`]). The index is rebuilt from the log when storage is opened; in
//! place of documents it holds where they are, so that every document that is read comes from the disk's bytes and is
//! checked.
//!
//! What the disk does to it is in the header of [`crate::disk`]. On top of that, pages are short, and the answer to a
//! write may get lost, before or after it happened: the caller is told that the outcome is unknown.
//!
//! One server at a time: whoever opens storage takes it over, and what an older server asks for fails with
//! `LeaseLost`. That goes for reads too. An older server does not know what was committed since, so that a read which
//! succeeds is proof that its snapshot is still the newest, and no client ever sees a stale one.
//!
//! Invariants, asserted: timestamps ascend, over crashes too; there are never two writes under way at once.

mod log;
mod record;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use concave_core::Timestamp;
use concave_core::persistence::memory::MemoryPersistence;
use concave_core::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, LogPage, Persistence, PersistenceError, Revision,
    Superseded,
};
use concave_core::runtime::Runtime;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::log::{Fence, Log, read_location};
use self::record::{Entry, Location};
use crate::disk::{Disk, File};
use crate::executor::Node;
use crate::report::Fault;

/// Storage on a [`Disk`], for one life of a server.
#[derive(Clone)]
pub struct SimPersistence {
    disk: Disk,
    node: Node,
    /// Reads; writing poisons other handles.
    file: File,
    fence: Fence,
    /// One append at a time.
    log: Arc<futures_util::lock::Mutex<Log>>,
    /// Everything that is durable, with a [`Location`] in place of each document.
    view: Arc<MemoryPersistence>,
    /// Values of globals, likewise.
    globals: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    writing: Arc<Mutex<bool>>,
}

impl SimPersistence {
    /// Takes the database on the disk over, reads it and builds the index.
    ///
    /// # Errors
    /// If the disk fails (it may be tried again), or what it holds is damaged.
    pub async fn open(node: Node, disk: Disk) -> Result<Self, PersistenceError> {
        let opened = Log::open(&disk);
        let file = log::reader(&disk);
        node.sleep(disk.take_delay()).await;
        let (log, entries) = opened?;
        let this = Self {
            file: file?,
            fence: log.fence(),
            log: Arc::new(futures_util::lock::Mutex::new(log)),
            view: Arc::new(MemoryPersistence::new()),
            globals: Arc::default(),
            writing: Arc::default(),
            disk,
            node,
        };
        for entry in entries {
            this.apply(entry)?;
        }
        Ok(this)
    }

    /// Appends a record, syncs, and adds it to the index.
    async fn append(self, what: String, payload: Vec<u8>) -> Result<(), PersistenceError> {
        let result = self.append_untold(&payload).await;
        self.node.trace(format!("disk: {what}: {result:?}"));
        self.node.sleep(self.disk.take_delay()).await;
        result
    }

    async fn append_untold(&self, payload: &[u8]) -> Result<(), PersistenceError> {
        let unknown = || PersistenceError::Unknown("the simulated storage does not answer".into());
        let mut log = self.log.lock().await;
        if self.disk.strikes(Fault::UnknownDropped) {
            return Err(unknown());
        }
        let unsynced = log.write(payload)?;
        self.node.sleep(self.disk.take_delay()).await;
        let entry = log.sync(unsynced)?;
        self.apply(entry)
            .expect("timestamps ascend, and backfilled revisions exist");
        if self.disk.strikes(Fault::UnknownApplied) {
            return Err(unknown());
        }
        Ok(())
    }

    /// Adds what a record holds to the index. Storage in memory answers at once.
    fn apply(&self, entry: Entry) -> Result<(), PersistenceError> {
        let done = match entry {
            Entry::Revisions(revisions) => self.view.write(revisions).now_or_never(),
            Entry::Backfill(entries) => self.view.backfill(entries).now_or_never(),
            Entry::Delete(superseded) => self.view.delete(superseded).now_or_never(),
            Entry::DeleteIndex(index, limit) => {
                let emptied = self.view.delete_index(index, limit).now_or_never();
                emptied.map(|emptied| emptied.map(drop))
            }
            Entry::Global(name, value) => {
                lock(&self.globals).insert(name, value);
                Some(Ok(()))
            }
        };
        done.expect("storage in memory answers at once")
    }

    /// Does a read, and takes as long as it takes. What it reads is what this server knows as long as the database has
    /// not been taken over.
    async fn read<T>(
        &self,
        read: impl FnOnce() -> Result<T, PersistenceError>,
    ) -> Result<T, PersistenceError> {
        let result = self.fence.check().and_then(|()| read());
        self.node.sleep(self.disk.take_delay()).await;
        result
    }

    /// Like [`Self::read`], for what the outcome of a write shows in: one that is unknown is settled first.
    async fn read_settled<T>(
        &self,
        read: impl FnOnce() -> Result<T, PersistenceError>,
    ) -> Result<T, PersistenceError> {
        let mut log = self.log.lock().await;
        let settled = log.repair();
        drop(log);
        self.read(|| settled.and_then(|()| read())).await
    }

    /// Puts a document in the place of its location.
    fn fetch(&self, document: &mut Vec<u8>) -> Result<(), PersistenceError> {
        *document = read_location(&self.file, Location::decode(document))?;
        Ok(())
    }
}

impl Persistence for SimPersistence {
    fn write(&self, revisions: Vec<Revision>) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let this = self.clone();
        let what = format!(
            "{} revisions up to {}",
            revisions.len(),
            revisions.last().map_or(0, |revision| revision.ts.0)
        );
        async move {
            let was_writing = std::mem::replace(&mut *lock(&this.writing), true);
            assert!(!was_writing, "two writes are under way at once");
            let writing = this.writing.clone();
            let result = this.append(what, record::revisions(&revisions)).await;
            *lock(&writing) = false;
            result
        }
        .boxed()
    }

    fn backfill(
        &self,
        entries: Vec<BackfillEntry>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let what = format!("{} backfilled keys", entries.len());
        self.clone()
            .append(what, record::backfill(&entries))
            .boxed()
    }

    fn delete(&self, superseded: Superseded) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let this = self.clone();
        let what = format!("{} deletions", superseded.revisions.len());
        async move {
            let newest = now(this.view.max_ts())?;
            if superseded.revisions.iter().any(|name| name.ts >= newest) {
                return Err(PersistenceError::Other(
                    "the newest timestamp of the log must stay".into(),
                ));
            }
            this.append(what, record::delete(&superseded)).await
        }
        .boxed()
    }

    fn delete_index(
        &self,
        index: IndexId,
        limit: usize,
    ) -> BoxFuture<'static, Result<bool, PersistenceError>> {
        let this = self.clone();
        let payload = record::delete_index(index, limit);
        async move {
            let what = format!("deletions from {index:?}");
            this.clone().append(what, payload).await?;
            // Deleting none tells whether there are any.
            now(this.view.delete_index(index, 0))
        }
        .boxed()
    }

    fn read_index(
        &self,
        mut read: IndexRead,
    ) -> BoxFuture<'static, Result<IndexPage, PersistenceError>> {
        let this = self.clone();
        async move {
            if read.limit > 1 && this.disk.strikes(Fault::ShortPage) {
                read.limit = this.disk.draw(|rng| rng.usize(1..read.limit));
            }
            this.read(|| {
                let mut page = now(this.view.read_index(read))?;
                for row in &mut page.rows {
                    this.fetch(&mut row.document)?;
                }
                Ok(page)
            })
            .await
        }
        .boxed()
    }

    fn read_log(
        &self,
        after: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<LogPage, PersistenceError>> {
        let this = self.clone();
        async move {
            this.read_settled(|| {
                let mut page = now(this.view.read_log(after, limit))?;
                let documents = page
                    .revisions
                    .iter_mut()
                    .filter_map(|r| r.document.as_mut());
                documents.into_iter().try_for_each(|d| this.fetch(d))?;
                Ok(page)
            })
            .await
        }
        .boxed()
    }

    fn max_ts(&self) -> BoxFuture<'static, Result<Timestamp, PersistenceError>> {
        let this = self.clone();
        async move { this.read_settled(|| now(this.view.max_ts())).await }.boxed()
    }

    fn get_global(
        &self,
        name: &'static str,
    ) -> BoxFuture<'static, Result<Option<Vec<u8>>, PersistenceError>> {
        let this = self.clone();
        async move {
            this.read(|| {
                let mut value = lock(&this.globals).get(name).cloned();
                if let Some(value) = &mut value {
                    this.fetch(value)?;
                }
                Ok(value)
            })
            .await
        }
        .boxed()
    }

    fn set_global(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let what = format!("the global {name}");
        self.clone()
            .append(what, record::global(name, &value))
            .boxed()
    }
}

/// The answer of storage in memory, which comes at once.
fn now<T>(answer: BoxFuture<'static, T>) -> T {
    answer.now_or_never().expect("nothing in memory waits")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
