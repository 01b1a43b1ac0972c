//! What tools do with the data of a deployment as a whole: look at the shapes of its documents and at its indexes, delete
//! tables, cancel scheduled functions. (What they do with single documents is in [`system`](super::system).)

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::attempts::Attempts;
use super::system::{backfill_state, index_fields, user_indexes};
use super::{Backend, CommitError};
use crate::catalog::{BY_CREATION_TIME, Table, dropped_table_document};
use crate::error::{Error, Result};
use crate::key;
use crate::persistence::{KeyRange, Order};
use crate::schedule::{self, Entry, Step};
use crate::schema::Shape;
use crate::transaction::{Row, Scan, Transaction};
use crate::value::{DocumentId, FunctionPath, InternalId, Value};

/// Documents that one transaction deletes.
const DELETED_MAX: usize = 4000;
/// Jobs that one transaction cancels or deletes.
const JOBS_MAX: usize = 1000;

/// Which scheduled functions are canceled. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSelection {
    /// Those of this function.
    pub function: Option<FunctionPath>,
    /// Those that are due then or later, nanoseconds.
    pub from: Option<u64>,
    /// Those that are due before, nanoseconds.
    pub before: Option<u64>,
}

impl Backend {
    /// `/api/shapes2`: what the documents of each table look like, by the name of the table. Looks at the newest ones
    /// (limit `shape_documents`).
    ///
    /// # Errors
    /// If storage fails.
    pub async fn shapes(&self) -> Result<Json> {
        let mut tx = self.database().begin();
        let mut shapes = Map::new();
        for table in tx.tables() {
            let is_jobs = table.name == schedule::JOBS;
            if table.is_system() && !is_jobs {
                continue;
            }
            let shape = self.shape(&mut tx, &table).await?;
            if !(is_jobs && shape == Shape::Never) {
                shapes.insert(table.name.clone(), shape.to_json());
            }
        }
        Ok(Json::Object(shapes))
    }

    async fn shape(&self, tx: &mut Transaction, table: &Table) -> Result<Shape> {
        let index = table
            .index(BY_CREATION_TIME)
            .unwrap_or_else(|| table.by_id());
        let most = self.config().limits.shape_documents;
        let mut scan = Scan::new(index.id, KeyRange::all(), Order::Descending, most).uncounted();
        let mut shape = Shape::Never;
        for _ in 0..most {
            let Some(row) = self.database().next_row(tx, &mut scan).await? else {
                break;
            };
            shape = shape.or(Shape::of_object(&row.document, tx.catalog()));
        }
        Ok(shape)
    }

    /// `/api/get_indexes`: the indexes that users have defined.
    pub fn indexes(&self) -> Json {
        let tables = self.database().snapshot().catalog;
        let tables = tables.tables().filter(|table| !table.is_system());
        let indexes = tables.flat_map(|table| {
            user_indexes(table).map(|index| {
                json!({
                    "table": table.name,
                    "name": index.name,
                    "fields": Value::Array(index_fields(index)).to_json(),
                    "backfill": {"state": backfill_state(index)},
                    "staged": index.staged,
                })
            })
        });
        json!({ "indexes": indexes.collect::<Vec<_>>() })
    }

