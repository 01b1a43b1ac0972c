mod kept;
mod refusals;
mod transactions;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value as Json, json};

use crate::driver::testing::ThreadRuntime;
use crate::driver::{
    Backend, BackendConfig, CallContext, Caller, Client, HttpClient, HttpResponse, MutationKey,
};
use crate::engine::native::{NativeContext, NativeEngine};
use crate::engine::{Failure, FunctionKind};
use crate::identity::{Identity, UserIdentity};
use crate::limits::Limits;
use crate::persistence::memory::MemoryPersistence;
use crate::request_id::RequestId;

struct NoHttp;

impl HttpClient for NoHttp {
    fn fetch(&self, _: String) -> BoxFuture<'static, Result<HttpResponse, String>> {
        async { Err("there is no network here".to_owned()) }.boxed()
    }
}

fn scan(table: &str) -> Json {
    json!({ "source": {"type": "FullTableScan", "tableName": table, "order": null}, "operators": [] })
}

async fn increment(context: NativeContext, _: Json) -> Result<Json, Failure> {
    let rows = context.collect(scan("counters")).await?;
    let n = match rows.first() {
        None => {
            context
                .call(
                    "1.0/insert",
                    json!({"table": "counters", "value": {"n": 1.0}}),
                )
                .await?;
            1.0
        }
        Some(row) => {
            let n = row["n"].as_f64().unwrap() + 1.0;
            context
                .call(
                    "1.0/shallowMerge",
                    json!({"id": row["_id"], "value": {"n": n}}),
                )
                .await?;
            n
        }
    };
    context.log(&format!("'now {n}'"));
    Ok(json!(n))
}

async fn count(context: NativeContext, _: Json) -> Result<Json, Failure> {
    let rows = context.collect(scan("counters")).await?;
    Ok(rows.first().map_or(json!(0.0), |row| row["n"].clone()))
}

/// A backend with these functions deployed.
fn deploy(engine: NativeEngine) -> Arc<Backend> {
    deploy_on(ThreadRuntime::new(), engine)
}

fn deploy_on(runtime: Arc<ThreadRuntime>, engine: NativeEngine) -> Arc<Backend> {
    deploy_with(runtime, engine, Limits::default())
}

fn deploy_with(runtime: Arc<ThreadRuntime>, engine: NativeEngine, limits: Limits) -> Arc<Backend> {
    let config = BackendConfig {
        instance_name: "test".into(),
        instance_secret: [7; 32],
        cloud_url: "http://127.0.0.1:3210".into(),
        site_url: "http://127.0.0.1:3211".into(),
        admin_origins: Vec::new(),
        redact: false,
        retention: None,
        limits,
    };
    let modules: Vec<_> = engine
        .modules()
        .iter()
        .map(|module| json!({"path": module.path, "source": &*module.source, "environment": "isolate"}))
        .collect();
    let push = json!({
        "adminKey": "", "dryRun": false, "functions": "convex/",
        "appDefinition": {
            "definition": null, "dependencies": [], "schema": null, "changedModules": modules,
            "unchangedModuleHashes": [], "udfServerVersion": "1.48.0",
        },
        "componentDefinitions": [], "nodeDependencies": [],
    });
    block_on(async {
        let persistence = Arc::new(MemoryPersistence::default());
        let backend = Backend::open(
            runtime,
            persistence,
            Arc::new(engine),
            Arc::new(NoHttp),
            config,
        )
        .await
        .unwrap();
        let started = backend.start_push(push).await.unwrap();
        backend
            .finish_push(json!({"adminKey": "", "startPush": started, "dryRun": false}))
            .await
            .unwrap();
        backend
    })
}

fn anyone() -> Caller {
    Caller {
        identity: Identity::Anonymous,
        request_id: RequestId::from_bytes([0; 8]),
        client: Client::Http(None),
        source: Arc::default(),
    }
}

