//! Goal: two servers on one database do no harm: the older one is refused, notices, and ends its sessions; what it had
//! acknowledged is there. Method: two databases on one simulated disk, step by step. Worlds do the same at random, see
//! `Fault::TwoWriters`.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use concave_core::Object;
use concave_core::Value;
use concave_core::driver::{CommitError, Database};
use concave_core::persistence::{KeyRange, LEASE_LOST, OUTCOME_UNKNOWN, Order};
use concave_core::runtime::Runtime;
use concave_core::transaction::{Scan, Transaction};
use fastrand::Rng;
use futures_util::FutureExt;
use sim::disk::Disk;
use sim::executor::{Executor, Node};
use sim::storage::SimPersistence;

fn run<F: Future<Output = ()> + Send + 'static>(main: impl FnOnce(Node, Disk) -> F) {
    let executor = Executor::new(Rng::with_seed(1));
    let node = executor.node(0);
    let disk = Disk::new(Rng::with_seed(2), Duration::from_millis(1));
    let limit = Duration::from_secs(60);
    let main = main(node.clone(), disk);
    executor.run(&node, limit, main).unwrap();
}

async fn open(node: &Node, disk: &Disk) -> Database {
    let storage = SimPersistence::open(node.clone(), disk.clone());
    let storage = Arc::new(storage.await.unwrap());
    Database::open(Arc::new(node.clone()), storage)
        .await
        .unwrap()
}

fn insert(db: &Database, n: i64) -> Transaction {
    let mut tx = db.begin();
    let table = tx.ensure_table("things").unwrap();
    let document = Object::from_fields([("n", Value::Int64(n))]).unwrap();
    tx.insert(&table, document).unwrap();
    tx
}

async fn list(db: &Database) -> Result<Vec<i64>, concave_core::Error> {
    let mut tx = db.begin();
    let table = tx.table("things").unwrap();
    let index = table.index("by_creation_time").unwrap().id;
    let mut scan = Scan::new(index, KeyRange::all(), Order::Ascending, 10);
    let mut found = Vec::new();
    while let Some(row) = db.next_row(&mut tx, &mut scan).await? {
        found.extend(row.document.get("n").and_then(Value::as_i64));
    }
    Ok(found)
}

fn code(result: Result<impl Sized, CommitError>) -> String {
    match result.map(drop) {
        Err(CommitError::Failed(error)) => error.code.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_older_server_that_reads_is_refused_and_stops() {
    run(|node, disk| async move {
        let older = open(&node, &disk).await;
        older.commit(insert(&older, 1)).await.unwrap();
        let newer = open(&node, &disk).await;
        newer.commit(insert(&newer, 2)).await.unwrap();
        assert!(older.stopping().now_or_never().is_none(), "it cannot know");
        assert_eq!(list(&older).await.unwrap_err().code, LEASE_LOST);
        older.stopping().await;
        assert_eq!(code(older.commit(insert(&older, 3)).await), LEASE_LOST);
        assert_eq!(list(&newer).await.unwrap(), [1, 2]);
    });
}

#[test]
fn an_older_server_that_writes_is_refused_and_stops() {
    run(|node, disk| async move {
        let older = open(&node, &disk).await;
        older.commit(insert(&older, 1)).await.unwrap();
        let newer = open(&node, &disk).await;
        assert_eq!(code(older.commit(insert(&older, 2)).await), LEASE_LOST);
        older.stopping().await;
        assert_eq!(list(&newer).await.unwrap(), [1]);
    });
}

#[test]
fn what_was_under_way_in_a_takeover_is_unknown_to_the_older_server() {
    run(|node, disk| async move {
        let older = open(&node, &disk).await;
        older.commit(insert(&older, 1)).await.unwrap();
        let (sender, answer) = futures_channel::oneshot::channel();
        let under_way = older.clone();
        node.spawn(Box::pin(async move {
            let result = under_way.commit(insert(&under_way, 2)).await;
            assert!(sender.send(result).is_ok());
        }));
        while !disk.has_unsynced() {
            node.sleep(Duration::from_micros(1)).await;
        }
        let newer = open(&node, &disk).await;
        assert_eq!(code(answer.await.unwrap()), OUTCOME_UNKNOWN);
        older.stopping().await;
        assert_eq!(list(&newer).await.unwrap(), [1, 2], "it was stored");
    });
}
