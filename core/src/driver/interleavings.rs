//! What threads share, under many interleavings: the real database and function runner on a runtime whose schedule is
//! chosen by shuttle. Run by `cargo test -p concave-core --features shuttle --lib interleavings`; a failure prints the
//! schedule and how to replay it. `INTERLEAVINGS=100000` explores longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::future::{BoxFuture, Either, pending, select};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value as Json, json};
use shuttle::future::{block_on, spawn, yield_now};

use super::contention::{Contention, Spot};
use super::{
    Backend, BackendConfig, CallContext, Client, CommitError, Database, HttpClient, HttpResponse,
    Watcher,
};
use crate::engine::native::{NativeContext, NativeEngine};
use crate::engine::{Failure, FunctionKind};
use crate::identity::Identity;
use crate::persistence::memory::MemoryPersistence;
use crate::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, KeyRange, LogPage, Order, Persistence,
    PersistenceError, Revision, Superseded,
};
use crate::request_id::RequestId;
use crate::runtime::Runtime;
use crate::timestamp::Timestamp;
use crate::transaction::{Row, Scan, Snapshot, Transaction};
use crate::value::{Object, Value};

/// Tries `test` under many schedules: half of them by chance, half preferring few switches, which finds what needs one
/// thread to be starved (Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees", 2010). The schedules
/// are the same in every run; more of them begin with these.
fn explore(test: fn()) {
    let iterations = std::env::var("INTERLEAVINGS").map_or(10_000, |text| {
        text.parse().expect("INTERLEAVINGS is a number")
    });
    explore_with(test, 1, iterations);
}

fn explore_with(test: fn(), seed: u64, iterations: usize) {
    let config = || {
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 20;
        config
    };
    let random = shuttle::scheduler::RandomScheduler::new_from_seed(seed, iterations / 2);
    shuttle::Runner::new(random, config()).run(test);
    let few = shuttle::scheduler::PctScheduler::new_from_seed(seed, 3, iterations / 2);
    shuttle::Runner::new(few, config()).run(test);
}

struct ShuttleRuntime {
    ticks: AtomicU64,
}

impl ShuttleRuntime {
    fn handle() -> Arc<Self> {
        Arc::new(Self {
            ticks: AtomicU64::new(1_000_000_000_000_000_000),
        })
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }
}

impl Runtime for ShuttleRuntime {
    fn now(&self) -> Timestamp {
        Timestamp(self.tick())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.tick())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // A pause is over whenever the schedule says so; a time limit never is.
        if duration < Duration::from_secs(1) {
            yield_now().boxed()
        } else {
            pending().boxed()
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        // Dropping the handle lets the task go on by itself.
        drop(spawn(task));
    }

    fn entropy(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.tick().to_le_bytes());
        bytes
    }
}

/// Storage in memory that lets others run before and after each operation.
#[derive(Default)]
struct Yielding(Arc<MemoryPersistence>);

macro_rules! yielding {
    ($self:ident, $operation:expr) => {{
        let storage = $self.0.clone();
        async move {
            yield_now().await;
            let result = $operation(&storage).await;
            yield_now().await;
            result
        }
        .boxed()
    }};
}

type Done<T> = BoxFuture<'static, Result<T, PersistenceError>>;

impl Persistence for Yielding {
    fn write(&self, revisions: Vec<Revision>) -> Done<()> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s.write(revisions))
    }

    fn backfill(&self, entries: Vec<BackfillEntry>) -> Done<()> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s.backfill(entries))
    }

    fn delete(&self, superseded: Superseded) -> Done<()> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s.delete(superseded))
    }

    fn delete_index(&self, index: IndexId, limit: usize) -> Done<bool> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s
            .delete_index(index, limit))
    }

    fn read_index(&self, read: IndexRead) -> Done<IndexPage> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s.read_index(read))
    }

    fn read_log(&self, after: Timestamp, limit: usize) -> Done<LogPage> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s.read_log(after, limit))
    }

    fn max_ts(&self) -> Done<Timestamp> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s.max_ts())
    }

    fn get_global(&self, name: &'static str) -> Done<Option<Vec<u8>>> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s.get_global(name))
    }

    fn set_global(&self, name: &'static str, value: Vec<u8>) -> Done<()> {
        yielding!(self, |s: &Arc<MemoryPersistence>| s.set_global(name, value))
    }
}

