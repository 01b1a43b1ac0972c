//! Defects on purpose, to measure what the simulation finds.
//!
//! A checker that has never failed proves nothing. Each [`Bug`] names a small defect of the kind that slips into such
//! code; where it would be made, the code asks [`planted`]. Tests switch one on and count the seeds until the
//! simulation notices (`sim/tests/planted.rs`).
//!
//! Without the feature `planted-bugs`, which only that test asks for, the answer is the constant `false` and nothing
//! is left of it in the program. With it, a bug is active in one thread, so that worlds on other threads are sound.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A defect that can be switched on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$name),*];
        }
    };
}

bugs! {
    // Transactions: what they depend on.
    /// A scan that came to its end does not depend on what lies beyond the last row.
    ScanEndNotRead,
    /// A scan depends on the rows it found, not on the gaps between them.
    GapsNotRead,
    /// A descending scan depends on nothing.
    DescendingNotRead,
    /// Reads of single documents are not recorded.
    PointsNotRead,
    /// Looking for a table that is not there is not recorded.
    MissingTableNotRead,
    /// An index is created without depending on the ids that others take.
    TakenIdsNotRead,
    /// Looking up a table does not depend on its list of indexes.
    TableIndexesNotRead,
    /// Rolling back forgets what was read as well.
    RollbackForgetsReads,

    // Transactions: what they see and write.
    /// What the transaction has moved or deleted is still found where it was.
    OwnDeletesNotSeen,
    /// An own row does not hide the stored one under the same key.
    StoredRowNotHidden,
    /// Own rows are merged into a descending scan as if it ascended.
    DescendingMergedAscending,
    /// A scan under way sees what the transaction writes meanwhile.
    LaterWritesSeen,
    /// Rolling back leaves the first write after the savepoint.
    RollbackKeepsOneWrite,
    /// Rolling back leaves what was undone counted.
    RollbackKeepsUsage,
    /// Rolling back leaves the catalog as it is.
    RollbackKeepsCatalog,
    /// The second write of a document forgets what was there before the first.
    SecondWriteForgetsBefore,
    /// Documents of one transaction have the same creation time.
    CreationTimesRepeat,
    /// Ids follow from the snapshot alone.
    IdsFromSnapshot,

    // Indexes.
    /// When a document moves, its old key lives on.
    OldKeyNotEnded,
    /// A key that stays the same is not led to the new revision.
    SameKeyNotRenewed,
    /// The last index of a table is not maintained.
    LastIndexNotMaintained,
    /// Keys of negative integers are not below those of positive ones.
    NegativeKeysAbove,
    /// Later creation times have smaller keys.
    FloatKeysReversed,

    /// The entries of the last page of a backfill are not written.
    LastBackfillPageLost,
    /// Writes do not maintain an index that is being filled.
    UnfilledNotMaintained,
    /// A push puts indexes in use that have not been filled.
    IndexUsedUnfilled,
    /// Indexes can be read before their push is finished.
    IndexReadTooEarly,

    // Schemas.
    /// Writes are not checked against the schema that is on its way.
    NextSchemaNotChecked,
    /// Writes are not checked against the schema in force.
    ActiveSchemaNotChecked,
    /// A push puts a schema in force before documents have been checked against it.
    SchemaActiveUnvalidated,

    // Commits.
    /// Accepted transactions that are on their way to disk are not looked at by validation.
    PendingNotValidated,
    /// The first commit after a snapshot is not looked at by validation.
    FirstCommitNotValidated,
    /// Only the newest commit of an index is looked at by validation.
    OnlyNewestValidated,
    /// Keys that a commit ended are not in its log entry.
    EndedKeysNotLogged,
    /// The log files a commit under one of its indexes only.
    OneIndexLogged,
    /// A timestamp is given twice.
    TimestampReused,
    /// A batch is written in the wrong order.
    BatchReversed,
    /// Commits are published while they are being written.
    PublishedBeforeDurable,
    /// A caller is told of the commit when it is accepted.
    AcknowledgedBeforeDurable,
    /// A write of unknown outcome is taken to have failed.
    UnknownTakenAsFailed,
    /// A write of unknown outcome is taken to have succeeded.
    UnknownTakenAsDone,
    /// When reading back fails, the write is taken to have failed.
    ReadBackFailureIgnored,
    /// The log keeps commits whose batch has failed.
    FailedBatchStaysInLog,
    /// Callers of a failed batch are told that it succeeded.
    FailureToldAsSuccess,
    /// Callers are told that they committed when they conflict.
    ConflictToldAsSuccess,
    /// The log is trimmed whatever snapshots are in use.
    PinsIgnored,
    /// The log is trimmed by one commit more than asked for.
    TrimmedOneTooFar,
    /// The log does not know how far it was trimmed.
    TrimNotNoted,
    /// A committer accepts writes after it was halted.
    HaltedAccepts,
    /// Snapshots of the past do not hold the log.
    PastNotPinned,

    // Catalog.
    /// A snapshot of the past has the tables of the newest.
    PastHasNewestCatalog,
    /// Committed changes of the catalog do not reach the next snapshot.
    CatalogNotPublished,
    /// Only the first page of a catalog is loaded.
    CatalogLoadedInPart,

    // Retention.
    /// What the first commit after the horizon replaced goes too.
    OneVersionTooMany,
    /// Old versions go though older snapshots are held.
    ReadersCutOff,
    /// The tombstone goes and leaves what it replaced.
    TombstoneGoesFirst,
    /// What is still to be deleted is noted as gone.
    DoneBeforeDeleted,
    /// The end of a key goes and leaves its beginning.
    KeyBeginningStays,
    /// A key that the newer version has too goes with the older one.
    SameKeyGoes,

    // Subscriptions.
    /// The first key of a range does not touch it.
    RangeStartNotTouched,
    /// A subtree's greatest end is taken to be that of its root.
    SubtreeEndNotUpdated,
    /// Taking a node out of the tree loses its right subtree.
    RemovalLosesSubtree,
    /// A commit reaches one of the subscriptions that it touches.
    OneSubscriptionTouched,
    /// Watchers are told, and the subscription remains valid.
    ToldNotInvalid,
    /// A subscription becomes invalid, and nobody is told.
    InvalidNotTold,
    /// A commit between the snapshot and the subscription to it goes unnoticed.
    RaceWithSubscribeMissed,
    /// Watching what is invalid already tells nobody.
    LateWatcherNotTold,
    /// Changes of the catalog do not touch subscriptions.
    CatalogTouchesNothing,

    // Queries.
    /// A range that ends below a value includes the value.
    UpperBoundIncluded,
    /// A page begins with the row that its cursor names.
    CursorRowRepeated,
    /// A page that is run again ends wherever it is full.
    PageEndForgotten,
    /// A limit lets one row more pass.
    LimitOneMore,

    // Functions.
    /// A cached result is used after what it read has changed.
    CacheServesStale,
    /// A cached result is used for other arguments.
    CacheIgnoresArguments,
    /// A run of a query is shared with those who ask for it at another timestamp.
    RunsSharedAcrossTime,
    /// Queries run at the newest snapshot, whatever was asked for.
    QueriesReadNewest,
    /// What a nested mutation has written remains when it fails.
    NestedWritesRemain,
    /// A mutation that failed is committed.
    FailedMutationCommitted,
    /// A mutation's result is not recorded under its request.
    RequestNotRecorded,
    /// A request that comes again is not looked up.
    RequestNotLookedUp,
    /// All requests of a session have one record.
    RequestNumberIgnored,
    /// A mutation is said to have committed at its snapshot.
    CommittedAtSnapshot,

    // Sessions.
    /// The first of the results that no longer hold is not run again.
    OneInvalidatedQueryKept,
    /// A transition takes all results that the connection holds to be valid.
    HeldResultsNotChecked,
    /// The connection does not watch the results that it holds.
    HeldResultsNotWatched,
    /// The version of the client's view is not advanced.
    VersionNotAdvanced,
    /// A response is followed by a transition only if there is another reason for one.
    ResponseNotCovered,
    /// A transition does not wait for the mutation that may be within it.
    MutationNotHeldFor,
    /// Only the first result of a query is told.
    ChangedResultNotTold,
    /// The client is not told of queries that it has removed.
    RemovalNotTold,
    /// Mutations of a connection run side by side.
    MutationsSideBySide,
    /// The next run of a query does not know where its page ended.
    JournalForgotten,

    // What is kept in memory.
    /// What the socket takes counts as a sign of life.
    TakenIsHeard,
    /// Recent writes are never forgotten.
    WritesKept,

    // The adapter of SQLite.
    /// The database goes on when its log could not be moved into the file.
    FailedMoveIgnored,

    // Scheduled functions.
    /// Functions run up to a second before they are due.
    JobRunsEarly,
    /// When the head of the queue cannot be read, it is taken to be empty.
    HeadFailureForgotten,
    /// Changes of the head of the queue go unnoticed.
    HeadNotWatched,
    /// A run that is over goes on to count as running.
    EndedJobStillRuns,
    /// What a mutation schedules is a transaction of its own.
    ScheduledApart,
    /// A scheduled mutation is finished in a transaction after its own.
    FinishedApart,
    /// What a scheduled mutation has written remains when it fails.
    FailedJobKeepsWrites,
    /// A scheduled mutation that fails is tried again.
    FailedJobTriedAgain,
    /// Canceling an action in progress changes nothing.
    CancelInProgressIgnored,
    /// What a canceled action schedules is not canceled.
    CanceledStillSchedules,
    /// A scheduled action runs without being marked as in progress.
    ActionNotMarked,
    /// Actions that were in progress when the server ended remain so.
    ActionsNotGivenUp,

    // The simulator's own storage.
    /// An append is not synced.
    SyncSkipped,
    /// An append that failed is left in the log.
    FailedAppendNotUndone,
    /// Checksums of records are not compared.
    ChecksumIgnored,
    /// A server goes on writing after another one has taken over.
    LeaseIgnored,
}

