//! The loop itself: transactions, one committer, its storage, its log, its subscriptions; turns in random order.

mod storage;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use concave_core::Timestamp;
use concave_core::catalog::{Catalog, bootstrap_revisions, well_known};
use concave_core::commit::{Committer, Conflict, Rejection};
use concave_core::persistence::{BackfillEntry, IndexId, IndexRead, KeyRange, Order, Revision};
use concave_core::subscription::{SubscriptionId, SubscriptionIndex};
use concave_core::transaction::{Finished, Snapshot, Transaction};
use concave_core::value::decode_document;
use fastrand::Rng;

use super::mix::{Mix, Operation};
use super::model::{Model, Overlay, Step, TableNo};
use super::report::{Event, Report};
use super::running::{Effect, Running, Space, TABLES};
use super::store::Store;
use super::tally::Tally;
use crate::elle::Kind;

/// Index keys that a commit began or ended, ascending.
type Keys = Rc<Vec<(IndexId, Vec<u8>)>>;

/// Older snapshots that transactions may begin at.
const HELD_MAX: usize = 8;
/// Subscriptions at once.
const SUBSCRIPTIONS_MAX: usize = 12;

/// A transaction that was accepted and is not published.
struct Accepted {
    ts: Timestamp,
    ticket: u32,
    keys: Keys,
    running: Judged,
}

/// What is left to judge of a transaction.
struct Judged {
    number: u32,
    operation: Operation,
    own: Overlay,
    steps: Rc<Vec<Step>>,
    effects: Vec<Effect>,
}

struct Watched {
    reads: Rc<Vec<(IndexId, KeyRange)>>,
    steps: Rc<Vec<Step>>,
}

/// An index that is being filled: entries found, and not added yet.
struct Filling {
    table: TableNo,
    index: IndexId,
    found: Option<Vec<(Vec<u8>, BackfillEntry)>>,
}

/// A loop.
pub struct World {
    space: Space,
    now: Timestamp,
    committer: Committer<u32>,
    snapshot: Snapshot,
    held: VecDeque<Snapshot>,
    open: Vec<Running>,
    ready: Vec<Running>,
    begun: u32,
    tickets: u32,
    numbers: u32,
    halted: bool,
    accepted: VecDeque<Accepted>,
    /// Stored, though nobody was told: the next committer finds them.
    orphans: Vec<Accepted>,
    /// The batch that storage has, and how many transactions it is.
    in_flight: Option<(usize, Vec<Revision>)>,
    /// Keys of all accepted transactions that did not fail, as far back as anyone reads.
    log: VecDeque<(Timestamp, Keys)>,
    /// Timestamps that the core's log holds.
    core_log: VecDeque<Timestamp>,
    begins_after: Timestamp,
    subscriptions: SubscriptionIndex,
    watched: BTreeMap<SubscriptionId, Watched>,
    subscribed: u64,
    filling: Vec<Filling>,
    tally: Tally,
}

impl World {
    /// A loop with its fixtures stored.
    pub fn new(mix: Mix, rng: Rng) -> Self {
        let mut now = Timestamp(1_700_000_000_000_000_000);
        let mut store = Store::default();
        let bootstrap = bootstrap_revisions(&Catalog::default(), now);
        store.write(bootstrap.expect("an empty catalog contradicts nothing"));
        let snapshot = Snapshot {
            ts: now,
            catalog: Arc::new(load_catalog(&store)),
            pin: Arc::new(()),
        };
        now = now.next();
        let lists = (0i64..).take(mix.fixtures).collect();
        let mut world = Self {
            space: Space {
                rng,
                report: Report::default(),
                model: Model::new(TABLES.len()),
                store,
                docs: 0,
                writes: 0,
                lists,
                filled: BTreeSet::new(),
                mix,
            },
            committer: Committer::new(snapshot.ts),
            begins_after: snapshot.ts,
            now,
            snapshot,
            held: VecDeque::new(),
            open: Vec::new(),
            ready: Vec::new(),
            begun: 0,
            tickets: 0,
            numbers: 0,
            halted: false,
            accepted: VecDeque::new(),
            orphans: Vec::new(),
            in_flight: None,
            log: VecDeque::new(),
            core_log: VecDeque::new(),
            subscriptions: SubscriptionIndex::new(),
            watched: BTreeMap::new(),
            subscribed: 0,
            filling: Vec::new(),
            tally: Tally::default(),
        };
        let snapshot = world.snapshot.clone();
        let mut fixtures = world.transaction(Operation::CreateTable, snapshot, true);
        fixtures.set_up(&mut world.space);
        world.submit(fixtures);
        world.settle_all();
        assert_eq!(world.space.report.of(Event::Committed), 1);
        // Before it there are no fixtures.
        world.held.clear();
        world
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        while self.begun < self.space.mix.transactions {
            self.now.0 += self.space.rng.u64(0..200_000);
            match self.space.mix.turn(&mut self.space.rng) {
                0 => self.work(),
                1 => self.submit_one(),
                2 => self.storage(),
                _ => self.maintain(),
            }
        }
        while !(self.open.is_empty() && self.ready.is_empty()) {
            self.work();
            self.submit_one();
            self.storage();
        }
        while self.in_flight.is_some() {
            self.storage();
        }
        if self.halted {
            self.restart();
        }
        self.settle_all();
        self.check_end();
    }

