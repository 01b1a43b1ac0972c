//! The server of a world: lives of a `Database` on one disk, and what runs inside them on behalf of clients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concave_core::driver::{CommitError, Database, RetentionLoop, Watcher};
use concave_core::limits::Limits;
use concave_core::persistence::{OUTCOME_UNKNOWN, Persistence};
use concave_core::runtime::Runtime;
use concave_core::transaction::Snapshot;
use concave_core::{DocumentId, Error, ErrorClass, Timestamp};
use futures_channel::{mpsc, oneshot};
use futures_util::future::{BoxFuture, Either, select};
use futures_util::{FutureExt, StreamExt};

use crate::archive::{Archive, Archiving, Readers};
use crate::disk::Disk;
use crate::executor::Node;
use crate::history::{Claim, History, Outcome};
use crate::report::{Operation, Report};
use crate::settings::Retention;
use crate::sqlite::{self, SqliteSimPersistence};
use crate::storage::SimPersistence;
use crate::workload::{Fixtures, Plan, Recorder, set_up};

/// How long a watcher waits for its subscription to fire before it asks whether it is still valid.
const WATCH: Duration = Duration::from_millis(40);
/// How often a watcher asks.
const WATCH_ROUNDS: usize = 4;
/// One of so many attempts is slow, where old versions go.
const SLOW: usize = 4;
/// How often, and how many times, it is looked whether all old versions have gone.
const LOOKS: (Duration, u32) = (Duration::from_millis(20), 1_000);
/// Later than any timestamp of a world.
pub(crate) const FAR_NS: i64 = 30 * 24 * 3_600 * 1_000_000_000;

/// What a transaction that was not refused tells its client.
#[derive(Clone, Debug)]
pub struct Reply {
    /// When it committed, or what it read at.
    pub ts: Timestamp,
    /// What it inserted.
    pub inserted: Vec<(String, DocumentId)>,
    /// The fixtures, if it set them up.
    pub fixtures: Option<Fixtures>,
}

/// Why there is no [`Reply`].
#[derive(Clone, Debug)]
pub enum Refusal {
    /// Run it again.
    Conflict,
    /// Nothing was changed.
    Failed(Error),
    /// The server stopped before it answered, or does not run, or does not know itself what happened.
    Lost,
}

/// The server. Clones are the same one.
#[derive(Clone)]
pub struct Server {
    /// Whose lives run the server, and whose clock they have. It runs nothing itself.
    machine: Node,
    disk: Disk,
    /// How it uses SQLite, if that is its storage.
    sqlite: Option<sqlite::Use>,
    /// How soon old versions go, if they do.
    retention: Option<Retention>,
    archive: Archive,
    history: History,
    life: Arc<Mutex<Option<Life>>>,
    /// Lives that do not know yet that another one has begun.
    older: Arc<Mutex<Vec<Life>>>,
}

#[derive(Clone)]
struct Life {
    node: Node,
    db: Database,
    storage: Arc<dyn Persistence>,
    readers: Readers,
    /// How long slow transactions wait before each read.
    pause: Duration,
    /// Deletes old versions.
    _retention: Option<Arc<RetentionLoop>>,
    /// What happened in this life.
    report: Arc<Mutex<Report>>,
}

impl Server {
    /// A server that does not run yet.
    pub fn new(
        supervisor: Node,
        disk: Disk,
        sqlite: Option<sqlite::Use>,
        retention: Option<Retention>,
        history: History,
    ) -> Self {
        Self {
            machine: supervisor.sibling(0),
            disk,
            sqlite,
            retention,
            archive: Archive::default(),
            history,
            life: Arc::default(),
            older: Arc::default(),
        }
    }

    /// Begins a life: opens the database on the disk. If one runs already, both do until [`Self::retire`].
    ///
    /// # Errors
    /// If storage fails; it may be tried again.
    pub async fn start(&self) -> Result<(), Error> {
        self.start_with(self.retention).await
    }

