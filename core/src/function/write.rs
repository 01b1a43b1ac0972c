//! Writes as functions make them: schema enforcement and patches.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, SchemaState, StoredSchema, schema_document};
use crate::error::{Error, Result};
use crate::planted::{Bug, planted};
use crate::schema::TableNames;
use crate::transaction::{Row, Transaction};
use crate::value::{DocumentId, Object, TableNumber, Value};

impl TableNames for Catalog {
    fn number(&self, name: &str) -> Option<TableNumber> {
        self.table(name).map(|table| table.number)
    }

    fn name(&self, number: TableNumber) -> Option<&str> {
        self.table_by_number(number)
            .map(|table| table.name.as_str())
    }
}

/// Checks a document against the schema in force. A document that matches it but not the schema on its way makes
/// that one fail instead: the push that brought it is refused, the write goes through.
///
/// # Errors
/// Code `SchemaEnforcementError`. The row that must be replaced to fail the schema on its way is the caller's to
/// read: [`SchemaViolation`] in the answer says so.
pub fn check_schema(
    tx: &mut Transaction,
    table: &str,
    document: &Object,
) -> Result<Option<SchemaViolation>> {
    let schemas = tx.schemas();
    let check = |schema: &StoredSchema, tx: &Transaction| {
        schema
            .definition
            .check_document(table, document, tx.catalog())
    };
    if let Some(active) = &schemas.active
        && !planted(Bug::ActiveSchemaNotChecked)
        && let Err(error) = check(active, tx)
    {
        return Err(Error::bad_request(
            "SchemaEnforcementError",
            format!(
                "Failed to insert or update a document in table \"{table}\" because it does not match the schema: {error}"
            ),
        ));
    }
    let Some(next) = &schemas.next else {
        return Ok(None);
    };
    if !matches!(next.state, SchemaState::Pending | SchemaState::Validated)
        || planted(Bug::NextSchemaNotChecked)
    {
        return Ok(None);
    }
    Ok(check(next, tx).err().map(|error| {
        let state = SchemaState::Failed {
            error: format!(
                "A document written to table \"{table}\" does not match the schema: {error}"
            ),
            table: Some(table.to_owned()),
        };
        let id = DocumentId::decode(&next.id).expect("catalog documents have valid ids");
        SchemaViolation {
            id,
            document: schema_document(&state, &next.definition),
        }
    }))
}

/// A schema on its way that a write contradicts.
#[derive(Debug)]
pub struct SchemaViolation {
    /// Its document in `_schemas`.
    pub id: DocumentId,
    /// What that document becomes.
    pub document: Object,
}

/// A document with top-level fields set or removed.
///
/// # Errors
/// If a field name is invalid.
pub fn patch(row: &Row, fields: BTreeMap<String, Option<Value>>) -> Result<Object> {
    let mut document = (*row.document).clone();
    for (name, value) in fields {
        match value {
            Some(value) => {
                document.insert(name, value)?;
            }
            None if name == "_id" || name == "_creationTime" => {
                return Err(Error::bad_request(
                    "InvalidPatch",
                    format!("The field `{name}` is set by the database and cannot be removed."),
                ));
            }
            None => {
                document.remove(&name);
            }
        }
    }
    Ok(document)
}
