//! The database: snapshots, reads, commits and subscriptions over a [`Persistence`].
//!
//! One mutex guards the committer, the newest snapshot and the subscription index, so that "the snapshot advances"
//! and "these subscriptions are invalid from it on" are one step. It is held for bookkeeping only, never across
//! storage. One task, the commit loop, feeds storage.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::{mpsc, oneshot};
use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt, StreamExt};

use super::in_memory::InMemory;
use super::pins::Pins;
use super::subscription::{Subscription, Subscriptions};
use crate::catalog::{self, Catalog, well_known};
use crate::commit::{BatchOutcome, Committer, Conflict, Rejection, Room};
use crate::concurrency::{Mutex, MutexGuard};
use crate::error::{Error, ErrorClass, Result};
use crate::key;
use crate::limits::Limits;
use crate::persistence::{
    IndexId, IndexPage, IndexRead, KeyRange, Order, Persistence, PersistenceError,
};
use crate::planted::{Bug, planted};
use crate::runtime::RuntimeHandle;
use crate::timestamp::Timestamp;
use crate::transaction::{
    Finished, ReadSet, Row, Scan, ScanStep, Snapshot, Transaction, successor,
};
use crate::value::{DocumentId, Object, Value, decode_document};

/// A handle to an open database. Clones share it; storage is released when the last one is dropped.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    /// Wakes the commit loop; the loop ends when all of these are gone.
    commits: mpsc::Sender<()>,
}

pub(super) struct Inner {
    runtime: RuntimeHandle,
    persistence: Arc<dyn Persistence>,
    state: Mutex<State>,
    /// Ends when `State::running` is dropped.
    stopping: Shared<oneshot::Receiver<()>>,
}

struct State {
    committer: Committer<Ticket>,
    snapshot: Snapshot,
    /// When the catalog last changed.
    catalog_changed: Timestamp,
    pins: Pins,
    subscriptions: Subscriptions,
    limits: Limits,
    /// Those whose transactions conflict with a commit that is on its way. Dropped whenever some commits are settled.
    unsettled: Vec<oneshot::Sender<()>>,
    /// Held until the database is shut down.
    running: Option<oneshot::Sender<()>>,
}

type Ticket = oneshot::Sender<Result<Timestamp>>;

/// Why a commit failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// Something that the transaction read has changed: run it again.
    Conflict {
        /// What both touched; `None` if the snapshot was too old to tell.
        conflict: Option<Conflict>,
        /// The table that `conflict` lies in, if it still exists.
        table: Option<String>,
    },
    /// Anything else.
    Failed(Error),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> Self {
        CommitError::Failed(error)
    }
}

/// Wait between attempts to read storage back after a write of unknown outcome.
const READ_BACK_RETRY: Duration = Duration::from_millis(200);

impl Database {
    /// Opens the database in `persistence`, creating its system tables if they are missing.
    ///
    /// # Errors
    /// If storage fails or its content is damaged.
    pub async fn open(runtime: RuntimeHandle, persistence: Arc<dyn Persistence>) -> Result<Self> {
        Self::open_with(runtime, persistence, Limits::default()).await
    }

