//! Pushes from end to end over storage in memory. The engine reads the source of a module as the JSON that evaluating
//! it gives.

mod environment;
mod legacy;
mod pushes;
mod reuse;
mod schemas;
mod system_mutations;
mod system_queries;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, ready};
use serde_json::{Value as Json, json};

use crate::ErrorClass;
use crate::catalog::{IndexState, SchemaState};
use crate::concurrency::Mutex;
use crate::deploy::{Deployment, module_hash};
use crate::driver::deployer::Deployer;
use crate::driver::deployment::{Deployments, load_deployment};
use crate::driver::function_log::FunctionLog;
use crate::driver::testing::{ThreadRuntime, yield_to_others};
use crate::driver::{
    CallContext, Client, Database, FunctionSettings, Functions, HttpClient, HttpResponse,
    schema_change,
};
use crate::engine::{
    Evaluation, Execution, Failure, FunctionCall, FunctionEngine, Program, SyncHost,
};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::persistence::memory::MemoryPersistence;
use crate::persistence::{IndexRead, KeyRange, Order, Persistence};
use crate::query::CursorKey;
use crate::request_id::RequestId;
use crate::schema::SchemaDefinition;
use crate::value::{DocumentId, Object, Value, decode_document};

#[derive(Default)]
struct JsonEngine {
    /// The modules whose functions were listed, in order.
    evaluated: Mutex<Vec<String>>,
}

impl FunctionEngine for JsonEngine {
    fn evaluate(
        &self,
        program: Arc<Program>,
        evaluation: Evaluation,
    ) -> BoxFuture<'static, Result<Json, Failure>> {
        if let Evaluation::Functions(paths) = &evaluation {
            self.evaluated.lock().unwrap().extend(paths.iter().cloned());
        }
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
                    let domain = program.environment_variables.get(name);
                    let providers =
                        domain.map(|domain| json!({"domain": domain, "applicationID": "a"}));
                    json = json!({ "providers": Vec::from_iter(providers) });
                }
                Ok(json)
            }
        }
    };
    match evaluation {
        Evaluation::Functions(paths) => {
            let modules: Result<BTreeMap<_, _>, _> = paths
                .into_iter()
                .map(|path| {
                    let mut module = read(&path)?;
                    let mut imports = vec![json!(path)];
                    imports.extend(module["imports"].as_array().into_iter().flatten().cloned());
                    module["imports"] = imports.into();
                    Ok((path, module))
                })
                .collect();
            Ok(json!({"modules": modules?}))
        }
        Evaluation::Schema(path) | Evaluation::AuthConfig(path) | Evaluation::Definition(path) => {
            read(&path)
        }
    }
}

struct NoHttp;

impl HttpClient for NoHttp {
    fn fetch(&self, _: String) -> BoxFuture<'static, Result<HttpResponse, String>> {
        unreachable!("system queries make no requests")
    }
}

struct World {
    persistence: Arc<MemoryPersistence>,
    db: Database,
    engine: Arc<JsonEngine>,
    deployer: Deployer,
    deployments: Mutex<Deployments>,
}

impl World {
    fn open(persistence: Arc<MemoryPersistence>) -> Self {
        let storage: Arc<dyn Persistence> = persistence.clone();
        let db = block_on(Database::open(ThreadRuntime::handle(), storage)).unwrap();
        let env = BTreeMap::from([("CONVEX_SITE_URL".to_owned(), "http://site".to_owned())]);
        let engine = Arc::new(JsonEngine::default());
        let deployer = Deployer::open(db.clone(), engine.clone(), env);
        Self {
            engine,
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
        let functions = self.functions();
        let snapshot = self.db.snapshot();
        let context = admin(false);
        let query = functions.query(&context, path, args, None, &snapshot);
        let result = block_on(query).unwrap().result.clone();
        result
            .map(|value| value.to_json())
            .map_err(|failure| failure.message)
    }

    /// A system mutation's result, in encoded JSON.
    fn change(&self, path: &str, args: Json) -> Result<Json, Failure> {
        let functions = self.functions();
        let context = admin(false);
        let mutation = functions.mutation(&context, path, args, None);
        let result = block_on(mutation).unwrap().result;
        result.map(|value| value.to_json())
    }

    fn functions(&self) -> Functions {
        Functions::new(
            self.db.clone(),
            self.engine.clone(),
            Arc::new(NoHttp),
            Arc::new(FunctionLog::new(self.db.runtime().clone(), 1 << 20)),
            FunctionSettings {
                cursor_key: CursorKey::new([1; 32], "test"),
                instance_name: "test".to_owned(),
                built_in_env: BTreeMap::from([(
                    "CONVEX_CLOUD_URL".to_owned(),
                    "http://cloud".to_owned(),
                )]),
                limits: Limits::default(),
            },
        )
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

/// A call by the holder of an admin key.
fn admin(read_only: bool) -> CallContext {
    let identity = Identity::Admin {
        read_only,
        acting_as: None,
    };
    CallContext::new(identity, RequestId::from_bytes([0; 8]), Client::Http(None))
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
