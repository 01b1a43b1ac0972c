//! The loop that deletes old versions, as [`crate::retention`] says.
//!
//! It has time: it works in small batches and rests after each as long as the batch took, so that writes have storage
//! for themselves at least half of the time. How far it has come is stored, and a batch may be repeated, so that it
//! goes on after a restart where it was. What fails is tried again; [`RetentionStatus`] tells.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::select;

use super::Database;
use crate::catalog::{Catalog, well_known};
use crate::concurrency::Mutex;
use crate::error::{Error, Result};
use crate::key;
use crate::persistence::{IndexRead, KeyRange, Order, Persistence, Revision, Superseded};
use crate::planted::{Bug, planted};
use crate::retention::{Indexes, Retention, dropped_index};
use crate::runtime::RuntimeHandle;
use crate::timestamp::Timestamp;
use crate::transaction::Snapshot;
use crate::value::{DocumentId, Object, Value, decode_document};

/// Revisions that are read, and whose predecessors are deleted, at once.
const BATCH_REVISIONS: usize = 128;
/// Keys of a dropped index that are deleted at once.
const BATCH_KEYS: usize = 512;
/// Shortest and longest rest after a batch.
const REST: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// Shortest and longest wait while there is nothing to do: an eighth of the window lies between.
const IDLE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));
/// First and longest wait after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The global that says how far it has come: a timestamp, eight bytes, the most significant first.
pub(super) const PROGRESS: &str = "retention";

/// What the loop has done since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionStatus {
    /// Everything that was replaced at or before this has gone.
    pub done: Timestamp,
    /// Revisions that were named for deletion.
    pub revisions: u64,
    /// Failures since the last batch that succeeded.
    pub failures: u32,
    /// The last of them.
    pub error: Option<Error>,
}

/// Deletes old versions until it is dropped or the database is shut down.
pub struct RetentionLoop {
    status: Arc<Mutex<RetentionStatus>>,
    /// Dropping it ends the loop.
    _running: oneshot::Sender<()>,
}

impl RetentionLoop {
    /// Begins. Versions are kept for `window` after they were superseded, and for as long as anybody may read them. A
    /// database has at most one such loop.
    pub fn start(database: &Database, window: Duration) -> Self {
        let (running, dropped) = oneshot::channel::<()>();
        let status = Arc::new(Mutex::new(RetentionStatus::default()));
        let (database, told) = (database.clone(), status.clone());
        let runtime = database.runtime().clone();
        runtime.spawn(Box::pin(async move {
            let ended = select(dropped, database.stopping());
            select(ended, run(&database, window, &told).boxed()).await;
        }));
        Self {
            status,
            _running: running,
        }
    }

    /// What it has done.
    pub fn status(&self) -> RetentionStatus {
        lock(&self.status).clone()
    }
}

fn lock(status: &Mutex<RetentionStatus>) -> crate::concurrency::MutexGuard<'_, RetentionStatus> {
    status
        .lock()
        .expect("no one panics while holding the status")
}

/// Deletes all that may go by now, once, as after a restart.
#[cfg(test)]
pub(super) async fn run_round(db: &Database, window: Duration) -> Result<RetentionStatus> {
    let status = Mutex::new(RetentionStatus::default());
    round(db, window, &mut None, &status).await?;
    Ok(lock(&status).clone())
}

async fn run(db: &Database, window: Duration, status: &Mutex<RetentionStatus>) {
    let mut retention = None;
    loop {
        let wait = match round(db, window, &mut retention, status).await {
            Ok(()) => (window / 8).clamp(IDLE.0, IDLE.1),
            Err(error) => {
                retention.iter_mut().for_each(Retention::give_up);
                let mut status = lock(status);
                status.failures = status.failures.saturating_add(1);
                status.error = Some(error);
                let doublings = (status.failures - 1).min(10);
                (RETRY.0 * 2_u32.pow(doublings)).min(RETRY.1)
            }
        };
        db.runtime().sleep(wait).await;
    }
}

/// Deletes all that may go by now.
async fn round(
    db: &Database,
    window: Duration,
    retention: &mut Option<Retention>,
    status: &Mutex<RetentionStatus>,
) -> Result<()> {
    let retention = match retention {
        Some(retention) => retention,
        None => {
            let done = stored_progress(&**db.persistence(), PROGRESS).await?;
            retention.insert(Retention::new(window, done))
        }
    };
    let mut oldest = db.oldest_read();
    let snapshot = db.snapshot();
    if planted(Bug::ReadersCutOff) {
        oldest = snapshot.ts;
    }
    if !retention.advance(db.runtime().now(), oldest, snapshot.ts) {
        lock(status).done = retention.done();
        return Ok(());
    }
    pass(
        db.persistence(),
        db.runtime(),
        snapshot,
        retention,
        |horizon, superseded, done| {
            assert!(
                horizon <= db.oldest_read() || planted(Bug::ReadersCutOff),
                "nothing that may still be read is cut off"
            );
            let mut status = lock(status);
            status.revisions += superseded.revisions.len() as u64;
            status.done = done;
            status.failures = 0;
            status.error = None;
        },
    )
    .await
}

