//! Locks, files that are not whole, newer layouts, and closing.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{transaction, whole_transactions};
use concave_core::Error;
use concave_core::persistence::Persistence;
use concave_sqlite::{SqliteOptions, SqlitePersistence};
use futures_executor::block_on;

fn refused(path: &Path, code: &str) -> Error {
    let error = match SqlitePersistence::open(SqliteOptions::new(path)) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    };
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(path.to_str().unwrap()), "{error}");
    error
}

/// A closed database with transactions 1 to 20, about 700 kB.
fn filled(path: &Path) {
    let store = SqlitePersistence::open(SqliteOptions::new(path)).unwrap();
    for ts in 1..=20 {
        block_on(store.write(transaction(ts, 7_000))).unwrap();
    }
}

#[test]
fn one_server_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folders/a.db");
    let store = SqlitePersistence::open(SqliteOptions::new(&path)).unwrap();
    let error = refused(&path, "DatabaseLocked");
    assert!(error.message.contains("Stop that server"));
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let by_link = SqlitePersistence::open(SqliteOptions::new(&link))
        .err()
        .unwrap();
    assert_eq!(by_link, error);
    block_on(store.write(transaction(1, 10))).unwrap();
    drop(store);
    let store = SqlitePersistence::open(SqliteOptions::new(&path)).unwrap();
    assert_eq!(whole_transactions(&*store), [1]);
}

#[test]
fn a_file_with_two_names_is_refused_and_readable_by_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = folder.path().join("b.db");
    fs::hard_link(&path, &other).unwrap();
    refused(&path, "DatabaseLinked");
    refused(&other, "DatabaseLinked");
    fs::remove_file(&other).unwrap();
    assert!(SqlitePersistence::open(SqliteOptions::new(&path)).is_ok());
}

#[test]
fn dropping_finishes_writes_and_folds_the_log_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqlitePersistence::open(SqliteOptions::new(&path)).unwrap();
    for ts in 1..=50 {
        // Nobody waits for the answers.
        drop(store.write(transaction(ts, 100)));
    }
    drop(store);
    assert!(!path.with_extension("db-wal").exists());
    let store = SqlitePersistence::open(SqliteOptions::new(&path)).unwrap();
    assert_eq!(whole_transactions(&*store), (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_file_cut_short_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path);
    let whole = fs::read(&path).unwrap();
    for len in [
        0,
        1,
        99,
        100,
        4_096,
        10_000,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        fs::write(&path, &whole[..len]).unwrap();
        let error = refused(&path, "DatabaseDamaged");
        assert!(error.message.contains("backup"), "{error}");
        assert!(fs::read(&path).unwrap() == whole[..len], "{len} changed");
    }
    fs::write(&path, &whole).unwrap();
    let store = SqlitePersistence::open(SqliteOptions::new(&path)).unwrap();
    assert_eq!(whole_transactions(&*store).len(), 20);
}

#[test]
fn garbage_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path);
    let whole = fs::read(&path).unwrap();
    let text = b"This is not a database. ".repeat(1_000);
    let mut broken_header = whole.clone();
    broken_header[16..18].copy_from_slice(&[0x12, 0x34]);
    let mut broken_schema = whole.clone();
    broken_schema[100..4_096].fill(0xa5);
    let mut broken_pages = whole.clone();
    broken_pages[4_096..].fill(0xa5);
    for garbage in [text, broken_header, broken_schema, broken_pages] {
        fs::write(&path, &garbage).unwrap();
        refused(&path, "DatabaseDamaged");
        assert!(fs::read(&path).unwrap() == garbage);
    }
}

#[test]
fn damage_found_later_is_reported_as_such() {
    use concave_core::Timestamp;
    use concave_core::persistence::PersistenceError;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4_096 * 4_096;
    bytes[middle..middle + 16 * 4_096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let store = SqlitePersistence::open(SqliteOptions::new(&path)).unwrap();
    let read = block_on(store.read_log(Timestamp::ZERO, 1_000));
    assert!(matches!(read, Err(PersistenceError::Corrupt(_))));
}

/// What a crash leaves: a short file, and the rest of the database in the write-ahead log.
#[test]
fn a_short_file_with_its_log_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqlitePersistence::open(SqliteOptions::new(&path)).unwrap();
    for ts in 1..=20 {
        block_on(store.write(transaction(ts, 7_000))).unwrap();
    }
    let copy = folder.path().join("copy.db");
    let copy_wal = folder.path().join("copy.db-wal");
    let (file, wal) = (
        fs::read(&path).unwrap(),
        fs::read(folder.path().join("a.db-wal")).unwrap(),
    );
    assert!(wal.len() > 10 * file.len());
    fs::write(&copy_wal, &wal).unwrap();
    refused(&copy, "DatabaseDamaged");
    // What there is of the file is whole in the log too, but no process leaves it so.
    fs::write(&copy, b"").unwrap();
    refused(&copy, "DatabaseDamaged");
    fs::write(&copy, &file).unwrap();
    fs::write(&copy_wal, &wal).unwrap();
    let copied = SqlitePersistence::open(SqliteOptions::new(&copy)).unwrap();
    assert_eq!(whole_transactions(&*copied).len(), 20);
}

#[test]
fn a_newer_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    filled(&path);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let error = refused(&path, "DatabaseTooNew");
    assert!(error.message.contains("layout 2"), "{error}");
}

#[test]
fn a_foreign_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE a (x)").unwrap();
    drop(connection);
    refused(&path, "DatabaseForeign");
}

#[test]
fn a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), "DatabaseUnavailable");
}
