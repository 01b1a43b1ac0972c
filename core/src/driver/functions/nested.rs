//! `ctx.runQuery` and `ctx.runMutation` inside a query or mutation: calls within the caller's transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Functions;
use super::syscalls::function_address;
use crate::deploy::{Deployment, FunctionDefinition};
use crate::engine::{FunctionKind, Observed, SystemError, SystemResult};
use crate::error::Result;
use crate::function::{self, Access, Arguments, CallState};
use crate::planted::{Bug, planted};
use crate::transaction::Usage;
use crate::value::Object;

/// Limits that a nested call may be given, and that nothing counts towards: transactions have no files yet.
pub(super) const FILE_LIMITS: [&str; 4] = [
    "fileReadBytes",
    "fileWriteBytes",
    "filesRead",
    "filesWritten",
];

/// What is to be called.
struct Nested<'d> {
    function: &'d FunctionDefinition,
    args: Object,
    /// The option `useStaleSnapshot`: the query sees nothing of what its caller has written, and its caller does not
    /// depend on what it reads.
    is_aside: bool,
    /// The option `transactionLimits`: the most that it may use of each.
    limits: Vec<(String, usize)>,
}

impl Functions {
    /// Runs a function within the transaction of its caller. If it fails, its writes are undone and the caller may
    /// go on.
    ///
    /// # Errors
    /// Only for failures that are not the function's.
    pub(super) async fn run_nested(
        &self,
        deployment: &Arc<Deployment>,
        mut state: CallState,
        args: &str,
    ) -> Result<(CallState, SystemResult)> {
        let called = match Nested::parse(deployment, &state, args) {
            Ok(called) => called,
            Err(error) => return Ok((state, Err(error))),
        };
        let Nested { function, args, .. } = called;
        let savepoint = state.tx.savepoint();
        let most = called.limits.iter();
        let most: Vec<_> = most.map(|(name, most)| (name.as_str(), *most)).collect();
        let limits = state.tx.narrow_limits(&most);
        // A query and those that it calls have one journal, and read one page.
        let is_of_query = state.kind == FunctionKind::Query;
        let seed = state.next_nested_seed();
        let (tx, caller_tx) = match called.is_aside {
            true => (state.tx.aside(), Some(state.tx)),
            false => (state.tx, None),
        };
        let nested = CallState {
            path: function.path.clone(),
            kind: function.kind,
            identity: state.identity.clone(),
            request_id: state.request_id.clone(),
            source: state.source.clone(),
            now: state.now,
            seed,
            depth: state.depth + 1,
            nested: 0,
            nested_observed: Observed::default(),
            nested_logs: Vec::new(),
            identity_read: false,
            streams: BTreeMap::new(),
            next_stream: 0,
            cursor_key: state.cursor_key.clone(),
            journal_in: state.journal_in.clone().filter(|_| is_of_query),
            journal_out: None,
            paginated: is_of_query && state.paginated,
            scheduled: state.scheduled,
            tx,
        };
        let (nested, outcome) = self.run_udf(deployment, function, args, nested).await?;
        state.tx = match caller_tx {
            Some(mut tx) => {
                tx.charge_reads_of(&nested.tx);
                tx
            }
            None => nested.tx,
        };
        if outcome.result.is_err() && !planted(Bug::NestedWritesRemain) {
            state.tx.rollback(savepoint);
        }
        state.tx.set_limits(limits);
        if is_of_query {
            state.paginated |= nested.paginated;
            state.journal_out = nested.journal_out.or(state.journal_out);
        }
        state.identity_read |= nested.identity_read;
        state.nested_observed.time |= outcome.observed.time;
        state.nested_observed.random |= outcome.observed.random;
        state.nested_logs.extend(outcome.logs);
        let result = match outcome.result {
            Ok(value) => Ok(value.to_json_string()),
            Err(failure) => Err(SystemError {
                message: failure.to_string().trim_end().to_owned(),
                data: failure.data,
                fatal: false,
            }),
        };
        Ok((state, result))
    }
}

impl<'d> Nested<'d> {
    fn parse(
        deployment: &'d Deployment,
        state: &CallState,
        args: &str,
    ) -> Result<Self, SystemError> {
        let mut args = Arguments::parse("ctx.runQuery", args)?;
        let (kind, is_aside) = match args.string("udfType")?.as_str() {
            "query" => (FunctionKind::Query, false),
            "snapshotQuery" => (FunctionKind::Query, true),
            "mutation" => (FunctionKind::Mutation, false),
            other => return Err(args.error("udfType", format!("`{other}` cannot be called here"))),
        };
        if state.kind == FunctionKind::Query && kind != FunctionKind::Query {
            return Err(SystemError::new(format!(
                "Cannot call a {kind:?} function from a Query function."
            )));
        }
        if state.kind == FunctionKind::Query && is_aside {
            return Err(SystemError::new(
                "`useStaleSnapshot` is only supported in mutations, not queries.",
            ));
        }
        if state.depth + 1 > function::DEPTH_MAX {
            return Err(SystemError::new(format!(
                "Functions are nested too deeply (limit: {}). Check for endless recursion.",
                function::DEPTH_MAX
            )));
        }
        let path = function_address(&mut args)?;
        let limits = parse_limits(&mut args)?;
        let object = args.object("args")?;
        let function = function::find_function(deployment, &path, Some(kind), Access::Internal)
            .map_err(|failure| SystemError::new(failure.message))?;
        Ok(Self {
            function,
            args: object,
            is_aside,
            limits,
        })
    }
}

fn parse_limits(args: &mut Arguments) -> Result<Vec<(String, usize)>, SystemError> {
    let given = match args.take("transactionLimits") {
        None => return Ok(Vec::new()),
        Some(Json::Object(given)) => given,
        Some(_) => return Err(args.error("transactionLimits", "expected an object")),
    };
    let mut limits = Vec::new();
    for (name, most) in given {
        let is_known =
            Usage::default().get_mut(&name).is_some() || FILE_LIMITS.contains(&name.as_str());
        if !is_known {
            return Err(args.error("transactionLimits", format!("there is no limit `{name}`")));
        }
        // JSON has no infinity: null is what JavaScript makes of it.
        if most.is_null() {
            continue;
        }
        let most = most.as_f64().filter(|most| *most >= 0.0).ok_or_else(|| {
            let cause = format!("`{name}` must be a number that is not negative");
            args.error("transactionLimits", cause)
        })?;
        // The conversion saturates.
        limits.push((name, most as usize));
    }
    Ok(limits)
}
