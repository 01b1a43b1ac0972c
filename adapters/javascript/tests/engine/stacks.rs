//! Stacks and messages of errors, as V8 has them.

use std::sync::Arc;

use concave_core::engine::{Failure, FunctionKind, Program, SystemError};

use super::common::{bundle, call, engine, mapped, run, run_call};

fn fails(program: &Arc<Program>, export: &str) -> Failure {
    run(program, FunctionKind::Query, &format!("a:{export}"), "[{}]")
        .result
        .unwrap_err()
}

fn frames(failure: &Failure) -> Vec<&str> {
    failure
        .frames
        .iter()
        .map(|frame| frame.0.as_str())
        .collect()
}

/// Frames without the classes that V8 names before methods, which not every engine knows.
fn frames_of_methods(failure: &Failure) -> Vec<String> {
    let bare = |frame: &str| frame.replace("Object.", "").replace("K.", "");
    failure.frames.iter().map(|frame| bare(&frame.0)).collect()
}

const CALLERS: &str = r#"import { query } from "./_deps/x.js";
class Refusal extends Error {}
async function leaf() {
  await null;
  throw new Refusal("deep");
}
const middle = async () => {
  const x = 1 + await leaf();
};
export const awaited = query(async function handler() {
  await middle();
});
export const all = query(async function handler() {
  return await Promise.all([1, leaf()]);
});
export const chained = query(async function handler() {
  await Promise.resolve().then(() => {
    throw new Error("then");
  });
});
export const loop = query(async function handler() {
  async function* rows() {
    yield 1;
    await leaf();
  }
  for await (const row of rows()) await row;
});
class K {
  async method() {
    await leaf();
  }
}
export const method = query(async function handler() {
  await new K().method();
});
export const anonymous = query(async () => {
  await (async () => {
    await null;
    throw new Error("x");
  })();
});
export const sync = query(async function handler() {
  const inner = () => {
    throw new TypeError("x");
  };
  [1].map(() => inner());
});
export const caught = query(async function handler() {
  try {
    await middle();
  } catch (error) {
    return error.stack;
  }
});
export const unhandled = query(async function handler() {
  leaf();
  await middle().catch(() => {});
});
"#;

#[test]
fn stacks_go_on_with_those_who_wait() {
    let program = mapped(CALLERS);
    let failure = fails(&program, "awaited");
    assert_eq!(failure.message, "Uncaught Error: deep");
    let leaf = "leaf (../convex/a.ts:5:9)";
    assert_eq!(
        frames(&failure),
        [
            leaf,
            "async middle (../convex/a.ts:8:17)",
            "async handler (../convex/a.ts:11:3)"
        ]
    );
    assert_eq!(
        frames(&fails(&program, "all")),
        [leaf, "async handler (../convex/a.ts:14:10)"]
    );
    assert_eq!(
        frames(&fails(&program, "chained")),
        [
            "<anonymous> (../convex/a.ts:18:11)",
            "async handler (../convex/a.ts:17:3)"
        ]
    );
    let failure = fails(&program, "loop");
    let frames_of_loop = frames(&failure);
    assert_eq!(
        frames_of_loop[..2],
        [leaf, "async rows (../convex/a.ts:24:5)"]
    );
    assert!(
        frames_of_loop[2].starts_with("async handler (../convex/a.ts:26:"),
        "{frames_of_loop:?}"
    );
    assert_eq!(
        frames_of_methods(&fails(&program, "method")),
        [
            leaf,
            "async method (../convex/a.ts:30:5)",
            "async handler (../convex/a.ts:34:3)"
        ]
    );
    assert_eq!(
        frames(&fails(&program, "anonymous")),
        [
            "<anonymous> (../convex/a.ts:39:11)",
            "async <anonymous> (../convex/a.ts:37:3)"
        ]
    );
    assert_eq!(
        frames(&fails(&program, "sync")),
        [
            "inner (../convex/a.ts:44:11)",
            "<anonymous> (../convex/a.ts:46:17)",
            "handler (../convex/a.ts:46:7)"
        ]
    );
    assert_eq!(frames(&fails(&program, "unhandled")), [leaf]);
}

