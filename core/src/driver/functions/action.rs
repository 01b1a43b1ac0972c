//! Actions: no transaction of their own, many system calls at once, side effects through the host.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value as Json;

use super::syscalls::function_address;
use super::udf::unable;
use super::{Admitted, CallContext, Ended, Functions, bytes_of};
use crate::deploy::{Deployment, FunctionDefinition};
use crate::driver::admission::Class;
use crate::engine::{
    Cause, Failure, FunctionCall, FunctionKind, LogLine, Reply, SystemCall, SystemError,
    SystemResult, Turn, host_op,
};
use crate::error::{Error, Result};
use crate::function::{self, Access, Arguments};
use crate::transaction::Usage;
use crate::value::{FunctionPath, Object, Value};

/// How an action ended.
#[derive(Clone, Debug)]
pub struct ActionResult {
    /// The returned value, or the failure.
    pub result: Result<Value, Failure>,
    /// What it printed.
    pub logs: Vec<LogLine>,
}

/// What holds the room for a reply.
type Room = Box<dyn Send + Sync>;

/// Operations of an action of which so many are under way at once; further ones wait for them.
#[derive(Clone, Copy)]
enum Lane {
    /// HTTP requests.
    Fetches,
    /// Calls of other functions.
    Calls,
}

impl Lane {
    fn of(op: &str) -> Option<Self> {
        match op {
            host_op::FETCH => Some(Lane::Fetches),
            "1.0/actions/query" | "1.0/actions/mutation" | "1.0/actions/action" => {
                Some(Lane::Calls)
            }
            _ => None,
        }
    }
}

/// Longest timer.
const SLEEP_MAX: Duration = function::ACTION_TIME;

