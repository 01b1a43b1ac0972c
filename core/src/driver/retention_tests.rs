//! Retention over storage in memory: what may be read is read as before, and nothing else is left.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use proptest::prelude::*;

use super::retention::{PROGRESS, RetentionLoop, pass, run_round, stored_progress};
use super::schema_change::set_index;
use super::testing::ThreadRuntime;
use super::{Database, backfill};
use crate::catalog::{Index, IndexState, index_document, parse_index, well_known};
use crate::persistence::memory::MemoryPersistence;
use crate::persistence::{
    IndexId, IndexRead, IndexRow, KeyRange, Order, Persistence, Revision, RevisionName, TableId,
};
use crate::retention::Retention;
use crate::runtime::{Runtime, RuntimeHandle};
use crate::timestamp::Timestamp;
use crate::value::{DocumentId, FieldPath, InternalId, Object, decode_document};

#[derive(Clone, Debug)]
enum Step {
    Insert(i64),
    /// Sets the field of the document at this place, counted round.
    Replace(usize, i64),
    Delete(usize),
    /// Adds an index, to be filled.
    AddIndex,
    /// Fills all indexes that are to be filled.
    Fill,
    /// Drops the index at this place, counted round.
    DropIndex(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0i64..3).prop_map(Step::Insert),
        6 => (any::<usize>(), 0i64..3).prop_map(|(place, n)| Step::Replace(place, n)),
        3 => any::<usize>().prop_map(Step::Delete),
        1 => Just(Step::AddIndex),
        1 => Just(Step::Fill),
        1 => any::<usize>().prop_map(Step::DropIndex),
    ]
}

struct World {
    runtime: RuntimeHandle,
    storage: Arc<MemoryPersistence>,
    db: Database,
    live: Vec<DocumentId>,
    names: u32,
}

impl World {
    fn new(runtime: RuntimeHandle) -> Self {
        let storage = Arc::new(MemoryPersistence::new());
        let db = block_on(Database::open(runtime.clone(), storage.clone())).unwrap();
        let mut world = Self {
            runtime,
            storage,
            db,
            live: Vec::new(),
            names: 0,
        };
        world.step(&Step::Insert(0));
        world
    }

    fn persistence(&self) -> Arc<dyn Persistence> {
        self.storage.clone()
    }

    fn added_indexes(&self) -> Vec<Arc<Index>> {
        let snapshot = self.db.snapshot();
        let table = snapshot.catalog.table("t").unwrap();
        let added = table.indexes.iter().filter(|i| i.name.starts_with("on_n"));
        added.cloned().collect()
    }

    fn step(&mut self, step: &Step) {
        let db = self.db.clone();
        let mut tx = db.begin();
        let object = |n: i64| Object::from_fields([("n", n)]).unwrap();
        let table = tx.ensure_table("t").unwrap();
        let place_of = |place: usize| place.checked_rem(self.live.len());
        match *step {
            Step::Insert(n) => {
                let id = tx.insert(&table, object(n)).unwrap();
                self.live.push(id);
            }
            Step::Replace(place, n) => {
                let Some(place) = place_of(place) else { return };
                let id = self.live[place];
                let row = block_on(db.get(&mut tx, id)).unwrap().unwrap();
                tx.replace(id, &row, object(n)).unwrap();
            }
            Step::Delete(place) => {
                let Some(place) = place_of(place) else { return };
                let id = self.live.remove(place);
                let row = block_on(db.get(&mut tx, id)).unwrap().unwrap();
                tx.delete(id, &row).unwrap();
            }
            Step::AddIndex => {
                let path = |text| FieldPath::parse(text).unwrap();
                self.names += 1;
                let index = Index {
                    id: tx.allocate_index(),
                    table: table.id,
                    name: format!("on_n{}", self.names),
                    fields: vec![path("n"), path("_creationTime"), path("_id")],
                    state: IndexState::Backfilling,
                    staged: false,
                };
                tx.insert_system("_indexes", index_document(&index))
                    .unwrap();
            }
            Step::Fill => {
                let mut jobs = Vec::new();
                backfill::update(&mut jobs, &db.snapshot().catalog);
                for job in &mut jobs {
                    block_on(job.page(&db)).unwrap();
                }
                return;
            }
            Step::DropIndex(place) => {
                let added = self.added_indexes();
                let Some(place) = place.checked_rem(added.len()) else {
                    return;
                };
                let dropped = IndexState::Dropped;
                block_on(set_index(&db, &mut tx, &added[place], dropped, false)).unwrap();
            }
        }
        block_on(db.commit(tx)).unwrap();
    }