    /// What happened, and what was done with lists.
    pub fn end(self) -> (Report, Tally) {
        let mut report = self.space.report;
        report.loops = 1;
        report.digest = self.tally.digest();
        (report, self.tally)
    }

    fn work(&mut self) {
        let begins = self.open.len() < self.space.mix.open
            && self.begun < self.space.mix.transactions
            && (self.open.is_empty() || self.space.rng.bool());
        if begins {
            self.begin();
            return;
        }
        if self.open.is_empty() {
            return;
        }
        let position = self.space.rng.usize(..self.open.len());
        let running = &mut self.open[position];
        if running.steps_left > 0 {
            running.act(&mut self.space);
        } else {
            let running = self.open.swap_remove(position);
            self.ready.push(running);
        }
    }

    fn begin(&mut self) {
        let operation = self.space.mix.operation(&mut self.space.rng);
        let old = self.space.rng.f64() < self.space.mix.old && !self.held.is_empty();
        let snapshot = if old {
            self.space.report.count(Event::OldSnapshot);
            self.held[self.space.rng.usize(..self.held.len())].clone()
        } else {
            self.snapshot.clone()
        };
        let pinned = snapshot.ts >= self.begins_after
            && !(old && self.space.rng.f64() < self.space.mix.unpinned);
        let mut running = self.transaction(operation, snapshot, pinned);
        if operation == Operation::Mixed {
            running.steps_left = self.space.rng.u32(1..=self.space.mix.steps);
        }
        self.open.push(running);
        self.begun += 1;
    }

    fn transaction(&mut self, operation: Operation, snapshot: Snapshot, pinned: bool) -> Running {
        self.space.report.begun(operation);
        let mut seed = [0; 32];
        self.space.rng.fill(&mut seed);
        let tx = Transaction::begin(snapshot, self.now, seed);
        self.numbers += 1;
        self.tally.note(self.numbers, operation, Kind::Invoke, &[]);
        Running::new(self.numbers, operation, tx, self.now, pinned)
    }

    fn submit_one(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        let position = self.space.rng.usize(..self.ready.len());
        let running = self.ready.swap_remove(position);
        if self.space.rng.f64() < self.space.mix.gives_up {
            self.give_up(&running);
            return;
        }
        self.submit(running);
    }

    fn give_up(&mut self, running: &Running) {
        let Running {
            number, operation, ..
        } = running;
        self.tally
            .note(*number, *operation, Kind::Fail, &running.effects);
        self.space.report.count(Event::Abandoned);
    }

    fn submit(&mut self, running: Running) {
        running.check_reads();
        let keys = Rc::new(running.written(&self.space.model));
        let reads = Rc::new(running.reads);
        let steps = Rc::new(running.steps);
        let (number, operation) = (running.number, running.operation);
        let at = running.tx.snapshot_ts();
        let watches = self.watched.len() < SUBSCRIPTIONS_MAX
            && self.space.rng.f64() < self.space.mix.subscribes;
        let read_set = watches.then(|| running.tx.reads().clone());
        let request = match running.tx.finish() {
            Finished::ReadOnly(_) => {
                assert!(keys.is_empty(), "only what wrote nothing is read-only");
                self.space.report.count(Event::ReadOnly);
                self.space.report.done(operation);
                self.tally
                    .note(number, operation, Kind::Ok, &running.effects);
                None
            }
            Finished::Writes(request) => {
                assert!(!keys.is_empty(), "what wrote nothing is read-only");
                Some(request)
            }
        };
        if let Some(request) = request {
            let expected = self.expected_rejection(&reads, at, running.pinned);
            self.tickets += 1;
            let ticket = self.tickets;
            let last = self
                .accepted
                .back()
                .map_or(self.committer.durable(), |last| last.ts);
            match (self.committer.submit(self.now, request, ticket), expected) {
                (Ok(ts), None) => {
                    // Timestamps of failed commits are not used again.
                    assert!(ts >= self.now && ts > last && ts > at);
                    self.accepted.push_back(Accepted {
                        ts,
                        ticket,
                        keys: keys.clone(),
                        running: Judged {
                            number,
                            operation,
                            own: running.own,
                            steps: steps.clone(),
                            effects: running.effects,
                        },
                    });
                    self.log.push_back((ts, keys));
                    self.core_log.push_back(ts);
                }
                (Err((back, rejection)), Some(event)) => {
                    assert_eq!(back, ticket, "the ticket comes back");
                    self.check_rejection(rejection, event, &reads, at);
                    self.space.report.count(event);
                    self.tally
                        .note(number, operation, Kind::Fail, &running.effects);
                }
                (result, expected) => {
                    panic!("submitted at {}: {result:?}, and not {expected:?}", at.0)
                }
            }
        }
        if let Some(read_set) = read_set {
            self.subscribe(&read_set, reads, steps, at);
        }
    }

