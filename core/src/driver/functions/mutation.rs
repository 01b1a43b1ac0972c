//! Mutations: run, commit, run again on conflict, and never twice for one request.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::udf::UdfOutcome;
use super::{Admitted, CallContext, Ended, Functions, bytes_of};
use crate::commit::Conflict;
use crate::driver::admission::Class;
use crate::driver::contention::{Spot, Turn};
use crate::driver::database::CommitError;
use crate::driver::receipts::RECORDS;
use crate::driver::system::{self, run_system_function};
use crate::engine::{Failure, FunctionKind, LogLine, Observed};
use crate::error::{Error, ErrorClass, Result};
use crate::function::{self, CallState};
use crate::persistence::IndexId;
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::transaction::{Row, Transaction};
use crate::value::{DocumentId, FunctionPath, InternalId, Object, Value};

/// How long a mutation is run again and again before its caller is told that there are too many conflicts.
pub(super) const CONFLICT_TIME: Duration = Duration::from_secs(30);

/// Names a mutation request of a client session: sent again after a reconnect, it has the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutationKey {
    /// The session.
    pub session_id: String,
    /// The request within the session.
    pub request: u32,
}

impl MutationKey {
    /// Id of the document in `_session_requests` that records the result.
    fn document(&self) -> InternalId {
        let hash = Sha256::new()
            .chain_update(match planted(Bug::RequestNumberIgnored) {
                true => [0; 4],
                false => self.request.to_le_bytes(),
            })
            .chain_update(self.session_id.as_bytes())
            .finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        InternalId(id)
    }

    /// Where runs of the same request queue for each other. Requests have a contention of their own, so that the index
    /// tells nothing.
    fn spot(&self) -> Spot {
        Spot::new(IndexId(0), &self.document().0)
    }
}

/// How a mutation ended.
#[derive(Clone, Debug)]
pub struct MutationResult {
    /// The returned value, or why nothing was changed.
    pub result: Result<Value, Failure>,
    /// What it printed.
    pub logs: Vec<LogLine>,
    /// When it committed; the snapshot of one that wrote nothing or failed.
    pub ts: Timestamp,
}

impl Functions {
    /// Runs a mutation to its commit. With a `key`, a request that has committed before is answered from its record.
    ///
    /// # Errors
    /// If storage fails, the path is malformed, too many mutations run, or conflicts do not end.
    pub async fn mutation(
        &self,
        context: &CallContext,
        path: &str,
        args: Json,
        key: Option<&MutationKey>,
    ) -> Result<MutationResult> {
        let admitted = self.admit_mutation(context, bytes_of(&args), key).await?;
        self.admitted_mutation(admitted, context, path, args, key)
            .await
    }

    /// Waits until a mutation with so many bytes of arguments may run. Who goes away while waiting leaves nothing behind.
    ///
    /// # Errors
    /// Overloaded, if too many mutations run.
    pub(in crate::driver) async fn admit_mutation(
        &self,
        context: &CallContext,
        bytes: usize,
        key: Option<&MutationKey>,
    ) -> Result<Admitted> {
        // A request that is sent again may still be running for a connection that has broken since. Only one of the two
        // runs at a time, or this one could be told to have failed while the other one commits.
        let alone = match key {
            Some(key) => Some(self.shared.requests.enter(key.spot()).await),
            None => None,
        };
        let permit = self
            .shared
            .admission
            .admit(Class::Mutation, context.client, bytes);
        Ok(Admitted {
            permit: permit.await?,
            alone,
        })
    }