    /// Like [`Self::start`], for a judge: nothing is deleted.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_still(&self) -> Result<(), Error> {
        self.start_with(None).await
    }

    async fn start_with(&self, retention: Option<Retention>) -> Result<(), Error> {
        let node = self.machine.another_life();
        let readers = Readers::default();
        let opened = async {
            let storage = open_storage(node.clone(), self.disk.clone(), self.sqlite).await?;
            let storage = Archiving::new(storage, self.archive.clone(), readers.clone());
            let storage: Arc<dyn Persistence> = Arc::new(storage);
            let runtime = Arc::new(node.clone());
            let mut limits = Limits::default();
            if let Some(retention) = retention {
                limits.past_reads = retention.recent;
            }
            let db = Database::open_with(runtime, storage.clone(), limits).await?;
            Ok((db, storage))
        };
        match opened.await {
            Ok((db, storage)) => {
                node.trace(format!("server: open at {}", db.snapshot().ts.0));
                let deleting = retention.map(|with| RetentionLoop::start(&db, with.window));
                let older = lock(&self.life).replace(Life {
                    node,
                    db,
                    storage,
                    readers,
                    pause: retention.map_or(Duration::ZERO, |retention| retention.pause),
                    _retention: deleting.map(Arc::new),
                    report: Arc::default(),
                });
                lock(&self.older).extend(older);
                Ok(())
            }
            Err(error) => {
                node.kill();
                Err(error)
            }
        }
    }

    /// The storage of the present life.
    pub fn storage(&self) -> Option<Arc<dyn Persistence>> {
        let life = lock(&self.life);
        life.as_ref().map(|life| life.storage.clone())
    }

    /// What was deleted.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Lets a database that nobody uses lose all old versions, and gives the timestamp up to which they have gone.
    ///
    /// # Errors
    /// If they do not go.
    pub async fn delete_all_old(&self) -> Result<Timestamp, String> {
        self.machine.jump_clock(FAR_NS);
        let life = lock(&self.life).clone().ok_or("the server is down")?;
        delete_all_old(&life.db).await
    }

    /// The machine crashes: all lives end at this instant, and what was not synced may be lost.
    pub fn crash(&self) {
        self.machine.trace("server: crash");
        self.kill();
        self.disk.crash();
    }

    /// All lives end at this instant; the machine goes on.
    pub fn kill(&self) {
        self.retire();
        if let Some(life) = lock(&self.life).take() {
            life.node.kill();
        }
    }

    /// Lives before the present one end at this instant.
    pub fn retire(&self) {
        for life in std::mem::take(&mut *lock(&self.older)) {
            life.node.kill();
        }
    }

    /// Whether it accepts requests.
    pub fn is_up(&self) -> bool {
        lock(&self.life).is_some()
    }

    /// Moves the machine's clock.
    pub fn jump_clock(&self, by_ns: i64) {
        self.machine
            .trace(format!("server: clock jumps by {by_ns} ns"));
        self.machine.jump_clock(by_ns);
    }

    /// From now on the machine's clock goes faster than real time, by so many parts of a million; or slower.
    pub fn drift_clock(&self, drift_ppm: i64) {
        self.machine
            .trace(format!("server: clock drifts by {drift_ppm} ppm"));
        self.machine.drift_clock(drift_ppm);
    }

    /// Runs one attempt of a planned operation and waits for its reply.
    ///
    /// # Errors
    /// Why there is no reply.
    pub async fn attempt(&self, plan: Plan) -> Result<Reply, Refusal> {
        let operation = plan.operation;
        let past = plan.past;
        let work = |mut recorder: Recorder| {
            async move {
                let result = plan.run(&mut recorder).await;
                (recorder, result.map(|()| None))
            }
            .boxed()
        };
        self.transaction(operation, past, work).await
    }

    /// Creates the fixtures.
    ///
    /// # Errors
    /// Why there is no reply.
    pub async fn set_up(&self) -> Result<Reply, Refusal> {
        let work = |mut recorder: Recorder| {
            async move {
                let result = set_up(&mut recorder).await;
                (recorder, result.map(Some))
            }
            .boxed()
        };
        self.transaction(Operation::CreateTable, None, work).await
    }

    async fn transaction(
        &self,
        operation: Operation,
        past: Option<Timestamp>,
        work: impl FnOnce(Recorder) -> BoxFuture<'static, (Recorder, Result<Option<Fixtures>, Error>)>
        + Send
        + 'static,
    ) -> Result<Reply, Refusal> {
        let Some(life) = self.some_life() else {
            return Err(Refusal::Lost);
        };
        let (sender, receiver) = oneshot::channel();
        let history = self.history.clone();
        let node = life.node.clone();
        node.spawn(Box::pin(async move {
            let reply = life.transaction(history, operation, past, work).await;
            // A client that went away needs no reply.
            let _ = sender.send(reply);
        }));
        receiver.await.unwrap_or(Err(Refusal::Lost))
    }

    /// The present life, or one of those that it has replaced: some clients have not heard yet.
    fn some_life(&self) -> Option<Life> {
        let older = lock(&self.older);
        let choice = usize::from(self.machine.entropy()[0]) % (older.len() + 1);
        older.get(choice).or(lock(&self.life).as_ref()).cloned()
    }

    /// What happened in this life.
    pub fn report(&self) -> Report {
        let life = lock(&self.life);
        life.as_ref()
            .map_or_else(Report::default, |life| lock(&life.report).clone())
    }
}

