//! The judge of scheduled functions: follows every job through the log.
//!
//! Checked of each job:
//! * its record takes only steps that there are: pending, then in progress if it is an action, then finished; it never
//!   goes back, never changes otherwise, and is not removed within the time of a world;
//! * its entry in the queue says the same as its record;
//! * what it does is committed with its end if it is a mutation, and between its beginning and its end if it is an
//!   action; so that it happens once, or at most once, and never after it was canceled;
//! * an action begins once at most, and only if the log says that it was to begin;
//! * it does not begin before it is due. Jobs are due by the wall clock of the server, and that may be set: so at some
//!   moment since its scheduler began, that clock must have shown its due time. If it was not set since, the
//!   time asked for must have passed by any clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::FunctionKind;
use concave_core::value::InternalId;
use concave_core::{Object, Timestamp, Value};

use crate::app::Function;
use crate::app::faults::Start;
use crate::app::twin::{JOBS, job_args, job_state, job_token, number, text};
use crate::oracle::Commit;
use crate::report::{JobStep, Report};

/// The table of entries of the queue.
const ENTRIES: &str = "_scheduled_jobs";
/// How long a finished job is kept: a week.
const KEPT_NS: f64 = 7.0 * 24.0 * 3600e9;
/// Times are scheduled to the microsecond, and told in seconds.
const PRECISION: Duration = Duration::from_micros(2);

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be run.
    Pending,
    /// An action that runs.
    InProgress,
    /// It returned.
    Success,
    /// It threw, or nobody knows what became of it.
    Failed,
    /// Somebody canceled it.
    Canceled,
}

/// A change of a job.
#[derive(Clone, Debug)]
pub struct Change {
    /// The job.
    pub token: String,
    /// Its function.
    pub function: Function,
    /// Its argument.
    pub args: Object,
    /// When it is to run, milliseconds since the epoch.
    pub scheduled_time: f64,
    /// Where it was; `None` if it is new.
    pub from: Option<State>,
    /// Where it is. Pending still: it was put off.
    pub to: State,
    /// What it failed with.
    pub error: Option<String>,
}

#[derive(Debug)]
struct Job {
    token: String,
    function: Function,
    record: Arc<Object>,
    state: State,
    failures: f64,
    /// The earliest time that the queue ever had for it.
    due: Timestamp,
    /// Whether it was in progress in the log.
    has_begun: bool,
}

/// All jobs, as of a place in the log.
#[derive(Default)]
pub struct Jobs {
    jobs: BTreeMap<InternalId, Job>,
    by_token: BTreeMap<String, InternalId>,
}

/// When the server's wall clock was set, and by how many nanoseconds.
pub type ClockJumps = Vec<(Duration, i64)>;

impl Jobs {
    /// Follows the jobs through a commit. Gives what changed.
    ///
    /// # Errors
    /// If no job may change like that.
    pub(crate) fn commit(
        &mut self,
        commit: &Commit,
        report: &mut Report,
    ) -> Result<Vec<Change>, String> {
        let mut changed: BTreeMap<InternalId, [Option<&Arc<Object>>; 2]> = BTreeMap::new();
        for (revision, document) in &commit.revisions {
            let table = commit.catalog.table_by_id(revision.table);
            let place = match table.map(|table| table.name.as_str()) {
                Some(JOBS) => 0,
                Some(ENTRIES) => 1,
                _ => continue,
            };
            let document = document
                .as_ref()
                .ok_or("a job was removed long before its time")?;
            changed.entry(revision.id).or_default()[place] = Some(document);
        }
        let mut changes = Vec::new();
        for (id, [record, entry]) in changed {
            let entry = entry.ok_or("a job changed, and its entry in the queue did not")?;
            let change = match record {
                Some(record) => self.step(id, record, entry),
                None => self.put_off(id, entry),
            };
            let change = change.map_err(|what| format!("{what}: {record:?} with {entry:?}"))?;
            count(&change, report);
            changes.push(change);
        }
        Ok(changes)
    }

