//! What a push would mean for the documents that are there, for the summary that the command line shows before it.

use serde_json::{Value as Json, json};

use super::Database;
use super::deployer::Deployer;
use crate::deploy::indexes::tables_to_check;
use crate::error::Result;
use crate::persistence::{KeyRange, Order};
use crate::schema::{IndexDiff, IndexSet, SchemaDefinition, Validator};
use crate::transaction::{Scan, Transaction};

impl Deployer {
    /// `/api/deploy2/evaluate_schema`: which tables must be read, and which indexes filled or dropped. Nothing is
    /// stored. Tables are counted by reading them, but only those that the push itself would read or drop an index of.
    ///
    /// # Errors
    /// As [`Self::start_push`].
    pub async fn evaluate_schema(&self, request: Json) -> Result<Json> {
        let schema = self.evaluate_schema_only(request).await?;
        let mut tx = self.database.begin();
        let active = tx.schemas().active;
        let active = active.as_ref().map(|active| &*active.definition);
        let evaluation = evaluation(&self.database, &mut tx, active, schema.as_ref()).await?;
        Ok(json!({"componentSchemaEvaluations": {"": evaluation}, "newComponentDefinitions": []}))
    }
}

async fn evaluation(
    db: &Database,
    tx: &mut Transaction,
    active: Option<&SchemaDefinition>,
    next: Option<&SchemaDefinition>,
) -> Result<Json> {
    let validation = next.is_some_and(|next| next.schema_validation);
    let to_check = next.map(|next| tables_to_check(active, next));
    let to_check = to_check.unwrap_or_default();
    let mut tables = Vec::new();
    for (name, table) in next.into_iter().flat_map(|next| &next.tables) {
        let typed = table.document_type.as_ref();
        let outcome = if !validation || typed.is_none_or(|typed| *typed == Validator::Any) {
            "notValidated"
        } else if to_check.contains(name) {
            "mustWalk"
        } else {
            "supersetOfEnforced"
        };
        let (count, bytes) = match outcome {
            "mustWalk" => measure(db, tx, name).await?,
            _ => (0, 0),
        };
        tables
            .push(json!({"name": name, "outcome": outcome, "numDocs": count, "sizeBytes": bytes}));
    }
    let set = |schema: Option<&SchemaDefinition>| -> IndexSet {
        schema.map(SchemaDefinition::indexes).unwrap_or_default()
    };
    let diff = IndexDiff::between(&set(active), &set(next));
    let mut indexes = Vec::new();
    for (change, set) in [
        ("added", &diff.added),
        ("identical", &diff.identical),
        ("enabled", &diff.enabled),
        ("disabled", &diff.disabled),
        ("dropped", &diff.removed),
    ] {
        for (name, definition) in set {
            let mut index = definition.to_json();
            let (count, _) = match change {
                "added" | "dropped" => measure(db, tx, &name.table).await?,
                _ => (0, 0),
            };
            index["name"] = json!(name.to_string());
            index["change"] = json!(change);
            index["needsBackfill"] = json!(change == "added");
            index["numDocs"] = json!(count);
            indexes.push(index);
        }
    }
    Ok(
        json!({"definitionPath": "", "schemaValidation": validation, "tables": tables, "indexes": indexes}),
    )
}

/// How many documents a table has, and how large they are together.
async fn measure(db: &Database, tx: &mut Transaction, table: &str) -> Result<(usize, usize)> {
    let (mut count, mut bytes) = (0, 0);
    if let Some(table) = tx.table(table) {
        let range = KeyRange::all();
        let mut scan = Scan::new(table.by_id().id, range, Order::Ascending, usize::MAX).uncounted();
        while let Some(row) = db.next_row(tx, &mut scan).await? {
            count += 1;
            bytes += row.document.size();
        }
    }
    Ok((count, bytes))
}
