//! Pushes of npm `convex` up to 1.28 for apps without `convex.config.ts`: the schema first (`prepare_schema`, then
//! `schema_state` until it is ready), then all code in one request (`push_config`). They come to the same steps as
//! newer ones.

use serde_json::{Value as Json, json};

use super::attempts::Attempts;
use super::deployer::{Deployer, concurrent_push, index_diff, pushing, race};
use super::schema_change::{self, schema_id, user_indexes};
use crate::catalog::{Index, IndexState, SchemaState, Table};
use crate::deploy::PushRequest;
use crate::deploy::indexes::definition_of;
use crate::error::{Error, Result};
use crate::schema::{IndexDefinition, IndexName, IndexSet};
use crate::transaction::Transaction;

impl Deployer {
    /// `/api/prepare_schema`: makes a schema the next one and begins its indexes. `{added, dropped, enabled, disabled,
    /// schemaId}`.
    ///
    /// # Errors
    /// As [`Self::start_push`].
    pub async fn prepare_schema(&self, request: Json) -> Result<Json> {
        let prepared = async {
            let (module, dry_run) = PushRequest::parse_schema(request)?;
            let schema = self.evaluate_lone_schema(&module).await?;
            let mut attempts = Attempts::new();
            loop {
                let mut tx = self.database.begin();
                let diff = index_diff(&mut tx, Some(&schema));
                let id = schema_change::submit(&self.database, &mut tx, Some(&schema)).await?;
                if !dry_run {
                    schema_change::begin_indexes(&self.database, &mut tx, Some(&schema)).await?;
                }
                match self.database.commit(tx).await {
                    Ok(_) => {
                        let list = |set: &IndexSet| -> Vec<Json> {
                            set.iter()
                                .map(|(name, index)| planned_json(name, index))
                                .collect()
                        };
                        return Ok(json!({
                            "added": list(&diff.added), "dropped": list(&diff.removed),
                            "enabled": list(&diff.enabled), "disabled": list(&diff.disabled),
                            "schemaId": id,
                        }));
                    }
                    Err(error) => attempts.again(error, concurrent_push)?,
                }
            }
        };
        let prepared = prepared.await.map_err(pushing)?;
        self.wake_worker();
        Ok(prepared)
    }

    /// `/api/schema_state/{id}`: `{indexes, schemaState}`.
    ///
    /// # Errors
    /// `InvalidConfig` if `id` is not the id of a schema.
    pub fn schema_state(&self, id: &str) -> Result<Json> {
        schema_id(id).map_err(|_| {
            Error::bad_request("InvalidConfig", format!("{id:?} is not the id of a schema"))
        })?;
        let mut tx = self.database.begin();
        let schemas = tx.schemas();
        let known = [schemas.active, schemas.next].into_iter().flatten();
        let Some(schema) = known.into_iter().find(|schema| schema.id == id) else {
            return Ok(json!({"indexes": [], "schemaState": {"state": "overwritten"}}));
        };
        let state = match &schema.state {
            SchemaState::Pending => json!({"state": "pending"}),
            SchemaState::Validated => json!({"state": "validated"}),
            SchemaState::Active => json!({"state": "active"}),
            SchemaState::Failed { error, table } => {
                json!({"state": "failed", "error": error, "tableName": table})
            }
        };
        let wanted = schema.definition.indexes();
        let indexes = user_indexes(&mut tx);
        let indexes = indexes.iter().filter_map(|(table, index)| {
            let definition = definition_of(&wanted, &table.name, index)?;
            Some(existing_json(table, index, definition))
        });
        Ok(json!({"indexes": indexes.collect::<Vec<_>>(), "schemaState": state}))
    }

    /// `/api/push_config`: makes code live, together with the schema that was prepared for it.
    ///
    /// # Errors
    /// As [`Self::start_push`] and [`Self::finish_push`].
    pub async fn push_config(&self, request: Json) -> Result<Json> {
        let schema = request["schemaId"].as_str().map(str::to_owned);
        let started = async {
            let request = PushRequest::parse_config(request)?;
            let mut evaluated = self.evaluate(&request).await?;
            let mut attempts = Attempts::new();
            loop {
                let mut tx = self.database.begin();
                evaluated.schema = match &schema {
                    None => None,
                    Some(id) => Some(prepared_schema(&mut tx, id)?),
                };
                let started = self.store(&mut tx, &request, &evaluated).await?;
                match self.database.commit(tx).await {
                    Ok(_) => return Ok(started),
                    Err(error) => attempts.again(error, concurrent_push)?,
                }
            }
        };
        let started = started.await.map_err(pushing)?;
        self.finish_push(json!({"startPush": started})).await?;
        Ok(json!({}))
    }
}

fn prepared_schema(tx: &mut Transaction, id: &str) -> Result<crate::schema::SchemaDefinition> {
    let schemas = tx.schemas();
    let known = [schemas.active, schemas.next].into_iter().flatten();
    let schema = known.into_iter().find(|schema| schema.id == id);
    let schema = schema.ok_or_else(|| race("another push has brought another schema"))?;
    Ok((*schema.definition).clone())
}

fn planned_json(name: &IndexName, index: &IndexDefinition) -> Json {
    index_json(&name.table, &name.index, index, "in_progress")
}

fn existing_json(table: &Table, index: &Index, definition: &IndexDefinition) -> Json {
    let state = match index.state {
        IndexState::Backfilling => "in_progress",
        _ => "done",
    };
    index_json(&table.name, &index.name, definition, state)
}

fn index_json(table: &str, name: &str, definition: &IndexDefinition, backfill: &str) -> Json {
    json!({
        "table": table, "name": name, "fields": definition.to_json()["fields"],
        "backfill": {"state": backfill}, "staged": definition.staged,
    })
}