    fn step(
        &mut self,
        id: InternalId,
        record: &Arc<Object>,
        entry: &Object,
    ) -> Result<Change, String> {
        let token = job_token(record);
        let path = text(record, "name").replace(".js:", ":");
        let function = Function::of_path(&path).ok_or("its function is unknown")?;
        let to = state(record);
        let from = self.jobs.get(&id).map(|job| job.state);
        let is_action = function.kind() == FunctionKind::Action;
        let is_step = match (from, to) {
            (None, State::Pending | State::Canceled) | (Some(State::Pending), State::Canceled) => {
                true
            }
            (Some(State::Pending), State::InProgress) => is_action,
            (Some(State::Pending), State::Success | State::Failed) => !is_action,
            (Some(State::InProgress), State::Success | State::Failed | State::Canceled) => true,
            _ => false,
        };
        if !is_step {
            return Err(format!("{token} went from {from:?} to {to:?}"));
        }
        if let Some(before) = self.jobs.get(&id)
            && ["name", "args", "scheduledTime"]
                .iter()
                .any(|field| before.record.get(field) != record.get(field))
        {
            return Err(format!("{token} became another job"));
        }
        let due = due(entry);
        let is_finished = !matches!(to, State::Pending | State::InProgress);
        let step = match to {
            State::Pending => "run",
            State::InProgress => "running",
            _ => "remove",
        };
        if text(entry, "step") != step {
            return Err(format!("the queue does not know that {token} is {to:?}"));
        }
        let completed = record.get("completedTime").and_then(Value::as_f64);
        if completed.is_some() != is_finished {
            return Err(format!("{token} has an end and is not finished, or not"));
        }
        // Milliseconds as a float are exact to less than one of them.
        if completed.is_some_and(|time| (due.0 as f64) < time * 1e6 + KEPT_NS - 1e6) {
            return Err(format!("{token} will be removed too early"));
        }
        if from.is_none() && self.by_token.insert(token.clone(), id).is_some() {
            return Err(format!("{token} was scheduled twice"));
        }
        let job = self.jobs.entry(id).or_insert_with(|| Job {
            token: token.clone(),
            function,
            record: record.clone(),
            state: to,
            failures: 0.0,
            due,
            has_begun: false,
        });
        job.record = record.clone();
        job.state = to;
        job.has_begun |= to == State::InProgress;
        let error = record.get("state").and_then(Value::as_object);
        let error = error.and_then(|state| state.get("error")?.as_str());
        Ok(Change {
            token,
            function,
            args: job_args(record).clone(),
            scheduled_time: number(record, "scheduledTime"),
            from,
            to,
            error: error.map(str::to_owned),
        })
    }

    /// The server failed to run it, so that it waits again.
    fn put_off(&mut self, id: InternalId, entry: &Object) -> Result<Change, String> {
        let job = self.jobs.get_mut(&id).ok_or("there is no such job")?;
        let failures = entry.get("failures").and_then(Value::as_i64);
        let failures = failures.ok_or("it does not count failures")? as f64;
        if job.state != State::Pending
            || text(entry, "step") != "run"
            || failures != job.failures + 1.0
        {
            return Err(format!("{} cannot be put off", job.token));
        }
        job.failures = failures;
        // Earlier than before, if the clock was set back.
        job.due = job.due.min(due(entry));
        Ok(Change {
            token: job.token.clone(),
            function: job.function,
            args: job_args(&job.record).clone(),
            scheduled_time: number(&job.record, "scheduledTime"),
            from: Some(State::Pending),
            to: State::Pending,
            error: None,
        })
    }

    /// The state of the job of a token; `None` if that is no job's.
    pub fn state(&self, token: &str) -> Option<State> {
        let id = self.by_token.get(token)?;
        self.jobs.get(id).map(|job| job.state)
    }