impl Functions {
    /// Runs an action.
    ///
    /// # Errors
    /// If storage fails, the path is malformed, or too many actions run.
    pub fn action<'a>(
        &'a self,
        context: &'a CallContext,
        path: &'a str,
        args: Json,
    ) -> BoxFuture<'a, Result<ActionResult>> {
        // Boxed: actions call actions.
        async move {
            let admitted = self.admit_action(context, bytes_of(&args)).await?;
            self.admitted_action(admitted, context, path, args).await
        }
        .boxed()
    }

    /// Waits until an action with so many bytes of arguments may run. Who goes away while waiting leaves nothing behind.
    ///
    /// # Errors
    /// Overloaded, if too many actions run.
    pub(in crate::driver) async fn admit_action(
        &self,
        context: &CallContext,
        bytes: usize,
    ) -> Result<Admitted> {
        let class = Class::Action(context.depth);
        let permit = self.shared.admission.admit(class, context.client, bytes);
        Ok(Admitted {
            permit: permit.await?,
            alone: None,
        })
    }

    /// Runs an action that has been admitted.
    ///
    /// # Errors
    /// If storage fails or the path is malformed.
    pub(in crate::driver) fn admitted_action<'a>(
        &'a self,
        admitted: Admitted,
        context: &'a CallContext,
        path: &'a str,
        args: Json,
    ) -> BoxFuture<'a, Result<ActionResult>> {
        async move {
            let _admitted = admitted;
            context.identity.check_may_write()?;
            let path = FunctionPath::parse(path)?;
            let begun = self.shared.database.runtime().monotonic();
            let mut tx = self.shared.database.begin();
            let deployment = self.deployment(&mut tx).await?;
            let checked = function::find_function(
                &deployment,
                &path,
                Some(FunctionKind::Action),
                context.access,
            )
            .and_then(|function| {
                let args = function::single_argument(&path, args)?;
                function::check_arguments(function, &args, tx.catalog())?;
                Ok((function, args))
            });
            let (function, args) = match checked {
                Ok(checked) => checked,
                Err(failure) => {
                    return Ok(ActionResult {
                        result: Err(failure),
                        logs: Vec::new(),
                    });
                }
            };
            drop(tx);
            let time_out = self.shared.database.runtime().sleep(function::ACTION_TIME);
            let turns = self
                .take_action_turns(context, &deployment, function, args)
                .boxed();
            let result = match select(turns, time_out).await {
                Either::Left((result, _)) => result,
                Either::Right(((), _)) => Ok(ActionResult {
                    result: Err(Failure::new(format!(
                        "Function execution timed out (maximum duration: {}s)",
                        function::ACTION_TIME.as_secs()
                    ))),
                    logs: Vec::new(),
                }),
            };
            if let Ok(result) = &result {
                let ended = Ended {
                    failure: result.result.as_ref().err(),
                    logs: &result.logs,
                    usage: Usage::default(),
                };
                self.log_call(context, &path, FunctionKind::Action, begun, ended);
            }
            result
        }
        .boxed()
    }

    async fn take_action_turns(
        &self,
        context: &CallContext,
        deployment: &Arc<Deployment>,
        function: &FunctionDefinition,
        args: Object,
    ) -> Result<ActionResult> {
        let runtime = self.shared.database.runtime();
        let call = FunctionCall {
            program: deployment.program.clone(),
            module: function.path.module.clone(),
            export: function.path.export.clone(),
            kind: FunctionKind::Action,
            depth: context.depth,
            args: format!("[{}]", Value::Object(args).to_json_string()),
            now: runtime.now(),
            seed: runtime.entropy(),
            limits: function::limits(FunctionKind::Action),
        };
        let mut execution = self.shared.engine.start(call, Arc::new(NoTransaction));
        let mut waiting = FuturesUnordered::new();
        let mut lanes = [(); 2].map(|()| VecDeque::new());
        let mut under_way = [0; 2];
        let mut replies = Vec::new();
        // What holds room for replies that the engine has not taken over yet.
        let mut rooms = Vec::new();
        loop {
            let turn = execution.resume(std::mem::take(&mut replies)).await;
            rooms.clear();
            let calls = match turn {
                Turn::Done(outcome) => {
                    if let Err(failure) = &outcome.result
                        && failure.cause == Cause::Server
                    {
                        return Err(unable(failure));
                    }
                    let catalog = self.shared.database.snapshot().catalog;
                    let result = outcome.result.and_then(|json| {
                        function::canonical_result(function, &json, &*catalog, false)
                    });
                    return Ok(ActionResult {
                        result,
                        logs: outcome.logs,
                    });
                }
                Turn::Waiting(calls) => calls,
            };
            let answer = |call: SystemCall, lane| async move {
                let (result, room) = self
                    .answer_action(context, &function.path, call.op, call.args)
                    .await;
                (
                    Reply {
                        id: call.id,
                        result,
                    },
                    room,
                    lane,
                )
            };
            for call in calls {
                match Lane::of(&call.op) {
                    Some(lane) => lanes[lane as usize].push_back(call),
                    None => waiting.push(answer(call, None)),
                }
            }
            for lane in [Lane::Fetches, Lane::Calls] {
                let under_way = &mut under_way[lane as usize];
                while *under_way < self.shared.limits.action_operations.max(1)
                    && let Some(call) = lanes[lane as usize].pop_front()
                {
                    *under_way += 1;
                    waiting.push(answer(call, Some(lane)));
                }
            }
            match waiting.next().await {
                Some((reply, room, lane)) => {
                    replies.push(reply);
                    rooms.extend(room);
                    if let Some(lane) = lane {
                        under_way[lane as usize] -= 1;
                    }
                }
                None => return Err(Error::internal("The engine waits for nothing.")),
            }
        }
    }

    /// Answers one system call of an action, maybe with what holds the room for the answer. Failures of the server reach
    /// the action too: it may go on without.
    async fn answer_action(
        &self,
        context: &CallContext,
        path: &FunctionPath,
        op: String,
        args: String,
    ) -> (SystemResult, Option<Room>) {
        if op == host_op::FETCH {
            // The text of the request goes along, to be let go of as soon as it is read.
            return match self.shared.http.fetch(args).await {
                Ok(response) => (Ok(response.json), Some(response.room)),
                Err(error) => (Err(SystemError::new(error)), None),
            };
        }
        let result = self.answer_without_room(context, path, &op, &args).await;
        (result, None)
    }

    async fn answer_without_room(
        &self,
        context: &CallContext,
        path: &FunctionPath,
        op: &str,
        args: &str,
    ) -> SystemResult {
        match op {
            "1.0/actions/query" => {
                self.call_from_action(context, FunctionKind::Query, args)
                    .await
            }
            "1.0/actions/mutation" => {
                self.call_from_action(context, FunctionKind::Mutation, args)
                    .await
            }
            "1.0/actions/action" => {
                self.call_from_action(context, FunctionKind::Action, args)
                    .await
            }
            "1.0/getUserIdentity" => Ok(context.identity.user_json().to_string()),
            host_op::SLEEP => {
                let ms = Arguments::parse("setTimeout", args)?
                    .take("ms")
                    .and_then(|ms| ms.as_f64())
                    .unwrap_or(0.0);
                let wait = Duration::try_from_secs_f64(ms / 1000.0)
                    .unwrap_or_default()
                    .min(SLEEP_MAX);
                self.shared.database.runtime().sleep(wait).await;
                Ok("null".into())
            }
            "1.0/actions/schedule" => self.schedule_from_action(context, args).await,
            "1.0/actions/cancel_job" => self.cancel_from_action(args).await,
            _ => {
                let CallContext {
                    request_id,
                    source,
                    scheduled,
                    ..
                } = context;
                let request = || function::request_metadata(request_id, source, *scheduled);
                self.shared_answer(path, request, op, args)
            }
        }
    }

    async fn call_from_action(
        &self,
        context: &CallContext,
        kind: FunctionKind,
        args: &str,
    ) -> SystemResult {
        let mut args = Arguments::parse("ctx.runAction", args)?;
        let path = function_address(&mut args)?.canonical();
        let args = args.required("args")?;
        let context = CallContext {
            access: Access::Internal,
            depth: context.depth + 1,
            ..context.clone()
        };
        if context.depth > function::DEPTH_MAX {
            return Err(SystemError::new(format!(
                "Functions are nested too deeply (limit: {}). Check for endless recursion.",
                function::DEPTH_MAX
            )));
        }
        let result = match kind {
            FunctionKind::Query => {
                let snapshot = self.shared.database.snapshot();
                self.query(&context, &path, args, None, &snapshot)
                    .await
                    .map(|query| query.result.clone())
            }
            FunctionKind::Mutation => self
                .mutation(&context, &path, args, None)
                .await
                .map(|mutation| mutation.result),
            FunctionKind::Action => self
                .action(&context, &path, args)
                .await
                .map(|action| action.result),
        };
        match result {
            Ok(Ok(value)) => Ok(value.to_json_string()),
            Ok(Err(failure)) => Err(SystemError {
                message: failure.to_string().trim_end().to_owned(),
                data: failure.data,
                fatal: false,
            }),
            Err(error) => Err(SystemError::new(error.message)),
        }
    }
}

/// Actions have no database: their synchronous system calls fail.
struct NoTransaction;

impl crate::engine::SyncHost for NoTransaction {
    fn call(&self, op: &str, _args: &str) -> SystemResult {
        Err(SystemError::new(format!(
            "Unknown operation {op}: actions reach the database through ctx.runQuery and ctx.runMutation."
        )))
    }
}
