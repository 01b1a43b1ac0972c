//! The committer: one machine that orders all writes.
//!
//! [`Committer::submit`] validates a transaction against everything committed *or accepted and on its way to disk*
//! since its snapshot, and gives it the next timestamp. Accepted transactions gather in a batch;
//! [`Committer::next_batch`] hands the batch to the driver as soon as the previous one is durable, so that the next
//! batch fills while the disk works (group commit). [`Committer::batch_persisted`] publishes: only then are commits
//! visible and their callers answered.
//!
//! This is optimistic concurrency control with backward validation (Kung and Robinson, "On Optimistic Methods for
//! Concurrency Control", 1981) over a total order of timestamps.
//!
//! Invariants:
//! * Timestamps strictly increase: `durable <= in flight < pending`.
//! * A transaction with timestamp `t` and snapshot `s` was checked against every commit in `(s, t)`.
//! * Nothing is published before it is durable, and publication is in timestamp order.
//! * While the outcome of a batch is unknown, no other batch is handed out.

mod write_log;

use std::sync::Arc;

pub use write_log::{Conflict, Room, WriteLog, WrittenKeys};

use crate::error::{Error, ErrorClass};
use crate::persistence::{IndexUpdate, LEASE_LOST, PersistenceError, Revision, TableId};
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::transaction::{ReadSet, UnresolvedWrite};
use crate::value::{InternalId, Object};

/// A transaction that asks to be committed.
///
/// What can be computed before the transaction has its place in the order of commits, is.
#[derive(Debug)]
pub struct CommitRequest {
    snapshot: Timestamp,
    reads: ReadSet,
    pub(crate) writes: Vec<PreparedWrite>,
    keys: Arc<WrittenKeys>,
    /// Bytes of documents and keys.
    bytes: usize,
    /// Writes that depend on the timestamp that they get, by their place in `writes`.
    unresolved: Vec<(usize, UnresolvedWrite)>,
}

impl CommitRequest {
    /// Asks to commit `writes`, at least one, given that what was read as of `snapshot` has not changed.
    pub fn new(snapshot: Timestamp, reads: ReadSet, writes: Vec<PreparedWrite>) -> Self {
        assert!(
            !writes.is_empty(),
            "a transaction without writes needs no commit"
        );
        let mut bytes = 0;
        for write in &writes {
            assert!(
                write.prev_ts.is_none_or(|prev| prev <= snapshot),
                "what is replaced was seen in the snapshot"
            );
            if write.document.is_none() {
                assert!(write.prev_ts.is_some(), "what is deleted was there");
            }
            bytes += write.document.as_ref().map_or(0, Vec::len);
            for update in &write.index_updates {
                bytes += update.key.len();
            }
        }
        Self {
            snapshot,
            reads,
            keys: written_keys(&writes),
            writes,
            bytes,
            unresolved: Vec::new(),
        }
    }

    /// The same, with writes whose documents and keys hold the commit's own timestamp: they are made when it is known,
    /// and replace those in the given places.
    pub fn with_unresolved(mut self, unresolved: Vec<(usize, UnresolvedWrite)>) -> Self {
        assert!(
            unresolved
                .iter()
                .all(|(place, _)| *place < self.writes.len()),
            "what is replaced is there"
        );
        self.unresolved = unresolved;
        self
    }

    fn resolve(&mut self, ts: Timestamp) {
        for (place, unresolved) in std::mem::take(&mut self.unresolved) {
            let write = &mut self.writes[place];
            (write.document, write.index_updates) = unresolved.at(ts);
        }
        self.keys = written_keys(&self.writes);
        assert!(self.unresolved.is_empty());
    }
}

/// The keys that writes begin and end.
fn written_keys(writes: &[PreparedWrite]) -> Arc<WrittenKeys> {
    let updates = writes.iter().flat_map(|write| &write.index_updates);
    let logged = updates.filter(|update| update.live || !planted(Bug::EndedKeysNotLogged));
    let keys: Vec<_> = logged
        .map(|update| (update.index, update.key.clone()))
        .collect();
    assert!(
        planted(Bug::EndedKeysNotLogged) || !keys.is_empty(),
        "every write changes an index"
    );
    Arc::new(WrittenKeys::new(keys))
}

/// A document write, encoded and waiting for its timestamp.
#[derive(Debug)]
pub struct PreparedWrite {
    /// The table.
    pub table: TableId,
    /// The document.
    pub id: InternalId,
    /// The revision that is replaced.
    pub prev_ts: Option<Timestamp>,
    /// The stored form; `None` deletes.
    pub document: Option<Vec<u8>>,
    /// Index keys that begin or end.
    pub index_updates: Vec<IndexUpdate>,
    /// For documents that describe the catalog: before and after.
    pub catalog_change: Option<CatalogChange>,
}

