use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_channel::oneshot;
use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::testing::ThreadRuntime;
use super::*;
use crate::key;
use crate::limits::Limits;
use crate::persistence::memory::MemoryPersistence;
use crate::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, KeyRange, LogPage, Order, Persistence,
    PersistenceError, Revision, Superseded,
};
use crate::timestamp::Timestamp;
use crate::transaction::{Scan, Transaction};
use crate::value::{DocumentId, Object, Value};

async fn open(persistence: &Arc<MemoryPersistence>) -> Database {
    let persistence: Arc<dyn Persistence> = persistence.clone();
    Database::open(ThreadRuntime::handle(), persistence)
        .await
        .unwrap()
}

fn document(n: i64) -> Object {
    Object::from_fields([("n", Value::Int64(n))]).unwrap()
}

fn insert(tx: &mut Transaction, table: &str, n: i64) -> DocumentId {
    let table = tx.ensure_table(table).unwrap();
    tx.insert(&table, document(n)).unwrap()
}

async fn list(db: &Database, tx: &mut Transaction, table: &str) -> Vec<i64> {
    let Some(table) = tx.table(table) else {
        return Vec::new();
    };
    let mut scan = Scan::new(
        table.index("by_creation_time").unwrap().id,
        KeyRange::all(),
        Order::Ascending,
        2,
    );
    let mut found = Vec::new();
    while let Some(row) = db.next_row(tx, &mut scan).await.unwrap() {
        found.push(row.document.get("n").and_then(Value::as_i64).unwrap());
    }
    found
}

#[test]
fn commits_survive_reopening() {
    block_on(async {
        let persistence = Arc::new(MemoryPersistence::default());
        let db = open(&persistence).await;
        let mut tx = db.begin();
        for n in 0..5 {
            insert(&mut tx, "things", n);
        }
        assert_eq!(
            list(&db, &mut tx, "things").await,
            [0, 1, 2, 3, 4],
            "own writes are seen"
        );
        assert_eq!(
            list(&db, &mut db.begin(), "things").await,
            [0i64; 0],
            "others' are not"
        );
        let ts = db.commit(tx).await.unwrap();
        assert_eq!(db.snapshot().ts, ts);
        drop(db);

        let db = open(&persistence).await;
        let mut tx = db.begin();
        assert_eq!(list(&db, &mut tx, "things").await, [0, 1, 2, 3, 4]);
        let id = insert(&mut tx, "things", 5);
        let row = db.get(&mut tx, id).await.unwrap().unwrap();
        tx.replace(id, &row, document(50)).unwrap();
        assert_eq!(list(&db, &mut tx, "things").await, [0, 1, 2, 3, 4, 50]);
        let savepoint = tx.savepoint();
        let row = db.get(&mut tx, id).await.unwrap().unwrap();
        tx.delete(id, &row).unwrap();
        insert(&mut tx, "others", 1);
        assert_eq!(list(&db, &mut tx, "things").await, [0, 1, 2, 3, 4]);
        tx.rollback(savepoint);
        assert_eq!(list(&db, &mut tx, "things").await, [0, 1, 2, 3, 4, 50]);
        assert!(tx.table("others").is_none());
        db.commit(tx).await.unwrap();
        assert_eq!(
            list(&db, &mut db.begin(), "things").await,
            [0, 1, 2, 3, 4, 50]
        );
    });
}

/// Whoever loses against a commit that is on its way to disk would read the same again, and lose again, and again.
#[test]
fn a_conflict_is_told_when_the_next_snapshot_shows_the_other_commit() {
    block_on(async {
        let db = open(&Arc::new(MemoryPersistence::default())).await;
        let mut tx = db.begin();
        let id = insert(&mut tx, "counters", 0);
        db.commit(tx).await.unwrap();
        for n in 0..100 {
            let (mut a, mut b) = (db.begin(), db.begin());
            for tx in [&mut a, &mut b] {
                let row = db.get(tx, id).await.unwrap().unwrap();
                tx.replace(id, &row, document(n)).unwrap();
            }
            let loses = async {
                let lost = db.commit(b).await.unwrap_err();
                (lost, db.snapshot().ts)
            };
            let (won, (lost, newest)) = futures_util::future::join(db.commit(a), loses).await;
            assert!(matches!(lost, CommitError::Conflict { .. }), "{lost:?}");
            assert!(newest >= won.unwrap());
        }
    });
}

