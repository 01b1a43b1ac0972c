//! Pushes from end to end over storage in memory. The engine reads the source of a module as the JSON that evaluating
//! it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, ready};
use serde_json::{Value as Json, json};

use super::deployer::Deployer;
use super::deployment::{Deployments, load_deployment};
use super::function_log::FunctionLog;
use super::testing::ThreadRuntime;
use super::{CallContext, Database, Functions, HttpClient, schema_change};
use crate::catalog::{IndexState, SchemaState};
use crate::concurrency::Mutex;
use crate::deploy::{Deployment, module_hash};
use crate::engine::{
    Evaluation, Execution, Failure, FunctionCall, FunctionEngine, Program, SyncHost,
};
use crate::identity::Identity;
use crate::persistence::memory::MemoryPersistence;
use crate::persistence::{IndexRead, KeyRange, Order, Persistence};
use crate::query::CursorKey;
use crate::request_id::RequestId;
use crate::schema::SchemaDefinition;
use crate::value::{DocumentId, Object, Value, decode_document};

struct JsonEngine;

impl FunctionEngine for JsonEngine {
    fn evaluate(
        &self,
        program: Arc<Program>,
        evaluation: Evaluation,
    ) -> BoxFuture<'static, Result<Json, Failure>> {
        ready(evaluate(&program, evaluation)).boxed()
    }

    fn start(&self, _: FunctionCall, _: Arc<dyn SyncHost>) -> Box<dyn Execution> {
        unreachable!("pushes call no functions")
    }
}

fn evaluate(program: &Program, evaluation: Evaluation) -> Result<Json, Failure> {
    let read = |path: &str| -> Result<Json, Failure> {
        let mut json: Json = serde_json::from_str(&program.modules[path].source)
            .map_err(|error| Failure::new(format!("Failed to analyze {path}: Uncaught {error}")))?;
        match json["needs"].as_str() {
            Some(name) if !program.environment_variables.contains_key(name) => Err(Failure::new(
                format!("Environment variable {name} is used in auth config but is not set"),
            )),
            _ => {
                if let Some(name) = json["domainFrom"].as_str() {
                    let domain = &program.environment_variables[name];
                    json = json!({"providers": [{"domain": domain, "applicationID": "a"}]});
                }
                Ok(json)
            }
        }
    };
    match evaluation {
        Evaluation::Functions => {
            let modules = program.modules.keys();
            let modules: Result<BTreeMap<_, _>, _> =
                modules.map(|path| Ok((path, read(path)?))).collect();
            Ok(json!({"modules": modules?}))
        }
        Evaluation::Schema(path) | Evaluation::AuthConfig(path) | Evaluation::Definition(path) => {
            read(&path)
        }
    }
}

struct NoHttp;

impl HttpClient for NoHttp {
    fn fetch(&self, _: Json) -> BoxFuture<'static, Result<Json, String>> {
        unreachable!("system queries make no requests")
    }
}

struct World {
    persistence: Arc<MemoryPersistence>,
    db: Database,
    deployer: Deployer,
    log: Arc<FunctionLog>,
    deployments: Mutex<Deployments>,
}

impl World {
    fn open(persistence: Arc<MemoryPersistence>) -> Self {
        let storage: Arc<dyn Persistence> = persistence.clone();
        let db = block_on(Database::open(ThreadRuntime::handle(), storage)).unwrap();
        let log = Arc::new(FunctionLog::new(db.runtime().clone()));
        let env = BTreeMap::from([("CONVEX_SITE_URL".to_owned(), "http://site".to_owned())]);
        let deployer = Deployer::open(db.clone(), Arc::new(JsonEngine), env, log.clone());
        Self {
            log,
            persistence,
            db,
            deployer,
            deployments: Mutex::default(),
        }
    }

    fn new() -> Self {
        Self::open(Arc::default())
    }

    fn start(&self, app: Json) -> Json {
        block_on(self.deployer.start_push(request(app))).unwrap()
    }

    fn start_error(&self, app: Json) -> crate::Error {
        block_on(self.deployer.start_push(request(app))).unwrap_err()
    }

    fn wait(&self, started: &Json) -> Json {
        loop {
            let request = json!({"schemaChange": started["schemaChange"], "timeoutMs": 5000});
            let answer = block_on(self.deployer.wait_for_schema(request)).unwrap();
            if answer["type"] != "inProgress" {
                return answer;
            }
        }
    }

    fn finish(&self, started: &Json) -> crate::Result<Json> {
        let request = json!({"startPush": started, "dryRun": false, "message": "m"});
        block_on(self.deployer.finish_push(request))
    }

