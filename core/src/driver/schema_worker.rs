//! The background work of pushes: filling new indexes, checking documents against a new schema.
//!
//! The work to be done is read off the catalog, so that it goes on after a restart. Each job reads its table by id,
//! page by page; jobs take turns, so that a large table does not hold up a push that does not concern it.
//!
//! Why a page may be read at whatever snapshot is newest: a job begins at a snapshot that contains the index or the
//! schema. Every transaction that commits after it knows of it, since writing to a table depends on the table's
//! indexes and on the schemas: it maintains the index, and checks what it writes. So each document is either seen by
//! the job as it was before, or was written by a transaction that did the job's work itself.

use std::time::Duration;

use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::future::{Either, select};

use super::Database;
use super::backfill::{self, Backfill};
use super::validation::{self, Validation};
use crate::error::{Error, Result};

/// Documents that one turn of a job reads.
pub(super) const PAGE_ROWS: usize = 256;
/// Wait after a failure of storage.
const RETRY: Duration = Duration::from_secs(1);

/// What is under way.
#[derive(Default)]
struct Jobs {
    backfills: Vec<Backfill>,
    validation: Option<Validation>,
}

/// Does all that there is to do whenever it is woken, and at once; ends when `wakeups` does.
pub(super) async fn run(db: Database, mut wakeups: mpsc::Receiver<()>) {
    let mut jobs = Jobs::default();
    loop {
        let woken = match jobs.turn(&db).await {
            // Whoever has gone does not wait for the rest; it is done when the database is opened again.
            Ok(true) => match wakeups.try_recv() {
                Ok(()) | Err(mpsc::TryRecvError::Empty) => continue,
                Err(mpsc::TryRecvError::Closed) => return,
            },
            Ok(false) => wakeups.next().await,
            Err(_) => match select(wakeups.next(), db.runtime().sleep(RETRY)).await {
                Either::Left((woken, _)) => woken,
                Either::Right(_) => continue,
            },
        };
        if woken.is_none() {
            return;
        }
    }
}

impl Jobs {
    /// Lets each job read one page; `false` if there is none.
    async fn turn(&mut self, db: &Database) -> Result<bool> {
        let catalog = db.snapshot().catalog;
        backfill::update(&mut self.backfills, &catalog);
        validation::update(&mut self.validation, &catalog);
        for backfill in &mut self.backfills {
            backfill.page(db).await?;
        }
        if let Some(validation) = &mut self.validation {
            validation.page(db).await?;
        }
        Ok(!self.backfills.is_empty() || self.validation.is_some())
    }
}

/// The error after too many conflicts.
pub(super) fn too_contended() -> Error {
    Error::overloaded(
        "SchemaChangeConflict",
        "The result of a schema change could not be stored, because the catalog keeps changing.",
    )
}