#[test]
fn the_second_of_two_conflicting_transactions_loses() {
    block_on(async {
        let db = open(&Arc::new(MemoryPersistence::default())).await;
        let mut tx = db.begin();
        let id = insert(&mut tx, "counters", 0);
        db.commit(tx).await.unwrap();

        let increment = async |tx: &mut Transaction| {
            let row = db.get(tx, id).await.unwrap().unwrap();
            let n = row.document.get("n").and_then(Value::as_i64).unwrap();
            tx.replace(id, &row, document(n + 1)).unwrap();
        };
        let (mut a, mut b) = (db.begin(), db.begin());
        increment(&mut a).await;
        increment(&mut b).await;
        db.commit(a).await.unwrap();
        let CommitError::Conflict { table, conflict } = db.commit(b).await.unwrap_err() else {
            panic!()
        };
        assert_eq!(table.as_deref(), Some("counters"));
        assert!(conflict.is_some());

        // Two transactions that each create a table conflict as well.
        let (mut a, mut b) = (db.begin(), db.begin());
        insert(&mut a, "one", 1);
        insert(&mut b, "two", 1);
        db.commit(a).await.unwrap();
        assert!(matches!(
            db.commit(b).await,
            Err(CommitError::Conflict { .. })
        ));
    });
}

#[test]
fn subscriptions_fire_for_what_was_read_and_nothing_else() {
    block_on(async {
        let db = open(&Arc::new(MemoryPersistence::default())).await;
        let mut tx = db.begin();
        insert(&mut tx, "a", 1);
        insert(&mut tx, "b", 1);
        db.commit(tx).await.unwrap();

        let mut reader = db.begin();
        list(&db, &mut reader, "a").await;
        let snapshot = reader.snapshot().clone();
        let subscription = db.subscribe(reader.reads(), &snapshot);
        let (sender, mut receiver) = futures_channel::mpsc::unbounded();
        let watcher = Arc::new(Watcher { sender, token: 7 });
        subscription.watch(&watcher);

        let mut tx = db.begin();
        insert(&mut tx, "b", 2);
        db.commit(tx).await.unwrap();
        assert_eq!(subscription.invalidated_at(), None);
        assert!(receiver.try_recv().is_err());

        let mut tx = db.begin();
        insert(&mut tx, "a", 2);
        let ts = db.commit(tx).await.unwrap();
        assert_eq!(subscription.invalidated_at(), Some(ts));
        assert_eq!(receiver.try_recv().unwrap(), 7);

        // One that registers late learns what it missed.
        let late = db.subscribe(reader.reads(), &snapshot);
        assert_eq!(late.invalidated_at(), Some(ts));
        assert!(late.is_valid_at(snapshot.ts));
    });
}

#[test]
fn point_reads_depend_on_the_point() {
    block_on(async {
        let db = open(&Arc::new(MemoryPersistence::default())).await;
        let mut tx = db.begin();
        let first = insert(&mut tx, "a", 1);
        let second = insert(&mut tx, "a", 2);
        db.commit(tx).await.unwrap();
        let mut tx = db.begin();
        db.get(&mut tx, first).await.unwrap();
        let by_id = tx.table("a").unwrap().by_id().id;
        let key = |id: DocumentId| key::encode_key(&[Some(&Value::String(id.encode()))]);
        assert!(tx.reads().contains(by_id, &key(first)));
        assert!(!tx.reads().contains(by_id, &key(second)));
    });
}

#[test]
fn a_snapshot_of_the_past_has_the_catalog_of_its_time() {
    block_on(async {
        let db = open(&Arc::new(MemoryPersistence::default())).await;
        let mut tx = db.begin();
        insert(&mut tx, "old", 1);
        let past = db.commit(tx).await.unwrap();
        let mut tx = db.begin();
        insert(&mut tx, "new", 1);
        db.commit(tx).await.unwrap();

        let mut tx = db.begin_at(db.snapshot_at(past).await.unwrap());
        assert!(tx.table("old").is_some());
        assert!(tx.table("new").is_none());
    });
}

/// Storage whose writes end when they are let go.
#[derive(Default)]
struct Gate {
    storage: MemoryPersistence,
    is_shut: AtomicBool,
    held: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Gate {
    /// The next write that is held, which may begin a moment later, on the commit loop's thread. Dropped, it goes on.
    fn next(&self) -> oneshot::Sender<()> {
        loop {
            if let Some(held) = self.held.lock().unwrap().pop() {
                return held;
            }
            std::thread::yield_now();
        }
    }
}

impl Persistence for Gate {
    fn write(&self, revisions: Vec<Revision>) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let write = self.storage.write(revisions);
        if !self.is_shut.load(Ordering::SeqCst) {
            return write;
        }
        let (sender, receiver) = oneshot::channel();
        self.held.lock().unwrap().push(sender);
        async move {
            let _ = receiver.await;
            write.await
        }
        .boxed()
    }

    fn backfill(
        &self,
        entries: Vec<BackfillEntry>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.storage.backfill(entries)
    }