/// Most transactions that wait for the disk at once, and the most that go into one batch.
pub const PENDING_COMMITS_MAX: usize = 8192;
/// Bytes of transactions that wait for the disk, unless said otherwise; one larger transaction can still wait alone.
pub const PENDING_BYTES_MAX: usize = 64 << 20;
/// A batch is closed when its documents exceed this many bytes; one larger transaction still makes a batch.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Why a transaction was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Something it read has changed. Run it again at a newer snapshot.
    Conflict(Conflict),
    /// Its snapshot is older than the log of recent writes reaches. Run it again.
    SnapshotTooOld,
    /// Too many commits wait for the disk. Try again later.
    Overloaded,
    /// The committer does not accept writes any more.
    Halted(Error),
}

/// An accepted transaction.
#[derive(Debug)]
struct Accepted<T> {
    ts: Timestamp,
    revisions: Vec<Revision>,
    bytes: usize,
    keys: Arc<WrittenKeys>,
    catalog_changes: Vec<CatalogChange>,
    ticket: T,
}

/// A change of a document that describes tables or indexes.
#[derive(Clone, Debug)]
pub struct CatalogChange {
    /// `_tables` or `_indexes`.
    pub table: TableId,
    /// Before.
    pub old: Option<Arc<Object>>,
    /// After.
    pub new: Option<Arc<Object>>,
}

/// A commit that is durable and may be made visible.
#[derive(Debug)]
pub struct Published<T> {
    /// Its timestamp.
    pub ts: Timestamp,
    /// What it wrote, for subscriptions.
    pub keys: Arc<WrittenKeys>,
    /// Its changes of the catalog, in order.
    pub catalog_changes: Vec<CatalogChange>,
    /// What the submitter handed in.
    pub ticket: T,
}

/// What became of a batch.
#[derive(Debug)]
pub enum BatchOutcome<T> {
    /// Durable: publish these in order.
    Published(Vec<Published<T>>),
    /// Not written, unless the error says that this is unknown: answer these with the error.
    Failed(Vec<T>, Error),
    /// Unknown: read the log after the timestamp and call [`Committer::batch_resolved`]; if that can never be, call
    /// [`Committer::batch_abandoned`].
    ReadBack {
        /// The newest timestamp known to be durable.
        after: Timestamp,
    },
}

/// The committer. `T` is whatever the driver needs to answer a submitter.
#[derive(Debug)]
pub struct Committer<T> {
    /// Newest published timestamp.
    durable: Timestamp,
    /// Newest assigned timestamp.
    assigned: Timestamp,
    log: WriteLog,
    pending: Vec<Accepted<T>>,
    /// What `pending` takes, and may take.
    pending_bytes: usize,
    pending_bytes_max: usize,
    in_flight: Vec<Accepted<T>>,
    halted: Option<Error>,
}

impl<T> Committer<T> {
    /// A committer for a database whose newest durable timestamp is `durable`.
    pub fn new(durable: Timestamp) -> Self {
        Self {
            durable,
            assigned: durable,
            log: WriteLog::new(durable),
            pending: Vec::new(),
            pending_bytes: 0,
            pending_bytes_max: PENDING_BYTES_MAX,
            in_flight: Vec::new(),
            halted: None,
        }
    }

    /// The same, with another bound than [`PENDING_BYTES_MAX`].
    pub fn with_room(self, pending_bytes_max: usize) -> Self {
        Self {
            pending_bytes_max,
            ..self
        }
    }

    /// The newest published timestamp: what snapshots are taken at.
    pub fn durable(&self) -> Timestamp {
        self.durable
    }

    /// The log of recent writes, accepted ones included.
    pub fn log(&self) -> &WriteLog {
        &self.log
    }

