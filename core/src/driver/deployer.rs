//! Pushing code: from a request to a live deployment.
//!
//! `start_push` evaluates the code and stores what comes of it beside the live deployment: the deployment in `_pushes`,
//! its schema as the next one, its new indexes. A [worker](super::schema_worker) then checks documents against the
//! schema and fills the indexes, while `wait_for_schema` watches. `finish_push` makes it all live in one transaction.
//! Nothing is kept in memory between the steps: a restart, or another push, in between is noticed, not lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_channel::mpsc;
use serde_json::{Value as Json, json};

use super::Database;
use super::attempts::Attempts;
use super::deployment::environment_variables;
use super::evaluation::Evaluated;
use super::schema_change;
use super::schema_worker;
use crate::deploy::environment::check_declared_environment;
use crate::deploy::{
    DeploymentRecord, ModuleRecord, PushRequest, module_document, module_hash, response,
};
use crate::engine::FunctionEngine;
use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::schema::{IndexDiff, SchemaDefinition};
use crate::transaction::Transaction;
use crate::value::{DocumentId, Object, Value};

/// The deploy side of a server.
pub struct Deployer {
    pub(super) database: Database,
    pub(super) engine: Arc<dyn FunctionEngine>,
    pub(super) built_in_env: BTreeMap<String, String>,
    /// Wakes the worker; it ends when this is dropped.
    worker: mpsc::Sender<()>,
}

impl Deployer {
    /// Begins to serve pushes, and resumes what earlier ones have left to be done.
    pub fn open(
        database: Database,
        engine: Arc<dyn FunctionEngine>,
        built_in_env: BTreeMap<String, String>,
    ) -> Self {
        let (worker, wakeups) = mpsc::channel(1);
        let run = schema_worker::run(database.clone(), wakeups);
        database.runtime().spawn(Box::pin(run));
        Self {
            database,
            engine,
            built_in_env,
            worker,
        }
    }

    /// `/api/get_config_hashes`.
    ///
    /// # Errors
    /// If the stored deployment is damaged.
    pub async fn get_config_hashes(&self) -> Result<Json> {
        let live = live(&mut self.database.begin())?;
        let hashes: Vec<_> = live
            .iter()
            .flat_map(|(_, live)| &live.modules)
            .map(|(path, module)| {
                json!({"path": path, "environment": module.environment, "hash": module.hash})
            })
            .collect();
        let live = live.as_ref().map(|(_, live)| live);
        Ok(json!({
            "config": {"functions": "convex/", "authInfo": live.map_or(&[][..], |live| &live.auth)},
            "moduleHashes": hashes,
            "udfServerVersion": live.map(|live| &live.udf_server_version),
            "nodeVersion": null,
            "nodeDependencies": [],
        }))
    }

    /// `/api/deploy2/start_push`. Nothing of it is live afterwards.
    ///
    /// # Errors
    /// `InvalidConfig`, `InvalidModules`, `InvalidDefinition`, `InvalidSchema`, `InvalidExternalModules`, those of the
    /// auth configuration, `ConcurrentPush`.
    pub async fn start_push(&self, request: Json) -> Result<Json> {
        let started = async {
            let request = PushRequest::parse(request)?;
            let evaluated = self.evaluate(&request).await?;
            let mut attempts = Attempts::new();
            loop {
                let mut tx = self.database.begin();
                let response = self.store(&mut tx, &request, &evaluated).await?;
                match self.database.commit(tx).await {
                    Ok(_) => return Ok(response),
                    Err(error) => attempts.again(error, concurrent_push)?,
                }
            }
        };
        let response = started.await.map_err(pushing)?;
        self.wake_worker();
        Ok(response)
    }

    /// `/api/deploy2/evaluate_push`: what `start_push` would do, without doing it.
    ///
    /// # Errors
    /// As [`Self::start_push`].
    pub async fn evaluate_push(&self, request: Json) -> Result<Json> {
        let evaluated = async {
            let request = PushRequest::parse(request)?;
            self.evaluate(&request).await
        };
        let evaluated = evaluated.await.map_err(pushing)?;
        let diff = index_diff(&mut self.database.begin(), evaluated.schema.as_ref());
        Ok(json!({"schemaChange": response::schema_change(None, &diff)}))
    }

