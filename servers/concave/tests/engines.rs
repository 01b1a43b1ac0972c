//! Goal: a function does the same on both engines. Method: generated functions run on each; what they return, throw, print,
//! ask of the system and look at is compared. Texts of the engines' own errors may differ, their classes may not.
#![cfg(feature = "v8")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use concave_core::Timestamp;
use concave_core::engine::{
    Environment, FunctionCall, FunctionEngine, FunctionKind, Limits, Module, Observed, Program,
    Reply, SyncHost, SystemError, SystemResult, Turn,
};
use concave_javascript::engine::EngineOptions;
use concave_quickjs::QuickJsOptions;
use concave_v8::{SnapshotProcess, V8Options};
use futures_executor::block_on;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// What a function did.
#[derive(Debug, PartialEq)]
struct Done {
    result: Result<String, String>,
    logs: Vec<String>,
    /// System calls by turn: operation and arguments.
    turns: Vec<Vec<(String, String)>>,
    observed: Observed,
}

struct NoHost;

impl SyncHost for NoHost {
    fn call(&self, op: &str, args: &str) -> SystemResult {
        Ok(format!("[{op:?},{args:?}]"))
    }
}

fn engines() -> &'static [Arc<dyn FunctionEngine>; 2] {
    static ENGINES: OnceLock<[Arc<dyn FunctionEngine>; 2]> = OnceLock::new();
    ENGINES.get_or_init(|| {
        let engine = EngineOptions {
            transaction_slots: 1,
            action_slots: 1,
            real_time: false,
        };
        let quickjs = concave_quickjs::start(QuickJsOptions {
            engine,
            ..QuickJsOptions::default()
        });
        let v8 = concave_v8::start(V8Options {
            engine,
            // Some modules run from a snapshot, as in production, and some before it is there.
            snapshots: Some(SnapshotProcess {
                executable: env!("CARGO_BIN_EXE_concave").into(),
                args: vec!["v8-snapshot".to_owned()],
                is_awaited: false,
            }),
            ..V8Options::default()
        });
        [quickjs.unwrap(), v8]
    })
}

/// Runs the statements as a function of `kind`, twice: what is left of the first run must not change the second.
fn run(engine: &dyn FunctionEngine, statements: &str, kind: FunctionKind) -> Done {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let source = format!(
        "const show = (value) => {{ try {{ return JSON.stringify(value) ?? typeof value }} catch (e) {{ return e.name }} }};
         const call = async (op, args) => JSON.parse(await Convex.asyncSyscall(op, JSON.stringify(args)));
         const body = async () => {{ let a = 1, b = 'two', c = [3, {{ d: 4 }}];\n{statements}\nreturn show([a, b, c]); }};
         export const f = Object.assign(() => {{}}, {{ isQuery: true, isMutation: true, isAction: true,
           invokeQuery: body, invokeMutation: body, invokeAction: body }});"
    );
    let module = Module {
        path: "a.js".to_owned(),
        source: source.into(),
        source_map: None,
        environment: Environment::Isolate,
    };
    let program = Arc::new(Program {
        id: LAST.fetch_add(1, Ordering::Relaxed),
        modules: BTreeMap::from([("a.js".to_owned(), module)]),
        environment_variables: BTreeMap::from([("NAME".to_owned(), "value".to_owned())]),
        import_seed: [1; 32],
        import_time: Timestamp(1_600_000_000_000_000_000),
    });
    let mut dones = (0..2).map(|_| run_once(engine, &program, kind));
    let (first, second) = (dones.next().unwrap(), dones.next().unwrap());
    assert_eq!(first, second, "{statements}");
    first
}

