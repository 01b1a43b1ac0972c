//! Filling new indexes with the documents that were there before them.

use std::collections::BTreeSet;

use super::Database;
use super::attempts::Attempts;
use super::schema_change::set_index;
use super::schema_worker::{PAGE_ROWS, too_contended};
use crate::catalog::{Catalog, Index, IndexState};
use crate::error::{Error, Result};
use crate::persistence::{BackfillEntry, IndexId, IndexRead, KeyRange, Order, TableId};
use crate::planted::{Bug, planted};
use crate::value::{DocumentId, Value, decode_document};

/// Indexes of one table that are being filled together.
#[derive(Debug)]
pub(super) struct Backfill {
    table: TableId,
    indexes: BTreeSet<IndexId>,
    /// What of the table's `by_id` index has not been read.
    rest: KeyRange,
    /// Documents to read at once.
    page_rows: usize,
}

/// Forgets what need not be filled any more, and begins what must be.
pub(super) fn update(backfills: &mut Vec<Backfill>, catalog: &Catalog) {
    let mut begun = Vec::new();
    let mut needed = BTreeSet::new();
    for table in catalog.tables() {
        let unfilled = table
            .indexes
            .iter()
            .filter(|index| index.state == IndexState::Backfilling)
            .map(|index| index.id)
            .collect::<BTreeSet<_>>();
        let under_way: BTreeSet<_> = backfills
            .iter()
            .flat_map(|backfill| &backfill.indexes)
            .collect();
        let indexes: BTreeSet<_> = unfilled
            .iter()
            .copied()
            .filter(|index| !under_way.contains(index))
            .collect();
        if !indexes.is_empty() {
            begun.push(Backfill {
                table: table.id,
                indexes,
                rest: KeyRange::all(),
                page_rows: PAGE_ROWS,
            });
        }
        needed.extend(unfilled);
    }
    for backfill in backfills.iter_mut() {
        backfill.indexes.retain(|index| needed.contains(index));
    }
    backfills.retain(|backfill| !backfill.indexes.is_empty());
    backfills.append(&mut begun);
}

impl Backfill {
    /// Adds the entries of one page of documents; after the last one the indexes are complete.
    pub(super) async fn page(&mut self, db: &Database) -> Result<()> {
        let snapshot = db.snapshot();
        let Some(table) = snapshot.catalog.table_by_id(self.table) else {
            return Ok(());
        };
        let indexes: Vec<_> = table
            .indexes
            .iter()
            .filter(|index| self.indexes.contains(&index.id))
            .cloned()
            .collect();
        let read = IndexRead {
            index: table.by_id().id,
            range: self.rest.clone(),
            order: Order::Ascending,
            at: snapshot.ts,
            limit: self.page_rows,
        };
        let page = db.persistence().read_index(read).await?;
        let mut entries = Vec::with_capacity(page.rows.len() * indexes.len());
        for row in &page.rows {
            let document = decode_document(&row.document)?;
            let id = document.get("_id").and_then(Value::as_str);
            let id = id
                .and_then(DocumentId::decode)
                .ok_or_else(|| Error::internal("A stored document has no id."))?;
            for index in &indexes {
                entries.push(BackfillEntry {
                    index: index.id,
                    key: index.key(&document),
                    ts: row.ts,
                    table: table.id,
                    id: id.internal,
                });
            }
        }
        let is_lost = page.exhausted && planted(Bug::LastBackfillPageLost);
        if !entries.is_empty() && !is_lost {
            db.persistence().backfill(entries).await?;
        }
        match page.rows.last() {
            Some(last) if !page.exhausted => {
                self.rest = std::mem::take(&mut self.rest).beyond(&last.key, Order::Ascending);
            }
            _ => {
                for index in &indexes {
                    complete(db, index).await?;
                }
                self.indexes.clear();
            }
        }
        Ok(())
    }
}

