//! A job in a transaction: its record and its entry, which change together.

use super::{ENTRIES, JOBS, Job, JobState, RETENTION};
use crate::catalog::object;
use crate::error::{Error, Result};
use crate::key;
use crate::persistence::KeyRange;
use crate::timestamp::Timestamp;
use crate::transaction::{Row, Transaction};
use crate::value::{DocumentId, ID_FIELD, InternalId, Object, Value};

/// What the scheduler does with a job next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Runs it.
    Run,
    /// Nothing: it is an action in progress.
    Running,
    /// Removes it: it is finished.
    Remove,
}

impl Step {
    /// How it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Step::Run => "run",
            Step::Running => "running",
            Step::Remove => "remove",
        }
    }
}

/// Keys of [`ENTRIES_BY_DUE`](super::ENTRIES_BY_DUE) with that step, in the order in which it is taken.
pub fn step_prefix(step: Step) -> KeyRange {
    KeyRange::prefix(key::encode_key(&[Some(&Value::from(step.name()))]))
}

/// A job's entry: the document in `_scheduled_jobs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which job.
    pub id: InternalId,
    /// What is done next,
    pub step: Step,
    /// and when.
    pub due: Timestamp,
    /// How often in a row the server failed to run it.
    pub failures: u32,
}

impl Entry {
    /// Its document, without system fields.
    pub fn to_document(self) -> Object {
        let due = i64::try_from(self.due.0).unwrap_or(i64::MAX);
        object([
            ("step", Value::from(self.step.name())),
            ("due", Value::Int64(due)),
            ("failures", Value::Int64(self.failures.into())),
        ])
    }

    /// Reads its document.
    ///
    /// # Errors
    /// Internal, if it is damaged.
    pub fn from_document(document: &Object) -> Result<Self> {
        Self::parse(document)
            .ok_or_else(|| Error::internal("The queue entry of a scheduled function is damaged."))
    }

    fn parse(document: &Object) -> Option<Self> {
        Some(Self {
            id: DocumentId::decode(document.get(ID_FIELD)?.as_str()?)?.internal,
            step: match document.get("step")?.as_str()? {
                "run" => Step::Run,
                "running" => Step::Running,
                "remove" => Step::Remove,
                _ => return None,
            },
            due: Timestamp(document.get("due")?.as_i64()?.try_into().ok()?),
            failures: document.get("failures")?.as_i64()?.try_into().ok()?,
        })
    }
}

/// The id of a job's record.
///
/// # Errors
/// If the table is missing.
pub fn job_id(tx: &mut Transaction, job: InternalId) -> Result<DocumentId> {
    id_in(tx, JOBS, job)
}

/// The id of a job's entry.
///
/// # Errors
/// If the table is missing.
pub fn entry_id(tx: &mut Transaction, job: InternalId) -> Result<DocumentId> {
    id_in(tx, ENTRIES, job)
}

fn id_in(tx: &mut Transaction, table: &str, internal: InternalId) -> Result<DocumentId> {
    let table = tx
        .table(table)
        .ok_or_else(|| Error::internal(format!("The system table {table} is missing.")))?
        .number;
    Ok(DocumentId { table, internal })
}

/// Adds a job that is to run when it is `due`. A `canceled` one is only recorded.
///
/// # Errors
/// If its arguments nest too deep to be stored.
pub fn insert(
    tx: &mut Transaction,
    mut job: Job,
    due: Timestamp,
    canceled: bool,
    now: Timestamp,
) -> Result<DocumentId> {
    if canceled {
        job.enter(JobState::Canceled, now)?;
    }
    let id = tx.insert_system(JOBS, job.to_document())?;
    let entry = Entry {
        id: id.internal,
        step: Step::Run,
        due,
        failures: 0,
    };
    let entry = if canceled { entry.finished(now) } else { entry };
    tx.insert_system_as(ENTRIES, id.internal, entry.to_document())?;
    Ok(id)
}

impl Entry {
    fn finished(self, now: Timestamp) -> Self {
        let retention = u64::try_from(RETENTION.as_nanos()).expect("a week fits");
        Self {
            step: Step::Remove,
            due: Timestamp(now.0.saturating_add(retention)),
            ..self
        }
    }
}

/// A job as a transaction has read it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The id of its record.
    pub id: DocumentId,
    /// Its record.
    pub job: Job,
    /// Its entry.
    pub entry: Entry,
    record: Row,
    entry_row: Row,
}

impl Found {
    /// Puts together what was read under [`job_id`] and [`entry_id`].
    ///
    /// # Errors
    /// If one of them is damaged.
    pub fn new(id: DocumentId, record: Row, entry_row: Row) -> Result<Self> {
        Ok(Self {
            id,
            job: Job::from_document(&record.document)?,
            entry: Entry::from_document(&entry_row.document)?,
            record,
            entry_row,
        })
    }

    /// Whether the transaction itself has written the record.
    pub fn is_own_write(&self) -> bool {
        self.record.ts.is_none()
    }

    /// Lets the job take a step in its life, and its entry follow.
    ///
    /// # Errors
    /// If there is no such step.
    pub fn enter(self, tx: &mut Transaction, next: JobState, now: Timestamp) -> Result<()> {
        let entry = if next.is_finished() {
            self.entry.finished(now)
        } else {
            Entry {
                step: Step::Running,
                ..self.entry
            }
        };
        let mut job = self.job;
        job.enter(next, now)?;
        tx.replace(self.id, &self.record, job.to_document())?;
        let id = entry_id(tx, self.id.internal)?;
        tx.replace(id, &self.entry_row, entry.to_document())?;
        Ok(())
    }

    /// Has the job run again at `due`, because the server failed to run it.
    ///
    /// # Errors
    /// If the table is missing.
    pub fn postpone(self, tx: &mut Transaction, due: Timestamp) -> Result<()> {
        let entry = Entry {
            due,
            failures: self.entry.failures.saturating_add(1),
            ..self.entry
        };
        let id = entry_id(tx, self.id.internal)?;
        tx.replace(id, &self.entry_row, entry.to_document())?;
        Ok(())
    }

    /// Removes the job.
    ///
    /// # Errors
    /// If the table is missing.
    pub fn remove(self, tx: &mut Transaction) -> Result<()> {
        tx.delete(self.id, &self.record)?;
        let id = entry_id(tx, self.id.internal)?;
        tx.delete(id, &self.entry_row)
    }
}
