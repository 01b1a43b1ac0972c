//! The database file: locked, created, inspected, opened.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concave_core::planted::{Bug, planted};
use concave_core::{Error, ErrorClass, Result};
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::files::{Files, SystemFiles, sync_folder};
use crate::inspect;
use crate::layout::{self, LAYOUT};
use crate::options::Synchronous;

/// How long a connection waits for a lock that SQLite holds for moments, as when a log is recovered.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Sizes, which a simulation makes small so that everything happens early.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Page cache of the writing connection: random index keys should find their pages in memory.
    pub writer_cache_kib: i64,
    /// Page cache of each reading connection. What it misses, the operating system's cache mostly has.
    pub reader_cache_kib: i64,
    /// The write-ahead log is moved into the file when it has so many pages (16 MiB). Keys in random order touch the
    /// same pages again and again: with more pages per move fewer are written in all, but each move holds up writes
    /// longer.
    pub wal_pages_max: i64,
    /// After a burst the write-ahead log is cut back to this.
    pub wal_bytes_kept: i64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            writer_cache_kib: 64 << 10,
            reader_cache_kib: 8 << 10,
            wal_pages_max: 4_096,
            wal_bytes_kept: 64 << 20,
        }
    }
}

/// The file of one database and who may use it. Its lock is held until this is dropped, or the process ends.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    files: Arc<dyn Files>,
    path: PathBuf,
    synchronous: Synchronous,
    sizes: Sizes,
    /// Set when the write-ahead log could not be moved into the file; see [`Self::is_unreliable`].
    move_failed: Arc<AtomicBool>,
    /// `None` in a simulation, which has no other servers.
    _lock: Option<File>,
    /// Which file it is, by device and inode; unknown in a simulation.
    identity: Option<(u64, u64)>,
}

impl DatabaseFile {
    /// Locks the database, creates it if it does not exist, refuses it if it is damaged or too new, and brings an
    /// older layout up to date.
    pub(crate) fn open(path: &Path, synchronous: Synchronous) -> Result<Self> {
        let path = canonical(path)?;
        let lock = lock(&path)?;
        check_single_name(&path)?;
        let mut file = Self {
            files: Arc::new(SystemFiles),
            path,
            synchronous,
            sizes: Sizes::default(),
            move_failed: Arc::default(),
            _lock: Some(lock),
            identity: None,
        }
        .prepare()?;
        file.identity = identity(&file.path);
        Ok(file)
    }

    /// Whether the file has been removed, moved or replaced: what is written into it now, nobody will find again.
    pub(crate) fn is_gone(&self) -> bool {
        self.identity.is_some() && identity(&self.path) != self.identity
    }

    /// The database's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Like [`Self::open`], on files that nobody else can reach.
    #[cfg(feature = "testing")]
    pub(crate) fn open_on(
        files: Arc<dyn Files>,
        path: &Path,
        synchronous: Synchronous,
        sizes: Sizes,
    ) -> Result<Self> {
        Self {
            files,
            path: path.to_owned(),
            synchronous,
            sizes,
            move_failed: Arc::default(),
            _lock: None,
            identity: None,
        }
        .prepare()
    }

    fn prepare(self) -> Result<Self> {
        if !self.exists(&self.path)? {
            self.create()?;
        }
        self.check()?;
        let mut connection = self.writer().map_err(|error| self.sqlite_error(&error))?;
        layout::migrate(&mut connection).map_err(|error| self.sqlite_error(&error))?;
        drop(connection);
        Ok(self)
    }

    /// Whether pages of the file may have been lost. They are all in the write-ahead log yet, but SQLite does not know
    /// which of them to take from there: it counts pages as moved before it syncs them, unless it has come to the
    /// log's end, and after a sync that failed the system does not write them again (Rebello et al., "Can
    /// Applications Recover from fsync Failures?", 2020). It finds out by recovering the log, which it does when the
    /// first connection of all is opened.
    pub(crate) fn is_unreliable(&self) -> bool {
        self.move_failed.load(Ordering::Acquire)
    }