    /// Validates a transaction and gives it a timestamp, at or after `now` if the order of commits allows.
    ///
    /// # Errors
    /// The ticket comes back with the reason; nothing has changed.
    pub fn submit(
        &mut self,
        now: Timestamp,
        mut request: CommitRequest,
        ticket: T,
    ) -> Result<Timestamp, (T, Rejection)> {
        assert!(
            request.snapshot <= self.durable,
            "snapshots are taken of published commits"
        );
        if let Some(error) = &self.halted
            && !planted(Bug::HaltedAccepts)
        {
            return Err((ticket, Rejection::Halted(error.clone())));
        }
        let bytes = self.pending_bytes + request.bytes;
        if self.pending.len() >= PENDING_COMMITS_MAX
            || (bytes > self.pending_bytes_max && !self.pending.is_empty())
        {
            return Err((ticket, Rejection::Overloaded));
        }
        if request.snapshot < self.log.begins_after() {
            return Err((ticket, Rejection::SnapshotTooOld));
        }
        let conflict = self.log.first_conflict(&request.reads, request.snapshot);
        let is_seen = |with| with <= self.durable || !planted(Bug::PendingNotValidated);
        if let Some(conflict) = conflict.filter(|conflict| is_seen(conflict.with)) {
            return Err((ticket, Rejection::Conflict(conflict)));
        }
        assert!(
            self.pending.len() < PENDING_COMMITS_MAX,
            "the queue is bounded"
        );
        let first = match planted(Bug::TimestampReused) {
            true => self.assigned,
            false => self.assigned.next(),
        };
        let ts = now.max(first);
        assert!(ts > self.assigned);
        assert!(ts > request.snapshot);
        self.assigned = ts;
        if !request.unresolved.is_empty() {
            request.resolve(ts);
        }
        let mut catalog_changes = Vec::new();
        let revisions = request
            .writes
            .into_iter()
            .map(|write| {
                catalog_changes.extend(write.catalog_change);
                Revision {
                    ts,
                    table: write.table,
                    id: write.id,
                    prev_ts: write.prev_ts,
                    document: write.document,
                    index_updates: write.index_updates,
                }
            })
            .collect();
        // Tables before the indexes that belong to them, and what goes before what takes its name or its place.
        catalog_changes.sort_by_key(|change| (change.table, change.new.is_some()));
        self.log.append(ts, request.keys.clone());
        self.pending_bytes = bytes;
        self.pending.push(Accepted {
            ts,
            revisions,
            bytes: request.bytes,
            keys: request.keys,
            catalog_changes,
            ticket,
        });
        self.check();
        Ok(ts)
    }

    /// Whether a batch has been handed out and is not settled yet.
    pub fn has_batch_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// The next batch to persist, if there is one and the previous one is settled.
    pub fn next_batch(&mut self) -> Option<Vec<Revision>> {
        if !self.in_flight.is_empty() || self.pending.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |accepted: &Accepted<T>| {
            let first = bytes == 0;
            bytes += accepted.bytes + 1;
            first || bytes <= BATCH_BYTES_MAX
        };
        let count = self
            .pending
            .iter()
            .map(fits)
            .take_while(|fits| *fits)
            .count();
        let rest = self.pending.split_off(count);
        self.pending_bytes = rest.iter().map(|accepted| accepted.bytes).sum();
        self.in_flight = std::mem::replace(&mut self.pending, rest);
        assert!(count > 0, "a batch has at least one transaction");
        if planted(Bug::BatchReversed) {
            self.in_flight.reverse();
        }
        let batch = self
            .in_flight
            .iter_mut()
            .flat_map(|accepted| std::mem::take(&mut accepted.revisions));
        let batch: Vec<_> = batch.collect();
        debug_assert!(batch.is_sorted_by_key(|revision| revision.ts));
        self.check();
        Some(batch)
    }

    /// Takes the result of persisting the batch in flight.
    pub fn batch_persisted(&mut self, result: Result<(), PersistenceError>) -> BatchOutcome<T> {
        assert!(!self.in_flight.is_empty(), "a batch is in flight");
        match result {
            Ok(()) => self.publish(),
            Err(PersistenceError::Unknown(_)) if planted(Bug::UnknownTakenAsDone) => self.publish(),
            Err(PersistenceError::Unknown(_)) if !planted(Bug::UnknownTakenAsFailed) => {
                BatchOutcome::ReadBack {
                    after: self.durable,
                }
            }
            Err(error) => {
                if matches!(
                    error,
                    PersistenceError::LeaseLost(_) | PersistenceError::Corrupt(_)
                ) {
                    self.halted = Some(error.clone().into());
                }
                self.fail(error.into())
            }
        }
    }

    /// Settles a batch whose outcome was unknown. `newest` is the newest timestamp that the log now holds.
    pub fn batch_resolved(&mut self, newest: Timestamp) -> BatchOutcome<T> {
        let last = self.in_flight.last().expect("a batch is in flight").ts;
        if newest >= last {
            self.publish()
        } else {
            assert!(
                newest <= self.durable,
                "a batch is written wholly or not at all"
            );
            self.fail(Error::new(
                ErrorClass::Overloaded,
                "StorageUnavailable",
                "The write could not be stored. Nothing was changed; try again.",
            ))
        }
    }

