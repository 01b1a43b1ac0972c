//! The system calls of `ctx.scheduler`. In a mutation they act on its transaction, so that nothing is scheduled or
//! canceled unless it commits; in an action each is a transaction of its own.

use std::sync::Arc;

use serde_json::Value as Json;

use super::syscalls::{Answer, Refusal, function_address};
use super::{CallContext, Functions};
use crate::deploy::Deployment;
use crate::driver::attempts::Attempts;
use crate::engine::{FunctionKind, LogLine, SystemError, SystemResult};
use crate::error::{Error, Result};
use crate::function::{Arguments, CallState};
use crate::planted::{Bug, planted};
use crate::schedule::{self, Found, Job, JobState, ScheduledTime};
use crate::timestamp::Timestamp;
use crate::transaction::Transaction;
use crate::value::{DocumentId, FunctionPath, InternalId, Object};

impl Functions {
    /// `ctx.scheduler.runAfter` and `runAt` in a mutation.
    pub(super) async fn schedule(
        &self,
        deployment: &Arc<Deployment>,
        state: &mut CallState,
        args: &str,
    ) -> Answer {
        refuse_in_queries(state)?;
        let request = Request::parse(args, state.now)?;
        if planted(Bug::ScheduledApart) {
            let mut apart = self.shared.database.begin();
            let (parent, now) = (state.scheduled, state.now);
            let id = self
                .schedule_in(deployment, &mut apart, parent, request, now)
                .await?;
            // Whether it commits is another matter than whether the caller does.
            let _ = self.shared.database.commit(apart).await;
            return Ok(id_json(id));
        }
        let id = self
            .schedule_in(
                deployment,
                &mut state.tx,
                state.scheduled,
                request,
                state.now,
            )
            .await?;
        Ok(id_json(id))
    }

    /// `ctx.scheduler.cancel` in a mutation.
    ///
    /// A scheduled mutation that cancels itself is told so by newer packages; with older ones nothing happens.
    pub(super) async fn cancel(
        &self,
        deployment: &Deployment,
        state: &mut CallState,
        args: &str,
    ) -> Answer {
        refuse_in_queries(state)?;
        let id = canceled_id(&mut state.tx, args)?;
        let canceled = self
            .cancel_in(&mut state.tx, id, state.scheduled, state.now)
            .await?;
        if canceled == Canceled::Itself {
            if deployment.package_version >= SELF_CANCEL_REFUSED_SINCE {
                return Err(
                    Error::bad_request(SELF_CANCEL, "A mutation cannot cancel itself").into(),
                );
            }
            state.nested_logs.push(LogLine::system(
                SELF_CANCEL,
                state.now,
                "A scheduled mutation cannot cancel itself: this call of ctx.scheduler.cancel() did nothing. From \
                 version 1.50 of the `convex` package on it throws an error.",
            ));
        }
        Ok("null".into())
    }

    /// `ctx.scheduler.runAfter` and `runAt` in an action.
    pub(super) async fn schedule_from_action(
        &self,
        context: &CallContext,
        args: &str,
    ) -> SystemResult {
        let mut attempts = Attempts::new();
        loop {
            let mut tx = self.shared.database.begin();
            // The clock that the action sees, and counts its delays from: unlike a transaction's, it may be behind commits.
            let now = self.shared.database.runtime().now();
            let request = Request::parse(args, now)?;
            let deployment = self.deployment(&mut tx).await?;
            let id = self
                .schedule_in(&deployment, &mut tx, context.scheduled, request, now)
                .await
                .map_err(thrown)?;
            match self.shared.database.commit(tx).await {
                Ok(_) => return Ok(id_json(id)),
                Err(failed) => attempts.again(failed, too_contended)?,
            }
        }
    }

    /// `ctx.scheduler.cancel` in an action.
    pub(super) async fn cancel_from_action(&self, args: &str) -> SystemResult {
        let mut attempts = Attempts::new();
        loop {
            let mut tx = self.shared.database.begin();
            let id = canceled_id(&mut tx, args).map_err(thrown)?;
            let now = self.now();
            self.cancel_in(&mut tx, id, None, now)
                .await
                .map_err(thrown)?;
            match self.shared.database.commit(tx).await {
                Ok(_) => return Ok("null".into()),
                Err(failed) => attempts.again(failed, too_contended)?,
            }
        }
    }

    /// Schedules a function. `parent` is the scheduled function on whose behalf this is done: what one that was canceled
    /// still schedules is canceled as well.
    async fn schedule_in(
        &self,
        deployment: &Deployment,
        tx: &mut Transaction,
        parent: Option<DocumentId>,
        request: Request,
        now: Timestamp,
    ) -> Result<DocumentId, Refusal> {
        check_exists(deployment, &request.function)?;
        tx.count_scheduled(request.args.size())?;
        let canceled = match parent {
            None => false,
            Some(_) if planted(Bug::CanceledStillSchedules) => false,
            Some(parent) => self
                .find_job(tx, parent.internal)
                .await?
                .is_some_and(|found| *found.job.state() == JobState::Canceled),
        };
        let job = Job::new(
            request.function.canonical(),
            request.args,
            request.time.as_millis_f64(),
        );
        Ok(schedule::insert(
            tx,
            job,
            request.time.due(now, self.shared.database.runtime().now()),
            canceled,
            now,
        )?)
    }

