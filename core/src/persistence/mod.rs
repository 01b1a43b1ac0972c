//! What the core asks of a storage engine.
//!
//! Storage is two versioned relations. The *log* holds every revision of every document. The *index* holds, for
//! each index key, which revision was current from a timestamp on. Nothing is ever overwritten: reads name a
//! timestamp, and see the newest version at or before it. Adapters store bytes; encoding, checksums and meaning
//! belong to the core.
//!
//! Contract, held to by every adapter:
//! * [`Persistence::write`] is atomic and durable when it answers `Ok`.
//! * [`PersistenceError::Unknown`] means the batch is either wholly there or wholly absent; the caller must read
//!   the log back before it writes again.
//! * One server at a time. If an adapter lets another server take a database over, whatever the older one asks for from
//!   then on fails with [`PersistenceError::LeaseLost`] and changes nothing. Reads too: the older server does not know
//!   what was committed since, and a read that succeeds is its proof that its newest snapshot still is the newest.
//!   What was under way then is `Unknown`, unless it is certain.
//! * Reads at a timestamp at or below the newest durable batch are repeatable, and may run beside a write.
//! * What [`Persistence::delete`] named is gone: the log has gaps, and [`Revision::prev_ts`] may name a revision that is
//!   not there any more. Nobody reads at timestamps that need it; the core sees to that (`core/src/retention`).
//! * Pages may be shorter than asked for, since adapters bound their bytes; only an exhausted page may be empty.
//!
//! With the feature `testing`, `conformance` checks an adapter against all of this, and `memory` is the plainest
//! adapter that passes.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod memory;

use futures_util::future::BoxFuture;

use crate::key;
use crate::timestamp::Timestamp;
use crate::value::InternalId;

/// Names a table for storage; never reused. Unlike a table *number* it is unique over the whole database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// Names an index for storage; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexId(pub u32);

/// A half-open range of index keys: `start <= key`, and `key < end` where there is an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    /// First key inside.
    pub start: Vec<u8>,
    /// First key outside; `None` means unbounded.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self::default()
    }

    /// Exactly one key.
    pub fn point(key: Vec<u8>) -> Self {
        let mut end = key.clone();
        end.push(0);
        Self {
            start: key,
            end: Some(end),
        }
    }

    /// Every key whose first components are those that `prefix` encodes; see [`key::after_prefix`].
    pub fn prefix(prefix: Vec<u8>) -> Self {
        let end = key::after_prefix(prefix.clone());
        Self {
            start: prefix,
            end: Some(end),
        }
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// What is left of the range after a scan in `order` that has come as far as `key`.
    pub fn beyond(mut self, key: &[u8], order: Order) -> Self {
        match order {
            Order::Ascending => {
                self.start.clear();
                self.start.extend_from_slice(key);
                self.start.push(0);
            }
            Order::Descending => self.end = Some(key.to_vec()),
        }
        self
    }

    /// Whether no key can lie inside.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end <= &self.start)
    }
}

/// Direction of an index read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Smallest key first.
    #[default]
    Ascending,
    /// Largest key first.
    Descending,
}

/// One new revision of one document, with the index keys it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// When it was committed. Several revisions share it when one transaction wrote several documents.
    pub ts: Timestamp,
    /// The table.
    pub table: TableId,
    /// The document within the table.
    pub id: InternalId,
    /// Timestamp of the revision that this one replaces, if there was a document before. That revision may have been
    /// deleted since.
    pub prev_ts: Option<Timestamp>,
    /// The stored form of the document; `None` is a tombstone.
    pub document: Option<Vec<u8>>,
    /// Index keys that this revision sets (for its own document) or ends. A key appears at most once per index.
    pub index_updates: Vec<IndexUpdate>,
}

/// A change of one index key, at the timestamp of the revision that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexUpdate {
    /// The index.
    pub index: IndexId,
    /// The order-preserving key; ends in the document's id, so a key belongs to one document.
    pub key: Vec<u8>,
    /// `true`: from now on the key leads to the revision. `false`: the key is gone.
    pub live: bool,
}

/// An index key for a document revision written earlier, found by backfilling a new index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillEntry {
    /// The index being filled.
    pub index: IndexId,
    /// The key of the revision in that index.
    pub key: Vec<u8>,
    /// The revision: its timestamp, table and document.
    pub ts: Timestamp,
    /// The table.
    pub table: TableId,
    /// The document.
    pub id: InternalId,
}

/// Names one revision in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionName {
    /// When it was committed.
    pub ts: Timestamp,
    /// The table.
    pub table: TableId,
    /// The document.
    pub id: InternalId,
}

/// Names one version of one index key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion {
    /// The index.
    pub index: IndexId,
    /// The key.
    pub key: Vec<u8>,
    /// From when on the version holds.
    pub ts: Timestamp,
}

/// Versions that nothing reads any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Superseded {
    /// From the log.
    pub revisions: Vec<RevisionName>,
    /// From the indexes, whether the key begins or ends there.
    pub keys: Vec<KeyVersion>,
}

impl Superseded {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.revisions.is_empty() && self.keys.is_empty()
    }
}