    fn push(&self, app: Json) -> Json {
        let started = self.start(app);
        assert_eq!(self.wait(&started), json!({"type": "complete"}));
        self.finish(&started).unwrap()
    }

    fn deployment(&self) -> Arc<Deployment> {
        let env = BTreeMap::from([("CONVEX_SITE_URL".to_owned(), "http://site".to_owned())]);
        let mut tx = self.db.begin();
        block_on(load_deployment(&self.db, &mut tx, &env, &self.deployments)).unwrap()
    }

    fn set_env(&self, name: &str, value: Option<&str>) -> crate::Result<()> {
        let request = json!({"changes": [{"name": name, "value": value}]});
        block_on(self.deployer.update_environment_variables(request))
    }

    /// A system query's result, in encoded JSON.
    fn system(&self, path: &str, args: Json) -> Result<Json, String> {
        let functions = Functions::new(
            self.db.clone(),
            Arc::new(JsonEngine),
            Arc::new(NoHttp),
            CursorKey::new([1; 32], "test"),
            "test".to_owned(),
            BTreeMap::from([("CONVEX_CLOUD_URL".to_owned(), "http://cloud".to_owned())]),
            Arc::new(FunctionLog::new(self.db.runtime().clone())),
        );
        let identity = Identity::Admin {
            read_only: false,
            acting_as: None,
        };
        let context = CallContext::new(identity, RequestId::from_bytes([0; 8]));
        let snapshot = self.db.snapshot();
        let query = functions.query(&context, path, args, None, &snapshot);
        let result = block_on(query).unwrap().result.clone();
        result
            .map(|value| value.to_json())
            .map_err(|failure| failure.message)
    }

    fn insert(&self, table: &str, fields: &[(&str, Value)]) -> DocumentId {
        let mut tx = self.db.begin();
        let table = tx.ensure_table(table).unwrap();
        let document = Object::from_fields(fields.iter().cloned()).unwrap();
        let id = tx.insert(&table, document).unwrap();
        block_on(self.db.commit(tx)).unwrap();
        id
    }

    fn stored_modules(&self) -> usize {
        let mut tx = self.db.begin();
        let rows = self.db.list_system(&mut tx, "_modules", "by_id", &[]);
        block_on(rows).unwrap().len()
    }

    /// Name and state of the user's indexes, and whether they are staged.
    fn indexes(&self) -> Vec<(String, IndexState, bool)> {
        let snapshot = self.db.snapshot();
        let tables = snapshot.catalog.tables().filter(|table| !table.is_system());
        let indexes = tables.flat_map(|table| {
            let indexes = table.indexes.iter();
            indexes.map(move |index| {
                let name = format!("{}.{}", table.name, index.name);
                (name, index.state, index.staged)
            })
        });
        let own =
            indexes.filter(|(name, ..)| !name.contains(".by_id") && !name.contains(".by_creation"));
        own.collect()
    }

    /// Checks that each index of a table is what its documents make of it.
    fn check_indexes(&self, table: &str) {
        check_indexes(&self.db, &*self.persistence, table);
    }
}

fn check_indexes(db: &Database, persistence: &dyn Persistence, table: &str) {
    let snapshot = db.snapshot();
    let table = snapshot.catalog.table(table).unwrap();
    let read = |index| -> Vec<(Vec<u8>, Object)> {
        let read = IndexRead {
            index,
            range: KeyRange::all(),
            order: Order::Ascending,
            at: snapshot.ts,
            limit: 100_000,
        };
        let page = block_on(persistence.read_index(read)).unwrap();
        assert!(page.exhausted);
        let rows = page.rows.into_iter();
        rows.map(|row| (row.key, decode_document(&row.document).unwrap()))
            .collect()
    };
    let documents = read(table.by_id().id);
    for index in &table.indexes {
        let mut expected: Vec<_> = documents
            .iter()
            .map(|(_, document)| (index.key(document), document.clone()))
            .collect();
        expected.sort();
        assert_eq!(read(index.id), expected, "{}", index.name);
    }
}

fn request(app: Json) -> Json {
    let mut request = json!({"dryRun": false, "functions": "convex/", "appDefinition": {
        "definition": null, "dependencies": [], "schema": null, "changedModules": [],
        "unchangedModuleHashes": [], "udfServerVersion": "1.48.0"}, "componentDefinitions": []});
    for (name, value) in app.as_object().unwrap() {
        match name.as_str() {
            "dryRun" | "forCodegen" => request[name] = value.clone(),
            _ => request["appDefinition"][name] = value.clone(),
        }
    }
    request
}