    fn read_index(
        &self,
        read: IndexRead,
    ) -> BoxFuture<'static, Result<IndexPage, PersistenceError>> {
        self.storage.read_index(read)
    }

    fn read_log(
        &self,
        after: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<LogPage, PersistenceError>> {
        self.storage.read_log(after, limit)
    }

    fn max_ts(&self) -> BoxFuture<'static, Result<Timestamp, PersistenceError>> {
        self.storage.max_ts()
    }

    fn delete(&self, superseded: Superseded) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.storage.delete(superseded)
    }

    fn delete_index(
        &self,
        index: IndexId,
        limit: usize,
    ) -> BoxFuture<'static, Result<bool, PersistenceError>> {
        self.storage.delete_index(index, limit)
    }

    fn get_global(
        &self,
        name: &'static str,
    ) -> BoxFuture<'static, Result<Option<Vec<u8>>, PersistenceError>> {
        self.storage.get_global(name)
    }

    fn set_global(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.storage.set_global(name, value)
    }
}

/// Whoever runs again at once on being told of a conflict does so once: while the other commit is on its way to a slow
/// disk, no attempt could succeed.
#[test]
fn a_conflict_is_told_when_running_again_is_of_use() {
    block_on(async {
        let gate = Arc::new(Gate::default());
        let db = Database::open(ThreadRuntime::handle(), gate.clone());
        let db = db.await.unwrap();
        let mut tx = db.begin();
        insert(&mut tx, "things", 0);
        db.commit(tx).await.unwrap();

        gate.is_shut.store(true, Ordering::SeqCst);
        let (mut first, mut second) = (db.begin(), db.begin());
        for tx in [&mut first, &mut second] {
            let n = list(&db, tx, "things").await.len();
            insert(tx, "things", n as i64);
        }
        let mut first = Box::pin(db.commit(first));
        let mut second = Box::pin(db.commit(second));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none(), "it is too early");
        let held = gate.next();
        gate.is_shut.store(false, Ordering::SeqCst);
        drop(held);
        first.await.unwrap();
        assert!(matches!(second.await, Err(CommitError::Conflict { .. })));
        let mut again = db.begin();
        assert_eq!(list(&db, &mut again, "things").await, [0, 1]);
        insert(&mut again, "things", 2);
        db.commit(again).await.unwrap();

        // Also while shutting down: a write under way is waited for.
        gate.is_shut.store(true, Ordering::SeqCst);
        let mut commits = Vec::new();
        for _ in 0..2 {
            let mut tx = db.begin();
            insert(&mut tx, &format!("t{}", commits.len()), 0);
            commits.push(Box::pin(db.commit(tx)));
        }
        for commit in &mut commits {
            assert!(commit.as_mut().now_or_never().is_none());
        }
        let held = gate.next();
        db.shut_down().await;
        drop(held);
        let second = commits.pop().unwrap();
        commits.pop().unwrap().await.unwrap();
        assert!(matches!(second.await, Err(CommitError::Conflict { .. })));
    });
}

/// Whatever readers hold, the log of recent writes has its bounds: they read on, and those that write run again.
#[test]
fn the_log_of_writes_is_bounded_whatever_readers_hold() {
    block_on(async {
        let limits = Limits {
            write_log: 64 << 10,
            write_log_time: Duration::from_secs(100),
            ..Limits::default()
        };
        let (runtime, storage) = (ThreadRuntime::new(), Arc::new(MemoryPersistence::default()));
        let db = Database::open_with(runtime.clone(), storage, limits)
            .await
            .unwrap();
        let kept = || {
            let mut counts = InMemory::default();
            db.count(&mut counts);
            counts
        };
        let mut tx = db.begin();
        insert(&mut tx, "things", 0);
        db.commit(tx).await.unwrap();

        let mut old = db.begin();
        let old_ts = old.snapshot_ts();
        for n in 1..2_000 {
            let mut tx = db.begin();
            insert(&mut tx, "things", n);
            db.commit(tx).await.unwrap();
            assert!(kept().commit_bytes <= limits.write_log, "{:?}", kept());
            assert!(kept().snapshots <= 100, "{:?}", kept());
        }
        assert!(kept().commits > 50, "as many are kept as there is room for");
        assert_eq!(list(&db, &mut old, "things").await, [0]);
        assert!(
            db.oldest_read() <= old_ts,
            "nothing is deleted that is read"
        );
        insert(&mut old, "others", 1);
        let conflict = db.commit(old).await.unwrap_err();
        let too_old = CommitError::Conflict {
            conflict: None,
            table: None,
        };
        assert_eq!(conflict, too_old);
        assert!(db.oldest_read() > old_ts);
        let error = db.snapshot_at(old_ts).await.unwrap_err();
        assert_eq!(error.code, "OutOfRetention");

        // Time passes, and a reader stays.
        let old = db.begin();
        let mut tx = db.begin();
        insert(&mut tx, "things", -1);
        let last = db.commit(tx).await.unwrap();
        let second = 1_000_000_000;
        runtime.set_clock_error(99 * second);
        db.trim();
        assert!(kept().commits > 0, "it may still be needed");
        runtime.set_clock_error(101 * second);
        db.trim();
        assert_eq!((kept().commits, kept().commit_bytes), (0, 0));
        assert!(db.oldest_read() <= old.snapshot_ts() && old.snapshot_ts() < last);
    });
}
