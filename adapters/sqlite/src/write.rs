//! Writes, on the one connection that may.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use concave_core::Timestamp;
use concave_core::persistence::{
    BackfillEntry, IndexId, PersistenceError, Revision, Superseded, TableId,
};
use concave_core::value::InternalId;
use rusqlite::{Connection, params};

use crate::error::{classify, classify_commit};
use crate::file::DatabaseFile;
use crate::reader::Slots;
use crate::{layout, read};

type Result<T> = std::result::Result<T, PersistenceError>;

/// The last timestamp that SQLite's signed integers can hold, in the year 2262.
const TS_MAX: Timestamp = Timestamp(i64::MAX as u64);

/// The writing side of a database.
///
/// A commit that fails leaves frames in the write-ahead log that are not part of the database, but might become so
/// if the process ended now and the log were recovered. So the connection is given up after it, and before
/// anything else is done or said about what the log holds, a new one overwrites those frames with an empty commit.
///
/// When the log cannot be moved into the file, all connections are given up and the log is recovered: see
/// [`DatabaseFile::is_unreliable`].
pub(crate) struct Writer {
    file: Arc<DatabaseFile>,
    readers: Slots,
    /// `None` after a commit of unknown outcome.
    connection: Option<Connection>,
    /// Whether the outcome of a write to the log is unknown, and the log was not read since.
    log_unread: Arc<AtomicBool>,
    /// The newest timestamp in the log.
    max_ts: Timestamp,
    /// Whether there was no space for the last write.
    is_full: bool,
}

impl Writer {
    /// Opens the connection. `log_unread` is set while a write's outcome is unknown.
    pub(crate) fn open(
        file: Arc<DatabaseFile>,
        readers: Slots,
        log_unread: Arc<AtomicBool>,
    ) -> concave_core::Result<Self> {
        let connection = file.writer().map_err(|error| file.sqlite_error(&error))?;
        let max_ts = read::max_ts(&connection).map_err(|error| match error {
            PersistenceError::Corrupt(what) => file.damaged(&what),
            error => error.into(),
        })?;
        Ok(Self {
            file,
            readers,
            connection: Some(connection),
            log_unread,
            max_ts,
            is_full: false,
        })
    }

    /// Reads, in place of the readers.
    pub(crate) fn read<T>(&mut self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        read(self.connection()?)
    }