fn module(path: &str, source: Json) -> Json {
    json!({"path": path, "source": source.to_string(), "environment": "isolate"})
}

fn functions(names: &[&str]) -> Json {
    let functions = names.iter().map(|name| {
        json!({"name": name, "udfType": "Query", "visibility": {"kind": "public"},
            "args": "{\"type\":\"object\",\"value\":{}}", "returns": null})
    });
    json!({"functions": functions.collect::<Vec<_>>()})
}

/// A schema with one table `tasks`, whose field `n` has this type, with these indexes and staged indexes on fields.
fn schema(n: &str, indexes: &[&str], staged: &[&str]) -> Json {
    let list = |fields: &[&str]| -> Vec<Json> {
        let fields = fields.iter();
        fields
            .map(|field| json!({"indexDescriptor": format!("on_{field}"), "fields": [field]}))
            .collect()
    };
    let any = json!({"fieldType": {"type": "any"}, "optional": true});
    let fields = json!({"n": {"fieldType": {"type": n}, "optional": false}, "a": any, "b": any});
    module(
        "schema.js",
        json!({"tables": [{"tableName": "tasks", "indexes": list(indexes), "stagedDbIndexes": list(staged),
            "documentType": {"type": "object", "value": fields}}], "schemaValidation": true}),
    )
}

#[test]
fn a_push_goes_live_when_it_is_finished() {
    let world = World::new();
    let hashes = block_on(world.deployer.get_config_hashes()).unwrap();
    assert_eq!(hashes["moduleHashes"], json!([]));
    assert_eq!(hashes["udfServerVersion"], Json::Null);
    assert!(world.deployment().functions.is_empty());

    let tasks = module("tasks.js", functions(&["list"]));
    let other = module("dir/other.js", functions(&["get"]));
    let started = world.start(json!({"changedModules": [tasks, other]}));
    assert_eq!(
        started["analysis"][""]["functions"]["tasks.js"]["functions"][0]["name"],
        "list"
    );
    assert!(world.deployment().id.is_empty(), "nothing is live yet");
    assert_eq!(world.wait(&started), json!({"type": "complete"}));
    let finished = world.finish(&started).unwrap();
    let diff = &finished["componentDiffs"][""];
    assert_eq!(
        diff["moduleDiff"]["added"],
        json!(["dir/other.js", "tasks.js"])
    );
    assert_eq!(diff["udfConfigDiff"]["next_version"], "1.48.0");
    let first = world.deployment();
    let paths: Vec<_> = first.functions.keys().collect();
    assert_eq!(paths, ["dir/other.js:get", "tasks.js:list"]);
    assert_eq!(first.program.modules.len(), 2);
    assert_eq!(
        first.program.environment_variables["CONVEX_SITE_URL"],
        "http://site"
    );

    // The second push names one module by its hash and removes the other.
    let source = tasks["source"].as_str().unwrap();
    let unchanged =
        json!({"path": "tasks.js", "environment": "isolate", "sha256": module_hash(source, None)});
    let hashes = block_on(world.deployer.get_config_hashes()).unwrap();
    assert_eq!(hashes["moduleHashes"][1]["hash"], unchanged["sha256"]);
    let added = module("added.js", functions(&[]));
    let finished =
        world.push(json!({"changedModules": [added], "unchangedModuleHashes": [unchanged]}));
    let diff = &finished["componentDiffs"][""]["moduleDiff"];
    assert_eq!(
        diff,
        &json!({"added": ["added.js"], "removed": ["dir/other.js"]})
    );
    let second = world.deployment();
    assert_ne!(second.id, first.id);
    assert_ne!(second.program.id, first.program.id);
    assert_eq!(&*second.program.modules["tasks.js"].source, source);
    assert_eq!(
        world.stored_modules(),
        2,
        "sources that no one needs are deleted"
    );

    let unknown = json!({"path": "tasks.js", "environment": "isolate", "sha256": "00"});
    let error = world.start_error(json!({"unchangedModuleHashes": [unknown]}));
    assert_eq!(error.code, "InvalidModules");
    assert!(error.message.starts_with("Hit an error while pushing:\n"));
}