/// Marks an index as complete, unless it has been dropped.
async fn complete(db: &Database, index: &Index) -> Result<()> {
    let mut attempts = Attempts::new();
    loop {
        let mut tx = db.begin();
        let tables = tx.catalog().table_by_id(index.table).cloned();
        let table = tables.and_then(|table| tx.table(&table.name));
        let current = table.and_then(|table| {
            let mut indexes = table.indexes.iter();
            indexes.find(|current| current.id == index.id).cloned()
        });
        match current {
            Some(current) if current.state == IndexState::Backfilling => {
                let staged = current.staged;
                set_index(db, &mut tx, &current, IndexState::Backfilled, staged).await?;
            }
            _ => return Ok(()),
        }
        match db.commit(tx).await {
            Ok(_) => return Ok(()),
            Err(error) => attempts.again(error, too_contended)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use futures_executor::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::index_document;
    use crate::driver::testing::ThreadRuntime;
    use crate::persistence::Persistence;
    use crate::persistence::memory::MemoryPersistence;
    use crate::value::{FieldPath, Object};

    /// A step of a world in which an index is being filled.
    #[derive(Clone, Debug)]
    enum Step {
        Insert(i64),
        /// Sets the field of the document at this place, counted round.
        Replace(usize, i64),
        Delete(usize),
        /// Lets the backfill read a page.
        Page,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0i64..4).prop_map(Step::Insert),
            (any::<usize>(), 0i64..4).prop_map(|(place, n)| Step::Replace(place, n)),
            any::<usize>().prop_map(Step::Delete),
            Just(Step::Page),
        ]
    }

    struct World {
        db: Database,
        /// What the documents hold, by id.
        model: BTreeMap<DocumentId, i64>,
    }

    impl World {
        fn write(&mut self, step: &Step) {
            let db = &self.db;
            let mut tx = db.begin();
            let object = |n: i64| Object::from_fields([("n", n)]).unwrap();
            let pick = |place: usize| {
                let place = place.checked_rem(self.model.len())?;
                self.model.keys().nth(place).copied()
            };
            let row = |tx: &mut _, id| block_on(db.get(tx, id)).unwrap().unwrap();
            match *step {
                Step::Insert(n) => {
                    let table = tx.ensure_table("t").unwrap();
                    let id = tx.insert(&table, object(n)).unwrap();
                    self.model.insert(id, n);
                }
                Step::Replace(place, n) => {
                    let Some(id) = pick(place) else { return };
                    let row = row(&mut tx, id);
                    tx.replace(id, &row, object(n)).unwrap();
                    self.model.insert(id, n);
                }
                Step::Delete(place) => {
                    let Some(id) = pick(place) else { return };
                    let row = row(&mut tx, id);
                    tx.delete(id, &row).unwrap();
                    self.model.remove(&id);
                }
                Step::Page => unreachable!("pages are read by the backfill"),
            }
            block_on(db.commit(tx)).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever is written between the pages of a backfill, the index ends up as its documents make it, and with
        /// nothing beside it.
        #[test]
        fn equals_recomputation(
            before in proptest::collection::vec(any_step(), 0..24),
            during in proptest::collection::vec(any_step(), 0..24),
        ) {
            let persistence: Arc<dyn Persistence> = Arc::new(MemoryPersistence::new());
            let db = block_on(Database::open(ThreadRuntime::handle(), persistence.clone())).unwrap();
            let mut world = World { db, model: BTreeMap::new() };
            world.write(&Step::Insert(0));
            for step in before.iter().filter(|step| !matches!(step, Step::Page)) {
                world.write(step);
            }
            let mut tx = world.db.begin();
            let table = tx.ensure_table("t").unwrap();
            let path = |text| FieldPath::parse(text).unwrap();
            let index = Index {
                id: tx.allocate_index(),
                table: table.id,
                name: "on_n".to_owned(),
                fields: vec![path("n"), path("_creationTime"), path("_id")],
                state: IndexState::Backfilling,
                staged: false,
            };
            tx.insert_system("_indexes", index_document(&index)).unwrap();
            block_on(world.db.commit(tx)).unwrap();

            let mut jobs = Vec::new();
            update(&mut jobs, &world.db.snapshot().catalog);
            prop_assert_eq!(jobs.len(), 1);
            let mut job = jobs.remove(0);
            job.page_rows = 3;
            for step in during {
                match step {
                    Step::Page => block_on(job.page(&world.db)).unwrap(),
                    step => world.write(&step),
                }
            }
            while !job.indexes.is_empty() {
                block_on(job.page(&world.db)).unwrap();
            }
            let snapshot = world.db.snapshot();
            let table = snapshot.catalog.table("t").unwrap();
            prop_assert_eq!(table.index("on_n").unwrap().state, IndexState::Backfilled);
            let read = IndexRead {
                index: index.id,
                range: KeyRange::all(),
                order: Order::Ascending,
                at: snapshot.ts,
                limit: 1000,
            };
            let rows = block_on(persistence.read_index(read)).unwrap().rows;
            let mut found = BTreeMap::new();
            for row in &rows {
                let document = decode_document(&row.document).unwrap();
                prop_assert_eq!(&index.key(&document), &row.key);
                let id = document.get("_id").and_then(Value::as_str).and_then(DocumentId::decode);
                let n = document.get("n").and_then(Value::as_i64).unwrap();
                prop_assert_eq!(found.insert(id.unwrap(), n), None);
            }
            prop_assert_eq!(found, world.model);
        }
    }
}
