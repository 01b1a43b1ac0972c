//! What calls within one transaction share, what is undone with a call that fails, and what each may use.

use super::*;
use crate::transaction::{DOCUMENTS_WRITTEN_MAX, RANGES_READ_MAX};

async fn insert(context: &NativeContext, table: &str, value: Json) -> Result<Json, Failure> {
    let insert = json!({"table": table, "value": value});
    Ok(context.call("1.0/insert", insert).await?["_id"].take())
}

fn times(args: &Json, name: &str) -> u32 {
    args[name].as_f64().unwrap_or_default() as u32
}

/// What `ctx.meta.getTransactionMetrics()` gives.
async fn used(context: &NativeContext) -> Result<Json, Failure> {
    let metrics = context.call("1.0/getTransactionMetrics", json!({})).await?;
    // As doubles, which numbers in results are.
    Ok(crate::Value::from_json(metrics).unwrap().to_json())
}

/// Inserts as many documents as it is told, schedules as many functions, and fails if told so.
async fn work(context: NativeContext, args: Json) -> Result<Json, Failure> {
    for _ in 0..times(&args, "scans") {
        context.collect(scan("docs")).await?;
    }
    for n in 0..times(&args, "inserts") {
        insert(&context, "docs", json!({"n": n, "text": args["text"]})).await?;
    }
    for _ in 0..times(&args, "schedules") {
        let delay = Duration::from_secs(3600);
        context.schedule(delay, "calls:work", json!({})).await?;
    }
    match args["fails"].as_str() {
        Some(text) => Err(Failure::new(text)),
        None => used(&context).await,
    }
}

async fn run(context: &NativeContext, kind: &str, args: Json, more: Json) -> Result<Json, Failure> {
    let name = format!("calls:{}", args["name"].as_str().unwrap_or("work"));
    let mut call = json!({"udfType": kind, "name": name, "args": args});
    let more = more.as_object().unwrap().clone();
    call.as_object_mut().unwrap().extend(more);
    context.call("1.0/runUdf", call).await
}

async fn page(context: &NativeContext, table: &str) -> Result<Json, Failure> {
    let request = json!({"query": scan(table), "cursor": null, "pageSize": 1});
    context.call("1.0/queryPage", request).await
}

fn engine() -> NativeEngine {
    NativeEngine::default()
        .function("calls:work", FunctionKind::Mutation, work)
        .function("calls:look", FunctionKind::Query, work)
        .function("calls:page", FunctionKind::Query, async |context, _| {
            page(&context, "docs").await
        })
        .function(
            "calls:count",
            FunctionKind::Query,
            async |context, args: Json| {
                let count = json!({ "table": args["table"] });
                context.call("1.0/count", count).await
            },
        )
}

/// A backend with `body` as its mutation and query `test`, run once as that.
fn run_once<F, R>(kind: FunctionKind, body: F) -> (Arc<Backend>, Result<crate::Value, String>)
where
    F: Fn(NativeContext, Json) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Json, Failure>> + Send + 'static,
{
    let backend = deploy(engine().function("calls:test", kind, body));
    let result = block_on(backend.function(&anyone(), "calls:test", json!({})))
        .unwrap()
        .result;
    (backend, result.map_err(|failure| failure.text))
}

fn work_with(backend: &Backend, args: Json) -> Json {
    let done = block_on(backend.mutation(&anyone(), "calls:work", args)).unwrap();
    done.result
        .unwrap_or_else(|failure| panic!("{}", failure.text))
        .to_json()
}

