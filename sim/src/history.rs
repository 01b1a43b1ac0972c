//! Everything that transactions read, wrote and were told: what the oracle judges.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concave_core::persistence::Order;
use concave_core::{Object, Timestamp};

use crate::report::Operation;

/// One thing that a transaction did, in the order in which it did it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It looked up a table.
    Table {
        /// The table's name.
        name: String,
        /// Whether it was there.
        present: bool,
    },
    /// It read a range of the index by `key`.
    Scan {
        /// The table, which exists.
        table: String,
        /// Values of `key`.
        keys: Range<i64>,
        /// From which end.
        order: Order,
        /// It stopped after so many rows.
        limit: usize,
        /// What it found.
        rows: Vec<Arc<Object>>,
    },
    /// It read one document.
    Get {
        /// The table.
        table: String,
        /// The document's id.
        id: String,
        /// What it found.
        found: Option<Arc<Object>>,
    },
    /// It created a table.
    Create {
        /// The table.
        table: String,
    },
    /// It inserted or replaced a document.
    Put {
        /// The table.
        table: String,
        /// The whole document.
        document: Arc<Object>,
    },
    /// It deleted a document.
    Delete {
        /// The table.
        table: String,
        /// The document's id.
        id: String,
    },
    /// It marked a point to go back to.
    Savepoint,
    /// It went back to the last such point.
    RollBack,
}

/// What is known about the effect of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not asked to commit: nothing of it may ever be seen.
    Running,
    /// It asked to commit and got no answer: all of it or nothing.
    Submitted,
    /// It committed.
    Committed(Timestamp),
    /// It read and wrote nothing.
    ReadOnly,
    /// It was refused: nothing of it may ever be seen.
    Refused,
}

/// A subscription's word that re-reading gives the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// At this timestamp.
    At(Timestamp),
    /// At every timestamp below this one.
    Before(Timestamp),
}

/// One attempt to run a transaction.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What it is part of.
    pub operation: Operation,
    /// When it took its snapshot, in simulated time.
    pub began: Duration,
    /// What it read at.
    pub snapshot: Timestamp,
    /// Whether that was the newest snapshot, as opposed to one in the past that it asked for.
    pub newest: bool,
    /// What it did, if it came to the point of asking to commit.
    pub steps: Vec<Step>,
    /// What became of it.
    pub outcome: Outcome,
    /// When it knew its outcome.
    pub ended: Option<Duration>,
    /// What subscriptions to its reads claimed.
    pub claims: Vec<Claim>,
}

impl Attempt {
    /// Whether it has read from storage. That a document is not there may be known from the catalog, if its table is
    /// not there either.
    pub fn has_read(&self) -> bool {
        let reads =
            |step: &Step| matches!(step, Step::Scan { .. } | Step::Get { found: Some(_), .. });
        self.steps.iter().any(reads)
    }
}

/// All attempts of a world, by number. Clones share it.
#[derive(Clone, Default)]
pub struct History {
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl History {
    /// Adds an attempt that begins now, and gives its number.
    pub fn begin(
        &self,
        operation: Operation,
        began: Duration,
        snapshot: Timestamp,
        newest: bool,
    ) -> usize {
        let mut attempts = self.lock();
        attempts.push(Attempt {
            operation,
            began,
            snapshot,
            newest,
            steps: Vec::new(),
            outcome: Outcome::Running,
            ended: None,
            claims: Vec::new(),
        });
        attempts.len() - 1
    }

    /// Changes an attempt.
    pub fn update(&self, number: usize, change: impl FnOnce(&mut Attempt)) {
        change(&mut self.lock()[number]);
    }

    /// A copy of everything.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
