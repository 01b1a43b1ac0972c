//! The loop that deletes records of requests that nobody sends again, as [`crate::retention::receipts`] says.
//!
//! It works in small batches, each an ordinary transaction, and rests after each as long as the batch took. How far it
//! has come is stored, and a batch may be repeated. What fails is tried again.

use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::select;

use super::retention::stored_progress;
use super::{CommitError, Database};
use crate::error::{Error, Result};
use crate::retention::receipts::Old;
use crate::timestamp::Timestamp;
use crate::value::DocumentId;

/// The table of records.
pub(super) const RECORDS: &str = "_session_requests";
/// Revisions of the log that are looked through at once.
const BATCH_REVISIONS: usize = 128;
/// Shortest and longest rest after a batch.
const REST: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// Shortest and longest wait while there is nothing to do: a 64th of the records' time lies between.
const IDLE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10 * 60));
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(10);
/// The global that says how far it has come: a timestamp, eight bytes, the most significant first.
const PROGRESS: &str = "receipts";

/// Deletes old records until it is dropped or the database is shut down.
pub(super) struct Receipts {
    /// Dropping it ends the loop.
    _running: oneshot::Sender<()>,
}

impl Receipts {
    /// Begins. Records are kept for `time`. A database has at most one such loop.
    pub(super) fn start(database: &Database, time: Duration) -> Self {
        let (running, dropped) = oneshot::channel::<()>();
        let database = database.clone();
        let runtime = database.runtime().clone();
        runtime.spawn(Box::pin(async move {
            let ended = select(dropped, database.stopping());
            select(ended, run(&database, time).boxed()).await;
        }));
        Self { _running: running }
    }
}

async fn run(db: &Database, time: Duration) {
    loop {
        let wait = match round(db, time).await {
            Ok(()) => (time / 64).clamp(IDLE.0, IDLE.1),
            Err(_) => RETRY,
        };
        db.runtime().sleep(wait).await;
    }
}

/// Deletes all records that are old by now.
pub(super) async fn round(db: &Database, time: Duration) -> Result<()> {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let horizon = Timestamp(db.runtime().now().0.saturating_sub(nanos));
    let mut done = stored_progress(&**db.persistence(), PROGRESS).await?;
    while done < horizon {
        let begun = db.runtime().monotonic();
        let page = db.persistence().read_log(done, BATCH_REVISIONS).await?;
        let table = db.snapshot().catalog.table(RECORDS).map(|table| table.id);
        let table = table.ok_or_else(missing)?;
        let old = Old::find(&page, table, done, horizon);
        delete(db, &old).await?;
        if old.through > done {
            let progress = old.through.0.to_be_bytes().to_vec();
            db.persistence().set_global(PROGRESS, progress).await?;
        }
        done = old.through;
        let took = db.runtime().monotonic().saturating_sub(begun);
        db.runtime().sleep(took.clamp(REST.0, REST.1)).await;
        if !old.more {
            break;
        }
    }
    Ok(())
}

async fn delete(db: &Database, old: &Old) -> Result<()> {
    while !old.records.is_empty() {
        let mut tx = db.begin();
        let table = tx.table(RECORDS).ok_or_else(missing)?;
        for (internal, ts) in &old.records {
            let id = DocumentId {
                table: table.number,
                internal: *internal,
            };
            // It has gone already if this is done once more.
            if let Some(row) = db.get(&mut tx, id).await?
                && row.ts == Some(*ts)
            {
                tx.delete(id, &row)?;
            }
        }
        match db.commit(tx).await {
            Ok(_) => break,
            Err(CommitError::Conflict { .. }) => {}
            Err(CommitError::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}

fn missing() -> Error {
    Error::internal("The table of mutation results is missing.")
}