#[cfg(not(feature = "planted-bugs"))]
pub use absent::{active, planted, with};
#[cfg(feature = "planted-bugs")]
pub use present::{active, planted, with};

#[cfg(not(feature = "planted-bugs"))]
mod absent {
    use super::Bug;

    /// Whether a defect is active: never.
    pub const fn planted(_: Bug) -> bool {
        false
    }

    /// The defect that is active: none.
    pub const fn active() -> Option<Bug> {
        None
    }

    /// Runs `f`.
    pub fn with<T>(bug: Option<Bug>, f: impl FnOnce() -> T) -> T {
        assert!(bug.is_none(), "defects need the feature `planted-bugs`");
        f()
    }
}

#[cfg(feature = "planted-bugs")]
mod present {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether a defect is active in this thread.
    pub fn planted(bug: Bug) -> bool {
        ACTIVE.get() == Some(bug)
    }

    /// The defect that is active in this thread, for threads that it starts.
    pub fn active() -> Option<Bug> {
        ACTIVE.get()
    }

    /// Runs `f` with a defect, or none, active in this thread.
    pub fn with<T>(bug: Option<Bug>, f: impl FnOnce() -> T) -> T {
        /// Restores the state before, also after a panic.
        struct Restore(Option<Bug>);
        impl Drop for Restore {
            fn drop(&mut self) {
                ACTIVE.set(self.0);
            }
        }
        let _restore = Restore(ACTIVE.replace(bug));
        f()
    }
}