    /// `/api/deploy2/finish_push`.
    ///
    /// # Errors
    /// `RaceDetected` if anything that the push was evaluated with has changed, `MissingEnvironmentVariables`,
    /// `ConcurrentPush`.
    pub async fn finish_push(&self, request: Json) -> Result<Json> {
        let id = request["startPush"]["push"].as_str();
        let id = id.and_then(DocumentId::decode).ok_or_else(|| {
            Error::bad_request(
                "InvalidConfig",
                "`startPush` is not what this server answered to the start of a push",
            )
        })?;
        let message = request["message"].as_str();
        if request["dryRun"].as_bool() == Some(true) {
            let live = live(&mut self.database.begin())?;
            let record = live.as_ref().map(|(_, record)| record);
            return Ok(response::finished((record, None), (record, None)));
        }
        let mut attempts = Attempts::new();
        let response = loop {
            let mut tx = self.database.begin();
            let response = self.make_live(&mut tx, id, message).await?;
            match self.database.commit(tx).await {
                Ok(_) => break response,
                Err(error) => attempts.again(error, concurrent_push)?,
            }
        };
        self.wake_worker();
        Ok(response)
    }

    pub(super) fn wake_worker(&self) {
        // A full channel means that it will look again anyway.
        let _ = self.worker.clone().try_send(());
    }

    /// Stores an evaluated push beside the live deployment and gives the answer for the client.
    pub(super) async fn store(
        &self,
        tx: &mut Transaction,
        request: &PushRequest,
        evaluated: &Evaluated,
    ) -> Result<Json> {
        let db = &self.database;
        let live = live(tx)?.map(|(_, live)| live);
        let mut record = evaluated.record.clone();
        // The sources that stay must still be the live ones; what was evaluated is then still what is stored.
        if unchanged_modules(request, live.as_ref())? != record.modules {
            return Err(concurrent_push());
        }
        let diff = index_diff(tx, evaluated.schema.as_ref());
        let schema = evaluated.schema.as_ref();
        let schema_id = schema_change::submit(db, tx, schema).await?;
        if !(request.dry_run || request.for_codegen) {
            schema_change::begin_indexes(db, tx, schema).await?;
        }
        for push in db.list_system(tx, "_pushes", "by_id", &[]).await? {
            let replaced = DeploymentRecord::from_document(&push.document)?;
            delete_modules(db, tx, &replaced, live.iter()).await?;
            tx.delete(id_of(&push.document)?, &push)?;
        }
        for (path, module) in &evaluated.new_modules {
            let module_record = ModuleRecord {
                environment: module.environment,
                hash: module_hash(&module.source, module.source_map.as_deref()),
                document: tx
                    .insert_system("_modules", module_document(module))?
                    .encode(),
            };
            record.modules.insert(path.clone(), module_record);
        }
        let mut document = record.to_document();
        document.insert_unchecked("environment", environment_object(&evaluated.environment));
        document.insert_unchecked("schema", schema_id.as_deref());
        let push = tx.insert_system("_pushes", document)?;
        Ok(response::started(
            &push.encode(),
            &record,
            schema,
            response::schema_change(schema_id.as_deref(), &diff),
        ))
    }

    /// Makes the push of that id live. Gives the answer.
    pub(super) async fn make_live(
        &self,
        tx: &mut Transaction,
        push: DocumentId,
        message: Option<&str>,
    ) -> Result<Json> {
        let db = &self.database;
        let Some(row) = db.get(tx, push).await? else {
            return Err(race("another push has been started or finished"));
        };
        let record = DeploymentRecord::from_document(&row.document)?;
        let environment = environment_variables(&tx.configuration("_environment_variables"))?;
        let evaluated_with = row.document.get("environment");
        if evaluated_with != Some(&environment_object(&environment).into()) {
            return Err(race("environment variables have changed"));
        }
        check_declared_environment(&record.definition, &environment, tx.catalog())?;
        let schema = row.document.get("schema").and_then(Value::as_str);
        let (old_schema, new_schema) = schema_change::finish(db, tx, schema).await?;
        let live = live(tx)?;
        if let Some((id, live)) = &live {
            delete_modules(db, tx, live, [&record]).await?;
            delete(db, tx, *id).await?;
        }
        let mut document = record.to_document();
        document.insert_unchecked("message", message);
        tx.insert_system("_deployments", document)?;
        tx.delete(push, &row)?;
        Ok(response::finished(
            (live.as_ref().map(|(_, live)| live), old_schema.as_deref()),
            (Some(&record), new_schema.as_deref()),
        ))
    }
}

