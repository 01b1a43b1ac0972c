//! A server that is killed, and a disk that fails: each plays in a child process, which is this test binary again.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use common::{transaction, whole_transactions};
use concave_core::persistence::{Persistence, PersistenceError};
use concave_sqlite::{SqliteOptions, SqlitePersistence};
use futures_executor::block_on;

/// Names the database for a child.
const PATH: &str = "CONCAVE_SQLITE_TEST_PATH";

fn open(path: &Path) -> Arc<SqlitePersistence> {
    SqlitePersistence::open(SqliteOptions::new(path)).unwrap()
}

fn path_of_child() -> PathBuf {
    std::env::var_os(PATH)
        .expect("runs as the child of another test")
        .into()
}

/// Runs one test of this binary, wrapped in a shell command if there is one.
fn child(test: &str, path: &Path, shell: Option<&str>) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = match shell {
        None => Command::new(program),
        Some(script) => {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{script}; exec \"$@\""), "sh"]);
            command.arg(program);
            command
        }
    };
    command
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_server_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let mut before = 0;
    for acknowledged_min in [1, 60, 200] {
        let mut child = child("writes_until_killed", &path, None);
        let mut acknowledged = Vec::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            if let Some(ts) = line.strip_prefix("written ") {
                acknowledged.push(ts.parse::<u64>().unwrap());
            }
            if acknowledged.len() == acknowledged_min {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= acknowledged_min);
        let found = whole_transactions(&*open(&path));
        let last = *acknowledged.last().unwrap();
        assert_eq!(acknowledged[0], before + 1);
        // One more may have become durable without anybody being told.
        assert!(found.len() as u64 == last || found.len() as u64 == last + 1);
        assert!(found.iter().copied().eq(1..=found.len() as u64));
        before = found.len() as u64;
    }
}

#[test]
#[ignore = "child process of a_killed_server_loses_nothing_acknowledged"]
fn writes_until_killed() {
    let store = open(&path_of_child());
    let mut out = std::io::stdout();
    let first = block_on(store.max_ts()).unwrap().0 + 1;
    for ts in first.. {
        block_on(store.write(transaction(ts, 3_000))).unwrap();
        writeln!(out, "\nwritten {ts}").unwrap();
    }
}

#[test]
fn a_failed_commit_is_settled_before_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    // No file may grow beyond half a MiB (or one, by the shell's unit), and trying to is an error instead of a signal.
    let limit = "trap '' XFSZ; ulimit -S -f 1024";
    let child = child("writes_until_the_disk_fails", &path, Some(limit));
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    whole_transactions(&*open(&path));
}

#[test]
#[ignore = "child process of a_failed_commit_is_settled_before_anything_else"]
fn writes_until_the_disk_fails() {
    let store = open(&path_of_child());
    let mut ts = 0;
    let error = loop {
        ts += 1;
        if let Err(error) = block_on(store.write(transaction(ts, 10_000))) {
            break error;
        }
    };
    assert!(matches!(error, PersistenceError::Unknown(_)), "{error}");
    assert!(ts > 5);
    let unavailable = |error: &PersistenceError| matches!(error, PersistenceError::Unavailable(_));
    // Until the log is read back it is not written to; what does not concern the log goes on.
    let refused = block_on(store.write(transaction(ts + 1, 10))).unwrap_err();
    assert!(unavailable(&refused), "{refused}");
    block_on(store.set_global("name", b"value".to_vec())).unwrap();
    let refused = block_on(store.write(transaction(ts + 1, 10))).unwrap_err();
    assert!(unavailable(&refused), "{refused}");
    // It turns out that the batch is absent, and what would make it come back in a recovery is overwritten.
    assert_eq!(block_on(store.max_ts()).unwrap().0, ts - 1);
    let error = block_on(store.write(transaction(ts, 10_000))).unwrap_err();
    assert!(matches!(error, PersistenceError::Unknown(_)), "{error}");
    let raised = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid"])
        .arg(std::process::id().to_string())
        .status()
        .unwrap();
    assert!(raised.success());
    let refused = block_on(store.write(transaction(ts + 1, 10))).unwrap_err();
    assert!(unavailable(&refused), "{refused}");
    assert_eq!(whole_transactions(&*store).last(), Some(&(ts - 1)));
    block_on(store.write(transaction(ts, 10_000))).unwrap();
    assert_eq!(whole_transactions(&*store), (1..=ts).collect::<Vec<_>>());
}
