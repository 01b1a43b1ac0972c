//! Answers to the system calls of queries and mutations.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Functions;
use super::nested::FILE_LIMITS;
use crate::deploy::Deployment;
use crate::engine::{FunctionKind, SystemError, SystemResult};
use crate::error::{Error, ErrorKind, Result};
use crate::function::{self, Arguments, CallState};
use crate::persistence::{KeyRange, Order};
use crate::query::{
    InvalidCursor, PageError, PageQuery, PageRequest, PageStep, Query, QueryStep, Visibility,
    is_readable_system_table,
};
use crate::transaction::{Row, Scan, ScanStep, Transaction};
use crate::value::{self, DocumentId, FunctionPath, Object, patch_from_json};

/// Why a system call has no answer.
pub(super) enum Refusal {
    /// The code's fault: thrown into it.
    Thrown(SystemError),
    /// Not the code's fault: the run ends.
    Failed(Error),
}

impl From<SystemError> for Refusal {
    fn from(error: SystemError) -> Self {
        Refusal::Thrown(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::User => Refusal::Thrown(error.into()),
            ErrorKind::Transient | ErrorKind::Internal => Refusal::Failed(error),
        }
    }
}

/// The error by which the React client knows to begin again at the first page.
fn invalid_cursor(error: InvalidCursor) -> Refusal {
    Refusal::Thrown(SystemError {
        message: error.to_string(),
        data: Some(error.data()),
        fatal: false,
    })
}

pub(super) type Answer = Result<String, Refusal>;

