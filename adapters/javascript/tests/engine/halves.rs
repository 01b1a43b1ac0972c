//! Strings with half of a surrogate pair, wherever they leave JavaScript: text that people read gets U+FFFD for each
//! half, data with halves is refused, and nothing else comes of it.

use concave_core::engine::{FunctionKind, SystemResult};
use serde_json::{Value as Json, json};

use super::common::{bundle, call, engine, functions, program, query, run, run_call};

/// Half of a thumb.
const HALF: &str = "const half = '👍'.slice(0, 1);";

fn query_of(body: &str) -> concave_core::engine::Outcome {
    run(
        &query(&format!("{HALF} {body}")),
        FunctionKind::Query,
        "a:f",
        "[{}]",
    )
}

#[test]
fn failures_have_their_own_message() {
    for (body, expected) in [
        ("throw new Error(half)", "Uncaught Error: \u{fffd}"),
        (
            "throw new Error('a' + half + 'b👍')",
            "Uncaught Error: a\u{fffd}b👍",
        ),
        ("throw half", "Uncaught \u{fffd}"),
        ("throw Symbol(half)", "Uncaught Symbol(\u{fffd})"),
        (
            "throw Object.assign(new Error('m'), { name: half })",
            "Uncaught \u{fffd}: m",
        ),
        (
            "throw new (Object.defineProperty(class extends Error {}, 'name', { value: half }))('m')",
            "Uncaught Error: m",
        ),
        (
            "throw Object.assign(new Error('m'), { stack: half })",
            "Uncaught Error: m",
        ),
        (
            "throw Object.assign(new Error('m'), { cause: half })",
            "Uncaught Error: m",
        ),
        (
            "throw { constructor: { name: half } }",
            "Uncaught #<\u{fffd}>",
        ),
        (
            "Promise.reject(new Error(half)); return 1",
            "Uncaught Error: \u{fffd}",
        ),
        (
            "null[half]",
            "Uncaught TypeError: Cannot read properties of null (reading '\u{fffd}')",
        ),
        (
            "globalThis[half]()",
            "Uncaught TypeError: globalThis[half] is not a function",
        ),
    ] {
        assert_eq!(
            query_of(body).result.unwrap_err().message,
            expected,
            "{body}"
        );
    }
    let outcome = query_of("const f = { [half]: () => { throw new Error('m') } }; f[half]()");
    assert!(outcome.result.unwrap_err().frames[0].0.contains('\u{fffd}'));
}

#[test]
fn data_of_convex_errors_is_kept() {
    let outcome = query_of(
        "const s = Symbol.for('ConvexError'); \
         throw Object.assign(new Error(half), { [s]: true, ConvexErrorSymbol: s, data: JSON.stringify({ why: half, n: 1 }) })",
    );
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.message, "Uncaught Error: \u{fffd}");
    assert_eq!(failure.data, Some(json!({ "why": "\u{fffd}", "n": 1 })));
}

#[test]
fn log_lines_are_printed() {
    let outcome = query_of(
        "console.log(half, { [half]: half }); console.time(half); console.timeEnd(half); console.timeEnd(half); \
         console.error(new Error(half)); console.warn(Symbol(half)); console.trace(half); return null",
    );
    assert_eq!(outcome.result.unwrap(), "null");
    let lines: Vec<String> = outcome.logs.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 6);
    for line in lines {
        assert!(line.contains('\u{fffd}'), "{line}");
        assert!(!line.contains("\u{fffd}\u{fffd}"), "{line}");
    }
}

#[test]
fn data_is_refused() {
    for body in [
        "return half",
        "return { [half]: 1 }",
        "return [{ a: 'x' + half }]",
    ] {
        let message = query_of(body).result.unwrap_err().message;
        assert!(
            message.starts_with("Function a.js:f return value invalid: ")
                && message.contains("toWellFormed()"),
            "{message}"
        );
    }
    for body in [
        "await Convex.asyncSyscall('1.0/insert', JSON.stringify({ a: half }))",
        "Convex.syscall('1.0/queryStream', JSON.stringify({ a: half }))",
    ] {
        let caught = format!("try {{ {body} }} catch (error) {{ return `${{error}}` }}");
        let message = query_of(&caught).result.unwrap();
        assert!(
            message.starts_with("\"TypeError: Invalid arguments of ")
                && message.contains("toWellFormed()"),
            "{message}"
        );
        let failure = query_of(body).result.unwrap_err();
        assert!(
            failure
                .message
                .starts_with("Uncaught TypeError: Invalid arguments of ")
        );
        assert!(!failure.frames.is_empty());
    }
    // Pairs are no halves.
    assert_eq!(query_of("return '👍'").result.unwrap(), "\"👍\"");
}