#[test]
fn deployments_survive_reopening_and_are_loaded_once() {
    let world = World::new();
    world.push(json!({"changedModules": [module("a.js", functions(&["f"]))]}));
    let before = world.deployment();
    assert!(Arc::ptr_eq(&before, &world.deployment()));
    let persistence = world.persistence.clone();
    drop(world);
    let world = World::open(persistence);
    let after = world.deployment();
    assert_eq!(after.id, before.id);
    assert_eq!(after.program.id, before.program.id);
    world.set_env("K", Some("v")).unwrap();
    let changed = world.deployment();
    assert_eq!(changed.program.environment_variables["K"], "v");
    assert_ne!(changed.program.id, after.program.id);
}

#[test]
fn a_later_push_replaces_one_that_is_not_finished() {
    let world = World::new();
    let app = |name: &str, field: &str| json!({"changedModules": [module(name, functions(&[]))], "schema": schema("any", &[field], &[])});
    let first = world.start(app("a.js", "a"));
    let second = world.start(app("b.js", "b"));
    assert_eq!(world.wait(&first), json!({"type": "raceDetected"}));
    assert_eq!(world.finish(&first).unwrap_err().code, "RaceDetected");
    assert_eq!(world.wait(&second), json!({"type": "complete"}));
    world.finish(&second).unwrap();
    assert_eq!(world.stored_modules(), 1);
    let expected = [("tasks.on_b".to_owned(), IndexState::Ready, false)];
    assert_eq!(world.indexes(), expected);
    assert_eq!(world.finish(&second).unwrap_err().code, "RaceDetected");
}

#[test]
fn documents_decide_whether_a_schema_can_follow() {
    let world = World::new();
    let fields = [("n", Value::Float64(1.0))];
    world.insert("tasks", &fields);
    world.push(json!({"schema": schema("number", &[], &[])}));
    let bad = world.insert("tasks", &[("n", Value::from("x"))]);
    let started = world.start(json!({"schema": schema("boolean", &[], &[])}));
    let failed = world.wait(&started);
    assert_eq!(failed["type"], "failed");
    assert_eq!(failed["tableName"], "tasks");
    let text = failed["error"].as_str().unwrap();
    assert!(
        text.starts_with("Document with ID \"")
            && text.contains("in table \"tasks\" does not match the schema: "),
        "{text}"
    );
    assert_eq!(world.finish(&started).unwrap_err().code, "RaceDetected");
    let active = world
        .db
        .snapshot()
        .catalog
        .schemas()
        .active
        .clone()
        .unwrap();
    assert_eq!(active.state, SchemaState::Active);

    // The same schema again is not checked again: its documents are held to it already.
    let same = world.start(json!({"schema": schema("number", &[], &[])}));
    assert_eq!(same["schemaChange"]["schemaIds"][""], active.id);
    assert_eq!(world.wait(&same)["type"], "complete");
    world.finish(&same).unwrap();

    let mut tx = world.db.begin();
    let row = block_on(world.db.get(&mut tx, bad)).unwrap().unwrap();
    tx.delete(bad, &row).unwrap();
    block_on(world.db.commit(tx)).unwrap();
    let any = world.push(json!({"schema": schema("any", &[], &[])}));
    assert!(any["componentDiffs"][""]["schemaDiff"]["previous_schema"].is_string());
    world.push(json!({}));
    assert!(world.db.snapshot().catalog.schemas().active.is_none());
}

#[test]
fn indexes_follow_the_schema() {
    let world = World::new();
    for n in 0..600 {
        let fields = [("n", Value::Float64(n as f64)), ("a", Value::Int64(n % 7))];
        world.insert("tasks", &fields);
    }
    let started = world.start(json!({"schema": schema("any", &["a"], &["b"])}));
    let diff = &started["schemaChange"]["indexDiffs"][""];
    assert_eq!(diff["added_indexes"].as_array().unwrap().len(), 2);
    assert_eq!(world.wait(&started)["type"], "complete");
    let states = world.indexes();
    assert!(
        states
            .iter()
            .all(|(_, state, _)| *state != IndexState::Ready)
    );
    world.finish(&started).unwrap();
    world.check_indexes("tasks");
    let index = |name: &str, staged| (format!("tasks.on_{name}"), IndexState::Ready, staged);
    assert_eq!(world.indexes()[0], index("a", false));

    // Staged becomes live, live becomes staged, and neither is built again.
    let ids = |world: &World| -> Vec<_> {
        let snapshot = world.db.snapshot();
        let table = snapshot.catalog.table("tasks").unwrap();
        table.indexes.iter().map(|index| index.id).collect()
    };
    let before = ids(&world);
    world.push(json!({"schema": schema("any", &["b"], &["a"])}));
    assert_eq!(world.indexes(), [index("a", true), index("b", false)]);
    assert_eq!(ids(&world), before);

    // Dropped ones are gone for good: their ids are not given again after a restart.
    world.push(json!({}));
    assert_eq!(world.indexes(), []);
    let persistence = world.persistence.clone();
    drop(world);
    let world = World::open(persistence);
    world.push(json!({"schema": schema("any", &["a", "b"], &[])}));
    assert!(ids(&world)[2..].iter().all(|id| !before.contains(id)));
    world.check_indexes("tasks");
}

