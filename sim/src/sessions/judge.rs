//! The judge of worlds with sessions: replays the log on a model, commit by commit, and compares.
//!
//! Checked, beside what clients assert themselves:
//! * every commit of a function is exactly what its twin does to the model just before it, and came back as such;
//!   every other commit is a step in the life of one scheduled function, see [`super::schedule`];
//! * every result in every view of a client is the model's at the view's timestamp, and every row of a range is in
//!   exactly one of the pages over it;
//! * exactly once: each token's receipt is in the log at most once; there if its mutation came back, at that
//!   timestamp; not there if it failed; and never before the mutation was sent;
//! * nothing was ever shown as of a timestamp that is not in the log;
//! * an active schema holds for all documents, and an index is used only when it is complete;
//! * indexes are what recomputing them from the documents gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use concave_core::persistence::Persistence;
use concave_core::{DocumentId, Object, Timestamp, Value};

use super::pages::Pages;
use super::schedule::{self, ClockJumps, Jobs};
use crate::app::faults::{ENGINE_FAILED, Start};
use crate::app::twin::{
    JOBS, Scheduled, State, Write, job_args, job_token, number, text, without_system_fields,
};
use crate::app::{Function, value};
use crate::archive::Archive;
use crate::client::record::{Call, Outcome, Record, View, Watched};
use crate::oracle::{Commit, Log, all_indexes};
use crate::report::Report;

/// Timestamps at which the indexes are compared, besides the last one.
const INDEX_CHECKS: usize = 2;

/// What was noted of a world besides what its clients saw.
pub struct Noted {
    /// The commit after which clients came.
    pub began: Timestamp,
    /// The calls that the engine was given.
    pub starts: Vec<Start>,
    /// How the server's clock was set.
    pub clock_jumps: ClockJumps,
}

/// Judges a world by its storage, which must be healthy.
///
/// # Errors
/// What is wrong.
pub async fn check(
    record: &Record,
    noted: &Noted,
    archive: &Archive,
    storage: &dyn Persistence,
    report: &mut Report,
) -> Result<(), String> {
    let log = Log::read(storage, archive).await?;
    let mut views = record.views();
    // Those of one client stay in the order in which it saw them.
    views.sort_by_key(|view| view.ts);
    let mut judge = Judge {
        calls: record.calls(),
        began: noted.began,
        jobs: Jobs::default(),
        state: State::default(),
        receipts: BTreeMap::new(),
        pages: Pages::default(),
        memo: BTreeMap::new(),
        report,
    };
    let mut views = views.iter().peekable();
    for (position, commit) in log.commits.iter().enumerate() {
        judge.commit(commit)?;
        let next = log.commits.get(position + 1);
        judge.memo.clear();
        while let Some(view) = views.next_if(|view| next.is_none_or(|next| view.ts < next.ts)) {
            if view.ts != commit.ts {
                return Err(format!(
                    "client {} was shown the state of {}, which is not in the log",
                    view.client, view.ts.0
                ));
            }
            judge.view(view, commit)?;
        }
    }
    judge.all_accounted_for()?;
    let (starts, jumps) = (&noted.starts, &noted.clock_jumps);
    judge.jobs.check_starts(starts, jumps, judge.report)?;
    all_indexes(&log, archive, INDEX_CHECKS, storage).await
}

struct Judge<'a> {
    calls: BTreeMap<String, Call>,
    began: Timestamp,
    jobs: Jobs,
    state: State,
    /// Commits by the token in their receipts.
    receipts: BTreeMap<String, Timestamp>,
    pages: Pages,
    /// Results at the present timestamp.
    memo: BTreeMap<(Function, String), Value>,
    report: &'a mut Report,
}

