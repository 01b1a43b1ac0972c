//! How many one-document transactions a second are made durable, by batch size, beside plain rusqlite writing the
//! same rows. Run with `cargo run --release -p concave-sqlite --example write_rate [FOLDER]`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use concave_core::Timestamp;
use concave_core::persistence::{IndexId, IndexUpdate, Persistence, Revision, TableId};
use concave_core::value::InternalId;
use concave_sqlite::{SqliteOptions, SqlitePersistence};
use futures_executor::block_on;
use rusqlite::{Connection, params};

/// How long each measurement takes.
const DURATION: Duration = Duration::from_secs(3);
const DOCUMENT_BYTES: usize = 200;

/// The order in which keys arrive: the greatest factor, since each random key touches a page of its own.
#[derive(Clone, Copy, Debug)]
enum Keys {
    Ascending,
    Random,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map_or_else(
        || std::env::temp_dir().join(format!("write_rate-{}", std::process::id())),
        PathBuf::from,
    );
    std::fs::create_dir_all(&folder)?;
    println!("transactions/s of one document of {DOCUMENT_BYTES} bytes with two index entries");
    for keys in [Keys::Ascending, Keys::Random] {
        println!("{keys:?} keys");
        println!(
            "{:>8} {:>10} {:>10} {:>6}",
            "batch", "adapter", "rusqlite", "ratio"
        );
        for batch in [1, 16, 64, 256] {
            let adapter = adapter(
                &folder.join(format!("adapter-{keys:?}-{batch}.db")),
                keys,
                batch,
            )?;
            let plain = plain(
                &folder.join(format!("plain-{keys:?}-{batch}.db")),
                keys,
                batch,
            )?;
            println!(
                "{batch:>8} {adapter:>10.0} {plain:>10.0} {:>6.2}",
                adapter / plain
            );
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Runs `write` for [`DURATION`] on ever new batches; gives revisions per second.
fn measure(
    keys: Keys,
    batch: u64,
    mut write: impl FnMut(Vec<Revision>) -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let mut ts = 0;
    let mut spent = Duration::ZERO;
    while spent < DURATION {
        let revisions: Vec<_> = (ts..ts + batch).map(|n| revision(n, keys)).collect();
        ts += batch;
        let start = Instant::now();
        write(revisions)?;
        spent += start.elapsed();
    }
    Ok(ts as f64 / spent.as_secs_f64())
}

/// A document that was not there before, with keys in two indexes: its id, and a field and the id.
fn revision(n: u64, keys: Keys) -> Revision {
    let (start_of_id, field) = match keys {
        Keys::Ascending => (n, n),
        Keys::Random => {
            let random = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (random, random.rotate_left(29))
        }
    };
    let mut id = [0x5a; 16];
    id[..8].copy_from_slice(&start_of_id.to_be_bytes());
    let field = field.to_be_bytes();
    Revision {
        ts: Timestamp(1_700_000_000_000_000_000 + n * 1_000),
        table: TableId(1),
        id: InternalId(id),
        prev_ts: None,
        document: Some(vec![0x42; DOCUMENT_BYTES]),
        index_updates: [id.to_vec(), [&field[..], &id[..]].concat()]
            .into_iter()
            .zip(1..)
            .map(|(key, index)| IndexUpdate {
                index: IndexId(index),
                key,
                live: true,
            })
            .collect(),
    }
}

fn adapter(path: &Path, keys: Keys, batch: u64) -> Result<f64, Box<dyn Error>> {
    let store = SqlitePersistence::open(SqliteOptions::new(path))?;
    measure(keys, batch, |revisions| {
        Ok(block_on(store.write(revisions))?)
    })
}

fn plain(path: &Path, keys: Keys, batch: u64) -> Result<f64, Box<dyn Error>> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = full;
         CREATE TABLE log (seq INTEGER PRIMARY KEY, ts INTEGER, table_id INTEGER, id BLOB, prev_ts INTEGER,
             document BLOB);
         CREATE TABLE entries (index_id INTEGER, key BLOB, ts INTEGER, seq INTEGER,
             PRIMARY KEY (index_id, key, ts)) WITHOUT ROWID;",
    )?;
    measure(keys, batch, |revisions| {
        let transaction = connection.transaction()?;
        {
            let mut log = transaction
                .prepare_cached("INSERT INTO log VALUES (NULL, ?1, ?2, ?3, NULL, ?4)")?;
            let mut entries =
                transaction.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3, ?4)")?;
            for revision in revisions {
                let ts = revision.ts.0.cast_signed();
                let seq = log.insert(params![
                    ts,
                    revision.table.0,
                    revision.id.0,
                    revision.document
                ])?;
                for update in revision.index_updates {
                    entries.execute(params![update.index.0, update.key, ts, seq])?;
                }
            }
        }
        Ok(transaction.commit()?)
    })
}
