//! The answers of the push endpoints.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::record::DeploymentRecord;
use crate::schema::{IndexDiff, SchemaDefinition};

/// The answer of `start_push`. What finishes the push is stored under `push`; the answer only names it.
pub fn started(
    push: &str,
    record: &DeploymentRecord,
    schema: Option<&SchemaDefinition>,
    schema_change: Json,
) -> Json {
    let routes = record.analysis.get("http.js");
    let routes = routes.and_then(|module| module.http_routes.as_ref());
    let routes = routes.map(|routes| routes.iter().map(|route| &route.route).collect::<Vec<_>>());
    let mut definition = json!({
        "path": "",
        "definitionType": {"type": "app"},
        "childComponents": [],
        "httpMounts": {},
        "exports": {"type": "branch", "branch": []},
    });
    if let Some(declared) = record.definition.get("envVars") {
        definition["envVars"] = declared.clone();
    }
    json!({
        "push": push,
        "environmentVariables": {},
        "externalDepsId": null,
        "componentDefinitionPackages": {"": {"push": push}},
        "appAuth": record.auth,
        "analysis": {"": {
            "definition": definition,
            "schema": schema.map(SchemaDefinition::to_json),
            "functions": record.analysis,
            "udfConfig": {"serverVersion": record.udf_server_version},
        }},
        "app": {
            "definitionPath": "",
            "componentPath": "",
            "args": {},
            "childComponents": {},
            "httpRoutes": {"httpModuleRoutes": routes, "mounts": []},
            "exports": {},
        },
        "schemaChange": schema_change,
    })
}

/// What a push does to schema and indexes.
pub fn schema_change(schema_id: Option<&str>, diff: &IndexDiff) -> Json {
    json!({
        "allocatedComponentIds": {},
        "schemaIds": {"": schema_id},
        "indexDiffs": {"": diff.to_json()},
    })
}

/// One side of a finished push: the deployment and the schema in force.
pub type Side<'a> = (Option<&'a DeploymentRecord>, Option<&'a SchemaDefinition>);

/// The answer of `finish_push`: how the live deployment changed.
pub fn finished((old, old_schema): Side<'_>, (new, new_schema): Side<'_>) -> Json {
    let modules = |record: Option<&DeploymentRecord>| -> BTreeMap<String, ()> {
        let record = record.into_iter().flat_map(|record| record.modules.keys());
        record.map(|path| (path.clone(), ())).collect()
    };
    let (added_modules, _, removed_modules) = compare(&modules(old), &modules(new));
    let crons = |record: Option<&DeploymentRecord>| -> BTreeMap<String, Json> {
        let specs = record.into_iter().flat_map(DeploymentRecord::crons);
        specs
            .map(|cron| (cron.identifier.clone(), cron.spec.clone()))
            .collect()
    };
    let (added_crons, updated_crons, deleted_crons) = compare(&crons(old), &crons(new));
    let auth = |record: Option<&DeploymentRecord>| -> BTreeMap<String, ()> {
        let providers = record.into_iter().flat_map(|record| &record.auth);
        providers
            .map(|provider| (provider.to_string(), ()))
            .collect()
    };
    let (added_auth, _, removed_auth) = compare(&auth(old), &auth(new));
    let version = |record: Option<&DeploymentRecord>| {
        record.map_or(String::new(), |record| record.udf_server_version.clone())
    };
    let versions = (version(old), version(new));
    let text =
        |schema: Option<&SchemaDefinition>| schema.map(|schema| schema.to_json().to_string());
    let index_set = |schema: Option<&SchemaDefinition>| {
        schema.map(SchemaDefinition::indexes).unwrap_or_default()
    };
    let index_diff = IndexDiff::between(&index_set(old_schema), &index_set(new_schema));
    json!({
        "authDiff": {"added": added_auth, "removed": removed_auth},
        "definitionDiffs": {},
        "componentDiffs": {"": {
            "diffType": {"type": if old.is_some() { "modify" } else { "create" }},
            "moduleDiff": {"added": added_modules, "removed": removed_modules},
            "udfConfigDiff": (versions.0 != versions.1)
                .then(|| json!({"previous_version": versions.0, "next_version": versions.1})),
            "cronDiff": {"added": added_crons, "updated": updated_crons, "deleted": deleted_crons},
            "indexDiff": index_diff.to_json(),
            "schemaDiff": (old_schema != new_schema)
                .then(|| json!({"previous_schema": text(old_schema), "next_schema": text(new_schema)})),
        }},
    })
}

/// Keys that are new, that have another value, and that are gone.
fn compare<V: PartialEq>(
    old: &BTreeMap<String, V>,
    new: &BTreeMap<String, V>,
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let keys = |map: &BTreeMap<String, V>, keep: &dyn Fn(&str, &V) -> bool| -> Vec<String> {
        let kept = map.iter().filter(|(key, value)| keep(key, value));
        kept.map(|(key, _)| key.clone()).collect()
    };
    (
        keys(new, &|key, _| !old.contains_key(key)),
        keys(new, &|key, value| {
            old.get(key).is_some_and(|before| before != value)
        }),
        keys(old, &|key, _| !new.contains_key(key)),
    )
}