/// A database with one document, `{n: 0}`, in the table `numbers`.
async fn open() -> Database {
    let db = Database::open(ShuttleRuntime::handle(), Arc::new(Yielding::default()))
        .await
        .unwrap();
    let mut tx = db.begin();
    let table = tx.ensure_table("numbers").unwrap();
    tx.insert(&table, number(0)).unwrap();
    db.commit(tx).await.unwrap();
    db
}

fn number(n: i64) -> Object {
    Object::from_fields([("n", Value::Int64(n))]).unwrap()
}

/// The only document of the table, as the transaction sees it.
async fn read(db: &Database, tx: &mut Transaction) -> (Row, i64) {
    let index = tx.table("numbers").unwrap().by_id().id;
    let mut scan = Scan::new(index, KeyRange::all(), Order::Ascending, 1);
    let row = db.next_row(tx, &mut scan).await.unwrap().unwrap();
    let n = row.document.get("n").and_then(Value::as_i64).unwrap();
    (row, n)
}

async fn read_at(db: &Database, snapshot: &Snapshot) -> i64 {
    read(db, &mut db.begin_at(snapshot.clone())).await.1
}

/// Adds one, as often as it takes.
async fn increment(db: &Database) -> Timestamp {
    loop {
        let mut tx = db.begin();
        let (row, n) = read(db, &mut tx).await;
        let id = row.document.get("_id").and_then(Value::as_str).unwrap();
        let id = crate::DocumentId::decode(id).unwrap();
        tx.replace(id, &row, number(n + 1)).unwrap();
        match db.commit(tx).await {
            Ok(ts) => return ts,
            Err(CommitError::Conflict { .. }) => yield_now().await,
            Err(CommitError::Failed(error)) => panic!("{error}"),
        }
    }
}

fn every_commit_is_answered_and_visible_from_then_on() {
    block_on(async {
        let db = open().await;
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let db = db.clone();
                spawn(async move {
                    for _ in 0..2 {
                        let ts = increment(&db).await;
                        let snapshot = db.snapshot();
                        assert!(snapshot.ts >= ts, "what is answered is visible");
                        assert!(read_at(&db, &snapshot).await >= 1);
                    }
                })
            })
            .collect();
        let watching = db.clone();
        let observer = spawn(async move {
            let mut last = (Timestamp::ZERO, 0);
            for _ in 0..5 {
                let snapshot = watching.snapshot();
                let now = (snapshot.ts, read_at(&watching, &snapshot).await);
                assert!(now >= last, "time and the number go up: {last:?} {now:?}");
                last = now;
                yield_now().await;
            }
        });
        for writer in writers {
            writer.await.unwrap();
        }
        observer.await.unwrap();
        assert_eq!(read_at(&db, &db.snapshot()).await, 6);
    });
}

fn a_table_and_its_first_document_appear_together() {
    block_on(async {
        let db = open().await;
        let creating = db.clone();
        let creator = spawn(async move {
            let mut tx = creating.begin();
            let table = tx.ensure_table("fresh").unwrap();
            tx.insert(&table, number(1)).unwrap();
            creating.commit(tx).await.unwrap()
        });
        for _ in 0..4 {
            let snapshot = db.snapshot();
            let mut tx = db.begin_at(snapshot.clone());
            if let Some(table) = tx.table("fresh") {
                let index = table.by_id().id;
                let mut scan = Scan::new(index, KeyRange::all(), Order::Ascending, 1);
                let row = db.next_row(&mut tx, &mut scan).await.unwrap();
                assert!(row.is_some(), "half of a commit is visible");
            }
            yield_now().await;
        }
        let ts = creator.await.unwrap();
        let snapshot = db.snapshot();
        assert!(snapshot.ts >= ts && snapshot.catalog.table("fresh").is_some());
    });
}

fn a_subscription_never_misses_a_commit() {
    block_on(async {
        let db = open().await;
        let writing = db.clone();
        let writer = spawn(async move { [increment(&writing).await, increment(&writing).await] });
        let snapshot = db.snapshot();
        let mut tx = db.begin_at(snapshot.clone());
        let (_, n) = read(&db, &mut tx).await;
        let subscription = db.subscribe(tx.reads(), &snapshot);
        let (sender, mut told) = mpsc::unbounded();
        let watcher = Arc::new(Watcher { sender, token: 1 });
        subscription.watch(&watcher);
        for _ in 0..3 {
            let now = db.snapshot();
            if subscription.is_valid_at(now.ts) {
                assert_eq!(read_at(&db, &now).await, n, "what holds has not changed");
            }
            yield_now().await;
        }
        let commits = writer.await.unwrap();
        let first = commits.into_iter().find(|ts| *ts > snapshot.ts);
        assert_eq!(subscription.invalidated_at(), first);
        if first.is_some() {
            assert_eq!(told.next().await, Some(1), "its watcher is told");
        }
    });
}

