//! Checking the documents that were there before a schema.

use std::sync::Arc;

use super::Database;
use super::attempts::Attempts;
use super::schema_change::{replace, schema_id};
use super::schema_worker::{PAGE_ROWS, too_contended};
use crate::catalog::{Catalog, SchemaState, StoredSchema, schema_document};
use crate::deploy::indexes::tables_to_check;
use crate::error::Result;
use crate::persistence::{IndexRead, KeyRange, Order};
use crate::value::{Value, decode_document};

/// A schema that documents are being checked against.
pub(super) struct Validation {
    schema: Arc<StoredSchema>,
    /// Tables that have not been checked wholly; the last one is next.
    tables: Vec<String>,
    /// What of its `by_id` index has not been read.
    rest: KeyRange,
}

/// Forgets a schema that is not to be checked any more, and begins one that is.
pub(super) fn update(validation: &mut Option<Validation>, catalog: &Catalog) {
    let schemas = catalog.schemas();
    let pending = schemas
        .next
        .as_ref()
        .filter(|next| next.state == SchemaState::Pending);
    let Some(pending) = pending else {
        *validation = None;
        return;
    };
    if validation
        .as_ref()
        .is_none_or(|validation| validation.schema.id != pending.id)
    {
        let active = schemas.active.as_ref().map(|active| &*active.definition);
        let mut tables = tables_to_check(active, &pending.definition);
        tables.reverse();
        *validation = Some(Validation {
            schema: pending.clone(),
            tables,
            rest: KeyRange::all(),
        });
    }
}

impl Validation {
    /// Checks one page of documents; the schema is validated after the last one, and failed at the first that does
    /// not match.
    pub(super) async fn page(&mut self, db: &Database) -> Result<()> {
        let Some(name) = self.tables.last() else {
            return self.settle(db, SchemaState::Validated).await;
        };
        let snapshot = db.snapshot();
        let Some(table) = snapshot.catalog.table(name) else {
            self.tables.pop();
            return Ok(());
        };
        let read = IndexRead {
            index: table.by_id().id,
            range: self.rest.clone(),
            order: Order::Ascending,
            at: snapshot.ts,
            limit: PAGE_ROWS,
        };
        let page = db.persistence().read_index(read).await?;
        for row in &page.rows {
            let document = decode_document(&row.document)?;
            let definition = &self.schema.definition;
            if let Err(error) = definition.check_document(name, &document, &*snapshot.catalog) {
                let id = document.get("_id").and_then(Value::as_str);
                let id = id.unwrap_or_default();
                let failed = SchemaState::Failed {
                    error: format!(
                        "Document with ID \"{id}\" in table \"{name}\" does not match the schema: {error}"
                    ),
                    table: Some(name.clone()),
                };
                return self.settle(db, failed).await;
            }
        }
        match page.rows.last() {
            Some(last) if !page.exhausted => {
                self.rest = std::mem::take(&mut self.rest).beyond(&last.key, Order::Ascending);
            }
            _ => {
                self.tables.pop();
                self.rest = KeyRange::all();
            }
        }
        Ok(())
    }

    /// Stores how it went, unless the schema has been replaced or a write has made it fail.
    async fn settle(&self, db: &Database, state: SchemaState) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            let mut tx = db.begin();
            let next = tx.schemas().next;
            let is_pending = next.is_some_and(|next| {
                next.id == self.schema.id && next.state == SchemaState::Pending
            });
            if !is_pending {
                return Ok(());
            }
            let document = schema_document(&state, &self.schema.definition);
            replace(db, &mut tx, schema_id(&self.schema.id)?, document).await?;
            match db.commit(tx).await {
                Ok(_) => return Ok(()),
                Err(error) => attempts.again(error, too_contended)?,
            }
        }
    }
}
