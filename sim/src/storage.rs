//! A disk that forgets, and storage on it.
//!
//! [`Disk`] is one append-only file of records with a volatile buffer in front, as an operating system's page cache
//! is. [`SimPersistence`] is log-structured storage over it: a write is one record, appended and synced; reads are
//! served from an index in memory that is rebuilt from the file when storage is opened.
//!
//! Faults that storage must survive, and may be given: latency; operations that fail and change nothing; writes whose
//! outcome is reported as unknown, before or after they happened; short pages; a crash at any instant, which keeps
//! some prefix of what was not synced and loses the rest. A record is kept or lost as a whole: a torn one fails its
//! checksum and ends the file. Faults that no storage survives are not simulated: synced data that is lost.
//!
//! Invariants, asserted: timestamps ascend, over crashes too; there are never two writes under way at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concave_core::Timestamp;
use concave_core::persistence::memory::MemoryPersistence;
use concave_core::persistence::{
    BackfillEntry, IndexPage, IndexRead, LogPage, Persistence, PersistenceError, Revision,
};
use concave_core::runtime::Runtime;
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::executor::Node;
use crate::report::{Fault, Report};
use crate::settings::Settings;

/// How much longer than usual a slow operation takes at most.
const SLOW_FACTOR: u32 = 200;

/// The part of a machine that outlives a crash. Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

struct State {
    rng: Rng,
    latency: Duration,
    /// Faults strike by these chances; `None` while the world is healthy.
    faults: Option<Settings>,
    report: Report,
    /// What survives a crash.
    durable: Vec<Record>,
    /// What was appended after it and not synced.
    volatile: Vec<Record>,
}

#[derive(Clone)]
enum Record {
    Revisions(Vec<Revision>),
    Backfill(Vec<BackfillEntry>),
    Global(&'static str, Vec<u8>),
}

impl Disk {
    /// An empty disk without faults.
    pub fn new(rng: Rng, latency: Duration) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                rng,
                latency,
                faults: None,
                report: Report::default(),
                durable: Vec::new(),
                volatile: Vec::new(),
            })),
        }
    }

    /// From now on faults strike as `settings` say; `None` heals the disk.
    pub fn set_faults(&self, settings: Option<Settings>) {
        self.lock().faults = settings;
    }

    /// Forgets what was not synced, except for a prefix of it that happened to be written out.
    pub fn crash(&self) {
        let mut state = self.lock();
        let unsynced = state.volatile.len();
        let kept = state.rng.usize(..=unsynced);
        let mut volatile = std::mem::take(&mut state.volatile);
        volatile.truncate(kept);
        state.durable.extend(volatile);
        for position in 0..unsynced {
            state.report.strike(if position < kept {
                Fault::UnsyncedKept
            } else {
                Fault::UnsyncedLost
            });
        }
    }

    /// Whether a crash could lose something now.
    pub fn has_unsynced(&self) -> bool {
        !self.lock().volatile.is_empty()
    }

    /// Faults that struck so far.
    pub fn report(&self) -> Report {
        self.lock().report.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `fault` strikes now.
    fn strikes(&self, fault: Fault) -> bool {
        self.lock().strikes(fault)
    }

    /// How long the next operation takes.
    fn delay(&self) -> Duration {
        let mut state = self.lock();
        let latency = state.latency.mul_f64(state.rng.f64());
        if state.strikes(Fault::SlowDisk) {
            latency * state.rng.u32(2..=SLOW_FACTOR)
        } else {
            latency
        }
    }
}

impl State {
    fn strikes(&mut self, fault: Fault) -> bool {
        let Some(settings) = &self.faults else {
            return false;
        };
        let strikes = self.rng.f64() < settings.chance(fault);
        if strikes {
            self.report.strike(fault);
        }
        strikes
    }
}

/// Storage on a [`Disk`], for one life of a server.
#[derive(Clone)]
pub struct SimPersistence {
    disk: Disk,
    node: Node,
    /// Everything that is durable, indexed.
    view: Arc<MemoryPersistence>,
    writing: Arc<Mutex<bool>>,
}

impl SimPersistence {
    /// Reads the disk and builds the index.
    pub fn open(node: Node, disk: Disk) -> Self {
        let view = MemoryPersistence::new();
        let records = disk.lock().durable.clone();
        for record in records {
            apply(&view, record);
        }
        Self {
            disk,
            node,
            view: Arc::new(view),
            writing: Arc::default(),
        }
    }

    /// Appends a record and syncs.
    async fn append(self, what: String, record: Record) -> Result<(), PersistenceError> {
        let unavailable = || PersistenceError::Unavailable("the simulated disk refused".into());
        let unknown = || PersistenceError::Unknown("the simulated disk does not answer".into());
        self.node.sleep(self.disk.delay()).await;
        if self.disk.strikes(Fault::WriteRefused) {
            self.node.trace(format!("disk: refused {what}"));
            return Err(unavailable());
        }
        if self.disk.strikes(Fault::UnknownDropped) {
            self.node.sleep(self.disk.delay()).await;
            self.node.trace(format!("disk: unknown, dropped {what}"));
            return Err(unknown());
        }
        self.disk.lock().volatile.push(record);
        self.node.sleep(self.disk.delay()).await;
        let synced = {
            let mut state = self.disk.lock();
            let synced = std::mem::take(&mut state.volatile);
            state.durable.extend(synced.iter().cloned());
            synced
        };
        for record in synced {
            apply(&self.view, record);
        }
        if self.disk.strikes(Fault::UnknownApplied) {
            self.node.sleep(self.disk.delay()).await;
            self.node.trace(format!("disk: unknown, applied {what}"));
            return Err(unknown());
        }
        self.node.trace(format!("disk: synced {what}"));
        Ok(())
    }

