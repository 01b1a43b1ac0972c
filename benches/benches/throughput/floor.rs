//! The floor of commits: plain rusqlite writing the very rows that the database wrote, in batches of the same sizes.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::world::{Rate, Timer};

struct Row {
    ts: i64,
    table: i64,
    id: Vec<u8>,
    prev_ts: Option<i64>,
    document: Option<Vec<u8>>,
    entries: Vec<Entry>,
}

struct Entry {
    index: i64,
    key: Vec<u8>,
}

/// The rate of writing once more what the database at `path` was written in these batches. The first
/// `skip` batches, which set the world up, are not measured.
pub fn replay(path: &Path, batches: &[usize], skip: usize) -> Rate {
    let recorded = Connection::open(path).unwrap();
    let mut rows = read(&recorded).into_iter();
    let copy = Connection::open(path.with_extension("floor")).unwrap();
    copy.execute_batch(
        // As the adapter has it.
        "PRAGMA journal_mode = wal; PRAGMA synchronous = full; PRAGMA wal_autocheckpoint = 4096;
         PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -65536;",
    )
    .unwrap();
    recorded
        .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        .unwrap()
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap()
        .for_each(|sql| copy.execute_batch(&sql.unwrap()).unwrap());
    drop(recorded);
    let mut timer = Timer::start();
    for (place, size) in batches.iter().enumerate() {
        if place == skip {
            timer = Timer::start();
        }
        copy.prepare_cached("BEGIN IMMEDIATE")
            .unwrap()
            .execute([])
            .unwrap();
        write(&copy, rows.by_ref().take(*size));
        copy.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
    }
    let written: usize = batches[skip..].iter().sum();
    let rate = timer.rate(written as f64);
    assert!(rows.next().is_none(), "every row is in a batch");
    rate
}

fn write(connection: &Connection, rows: impl Iterator<Item = Row>) {
    let mut log = connection
        .prepare_cached(
            "INSERT INTO log (ts, table_id, id, prev_ts, document) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .unwrap();
    let mut entries = connection
        .prepare_cached("INSERT INTO entries (index_id, key, ts, seq) VALUES (?1, ?2, ?3, ?4)")
        .unwrap();
    for row in rows {
        let seq = log
            .insert(params![
                row.ts,
                row.table,
                row.id,
                row.prev_ts,
                row.document
            ])
            .unwrap();
        for entry in row.entries {
            entries
                .execute(params![entry.index, entry.key, row.ts, seq])
                .unwrap();
        }
    }
}

/// All revisions in order, with their entries. Only for worlds in which no revision ends a key.
fn read(connection: &Connection) -> Vec<Row> {
    let mut log = connection
        .prepare("SELECT ts, table_id, id, prev_ts, document FROM log ORDER BY seq")
        .unwrap();
    let mut rows: Vec<Row> = log
        .query_map([], |row| {
            Ok(Row {
                ts: row.get(0)?,
                table: row.get(1)?,
                id: row.get(2)?,
                prev_ts: row.get(3)?,
                document: row.get(4)?,
                entries: Vec::new(),
            })
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut entries = connection
        .prepare("SELECT seq, index_id, key FROM entries ORDER BY seq, index_id")
        .unwrap();
    let mut found = entries.query([]).unwrap();
    while let Some(entry) = found.next().unwrap() {
        let seq: Option<i64> = entry.get(0).unwrap();
        let seq = seq.expect("no revision ends a key") as usize;
        rows[seq - 1].entries.push(Entry {
            index: entry.get(1).unwrap(),
            key: entry.get(2).unwrap(),
        });
    }
    rows
}
