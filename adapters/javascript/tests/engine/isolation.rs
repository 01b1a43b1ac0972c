//! Calls share nothing, however many run, at once or one after the other.

use std::sync::Arc;

use concave_core::engine::{FunctionEngine, FunctionKind, Reply, Turn};
use futures_executor::block_on;
use futures_util::future::join_all;

use crate::{MEMORY_IS_EXACT, make};

use super::common::{Named, Options, bundle, call, engine, functions, program, run, run_call};

#[test]
fn a_thousand_calls_leave_nothing_behind() {
    let source = format!(
        "let count = 0; const cache = new Map(); const shared = {{ list: [] }};\n{}",
        functions(&[(
            "f",
            "count++; cache.set(count, 'x'.repeat(1000)); shared.list.push(1); \
             globalThis.leak = (globalThis.leak ?? 0) + 1; Object.prototype.leak2 = ({}).leak2 === undefined ? 1 : 2; \
             Array.prototype.push = new Proxy(Array.prototype.push, {}); Date.now = ((now) => () => now())(Date.now); \
             return [count, cache.size, shared.list.length, globalThis.leak, ({}).leak2]"
        )])
    );
    let program = program(&[("a.js", &source)]);
    let mut memory = None;
    for _ in 0..1000 {
        let outcome = run(&program, FunctionKind::Mutation, "a:f", "[{}]");
        assert_eq!(outcome.result.unwrap(), "[1,1,1,1,1]");
        if MEMORY_IS_EXACT {
            // The same heap, to the byte.
            assert_eq!(*memory.get_or_insert(outcome.memory), outcome.memory);
        }
    }
}

#[test]
fn calls_run_in_parallel_and_wait_for_slots() {
    let engine = engine();
    let program = bundle();
    block_on(join_all((0..100).map(|n| {
        let engine = engine.clone();
        let call = call(
            &program,
            FunctionKind::Action,
            "notes:act",
            &format!(r#"[{{"n":{n}}}]"#),
        );
        async move {
            let mut execution = engine.start(call, Arc::new(Named));
            let Turn::Waiting(calls) = execution.resume(Vec::new()).await else {
                panic!("it calls a query")
            };
            let reply = Reply {
                id: calls[0].id,
                result: Ok(format!(r#"{{"n":{n}}}"#)),
            };
            let Turn::Done(outcome) = execution.resume(vec![reply]).await else {
                panic!("it waits for nothing else")
            };
            assert_eq!(outcome.result.unwrap(), (n + 1).to_string());
        }
    })));
}

#[test]
fn nested_calls_get_a_slot_while_their_callers_wait() {
    let engine = make(Options {
        threads: 1,
        transaction_slots: 2,
        ..Options::default()
    });
    let program = program(&[(
        "a.js",
        &functions(&[(
            "f",
            "return JSON.parse(await Convex.asyncSyscall('1.0/runUdf', '{}'))",
        )]),
    )]);
    fn nest(
        engine: &Arc<dyn FunctionEngine>,
        program: &Arc<concave_core::engine::Program>,
        depth: u32,
    ) -> String {
        let mut call = call(program, FunctionKind::Mutation, "a:f", "[{}]");
        call.depth = 8 - depth;
        let outcome = run_call(&**engine, call, |_, _| {
            if depth == 0 {
                return Ok("0".to_owned());
            }
            // Executors of tests do not nest.
            let inner =
                std::thread::scope(|scope| scope.spawn(|| nest(engine, program, depth - 1)).join());
            Ok(inner.unwrap())
        });
        outcome.result.unwrap()
    }
    assert_eq!(nest(&engine, &program, 8), "0");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(nest(&engine, &program, 8), "0"));
        }
    });
}

#[test]
fn programs_with_many_modules_keep_few_images() {
    let sources: Vec<(String, String)> = (0..40)
        .map(|n| {
            let body = format!("return {n}");
            (format!("m{n}.js"), functions(&[("f", body.as_str())]))
        })
        .collect();
    let program = program(&sources);
    for _ in 0..2 {
        for n in 0..40 {
            let outcome = run(&program, FunctionKind::Query, &format!("m{n}:f"), "[{}]");
            assert_eq!(outcome.result.unwrap(), n.to_string());
        }
    }
}
