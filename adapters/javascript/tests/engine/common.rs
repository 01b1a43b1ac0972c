//! A driver small enough to see through: it answers system calls with a function.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use concave_core::Timestamp;
use concave_core::engine::{
    Environment, FunctionCall, FunctionEngine, FunctionKind, Limits, Module, Outcome, Program,
    Reply, SyncHost, SystemError, SystemResult, Turn,
};
use concave_javascript::conformance::{bundled_app, identity_map};
use futures_executor::block_on;

use crate::make;

/// What tests ask of an engine.
#[derive(Clone, Copy)]
pub struct Options {
    /// Threads for queries and mutations, and as many for actions, where an engine has such.
    #[allow(dead_code)]
    pub threads: usize,
    /// Queries and mutations at a time.
    pub transaction_slots: usize,
    /// Actions at a time.
    pub action_slots: usize,
    /// Time for importing a module.
    pub import_time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 2,
            transaction_slots: 4,
            action_slots: 4,
            import_time: Duration::from_millis(500),
        }
    }
}

/// A program of modules given by path and source.
pub fn program<S: AsRef<str>>(modules: &[(S, S)]) -> Arc<Program> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let module = |path: &str, source: &str, source_map: Option<&str>| {
        let module = Module {
            path: path.to_owned(),
            source: source.into(),
            source_map: source_map.map(Into::into),
            environment: Environment::Isolate,
        };
        (path.to_owned(), module)
    };
    Arc::new(Program {
        id: LAST.fetch_add(1, Ordering::Relaxed),
        modules: modules
            .iter()
            .map(|(path, source)| {
                let (path, source) = (path.as_ref(), source.as_ref());
                let map = (path != "_deps/x.js").then_some(MAP);
                module(path, source, map)
            })
            .collect(),
        environment_variables: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
        import_seed: [1; 32],
        import_time: Timestamp(1_600_000_000_000_000_000),
    })
}

/// A program of one module `a.js`, whose places are those of `../convex/a.ts`, that imports `query` from a module whose
/// frames are dropped. `query` takes a handler, which is run as whatever it is called as.
pub fn mapped(source: &str) -> Arc<Program> {
    let mut program = (*program(&[("_deps/x.js", QUERY)])).clone();
    let module = Module {
        path: "a.js".to_owned(),
        source: source.into(),
        source_map: Some(identity_map("../convex/a.ts", source).into()),
        environment: Environment::Isolate,
    };
    program.modules.insert("a.js".to_owned(), module);
    Arc::new(program)
}

/// Maps everything to the beginning of `../convex/a.ts`.
const MAP: &str = r#"{"version":3,"sources":["../convex/a.ts"],"names":[],"mappings":"AAAA"}"#;

/// The program bundled from `tests/app`.
pub fn bundle() -> Arc<Program> {
    static BUNDLE: OnceLock<Arc<Program>> = OnceLock::new();
    BUNDLE
        .get_or_init(|| {
            let mut program = (*program::<&str>(&[])).clone();
            for module in bundled_app() {
                program.modules.insert(module.path.clone(), module);
            }
            Arc::new(program)
        })
        .clone()
}

/// One engine for all tests that need no other.
pub fn engine() -> Arc<dyn FunctionEngine> {
    static ENGINE: OnceLock<Arc<dyn FunctionEngine>> = OnceLock::new();
    ENGINE.get_or_init(|| make(Options::default())).clone()
}

pub const LIMITS: Limits = Limits {
    cpu: Duration::from_secs(1),
    memory: 64 << 20,
    stack: 512 << 10,
};

pub fn call(program: &Arc<Program>, kind: FunctionKind, path: &str, args: &str) -> FunctionCall {
    let (module, export) = path.split_once(':').unwrap();
    FunctionCall {
        program: program.clone(),
        module: format!("{module}.js"),
        export: export.to_owned(),
        depth: 0,
        kind,
        args: args.to_owned(),
        now: Timestamp(1_700_000_000_123_456_789),
        seed: [9; 32],
        limits: LIMITS,
    }
}

/// Answers synchronous calls by naming them.
pub struct Named;

impl SyncHost for Named {
    fn call(&self, op: &str, args: &str) -> SystemResult {
        match op {
            "1.0/queryStream" => Ok(r#"{"queryId":1}"#.to_owned()),
            "1.0/queryCleanup" => Ok("null".to_owned()),
            _ => Err(SystemError::new(format!("Unknown operation {op} {args}"))),
        }
    }
}

/// Runs a call to its end.
pub fn run_call(
    engine: &dyn FunctionEngine,
    call: FunctionCall,
    mut answer: impl FnMut(&str, &str) -> SystemResult,
) -> Outcome {
    let mut execution = engine.start(call, Arc::new(Named));
    let mut replies = Vec::new();
    let mut last = 0;
    block_on(async {
        loop {
            match execution.resume(replies).await {
                Turn::Done(outcome) => return outcome,
                Turn::Waiting(calls) => {
                    assert!(!calls.is_empty(), "nothing to wait for");
                    replies = Vec::new();
                    for call in calls {
                        assert!(call.id > last, "ids ascend");
                        last = call.id;
                        replies.push(Reply {
                            id: call.id,
                            result: answer(&call.op, &call.args),
                        });
                    }
                }
            }
        }
    })
}

/// Runs a call that makes no system calls.
pub fn run(program: &Arc<Program>, kind: FunctionKind, path: &str, args: &str) -> Outcome {
    run_call(&*engine(), call(program, kind, path, args), |op, _| {
        panic!("unexpected system call {op}")
    })
}

/// A module `a.js` whose query `f` has this body.
pub fn query(body: &str) -> Arc<Program> {
    program(&[("a.js", &functions(&[("f", body)]))])
}

const QUERY: &str = "export const query = (handler) => Object.assign(() => {}, { isQuery: true, isMutation: true, \
    isAction: true,\n\
    invokeQuery: async (args) => JSON.stringify((await handler(...JSON.parse(args))) ?? null),\n\
    invokeMutation: async (args) => JSON.stringify((await handler(...JSON.parse(args))) ?? null),\n\
    invokeAction: async (id, args) => JSON.stringify((await handler(...JSON.parse(args))) ?? null) });\n";

/// Source of queries by name and body; bodies return plain data.
pub fn functions(bodies: &[(&str, &str)]) -> String {
    let mut source = QUERY.to_owned();
    for (name, body) in bodies {
        source.push_str(&format!(
            "export const {name} = query(async (args) => {{ {body} }});\n"
        ));
    }
    source
}

/// Runs the query `f` of [`query`].
pub fn eval(body: &str) -> Result<String, String> {
    run(&query(body), FunctionKind::Query, "a:f", "[{}]")
        .result
        .map_err(|failure| failure.message)
}
