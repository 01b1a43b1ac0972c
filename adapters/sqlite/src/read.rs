//! Reads, on one connection. Each is one SQLite read transaction.

use concave_core::Timestamp;
use concave_core::persistence::{
    IndexId, IndexPage, IndexRead, IndexRow, KeyRange, LogPage, Order, PersistenceError, Revision,
    TableId,
};
use concave_core::value::InternalId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::classify;

type Result<T> = std::result::Result<T, PersistenceError>;

/// A page ends with the document that takes it over this, so that memory is bounded whatever the limit is.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// After so many versions of one key, a seek to the wanted one is cheaper than stepping on.
const VERSIONS_STEPPED_MAX: usize = 16;

/// A timestamp as SQLite's integer. Written ones fit, so that reading as of a later one is the same as of the last.
fn sql_ts(ts: Timestamp) -> i64 {
    i64::try_from(ts.0).unwrap_or(i64::MAX)
}

/// Runs `body` in a read transaction.
fn snapshot<T>(connection: &Connection, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let run = |sql| -> Result<()> {
        let mut statement = connection.prepare_cached(sql).map_err(classify)?;
        statement.execute([]).map(drop).map_err(classify)
    };
    run("BEGIN")?;
    let result = body();
    // After some errors SQLite has ended it already.
    if !connection.is_autocommit() {
        let ended = run("ROLLBACK");
        return result.and_then(|value| ended.map(|()| value));
    }
    result
}

/// [`Persistence::read_index`](concave_core::persistence::Persistence::read_index).
pub(crate) fn read_index(connection: &Connection, read: IndexRead) -> Result<IndexPage> {
    if read.range.is_empty() {
        return Ok(IndexPage {
            rows: Vec::new(),
            exhausted: true,
        });
    }
    snapshot(connection, || {
        let mut reader = IndexReader {
            connection,
            index: read.index,
            order: read.order,
            at: sql_ts(read.at),
            rows_max: read.limit.max(1),
            rows: Vec::new(),
            bytes: 0,
        };
        let mut rest = read.range;
        let exhausted = loop {
            match reader.scan(&rest)? {
                Scan::End => break true,
                Scan::PageFull => break false,
                Scan::HotKey(_) if reader.is_full() => break false,
                Scan::HotKey(key) => rest = rest.beyond(&key, read.order),
            }
        };
        assert!(exhausted || !reader.rows.is_empty());
        Ok(IndexPage {
            rows: reader.rows,
            exhausted,
        })
    })
}

/// How a scan ended.
enum Scan {
    /// At the end of the range.
    End,
    /// At a key beyond a full page.
    PageFull,
    /// At a key with many versions, which it has dealt with; the scan goes on beyond.
    HotKey(Vec<u8>),
}

/// Gathers a page of an index.
struct IndexReader<'a> {
    connection: &'a Connection,
    index: IndexId,
    order: Order,
    at: i64,
    rows_max: usize,
    rows: Vec<IndexRow>,
    bytes: usize,
}

/// The versions of one key, as a scan passes them.
struct Versions {
    key: Vec<u8>,
    seen: usize,
    /// The newest not after `at` so far: its timestamp, and its revision unless the key ended.
    newest: Option<(i64, Option<i64>)>,
}

impl IndexReader<'_> {
    /// Steps through all versions of all keys in order, keeping of each key the newest not after `at`.
    ///
    /// Most keys have few versions, and stepping over one is many times cheaper than a seek. A key that has many
    /// is sought instead, so that the work per key is bounded.
    fn scan(&mut self, range: &KeyRange) -> Result<Scan> {
        let mut statement = self
            .connection
            .prepare_cached(scan_sql(self.order, range.end.is_some()))
            .map_err(classify)?;
        let mut versions = match &range.end {
            Some(end) => statement.query(params![self.index.0, range.start, end]),
            None => statement.query(params![self.index.0, range.start]),
        }
        .map_err(classify)?;
        let mut current: Option<Versions> = None;
        while let Some(version) = versions.next().map_err(classify)? {
            let (key, ts, seq) = decode_version(version).map_err(classify)?;
            match &mut current {
                Some(of_key) if of_key.key == key => of_key.seen += 1,
                _ => {
                    if let Some(of_key) = current.take() {
                        self.push(of_key.key, of_key.newest)?;
                    }
                    if self.is_full() {
                        return Ok(Scan::PageFull);
                    }
                    current = Some(Versions {
                        key: key.to_vec(),
                        seen: 1,
                        newest: None,
                    });
                }
            }
            let of_key = current.as_mut().expect("set just now");
            if ts <= self.at && of_key.newest.is_none_or(|(newest, _)| newest < ts) {
                of_key.newest = Some((ts, seq));
            }
            if of_key.seen == VERSIONS_STEPPED_MAX {
                let key = of_key.key.clone();
                let newest = self.seek(&key)?;
                self.push(key.clone(), newest)?;
                return Ok(Scan::HotKey(key));
            }
        }
        if let Some(of_key) = current {
            self.push(of_key.key, of_key.newest)?;
        }
        Ok(Scan::End)
    }

    /// The newest version of a key not after `at`.
    fn seek(&self, key: &[u8]) -> Result<Option<(i64, Option<i64>)>> {
        self.connection
            .prepare_cached(SEEK_SQL)
            .and_then(|mut statement| {
                statement
                    .query_row(params![self.index.0, key, self.at], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()
            })
            .map_err(classify)
    }

    /// Adds the row of a key, unless it has no version yet or has ended.
    fn push(&mut self, key: Vec<u8>, newest: Option<(i64, Option<i64>)>) -> Result<()> {
        let Some((ts, Some(seq))) = newest else {
            return Ok(());
        };
        let document: Option<Option<Vec<u8>>> = self
            .connection
            .prepare_cached(DOCUMENT_SQL)
            .and_then(|mut statement| statement.query_row([seq], |row| row.get(0)).optional())
            .map_err(classify)?;
        let document = document.ok_or_else(|| {
            PersistenceError::Corrupt(format!(
                "index {} leads to revision {seq} of timestamp {ts}, which is not in the log",
                self.index.0
            ))
        })?;
        // A live key of a tombstone has nothing to show.
        let Some(document) = document else {
            return Ok(());
        };
        self.bytes += key.len() + document.len();
        self.rows.push(IndexRow {
            key,
            ts: rust_ts(ts)?,
            document,
        });
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.rows_max || self.bytes >= PAGE_BYTES_MAX
    }
}