/// Lets a database that nobody uses, and whose clock is ahead, lose all old versions; the timestamp up to which they
/// have gone.
///
/// # Errors
/// If they do not go.
pub(crate) async fn delete_all_old(db: &Database) -> Result<Timestamp, String> {
    let deleting = RetentionLoop::start(db, Duration::ZERO);
    // The scheduler still forgets jobs that have grown old. Only when everything that may go has gone is nothing being
    // deleted while others look.
    let target = || db.oldest_read().min(Timestamp(db.snapshot().ts.0 - 1));
    for _ in 0..LOOKS.1 {
        let done = deleting.status().done;
        if done >= target() {
            return Ok(done);
        }
        db.runtime().sleep(LOOKS.0).await;
    }
    Err(format!(
        "old versions up to {} do not go: {:?}",
        target().0,
        deleting.status()
    ))
}

/// Opens the storage on a disk: in SQLite, if used as `sqlite` says, or a log.
///
/// # Errors
/// If it fails.
pub(crate) async fn open_storage(
    node: Node,
    disk: Disk,
    sqlite: Option<sqlite::Use>,
) -> Result<Arc<dyn Persistence>, Error> {
    Ok(match sqlite {
        None => Arc::new(SimPersistence::open(node, disk).await?),
        Some(with) => Arc::new(SqliteSimPersistence::open(node, disk, with).await?),
    })
}

