use std::time::Duration;

use concave_core::persistence::conformance;
use fastrand::Rng;

use super::*;
use crate::disk::Strike;
use crate::executor::Executor;

fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    main: impl FnOnce(Node, Disk) -> F,
) -> T {
    let executor = Executor::new(Rng::with_seed(1));
    let node = executor.node(0);
    let disk = Disk::new(Rng::with_seed(2), Duration::from_micros(100));
    let limit = Duration::from_secs(3600);
    executor
        .run(&node, limit, main(node.clone(), disk))
        .unwrap()
}

async fn open(node: &Node, disk: &Disk) -> SimPersistence {
    SimPersistence::open(node.clone(), disk.clone())
        .await
        .unwrap()
}

#[test]
fn conforms_without_faults() {
    run(|node, _| async move {
        let make = move || -> BoxFuture<'static, Arc<dyn Persistence>> {
            let disk = Disk::new(Rng::with_seed(2), Duration::from_micros(100));
            let node = node.clone();
            async move {
                let storage: Arc<dyn Persistence> = Arc::new(open(&node, &disk).await);
                storage
            }
            .boxed()
        };
        conformance::run_all(make).await;
    });
}

#[test]
fn flipped_bits_are_not_seen() {
    run(|node, disk| async move {
        let storage = open(&node, &disk).await;
        storage.set_global("a", vec![7; 1000]).await.unwrap();
        let mut settings = crate::settings::Settings::draw(0);
        settings.faults = vec![(Fault::BitFlip, 0.3)];
        disk.set_faults(Some(settings));
        for _ in 0..100 {
            let value = storage.get_global("a").await.unwrap();
            assert_eq!(value, Some(vec![7; 1000]));
        }
        let again = open(&node, &disk).await;
        assert_eq!(again.get_global("a").await.unwrap(), Some(vec![7; 1000]));
        assert!(disk.report().faults[&Fault::BitFlip] > 20);
    });
}

#[test]
fn damage_is_reported_and_never_cut_off() {
    run(|node, disk| async move {
        let storage = open(&node, &disk).await;
        for value in 0..3 {
            storage.set_global("a", vec![value; 600]).await.unwrap();
        }
        let file = disk.open("log").unwrap();
        let len = file.len();
        // In the second of three records: in the last life, and in an earlier one.
        for _ in 0..2 {
            file.write_at(len / 2, b"damage").unwrap();
            let opened = SimPersistence::open(node.clone(), disk.clone()).await;
            let error = opened.err().unwrap();
            assert!(matches!(error, PersistenceError::Corrupt(_)), "{error}");
            assert_eq!(file.len(), len);
            file.write_at(len / 2, &[1; 6]).unwrap();
            open(&node, &disk).await;
        }
        // A document that is damaged while the server runs.
        let storage = open(&node, &disk).await;
        file.write_at(len - 1, b"?").unwrap();
        let error = storage.get_global("a").await.unwrap_err();
        assert!(matches!(error, PersistenceError::Corrupt(_)), "{error}");
    });
}

#[test]
fn a_torn_tail_is_cut_off() {
    run(|node, disk| async move {
        let storage = open(&node, &disk).await;
        storage.set_global("a", vec![1]).await.unwrap();
        let file = disk.open("log").unwrap();
        let len = file.len();
        file.write_at(len, b"CLOG and so on").unwrap();
        let storage = open(&node, &disk).await;
        assert_eq!(file.len(), len);
        assert_eq!(storage.get_global("a").await.unwrap(), Some(vec![1]));
    });
}

