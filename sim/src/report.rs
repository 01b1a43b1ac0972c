//! What a world did: how often each operation ended in each way, and how often each fault struck.
//!
//! Counts are printed and checked, since a generator that never fires, or a fault that never strikes, tests nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::app::Function;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Moves money between two accounts; the sum is constant.
    Transfer,
    /// Reads all accounts.
    Audit,
    /// Inserts a row with a key if a range of the index holds none.
    InsertUnique,
    /// Reads some lists and appends to some.
    Append,
    /// Reads a number and writes it back larger by one.
    Increment,
    /// Adds to a queue.
    Enqueue,
    /// Takes the oldest from a queue and files a receipt.
    Dequeue,
    /// Deletes the rows of a range.
    DeleteRange,
    /// Changes the indexed field of a row.
    MoveKey,
    /// Reads some of a range, smallest first.
    ScanForward,
    /// Reads some of a range, largest first.
    ScanBackward,
    /// Writes, reads what it wrote, rolls some of it back, reads again.
    RollBack,
    /// Creates a table with an index, and fills it.
    CreateTable,
    /// Reads at an older timestamp.
    ReadPast,
    /// Subscribes to a read and follows it.
    Watch,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 15] = [
        Operation::Transfer,
        Operation::Audit,
        Operation::InsertUnique,
        Operation::Append,
        Operation::Increment,
        Operation::Enqueue,
        Operation::Dequeue,
        Operation::DeleteRange,
        Operation::MoveKey,
        Operation::ScanForward,
        Operation::ScanBackward,
        Operation::RollBack,
        Operation::CreateTable,
        Operation::ReadPast,
        Operation::Watch,
    ];
}

/// How an attempt of an operation ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Committed, or read to the end, and answered.
    Done,
    /// It conflicted and was to be run again.
    Conflict,
    /// An error: storage failed, or the like. Nothing was changed.
    Failed,
    /// No answer came: whether it took effect is unknown.
    Lost,
}

impl Ending {
    /// All of them.
    pub const ALL: [Ending; 4] = [Ending::Done, Ending::Conflict, Ending::Failed, Ending::Lost];
}

/// What becomes of scheduled functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobStep {
    /// One was scheduled.
    Scheduled,
    /// One was scheduled by an action that was canceled meanwhile, and was so canceled at once.
    CanceledAtBirth,
    /// An action began.
    Began,
    /// It returned.
    Succeeded,
    /// It threw.
    Failed,
    /// The server ended, or failed, while the action was in progress.
    ActionLost,
    /// It was canceled while it waited.
    Canceled,
    /// It was canceled while it was in progress.
    CanceledInProgress,
    /// The server failed to run it, so that it was put off.
    PutOff,
}

impl JobStep {
    /// All of them.
    pub const ALL: [JobStep; 9] = [
        JobStep::Scheduled,
        JobStep::CanceledAtBirth,
        JobStep::Began,
        JobStep::Succeeded,
        JobStep::Failed,
        JobStep::ActionLost,
        JobStep::Canceled,
        JobStep::CanceledInProgress,
        JobStep::PutOff,
    ];
}