#[test]
fn a_loop_ends_though_it_adds_to_what_it_is_over() {
    let (backend, rows) = run_once(FunctionKind::Mutation, async |context, _| {
        insert(&context, "docs", json!({"a": 1.0})).await?;
        let opened = json!({"query": scan("docs"), "version": "1.48.0"});
        let opened = context.call_sync("1.0/queryStream", opened)?;
        insert(&context, "docs", json!({"a": 2.0})).await?;
        let mut rows = Vec::new();
        loop {
            let mut next = context.call("1.0/queryStreamNext", opened.clone()).await?;
            if next["done"] == true {
                return Ok(Json::from(rows));
            }
            rows.push(next["value"]["a"].take());
            insert(&context, "docs", json!({"a": 3.0})).await?;
        }
    });
    assert_eq!(rows.unwrap().to_json(), json!([1.0, 2.0]));
    let count = block_on(backend.query(&anyone(), "calls:count", json!({"table": "docs"}), None));
    assert_eq!(count.unwrap().result.unwrap(), number(4.0));
}

#[test]
fn what_was_undone_does_not_count() {
    let (backend, result) = run_once(FunctionKind::Mutation, async |context, _| {
        insert(&context, "docs", json!({})).await?;
        for _ in 0..5 {
            // Five times as much is more than a transaction may write and schedule.
            let text = "x".repeat(1_000_000);
            let args =
                json!({"inserts": 4, "text": text, "schedules": 300, "scans": 1, "fails": "no"});
            let failed = run(&context, "mutation", args, json!({}))
                .await
                .unwrap_err();
            assert_eq!(failed.message, "no");
        }
        let done = json!({"inserts": 3, "schedules": 2});
        run(&context, "mutation", done, json!({})).await
    });
    let metrics = result.unwrap().to_json();
    let used = |name: &str| metrics[name]["used"].as_f64().unwrap();
    assert_eq!(
        (used("documentsWritten"), used("functionsScheduled")),
        (4.0, 2.0)
    );
    assert!(used("bytesWritten") < 400.0 && used("scheduledFunctionArgsBytes") < 10.0);
    // What was read was read.
    assert_eq!((used("documentsRead"), used("databaseQueries")), (5.0, 5.0));
    let remaining = metrics["documentsWritten"]["remaining"].as_f64();
    assert_eq!(remaining, Some(DOCUMENTS_WRITTEN_MAX as f64 - 4.0));
    let count = block_on(backend.query(&anyone(), "calls:count", json!({"table": "docs"}), None));
    assert_eq!(count.unwrap().result.unwrap(), number(4.0));
}

#[test]
fn a_query_reads_one_page_nested_calls_included() {
    let nested = async |context: &NativeContext| {
        run(context, "query", json!({"name": "page"}), json!({})).await
    };
    let refused = "Only a single paginated query (`.paginate()`) is allowed per query";
    let (_, result) = run_once(FunctionKind::Query, async |context, _| {
        page(&context, "docs").await?;
        page(&context, "docs").await
    });
    assert!(result.unwrap_err().contains(refused));
    let (_, result) = run_once(FunctionKind::Query, move |context, _| async move {
        nested(&context).await?;
        nested(&context).await
    });
    assert!(result.unwrap_err().contains(refused));
    let (_, result) = run_once(FunctionKind::Query, move |context, _| async move {
        page(&context, "docs").await?;
        nested(&context).await
    });
    assert!(result.unwrap_err().contains(refused));
    // A mutation has no journal to keep the ends of pages in, hence as many pages as it likes.
    let (_, result) = run_once(FunctionKind::Mutation, move |context, _| async move {
        page(&context, "docs").await?;
        page(&context, "docs").await?;
        nested(&context).await?;
        nested(&context).await
    });
    result.unwrap();
}

