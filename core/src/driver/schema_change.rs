//! What pushes do to schema and indexes, in transactions.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use serde_json::{Value as Json, json};

use super::deployer::{Deployer, delete, race};
use super::{Database, Watcher};
use crate::catalog::{Index, IndexState, SchemaState, Table, index_document, schema_document};
use crate::deploy::indexes::{definition_of, is_user_index, key_fields, tables_to_check};
use crate::error::{Error, Result};
use crate::planted::{Bug, planted};
use crate::schema::SchemaDefinition;
use crate::transaction::Transaction;
use crate::value::{DocumentId, Object, Value};

/// Makes a schema the next one, in place of any that an earlier push has brought. Gives its id; that of the active
/// schema if they are equal.
pub(super) async fn submit(
    db: &Database,
    tx: &mut Transaction,
    schema: Option<&SchemaDefinition>,
) -> Result<Option<String>> {
    let schemas = tx.schemas();
    let active = schemas.active;
    let unchanged = active
        .as_ref()
        .filter(|active| Some(&*active.definition) == schema);
    if let Some(next) = schemas.next {
        let on_its_way = matches!(next.state, SchemaState::Pending | SchemaState::Validated);
        if on_its_way && unchanged.is_none() && Some(&*next.definition) == schema {
            return Ok(Some(next.id.clone()));
        }
        delete(db, tx, schema_id(&next.id)?).await?;
    }
    if let Some(active) = unchanged {
        return Ok(Some(active.id.clone()));
    }
    let Some(schema) = schema else {
        return Ok(None);
    };
    let enforced = active.as_ref().map(|active| &*active.definition);
    let mut to_check = Vec::new();
    for table in tables_to_check(enforced, schema) {
        to_check.extend(tx.table(&table));
    }
    let state = if to_check.is_empty() {
        SchemaState::Validated
    } else {
        SchemaState::Pending
    };
    let id = tx.insert_system("_schemas", schema_document(&state, schema))?;
    Ok(Some(id.encode()))
}

/// Creates the indexes of a schema that are not there, and drops those that belong neither to it nor to the active
/// one. Tables of the schema that are not there are created.
pub(super) async fn begin_indexes(
    db: &Database,
    tx: &mut Transaction,
    schema: Option<&SchemaDefinition>,
) -> Result<()> {
    let active = tx.schemas().active;
    let active = active.map(|active| active.definition.indexes());
    let active = active.unwrap_or_default();
    let mut missing = schema.map(SchemaDefinition::indexes).unwrap_or_default();
    let wanted = missing.clone();
    for (table, index) in user_indexes(tx) {
        let live = definition_of(&active, &table.name, &index).is_some();
        match definition_of(&wanted, &table.name, &index) {
            Some(definition) => {
                missing.retain(|name, _| name.table != table.name || name.index != index.name);
                if !live && definition.staged != index.staged {
                    let staged = definition.staged;
                    set_index(db, tx, &index, index.state, staged).await?;
                }
            }
            None if live => {}
            None => set_index(db, tx, &index, IndexState::Dropped, false).await?,
        }
    }
    for table in schema.into_iter().flat_map(|schema| schema.tables.keys()) {
        tx.ensure_table(table)?;
    }
    for (name, definition) in missing {
        let Some(fields) = key_fields(&definition) else {
            continue;
        };
        let table = tx.ensure_table(&name.table)?;
        let index = Index {
            id: tx.allocate_index(),
            table: table.id,
            name: name.index,
            fields,
            state: IndexState::Backfilling,
            staged: definition.staged,
        };
        tx.insert_system("_indexes", index_document(&index))?;
    }
    Ok(())
}

/// Puts the schema of that id in force, and its indexes in use; drops all other indexes. `None` is a push without
/// schema. Gives the schemas before and after.
///
/// # Errors
/// `RaceDetected` if the schema is not validated or not there, or an index is not complete.
pub(super) async fn finish(
    db: &Database,
    tx: &mut Transaction,
    schema: Option<&str>,
) -> Result<(Option<Arc<SchemaDefinition>>, Option<Arc<SchemaDefinition>>)> {
    let schemas = tx.schemas();
    let active = schemas.active;
    let old = active.as_ref().map(|active| active.definition.clone());
    let is_active = active.as_ref().map(|active| active.id.as_str()) == schema;
    let new = match schema {
        None => None,
        Some(_) if is_active => old.clone(),
        Some(schema) => {
            let next = schemas.next.filter(|next| next.id == schema);
            let next = next.ok_or_else(|| race("another push has brought another schema"))?;
            match &next.state {
                SchemaState::Validated => Some(next.definition.clone()),
                SchemaState::Failed { error, .. } => return Err(race(error)),
                _ if planted(Bug::SchemaActiveUnvalidated) => Some(next.definition.clone()),
                _ => return Err(race("documents have not been checked against the schema")),
            }
        }
    };
    if !is_active {
        if let Some(active) = &active {
            delete(db, tx, schema_id(&active.id)?).await?;
        }
        if let (Some(id), Some(new)) = (schema, &new) {
            let document = schema_document(&SchemaState::Active, new);
            replace(db, tx, schema_id(id)?, document).await?;
        }
    }
    let mut missing = new.as_ref().map(|new| new.indexes()).unwrap_or_default();
    let wanted = missing.clone();
    for (table, index) in user_indexes(tx) {
        let Some(definition) = definition_of(&wanted, &table.name, &index) else {
            set_index(db, tx, &index, IndexState::Dropped, false).await?;
            continue;
        };
        missing.retain(|name, _| name.table != table.name || name.index != index.name);
        let state = match index.state {
            // A staged index may be completed later.
            IndexState::Backfilling if definition.staged => IndexState::Backfilling,
            IndexState::Backfilling if planted(Bug::IndexUsedUnfilled) => IndexState::Ready,
            IndexState::Backfilling => return Err(race("an index has not been completed")),
            _ => IndexState::Ready,
        };
        if (state, definition.staged) != (index.state, index.staged) {
            set_index(db, tx, &index, state, definition.staged).await?;
        }
    }
    if let Some(name) = missing.keys().next() {
        return Err(race(&format!("the index `{name}` has been dropped")));
    }
    Ok((old, new))
}

