//! What only V8 has: WebAssembly, memory that it does not bound by itself, and what it would end the process for.

use std::time::Duration;

use crate::engine::hostile::{OUT_OF_MEMORY, survive_for};

/// Runs a body, then an innocent one in the same slot; gives how the former ends.
fn survive(body: &str) -> String {
    survive_for(Duration::from_secs(5), body)
}

#[test]
fn memory_beside_the_heap_is_bounded() {
    for body in [
        "const kept = []; for (;;) kept.push(new WebAssembly.Memory({ initial: 1 }))",
        "const kept = []; for (;;) { const m = new WebAssembly.Memory({ initial: 900 }); new Uint8Array(m.buffer).fill(1); kept.push(m) }",
        "const kept = []; for (;;) { const m = new WebAssembly.Memory({ initial: 0 }); m.grow(100); kept.push(m) }",
        "const kept = []; for (;;) kept.push(new WebAssembly.Memory({ initial: 100, maximum: 100, shared: true }))",
        "const kept = []; for (;;) { const b = new ArrayBuffer(0, { maxByteLength: 1e9 }); b.resize(1e6); kept.push(b) }",
        "const kept = []; for (;;) { try { kept.push(new ArrayBuffer(1e6)) } catch {} }",
    ] {
        assert_eq!(survive(body), OUT_OF_MEMORY, "{body}");
    }
    // Each is garbage when the next comes.
    for body in [
        "for (let n = 0; n < 200; n++) new Uint8Array(new WebAssembly.Memory({ initial: 100 }).buffer).fill(1); return 1",
        "for (let n = 0; n < 200; n++) new ArrayBuffer(0, { maxByteLength: 1e9 }).resize(1e7); return 1",
        "for (let n = 0; n < 200; n++) new Uint8Array(1e7); return 1",
    ] {
        assert_eq!(survive(body), "1", "{body}");
    }
}

#[test]
fn arrays_larger_than_there_can_be_end_the_call_only() {
    for body in [
        "const a = new Array(2 ** 25).fill(1); [a, a, a, a, a].flat()",
        "Array.prototype.sort.call({ length: 2 ** 28 })",
        "Array.prototype.toSorted.call(new Proxy({ length: 2 ** 31 }, { has() { return true } }))",
        "'a'.repeat(2 ** 28).split('')",
    ] {
        let end = survive(body);
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
    assert_eq!(survive(body), r#"["undefined",false,true,"undefined"]"#);
}

/// Source of a WebAssembly function `f` with this body.
fn webassembly(body: &[u8]) -> String {
    // Sections: one type without parameters and results, one function of it, its export, its code.
    let head = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x05\x01\x01f\0\0\x0a";
    let length = u8::try_from(body.len()).unwrap();
    let code = [length + 4, 1, length + 2, 0];
    let bytes = [head.as_slice(), &code, body, &[0x0b]].concat();
    format!(
        "const {{ f }} = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array({bytes:?}))).exports;"
    )
}

#[test]
fn webassembly_is_ended_too() {
    // loop br 0 end
    let endless = webassembly(&[0x03, 0x40, 0x0c, 0x00, 0x0b]);
    let end = survive(&format!("{endless} f()"));
    assert!(end.contains("timed out"), "{end}");
    // call 0
    let deep = webassembly(&[0x10, 0x00]);
    let end = survive(&format!("{deep} f()"));
    assert!(end.contains("Maximum call stack size exceeded"), "{end}");
}