#[test]
fn a_page_of_a_nested_query_keeps_its_end() {
    let backend = deploy(
        engine().function("calls:test", FunctionKind::Query, |context, _| async move {
            run(&context, "query", json!({"name": "page"}), json!({})).await
        }),
    );
    let context = CallContext::new(
        Identity::Anonymous,
        RequestId::from_bytes([0; 8]),
        Client::Http(None),
    );
    let page = |journal: Option<String>| {
        let snapshot = backend.database().snapshot();
        let functions = backend.functions();
        block_on(functions.query(&context, "calls:test", json!([{}]), journal, &snapshot)).unwrap()
    };
    let rows = |live: &Arc<crate::driver::LiveQuery>| {
        let page = live.result.as_ref().unwrap().to_json();
        (
            page["page"].as_array().unwrap().len(),
            page["isDone"].clone(),
        )
    };
    work_with(&backend, json!({"inserts": 1}));
    let first = page(None);
    assert_eq!(rows(&first), (1, json!(false)));
    assert!(first.journal.is_some());
    work_with(&backend, json!({"inserts": 1}));
    assert_eq!(rows(&page(first.journal.clone())), (1, json!(false)));
}

#[test]
fn a_nested_call_keeps_to_the_limits_that_it_is_given() {
    let (backend, result) = run_once(FunctionKind::Mutation, async |context, _| {
        let limits = |limits: Json| json!({ "transactionLimits": limits });
        run(
            &context,
            "mutation",
            json!({"inserts": 10, "scans": 1}),
            json!({}),
        )
        .await?;
        for (args, given, code) in [
            (
                json!({"inserts": 3}),
                json!({"documentsWritten": 2}),
                "documents written",
            ),
            (
                json!({"inserts": 3}),
                json!({"bytesWritten": 200}),
                "bytes written",
            ),
            (
                json!({"scans": 1}),
                json!({"documentsRead": 9}),
                "documents read",
            ),
            (json!({"scans": 1}), json!({"bytesRead": 700}), "bytes read"),
            (
                json!({"scans": 3}),
                json!({"databaseQueries": 2}),
                "index ranges",
            ),
            (
                json!({"schedules": 2}),
                json!({"functionsScheduled": 1}),
                "functions scheduled",
            ),
            (
                json!({"schedules": 2}),
                json!({"scheduledFunctionArgsBytes": 3}),
                "arguments of scheduled functions",
            ),
        ] {
            let failed = run(&context, "mutation", args.clone(), limits(given.clone())).await;
            let failed = failed.unwrap_err();
            assert!(failed.message.contains(code), "{given}: {failed}");
            // Just enough is enough.
            let more = given.as_object().unwrap().iter();
            let more = more.map(|(name, most)| (name.clone(), json!(most.as_f64().unwrap() * 2.0)));
            let more = limits(Json::Object(more.collect()));
            run(&context, "mutation", args, more).await?;
        }
        // The limits are absolute: a call within has no more than its caller.
        let inner = json!({"inserts": 1});
        let metrics = run(
            &context,
            "mutation",
            inner,
            limits(json!({"documentsWritten": 5})),
        )
        .await?;
        assert_eq!(metrics["documentsWritten"]["remaining"], json!(4.0));
        let wide = limits(json!({"documentsWritten": 1e9, "documentsRead": null}));
        let metrics = run(&context, "mutation", json!({}), wide).await?;
        let whole = &metrics["documentsWritten"];
        let sum = whole["used"].as_f64().unwrap() + whole["remaining"].as_f64().unwrap();
        assert_eq!(sum, DOCUMENTS_WRITTEN_MAX as f64);
        assert_eq!(
            used(&context).await?,
            metrics,
            "the caller has its own again"
        );
        for (given, text) in [
            (
                json!({"documentsWriten": 1}),
                "there is no limit `documentsWriten`",
            ),
            (
                json!({"documentsRead": -1}),
                "`documentsRead` must be a number",
            ),
            (
                json!({"documentsRead": "1"}),
                "`documentsRead` must be a number",
            ),
            (json!(5), "expected an object"),
        ] {
            let refused = run(&context, "mutation", json!({}), limits(given))
                .await
                .unwrap_err();
            assert!(refused.message.contains(text), "{refused}");
        }
        Ok(metrics)
    });
    result.unwrap();
    drop(backend);
}

