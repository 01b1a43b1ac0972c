//! Storage in real SQLite, on the simulated disk.
//!
//! [`SqliteSimPersistence`] is the adapter of production, `concave-sqlite`, with SQLite itself below it; only what is
//! below SQLite is simulated: a [`vfs`] turns its file operations into those of a [`Disk`], with all faults of that,
//! and keeps its locks and shared memory. Calls wait where the disk takes time ([`call`]), so that reads run beside a
//! commit or a checkpoint, and a crash finds SQLite at any of its operations.
//!
//! Not simulated here: [`Fault::BitFlip`]. SQLite has no checksums of pages, and takes a damaged frame of its
//! write-ahead log for the log's end, so that a bit flipped while a log is recovered can lose what was acknowledged.
//! Of 11,400 reads of some twenty rows with a flipped bit among the pages, 88 % were right all the same, 0.7 % failed,
//! 10.6 % gave a wrong document, which its own checksum shows, and 0.5 % gave wrong or missing keys, which nothing
//! shows. `PRAGMA cell_size_check` made more of them fail, but of the last kind hardly any.

#![allow(unsafe_code)]

mod call;
mod io;
mod machine;
mod shared;
mod vfs;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use concave_core::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, LogPage, Persistence, PersistenceError, Revision,
    Superseded,
};
use concave_core::{Error, Timestamp};
use concave_sqlite::{Sizes, SqliteOptions, SqlitePersistence};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::call::Call;
use self::machine::{Machine, MachineFiles};
use crate::disk::Disk;
use crate::executor::Node;
use crate::report::Fault;

/// The name of the database on its disk.
pub const PATH: &str = "/database.sqlite3";

type Answer<T> = BoxFuture<'static, Result<T, PersistenceError>>;

/// How a life of a server uses SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Connections that read.
    pub readers: usize,
    /// Pages that the write-ahead log has when it is moved into the file.
    pub wal_pages_max: i64,
    /// Size of each connection's page cache.
    pub cache_kib: i64,
}

impl Use {
    /// Draws one in which everything happens early.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            readers: rng.usize(1..=3),
            wal_pages_max: 1 << rng.u32(2..8),
            cache_kib: 1 << rng.u32(5..10),
        }
    }
}

/// Storage in SQLite, for one life of a server. Clones are the same.
#[derive(Clone)]
pub struct SqliteSimPersistence {
    open: Arc<Open>,
    writing: Arc<AtomicBool>,
}

/// An open database. Closing it is work of SQLite's like any other.
struct Open {
    machine: Arc<Machine>,
    store: Option<Arc<SqlitePersistence>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let store = self.store.take();
        call::on(&self.machine, || drop(store));
    }
}

impl SqliteSimPersistence {
    /// Opens the database on a disk, and creates it if there is none.
    ///
    /// # Errors
    /// As for [`SqlitePersistence::open`].
    pub async fn open(node: Node, disk: Disk, with: Use) -> Result<Self, Error> {
        let machine = Machine::new(node, disk);
        let work_machine = machine.clone();
        let opening = async move { open(&work_machine, with) };
        let store = Call::new(machine.clone(), opening).await?;
        Ok(Self::new(machine, store))
    }

    /// Like [`Self::open`], for callers that cannot wait: neither can what this database does then.
    ///
    /// # Errors
    /// As for [`SqlitePersistence::open`].
    pub fn open_at_once(node: Node, disk: Disk, with: Use) -> Result<Self, Error> {
        let machine = Machine::new(node, disk);
        let store = call::on(&machine, || open(&machine, with))?;
        Ok(Self::new(machine, store))
    }

    fn new(machine: Arc<Machine>, store: Arc<SqlitePersistence>) -> Self {
        Self {
            open: Arc::new(Open {
                machine,
                store: Some(store),
            }),
            writing: Arc::default(),
        }
    }

    fn node(&self) -> &Node {
        &self.open.machine.node
    }

    fn disk(&self) -> &Disk {
        &self.open.machine.disk
    }