/// What goes wrong in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The server stops where it stands and is started again.
    Crash,
    /// The server's process ended and was started again, and the machine went on.
    ProcessKilled,
    /// The server crashed once more while it started.
    CrashLoop,
    /// A second server took the database over while the first one went on.
    TwoWriters,
    /// A crash lost a write that was not synced.
    UnsyncedLost,
    /// A crash kept a write that was not synced, though nobody was told that it succeeded.
    UnsyncedKept,
    /// A crash kept something of a later write though it lost an earlier one.
    Reordered,
    /// A crash kept some sectors of a write and lost others.
    TornWrite,
    /// A write to the disk failed; some of it may have been written.
    WriteFailed,
    /// The disk was full; some of a write may have been written.
    DiskFull,
    /// A sync failed: what was not synced may be lost.
    SyncFailed,
    /// After a failed sync, reads still saw what would be lost by a crash.
    SyncForgotten,
    /// A read gave a wrong bit, once.
    BitFlip,
    /// A write was reported as unknown, and had happened.
    UnknownApplied,
    /// A write was reported as unknown, and had not happened.
    UnknownDropped,
    /// A read from the disk failed.
    ReadFailed,
    /// A page was shorter than asked for.
    ShortPage,
    /// A disk operation took much longer than usual.
    SlowDisk,
    /// The server's clock jumped forward.
    ClockForward,
    /// The server's clock jumped back.
    ClockBack,
    /// From then on the server's clock went faster or slower than real time.
    ClockDrift,
    /// A transaction's answer got lost on its way to the client.
    ReplyLost,
    /// A file could not be opened.
    OpenFailed,
    /// The server found its storage failing when it started.
    StartFailed,
    /// Old versions were deleted while a transaction read at a snapshot that was not the newest.
    RetentionRace,
    /// A packet got lost.
    PacketLost,
    /// A packet took much longer than usual, and those behind it too.
    PacketDelayed,
    /// A packet was overtaken by later ones.
    PacketReordered,
    /// A packet arrived twice.
    PacketDoubled,
    /// A packet got lost because the way from one machine to another was cut.
    Partition,
    /// A packet got lost because its connection was forgotten on the way, while both sides believe in it.
    HalfOpen,
    /// A connection broke in the middle of a message.
    ResetInMessage,
    /// A client did not read for a while.
    SlowReader,
    /// A function's engine died under it.
    FunctionKilled,
    /// A function ran out of memory.
    FunctionOutOfMemory,
    /// A function took longer than it may.
    FunctionTimedOut,
    /// A schema was changed while sessions wrote.
    SchemaChangeRacing,
    /// An index was filled while sessions wrote.
    BackfillRacing,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 38] = [
        Fault::Crash,
        Fault::ProcessKilled,
        Fault::CrashLoop,
        Fault::TwoWriters,
        Fault::UnsyncedLost,
        Fault::UnsyncedKept,
        Fault::Reordered,
        Fault::TornWrite,
        Fault::WriteFailed,
        Fault::DiskFull,
        Fault::SyncFailed,
        Fault::SyncForgotten,
        Fault::ReadFailed,
        Fault::BitFlip,
        Fault::OpenFailed,
        Fault::SlowDisk,
        Fault::UnknownApplied,
        Fault::UnknownDropped,
        Fault::ShortPage,
        Fault::ClockForward,
        Fault::ClockBack,
        Fault::ClockDrift,
        Fault::ReplyLost,
        Fault::StartFailed,
        Fault::RetentionRace,
        Fault::PacketLost,
        Fault::PacketDelayed,
        Fault::PacketReordered,
        Fault::PacketDoubled,
        Fault::Partition,
        Fault::HalfOpen,
        Fault::ResetInMessage,
        Fault::SlowReader,
        Fault::FunctionKilled,
        Fault::FunctionOutOfMemory,
        Fault::FunctionTimedOut,
        Fault::SchemaChangeRacing,
        Fault::BackfillRacing,
    ];

    /// Whether it is drawn anew for every operation of the disk, of which a transaction has many.
    pub fn is_of_disk(self) -> bool {
        matches!(
            self,
            Fault::WriteFailed
                | Fault::DiskFull
                | Fault::SyncFailed
                | Fault::ReadFailed
                | Fault::BitFlip
                | Fault::OpenFailed
                | Fault::SlowDisk
        )
    }
}

