//! Memory that V8 does not bound by itself, and what it would end the process for.

use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::{FunctionEngine, FunctionKind};

use crate::common::{Options, call, query, run_call};
use crate::make;

/// Runs a body, then an innocent one in the same slot; gives how the former ends.
fn survive(engine: &Arc<dyn FunctionEngine>, body: &str) -> String {
    let run = |body: &str| {
        let mut call = call(&query(body), FunctionKind::Query, "a:f", "[{}]");
        call.limits.cpu = Duration::from_secs(10);
        let outcome = run_call(&**engine, call, |_, _| panic!("no system calls"));
        outcome.result.unwrap_or_else(|failure| failure.message)
    };
    let end = run(body);
    assert_eq!(run("return 1 + 1"), "2", "{body}");
    end
}

fn one_slot() -> Arc<dyn FunctionEngine> {
    make(Options {
        transaction_slots: 1,
        ..Options::default()
    })
}

#[test]
fn memory_beside_the_heap_is_bounded() {
    let engine = one_slot();
    for body in [
        "const kept = []; for (;;) kept.push(new WebAssembly.Memory({ initial: 1 }))",
        "const kept = []; for (;;) { const m = new WebAssembly.Memory({ initial: 900 }); new Uint8Array(m.buffer).fill(1); kept.push(m) }",
        "const kept = []; for (;;) { const m = new WebAssembly.Memory({ initial: 0 }); m.grow(100); kept.push(m) }",
        "const kept = []; for (;;) kept.push(new WebAssembly.Memory({ initial: 100, maximum: 100, shared: true }))",
        "const kept = []; for (;;) { const b = new ArrayBuffer(0, { maxByteLength: 1e9 }); b.resize(1e6); kept.push(b) }",
        "const kept = []; for (;;) { try { kept.push(new ArrayBuffer(1e6)) } catch {} }",
    ] {
        let end = survive(&engine, body);
        assert_eq!(
            end, "JavaScript execution ran out of memory (maximum memory usage: 64 MB)",
            "{body}"
        );
    }
    // Each is garbage when the next comes.
    for body in [
        "for (let n = 0; n < 200; n++) new Uint8Array(new WebAssembly.Memory({ initial: 100 }).buffer).fill(1); return 1",
        "for (let n = 0; n < 200; n++) new ArrayBuffer(0, { maxByteLength: 1e9 }).resize(1e7); return 1",
        "for (let n = 0; n < 2000; n++) new Uint8Array(1e7); return 1",
    ] {
        assert_eq!(survive(&engine, body), "1", "{body}");
    }
}

#[test]
fn arrays_larger_than_there_can_be_end_the_call_only() {
    let engine = one_slot();
    for body in [
        "const a = new Array(2 ** 25).fill(1); [a, a, a, a, a].flat()",
        "Array.prototype.sort.call({ length: 2 ** 28 })",
        "Array.prototype.toSorted.call(new Proxy({ length: 2 ** 31 }, { has() { return true } }))",
        "'a'.repeat(2 ** 28).split('')",
    ] {
        let end = survive(&engine, body);
        assert!(
            end.starts_with("The function was ended: ") || end.contains("RangeError"),
            "{body}: {end}"
        );
    }
}

#[test]
fn there_are_no_shared_buffers_of_ones_own() {
    let body = "const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true }); \
                return [typeof SharedArrayBuffer, '__sharedBuffer' in globalThis, buffer.constructor === Object, typeof buffer.grow]";
    assert_eq!(
        survive(&one_slot(), body),
        r#"["undefined",false,true,"undefined"]"#
    );
}