    fn expected_rejection(
        &self,
        reads: &[(IndexId, KeyRange)],
        at: Timestamp,
        pinned: bool,
    ) -> Option<Event> {
        if self.halted {
            Some(Event::Halted)
        } else if at < self.begins_after {
            assert!(!pinned, "the log reaches back to snapshots that are held");
            Some(Event::TooOld)
        } else {
            self.first_conflict(reads, at).map(|_| Event::Conflict)
        }
    }

    /// The first commit after `at` that wrote what was read, by looking at everything.
    fn first_conflict(&self, reads: &[(IndexId, KeyRange)], at: Timestamp) -> Option<Conflict> {
        let start = self.log.partition_point(|(ts, _)| *ts <= at);
        self.log.range(start..).find_map(|(ts, keys)| {
            let (index, key) = keys
                .iter()
                .find(|(index, key)| touches(reads, *index, key))?;
            Some(Conflict {
                with: *ts,
                index: *index,
                key: key.clone(),
            })
        })
    }

    fn check_rejection(
        &self,
        rejection: Rejection,
        event: Event,
        reads: &[(IndexId, KeyRange)],
        at: Timestamp,
    ) {
        match (rejection, event) {
            (Rejection::Halted(_), Event::Halted) | (Rejection::SnapshotTooOld, Event::TooOld) => {}
            (Rejection::Conflict(conflict), Event::Conflict) => {
                let expected = self.first_conflict(reads, at).expect("there is one");
                assert_eq!(
                    (conflict.with, conflict.index),
                    (expected.with, expected.index)
                );
                // Of the catalog's keys the model knows the beginning.
                let system = is_system(conflict.index);
                let same = conflict.key == expected.key
                    || system && conflict.key.starts_with(&expected.key);
                assert!(same, "{conflict:?} is not {expected:?}");
            }
            (rejection, event) => panic!("{rejection:?} instead of {event:?}"),
        }
    }

    fn subscribe(
        &mut self,
        read_set: &concave_core::transaction::ReadSet,
        reads: Rc<Vec<(IndexId, KeyRange)>>,
        steps: Rc<Vec<Step>>,
        at: Timestamp,
    ) {
        if at < self.begins_after {
            return;
        }
        // As the driver does it: what has changed between the snapshot and now is in the log.
        let published = |ts: &Timestamp| *ts <= self.snapshot.ts;
        let conflict = self.committer.log().first_conflict(read_set, at);
        let missed = conflict.map(|conflict| conflict.with).filter(published);
        let expected = self.first_conflict(&reads, at);
        let expected = expected.map(|conflict| conflict.with).filter(published);
        assert_eq!(missed, expected, "what changed before it was subscribed to");
        if missed.is_some() {
            self.space.report.count(Event::Missed);
            return;
        }
        self.space.report.count(Event::Subscribed);
        self.subscribed += 1;
        let id = SubscriptionId(self.subscribed);
        self.subscriptions.insert(id, read_set.ranges());
        self.watched.insert(id, Watched { reads, steps });
    }
}

fn touches(reads: &[(IndexId, KeyRange)], index: IndexId, key: &[u8]) -> bool {
    let mut reads = reads.iter();
    reads.any(|(of, range)| *of == index && range.contains(key))
}

fn is_system(index: IndexId) -> bool {
    index <= well_known::INDEXES_BY_TABLE
}

fn read_all(index: IndexId, at: Timestamp) -> IndexRead {
    IndexRead {
        index,
        range: KeyRange::all(),
        order: Order::Ascending,
        at,
        limit: usize::MAX,
    }
}

/// The catalog that the newest stored documents describe.
fn load_catalog(store: &Store) -> Catalog {
    let mut catalog = Catalog::default();
    for (table, index) in [
        (well_known::TABLES, well_known::TABLES_BY_ID),
        (well_known::INDEXES, well_known::INDEXES_BY_ID),
    ] {
        for row in store.read(&read_all(index, store.max_ts())).rows {
            let document = decode_document(&row.document).expect("it is sound");
            catalog
                .apply(table, None, Some(&Arc::new(document)))
                .expect("the catalog is sound");
        }
    }
    catalog
}