const SEEK_SQL: &str = "SELECT ts, seq FROM entries WHERE index_id = ?1 AND key = ?2 AND ts <= ?3 \
                        ORDER BY ts DESC LIMIT 1";
const DOCUMENT_SQL: &str = "SELECT document FROM log WHERE seq = ?1";
const MAX_TS_SQL: &str = "SELECT max(ts) FROM log";
const LOG_SQL: &str =
    "SELECT ts, table_id, id, prev_ts, document FROM log WHERE ts > ?1 ORDER BY ts, seq";

fn scan_sql(order: Order, bounded: bool) -> &'static str {
    match (order, bounded) {
        (Order::Ascending, true) => {
            "SELECT key, ts, seq FROM entries WHERE index_id = ?1 AND key >= ?2 AND key < ?3 \
             ORDER BY key, ts"
        }
        (Order::Ascending, false) => {
            "SELECT key, ts, seq FROM entries WHERE index_id = ?1 AND key >= ?2 ORDER BY key, ts"
        }
        (Order::Descending, true) => {
            "SELECT key, ts, seq FROM entries WHERE index_id = ?1 AND key >= ?2 AND key < ?3 \
             ORDER BY key DESC, ts DESC"
        }
        (Order::Descending, false) => {
            "SELECT key, ts, seq FROM entries WHERE index_id = ?1 AND key >= ?2 \
             ORDER BY key DESC, ts DESC"
        }
    }
}

fn decode_version<'a>(row: &'a Row<'_>) -> rusqlite::Result<(&'a [u8], i64, Option<i64>)> {
    Ok((row.get_ref(0)?.as_blob()?, row.get(1)?, row.get(2)?))
}

fn rust_ts(ts: i64) -> Result<Timestamp> {
    u64::try_from(ts)
        .map(Timestamp)
        .map_err(|_| PersistenceError::Corrupt(format!("timestamp {ts} is negative")))
}

/// [`Persistence::read_log`](concave_core::persistence::Persistence::read_log).
pub(crate) fn read_log(connection: &Connection, after: Timestamp, limit: usize) -> Result<LogPage> {
    let mut page = LogPage {
        revisions: Vec::new(),
        exhausted: true,
    };
    let mut bytes = 0;
    let mut statement = connection.prepare_cached(LOG_SQL).map_err(classify)?;
    let mut rows = statement.query([sql_ts(after)]).map_err(classify)?;
    while let Some(row) = rows.next().map_err(classify)? {
        let ts = rust_ts(row.get(0).map_err(classify)?)?;
        let full = page.revisions.len() >= limit || bytes >= PAGE_BYTES_MAX;
        if full && page.revisions.last().is_some_and(|last| last.ts != ts) {
            page.exhausted = false;
            break;
        }
        let revision = decode_revision(row, ts)?;
        bytes += revision.document.as_ref().map_or(0, Vec::len);
        page.revisions.push(revision);
    }
    Ok(page)
}

fn decode_revision(row: &Row<'_>, ts: Timestamp) -> Result<Revision> {
    let prev_ts: Option<i64> = row.get(3).map_err(classify)?;
    Ok(Revision {
        ts,
        table: TableId(row.get(1).map_err(classify)?),
        id: InternalId(row.get(2).map_err(classify)?),
        prev_ts: prev_ts.map(rust_ts).transpose()?,
        document: row.get(4).map_err(classify)?,
        index_updates: Vec::new(),
    })
}