#[test]
fn dry_runs_and_generating_code_change_nothing_live() {
    let world = World::new();
    world.push(json!({"changedModules": [module("a.js", functions(&[]))], "schema": schema("any", &["a"], &[])}));
    let before = world.deployment();
    for flag in ["dryRun", "forCodegen"] {
        let mut app = json!({"changedModules": [module("b.js", functions(&[]))], "schema": schema("any", &["b"], &[])});
        app[flag] = json!(true);
        let started = world.start(app);
        let diff = &started["schemaChange"]["indexDiffs"][""];
        assert_eq!(diff["added_indexes"][0]["name"], "tasks.on_b");
        let wait =
            json!({"schemaChange": started["schemaChange"], "timeoutMs": 5000, "dryRun": true});
        let answer = block_on(world.deployer.wait_for_schema(wait)).unwrap();
        assert_eq!(answer["type"], "complete");
        let finish = json!({"startPush": started, "dryRun": true});
        let finished = block_on(world.deployer.finish_push(finish)).unwrap();
        assert_eq!(
            finished["componentDiffs"][""]["moduleDiff"]["added"],
            json!([])
        );
        let expected = [("tasks.on_a".to_owned(), IndexState::Ready, false)];
        assert_eq!(world.indexes(), expected);
    }
    assert_eq!(world.deployment().id, before.id);
}

#[test]
fn work_that_a_push_left_is_resumed_on_opening() {
    let persistence: Arc<MemoryPersistence> = Arc::default();
    let storage: Arc<dyn Persistence> = persistence.clone();
    let db = block_on(Database::open(ThreadRuntime::handle(), storage)).unwrap();
    let mut tx = db.begin();
    let table = tx.ensure_table("tasks").unwrap();
    for n in 0..10 {
        let document = Object::from_fields([("n", Value::Float64(n.into()))]).unwrap();
        tx.insert(&table, document).unwrap();
    }
    block_on(db.commit(tx)).unwrap();
    let source = schema("number", &["n"], &[])["source"].clone();
    let json: Json = serde_json::from_str(source.as_str().unwrap()).unwrap();
    let definition = SchemaDefinition::from_json(&json).unwrap();
    let mut tx = db.begin();
    block_on(schema_change::submit(&db, &mut tx, Some(&definition))).unwrap();
    block_on(schema_change::begin_indexes(
        &db,
        &mut tx,
        Some(&definition),
    ))
    .unwrap();
    block_on(db.commit(tx)).unwrap();
    drop(db);

    let world = World::open(persistence);
    let id = world
        .db
        .snapshot()
        .catalog
        .schemas()
        .next
        .clone()
        .unwrap()
        .id
        .clone();
    let started = json!({"schemaChange": {"schemaIds": {"": id}}});
    assert_eq!(world.wait(&started), json!({"type": "complete"}));
    world.check_indexes("tasks");
}

#[test]
fn auth_configuration_follows_the_environment() {
    let world = World::new();
    let config = json!({"needs": "ISSUER", "providers": [{"domain": "d", "applicationID": "a"}]});
    let app = json!({"changedModules": [module("auth.config.js", config)]});
    let error = world.start_error(app.clone());
    assert_eq!(error.code, "AuthConfigMissingEnvironmentVariable");
    assert!(error.message.contains("Environment variable ISSUER "));
    world.set_env("ISSUER", Some("x")).unwrap();
    let started = world.start(app.clone());
    assert_eq!(
        started["appAuth"],
        json!([{"domain": "d", "applicationID": "a"}])
    );
    world.set_env("OTHER", Some("x")).unwrap();
    assert_eq!(
        world.finish(&started).unwrap_err().code,
        "RaceDetected",
        "evaluated with other variables"
    );
    let finished = world.push(app);
    assert_eq!(finished["authDiff"]["added"].as_array().unwrap().len(), 1);
    assert_eq!(world.deployment().auth.len(), 1);
    assert!(world.deployment().program.modules.is_empty());
    let error = world.set_env("ISSUER", None).unwrap_err();
    assert_eq!(error.code, "AuthConfigMissingEnvironmentVariable");
    world.set_env("OTHER", None).unwrap();
}