#[test]
fn code_sees_its_own_files_in_stacks() {
    let program = mapped(CALLERS);
    let stack = run(&program, FunctionKind::Query, "a:caught", "[{}]")
        .result
        .unwrap();
    let stack: String = serde_json::from_str(&stack).unwrap();
    let lines: Vec<&str> = stack
        .lines()
        .filter(|line| line.starts_with("    at "))
        .collect();
    assert!(
        lines.contains(&"    at leaf (../convex/a.ts:5:9)"),
        "{stack}"
    );
    assert_eq!(
        lines[lines.len() - 2..],
        [
            "    at async middle (../convex/a.ts:8:17)",
            "    at async handler (../convex/a.ts:50:5)"
        ]
    );
}

#[test]
fn errors_of_system_calls_have_the_stack_of_the_call() {
    let outcome = run_call(
        &*engine(),
        call(&bundle(), FunctionKind::Mutation, "notes:both", "[{}]"),
        |_, _| Err(SystemError::new("no room")),
    );
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.message, "Uncaught Error: no room");
    let frames = frames(&failure);
    assert!(
        frames.len() == 1
            && frames[0].starts_with("async <anonymous> (")
            && frames[0].contains("app/notes.ts:"),
        "{frames:?}"
    );
}

#[test]
fn a_trace_shows_the_files_of_the_function() {
    let program = mapped(
        "import { query } from \"./_deps/x.js\";\nconst deeper = () => console.trace(\"here\", 1);\n\
         export const f = query(async function handler() {\n  await null;\n  deeper();\n});",
    );
    let outcome = run(&program, FunctionKind::Query, "a:f", "[{}]");
    assert_eq!(
        outcome.logs[0].messages,
        [
            "'here'",
            "1",
            "at deeper (../convex/a.ts:2:30)\n    at handler (../convex/a.ts:5:3)"
        ]
    );
}

#[test]
fn messages_say_what_is_wrong_with_what() {
    for (body, expected) in [
        (
            "const o = { a: {} }; o.a.foo()",
            "TypeError: o.a.foo is not a function",
        ),
        (
            "const o = {};\n  o\n    .foo(1)",
            "TypeError: o.foo is not a function",
        ),
        ("let u; u()", "TypeError: u is not a function"),
        (
            "const list = []; list[0]()",
            "TypeError: list[0] is not a function",
        ),
        (
            "const o = {}; new o.A()",
            "TypeError: o.A is not a constructor",
        ),
        (
            "let u; u.foo",
            "TypeError: Cannot read properties of undefined (reading 'foo')",
        ),
        (
            "let u = null; u.foo.bar()",
            "TypeError: Cannot read properties of null (reading 'foo')",
        ),
        (
            "let u; u.foo = 1",
            "TypeError: Cannot set properties of undefined (setting 'foo')",
        ),
        ("let u; for (const x of u);", "TypeError: u is not iterable"),
        ("nope", "ReferenceError: nope is not defined"),
        (
            "z; let z",
            "ReferenceError: Cannot access 'z' before initialization",
        ),
        (
            "const c = 1; c = 2",
            "TypeError: Assignment to constant variable.",
        ),
        (
            "class A {}; A()",
            "TypeError: Class constructor A cannot be invoked without 'new'",
        ),
        ("new Array(-1)", "RangeError: Invalid array length"),
        (
            "1n + 1",
            "TypeError: Cannot mix BigInt and other types, use explicit conversions",
        ),
        (
            "JSON.stringify(1n)",
            "TypeError: Do not know how to serialize a BigInt",
        ),
        (
            "[].reduce((a) => a)",
            "TypeError: Reduce of empty array with no initial value",
        ),
        // Texts of others are theirs.
        (
            "throw new TypeError('not a function')",
            "TypeError: not a function",
        ),
    ] {
        let program = mapped(&format!(
            "import {{ query }} from \"./_deps/x.js\";\nexport const f = query(async () => {{\n  {body}\n}});"
        ));
        assert_eq!(
            fails(&program, "f").message,
            format!("Uncaught {expected}"),
            "{body}"
        );
    }
}

#[test]
fn code_may_make_stacks_itself() {
    let program = mapped(
        "import { query } from \"./_deps/x.js\";\nexport const f = query(async function handler() {\n  \
         Error.prepareStackTrace = (_, sites) => {\n    const inner = new Error(\"inner\").stack;\n    \
         return [typeof inner, sites[0].getFunctionName()];\n  };\n  return new Error(\"x\").stack;\n});\n",
    );
    let outcome = run(&program, FunctionKind::Query, "a:f", "[{}]");
    let stack: serde_json::Value = serde_json::from_str(&outcome.result.unwrap()).unwrap();
    assert_eq!(stack[1], "handler");
}