    /// Waits as long as a read takes.
    async fn reading(&self) -> Result<(), PersistenceError> {
        self.node.sleep(self.disk.delay()).await;
        if self.disk.strikes(Fault::ReadFailed) {
            return Err(PersistenceError::Unavailable(
                "the simulated disk could not be read".into(),
            ));
        }
        Ok(())
    }
}

/// Adds a record to the index. Storage in memory answers at once.
fn apply(view: &MemoryPersistence, record: Record) {
    let done = match record {
        Record::Revisions(revisions) => view.write(revisions).now_or_never(),
        Record::Backfill(entries) => view.backfill(entries).now_or_never(),
        Record::Global(name, value) => view.set_global(name, value).now_or_never(),
    };
    done.expect("storage in memory answers at once")
        .expect("timestamps ascend, and backfilled revisions exist");
}

impl Persistence for SimPersistence {
    fn write(&self, revisions: Vec<Revision>) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let this = self.clone();
        let what = format!(
            "{} revisions up to {}",
            revisions.len(),
            revisions.last().map_or(0, |revision| revision.ts.0)
        );
        async move {
            let was_writing = std::mem::replace(
                &mut *this.writing.lock().unwrap_or_else(PoisonError::into_inner),
                true,
            );
            assert!(!was_writing, "two writes are under way at once");
            let writing = this.writing.clone();
            let result = this.append(what, Record::Revisions(revisions)).await;
            *writing.lock().unwrap_or_else(PoisonError::into_inner) = false;
            result
        }
        .boxed()
    }

    fn backfill(
        &self,
        entries: Vec<BackfillEntry>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let what = format!("{} backfilled keys", entries.len());
        self.clone().append(what, Record::Backfill(entries)).boxed()
    }

    fn read_index(
        &self,
        mut read: IndexRead,
    ) -> BoxFuture<'static, Result<IndexPage, PersistenceError>> {
        let this = self.clone();
        async move {
            this.reading().await?;
            if read.limit > 1 && this.disk.strikes(Fault::ShortPage) {
                read.limit = this.disk.lock().rng.usize(1..read.limit);
            }
            this.view.read_index(read).await
        }
        .boxed()
    }

    fn read_log(
        &self,
        after: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<LogPage, PersistenceError>> {
        let this = self.clone();
        async move {
            this.reading().await?;
            this.view.read_log(after, limit).await
        }
        .boxed()
    }

    fn max_ts(&self) -> BoxFuture<'static, Result<Timestamp, PersistenceError>> {
        let this = self.clone();
        async move {
            this.reading().await?;
            this.view.max_ts().await
        }
        .boxed()
    }

    fn get_global(
        &self,
        name: &'static str,
    ) -> BoxFuture<'static, Result<Option<Vec<u8>>, PersistenceError>> {
        let this = self.clone();
        async move {
            this.reading().await?;
            this.view.get_global(name).await
        }
        .boxed()
    }

    fn set_global(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let what = format!("the global {name}");
        self.clone()
            .append(what, Record::Global(name, value))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use concave_core::persistence::conformance;

    use super::*;
    use crate::executor::Executor;

    #[test]
    fn conforms_without_faults() {
        let executor = Executor::new(Rng::with_seed(1));
        let node = executor.node(0);
        let world = node.clone();
        let make = move || -> BoxFuture<'static, Arc<dyn Persistence>> {
            let disk = Disk::new(Rng::with_seed(2), Duration::from_micros(100));
            let storage: Arc<dyn Persistence> = Arc::new(SimPersistence::open(world.clone(), disk));
            futures_util::future::ready(storage).boxed()
        };
        let limit = Duration::from_secs(3600);
        executor
            .run(&node, limit, async move {
                conformance::run_all(make).await;
            })
            .unwrap();
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        let mut kept = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let executor = Executor::new(Rng::with_seed(seed));
            let node = executor.node(0);
            let disk = Disk::new(Rng::with_seed(seed), Duration::from_millis(1));
            let storage = SimPersistence::open(node.sibling(0), disk.clone());
            let server = storage.node.clone();
            let main = node.clone();
            let result = executor.run(&node, Duration::from_secs(60), async move {
                storage.set_global("synced", vec![1]).await.unwrap();
                let write = storage.set_global("unsynced", vec![1]);
                server.spawn(Box::pin(async move { write.await.unwrap() }));
                while disk.lock().volatile.is_empty() {
                    main.sleep(Duration::from_micros(10)).await;
                }
                server.kill();
                disk.crash();
                let storage = SimPersistence::open(main, disk);
                (
                    storage.get_global("synced").await.unwrap().is_some(),
                    storage.get_global("unsynced").await.unwrap().is_some(),
                )
            });
            let (synced, unsynced) = result.unwrap();
            assert!(synced);
            kept.insert(unsynced);
        }
        assert_eq!(kept.len(), 2, "both happen");
    }
}