    /// Cancels a job on behalf of an admin.
    pub(in crate::driver) async fn cancel_job(
        &self,
        tx: &mut Transaction,
        id: DocumentId,
    ) -> Result<()> {
        let now = self.now();
        match self.cancel_in(tx, id, None, now).await {
            Ok(_) => Ok(()),
            Err(Refusal::Failed(error)) => Err(error),
            Err(Refusal::Thrown(error)) => Err(Error::bad_request(
                "InvalidScheduledFunction",
                error.message,
            )),
        }
    }

    /// Cancels a job. One that is finished stays as it is, and one that is there no more was finished long ago.
    async fn cancel_in(
        &self,
        tx: &mut Transaction,
        id: DocumentId,
        own: Option<DocumentId>,
        now: Timestamp,
    ) -> Result<Canceled, Refusal> {
        let Some(found) = self.find_job(tx, id.internal).await? else {
            return Ok(Canceled::Job);
        };
        // Only the transaction that runs the job has written to its record and not finished it.
        let is_own = own == Some(id) && found.is_own_write();
        if is_own && *found.job.state() == JobState::InProgress {
            return Ok(Canceled::Itself);
        }
        if planted(Bug::CancelInProgressIgnored) && *found.job.state() == JobState::InProgress {
            return Ok(Canceled::Job);
        }
        if !found.job.state().is_finished() {
            found.enter(tx, JobState::Canceled, now)?;
        }
        Ok(Canceled::Job)
    }

    /// Reads a job; `None` if there is none, or none any more.
    pub(in crate::driver) async fn find_job(
        &self,
        tx: &mut Transaction,
        job: InternalId,
    ) -> Result<Option<Found>> {
        let database = &self.shared.database;
        let id = schedule::job_id(tx, job)?;
        let Some(record) = database.get(tx, id).await? else {
            return Ok(None);
        };
        let entry = schedule::entry_id(tx, job)?;
        let entry = database.get(tx, entry).await?.ok_or_else(|| {
            Error::internal(format!("The scheduled function {id} has no queue entry."))
        })?;
        Found::new(id, record, entry).map(Some)
    }
}

/// What was asked to be canceled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Canceled {
    /// A job, which is now finished in one way or the other.
    Job,
    /// The very job that the transaction runs. It goes on.
    Itself,
}

/// Code of the warning and of the error.
const SELF_CANCEL: &str = "ScheduledFunctionCancelingItself";
/// Version of the npm package from which on a mutation that cancels itself fails.
const SELF_CANCEL_REFUSED_SINCE: semver::Version = semver::Version::new(1, 50, 0);

/// What is to be scheduled.
struct Request {
    function: FunctionPath,
    time: ScheduledTime,
    args: Object,
}

impl Request {
    fn parse(args: &str, now: Timestamp) -> Result<Self, SystemError> {
        let mut args = Arguments::parse("scheduler.runAfter", args)?;
        let function = function_address(&mut args)?;
        let seconds = args
            .take("ts")
            .and_then(|ts| ts.as_f64())
            .ok_or_else(|| args.error("ts", "expected a number"))?;
        let time = ScheduledTime::from_seconds(seconds, now)?;
        let args = args.object("args")?;
        if !args.is_resolved() {
            return Err(SystemError::new(format!(
                "Invalid arguments for \"{}\": a scheduled function cannot take an unresolved placeholder value.",
                function.stripped()
            )));
        }
        Ok(Self {
            function,
            time,
            args,
        })
    }
}

/// Refuses to schedule what is not there. Its kind and its validators are looked at when it runs: they may have changed
/// by then, and so may what is there.
fn check_exists(deployment: &Deployment, function: &FunctionPath) -> Result<()> {
    if deployment.functions.contains_key(&function.canonical()) {
        return Ok(());
    }
    let FunctionPath { module, export } = function;
    let message = if deployment.program.modules.contains_key(module) {
        format!(
            "Attempted to schedule function, but no exported function {export} found in the file: {module}. \
             Did you forget to export it?"
        )
    } else {
        format!("Attempted to schedule function at nonexistent path: {module}")
    };
    Err(Error::bad_request("InvalidScheduledFunction", message))
}

fn canceled_id(tx: &mut Transaction, args: &str) -> Result<DocumentId, Refusal> {
    let id = Arguments::parse("scheduler.cancel", args)?.id("id")?;
    let table = tx.table_by_number(id.table);
    if table.is_none_or(|table| table.name != schedule::JOBS) {
        return Err(Error::bad_request(
            "InvalidScheduledFunctionId",
            format!(
                "Invalid scheduled function ID. The ID must be an ID on the '{}' table.",
                schedule::JOBS
            ),
        )
        .into());
    }
    Ok(id)
}

fn refuse_in_queries(state: &CallState) -> Result<(), SystemError> {
    if state.kind == FunctionKind::Mutation {
        return Ok(());
    }
    Err(SystemError::new(
        "The scheduler is not available in queries. Use it in a mutation or an action.",
    ))
}

fn id_json(id: DocumentId) -> String {
    Json::String(id.encode()).to_string()
}

/// Failures of the server reach an action too: it may go on without.
fn thrown(refusal: Refusal) -> SystemError {
    match refusal {
        Refusal::Thrown(error) => error,
        Refusal::Failed(error) => error.into(),
    }
}

fn too_contended() -> Error {
    Error::overloaded(
        "SchedulerConflict",
        "The schedule could not be changed, because what it depends on keeps changing. Try again.",
    )
}