/// Method: a mutation counts a table, changes it, counts again, and while it runs for the first time another one adds
/// to the table. If it depended on its counts it runs again.
#[test]
fn a_query_on_a_stale_snapshot_sees_and_leaves_no_trace() {
    let runs = Arc::new(AtomicU32::new(0));
    let rival: Arc<Mutex<Option<Arc<Backend>>>> = Arc::default();
    let (counted, other) = (runs.clone(), rival.clone());
    let test = move |context: NativeContext, args: Json| {
        let is_first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        let other = other.lock().unwrap().clone().unwrap();
        async move {
            let kind = args["kind"].as_str().unwrap();
            let count = json!({"name": "count", "table": "things"});
            let before = run(&context, kind, count.clone(), json!({})).await?;
            insert(&context, "things", json!({})).await?;
            let after = run(&context, kind, count, json!({})).await?;
            let looked = json!({"name": "look", "scans": 1});
            let metrics = run(&context, kind, looked, json!({})).await?;
            let own = used(&context).await?;
            assert_eq!(own, metrics, "what is read aside is paid for");
            if is_first {
                let caller = anyone();
                let add = other.mutation(&caller, "calls:add", json!({}));
                // On a thread of its own, since this one is in an executor.
                let added = thread::scope(|scope| scope.spawn(|| block_on(add)).join());
                added.unwrap().unwrap().result.unwrap();
            }
            Ok(json!([before, after]))
        }
    };
    let add = async |context: NativeContext, _: Json| {
        insert(&context, "docs", json!({})).await?;
        insert(&context, "things", json!({})).await
    };
    let engine = engine()
        .function("calls:test", FunctionKind::Mutation, test)
        .function("calls:add", FunctionKind::Mutation, add);
    for (kind, expected, runs_expected) in [
        ("snapshotQuery", json!([1.0, 1.0]), 1),
        ("query", json!([2.0, 3.0]), 2),
    ] {
        let backend = deploy(engine.clone());
        block_on(backend.mutation(&anyone(), "calls:add", json!({}))).unwrap();
        *rival.lock().unwrap() = Some(backend.clone());
        runs.store(0, Ordering::Relaxed);
        let args = json!({ "kind": kind });
        let done = block_on(backend.mutation(&anyone(), "calls:test", args)).unwrap();
        assert_eq!(done.result.unwrap().to_json(), expected, "{kind}");
        assert_eq!(runs.load(Ordering::Relaxed), runs_expected, "{kind}");
        *rival.lock().unwrap() = None;
    }
    let (_, refused) = run_once(FunctionKind::Query, async |context, _| {
        run(
            &context,
            "snapshotQuery",
            json!({"name": "page"}),
            json!({}),
        )
        .await
    });
    assert!(refused.unwrap_err().contains("only supported in mutations"));
}

#[test]
fn documents_are_counted_own_writes_included() {
    let (backend, counts) = run_once(FunctionKind::Mutation, async |context, _| {
        let count = async |table: &str| context.call("1.0/count", json!({ "table": table })).await;
        let mut counts = vec![count("docs").await?];
        let id = insert(&context, "docs", json!({})).await?;
        for _ in 0..600 {
            insert(&context, "docs", json!({})).await?;
        }
        counts.push(count("docs").await?);
        context.call("1.0/remove", json!({ "id": id })).await?;
        counts.push(count("docs").await?);
        counts.push(count("_tables").await?);
        counts.push(count("_scheduled_functions").await?);
        assert!(count("no table").await.is_err());
        let total = used(&context).await?;
        assert_eq!(
            total["documentsRead"]["used"],
            json!(1.0),
            "only the one to be deleted"
        );
        Ok(Json::from(counts))
    });
    assert_eq!(
        counts.unwrap().to_json(),
        json!([0.0, 601.0, 600.0, 0.0, 0.0])
    );
    let count = || {
        let caller = anyone();
        let count = backend.query(&caller, "calls:count", json!({"table": "docs"}), None);
        block_on(count).unwrap().result.unwrap()
    };
    assert_eq!(count(), number(600.0));
    work_with(&backend, json!({"inserts": 1}));
    assert_eq!(count(), number(601.0));
}