/// [`Persistence::max_ts`](concave_core::persistence::Persistence::max_ts).
pub(crate) fn max_ts(connection: &Connection) -> Result<Timestamp> {
    let newest: Option<i64> = connection
        .prepare_cached(MAX_TS_SQL)
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(classify)?;
    newest.map_or(Ok(Timestamp::ZERO), rust_ts)
}

/// [`Persistence::get_global`](concave_core::persistence::Persistence::get_global).
pub(crate) fn get_global(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT value FROM globals WHERE name = ?1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .map_err(classify)
}

#[cfg(test)]
mod tests {
    use concave_core::persistence::IndexUpdate;
    use rusqlite::StatementStatus;

    use super::*;
    use crate::write::test_writer;

    fn revision(ts: u64, key: &[u8]) -> Revision {
        Revision {
            ts: Timestamp(ts),
            table: TableId(1),
            id: InternalId([key[0]; 16]),
            prev_ts: None,
            document: Some(ts.to_be_bytes().to_vec()),
            index_updates: vec![IndexUpdate {
                index: IndexId(1),
                key: key.to_vec(),
                live: true,
            }],
        }
    }

    #[test]
    fn every_read_is_a_search() {
        let (_folder, mut writer) = test_writer();
        let plan = |connection: &Connection, sql: &str| -> String {
            let mut statement = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let details = statement
                .raw_query()
                .mapped(|row| row.get::<_, String>(3))
                .collect::<rusqlite::Result<Vec<_>>>();
            details.unwrap().join("; ")
        };
        writer
            .read_back(|connection| {
                for order in [Order::Ascending, Order::Descending] {
                    assert_eq!(
                        plan(connection, scan_sql(order, true)),
                        "SEARCH entries USING PRIMARY KEY (index_id=? AND key>? AND key<?)"
                    );
                    assert_eq!(
                        plan(connection, scan_sql(order, false)),
                        "SEARCH entries USING PRIMARY KEY (index_id=? AND key>?)"
                    );
                }
                assert_eq!(
                    plan(connection, SEEK_SQL),
                    "SEARCH entries USING PRIMARY KEY (index_id=? AND key=? AND ts<?)"
                );
                assert_eq!(
                    plan(connection, LOG_SQL),
                    "SEARCH log USING INDEX log_by_ts (ts>?)"
                );
                assert_eq!(
                    plan(connection, MAX_TS_SQL),
                    "SEARCH log USING COVERING INDEX log_by_ts"
                );
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn many_versions_of_a_key_are_skipped() {
        let (_folder, mut writer) = test_writer();
        let mut revisions = Vec::new();
        for ts in 1..=10_000 {
            revisions.push(revision(ts, b"hot"));
        }
        revisions.push(revision(10_001, b"a"));
        revisions.push(revision(10_001, b"z"));
        writer.write(&revisions).unwrap();
        for at in [1, 2, 20, 5_000, 9_999, 10_000, 10_001] {
            for order in [Order::Ascending, Order::Descending] {
                for limit in [1, 2, 10] {
                    let read = IndexRead {
                        index: IndexId(1),
                        range: KeyRange::all(),
                        order,
                        at: Timestamp(at),
                        limit,
                    };
                    let (page, steps) = writer
                        .read_back(|connection| {
                            let page = read_index(connection, read)?;
                            let steps = [SEEK_SQL, scan_sql(order, true), scan_sql(order, false)]
                                .map(|sql| {
                                    let statement = connection.prepare_cached(sql).unwrap();
                                    statement.reset_status(StatementStatus::VmStep)
                                });
                            Ok((page, steps.iter().sum::<i32>()))
                        })
                        .unwrap();
                    let live = if at > 10_000 { 3 } else { 1 };
                    assert_eq!(page.rows.len(), live.min(limit));
                    assert!(steps < 500, "{steps} steps at {at}");
                    let hot = page.rows.iter().find(|row| row.key == b"hot");
                    if let Some(hot) = hot {
                        assert_eq!(hot.ts.0, at.min(10_000));
                    }
                }
            }
        }
    }

    #[test]
    fn pages_are_bounded_in_bytes() {
        let (_folder, mut writer) = test_writer();
        let revisions: Vec<_> = (0..12)
            .map(|n| Revision {
                document: Some(vec![n; 1 << 20]),
                ..revision(u64::from(n) + 1, &[n])
            })
            .collect();
        writer.write(&revisions).unwrap();
        let read = IndexRead {
            index: IndexId(1),
            range: KeyRange::all(),
            order: Order::Ascending,
            at: Timestamp(100),
            limit: usize::MAX,
        };
        let (page, log) = writer
            .read_back(|connection| {
                let page = read_index(connection, read)?;
                Ok((page, read_log(connection, Timestamp::ZERO, usize::MAX)?))
            })
            .unwrap();
        assert_eq!((page.rows.len(), page.exhausted), (4, false));
        assert_eq!((log.revisions.len(), log.exhausted), (4, false));
    }
}
