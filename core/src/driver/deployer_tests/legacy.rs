//! Pushes of npm `convex` up to 1.28.

use super::*;

impl World {
    fn prepare(&self, schema: &Json, dry_run: bool) -> Json {
        let request = json!({"bundle": schema, "dryRun": dry_run});
        block_on(self.deployer.prepare_schema(request)).unwrap()
    }

    fn push_config(&self, modules: &[Json], schema: Option<&Json>) -> crate::Result<Json> {
        let mut request = json!({"config": {"functions": "convex/"}, "modules": modules,
            "nodeDependencies": [], "udfServerVersion": "1.24.8"});
        if let Some(schema) = schema {
            request["schemaId"] = schema.clone();
        }
        block_on(self.deployer.push_config(request))
    }

    /// The state of a prepared schema, once it is no more pending and all its indexes are complete.
    fn prepared(&self, id: &str) -> Json {
        loop {
            let state = self.deployer.schema_state(id).unwrap();
            let indexes = state["indexes"].as_array().unwrap();
            let done = indexes
                .iter()
                .all(|index| index["staged"] == true || index["backfill"]["state"] == "done");
            if done && state["schemaState"]["state"] != "pending" {
                return state;
            }
            yield_to_others();
        }
    }
}

#[test]
fn schema_first_then_code_in_one_request() {
    let world = World::new();
    for n in 0..300 {
        world.insert("tasks", &[("n", Value::Float64(n.into()))]);
    }
    let next = schema("number", &["a"], &["b"]);
    let dry = world.prepare(&next, true);
    assert!(world.indexes().is_empty());
    let prepared = world.prepare(&next, false);
    assert_eq!(prepared["schemaId"], dry["schemaId"]);
    let added = prepared["added"].as_array().unwrap();
    assert_eq!(added.len(), 2);
    assert_eq!(
        added[0],
        json!({"table": "tasks", "name": "on_a", "fields": ["a"], "backfill": {"state": "in_progress"}, "staged": false})
    );
    let id = prepared["schemaId"].as_str().unwrap();
    let state = world.prepared(id);
    assert_eq!(state["schemaState"], json!({"state": "validated"}));
    assert_eq!(state["indexes"].as_array().unwrap().len(), 2);
    assert!(
        world.deployment().functions.is_empty(),
        "nothing is live yet"
    );

    let modules = [module("tasks.js", functions(&["list"]))];
    world.push_config(&modules, Some(&json!(id))).unwrap();
    assert_eq!(world.deployment().functions.len(), 1);
    assert_eq!(
        world.prepared(id)["schemaState"],
        json!({"state": "active"})
    );
    world.check_indexes("tasks");
    let hashes = block_on(world.deployer.get_config_hashes()).unwrap();
    assert_eq!(hashes["udfServerVersion"], "1.24.8");
    assert_eq!(hashes["moduleHashes"][0]["path"], "tasks.js");

    // Without a schema file there is nothing to prepare, and no schema afterwards.
    world.push_config(&modules, None).unwrap();
    assert!(world.db.snapshot().catalog.schemas().active.is_none());
    assert!(world.indexes().is_empty());
    assert_eq!(
        world.deployer.schema_state(id).unwrap()["schemaState"],
        json!({"state": "overwritten"})
    );
}

#[test]
fn what_does_not_fit_goes_not_live() {
    let world = World::new();
    world.insert("tasks", &[("n", Value::from("x"))]);
    let prepared = world.prepare(&schema("number", &[], &[]), false);
    let id = prepared["schemaId"].as_str().unwrap();
    let state = world.prepared(id)["schemaState"].clone();
    assert_eq!(
        (&state["state"], &state["tableName"]),
        (&json!("failed"), &json!("tasks"))
    );
    assert!(
        state["error"]
            .as_str()
            .unwrap()
            .contains("does not match the schema")
    );

    let other = world.prepare(&schema("any", &[], &[]), false);
    let error = world
        .push_config(&[], Some(&prepared["schemaId"]))
        .unwrap_err();
    assert_eq!(error.code, "RaceDetected", "{error}");
    let crons = json!({"cronSpecs": [{"identifier": "tidy", "spec": {"name": "jobs:tidy"}}]});
    let error = world
        .push_config(&[module("crons.js", crons)], Some(&other["schemaId"]))
        .unwrap_err();
    assert!(error.message.contains("cron jobs yet"), "{error}");
    assert!(world.deployment().id.is_empty());

    let typo = json!({"bundle": schema("any", &["typo"], &[])});
    let error = block_on(world.deployer.prepare_schema(typo)).unwrap_err();
    assert!(error.message.contains("over the field `typo`"), "{error}");
    assert_eq!(
        world.deployer.schema_state("nonsense").unwrap_err().code,
        "InvalidConfig"
    );
}
