//! What stays in memory and in storage after a call, and for how long.

use super::*;
use crate::ErrorClass;
use crate::driver::receipts;
use crate::engine::Cause;
use crate::limits::Limits;

const ROOM: usize = 1 << 20;

async fn echo(_: NativeContext, args: Json) -> Result<Json, Failure> {
    Ok(args["value"].clone())
}

/// Writes something, and returns its argument.
async fn write(context: NativeContext, args: Json) -> Result<Json, Failure> {
    let document = json!({"table": "things", "value": {}});
    context.call("1.0/insert", document).await?;
    context.log(args["log"].as_str().unwrap_or_default());
    match args["text"].as_str() {
        Some(text) => Ok(serde_json::from_str(text).unwrap()),
        None => Ok(args["value"].clone()),
    }
}

fn deploy_within(limits: Limits) -> Arc<Backend> {
    let runtime = ThreadRuntime::new();
    let engine = NativeEngine::default()
        .function("things:echo", FunctionKind::Query, echo)
        .function(
            "things:read",
            FunctionKind::Query,
            |context, args: Json| async move {
                context.log(args["log"].as_str().unwrap_or_default());
                context.collect(scan("things")).await?;
                match args["fail"].as_str() {
                    Some(text) => Err(Failure {
                        data: Some(json!(text)),
                        ..Failure::new("Uncaught ConvexError: no")
                    }),
                    None => Ok(Json::Null),
                }
            },
        )
        .function("things:write", FunctionKind::Mutation, write)
        .function("things:look", FunctionKind::Mutation, echo);
    deploy_with(runtime, engine, limits)
}

fn small() -> Limits {
    Limits {
        result_cache: ROOM,
        ..Limits::default()
    }
}

fn kilobytes(n: usize) -> String {
    "x".repeat(n << 10)
}

#[test]
fn whatever_is_kept_of_a_result_counts() {
    let context = CallContext::new(
        Identity::Anonymous,
        RequestId::from_bytes([0; 8]),
        Client::Http(None),
    );
    let ask = |backend: &Backend, n: usize, path: &str, mut args: Json, journal| {
        args["n"] = json!(n);
        let snapshot = backend.database().snapshot();
        let functions = backend.functions();
        let query = functions.query(&context, path, json!([args]), journal, &snapshot);
        let query = block_on(query).unwrap();
        functions.outcome(&query, false);
        functions.outcome(&query, true);
        let kept = backend.in_memory();
        assert!(kept.result_bytes <= ROOM, "{kept:?}");
        kept
    };
    let text = kilobytes(20);
    let cases: [(&str, Json, Option<String>); 5] = [
        ("things:echo", json!({"value": text}), None),
        ("things:read", json!({"args": text}), None),
        ("things:read", json!({"log": text}), None),
        ("things:read", json!({"fail": text}), None),
        ("things:read", json!({}), Some(text.clone())),
    ];
    for (path, args, journal) in cases {
        let backend = deploy_within(small());
        let first = ask(&backend, 0, path, args.clone(), journal.clone());
        let bytes = first.result_bytes;
        assert!(bytes >= 20 << 10, "{path} {args:.40} counts {bytes} bytes");
        for n in 1..80 {
            ask(&backend, n, path, args.clone(), journal.clone());
        }
        let kept = backend.in_memory().results;
        assert!((3..=51).contains(&kept), "{kept} results are kept");
    }
    // Many that are small.
    let backend = deploy_within(small());
    for n in 0..5_000 {
        let args = json!({"value": [[], [], []]});
        ask(&backend, n, "things:echo", args, None);
    }
    let kept = backend.in_memory();
    assert!((100..2_500).contains(&kept.results), "{kept:?}");
}

#[test]
fn a_result_has_at_most_a_quarter_of_the_room() {
    let backend = deploy_within(small());
    let results = |kilo| {
        let args = json!([{"value": kilobytes(kilo), "n": kilo}]);
        block_on(backend.query(&anyone(), "things:echo", args, None)).unwrap();
        backend.in_memory().results
    };
    // It counts twice: it is an argument, too.
    assert_eq!(results(120), 1);
    assert_eq!(results(128), 1, "no room is made for what is too large");
}

