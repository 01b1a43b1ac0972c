//! What goes on beside transactions: logs are cut, indexes filled, committers replaced; and the last look at everything.

use std::sync::Arc;

use concave_core::catalog::{Catalog, IndexState};
use concave_core::commit::{Committer, Room};
use concave_core::persistence::{BackfillEntry, Order};
use concave_core::subscription::SubscriptionIndex;
use concave_core::value::decode_document;
use concave_core::{DocumentId, Error, Value};

use super::{Filling, World, load_catalog, read_all};
use crate::core_loop::model::{By, Overlay, Scan, replay};
use crate::core_loop::report::Event;
use crate::core_loop::running::{Running, TABLES};

impl World {
    pub(super) fn maintain(&mut self) {
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

    pub(super) fn trim(&mut self) {
        self.space.report.count(Event::Trim);
        let running = self.open.iter().chain(&self.ready);
        let pinned = running.filter(|running| running.pinned).map(Running::at);
        let before = pinned
            .min()
            .unwrap_or(self.snapshot.ts)
            .min(self.snapshot.ts);
        let keep = self.space.mix.keep;
        let room = Room {
            commits: keep,
            bytes: usize::MAX,
        };
        self.committer.trim_log(before, room);
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
    pub(super) fn restart(&mut self) {
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
    pub(super) fn check_end(&mut self) {
        self.check_catalog();
        let at = self.snapshot.ts;
        let nothing = Overlay::default();
        for (no, name) in TABLES.iter().enumerate() {
            let Some(definition) = self.space.model.definition(no, at, &nothing) else {
                assert!(self.snapshot.catalog.table(name).is_none());
                continue;
            };
            for (index, by, state) in definition {
                let scan = Scan {
                    table: no,
                    by: *by,
                    bounds: None,
                    order: Order::Ascending,
                    beyond: None,
                    limit: usize::MAX,
                };
                let expected = self.space.model.scan(&scan, at, &nothing);
                let page = self.space.store.read(&read_all(*index, at));
                if *state != IndexState::Ready {
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
