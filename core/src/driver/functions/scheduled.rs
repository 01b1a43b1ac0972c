//! Running a job: the function that was scheduled, and what becomes of its record.

use super::mutation::{CONFLICT_TIME, too_many_conflicts};
use super::{CallContext, Ended, Functions};
use crate::driver::admission::{Class, Client};
use crate::driver::attempts::Attempts;
use crate::driver::database::CommitError;
use crate::engine::{Failure, FunctionKind, LogLine};
use crate::error::{Error, Result};
use crate::function::{self, Access};
use crate::identity::Identity;
use crate::planted::{Bug, planted};
use crate::request_id::RequestId;
use crate::schedule::{self, ACTION_LOST, Found, JobState};
use crate::timestamp::Timestamp;
use crate::transaction::Transaction;
use crate::value::{FunctionPath, InternalId, Object, Value};

/// What follows when a transaction on a job has committed.
enum Next {
    /// The job is finished: a mutation has run, or there was nothing to run.
    Finished {
        failure: Option<Failure>,
        logs: Vec<LogLine>,
    },
    /// The job is marked as in progress: the action runs now.
    Act(Object),
}

impl Functions {
    /// The database's time: the wall clock, but never behind the newest commit.
    pub(in crate::driver) fn now(&self) -> Timestamp {
        let database = &self.shared.database;
        database.runtime().now().max(database.snapshot().ts)
    }

    /// Runs a job, if it is still to be run, until it is finished or postponed. Does not give up while storage fails.
    pub(in crate::driver) async fn run_job(&self, job: InternalId) {
        let Err(error) = self.try_job(job).await else {
            return;
        };
        self.shared.log.warn(&format!(
            "A scheduled function could not be run and will be tried again: {error}"
        ));
        let mut failures = 0;
        while self.postpone(job).await.is_err() {
            self.wait_for_storage(&mut failures).await;
        }
    }

    /// Marks an action that was in progress when the server ended as failed.
    ///
    /// # Errors
    /// If storage fails.
    pub(in crate::driver) async fn give_up_action(&self, job: InternalId) -> Result<()> {
        let error = ACTION_LOST.to_owned();
        self.finish_action(job, JobState::Failed { error }).await
    }

