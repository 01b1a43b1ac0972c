//! The tables, their version, and how older ones become today's.
//!
//! The version is SQLite's `user_version`; the `application_id` says that the file is ours.

use rusqlite::{Connection, TransactionBehavior};

/// "Conc" in ASCII: marks a SQLite file as a Concave database.
pub(crate) const APPLICATION_ID: i32 = 0x436f_6e63;

/// Step `n` takes a database from layout `n` to layout `n + 1`. Steps are never changed once released.
///
/// `log` holds revisions in commit order: `seq` ascends with `ts`. `entries` holds the versions of index keys; `seq`
/// names the revision that the key leads to from `ts` on, NULL where the key ends. Timestamps are nanoseconds.
const STEPS: &[&str] = &["
CREATE TABLE log (
    seq INTEGER PRIMARY KEY,
    ts INTEGER NOT NULL,
    table_id INTEGER NOT NULL,
    id BLOB NOT NULL,
    prev_ts INTEGER,
    document BLOB
) STRICT;
CREATE INDEX log_by_ts ON log (ts);
CREATE TABLE entries (
    index_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    ts INTEGER NOT NULL,
    seq INTEGER,
    PRIMARY KEY (index_id, key, ts)
) STRICT, WITHOUT ROWID;
CREATE TABLE globals (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"];

/// The layout that this build reads and writes.
pub(crate) const LAYOUT: i32 = STEPS.len() as i32;

/// The layout of an open database; 0 for an empty one.
pub(crate) fn layout(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Whether a database carries our mark.
pub(crate) fn is_ours(connection: &Connection) -> rusqlite::Result<bool> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(id == APPLICATION_ID)
}

/// Brings a database to [`LAYOUT`], in one transaction. It must not be newer.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    migrate_by(connection, STEPS)
}

fn migrate_by(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let done = layout(connection)? as usize;
    assert!(done <= steps.len(), "newer layouts are refused before");
    if done == steps.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &steps[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", steps.len() as i32)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[&str] = &[
        "CREATE TABLE a (x); INSERT INTO a VALUES (1)",
        "CREATE TABLE b AS SELECT x + 1 AS x FROM a",
    ];

    #[test]
    fn only_missing_steps_run() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&mut connection, &TWO[..1]).unwrap();
        connection.execute("UPDATE a SET x = 41", []).unwrap();
        for _ in 0..2 {
            migrate_by(&mut connection, TWO).unwrap();
            assert_eq!(layout(&connection), Ok(2));
        }
        assert!(is_ours(&connection).unwrap());
        let x: i64 = connection
            .query_row("SELECT x FROM b", [], |row| row.get(0))
            .unwrap();
        assert_eq!(x, 42);
    }

    #[test]
    fn a_failing_step_leaves_everything_as_it_was() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&mut connection, &TWO[..1]).unwrap();
        let broken = [TWO[0], TWO[1], "CREATE TABLE a (x)"];
        assert!(migrate_by(&mut connection, &broken).is_err());
        assert_eq!(layout(&connection), Ok(1));
        assert!(connection.prepare("SELECT * FROM b").is_err());
    }
}