    /// Runs a mutation that has been admitted.
    ///
    /// # Errors
    /// As [`Self::mutation`].
    pub(in crate::driver) async fn admitted_mutation(
        &self,
        admitted: Admitted,
        context: &CallContext,
        path: &str,
        args: Json,
        key: Option<&MutationKey>,
    ) -> Result<MutationResult> {
        context.identity.check_may_write()?;
        let database = &self.shared.database;
        let runtime = database.runtime();
        let path = FunctionPath::parse(path)?;
        let begun = runtime.monotonic();
        let Admitted {
            permit,
            alone: _alone,
        } = admitted;
        let mut permit = Some(permit);
        let mut turn = None;
        for attempt in 1u32.. {
            let place = match permit.take() {
                Some(place) => place,
                None => {
                    let admission = &self.shared.admission;
                    admission.admit(Class::Mutation, context.client, 0).await?
                }
            };
            let tx = database.begin();
            let ran = self
                .run_mutation(context, &path, args.clone(), key, tx)
                .await?;
            // What waits for storage or for others does not keep anybody from running.
            drop(place);
            let (mut tx, outcome) = match ran {
                Ran::Before(result) => return Ok(result),
                Ran::Now(ran) => *ran,
            };
            let UdfOutcome { result, logs, .. } = outcome;
            let snapshot = tx.snapshot_ts();
            let usage = tx.usage();
            let log = |failure| {
                if system::is_system(&path) {
                    return;
                }
                let ended = Ended {
                    failure,
                    logs: &logs,
                    usage,
                };
                self.log_call(context, &path, FunctionKind::Mutation, begun, ended);
            };
            let value = match result {
                Err(failure) => {
                    log(Some(&failure));
                    if planted(Bug::FailedMutationCommitted) {
                        let _ = database.commit(tx).await;
                    }
                    return Ok(MutationResult {
                        result: Err(failure),
                        logs,
                        ts: snapshot,
                    });
                }
                Ok(value) => value,
            };
            // What has changed nothing may run again.
            if let Some(key) = key
                && !tx.is_read_only()
                && !planted(Bug::RequestNotRecorded)
            {
                let most = self.shared.limits.receipt_result;
                record_result(&mut tx, key, &value, &logs, most)?;
            }
            let (conflict, table) = match database.commit(tx).await {
                Ok(ts) => {
                    log(None);
                    let mut value = value;
                    value.resolve(ts);
                    return Ok(MutationResult {
                        result: Ok(value),
                        logs,
                        ts: match planted(Bug::CommittedAtSnapshot) {
                            true => snapshot,
                            false => ts,
                        },
                    });
                }
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Conflict { conflict, table }) => (conflict, table),
            };
            if runtime.monotonic() - begun > CONFLICT_TIME {
                return Err(too_many_conflicts(table.as_deref()));
            }
            drop(turn.take());
            turn = self.wait_for_turn(conflict, attempt).await;
        }
        unreachable!("the attempts do not run out");
    }

    /// Queues for what a transaction and others want. First for the very key; a transaction that keeps losing is up
    /// against a whole range.
    pub(super) async fn wait_for_turn(
        &self,
        conflict: Option<Conflict>,
        attempt: u32,
    ) -> Option<Turn> {
        let Conflict { index, key, .. } = conflict?;
        let key: &[u8] = if attempt < 3 { &key } else { &[] };
        Some(self.shared.contention.enter(Spot::new(index, key)).await)
    }

    async fn run_mutation(
        &self,
        context: &CallContext,
        path: &FunctionPath,
        args: Json,
        key: Option<&MutationKey>,
        mut tx: Transaction,
    ) -> Result<Ran> {
        if let Some(key) = key
            && !planted(Bug::RequestNotLookedUp)
            && let Some(row) = self.recorded(&mut tx, key).await?
        {
            return Ok(Ran::Before(read_record(&row)?));
        }
        if system::is_system(path) {
            let args = match function::single_argument(path, args) {
                Ok(args) => args,
                Err(failure) => return Ok(Ran::Now(Box::new((tx, UdfOutcome::failed(failure))))),
            };
            let kind = FunctionKind::Mutation;
            let ran = run_system_function(self, context, &mut tx, path, kind, args, None).await?;
            let outcome = UdfOutcome::silent(ran.result);
            return Ok(Ran::Now(Box::new((tx, outcome))));
        }
        let deployment = self.deployment(&mut tx).await?;
        let checked = function::find_function(
            &deployment,
            path,
            Some(FunctionKind::Mutation),
            context.access,
        )
        .and_then(|function| Ok((function, function::single_argument(path, args)?)));
        let (function, args) = match checked {
            Ok(checked) => checked,
            Err(failure) => return Ok(Ran::Now(Box::new((tx, UdfOutcome::failed(failure))))),
        };
        let state = self.call_state(
            context,
            function.path.clone(),
            FunctionKind::Mutation,
            tx,
            None,
        );
        let (state, outcome) = self.run_udf(&deployment, function, args, state).await?;
        Ok(Ran::Now(Box::new((state.tx, outcome))))
    }

    /// The state of a call that begins now.
    pub(super) fn call_state(
        &self,
        context: &CallContext,
        path: FunctionPath,
        kind: FunctionKind,
        tx: Transaction,
        journal: Option<String>,
    ) -> CallState {
        let runtime = self.shared.database.runtime();
        CallState {
            path,
            kind,
            identity: context.identity.clone(),
            request_id: context.request_id.clone(),
            source: context.source.clone(),
            now: runtime.now().max(tx.snapshot_ts()),
            seed: runtime.entropy(),
            depth: 0,
            nested: 0,
            nested_observed: Observed::default(),
            nested_logs: Vec::new(),
            identity_read: false,
            streams: BTreeMap::new(),
            next_stream: 0,
            cursor_key: self.shared.cursor_key.clone(),
            journal_in: journal,
            journal_out: None,
            paginated: false,
            scheduled: context.scheduled,
            tx,
        }
    }

    async fn recorded(&self, tx: &mut Transaction, key: &MutationKey) -> Result<Option<Row>> {
        let table = tx
            .table(RECORDS)
            .ok_or_else(|| Error::internal("The table of mutation results is missing."))?;
        let id = DocumentId {
            table: table.number,
            internal: key.document(),
        };
        self.shared.database.get(tx, id).await
    }
}

