//! Code that does not want to end, or wants more than it may have. The engine survives each, and the next call finds
//! nothing of it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use concave_core::engine::{FunctionEngine, FunctionKind, Limits};
use futures_executor::block_on;

use crate::make;

use super::common::{LIMITS, Named, Options, call, engine, eval, query, run_call};

/// Runs a body with little time, then an innocent one in the same slot.
fn survive(body: &str) -> String {
    survive_for(Duration::from_millis(50), body)
}

/// The same with so much time.
pub fn survive_for(cpu: Duration, body: &str) -> String {
    // One slot, so that the same world is used again and again.
    static ENGINE: OnceLock<Arc<dyn FunctionEngine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        make(Options {
            threads: 1,
            transaction_slots: 1,
            ..Options::default()
        })
    });
    let mut hostile = call(&query(body), FunctionKind::Query, "a:f", "[{}]");
    hostile.limits = Limits { cpu, ..LIMITS };
    let outcome = run_call(&**engine, hostile, |_, _| Ok("null".to_owned()));
    // Nothing here needs longer than the watchdog's patience.
    assert!(
        outcome.cpu < cpu + Duration::from_secs(2),
        "{body}: {:?}",
        outcome.cpu
    );
    let innocent = call(
        &query("return [globalThis.mark ?? null, [].mark ?? null, 1 + 1]"),
        FunctionKind::Query,
        "a:f",
        "[{}]",
    );
    let after = run_call(&**engine, innocent, |_, _| panic!("no system calls"));
    assert_eq!(after.result.unwrap(), "[null,null,2]", "{body}");
    match outcome.result {
        Ok(value) => value,
        Err(failure) => failure.message,
    }
}

const TIMED_OUT: &str = "Function execution timed out (maximum duration: 0.05s)";
const LOST: &str =
    "The function was ended: it did not stop when its time was up, or the server is shutting down.";
pub const OUT_OF_MEMORY: &str =
    "JavaScript execution ran out of memory (maximum memory usage: 64 MB)";

#[test]
fn endless_code_is_stopped() {
    for body in [
        "globalThis.mark = 1; Array.prototype.mark = 1; while (1);",
        "for (;;) { try { (() => { while (1); })() } catch {} }",
        "try { while (1); } finally { while (1); }",
        "for (;;) await null",
        "const f = () => Promise.resolve().then(f); await f()",
        "return ({ get x() { while (1); } }).x",
        "return { toJSON() { while (1); } }",
        "return `${{ toString() { while (1); } }}`",
        "function* g() { for (;;) yield 1 }; for (const x of g());",
        "/^(a+)+$/.test('a'.repeat(50) + 'b')",
        "[3, 2, 1].sort(() => { while (1); })",
        "throw { get constructor() { while (1); } }",
        "throw Object.defineProperty(Object.create(Error.prototype), 'stack', { get() { while (1); } })",
        "new Proxy({}, { get() { while (1); } }).x",
        "Reflect.ownKeys(new Proxy({}, { ownKeys() { while (1); } }))",
        "class A { static { while (1); } }",
        "await { then() { while (1); } }",
        "for (;;) { try { JSON.parse('[1]', () => { while (1); }) } catch {} }",
        // Loops that an optimising compiler may think to be short.
        "for (;;) { new Array(1000).fill(1.5) }",
        "let s = 0; for (;;) for (let i = 0; i < 1000; i++) s = (s + i) | 0",
        "let s = 0; for (let i = 0; i < 1e15; i++) s += i; return s",
        "const f = (n) => { let s = 0; for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) s = ((s ^ i) + j) | 0; return s }; \
         for (let k = 0; k < 50; k++) f(100); f(2 ** 31 - 1)",
        "const a = new Float64Array(4096); for (;;) for (let i = 0; i < a.length; i++) a[i] = a[i] * 1.01 + i",
        "const d = new DataView(new ArrayBuffer(4096)); for (;;) for (let i = 0; i < 4096; i += 8) d.setFloat64(i, i)",
        "outer: for (;;) for (let i = 0; i < 10; i++) if (i === 5) continue outer",
        "for (;;) { try { while (1); } finally { continue } }",
        "let a = 1, b = 2; for (;;) { [a, b] = [b, a]; ({ a, b } = { a: b, b: a }) }",
        "let x = 1n; for (;;) x = (x * 3n) % 1000000007n",
        "for (const x of (function* g() { for (;;) yield* [1, 2] })()) ;",
        "const f = [(x) => x + 1, (x) => x - 1]; let x = 0; for (let i = 0; ; i++) x = f[i % 2](x)",
    ] {
        assert_eq!(survive(body), TIMED_OUT, "{body}");
    }
}