/// How far a loop that follows the log has come: the timestamp, eight bytes, the most significant first, that it keeps
/// in the global of that name.
///
/// # Errors
/// If storage fails, or what it has is no timestamp.
pub(super) async fn stored_progress(
    persistence: &dyn Persistence,
    global: &'static str,
) -> Result<Timestamp> {
    let Some(stored) = persistence.get_global(global).await? else {
        return Ok(Timestamp::ZERO);
    };
    let bytes = <[u8; 8]>::try_from(stored).map_err(|_| {
        Error::internal(format!(
            "The database's progress of {global} is damaged; it is not a timestamp."
        ))
    })?;
    Ok(Timestamp(u64::from_be_bytes(bytes)))
}

/// Deletes all that was superseded up to the horizon. `snapshot` is at or after it. `tell` is told of each batch.
pub(super) async fn pass(
    persistence: &Arc<dyn Persistence>,
    runtime: &RuntimeHandle,
    snapshot: Snapshot,
    retention: &mut Retention,
    tell: impl Fn(Timestamp, &Superseded, Timestamp),
) -> Result<()> {
    let horizon = retention.horizon();
    assert!(horizon < snapshot.ts);
    let indexes = load_indexes(&**persistence, &snapshot, horizon).await?;
    let catalog = snapshot.catalog.clone();
    // A pass may take long, and nothing newer may go while a snapshot is held.
    drop(snapshot);
    while retention.done() < horizon {
        let page = persistence
            .read_log(retention.done(), BATCH_REVISIONS)
            .await?;
        let (revisions, through) = retention.take(page);
        let progress = through.0.to_be_bytes().to_vec();
        if planted(Bug::DoneBeforeDeleted) {
            persistence.set_global(PROGRESS, progress.clone()).await?;
        }
        for batch in revisions.chunks(BATCH_REVISIONS) {
            let begun = runtime.monotonic();
            let mut superseded = Superseded::default();
            for revision in batch {
                let old = replaced(&**persistence, &catalog, revision).await?;
                let one = indexes.superseded_by(revision, old.as_ref())?;
                superseded.revisions.extend(one.revisions);
                superseded.keys.extend(one.keys);
            }
            tell(horizon, &superseded, retention.done());
            if !superseded.is_empty() {
                persistence.delete(superseded).await?;
            }
            rest(runtime, begun).await;
        }
        for revision in &revisions {
            let Some(index) = dropped_index(revision)? else {
                continue;
            };
            loop {
                let begun = runtime.monotonic();
                if persistence.delete_index(index, BATCH_KEYS).await? {
                    break;
                }
                rest(runtime, begun).await;
            }
        }
        persistence.set_global(PROGRESS, progress).await?;
        retention.finish(through);
        tell(horizon, &Superseded::default(), through);
    }
    Ok(())
}

/// Leaves storage to others for as long as it was used.
async fn rest(runtime: &RuntimeHandle, begun: Duration) {
    let took = runtime.monotonic().saturating_sub(begun);
    runtime.sleep(took.clamp(REST.0, REST.1)).await;
}

/// The document that a revision replaced, unless it has gone.
async fn replaced(
    persistence: &dyn Persistence,
    catalog: &Catalog,
    revision: &Revision,
) -> Result<Option<Object>> {
    let Some(prev_ts) = revision.prev_ts else {
        return Ok(None);
    };
    let table = catalog
        .table_by_id(revision.table)
        .ok_or_else(|| Error::internal("A stored document belongs to no table."))?;
    let id = DocumentId {
        table: table.number,
        internal: revision.id,
    };
    let read = IndexRead {
        index: table.by_id().id,
        range: KeyRange::point(key::encode_key(&[Some(&Value::String(id.encode()))])),
        order: Order::Ascending,
        at: prev_ts,
        limit: 1,
    };
    let page = persistence.read_index(read).await?;
    match page.rows.first() {
        Some(row) if row.ts == prev_ts => Ok(Some(decode_document(&row.document)?)),
        _ => Ok(None),
    }
}

/// All indexes that there are or have been as of a snapshot.
async fn load_indexes(
    persistence: &dyn Persistence,
    snapshot: &Snapshot,
    horizon: Timestamp,
) -> Result<Indexes> {
    let mut indexes = Indexes::default();
    let mut range = KeyRange::all();
    loop {
        let read = IndexRead {
            index: well_known::INDEXES_BY_ID,
            range: range.clone(),
            order: Order::Ascending,
            at: snapshot.ts,
            limit: 512,
        };
        let page = persistence.read_index(read).await?;
        for row in &page.rows {
            indexes.add(&decode_document(&row.document)?, row.ts, horizon)?;
        }
        match page.rows.last() {
            Some(last) if !page.exhausted => range = range.beyond(&last.key, Order::Ascending),
            _ => return Ok(indexes),
        }
    }
}