fn run_once(engine: &dyn FunctionEngine, program: &Arc<Program>, kind: FunctionKind) -> Done {
    let call = FunctionCall {
        program: program.clone(),
        module: "a.js".to_owned(),
        export: "f".to_owned(),
        kind,
        depth: 0,
        args: "[{}]".to_owned(),
        now: Timestamp(1_700_000_000_123_456_789),
        seed: [7; 32],
        limits: Limits {
            cpu: Duration::from_secs(10),
            memory: 64 << 20,
            stack: 512 << 10,
        },
    };
    let mut execution = engine.start(call, Arc::new(NoHost));
    let (mut replies, mut turns) = (Vec::new(), Vec::new());
    loop {
        match block_on(execution.resume(replies)) {
            Turn::Done(outcome) => {
                return Done {
                    result: outcome.result.map_err(|failure| class(&failure.message)),
                    logs: outcome.logs.iter().map(ToString::to_string).collect(),
                    turns,
                    observed: outcome.observed,
                };
            }
            Turn::Waiting(calls) => {
                replies = calls
                    .iter()
                    .map(|call| Reply {
                        id: call.id,
                        result: match call.op.as_str() {
                            "fail" => Err(SystemError::new("refused")),
                            _ => Ok(call.args.clone()),
                        },
                    })
                    .collect();
                turns.push(calls.into_iter().map(|call| (call.op, call.args)).collect());
            }
        }
    }
}

/// `Uncaught TypeError` of `Uncaught TypeError: x is not a function`.
fn class(message: &str) -> String {
    message.split(": ").next().unwrap_or_default().to_owned()
}

/// An expression. Left out is what the language leaves to engines: texts of errors, the last digits of transcendental
/// functions, dates in words, arrays in themselves. (QuickJS leaves a `for await` by an exception one microtask early.)
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => proptest::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        2 => any::<i32>().prop_map(|n| n.to_string()),
        1 => any::<f64>().prop_map(|n| if n.is_finite() { format!("({n:e})") } else { "NaN".to_owned() }),
        2 => "[a-zA-Z0-9 é😀/.,-]{0,8}".prop_map(|text| format!("{text:?}")),
        2 => proptest::sample::select(vec![
            "null", "undefined", "true", "-0", "Infinity", "2n ** 70n", "[]", "({})", "Date.now()", "Math.random()",
            "new Date(1e12)", "new Map([[1, { x: 2 }]])", "new Set('aab')", "/b+/g", "Symbol('s')", "process.env.NAME",
            "new Uint8Array([1, 200, 3])", "new Error('e')", "new TypeError('t', { cause: 1 })", "(() => 5)", "class K {}",
            "crypto.randomUUID()", "new URL('http://x.y/z?q=1#h')", "new Float64Array(2)", "Object.create(null)",
        ]).prop_map(|text| format!("({text})")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let unary = proptest::sample::select(vec![
            "typeof $X", "-$X", "!$X", "~$X", "+$X", "[$X]", "({ k: $X })", "[...String($X)]", "String($X)", "Number($X)",
            "JSON.stringify($X)", "$X?.length", "$X?.d", "Object.keys($X)", "Object.entries($X)", "Array.isArray($X)",
            "parseInt($X)", "parseFloat($X)", "Math.round($X)", "Math.trunc($X)", "Math.abs($X)", "Number($X).toFixed(2)",
            "Math.trunc(Number($X) % 1e9).toString(36)", "Number($X).toPrecision(5)", "Number($X).toExponential(3)", "String($X).toUpperCase()",
            "String($X).normalize('NFD')", "encodeURIComponent($X)", "btoa(unescape(encodeURIComponent($X)))",
            "String($X).replace(/[aeiou]/g, (m) => m + m)", "[...String($X).matchAll(/\\w/g)].length",
            "String($X).padStart(9, '*')", "String($X).at(-1)", "String($X).codePointAt(0)", "structuredClone($X)",
            "new TextEncoder().encode($X)", "Array.from($X)", "Object.fromEntries([['z', $X]])", "[$X].flat(3)", "$X?.toString()",
            "BigInt.asIntN(64, BigInt(Math.trunc(Number($X)) || 0))", "Object.prototype.toString.call($X)", "isNaN($X)",
            "new Array(3).fill($X)", "Reflect.ownKeys(Object($X)).filter((k) => k !== 'stack')", "$X instanceof Object", "new Date(Number($X)).getTime()",
            "(await $X)", "(await Promise.all([$X]))", "(function* () { yield $X })().next()", "`<${$X}>`", "$X.missing.deeper",
            "$X()", "new URLSearchParams({ q: $X }).toString()", "new Blob([$X]).size", "[3, $X, 1].sort()", "Math.max(1, $X)",
            "Object.groupBy([1, 2], () => $X)", "Math.fround($X)", "Math.clz32($X)", "new Set([$X]).has($X)", "eval('1 + 1')",
        ]);
        let binary = proptest::sample::select(vec![
            "$X + $Y", "$X - $Y", "$X * $Y", "$X / $Y", "$X % $Y", "$X == $Y", "$X === $Y", "$X < $Y", "$X >= $Y", "$X & $Y", "$X >>> $Y", "$X << $Y",
            "$X ?? $Y", "$X && $Y", "$X || $Y", "$X ? $Y : a", "[$X, $Y]", "[...[$X], ...[$Y]]", "({ x: $X, ...Object($Y) })",
            "String($X).split($Y)", "String($X).indexOf($Y)", "[$X, $Y].sort((p, q) => String(p).length - String(q).length)", "[$X, $Y].map(String)",
            "[$X, $Y].includes($X)", "[$X, $Y].join('-')", "Object.is($X, $Y)", "Object.assign({}, $X, $Y)", "[$X, $Y].reverse()",
            "[$X, $Y].reduce((p, q) => [p, q])", "new Map([[$X, $Y]]).get($X)", "$X in Object($Y)", "(await call('echo', [$X, $Y]))",
            "[$X, $Y].toSorted()", "[$X, $Y].findLast((x) => x)", "String($X).localeCompare === $Y", "$X ** 2 === $Y",
            "new Proxy(Object($X), { get: () => $Y }).any", "[$X, $Y].copyWithin(0, 1)", "String($X).concat($Y)",
        ]);
        prop_oneof![
            3 => (unary, inner.clone()).prop_map(|(form, x)| format!("({})", form.replace("$X", &x))),
            3 => (binary, inner.clone(), inner).prop_map(|(form, x, y)| {
                // Both at once, so that neither lands in the other.
                let parts: Vec<String> = form.split("$X").map(|part| part.replace("$Y", &y)).collect();
                format!("({})", parts.join(&x))
            }),
        ]
    })
}