    /// Like [`Self::open`], with other limits.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(
        runtime: RuntimeHandle,
        persistence: Arc<dyn Persistence>,
        limits: Limits,
    ) -> Result<Self> {
        let mut ts = persistence.max_ts().await?;
        let mut catalog = load_catalog(&*persistence, ts).await?;
        let missing = catalog::bootstrap_revisions(&catalog, runtime.now().max(ts.next()))?;
        if let Some(first) = missing.first() {
            ts = first.ts;
            persistence.write(missing).await?;
            catalog = load_catalog(&*persistence, ts).await?;
        }
        let snapshot = Snapshot {
            ts,
            catalog: Arc::new(catalog),
            pin: Arc::new(()),
        };
        let (running, stopping) = oneshot::channel();
        let state = State {
            committer: Committer::new(ts).with_room(limits.commit_queue),
            snapshot,
            catalog_changed: ts,
            pins: Pins::default(),
            subscriptions: Subscriptions::default(),
            limits,
            unsettled: Vec::new(),
            running: Some(running),
        };
        let inner = Arc::new(Inner {
            runtime,
            persistence,
            state: Mutex::new(state),
            stopping: stopping.shared(),
        });
        let (commits, wakeups) = mpsc::channel(1);
        inner
            .runtime
            .spawn(Box::pin(inner.clone().commit_loop(wakeups)));
        Ok(Self { inner, commits })
    }

    /// The world this database lives in.
    pub fn runtime(&self) -> &RuntimeHandle {
        &self.inner.runtime
    }

    /// The storage beneath, for jobs that go around transactions, such as index backfill.
    pub fn persistence(&self) -> &Arc<dyn Persistence> {
        &self.inner.persistence
    }

    /// Nobody reads at older timestamps, and nobody ever will.
    pub fn oldest_read(&self) -> Timestamp {
        let mut state = self.inner.lock();
        let remembered = state.committer.log().begins_after();
        let pinned = state.pins.oldest();
        pinned.map_or(remembered, |pinned| pinned.min(remembered))
    }

    /// Forgets what is too old, as after a commit.
    pub(super) fn trim(&self) {
        let now = self.inner.runtime.now();
        self.inner.lock().trim(now);
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.lock().snapshot.clone()
    }

    /// The snapshot of a recent timestamp.
    ///
    /// # Errors
    /// Code `OutOfRetention` if it is older than what is kept (about half a minute), `InvalidTimestamp` if it has
    /// not come yet.
    pub async fn snapshot_at(&self, ts: Timestamp) -> Result<Snapshot> {
        let mut snapshot = {
            let mut state = self.inner.lock();
            let newest = &state.snapshot;
            if ts > newest.ts {
                return Err(Error::bad_request(
                    "InvalidTimestamp",
                    "The timestamp lies in the future of this database. Get one from /api/query_ts.",
                ));
            }
            if ts == newest.ts {
                return Ok(newest.clone());
            }
            if ts < state.committer.log().begins_after() {
                return Err(Error::new(
                    ErrorClass::OutOfRetention,
                    "OutOfRetention",
                    "The timestamp is too old. Get a new one from /api/query_ts.",
                ));
            }
            let snapshot = Snapshot {
                ts,
                catalog: newest.catalog.clone(),
                pin: match planted(Bug::PastNotPinned) {
                    true => Arc::new(()),
                    false => state.pin(ts),
                },
            };
            if state.catalog_changed <= ts || planted(Bug::PastHasNewestCatalog) {
                return Ok(snapshot);
            }
            snapshot
        };
        snapshot.catalog = Arc::new(load_catalog(&*self.inner.persistence, ts).await?);
        Ok(snapshot)
    }

    /// Begins a transaction at the newest snapshot.
    pub fn begin(&self) -> Transaction {
        self.begin_at(self.snapshot())
    }

    /// Begins a transaction at a snapshot taken before.
    pub fn begin_at(&self, snapshot: Snapshot) -> Transaction {
        Transaction::begin(
            snapshot,
            self.inner.runtime.now(),
            self.inner.runtime.entropy(),
        )
    }

    /// The next row of a scan.
    ///
    /// # Errors
    /// If storage fails or a limit is exceeded.
    pub async fn next_row(&self, tx: &mut Transaction, scan: &mut Scan) -> Result<Option<Row>> {
        loop {
            match scan.next(tx)? {
                ScanStep::Row(row) => return Ok(Some(row)),
                ScanStep::Done => return Ok(None),
                ScanStep::Read(read) => scan.supply(self.inner.read_index(read).await?)?,
            }
        }
    }

    /// The document of that id.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn get(&self, tx: &mut Transaction, id: DocumentId) -> Result<Option<Row>> {
        let Some(table) = tx.table_by_number(id.table) else {
            return Ok(None);
        };
        let key = key::encode_key(&[Some(&Value::String(id.encode()))]);
        let mut scan =
            Scan::new(table.by_id().id, KeyRange::point(key), Order::Ascending, 1).uncounted();
        self.next_row(tx, &mut scan).await
    }

    /// Like [`Self::get`], counted towards the limits of a function.
    ///
    /// # Errors
    /// If storage fails or a limit is exceeded.
    pub async fn get_counted(&self, tx: &mut Transaction, id: DocumentId) -> Result<Option<Row>> {
        let row = self.get(tx, id).await?;
        if let Some(row) = &row {
            tx.count_read(row.document.size())?;
        }
        Ok(row)
    }

    /// All documents of a system table's index whose key begins with `prefix`, in key order. For system tables
    /// that are known to be small.
    ///
    /// # Errors
    /// If storage fails or there is no such index.
    pub async fn list_system(
        &self,
        tx: &mut Transaction,
        table: &str,
        index: &str,
        prefix: &[Value],
    ) -> Result<Vec<Row>> {
        let missing = || Error::internal(format!("The system index {table}.{index} is missing."));
        let table = tx.table(table).ok_or_else(missing)?;
        let index = table.index(index).ok_or_else(missing)?.id;
        let prefix: Vec<_> = prefix.iter().map(Some).collect();
        let range = KeyRange::prefix(key::encode_key(&prefix));
        let mut scan = Scan::new(index, range, Order::Ascending, usize::MAX).uncounted();
        let mut rows = Vec::new();
        while let Some(row) = self.next_row(tx, &mut scan).await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Commits a transaction and waits until it is durable and visible. One that wrote nothing is serialised at its
    /// snapshot, which is the timestamp returned.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] if it must run again; nothing was written then. It is told once the other commit can
    /// be seen or has failed: before that, running again would end in the same conflict.
    pub async fn commit(&self, tx: Transaction) -> Result<Timestamp, CommitError> {
        let snapshot = tx.snapshot().clone();
        let request = match tx.finish() {
            Finished::ReadOnly(_) => return Ok(snapshot.ts),
            Finished::Writes(request) => request,
        };
        let (ticket, answer) = oneshot::channel();
        let accepted = {
            let mut state = self.inner.lock();
            let now = self.inner.runtime.now();
            let accepted = state.committer.submit(now, request, ticket);
            if let (Ok(ts), true) = (&accepted, planted(Bug::AcknowledgedBeforeDurable)) {
                let _ = self.commits.clone().try_send(());
                return Ok(*ts);
            }
            if accepted.is_err() && planted(Bug::ConflictToldAsSuccess) {
                return Ok(snapshot.ts.next());
            }
            let idle = !state.committer.has_batch_in_flight();
            accepted.map(|_| idle).map_err(|(_, rejection)| rejection)
        };
        drop(snapshot);
        let idle = match accepted {
            Ok(idle) => idle,
            Err(rejection) => {
                if let Rejection::Conflict(conflict) = &rejection {
                    self.inner.settled(conflict.with).await;
                }
                return Err(self.inner.lock().explain(rejection));
            }
        };
        if idle {
            // Otherwise the loop looks again when that batch is settled. So it does if the channel is full.
            let _ = self.commits.clone().try_send(());
        }
        match answer.await {
            Ok(result) => Ok(result?),
            Err(oneshot::Canceled) => {
                Err(Error::operational("The server is shutting down.").into())
            }
        }
    }

    /// Registers interest in everything in `reads`, as read at `snapshot`.
    pub fn subscribe(&self, reads: &ReadSet, snapshot: &Snapshot) -> Subscription {
        let mut state = self.inner.lock();
        let state = &mut *state;
        let log = state.committer.log();
        let missed = if snapshot.ts < log.begins_after() {
            // What has changed since then is forgotten, so anything may have.
            Some(log.begins_after())
        } else {
            // A conflict that is not published yet is found again when it is.
            let newest = state.snapshot.ts;
            let conflict = log.first_conflict(reads, snapshot.ts);
            conflict
                .map(|conflict| conflict.with)
                .filter(|ts| *ts <= newest && !planted(Bug::RaceWithSubscribeMissed))
        };
        state
            .subscriptions
            .add(reads, missed, Arc::downgrade(&self.inner))
    }

    pub(super) fn count(&self, counts: &mut InMemory) {
        let state = self.inner.lock();
        counts.commits = state.committer.log().len();
        counts.commit_bytes = state.committer.log().bytes();
        counts.snapshots = 1 + state.pins.len();
        counts.subscriptions = state.subscriptions.len();
    }

    /// Refuses writes from now on, waits for those under way and leaves the database as it is.
    pub async fn shut_down(&self) {
        let dropped = {
            let mut state = self.inner.lock();
            let tickets = state.committer.halt(Error::new(
                ErrorClass::Overloaded,
                "ShuttingDown",
                "The server is shutting down. Try again on the next one.",
            ));
            let unsettled = std::mem::take(&mut state.unsettled);
            (tickets, unsettled, state.running.take())
        };
        drop(dropped);
    }

    /// Ends what goes on for as long as the database runs, and leaves what has an end of its own.
    pub fn say_goodbye(&self) {
        let running = self.inner.lock().running.take();
        drop(running);
    }

    /// Completes once [`Self::say_goodbye`] or [`Self::shut_down`] has been called, or another server has taken the
    /// database over.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + Unpin + use<> {
        self.inner.stopping.clone().map(|_| ())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no one panics while holding the database's state")
    }

    pub(super) fn with_subscriptions<T>(&self, f: impl FnOnce(&mut Subscriptions) -> T) -> T {
        f(&mut self.lock().subscriptions)
    }

    async fn read_index(&self, read: IndexRead) -> Result<IndexPage> {
        let page = self.persistence.read_index(read).await;
        if let Err(error @ PersistenceError::LeaseLost(_)) = &page {
            let waiting = {
                let mut state = self.lock();
                let tickets = state.committer.halt(error.clone().into());
                (tickets, std::mem::take(&mut state.unsettled))
            };
            drop(waiting);
            self.stop_if_taken_over();
        }
        Ok(page?)
    }

    /// Waits until the commit of that timestamp can be seen, or has failed.
    async fn settled(&self, ts: Timestamp) {
        loop {
            let wait = {
                let mut state = self.lock();
                if ts <= state.snapshot.ts || !state.committer.log().holds(ts) {
                    return;
                }
                let (sender, receiver) = oneshot::channel();
                state.unsettled.push(sender);
                receiver
            };
            // The sender is dropped, never used.
            let _ = wait.await;
        }
    }

    /// Once another server has the database, what this one shows is history: it ends its sessions, so that their
    /// clients look for the other one.
    fn stop_if_taken_over(&self) {
        let mut state = self.lock();
        if state.committer.is_taken_over() {
            let running = state.running.take();
            drop(state);
            drop(running);
        }
    }

    async fn commit_loop(self: Arc<Self>, mut wakeups: mpsc::Receiver<()>) {
        let mut write = None;
        loop {
            let Some(under_way) = write.take().or_else(|| self.write_next_batch()) else {
                match wakeups.next().await {
                    Some(()) => continue,
                    None => return,
                }
            };
            let result = match planted(Bug::PublishedBeforeDurable) {
                true => {
                    self.runtime.spawn(under_way.map(|_| ()).boxed());
                    Ok(())
                }
                false => under_way.await,
            };
            let mut outcome = self.lock().committer.batch_persisted(result);
            while let BatchOutcome::ReadBack { .. } = outcome {
                match self.persistence.max_ts().await {
                    Ok(newest) => outcome = self.lock().committer.batch_resolved(newest),
                    Err(
                        reason @ (PersistenceError::LeaseLost(_) | PersistenceError::Corrupt(_)),
                    ) => outcome = self.lock().committer.batch_abandoned(reason),
                    Err(_) if planted(Bug::ReadBackFailureIgnored) => {
                        let mut state = self.lock();
                        let durable = state.committer.durable();
                        outcome = state.committer.batch_resolved(durable);
                    }
                    Err(_) => self.runtime.sleep(READ_BACK_RETRY).await,
                }
            }
            // Storage goes on with the next batch while the callers of this one are answered.
            write = self.write_next_batch();
            match outcome {
                BatchOutcome::Published(commits) => self.publish(commits),
                BatchOutcome::Failed(tickets, error) => {
                    self.stop_if_taken_over();
                    for ticket in tickets {
                        // A caller that went away needs no answer.
                        let answer = match planted(Bug::FailureToldAsSuccess) {
                            true => Ok(self.runtime.now()),
                            false => Err(error.clone()),
                        };
                        let _ = ticket.send(answer);
                    }
                }
                BatchOutcome::ReadBack { .. } => unreachable!("the loop above settled it"),
            }
            let settled = std::mem::take(&mut self.lock().unsettled);
            drop(settled);
        }
    }

    fn write_next_batch(
        &self,
    ) -> Option<BoxFuture<'static, std::result::Result<(), PersistenceError>>> {
        let batch = self.lock().committer.next_batch()?;
        Some(self.persistence.write(batch))
    }

    fn publish(&self, commits: Vec<crate::commit::Published<Ticket>>) {
        let mut answers = Vec::with_capacity(commits.len());
        let mut fired = Vec::new();
        {
            let mut state = self.lock();
            let state = &mut *state;
            let mut catalog = state.snapshot.catalog.clone();
            for commit in commits {
                if !commit.catalog_changes.is_empty() {
                    state.catalog_changed = commit.ts;
                }
                let changes = match planted(Bug::CatalogNotPublished) {
                    true => &[],
                    false => commit.catalog_changes.as_slice(),
                };
                for change in changes {
                    Arc::make_mut(&mut catalog)
                        .apply(change.table, change.old.as_ref(), change.new.as_ref())
                        .expect("the transaction applied the same change to its own catalog");
                }
                state
                    .subscriptions
                    .invalidate(&commit.keys, commit.ts, &mut fired);
                answers.push((commit.ticket, commit.ts));
            }
            let ts = state.committer.durable();
            let old = std::mem::replace(
                &mut state.snapshot,
                Snapshot {
                    ts,
                    catalog,
                    pin: Arc::new(()),
                },
            );
            state.pins.insert(old.ts, &old.pin);
            drop(old);
            state.trim(self.runtime.now());
        }
        for subscription in fired {
            subscription.notify();
        }
        for (ticket, ts) in answers {
            let _ = ticket.send(Ok(ts));
        }
    }
}

