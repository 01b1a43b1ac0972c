//! Functions of the official package, as bundled by its CLI, and what they may do.

use std::sync::Arc;

use concave_core::engine::{FunctionKind, Observed, Reply, SystemError, SystemResult, Turn};
use futures_executor::block_on;
use serde_json::{Value as Json, json};

use super::common::{Named, bundle, call, engine, eval, functions, program, query, run, run_call};

fn none(op: &str, _: &str) -> SystemResult {
    panic!("unexpected system call {op}")
}

#[test]
fn a_query_returns_its_result() {
    let outcome = run(&bundle(), FunctionKind::Query, "notes:echo", r#"[{"n":2}]"#);
    assert_eq!(outcome.result.unwrap(), r#"{"calls":1,"n":2}"#);
    assert_eq!(outcome.observed, Observed::default());
}

#[test]
fn memory_is_told() {
    let memory = |body: &str| run(&query(body), FunctionKind::Query, "a:f", "[{}]").memory;
    let (little, much) = (
        memory("return 1"),
        memory("globalThis.a = Array.from({ length: 300000 }, (_, i) => ({ i })); return 1"),
    );
    assert!(much > little + (5 << 20), "{little}, {much}");
    let buffers = memory("globalThis.a = new Uint8Array(8 << 20); return 1");
    assert!(buffers > little + (7 << 20), "{little}, {buffers}");
}

#[test]
fn system_calls_are_turns() {
    let mut seen = Vec::new();
    let outcome = run_call(
        &*engine(),
        call(&bundle(), FunctionKind::Mutation, "notes:both", "[{}]"),
        |op, args| {
            seen.push(format!("{op} {args}"));
            Ok(format!(r#"{{"_id":"id{}"}}"#, seen.len()))
        },
    );
    assert_eq!(outcome.result.unwrap(), r#"["id1","id2"]"#);
    assert_eq!(
        seen,
        [
            r#"1.0/insert {"table":"notes","value":{"text":"a"}}"#,
            r#"1.0/insert {"table":"notes","value":{"text":"b"}}"#
        ]
    );
}

#[test]
fn parallel_system_calls_share_a_turn() {
    let mut execution = engine().start(
        call(&bundle(), FunctionKind::Mutation, "notes:both", "[{}]"),
        Arc::new(Named),
    );
    let Turn::Waiting(calls) = block_on(execution.resume(Vec::new())) else {
        panic!("two inserts are under way");
    };
    assert_eq!(calls.iter().map(|call| call.id).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_a_mutation_does_not_await_is_done_too() {
    let mut ops = 0;
    let outcome = run_call(
        &*engine(),
        call(&bundle(), FunctionKind::Mutation, "notes:dangling", "[{}]"),
        |_, _| {
            ops += 1;
            Ok(r#"{"_id":"x"}"#.to_owned())
        },
    );
    assert_eq!((outcome.result.unwrap().as_str(), ops), ("null", 1));
    assert!(outcome.logs.is_empty());
}

#[test]
fn what_an_action_does_not_await_is_warned_about() {
    let program = query(
        "Convex.asyncSyscall('1.0/x', '{}'); Convex.asyncSyscall('1.0/actions/mutation', '{}'); return 1",
    );
    let outcome = run_call(
        &*engine(),
        call(&program, FunctionKind::Action, "a:f", "[{}]"),
        none,
    );
    assert_eq!(outcome.result.unwrap(), "1");
    assert!(
        outcome.logs[0]
            .to_string()
            .starts_with("[WARN] 2 unawaited operation(s): [ctx.runMutation, x].")
    );
}

#[test]
fn database_queries_stream() {
    let mut rows = 0;
    let outcome = run_call(
        &*engine(),
        call(&bundle(), FunctionKind::Query, "notes:list", "[{}]"),
        |op, args| {
            rows += 1;
            assert_eq!(op, "1.0/queryStreamNext");
            assert_eq!(args, r#"{"queryId":1}"#);
            Ok(format!(r#"{{"value":{{"_id":"a"}},"done":{}}}"#, rows == 3))
        },
    );
    assert_eq!(outcome.result.unwrap(), r#"[{"_id":"a"},{"_id":"a"}]"#);
}

#[test]
fn exceptions_have_a_message_and_mapped_frames() {
    let failure = run(&bundle(), FunctionKind::Query, "notes:fails", "[{}]")
        .result
        .unwrap_err();
    assert_eq!(failure.message, "Uncaught TypeError: bad thing");
    let frames: Vec<&str> = failure
        .frames
        .iter()
        .map(|frame| frame.0.as_str())
        .collect();
    assert!(
        frames[0].starts_with("inner (") && frames[0].contains("app/notes.ts:16:"),
        "{frames:?}"
    );
    assert!(
        frames.iter().all(|frame| frame.contains("app/notes.ts")),
        "{frames:?}"
    );
}

#[test]
fn convex_errors_keep_their_data() {
    let failure = run(&bundle(), FunctionKind::Query, "notes:refuses", "[{}]")
        .result
        .unwrap_err();
    assert_eq!(
        failure.data,
        Some(json!({"code": {"$integer": "AwAAAAAAAAA="}, "why": "no"}))
    );
    assert!(
        failure.message.starts_with("Uncaught ConvexError: "),
        "{}",
        failure.message
    );
}

#[test]
fn errors_of_system_calls_can_be_caught_with_their_data() {
    let outcome = run_call(
        &*engine(),
        call(&bundle(), FunctionKind::Mutation, "notes:nested", "[{}]"),
        |_, _| {
            Err(SystemError {
                message: "no!".to_owned(),
                data: Some(json!({"code": 1})),
                fatal: false,
            })
        },
    );
    let result: Json = serde_json::from_str(&outcome.result.unwrap()).unwrap();
    assert_eq!(
        result,
        json!({"isConvexError": true, "data": {"code": 1}, "message": "no!"})
    );
}

#[test]
fn fatal_errors_of_system_calls_cannot_be_caught() {
    let program = query("try { await Convex.asyncSyscall('x', '{}') } catch { return 'caught' }");
    let outcome = run_call(
        &*engine(),
        call(&program, FunctionKind::Query, "a:f", "[{}]"),
        |_, _| {
            Err(SystemError {
                message: "the end".to_owned(),
                data: None,
                fatal: true,
            })
        },
    );
    assert_eq!(outcome.result.unwrap_err().message, "the end");
}

#[test]
fn actions_go_on_with_any_reply() {
    let program = query(
        "const done = []; const one = (op) => Convex.asyncSyscall(op, '{}').then((text) => done.push(text));\
         await Promise.all([one('a'), one('b')]); return done",
    );
    let mut execution = engine().start(
        call(&program, FunctionKind::Action, "a:f", "[{}]"),
        Arc::new(Named),
    );
    let reply = |id, text: &str| {
        vec![Reply {
            id,
            result: Ok(text.to_owned()),
        }]
    };
    let Turn::Waiting(calls) = block_on(execution.resume(Vec::new())) else {
        panic!("two calls are under way")
    };
    assert_eq!(calls.len(), 2);
    let Turn::Waiting(calls) = block_on(execution.resume(reply(2, "second"))) else {
        panic!("one call is under way")
    };
    assert!(calls.is_empty());
    let Turn::Done(outcome) = block_on(execution.resume(reply(1, "first"))) else {
        panic!("nothing is under way")
    };
    assert_eq!(outcome.result.unwrap(), r#"["second","first"]"#);
}

#[test]
fn timers_sleep_by_system_call() {
    let outcome = run_call(
        &*engine(),
        call(&bundle(), FunctionKind::Action, "notes:sleepy", "[{}]"),
        |op, args| {
            assert_eq!((op, args), ("host/sleep", r#"{"ms":5}"#));
            Ok("null".to_owned())
        },
    );
    assert_eq!(outcome.result.unwrap(), r#""awake""#);
}

#[test]
fn the_same_inputs_give_the_same_outcome() {
    let run = || run(&bundle(), FunctionKind::Query, "notes:seeded", "[{}]");
    let first = run();
    let result: Json = serde_json::from_str(first.result.as_ref().unwrap()).unwrap();
    assert_eq!(result[1], json!(1_700_000_000_123u64));
    assert!(first.observed.time && first.observed.random);
    assert_eq!(first.logs.len(), 1);
    for _ in 0..20 {
        let again = run();
        assert_eq!(again.result, first.result);
        assert_eq!(again.observed, first.observed);
        assert_eq!(again.logs[0].messages, first.logs[0].messages);
    }
}

#[test]
fn imports_have_their_own_time_and_randomness() {
    let source = format!(
        "const now = Date.now(), random = Math.random();\n{}",
        functions(&[("f", "return [now, random]"), ("g", "return [now, random]")])
    );
    let program = program(&[("a.js", &source)]);
    let first = run(&program, FunctionKind::Query, "a:f", "[{}]");
    assert_eq!(first.observed, Observed::default());
    let first = first.result.unwrap();
    assert!(first.starts_with("[1600000000000,"), "{first}");
    assert_eq!(
        run(&program, FunctionKind::Query, "a:g", "[{}]")
            .result
            .unwrap(),
        first
    );
}

#[test]
fn importing_must_not_use_the_database() {
    for (source, expected) in [
        (
            "Convex.syscall('1.0/db/normalizeId', '{}')",
            "Uncaught Error: Can't use database at import time",
        ),
        (
            "Convex.asyncSyscall('1.0/insert', '{}')",
            "Uncaught Error: Can't use database at import time",
        ),
        (
            "Convex.asyncSyscall('1.0/runUdf', '{}')",
            "Uncaught Error: runUdf unsupported at import time",
        ),
    ] {
        let program = program(&[("a.js", source)]);
        let failure = run(&program, FunctionKind::Query, "a:f", "[{}]")
            .result
            .unwrap_err();
        assert_eq!(failure.message, expected);
    }
}

#[test]
fn promises_that_never_settle_are_noticed() {
    assert_eq!(
        eval("await new Promise(() => {})").unwrap_err(),
        "Returned promise will never resolve"
    );
}

#[test]
fn unhandled_rejections_fail_the_call() {
    assert_eq!(
        eval("Promise.reject(new Error('lost')); return 1").unwrap_err(),
        "Uncaught Error: lost"
    );
    assert_eq!(
        eval(
            "const p = Promise.reject(new Error('lost')); await null; p.catch(() => {}); return 1"
        )
        .unwrap(),
        "1"
    );
}

#[test]
fn whatever_is_thrown_is_described() {
    for (thrown, expected) in [
        ("'text'", "Uncaught text"),
        ("undefined", "Uncaught undefined"),
        ("{}", "Uncaught #<Object>"),
        ("Object.create(null)", "Uncaught #<Object>"),
        ("Symbol('s')", "Uncaught Symbol(s)"),
        ("new Error()", "Uncaught Error"),
        ("Object.assign(new Error('m'), { name: '' })", "Uncaught m"),
        ("new Proxy({}, { get() { throw 1 } })", "Uncaught #<Object>"),
        (
            "Object.defineProperty(new Error('m'), 'stack', { get() { throw 1 } })",
            "Uncaught Error: m",
        ),
    ] {
        assert_eq!(
            eval(&format!("throw {thrown}")).unwrap_err(),
            expected,
            "{thrown}"
        );
    }
}

#[test]
fn convex_errors_with_bad_data_say_so() {
    let throw = |data: &str| {
        eval(&format!(
            "const s = Symbol.for('ConvexError'); \
             throw Object.assign(new Error('m'), {{ [s]: true, ConvexErrorSymbol: s, data: {data} }})"
        ))
        .unwrap_err()
    };
    assert!(throw("'{'").starts_with("ConvexError with invalid data: "));
    assert!(throw(r#"'{"$bad": 1}'"#).starts_with("ConvexError with invalid data: "));
    assert_eq!(throw("'1'"), "Uncaught Error: m");
}

#[test]
fn long_messages_are_cut() {
    let message = eval("throw new Error('ä'.repeat(100000))").unwrap_err();
    assert!(message.len() <= 64 << 10 && message.len() > 60_000);
}

#[test]
fn top_level_awaits_are_refused() {
    let program = program(&[("a.js", "await new Promise(() => {});")]);
    let failure = run(&program, FunctionKind::Query, "a:f", "[{}]")
        .result
        .unwrap_err();
    assert!(
        failure.message.contains("top-level awaits are unsupported"),
        "{}",
        failure.message
    );
}

#[test]
fn modules_import_each_other_by_relative_urls() {
    let program = program(&[
        (
            "dir/a.js",
            &format!(
                "import {{ x }} from '../_deps/x.js';\n{}",
                functions(&[("f", "return x")])
            ),
        ),
        ("_deps/x.js", "export * from './y.js'"),
        ("_deps/y.js", "export const x = 7"),
    ]);
    assert_eq!(
        run(&program, FunctionKind::Query, "dir/a:f", "[{}]")
            .result
            .unwrap(),
        "7"
    );
}

#[test]
fn missing_modules_are_named() {
    let program = program(&[
        ("a.js", "import './gone.js'"),
        ("b.js", &functions(&[("f", "return 1")])),
    ]);
    let message = run(&program, FunctionKind::Query, "a:f", "[{}]")
        .result
        .unwrap_err()
        .message;
    assert!(
        message.contains("gone.js") && message.contains("npx convex dev"),
        "{message}"
    );
    let message = run(&program, FunctionKind::Query, "c:f", "[{}]")
        .result
        .unwrap_err()
        .message;
    assert!(message.contains("Did you forget to push"), "{message}");
    // Other modules are not affected.
    assert_eq!(
        run(&program, FunctionKind::Query, "b:f", "[{}]")
            .result
            .unwrap(),
        "1"
    );
}

#[test]
fn modules_are_imported_dynamically_by_actions_only() {
    let program = program(&[
        (
            "a.js",
            &functions(&[("f", "return (await import('./b.js')).x")]),
        ),
        ("b.js", "export const x = 8"),
    ]);
    assert_eq!(
        run(&program, FunctionKind::Action, "a:f", "[{}]")
            .result
            .unwrap(),
        "8"
    );
    for kind in [FunctionKind::Query, FunctionKind::Mutation] {
        let message = run(&program, kind, "a:f", "[{}]")
            .result
            .unwrap_err()
            .message;
        assert!(
            message.contains("Dynamic import isn't supported"),
            "{message}"
        );
    }
}

#[test]
fn syntax_errors_are_shown() {
    let program = program(&[("a.js", "export const = 5")]);
    let message = run(&program, FunctionKind::Query, "a:f", "[{}]")
        .result
        .unwrap_err()
        .message;
    assert!(message.starts_with("Uncaught SyntaxError: "), "{message}");
    let program = self::program(&[("a.js", "let a = 1;\0 let b = 2;")]);
    let message = run(&program, FunctionKind::Query, "a:f", "[{}]")
        .result
        .unwrap_err()
        .message;
    assert!(message.starts_with("Uncaught SyntaxError: "), "{message}");
}

#[test]
fn only_registered_functions_of_the_right_kind_are_called() {
    for (path, kind) in [
        ("notes:helper", FunctionKind::Query),
        ("notes:nothing", FunctionKind::Query),
        ("notes:toString", FunctionKind::Query),
        ("notes:add", FunctionKind::Query),
        ("notes:echo", FunctionKind::Action),
    ] {
        let message = run(&bundle(), kind, path, "[{}]")
            .result
            .unwrap_err()
            .message;
        assert!(
            message.starts_with("Uncaught Error: The "),
            "{path}: {message}"
        );
    }
}

#[test]
fn environment_variables_are_read() {
    assert_eq!(
        eval("return [process.env.GREETING, process.env.GONE ?? 'none']").unwrap(),
        r#"["hello","none"]"#
    );
}

#[test]
fn the_package_is_not_in_a_browser_and_natives_are_gone() {
    assert_eq!(
        eval(
            "return ['window', '__host', '__asyncHost', '__syncHost', '__concave', '__web', 'require', 'std', 'os']\
             .filter((name) => name in globalThis)"
        )
        .unwrap(),
        "[]"
    );
}

#[test]
fn http_routes_answer_requests() {
    let request = json!([{"url": "https://x.y/hook?a=1", "method": "POST", "headerPairs": [["a", "b"]], "body": "aGk="}]);
    let outcome = run(
        &bundle(),
        FunctionKind::Action,
        "http:default",
        &request.to_string(),
    );
    let response: Json = serde_json::from_str(&outcome.result.unwrap()).unwrap();
    assert_eq!(response["status"], 201);
    assert_eq!(response["body"], "Z290IGhp");
    assert!(
        response["headerPairs"]
            .as_array()
            .unwrap()
            .contains(&json!(["x-a", "b"]))
    );
}
