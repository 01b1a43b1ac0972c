//! The loop itself: transactions, one committer, its storage, its log, its subscriptions; turns in random order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use concave_core::catalog::{Catalog, bootstrap_revisions, well_known};
use concave_core::commit::{BatchOutcome, Committer, Conflict, Published, Rejection};
use concave_core::persistence::{
    BackfillEntry, IndexId, IndexRead, KeyRange, Order, PersistenceError, Revision,
};
use concave_core::subscription::{SubscriptionId, SubscriptionIndex};
use concave_core::transaction::{Finished, Snapshot, Transaction};
use concave_core::value::decode_document;
use concave_core::{DocumentId, Error, Timestamp, Value};
use fastrand::Rng;

use super::mix::{Mix, Operation};
use super::model::{By, Model, Overlay, Step, TableNo, replay};
use super::operations::LIST_MAX;
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

    fn storage(&mut self) {
        let Some((count, batch)) = self.in_flight.take() else {
            self.hand_out();
            return;
        };
        assert!(self.committer.has_batch_in_flight());
        assert!(self.committer.next_batch().is_none(), "one batch at a time");
        let fails = self.space.rng.f64() < self.space.mix.storage_fails;
        let text = || "drawn".to_owned();
        let outcome = match self.space.rng.u8(..8) {
            _ if !fails => {
                self.space.store.write(batch);
                self.space.report.count(Event::Stored);
                self.committer.batch_persisted(Ok(()))
            }
            0..3 => {
                self.space.report.count(Event::Refused);
                let error = PersistenceError::Unavailable(text());
                self.committer.batch_persisted(Err(error))
            }
            3 => {
                self.space.report.count(Event::LeaseLost);
                self.halted = true;
                let error = PersistenceError::LeaseLost(text());
                self.committer.batch_persisted(Err(error))
            }
            unknown => {
                let durable = self.committer.durable();
                if unknown < 6 {
                    self.space.report.count(Event::UnknownThere);
                    self.space.store.write(batch);
                } else {
                    self.space.report.count(Event::UnknownAbsent);
                }
                let error = PersistenceError::Unknown(text());
                match self.committer.batch_persisted(Err(error)) {
                    BatchOutcome::ReadBack { after } => assert_eq!(after, durable),
                    other => panic!("{other:?}"),
                }
                assert!(self.committer.next_batch().is_none(), "it is unknown");
                if self.space.rng.u8(..4) == 0 {
                    self.abandon(if unknown < 6 { count } else { 0 });
                    return;
                }
                let newest = self.space.store.max_ts();
                self.committer.batch_resolved(newest)
            }
        };
        self.settle(count, outcome);
    }

    /// Storage cannot be asked what became of the batch in flight. It holds the first `stored` transactions.
    fn abandon(&mut self, stored: usize) {
        self.space.report.count(Event::UnknownForever);
        self.halted = true;
        let reason = PersistenceError::LeaseLost("drawn".to_owned());
        let BatchOutcome::Failed(tickets, _) = self.committer.batch_abandoned(reason) else {
            panic!("nobody can know that it was stored")
        };
        self.orphans = self.accepted.drain(..stored).collect();
        for orphan in &self.orphans {
            self.log.retain(|(ts, _)| *ts != orphan.ts);
            self.core_log.retain(|ts| *ts != orphan.ts);
        }
        let (told, rest) = tickets.split_at(stored);
        assert!(
            told.iter()
                .eq(self.orphans.iter().map(|orphan| &orphan.ticket))
        );
        let failed = self.accepted.drain(..).collect();
        self.forget(rest, failed);
    }

    fn hand_out(&mut self) {
        let Some(batch) = self.committer.next_batch() else {
            assert!(
                self.halted || self.accepted.is_empty(),
                "what waits is written"
            );
            if self.halted && self.space.rng.u8(..4) == 0 {
                self.restart();
            }
            return;
        };
        let newest = batch.last().expect("batches are not empty").ts;
        let count = self
            .accepted
            .partition_point(|accepted| accepted.ts <= newest);
        assert!(count > 0 && !self.halted);
        self.in_flight = Some((count, batch));
    }

    /// Stores everything that was accepted.
    fn settle_all(&mut self) {
        loop {
            if let Some((count, batch)) = self.in_flight.take() {
                self.space.store.write(batch);
                let outcome = self.committer.batch_persisted(Ok(()));
                self.settle(count, outcome);
            }
            self.hand_out();
            if self.in_flight.is_none() {
                return;
            }
        }
    }

    fn settle(&mut self, count: usize, outcome: BatchOutcome<u32>) {
        match outcome {
            BatchOutcome::Published(commits) => {
                assert_eq!(commits.len(), count, "a batch is published as a whole");
                self.publish(commits);
            }
            BatchOutcome::Failed(tickets, _) => {
                let count = if self.halted {
                    self.accepted.len()
                } else {
                    count
                };
                let failed: Vec<_> = self.accepted.drain(..count).collect();
                self.forget(&tickets, failed);
            }
            BatchOutcome::ReadBack { .. } => panic!("it was read back"),
        }
    }

    fn forget(&mut self, tickets: &[u32], failed: Vec<Accepted>) {
        let expected: Vec<_> = failed.iter().map(|accepted| accepted.ticket).collect();
        assert_eq!(tickets, expected, "who is told that it failed");
        for accepted in failed {
            self.log.retain(|(ts, _)| *ts != accepted.ts);
            self.core_log.retain(|ts| *ts != accepted.ts);
            self.space.report.count(Event::Failed);
            let failed = accepted.running;
            self.tally
                .note(failed.number, failed.operation, Kind::Fail, &failed.effects);
        }
        assert_eq!(self.committer.log().len(), self.core_log.len());
    }

    fn publish(&mut self, commits: Vec<Published<u32>>) {
        let mut catalog = self.snapshot.catalog.clone();
        for commit in commits {
            for change in &commit.catalog_changes {
                Arc::make_mut(&mut catalog)
                    .apply(change.table, change.old.as_ref(), change.new.as_ref())
                    .expect("the transaction applied the same change");
            }
            let accepted = self.accepted.pop_front().expect("it was accepted");
            let same = (accepted.ts, accepted.ticket) == (commit.ts, commit.ticket);
            assert!(same, "published in order");
            check_keys(&commit, &accepted.keys);
            self.fire(&commit);
            self.judge(accepted);
        }
        let snapshot = Snapshot {
            ts: self.committer.durable(),
            catalog,
            pin: Arc::new(()),
        };
        self.held
            .push_back(std::mem::replace(&mut self.snapshot, snapshot));
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
        if self.space.rng.bool() {
            self.trim();
        }
    }

    /// Replays a commit at its place in the order, and makes it part of the model.
    fn judge(&mut self, accepted: Accepted) {
        let Accepted { ts, running, .. } = accepted;
        let before = Timestamp(ts.0 - 1);
        if let Err(what) = replay(&running.steps, &self.space.model, before) {
            panic!(
                "{:?} is not serialised at its commit: {what}",
                running.operation
            );
        }
        self.space.report.count(Event::Replayed);
        self.space.report.count(Event::Committed);
        self.space.report.done(running.operation);
        self.space.model.commit(ts, &running.own);
        for effect in &running.effects {
            match effect {
                Effect::AddedIndex(table, index) => self.filling.push(Filling {
                    table: *table,
                    index: *index,
                    found: None,
                }),
                Effect::ReadList(key, elements) if elements.len() >= LIST_MAX => {
                    let next = key + self.space.fixtures();
                    if let Some(list) = self.space.lists.iter_mut().find(|list| **list == *key) {
                        *list = next;
                    }
                }
                _ => {}
            }
        }
        let (number, operation) = (running.number, running.operation);
        self.tally
            .note(number, operation, Kind::Ok, &running.effects);
        self.tally.committed(ts, running.effects);
    }

    fn fire(&mut self, commit: &Published<u32>) {
        let touched = self.subscriptions.touched(commit.keys.iter());
        let expected = self.watched.iter().filter(|(_, watched)| {
            let mut keys = commit.keys.iter();
            keys.any(|(index, key)| touches(&watched.reads, index, key))
        });
        let expected: BTreeSet<_> = expected.map(|(id, _)| *id).collect();
        assert_eq!(
            touched, expected,
            "subscriptions touched at {}",
            commit.ts.0
        );
        for id in touched {
            self.space.report.count(Event::Fired);
            self.watched.remove(&id);
            assert!(self.subscriptions.remove(id));
        }
        assert_eq!(self.subscriptions.len(), self.watched.len());
    }

    fn maintain(&mut self) {
        if self.space.rng.f64() < self.space.mix.stops && !self.halted {
            self.stop();
        }
        match self.space.rng.u8(..6) {
            0 => self.trim(),
            1 => self.unsubscribe(),
            2 => self.prune(),
            3 => {
                self.space.report.count(Event::ClockBack);
                self.now.0 -= self.space.rng.u64(0..5_000_000_000);
            }
            _ => self.fill(),
        }
    }

    fn trim(&mut self) {
        self.space.report.count(Event::Trim);
        let running = self.open.iter().chain(&self.ready);
        let pinned = running.filter(|running| running.pinned).map(Running::at);
        let before = pinned
            .min()
            .unwrap_or(self.snapshot.ts)
            .min(self.snapshot.ts);
        let keep = self.space.mix.keep;
        self.committer.trim_log(before, keep);
        while self.core_log.len() > keep
            && let Some(first) = self.core_log.pop_front_if(|ts| *ts <= before)
        {
            self.begins_after = first;
        }
        let log = self.committer.log();
        assert_eq!(log.begins_after(), self.begins_after);
        assert_eq!(
            log.len(),
            self.core_log.len(),
            "trimmed so far and no further"
        );
    }

    fn unsubscribe(&mut self) {
        let ids: Vec<_> = self.watched.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.space.rng.usize(..ids.len())];
        let watched = self.watched.remove(&id).expect("it was just there");
        assert!(self.subscriptions.remove(id));
        self.space.report.count(Event::Unsubscribed);
        if let Err(what) = replay(&watched.steps, &self.space.model, self.snapshot.ts) {
            panic!("a subscription that did not fire: {what}");
        }
        self.space.report.count(Event::StillValid);
    }

    /// Forgets what no transaction can read any more.
    fn prune(&mut self) {
        let running = self.open.iter().chain(&self.ready).map(Running::at);
        let held = self.held.iter().map(|snapshot| snapshot.ts);
        let oldest = running.chain(held).min().unwrap_or(self.snapshot.ts);
        self.space.store.prune(oldest);
        self.space.model.prune(oldest);
        while self.log.pop_front_if(|(ts, _)| *ts <= oldest).is_some() {}
    }

    /// Goes on filling an index: finds what is missing, or adds what was found.
    fn fill(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let position = self.space.rng.usize(..self.filling.len());
        let Filling {
            table,
            index,
            found,
        } = &mut self.filling[position];
        let by_id = self.snapshot.catalog.table(TABLES[*table]);
        let table = by_id.expect("tables do not vanish");
        let Some(found) = found.take() else {
            let read = read_all(table.by_id().id, self.snapshot.ts);
            let rows = self.space.store.read(&read).rows.into_iter();
            let definition = table.indexes.iter().find(|other| other.id == *index);
            let Some(definition) = definition else {
                self.filling.swap_remove(position);
                return;
            };
            let entries = rows.map(|row| {
                let document = decode_document(&row.document).expect("it is sound");
                let id = document.get("_id").and_then(Value::as_str);
                let id = id.and_then(DocumentId::decode).expect("documents have ids");
                let entry = BackfillEntry {
                    index: *index,
                    key: definition.key(&document),
                    ts: row.ts,
                    table: table.id,
                    id: id.internal,
                };
                (row.key, entry)
            });
            *found = Some(entries.collect());
            return;
        };
        self.space.store.backfill(table.by_id().id, found);
        self.space.filled.insert(*index);
        self.space.report.count(Event::Backfilled);
        self.filling.swap_remove(position);
    }

    /// Tells the committer to accept nothing more.
    fn stop(&mut self) {
        self.space.report.count(Event::Stopped);
        self.halted = true;
        let tickets = self.committer.halt(Error::operational("drawn"));
        let flying = self.in_flight.as_ref().map_or(0, |(count, _)| *count);
        let dropped: Vec<_> = self.accepted.drain(flying..).collect();
        self.forget(&tickets, dropped);
    }

    /// A new committer on what was stored; all that ran is gone.
    fn restart(&mut self) {
        self.space.report.count(Event::Restart);
        assert!(self.in_flight.is_none() && self.accepted.is_empty());
        let open = std::mem::take(&mut self.open);
        let ready = std::mem::take(&mut self.ready);
        for running in open.iter().chain(&ready) {
            self.give_up(running);
        }
        if self.orphans.is_empty() {
            self.check_catalog();
        }
        for orphan in std::mem::take(&mut self.orphans) {
            self.snapshot.ts = orphan.ts;
            self.judge(orphan);
        }
        assert_eq!(self.space.store.max_ts(), self.snapshot.ts);
        self.snapshot.catalog = Arc::new(load_catalog(&self.space.store));
        self.committer = Committer::new(self.snapshot.ts);
        self.begins_after = self.snapshot.ts;
        self.core_log.clear();
        self.log.clear();
        self.held.clear();
        self.subscriptions = SubscriptionIndex::new();
        self.watched.clear();
        self.halted = false;
    }

    /// The catalog that was kept is what the stored documents give.
    fn check_catalog(&self) {
        let catalog = load_catalog(&self.space.store);
        let text = |catalog: &Catalog| format!("{:?}", catalog.tables().collect::<Vec<_>>());
        assert_eq!(text(&catalog), text(&self.snapshot.catalog));
    }

    /// Storage is what the model gives, in every index.
    fn check_end(&mut self) {
        self.check_catalog();
        let at = self.snapshot.ts;
        let nothing = Overlay::default();
        for (no, name) in TABLES.iter().enumerate() {
            let Some(definition) = self.space.model.definition(no, at, &nothing) else {
                assert!(self.snapshot.catalog.table(name).is_none());
                continue;
            };
            for (index, by, state) in definition {
                let scan = super::model::Scan {
                    table: no,
                    by: *by,
                    bounds: None,
                    order: Order::Ascending,
                    beyond: None,
                    limit: usize::MAX,
                };
                let expected = self.space.model.scan(&scan, at, &nothing);
                let page = self.space.store.read(&read_all(*index, at));
                if *state != concave_core::catalog::IndexState::Ready {
                    assert!(*by == By::Group && page.rows.len() <= expected.len());
                    continue;
                }
                assert_eq!(page.rows.len(), expected.len(), "rows of {name} {by:?}");
                for (row, (ts, content)) in page.rows.iter().zip(expected) {
                    assert_eq!((&row.key, Some(row.ts)), (&content.index_key(*by), ts));
                    let document = decode_document(&row.document).expect("it is sound");
                    assert_eq!(document, *content.document);
                }
            }
        }
        self.tally.check_end(&self.space.model, at);
    }
}

fn touches(reads: &[(IndexId, KeyRange)], index: IndexId, key: &[u8]) -> bool {
    let mut reads = reads.iter();
    reads.any(|(of, range)| *of == index && range.contains(key))
}

fn is_system(index: IndexId) -> bool {
    index <= well_known::INDEXES_BY_TABLE
}

/// The keys that subscriptions are told of are those that the model expects.
fn check_keys(commit: &Published<u32>, expected: &Keys) {
    let user = expected.iter().filter(|(index, _)| !is_system(*index));
    let user = user.map(|(index, key)| (*index, key.as_slice()));
    let published = commit.keys.iter().filter(|(index, _)| !is_system(*index));
    assert!(published.eq(user), "keys published at {}", commit.ts.0);
    for (index, start) in expected.iter().filter(|(index, _)| is_system(*index)) {
        let mut keys = commit.keys.iter();
        let told = keys.any(|(of, key)| of == *index && key.starts_with(start));
        assert!(told, "a change of the catalog is published");
    }
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
