//! Filling new indexes with the documents that were there before them.

use std::collections::BTreeSet;

use super::Database;
use super::attempts::Attempts;
use super::schema_change::set_index;
use super::schema_worker::{PAGE_ROWS, too_contended};
use crate::catalog::{Catalog, Index, IndexState};
use crate::error::{Error, Result};
use crate::persistence::{BackfillEntry, IndexId, IndexRead, KeyRange, Order, TableId};
use crate::value::{DocumentId, Value, decode_document};

/// Indexes of one table that are being filled together.
#[derive(Debug)]
pub(super) struct Backfill {
    table: TableId,
    indexes: BTreeSet<IndexId>,
    /// What of the table's `by_id` index has not been read.
    rest: KeyRange,
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
            limit: PAGE_ROWS,
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
        if !entries.is_empty() {
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
