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
    /// Rolling back forgets what was read as well.
    RollbackForgetsReads,

    // Transactions: what they see and write.
    /// What the transaction has moved or deleted is still found where it was.
    OwnDeletesNotSeen,
    /// An own row does not hide the stored one under the same key.
    StoredRowNotHidden,
    /// Own rows are merged into a descending scan as if it ascended.
    DescendingMergedAscending,
    /// Rolling back leaves the first write after the savepoint.
    RollbackKeepsOneWrite,
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
    /// Snapshots of the past do not hold the log.
    PastNotPinned,

    // Catalog.
    /// A snapshot of the past has the tables of the newest.
    PastHasNewestCatalog,
    /// Committed changes of the catalog do not reach the next snapshot.
    CatalogNotPublished,
    /// Only the first page of a catalog is loaded.
    CatalogLoadedInPart,

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
