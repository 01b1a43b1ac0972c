//! What a call costs: `cargo run --release -p concave-quickjs --example measure`.
//!
//! One caller, one thread, one slot. The module is the bundle of the tests, 93 KB with npm `convex` in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use concave_core::Timestamp;
use concave_core::engine::{
    Environment, FunctionCall, FunctionEngine, FunctionKind, Limits, Module, Outcome, Program,
    Reply, SyncHost, SystemResult, Turn,
};
use concave_javascript::engine::EngineOptions;
use concave_quickjs::{QuickJsEngine, QuickJsOptions};
use futures_executor::block_on;

struct NoHost;

impl SyncHost for NoHost {
    fn call(&self, op: &str, _: &str) -> SystemResult {
        Ok(format!("{op:?}"))
    }
}

const PLAIN: &str = "
const query = (handler) => Object.assign(() => {}, { isQuery: true, invokeQuery: async (args) => handler(args) });
export const empty = query(() => 'null');
export const calls = query(async () => {
  for (let i = 0; i < 1000; i++) await Convex.asyncSyscall('1.0/get', '{}');
  return 'null';
});
export const host = query(() => { for (let i = 0; i < 100000; i++) Math.random(); return 'null'; });
export const loop = query(() => { let n = 0; for (let i = 0; i < 10000000; i++) n += i; return 'null'; });
export const garbage = query(() => { let n; for (let i = 0; i < 3000000; i++) n = { i, next: [] }; return 'null'; });
";

fn program() -> Arc<Program> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../javascript/tests/bundle");
    let mut modules = BTreeMap::new();
    let mut add = |path: String, source: String| {
        let module = Module {
            path: path.clone(),
            source: source.into(),
            source_map: None,
            environment: Environment::Isolate,
        };
        modules.insert(path, module);
    };
    for folder in ["", "_deps"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("the bundle is there") {
            let path = entry.expect("a readable folder").path();
            if path.extension().is_some_and(|extension| extension == "js") {
                let name = path.strip_prefix(&root).expect("it lies in there");
                let source = std::fs::read_to_string(&path).expect("a text file");
                add(name.to_string_lossy().into_owned(), source);
            }
        }
    }
    add("plain.js".to_owned(), PLAIN.to_owned());
    Arc::new(Program {
        id: 1,
        modules,
        environment_variables: BTreeMap::new(),
        import_seed: [0; 32],
        import_time: Timestamp::ZERO,
    })
}

fn run(engine: &QuickJsEngine, program: &Arc<Program>, path: &str, args: &str) -> Outcome {
    let (module, export) = path.split_once(':').expect("a path with an export");
    let call = FunctionCall {
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
    };
    let mut execution = engine.start(call, Arc::new(NoHost));
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

fn main() {
    let engine = QuickJsEngine::new(QuickJsOptions {
        transaction_threads: 1,
        engine: EngineOptions {
            transaction_slots: 1,
            ..EngineOptions::default()
        },
        ..QuickJsOptions::default()
    })
    .expect("threads");
    let program = program();
    for (path, args, times) in [
        ("plain:empty", "[{}]", 3000),
        ("notes:echo", "[{\"n\":1}]", 3000),
        ("plain:calls", "[{}]", 20),
        ("plain:host", "[{}]", 20),
        ("plain:loop", "[{}]", 3),
        ("plain:garbage", "[{}]", 3),
    ] {
        let begun = Instant::now();
        let first = run(&engine, &program, path, args);
        let first_time = begun.elapsed();
        let mut walls = Vec::new();
        let mut cpus = Vec::new();
        for _ in 0..times {
            let begun = Instant::now();
            let outcome = run(&engine, &program, path, args);
            walls.push(begun.elapsed());
            cpus.push(outcome.cpu);
            assert!(outcome.result.is_ok(), "{:?}", outcome.result);
        }
        walls.sort_unstable();
        cpus.sort_unstable();
        println!(
            "{path:14} first {first_time:9.1?}  p50 {:9.1?}  p99 {:9.1?}  in JavaScript p50 {:9.1?}  heap {} KB",
            walls[times / 2],
            walls[times * 99 / 100],
            cpus[times / 2],
            first.memory >> 10,
        );
    }
}