impl Judge<'_> {
    fn commit(&mut self, commit: &Commit) -> Result<(), String> {
        let blame = |what: String| format!("the commit at {}: {what}", commit.ts.0);
        let mut changes = Vec::new();
        let mut records = Vec::new();
        for (revision, document) in &commit.revisions {
            let table = commit.catalog.table_by_id(revision.table);
            let table = table.ok_or("a revision belongs to no table")?;
            let id = DocumentId {
                table: table.number,
                internal: revision.id,
            };
            let change = (table.name.as_str(), id.encode(), document);
            match table.is_system() {
                false => changes.push(change),
                true if table.name == JOBS => records.push(change),
                true => {}
            }
        }
        let steps = self.jobs.commit(commit, self.report).map_err(blame)?;
        if !changes.is_empty() && commit.ts > self.began {
            self.effect(commit.ts, &changes, &records, steps)
                .map_err(blame)?;
        } else if !steps.is_empty() {
            self.of_scheduler(commit.ts, steps).map_err(blame)?;
        }
        for (table, id, document) in changes.into_iter().chain(records) {
            self.state.set(table, id, document.clone());
        }
        self.schema_holds(commit)
    }

    /// Compares a function's commit with what its twin does.
    fn effect(
        &mut self,
        ts: Timestamp,
        changes: &[Change<'_>],
        records: &[Change<'_>],
        mut steps: Vec<schedule::Change>,
    ) -> Result<(), String> {
        let mut receipts = changes.iter().filter(|(table, ..)| *table == "receipts");
        let receipt = match (receipts.next(), receipts.next()) {
            (Some((_, _, Some(receipt))), None) => receipt,
            _ => return Err(format!("it is not one mutation: {changes:?}")),
        };
        let token = text(receipt, "token");
        let path = text(receipt, "path");
        let function = Function::of_path(&path).ok_or("its function is unknown")?;
        let blame = |what: String| format!("{token} {function:?}: {what}");
        let args = receipt.get("args").and_then(Value::as_object);
        let args = args.ok_or("it has no arguments")?;
        if let Some(before) = self.receipts.insert(token.clone(), ts) {
            return Err(blame(format!("it ran before, at {}", before.0)));
        }
        // The run of a job ends it, and sees it in progress.
        let own = steps.iter().position(|step| step.token == token);
        match (own, self.jobs.state(&token)) {
            (Some(own), _) => {
                let step = steps.swap_remove(own);
                let expected = (Some(schedule::State::Pending), schedule::State::Success);
                if (step.from, step.to) != expected
                    || (step.function, &step.args) != (function, args)
                {
                    return Err(blame(format!("it is the run of {step:?}")));
                }
                self.set_in_progress(&token);
            }
            (None, None) if self.calls.contains_key(&token) => {}
            (None, None) => {
                let (action, _) = token.rsplit_once('/').ok_or("nobody sent it")?;
                self.while_in_progress(action).map_err(blame)?;
            }
            (None, Some(state)) => return Err(blame(format!("it ran, and is still {state:?}"))),
        }
        let (writes, result) = self
            .state
            .mutation(function, args)
            .map_err(|why| blame(format!("it must fail: {why}")))?;
        let writes = self.compare_jobs(writes, &steps, records).map_err(blame)?;
        self.compare(writes, changes).map_err(blame)?;
        self.was_sent_before(&token, ts).map_err(blame)?;
        self.report.effects += 1;
        let Some(call) = self.calls.get(&token) else {
            return Ok(());
        };
        if (call.function, value(&call.args)) != (function, args.clone().into()) {
            return Err(blame(format!("it is not what was sent: {call:?}")));
        }
        match &call.outcome {
            Outcome::Unknown => Err(blame("it was never answered".into())),
            Outcome::Failed(text) => Err(blame(format!("it was told to have failed: {text}"))),
            Outcome::Returned(value, told) if (value, *told) != (&result, Some(ts)) => Err(blame(
                format!("it gave {result:?}, and was told to give {value:?} at {told:?}"),
            )),
            Outcome::Returned(..) => Ok(()),
        }
    }

    /// A commit that changes nothing but scheduled functions is a step of one of them: by the scheduler, or by an action
    /// that schedules or cancels.
    fn of_scheduler(&mut self, ts: Timestamp, steps: Vec<schedule::Change>) -> Result<(), String> {
        use schedule::State::{Canceled, Failed, InProgress, Pending, Success};
        let [step] = &steps[..] else {
            return Err(format!("it is not one step: {steps:?}"));
        };
        let blame = |what: String| format!("{what}: {step:?}");
        match (step.from, step.to) {
            // A mutation that failed.
            (Some(Pending), Failed) => {
                self.set_in_progress(&step.token);
                let expected = self.state.mutation(step.function, &step.args).err();
                let error = step.error.as_deref().unwrap_or_default();
                if expected.is_none_or(|expected| !error.contains(expected))
                    && !error.contains(ENGINE_FAILED)
                {
                    return Err(blame(format!("it must end with {expected:?}")));
                }
            }
            (Some(Pending), Pending | InProgress) | (Some(InProgress), Failed) => {}
            (Some(InProgress), Success) => {
                let missing = self.missing(step.function, &step.token, &step.args);
                if let Some(missing) = missing {
                    return Err(blame(format!("it succeeded without {missing}")));
                }
            }
            (None, _) => {
                let scheduler = step.token.strip_suffix("/s").unwrap_or_default();
                let mut args = self.scheduling_action(scheduler).map_err(blame)?;
                self.while_in_progress(scheduler).map_err(blame)?;
                self.was_sent_before(scheduler, ts).map_err(blame)?;
                let after = number(&args, "after").max(0.0);
                args.insert("after", Value::from(after))
                    .expect("the name is good");
                let expected = self.state.scheduled(scheduler, &args);
                if args.get("via") == Some(&true.into()) || !is_as_scheduled(step, &expected) {
                    return Err(blame(format!("instead of {expected:?}")));
                }
            }
            (Some(_), Canceled) => {
                let scheduler = step.token.strip_suffix("/s").unwrap_or_default();
                let args = self.scheduling_action(scheduler).map_err(blame)?;
                if args.get("cancel") != Some(&true.into()) {
                    return Err(blame("nobody canceled it".into()));
                }
            }
            _ => return Err(blame("a mutation ran without a trace".into())),
        }
        Ok(())
    }

    /// The arguments of an action that schedules.
    fn scheduling_action(&self, token: &str) -> Result<Object, String> {
        let jobs = self.state.by(JOBS, "_creationTime");
        let job = jobs.into_iter().find(|job| job_token(job) == token);
        let (function, args) = match (job, self.calls.get(token)) {
            (Some(job), _) => {
                let path = text(job, "name").replace(".js:", ":");
                let args = job_args(job).clone();
                (Function::of_path(&path), args)
            }
            (None, Some(call)) => {
                let args = value(&call.args);
                let args = args.as_object().cloned().unwrap_or_default();
                (Some(call.function), args)
            }
            (None, None) => return Err("nobody did that".into()),
        };
        match function {
            Some(Function::ScheduleFromAction) => Ok(args),
            function => Err(format!("{function:?} does not do that")),
        }
    }

    /// Lets a job be in progress, as its own run sees it.
    fn set_in_progress(&mut self, token: &str) {
        let jobs = self.state.by(JOBS, "_creationTime");
        let job = jobs.into_iter().find(|job| job_token(job) == token);
        let mut running = (**job.expect("jobs that ran were scheduled")).clone();
        let state = Object::from_fields([("kind", "inProgress")]).expect("the name is good");
        running
            .insert("state", Value::from(state))
            .expect("the name is good");
        let id = text(&running, "_id");
        self.state.set(JOBS, id, Some(Arc::new(running)));
    }

    /// What a scheduled action does comes while it is in progress; if it was canceled meanwhile, at any time after that.
    fn while_in_progress(&self, action: &str) -> Result<(), String> {
        match self.jobs.state(action) {
            None | Some(schedule::State::InProgress | schedule::State::Canceled) => Ok(()),
            Some(state) => Err(format!("{action} did this while it was {state:?}")),
        }
    }

    /// Whatever happens was sent by a client, after what had been seen by then.
    fn was_sent_before(&self, token: &str, ts: Timestamp) -> Result<(), String> {
        let sent_as = token.split('/').next().unwrap_or_default();
        let call = self.calls.get(sent_as).ok_or("nobody sent it")?;
        let floor = call.floor.ok_or("it was not sent")?;
        if ts <= floor {
            return Err(format!("{} had been seen when it was sent", floor.0));
        }
        Ok(())
    }

    /// Compares what a mutation scheduled and canceled. Gives what else it should have written.
    fn compare_jobs(
        &self,
        writes: Vec<Write>,
        steps: &[schedule::Change],
        records: &[Change<'_>],
    ) -> Result<Vec<Write>, String> {
        let (of_jobs, others): (Vec<_>, Vec<_>) = writes
            .into_iter()
            .partition(|write| matches!(write, Write::Schedule(_) | Write::Cancel(_)));
        let is_done = |write: &Write| {
            steps.iter().any(|step| match write {
                Write::Schedule(scheduled) => is_as_scheduled(step, scheduled),
                Write::Cancel(token) => {
                    step.from.is_some()
                        && step.to == schedule::State::Canceled
                        && step.token == *token
                }
                _ => false,
            })
        };
        if of_jobs.len() != steps.len() || !of_jobs.iter().all(is_done) {
            return Err(format!("{records:?}, instead of {of_jobs:?}"));
        }
        Ok(others)
    }

    fn compare(&self, writes: Vec<Write>, changes: &[Change<'_>]) -> Result<(), String> {
        let mut missing = writes;
        for (table, id, document) in changes {
            let is_new = self.state.get(table, id).is_none();
            let found = missing.iter().position(|write| match (write, document) {
                (Write::Insert(name, content), Some(document)) => {
                    is_new && name == table && *content == without_system_fields(document)
                }
                (Write::Update(name, updated, content), Some(document)) => {
                    name == table && updated == id && *content == without_system_fields(document)
                }
                (Write::Delete(name, deleted), None) => name == table && deleted == id,
                _ => false,
            });
            let Some(found) = found else {
                return Err(format!(
                    "{table} {id} became {document:?}, instead of {missing:?}"
                ));
            };
            missing.swap_remove(found);
        }
        match missing.first() {
            Some(missing) => Err(format!("{missing:?} is not in the log")),
            None => Ok(()),
        }
    }

    /// What the active schema forbids is not there.
    fn schema_holds(&self, commit: &Commit) -> Result<(), String> {
        let Some(active) = &commit.catalog.schemas().active else {
            return Ok(());
        };
        let sample = [
            ("key", 0.0.into()),
            ("value", "text".into()),
            ("by", "".into()),
        ];
        let sample: Object =
            Object::from_fields::<_, Value>(sample).map_err(|error| error.to_string())?;
        let is_strict = active
            .definition
            .check_document("rows", &sample, &*commit.catalog)
            .is_err();
        let breaks = |row: &&&Arc<Object>| row.get("value").and_then(Value::as_f64).is_none();
        let rows = self.state.by("rows", "key");
        match rows.iter().find(breaks) {
            Some(row) if is_strict => Err(format!(
                "at {} the schema does not allow {row:?}",
                commit.ts.0
            )),
            _ => Ok(()),
        }
    }

    fn view(&mut self, view: &View, commit: &Commit) -> Result<(), String> {
        let blame = |what: String| format!("client {} at {}: {what}", view.client, view.ts.0);
        for (id, watched, shown) in &view.results {
            let function = watched.function;
            let blame =
                |what: String| blame(format!("query {id}, {function:?} {}: {what}", watched.args));
            match &**shown {
                Err(text) if text.contains(ENGINE_FAILED) => {}
                Err(text) => {
                    let is_missing =
                        function == Function::RowsByValue && !by_value_is_there(commit);
                    if !is_missing {
                        return Err(blame(format!("it failed: {text}")));
                    }
                }
                Ok(_) if function == Function::Page => {}
                Ok(shown) => {
                    let expected = self.expected(watched);
                    if value(shown) != *expected {
                        return Err(blame(format!(
                            "it is shown {shown}, instead of {expected:?}"
                        )));
                    }
                    if function == Function::RowsByValue {
                        if !by_value_is_there(commit) {
                            return Err(blame("its index is not there".into()));
                        }
                        self.report.fleeting_index_reads += 1;
                    }
                    self.report.results_checked += 1;
                }
            }
        }
        self.pages
            .check(view, &self.state, self.report)
            .map_err(blame)
    }

    fn expected(&mut self, watched: &Watched) -> &Value {
        let key = (watched.function, watched.args.to_string());
        self.memo.entry(key).or_insert_with(|| {
            let args = value(&watched.args);
            let args = args.as_object().expect("arguments are objects");
            self.state.query(watched.function, args)
        })
    }

    /// Whatever was told to have happened has happened.
    fn all_accounted_for(&self) -> Result<(), String> {
        for (token, call) in &self.calls {
            let Outcome::Returned(_, ts) = &call.outcome else {
                continue;
            };
            let args = value(&call.args);
            let args = args.as_object().expect("arguments are objects");
            if let Some(missing) = self.missing(call.function, token, args) {
                return Err(format!(
                    "{token} {:?} came back at {ts:?}, and {missing} is lost",
                    call.function
                ));
            }
        }
        Ok(())
    }
}

impl Judge<'_> {
    /// The first of the effects of a call that returned which is not there, or not in order.
    fn missing(&self, function: Function, token: &str, args: &Object) -> Option<String> {
        let tokens = match function {
            Function::Relay => vec![format!("{token}/1"), format!("{token}/2")],
            Function::ScheduleFromAction if args.get("via") == Some(&true.into()) => {
                vec![format!("{token}/m")]
            }
            Function::ScheduleFromAction => {
                let job = format!("{token}/s");
                return self.jobs.state(&job).is_none().then_some(job);
            }
            _ => vec![token.to_owned()],
        };
        let mut last = Timestamp::ZERO;
        for token in tokens {
            match self.receipts.get(&token) {
                Some(ts) if *ts > last => last = *ts,
                _ => return Some(token),
            }
        }
        None
    }
}

/// Whether a job is new and what it should be.
fn is_as_scheduled(step: &schedule::Change, expected: &Scheduled) -> bool {
    let mut args = step.args.clone();
    let Some(now) = args.remove("now").and_then(|now| now.as_f64()) else {
        return false;
    };
    let to = match expected.is_canceled {
        true => schedule::State::Canceled,
        false => schedule::State::Pending,
    };
    // Times are scheduled to the microsecond, and told in seconds.
    let is_timed = (step.scheduled_time - (now + expected.after)).abs() < 0.002;
    (step.from, step.to) == (None, to)
        && step.token == expected.token
        && step.function.path() == expected.path
        && args == expected.args
        && is_timed
}

/// A table, an id, and the document after the commit.
type Change<'a> = (&'a str, String, &'a Option<Arc<Object>>);

fn by_value_is_there(commit: &Commit) -> bool {
    let rows = commit.catalog.table("rows");
    let index = rows.and_then(|rows| rows.index("by_value"));
    index.is_some_and(|index| index.is_readable())
}