    /// Checks when jobs began, after the whole log.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_starts(
        &self,
        starts: &[Start],
        jumps: &ClockJumps,
        report: &mut Report,
    ) -> Result<(), String> {
        let mut by_token: BTreeMap<&str, Vec<&Start>> = BTreeMap::new();
        for start in starts {
            by_token.entry(&start.token).or_default().push(start);
        }
        for start in starts {
            let scheduler = start.token.strip_suffix("/s");
            if scheduler.is_some() && !self.by_token.contains_key(&start.token) {
                return Err(format!("{} ran, and nobody scheduled it", start.token));
            }
        }
        for job in self.jobs.values() {
            let token = &job.token;
            let blame = |what: String| format!("{token} {:?}: {what}", job.function);
            let own = by_token.get(token.as_str()).map_or(&[][..], Vec::as_slice);
            let is_action = job.function.kind() == FunctionKind::Action;
            if is_action && own.len() > usize::from(job.has_begun) {
                return Err(blame(format!("an action ran {} times", own.len())));
            }
            if own.is_empty() && job.state == State::Success {
                return Err(blame("it never ran".into()));
            }
            // A nested mutation has the clock of the one that calls it. Of several attempts it is one with that clock.
            let scheduler = token.strip_suffix("/s").unwrap_or_default();
            let scheduler = scheduler.strip_suffix("/kept").unwrap_or(scheduler);
            let now = number(job_args(&job.record), "now");
            let schedulers = by_token.get(scheduler);
            let schedulers = schedulers.map_or(&[][..], Vec::as_slice).iter();
            let mut schedulers = schedulers.filter(|start| start.now.as_millis_f64() == now);
            let scheduler = schedulers
                .next()
                .ok_or_else(|| blame("its scheduler never had that clock".into()))?;
            for start in own {
                check_due(job, scheduler, start, jumps).map_err(blame)?;
                report.job_starts_checked += 1;
            }
        }
        Ok(())
    }
}

fn check_due(
    job: &Job,
    scheduler: &Start,
    start: &Start,
    jumps: &ClockJumps,
) -> Result<(), String> {
    let mut latest = start.wall;
    let mut set_by = 0;
    let mut was_set = false;
    let since = jumps
        .iter()
        .rev()
        .filter(|(at, _)| (scheduler.at..=start.at).contains(at));
    for (at, by) in since {
        was_set = true;
        set_by += by;
        let ago = i64::try_from((start.at - *at).as_nanos()).expect("simulations are short");
        latest = latest.max(Timestamp(start.wall.0.saturating_add_signed(-set_by - ago)));
    }
    if latest < job.due {
        return Err(format!(
            "it ran when the clock had shown {} at most, and is due at {}",
            latest.0, job.due.0
        ));
    }
    let passed = start.at.saturating_sub(scheduler.at);
    let after = number(job_args(&job.record), "after").max(0.0);
    if !was_set && passed + PRECISION < Duration::from_secs_f64(after / 1e3) {
        return Err(format!(
            "it ran {passed:?} after it was scheduled, instead of {after} ms"
        ));
    }
    Ok(())
}

fn state(record: &Object) -> State {
    match job_state(record) {
        "pending" => State::Pending,
        "inProgress" => State::InProgress,
        "success" => State::Success,
        "failed" => State::Failed,
        "canceled" => State::Canceled,
        other => panic!("{other} is no state"),
    }
}

fn due(entry: &Object) -> Timestamp {
    let due = entry.get("due").and_then(Value::as_i64);
    let due = due.and_then(|due| u64::try_from(due).ok());
    Timestamp(due.unwrap_or_else(|| panic!("{entry:?} has no due time")))
}

fn count(change: &Change, report: &mut Report) {
    let is_lost = change
        .error
        .as_deref()
        .is_some_and(|error| error.contains("Transient error while executing action"));
    report.job(match (change.from, change.to) {
        (None, State::Canceled) => JobStep::CanceledAtBirth,
        (None, _) => JobStep::Scheduled,
        (Some(_), State::Pending) => JobStep::PutOff,
        (Some(_), State::InProgress) => JobStep::Began,
        (Some(_), State::Success) => JobStep::Succeeded,
        (Some(_), State::Failed) if is_lost => JobStep::ActionLost,
        (Some(_), State::Failed) => JobStep::Failed,
        (Some(State::InProgress), State::Canceled) => JobStep::CanceledInProgress,
        (Some(_), State::Canceled) => JobStep::Canceled,
    });
}
