//! The contract of [`Persistence`] as checks that any adapter can be put through.
//!
//! [`run_all`] needs no async runtime and panics with an explanation at the first breach. Pointed cases come
//! first; then seeded random histories, on which the adapter must agree with a naive model at every timestamp.
//! What only a process or a disk can show (durability over a crash, locks, damaged files) is for the adapter's
//! own tests.

mod cases;
mod model;
mod random;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use self::model::Model;
use super::{
    BackfillEntry, IndexId, IndexRead, IndexRow, IndexUpdate, KeyRange, KeyVersion, Order,
    Persistence, Revision, RevisionName, Superseded, TableId,
};
use crate::timestamp::Timestamp;
use crate::value::InternalId;

/// Random histories that [`run_all`] tries.
const SEEDS: std::ops::Range<u64> = 0..6;

/// Puts an adapter through every check. `make` gives a fresh, empty database each time.
///
/// # Panics
/// When the adapter breaks the contract, or fails.
pub async fn run_all(make: impl Fn() -> BoxFuture<'static, Arc<dyn Persistence>>) {
    cases::empty_database(Subject::new(make().await)).await;
    cases::versions_of_a_key(Subject::new(make().await)).await;
    cases::many_versions_and_tombstones(Subject::new(make().await)).await;
    cases::awkward_keys(Subject::new(make().await)).await;
    cases::separate_indexes(Subject::new(make().await)).await;
    cases::log_pages(Subject::new(make().await)).await;
    cases::large_documents(Subject::new(make().await)).await;
    cases::backfill(Subject::new(make().await)).await;
    cases::reads_beside_writes(Subject::new(make().await)).await;
    cases::delete(Subject::new(make().await)).await;
    cases::globals(Subject::new(make().await)).await;
    for seed in SEEDS {
        random::history(Subject::new(make().await), seed).await;
    }
}

/// An adapter and the model that it must agree with.
struct Subject {
    storage: Arc<dyn Persistence>,
    model: Model,
}

impl Subject {
    fn new(storage: Arc<dyn Persistence>) -> Self {
        Self {
            storage,
            model: Model::default(),
        }
    }

    async fn write(&mut self, revisions: Vec<Revision>) {
        self.model.write(&revisions);
        self.storage.write(revisions).await.expect("write");
    }

    async fn backfill(&mut self, entries: Vec<BackfillEntry>) {
        self.model.backfill(&entries);
        self.storage.backfill(entries).await.expect("backfill");
    }

    async fn delete(&mut self, superseded: Superseded) {
        self.model.delete(&superseded);
        self.storage.delete(superseded).await.expect("delete");
    }

    /// Reads a range page by page, checks each page, and compares the whole with the model.
    async fn check_range(
        &self,
        index: IndexId,
        range: &KeyRange,
        order: Order,
        at: Timestamp,
        limit: usize,
    ) -> Vec<IndexRow> {
        let what = || format!("{index:?} {range:?} {order:?} at {at:?}, pages of {limit}");
        let mut rows: Vec<IndexRow> = Vec::new();
        let mut rest = range.clone();
        loop {
            let read = IndexRead {
                index,
                range: rest.clone(),
                order,
                at,
                limit,
            };
            let page = self.storage.read_index(read).await.expect("read_index");
            assert!(
                page.rows.len() <= limit,
                "a page exceeds its limit: {}",
                what()
            );
            rows.extend(page.rows);
            if page.exhausted {
                break;
            }
            let last = rows
                .last()
                .unwrap_or_else(|| panic!("an empty page claims that there is more: {}", what()));
            let shorter = rest.clone().beyond(&last.key, order);
            assert_ne!(shorter, rest, "paging does not advance: {}", what());
            rest = shorter;
        }
        let expected = self.model.rows(index, range, order, at);
        let keys = |rows: &[IndexRow]| -> Vec<(Vec<u8>, Timestamp)> {
            rows.iter().map(|row| (row.key.clone(), row.ts)).collect()
        };
        assert_eq!(keys(&rows), keys(&expected), "{}", what());
        // Not `assert_eq`: documents may be large.
        assert!(rows == expected, "documents differ: {}", what());
        rows
    }

    /// Compares an index with the model just before and at every timestamp, in both orders.
    async fn check_index(&self, index: IndexId, limits: &[usize]) {
        for ts in self.model.timestamps() {
            for at in [Timestamp(ts.0 - 1), ts] {
                for order in [Order::Ascending, Order::Descending] {
                    for &limit in limits {
                        self.check_range(index, &KeyRange::all(), order, at, limit)
                            .await;
                    }
                }
            }
        }
    }

    /// Reads the log after `after` page by page and compares it with the model.
    async fn check_log(&self, after: Timestamp, limit: usize) {
        let mut revisions: Vec<Revision> = Vec::new();
        let mut from = after;
        loop {
            let page = self.storage.read_log(from, limit).await.expect("read_log");
            if let Some(first) = page.revisions.first() {
                assert!(first.ts > from, "the log repeats or splits {:?}", first.ts);
            }
            revisions.extend(page.revisions);
            if page.exhausted {
                break;
            }
            let last = revisions.last().map_or(after, |revision| revision.ts);
            assert!(last > from, "log paging does not advance after {from:?}");
            from = last;
        }
        assert!(
            revisions == self.model.log_after(after),
            "the log after {after:?} in pages of {limit} differs"
        );
    }

    async fn check_max_ts(&self) {
        let max_ts = self.storage.max_ts().await.expect("max_ts");
        assert_eq!(max_ts, self.model.max_ts());
    }
}

const TABLE: TableId = TableId(1);
const INDEX: IndexId = IndexId(1);

/// A document id that is easy to tell from others.
fn id(n: u16) -> InternalId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    InternalId(bytes)
}

/// A revision of [`TABLE`] with keys of [`INDEX`].
fn revision(ts: u64, n: u16, document: Option<&[u8]>, keys: &[(&[u8], bool)]) -> Revision {
    Revision {
        ts: Timestamp(ts),
        table: TABLE,
        id: id(n),
        prev_ts: None,
        document: document.map(<[u8]>::to_vec),
        index_updates: keys
            .iter()
            .map(|&(key, live)| IndexUpdate {
                index: INDEX,
                key: key.to_vec(),
                live,
            })
            .collect(),
    }
}
