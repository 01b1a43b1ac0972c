//! Short random histories of what is asked of storage.

use std::collections::BTreeMap;

use concave_core::Timestamp;
use concave_core::persistence::{
    BackfillEntry, IndexId, IndexUpdate, KeyVersion, Revision, RevisionName, Superseded, TableId,
};
use concave_core::value::InternalId;
use fastrand::Rng;

use super::Action;

/// The indexes: one that is there from the beginning, and one that is added on the way, and perhaps dropped.
pub(super) const INDEXES: [IndexId; 2] = [IndexId(7), IndexId(8)];
/// The globals.
pub(super) const GLOBALS: [&str; 2] = ["name", "secret"];

/// A history.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All of it follows from this.
    pub seed: u64,
    /// What is asked at once, in order: one action, or a write and something beside it.
    pub steps: Vec<Vec<Action>>,
}

/// A document as last written: when, and its key in both indexes.
struct Live {
    ts: Timestamp,
    keys: [Vec<u8>; 2],
}

struct Generator {
    rng: Rng,
    ts: Timestamp,
    live: BTreeMap<(TableId, InternalId), Live>,
    /// What the second index lacks; `None` while it does not exist.
    backlog: Option<Vec<BackfillEntry>>,
    is_dropped: bool,
    /// What nobody needs who reads at that timestamp or later, in order.
    superseded: Vec<(Timestamp, Superseded)>,
}

impl Plan {
    /// Draws a history of 3 to 12 actions.
    pub fn draw(seed: u64) -> Self {
        let mut generator = Generator {
            rng: Rng::with_seed(seed),
            ts: Timestamp(1_000),
            live: BTreeMap::new(),
            backlog: None,
            is_dropped: false,
            superseded: Vec::new(),
        };
        let count = generator.rng.usize(3..=6);
        let steps = (0..count).map(|_| generator.step()).collect();
        Self { seed, steps }
    }

    /// All actions, in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.steps.iter().flatten()
    }
}

impl Generator {
    fn step(&mut self) -> Vec<Action> {
        match self.rng.u8(..14) {
            0..5 => vec![self.write()],
            5 | 6 => self.backfill().into_iter().chain([self.write()]).collect(),
            7 => {
                let global = self.global();
                vec![self.write(), global]
            }
            8 => vec![self.global()],
            10 => vec![self.delete().unwrap_or_else(|| self.write())],
            11 | 12 => self.delete().into_iter().chain([self.write()]).collect(),
            13 => self
                .drop_index()
                .into_iter()
                .chain([self.write()])
                .collect(),
            _ => vec![self.backfill().unwrap_or_else(|| self.global())],
        }
    }

    fn global(&mut self) -> Action {
        let name = GLOBALS[self.rng.usize(..GLOBALS.len())];
        Action::Global(name, self.bytes())
    }

    /// Some of what the second index lacks; the first time, it is created.
    fn backfill(&mut self) -> Option<Action> {
        if self.is_dropped {
            return None;
        }
        if self.backlog.is_none() {
            let entries = self.live.iter().map(|(&(table, id), live)| BackfillEntry {
                index: INDEXES[1],
                key: live.keys[1].clone(),
                ts: live.ts,
                table,
                id,
            });
            self.backlog = Some(entries.collect());
        }
        let backlog = self.backlog.as_mut()?;
        let rest = backlog.split_off(backlog.len().min(self.rng.usize(1..4)));
        let entries = std::mem::replace(backlog, rest);
        (!entries.is_empty()).then_some(Action::Backfill(entries))
    }

    /// Some of what is superseded, oldest first, but for the newest commit and what the backfill is about to name.
    fn delete(&mut self) -> Option<Action> {
        let backlog = self.backlog.iter().flatten();
        let named: Vec<_> = backlog.map(|entry| (entry.ts, entry.id)).collect();
        let may_go = |(ts, superseded): &(Timestamp, Superseded)| {
            let mut revisions = superseded.revisions.iter();
            *ts < self.ts && !revisions.any(|name| named.contains(&(name.ts, name.id)))
        };
        let count = self.superseded.iter().take_while(|old| may_go(old)).count();
        let count = count.min(self.rng.usize(1..8));
        let mut all = Superseded::default();
        for (_, superseded) in self.superseded.drain(..count) {
            all.revisions.extend(superseded.revisions);
            all.keys.extend(superseded.keys);
        }
        (!all.is_empty()).then_some(Action::Delete(all))
    }

    /// All keys of the second index, which is there no more.
    fn drop_index(&mut self) -> Option<Action> {
        if self.is_dropped || self.backlog.take().is_none() {
            return None;
        }
        self.is_dropped = true;
        Some(Action::DeleteIndex(INDEXES[1]))
    }

    /// One batch: a few commits, each of a few documents.
    fn write(&mut self) -> Action {
        let mut batch = Vec::new();
        for _ in 0..self.rng.usize(1..=2) {
            self.ts = Timestamp(self.ts.0 + self.rng.u64(1..100));
            let mut ids: Vec<u8> = (0..6).collect();
            self.rng.shuffle(&mut ids);
            ids.truncate(self.rng.usize(1..=3));
            for id in ids {
                batch.push(self.revision(TableId(u32::from(id % 2)), InternalId([id; 16])));
            }
        }
        Action::Write(batch)
    }

    fn revision(&mut self, table: TableId, id: InternalId) -> Revision {
        let indexes = if self.backlog.is_some() { 2 } else { 1 };
        let before = self.live.remove(&(table, id));
        let mut index_updates = Vec::new();
        let mut update = |index: usize, key: &[u8], live| {
            if index < indexes {
                index_updates.push(IndexUpdate {
                    index: INDEXES[index],
                    key: key.to_vec(),
                    live,
                });
            }
        };
        let is_deleted = before.is_some() && self.rng.u8(..4) == 0;
        let keys = [(); 2].map(|()| {
            let mut key = vec![self.rng.u8(..4)];
            key.extend(id.0);
            key
        });
        if let Some(before) = &before {
            let name = |ts| RevisionName { ts, table, id };
            let mut superseded = Superseded {
                revisions: vec![name(before.ts)],
                keys: Vec::new(),
            };
            for (index, key) in before.keys.iter().enumerate() {
                let mut version = |ts| {
                    superseded.keys.push(KeyVersion {
                        index: INDEXES[index],
                        key: key.clone(),
                        ts,
                    });
                };
                // Versions that are not there are named as well: the second index may not be.
                version(before.ts);
                if is_deleted || *key != keys[index] {
                    update(index, key, false);
                    version(self.ts);
                }
            }
            if is_deleted {
                superseded.revisions.push(name(self.ts));
            }
            self.superseded.push((self.ts, superseded));
        }
        if !is_deleted {
            for (index, key) in keys.iter().enumerate() {
                update(index, key, true);
            }
            let live = Live { ts: self.ts, keys };
            self.live.insert((table, id), live);
        }
        Revision {
            ts: self.ts,
            table,
            id,
            prev_ts: before.map(|before| before.ts),
            document: (!is_deleted).then(|| self.bytes()),
            index_updates,
        }
    }

    /// Mostly a few bytes, sometimes several sectors, sometimes several writes of the disk.
    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.rng.u8(..8) {
            0 => self.rng.usize(2_000..6_000),
            1 | 2 => self.rng.usize(500..1_500),
            _ => self.rng.usize(..60),
        };
        let fill = self.rng.u8(..);
        (0..len).map(|n| fill.wrapping_add(n as u8)).collect()
    }
}
