//! A database without drivers: storage in memory, a catalog, and transactions that commit at once.

use std::sync::Arc;

use futures_util::FutureExt;

use crate::catalog::{Catalog, Index, IndexState, bootstrap_revisions, index_document, well_known};
use crate::error::Result;
use crate::key::encode_key;
use crate::persistence::memory::MemoryPersistence;
use crate::persistence::{IndexId, IndexPage, IndexRead, KeyRange, Order, Persistence, Revision};
use crate::query::{
    CursorKey, Journal, Page, PageError, PageQuery, PageRequest, PageStep, Query, QueryStep,
    QueryStream, Visibility,
};
use crate::timestamp::Timestamp;
use crate::transaction::{Finished, Row, Scan, ScanStep, Snapshot, Transaction};
use crate::value::{DocumentId, FieldPath, Object, Value, decode_document};

pub const TABLE: &str = "notes";
/// Indexes of [`TABLE`] beside the built-in ones.
pub const INDEXES: [(&str, &[&str]); 2] = [("by_a", &["a"]), ("by_a_bc", &["a", "b.c"])];

pub struct World {
    persistence: MemoryPersistence,
    catalog: Arc<Catalog>,
    ts: Timestamp,
    /// Most rows that storage gives at once.
    page_rows: usize,
}

impl World {
    /// With the table [`TABLE`] and its indexes.
    pub fn new(page_rows: usize) -> Self {
        let mut world = Self {
            persistence: MemoryPersistence::new(),
            catalog: Arc::default(),
            ts: Timestamp(1_000_000),
            page_rows,
        };
        let revisions = bootstrap_revisions(&world.catalog, world.ts).unwrap();
        for revision in &revisions {
            let document = decode_document(revision.document.as_ref().unwrap()).unwrap();
            Arc::make_mut(&mut world.catalog)
                .apply(revision.table, None, Some(&Arc::new(document)))
                .unwrap();
        }
        world.write(revisions);
        let mut tx = world.begin();
        tx.ensure_table(TABLE).unwrap();
        for (name, fields) in INDEXES {
            add_index(&mut tx, name, fields, IndexState::Ready, false);
        }
        world.commit(tx);
        world
    }

    pub fn begin(&self) -> Transaction {
        let snapshot = Snapshot {
            ts: self.ts,
            catalog: self.catalog.clone(),
            pin: Arc::new(()),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.ts.0.to_le_bytes());
        Transaction::begin(snapshot, self.ts, seed)
    }

    /// Commits; returns the written keys.
    pub fn commit(&mut self, tx: Transaction) -> Vec<(IndexId, Vec<u8>)> {
        let Finished::Writes(request) = tx.finish() else {
            return Vec::new();
        };
        // Far enough that creation times of the next transaction are greater.
        self.ts = Timestamp(self.ts.0 + 1_000_000);
        let mut keys = Vec::new();
        let mut revisions = Vec::new();
        for write in request.writes {
            let updates = &write.index_updates;
            keys.extend(
                updates
                    .iter()
                    .map(|update| (update.index, update.key.clone())),
            );
            if let Some(change) = &write.catalog_change {
                Arc::make_mut(&mut self.catalog)
                    .apply(change.table, change.old.as_ref(), change.new.as_ref())
                    .unwrap();
            }
            revisions.push(Revision {
                ts: self.ts,
                table: write.table,
                id: write.id,
                prev_ts: write.prev_ts,
                document: write.document,
                index_updates: write.index_updates,
            });
        }
        self.write(revisions);
        keys
    }

    fn write(&self, revisions: Vec<Revision>) {
        let written = self.persistence.write(revisions).now_or_never();
        written.expect("memory does not wait").unwrap();
    }

    pub fn read(&self, mut read: IndexRead) -> IndexPage {
        assert!(read.limit > 0);
        read.limit = read.limit.min(self.page_rows);
        let page = self.persistence.read_index(read).now_or_never();
        page.expect("memory does not wait").unwrap()
    }

    pub fn index(&self, name: &str) -> &Arc<Index> {
        self.catalog.table(TABLE).unwrap().index(name).unwrap()
    }

    pub fn get(&self, tx: &mut Transaction, id: DocumentId) -> Row {
        let key = encode_key(&[Some(&Value::from(id))]);
        let index = self.index("by_id").id;
        let mut scan = Scan::new(index, KeyRange::point(key), Order::Ascending, 1);
        loop {
            match scan.next(tx).unwrap() {
                ScanStep::Row(row) => return row,
                ScanStep::Read(read) => scan.supply(self.read(read)).unwrap(),
                ScanStep::Done => panic!("no document {id}"),
            }
        }
    }

    /// Runs a query to its end.
    pub fn collect(&self, tx: &mut Transaction, query: &Query) -> Result<Vec<Arc<Object>>> {
        let mut stream = QueryStream::open(tx, query, Visibility::User)?;
        let mut rows = Vec::new();
        loop {
            match stream.next(tx)? {
                QueryStep::Row(row) => rows.push(row),
                QueryStep::Read(read) => stream.supply(self.read(read))?,
                QueryStep::Done => break,
            }
        }
        assert!(matches!(stream.next(tx)?, QueryStep::Done), "done is done");
        Ok(rows)
    }

    pub fn page(
        &self,
        tx: &mut Transaction,
        query: &Query,
        request: &PageRequest,
        journal: &Journal,
    ) -> Result<Page, PageError> {
        let request = request.clone();
        let mut page =
            PageQuery::open(tx, query, Visibility::User, request, journal, &cursor_key())?;
        loop {
            match page.next(tx)? {
                PageStep::Read(read) => page.supply(self.read(read))?,
                PageStep::Done(page) => return Ok(page),
            }
        }
    }
}

pub fn cursor_key() -> CursorKey {
    CursorKey::new([3; 32], "test")
}

/// Adds an index to [`TABLE`], which must be empty.
pub fn add_index(
    tx: &mut Transaction,
    name: &str,
    fields: &[&str],
    state: IndexState,
    staged: bool,
) {
    let path = |field: &&str| FieldPath::parse(field).unwrap();
    let index = Index {
        id: tx.allocate_index(),
        table: tx.table(TABLE).unwrap().id,
        name: name.into(),
        fields: fields
            .iter()
            .chain(&["_creationTime", "_id"])
            .map(path)
            .collect(),
        state,
        staged,
    };
    tx.insert_system("_indexes", index_document(&index))
        .unwrap();
}

/// The ranges of an index that a transaction depends on.
pub fn ranges_read(tx: &Transaction, index: IndexId) -> Vec<KeyRange> {
    assert_ne!(index, well_known::TABLES_BY_NAME);
    tx.reads()
        .ranges()
        .filter(|(read, _)| *read == index)
        .map(|(_, range)| range)
        .collect()
}