#[test]
fn an_older_server_is_refused_and_changes_nothing() {
    run(|node, disk| async move {
        let older = open(&node, &disk).await;
        older.set_global("a", vec![1]).await.unwrap();
        let newer = open(&node, &disk).await;
        let len = disk.open("log").unwrap().len();
        let lost = |result: Result<(), PersistenceError>| {
            assert!(matches!(result, Err(PersistenceError::LeaseLost(_))));
        };
        lost(older.set_global("a", vec![2]).await);
        lost(older.write(Vec::new()).await);
        lost(older.backfill(Vec::new()).await);
        lost(older.delete(Superseded::default()).await);
        lost(older.delete_index(IndexId(1), 1).await.map(|_| ()));
        lost(older.get_global("a").await.map(|_| ()));
        lost(older.max_ts().await.map(|_| ()));
        assert_eq!(disk.open("log").unwrap().len(), len);
        assert_eq!(newer.get_global("a").await.unwrap(), Some(vec![1]));
        newer.set_global("a", vec![3]).await.unwrap();
        assert_eq!(newer.get_global("a").await.unwrap(), Some(vec![3]));
    });
}

#[test]
fn a_write_that_is_overtaken_by_a_new_server_is_unknown_and_stays() {
    run(|node, disk| async move {
        let older = open(&node, &disk).await;
        let write = older.set_global("a", vec![1]);
        let (sender, receiver) = futures_channel::oneshot::channel();
        node.spawn(Box::pin(async move { sender.send(write.await).unwrap() }));
        while !disk.has_unsynced() {
            node.sleep(Duration::from_micros(1)).await;
        }
        let newer = open(&node, &disk).await;
        let told = receiver.await.unwrap();
        assert!(matches!(told, Err(PersistenceError::Unknown(_))));
        assert_eq!(newer.get_global("a").await.unwrap(), Some(vec![1]));
        disk.crash();
        let after = open(&node, &disk).await;
        assert_eq!(after.get_global("a").await.unwrap(), Some(vec![1]));
    });
}

#[test]
fn failed_operations_change_nothing_and_do_not_come_back() {
    // Every operation of an append: header, payload, sync.
    for operation in 0..3 {
        run(move |node, disk| async move {
            let storage = open(&node, &disk).await;
            storage.set_global("a", vec![1]).await.unwrap();
            disk.strike_at(disk.operations() + operation, Strike::Fail);
            let error = storage.set_global("a", vec![2; 700]).await.unwrap_err();
            assert!(matches!(error, PersistenceError::Unavailable(_)), "{error}");
            assert!(!disk.has_unsynced(), "it is settled");
            assert_eq!(storage.get_global("a").await.unwrap(), Some(vec![1]));
            disk.crash();
            let storage = open(&node, &disk).await;
            assert_eq!(storage.get_global("a").await.unwrap(), Some(vec![1]));
            storage.set_global("a", vec![3]).await.unwrap();
        });
    }
}

#[test]
fn what_a_recovery_has_seen_is_durable_even_if_an_earlier_one_could_not_sync() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        seen.insert(run(move |node, _| async move {
            let disk = Disk::new(Rng::with_seed(seed), Duration::from_micros(100));
            let process = node.sibling(0);
            let storage = open(&process, &disk).await;
            storage.set_global("a", vec![1]).await.unwrap();
            let write = storage.set_global("a", vec![2]);
            process.spawn(Box::pin(async move { write.await.unwrap() }));
            while !disk.has_unsynced() {
                node.sleep(Duration::from_micros(1)).await;
            }
            process.kill();
            // Reads still see the record, and nothing but writing it again makes it durable.
            let mut settings = crate::settings::Settings::draw(0);
            settings.faults = vec![(Fault::SyncFailed, 1.0), (Fault::SyncForgotten, 1.0)];
            disk.set_faults(Some(settings));
            let opened = SimPersistence::open(node.clone(), disk.clone()).await;
            assert!(opened.is_err());
            disk.set_faults(None);
            let value = open(&node, &disk).await.get_global("a").await.unwrap();
            disk.crash();
            let after = open(&node, &disk).await.get_global("a").await.unwrap();
            assert_eq!(after, value, "seed {seed}");
            value
        }));
    }
    assert_eq!(seen, [Some(vec![1]), Some(vec![2])].into(), "both happen");
}