fn number(json: f64) -> crate::Value {
    crate::Value::Float64(json)
}

#[test]
fn conflicting_mutations_all_succeed() {
    let backend = deploy(
        NativeEngine::default()
            .function("counters:increment", FunctionKind::Mutation, increment)
            .function("counters:count", FunctionKind::Query, count),
    );
    const CLIENTS: usize = 16;
    const EACH: usize = 20;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let done =
                        block_on(backend.mutation(&anyone(), "counters:increment", json!({})))
                            .unwrap();
                    assert!(done.result.is_ok(), "{:?}", done.result);
                    assert_eq!(
                        done.log_lines.len(),
                        1,
                        "lines of lost attempts are not shown"
                    );
                }
            });
        }
    });
    let count = block_on(backend.query(&anyone(), "counters:count", json!([{}]), None)).unwrap();
    assert_eq!(count.result.unwrap(), number((CLIENTS * EACH) as f64));
}

#[test]
fn queries_run_again_only_when_what_they_read_changes() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let backend = deploy(
        NativeEngine::default()
            .function("counters:increment", FunctionKind::Mutation, increment)
            .function(
                "notes:add",
                FunctionKind::Mutation,
                async |context: NativeContext, _| {
                    context
                        .call("1.0/insert", json!({"table": "notes", "value": {}}))
                        .await
                },
            )
            .function(
                "counters:count",
                FunctionKind::Query,
                move |context, args| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    count(context, args)
                },
            ),
    );
    let count = || {
        block_on(backend.query(&anyone(), "counters:count", json!({}), None))
            .unwrap()
            .result
            .unwrap()
    };
    let call = |path| {
        block_on(backend.mutation(&anyone(), path, json!({})))
            .unwrap()
            .result
            .unwrap()
    };
    assert_eq!((count(), count()), (number(0.0), number(0.0)));
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    // The first write creates the table, which the query depends on; the second is of a table that exists.
    call("notes:add");
    count();
    let before = runs.load(Ordering::Relaxed);
    call("notes:add");
    count();
    assert_eq!(runs.load(Ordering::Relaxed), before);
    call("counters:increment");
    assert_eq!(count(), number(1.0));
    call("counters:increment");
    assert_eq!(count(), number(2.0));
    assert_eq!(runs.load(Ordering::Relaxed), before + 2);
}

#[test]
fn a_request_that_is_sent_again_is_not_run_again() {
    let backend = deploy(NativeEngine::default().function(
        "counters:increment",
        FunctionKind::Mutation,
        increment,
    ));
    let context = CallContext::new(
        Identity::Anonymous,
        RequestId::from_bytes([0; 8]),
        Client::Http(None),
    );
    let key = |request| MutationKey {
        session_id: "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91".into(),
        request,
    };
    let call = |request| {
        let key = key(request);
        block_on(backend.functions().mutation(
            &context,
            "counters:increment",
            json!([{}]),
            Some(&key),
        ))
        .unwrap()
    };
    let first = call(1);
    let again = call(1);
    assert_eq!(first.result, Ok(number(1.0)));
    assert_eq!((again.result, again.ts), (first.result, first.ts));
    let lines =
        |logs: &[crate::engine::LogLine]| logs.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(lines(&again.logs), lines(&first.logs));
    assert_eq!(call(2).result, Ok(number(2.0)));
}

