//! The core, set up for running one small history after another.

use std::sync::Arc;

use concave_core::catalog::{
    Catalog, Index, IndexState, Table, bootstrap_revisions, index_document,
};
use concave_core::commit::{BatchOutcome, Committer, Rejection};
use concave_core::persistence::{
    IndexPage, IndexRead, IndexRow, KeyRange, Order, PersistenceError, Revision,
};
use concave_core::transaction::{Finished, Row, Scan, ScanStep, Snapshot, Transaction};
use concave_core::value::{FieldPath, decode_document};
use concave_core::{DocumentId, Object, Timestamp, Value, key};

use crate::programs::{Op, Seen, Tags, tag};

/// The core, with one table that has rows with the keys 0, 1, 2.
pub struct Bench {
    pub catalog: Arc<Catalog>,
    pub table: Arc<Table>,
    pub index: Arc<Index>,
    pub begins: Timestamp,
    /// Versions in the index by key: the encoded key, from when on, the document or the end of the key.
    pub versions: Vec<(Vec<u8>, Timestamp, Option<Vec<u8>>)>,
    pub committer: Committer<usize>,
    pub next_read_descends: bool,
}

impl Bench {
    /// Keys in `present` have one row each.
    pub fn new(present: [bool; 3]) -> Self {
        let ts = Timestamp(1_000_000);
        let mut catalog = Catalog::default();
        for revision in bootstrap_revisions(&catalog, ts).unwrap() {
            let document = decode_document(&revision.document.unwrap()).unwrap();
            catalog
                .apply(revision.table, None, Some(&Arc::new(document)))
                .unwrap();
        }
        let mut tx = begin(&Arc::new(catalog), ts, 9);
        let table = tx.ensure_table("rows").unwrap();
        let fields = ["key", "_creationTime", "_id"].map(|name| FieldPath::parse(name).unwrap());
        let index = Index {
            id: tx.allocate_index(),
            table: table.id,
            name: "by_key".into(),
            fields: fields.to_vec(),
            state: IndexState::Ready,
            staged: false,
        };
        tx.insert_system("_indexes", index_document(&index))
            .unwrap();
        let table = tx.table("rows").unwrap();
        for key in (0..3).filter(|key| present[*key]) {
            tx.insert(&table, document(key, 1 << key)).unwrap();
        }
        let mut bench = Self {
            catalog: Arc::new(tx.catalog().clone()),
            index: table.index("by_key").unwrap().clone(),
            table,
            begins: ts,
            versions: Vec::new(),
            committer: Committer::new(ts),
            next_read_descends: false,
        };
        let Finished::Writes(request) = tx.finish() else {
            unreachable!()
        };
        bench.committer.submit(ts, request, 9).unwrap();
        bench.begins = bench.publish();
        bench.restart();
        bench
    }

    /// As it was at first.
    pub fn restart(&mut self) {
        self.versions.retain(|(_, ts, _)| *ts <= self.begins);
        self.committer = Committer::new(self.begins);
    }

    pub fn begin(&self, at: Timestamp, transaction: usize) -> Transaction {
        begin(&self.catalog, at, transaction)
    }

    /// Stores what was accepted.
    pub fn publish(&mut self) -> Timestamp {
        if let Some(batch) = self.committer.next_batch() {
            self.store(batch);
            let outcome = self.committer.batch_persisted(Ok(()));
            assert!(matches!(outcome, BatchOutcome::Published(_)));
        }
        self.committer.durable()
    }

    fn store(&mut self, batch: Vec<Revision>) {
        for revision in batch {
            for update in revision.index_updates {
                if update.index == self.index.id {
                    let document = revision.document.clone().filter(|_| update.live);
                    self.versions.push((update.key, revision.ts, document));
                }
            }
        }
    }

    fn read(&self, read: &IndexRead) -> IndexPage {
        assert_eq!(read.index, self.index.id);
        let visible = |(key, ts, _): &&(Vec<u8>, Timestamp, Option<Vec<u8>>)| {
            *ts <= read.at && read.range.contains(key)
        };
        let mut versions: Vec<_> = self.versions.iter().filter(visible).collect();
        // Of each key the newest version; later ones come later.
        versions.reverse();
        versions.sort_by(|a, b| a.0.cmp(&b.0));
        versions.dedup_by(|later, kept| later.0 == kept.0);
        let rows = versions.into_iter().filter_map(|(key, ts, document)| {
            Some(IndexRow {
                key: key.clone(),
                ts: *ts,
                document: document.clone()?,
            })
        });
        let mut rows: Vec<_> = rows.collect();
        if read.order == Order::Descending {
            rows.reverse();
        }
        let exhausted = rows.len() <= read.limit;
        rows.truncate(read.limit);
        IndexPage { rows, exhausted }
    }