fn statements() -> impl Strategy<Value = String> {
    let simple = (
        proptest::sample::select(vec![
            "a = $X;", "b = $X;", "c = $X;", "c.push?.(show($X));", "console.log($X);", "console.warn('w', $X, a);", "c.k = $X;",
            "call('later', show($X)).then((x) => console.log('later', x));", "await call('fail', show($X)).catch((e) => console.log(e.message));",
            "throw $X;", "[a, b] = [b, $X];", "for (const x of [$X].flat()) console.debug(x);", "delete c.d; a ??= $X;",
            "({ a = $X } = Object(b));", "queueMicrotask(() => console.info('microtask'));", "label: for (;;) { a = $X; break label; }",
            "await null; console.error(show($X));", "Promise.reject($X).catch(() => { a = 'caught' });", "globalThis.kept = $X;",
            "Array.prototype.extra = 1; for (const k in [$X]) console.log(k); delete Array.prototype.extra;",
        ]),
        expression(),
    )
        .prop_map(|(form, x)| form.replace("$X", &x));
    let nested = simple.prop_recursive(2, 12, 4, |inner| {
        (
            proptest::sample::select(vec![
                "if ($X) { $S } else { b = 'else' }", "for (let i = 0; i < 3; i++) { $S }",
                "try { $S } catch (e) { console.log('caught', e instanceof Error ? e.name : e) } finally { a = 'f' }",
                "await (async () => { $S })();", "switch (typeof $X) { case 'number': $S break; default: b = 'd' }",
                "for await (const x of [1, Promise.resolve(2)]) { try { $S } catch { a = 'inner' } }", "(() => { try { $X } catch { b = 'c' } })(); $S",
            ]),
            expression(),
            proptest::collection::vec(inner, 1..4),
        )
            .prop_map(|(form, x, body)| {
                // `await` has no place in a function that is not async.
                let x = if form.contains("(() =>") { x.replace("await ", "") } else { x };
                form.replace("$X", &x).replace("$S", &body.concat())
            })
    });
    proptest::collection::vec(nested, 1..6).prop_map(|all| all.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        max_shrink_iters: 1_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_function_does_the_same_on_both(
        statements in statements(),
        kind in proptest::sample::select(vec![FunctionKind::Query, FunctionKind::Mutation, FunctionKind::Action]),
    ) {
        let [quickjs, v8] = engines();
        let (first, second) = (run(&**quickjs, &statements, kind), run(&**v8, &statements, kind));
        prop_assert_eq!(first, second, "{}", statements);
    }
}