/// What is live follows a variable that is changed after the push.
#[test]
fn auth_configuration_is_evaluated_again_when_a_variable_changes() {
    let world = World::new();
    let config = json!({"domainFrom": "ISSUER"});
    world.set_env("ISSUER", Some("a")).unwrap();
    world.push(json!({"changedModules": [module("auth.config.js", config)]}));
    let domain = || world.deployment().auth[0]["domain"].clone();
    assert_eq!(domain(), "a");
    world.set_env("ISSUER", Some("b")).unwrap();
    assert_eq!(domain(), "b");
    let before = world.deployment().id.clone();
    world.set_env("ISSUER", Some("b")).unwrap();
    world.set_env("OTHER", Some("x")).unwrap();
    assert_eq!((domain(), &world.deployment().id), (json!("b"), &before));
}

#[test]
fn what_is_deployed_and_not_run_is_warned_of() {
    let world = World::new();
    let crons = json!({"cronSpecs": [
        {"identifier": "tidy", "spec": {"name": "jobs:tidy"}}, {"identifier": "more", "spec": {"name": "jobs:tidy"}}]});
    let mut jobs = functions(&[]);
    jobs["functions"] = json!([{"name": "tidy", "udfType": "Mutation", "visibility": {"kind": "internal"},
        "args": "{\"type\":\"any\"}", "returns": null}]);
    let routes = json!({"httpRoutes": [{"route": {"path": "/hook", "method": "POST"}}]});
    let changed = json!([
        module("jobs.js", jobs),
        module("crons.js", crons),
        module("http.js", routes)
    ]);
    world.push(json!({"changedModules": changed}));
    let log = block_on(world.log.read(0.0, false));
    let lines = log["entries"].as_array().unwrap().iter();
    let lines: Vec<_> = lines
        .map(|entry| entry["logLines"][0].as_str().unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("2 cron jobs"), "{lines:?}");
    assert!(lines[1].contains("1 HTTP routes"), "{lines:?}");
}