    /// # Errors
    /// If the server fails; nothing has happened then, so it may be tried again.
    async fn try_job(&self, job: InternalId) -> Result<()> {
        let database = &self.shared.database;
        let runtime = database.runtime();
        let begun = runtime.monotonic();
        let entropy = runtime.entropy();
        let request_id = RequestId::from_bytes(std::array::from_fn(|at| entropy[at]));
        let mut turn = None;
        for attempt in 1u32.. {
            let mut tx = database.begin();
            let found = self.find_job(&mut tx, job).await?;
            let Some(found) = found.filter(|found| *found.job.state() == JobState::Pending) else {
                return Ok(());
            };
            // It may call what is internal, but is nobody: the identity of whoever scheduled it is not passed on.
            let context = CallContext {
                scheduled: Some(found.id),
                ..CallContext::new(Identity::System, request_id.clone(), Client::Scheduler)
            };
            let path = FunctionPath::parse(&found.job.name)?;
            let (tx, next) = self.attempt(&context, &path, tx, found).await?;
            let usage = tx.usage();
            let (conflict, table) = match database.commit(tx).await {
                Ok(_) => {
                    if planted(Bug::FinishedApart) && matches!(next, Next::Finished { .. }) {
                        self.mark_in_progress(job).await?;
                        self.finish_action(job, JobState::Success).await?;
                    }
                    match next {
                        Next::Act(args) => self.act(&context, job, &path, args).await,
                        Next::Finished { failure, logs } => {
                            let ended = Ended {
                                failure: failure.as_ref(),
                                logs: &logs,
                                usage,
                            };
                            self.log_call(&context, &path, FunctionKind::Mutation, begun, ended);
                        }
                    }
                    return Ok(());
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

    /// Runs a mutation and finishes its job, in one transaction; or marks an action as in progress.
    async fn attempt(
        &self,
        context: &CallContext,
        path: &FunctionPath,
        mut tx: Transaction,
        found: Found,
    ) -> Result<(Transaction, Next)> {
        let now = self.now();
        let deployment = self.deployment(&mut tx).await?;
        let function = function::find_function(&deployment, path, None, Access::Internal);
        let function = match function {
            Ok(function) if function.kind == FunctionKind::Query => Err(Failure::new(format!(
                "{path} is a query. Only mutations and actions can be scheduled."
            ))),
            other => other,
        };
        let function = match function {
            Ok(function) => function,
            Err(failure) => {
                found.enter(&mut tx, failed(&failure), now)?;
                return Ok((tx, finished(Some(failure), Vec::new())));
            }
        };
        let (job, args) = (found.id.internal, found.job.args.clone());
        let before = tx.savepoint();
        // The mutation sees itself in progress; no one else does, since it is finished when this commits.
        let is_marked = !planted(Bug::ActionNotMarked) || function.kind != FunctionKind::Action;
        let is_apart = planted(Bug::FinishedApart) && function.kind == FunctionKind::Mutation;
        if is_marked && !is_apart {
            found.enter(&mut tx, JobState::InProgress, now)?;
        }
        if function.kind == FunctionKind::Action {
            return Ok((tx, Next::Act(args)));
        }
        let admission = &self.shared.admission;
        let _permit = admission.admit(Class::Mutation, context.client, 0).await?;
        let state = self.call_state(context, path.clone(), FunctionKind::Mutation, tx, None);
        let (state, outcome) = self.run_udf(&deployment, function, args, state).await?;
        let mut tx = state.tx;
        let (state, failure) = match outcome.result {
            Ok(_) => (JobState::Success, None),
            Err(failure) => {
                if planted(Bug::FailedJobTriedAgain) {
                    return Err(Error::overloaded("Planted", failure.message));
                }
                if !planted(Bug::FailedJobKeepsWrites) {
                    tx.rollback(before);
                }
                (failed(&failure), Some(failure))
            }
        };
        if planted(Bug::FinishedApart) {
            return Ok((tx, finished(failure, outcome.logs)));
        }
        let found = self.find_job(&mut tx, job).await?;
        let found = found.ok_or_else(|| Error::internal("A job vanished in its transaction."))?;
        found.enter(&mut tx, state, self.now())?;
        Ok((tx, finished(failure, outcome.logs)))
    }

    /// Runs an action and records how it ended.
    async fn act(&self, context: &CallContext, job: InternalId, path: &FunctionPath, args: Object) {
        let args = Value::Object(args).to_json();
        let state = match self.action(context, &path.canonical(), args).await {
            Ok(action) => match action.result {
                Ok(_) => JobState::Success,
                Err(failure) => failed(&failure),
            },
            Err(error) => {
                let text =
                    format!("The scheduled action {path} failed and is not run again: {error}");
                self.shared.log.warn(&text);
                JobState::Failed {
                    error: ACTION_LOST.to_owned(),
                }
            }
        };
        if planted(Bug::ActionNotMarked) {
            // Whatever comes of it: without the mark it is run again.
            let _ = self.mark_in_progress(job).await;
        }
        let mut failures = 0;
        while self.finish_action(job, state.clone()).await.is_err() {
            self.wait_for_storage(&mut failures).await;
        }
    }

    /// Records how an action ended, unless it was canceled meanwhile.
    async fn finish_action(&self, job: InternalId, state: JobState) -> Result<()> {
        self.change_job(job, |tx, found, now| match found.job.state() {
            JobState::InProgress => found.enter(tx, state.clone(), now),
            _ => Ok(()),
        })
        .await
    }

    /// For planted bugs: marks a job outside of the transaction that should have.
    async fn mark_in_progress(&self, job: InternalId) -> Result<()> {
        self.change_job(job, |tx, found, now| match found.job.state() {
            JobState::Pending => found.enter(tx, JobState::InProgress, now),
            _ => Ok(()),
        })
        .await
    }

    async fn postpone(&self, job: InternalId) -> Result<()> {
        let random = self.shared.database.runtime().entropy()[0];
        self.change_job(job, |tx, found, _| {
            if *found.job.state() != JobState::Pending {
                return Ok(());
            }
            let wait = schedule::backoff(found.entry.failures.saturating_add(1), random);
            let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
            let wall = self.shared.database.runtime().now();
            found.postpone(tx, Timestamp(wall.0.saturating_add(wait)))
        })
        .await
    }

    /// Changes a job in a transaction, if it is there.
    async fn change_job(
        &self,
        job: InternalId,
        change: impl Fn(&mut Transaction, Found, Timestamp) -> Result<()>,
    ) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            let mut tx = self.shared.database.begin();
            let Some(found) = self.find_job(&mut tx, job).await? else {
                return Ok(());
            };
            change(&mut tx, found, self.now())?;
            match self.shared.database.commit(tx).await {
                Ok(_) => return Ok(()),
                Err(failed) => attempts.again(failed, too_contended)?,
            }
        }
    }

    /// Waits before something is tried again that must not be left undone.
    pub(in crate::driver) async fn wait_for_storage(&self, failures: &mut u32) {
        let runtime = self.shared.database.runtime();
        *failures = (*failures + 1).min(STORAGE_DOUBLINGS_MAX);
        let wait = schedule::backoff(*failures, runtime.entropy()[0]);
        runtime.sleep(wait).await;
    }
}

/// Waits for storage double this often, up to about half a minute.
const STORAGE_DOUBLINGS_MAX: u32 = 7;

fn finished(failure: Option<Failure>, logs: Vec<LogLine>) -> Next {
    Next::Finished { failure, logs }
}

fn failed(failure: &Failure) -> JobState {
    JobState::Failed {
        error: failure.to_string().trim_end().to_owned(),
    }
}

fn too_contended() -> Error {
    Error::overloaded(
        "SchedulerConflict",
        "The state of a scheduled function could not be stored, because it keeps changing.",
    )
}
