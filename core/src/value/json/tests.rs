//! Encoded JSON against its published examples, and as an exact inverse pair.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::value::{MAX_ARRAY_LENGTH, MAX_FIELDS, arbitrary};

fn code(result: Result<impl fmt::Debug>) -> String {
    result.expect_err("an error").code.into_owned()
}

#[test]
fn numbers_have_the_wire_form_clients_use() {
    for (value, text) in [
        (Value::Float64(3.0), "3.0"),
        (Value::Float64(-0.25), "-0.25"),
        (Value::Float64(1e300), "1e+300"),
        (Value::Float64(-0.0), r#"{"$float":"AAAAAAAAAIA="}"#),
        (
            Value::Float64(f64::INFINITY),
            r#"{"$float":"AAAAAAAA8H8="}"#,
        ),
        (
            Value::Float64(f64::NEG_INFINITY),
            r#"{"$float":"AAAAAAAA8P8="}"#,
        ),
        (
            Value::Float64(f64::from_bits(0x7ff8 << 48)),
            r#"{"$float":"AAAAAAAA+H8="}"#,
        ),
        (Value::Int64(0), r#"{"$integer":"AAAAAAAAAAA="}"#),
        (Value::Int64(1), r#"{"$integer":"AQAAAAAAAAA="}"#),
        (Value::Int64(42), r#"{"$integer":"KgAAAAAAAAA="}"#),
        (Value::Int64(-1), r#"{"$integer":"//////////8="}"#),
        (Value::Int64(i64::MIN), r#"{"$integer":"AAAAAAAAAIA="}"#),
        (Value::Int64(i64::MAX), r#"{"$integer":"/////////38="}"#),
    ] {
        assert_eq!(value.to_json_string(), text);
        assert_eq!(Value::from_json_str(text), Ok(value));
    }
}

#[test]
fn plain_numbers_are_doubles() {
    for (text, number) in [
        ("3", 3.0),
        ("-7", -7.0),
        ("-0", -0.0),
        ("18446744073709551615", 18446744073709551615.0),
        (
            "123456789012345678901234567890",
            123456789012345678901234567890.0,
        ),
    ] {
        assert_eq!(Value::from_json_str(text), Ok(Value::Float64(number)));
    }
}

#[test]
fn text_is_canonical() {
    let value = Value::from_json_str(
        " { \"b\" : [ 1 , null , true ] , \"a\" : { \"$bytes\" : \"/wA=\" } , \"B\" : \"\\u00e9\", \"\": {} } ",
    );
    assert_eq!(
        value.unwrap().to_json_string(),
        r#"{"":{},"B":"é","a":{"$bytes":"/wA="},"b":[1.0,null,true]}"#
    );
    let repeated = Value::from_json_str(r#"{"b":1,"a":2,"b":3}"#).unwrap();
    assert_eq!(repeated.to_json_string(), r#"{"a":2.0,"b":3.0}"#);
}

#[test]
fn formats_for_output() {
    let value = Value::from(
        Object::from_fields([
            ("bytes", Value::from(vec![255u8, 0])),
            ("float", 42.0.into()),
            ("inf", f64::INFINITY.into()),
            ("int", 42i64.into()),
            ("nan", f64::NAN.into()),
            ("neg", (-0.0).into()),
            ("ninf", f64::NEG_INFINITY.into()),
        ])
        .unwrap(),
    );
    let format = |name| {
        value
            .format_json(JsonFormat::parse(name).unwrap())
            .to_string()
    };
    let clean = r#"{"bytes":"/wA=","float":42.0,"inf":"Infinity","int":"42","nan":"NaN","neg":-0.0,"ninf":"-Infinity"}"#;
    assert_eq!(format("json"), clean);
    assert_eq!(format("convex_clean_json"), clean);
    assert_eq!(
        format("export_json"),
        r#"{"bytes":{"$bytes":"/wA="},"float":42.0,"inf":{"$float":"AAAAAAAA8H8="},"int":42,"nan":{"$float":"AAAAAAAA+H8="},"neg":-0.0,"ninf":{"$float":"AAAAAAAA8P8="}}"#
    );
    assert_eq!(format("convex_encoded_json"), value.to_json_string());
    assert_eq!(format("convex_json"), value.to_json_string());
    assert_eq!(JsonFormat::parse("xml"), None);
}

#[test]
fn refuses_what_is_no_value() {
    for text in [
        r#"{"$integer":"AAAA"}"#,
        r#"{"$integer":42}"#,
        r#"{"$integer":"AAAAAAAAAAA"}"#, // padding is missing
        r#"{"$float":"AAAAAAAA8D8="}"#,  // 1.0
        r#"{"$float":"AAAAAAAAAAA="}"#,  // +0
        r#"{"$bytes":"*"}"#,
        r#"{"$bytes":null}"#,
        r#"{"$set":[]}"#,
        r#"{"$map":[]}"#,
        r#"{"$undefined":null}"#,
        r#"[{"$undefined":null}]"#,
        r#"{"$integer":"AAAAAAAAAAA=","a":1}"#,
        r#"{"$integer":"AAAAAAAAAAA=","$integer":"AAAAAAAAAAA="}"#,
        r#""\ud800""#,
        "1e400",
        "[1] 2",
        "",
    ] {
        assert_eq!(
            code(Value::from_json_str(text)),
            "InvalidConvexValue",
            "{text}"
        );
    }
    for text in [r#"{"a":1,"$b":1}"#, r#"{"é":1}"#, r#"{"\u007f":1}"#] {
        assert_eq!(
            code(Value::from_json_str(text)),
            "InvalidFieldName",
            "{text}"
        );
    }
}

#[test]
fn limits_hold_while_reading() {
    let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(Value::from_json_str(&nested(64)).unwrap().nesting(), 64);
    assert_eq!(code(Value::from_json_str(&nested(65))), "TooNestedError");
    assert_eq!(
        code(Value::from_json_str(&"[".repeat(1_000_000))),
        "TooNestedError"
    );
    let deepest_scalar = format!("{}{{\"$bytes\":\"\"}}{}", "[".repeat(64), "]".repeat(64));
    assert!(Value::from_json_str(&deepest_scalar).is_ok());

    let array = |length| Json::Array(vec![Json::Null; length]);
    assert!(Value::from_json(array(MAX_ARRAY_LENGTH)).is_ok());
    assert_eq!(
        code(Value::from_json(array(MAX_ARRAY_LENGTH + 1))),
        "ArrayTooLong"
    );
    let object =
        |count: usize| Json::Object((0..count).map(|i| (i.to_string(), Json::Null)).collect());
    assert!(Value::from_json(object(MAX_FIELDS)).is_ok());
    assert_eq!(
        code(Value::from_json(object(MAX_FIELDS + 1))),
        "TooManyFieldsError"
    );
    let text = Json::String("x".repeat(32 << 20));
    assert_eq!(code(Value::from_json(text)), "ValueTooLargeError");
}

#[test]
fn undefined_marks_missing_values_and_removals() {
    assert_eq!(maybe_from_json(json!({"$undefined": null})), Ok(None));
    assert_eq!(maybe_from_json(json!(null)), Ok(Some(Value::Null)));
    let patch = patch_from_json(json!({"a": 1, "b": {"$undefined": null}, "c": {}})).unwrap();
    assert_eq!(
        patch.into_iter().collect::<Vec<_>>(),
        [
            ("a".to_owned(), Some(Value::Float64(1.0))),
            ("b".to_owned(), None),
            ("c".to_owned(), Some(Object::new().into())),
        ]
    );
    assert_eq!(code(patch_from_json(json!([]))), "InvalidConvexValue");
    assert_eq!(code(patch_from_json(json!({"$a": 1}))), "InvalidFieldName");
    assert_eq!(
        code(patch_from_json(json!({"a": {"b": {"$undefined": null}}}))),
        "InvalidConvexValue"
    );
}

#[test]
fn objects_are_read_from_objects_only() {
    assert!(serde_json::from_str::<Object>(r#"{"a":1}"#).is_ok());
    assert!(serde_json::from_str::<Object>(r#"{"$integer":"AQAAAAAAAAA="}"#).is_err());
}

/// JSON-like text with all the brackets, wrappers and names in it.
fn json_text() -> impl Strategy<Value = String> {
    let token = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"\"",
        "\"$integer\"",
        "\"$float\"",
        "\"$bytes\"",
        "\"AAAAAAAAAIA=\"",
        "1",
        "-0.0",
        "1e9",
        "null",
        "true",
        "\"\\ud800\"",
    ]);
    proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn round_trips(value in arbitrary::value()) {
        let text = value.to_json_string();
        prop_assert_eq!(&Value::from_json_str(&text).unwrap(), &value);
        prop_assert_eq!(&Value::from_json(value.to_json()).unwrap(), &value);
        prop_assert_eq!(value.to_json().to_string(), text);
    }

    /// Python clients take `3` for something else than `3.0`.
    #[test]
    fn doubles_look_like_doubles(number in arbitrary::float64()) {
        let number = if number.is_finite() { number } else { 0.0 };
        for json in [Value::from(number).to_clean_json(), Value::from(number).to_export_json()] {
            let text = json.to_string();
            prop_assert!(text.contains(['.', 'e']), "{text}");
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }

    #[test]
    fn both_readers_agree_on_any_text(text in prop_oneof![json_text(), ".*"]) {
        let direct = Value::from_json_str(&text);
        if let Ok(json) = serde_json::from_str::<Json>(&text) {
            // The tree has forgotten repeated names; they must not matter unless they are wrappers.
            match (direct, Value::from_json(json)) {
                (Ok(direct), Ok(tree)) => prop_assert_eq!(direct, tree),
                (Err(_), _) => {}
                (Ok(direct), Err(error)) => prop_assert!(false, "{direct}: {error}"),
            }
        } else {
            prop_assert!(direct.is_err());
        }
    }
}