#[test]
fn who_comes_near_a_limit_is_warned() {
    let backend = deploy(engine().function(
        "calls:gets",
        FunctionKind::Query,
        |context: NativeContext, args: Json| async move {
            for _ in 0..times(&args, "gets") {
                context.call_sync("1.0/queryStream", json!({ "query": scan("docs") }))?;
            }
            Ok(Json::Null)
        },
    ));
    let warnings = |path: &str, args: Json| -> Vec<String> {
        let done = block_on(backend.function(&anyone(), path, args)).unwrap();
        let lines = done.log_lines.iter();
        lines.map(ToString::to_string).collect()
    };
    assert_eq!(warnings("calls:gets", json!({"gets": 3071})), [""; 0]);
    let [warning] = &warnings("calls:gets", json!({"gets": 3072}))[..] else {
        panic!("one warning");
    };
    let expected = format!("(actual: 3072, limit: {RANGES_READ_MAX}).");
    assert!(
        warning.starts_with("[WARN] Many index ranges read"),
        "{warning}"
    );
    assert!(warning.contains(&expected), "{warning}");
    let large = |inserts: u32| json!({"inserts": inserts, "text": "x".repeat(900_000)});
    let [largest] = &warnings("calls:work", large(14))[..] else {
        panic!("one warning");
    };
    assert!(
        largest.starts_with("[WARN] Large document written with ID"),
        "{largest}"
    );
    let [bytes, _] = &warnings("calls:work", large(15))[..] else {
        panic!("two warnings");
    };
    assert!(bytes.starts_with("[WARN] Many bytes written"), "{bytes}");
}

/// The places of a mutation where its commit's timestamp may be, and those where it may not.
#[test]
fn a_commit_timestamp_is_resolved_by_the_commit() {
    let commit_ts = || json!({"$commitTs": null});
    let engine = engine()
        .function(
            "calls:test",
            FunctionKind::Mutation,
            move |context: NativeContext, args: Json| async move {
                let id = insert(
                    &context,
                    "docs",
                    json!({"ts": commit_ts(), "list": [commit_ts()]}),
                )
                .await?;
                let get = json!({"id": id, "isSystem": false});
                assert_eq!(context.call("1.0/get", get).await?["ts"], commit_ts());
                let patched = json!({"id": id, "value": {"also": commit_ts()}});
                context.call("1.0/shallowMerge", patched).await?;
                let echo = json!({"name": "echo", "value": commit_ts()});
                assert_eq!(
                    run(&context, "query", echo, json!({})).await?["value"],
                    commit_ts()
                );
                let time = context.now().as_millis_f64() / 1e3;
                let job = json!({"name": "calls:work", "ts": time, "args": {"ts": commit_ts()}});
                let refused = context.call("1.0/schedule", job).await.unwrap_err();
                assert!(
                    refused.message.contains("unresolved placeholder"),
                    "{refused}"
                );
                if args["fails"] == true {
                    return Err(Failure::new("on purpose"));
                }
                Ok(json!({"ts": commit_ts()}))
            },
        )
        .function("calls:echo", FunctionKind::Query, async |_, args| Ok(args))
        .function("calls:make", FunctionKind::Query, move |_, _| async move {
            Ok(commit_ts())
        })
        .function("calls:act", FunctionKind::Action, move |_, _| async move {
            Ok(commit_ts())
        })
        .function("calls:all", FunctionKind::Query, async |context, _| {
            context.collect(scan("docs")).await.map(Json::from)
        });
    let backend = deploy(engine);
    let context = CallContext::new(
        Identity::Anonymous,
        RequestId::from_bytes([0; 8]),
        Client::Http(None),
    );
    let mut expected = Vec::new();
    for request in 0..3 {
        let key = MutationKey {
            session_id: "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91".into(),
            request,
        };
        let call = || {
            let functions = backend.functions();
            block_on(functions.mutation(&context, "calls:test", json!([{}]), Some(&key))).unwrap()
        };
        let (done, again) = (call(), call());
        let ts = crate::Value::Int64(i64::try_from(done.ts.0).unwrap());
        let result = done.result.unwrap();
        assert_eq!(result.as_object().unwrap().get("ts"), Some(&ts));
        assert_eq!(again.result.unwrap(), result, "the record has it, too");
        expected.push(ts.to_json());
    }
    let all = block_on(backend.query(&anyone(), "calls:all", json!({}), None)).unwrap();
    let all = all.result.unwrap().to_json();
    for (row, ts) in all.as_array().unwrap().iter().zip(&expected) {
        assert_eq!((&row["ts"], &row["list"][0], &row["also"]), (ts, ts, ts));
    }
    assert_eq!(all.as_array().unwrap().len(), expected.len());
    for (path, text) in [
        (
            "calls:make",
            "queries cannot return an unresolved placeholder value",
        ),
        (
            "calls:act",
            "only mutations can return an unresolved placeholder value",
        ),
    ] {
        let done = block_on(backend.function(&anyone(), path, json!({}))).unwrap();
        let failure = done.result.unwrap_err();
        assert!(failure.text.contains(text), "{}", failure.text);
    }
    let sent = block_on(backend.query(&anyone(), "calls:echo", json!({"ts": commit_ts()}), None));
    assert!(sent.unwrap().result.unwrap_err().text.contains("reserved"));
}

