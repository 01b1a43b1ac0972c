//! What becomes of accepted transactions: batches are stored, published and judged.

use std::collections::BTreeSet;
use std::sync::Arc;

use concave_core::Timestamp;
use concave_core::commit::{BatchOutcome, Published};
use concave_core::persistence::PersistenceError;
use concave_core::transaction::Snapshot;

use super::{Accepted, Filling, HELD_MAX, Keys, World, is_system, touches};
use crate::core_loop::model::replay;
use crate::core_loop::operations::LIST_MAX;
use crate::core_loop::report::Event;
use crate::core_loop::running::Effect;
use crate::elle::Kind;

impl World {
    pub(super) fn storage(&mut self) {
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
    pub(super) fn settle_all(&mut self) {
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

    pub(super) fn forget(&mut self, tickets: &[u32], failed: Vec<Accepted>) {
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
    pub(super) fn judge(&mut self, accepted: Accepted) {
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
