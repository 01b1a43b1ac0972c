//! Random histories: documents come, change and go, an index is added midway, what is superseded is deleted, and
//! everything is compared with the model all along.

use std::collections::BTreeMap;

use super::{
    BackfillEntry, IndexId, IndexUpdate, KeyRange, KeyVersion, Order, Revision, RevisionName,
    Subject, Superseded, TableId, Timestamp, id,
};
use crate::value::InternalId;

/// Steps of one history.
const STEPS: usize = 40;
/// Documents per table that a history plays with.
const DOCUMENTS: u64 = 10;
/// The index that is added midway.
const LATE: IndexId = IndexId(9);

/// xorshift64*, see Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" (2016).
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A few bytes from an alphabet so small that keys meet and are prefixes of each other.
    fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        let len = self.below(len_max + 1);
        (0..len)
            .map(|_| [0x00, 0x01, 0x80, 0xff][self.below(4) as usize])
            .collect()
    }
}

/// A document as last written.
#[derive(Clone)]
struct Live {
    ts: Timestamp,
    /// Its key in every index, whether or not the index exists yet.
    keys: BTreeMap<IndexId, Vec<u8>>,
}

struct History {
    subject: Subject,
    rng: Rng,
    live: BTreeMap<(TableId, InternalId), Live>,
    /// Indexes that writes maintain.
    indexes: Vec<IndexId>,
    /// What remains to be backfilled, once [`LATE`] exists.
    backlog: Vec<BackfillEntry>,
    /// What nobody reads who reads at that timestamp or later, in order.
    superseded: Vec<(Timestamp, Superseded)>,
    /// Revisions that were deleted.
    deleted: usize,
}

/// Plays one history and compares it with the model, on the way and at the end.
pub(super) async fn history(subject: Subject, seed: u64) {
    let mut history = History {
        subject,
        rng: Rng::new(seed),
        live: BTreeMap::new(),
        indexes: vec![IndexId(1), IndexId(2)],
        backlog: Vec::new(),
        superseded: Vec::new(),
        deleted: 0,
    };
    for step in 0..STEPS {
        if step == STEPS / 3 {
            history.add_index();
        }
        if history.rng.chance(60) {
            history.write().await;
        }
        history.read().await;
    }
    while !history.backlog.is_empty() {
        history.write().await;
    }
    assert!(history.deleted > 0, "history {seed} deletes nothing");
    for index in [IndexId(1), IndexId(2), LATE] {
        history.subject.check_index(index, &[3, 1_000]).await;
    }
    for ts in history.subject.model.timestamps() {
        history.subject.check_log(ts, 3).await;
    }
    history.subject.check_log(Timestamp::ZERO, 1_000).await;
}

impl History {
    fn add_index(&mut self) {
        self.indexes.push(LATE);
        for (&(table, id), live) in &self.live {
            self.backlog.push(BackfillEntry {
                index: LATE,
                key: live.keys[&LATE].clone(),
                ts: live.ts,
                table,
                id,
            });
        }
    }

    /// Some of what is superseded, oldest first; nothing of the newest commit, or that is still to be backfilled.
    fn superseded(&mut self) -> Superseded {
        let newest = self.subject.model.max_ts();
        let may_go = |(ts, superseded): &(Timestamp, Superseded)| {
            let is_needed = |name: &RevisionName| {
                let mut entries = self.backlog.iter();
                entries.any(|entry| {
                    (entry.ts, entry.table, entry.id) == (name.ts, name.table, name.id)
                })
            };
            *ts < newest && !superseded.revisions.iter().any(is_needed)
        };
        let count = self.superseded.iter().take_while(|old| may_go(old)).count();
        let count = self.rng.below(count as u64 + 1) as usize;
        let mut all = Superseded::default();
        for (_, superseded) in self.superseded.drain(..count) {
            all.revisions.extend(superseded.revisions);
            all.keys.extend(superseded.keys);
        }
        all
    }