#[test]
fn the_package_refuses_names_with_its_own_words() {
    let outcome = run_call(
        &*engine(),
        call(
            &bundle(),
            FunctionKind::Query,
            "notes:echo",
            r#"[{"n":"👍"}]"#,
        ),
        |op, _| panic!("unexpected system call {op}"),
    );
    assert_eq!(
        serde_json::from_str::<Json>(&outcome.result.unwrap()).unwrap()["n"],
        "👍"
    );
}

#[test]
fn the_platform_takes_or_refuses_them() {
    let mut answer = |op: &str, args: &str| -> SystemResult {
        assert_eq!(op, "host/fetch");
        Ok(json!({ "status": 200, "statusText": "", "headers": [["x", "y"]], "body": "", "url": "", "args": args })
            .to_string())
    };
    for (code, expected) in [
        ("(await fetch('http://here/' + half)).status", json!(200)),
        (
            "(await fetch('http://here/', { method: 'POST', body: half })).status",
            json!(200),
        ),
        (
            "fetch('http://here/', { headers: { a: half } })",
            json!("TypeError"),
        ),
        (
            "fetch('http://here/', { method: half })",
            json!("TypeError"),
        ),
        ("fetch(half)", json!("TypeError")),
        (
            "new URL('http://here/' + half).href",
            json!("http://here/%EF%BF%BD"),
        ),
        (
            "new URLSearchParams({ [half]: half }).toString()",
            json!("%EF%BF%BD=%EF%BF%BD"),
        ),
        (
            "[...new TextEncoder().encode(half)].join()",
            json!("239,191,189"),
        ),
        ("btoa(half)", json!("InvalidCharacterError")),
        ("new Headers({ a: half })", json!("TypeError")),
        ("await new Response(half).text()", json!("\u{fffd}")),
        ("await new Blob([half]).text()", json!("\u{fffd}")),
        ("process.env[half] ?? null", json!(null)),
        ("half in process.env", json!(false)),
        ("structuredClone(half) === half", json!(true)),
        ("import('./' + half)", json!("Error")),
        (
            "new DOMException(half).message.toWellFormed()",
            json!("\u{fffd}"),
        ),
        (
            "new AsyncLocalStorage({ name: half }).name.toWellFormed()",
            json!("\u{fffd}"),
        ),
        (
            "performance.mark(half).name.toWellFormed()",
            json!("\u{fffd}"),
        ),
        (
            "crypto.subtle.importKey(half, new Uint8Array(1), 'AES-GCM', false, [])",
            json!("NotSupportedError"),
        ),
        (
            "crypto.subtle.digest(half, new Uint8Array(1))",
            json!("NotSupportedError"),
        ),
    ] {
        let source = functions(&[(
            "f",
            &format!(
                "{HALF} try {{ return await ({code}) }} catch (error) {{ return error.name }}"
            ),
        )]);
        let program = program(&[("a.js", &source)]);
        let outcome = run_call(
            &*engine(),
            call(&program, FunctionKind::Action, "a:f", "[{}]"),
            &mut answer,
        );
        let result: Json = serde_json::from_str(&outcome.result.unwrap()).unwrap();
        assert_eq!(result, expected, "{code}");
    }
}

#[test]
fn modules_are_pushed_or_refused() {
    let message = |source: &str| {
        let program = program(&[("a.js", source)]);
        run(&program, FunctionKind::Query, "a:f", "[{}]")
            .result
            .unwrap_err()
            .message
    };
    assert_eq!(
        message("throw new Error('👍'.slice(0, 1))"),
        "Uncaught Error: \u{fffd}"
    );
}