    /// Settles what the log holds, and reads it.
    pub(crate) fn read_back<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let connection = self.connection()?;
        let answer = read(connection)?;
        self.log_unread.store(false, Ordering::Release);
        Ok(answer)
    }

    /// [`Persistence::write`](concave_core::persistence::Persistence::write).
    pub(crate) fn write(&mut self, revisions: &[Revision]) -> Result<()> {
        if self.log_unread.load(Ordering::Acquire) {
            return Err(PersistenceError::Unavailable(
                "the outcome of an earlier write is unknown, and the log was not read back".into(),
            ));
        }
        let Some(last) = revisions.last().map(|last| last.ts) else {
            return Ok(());
        };
        self.connection()?;
        let ascending = revisions.is_sorted_by_key(|revision| revision.ts);
        if !ascending || revisions[0].ts <= self.max_ts {
            return Err(PersistenceError::Other(format!(
                "timestamps of writes must ascend: {:?} follows {:?}",
                revisions[0].ts, self.max_ts
            )));
        }
        if last > TS_MAX {
            return Err(PersistenceError::Other(format!(
                "timestamp {last:?} is after the last that can be stored, {TS_MAX:?}"
            )));
        }
        let result = self.transact(|connection| insert_revisions(connection, revisions));
        match &result {
            Ok(()) => self.max_ts = last,
            Err(PersistenceError::Unknown(_)) => self.log_unread.store(true, Ordering::Release),
            Err(_) => {}
        }
        result
    }

    /// [`Persistence::backfill`](concave_core::persistence::Persistence::backfill).
    pub(crate) fn backfill(&mut self, mut entries: Vec<BackfillEntry>) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        entries.sort_by_key(|entry| entry.ts);
        self.transact(|connection| insert_entries(connection, &entries))
    }

    /// [`Persistence::delete`](concave_core::persistence::Persistence::delete).
    pub(crate) fn delete(&mut self, mut superseded: Superseded) -> Result<()> {
        self.connection()?;
        if superseded
            .revisions
            .iter()
            .any(|name| name.ts >= self.max_ts)
        {
            // `seq` and the newest timestamp go on from the last row.
            return Err(PersistenceError::Other(
                "the newest timestamp of the log must stay".into(),
            ));
        }
        if superseded.is_empty() {
            return Ok(());
        }
        superseded.revisions.sort();
        self.transact(|connection| delete_versions(connection, &superseded))
    }

    /// [`Persistence::delete_index`](concave_core::persistence::Persistence::delete_index).
    pub(crate) fn delete_index(&mut self, index: IndexId, limit: usize) -> Result<bool> {
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut deleted = 0;
        self.transact(|connection| {
            deleted = connection
                .prepare_cached(
                    "DELETE FROM entries WHERE (index_id, key, ts) IN \
                     (SELECT index_id, key, ts FROM entries WHERE index_id = ?1 LIMIT ?2)",
                )
                .and_then(|mut statement| statement.execute(params![index.0, rows]))
                .map_err(classify)?;
            Ok(())
        })?;
        Ok(deleted < limit)
    }

    /// [`Persistence::set_global`](concave_core::persistence::Persistence::set_global).
    pub(crate) fn set_global(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.transact(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO globals (name, value) VALUES (?1, ?2)")
                .and_then(|mut statement| statement.execute(params![name, value]))
                .map(drop)
                .map_err(classify)
        })
    }

    /// The connection; after a commit of unknown outcome a new one, with that outcome settled.
    fn connection(&mut self) -> Result<&Connection> {
        let unavailable = |error: rusqlite::Error| {
            PersistenceError::Unavailable(format!("the database cannot be reopened: {error}"))
        };
        if self.file.is_unreliable() {
            let closed = self.readers.close_all()?;
            if let Some(connection) = self.connection.take() {
                DatabaseFile::abandon(connection);
            }
            self.connection = Some(self.file.recover().map_err(unavailable)?);
            drop(closed);
        }
        if self.connection.is_none() {
            let connection = self.file.writer().map_err(unavailable)?;
            settle(&connection).map_err(unavailable)?;
            self.max_ts = read::max_ts(&connection)?;
            self.connection = Some(connection);
        }
        Ok(self.connection.as_ref().expect("opened above"))
    }

    /// Runs `body` in a transaction and commits it; if that fails, nothing of it is left, or it is
    /// [`PersistenceError::Unknown`].
    fn transact(&mut self, body: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        let result = self.try_transact(body);
        match &result {
            Err(error @ PersistenceError::Full(_)) if !self.is_full => {
                self.is_full = true;
                tracing::error!(
                    "{error}. Reads go on; clients are told to send their writes again."
                );
            }
            Ok(()) if self.is_full => {
                self.is_full = false;
                tracing::warn!("there is space on the disk again: writes go on");
            }
            _ => {}
        }
        result
    }

    fn try_transact(&mut self, body: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        let file = Arc::clone(&self.file);
        let connection = self.connection()?;
        let run =
            |sql| -> rusqlite::Result<()> { connection.prepare_cached(sql)?.execute([]).map(drop) };
        run("BEGIN IMMEDIATE").map_err(classify)?;
        let body = |connection: &Connection| {
            body(connection)?;
            if file.is_gone() {
                return Err(PersistenceError::Other(format!(
                    "the file {} is not there any more: it has been removed or replaced while this server uses it. \
                     Nothing is stored until it is back",
                    file.path().display()
                )));
            }
            Ok(())
        };
        let error = match body(connection) {
            Ok(()) => match run("COMMIT") {
                Ok(()) => return Ok(()),
                Err(error) => classify_commit(error),
            },
            Err(error) => error,
        };
        // SQLite may have rolled back by itself.
        let rolled_back = connection.is_autocommit() || run("ROLLBACK").is_ok();
        if !rolled_back || matches!(error, PersistenceError::Unknown(_)) {
            self.connection = None;
        }
        Err(error)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The last connection to close moves the log into the file, which it must not if it has failed to.
        if self.file.is_unreliable()
            && let Some(connection) = self.connection.take()
        {
            DatabaseFile::abandon(connection);
        }
    }
}

/// Commits a transaction that changes nothing but writes a page: the version of the layout, as it is.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.pragma_update(None, "user_version", layout::layout(connection)?)?;
    connection.execute_batch("COMMIT")
}