    /// `/api/delete_tables`. Tables with few documents go in one step; of others the documents go some thousands at a
    /// time, and then the table.
    ///
    /// # Errors
    /// `InvalidTableName` for tables that are not there, `TableInSchema` for those of the active schema: nothing is
    /// deleted then.
    pub async fn delete_tables(&self, names: &[String]) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            let mut tx = self.database().begin();
            let is_last = self.delete_some(&mut tx, names).await?;
            match self.database().commit(tx).await {
                Ok(_) if is_last => return Ok(()),
                Ok(_) => attempts = Attempts::new(),
                Err(failed) => again(&mut attempts, failed)?,
            }
        }
    }

    /// Deletes documents of the tables, and then the tables; `false` if there is more to delete.
    async fn delete_some(&self, tx: &mut Transaction, names: &[String]) -> Result<bool> {
        let tables = deletable(tx, names)?;
        let mut left = DELETED_MAX;
        for table in &tables {
            let all = KeyRange::all();
            let mut scan = Scan::new(table.by_id().id, all, Order::Ascending, left).uncounted();
            while let Some(row) = self.database().next_row(tx, &mut scan).await? {
                if left == 0 {
                    return Ok(false);
                }
                left -= 1;
                tx.delete(id_of(&row)?, &row)?;
            }
        }
        for table in &tables {
            let name = [Value::from(table.name.as_str())];
            let rows = self
                .database()
                .list_system(tx, "_tables", "by_name", &name)
                .await?;
            for row in rows {
                let number = row.document.get("number").and_then(Value::as_i64);
                if number == Some(table.number.get().into()) {
                    tx.replace(id_of(&row)?, &row, dropped_table_document(table))?;
                }
            }
        }
        Ok(true)
    }

    /// `/api/cancel_job`. One that is finished, or there no more, stays as it is.
    ///
    /// # Errors
    /// `InvalidArgument` if the id is none of a scheduled function.
    pub async fn cancel_job(&self, id: &str) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            let mut tx = self.database().begin();
            let decoded = DocumentId::decode(id);
            let known = decoded.filter(|id| {
                let table = tx.table_by_number(id.table);
                table.is_some_and(|table| table.name == schedule::JOBS)
            });
            let Some(id) = known else {
                return Err(Error::bad_request(
                    "InvalidArgument",
                    format!(
                        "Invalid scheduled function ID. The ID must be an ID on the '{}' table.",
                        schedule::JOBS
                    ),
                ));
            };
            self.functions().cancel_job(&mut tx, id).await?;
            match self.database().commit(tx).await {
                Ok(_) => return Ok(()),
                Err(failed) => again(&mut attempts, failed)?,
            }
        }
    }

    /// `/api/cancel_all_jobs`: cancels what waits and what is in progress, a thousand at a time. Gives how many.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn cancel_jobs(&self, selection: &JobSelection) -> Result<usize> {
        let mut canceled = 0;
        for step in [Step::Running, Step::Run] {
            let mut rest = step_range(step, selection);
            let mut attempts = Attempts::new();
            loop {
                let mut tx = self.database().begin();
                let (jobs, next) = self.select_jobs(&mut tx, selection, rest.clone()).await?;
                for job in &jobs {
                    let id = schedule::job_id(&mut tx, *job)?;
                    self.functions().cancel_job(&mut tx, id).await?;
                }
                match self.database().commit(tx).await {
                    Ok(_) => canceled += jobs.len(),
                    Err(failed) => {
                        again(&mut attempts, failed)?;
                        continue;
                    }
                }
                match next {
                    Some(next) => rest = next,
                    None => break,
                }
            }
        }
        Ok(canceled)
    }

    /// Jobs of a range of entries, at most so many as one transaction changes, and the range after those that were
    /// looked at.
    async fn select_jobs(
        &self,
        tx: &mut Transaction,
        selection: &JobSelection,
        range: KeyRange,
    ) -> Result<(Vec<InternalId>, Option<KeyRange>)> {
        let missing = || Error::internal("The queue of scheduled functions is missing.");
        let table = tx.table(schedule::ENTRIES).ok_or_else(missing)?;
        let index = table.index(schedule::ENTRIES_BY_DUE).ok_or_else(missing)?;
        let mut scan = Scan::new(index.id, range, Order::Ascending, JOBS_MAX).uncounted();
        let mut jobs = Vec::new();
        for _ in 0..JOBS_MAX {
            let Some(row) = self.database().next_row(tx, &mut scan).await? else {
                return Ok((jobs, None));
            };
            let job = Entry::from_document(&row.document)?.id;
            let wanted = match &selection.function {
                None => true,
                Some(path) => self
                    .functions()
                    .find_job(tx, job)
                    .await?
                    .is_some_and(|found| found.job.name == path.canonical()),
            };
            if wanted {
                jobs.push(job);
            }
        }
        Ok((jobs, Some(scan.rest().clone())))
    }

    /// `/api/delete_scheduled_functions_table`: forgets all scheduled functions, those that are finished included. What is
    /// running goes on; its result is dropped.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn delete_jobs(&self) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            let mut tx = self.database().begin();
            let all = JobSelection::default();
            let (jobs, rest) = self.select_jobs(&mut tx, &all, KeyRange::all()).await?;
            for job in &jobs {
                if let Some(found) = self.functions().find_job(&mut tx, *job).await? {
                    found.remove(&mut tx)?;
                }
            }
            match self.database().commit(tx).await {
                Ok(_) if rest.is_none() => return Ok(()),
                Ok(_) => attempts = Attempts::new(),
                Err(failed) => again(&mut attempts, failed)?,
            }
        }
    }
}

/// The tables of these names, if all of them may be deleted.
fn deletable(tx: &mut Transaction, names: &[String]) -> Result<Vec<Arc<Table>>> {
    let active = tx.schemas().active;
    let mut tables = Vec::new();
    for name in names {
        let table = tx.table(name).filter(|table| !table.is_system());
        let Some(table) = table else {
            return Err(Error::bad_request(
                "InvalidTableName",
                format!("There is no table `{name}` that could be deleted."),
            ));
        };
        let schema = active.as_ref().map(|active| &active.definition.tables);
        if schema.is_some_and(|schema| schema.contains_key(name)) {
            return Err(Error::bad_request(
                "TableInSchema",
                format!(
                    "The table `{name}` belongs to the schema. Remove it from there, deploy, and delete it then."
                ),
            ));
        }
        tables.push(table);
    }
    Ok(tables)
}

/// Where the entries of jobs with that step are that are due when they should be.
fn step_range(step: Step, selection: &JobSelection) -> KeyRange {
    let at = |due: u64| {
        let due = Value::Int64(i64::try_from(due).unwrap_or(i64::MAX));
        key::encode_key(&[Some(&Value::from(step.name())), Some(&due)])
    };
    let mut range = schedule::step_prefix(step);
    if let Some(from) = selection.from {
        range.start = at(from);
    }
    if let Some(before) = selection.before {
        range.end = Some(at(before));
    }
    range
}

fn id_of(row: &Row) -> Result<DocumentId> {
    super::deployer::id_of(&row.document)
}

fn again(attempts: &mut Attempts, failed: CommitError) -> Result<()> {
    attempts.again(failed, || {
        Error::overloaded(
            "AdministrationConflict",
            "What is to be changed keeps changing. Try again in a moment.",
        )
    })
}