#[test]
fn code_that_cannot_be_served_is_refused() {
    let world = World::new();
    let cron = |name: &str| json!({"cronSpecs": [{"identifier": "tidy", "spec": {"name": name}}]});
    let child = json!({"childComponents": [{"name": "counter"}]});
    let search = json!({"tables": [{"tableName": "t", "indexes": [],
        "searchIndexes": [{"indexDescriptor": "find", "searchField": "a", "filterFields": []}]}]});
    let broken = json!({"path": "a.js", "source": "}", "environment": "isolate"});
    let tasks = module("tasks.js", functions(&["list"]));
    for (app, code, text) in [
        (
            json!({"changedModules": [broken]}),
            "InvalidModules",
            "Failed to analyze a.js",
        ),
        (
            json!({"changedModules": [module("a.js", functions(&["a-b"]))]}),
            "InvalidModules",
            "a-b",
        ),
        (
            json!({"changedModules": [module("crons.js", cron("gone:f"))]}),
            "InvalidModules",
            "does not exist",
        ),
        (
            json!({"changedModules": [tasks, module("crons.js", cron("tasks:list"))]}),
            "InvalidModules",
            "is a query",
        ),
        (
            json!({"definition": module("convex.config.js", child)}),
            "InvalidDefinition",
            "components",
        ),
        (
            json!({"schema": module("schema.js", search)}),
            "InvalidSchema",
            "`t.find`",
        ),
    ] {
        let error = world.start_error(app);
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    let required =
        json!({"envVars": [["KEY", {"type": "value", "value": "{\"type\":\"string\"}"}]]});
    let app = json!({"definition": module("convex.config.js", required)});
    let started = world.start(app.clone());
    let error = world.finish(&started).unwrap_err();
    assert_eq!(error.code, "MissingEnvironmentVariables");
    world.set_env("KEY", Some("v")).unwrap();
    world.push(app);
    let error = world.set_env("KEY", None).unwrap_err();
    assert_eq!(error.code, "RequiredEnvironmentVariable");
}

#[test]
fn system_queries_show_tables_and_their_documents() {
    let world = World::new();
    let page = |cursor: Json, count: u32| json!({"table": "b", "order": "desc", "paginationOpts": {"cursor": cursor, "numItems": count}});
    let empty = world
        .system("_system/cli/tableData", page(Json::Null, 2))
        .unwrap();
    assert_eq!(empty["page"], json!([]));
    assert_eq!(empty["isDone"], true);
    world.insert("b", &[("n", Value::Float64(1.0))]);
    let last = world.insert("b", &[("n", Value::Float64(2.0))]);
    world.insert("a", &[]);
    let tables = world
        .system("_system/cli/tables:default", json!({}))
        .unwrap();
    assert_eq!(
        tables,
        json!({"page": [{"name": "a"}, {"name": "b"}], "isDone": true, "continueCursor": "end"})
    );
    let first = world
        .system("_system/cli/tableData", page(Json::Null, 1))
        .unwrap();
    assert_eq!(first["page"][0]["n"], 2.0);
    assert_eq!(first["isDone"], false);
    let cursor = first["continueCursor"].clone();
    let second = world
        .system("_system/cli/tableData", page(cursor, 5))
        .unwrap();
    assert_eq!(second["page"].as_array().unwrap().len(), 1);
    assert_eq!(second["isDone"], true);
    let size = |table: &str| world.system("_system/cli/tableSize", json!({"tableName": table}));
    assert_eq!(size("b").unwrap(), 2.0);
    assert_eq!(size("none").unwrap(), 0.0);

    // The number of a table changes with each write to it.
    let number = || {
        let args = json!({"tableName": "b"});
        world.system("_system/cli/queryTable", args).unwrap()
    };
    let before = number();
    let mut tx = world.db.begin();
    let row = block_on(world.db.get(&mut tx, last)).unwrap().unwrap();
    tx.replace(last, &row, Object::new()).unwrap();
    block_on(world.db.commit(tx)).unwrap();
    assert_ne!(number(), before);
}

#[test]
fn system_queries_show_configuration_and_functions() {
    let world = World::new();
    world.set_env("B", Some("2")).unwrap();
    world.set_env("A", Some("1")).unwrap();
    let list = world
        .system("_system/cli/queryEnvironmentVariables", json!({}))
        .unwrap();
    let names: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|v| &v["name"])
        .collect();
    assert_eq!(names, ["A", "B"]);
    let get = |name: &str| {
        let path = "_system/cli/queryEnvironmentVariables:get";
        world.system(path, json!({"name": name})).unwrap()
    };
    assert_eq!(get("B"), json!({"name": "B", "value": "2"}));
    assert_eq!(get("C"), Json::Null);
    world.push(json!({"changedModules": [module("tasks.js", functions(&["list"]))]}));
    let spec = world
        .system("_system/cli/modules:apiSpec", json!({}))
        .unwrap();
    assert_eq!(
        spec,
        json!([{"identifier": "tasks.js:list", "functionType": "Query", "visibility": {"kind": "public"},
            "args": {"type": "object", "value": {}}, "returns": {"type": "any"}}])
    );
    let url = world.system("_system/cli/convexUrl:cloudUrl", json!({}));
    assert_eq!(url.unwrap(), "http://cloud");
    for (path, expected) in [
        ("_system/frontend/components:list", json!([])),
        ("_system/cli/queryImport:list", json!([])),
        ("_system/cli/queryImport:default", Json::Null),
        ("_system/cli/exports:getLatest", Json::Null),
    ] {
        assert_eq!(world.system(path, json!({})), Ok(expected), "{path}");
    }
    let unknown = world.system("_system/cli/nothing", json!({})).unwrap_err();
    assert!(unknown.contains("_system/cli/nothing"));
    let incomplete = world
        .system("_system/cli/tableSize", json!({}))
        .unwrap_err();
    assert!(incomplete.contains("tableName"));
}