fn shutting_down_answers_everyone() {
    block_on(async {
        let db = open().await;
        let writers: Vec<_> = (0..3)
            .map(|n| {
                let db = db.clone();
                spawn(async move {
                    let mut tx = db.begin();
                    let table = tx.ensure_table("numbers").unwrap();
                    tx.insert(&table, number(n)).unwrap();
                    match db.commit(tx).await {
                        Ok(ts) => {
                            assert!(db.snapshot().ts >= ts);
                            1
                        }
                        Err(CommitError::Failed(error)) => {
                            assert!(
                                error.code == "ShuttingDown" || error.message.contains("shutting"),
                                "{error}"
                            );
                            0
                        }
                        Err(conflict) => panic!("nothing was read twice: {conflict:?}"),
                    }
                })
            })
            .collect();
        let stopping = db.clone();
        let stopper = spawn(async move { stopping.shut_down().await });
        let mut committed = 0;
        for writer in writers {
            committed += writer.await.unwrap();
        }
        stopper.await.unwrap();
        db.stopping().await;
        let mut tx = db.begin();
        let index = tx.table("numbers").unwrap().by_id().id;
        let mut scan = Scan::new(index, KeyRange::all(), Order::Ascending, 8);
        let mut rows = 0;
        while db.next_row(&mut tx, &mut scan).await.unwrap().is_some() {
            rows += 1;
        }
        assert_eq!(
            rows,
            1 + committed,
            "exactly what was acknowledged is there"
        );
    });
}

fn a_spot_has_one_owner_and_is_passed_on() {
    block_on(async {
        let contention = Arc::new(Contention::default());
        let spot = || Spot::new(IndexId(1), &[1]);
        let inside = Arc::new(AtomicU64::new(0));
        let enter = |patience: usize| {
            let (contention, inside) = (contention.clone(), inside.clone());
            spawn(async move {
                let turn = contention.enter(spot());
                let give_up = async {
                    for _ in 0..patience {
                        yield_now().await;
                    }
                };
                let turn = match select(Box::pin(turn), Box::pin(give_up)).await {
                    Either::Left((turn, _)) => turn,
                    Either::Right(_) => return 0,
                };
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
                yield_now().await;
                inside.fetch_sub(1, Ordering::Relaxed);
                drop(turn);
                1
            })
        };
        let tasks = [enter(1_000), enter(1), enter(1_000), enter(2)];
        let mut entered = 0;
        for task in tasks {
            entered += task.await.unwrap();
        }
        assert!(entered >= 2, "those who are patient come in");
    });
}

struct NoHttp;

impl HttpClient for NoHttp {
    fn fetch(&self, _: String) -> BoxFuture<'static, Result<HttpResponse, String>> {
        async { Err("there is no network here".to_owned()) }.boxed()
    }
}

async fn show(context: NativeContext, _: Json) -> Result<Json, Failure> {
    let query = json!({
        "source": {"type": "FullTableScan", "tableName": "numbers", "order": null}, "operators": [],
    });
    Ok(context.collect(query).await?[0]["n"].clone())
}

/// A backend with the query `numbers:show`.
async fn deploy() -> Arc<Backend> {
    let engine = NativeEngine::default().function("numbers:show", FunctionKind::Query, show);
    let modules: Vec<_> = engine
        .modules()
        .iter()
        .map(|module| json!({"path": module.path, "source": &*module.source, "environment": "isolate"}))
        .collect();
    let push = json!({
        "adminKey": "", "dryRun": false, "functions": "convex/",
        "appDefinition": {
            "definition": null, "dependencies": [], "schema": null, "changedModules": modules,
            "unchangedModuleHashes": [], "udfServerVersion": "1.48.0",
        },
        "componentDefinitions": [], "nodeDependencies": [],
    });
    let config = BackendConfig {
        instance_name: "test".into(),
        instance_secret: [7; 32],
        cloud_url: "http://127.0.0.1:3210".into(),
        site_url: "http://127.0.0.1:3211".into(),
        admin_origins: Vec::new(),
        redact: false,
        retention: None,
        limits: crate::limits::Limits::default(),
    };
    let storage = Arc::new(Yielding::default());
    let runtime = ShuttleRuntime::handle();
    let backend = Backend::open(runtime, storage, Arc::new(engine), Arc::new(NoHttp), config)
        .await
        .unwrap();
    let started = backend.start_push(push).await.unwrap();
    backend
        .finish_push(json!({"adminKey": "", "startPush": started, "dryRun": false}))
        .await
        .unwrap();
    let db = backend.database();
    let mut tx = db.begin();
    let table = tx.ensure_table("numbers").unwrap();
    tx.insert(&table, number(0)).unwrap();
    db.commit(tx).await.unwrap();
    backend
}