    /// Asks the store for something.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&SqlitePersistence) -> Answer<T> + Send + 'static,
    ) -> Call<Result<T, PersistenceError>> {
        let open = self.open.clone();
        Call::new(self.open.machine.clone(), async move {
            let store = open.store.as_ref().expect("it is there until the drop");
            question(store).await
        })
    }

    /// Has the store change something. The outcome may come out as unknown.
    async fn change<T: Send + 'static>(
        self,
        what: String,
        change: impl FnOnce(&SqlitePersistence) -> Answer<T> + Send + 'static,
    ) -> Result<T, PersistenceError> {
        let unknown = || PersistenceError::Unknown("the simulated disk does not answer".into());
        if self.disk().strikes(Fault::UnknownDropped) {
            self.node()
                .trace(format!("sqlite: unknown, dropped {what}"));
            return Err(unknown());
        }
        let result = self.ask(change).await;
        if result.is_ok() && self.disk().strikes(Fault::UnknownApplied) {
            self.node()
                .trace(format!("sqlite: unknown, applied {what}"));
            return Err(unknown());
        }
        match &result {
            Ok(_) => self.node().trace(format!("sqlite: committed {what}")),
            Err(error) => self.node().trace(format!("sqlite: {what}: {error}")),
        }
        result
    }
}

fn open(machine: &Arc<Machine>, with: Use) -> Result<Arc<SqlitePersistence>, Error> {
    vfs::register();
    let mut options = SqliteOptions::new(PATH);
    options.readers = with.readers;
    let sizes = Sizes {
        writer_cache_kib: with.cache_kib,
        reader_cache_kib: with.cache_kib,
        wal_pages_max: with.wal_pages_max,
        wal_bytes_kept: 0,
    };
    SqlitePersistence::open_on(Arc::new(MachineFiles(machine.clone())), options, sizes)
}

impl fmt::Debug for SqliteSimPersistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSimPersistence")
            .finish_non_exhaustive()
    }
}

impl Persistence for SqliteSimPersistence {
    fn write(&self, revisions: Vec<Revision>) -> Answer<()> {
        let what = format!(
            "{} revisions up to {}",
            revisions.len(),
            revisions.last().map_or(0, |revision| revision.ts.0)
        );
        let this = self.clone();
        async move {
            let was_writing = this.writing.swap(true, Ordering::Relaxed);
            assert!(!was_writing, "two writes are under way at once");
            let writing = this.writing.clone();
            let result = this.change(what, |store| store.write(revisions)).await;
            writing.store(false, Ordering::Relaxed);
            result
        }
        .boxed()
    }

    fn backfill(&self, entries: Vec<BackfillEntry>) -> Answer<()> {
        let what = format!("{} backfilled keys", entries.len());
        let this = self.clone();
        this.change(what, |store| store.backfill(entries)).boxed()
    }

    fn delete(&self, superseded: Superseded) -> Answer<()> {
        let what = format!("{} deletions", superseded.revisions.len());
        let this = self.clone();
        this.change(what, |store| store.delete(superseded)).boxed()
    }

    fn delete_index(&self, index: IndexId, limit: usize) -> Answer<bool> {
        let what = format!("deletions from {index:?}");
        let this = self.clone();
        this.change(what, move |store| store.delete_index(index, limit))
            .boxed()
    }

    fn read_index(&self, mut read: IndexRead) -> Answer<IndexPage> {
        if read.limit > 1 && self.disk().strikes(Fault::ShortPage) {
            read.limit = self.disk().draw(|rng| rng.usize(1..read.limit));
        }
        self.ask(|store| store.read_index(read)).boxed()
    }

    fn read_log(&self, after: Timestamp, limit: usize) -> Answer<LogPage> {
        self.ask(move |store| store.read_log(after, limit)).boxed()
    }

    fn max_ts(&self) -> Answer<Timestamp> {
        self.ask(|store| store.max_ts()).boxed()
    }

    fn get_global(&self, name: &'static str) -> Answer<Option<Vec<u8>>> {
        self.ask(move |store| store.get_global(name)).boxed()
    }

    fn set_global(&self, name: &'static str, value: Vec<u8>) -> Answer<()> {
        let what = format!("the global {name}");
        let this = self.clone();
        this.change(what, move |store| store.set_global(name, value))
            .boxed()
    }
}
