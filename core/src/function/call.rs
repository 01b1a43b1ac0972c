//! The state of a query or mutation under way, and the system calls that need nothing but memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::concurrency::{Mutex, MutexGuard};

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::Arguments;
use crate::driver::RequestSource;
use crate::engine::{FunctionKind, LogLine, Observed, SyncHost, SystemError, SystemResult};
use crate::identity::Identity;
use crate::query::{CursorKey, Query, QueryStream, Visibility, is_readable_system_table};
use crate::request_id::RequestId;
use crate::timestamp::Timestamp;
use crate::transaction::Transaction;
use crate::value::{DocumentId, FunctionPath};

/// What a query or mutation is working on. It is in one place at a time: with the engine while JavaScript runs (in a
/// [`CallCell`]), with the driver while system calls are answered, with a nested call while that runs.
#[derive(Debug)]
pub struct CallState {
    /// The transaction; shared with nested calls by handing it over.
    pub tx: Transaction,
    /// What is running.
    pub path: FunctionPath,
    /// Whether it may write.
    pub kind: FunctionKind,
    /// Who calls.
    pub identity: Arc<Identity>,
    /// Names the request that all this is part of.
    pub request_id: RequestId,
    /// Where the request comes from.
    pub source: Arc<RequestSource>,
    /// The frozen clock.
    pub now: Timestamp,
    /// Seed of its randomness; nested calls derive theirs.
    pub seed: [u8; 32],
    /// How deep it is nested; 0 for what the client called.
    pub depth: u32,
    /// Nested calls so far.
    pub nested: u32,
    /// Inputs that nested calls looked at.
    pub nested_observed: Observed,
    /// What nested calls printed.
    pub nested_logs: Vec<LogLine>,
    /// Whether the identity was looked at, here or in nested calls.
    pub identity_read: bool,
    /// Queries opened and not yet finished.
    pub streams: BTreeMap<u32, QueryStream>,
    /// Id of the next query to be opened.
    pub next_stream: u32,
    /// Seals cursors and journals.
    pub cursor_key: Arc<CursorKey>,
    /// Where the page ended when this query ran before.
    pub journal_in: Option<String>,
    /// Where the page ends now.
    pub journal_out: Option<String>,
    /// Whether a page was read, here or, in a query, by its callers and in nested calls: a query has only one.
    pub paginated: bool,
    /// The scheduled function that all this is part of.
    pub scheduled: Option<DocumentId>,
}

impl CallState {
    /// The seed of the next nested call.
    pub fn next_nested_seed(&mut self) -> [u8; 32] {
        self.nested += 1;
        Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.nested.to_le_bytes())
            .finalize()
            .into()
    }

    /// What `ctx.meta.getRequestMetadata()` gives.
    pub fn request_metadata(&self) -> Json {
        request_metadata(&self.request_id, &self.source, self.scheduled)
    }

    fn sync_call(&mut self, op: &str, args: &str) -> SystemResult {
        match op {
            "1.0/queryStream" => self.open_query(args),
            "1.0/queryCleanup" => {
                let id = Arguments::parse("db.query", args)?
                    .optional_count("queryId")?
                    .unwrap_or(usize::MAX);
                let existed = u32::try_from(id).is_ok_and(|id| self.streams.remove(&id).is_some());
                Ok(existed.to_string())
            }
            "1.0/db/normalizeId" => self.normalize_id(args),
            "1.0/getSnapshotTs" => {
                self.nested_observed.time = true;
                let ts =
                    i64::try_from(self.tx.snapshot_ts().0).expect("timestamps stay below 2^63");
                Ok(crate::value::Value::Int64(ts).to_json_string())
            }
            _ => Err(SystemError::new(format!("Unknown operation {op}"))),
        }
    }

    fn open_query(&mut self, args: &str) -> SystemResult {
        let query = Arguments::parse("db.query", args)?.required("query")?;
        let query = Query::from_json(&query)?;
        let stream = QueryStream::open(&mut self.tx, &query, Visibility::User)?;
        let id = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(id, stream);
        Ok(json!({ "queryId": id }).to_string())
    }

    fn normalize_id(&mut self, args: &str) -> SystemResult {
        let mut args = Arguments::parse("db.normalizeId", args)?;
        let (table, text) = (args.string("table")?, args.string("idString")?);
        if !table.starts_with('_') {
            crate::value::check_table_name(&table)
                .map_err(|error| args.error("table", error.message))?;
        }
        let table = (!table.starts_with('_') || is_readable_system_table(&table))
            .then(|| self.tx.table(&table))
            .flatten();
        let id = DocumentId::decode(&text)
            .filter(|id| table.is_some_and(|table| table.number == id.table));
        Ok(json!({ "id": id.map_or(Json::Null, |id| Json::String(id.encode())) }).to_string())
    }
}

/// What functions are told of the request that they are part of. There are no tokens of users yet.
pub fn request_metadata(
    id: &RequestId,
    source: &RequestSource,
    scheduled: Option<DocumentId>,
) -> Json {
    json!({
        "ip": source.ip,
        "userAgent": source.user_agent,
        "requestId": id.to_string(),
        "scheduledFunctionId": scheduled.map(|id| id.encode()),
        "authToken": null,
    })
}

/// Holds the [`CallState`] while JavaScript runs.
#[derive(Debug, Default)]
pub struct CallCell(Mutex<Option<CallState>>);

impl CallCell {
    /// Puts the state in, for JavaScript to run.
    pub fn put(&self, state: CallState) {
        let before = self.lock().replace(state);
        assert!(before.is_none(), "a call has one state");
    }

    /// Takes the state out, to answer system calls.
    pub fn take(&self) -> CallState {
        self.lock()
            .take()
            .expect("the state is here while JavaScript runs")
    }

    fn lock(&self) -> MutexGuard<'_, Option<CallState>> {
        self.0
            .lock()
            .expect("no one panics while holding a call's state")
    }
}

impl SyncHost for CallCell {
    fn call(&self, op: &str, args: &str) -> SystemResult {
        match self.lock().as_mut() {
            Some(state) => state.sync_call(op, args),
            // Only possible if an engine runs code while it waits for replies.
            None => Err(SystemError {
                fatal: true,
                ..SystemError::new("The function is not running.")
            }),
        }
    }
}
