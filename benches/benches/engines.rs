//! What a call costs on each engine: `cargo bench -p concave-benches --bench engines`, with `--features v8` for both.
//!
//! One caller, one slot. The module `notes` is the bundle of the tests, 93 KB with npm `convex` in it. Calls follow one
//! another at once, so that each waits until its world is pristine again; `at rest` are calls that come a while later.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use concave_core::Timestamp;
use concave_core::engine::{
    Environment, FunctionCall, FunctionEngine, FunctionKind, Limits, Module, Outcome, Program,
    Reply, SyncHost, SystemResult, Turn,
};
use concave_javascript::conformance::bundled_app;
use concave_javascript::engine::EngineOptions;
use concave_quickjs::QuickJsOptions;
#[cfg(feature = "v8")]
use concave_v8::{SnapshotProcess, V8Options};
use futures_executor::block_on;

struct NoHost;

impl SyncHost for NoHost {
    fn call(&self, op: &str, _: &str) -> SystemResult {
        Ok(format!("{op:?}"))
    }
}

const PLAIN: &str = r#"
const query = (handler) => Object.assign(() => {}, { isQuery: true, invokeQuery: async (args) => handler(args) });
export const empty = query(() => 'null');
export const calls = query(async () => {
  for (let i = 0; i < 1000; i++) await Convex.asyncSyscall('1.0/get', '{}');
  return 'null';
});
export const batch = query(async () => {
  const calls = [];
  for (let i = 0; i < 1000; i++) calls.push(Convex.asyncSyscall('1.0/get', '{}'));
  await Promise.all(calls);
  return 'null';
});
export const sync = query(() => { for (let i = 0; i < 1000; i++) Convex.syscall('1.0/queryStream', '{}'); return 'null'; });
export const random = query(() => { for (let i = 0; i < 100000; i++) Math.random(); return 'null'; });
const fib = (n) => n < 2 ? n : fib(n - 1) + fib(n - 2);
export const fibonacci = query(() => `${fib(30)}`);
export const sum = query(() => { let n = 0; for (let i = 0; i < 10000000; i++) n += i; return 'null'; });
export const garbage = query(() => { let n; for (let i = 0; i < 3000000; i++) n = { i, next: [] }; return 'null'; });
const rows = (count) => JSON.stringify(Array.from({ length: count }, (_, n) =>
  ({ _id: `row${n}`, _creationTime: n / 3, text: 'some text of medium length', tags: ['a', 'b'], done: n % 2 === 0 })));
export const small = query(() => { let text = rows(94); for (let i = 0; i < 100; i++) text = JSON.stringify(JSON.parse(text)); return 'null'; });
export const large = query(() => { const text = rows(9400); JSON.stringify(JSON.parse(text)); return 'null'; });
"#;

/// What is measured: path, arguments, how often, and how many operations a call makes.
const CASES: &[(&str, &str, usize, u32)] = &[
    ("plain:empty", "[{}]", 3000, 1),
    ("notes:echo", "[{\"n\":1}]", 3000, 1),
    ("plain:calls", "[{}]", 20, 1000),
    ("plain:batch", "[{}]", 20, 1000),
    ("plain:sync", "[{}]", 20, 1000),
    ("plain:random", "[{}]", 20, 100_000),
    ("plain:fibonacci", "[{}]", 5, 1),
    ("plain:sum", "[{}]", 5, 1),
    ("plain:garbage", "[{}]", 5, 1),
    ("plain:small", "[{}]", 10, 100),
    ("plain:large", "[{}]", 10, 1),
];

/// Calls to a world at rest, and the pause before each.
const RESTED: usize = 300;
const REST: Duration = Duration::from_millis(3);

fn program() -> Arc<Program> {
    let plain = Module {
        path: "plain.js".to_owned(),
        source: PLAIN.into(),
        source_map: None,
        environment: Environment::Isolate,
    };
    let modules = bundled_app().into_iter().chain([plain]);
    Arc::new(Program {
        id: 1,
        modules: modules
            .map(|module| (module.path.clone(), module))
            .collect(),
        environment_variables: BTreeMap::new(),
        import_seed: [0; 32],
        import_time: Timestamp::ZERO,
    })
}

fn call(program: &Arc<Program>, path: &str, args: &str) -> FunctionCall {
    let (module, export) = path.split_once(':').expect("a path with an export");
    FunctionCall {
        program: program.clone(),
        module: format!("{module}.js"),
        export: export.to_owned(),
        depth: 0,
        kind: FunctionKind::Query,
        args: args.to_owned(),
        now: Timestamp::ZERO,
        seed: [0; 32],
        limits: Limits {
            cpu: Duration::from_secs(10),
            memory: 64 << 20,
            stack: 512 << 10,
        },
    }
}

