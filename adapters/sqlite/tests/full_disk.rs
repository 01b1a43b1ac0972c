//! A disk without space: what is there can be read, what is written is refused as a whole and can be tried again, and
//! all goes on by itself once there is space.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

use common::{transaction, whole_transactions};
use concave_core::Error;
use concave_core::persistence::{Persistence, PersistenceError};
use concave_sqlite::{SqliteOptions, SqlitePersistence};
use futures_executor::block_on;

/// A small disk of its own, in memory.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None` where mounting is not allowed, as it is for root alone.
    fn mount(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            _ => {
                eprintln!("not shown here: no disk can be mounted");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file until no space is left.
    fn fill(&self) {
        let mut file = File::create(self.path("ballast")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.path("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

fn is_full(result: Result<(), PersistenceError>) -> bool {
    let Err(error @ PersistenceError::Full(_)) = result else {
        return false;
    };
    let error = Error::from(error);
    assert_eq!(
        (error.class.http_status(), &*error.code),
        (503, "StorageFull")
    );
    true
}

#[test]
fn reads_go_on_and_writes_wait_for_space() {
    let Some(disk) = Disk::mount(24 << 20) else {
        return;
    };
    let store = SqlitePersistence::open(SqliteOptions::new(disk.path("a.db"))).unwrap();
    let mut written = Vec::new();
    let mut ts = 0;
    // The first time most is in the database's log yet, later in the file; each time the log is moved in between.
    for round in 0..3 {
        for _ in 0..40 {
            ts += 1;
            block_on(store.write(transaction(ts, 7_000))).unwrap();
            written.push(ts);
        }
        disk.fill();
        let mut refused = 0;
        for _ in 0..600 {
            ts += 1;
            match block_on(store.write(transaction(ts, 7_000))) {
                Ok(()) => written.push(ts),
                other => {
                    assert!(is_full(other.clone()), "{other:?}");
                    refused += 1;
                }
            }
            if refused % 50 == 1 {
                assert_eq!(whole_transactions(&*store), written, "in round {round}");
            }
        }
        assert!(
            refused > 100,
            "the disk is full: {refused} in round {round}"
        );
        assert!(is_full(block_on(store.set_global("x", vec![0; 1 << 20]))));
        disk.empty();
        ts += 1;
        block_on(store.write(transaction(ts, 7_000))).unwrap();
        written.push(ts);
        assert_eq!(whole_transactions(&*store), written);
    }
    // What was acknowledged is there after a crash on the full disk, too.
    disk.fill();
    let copy = disk.0.path().parent().unwrap().join(format!(
        "{}-copy",
        disk.0.path().file_name().unwrap().to_str().unwrap()
    ));
    fs::create_dir(&copy).unwrap();
    for name in ["a.db", "a.db-wal"] {
        let mut bytes = Vec::new();
        let mut file = File::open(disk.path(name)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        fs::write(copy.join(name), bytes).unwrap();
    }
    let again = SqlitePersistence::open(SqliteOptions::new(copy.join("a.db"))).unwrap();
    assert_eq!(whole_transactions(&*again), written);
    drop(again);
    fs::remove_dir_all(copy).unwrap();
    drop(store);
}