    fn log(&self) -> Vec<Revision> {
        let page = block_on(self.storage.read_log(Timestamp::ZERO, usize::MAX)).unwrap();
        assert!(page.exhausted);
        page.revisions
    }

    fn rows(&self, index: IndexId, at: Timestamp) -> Vec<IndexRow> {
        let read = IndexRead {
            index,
            range: KeyRange::all(),
            order: Order::Ascending,
            at,
            limit: usize::MAX,
        };
        block_on(self.storage.read_index(read)).unwrap().rows
    }

    /// Runs a pass up to the horizon from where the last one came to; or only until it first waits.
    fn retain(&self, horizon: Timestamp, done: Timestamp, wholly: bool) {
        let mut retention = Retention::new(Duration::ZERO, done);
        let snapshot = self.db.snapshot();
        if !retention.advance(horizon, snapshot.ts, snapshot.ts) {
            return;
        }
        let persistence = self.persistence();
        let asleep: RuntimeHandle = Arc::new(Asleep);
        let pass = pass(
            &persistence,
            if wholly { &self.runtime } else { &asleep },
            snapshot,
            &mut retention,
            |_, _, _| {},
        );
        match wholly {
            true => block_on(pass).unwrap(),
            false => {
                let mut pass = pin!(pass);
                assert!(pass.as_mut().now_or_never().is_none(), "it rests");
            }
        }
    }

    fn progress(&self) -> Timestamp {
        block_on(stored_progress(&*self.storage, PROGRESS)).unwrap()
    }
}

/// A world in which nobody wakes up: whatever rests is interrupted.
struct Asleep;

impl Runtime for Asleep {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        pending().boxed()
    }

    fn spawn(&self, _: BoxFuture<'static, ()>) {}

    fn entropy(&self) -> [u8; 32] {
        [0; 32]
    }
}

fn name(revision: &Revision) -> RevisionName {
    RevisionName {
        ts: revision.ts,
        table: revision.table,
        id: revision.id,
    }
}

/// Of all revisions, those that must be left after retention at a horizon: in the fewest words.
fn left(log: &[Revision], horizon: Timestamp) -> BTreeSet<RevisionName> {
    let mut newest: BTreeMap<(TableId, InternalId), Timestamp> = BTreeMap::new();
    for revision in log.iter().filter(|revision| revision.ts <= horizon) {
        newest.insert((revision.table, revision.id), revision.ts);
    }
    let stays = |revision: &&Revision| {
        let is_newest = newest.get(&(revision.table, revision.id)) == Some(&revision.ts);
        revision.ts > horizon || (is_newest && revision.document.is_some())
    };
    log.iter().filter(stays).map(name).collect()
}

