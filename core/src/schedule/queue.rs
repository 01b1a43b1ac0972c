//! Which jobs run when.
//!
//! The queue knows the jobs that run, and the head of the line in storage: the first few entries, which is all that
//! it can start. Whoever drives it carries out its [`Wish`]es and tells it what came of them.
//!
//! What it knows may be out of date. That is harmless: whether a job runs is decided in a transaction that reads the job
//! again. So the queue only has to be right in the end, which it is since every change of the head is reported.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Entry;
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::value::InternalId;

/// Most jobs that run at once.
pub const PARALLEL_MAX: usize = 8;
/// How many entries the head has: those that run, those that could, and one more that tells when to look again.
pub const HEAD_ROWS: usize = PARALLEL_MAX + 1;
/// How long a wait for a due time lasts at most, since the clock may be set forward meanwhile.
const CLOCK_CHECK: Duration = Duration::from_secs(1);
/// Time between two looks for jobs that were finished long ago.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Wait after storage failed.
const RETRY: Duration = Duration::from_millis(500);

/// What the queue wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read the first [`HEAD_ROWS`] entries of jobs to be run, watch them, and answer with [`Queue::head_read`].
    ReadHead,
    /// Run this job, and report with [`Queue::ended`].
    Run(InternalId),
    /// Remove some jobs whose time is over, and answer with [`Queue::removed`].
    Remove,
}

/// The head of the line, as far as it is known.
#[derive(Clone, Debug)]
enum Head {
    /// To be read, but not before that monotonic time.
    Unknown(Duration),
    /// Being read. It is read again if the answer may lack the outcome of a job.
    Reading {
        again: bool,
    },
    Known(Vec<Entry>),
}

/// The state of a scheduler. Times: `now` is the wall clock's, `clock` is monotonic.
#[derive(Clone, Debug)]
pub struct Queue {
    running: BTreeSet<InternalId>,
    head: Head,
    /// When to look for jobs to be removed; `None` while that is being done.
    next_removal: Option<Duration>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            running: BTreeSet::new(),
            head: Head::Unknown(Duration::ZERO),
            next_removal: Some(Duration::ZERO),
        }
    }
}

impl Queue {
    /// What is to be done now.
    pub fn turn(&mut self, now: Timestamp, clock: Duration) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let free = PARALLEL_MAX - self.running.len();
        let now = match planted(Bug::JobRunsEarly) {
            true => Timestamp(now.0 + 1_000_000_000),
            false => now,
        };
        match &self.head {
            Head::Known(entries) => {
                let due = entries
                    .iter()
                    .take_while(|entry| entry.due <= now)
                    .map(|entry| entry.id);
                let starting: Vec<_> = due
                    .filter(|id| !self.running.contains(id))
                    .take(free)
                    .collect();
                self.running.extend(&starting);
                wishes.extend(starting.into_iter().map(Wish::Run));
            }
            Head::Unknown(from) if free > 0 && *from <= clock => {
                self.head = Head::Reading { again: false };
                wishes.push(Wish::ReadHead);
            }
            Head::Unknown(_) | Head::Reading { .. } => {}
        }
        if self.next_removal.is_some_and(|at| at <= clock) {
            self.next_removal = None;
            wishes.push(Wish::Remove);
        }
        wishes
    }

    /// The head was read: entries in order of their due time, or `None` if storage failed.
    pub fn head_read(&mut self, entries: Option<Vec<Entry>>, clock: Duration) {
        self.head = match (&self.head, entries) {
            (_, None) if planted(Bug::HeadFailureForgotten) => Head::Known(Vec::new()),
            (_, None) => Head::Unknown(clock + RETRY),
            // No job can begin while the head is unknown, so this happens as often as there are jobs running.
            (Head::Reading { again: true }, Some(_)) => Head::Unknown(Duration::ZERO),
            (_, Some(entries)) => Head::Known(entries),
        };
    }

    /// Something about the head has changed since it was read.
    pub fn head_changed(&mut self) {
        match &mut self.head {
            Head::Reading { again } => *again = true,
            // Waiting for storage to recover goes on.
            Head::Unknown(_) => {}
            Head::Known(_) => self.head = Head::Unknown(Duration::ZERO),
        }
    }

    /// A run of that job is over, whatever came of it.
    pub fn ended(&mut self, job: InternalId) {
        if !planted(Bug::EndedJobStillRuns) {
            self.running.remove(&job);
        }
        self.head_changed();
    }

    /// Jobs whose time is over were removed; there may be `more`. `None` if storage failed.
    pub fn removed(&mut self, more: Option<bool>, clock: Duration) {
        let wait = match more {
            Some(true) => Duration::ZERO,
            Some(false) => REMOVAL_INTERVAL,
            None => RETRY,
        };
        self.next_removal = Some(clock + wait);
    }

    /// How long there is nothing to do unless something is reported; `None` for as long as that.
    pub fn next_timeout(&self, now: Timestamp, clock: Duration) -> Option<Duration> {
        let has_room = self.running.len() < PARALLEL_MAX;
        let head = match &self.head {
            Head::Known(entries) if has_room => entries
                .iter()
                .find(|entry| !self.running.contains(&entry.id))
                .map(|entry| {
                    let wait = Duration::from_nanos(entry.due.0.saturating_sub(now.0));
                    wait.min(CLOCK_CHECK)
                }),
            Head::Unknown(from) if has_room => Some(from.saturating_sub(clock)),
            Head::Known(_) | Head::Unknown(_) | Head::Reading { .. } => None,
        };
        let removal = self.next_removal.map(|at| at.saturating_sub(clock));
        head.into_iter().chain(removal).min()
    }
}