impl Life {
    async fn transaction(
        self,
        history: History,
        operation: Operation,
        past: Option<Timestamp>,
        work: impl FnOnce(Recorder) -> BoxFuture<'static, (Recorder, Result<Option<Fixtures>, Error>)>,
    ) -> Result<Reply, Refusal> {
        let began = self.node.monotonic();
        let snapshot = match past {
            None => self.db.snapshot(),
            Some(ts) => self.db.snapshot_at(ts).await.map_err(refused)?,
        };
        if let Some(ts) = past {
            assert_eq!(snapshot.ts, ts, "the snapshot is the one asked for");
        }
        let _reading = self.readers.hold(snapshot.ts);
        let number = history.begin(operation, began, snapshot.ts, past.is_none());
        self.node.trace(format!(
            "#{number} {operation:?} begins at {}",
            snapshot.ts.0
        ));
        let remembered = self.db.oldest_read();
        let tx = self.db.begin_at(snapshot.clone());
        let recorder = Recorder::new(self.db.clone(), tx, number);
        let recorder = match number % SLOW {
            0 => recorder.slowed_down(self.pause),
            _ => recorder,
        };
        let (recorder, result) = work(recorder).await;
        let Recorder {
            tx,
            steps,
            inserted,
            ..
        } = recorder;
        let read_only = tx.is_read_only();
        let outcome = match (&result, read_only) {
            (Err(_), _) => Outcome::Refused,
            (Ok(_), true) => Outcome::ReadOnly,
            (Ok(_), false) => Outcome::Submitted,
        };
        let ended = (outcome != Outcome::Submitted).then(|| self.node.monotonic());
        history.update(number, |attempt| {
            attempt.steps = steps;
            attempt.outcome = outcome;
            attempt.ended = ended;
        });
        let fixtures = result.map_err(|error| {
            self.node.trace(format!("#{number} failed: {error}"));
            refused(error)
        })?;
        if operation == Operation::Watch {
            self.watch(&history, number, &tx.reads().clone(), &snapshot)
                .await;
        }
        assert!(
            self.db.oldest_read() <= snapshot.ts,
            "what is needed for a snapshot that is held was forgotten"
        );
        if self.db.oldest_read() > remembered {
            lock(&self.report).trims_beside_readers += 1;
        }
        let committed = self.db.commit(tx).await;
        self.node.trace(format!("#{number} {committed:?}"));
        let ended = self.node.monotonic();
        history.update(number, |attempt| match &committed {
            Ok(_) if read_only => {}
            Ok(ts) => {
                attempt.outcome = Outcome::Committed(*ts);
                attempt.ended = Some(ended);
            }
            Err(error) if is_unknown(error) => {}
            Err(_) => {
                attempt.outcome = Outcome::Refused;
                attempt.ended = Some(ended);
            }
        });
        match committed {
            Ok(ts) => Ok(Reply {
                ts,
                inserted,
                fixtures,
            }),
            Err(error) if is_unknown(&error) => Err(Refusal::Lost),
            Err(CommitError::Conflict { .. }) => Err(Refusal::Conflict),
            Err(CommitError::Failed(error)) => Err(refused(error)),
        }
    }

    /// Subscribes to what was read and notes what the subscription says about it, until it fires.
    async fn watch(
        &self,
        history: &History,
        number: usize,
        reads: &concave_core::transaction::ReadSet,
        snapshot: &Snapshot,
    ) {
        let claim = |claim| history.update(number, |attempt| attempt.claims.push(claim));
        let subscription = self.db.subscribe(reads, snapshot);
        let (sender, mut fired) = mpsc::unbounded();
        let token = number as u64;
        let watcher = Arc::new(Watcher { sender, token });
        subscription.watch(&watcher);
        for _ in 0..WATCH_ROUNDS {
            let told = match select(fired.next(), self.node.sleep(WATCH)).await {
                Either::Left((told, _)) => told,
                Either::Right(_) => None,
            };
            if let Some(told) = told {
                assert_eq!(told, token, "a watcher is told of its own subscription");
                let at = subscription
                    .invalidated_at()
                    .expect("only invalid subscriptions fire");
                assert!(at > snapshot.ts, "what was read was valid when it was read");
                self.node
                    .trace(format!("#{number} subscription fires at {}", at.0));
                lock(&self.report).invalidations += 1;
                claim(Claim::Before(at));
                return;
            }
            let now = self.db.snapshot().ts;
            if subscription.is_valid_at(now) {
                claim(Claim::At(now));
            } else {
                // It is told in the same step that makes it invalid; if not yet seen, then it waits in the channel.
                assert!(
                    fired.try_recv().is_ok(),
                    "a subscription became invalid and its watcher was not told"
                );
                return;
            }
        }
    }
}

/// Whether what was to be committed may be there all the same.
fn is_unknown(error: &CommitError) -> bool {
    matches!(error, CommitError::Failed(error) if error.code == OUTCOME_UNKNOWN)
}

/// Errors of the workload's own transactions are outages; a defect of the core shows as an internal error.
fn refused(error: Error) -> Refusal {
    assert_ne!(error.class, ErrorClass::Internal, "{error}");
    Refusal::Failed(error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