fn insert_revisions(connection: &Connection, revisions: &[Revision]) -> Result<()> {
    let insert = || -> rusqlite::Result<()> {
        let mut log = connection.prepare_cached(
            "INSERT INTO log (ts, table_id, id, prev_ts, document) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut entries = connection.prepare_cached(
            "INSERT INTO entries (index_id, key, ts, seq) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for revision in revisions {
            debug_assert!(revision.ts <= TS_MAX && revision.prev_ts < Some(revision.ts));
            let ts = revision.ts.0.cast_signed();
            let prev_ts = revision.prev_ts.map(|ts| ts.0.cast_signed());
            let seq = log.insert(params![
                ts,
                revision.table.0,
                revision.id.0,
                prev_ts,
                revision.document
            ])?;
            for update in &revision.index_updates {
                let seq = update.live.then_some(seq);
                entries.execute(params![update.index.0, update.key, ts, seq])?;
            }
        }
        Ok(())
    };
    insert().map_err(classify)
}

/// Adds keys of old revisions; `backfill` is ascending by timestamp.
fn insert_entries(connection: &Connection, backfill: &[BackfillEntry]) -> Result<()> {
    let mut revisions = connection
        .prepare_cached("SELECT table_id, id, seq FROM log WHERE ts = ?1")
        .map_err(classify)?;
    let mut entries = connection
        .prepare_cached(
            "INSERT INTO entries (index_id, key, ts, seq) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )
        .map_err(classify)?;
    for of_ts in backfill.chunk_by(|a, b| a.ts == b.ts) {
        let ts = of_ts[0].ts.0.cast_signed();
        let seqs: BTreeMap<(TableId, InternalId), i64> = revisions
            .query_map([ts], |row| {
                Ok(((TableId(row.get(0)?), InternalId(row.get(1)?)), row.get(2)?))
            })
            .and_then(Iterator::collect)
            .map_err(classify)?;
        for entry in of_ts {
            let seq = seqs.get(&(entry.table, entry.id)).ok_or_else(|| {
                PersistenceError::Other(format!(
                    "backfill of a revision that is not in the log: table {}, {:?}",
                    entry.table.0, entry.ts
                ))
            })?;
            entries
                .execute(params![entry.index.0, entry.key, ts, seq])
                .map_err(classify)?;
        }
    }
    Ok(())
}

/// Deletes what is there of the named versions; revisions are ascending by timestamp.
fn delete_versions(connection: &Connection, superseded: &Superseded) -> Result<()> {
    let delete = || -> rusqlite::Result<()> {
        let mut of_ts =
            connection.prepare_cached("SELECT table_id, id, seq FROM log WHERE ts = ?1")?;
        let mut revision = connection.prepare_cached("DELETE FROM log WHERE seq = ?1")?;
        let mut entry = connection
            .prepare_cached("DELETE FROM entries WHERE index_id = ?1 AND key = ?2 AND ts = ?3")?;
        for names in superseded.revisions.chunk_by(|a, b| a.ts == b.ts) {
            // Transactions can be large: their revisions are looked through once, not once per name.
            let seqs = of_ts
                .query_map([names[0].ts.0.cast_signed()], |row| {
                    Ok(((TableId(row.get(0)?), InternalId(row.get(1)?)), row.get(2)?))
                })?
                .collect::<rusqlite::Result<BTreeMap<_, i64>>>()?;
            for name in names {
                if let Some(seq) = seqs.get(&(name.table, name.id)) {
                    revision.execute([seq])?;
                }
            }
        }
        for version in &superseded.keys {
            let ts = version.ts.0.cast_signed();
            entry.execute(params![version.index.0, version.key, ts])?;
        }
        Ok(())
    };
    delete().map_err(classify)
}

/// A writer on a fresh database in a folder that is deleted when the first value is dropped.
#[cfg(test)]
pub(crate) fn test_writer() -> (tempfile::TempDir, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.sqlite3");
    let file = DatabaseFile::open(&path, crate::Synchronous::Full).unwrap();
    let writer = Writer::open(Arc::new(file), Slots::default(), Arc::default()).unwrap();
    (folder, writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(ts: u64, bytes: usize) -> Revision {
        Revision {
            ts: Timestamp(ts),
            table: TableId(1),
            id: InternalId([1; 16]),
            prev_ts: None,
            document: Some(vec![7; bytes]),
            index_updates: Vec::new(),
        }
    }

    fn max_ts(writer: &mut Writer) -> u64 {
        writer.read_back(read::max_ts).unwrap().0
    }

    #[test]
    fn timestamps_must_ascend_and_fit() {
        let (_folder, mut writer) = test_writer();
        writer.write(&[revision(10, 1), revision(20, 1)]).unwrap();
        for bad in [
            vec![revision(20, 1)],
            vec![revision(15, 1)],
            vec![revision(30, 1), revision(29, 1)],
            vec![revision(21, 1), revision(1 << 63, 1)],
        ] {
            let error = writer.write(&bad).unwrap_err();
            assert!(matches!(error, PersistenceError::Other(_)), "{error}");
        }
        assert_eq!(max_ts(&mut writer), 20);
        writer.write(&[revision(i64::MAX as u64, 1)]).unwrap();
    }

    #[test]
    fn nothing_is_stored_in_a_file_that_has_gone() {
        let (folder, mut writer) = test_writer();
        writer.write(&[revision(1, 10)]).unwrap();
        let path = writer.file.path().to_owned();
        let aside = folder.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        let error = writer.write(&[revision(2, 10)]).unwrap_err();
        assert!(
            error.to_string().contains("is not there any more"),
            "{error}"
        );
        std::fs::copy(&aside, &path).unwrap();
        assert!(
            writer.write(&[revision(2, 10)]).is_err(),
            "it is another file"
        );
        std::fs::rename(&aside, &path).unwrap();
        writer.write(&[revision(2, 10)]).unwrap();
        assert_eq!(max_ts(&mut writer), 2);
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let (_folder, mut writer) = test_writer();
        writer.write(&[revision(1, 100)]).unwrap();
        let limit = |writer: &Writer, pages: i32| {
            let connection = writer.connection.as_ref().unwrap();
            connection
                .pragma_update(None, "max_page_count", pages)
                .unwrap();
        };
        limit(&writer, 20);
        let error = writer
            .write(&[revision(2, 100), revision(3, 1 << 20)])
            .unwrap_err();
        assert!(matches!(error, PersistenceError::Full(_)), "{error}");
        assert_eq!(max_ts(&mut writer), 1);
        limit(&writer, i32::MAX);
        writer.write(&[revision(2, 1 << 20)]).unwrap();
        assert_eq!(max_ts(&mut writer), 2);
    }

    #[test]
    fn backfill_of_what_is_not_in_the_log_is_refused_as_a_whole() {
        let (_folder, mut writer) = test_writer();
        writer.write(&[revision(1, 1)]).unwrap();
        let entry = |ts: u64| BackfillEntry {
            index: IndexId(1),
            key: vec![1],
            ts: Timestamp(ts),
            table: TableId(1),
            id: InternalId([1; 16]),
        };
        let error = writer.backfill(vec![entry(1), entry(2)]).unwrap_err();
        assert!(matches!(error, PersistenceError::Other(_)), "{error}");
        let count = |writer: &Writer| -> i64 {
            let connection = writer.connection.as_ref().unwrap();
            connection
                .query_row("SELECT count(*) FROM entries", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(count(&writer), 0);
        writer.backfill(vec![entry(1)]).unwrap();
        assert_eq!(count(&writer), 1);
    }

    #[test]
    fn settling_writes_to_the_log_of_the_file() {
        let (folder, mut writer) = test_writer();
        writer.write(&[revision(1, 1)]).unwrap();
        let wal = folder.path().join("test.sqlite3-wal");
        let bytes = || std::fs::metadata(&wal).unwrap().len();
        let before = bytes();
        settle(writer.connection().unwrap()).unwrap();
        assert!(bytes() > before);
    }

    /// Under a steady load of updates whose predecessors are deleted, rows stay as many as there are documents, and
    /// the file gets no further pages.
    #[test]
    fn space_of_what_is_deleted_is_used_again() {
        use concave_core::persistence::{IndexUpdate, KeyVersion, RevisionName};
        let (_folder, mut writer) = test_writer();
        let count = |writer: &Writer, sql: &str| -> i64 {
            let connection = writer.connection.as_ref().unwrap();
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        let mut pages = Vec::new();
        for ts in 1..=600_u64 {
            let mut update = revision(ts, 2_000);
            update.prev_ts = (ts > 1).then(|| Timestamp(ts - 1));
            update.index_updates = vec![IndexUpdate {
                index: IndexId(1),
                key: vec![1],
                live: true,
            }];
            writer.write(&[update]).unwrap();
            let superseded = Superseded {
                revisions: vec![RevisionName {
                    ts: Timestamp(ts - 1),
                    table: TableId(1),
                    id: InternalId([1; 16]),
                }],
                keys: vec![KeyVersion {
                    index: IndexId(1),
                    key: vec![1],
                    ts: Timestamp(ts - 1),
                }],
            };
            writer.delete(superseded).unwrap();
            assert_eq!(count(&writer, "SELECT count(*) FROM log"), 1);
            assert_eq!(count(&writer, "SELECT count(*) FROM entries"), 1);
            pages.push(count(&writer, "PRAGMA page_count"));
        }
        assert_eq!(pages[99], pages[599]);
    }
}