/// What became of an attempt.
enum Ran {
    /// The request committed in an earlier attempt of its client.
    Before(MutationResult),
    /// It ran; nothing is committed yet.
    Now(Box<(Transaction, UdfOutcome)>),
}

/// Writes the record by which the same request is recognised when it is sent again, in the mutation's own
/// transaction: either both are there or neither.
///
/// The result is kept as text: a document holds it whatever its shape. Of what is larger than `most` bytes only the
/// size is kept.
fn record_result(
    tx: &mut Transaction,
    key: &MutationKey,
    value: &Value,
    logs: &[LogLine],
    most: usize,
) -> Result<()> {
    let json = value.to_json_string();
    let logs: Vec<_> = logs.iter().map(LogLine::to_string).collect();
    let log_bytes: usize = logs.iter().map(String::len).sum();
    let mut record = Object::new();
    if json.len() > most {
        record.insert(TOO_LARGE, Value::Int64(json.len() as i64))?;
    } else {
        if !logs.is_empty() && json.len() + log_bytes <= most {
            let logs = logs.into_iter().map(Value::String).collect();
            record.insert(LOG_LINES, Value::Array(logs))?;
        }
        record.insert(JSON, Value::String(json))?;
    }
    tx.insert_system_as(RECORDS, key.document(), record)?;
    Ok(())
}

/// Fields of records: the result as JSON, or its length if it was too large to be kept, and the log lines.
const JSON: &str = "json";
const TOO_LARGE: &str = "bytes";
const LOG_LINES: &str = "logLines";

fn read_record(row: &Row) -> Result<MutationResult> {
    let damaged = || Error::internal("The record of a mutation's result is damaged.");
    let record = &row.document;
    // A record is only ever read after its transaction committed, so it has a timestamp.
    let ts = row.ts.ok_or_else(damaged)?;
    let result = match (record.get(JSON), record.get(TOO_LARGE)) {
        (Some(Value::String(json)), _) => {
            // The commit's timestamp was not known when the text was made.
            let mut value = Value::from_unresolved_str(json).map_err(|_| damaged())?;
            value.resolve(ts);
            Ok(value)
        }
        (_, Some(Value::Int64(bytes))) => Err(Failure::new(format!(
            "The mutation has committed, but the connection broke before its result came, and a result of {bytes} \
             bytes is too large to be kept until then. Read what it has written."
        ))),
        _ => return Err(damaged()),
    };
    let logs = record.get(LOG_LINES).and_then(Value::as_array);
    let logs = logs
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .map(LogLine::parse)
        .collect();
    Ok(MutationResult { result, logs, ts })
}

pub(super) fn too_many_conflicts(table: Option<&str>) -> Error {
    let place = table.map_or_else(
        || "it used".to_owned(),
        |table| format!("in the \"{table}\" table"),
    );
    Error::new(
        ErrorClass::OptimisticConcurrencyControl,
        "OptimisticConcurrencyControlFailure",
        format!(
            "Documents {place} changed while the mutation was being run, and again on every retry. Let it read less, \
             so that fewer writes concern it."
        ),
    )
}