impl State {
    /// Keeps what can be read at an older timestamp for as long as the pin is held.
    fn pin(&mut self, ts: Timestamp) -> Arc<()> {
        debug_assert!(ts >= self.committer.log().begins_after());
        self.pins.pin(ts)
    }

    /// Forgets writes that no snapshot in use needs, except recent ones: they serve [`Database::snapshot_at`]. What
    /// does not fit, or is older than any transaction should be, goes even if it is needed: those that need it run again.
    fn trim(&mut self, now: Timestamp) {
        if planted(Bug::PinsIgnored) {
            self.pins = Pins::default();
        }
        if planted(Bug::WritesKept) {
            return;
        }
        let ago = |time: Duration| {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            Timestamp(now.0.saturating_sub(nanos))
        };
        let oldest = self.pins.oldest().unwrap_or(self.snapshot.ts);
        let recent = ago(self.limits.past_reads);
        self.committer.trim_log(oldest.min(recent), Room::NONE);
        let old = ago(self.limits.write_log_time);
        self.committer.trim_log(old, Room::NONE);
        let room = Room {
            commits: self.limits.write_log_commits,
            bytes: self.limits.write_log,
        };
        self.committer.trim_log(self.snapshot.ts, room);
    }

    fn explain(&self, rejection: Rejection) -> CommitError {
        match rejection {
            Rejection::SnapshotTooOld => CommitError::Conflict {
                conflict: None,
                table: None,
            },
            Rejection::Conflict(conflict) => {
                let table = self
                    .snapshot
                    .catalog
                    .table_of_index(conflict.index)
                    .map(|table| table.name.clone());
                CommitError::Conflict {
                    conflict: Some(conflict),
                    table,
                }
            }
            Rejection::Overloaded => CommitError::Failed(Error::overloaded(
                "CommitterFullError",
                "Too many writes are waiting for the disk. Try again in a moment.",
            )),
            Rejection::Halted(error) => CommitError::Failed(error),
        }
    }
}