fn cached_and_shared_results_are_those_of_the_snapshot() {
    block_on(async {
        let backend = deploy().await;
        let writing = backend.clone();
        let writer = spawn(async move {
            increment(writing.database()).await;
            increment(writing.database()).await;
        });
        let readers: Vec<_> = (0..3)
            .map(|patience| {
                let backend = backend.clone();
                spawn(async move {
                    let request_id = RequestId::from_bytes([0; 8]);
                    let context =
                        CallContext::new(Identity::Anonymous, request_id, Client::Http(None));
                    for round in 0..3 {
                        let snapshot = backend.database().snapshot();
                        let functions = backend.functions();
                        let query =
                            functions.query(&context, "numbers:show", json!({}), None, &snapshot);
                        // One of them goes away in the middle of what others may wait for.
                        let give_up = async {
                            let yields = if round == 0 { patience } else { 10_000 };
                            for _ in 0..yields {
                                yield_now().await;
                            }
                        };
                        let query = match select(Box::pin(query), Box::pin(give_up)).await {
                            Either::Left((query, _)) => query.unwrap(),
                            Either::Right(_) => continue,
                        };
                        let expected = read_at(backend.database(), &snapshot).await;
                        assert_eq!(
                            query.result,
                            Ok(Value::Int64(expected)),
                            "at {:?}, from {:?}",
                            snapshot.ts,
                            query.ts
                        );
                        assert!(query.ts <= snapshot.ts);
                    }
                })
            })
            .collect();
        writer.await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

mod tests {
    use super::explore;

    #[test]
    fn every_commit_is_answered_and_visible_from_then_on() {
        explore(super::every_commit_is_answered_and_visible_from_then_on);
    }

    #[test]
    fn a_table_and_its_first_document_appear_together() {
        explore(super::a_table_and_its_first_document_appear_together);
    }

    #[test]
    fn a_subscription_never_misses_a_commit() {
        explore(super::a_subscription_never_misses_a_commit);
    }

    #[test]
    fn shutting_down_answers_everyone() {
        explore(super::shutting_down_answers_everyone);
    }

    #[test]
    fn a_spot_has_one_owner_and_is_passed_on() {
        explore(super::a_spot_has_one_owner_and_is_passed_on);
    }

    #[test]
    fn cached_and_shared_results_are_those_of_the_snapshot() {
        explore(super::cached_and_shared_results_are_those_of_the_snapshot);
    }
}

/// Exploring finds defects that hang on the order of steps.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_defects_are_noticed() {
    use crate::planted::{Bug, with};

    let defects: &[(Bug, fn())] = &[
        (
            Bug::AcknowledgedBeforeDurable,
            every_commit_is_answered_and_visible_from_then_on,
        ),
        (
            Bug::ConflictToldAsSuccess,
            every_commit_is_answered_and_visible_from_then_on,
        ),
        (
            Bug::CatalogNotPublished,
            a_table_and_its_first_document_appear_together,
        ),
        (
            Bug::RaceWithSubscribeMissed,
            a_subscription_never_misses_a_commit,
        ),
        (Bug::InvalidNotTold, a_subscription_never_misses_a_commit),
        (
            Bug::LateWatcherNotTold,
            a_subscription_never_misses_a_commit,
        ),
        (
            Bug::CacheServesStale,
            cached_and_shared_results_are_those_of_the_snapshot,
        ),
        (
            Bug::RunsSharedAcrossTime,
            cached_and_shared_results_are_those_of_the_snapshot,
        ),
    ];
    for (bug, test) in defects {
        let noticed = (0..50).any(|seed| {
            let explored = || with(Some(*bug), || explore_with(*test, seed, 200));
            std::panic::catch_unwind(explored).is_err()
        });
        assert!(noticed, "{bug:?} is not noticed");
    }
}