#[test]
fn endless_natives_are_stopped() {
    for body in [
        "[].indexOf.call({ length: 2 ** 53 - 1 }, 1)",
        "for (;;) { try { [].includes.call({ length: 2 ** 53 - 1 }, 1) } catch {} }",
        "globalThis.mark = 1; Promise.resolve().then(() => [].lastIndexOf.call({ length: 2 ** 53 - 1 }, 1)); await null",
        "throw { get constructor() { return [].indexOf.call({ length: 2 ** 53 - 1 }, 1) } }",
    ] {
        let end = survive(body);
        assert!([TIMED_OUT, LOST].contains(&end.as_str()), "{body}: {end}");
    }
}

#[test]
fn greedy_code_is_stopped() {
    for body in [
        "globalThis.mark = 1; const a = []; for (;;) a.push({ a })",
        "let s = 'x'; for (;;) s += s",
        "const a = []; for (;;) { try { a.push('x'.repeat(1e6) + a.length) } catch {} }",
        "new ArrayBuffer(1e9)",
        "try { new Uint8Array(1e8) } catch { return 'caught' }",
        "return 'x'.repeat(2 ** 29)",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, i)",
        "const a = []; for (;;) a.push(() => a)",
        "for (;;) Convex.asyncSyscall('op', 'x'.repeat(1e6))",
        "const f = async () => { await f() }; await f()",
        "const f = async () => { try { await f() } catch { return f() } }; for (;;) await f()",
        "JSON.stringify(Array(1e7).fill('xxxxxxxx'))",
    ] {
        let end = survive(body);
        assert!(
            [OUT_OF_MEMORY, TIMED_OUT].contains(&end.as_str())
                || end.starts_with("Uncaught RangeError: ")
                || end == "Uncaught InternalError: string too long",
            "{body}: {end}"
        );
    }
    for body in [
        "try { new Uint8Array(1e8) } catch { return 'caught' }",
        "const a = []; for (;;) { try { a.push({ a }) } catch {} }",
        "for (;;) Convex.asyncSyscall('op', 'x'.repeat(1e6))",
    ] {
        assert_eq!(
            survive_for(Duration::from_secs(30), body),
            OUT_OF_MEMORY,
            "{body}"
        );
    }
}

#[test]
fn deep_recursion_is_an_ordinary_error() {
    for body in [
        "const f = () => f(); try { f() } catch (e) { return e instanceof RangeError || `${e}` }",
        "const o = {}; o.toString = () => `${o}`; try { `${o}` } catch (e) { return true }",
        // Some engines need no stack for these.
        "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; try { JSON.stringify(a) } catch {} return true",
        "try { JSON.parse('['.repeat(1e6)) } catch {} return true",
        "try { new RegExp('('.repeat(1e5)) } catch {} return true",
    ] {
        assert_eq!(survive_for(Duration::from_secs(5), body), "true", "{body}");
    }
    let message = eval("const f = () => f(); f()").unwrap_err();
    assert!(
        message.starts_with("Uncaught RangeError: Maximum call stack"),
        "{message}"
    );
}

#[test]
fn broken_globals_hurt_nobody_else() {
    for body in [
        "globalThis.mark = 1; for (const name of Object.getOwnPropertyNames(globalThis)) delete globalThis[name]; return 1",
        "Promise.prototype.then = () => { throw 1 }; return 1",
        "JSON.stringify = () => 5; return 1",
        "Object.prototype.isQuery = true; Object.prototype.then = () => {}; return 1",
        "Symbol.prototype.toString = null; throw Symbol('x')",
        "Error.prepareStackTrace = () => { throw 1 }; throw new Error('x')",
        "Error.stackTraceLimit = -1; throw new Error('x')",
        "Object.freeze(globalThis); Object.freeze(Object.prototype); return 1",
    ] {
        survive(body);
    }
}

#[test]
fn an_abandoned_call_ends_soon_and_frees_its_slot() {
    let engine = make(Options {
        threads: 1,
        transaction_slots: 1,
        ..Options::default()
    });
    let mut endless = call(&query("while (1);"), FunctionKind::Query, "a:f", "[{}]");
    endless.limits.cpu = Duration::from_secs(3600);
    let mut execution = engine.start(endless, Arc::new(Named));
    {
        let mut turn = execution.resume(Vec::new());
        let waker = futures_util::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        assert!(turn.as_mut().poll(&mut context).is_pending());
    }
    std::thread::sleep(Duration::from_millis(50));
    drop(execution);
    let after = run_call(
        &*engine,
        call(&query("return 1"), FunctionKind::Query, "a:f", "[{}]"),
        |_, _| panic!("no system calls"),
    );
    assert_eq!(after.result.unwrap(), "1");
}

#[test]
fn a_call_that_is_over_stays_over() {
    let engine = engine();
    let mut execution = engine.start(
        call(&query("return 1"), FunctionKind::Query, "a:f", "[{}]"),
        Arc::new(Named),
    );
    for _ in 0..2 {
        assert!(matches!(
            block_on(execution.resume(Vec::new())),
            concave_core::engine::Turn::Done(_)
        ));
    }
}
