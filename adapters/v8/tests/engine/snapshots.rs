//! Modules that leave behind what cannot be in a snapshot are imported by their calls; the others are not kept from theirs.

use std::thread;
use std::time::Duration;

use concave_core::engine::FunctionKind;

use crate::common::{Options, call, functions, program, run, run_call};
use crate::make;

/// Sources that end a process which makes a snapshot of them, or a context from that.
const HOSTILE: &[&str] = &[
    "const kept = new Intl.NumberFormat('en');",
    "const kept = new Intl.DateTimeFormat('en').format;",
    "Object.freeze(globalThis);",
    "Object.preventExtensions(Error); globalThis.kept = 1;",
    "Error.stackTraceLimit = 3; globalThis.kept = 1;",
    "Object.freeze(Math); Object.freeze(Promise);",
    "Error.prepareStackTrace = (_, sites) => sites; globalThis.kept = new Error('x').stack; delete Error.prepareStackTrace;",
    "const kept = new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));",
    "const kept = { get x() { return 1 } }; globalThis.kept = new Proxy(kept, {});",
    "function* g() { yield 1; yield 2 } globalThis.kept = g(); kept.next();",
    "globalThis.kept = Promise.reject(new Error('x')); kept.catch(() => {});",
    "globalThis.kept = new Uint8Array(1 << 20);",
];

#[test]
fn modules_run_whatever_they_leave_behind() {
    let body = functions(&[("f", "return [typeof globalThis.kept, 1 + 1]")]);
    let sources: Vec<(String, String)> = HOSTILE
        .iter()
        .enumerate()
        .map(|(n, source)| (format!("m{n}.js"), format!("{source}\n{body}")))
        .collect();
    let program = program(&sources);
    for _ in 0..2 {
        for (n, source) in HOSTILE.iter().enumerate() {
            let outcome = run(&program, FunctionKind::Query, &format!("m{n}:f"), "[{}]");
            let result = outcome
                .result
                .unwrap_or_else(|failure| panic!("{source}: {failure}"));
            let expected = match source.contains("globalThis.kept =") {
                true => r#"["object",2]"#,
                false => r#"["undefined",2]"#,
            };
            assert_eq!(result.replace("number", "object"), expected, "{source}");
        }
    }
}

/// What V8 has, but not yet where modules are imported for a snapshot: modules that look for it at their top level, and
/// what that gives.
const LOOKING: &[(&str, &str)] = &[
    ("const kept = typeof WebAssembly;", "object"),
    (
        "const kept = 'WebAssembly' in globalThis ? 'there' : 'missing';",
        "there",
    ),
    ("const kept = typeof Promise.try;", "function"),
    (
        "if (!Uint8Array.fromBase64) Uint8Array.fromBase64 = 'mine'; const kept = typeof Uint8Array.fromBase64;",
        "function",
    ),
    (
        "Object.defineProperty(Math, 'sumPrecise', { value: 'mine' }); const kept = Math.sumPrecise;",
        "mine",
    ),
    (
        "const kept = (() => { try { return Iterator.concat.name } catch { return 'missing' } })();",
        "concat",
    ),
    ("const kept = typeof Intl.DateTimeFormat;", "function"),
];

#[test]
fn modules_find_what_there_is() {
    let body = functions(&[("f", "return kept"), ("g", "return typeof Math.sumPrecise")]);
    let sources: Vec<(String, String)> = LOOKING
        .iter()
        .enumerate()
        .map(|(n, (source, _))| (format!("m{n}.js"), format!("{source}\n{body}")))
        .collect();
    let program = program(&sources);
    for (n, (source, expected)) in LOOKING.iter().enumerate() {
        let outcome = run(&program, FunctionKind::Query, &format!("m{n}:f"), "[{}]");
        assert_eq!(outcome.result.unwrap(), format!("{expected:?}"), "{source}");
    }
    let outcome = run(&program, FunctionKind::Query, "m0:g", "[{}]");
    assert_eq!(outcome.result.unwrap(), r#""function""#);
}

#[test]
fn a_context_made_ahead_is_pristine() {
    let engine = make(Options {
        transaction_slots: 1,
        ..Options::default()
    });
    let body = functions(&[(
        "f",
        "globalThis.mark = (globalThis.mark ?? 0) + 1; count += 1; return [mark, count, Date.now(), Math.random()]",
    )]);
    let source = format!("let count = 0;\n{body}");
    let program = program(&[("a.js", &*source), ("b.js", &*source)]);
    let run = |path: &str, pause| {
        thread::sleep(Duration::from_millis(pause));
        let call = call(&program, FunctionKind::Query, path, "[{}]");
        let outcome = run_call(&*engine, call, |_, _| panic!("no system calls"));
        outcome.result.unwrap()
    };
    let expected = run("a:f", 0);
    assert!(expected.starts_with("[1,1,"), "{expected}");
    // After a pause, a context was made for the module of the call before.
    for (path, pause) in [
        ("a:f", 20),
        ("a:f", 20),
        ("b:f", 20),
        ("a:f", 0),
        ("a:f", 0),
        ("b:f", 20),
        ("b:f", 20),
    ] {
        assert_eq!(run(path, pause), expected);
    }
}