fn run(engine: &dyn FunctionEngine, program: &Arc<Program>, path: &str, args: &str) -> Outcome {
    let mut execution = engine.start(call(program, path, args), Arc::new(NoHost));
    block_on(async {
        let mut replies = Vec::new();
        loop {
            match execution.resume(replies).await {
                Turn::Done(outcome) => return outcome,
                Turn::Waiting(calls) => {
                    replies = calls
                        .iter()
                        .map(|call| Reply {
                            id: call.id,
                            result: Ok("null".to_owned()),
                        })
                        .collect();
                }
            }
        }
    })
}

/// The argument by which this program makes a snapshot of functions.
#[cfg(feature = "v8")]
const SNAPSHOT: &str = "v8-snapshot";

/// Worlds that are kept for [`idle`].
const WORLDS: usize = 32;

fn main() {
    #[cfg(feature = "v8")]
    if std::env::args().nth(1).as_deref() == Some(SNAPSHOT) {
        return concave_v8::make_snapshot().expect("pipes");
    }
    let options = |transaction_slots| EngineOptions {
        transaction_slots,
        ..EngineOptions::default()
    };
    let quickjs = |slots| {
        let engine = concave_quickjs::start(QuickJsOptions {
            transaction_threads: 1,
            engine: options(slots),
            ..QuickJsOptions::default()
        });
        engine.expect("threads")
    };
    measure("QuickJS", &*quickjs(1));
    idle(&*quickjs(WORLDS));
    #[cfg(feature = "v8")]
    let v8 = |slots| {
        concave_v8::start(V8Options {
            engine: options(slots),
            snapshots: Some(SnapshotProcess {
                executable: "/proc/self/exe".into(),
                args: vec![SNAPSHOT.to_owned()],
                is_awaited: true,
            }),
            ..V8Options::default()
        })
    };
    #[cfg(feature = "v8")]
    {
        measure("V8", &*v8(1));
        idle(&*v8(WORLDS));
    }
}

/// What a world takes that has had a call and waits for the next: resident memory of the process, before and after.
fn idle(engine: &dyn FunctionEngine) {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.map_or(0, |number| number.parse::<usize>().expect("kB"))
    };
    let program = program();
    run(engine, &program, "notes:echo", "[{\"n\":1}]");
    let before = resident();
    // All wait at once, so that each has a world.
    let waiting: Vec<_> = (0..WORLDS)
        .map(|_| {
            let mut execution =
                engine.start(call(&program, "plain:calls", "[{}]"), Arc::new(NoHost));
            let turn = block_on(execution.resume(Vec::new()));
            assert!(matches!(turn, Turn::Waiting(_)));
            execution
        })
        .collect();
    drop(waiting);
    std::thread::sleep(Duration::from_millis(500));
    let each = resident().saturating_sub(before) / (WORLDS - 1);
    println!("  {WORLDS} idle worlds: {each} KB each");
}

fn measure(name: &str, engine: &dyn FunctionEngine) {
    println!("{name}");
    let program = program();
    for (path, args, times, operations) in CASES {
        let begun = Instant::now();
        let first = run(engine, &program, path, args);
        let first_time = begun.elapsed();
        assert!(first.result.is_ok(), "{:?}", first.result);
        let (walls, cpus) = sample(engine, &program, (path, args), *times, Duration::ZERO);
        println!(
            "  {path:16} first {first_time:9.1?}  p50 {:9.1?}  p99 {:9.1?}  in JavaScript p50 {:9.1?}, each {:9.1?}  heap {} KB",
            walls[times / 2],
            walls[times * 99 / 100],
            cpus[times / 2],
            cpus[times / 2] / *operations,
            first.memory >> 10
        );
    }
    for (path, args, ..) in &CASES[..2] {
        let (walls, _) = sample(engine, &program, (path, args), RESTED, REST);
        println!("  {path:16} at rest  p50 {:9.1?}", walls[RESTED / 2]);
    }
}

/// Runs a function so often, each time after a pause; gives the time of the calls, and of JavaScript in them, sorted.
fn sample(
    engine: &dyn FunctionEngine,
    program: &Arc<Program>,
    (path, args): (&str, &str),
    times: usize,
    pause: Duration,
) -> (Vec<Duration>, Vec<Duration>) {
    let mut walls = Vec::new();
    let mut cpus = Vec::new();
    for _ in 0..times {
        std::thread::sleep(pause);
        let begun = Instant::now();
        let outcome = run(engine, program, path, args);
        walls.push(begun.elapsed());
        cpus.push(outcome.cpu);
    }
    walls.sort_unstable();
    cpus.sort_unstable();
    (walls, cpus)
}