    /// Settles a batch whose outcome was unknown and remains so, as this server may not read the log any more, or
    /// cannot. It writes nothing more.
    pub fn batch_abandoned(&mut self, reason: PersistenceError) -> BatchOutcome<T> {
        assert!(!self.in_flight.is_empty(), "a batch is in flight");
        self.halted = Some(reason.clone().into());
        let unknown = PersistenceError::Unknown(reason.to_string());
        self.fail(unknown.into())
    }

    /// Refuses all further writes and returns the tickets of those that wait. A batch in flight is settled as usual.
    pub fn halt(&mut self, error: Error) -> Vec<T> {
        self.halted = Some(error);
        let dropped = self.drop_pending();
        self.check();
        dropped
    }

    /// Whether it writes nothing more since another server has the database.
    pub fn is_taken_over(&self) -> bool {
        let halted = self.halted.as_ref();
        halted.is_some_and(|error| error.code == LEASE_LOST)
    }

    /// Forgets writes at or before `before`, the oldest first, until the others fit into `room`. Transactions with a
    /// snapshot before what is forgotten are refused from then on.
    pub fn trim_log(&mut self, before: Timestamp, room: Room) {
        self.log.trim(before.min(self.durable), room);
        self.check();
    }

    /// The machine's invariants, as far as they can be seen at a glance.
    fn check(&self) {
        assert!(self.durable <= self.assigned, "what is durable was ordered");
        assert!(
            self.log.begins_after() <= self.durable,
            "what is not durable is never forgotten"
        );
        assert!(self.pending.len() <= PENDING_COMMITS_MAX);
        assert!(self.pending.len() <= 1 || self.pending_bytes <= self.pending_bytes_max);
        let unsettled = self.in_flight.len() + self.pending.len();
        assert!(
            self.log.len() >= unsettled,
            "what is accepted is validated against"
        );
        let newest = self.pending.last().or(self.in_flight.last());
        assert_eq!(
            self.log.newest(),
            newest.map_or(self.log.newest(), |accepted| Some(accepted.ts))
        );
        if let (Some(first), Some(last)) = (self.in_flight.first(), self.in_flight.last()) {
            assert!(self.durable < first.ts, "what is in flight is not durable");
            assert!(last.ts <= self.assigned);
        }
        if let (Some(first), Some(last)) = (self.pending.first(), self.pending.last()) {
            assert!(self.halted.is_none(), "nothing waits that will not go on");
            assert!(last.ts <= self.assigned);
            assert!(self.durable < first.ts);
            let before = self.in_flight.last();
            assert!(
                before.is_none_or(|before| before.ts < first.ts),
                "batches keep the order"
            );
        }
        debug_assert!(self.in_flight.is_sorted_by(|a, b| a.ts < b.ts));
        debug_assert!(self.pending.is_sorted_by(|a, b| a.ts < b.ts));
    }

    fn publish(&mut self) -> BatchOutcome<T> {
        let mut published = Vec::with_capacity(self.in_flight.len());
        for accepted in std::mem::take(&mut self.in_flight) {
            assert!(
                accepted.ts > self.durable,
                "publication is in timestamp order"
            );
            self.durable = accepted.ts;
            published.push(Published {
                ts: accepted.ts,
                keys: accepted.keys,
                catalog_changes: accepted.catalog_changes,
                ticket: accepted.ticket,
            });
        }
        self.check();
        BatchOutcome::Published(published)
    }

    fn fail(&mut self, error: Error) -> BatchOutcome<T> {
        let failed = std::mem::take(&mut self.in_flight);
        let mut tickets = match planted(Bug::FailedBatchStaysInLog) {
            true => failed.into_iter().map(|accepted| accepted.ticket).collect(),
            false => self.forget(failed),
        };
        if self.halted.is_some() {
            tickets.extend(self.drop_pending());
        }
        self.check();
        BatchOutcome::Failed(tickets, error)
    }

    fn drop_pending(&mut self) -> Vec<T> {
        let dropped = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.forget(dropped)
    }

    /// Takes consecutive commits out of the log; gives their tickets.
    fn forget(&mut self, dropped: Vec<Accepted<T>>) -> Vec<T> {
        if let (Some(first), Some(last)) = (dropped.first(), dropped.last()) {
            assert!(first.ts > self.durable, "what is durable stays");
            assert!(first.ts <= last.ts);
            self.log.remove(first.ts..=last.ts);
        }
        dropped
            .into_iter()
            .map(|accepted| accepted.ticket)
            .collect()
    }
}

#[cfg(test)]
mod tests;