#[test]
fn functions_know_where_their_request_comes_from() {
    use crate::driver::RequestSource;
    let metadata = async |context: NativeContext, _: Json| {
        context.call("1.0/getRequestMetadata", json!({})).await
    };
    let backend = deploy(
        engine()
            .function("calls:request", FunctionKind::Mutation, metadata)
            .function("calls:query", FunctionKind::Query, metadata)
            .function("calls:act", FunctionKind::Action, async |context, _| {
                let call = json!({"name": "calls:request", "args": {}});
                context.call("1.0/actions/mutation", call).await
            })
            .function("calls:test", FunctionKind::Mutation, async |context, _| {
                run(&context, "mutation", json!({"name": "request"}), json!({})).await
            }),
    );
    let source = RequestSource::new(
        Some("10.0.0.7".into()),
        false,
        Some("1.2.3.4"),
        Some("tests"),
    );
    let caller = Caller {
        source: Arc::new(source),
        ..anyone()
    };
    for path in ["calls:request", "calls:act", "calls:test"] {
        let done = block_on(backend.function(&caller, path, json!({}))).unwrap();
        assert_eq!(
            done.result
                .unwrap_or_else(|failure| panic!("{}", failure.text))
                .to_json(),
            json!({
                "ip": "10.0.0.7", "userAgent": "tests", "requestId": caller.request_id.to_string(),
                "scheduledFunctionId": null, "authToken": null,
            }),
            "{path}"
        );
    }
    let query = block_on(backend.function(&caller, "calls:query", json!({}))).unwrap();
    let text = query.result.unwrap_err().text;
    assert!(text.contains("It is not available in queries"), "{text}");
    // Only a proxy on this machine is believed, and of what it says the end, which it saw itself.
    let ip = |is_local, forwarded| {
        RequestSource::new(Some("127.0.0.1".into()), is_local, forwarded, None)
            .ip
            .unwrap()
    };
    assert_eq!(ip(true, None), "127.0.0.1");
    assert_eq!(ip(true, Some("6.6.6.6, 1.2.3.4")), "1.2.3.4");
    assert_eq!(ip(true, Some(" ")), "127.0.0.1");
    assert_eq!(ip(false, Some("1.2.3.4")), "127.0.0.1");
}