#[test]
fn what_is_not_there_is_not_kept() {
    let backend = deploy_within(small());
    for n in 0..100 {
        let path = format!("missing:f{n}");
        let asked = block_on(backend.query(&anyone(), &path, json!([{}]), None)).unwrap();
        assert!(asked.result.unwrap_err().text.contains("Could not find"));
        let path = format!("_system/frontend/f{n}");
        block_on(backend.query(&anyone(), &path, json!([{}]), None)).unwrap();
    }
    assert_eq!(backend.in_memory().results, 0);
    let journal = "j".repeat(Limits::default().journal + 1);
    let context = CallContext::new(
        Identity::Anonymous,
        RequestId::from_bytes([0; 8]),
        Client::Http(None),
    );
    let asked = |journal: &str| {
        let (snapshot, journal) = (backend.database().snapshot(), Some(journal.to_owned()));
        let functions = backend.functions();
        let query = functions.query(&context, "things:read", json!([{}]), journal, &snapshot);
        block_on(query).unwrap().result.clone()
    };
    let refused = asked(&journal).unwrap_err();
    assert!(
        refused.message.contains("the limit is 2097152"),
        "{refused}"
    );
    asked(&journal[1..]).unwrap();
}

#[test]
fn results_that_nobody_asks_for_go() {
    let backend = deploy_within(Limits {
        result_cache_idle: Duration::from_millis(300),
        ..Limits::default()
    });
    let ask = |n: usize| {
        let args = json!([{"value": n}]);
        block_on(backend.query(&anyone(), "things:echo", args, None)).unwrap();
    };
    ask(1);
    ask(2);
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(100));
        ask(2);
    }
    backend.functions().expire_results();
    assert_eq!(backend.in_memory().results, 1, "one is still asked for");
    thread::sleep(Duration::from_millis(310));
    backend.functions().expire_results();
    let kept = backend.in_memory();
    assert_eq!((kept.results, kept.result_bytes), (0, 0));
    // What does not hold any more goes at once.
    let read = || block_on(backend.query(&anyone(), "things:read", json!([{}]), None)).unwrap();
    read();
    block_on(backend.mutation(&anyone(), "things:write", json!([{}]))).unwrap();
    backend.functions().expire_results();
    assert_eq!(backend.in_memory().results, 0);
}

/// What fails for want of memory or time is not what the function gives.
#[test]
fn failures_of_the_day_are_not_kept() {
    let runs = Arc::new(AtomicU32::new(0));
    let fail_first = |cause: Cause| {
        let runs = runs.clone();
        move |_: NativeContext, _: Json| {
            let is_first = runs.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                match is_first {
                    true => Err(Failure {
                        cause,
                        ..Failure::new("out of it")
                    }),
                    false => Ok(json!("well")),
                }
            }
        }
    };
    let engine = NativeEngine::default()
        .function("a:server", FunctionKind::Query, fail_first(Cause::Server))
        .function("a:time", FunctionKind::Query, fail_first(Cause::Time))
        .function("a:code", FunctionKind::Query, fail_first(Cause::Code))
        .function("a:write", FunctionKind::Mutation, fail_first(Cause::Server))
        .function("a:act", FunctionKind::Action, fail_first(Cause::Server));
    let backend = deploy(engine);
    let query = |path| block_on(backend.query(&anyone(), path, json!([{}]), None));
    let well = Ok(crate::Value::from("well"));

    let error = query("a:server").unwrap_err();
    let is_transient = |error: crate::Error| {
        assert_eq!(error.class, ErrorClass::Overloaded);
        assert_eq!(
            (&*error.code, &*error.message),
            ("ExecuteFullError", "out of it")
        );
    };
    is_transient(error);
    assert_eq!(query("a:server").unwrap().result.map_err(|f| f.text), well);

    runs.store(0, Ordering::Relaxed);
    let told = query("a:time").unwrap().result.unwrap_err();
    assert!(
        told.text.contains("out of it"),
        "an endless loop is the function's own"
    );
    assert_eq!(query("a:time").unwrap().result.map_err(|f| f.text), well);

    runs.store(0, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(
            query("a:code").unwrap().result.is_err(),
            "it fails in the same way"
        );
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);

    runs.store(0, Ordering::Relaxed);
    let mutate = || block_on(backend.mutation(&anyone(), "a:write", json!([{}])));
    is_transient(mutate().unwrap_err());
    assert_eq!(mutate().unwrap().result.map_err(|f| f.text), well);

    runs.store(0, Ordering::Relaxed);
    let act = || block_on(backend.action(&anyone(), "a:act", json!([{}])));
    is_transient(act().unwrap_err());
    assert_eq!(act().unwrap().result.map_err(|f| f.text), well);
}