/// The live deployment, if there was a push.
pub(super) fn live(tx: &mut Transaction) -> Result<Option<(DocumentId, DeploymentRecord)>> {
    let Some(document) = tx.configuration("_deployments").pop() else {
        return Ok(None);
    };
    let record = DeploymentRecord::from_document(&document)?;
    Ok(Some((id_of(&document)?, record)))
}

/// What is stored of the modules that a push leaves as they are.
pub(super) fn unchanged_modules(
    request: &PushRequest,
    live: Option<&DeploymentRecord>,
) -> Result<BTreeMap<String, ModuleRecord>> {
    let mut records = BTreeMap::new();
    for (path, unchanged) in &request.unchanged {
        let stored = live.and_then(|live| live.modules.get(path));
        let code = match stored {
            None => "MissingExistingModule",
            Some(stored) if stored.hash != unchanged.hash => "ExistingModuleHashConflict",
            Some(stored) if stored.environment != unchanged.environment => {
                "ExistingModuleEnvConflict"
            }
            Some(stored) => {
                records.insert(path.clone(), stored.clone());
                continue;
            }
        };
        let message = format!("The server does not have `{path}` as it was. Push again.");
        return Err(Error::new(ErrorClass::Conflict, code, message));
    }
    Ok(records)
}

/// Deletes the sources of `gone` that none of `kept` has.
async fn delete_modules<'r>(
    db: &Database,
    tx: &mut Transaction,
    gone: &DeploymentRecord,
    kept: impl IntoIterator<Item = &'r DeploymentRecord>,
) -> Result<()> {
    let kept = kept.into_iter().flat_map(|record| record.modules.values());
    let kept: BTreeSet<_> = kept.map(|module| &module.document).collect();
    for module in gone.modules.values() {
        let id = module.document_id()?;
        if !kept.contains(&module.document) {
            delete(db, tx, id).await?;
        }
    }
    Ok(())
}

pub(super) fn index_diff(tx: &mut Transaction, schema: Option<&SchemaDefinition>) -> IndexDiff {
    let active = tx.schemas().active;
    let existing = active.map(|active| active.definition.indexes());
    let wanted = schema.map(SchemaDefinition::indexes);
    IndexDiff::between(&existing.unwrap_or_default(), &wanted.unwrap_or_default())
}

fn environment_object(variables: &BTreeMap<String, String>) -> Object {
    let mut object = Object::new();
    for (name, value) in variables {
        object.insert_unchecked(name.as_str(), value.as_str());
    }
    object
}

/// Deletes a document that may be there.
pub(super) async fn delete(db: &Database, tx: &mut Transaction, id: DocumentId) -> Result<()> {
    match db.get(tx, id).await? {
        Some(row) => tx.delete(id, &row),
        None => Ok(()),
    }
}

/// The id of a stored document.
pub(super) fn id_of(document: &Object) -> Result<DocumentId> {
    let id = document.get("_id").and_then(Value::as_str);
    id.and_then(DocumentId::decode)
        .ok_or_else(|| Error::internal("A stored document has no id."))
}

pub(super) fn race(why: &str) -> Error {
    let message =
        format!("The push cannot be finished, because {why} since it was started. Push again.");
    Error::bad_request("RaceDetected", message)
}

pub(super) fn concurrent_push() -> Error {
    Error::bad_request(
        "ConcurrentPush",
        "Another push or a change of the configuration came in between. Push again.",
    )
}

/// Says that an error happened while pushing, if it is one for the developer.
pub(super) fn pushing(error: Error) -> Error {
    if error.kind() != ErrorKind::User {
        return error;
    }
    Error {
        message: format!("Hit an error while pushing:\n{}", error.message),
        ..error
    }
}