/// The connection breaks while the mutation runs, the client sends it again: it is not run beside itself, and what is
/// told of the second is what became of the first.
#[test]
fn a_request_that_still_runs_is_waited_for() {
    let runs = Arc::new(AtomicU32::new(0));
    let (begun, has_begun) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let waits = Mutex::new(Some((begun, gone)));
    let counted = runs.clone();
    let backend = deploy(NativeEngine::default().function(
        "slow:once",
        FunctionKind::Mutation,
        move |context, args| {
            counted.fetch_add(1, Ordering::Relaxed);
            let first = waits.lock().unwrap().take();
            async move {
                let Some((begun, gone)) = first else {
                    return Err(Failure::new("the engine died"));
                };
                begun.send(()).unwrap();
                gone.recv().unwrap();
                increment(context, args).await
            }
        },
    ));
    let context = CallContext::new(
        Identity::Anonymous,
        RequestId::from_bytes([0; 8]),
        Client::Http(None),
    );
    let key = MutationKey {
        session_id: "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91".into(),
        request: 1,
    };
    let call = || {
        let functions = backend.functions();
        let done = functions.mutation(&context, "slow:once", json!([{}]), Some(&key));
        block_on(done).unwrap().result
    };
    thread::scope(|scope| {
        let first = scope.spawn(call);
        has_begun.recv().unwrap();
        let again = scope.spawn(call);
        // Long enough for the second one to run, if nothing kept it from it.
        thread::sleep(Duration::from_millis(50));
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Ok(number(1.0)));
        assert_eq!(again.join().unwrap(), Ok(number(1.0)));
    });
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[test]
fn a_failed_nested_mutation_leaves_nothing_and_its_caller_may_go_on() {
    let engine = NativeEngine::default()
        .function("counters:increment", FunctionKind::Mutation, increment)
        .function("counters:count", FunctionKind::Query, count)
        .function(
            "counters:fail",
            FunctionKind::Mutation,
            async |context: NativeContext, args| {
                increment(context, args).await?;
                Err(Failure {
                    data: Some(json!("no")),
                    ..Failure::new("Uncaught ConvexError: no")
                })
            },
        )
        .function(
            "counters:outer",
            FunctionKind::Mutation,
            async |context: NativeContext, _| {
                let run = async |path: &str, kind: &str| {
                    context
                        .call(
                            "1.0/runUdf",
                            json!({"udfType": kind, "name": path, "args": {}}),
                        )
                        .await
                };
                run("counters:increment", "mutation").await?;
                let failure = run("counters:fail", "mutation").await.unwrap_err();
                assert_eq!(failure.data, Some(json!("no")));
                let seen = run("counters:count", "query").await?;
                assert!(
                    run("counters:increment", "query").await.is_err(),
                    "called as what it is not"
                );
                Ok(seen)
            },
        )
        .function(
            "counters:sneaky",
            FunctionKind::Query,
            async |context: NativeContext, _| {
                context
                    .call(
                        "1.0/runUdf",
                        json!({"udfType": "mutation", "name": "counters:increment", "args": {}}),
                    )
                    .await
            },
        )
        .function("counters:sneakier", FunctionKind::Query, increment);
    let backend = deploy(engine);
    let outer = block_on(backend.mutation(&anyone(), "counters:outer", json!({}))).unwrap();
    assert_eq!(outer.result.unwrap(), number(1.0));
    let count = block_on(backend.query(&anyone(), "counters:count", json!({}), None)).unwrap();
    assert_eq!(count.result.unwrap(), number(1.0));
    for path in ["counters:sneaky", "counters:sneakier"] {
        let sneaky = block_on(backend.query(&anyone(), path, json!({}), None)).unwrap();
        assert!(sneaky.result.is_err(), "queries do not write");
    }
}

#[test]
fn actions_call_everything_and_outlive_failures() {
    let engine = NativeEngine::default()
        .function("counters:increment", FunctionKind::Mutation, increment)
        .function("counters:count", FunctionKind::Query, count)
        .function("jobs:inner", FunctionKind::Action, async |_, _| {
            Err(Failure::new("Uncaught Error: inner"))
        })
        .function(
            "jobs:outer",
            FunctionKind::Action,
            async |context: NativeContext, _| {
                let run = async |op: &str, path: &str| {
                    context.call(op, json!({"name": path, "args": {}})).await
                };
                run("1.0/actions/mutation", "counters:increment").await?;
                run("1.0/actions/mutation", "counters:increment").await?;
                let failure = run("1.0/actions/action", "jobs:inner").await.unwrap_err();
                assert_eq!(failure.message, "Uncaught Error: inner");
                assert!(
                    context
                        .call("host/fetch", json!({"url": "http://127.0.0.1:1"}))
                        .await
                        .is_err()
                );
                context.call("host/sleep", json!({"ms": 1})).await?;
                run("1.0/actions/query", "counters:count").await
            },
        );
    let backend = deploy(engine);
    let outer = block_on(backend.action(&anyone(), "jobs:outer", json!({}))).unwrap();
    assert_eq!(outer.result.unwrap(), number(2.0));
}

