//! A database of one table, in memory, that is filled once and then only read.

use std::sync::Arc;

use concave_core::catalog::{Index, IndexState, index_document};
use concave_core::driver::Database as Driver;
use concave_core::persistence::memory::MemoryPersistence;
use concave_core::persistence::{IndexPage, IndexRead, Persistence};
use concave_core::transaction::{Snapshot, Transaction};
use concave_core::value::FieldPath;
use concave_core::{DocumentId, Object};
use futures_util::FutureExt;

use crate::executor::Executor;

/// The table.
pub const TABLE: &str = "notes";
/// Its indexes, beside the built-in ones.
const INDEXES: [(&str, &[&str]); 2] = [("by_a", &["a"]), ("by_a_bc", &["a", "b.c"])];
/// Most rows that storage gives at once, so that reading goes on in the middle of a range.
const PAGE_ROWS: usize = 3;

/// Storage, and how it looked when the documents were in.
pub struct Database {
    persistence: Arc<dyn Persistence>,
    snapshot: Snapshot,
    /// What is in the table, system fields included.
    pub documents: Vec<Arc<Object>>,
}

impl Database {
    /// With these documents in [`TABLE`].
    pub fn new(documents: Vec<Object>) -> Self {
        let executor = Arc::new(Executor::default());
        let database = executor.run(Self::fill(executor.clone(), documents));
        executor.stop();
        database
    }

    async fn fill(executor: Arc<Executor>, documents: Vec<Object>) -> Self {
        let persistence = Arc::new(MemoryPersistence::default());
        let driver = Driver::open(executor, persistence.clone())
            .await
            .expect("memory is whole");
        let mut tx = driver.begin();
        let table = tx.ensure_table(TABLE).expect("a good name");
        for (name, fields) in INDEXES {
            let path = |field: &&str| FieldPath::parse(field).expect("a path");
            let index = Index {
                id: tx.allocate_index(),
                table: table.id,
                name: name.into(),
                fields: fields
                    .iter()
                    .chain(&["_creationTime", "_id"])
                    .map(path)
                    .collect(),
                state: IndexState::Ready,
                staged: false,
            };
            tx.insert_system("_indexes", index_document(&index))
                .expect("a good index");
        }
        driver.commit(tx).await.expect("nobody interferes");

        let mut tx = driver.begin();
        let table = tx.table(TABLE).expect("it was made");
        let insert = |document| tx.insert(&table, document).expect("a good document");
        let ids: Vec<DocumentId> = documents.into_iter().map(insert).collect();
        driver.commit(tx).await.expect("nobody interferes");

        let mut tx = driver.begin();
        let mut documents = Vec::new();
        for id in ids {
            let row = driver.get(&mut tx, id).await.expect("memory is whole");
            documents.push(row.expect("it is there").document);
        }
        Self {
            persistence,
            snapshot: driver.snapshot(),
            documents,
        }
    }

    /// A transaction on all that is there.
    pub fn begin(&self) -> Transaction {
        Transaction::begin(self.snapshot.clone(), self.snapshot.ts, [0; 32])
    }

    /// Reads from storage.
    pub fn read(&self, mut read: IndexRead) -> IndexPage {
        read.limit = read.limit.min(PAGE_ROWS);
        let page = self.persistence.read_index(read).now_or_never();
        page.expect("memory does not wait")
            .expect("memory is whole")
    }
}