/// Counts of one world, or the sum over several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Worlds.
    pub worlds: u64,
    /// Attempts by operation and ending.
    pub operations: BTreeMap<(Operation, Ending), u64>,
    /// Calls of functions by clients with sessions, by ending; for queries, results that were shown.
    pub calls: BTreeMap<(Function, Ending), u64>,
    /// What became of scheduled functions.
    pub jobs: BTreeMap<JobStep, u64>,
    /// Runs of scheduled functions that were compared with when they were due.
    pub job_starts_checked: u64,
    /// Faults that struck.
    pub faults: BTreeMap<Fault, u64>,
    /// Commits in the log that were replayed.
    pub commits: u64,
    /// Rows that were compared with the model.
    pub rows_checked: u64,
    /// Answers "not there" that were compared with the model.
    pub absences_checked: u64,
    /// Claims of subscriptions ("still the same at this timestamp") that were checked.
    pub claims_checked: u64,
    /// Subscriptions that fired.
    pub invalidations: u64,
    /// Writes of unknown outcome that turned out to be in the log.
    pub unknown_present: u64,
    /// Writes of unknown outcome that turned out to be absent.
    pub unknown_absent: u64,
    /// Commits of functions that were replayed.
    pub effects: u64,
    /// Results of queries that were compared with the model.
    pub results_checked: u64,
    /// Pages of which every row was accounted for.
    pub pages_checked: u64,
    /// Pages that followed another one.
    pub pages_followed: u64,
    /// Results of an index that was there only for a time.
    pub fleeting_index_reads: u64,
    /// Pushes that documents did not allow.
    pub pushes_refused: u64,
    /// Transactions that read at an older snapshot while recent writes were forgotten.
    pub trims_beside_readers: u64,
    /// Versions of documents that were deleted.
    pub versions_deleted: u64,
    /// Simulated time.
    pub simulated: Duration,
}

impl Report {
    /// Counts an attempt.
    pub fn count(&mut self, operation: Operation, ending: Ending) {
        *self.operations.entry((operation, ending)).or_default() += 1;
    }

    /// Counts a call.
    pub fn call(&mut self, function: Function, ending: Ending) {
        *self.calls.entry((function, ending)).or_default() += 1;
    }

    /// Counts what became of a scheduled function.
    pub fn job(&mut self, step: JobStep) {
        *self.jobs.entry(step).or_default() += 1;
    }

