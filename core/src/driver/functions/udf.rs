//! One run of a query or mutation inside a transaction.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};

use super::Functions;
use crate::deploy::{Deployment, FunctionDefinition};
use crate::engine::{Cause, Failure, FunctionCall, FunctionKind, LogLine, Observed, Reply, Turn};
use crate::error::{Error, Result};
use crate::function::{self, CallCell, CallState, Spent};
use crate::value::{Object, Value};

/// How a run ended. Its reads and writes are in the transaction of the [`CallState`] that comes with it.
#[derive(Clone, Debug)]
pub(crate) struct UdfOutcome {
    /// The returned value, or the failure.
    pub result: Result<Value, Failure>,
    /// What it and its nested calls printed.
    pub logs: Vec<LogLine>,
    /// Inputs it looked at, nested calls included.
    pub observed: Observed,
}

impl UdfOutcome {
    pub(super) fn failed(failure: Failure) -> Self {
        Self::silent(Err(failure))
    }

    /// The end of a run that printed nothing and looked at nothing but the database.
    pub(super) fn silent(result: Result<Value, Failure>) -> Self {
        Self {
            result,
            logs: Vec::new(),
            observed: Observed::default(),
        }
    }
}

/// The error for a call that failed through no fault of its code. Clients try again.
pub(super) fn unable(failure: &Failure) -> Error {
    Error::overloaded("ExecuteFullError", failure.message.clone())
}

impl Functions {
    /// Runs a query or mutation with checked arguments on `state`.
    ///
    /// # Errors
    /// Only for failures that are not the function's, such as of storage; the transaction is then lost.
    pub(super) fn run_udf<'a>(
        &'a self,
        deployment: &'a Arc<Deployment>,
        function: &'a FunctionDefinition,
        args: Object,
        state: CallState,
    ) -> BoxFuture<'a, Result<(CallState, UdfOutcome)>> {
        // Boxed: calls nest.
        async move {
            if let Err(failure) = function::check_arguments(function, &args, state.tx.catalog()) {
                return Ok((state, UdfOutcome::failed(failure)));
            }
            let runtime = self.shared.database.runtime().clone();
            let time_out = runtime.sleep(function::TRANSACTION_TIME);
            let turns = self.take_turns(deployment, function, args, state).boxed();
            match select(turns, time_out).await {
                Either::Left((result, _)) => result,
                Either::Right(((), _)) => Err(Error::overloaded(
                    "SystemTimeoutError",
                    "The function took too long to read and write its data. Try again.",
                )),
            }
        }
        .boxed()
    }

    async fn take_turns(
        &self,
        deployment: &Arc<Deployment>,
        function: &FunctionDefinition,
        args: Object,
        state: CallState,
    ) -> Result<(CallState, UdfOutcome)> {
        let args_size = args.size();
        let call = FunctionCall {
            program: deployment.program.clone(),
            module: function.path.module.clone(),
            export: function.path.export.clone(),
            kind: function.kind,
            depth: state.depth,
            args: format!("[{}]", Value::Object(args).to_json_string()),
            now: state.now,
            seed: state.seed,
            limits: function::limits(function.kind),
        };
        let cell = Arc::new(CallCell::default());
        cell.put(state);
        let mut execution = self.shared.engine.start(call, cell.clone());
        let mut replies = Vec::new();
        let outcome = loop {
            match execution.resume(replies).await {
                Turn::Done(outcome) => break outcome,
                Turn::Waiting(calls) => {
                    let mut state = cell.take();
                    replies = Vec::with_capacity(calls.len());
                    for call in calls {
                        let result;
                        (state, result) =
                            self.answer(deployment, state, &call.op, &call.args).await?;
                        replies.push(Reply {
                            id: call.id,
                            result,
                        });
                    }
                    cell.put(state);
                }
            }
        };
        // The engine may keep its handle to the cell for a moment longer; the state is ours again.
        let mut state = cell.take();
        let cause = outcome.result.as_ref().err().map(|failure| failure.cause);
        if let (Some(Cause::Server), Err(failure)) = (cause, &outcome.result) {
            return Err(unable(failure));
        }
        let observed = Observed {
            // Who is out of time has looked at the clock.
            time: outcome.observed.time || state.nested_observed.time || cause == Some(Cause::Time),
            random: outcome.observed.random || state.nested_observed.random,
        };
        let mut logs = std::mem::take(&mut state.nested_logs);
        logs.extend(outcome.logs);
        let unresolved = state.depth > 0 || state.kind == FunctionKind::Mutation;
        let result = outcome.result.and_then(|json| {
            function::canonical_result(function, &json, state.tx.catalog(), unresolved)
        });
        if state.depth == 0 {
            let spent = Spent {
                usage: state.tx.usage(),
                largest_write: state.tx.largest_write(),
                args: args_size,
                result: result.as_ref().ok().map(Value::size),
                cpu: outcome.cpu,
            };
            logs.extend(function::warnings(state.kind, spent, state.now));
        }
        Ok((
            state,
            UdfOutcome {
                result,
                logs,
                observed,
            },
        ))
    }
}