impl Functions {
    /// Answers one asynchronous system call of a query or mutation.
    ///
    /// # Errors
    /// Only for failures that are not the function's.
    pub(super) async fn answer(
        &self,
        deployment: &Arc<Deployment>,
        mut state: CallState,
        op: &str,
        args: &str,
    ) -> Result<(CallState, SystemResult)> {
        if op == "1.0/runUdf" {
            return self.run_nested(deployment, state, args).await;
        }
        let answer = match op {
            "1.0/get" => self.db_get(&mut state, args).await,
            "1.0/queryStreamNext" => self.query_next(&mut state, args).await,
            "1.0/queryPage" => self.query_page(&mut state, args).await,
            "1.0/count" => self.db_count(&mut state, args).await,
            "1.0/insert" => self.db_insert(&mut state, args).await,
            "1.0/shallowMerge" => self.db_update(&mut state, args, Update::Patch).await,
            "1.0/replace" => self.db_update(&mut state, args, Update::Replace).await,
            "1.0/remove" => self.db_update(&mut state, args, Update::Delete).await,
            "1.0/schedule" => self.schedule(deployment, &mut state, args).await,
            "1.0/cancel_job" => self.cancel(deployment, &mut state, args).await,
            "1.0/getUserIdentity" => {
                state.identity_read = true;
                Ok(state.identity.user_json().to_string())
            }
            "1.0/getTransactionMetrics" => Ok(metrics(&state.tx)),
            "1.0/getRequestMetadata" if state.kind == FunctionKind::Query => Err(SystemError::new(
                "getRequestMetadata() can only be called from a mutation, action or HTTP action. It is not available \
                 in queries.",
            )
            .into()),
            _ => self
                .shared_answer(&state.path, || state.request_metadata(), op, args)
                .map_err(Refusal::Thrown),
        };
        match answer {
            Ok(json) => Ok((state, Ok(json))),
            Err(Refusal::Thrown(error)) => Ok((state, Err(error))),
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    async fn read_for_write(
        &self,
        state: &mut CallState,
        method: &'static str,
        verb: &str,
        args: &mut Arguments,
    ) -> Result<(DocumentId, String, Row), Refusal> {
        refuse_in_queries(state, method)?;
        let id = args.id("id")?;
        let table = self.table_of(state, id, false, args)?;
        let Some(table) = table else {
            return Err(args
                .error("id", "the id belongs to no table of this deployment")
                .into());
        };
        match self.shared.database.get_counted(&mut state.tx, id).await? {
            Some(row) => Ok((id, table, row)),
            None => Err(Error::bad_request(
                "NonexistentDocument",
                format!("{verb} on nonexistent document ID {id}"),
            )
            .into()),
        }
    }

    /// The name of an id's table; checks that it is one that the call may touch.
    fn table_of(
        &self,
        state: &mut CallState,
        id: DocumentId,
        system: bool,
        args: &mut Arguments,
    ) -> Result<Option<String>, Refusal> {
        let expected = args.optional_string("table")?;
        let Some(table) = state.tx.table_by_number(id.table) else {
            return Ok(None);
        };
        if table.is_system() && !system {
            return Err(
                SystemError::new("System tables can only be accessed with db.system.").into(),
            );
        }
        if !table.is_system() && system {
            return Err(SystemError::new("User tables cannot be accessed with db.system.").into());
        }
        if table.is_system() && !is_readable_system_table(&table.name) {
            // The other tables of the database itself do not exist for functions.
            return Ok(None);
        }
        match expected {
            Some(expected) if expected != table.name => {
                let cause = format!(
                    "expected to be an Id<\"{expected}\">, got Id<\"{}\"> instead.",
                    table.name
                );
                Err(args.error("id", cause).into())
            }
            _ => Ok(Some(table.name.clone())),
        }
    }

    async fn db_get(&self, state: &mut CallState, args: &str) -> Answer {
        let mut args = Arguments::parse("db.get", args)?;
        let id = args.id("id")?;
        let system = args.flag("isSystem");
        state.tx.count_range()?;
        if self.table_of(state, id, system, &mut args)?.is_none() {
            return Ok("null".into());
        }
        Ok(
            match self.shared.database.get_counted(&mut state.tx, id).await? {
                Some(row) => document_json(&row.document),
                None => "null".into(),
            },
        )
    }

    async fn query_next(&self, state: &mut CallState, args: &str) -> Answer {
        let mut args = Arguments::parse("db.query", args)?;
        let id = args
            .optional_count("queryId")?
            .and_then(|id| u32::try_from(id).ok());
        let stream = id.and_then(|id| state.streams.get_mut(&id).map(|stream| (id, stream)));
        let Some((id, stream)) = stream else {
            return Err(SystemError::new("in-progress query not found").into());
        };
        loop {
            match stream.next(&mut state.tx)? {
                QueryStep::Read(read) => {
                    stream.supply(
                        self.shared
                            .database
                            .persistence()
                            .read_index(read)
                            .await
                            .map_err(Error::from)?,
                    )?;
                }
                QueryStep::Row(document) => {
                    return Ok(format!(
                        r#"{{"value":{},"done":false}}"#,
                        document_json(&document)
                    ));
                }
                QueryStep::Done => {
                    state.streams.remove(&id);
                    return Ok(r#"{"value":null,"done":true}"#.into());
                }
            }
        }
    }

    async fn query_page(&self, state: &mut CallState, args: &str) -> Answer {
        let mut args = Arguments::parse("queryPage", args)?;
        // The journal of a query keeps the end of one page. Mutations have no journal.
        if state.kind == FunctionKind::Query && std::mem::replace(&mut state.paginated, true) {
            return Err(Error::bad_request(
                "MultiplePaginatedDatabaseQueries",
                "This query ran multiple paginated queries. Only a single paginated query (`.paginate()`) is allowed \
                 per query, including nested query calls. Use `.take(n)` or an index range for the others.",
            )
            .into());
        }
        let query = Query::from_json(&args.required("query")?)?;
        let request = PageRequest {
            cursor: args.optional_string("cursor")?,
            end_cursor: args.optional_string("endCursor")?,
            page_size: args.optional_count("pageSize")?.unwrap_or(0),
            maximum_rows_read: args.optional_count("maximumRowsRead")?,
            maximum_bytes_read: args.optional_count("maximumBytesRead")?,
        };
        let key = state.cursor_key.clone();
        let journal = key
            .open_journal(state.journal_in.as_deref())
            .map_err(invalid_cursor)?;
        let mut page = PageQuery::open(
            &mut state.tx,
            &query,
            Visibility::User,
            request,
            &journal,
            &key,
        )
        .map_err(|error| match error {
            PageError::InvalidCursor(error) => invalid_cursor(error),
            PageError::Failed(error) => error.into(),
        })?;
        let page = loop {
            match page.next(&mut state.tx)? {
                PageStep::Read(read) => {
                    page.supply(
                        self.shared
                            .database
                            .persistence()
                            .read_index(read)
                            .await
                            .map_err(Error::from)?,
                    )?;
                }
                PageStep::Done(page) => break page,
            }
        };
        state.journal_out = key.seal_journal(&page.journal);
        Ok(serde_json::to_string(&page).expect("pages serialise: keys are strings, nothing fails"))
    }

    /// The number of documents in a table, own writes included. The transaction depends on all of them.
    async fn db_count(&self, state: &mut CallState, args: &str) -> Answer {
        let mut args = Arguments::parse("db.query.count", args)?;
        let name = args.string("table")?;
        state.tx.count_range()?;
        if !name.starts_with('_') {
            value::check_table_name(&name).map_err(|error| args.error("table", error.message))?;
        }
        let is_visible = !name.starts_with('_') || is_readable_system_table(&name);
        let Some(table) = is_visible.then(|| state.tx.table(&name)).flatten() else {
            return Ok("0.0".into());
        };
        let mut count = 0u32;
        let rows = COUNTED_AT_ONCE;
        let mut scan =
            Scan::new(table.by_id().id, KeyRange::all(), Order::Ascending, rows).uncounted();
        loop {
            match scan.next(&mut state.tx)? {
                ScanStep::Read(read) => {
                    let page = self.shared.database.persistence().read_index(read).await;
                    scan.supply(page.map_err(Error::from)?)?;
                }
                ScanStep::Row(_) => count += 1,
                ScanStep::Done => return Ok(f64::from(count).to_string()),
            }
        }
    }

    async fn db_insert(&self, state: &mut CallState, args: &str) -> Answer {
        let mut args = Arguments::parse("db.insert", args)?;
        refuse_in_queries(state, "db.insert")?;
        let name = args.string("table")?;
        let document = args.object("value")?;
        if is_readable_system_table(&name) {
            return Err(Error::bad_request(
                "ReadOnlyTable",
                format!("The table {name} is read-only: the system writes it."),
            )
            .into());
        }
        let table = state
            .tx
            .ensure_table(&name)
            .map_err(|error| args.error("table", error.message))?;
        self.enforce_schema(&mut state.tx, &name, &document).await?;
        let id = state.tx.insert(&table, document)?;
        Ok(json!({ "_id": id.encode() }).to_string())
    }

    async fn db_update(&self, state: &mut CallState, args: &str, update: Update) -> Answer {
        let (method, verb) = match update {
            Update::Patch => ("db.patch", "Update"),
            Update::Replace => ("db.replace", "Replace"),
            Update::Delete => ("db.delete", "Delete"),
        };
        let mut args = Arguments::parse(method, args)?;
        let (id, table, row) = self.read_for_write(state, method, verb, &mut args).await?;
        let document = match update {
            Update::Delete => {
                state.tx.delete(id, &row)?;
                return Ok(document_json(&row.document));
            }
            Update::Patch => {
                let fields = patch_from_json(args.required("value")?)
                    .map_err(|error| args.error("value", error.message))?;
                function::patch(&row, fields)?
            }
            Update::Replace => args.object("value")?,
        };
        self.enforce_schema(&mut state.tx, &table, &document)
            .await?;
        let document = state.tx.replace(id, &row, document)?;
        Ok(document_json(&document))
    }

    /// Checks a document that is about to be written against the schema in force. If it does not match the one on its
    /// way, that one fails instead.
    ///
    /// # Errors
    /// Code `SchemaEnforcementError`; or if storage fails.
    pub(in crate::driver) async fn enforce_schema(
        &self,
        tx: &mut Transaction,
        table: &str,
        document: &Object,
    ) -> Result<()> {
        if let Some(violation) = function::check_schema(tx, table, document)?
            && let Some(row) = self.shared.database.get(tx, violation.id).await?
        {
            tx.replace(violation.id, &row, violation.document)?;
        }
        Ok(())
    }
}

/// Documents that are counted between two reads of storage.
const COUNTED_AT_ONCE: usize = 512;

#[derive(Clone, Copy)]
enum Update {
    Patch,
    Replace,
    Delete,
}

pub(super) fn refuse_in_queries(state: &CallState, method: &str) -> Result<(), SystemError> {
    if state.kind == FunctionKind::Mutation {
        return Ok(());
    }
    Err(SystemError::new(format!(
        "`{method}` is not available in queries. Write to the database in a mutation."
    )))
}

/// The function that `functionHandle`, `name` or `reference` names.
pub(super) fn function_address(args: &mut Arguments) -> Result<FunctionPath, SystemError> {
    if let Some(handle) = args.optional_string("functionHandle")? {
        return FunctionPath::from_handle(&handle)
            .map_err(|error| args.error("functionHandle", error.message));
    }
    let text = if let Some(name) = args.optional_string("name")? {
        name
    } else if let Some(reference) = args.optional_string("reference")? {
        match reference.strip_prefix("_reference/function/") {
            Some(path) => path.to_owned(),
            None => {
                return Err(args.error(
                    "reference",
                    "components are not available on this server yet",
                ));
            }
        }
    } else {
        return Err(args.error("name", "Missing required argument 'name'"));
    };
    FunctionPath::parse(&text).map_err(|error| args.error("name", error.message))
}

/// What `ctx.meta.getTransactionMetrics()` gives. There are no files in transactions yet.
fn metrics(tx: &Transaction) -> String {
    let metric = |used: usize, limit: usize| json!({ "used": used, "remaining": limit.saturating_sub(used) });
    let (used, limits) = (tx.usage().by_name(), tx.limits().by_name());
    let counted = used.into_iter().zip(limits);
    let counted = counted.map(|((name, used), (_, limit))| (name, metric(used, limit)));
    let files = FILE_LIMITS.map(|name| (name, metric(0, 0)));
    let metrics = counted
        .chain(files)
        .map(|(name, metric)| (name.to_owned(), metric));
    Json::Object(metrics.collect()).to_string()
}

fn document_json(document: &Object) -> String {
    serde_json::to_string(document).expect("documents serialise: keys are strings, nothing fails")
}
