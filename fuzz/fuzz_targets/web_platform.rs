//! What JavaScript hands to Rust: forms, URLs, texts and base64, and on the way of an exception its stack with the
//! source map that the developer pushed.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use concave_core::Timestamp;
use concave_core::engine::{Environment, Module, Program};
use concave_javascript::{HostInputs, HostState, HostValue, Phase, SourceMaps};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

fuzz_target!(|bytes: &[u8]| {
    let Some((&mode, rest)) = bytes.split_first() else {
        return;
    };
    let text = || String::from_utf8_lossy(rest).into_owned();
    match mode % 6 {
        0 => form(rest),
        1 => url(text()),
        2 => pairs(text()),
        3 => decoded(rest),
        4 => base64(rest),
        _ => stack(&text()),
    }
});

/// Calls the host; `None` if it throws.
fn call<const N: usize>(op: &str, args: [HostValue; N]) -> Option<HostValue> {
    let mut host = HostState::new(HostInputs {
        phase: Phase::Action,
        now: Timestamp(5),
        seed: [0; 32],
        env: Arc::default(),
        env_must_exist: false,
        elapsed: None,
    });
    match host.call(op, &args) {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(
                !error.fatal && !error.message.contains("host argument"),
                "{error:?}"
            );
            None
        }
    }
}

fn string(value: HostValue) -> String {
    match value {
        HostValue::String(text) => text,
        other => panic!("not a string: {other:?}"),
    }
}

fn form(bytes: &[u8]) {
    let args = [
        HostValue::String("B".to_owned()),
        HostValue::Bytes(bytes.to_vec()),
    ];
    let Some(parts) = call("form/parse", args) else {
        return;
    };
    let parts: Vec<Json> = serde_json::from_str(&string(parts)).expect("a list");
    let mut after = 0;
    for part in parts {
        let place = |name: &str| part[name].as_u64().expect("a number") as usize;
        let (start, end) = (place("start"), place("end"));
        assert!(after <= start && start <= end && end <= bytes.len());
        let content = &bytes[start..end];
        assert!(!content.windows(5).any(|window| window == b"\r\n--B"));
        after = end;
    }
}

fn url(text: String) {
    let parse = |text| call("url/parse", [HostValue::String(text), HostValue::Undefined]);
    let Some(parts @ HostValue::String(_)) = parse(text) else {
        return;
    };
    let parts = string(parts);
    let list: Vec<String> = serde_json::from_str(&parts).expect("a list");
    if list[0].starts_with("file:") {
        // Here the parser (the crate `url`) forgets a host before what it takes for the letter of a Windows drive.
        return;
    }
    let again = parse(list[0].clone()).expect("parsing does not throw");
    assert_eq!(
        again,
        HostValue::String(parts),
        "what is written is read the same"
    );
}

fn pairs(text: String) {
    let parse = |text| string(call("url/parseForm", [HostValue::String(text)]).expect("any text"));
    let pairs = parse(text);
    let encoded = call("url/encodeForm", [HostValue::String(pairs.clone())]).expect("pairs");
    assert_eq!(parse(string(encoded)), pairs);
}

/// The first byte chooses an encoding.
fn decoded(bytes: &[u8]) {
    const LABELS: [&str; 6] = [
        "utf-8",
        "utf-16le",
        "shift_jis",
        "gb18030",
        "iso-2022-jp",
        "windows-1252",
    ];
    let Some((&which, bytes)) = bytes.split_first() else {
        return;
    };
    let which = usize::from(which) % LABELS.len();
    let label = || HostValue::String(LABELS[which].to_owned());
    let content = || HostValue::Bytes(bytes.to_vec());
    let strict = call("text/decode", [label(), content(), HostValue::Bool(true)]);
    let lenient = call("text/decode", [label(), content(), HostValue::Bool(false)]);
    let lenient = string(lenient.expect("it replaces what it cannot read"));
    if let Some(strict) = &strict {
        assert_eq!(*strict, HostValue::String(lenient.clone()));
    }
    let Some(HostValue::Number(tail)) = call("text/tail", [label(), content()]) else {
        panic!("a number");
    };
    assert!(tail as usize <= bytes.len().min(4));
    if which == 0 {
        assert_eq!(lenient, String::from_utf8_lossy(bytes));
        let valid = std::str::from_utf8(bytes);
        assert_eq!(strict.is_some(), valid.is_ok());
        let last = bytes.utf8_chunks().last().map_or(0, |chunk| {
            // Incomplete rather than wrong: what follows could complete it.
            let open = std::str::from_utf8(chunk.invalid());
            let open = open.is_err_and(|error| error.error_len().is_none());
            if open { chunk.invalid().len() } else { 0 }
        });
        assert_eq!(tail as usize, last);
    }
}

fn base64(bytes: &[u8]) {
    let encoded = call("base64/encode", [HostValue::Bytes(bytes.to_vec())]).expect("any bytes");
    let decoded = call("base64/decode", [encoded]);
    assert_eq!(decoded, Some(HostValue::Bytes(bytes.to_vec())));
    let text = String::from_utf8_lossy(bytes).into_owned();
    if let Some(HostValue::Bytes(decoded)) = call("base64/decode", [HostValue::String(text)]) {
        assert!(decoded.len() <= bytes.len());
    }
}

/// A source map, a line break, and stack frames.
fn stack(text: &str) {
    let (map, stack) = text.split_once('\n').unwrap_or((text, ""));
    let module = Module {
        path: "a.js".to_owned(),
        source: "".into(),
        source_map: Some(map.into()),
        environment: Environment::Isolate,
    };
    let program = Program {
        id: 1,
        modules: BTreeMap::from([("a.js".to_owned(), module)]),
        environment_variables: BTreeMap::new(),
        import_seed: [0; 32],
        import_time: Timestamp::ZERO,
    };
    let maps = SourceMaps::default();
    let frames = maps.frames(&program, stack, &[]);
    assert!(frames.len() <= stack.lines().count());
    assert_eq!(
        maps.frames(&program, stack, &[]),
        frames,
        "read once, used twice"
    );
    for line in [1, 2, u32::MAX] {
        let _ = maps.position(&program, "a.js", line, line);
    }
}