/// Indexes that were dropped at or before the horizon.
fn dropped(log: &[Revision], horizon: Timestamp) -> BTreeSet<IndexId> {
    let of_indexes = log
        .iter()
        .filter(|revision| revision.table == well_known::INDEXES && revision.ts <= horizon);
    of_indexes
        .filter_map(|revision| revision.document.as_ref())
        .map(|document| parse_index(&decode_document(document).unwrap()).unwrap())
        .filter(|index| index.state == IndexState::Dropped)
        .map(|index| index.id)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_may_be_read_stays_and_nothing_else(
        steps in proptest::collection::vec(any_step(), 1..40),
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(ThreadRuntime::handle());
        for step in &steps {
            world.step(step);
        }
        world.step(&Step::Insert(0));
        let log = world.log();
        let versions = world.storage.versions();
        let times: BTreeSet<_> = log.iter().map(|revision| revision.ts).collect();
        let times: Vec<_> = times.into_iter().collect();
        let old = &times[..times.len() - 1];
        let (a, b) = (*first.get(old), *second.get(old));
        let (early, horizon) = (a.min(b), a.max(b));
        let gone = dropped(&log, horizon);
        let indexes: BTreeSet<_> = versions.iter().map(|(index, ..)| *index).collect();
        let read = |world: &World| -> Vec<_> {
            let kept = indexes.iter().filter(|index| !gone.contains(index));
            kept.flat_map(|index| {
                let at = times.iter().filter(|ts| **ts >= horizon);
                at.map(|ts| world.rows(*index, *ts)).collect::<Vec<_>>()
            })
            .collect()
        };
        let before = read(&world);

        // Interrupted after the first batch, from the start again, on from there, and once more for nothing.
        world.retain(early, Timestamp::ZERO, false);
        prop_assert_eq!(world.progress(), Timestamp::ZERO);
        world.retain(early, world.progress(), true);
        prop_assert_eq!(world.progress(), early);
        world.retain(horizon, world.progress(), true);
        world.retain(horizon, Timestamp::ZERO, true);
        prop_assert_eq!(world.progress(), horizon);

        prop_assert!(read(&world) == before, "what may be read has changed");
        let found: BTreeSet<_> = world.log().iter().map(name).collect();
        prop_assert_eq!(found, left(&log, horizon));
        let mut newest: BTreeMap<(IndexId, &[u8]), Timestamp> = BTreeMap::new();
        for (index, key, ts, _) in versions.iter().filter(|(_, _, ts, _)| *ts <= horizon) {
            newest.insert((*index, key), *ts);
        }
        let expected: Vec<_> = versions
            .iter()
            .filter(|(index, key, ts, begins)| {
                let is_newest = newest.get(&(*index, key.as_slice())) == Some(ts);
                !gone.contains(index) && (*ts > horizon || (is_newest && *begins))
            })
            .cloned()
            .collect();
        prop_assert_eq!(world.storage.versions(), expected);

        // Opening copes, and so does writing what replaces what is left.
        let db = block_on(Database::open(world.runtime.clone(), world.persistence())).unwrap();
        world.db = db;
        world.step(&Step::Replace(0, 9));
    }
}

const HOUR_NS: i64 = 3_600_000_000_000;

#[test]
fn a_snapshot_in_use_holds_the_horizon_back() {
    let runtime = ThreadRuntime::new();
    let mut world = World::new(runtime.clone());
    let table = world.db.snapshot().catalog.table("t").unwrap().clone();
    let held = world.db.snapshot();
    let before = world.rows(table.by_id().id, held.ts);
    world.step(&Step::Replace(0, 1));
    world.step(&Step::Replace(0, 2));
    // Nothing is recent any more.
    runtime.set_clock_error(HOUR_NS);
    world.step(&Step::Replace(0, 3));
    world.step(&Step::Replace(0, 4));
    let status = block_on(run_round(&world.db, Duration::ZERO)).unwrap();
    assert!(status.done <= held.ts, "{status:?}");
    assert!(world.rows(table.by_id().id, held.ts) == before);

    let ts = held.ts;
    drop(held);
    runtime.set_clock_error(2 * HOUR_NS);
    world.step(&Step::Replace(0, 5));
    let status = block_on(run_round(&world.db, Duration::ZERO)).unwrap();
    assert!(status.done > ts && status.revisions > 0, "{status:?}");
    let error = block_on(world.db.snapshot_at(ts)).unwrap_err();
    assert_eq!(error.code, "OutOfRetention");
    assert!(world.rows(table.by_id().id, ts).is_empty());
    let of_table = |world: &World| world.log().iter().filter(|r| r.table == table.id).count();
    assert!(of_table(&world) <= 3, "all but the newest have gone");

    // After a restart it is refused, too.
    world.db = block_on(Database::open(runtime, world.persistence())).unwrap();
    let error = block_on(world.db.snapshot_at(ts)).unwrap_err();
    assert_eq!(error.code, "OutOfRetention");
    assert!(world.progress() <= world.db.oldest_read());
}

#[test]
fn the_loop_deletes_and_ends() {
    let runtime = ThreadRuntime::new();
    let mut world = World::new(runtime.clone());
    for n in 0..20 {
        world.step(&Step::Replace(0, n));
    }
    runtime.set_clock_error(HOUR_NS);
    world.step(&Step::Replace(0, 20));
    world.step(&Step::Replace(0, 21));
    let retention = RetentionLoop::start(&world.db, Duration::ZERO);
    for _ in 0..10_000 {
        if retention.status().revisions < 20 {
            block_on(runtime.sleep(Duration::from_millis(2)));
        }
    }
    assert!(retention.status().revisions >= 20, "the loop has died");
    assert_eq!(retention.status().failures, 0);
    block_on(world.db.shut_down());
    drop(retention);
}