    /// Opens the writer's connection when all others are closed, and moves the whole log into the file.
    pub(crate) fn recover(&self) -> rusqlite::Result<Connection> {
        let connection = self.writer()?;
        let is_busy: bool =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        assert!(!is_busy, "nobody else has the file open");
        self.move_failed.store(false, Ordering::Release);
        Ok(connection)
    }

    /// Closes a connection, and leaves the write-ahead log as it is.
    pub(crate) fn abandon(connection: Connection) {
        let option = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        let set = connection.set_db_config(option, true);
        debug_assert!(set.is_ok(), "{set:?}");
    }

    /// A connection that may write.
    pub(crate) fn writer(&self) -> rusqlite::Result<Connection> {
        let mut connection = self.connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // A copy made by SQLite's own tools comes in another mode.
        connection.pragma_update(None, "journal_mode", "wal")?;
        let synchronous = match self.synchronous {
            Synchronous::Full => "full",
            Synchronous::Normal => "normal",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        let (pages_max, failed) = (self.sizes.wal_pages_max, Arc::clone(&self.move_failed));
        connection.wal_hook(Some(move |wal: &mut Wal, pages| {
            // The commit stands, whatever becomes of this. Who is busy is another one who moves it. Without space nothing
            // is counted as moved: that is done after the last page was written.
            let is_harmless =
                |code| matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull));
            if i64::from(pages) >= pages_max
                && let Err(error) = wal.checkpoint()
                && !is_harmless(error.sqlite_error_code())
                && !planted(Bug::FailedMoveIgnored)
            {
                failed.store(true, Ordering::Release);
            }
            Ok(())
        }))?;
        connection.pragma_update(None, "journal_size_limit", self.sizes.wal_bytes_kept)?;
        connection.pragma_update(None, "cache_size", -self.sizes.writer_cache_kib)?;
        Ok(connection)
    }

    /// A connection that only reads.
    pub(crate) fn reader(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.pragma_update(None, "cache_size", -self.sizes.reader_cache_kib)?;
        Ok(connection)
    }

    /// Makes an empty database under another name and moves it into place: it exists as a whole or not at all.
    fn create(&self) -> Result<()> {
        let wal = with_suffix(&self.path, "-wal");
        if self.exists(&wal)? {
            return Err(
                self.damaged("its write-ahead log is there, but the database itself is not")
            );
        }
        let new = with_suffix(&self.path, ".new");
        for left_over in [new.clone(), with_suffix(&new, "-journal")] {
            match self.files.remove(&left_over) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unavailable(&left_over, &error));
                }
                _ => {}
            }
        }
        let fill = || -> rusqlite::Result<()> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
            let mut connection = self.connect(&new, flags)?;
            layout::migrate(&mut connection)
        };
        fill().map_err(|error| self.sqlite_error(&error))?;
        self.files
            .place(&new, &self.path)
            .map_err(|error| unavailable(&self.path, &error))
    }

    /// Refuses a file that is not a whole database of ours. Changes nothing in it.
    fn check(&self) -> Result<()> {
        let damage = inspect::damage_in_header(&*self.files, &self.path)
            .map_err(|error| unavailable(&self.path, &error))?;
        if let Some(damage) = damage {
            return Err(self.damaged(&damage));
        }
        let on_error = |error: rusqlite::Error| self.sqlite_error(&error);
        let connection = self
            .connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .map_err(on_error)?;
        // Closing the only connection would move the write-ahead log into the file.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(on_error)?;
        let number = |pragma: &str| -> Result<u64> {
            let value: i64 = connection
                .pragma_query_value(None, pragma, |row| row.get(0))
                .map_err(on_error)?;
            Ok(value.unsigned_abs())
        };
        let (pages, page_bytes) = (number("page_count")?, number("page_size")?);
        let wal = with_suffix(&self.path, "-wal");
        let missing = inspect::pages_missing(&*self.files, &self.path, &wal, pages, page_bytes)
            .map_err(|error| unavailable(&self.path, &error))?;
        if missing > 0 {
            return Err(self.damaged(&format!(
                "{missing} of its {pages} pages are missing: the file was cut short"
            )));
        }
        if !layout::is_ours(&connection).map_err(on_error)? {
            return Err(Error::new(
                ErrorClass::Operational,
                "DatabaseForeign",
                format!(
                    "{} is a SQLite database, but not one of Concave's. Name another file.",
                    self.path.display()
                ),
            ));
        }
        let found = layout::layout(&connection).map_err(on_error)?;
        if found < 1 {
            return Err(self.damaged(&format!("its layout is {found}")));
        }
        if found > LAYOUT {
            return Err(Error::new(
                ErrorClass::Operational,
                "DatabaseTooNew",
                format!(
                    "{} has layout {found}, and this build knows layouts up to {LAYOUT}: it was written by a \
                     newer version. Run that version or a later one.",
                    self.path.display()
                ),
            ));
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.files
            .exists(path)
            .map_err(|error| unavailable(path, &error))
    }

    fn connect(&self, path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self.files.vfs() {
            None => Connection::open_with_flags(path, flags)?,
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    /// The error for a database that must not be used.
    pub(crate) fn damaged(&self, what: &str) -> Error {
        Error::new(
            ErrorClass::Operational,
            "DatabaseDamaged",
            format!(
                "the database file {} is damaged: {what}. Nothing in it was changed. Restore it from a backup, or \
                 move it away to begin with an empty database.",
                self.path.display()
            ),
        )
    }

    /// An error of SQLite while the database is opened.
    pub(crate) fn sqlite_error(&self, error: &rusqlite::Error) -> Error {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => self.damaged(&error.to_string()),
            _ => unavailable(&self.path, error),
        }
    }
}

/// Device and inode of a file that is there.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Refuses a file with several names: the lock and SQLite's write-ahead log go by name, so two servers would write into one
/// file and not know of each other.
fn check_single_name(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.nlink() > 1 => Err(Error::new(
            ErrorClass::Operational,
            "DatabaseLinked",
            format!(
                "the database {} has other names, by hard links, under which it could be written at the same time. \
                 Remove them, or make copies of it.",
                path.display()
            ),
        )),
        // What cannot be looked at is told when it is opened.
        _ => Ok(()),
    }
}