/// How far the schema of that id and its indexes are, as `wait_for_schema` answers.
pub(super) fn progress(tx: &mut Transaction, schema: Option<&str>, dry_run: bool) -> Json {
    let Some(id) = schema else {
        return json!({"type": "complete"});
    };
    let schemas = tx.schemas();
    let known = [schemas.active, schemas.next].into_iter().flatten();
    let Some(schema) = known.into_iter().find(|schema| schema.id == id) else {
        return json!({"type": "raceDetected"});
    };
    if let SchemaState::Failed { error, table } = &schema.state {
        return json!({"type": "failed", "error": error, "componentPath": "", "tableName": table});
    }
    let validated = schema.state != SchemaState::Pending || planted(Bug::SchemaActiveUnvalidated);
    let wanted = schema.definition.indexes();
    let existing = user_indexes(tx);
    let existing = existing.iter().filter_map(|(table, index)| {
        let definition = definition_of(&wanted, &table.name, index)?;
        (!definition.staged).then_some(index)
    });
    let (mut complete, mut created) = (0, 0);
    for index in existing {
        created += 1;
        complete += usize::from(index.state != IndexState::Backfilling);
    }
    let total = wanted.values().filter(|index| !index.staged).count();
    if created < total && !dry_run {
        // Another push has dropped what this one had begun.
        return json!({"type": "raceDetected"});
    }
    if validated && (complete == created || planted(Bug::IndexUsedUnfilled)) {
        return json!({"type": "complete"});
    }
    json!({"type": "inProgress", "components": {"": {
        "schemaValidationComplete": validated, "indexesComplete": complete, "indexesTotal": created}}})
}

/// Longest that `wait_for_schema` waits.
const WAIT_MAX: Duration = Duration::from_secs(60);

impl Deployer {
    /// `/api/deploy2/wait_for_schema`: answers when schema and indexes are complete or have failed, or after the
    /// request's timeout.
    ///
    /// # Errors
    /// `InvalidConfig` for a malformed request.
    pub async fn wait_for_schema(&self, request: Json) -> Result<Json> {
        let schema = &request["schemaChange"]["schemaIds"][""];
        if !(schema.is_string() || schema.is_null()) {
            return Err(Error::bad_request(
                "InvalidConfig",
                "`schemaChange` is not what this server answered to the start of a push",
            ));
        }
        let timeout = request["timeoutMs"].as_u64().unwrap_or(10_000);
        let timeout = Duration::from_millis(timeout).min(WAIT_MAX);
        let dry_run = request["dryRun"].as_bool() == Some(true);
        let mut deadline = self.database.runtime().sleep(timeout);
        loop {
            let mut tx = self.database.begin();
            let progress = progress(&mut tx, schema.as_str(), dry_run);
            if progress["type"] != "inProgress" {
                return Ok(progress);
            }
            let subscription = self.database.subscribe(tx.reads(), tx.snapshot());
            drop(tx);
            let (sender, mut changed) = mpsc::unbounded();
            let watcher = Arc::new(Watcher { sender, token: 0 });
            subscription.watch(&watcher);
            if let Either::Right(_) = select(changed.next(), &mut deadline).await {
                return Ok(progress);
            }
        }
    }
}

/// All indexes that users defined, with their tables.
pub(super) fn user_indexes(tx: &mut Transaction) -> Vec<(Arc<Table>, Arc<Index>)> {
    let tables = tx.tables();
    let tables = tables.into_iter().filter(|table| !table.is_system());
    let indexes = tables.flat_map(|table| {
        let indexes = table.indexes.clone().into_iter();
        indexes.map(move |index| (table.clone(), index))
    });
    indexes.filter(|(_, index)| is_user_index(index)).collect()
}

/// Changes an index.
pub(super) async fn set_index(
    db: &Database,
    tx: &mut Transaction,
    index: &Index,
    state: IndexState,
    staged: bool,
) -> Result<()> {
    let table = Value::Int64(index.table.0.into());
    let id = Value::Int64(index.id.0.into());
    let rows = db.list_system(tx, "_indexes", "by_table", &[table]).await?;
    let row = rows
        .iter()
        .find(|row| row.document.get("indexId") == Some(&id));
    let row = row.ok_or_else(|| Error::internal("An index has no document."))?;
    let index = Index {
        state,
        staged,
        ..index.clone()
    };
    let document = super::deployer::id_of(&row.document)?;
    tx.replace(document, row, index_document(&index))?;
    Ok(())
}

/// Replaces a document that the transaction knows to be there.
pub(super) async fn replace(
    db: &Database,
    tx: &mut Transaction,
    id: DocumentId,
    document: Object,
) -> Result<()> {
    let row = db.get(tx, id).await?;
    let row = row.ok_or_else(|| Error::internal(format!("The document {id} is missing.")))?;
    tx.replace(id, &row, document)?;
    Ok(())
}

pub(super) fn schema_id(id: &str) -> Result<DocumentId> {
    DocumentId::decode(id).ok_or_else(|| Error::internal("A stored schema has no id."))
}
