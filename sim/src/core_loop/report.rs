//! What a loop did, counted: a generator that never fires tests nothing.

use std::fmt;

use super::mix::Operation;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A transaction was committed and published.
    Committed,
    /// A transaction ended without having written.
    ReadOnly,
    /// A transaction was refused because of a conflict, which was real.
    Conflict,
    /// A transaction was refused because the log did not reach back to its snapshot.
    TooOld,
    /// A transaction was refused because the committer had stopped.
    Halted,
    /// An accepted transaction was not stored.
    Failed,
    /// A transaction was given up before it was submitted.
    Abandoned,
    /// A transaction began at a snapshot that was not the newest.
    OldSnapshot,
    /// A committed transaction was replayed at its place in the order of commits.
    Replayed,
    /// A row was compared with the model.
    Row,
    /// A read by id found nothing.
    Absence,
    /// A range was read, smallest first.
    Forward,
    /// A range was read, largest first.
    Backward,
    /// A range was left before its end, at a limit.
    Limited,
    /// A document was inserted.
    Insert,
    /// A document was replaced.
    Replace,
    /// A document was deleted.
    Delete,
    /// Writes were rolled back.
    RollBack,
    /// A page was shorter than asked for.
    ShortPage,
    /// A batch was stored.
    Stored,
    /// A batch was refused by storage.
    Refused,
    /// A batch of unknown outcome was there.
    UnknownThere,
    /// A batch of unknown outcome was not there.
    UnknownAbsent,
    /// A batch of unknown outcome could not be read back: only the next committer finds out.
    UnknownForever,
    /// A batch was refused for good, and with it everything after it.
    LeaseLost,
    /// The committer was told to stop.
    Stopped,
    /// A committer began anew on what was stored.
    Restart,
    /// The log was trimmed as far as possible.
    Trim,
    /// A subscription was added.
    Subscribed,
    /// A subscription came too late: what it is about had changed before.
    Missed,
    /// A subscription fired.
    Fired,
    /// A subscription was dropped.
    Unsubscribed,
    /// A subscription's reads were replayed and gave the same.
    StillValid,
    /// The clock went back.
    ClockBack,
    /// A page of an index under construction was added.
    Backfilled,
}

impl Event {
    /// All of them, in order.
    pub const ALL: [Event; 35] = {
        use Event::*;
        [
            Committed,
            ReadOnly,
            Conflict,
            TooOld,
            Halted,
            Failed,
            Abandoned,
            OldSnapshot,
            Replayed,
            Row,
            Absence,
            Forward,
            Backward,
            Limited,
            Insert,
            Replace,
            Delete,
            RollBack,
            ShortPage,
            Stored,
            Refused,
            UnknownThere,
            UnknownAbsent,
            UnknownForever,
            LeaseLost,
            Stopped,
            Restart,
            Trim,
            Subscribed,
            Missed,
            Fired,
            Unsubscribed,
            StillValid,
            ClockBack,
            Backfilled,
        ]
    };
}

/// Counts of one loop, or the sum over several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Loops.
    pub loops: u64,
    /// A hash of all commits, to compare two runs of one seed.
    pub digest: u64,
    events: [u64; Event::ALL.len()],
    /// By operation: begun, ended well.
    operations: [(u64, u64); Operation::ALL.len()],
}

impl Default for Report {
    fn default() -> Self {
        Self {
            loops: 0,
            digest: 0,
            events: [0; Event::ALL.len()],
            operations: [(0, 0); Operation::ALL.len()],
        }
    }
}

impl Report {
    /// Counts something.
    pub fn count(&mut self, event: Event) {
        self.events[event as usize] += 1;
    }

    /// Counts a transaction that began.
    pub fn begun(&mut self, operation: Operation) {
        self.operations[operation as usize].0 += 1;
    }

    /// Counts a transaction that was published, or needed no commit.
    pub fn done(&mut self, operation: Operation) {
        self.operations[operation as usize].1 += 1;
    }

    /// How often something happened.
    pub fn of(&self, event: Event) -> u64 {
        self.events[event as usize]
    }

    /// Transactions that were run and judged.
    pub fn transactions(&self) -> u64 {
        self.operations.iter().map(|(begun, _)| begun).sum()
    }

    /// Adds another report.
    pub fn add(&mut self, other: &Report) {
        self.loops += other.loops;
        self.digest ^= other.digest;
        for (total, count) in self.events.iter_mut().zip(other.events) {
            *total += count;
        }
        for (total, count) in self.operations.iter_mut().zip(other.operations) {
            *total = (total.0 + count.0, total.1 + count.1);
        }
    }

    /// What should have happened and did not.
    pub fn zeros(&self) -> Vec<String> {
        let events = Event::ALL.iter().filter(|event| self.of(**event) == 0);
        let operations = Operation::ALL
            .iter()
            .filter(|operation| self.operations[**operation as usize].1 == 0);
        events
            .map(|event| format!("{event:?}"))
            .chain(operations.map(|operation| format!("{operation:?}")))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} loops, {} transactions",
            self.loops,
            self.transactions()
        )?;
        writeln!(f, "{:>14}{:>10}{:>10}", "", "begun", "done")?;
        for operation in Operation::ALL {
            let (begun, done) = self.operations[operation as usize];
            writeln!(f, "{:>14}{begun:>10}{done:>10}", format!("{operation:?}"))?;
        }
        for (n, event) in Event::ALL.into_iter().enumerate() {
            let end = if n % 3 == 2 { "\n" } else { "" };
            write!(f, "{:>16}{:>10}{end}", format!("{event:?}"), self.of(event))?;
        }
        Ok(())
    }
}