#[test]
fn a_push_is_summarised_before_it_is_made() {
    let world = World::new();
    for n in 0..3 {
        world.insert("tasks", &[("n", Value::Float64(n.into()))]);
    }
    let evaluate = |app: Json| {
        let answer = world.deployer.evaluate_schema(request(app));
        block_on(answer).unwrap()["componentSchemaEvaluations"][""].clone()
    };
    let app = json!({"schema": schema("number", &["a"], &[])});
    let first = evaluate(app.clone());
    let table = &first["tables"][0];
    assert_eq!(
        (&table["outcome"], &table["numDocs"]),
        (&json!("mustWalk"), &json!(3))
    );
    let index = &first["indexes"][0];
    assert_eq!(index["name"], "tasks.on_a");
    assert_eq!(
        (&index["change"], &index["numDocs"]),
        (&json!("added"), &json!(3))
    );
    assert!(
        world.db.snapshot().catalog.schemas().next.is_none(),
        "nothing is stored"
    );

    world.push(app.clone());
    let same = evaluate(app);
    assert_eq!(same["tables"][0]["outcome"], "supersetOfEnforced");
    assert_eq!(same["indexes"][0]["change"], "identical");
    let gone = evaluate(json!({}));
    assert_eq!(gone["indexes"][0]["change"], "dropped");
    let mut unchecked = json!({"tables": [
        {"tableName": "tasks", "indexes": [], "documentType": {"type": "any"}},
        {"tableName": "none", "indexes": [{"indexDescriptor": "on_a", "fields": ["a"]}], "documentType": null}]});
    for validation in [true, false] {
        unchecked["schemaValidation"] = json!(validation);
        let other = evaluate(json!({"schema": module("schema.js", unchecked.clone())}));
        for table in other["tables"].as_array().unwrap() {
            assert_eq!(table["outcome"], "notValidated", "{table}");
        }
        let indexes = other["indexes"].as_array().unwrap();
        let added = indexes
            .iter()
            .find(|index| index["change"] == "added")
            .unwrap();
        assert_eq!(added["numDocs"], 0, "the table is not there yet");
    }
    let planned = block_on(world.deployer.evaluate_push(request(json!({})))).unwrap();
    let removed = &planned["schemaChange"]["indexDiffs"][""]["removed_indexes"];
    assert_eq!(removed[0]["name"], "tasks.on_a");
}

#[test]
fn of_pushes_finished_at_once_one_wins() {
    let world = World::new();
    let started = world.start(json!({"changedModules": [module("a.js", functions(&["f"]))]}));
    let finish = || {
        let request = json!({"startPush": started, "dryRun": false});
        world.deployer.finish_push(request)
    };
    let (a, b) = block_on(join(finish(), finish()));
    let errors: Vec<_> = [a, b].into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert!(matches!(
        &*errors[0].code,
        "RaceDetected" | "ConcurrentPush"
    ));
    assert_eq!(world.deployment().functions.len(), 1);
}

#[test]
fn a_write_that_contradicts_the_schema_on_its_way_stops_the_push() {
    let world = World::new();
    world.push(json!({"changedModules": [module("a.js", functions(&["f"]))]}));
    let started = world.start(json!({"schema": schema("number", &[], &[])}));
    assert_eq!(world.wait(&started)["type"], "complete");
    let mut tx = world.db.begin();
    let bad = Object::from_fields([("n", "text")]).unwrap();
    let violation = crate::function::check_schema(&mut tx, "tasks", &bad).unwrap();
    let violation = violation.expect("the schema is on its way");
    block_on(schema_change::replace(
        &world.db,
        &mut tx,
        violation.id,
        violation.document,
    ))
    .unwrap();
    block_on(world.db.commit(tx)).unwrap();
    assert_eq!(world.wait(&started)["type"], "failed");
    assert_eq!(world.finish(&started).unwrap_err().code, "RaceDetected");
}

/// Generating code for a push asks for no indexes to be built, so it cannot go live.
#[test]
fn a_push_for_generating_code_cannot_be_finished() {
    let world = World::new();
    let app = json!({"schema": schema("any", &["a"], &[]), "forCodegen": true});
    let started = world.start(app);
    assert_eq!(world.wait(&started), json!({"type": "raceDetected"}));
    let error = world.finish(&started).unwrap_err();
    assert_eq!(error.code, "RaceDetected");
    assert!(error.message.contains("`tasks.on_a`"), "{error}");
    let malformed = json!({"schemaChange": {"schemaIds": {"": 5}}});
    let answer = block_on(world.deployer.wait_for_schema(malformed));
    assert_eq!(answer.unwrap_err().code, "InvalidConfig");
}

/// Of two pushes that are not finished, the later decides whether an index that both define is staged.
#[test]
fn a_later_push_may_stage_what_an_earlier_one_began() {
    let world = World::new();
    world.start(json!({"schema": schema("any", &["a"], &[])}));
    assert_eq!(world.indexes().len(), 1);
    world.push(json!({"schema": schema("any", &[], &["a"])}));
    let staged = [("tasks.on_a".to_owned(), IndexState::Ready, true)];
    assert_eq!(world.indexes(), staged);
    let schemas = |world: &World| {
        world
            .system("_system/frontend/getSchemas", json!({}))
            .unwrap()
    };
    assert!(schemas(&world)["active"].is_string());
    assert!(schemas(&world)["inProgress"].is_null());
    world.start(json!({"schema": schema("any", &["b"], &[])}));
    assert!(schemas(&world)["inProgress"].is_string());
}