    /// Counts a fault.
    pub fn strike(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Counts a fault that struck so often.
    pub fn strikes(&mut self, fault: Fault, times: u64) {
        if times > 0 {
            *self.faults.entry(fault).or_default() += times;
        }
    }

    /// Adds another world's counts.
    pub fn add(&mut self, other: &Report) {
        self.worlds += other.worlds;
        for (key, count) in &other.operations {
            *self.operations.entry(*key).or_default() += count;
        }
        for (key, count) in &other.calls {
            *self.calls.entry(*key).or_default() += count;
        }
        for (step, count) in &other.jobs {
            *self.jobs.entry(*step).or_default() += count;
        }
        self.job_starts_checked += other.job_starts_checked;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.commits += other.commits;
        self.rows_checked += other.rows_checked;
        self.absences_checked += other.absences_checked;
        self.claims_checked += other.claims_checked;
        self.invalidations += other.invalidations;
        self.unknown_present += other.unknown_present;
        self.unknown_absent += other.unknown_absent;
        self.effects += other.effects;
        self.results_checked += other.results_checked;
        self.pages_checked += other.pages_checked;
        self.pages_followed += other.pages_followed;
        self.fleeting_index_reads += other.fleeting_index_reads;
        self.pushes_refused += other.pushes_refused;
        self.trims_beside_readers += other.trims_beside_readers;
        self.versions_deleted += other.versions_deleted;
        self.simulated += other.simulated;
    }

    /// How often an operation ended like that.
    pub fn count_of(&self, operation: Operation, ending: Ending) -> u64 {
        self.operations
            .get(&(operation, ending))
            .copied()
            .unwrap_or_default()
    }

    /// Names of everything that should have happened at least once and did not.
    pub fn zeros(&self) -> Vec<String> {
        let mut zeros = Vec::new();
        for operation in Operation::ALL {
            if self.count_of(operation, Ending::Done) == 0 {
                zeros.push(format!("{operation:?}"));
            }
        }
        for ending in Ending::ALL {
            let count = |operation| self.count_of(operation, ending);
            if Operation::ALL.into_iter().map(count).sum::<u64>() == 0 {
                zeros.push(format!("{ending:?}"));
            }
        }
        for fault in Fault::ALL {
            if !self.faults.contains_key(&fault) {
                zeros.push(format!("{fault:?}"));
            }
        }
        for function in Function::ALL {
            // These always throw.
            let ending = match function {
                Function::Refuse | Function::ScheduleAndRefuse => Ending::Failed,
                _ => Ending::Done,
            };
            if !self.calls.contains_key(&(function, ending)) {
                zeros.push(format!("{function:?}"));
            }
        }
        for step in JobStep::ALL {
            if !self.jobs.contains_key(&step) {
                zeros.push(format!("{step:?} of scheduled functions"));
            }
        }
        let others = [
            ("starts of jobs checked", self.job_starts_checked),
            ("commits", self.commits),
            ("rows checked", self.rows_checked),
            ("absences checked", self.absences_checked),
            ("claims checked", self.claims_checked),
            ("invalidations", self.invalidations),
            ("unknown present", self.unknown_present),
            ("unknown absent", self.unknown_absent),
            ("effects", self.effects),
            ("results checked", self.results_checked),
            ("pages checked", self.pages_checked),
            ("pages followed", self.pages_followed),
            ("fleeting index reads", self.fleeting_index_reads),
            ("pushes refused", self.pushes_refused),
            ("trims beside readers", self.trims_beside_readers),
            ("versions deleted", self.versions_deleted),
        ];
        let zero = |(name, count): &(&str, u64)| (*count == 0).then(|| (*name).to_owned());
        zeros.extend(others.iter().filter_map(zero));
        zeros
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} worlds, {:.0?} of simulated time",
            self.worlds, self.simulated
        )?;
        write!(f, "{:>16}", "")?;
        for ending in Ending::ALL {
            write!(f, "{:>10}", format!("{ending:?}").to_lowercase())?;
        }
        writeln!(f)?;
        for operation in Operation::ALL {
            write!(f, "{:>16}", format!("{operation:?}"))?;
            for ending in Ending::ALL {
                write!(f, "{:>10}", self.count_of(operation, ending))?;
            }
            writeln!(f)?;
        }
        for function in Function::ALL {
            write!(f, "{:>16}", format!("{function:?}"))?;
            for ending in Ending::ALL {
                let count = self.calls.get(&(function, ending)).copied();
                write!(f, "{:>10}", count.unwrap_or_default())?;
            }
            writeln!(f)?;
        }
        let jobs = JobStep::ALL.map(|step| {
            let count = self.jobs.get(&step).copied().unwrap_or_default();
            format!("{step:?} {count}")
        });
        writeln!(
            f,
            "scheduled functions: {}; {} starts checked",
            jobs.join(", "),
            self.job_starts_checked
        )?;
        for fault in Fault::ALL {
            let count = self.faults.get(&fault).copied().unwrap_or_default();
            writeln!(f, "{:>20}{count:>10}", format!("{fault:?}"))?;
        }
        writeln!(
            f,
            "{} effects of functions replayed; {} results and {} pages checked, {} of them following another; {} \
             reads of an index that came and went; {} pushes refused",
            self.effects,
            self.results_checked,
            self.pages_checked,
            self.pages_followed,
            self.fleeting_index_reads,
            self.pushes_refused,
        )?;
        write!(
            f,
            "{} commits replayed; {} rows, {} absences and {} claims of subscriptions checked; {} subscriptions \
             fired; of unknown writes {} were there and {} were not; {} versions deleted; {} transactions beside which \
             recent writes were forgotten",
            self.commits,
            self.rows_checked,
            self.absences_checked,
            self.claims_checked,
            self.invalidations,
            self.unknown_present,
            self.unknown_absent,
            self.versions_deleted,
            self.trims_beside_readers,
        )
    }
}
