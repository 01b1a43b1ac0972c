//! JSON text to values and back: what is read is within the limits, keeps its text, and has its place in the order.

#![no_main]

use std::cmp::Ordering;

use concave_core::Value;
use concave_core::value::{JsonFormat, maybe_from_json, patch_from_json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

fuzz_target!(|text: &str| {
    let Ok(value) = Value::from_json_str(text) else {
        return;
    };
    value
        .check_limits()
        .expect("what is read is within the limits");
    let encoded = value.to_json_string();
    let again = Value::from_json_str(&encoded).expect("what is written can be read");
    assert_eq!(again, value);
    assert_eq!(again.to_json_string(), encoded);

    let json: Json = serde_json::from_str(text).expect("it was JSON");
    assert_eq!(
        Value::from_json(json.clone()),
        Ok(value.clone()),
        "by way of a tree"
    );
    assert_eq!(value.to_json().to_string(), encoded);
    assert_eq!(maybe_from_json(json.clone()), Ok(Some(value.clone())));
    for format in [JsonFormat::Clean, JsonFormat::Export] {
        let text = value.format_json(format).to_string();
        serde_json::from_str::<Json>(&text).expect("every form is JSON");
    }
    if let Value::Object(object) = &value {
        let patch = patch_from_json(json).expect("fields of an object");
        assert_eq!(patch.len(), object.len());
        assert!(
            patch
                .iter()
                .all(|(name, value)| object.get(name) == value.as_ref())
        );
    }
    if let Value::Array(elements) = &value {
        let sizes: usize = elements.iter().map(Value::size).sum();
        assert_eq!(value.size(), sizes + 2);
        check_order(&elements[..elements.len().min(4)]);
    }
});

/// The order is total, and equal values are those of equal text.
fn check_order(values: &[Value]) {
    for a in values {
        for b in values {
            let order = a.cmp(b);
            assert_eq!(b.cmp(a), order.reverse());
            assert_eq!(
                order == Ordering::Equal,
                a.to_json_string() == b.to_json_string()
            );
            for c in values {
                assert!(!(a <= b && b <= c) || a <= c);
            }
        }
    }
}