    /// Writes a batch; beside it, backfills some of what is to be backfilled, and deletes some of what is superseded.
    async fn write(&mut self) {
        let deleted = match self.rng.chance(30) {
            true => self.superseded(),
            false => Superseded::default(),
        };
        let mut ts = self.subject.model.max_ts();
        if ts == Timestamp::ZERO {
            ts = Timestamp(1_700_000_000_000_000_000);
        }
        let mut batch = Vec::new();
        for _ in 0..=self.rng.below(3) {
            ts = Timestamp(ts.0 + 1 + self.rng.below(3) * 1_000);
            let mut documents: Vec<(TableId, InternalId)> = Vec::new();
            for _ in 0..=self.rng.below(4) {
                let table = TableId(1 + self.rng.below(2) as u32);
                let document = (table, id(self.rng.below(DOCUMENTS) as u16 * 0x1111));
                if !documents.contains(&document) {
                    documents.push(document);
                }
            }
            for (table, id) in documents {
                batch.push(self.revise(ts, table, id));
            }
        }
        let mut entries = Vec::new();
        for _ in 0..self.rng.below(4) {
            if let Some(last) = self.backlog.len().checked_sub(1) {
                let pick = self.rng.below(last as u64 + 1) as usize;
                entries.push(self.backlog.swap_remove(pick));
            }
        }
        if self.rng.chance(50) {
            // Some entries come twice.
            self.backlog.extend(entries.first().cloned());
        }
        self.deleted += deleted.revisions.len();
        self.subject.model.delete(&deleted);
        self.subject.model.write(&batch);
        self.subject.model.backfill(&entries);
        let (write, backfill, delete) = futures_util::join!(
            self.subject.storage.write(batch),
            self.subject.storage.backfill(entries),
            self.subject.storage.delete(deleted)
        );
        write.expect("write");
        backfill.expect("backfill");
        delete.expect("delete");
        self.subject.check_max_ts().await;
    }

    /// The next revision of a document: inserted, replaced or deleted, with what that does to the indexes.
    fn revise(&mut self, ts: Timestamp, table: TableId, id: InternalId) -> Revision {
        let old = self.live.remove(&(table, id));
        let delete = old.is_some() && self.rng.chance(30);
        let mut index_updates = Vec::new();
        let mut keys = BTreeMap::new();
        let mut superseded = Superseded::default();
        let name = |ts| RevisionName { ts, table, id };
        for index in [IndexId(1), IndexId(2), LATE] {
            let old_key = old.as_ref().map(|old| old.keys[&index].clone());
            let key = match &old_key {
                // Often a change does not concern an index.
                Some(key) if self.rng.chance(50) => key.clone(),
                _ => [self.rng.bytes(3), vec![table.0 as u8], id.0.to_vec()].concat(),
            };
            if let Some(old) = &old {
                let mut times = vec![old.ts];
                times.extend((delete || old.keys[&index] != key).then_some(ts));
                // Whether or not the index has them.
                superseded.keys.extend(times.iter().map(|ts| KeyVersion {
                    index,
                    key: old.keys[&index].clone(),
                    ts: *ts,
                }));
            }
            if self.indexes.contains(&index) {
                if let Some(old_key) = old_key.filter(|old_key| delete || *old_key != key) {
                    index_updates.push(IndexUpdate {
                        index,
                        key: old_key,
                        live: false,
                    });
                }
                if !delete {
                    index_updates.push(IndexUpdate {
                        index,
                        key: key.clone(),
                        live: true,
                    });
                }
            }
            keys.insert(index, key);
        }
        if let Some(old) = &old {
            superseded.revisions.push(name(old.ts));
            superseded.revisions.extend(delete.then(|| name(ts)));
            self.superseded.push((ts, superseded));
        }
        if !delete {
            self.live.insert((table, id), Live { ts, keys });
        }
        Revision {
            ts,
            table,
            id,
            prev_ts: old.map(|old| old.ts),
            document: (!delete).then(|| self.rng.bytes(40)),
            index_updates,
        }
    }

    /// Reads a random range as of a random timestamp.
    async fn read(&mut self) {
        let timestamps = self.subject.model.timestamps();
        let Some(last) = timestamps.len().checked_sub(1) else {
            return;
        };
        let at = timestamps[self.rng.below(last as u64 + 1) as usize];
        let at = Timestamp(at.0 - self.rng.below(2));
        let range = match self.rng.below(4) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix(self.rng.bytes(2)),
            2 => KeyRange {
                start: self.rng.bytes(3),
                end: None,
            },
            // Empty as often as not.
            _ => KeyRange {
                start: self.rng.bytes(3),
                end: Some(self.rng.bytes(3)),
            },
        };
        let order = [Order::Ascending, Order::Descending][self.rng.below(2) as usize];
        let limit = 1 + self.rng.below(6) as usize;
        for index in self.indexes.clone() {
            self.subject
                .check_range(index, &range, order, at, limit)
                .await;
        }
    }
}