    fn scan(&mut self, tx: &mut Transaction, first: usize, last: usize) -> Vec<Row> {
        let bound = |key: usize| key::encode_key(&[Some(&Value::Int64(key as i64))]);
        let range = KeyRange {
            start: bound(first),
            end: Some(bound(last + 1)),
        };
        self.next_read_descends = !self.next_read_descends;
        let order = if self.next_read_descends {
            Order::Descending
        } else {
            Order::Ascending
        };
        let mut scan = Scan::new(self.index.id, range, order, 2);
        let mut rows = Vec::new();
        loop {
            match scan.next(tx).unwrap() {
                ScanStep::Row(row) => rows.push(row),
                ScanStep::Read(read) => scan.supply(self.read(&read)).unwrap(),
                ScanStep::Done => return rows,
            }
        }
    }

    /// Takes one step of a transaction; gives what it saw.
    pub fn step(&mut self, tx: &mut Transaction, op: Op, tag: Tags) -> Tags {
        let (first, last) = match op {
            Op::Read(first, last) => (first, last),
            Op::Put(key) | Op::Delete(key) => (key, key),
            Op::Add(key) => {
                tx.insert(&self.table, document(key, tag)).unwrap();
                return 0;
            }
        };
        let rows = self.scan(tx, first, last);
        let seen = rows.iter().fold(0, |all, row| all | tag_of(row));
        let mut rows = rows.iter();
        if let Op::Put(key) = op {
            match rows.next() {
                Some(row) => drop(tx.replace(id_of(row), row, document(key, tag)).unwrap()),
                None => drop(tx.insert(&self.table, document(key, tag)).unwrap()),
            }
        }
        if matches!(op, Op::Put(_) | Op::Delete(_)) {
            rows.for_each(|row| tx.delete(id_of(row), row).unwrap());
        }
        seen
    }

    pub fn run(
        &mut self,
        program: &[Op],
        transaction: usize,
        at: Timestamp,
    ) -> (Seen, Transaction) {
        let mut tx = self.begin(at, transaction);
        let mut seen = [0; 3];
        for (n, op) in program.iter().enumerate() {
            seen[n] = self.step(&mut tx, *op, tag(transaction, n));
        }
        (seen, tx)
    }

    /// Whether it is admitted; `true` if it needs no admission.
    pub fn submit(&mut self, tx: Transaction, transaction: usize) -> bool {
        match tx.finish() {
            Finished::ReadOnly(_) => true,
            Finished::Writes(request) => {
                match self.committer.submit(Timestamp(0), request, transaction) {
                    Ok(_) => true,
                    Err((_, Rejection::Conflict(_))) => false,
                    Err((_, other)) => panic!("{other:?}"),
                }
            }
        }
    }

    /// Takes back what was accepted and not published.
    pub fn take_back(&mut self) {
        if self.committer.next_batch().is_some() {
            let error = PersistenceError::Unavailable("taken back".into());
            let outcome = self.committer.batch_persisted(Err(error));
            assert!(matches!(outcome, BatchOutcome::Failed(..)));
        }
    }
}

fn begin(catalog: &Arc<Catalog>, at: Timestamp, transaction: usize) -> Transaction {
    let snapshot = Snapshot {
        ts: at,
        catalog: catalog.clone(),
        pin: Arc::new(()),
    };
    let seed = [transaction as u8; 32];
    // Rows of all transactions are made at the same time: their ids alone keep them apart.
    Transaction::begin(snapshot, Timestamp(9_000_000), seed)
}

fn document(key: usize, tag: Tags) -> Object {
    let fields = [
        ("key", Value::Int64(key as i64)),
        ("tag", Value::Int64(tag.into())),
    ];
    Object::from_fields(fields).unwrap()
}

fn tag_of(row: &Row) -> Tags {
    let tag = row.document.get("tag").and_then(Value::as_i64).unwrap();
    Tags::try_from(tag).unwrap()
}

fn id_of(row: &Row) -> DocumentId {
    let id = row.document.get("_id").and_then(Value::as_str).unwrap();
    DocumentId::decode(id).unwrap()
}