#[test]
fn wrong_calls_fail_with_one_clear_text() {
    let backend =
        deploy(NativeEngine::default().function("counters:count", FunctionKind::Query, count));
    let text = |path: &str, args: Json| {
        let result = block_on(backend.mutation(&anyone(), path, args)).unwrap();
        result.result.unwrap_err().text
    };
    let missing = text("counters:nothing", json!({}));
    assert!(
        missing.contains("Could not find public function for 'counters:nothing'. Did you forget to run `npx convex dev` or \
             `npx convex deploy`?"),
        "{missing}"
    );
    let kind = text("counters:count", json!({}));
    assert!(
        kind.contains(
            "Trying to execute counters.js:count as Mutation, but it is defined as Query."
        ),
        "{kind}"
    );
    let args = block_on(backend.query(&anyone(), "counters:count", json!([1, 2]), None)).unwrap();
    assert!(
        args.result
            .unwrap_err()
            .text
            .contains("Invalid arguments for counters.js:count")
    );
    assert!(block_on(backend.query(&anyone(), ":::", json!({}), None)).is_err());
}

#[test]
fn recent_timestamps_can_be_read_at() {
    let backend = deploy(
        NativeEngine::default()
            .function("counters:increment", FunctionKind::Mutation, increment)
            .function("counters:count", FunctionKind::Query, count),
    );
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(
            block_on(backend.mutation(&anyone(), "counters:increment", json!({})))
                .unwrap()
                .ts,
        );
    }
    for (n, ts) in seen.iter().enumerate() {
        let at =
            block_on(backend.query(&anyone(), "counters:count", json!({}), Some(*ts))).unwrap();
        assert_eq!(at.result.unwrap(), number(n as f64 + 1.0));
    }
    let future = crate::Timestamp(u64::MAX / 2);
    assert!(block_on(backend.query(&anyone(), "counters:count", json!({}), Some(future))).is_err());
}

#[test]
fn a_page_that_fails_keeps_its_end() {
    let fails = Arc::new(AtomicU32::new(0));
    let failing = fails.clone();
    let backend = deploy(
        NativeEngine::default()
            .function(
                "items:add",
                FunctionKind::Mutation,
                |context, _| async move {
                    let insert = json!({"table": "items", "value": {}});
                    context.call("1.0/insert", insert).await
                },
            )
            .function("items:page", FunctionKind::Query, move |context, _| {
                let fails = failing.load(Ordering::Relaxed) > 0;
                async move {
                    if fails {
                        return Err(Failure::new("the engine died"));
                    }
                    let request = json!({"query": scan("items"), "cursor": null, "pageSize": 1});
                    context.call("1.0/queryPage", request).await
                }
            }),
    );
    let context = CallContext::new(
        Identity::Anonymous,
        RequestId::from_bytes([0; 8]),
        Client::Http(None),
    );
    let page_with = |args: Json, journal: Option<String>| {
        let snapshot = backend.database().snapshot();
        let functions = backend.functions();
        block_on(functions.query(&context, "items:page", args, journal, &snapshot)).unwrap()
    };
    let page = |journal| page_with(json!([{}]), journal);
    let add = || block_on(backend.mutation(&anyone(), "items:add", json!([{}]))).unwrap();
    add();
    let first = page(None);
    assert!(first.journal.is_some());
    add();
    fails.store(1, Ordering::Relaxed);
    let failed = page(first.journal.clone());
    assert!(failed.result.is_err());
    assert_eq!(failed.journal, first.journal);
    // Other arguments, since the first page itself is cached, and still holds.
    let other = page_with(json!([{"other": true}]), None);
    assert!(other.result.is_err());
    assert_eq!(other.journal, None, "it never had one");
}