/// Takes the lock that only one server can hold. The operating system releases it when the process ends, however.
fn lock(path: &Path) -> Result<File> {
    let lock_path = with_suffix(path, ".lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|error| unavailable(&lock_path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorClass::Operational,
            "DatabaseLocked",
            format!(
                "the database {} is in use by another server. Stop that server, or give this one another database.",
                path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(unavailable(&lock_path, &error)),
    }
}

/// The one name of a database, whatever links lead to it, since the lock goes by name; creates its folder.
///
/// It is absolute: SQLite gives meaning to names that begin with "file:".
fn canonical(path: &Path) -> Result<PathBuf> {
    if let Ok(path) = fs::canonicalize(path) {
        return Ok(path);
    }
    let path = std::path::absolute(path).map_err(|error| unavailable(path, &error))?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        let error = format!("{} is not the name of a file", path.display());
        return Err(Error::bad_request("BadPersistenceUrl", error));
    };
    create_folder(folder).map_err(|error| unavailable(folder, &error))?;
    let folder = fs::canonicalize(folder).map_err(|error| unavailable(folder, &error))?;
    Ok(folder.join(name))
}

/// Creates a folder and its parents, durably.
fn create_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent();
    if let Some(parent) = parent {
        create_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    parent.map_or(Ok(()), sync_folder)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn unavailable(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::new(
        ErrorClass::Operational,
        "DatabaseUnavailable",
        format!("the database cannot be opened: {}: {error}", path.display()),
    )
}
