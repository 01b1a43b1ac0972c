//! Scheduled functions: what a job is, how it may change, and which job runs when.
//!
//! A job is two documents with one internal id, written together. Its record in `_scheduled_functions` is what
//! functions see: name, arguments, state. Its entry in `_scheduled_jobs` says what the scheduler does with it next and
//! when. Entries are small and in order of that time, so that the scheduler reads as far as it needs and no further,
//! however many jobs there are and however large their arguments.
//!
//! A mutation's job is finished in the mutation's own transaction: its effects and its completion are there together
//! or not at all, so it happens exactly once. An action's job is marked as in progress before the action begins; if the
//! server ends before that changes, the job has failed and is not run again: at most once.
//!
//! Jobs are due by the wall clock. If it is set back, those that were scheduled before wait until it has caught up, as
//! they were promised; see [`ScheduledTime::due`] for those that are scheduled then.

mod backoff;
mod job;
mod queue;
mod record;
mod time;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use backoff::backoff;
pub use job::{Job, JobState};
pub use queue::{HEAD_ROWS, PARALLEL_MAX, Queue, Wish};
pub use record::{Entry, Found, Step, entry_id, insert, job_id, step_prefix};
pub use time::ScheduledTime;

/// The table of records, which functions can read.
pub const JOBS: &str = "_scheduled_functions";
/// The table of entries.
pub const ENTRIES: &str = "_scheduled_jobs";
/// The index of entries by step, due time and creation time.
pub const ENTRIES_BY_DUE: &str = "by_due";
/// How long the record of a finished job is kept.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What an action failed with if the server ended, or could not run it, after it was marked as in progress.
pub const ACTION_LOST: &str = "Transient error while executing action";