#[test]
fn a_mutation_that_always_loses_gives_up_in_time() {
    let runtime = ThreadRuntime::new();
    runtime.set_speed(1_000);
    let backend: Arc<Mutex<Option<Arc<Backend>>>> = Arc::default();
    let rival = backend.clone();
    let engine = NativeEngine::default()
        .function("counters:increment", FunctionKind::Mutation, increment)
        .function(
            "counters:lose",
            FunctionKind::Mutation,
            move |context: NativeContext, args: Json| {
                let rival = rival.lock().unwrap().clone().unwrap();
                async move {
                    let lost = increment(context, args).await;
                    let caller = anyone();
                    let win = rival.mutation(&caller, "counters:increment", json!({}));
                    // On a thread of its own, since this one is in an executor.
                    let won = thread::scope(|scope| scope.spawn(|| block_on(win)).join());
                    won.unwrap().unwrap().result.unwrap();
                    lost
                }
            },
        );
    let deployed = deploy_on(runtime, engine);
    *backend.lock().unwrap() = Some(deployed.clone());
    let lost = block_on(deployed.mutation(&anyone(), "counters:lose", json!({})));
    let error = lost.unwrap_err();
    assert_eq!(error.code, "OptimisticConcurrencyControlFailure");
    assert!(error.message.contains("counters"), "{error}");
    *backend.lock().unwrap() = None;
}

#[test]
fn results_are_shared_unless_they_depend_on_who_asks() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let who = move |context: NativeContext, args: Json| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match args["asks"].as_bool() {
                Some(true) => context.call("1.0/getUserIdentity", json!({})).await,
                _ => Ok(json!("anyone")),
            }
        }
    };
    let backend = deploy(NativeEngine::default().function("users:who", FunctionKind::Query, who));
    let attributes = UserIdentity::from_json(json!({"tokenIdentifier": "t|someone"})).unwrap();
    let user = Caller {
        identity: Identity::User {
            attributes,
            expires: None,
        },
        ..anyone()
    };
    let ask = |caller: &Caller, asks: bool| {
        let before = runs.load(Ordering::Relaxed);
        let query = backend.query(caller, "users:who", json!({"asks": asks}), None);
        block_on(query).unwrap().result.unwrap();
        runs.load(Ordering::Relaxed) - before
    };
    assert_eq!((ask(&anyone(), false), ask(&user, false)), (1, 0));
    assert_eq!((ask(&anyone(), true), ask(&user, true)), (1, 1));
    assert_eq!((ask(&anyone(), true), ask(&user, true)), (0, 0));
}

#[test]
fn the_cache_forgets_what_was_not_used_for_longest() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let large = move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(json!("x".repeat(15 << 20))) }
    };
    let engine = NativeEngine::default().function("large:text", FunctionKind::Query, large);
    let backend = deploy(engine);
    let ask = |n: u32| {
        let before = runs.load(Ordering::Relaxed);
        let caller = anyone();
        let query = backend.query(&caller, "large:text", json!({"n": n}), None);
        block_on(query).unwrap().result.unwrap();
        runs.load(Ordering::Relaxed) - before
    };
    // There is room for six.
    assert_eq!((0..6).map(ask).sum::<u32>(), 6);
    assert_eq!((0..6).map(ask).sum::<u32>(), 0);
    assert_eq!((ask(0), ask(6), ask(0), ask(1)), (0, 1, 0, 1));
}
