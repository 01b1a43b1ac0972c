//! The storage engine: threads around the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use concave_core::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, LogPage, Persistence, PersistenceError, Revision,
    Superseded,
};
use concave_core::{Error, Result, Timestamp};
use futures_util::future::BoxFuture;
use rusqlite::Connection;

use crate::file::DatabaseFile;
use crate::options::{READERS_MAX, SqliteOptions};
use crate::read;
use crate::reader::Reader;
use crate::workers::{Duty, Workers};
use crate::write::Writer;

/// Reads that may wait for a thread; more are refused as unavailable.
const READS_WAITING_MAX: usize = 4_096;
/// Writes, backfills and globals that may wait.
const WRITES_WAITING_MAX: usize = 256;

/// Storage in a SQLite file.
///
/// Requests are queued when they are made, not when their futures are first polled; a write is done even if its
/// future is dropped. Dropping the store waits until queued writes are done, moves the write-ahead log into the
/// database file, closes it and releases its lock.
pub struct SqlitePersistence {
    // Dropped in this order: the last connection to close, the writer's, moves the write-ahead log into the file.
    readers: Workers<Reader>,
    writer: Workers<Writer>,
    log_unread: Arc<AtomicBool>,
    file: Arc<DatabaseFile>,
}

impl SqlitePersistence {
    /// Opens the database, and creates it if there is none.
    ///
    /// # Errors
    /// * `DatabaseLocked`: another server has it.
    /// * `DatabaseLinked`: its file has other names, under which another server could have it.
    /// * `DatabaseDamaged`: the file is not a whole SQLite database. It was not changed.
    /// * `DatabaseForeign`: a SQLite database, but not of this program.
    /// * `DatabaseTooNew`: written by a newer version.
    /// * `DatabaseUnavailable`: the operating system refuses, for instance for lack of permission.
    /// * `BadPersistenceUrl`: options that cannot be.
    pub fn open(options: SqliteOptions) -> Result<Arc<Self>> {
        if !(1..=READERS_MAX).contains(&options.readers) {
            return Err(Error::bad_request(
                "BadPersistenceUrl",
                format!("{} readers are not 1 to {READERS_MAX}", options.readers),
            ));
        }
        let file = DatabaseFile::open(&options.path, options.synchronous)?;
        let parts = Parts::open(file, options.readers)?;
        let no_thread = |error: std::io::Error| {
            Error::operational(format!("threads of the database do not start: {error}"))
        };
        Ok(Arc::new(Self {
            readers: Workers::start("sqlite-read", Duty::Read, parts.readers, READS_WAITING_MAX)
                .map_err(no_thread)?,
            writer: Workers::start(
                "sqlite-write",
                Duty::Write,
                vec![parts.writer],
                WRITES_WAITING_MAX,
            )
            .map_err(no_thread)?,
            log_unread: parts.log_unread,
            file: parts.file,
        }))
    }

    /// Opens the database on other files than the operating system's, without threads: every request is worked on by
    /// the thread that polls its future, from the first time that it does. There is no lock.
    ///
    /// # Errors
    /// As for [`Self::open`].
    #[cfg(feature = "testing")]
    pub fn open_on(
        files: Arc<dyn crate::files::Files>,
        options: SqliteOptions,
        sizes: crate::file::Sizes,
    ) -> Result<Arc<Self>> {
        let file = DatabaseFile::open_on(files, &options.path, options.synchronous, sizes)?;
        let parts = Parts::open(file, options.readers)?;
        Ok(Arc::new(Self {
            readers: Workers::inline(Duty::Read, parts.readers),
            writer: Workers::inline(Duty::Write, vec![parts.writer]),
            log_unread: parts.log_unread,
            file: parts.file,
        }))
    }

    /// Reads something of the log: on a reader, or if the outcome of a write is unknown, on the writer, which
    /// settles it first.
    fn read_of_log<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, PersistenceError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, PersistenceError>> {
        if self.log_unread.load(Ordering::Acquire) {
            self.writer.submit(|writer| writer.read_back(read))
        } else {
            self.read(read)
        }
    }

    /// Reads on a reader, or while they cannot be relied on, on the writer, which sees to that first.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, PersistenceError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, PersistenceError>> {
        match self.file.is_unreliable() {
            true => self.writer.submit(|writer| writer.read(read)),
            false => self.readers.submit(|reader| reader.read(read)),
        }
    }
}

/// What the store is made of, before anybody works with it. Dropped in this order: see [`SqlitePersistence`].
struct Parts {
    readers: Vec<Reader>,
    writer: Writer,
    log_unread: Arc<AtomicBool>,
    file: Arc<DatabaseFile>,
}

impl Parts {
    fn open(file: DatabaseFile, readers: usize) -> Result<Self> {
        let file = Arc::new(file);
        let log_unread = Arc::new(AtomicBool::new(false));
        let (readers, slots) =
            Reader::open(&file, readers).map_err(|error| file.sqlite_error(&error))?;
        let writer = Writer::open(Arc::clone(&file), slots, Arc::clone(&log_unread))?;
        Ok(Self {
            readers,
            writer,
            log_unread,
            file,
        })
    }
}

impl Persistence for SqlitePersistence {
    fn write(&self, revisions: Vec<Revision>) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.writer.submit(move |writer| writer.write(&revisions))
    }

    fn backfill(
        &self,
        entries: Vec<BackfillEntry>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.writer.submit(move |writer| writer.backfill(entries))
    }

    fn delete(&self, superseded: Superseded) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.writer.submit(move |writer| writer.delete(superseded))
    }

    fn delete_index(
        &self,
        index: IndexId,
        limit: usize,
    ) -> BoxFuture<'static, Result<bool, PersistenceError>> {
        self.writer
            .submit(move |writer| writer.delete_index(index, limit))
    }

    fn read_index(
        &self,
        read: IndexRead,
    ) -> BoxFuture<'static, Result<IndexPage, PersistenceError>> {
        self.read(move |connection| read::read_index(connection, read))
    }

    fn read_log(
        &self,
        after: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<LogPage, PersistenceError>> {
        self.read_of_log(move |connection| read::read_log(connection, after, limit))
    }

    fn max_ts(&self) -> BoxFuture<'static, Result<Timestamp, PersistenceError>> {
        self.read_of_log(read::max_ts)
    }

    fn get_global(
        &self,
        name: &'static str,
    ) -> BoxFuture<'static, Result<Option<Vec<u8>>, PersistenceError>> {
        self.read(move |connection| read::get_global(connection, name))
    }

    fn set_global(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.writer
            .submit(move |writer| writer.set_global(name, &value))
    }
}