struct Requests {
    backend: Arc<Backend>,
    context: CallContext,
}

impl Requests {
    fn new(limits: Limits) -> Self {
        Self {
            backend: deploy_within(limits),
            context: CallContext::new(
                Identity::Anonymous,
                RequestId::from_bytes([0; 8]),
                Client::Http(None),
            ),
        }
    }

    fn send(&self, request: u32, path: &str, args: Json) -> crate::driver::MutationResult {
        let key = MutationKey {
            session_id: "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91".into(),
            request,
        };
        let functions = self.backend.functions();
        block_on(functions.mutation(&self.context, path, json!([args]), Some(&key))).unwrap()
    }

    /// How many records there are.
    fn records(&self) -> usize {
        let db = self.backend.database();
        let mut tx = db.begin();
        let rows = db.list_system(&mut tx, receipts::RECORDS, "by_id", &[]);
        block_on(rows).unwrap().len()
    }
}

#[test]
fn every_result_can_be_given_again() {
    let requests = Requests::new(Limits::default());
    let deepest = (1..crate::value::MAX_NESTING).fold(json!([]), |inner, _| json!([inner]));
    let shapes = [
        deepest,
        json!(null),
        json!({"$integer": "KgAAAAAAAAA="}),
        json!("text"),
        json!({"a": {"b": [1.5, "-0"]}}),
    ];
    for (request, value) in (0..).zip(shapes) {
        // Arguments would be deeper than what they hold.
        let args = json!({"text": value.to_string()});
        let first = requests.send(request, "things:write", args.clone());
        let again = requests.send(request, "things:write", args);
        let given = crate::Value::from_json(value).unwrap();
        assert_eq!(first.result, Ok(given));
        assert_eq!((again.result, again.ts), (first.result, first.ts));
    }
}

#[test]
fn large_results_are_given_again_up_to_the_limit() {
    let requests = Requests::new(Limits {
        receipt_result: 1000,
        ..Limits::default()
    });
    // As JSON it has two bytes more.
    let send = |request, bytes: usize, log: &str| {
        let args = json!({"value": "r".repeat(bytes - 2), "log": log});
        let first = requests.send(request, "things:write", args.clone());
        let again = requests.send(request, "things:write", args);
        assert_eq!(again.ts, first.ts, "it has not run again");
        (first.result, again)
    };
    let (first, again) = send(1, 900, &"l".repeat(94));
    assert_eq!(again.result, first);
    assert_eq!(again.logs.len(), 1, "[LOG] and the line are 100 bytes");
    let (first, again) = send(2, 1000, "x");
    assert_eq!(again.result, first);
    assert!(again.logs.is_empty());
    let (first, again) = send(3, 1001, "");
    assert!(first.is_ok());
    let told = again.result.unwrap_err().message;
    assert!(
        told.contains("has committed") && told.contains("1001 bytes"),
        "{told}"
    );
}

#[test]
fn records_go_when_nobody_sends_the_requests_again() {
    let requests = Requests::new(Limits::default());
    let send = |request| requests.send(request, "things:write", json!({"value": request}));
    for request in 0..300 {
        send(request);
    }
    // What has written nothing leaves no record.
    requests.send(1000, "things:look", json!({"value": 1}));
    assert_eq!(requests.records(), 300);
    thread::sleep(Duration::from_millis(400));
    let first = send(300);
    let db = requests.backend.database();
    let round = |time| block_on(receipts::round(db, time)).unwrap();
    round(Duration::from_secs(14 * 24 * 3600));
    assert_eq!(requests.records(), 301, "none is old");
    round(Duration::from_millis(300));
    assert_eq!(requests.records(), 1, "all but the last are old");
    let again = send(300);
    assert_eq!((again.result, again.ts), (first.result, first.ts));
    // It goes on where it was, and what is sent again after all that time runs again.
    thread::sleep(Duration::from_millis(10));
    assert!(send(5).ts > first.ts);
    thread::sleep(Duration::from_millis(10));
    round(Duration::ZERO);
    assert_eq!(requests.records(), 0);
    let things = block_on(
        requests
            .backend
            .query(&anyone(), "things:read", json!([{}]), None),
    );
    assert!(things.unwrap().result.is_ok(), "nothing else went");
}