/// A page to read from an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRead {
    /// The index.
    pub index: IndexId,
    /// Which keys.
    pub range: KeyRange,
    /// From which end.
    pub order: Order,
    /// Versions newer than this are not seen.
    pub at: Timestamp,
    /// At most so many rows; at least 1.
    pub limit: usize,
}

/// A live key and its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// The key.
    pub key: Vec<u8>,
    /// When the revision was committed.
    pub ts: Timestamp,
    /// The stored form of the document.
    pub document: Vec<u8>,
}

/// What a page read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPage {
    /// Rows in the asked-for order.
    pub rows: Vec<IndexRow>,
    /// `true` only if the range holds nothing beyond these rows. If `false`, there may be more (or there may not:
    /// finding out can be dear); read on with the [`KeyRange::beyond`] the last key.
    pub exhausted: bool,
}

/// A page of the log, in commit order. Revisions of one timestamp are never split over pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// Revisions with empty `index_updates`.
    pub revisions: Vec<Revision>,
    /// `true` only if the log holds nothing newer.
    pub exhausted: bool,
}

/// Why storage failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersistenceError {
    /// Nothing was written. The request may be tried again.
    #[error("storage is temporarily unavailable: {0}")]
    Unavailable(String),
    /// The batch is wholly there or wholly absent, and it is not known which. Read the log back.
    #[error("the outcome of a write is unknown: {0}")]
    Unknown(String),
    /// Another server holds the database now; this one must stop writing.
    #[error("another server has taken over this database: {0}")]
    LeaseLost(String),
    /// Stored data is damaged. The text says what and where.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// There is no space. Nothing was written. Reads go on, and writes do once there is space.
    #[error("the server's disk is full: {0}. Nothing was written; try again when there is space")]
    Full(String),
    /// Anything else. Nothing was written.
    #[error("storage failed: {0}")]
    Other(String),
}

/// Code of the error that [`PersistenceError::LeaseLost`] becomes.
pub const LEASE_LOST: &str = "LeaseLost";
/// Code of the error that [`PersistenceError::Unknown`] becomes: the write may have happened.
pub const OUTCOME_UNKNOWN: &str = "StorageOutcomeUnknown";

impl From<PersistenceError> for crate::Error {
    fn from(error: PersistenceError) -> Self {
        use crate::ErrorClass;
        let (class, code) = match &error {
            PersistenceError::Unavailable(_) => (ErrorClass::Overloaded, "StorageUnavailable"),
            PersistenceError::Full(_) => (ErrorClass::Overloaded, "StorageFull"),
            PersistenceError::Unknown(_) => (ErrorClass::Operational, OUTCOME_UNKNOWN),
            PersistenceError::LeaseLost(_) => (ErrorClass::Operational, LEASE_LOST),
            PersistenceError::Corrupt(_) => (ErrorClass::Internal, "StorageCorrupt"),
            PersistenceError::Other(_) => (ErrorClass::Operational, "StorageFailed"),
        };
        crate::Error::new(class, code, error.to_string())
    }
}

/// A storage engine.
pub trait Persistence: Send + Sync + 'static {
    /// Appends revisions and their index updates, atomically and durably. Timestamps in a batch are ascending and
    /// all greater than those of earlier batches. The core never has two writes under way at once.
    fn write(&self, revisions: Vec<Revision>) -> BoxFuture<'static, Result<(), PersistenceError>>;

    /// Adds index keys for old revisions. Idempotent; may run beside [`Self::write`]. An entry whose key already
    /// has a version at the same timestamp is left as it is.
    fn backfill(
        &self,
        entries: Vec<BackfillEntry>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>>;

    /// Deletes exactly the named versions, atomically and durably. Idempotent: a version that is not there is passed
    /// over. May run beside writes, backfills and reads; its outcome may stay unknown, since it may be repeated. The
    /// space is used again for what is written later.
    ///
    /// The caller sees to it that no read at a timestamp still in use would find what is named, and that the newest
    /// timestamp of the log is not named, so that [`Self::max_ts`] stays what it is; naming it is refused.
    fn delete(&self, superseded: Superseded) -> BoxFuture<'static, Result<(), PersistenceError>>;

    /// Deletes up to `limit` versions of an index's keys, whichever; `true` once none is left. For indexes that have
    /// been dropped. Otherwise like [`Self::delete`].
    fn delete_index(
        &self,
        index: IndexId,
        limit: usize,
    ) -> BoxFuture<'static, Result<bool, PersistenceError>>;

    /// Reads a page of an index as of a timestamp.
    fn read_index(
        &self,
        read: IndexRead,
    ) -> BoxFuture<'static, Result<IndexPage, PersistenceError>>;

    /// Reads revisions committed after `after`, about `limit` of them.
    fn read_log(
        &self,
        after: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<LogPage, PersistenceError>>;

    /// The newest durable timestamp; [`Timestamp::ZERO`] for an empty database.
    fn max_ts(&self) -> BoxFuture<'static, Result<Timestamp, PersistenceError>>;

    /// A small named value outside the versioned relations, such as the deployment's name or secret.
    fn get_global(
        &self,
        name: &'static str,
    ) -> BoxFuture<'static, Result<Option<Vec<u8>>, PersistenceError>>;

    /// Sets a named value, durably.
    fn set_global(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>>;
}