/// Builds the catalog from the documents that describe it.
async fn load_catalog(persistence: &dyn Persistence, at: Timestamp) -> Result<Catalog> {
    let mut catalog = Catalog::default();
    // Tables and indexes first; they tell where the rest is.
    for (table, index) in [
        (well_known::TABLES, well_known::TABLES_BY_ID),
        (well_known::INDEXES, well_known::INDEXES_BY_ID),
    ] {
        for document in load_all(persistence, index, at).await? {
            catalog.apply(table, None, Some(&Arc::new(document)))?;
        }
    }
    let configuration: Vec<_> = catalog
        .tables()
        .filter(|table| catalog.describes(table.id) && !well_known::is_fixed(table.id))
        .map(|table| (table.id, table.by_id().id))
        .collect();
    for (table, index) in configuration {
        for document in load_all(persistence, index, at).await? {
            catalog.apply(table, None, Some(&Arc::new(document)))?;
        }
    }
    Ok(catalog)
}

async fn load_all(
    persistence: &dyn Persistence,
    index: IndexId,
    at: Timestamp,
) -> Result<Vec<Object>> {
    let mut range = KeyRange::all();
    let mut documents = Vec::new();
    loop {
        let read = IndexRead {
            index,
            range: range.clone(),
            order: Order::Ascending,
            at,
            limit: 512,
        };
        let page = persistence.read_index(read).await?;
        for row in &page.rows {
            documents.push(decode_document(&row.document).map_err(|error| {
                Error::internal(format!(
                    "The database's catalog is damaged ({error}). Restore it from a backup."
                ))
            })?);
        }
        match page.rows.last() {
            Some(last) if !page.exhausted && !planted(Bug::CatalogLoadedInPart) => {
                range.start = successor(&last.key);
            }
            _ => return Ok(documents),
        }
    }
}
