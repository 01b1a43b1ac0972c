//! Mutations through the function layer, in Rust and in JavaScript.

use std::sync::Arc;

use concave_core::driver::{Backend, BackendConfig, CallContext, Client, Functions};
use concave_core::engine::native::{NativeContext, NativeEngine};
use concave_core::engine::{Environment, Failure, FunctionEngine, FunctionKind, Module};
use concave_core::identity::Identity;
use concave_core::request_id::RequestId;
use concave_javascript::conformance::bundled_app;
use concave_quickjs::QuickJsOptions;
use concave_tokio::{TokioHttpClient, TokioRuntime};
use serde_json::{Value as Json, json};

use crate::report::{count, median, table};
use crate::world::{ROUNDS, World, middle};

/// An app without npm `convex`: what it makes of a mutation, at its least.
const BARE: &str = r#"
const mutation = (handler) => ({
    isConvexFunction: true,
    isMutation: true,
    isPublic: true,
    exportArgs: () => '{"type":"any"}',
    exportReturns: () => '{"type":"any"}',
    invokeMutation: async (args) => JSON.stringify(await handler(...JSON.parse(args))),
});
export const add = mutation(async (value) =>
    JSON.parse(await Convex.asyncSyscall("1.0/insert", JSON.stringify({ table: "notes", value }))));
"#;

pub fn run() {
    let native = || -> (Arc<dyn FunctionEngine>, Vec<Module>) {
        let engine = NativeEngine::default()
            .function("notes:add", FunctionKind::Mutation, add)
            .function("notes:increment", FunctionKind::Mutation, increment);
        let modules = engine.modules();
        (Arc::new(engine), modules)
    };
    let quickjs = |modules: Vec<Module>| -> (Arc<dyn FunctionEngine>, Vec<Module>) {
        let engine = concave_quickjs::start(QuickJsOptions::default()).unwrap();
        (engine, modules)
    };
    let bare = || {
        quickjs(vec![Module {
            path: "notes.js".to_owned(),
            source: BARE.into(),
            source_map: None,
            environment: Environment::Isolate,
        }])
    };
    // Of the bundled app, the mutations alone.
    let bundled = || {
        let mut modules = bundled_app();
        modules.retain(|module| module.path == "notes.js" || module.path.starts_with("_deps/"));
        quickjs(modules)
    };
    let mut rows = Vec::new();
    for tasks in [64, 256, 1024] {
        rows.push(measure("insert, native", tasks, native, "notes:add"));
    }
    rows.push(measure(
        "one counter for all, native",
        64,
        native,
        "notes:increment",
    ));
    for tasks in [64, 256] {
        rows.push(measure("insert, QuickJS", tasks, bare, "notes:add"));
    }
    for tasks in [64, 256] {
        rows.push(measure(
            "insert, QuickJS with npm convex",
            tasks,
            bundled,
            "notes:add",
        ));
    }
    table(
        "Mutations (SQLite, full sync)",
        &[
            "mutation",
            "in flight",
            "per second",
            "mean batch",
            "CPU µs",
        ],
        &rows,
    );
}

fn measure(
    name: &str,
    tasks: usize,
    engine: impl Fn() -> (Arc<dyn FunctionEngine>, Vec<Module>),
    path: &'static str,
) -> Vec<String> {
    let (mut rates, mut batch_sizes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let world = World::new();
        let (engine, modules) = engine();
        let functions = world.tokio.block_on(deploy(&world, engine, &modules));
        world.tokio.block_on(call(&functions, path));
        let skip = world.store.writes();
        let rate = world.load(tasks, move |_| {
            let functions = functions.clone();
            async move { call(&functions, path).await }
        });
        rates.push(rate);
        batch_sizes.push(world.store.mean_batch(skip));
    }
    let rate = middle(&rates);
    vec![
        name.to_owned(),
        tasks.to_string(),
        count(rate.per_second),
        count(median(batch_sizes)),
        format!("{:.1}", rate.cpu_micros),
    ]
}

async fn call(functions: &Functions, path: &str) {
    let request = RequestId::from_bytes([0; 8]);
    let context = CallContext::new(Identity::Anonymous, request, Client::Http(None));
    let args = json!([{"text": "The quick brown fox jumps over the lazy dog."}]);
    let result = functions
        .mutation(&context, path, args, None)
        .await
        .unwrap();
    assert!(result.result.is_ok(), "{:?}", result.result);
}

/// A deployment of these modules.
async fn deploy(world: &World, engine: Arc<dyn FunctionEngine>, modules: &[Module]) -> Functions {
    let config = BackendConfig {
        instance_name: "bench".into(),
        instance_secret: [7; 32],
        cloud_url: "http://127.0.0.1:3210".into(),
        site_url: "http://127.0.0.1:3211".into(),
        admin_origins: Vec::new(),
        redact: false,
        retention: None,
        limits: concave_core::limits::Limits::default(),
    };
    let backend = Backend::open(
        TokioRuntime::current(),
        world.store.clone(),
        engine,
        TokioHttpClient::start(&concave_core::limits::Limits::default()).unwrap(),
        config,
    )
    .await
    .unwrap();
    let modules: Vec<_> = modules
        .iter()
        .map(|module| json!({"path": module.path, "source": &*module.source, "environment": "isolate"}))
        .collect();
    let push = json!({
        "dryRun": false, "functions": "convex/",
        "appDefinition": {
            "definition": null, "dependencies": [], "schema": null, "changedModules": modules,
            "unchangedModuleHashes": [], "udfServerVersion": "1.48.0",
        },
        "componentDefinitions": [], "nodeDependencies": [],
    });
    let started = backend.start_push(push).await.unwrap();
    backend
        .finish_push(json!({"startPush": started, "dryRun": false}))
        .await
        .unwrap();
    backend.functions().clone()
}

async fn add(context: NativeContext, args: Json) -> Result<Json, Failure> {
    context
        .call("1.0/insert", json!({"table": "notes", "value": args}))
        .await
}

/// Adds one to the first document there is.
async fn increment(context: NativeContext, _: Json) -> Result<Json, Failure> {
    let query = json!({
        "source": {"type": "FullTableScan", "tableName": "notes", "order": null},
        "operators": [{"limit": 1}],
    });
    match context.collect(query).await?.first() {
        None => {
            let value = json!({"table": "notes", "value": {"n": 1.0}});
            context.call("1.0/insert", value).await
        }
        Some(row) => {
            let value = json!({"id": row["_id"], "value": {"n": row["n"].as_f64().unwrap() + 1.0}});
            context.call("1.0/shallowMerge", value).await
        }
    }
}
